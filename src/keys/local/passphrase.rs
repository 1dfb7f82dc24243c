//! A passphrase in memory.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::error::{Error, Object, Result};

/// Longest passphrase, bytes.
const MAX_LEN: usize = 4096;
/// How long a pipe may be without anybody who writes to it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const OFTEN: Duration = Duration::from_millis(20);

/// A passphrase: bytes that are wiped on drop, never printed and never copied.
///
/// The bytes are taken as they are: no newline is cut off and Unicode is not normalised.
pub struct Passphrase {
    bytes: Zeroizing<Vec<u8>>,
}

impl Passphrase {
    /// Takes over `bytes`, which it wipes when dropped. Copies that the caller made, or that a
    /// growing vector left behind, are the caller's to wipe.
    ///
    /// # Errors
    /// `InvalidArgument` when empty or longer than 4,096 bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            1..=MAX_LEN => Ok(Passphrase { bytes }),
            _ => Err(Error::InvalidArgument("a passphrase has 1 to 4,096 bytes")),
        }
    }

    /// The contents of a file, without one newline at their end.
    ///
    /// The file is a regular one or a pipe, as shells make of `<(program)` and as `/dev/stdin` may
    /// be, that neither its group nor others may access. A pipe is read until all who write to it
    /// have closed it; where nobody has it open, somebody has ten seconds to come.
    ///
    /// # Errors
    /// `KeyDenied` for a file that others may access; `InvalidArgument` for one of another type,
    /// for a pipe that nobody writes to, and as [`Passphrase::new`]; `IsDirectory`; `Io`.
    pub fn read_file(path: &Path) -> Result<Self> {
        Self::read(path, PATIENCE)
            .map_err(|error| error.named(format_args!("passphrase file {}", path.display())))
    }

    fn read(path: &Path, patience: Duration) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let mut file = options.open(path).map_err(|e| io_error("open", e))?;
        let about = file.metadata().map_err(|e| io_error("stat", e))?;
        match about.file_type() {
            kind if kind.is_file() || kind.is_fifo() => {}
            kind if kind.is_dir() => return Err(Error::IsDirectory),
            _ => {
                return Err(Error::InvalidArgument(
                    "a passphrase file is a regular file or a pipe",
                ));
            }
        }
        if about.permissions().mode() & 0o077 != 0 {
            let why = "the passphrase file is open to other users: chmod 600 it";
            return Err(Error::KeyDenied(why.to_owned()));
        }
        // All room from the start: a growing vector would leave copies behind.
        let mut text = Zeroizing::new(vec![0; MAX_LEN + 3]);
        let (mut len, begun) = (0, Instant::now());
        while len < text.len() {
            match file.read(&mut text[len..]) {
                Ok(0) if len == 0 && about.file_type().is_fifo() => {
                    if begun.elapsed() > patience {
                        return Err(Error::InvalidArgument("nobody writes to the pipe"));
                    }
                    thread::sleep(OFTEN);
                }
                Ok(0) => break,
                Ok(n) => len += n,
                // Somebody will write.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::sleep(OFTEN),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(io_error("read", e)),
            }
        }
        text.truncate(len);
        for end in [b'\n', b'\r'] {
            if text.last() != Some(&end) {
                break;
            }
            text.pop();
        }
        Passphrase::new(std::mem::take(&mut *text))
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

fn io_error(op: &'static str, source: io::Error) -> Error {
    Error::io(op, Object::KeyService, source)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_a_passphrase_is_read_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let read = || Passphrase::read(&path, Duration::from_millis(100));
        for (text, expected) in [
            (&b"a b"[..], &b"a b"[..]),
            (b"a b\n", b"a b"),
            (b"a b\r\n", b"a b"),
            (b"a b\n\n", b"a b\n"),
            (b"a b\r", b"a b\r"),
            (&[b'x'; 4096], &[b'x'; 4096]),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(read().unwrap().expose(), expected);
        }
        fs::write(&path, [b'x'; 5000]).unwrap();
        let kind = || read().err().unwrap().kind();
        assert_eq!(kind(), ErrorKind::InvalidArgument, "too long");
        fs::write(&path, "").unwrap();
        assert_eq!(kind(), ErrorKind::InvalidArgument, "empty");
        for mode in [0o640, 0o604, 0o660, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(kind(), ErrorKind::KeyDenied, "{mode:o}");
        }
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
        assert_eq!(kind(), ErrorKind::InvalidArgument, "nobody writes");
        let writer = {
            let path = path.clone();
            thread::spawn(move || {
                let mut pipe = fs::OpenOptions::new().write(true).open(path).unwrap();
                pipe.write_all(b"in ").unwrap();
                thread::sleep(Duration::from_millis(200));
                pipe.write_all(b"parts\n").unwrap();
            })
        };
        let patient = Passphrase::read(&path, Duration::from_secs(60)).unwrap();
        assert_eq!(patient.expose(), b"in parts");
        writer.join().unwrap();
        let error = Passphrase::read_file(Path::new("/dev/zero")).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("/dev/zero"), "{error}");
    }
}
