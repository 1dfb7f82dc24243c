//! What is asked of a store, and which answers are right.

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::fs::{FileSystem, FileType, ROOT_INO};
use efscrypt::{Error, ErrorKind, Providers, Result, Store};

use crate::provider::Toy;
use crate::scene::{DATA, META, options};

/// Paths that exist at some time.
pub const PATHS: [&[u8]; 9] = [
    b"/",
    b"/dir",
    b"/dir/inline",
    b"/dir/large",
    b"/dir/link",
    b"/small",
    b"/later",
    b"/gone",
    b"/dir/new name",
];

/// Answers to all questions, in their order: bytes, or the kind of an error that is the truth.
pub type Answers = Vec<std::result::Result<Vec<u8>, ErrorKind>>;

/// Asks a file system everything.
pub fn ask(fs: &FileSystem) -> Answers {
    let mut answers = Answers::new();
    let mut note = |answer: Result<Vec<u8>>| answers.push(answer.map_err(|error| error.kind()));
    for path in PATHS {
        note(fs.at(path).map(|attr| format!("{attr:?}").into_bytes()));
        note(list(fs, path));
        note(contents(fs, path));
        note(fs.at(path).and_then(|attr| attributes(fs, attr.ino)));
    }
    answers
}

fn list(fs: &FileSystem, path: &[u8]) -> Result<Vec<u8>> {
    let (attr, mut names) = (fs.at(path)?, Vec::new());
    fs.read_dir(attr.ino, 0, |entry| {
        names.push(format!("{entry:?}"));
        true
    })?;
    Ok(names.concat().into_bytes())
}

fn contents(fs: &FileSystem, path: &[u8]) -> Result<Vec<u8>> {
    let attr = fs.at(path)?;
    if attr.kind == FileType::Symlink {
        return fs.readlink(attr.ino);
    }
    let mut bytes = vec![0; attr.size as usize];
    let read = fs.read(attr.ino, 0, &mut bytes)?;
    bytes.truncate(read.len);
    Ok(bytes)
}

fn attributes(fs: &FileSystem, ino: u64) -> Result<Vec<u8>> {
    let mut names = fs.list_xattrs(ino)?;
    names.sort();
    let mut all = Vec::new();
    for name in names {
        let value = fs.get_xattr(ino, &name)?;
        all.extend([&name[..], b"=", &value, b"\n"].concat());
    }
    Ok(all)
}

/// What a store that was tampered with may say instead of the truth.
fn is_refusal(kind: ErrorKind) -> bool {
    use ErrorKind::{Corrupt, KeyNotFound, NotAStore, Truncated, Unsupported, WrongKey};
    matches!(kind, Corrupt | NotAStore | Unsupported | Truncated | WrongKey | KeyNotFound)
}

/// What came of opening an image and asking it.
pub enum Outcome {
    /// All answers are those of this state.
    State(usize),
    /// Some answers are those of a state, the others errors.
    Part,
    /// It did not open.
    Refused,
}

/// Opens an image and asks it everything. Fails unless what is answered is the truth of one of
/// `states`, as far as it is answered.
pub fn examine(image: MemoryDevice, read_only: bool, states: &[Answers], what: &str) -> Outcome {
    let mut options = options();
    options.engine.read_only = read_only;
    let providers = Providers::same(Toy::with(&[META, DATA]));
    let store = match Store::open(Arc::new(image), providers, options) {
        Ok(store) => store,
        Err(error) => {
            assert!(is_refusal(error.kind()), "{what}: {error:?}");
            return Outcome::Refused;
        }
    };
    let answers = ask(store.file_system());
    let outcome = judge(&answers, states).unwrap_or_else(|| panic!("{what}: {answers:?}"));
    if !read_only {
        work_on(&store, what);
    }
    outcome
}

/// Which state the answers are of, if any.
fn judge(answers: &Answers, states: &[Answers]) -> Option<Outcome> {
    if let Some(state) = states.iter().rposition(|state| state == answers) {
        return Some(Outcome::State(state));
    }
    let fits = |state: &Answers| {
        answers.iter().zip(state).all(|(answer, truth)| match answer {
            Err(kind) if is_refusal(*kind) => true,
            answer => answer == truth,
        })
    };
    states.iter().any(fits).then_some(Outcome::Part)
}

/// Changes go well, or are refused, and then nothing changes any more.
fn work_on(store: &Store, what: &str) {
    let fs = store.file_system();
    let change = || -> Result<()> {
        fs.mkdir(ROOT_INO, b"new directory", &Default::default())?;
        fs.write_file(b"/new directory/file", &Default::default(), &[7; 9000])?;
        fs.unlink(ROOT_INO, b"small")?;
        store.sync()?;
        fs.maintain()?;
        Ok(())
    };
    match change() {
        Ok(()) => {
            let file = fs.read_file(b"/new directory/file");
            assert!(file.is_ok_and(|bytes| bytes == [7; 9000]), "{what}: what was written");
        }
        Err(Error::NotFound | Error::Poisoned(_)) => {}
        Err(error) => assert!(is_refusal(error.kind()), "{what}: {error:?}"),
    }
}
