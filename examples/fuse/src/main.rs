//! Mounts an efscrypt store, so that any program can use it.

mod acl;
mod attr;
mod caller;
mod committer;
mod contents;
mod entries;
mod failure;
mod mountpoint;
mod operations;
mod server;
mod signals;
mod workers;
mod xattr;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, available_parallelism};
use std::time::Duration;
use std::{io, mem};

use clap::Parser;
use efscrypt::cli::unlock::KmsArgs;
use efscrypt::cli::{exit, hint};
use efscrypt::device::FileDevice;
use efscrypt::keys::EncryptionContext;
use efscrypt::{Providers, Store, StoreOptions, Takeover};
use fuser::Session;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, configure_io_flusher_behavior, set_dumpable_behavior,
    setrlimit,
};

use committer::Committer;
use failure::{Failure, Try, say};
use mountpoint::{Mountpoint, Options};
use server::Server;

/// Fewest and most threads that take requests from the kernel, unless told otherwise. What waits
/// for the device is handed on, but some of them may write a checkpoint.
const THREADS: RangeInclusive<usize> = 4..=8;
/// How long who has the store open may take to close it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Mounts an efscrypt store, until it is unmounted, or SIGINT, SIGTERM or SIGHUP comes
#[derive(Parser)]
#[command(version, after_long_help = exit::help())]
struct Args {
    /// The store: a file or a block device
    store: PathBuf,

    /// The directory where it shows
    mountpoint: PathBuf,

    #[command(flatten)]
    kms: KmsArgs,

    /// A pair bound to the store's keys when it was created; repeat for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,

    /// Change nothing
    #[arg(long)]
    read_only: bool,

    /// What to do where another opening may still have the store open that no lock shows, as on
    /// another host: watch it for so many seconds before taking the store over, `now`, or `never`
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = takeover)]
    takeover: Takeover,

    /// Let other users in, as the permissions of files allow
    #[arg(long)]
    allow_other: bool,

    /// Let the kernel keep back what programs write until they sync or close the file, or half a
    /// minute: faster, but a full store is told only then. It hands over as whoever makes it do
    /// so, who must be let in
    #[arg(long, requires = "allow_other")]
    write_back: bool,

    /// Run set-user-ID programs in the store as their owner
    #[arg(long)]
    suid: bool,

    /// Let device nodes in the store be devices
    #[arg(long)]
    dev: bool,

    /// Memory for the store's metadata, MiB (default: 256, or an eighth of what may be used where
    /// that is less)
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(8..=1 << 20))]
    cache_size: Option<u32>,

    /// Threads that take requests from the kernel (default: one for two processors, 4 to 8)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=256))]
    threads: Option<u16>,
}

/// Most memory for a store's metadata, bytes, unless told otherwise.
const CACHE: usize = 256 << 20;

fn main() -> ExitCode {
    keep_to_itself();
    serve_reclaim();
    efscrypt::cli::say::begin("efscrypt-fuse", false);
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::misused(&error),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}

/// Leaves no image of this process, with the keys in it, on a disk or to other programs of the
/// same user. Best effort: the keys' own memory is left out of images in any case.
fn keep_to_itself() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _best_effort = setrlimit(Resource::Core, none);
    let _best_effort = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Keeps memory that the kernel reclaims for this process from waiting for this process: the kernel
/// writes back what the mount holds by asking it. Best effort: only root may say so.
fn serve_reclaim() {
    let _best_effort = configure_io_flusher_behavior(true);
}

fn run(args: &Args) -> Result<(), Failure> {
    // Before anybody is asked for a passphrase.
    Mountpoint::look(&args.mountpoint)?;
    let store = Arc::new(open(args)?);
    let server = Server::new(Arc::clone(&store), args.write_back && !args.read_only)
        .or_fail(|| "cannot start a thread".to_owned())?;
    let signals = signals::hold().or_fail(|| "cannot watch for signals".to_owned())?;
    let (place, session) =
        Mountpoint::mount(server, &args.store, &args.mountpoint, &args.options())?;
    place.read_ahead();
    signals::watch(signals, place.clone(), &store)
        .or_fail(|| "cannot watch for signals".to_owned())?;
    let committer = Committer::start(&store).or_fail(|| "cannot start a thread".to_owned())?;
    say(&format!("{} is mounted on {}", args.store.display(), args.mountpoint.display()));
    let served = serve(session);
    if served.is_err() {
        // Nobody answers any more. Where it ended by itself, this finds nothing to do.
        let _gone = place.cut();
    }
    committer.stop();
    finish(args, store)?;
    served.or_fail(|| "the mount ended".to_owned())
}

