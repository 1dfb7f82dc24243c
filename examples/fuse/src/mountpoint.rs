//! The place in the tree of files where the store shows: mounted, tuned, and let go.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fuser::{Config, MountOption, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::failure::{Failure, Try, say};
use crate::server::Server;
use efscrypt::cli::exit;
use efscrypt::cli::unlock::PASSPHRASE_VARIABLE;

/// The kernel's list of mounts.
const MOUNTS: &str = "/proc/self/mountinfo";
/// What the kernel reads ahead of a program that reads in order, KiB.
const READ_AHEAD_KIB: u32 = 1024;

/// The programs that unmount for users.
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];
/// Where systems have them.
const HELPER_PLACES: [&str; 6] =
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin"];

/// How to mount.
pub struct Options {
    /// Nothing may change.
    pub read_only: bool,
    /// Other users may use it, as the permissions of files allow.
    pub allow_other: bool,
    /// Set-user-ID programs run as their owner.
    pub suid: bool,
    /// Device nodes are devices.
    pub dev: bool,
    /// Threads that serve requests.
    pub threads: usize,
}

/// A mounted store's place.
#[derive(Clone)]
pub struct Mountpoint {
    path: PathBuf,
    /// The number of the mount's device.
    device: u32,
    /// The kernel's file that ends the mount for all who wait for its answers, where it lets us.
    /// Opened while the mount is there: the number may be another mount's later.
    abort: Option<Arc<File>>,
}

/// How an attempt to end the mount went.
pub enum Attempt {
    /// It ended: whoever serves it is told by the kernel.
    Ended,
    /// Programs have files open.
    Busy,
    /// It ends when nobody uses it or serves it any more.
    OutOfSight,
    /// This process may not, and there is no program that may.
    Forbidden,
}

