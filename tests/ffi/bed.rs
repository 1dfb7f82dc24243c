//! What the tests stand on: a toy key service by callbacks, stores on files or on any device, and
//! statuses as results.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use efscrypt::device::Device;
use efscrypt::ffi::*;
use efscrypt::keys::{EncryptionContext, KeyDescription, KeyProvider, KeyState, WrappedKey};
use efscrypt::secret::Secret;
use efscrypt::{Providers, Store, StoreOptions};

/// The status and the message of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub status: efscrypt_status,
    pub message: String,
    /// Bytes that were written.
    pub done: u64,
}

/// Calls a function with room for an error.
pub fn call(f: impl FnOnce(*mut efscrypt_error) -> efscrypt_status) -> Result<(), Failure> {
    // SAFETY: zeros are an error without one.
    let mut error: efscrypt_error = unsafe { std::mem::zeroed() };
    let status = f(&raw mut error);
    if status == efscrypt_status::Ok {
        assert_eq!(error.status, 0, "a success wrote an error");
        return Ok(());
    }
    assert_eq!(error.status, status as u32);
    assert_ne!(error.os_error, 0);
    // SAFETY: the message ends with a NUL.
    let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
    Err(Failure { status, message: message.to_str().unwrap().to_owned(), done: error.done })
}

/// The status of a call.
pub fn status(f: impl FnOnce(*mut efscrypt_error) -> efscrypt_status) -> efscrypt_status {
    call(f).map_or_else(|failure| failure.status, |()| efscrypt_status::Ok)
}

pub fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

pub fn c_path(path: &Path) -> CString {
    c(path.to_str().unwrap())
}

type Hook = Box<dyn FnMut() + Send>;

/// What a toy key service does, and what it was asked.
#[derive(Default)]
pub struct Toy {
    /// Mixed into every wrap: services with different bytes cannot unwrap each other's.
    pub key: u8,
    pub wraps: AtomicUsize,
    pub unwraps: AtomicUsize,
    pub frees: AtomicUsize,
    /// Status of the calls that are left, unless it is 0.
    pub wrap_status: AtomicU32,
    pub unwrap_status: AtomicU32,
    /// Unwraps to another key.
    pub lies: AtomicU32,
    /// Length that wrap sets, less one: 0 for the true one.
    pub blob_len: AtomicUsize,
    /// Id that wrap gives, where it is one.
    pub id: Mutex<Option<CString>>,
    /// Id that unwrap was last asked for.
    pub asked: Mutex<String>,
    /// Runs in wrap.
    pub hook: Mutex<Option<Hook>>,
}

pub const OPS: efscrypt_provider_ops = efscrypt_provider_ops {
    size: size_of::<efscrypt_provider_ops>(),
    wrap: Some(wrap),
    unwrap: Some(unwrap),
    free: Some(free),
};

/// Xor with the service's byte, and the sum of the context in front.
fn mask(toy: &Toy, context: &[u8]) -> (u8, u8) {
    (toy.key, context.iter().fold(0, |sum, byte| sum ^ byte))
}

unsafe extern "C" fn wrap(
    userdata: *mut c_void,
    _key: *const c_char,
    context: *const u8,
    context_len: usize,
    secret: *const u8,
    blob: *mut u8,
    blob_len: *mut usize,
    id: *mut c_char,
) -> u32 {
    // SAFETY: the test gave a toy that lives as long as the provider.
    let toy = unsafe { &*userdata.cast::<Toy>() };
    // SAFETY: the library gives valid bytes.
    let context = unsafe { std::slice::from_raw_parts(context, context_len) };
    // SAFETY: as above.
    let secret = unsafe { std::slice::from_raw_parts(secret, 32) };
    toy.wraps.fetch_add(1, Ordering::SeqCst);
    if let Some(hook) = toy.hook.lock().unwrap().as_mut() {
        hook();
    }
    let status = toy.wrap_status.load(Ordering::SeqCst);
    if status != 0 {
        return status;
    }
    let (key, sum) = mask(toy, context);
    // SAFETY: there is room for EFSCRYPT_BLOB_LEN bytes.
    let blob = unsafe { std::slice::from_raw_parts_mut(blob, 33) };
    blob[0] = key ^ sum;
    blob[1..].iter_mut().zip(secret).for_each(|(to, from)| *to = from ^ key);
    let len = match toy.blob_len.load(Ordering::SeqCst) {
        0 => 33,
        other => other - 1,
    };
    // SAFETY: valid for a write, and 0 before.
    assert_eq!(unsafe { blob_len.replace(len) }, 0);
    if let Some(given) = &*toy.id.lock().unwrap() {
        let given = given.as_bytes_with_nul();
        // SAFETY: there is room for EFSCRYPT_KEY_ID_LEN bytes.
        unsafe { id.copy_from_nonoverlapping(given.as_ptr().cast(), given.len()) };
    }
    0
}