/// Serves requests until the mount ends.
fn serve(session: Session<Server>) -> io::Result<()> {
    let mut session = session.spawn()?;
    let nothing = thread::Builder::new().spawn(|| Ok(()))?;
    let serving = mem::replace(&mut session.guard, nothing);
    // Dropped, it would unmount whatever is mounted there by then.
    mem::forget(session);
    match serving.join().map_err(|_panic| io::Error::other("the server panicked"))? {
        // What the kernel answers to some of the threads when a mount ends.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
        served => served,
    }
}

/// Commits everything and closes the store.
fn finish(args: &Args, store: Arc<Store>) -> Result<(), Failure> {
    let doing = || format!("changes may be lost: cannot close store {}", args.store.display());
    if args.read_only {
        say("unmounted");
        return Ok(());
    }
    // What programs wrote comes first, and a failure of one step keeps none of the others back.
    let synced = store.sync();
    // The kernel's references went with the mount.
    let forgotten = store.file_system().close_all();
    let store = signals::only_one(store);
    let closed = store.map_or(Ok(()), Store::close);
    synced.and(forgotten).and(closed).or_fail(doing)?;
    say("unmounted: everything is committed");
    Ok(())
}

/// The store's file. A server whose mount just ended may have it open yet.
fn device(args: &Args) -> Result<FileDevice, Failure> {
    let store = args.store.display();
    let waiting = || {
        let holder = FileDevice::holder(&args.store);
        let by = holder.map_or(String::new(), |holder| format!(" by {holder}"));
        say(&format!("store {store} is in use{by}: waiting up to {} s", PATIENCE.as_secs()));
    };
    let opened = FileDevice::open_patiently(&args.store, args.read_only, PATIENCE, waiting);
    opened.or_fail(|| format!("cannot open store {store}"))
}

fn open(args: &Args) -> Result<Store, Failure> {
    let doing = || format!("cannot open store {}", args.store.display());
    // The store's file first: a wrong name costs nobody a passphrase.
    let failed = |error: efscrypt::Error| {
        let hint = hint::for_store(&error);
        let failure = Failure::new(doing(), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    };
    let device = device(args)?;
    let providers = Providers::same(args.kms.provider()?);
    let mut options = StoreOptions::default();
    options.engine.read_only = args.read_only;
    options.takeover = args.takeover;
    let given = args.cache_size.map(|mib| (mib as usize) << 20);
    options.engine.cache_bytes = given.unwrap_or_else(|| efscrypt::host::cache_bytes(CACHE));
    options.context = args
        .context
        .iter()
        .try_fold(EncryptionContext::new(), |context, (key, value)| context.with(key, value))
        .or_fail(|| "cannot use --context".to_owned())?;
    Store::open(Arc::new(device), providers, options).map_err(failed)
}

impl Args {
    fn options(&self) -> Options {
        let processors = available_parallelism().map_or(1, usize::from);
        let threads = (processors / 2).clamp(*THREADS.start(), *THREADS.end());
        Options {
            read_only: self.read_only,
            allow_other: self.allow_other,
            suid: self.suid,
            dev: self.dev,
            threads: self.threads.map_or(threads, usize::from),
        }
    }
}

/// `KEY=VALUE`, parted at the first `=`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it has the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Seconds, `now` or `never`.
fn takeover(text: &str) -> Result<Takeover, String> {
    match text {
        "now" => Ok(Takeover::AtOnce),
        "never" => Ok(Takeover::Never),
        _ => {
            let seconds = text.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
            let seconds = seconds.ok_or("it is 1 to 3600 seconds, `now` or `never`")?;
            Ok(Takeover::After(Duration::from_secs(seconds)))
        }
    }
}
