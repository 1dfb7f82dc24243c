//! Which implementation of the ciphers a key uses; chosen once, when the key is expanded.

use crate::error::{Error, Result};

/// An implementation of AES and of what is built on it. All give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Safe Rust over the `aes` and `polyval` crates, on every processor.
    Batched,
    /// AES-NI with PCLMULQDQ, 128 bits at a time.
    AesNi,
    /// VAES and VPCLMULQDQ on AVX-512, 512 bits at a time.
    Vaes512,
}

impl Backend {
    /// All backends, slowest first.
    pub const ALL: [Backend; 3] = [Backend::Batched, Backend::AesNi, Backend::Vaes512];

    /// The fastest backend of this processor.
    pub fn detect() -> Backend {
        if Backend::Vaes512.is_available() {
            Backend::Vaes512
        } else if Backend::AesNi.is_available() {
            Backend::AesNi
        } else {
            Backend::Batched
        }
    }

    /// Whether this processor has the backend's instructions.
    pub fn is_available(self) -> bool {
        match self {
            Backend::Batched => true,
            #[cfg(target_arch = "x86_64")]
            Backend::AesNi => crate::cpu::AesNi::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Backend::Vaes512 => crate::cpu::Vaes512::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Backend::AesNi | Backend::Vaes512 => false,
        }
    }

    /// The error for a backend that was asked for and is not there.
    pub(crate) fn unavailable() -> Error {
        Error::InvalidArgument("this processor lacks the instructions of that backend")
    }

    /// The backend itself, or an error where this processor lacks it.
    pub(crate) fn require(self) -> Result<Backend> {
        if self.is_available() { Ok(self) } else { Err(Backend::unavailable()) }
    }
}

/// Test-only record of which kernel ran, per thread, so that a test can assert that the kernel it
/// meant ran and that no other did.
#[cfg(test)]
pub(crate) mod probe {
    use std::cell::RefCell;

    use super::Backend;

    /// Every kernel that can be dispatched to.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Kernel {
        Xts(Backend),
        Hash(Backend),
        Seal(Backend),
        /// XTS and hash of units in one pass.
        Unit(Backend),
    }

    thread_local! {
        static HITS: RefCell<Vec<Kernel>> = const { RefCell::new(Vec::new()) };
    }

    /// Called by every kernel's entry.
    pub(crate) fn hit(kernel: Kernel) {
        HITS.with_borrow_mut(|hits| {
            if !hits.contains(&kernel) {
                hits.push(kernel);
            }
        });
    }

    /// The kernels that ran on this thread during `f`, in the order of their first run.
    pub(crate) fn during(f: impl FnOnce()) -> Vec<Kernel> {
        HITS.take();
        f();
        HITS.take()
    }
}
