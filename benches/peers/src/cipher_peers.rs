//! The contestants. Each encrypts or decrypts a buffer in place as consecutive units, the way its
//! interface allows: ours take many units in a call, the others one.

use aes::Aes256;
use aes::cipher::KeyInit;
use efscrypt::crypto::{DataKey, KeyArena, Slot, UnitTag};
use efscrypt::secret::Secret;
use efscrypt::xts::{Backend, Xts256};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use xts_mode::{Xts128, get_tweak_default};

pub trait Contestant {
    fn name(&self) -> &str;
    fn run(&mut self, buf: &mut [u8], unit: usize, tweak: u128, encrypt: bool);

    /// Whether the contestant has units of this length.
    fn takes(&self, _unit: usize) -> bool {
        true
    }
}

fn key() -> [u8; 64] {
    std::array::from_fn(|i| i as u8)
}

/// All contestants of this machine.
pub fn contestants() -> Vec<Box<dyn Contestant>> {
    let mut all: Vec<Box<dyn Contestant>> = Vec::new();
    for (backend, name) in [
        (Backend::Vaes512, "efscrypt vaes512"),
        (Backend::AesNi, "efscrypt aesni"),
        (Backend::Batched, "efscrypt batched"),
    ] {
        if let Ok(xts) = Xts256::with_backend(&key(), backend) {
            all.push(Box::new(Ours { name, xts }));
        }
    }
    all.push(Box::new(Sealed::new()));
    all.push(Box::new(AwsLc::new()));
    all.push(Box::new(OpenSsl::new()));
    all.push(Box::new(XtsMode::new()));
    all
}

struct Ours {
    name: &'static str,
    xts: Xts256,
}

impl Contestant for Ours {
    fn name(&self) -> &str {
        self.name
    }

    fn run(&mut self, buf: &mut [u8], unit: usize, tweak: u128, encrypt: bool) {
        if encrypt {
            self.xts.encrypt_units(buf, unit, tweak);
        } else {
            self.xts.decrypt_units(buf, unit, tweak);
        }
    }
}

/// The store's own sealing: XTS, MAC and crc32 of 4 KiB units, out of place and back.
struct Sealed {
    key: Slot<DataKey>,
    cipher: Vec<u8>,
    tags: Vec<UnitTag>,
    sealed: usize,
}

impl Sealed {
    fn new() -> Self {
        let arena = KeyArena::new().expect("key memory");
        let dek = Secret::from_slice(&key()[..32]).expect("32 bytes");
        let key = DataKey::derive(&arena, &dek, &[0; 16], 1).expect("a usable key");
        Sealed { key, cipher: Vec::new(), tags: Vec::new(), sealed: 0 }
    }
}

impl Contestant for Sealed {
    fn name(&self) -> &str {
        "efscrypt xts+mac+crc"
    }

    fn takes(&self, unit: usize) -> bool {
        unit == 4096
    }

    fn run(&mut self, buf: &mut [u8], unit: usize, tweak: u128, encrypt: bool) {
        let key = self.key.get().expect("the process that made it");
        if encrypt {
            self.cipher.resize(buf.len(), 0);
            self.tags.resize(buf.len() / unit, UnitTag::default());
            key.seal_units(tweak, buf, &mut self.cipher, &mut self.tags);
            return;
        }
        if self.sealed != buf.len() {
            self.sealed = buf.len();
            self.cipher.resize(buf.len(), 0);
            self.tags.resize(buf.len() / unit, UnitTag::default());
            key.seal_units(0, buf, &mut self.cipher, &mut self.tags);
        }
        // Opening is in place, so each call starts from a copy of the ciphertext, as a read
        // from a device would; the copy is part of the time.
        buf.copy_from_slice(&self.cipher);
        key.open_units(0, buf, &self.tags).expect("what was sealed opens");
    }
}

struct OpenSsl {
    encrypt: CipherCtx,
    decrypt: CipherCtx,
}

impl OpenSsl {
    fn new() -> Self {
        let (mut encrypt, mut decrypt) = (context(), context());
        let cipher = Some(Cipher::aes_256_xts());
        encrypt.encrypt_init(cipher, Some(&key()), Some(&[0; 16])).expect("encrypt init");
        decrypt.decrypt_init(cipher, Some(&key()), Some(&[0; 16])).expect("decrypt init");
        OpenSsl { encrypt, decrypt }
    }
}

