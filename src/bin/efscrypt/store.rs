//! Which store, and how it is opened: what all subcommands but `key` begin with.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use efscrypt::device::FileDevice;
use efscrypt::fs::{Attr, FileSystem};
use efscrypt::keys::{AuditLog, EncryptionContext, KeyProvider};
use efscrypt::{DataAccess, Error, ErrorKind, Providers, Store, StoreOptions, Takeover, host};

use efscrypt::cli::hint::for_store as hint;

use crate::exit::Failure;
use crate::output;
use crate::unlock::KmsArgs;

/// How long a command waits for who has the store open: a mount that just ended commits yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most memory for a store's metadata, bytes, unless told otherwise.
const CACHE: usize = 256 << 20;

/// A store, and the key service that opens it.
#[derive(Args)]
pub struct StoreArgs {
    /// The store: a file or a block device
    #[arg(id = "store", value_name = "STORE")]
    path: PathBuf,

    /// A pair bound to the store's keys when it was created; repeat for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,

    /// Memory for the store's metadata, MiB (default: 256, or an eighth of what may be used where
    /// that is less)
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(8..=1 << 20))]
    cache: Option<u32>,

    /// What to do where another opening may still have the store open that no lock shows, as on
    /// another host: watch it for so many seconds before taking the store over, `now`, or `never`
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = takeover)]
    takeover: Takeover,

    #[command(flatten)]
    kms: KmsArgs,
}

/// What a subcommand needs of a store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Names, attributes and key slots, not contents: opens without the contents key, and changes
    /// nothing. Several such may have the store open.
    Metadata,
    /// As `Metadata`, for the only one who has it open.
    WriteMetadata,
    /// Everything, changing nothing.
    Read,
    /// Everything.
    Write,
}

impl Access {
    fn is_read_only(self) -> bool {
        matches!(self, Access::Metadata | Access::Read)
    }

    fn data(self) -> DataAccess {
        match self {
            Access::Metadata | Access::WriteMetadata => DataAccess::IfAvailable,
            Access::Read | Access::Write => DataAccess::Required,
        }
    }
}

impl StoreArgs {
    /// The store's file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A failure of what was tried with the store: `cannot VERB store PATH`.
    pub fn failure(&self, verb: &str, error: Error) -> Failure {
        let hint = hint(&error);
        let failure = Failure::new(format!("cannot {verb} store {}", self.path.display()), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }

    /// The key service, as the provider of both domains.
    pub fn provider(&self) -> Result<Arc<dyn KeyProvider>, Failure> {
        self.kms.provider()
    }

    /// As [`StoreArgs::provider`], with the log of its key uses.
    pub fn provider_and_log(&self) -> Result<(Arc<dyn KeyProvider>, AuditLog), Failure> {
        Ok((self.kms.provider()?, self.kms.own_log()?))
    }

    /// Opens the store.
    pub fn open(&self, access: Access) -> Result<Store, Failure> {
        Ok(self.open_with_provider(access)?.0)
    }

    /// Opens the store, and gives the key service that opened it, too.
    pub fn open_with_provider(
        &self,
        access: Access,
    ) -> Result<(Store, Arc<dyn KeyProvider>), Failure> {
        // The store's file first: a wrong name costs nobody a passphrase.
        let device = self.device(access.is_read_only())?;
        let provider = self.provider()?;
        let store = self.open_device(device, access, Arc::clone(&provider))?;
        Ok((store.map_err(|error| self.failure("open", error))?, provider))
    }

    /// The store's file. Where somebody has it open, waits for a while and says so.
    pub fn device(&self, read_only: bool) -> Result<FileDevice, Failure> {
        let waiting = || {
            let holder = FileDevice::holder(&self.path);
            let by = holder.map_or(String::new(), |holder| format!(" by {holder}"));
            let (path, wait) = (self.path.display(), PATIENCE.as_secs());
            output::say(&format!("store {path} is in use{by}: waiting up to {wait} s"));
        };
        let opened = FileDevice::open_patiently(&self.path, read_only, PATIENCE, waiting);
        opened.map_err(|error| self.failure("open", error))
    }

    /// Opens the store on a device, and tells what the store itself has against it from failures
    /// of the arguments.
    pub fn open_device(
        &self,
        device: FileDevice,
        access: Access,
        provider: Arc<dyn KeyProvider>,
    ) -> Result<Result<Store, Error>, Failure> {
        let mut options = self.options()?;
        options.engine.read_only = access.is_read_only();
        options.data_access = access.data();
        Ok(Store::open(Arc::new(device), Providers::same(provider), options))
    }

    /// Closes a store that was open for writing: what deleted files still hold is freed, and
    /// everything is durable.
    pub fn close(&self, store: Store) -> Result<(), Failure> {
        let failed = |error| self.failure("close", error);
        while !store.file_system().maintain().map_err(failed)? {}
        store.close().map_err(failed)
    }

    /// What a path in the store leads to.
    pub fn find(&self, fs: &FileSystem, path: &Path) -> Result<Attr, Failure> {
        let found = fs.at(path.as_os_str().as_bytes());
        found.map_err(|error| self.entry_failure("find", path, error))
    }

    /// A failure of what was tried with something in the store: `cannot VERB PATH`.
    pub fn entry_failure(&self, verb: &str, path: &Path, error: Error) -> Failure {
        let hint = match error.kind() {
            ErrorKind::NotFound => Some("`efscrypt ls` shows what there is"),
            ErrorKind::NotDirectory => Some("symbolic links are not followed; name the directory"),
            ErrorKind::IsDirectory => Some("`efscrypt ls` shows what is in a directory"),
            ErrorKind::NotSupported => Some("only regular files have contents"),
            _ => hint(&error),
        };
        let failure = Failure::new(format!("cannot {verb} {} in the store", path.display()), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }

    /// The options that the arguments give.
    pub fn options(&self) -> Result<StoreOptions, Failure> {
        let takeover = self.takeover;
        let mut options = StoreOptions { takeover, ..StoreOptions::default() };
        let given = self.cache.map(|mib| (mib as usize) << 20);
        options.engine.cache_bytes = given.unwrap_or_else(|| host::cache_bytes(CACHE));
        options.context = self
            .context
            .iter()
            .try_fold(EncryptionContext::new(), |context, (key, value)| context.with(key, value))
            .map_err(|e| Failure::new("cannot use --context", e))?;
        Ok(options)
    }
}

/// `KEY=VALUE`, parted at the first `=`.
pub fn pair(text: &str) -> Result<(String, String), String> {
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

/// A key of a key service: an id, or `alias/NAME`, also where only NAME is given.
pub fn key_name(text: &str) -> Result<String, String> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(match is_id || text.starts_with("alias/") {
        true => text.to_owned(),
        false => format!("alias/{text}"),
    })
}