unsafe extern "C" fn unwrap(
    userdata: *mut c_void,
    id: *const c_char,
    context: *const u8,
    context_len: usize,
    blob: *const u8,
    blob_len: usize,
    secret: *mut u8,
) -> u32 {
    // SAFETY: the test gave a toy that lives as long as the provider.
    let toy = unsafe { &*userdata.cast::<Toy>() };
    // SAFETY: the library gives valid bytes.
    let context = unsafe { std::slice::from_raw_parts(context, context_len) };
    // SAFETY: as above.
    let blob = unsafe { std::slice::from_raw_parts(blob, blob_len) };
    // SAFETY: as above.
    *toy.asked.lock().unwrap() = unsafe { CStr::from_ptr(id) }.to_str().unwrap().to_owned();
    toy.unwraps.fetch_add(1, Ordering::SeqCst);
    let status = toy.unwrap_status.load(Ordering::SeqCst);
    if status != 0 {
        return status;
    }
    let (key, sum) = mask(toy, context);
    if blob.len() != 33 || blob[0] != key ^ sum {
        return efscrypt_status::Corrupt as u32;
    }
    let key = key ^ u8::from(toy.lies.load(Ordering::SeqCst) != 0);
    let opened: Vec<u8> = blob[1..].iter().map(|byte| byte ^ key).collect();
    // SAFETY: there is room for 32 bytes.
    unsafe { secret.copy_from_nonoverlapping(opened.as_ptr(), 32) };
    0
}

unsafe extern "C" fn free(userdata: *mut c_void) {
    // SAFETY: the test gave a toy that lives as long as the provider.
    unsafe { &*userdata.cast::<Toy>() }.frees.fetch_add(1, Ordering::SeqCst);
}

/// A provider of C's, freed with the test.
pub struct Provider {
    pub raw: *mut efscrypt_provider,
    pub toy: &'static Toy,
}

impl Provider {
    pub fn new(key: u8) -> Provider {
        let toy: &'static Toy = Box::leak(Box::new(Toy { key, ..Toy::default() }));
        Provider { raw: Provider::of("toy", &OPS, toy).unwrap(), toy }
    }

    pub fn of(
        name: &str,
        ops: *const efscrypt_provider_ops,
        toy: &'static Toy,
    ) -> Result<*mut efscrypt_provider, Failure> {
        let (name, mut raw) = (c(name), null_mut());
        let userdata = std::ptr::from_ref(toy).cast_mut().cast::<c_void>();
        // SAFETY: all pointers are valid.
        call(|error| unsafe {
            efscrypt_provider_create(name.as_ptr(), ops, userdata, &raw mut raw, error)
        })?;
        Ok(raw)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // SAFETY: made by the library, and not freed before.
        unsafe { efscrypt_provider_free(self.raw) };
    }
}

/// An open store of C's, left open where a test does not close it.
pub struct Open(pub *mut efscrypt_store);

// SAFETY: the interface allows any thread.
unsafe impl Sync for Open {}
// SAFETY: as above.
unsafe impl Send for Open {}

impl Open {
    pub fn create(path: &Path, keys: &Provider) -> Result<Open, Failure> {
        Open::create_with(path, keys, null())
    }

    pub fn create_with(
        path: &Path,
        keys: &Provider,
        options: *const efscrypt_options,
    ) -> Result<Open, Failure> {
        let (path, key, mut store) = (c_path(path), c("k"), null_mut());
        let (keys, key) = (keys.raw, key.as_ptr());
        // SAFETY: all pointers are valid.
        call(|error| unsafe {
            let store = &raw mut store;
            efscrypt_store_create(path.as_ptr(), options, keys, key, keys, key, store, error)
        })?;
        Ok(Open(store))
    }

