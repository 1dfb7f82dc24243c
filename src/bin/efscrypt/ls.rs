//! `efscrypt ls`: what is in a store.

use std::ffi::OsStr;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use efscrypt::fs::{Attr, COOKIE_DOT_DOT, FileSystem, FileType};
use serde::Serialize;

use crate::exit::Failure;
use crate::output;
use crate::store::{Access, StoreArgs};

#[derive(Args)]
pub struct LsArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// A directory or file, by its path in the store
    #[arg(default_value = "/")]
    path: PathBuf,

    /// Show type, permissions, links, owner, group, size and time of change
    #[arg(short)]
    long: bool,

    /// Go into directories
    #[arg(short = 'R')]
    recursive: bool,

    /// Print JSON: one array of all entries, with their attributes
    #[arg(long)]
    json: bool,
}

/// Runs `efscrypt ls`.
pub fn run(args: LsArgs) -> Result<(), Failure> {
    let store = args.store.open(Access::Metadata)?;
    let fs = store.file_system();
    let start = args.store.find(fs, &args.path)?;
    let stdout = io::stdout();
    let raw = !stdout.is_terminal();
    let out = BufWriter::new(stdout.lock());
    let mut listing = Listing { fs, args: &args, out, raw, first: true };
    match listing.all(&start) {
        Ok(()) => Ok(()),
        Err(Trouble::Store(path, error)) => Err(args.store.entry_failure("list", &path, error)),
        // A reader that went away, as `head` does, is no failure.
        Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Trouble::Output(error)) => {
            Err(Failure::file("cannot write to standard output", &error))
        }
    }
}

/// Why a listing ends.
enum Trouble {
    Store(PathBuf, efscrypt::Error),
    Output(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Output(error)
    }
}

struct Listing<'a> {
    fs: &'a FileSystem,
    args: &'a LsArgs,
    out: BufWriter<StdoutLock<'a>>,
    /// Whether names are printed as they are: not to a terminal, which they could control.
    raw: bool,
    /// Whether nothing was printed so far.
    first: bool,
}

/// A name and what it leads to.
struct Named {
    name: Vec<u8>,
    attr: Attr,
    target: Option<Vec<u8>>,
}

impl Listing<'_> {
    fn all(&mut self, start: &Attr) -> Result<(), Trouble> {
        if self.args.json {
            write!(self.out, "[")?;
        }
        let path = self.args.path.clone();
        match start.kind {
            FileType::Directory => self.directories(path, start.ino)?,
            _ => {
                let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
                let named = self.named(&path, name, *start)?;
                let parent = path.parent().unwrap_or(Path::new("/"));
                self.show(parent, &[named])?;
            }
        }
        if self.args.json {
            writeln!(self.out, "{}]", if self.first { "" } else { "\n" })?;
        }
        Ok(self.out.flush()?)
    }

    /// A directory, and with -R all below it.
    fn directories(&mut self, path: PathBuf, ino: u64) -> Result<(), Trouble> {
        let mut open = vec![(path, ino)];
        while let Some((path, ino)) = open.pop() {
            let entries = self.entries(&path, ino)?;
            if self.args.recursive && !self.args.json {
                let gap = if self.first { "" } else { "\n" };
                write!(self.out, "{gap}")?;
                self.print_name(path.as_os_str().as_bytes())?;
                writeln!(self.out, ":")?;
                self.first = false;
            }
            self.show(&path, &entries)?;
            if self.args.recursive {
                let below = entries.iter().rev().filter(|e| e.attr.kind == FileType::Directory);
                open.extend(below.map(|e| (path.join(OsStr::from_bytes(&e.name)), e.attr.ino)));
            }
        }
        Ok(())
    }

    /// The entries of a directory, by name.
    fn entries(&self, path: &Path, ino: u64) -> Result<Vec<Named>, Trouble> {
        let failed = |error| Trouble::Store(path.to_owned(), error);
        let mut found = Vec::new();
        let visit = |entry: &efscrypt::fs::DirEntry<'_>, attr: Option<&Attr>| {
            found.extend(attr.map(|attr| (entry.name.to_vec(), *attr)));
            true
        };
        self.fs.read_dir_plus(ino, COOKIE_DOT_DOT, visit).map_err(failed)?;
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let named = |(name, attr): (Vec<u8>, Attr)| {
            let path = path.join(OsStr::from_bytes(&name));
            self.named(&path, name, attr)
        };
        found.into_iter().map(named).collect()
    }

    fn named(&self, path: &Path, name: Vec<u8>, attr: Attr) -> Result<Named, Trouble> {
        let wanted = attr.kind == FileType::Symlink && (self.args.long || self.args.json);
        let target = match wanted.then(|| self.fs.readlink(attr.ino)) {
            // A target is contents; without their key the rest is shown.
            None | Some(Err(efscrypt::Error::KeyUnavailable)) => None,
            Some(target) => Some(target.map_err(|e| Trouble::Store(path.to_owned(), e))?),
        };
        Ok(Named { name, attr, target })
    }

    fn show(&mut self, dir: &Path, entries: &[Named]) -> Result<(), Trouble> {
        for entry in entries {
            if self.args.json {
                self.print_json(dir, entry)?;
            } else {
                if self.args.long {
                    write!(self.out, "{} ", details(&entry.attr))?;
                }
                self.print_name(&entry.name)?;
                if let Some(target) = &entry.target {
                    write!(self.out, " -> ")?;
                    self.print_name(target)?;
                }
                writeln!(self.out)?;
            }
            self.first = false;
        }
        Ok(())
    }

    fn print_name(&mut self, name: &[u8]) -> io::Result<()> {
        if self.raw {
            return self.out.write_all(name);
        }
        let text = String::from_utf8_lossy(name);
        let shown = text.chars().map(|c| if c.is_control() { '?' } else { c });
        write!(self.out, "{}", shown.collect::<String>())
    }

    fn print_json(&mut self, dir: &Path, entry: &Named) -> io::Result<()> {
        let comma = if self.first { "" } else { "," };
        let path = dir.join(OsStr::from_bytes(&entry.name));
        let view = EntryView::new(&path, entry);
        write!(self.out, "{comma}\n{}", serde_json::to_string(&view)?)
    }
}

