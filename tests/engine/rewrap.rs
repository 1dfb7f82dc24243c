use efscrypt::device::MemoryDevice;
use efscrypt::keys::{EncryptionContext, KeyDescription, KeyProvider, KeyState, WrappedKey};
use efscrypt::secret::Secret;
use efscrypt::{Error, Providers, Result, Rewrap, Store, StoreOptions};
use std::sync::{Arc, Mutex};

/// Wraps by xor under a byte; calls a hook before it wraps.
struct Toy {
    key: u8,
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}
impl Toy {
    fn new(key: u8) -> Arc<Toy> {
        Arc::new(Toy { key, hook: Mutex::new(None) })
    }
}
impl KeyProvider for Toy {
    fn name(&self) -> &str {
        "toy"
    }
    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)> {
        let secret = Secret::take(&mut [0x5a; 32]);
        let wrapped = self.wrap(key, context, &secret)?;
        Ok((secret, wrapped))
    }
    fn wrap(&self, key: &str, _: &EncryptionContext, secret: &Secret<32>) -> Result<WrappedKey> {
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook()
        }
        let blob: Vec<u8> =
            [&[self.key][..], &secret.expose().map(|byte| byte ^ self.key)].concat();
        WrappedKey::new("toy", key, &blob)
    }
    fn unwrap(&self, wrapped: &WrappedKey, _: &EncryptionContext) -> Result<Secret<32>> {
        if wrapped.blob()[0] != self.key {
            return Err(Error::KeyNotFound("k".into()));
        }
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(&wrapped.blob()[1..]).for_each(|(to, from)| *to = from ^ self.key);
        Ok(Secret::take(&mut bytes))
    }
    fn describe(&self, key: &str) -> Result<KeyDescription> {
        Ok(KeyDescription::new("toy", key, KeyState::Enabled))
    }
}

#[test]
fn two_rewraps_at_once_both_hold() {
    let device = Arc::new(MemoryDevice::new());
    let (a, b, c) = (Toy::new(1), Toy::new(2), Toy::new(3));
    let store = Arc::new(
        Store::create(
            device.clone(),
            Providers::same(a.clone()),
            "k",
            "k",
            StoreOptions::default(),
        )
        .unwrap(),
    );
    // While the metadata key is being wrapped, the data key is rewrapped too.
    let (other, target) = (Arc::clone(&store), b.clone());
    let (send, receive) = std::sync::mpsc::channel();
    *c.hook.lock().unwrap() = Some(Box::new(move || {
        let thread =
            std::thread::spawn(move || other.rewrap(Rewrap::new().data(target, "k")).unwrap());
        send.send(thread).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }));
    store.rewrap(Rewrap::new().metadata(c.clone(), "k")).unwrap();
    receive.recv().unwrap().join().unwrap();
    drop(store);
    // Both returned well, so the new providers are enough.
    let providers = Providers::new(c, b);
    Store::open(device, providers, StoreOptions::default()).map(drop).unwrap();
}