    pub fn existing(path: &Path, keys: &Provider) -> Result<Open, Failure> {
        Open::existing_with(path, keys, null())
    }

    pub fn existing_with(
        path: &Path,
        keys: &Provider,
        options: *const efscrypt_options,
    ) -> Result<Open, Failure> {
        let (path, mut store) = (c_path(path), null_mut());
        // SAFETY: all pointers are valid.
        call(|error| unsafe {
            let store = &raw mut store;
            efscrypt_store_open(path.as_ptr(), options, keys.raw, keys.raw, store, error)
        })?;
        Ok(Open(store))
    }

    /// A new store on a device, with keys that nobody calls back for.
    pub fn on(device: Arc<dyn Device>) -> Open {
        Open::of(Store::create(device, plain_providers(), "k", "k", small()).unwrap())
    }

    /// The store on a device.
    pub fn again(device: Arc<dyn Device>) -> Open {
        Open::of(Store::open(device, plain_providers(), small()).unwrap())
    }

    fn of(store: Store) -> Open {
        Open(Box::into_raw(Box::new(store.into())))
    }

    pub fn close(self) -> Result<(), Failure> {
        // SAFETY: made by the library, and not closed before.
        call(|error| unsafe { efscrypt_store_close(self.0, error) })
    }

    /// Leaves the store as a process does that dies.
    pub fn die(self) {}

    pub fn commit(&self) -> Result<(), Failure> {
        // SAFETY: an open store.
        call(|error| unsafe { efscrypt_store_commit(self.0, error) })
    }

    /// Makes a file in the root directory.
    pub fn make(&self, name: &str) -> Result<efscrypt_attr, Failure> {
        let mut created = std::mem::MaybeUninit::uninit();
        // SAFETY: all pointers are valid.
        call(|error| unsafe {
            let (name, len) = (name.as_ptr(), name.len());
            let created = created.as_mut_ptr();
            let (set, verifier) = (null(), null());
            efscrypt_fs_create(self.0, EFSCRYPT_ROOT, name, len, set, 0, verifier, created, error)
        })?;
        // SAFETY: written on success.
        Ok(unsafe { created.assume_init() }.attr)
    }

    pub fn write(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        // SAFETY: all pointers are valid.
        call(|error| unsafe {
            let (bytes, len) = (bytes.as_ptr(), bytes.len());
            efscrypt_fs_write(self.0, ino, offset, bytes, len, null_mut(), error)
        })
    }

    /// Reads into memory that was never written.
    pub fn read(&self, ino: u64, offset: u64, len: usize) -> Result<(Vec<u8>, bool), Failure> {
        let mut bytes = Vec::<u8>::with_capacity(len);
        let (mut done, mut eof) = (0, false);
        // SAFETY: all pointers are valid, and the buffer has room.
        call(|error| unsafe {
            let (done, eof) = (&raw mut done, &raw mut eof);
            efscrypt_fs_read(self.0, ino, offset, bytes.as_mut_ptr(), len, done, eof, error)
        })?;
        // SAFETY: so many bytes were written.
        unsafe { bytes.set_len(done) };
        Ok((bytes, eof))
    }

    pub fn getattr(&self, ino: u64) -> Result<efscrypt_attr, Failure> {
        let mut attr = std::mem::MaybeUninit::uninit();
        // SAFETY: all pointers are valid.
        call(|error| unsafe { efscrypt_fs_getattr(self.0, ino, attr.as_mut_ptr(), error) })?;
        // SAFETY: written on success.
        Ok(unsafe { attr.assume_init() })
    }

    pub fn unlink(&self, name: &str) -> Result<(), Failure> {
        // SAFETY: all pointers are valid.
        call(|error| unsafe {
            let (name, len) = (name.as_ptr(), name.len());
            efscrypt_fs_unlink(self.0, EFSCRYPT_ROOT, name, len, null_mut(), error)
        })
    }

    pub fn statfs(&self) -> efscrypt_statfs {
        let mut statfs = std::mem::MaybeUninit::uninit();
        // SAFETY: all pointers are valid.
        call(|error| unsafe { efscrypt_fs_statfs(self.0, statfs.as_mut_ptr(), error) }).unwrap();
        // SAFETY: written on success.
        unsafe { statfs.assume_init() }
    }
}