/// An entry in JSON. Bytes that are not UTF-8 are replaced in `path` and `target`, and the whole
/// stands in hexadecimal beside them.
#[derive(Serialize)]
struct EntryView<'a> {
    path: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    kind: &'static str,
    /// Permissions as a number.
    mode: u32,
    nlink: u32,
    uid: u32,
    gid: u32,
    size: u64,
    /// Bytes of the store that the contents take.
    space: u64,
    /// Time of change: seconds since 1970, and nanoseconds.
    mtime: (i64, u32),
    ino: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
    /// Major and minor number of a device node.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
}

impl<'a> EntryView<'a> {
    fn new(path: &'a Path, entry: &'a Named) -> Self {
        let attr = &entry.attr;
        let bytes = path.as_os_str().as_bytes();
        let target = entry.target.as_deref();
        EntryView {
            path: String::from_utf8_lossy(bytes),
            path_hex: hex_unless_text(bytes),
            kind: kind(attr.kind),
            mode: attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            size: attr.size,
            space: attr.space,
            mtime: (attr.mtime.seconds, attr.mtime.nanoseconds),
            ino: attr.ino,
            target: target.map(String::from_utf8_lossy),
            target_hex: target.and_then(hex_unless_text),
            device: device(attr),
        }
    }
}

fn hex_unless_text(bytes: &[u8]) -> Option<String> {
    let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    std::str::from_utf8(bytes).is_err().then(hex)
}

fn kind(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "fifo",
        FileType::CharDevice => "char device",
        FileType::Directory => "directory",
        FileType::BlockDevice => "block device",
        FileType::Regular => "file",
        FileType::Symlink => "symlink",
        FileType::Socket => "socket",
    }
}

fn device(attr: &Attr) -> Option<(u32, u32)> {
    let is_device = matches!(attr.kind, FileType::CharDevice | FileType::BlockDevice);
    is_device.then(|| (rustix::fs::major(attr.rdev), rustix::fs::minor(attr.rdev)))
}

/// The columns of `-l`, without the name.
fn details(attr: &Attr) -> String {
    let size = match device(attr) {
        Some((major, minor)) => format!("{major}, {minor}"),
        None => attr.size.to_string(),
    };
    let seconds = u64::try_from(attr.mtime.seconds).unwrap_or(0);
    format!(
        "{} {:>3} {:>5} {:>5} {:>12} {}",
        mode_text(attr.kind, attr.mode),
        attr.nlink,
        attr.uid,
        attr.gid,
        size,
        output::utc(seconds),
    )
}

/// Type and permissions as `ls` shows them: `drwxr-sr-t`.
fn mode_text(kind: FileType, mode: u32) -> String {
    let mut text = String::from(match kind {
        FileType::Fifo => 'p',
        FileType::CharDevice => 'c',
        FileType::Directory => 'd',
        FileType::BlockDevice => 'b',
        FileType::Regular => '-',
        FileType::Symlink => 'l',
        FileType::Socket => 's',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (kind, mode, expected) in [
            (FileType::Regular, 0o644, "-rw-r--r--"),
            (FileType::Directory, 0o1777, "drwxrwxrwt"),
            (FileType::Regular, 0o6711, "-rws--s--x"),
            (FileType::Fifo, 0o7000, "p--S--S--T"),
            (FileType::Symlink, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(mode_text(kind, mode), expected);
        }
    }
}
