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
    use std::cell::Cell;

    use super::Backend;

    /// Every dispatched kernel.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Kernel {
        Xts(Backend),
        Hash(Backend),
        Seal(Backend),
    }

    thread_local! {
        static HITS: Cell<[u64; 9]> = const { Cell::new([0; 9]) };
    }

    fn index(kernel: Kernel) -> usize {
        match kernel {
            Kernel::Xts(backend) => backend as usize,
            Kernel::Hash(backend) => 3 + backend as usize,
            Kernel::Seal(backend) => 6 + backend as usize,
        }
    }

    /// Called by every kernel's entry.
    pub(crate) fn hit(kernel: Kernel) {
        let mut hits = HITS.get();
        hits[index(kernel)] += 1;
        HITS.set(hits);
    }

    /// The kernels that ran on this thread during `f`.
    pub(crate) fn during(f: impl FnOnce()) -> Vec<Kernel> {
        let before = HITS.get();
        f();
        let after = HITS.get();
        let all = Backend::ALL.map(Kernel::Xts).into_iter();
        let all = all.chain(Backend::ALL.map(Kernel::Hash)).chain(Backend::ALL.map(Kernel::Seal));
        all.filter(|&k| after[index(k)] > before[index(k)]).collect()
    }
}