fn context() -> CipherCtx {
    CipherCtx::new().expect("an OpenSSL context")
}

impl Contestant for OpenSsl {
    fn name(&self) -> &str {
        "openssl"
    }

    fn run(&mut self, buf: &mut [u8], unit: usize, tweak: u128, encrypt: bool) {
        for (index, unit) in buf.chunks_mut(unit).enumerate() {
            let iv = (tweak + index as u128).to_le_bytes();
            let ctx = if encrypt { &mut self.encrypt } else { &mut self.decrypt };
            let init = if encrypt {
                ctx.encrypt_init(None, None, Some(&iv))
            } else {
                ctx.decrypt_init(None, None, Some(&iv))
            };
            init.expect("a new tweak");
            ctx.cipher_update_inplace(unit, unit.len()).expect("a unit");
        }
    }
}

struct AwsLc {
    encrypt: *mut aws_lc_sys::EVP_CIPHER_CTX,
    decrypt: *mut aws_lc_sys::EVP_CIPHER_CTX,
}

impl AwsLc {
    fn new() -> Self {
        let context = |encrypt| {
            // SAFETY: allocates a context or returns null, which the init below refuses.
            let ctx = unsafe { aws_lc_sys::EVP_CIPHER_CTX_new() };
            // SAFETY: a static cipher description.
            let cipher = unsafe { aws_lc_sys::EVP_aes_256_xts() };
            let iv = [0u8; 16];
            let key = key();
            let (key, iv, none) = (key.as_ptr(), iv.as_ptr(), std::ptr::null_mut());
            // SAFETY: key and iv have the lengths that AES-256-XTS reads, 64 and 16 bytes.
            let done =
                unsafe { aws_lc_sys::EVP_CipherInit_ex(ctx, cipher, none, key, iv, encrypt) };
            assert_eq!(done, 1);
            ctx
        };
        AwsLc { encrypt: context(1), decrypt: context(0) }
    }
}

impl Contestant for AwsLc {
    fn name(&self) -> &str {
        "aws-lc"
    }

    fn run(&mut self, buf: &mut [u8], unit: usize, tweak: u128, encrypt: bool) {
        let ctx = if encrypt { self.encrypt } else { self.decrypt };
        for (index, unit) in buf.chunks_mut(unit).enumerate() {
            let iv = (tweak + index as u128).to_le_bytes();
            let (cipher, key) = (std::ptr::null(), std::ptr::null());
            let none = std::ptr::null_mut();
            // SAFETY: an initialized context keeps its cipher, key and direction; iv has 16 bytes.
            let init =
                unsafe { aws_lc_sys::EVP_CipherInit_ex(ctx, cipher, none, key, iv.as_ptr(), -1) };
            let (data, mut written) = (unit.as_mut_ptr(), 0);
            let len = unit.len() as i32;
            // SAFETY: in and out are the same `len` bytes, which the function allows.
            let done = unsafe { aws_lc_sys::EVP_CipherUpdate(ctx, data, &mut written, data, len) };
            assert!(init == 1 && done == 1 && written == len);
        }
    }
}

impl Drop for AwsLc {
    fn drop(&mut self) {
        for ctx in [self.encrypt, self.decrypt] {
            // SAFETY: made by `EVP_CIPHER_CTX_new` and freed once.
            unsafe { aws_lc_sys::EVP_CIPHER_CTX_free(ctx) };
        }
    }
}

struct XtsMode {
    xts: Xts128<Aes256>,
}

impl XtsMode {
    fn new() -> Self {
        let half = |range| Aes256::new_from_slice(&key()[range]).expect("32 bytes");
        XtsMode { xts: Xts128::new(half(0..32), half(32..64)) }
    }
}

impl Contestant for XtsMode {
    fn name(&self) -> &str {
        "xts-mode"
    }

    fn run(&mut self, buf: &mut [u8], unit: usize, tweak: u128, encrypt: bool) {
        if encrypt {
            self.xts.encrypt_area(buf, unit, tweak, get_tweak_default);
        } else {
            self.xts.decrypt_area(buf, unit, tweak, get_tweak_default);
        }
    }
}