impl Mountpoint {
    /// Whether a directory can be mounted on: its path without symbolic links.
    pub fn look(path: &Path) -> Result<PathBuf, Failure> {
        let doing = || format!("cannot mount on {}", path.display());
        match path.metadata() {
            Ok(found) if found.is_dir() => path.canonicalize().or_fail(doing),
            Ok(_) => Err(Failure::of_code(doing(), "it is no directory", exit::NOT_DIRECTORY)),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTCONN) => {
                let path = path.display();
                let why = "a mount is left there whose server ended; remove it first with";
                let why = format!("{why} umount {path}, or fusermount3 -u {path}");
                Err(Failure::of_code(doing(), &why, exit::IN_USE))
            }
            Err(error) => Err(Failure::file(doing(), &error)),
        }
    }

    /// Mounts a server, and returns what serves requests until it is let go.
    pub fn mount(
        server: Server,
        store: &Path,
        path: &Path,
        options: &Options,
    ) -> Result<(Mountpoint, Session<Server>), Failure> {
        let doing = || format!("cannot mount on {}", path.display());
        let path = Mountpoint::look(path)?;
        let session = Session::new(server, &path, &config(store, options)).or_fail(doing)?;
        let device = device_of(&path).or_fail(doing)?;
        let abort = format!("/sys/fs/fuse/connections/{device}/abort");
        let abort = File::options().write(true).open(abort).ok().map(Arc::new);
        Ok((Mountpoint { path, device, abort }, session))
    }

    /// Has the kernel read further ahead than it does by itself, where it lets us.
    pub fn read_ahead(&self) {
        let file = format!("/sys/class/bdi/0:{}/read_ahead_kb", self.device);
        let _default_does = fs::write(file, READ_AHEAD_KIB.to_string());
    }

    /// Has the kernel hand over what it holds back of mapped memory, and waits for it.
    pub fn write_back(&self) -> io::Result<()> {
        let root = File::open(&self.path)?;
        if self.is_gone()? {
            return Err(Errno::INVAL.into());
        }
        Ok(rustix::fs::syncfs(&root)?)
    }

    /// Ends the mount, unless somebody uses it.
    pub fn let_go(&self) -> io::Result<Attempt> {
        if self.is_gone()? {
            return Ok(Attempt::Busy);
        }
        match unmount(&self.path, UnmountFlags::NOFOLLOW) {
            Ok(()) => Ok(Attempt::Ended),
            Err(Errno::BUSY) => Ok(Attempt::Busy),
            Err(Errno::PERM) => Ok(match self.ask_helper(None) {
                Some(true) => Attempt::Ended,
                Some(false) => Attempt::Busy,
                None => Attempt::Forbidden,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the mount whoever uses it: what they do next fails. Where nobody may unmount it, it
    /// stays in sight, and answers nothing.
    pub fn cut(&self) -> io::Result<Attempt> {
        if self.is_gone()? {
            return Ok(Attempt::OutOfSight);
        }
        let how = UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match unmount(&self.path, how) {
            Ok(()) => Ok(Attempt::Ended),
            Err(Errno::PERM) => {
                if self.ask_helper(Some("-z")) != Some(true) {
                    let path = self.path.display();
                    let how = format!("umount {path}, or fusermount3 -u {path}");
                    say(&format!("nothing here may unmount {path}: remove it with {how}"));
                }
                Ok(if self.abort() { Attempt::Ended } else { Attempt::OutOfSight })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the mount for all who wait for its answers: one of them may be a thread of this
    /// process, which could not end. Returns whether the kernel lets us.
    fn abort(&self) -> bool {
        self.abort.as_deref().is_some_and(|mut file| file.write_all(b"1").is_ok())
    }

    /// Whether somebody else took the mount out of sight. Fails where another file system is
    /// mounted over it: that one is not ours to unmount.
    fn is_gone(&self) -> io::Result<bool> {
        let list = fs::read(MOUNTS)?;
        match mounts(&list, &self.path).next_back() {
            Some(Some(device)) if device == self.device => Ok(false),
            _ if mounts(&list, &self.path).any(|device| device == Some(self.device)) => {
                Err(io::Error::other("another file system is mounted over it"))
            }
            _ => Ok(true),
        }
    }

    /// Has the program unmount that may do so for users, and returns whether it did; `None` where
    /// there is none.
    fn ask_helper(&self, how: Option<&str>) -> Option<bool> {
        helpers().find_map(|helper| {
            let mut helper = Command::new(helper);
            helper.env_remove(PASSPHRASE_VARIABLE);
            helper.arg("-u").arg("-q").args(how).arg("--").arg(&self.path);
            helper.status().ok().map(|status| status.success())
        })
    }
}

/// Where the program may be that unmounts for users: where the environment says, and where systems
/// have it, whatever that says.
fn helpers() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let told: Vec<_> = env::split_paths(&path).filter(|place| place.is_absolute()).collect();
    let places = told.into_iter().chain(HELPER_PLACES.map(PathBuf::from));
    places.flat_map(|place| HELPERS.map(|name| place.join(name)))
}

/// The number of the device of what is mounted on a directory, from the kernel's own list: nobody
/// serves requests yet.
fn device_of(path: &Path) -> io::Result<u32> {
    let list = fs::read(MOUNTS)?;
    let device = mounts(&list, path).next_back().flatten();
    device.ok_or_else(|| io::Error::other("the mount is not there"))
}

/// What is mounted on a directory, the uppermost last: the number of the device, if it is one
/// without a disk.
fn mounts<'a>(list: &'a [u8], path: &'a Path) -> impl DoubleEndedIterator<Item = Option<u32>> {
    list.split(|byte| *byte == b'\n').filter_map(move |line| {
        // Number, parent, major:minor, root, mount point with odd bytes in octal.
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let device = str::from_utf8(fields.next()?).ok()?;
        let device = device.strip_prefix("0:").and_then(|minor| minor.parse().ok());
        (unescaped(fields.nth(1)?) == path.as_os_str().as_bytes()).then_some(device)
    })
}

/// Bytes as they were before blanks and backslashes became octal numbers.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::new(), text);
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let octal =
            octal.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        plain.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    plain
}

fn config(store: &Path, options: &Options) -> Config {
    // A comma would end the option where a helper mounts.
    let name = store.display().to_string().replace(',', "_");
    let either = |wanted, yes, no| if wanted { yes } else { no };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(name),
        MountOption::DefaultPermissions,
        either(options.read_only, MountOption::RO, MountOption::RW),
        either(options.suid, MountOption::Suid, MountOption::NoSuid),
        either(options.dev, MountOption::Dev, MountOption::NoDev),
    ];
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(options.threads);
    config.clone_fd = true;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bytes_of_paths_come_back() {
        assert_eq!(unescaped(b"/a\\040b\\134c"), b"/a b\\c");
        assert_eq!(unescaped(b"/a\\09"), b"/a\\09");
        assert_eq!(unescaped(b"\\"), b"\\");
    }

    #[test]
    fn the_root_is_in_the_list_of_mounts_or_is_no_such_device() {
        assert!(device_of("/no/such/place".as_ref()).is_err());
        assert!(device_of("/proc".as_ref()).is_ok());
    }
}
