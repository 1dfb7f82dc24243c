//! L1: what this processor can do, detected once.
//!
//! A token is a zero-sized witness that a set of instructions was detected. Only detection makes
//! one, and a kernel's key can only be built with its token, so a kernel cannot be reached on a
//! processor that lacks its instructions. The standard library caches what `CPUID` said, so
//! detection costs a few loads.

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{AesNi, Vaes512};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::is_x86_feature_detected;

    /// Witness of AES-NI with PCLMULQDQ and SSE4.1 (Intel from 2010, AMD from 2011).
    #[derive(Clone, Copy)]
    pub(crate) struct AesNi(());

    impl AesNi {
        /// A token, where the processor has the instructions.
        pub(crate) fn detect() -> Option<Self> {
            let found = is_x86_feature_detected!("aes")
                && is_x86_feature_detected!("pclmulqdq")
                && is_x86_feature_detected!("ssse3")
                && is_x86_feature_detected!("sse4.1");
            found.then_some(AesNi(()))
        }
    }

    /// Witness of VAES and VPCLMULQDQ on 512-bit registers with AVX-512 F, BW, DQ and VL (Intel
    /// from Ice Lake, AMD from Zen 4). One token for both: no processor has one without the
    /// other.
    #[derive(Clone, Copy)]
    pub(crate) struct Vaes512(AesNi);

    impl Vaes512 {
        /// A token, where the processor and the operating system have the instructions.
        pub(crate) fn detect() -> Option<Self> {
            let found = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("vaes")
                && is_x86_feature_detected!("vpclmulqdq");
            if found { AesNi::detect().map(Vaes512) } else { None }
        }

        /// The narrower set, which this one includes.
        pub(crate) fn aes_ni(self) -> AesNi {
            self.0
        }
    }

    const _: () = assert!(size_of::<AesNi>() == 0 && size_of::<Vaes512>() == 0);
}
