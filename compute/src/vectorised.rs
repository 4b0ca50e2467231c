//! One body, compiled for several vector widths and chosen at run time.
//!
//! The default target of x86-64 is SSE2: four lanes and no fused multiply-add. `vectorised!` compiles a function's
//! body again with AVX2 and with AVX-512 enabled and calls the widest version that this CPU has. Inside a body the
//! constant `FMA` says whether [`fused`](crate::cpu::math::fused) may use the instruction.

/// The vector instructions that the kernels are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// What the build target guarantees.
    Baseline,
    /// AVX2 and FMA: eight lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ, VL: sixteen lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The widest level of this CPU; the answer of the detection is cached.
#[inline]
pub(crate) fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
        *LEVEL.get_or_init(|| {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match (avx2, avx512) {
                (true, true) => Level::Avx512,
                (true, false) => Level::Avx2,
                (false, _) => Level::Baseline,
            }
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    Level::Baseline
}

/// Whether the baseline has a cheap fused multiply-add: elsewhere it would be a call into libm.
pub(crate) const BASELINE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Defines a function whose body is compiled once per [`Level`].
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<const FMA: bool>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body::<true>($($arg),*)
                }
                match $crate::vectorised::level() {
                    // SAFETY: `level` found every feature that the called function enables.
                    $crate::vectorised::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::vectorised::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::vectorised::Level::Baseline => {}
                }
            }
            body::<{ $crate::vectorised::BASELINE_FMA }>($($arg),*)
        }
    };
}