/// Options without anything set.
/// Both domains under keys; NULL for one that stays.
pub fn rewrap_to(
    metadata: *const efscrypt_provider,
    metadata_key: &CStr,
    data: *const efscrypt_provider,
    data_key: &CStr,
) -> efscrypt_rewrap {
    let size = size_of::<efscrypt_rewrap>();
    let (metadata_key, data_key) = (metadata_key.as_ptr(), data_key.as_ptr());
    efscrypt_rewrap { size, metadata, metadata_key, data, data_key }
}

pub fn options() -> efscrypt_options {
    // SAFETY: zeros are options, as the header says.
    let zero: efscrypt_options = unsafe { std::mem::zeroed() };
    efscrypt_options { size: size_of::<efscrypt_options>(), log_bytes: 512 << 10, ..zero }
}

/// Attributes of which nothing is set.
pub fn set_attr() -> efscrypt_set_attr {
    // SAFETY: zeros are attributes, as the header says.
    let zero: efscrypt_set_attr = unsafe { std::mem::zeroed() };
    efscrypt_set_attr { size: size_of::<efscrypt_set_attr>(), ..zero }
}

fn small() -> StoreOptions {
    // A store that a test leaves as if the process died is not open.
    let takeover = efscrypt::Takeover::AtOnce;
    let mut options = StoreOptions { takeover, ..StoreOptions::default() };
    options.engine.log_bytes = 512 << 10;
    options
}

/// A key service that wraps by doing nothing.
struct Plain;

impl KeyProvider for Plain {
    fn name(&self) -> &str {
        "plain"
    }
    fn generate(
        &self,
        key: &str,
        context: &EncryptionContext,
    ) -> efscrypt::Result<(Secret<32>, WrappedKey)> {
        let secret = Secret::take(&mut [0x5a; 32]);
        let wrapped = self.wrap(key, context, &secret)?;
        Ok((secret, wrapped))
    }
    fn wrap(
        &self,
        key: &str,
        _: &EncryptionContext,
        secret: &Secret<32>,
    ) -> efscrypt::Result<WrappedKey> {
        WrappedKey::new("plain", key, secret.expose())
    }
    fn unwrap(&self, key: &WrappedKey, _: &EncryptionContext) -> efscrypt::Result<Secret<32>> {
        Ok(Secret::from_slice(key.blob()).unwrap())
    }
    fn describe(&self, key: &str) -> efscrypt::Result<KeyDescription> {
        Ok(KeyDescription::new("plain", key, KeyState::Enabled))
    }
}

fn plain_providers() -> Providers {
    Providers::same(Arc::new(Plain))
}

/// A device that calls a hook before each write and flush.
pub struct Hooked {
    pub inner: Arc<dyn Device>,
    pub before_write: Mutex<Option<Hook>>,
    pub before_flush: Mutex<Option<Hook>>,
}

impl Hooked {
    pub fn new(inner: Arc<dyn Device>) -> Arc<Hooked> {
        Arc::new(Hooked { inner, before_write: Mutex::default(), before_flush: Mutex::default() })
    }

    fn fire(hook: &Mutex<Option<Hook>>) {
        // Taken out while it runs, so that it may panic or wait without the lock.
        let taken = hook.lock().unwrap().take();
        if let Some(mut taken) = taken {
            taken();
            hook.lock().unwrap().get_or_insert(taken);
        }
    }
}

impl Device for Hooked {
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }
    fn capacity(&self) -> std::io::Result<Option<u64>> {
        self.inner.capacity()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.inner.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> std::io::Result<()> {
        Hooked::fire(&self.before_write);
        self.inner.write_at(offset, buf)
    }
    fn write_many(&self, offset: u64, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<()> {
        Hooked::fire(&self.before_write);
        self.inner.write_many(offset, bufs)
    }
    fn flush(&self) -> std::io::Result<()> {
        Hooked::fire(&self.before_flush);
        self.inner.flush()
    }
    fn allocate(&self, offset: u64, len: u64) -> std::io::Result<()> {
        self.inner.allocate(offset, len)
    }
    fn discard(&self, offset: u64, len: u64) -> std::io::Result<()> {
        self.inner.discard(offset, len)
    }
}
