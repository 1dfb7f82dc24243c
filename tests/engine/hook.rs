use efscrypt::device::Device;
use std::io;
use std::sync::{Arc, Mutex};

pub type Call = Box<dyn FnMut(&'static str, u64, bool) -> io::Result<bool> + Send>;

/// Calls a hook before (false) and after (true) each operation; the hook answers true when done.
pub struct Hook {
    pub inner: Arc<dyn Device>,
    pub call: Mutex<Option<Call>>,
    /// Flushes fail without effect, as if the process died before them.
    pub no_flush: std::sync::atomic::AtomicBool,
}

impl Hook {
    pub fn new(inner: Arc<dyn Device>) -> Arc<Hook> {
        Arc::new(Hook { inner, call: Mutex::new(None), no_flush: Default::default() })
    }
    pub fn set(
        &self,
        call: impl FnMut(&'static str, u64, bool) -> io::Result<bool> + Send + 'static,
    ) {
        *self.call.lock().unwrap() = Some(Box::new(call));
    }
    fn fire(&self, op: &'static str, at: u64, after: bool) -> io::Result<()> {
        // Taken out while it runs: what it does to the device is not hooked.
        let Some(mut call) = self.call.lock().unwrap().take() else { return Ok(()) };
        let done = call(op, at, after);
        if !matches!(done, Ok(true)) {
            *self.call.lock().unwrap() = Some(call);
        }
        done.map(drop)
    }
}

impl Device for Hook {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn capacity(&self) -> io::Result<Option<u64>> {
        self.inner.capacity()
    }
    fn read_at(&self, o: u64, b: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(o, b)
    }
    fn write_at(&self, o: u64, b: &[u8]) -> io::Result<()> {
        self.fire("write", o, false)?;
        self.inner.write_at(o, b)?;
        self.fire("write", o, true)
    }
    fn write_many(&self, o: u64, b: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.inner.write_many(o, b)
    }
    fn flush(&self) -> io::Result<()> {
        self.fire("flush", 0, false)?;
        if self.no_flush.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::Error::other("killed"));
        }
        self.inner.flush()?;
        self.fire("flush", 0, true)
    }
    fn allocate(&self, o: u64, l: u64) -> io::Result<()> {
        self.inner.allocate(o, l)
    }
    fn discard(&self, o: u64, l: u64) -> io::Result<()> {
        self.inner.discard(o, l)
    }
}
