//! `efscrypt ls`: what is in a store.

use std::ffi::OsStr;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use efscrypt::Error;
use efscrypt::fs::{AclKind, Attr, FileSystem, FileType};
use serde::Serialize;

use crate::exit::Failure;
use crate::output;
use crate::store::{Access, StoreArgs};
use crate::transfer::{Entry, Trail, list};

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

    /// Do not sort: takes little memory, whatever the size of a directory
    #[arg(short = 'U')]
    unsorted: bool,

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
    let mut listing = Listing { fs, args: &args, out, raw, first: true, failures: 0, code: 0 };
    match listing.all(&start) {
        Ok(()) => listing.verdict(),
        // A reader that went away, as `head` does, is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::file("cannot write to standard output", &error)),
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
    failures: u64,
    /// Exit code of the first failure.
    code: u8,
}

/// A directory that is listed.
struct Directory {
    path: PathBuf,
    trail: Arc<Trail>,
    /// What has to be listed after it.
    below: Vec<(Arc<Trail>, u64)>,
}

/// A name and what it leads to.
struct Named<'a> {
    name: &'a [u8],
    attr: Attr,
    /// Whether it has an access control list.
    acl: bool,
    target: Option<Vec<u8>>,
}

impl Listing<'_> {
    fn all(&mut self, start: &Attr) -> io::Result<()> {
        if self.args.json {
            write!(self.out, "[")?;
        }
        let path = &self.args.path;
        match start.kind {
            FileType::Directory => self.directories(Trail::new(path), start.ino)?,
            _ => {
                let name = path.file_name().unwrap_or_default().as_bytes();
                self.show(path.parent().unwrap_or(Path::new("/")), name, start.ino)?;
            }
        }
        if self.args.json {
            writeln!(self.out, "{}]", if self.first { "" } else { "\n" })?;
        }
        self.out.flush()
    }

    /// A directory, and with -R all below it.
    fn directories(&mut self, trail: Arc<Trail>, ino: u64) -> io::Result<()> {
        let mut open = vec![(trail, ino)];
        while let Some((trail, ino)) = open.pop() {
            let (path, below) = (trail.path(), Vec::new());
            if self.args.recursive && !self.args.json {
                let gap = if self.first { "" } else { "\n" };
                write!(self.out, "{gap}")?;
                self.print_name(path.as_os_str().as_bytes())?;
                writeln!(self.out, ":")?;
                self.first = false;
            }
            let mut directory = Directory { path, trail, below };
            self.entries(&mut directory, ino)?;
            open.extend(directory.below.into_iter().rev());
        }
        Ok(())
    }

    /// The entries of a directory: by name, or as they come.
    fn entries(&mut self, directory: &mut Directory, ino: u64) -> io::Result<()> {
        let (mut found, mut resume, mut more) = (Vec::new(), 0, true);
        while more {
            let (mut batch, before) = (Vec::new(), resume);
            more = list(self.fs, ino, &mut resume, &mut batch).unwrap_or_else(|error| {
                self.failed(&directory.path, error);
                resume != before
            });
            found.append(&mut batch);
            if self.args.unsorted {
                self.show_all(directory, std::mem::take(&mut found))?;
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.show_all(directory, found)
    }

    fn show_all(&mut self, directory: &mut Directory, entries: Vec<Entry>) -> io::Result<()> {
        for entry in entries {
            self.show(&directory.path, &entry.name, entry.ino)?;
            if entry.is_dir && self.args.recursive {
                directory.below.push((directory.trail.below(&entry.name), entry.ino));
            }
        }
        Ok(())
    }

    /// Shows an entry. One that is damaged is told, and does not keep others from being shown.
    fn show(&mut self, dir: &Path, name: &[u8], ino: u64) -> io::Result<()> {
        if !self.args.long && !self.args.json {
            self.print_name(name)?;
            self.first = false;
            return writeln!(self.out);
        }
        let entry = match self.named(name, ino) {
            Ok(entry) => entry,
            Err(error) => {
                self.failed(&dir.join(OsStr::from_bytes(name)), error);
                return Ok(());
            }
        };
        if self.args.json {
            self.print_json(dir, &entry)?;
        } else {
            write!(self.out, "{} ", details(&entry.attr, entry.acl))?;
            self.print_name(name)?;
            if let Some(target) = &entry.target {
                write!(self.out, " -> ")?;
                self.print_name(target)?;
            }
            writeln!(self.out)?;
        }
        self.first = false;
        Ok(())
    }

    fn named<'n>(&self, name: &'n [u8], ino: u64) -> Result<Named<'n>, Error> {
        let attr = self.fs.getattr(ino)?;
        let target = match attr.kind {
            FileType::Symlink => match self.fs.readlink(ino) {
                // A target is contents; without their key the rest is shown.
                Err(Error::KeyUnavailable) => None,
                target => Some(target?),
            },
            _ => None,
        };
        // One that cannot be read is one; `check` tells of it.
        let has = |kind| self.fs.get_acl(ino, kind).map_or(true, |list| list.is_some());
        let acl = has(AclKind::Access) || has(AclKind::Default);
        Ok(Named { name, attr, acl, target })
    }

    fn failed(&mut self, path: &Path, error: Error) {
        let failure = self.args.store.entry_failure("list", path, error);
        // What was listed so far comes before it where both go to the same place.
        let _ = self.out.flush();
        failure.print();
        self.failures += 1;
        if self.code == 0 {
            self.code = failure.code();
        }
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.failures == 0 {
            return Ok(());
        }
        let doing = format!("cannot list all of {}", self.args.path.display());
        let why = output::count(self.failures, "failure");
        let failure = Failure::of_code(doing, &why, self.code);
        Err(failure.with_hint("`efscrypt check` shows all damage"))
    }

    fn print_name(&mut self, name: &[u8]) -> io::Result<()> {
        if self.raw {
            return self.out.write_all(name);
        }
        write!(self.out, "{}", output::visible(&String::from_utf8_lossy(name)))
    }

    fn print_json(&mut self, dir: &Path, entry: &Named<'_>) -> io::Result<()> {
        let comma = if self.first { "" } else { "," };
        let path = dir.join(OsStr::from_bytes(entry.name));
        let view = EntryView::new(&path, entry);
        write!(self.out, "{comma}\n{}", output::json_line(&view)?)
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
    /// Whether it has an access control list: then the mode does not say it all.
    acl: bool,
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
    fn new(path: &'a Path, entry: &'a Named<'a>) -> Self {
        let attr = &entry.attr;
        let bytes = path.as_os_str().as_bytes();
        let target = entry.target.as_deref();
        EntryView {
            path: String::from_utf8_lossy(bytes),
            path_hex: hex_unless_text(bytes),
            kind: kind(attr.kind),
            mode: attr.mode,
            acl: entry.acl,
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
fn details(attr: &Attr, acl: bool) -> String {
    let size = match device(attr) {
        Some((major, minor)) => format!("{major}, {minor}"),
        None => attr.size.to_string(),
    };
    let (plus, width) = if acl { ("+", 2) } else { ("", 3) };
    format!(
        "{}{plus} {:>width$} {:>5} {:>5} {:>12} {}",
        mode_text(attr.kind, attr.mode),
        attr.nlink,
        attr.uid,
        attr.gid,
        size,
        output::utc(attr.mtime.seconds),
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
