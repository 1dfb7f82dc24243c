//! Discard: a block device is told that it need not keep a range of its blocks.
#![allow(unsafe_code, reason = "calls an ioctl, which no crate of ours has in a safe form")]

use std::fs::File;
use std::io;
use std::ops::Range;

/// Discards whole blocks of a block device. `Unsupported` where it keeps all of them.
#[cfg(target_os = "linux")]
pub(super) fn discard_blocks(file: &File, range: Range<u64>) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    /// `BLKDISCARD` of linux/fs.h.
    const BLKDISCARD: libc::c_ulong = 0x1277;
    let range = [range.start, range.end - range.start];
    loop {
        // SAFETY: the descriptor is open while the file is borrowed; the call reads two numbers.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), BLKDISCARD as _, range.as_ptr()) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            _ if done == 0 => return Ok(()),
            Some(libc::EINTR) => {}
            // What knows nothing of it, or not in such pieces.
            Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EINVAL) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
            _ => return Err(error),
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn discard_blocks(_: &File, _: Range<u64>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
