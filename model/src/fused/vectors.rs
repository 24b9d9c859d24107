//! Sixteen numbers at a time, by the widest instructions that the processor has.

use half::bf16;

use super::few_rows::Number;

/// Numbers of the widest vector.
pub(super) const WIDTH: usize = 16;

/// [`WIDTH`] numbers.
pub(super) trait Vector: Copy {
    const ZERO: Self;
    fn load(values: &[f32; WIDTH]) -> Self;
    fn load_bf16(values: &[bf16; WIDTH]) -> Self;
    fn load_i8(values: &[i8; WIDTH]) -> Self;
    /// As many of a finite f16, by its bits.
    fn all_f16(bits: u16) -> Self;
    /// As many of this number.
    fn all(value: f32) -> Self;
    fn store(self, values: &mut [f32; WIDTH]);
    /// Each times that of `other`.
    fn times(self, other: Self) -> Self;
    fn add(self, other: Self) -> Self;
    /// With `x * w` added.
    fn add_product(self, x: Self, w: Self) -> Self;
    fn sum(self) -> f32;
}

/// A finite f16 by its bits. In place of the conversion of `half`, which asks what the processor can each
/// time.
#[inline(always)]
pub(super) fn wide_f16(bits: u16) -> f32 {
    // Exponents of an f16 stand 112 lower; without one it is a multiple of 2^-24.
    const EXPONENT: u32 = 112 << 23;
    const SMALLEST: f32 = f32::from_bits((127 - 24) << 23);
    let [exponent, size] = [bits & 0x7c00, bits & 0x7fff].map(u32::from);
    let size = match exponent {
        0 => (size as f32 * SMALLEST).to_bits(),
        _ => (size << 13) + EXPONENT,
    };
    f32::from_bits(size | u32::from(bits & 0x8000) << 16)
}

impl Vector for [f32; WIDTH] {
    const ZERO: Self = [0.0; WIDTH];

    fn load(values: &[f32; WIDTH]) -> Self {
        *values
    }

    fn load_bf16(values: &[bf16; WIDTH]) -> Self {
        values.map(Number::number)
    }

    fn load_i8(values: &[i8; WIDTH]) -> Self {
        values.map(f32::from)
    }

    fn all_f16(bits: u16) -> Self {
        [wide_f16(bits); WIDTH]
    }

    fn all(value: f32) -> Self {
        [value; WIDTH]
    }

    fn store(self, values: &mut [f32; WIDTH]) {
        *values = self;
    }

    fn times(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * other[lane])
    }

    fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }

    fn add_product(self, x: Self, w: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + x[lane] * w[lane])
    }

    fn sum(self) -> f32 {
        self.iter().sum()
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Bits256, Bits512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The methods run only inside functions compiled for the vectors they use, which a
    //! caller enters after asking the processor.

    use std::arch::x86_64::{
        __m256, __m512, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128,
        _mm256_add_ps, _mm256_broadcastss_ps, _mm256_castsi256_ps, _mm256_cvtepi8_epi32,
        _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_loadu_si256, _mm256_mul_ps, _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_ps,
        _mm512_add_ps, _mm512_broadcastss_ps, _mm512_castsi512_ps, _mm512_cvtepi8_epi32,
        _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps,
        _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_slli_epi32, _mm512_storeu_ps,
    };

    use half::bf16;

    use super::{Vector, WIDTH};

    #[derive(Clone, Copy)]
    pub(in crate::fused) struct Bits512(__m512);

    impl Vector for Bits512 {
        // SAFETY: any bits are a vector of numbers, and these are those of zeros.
        const ZERO: Self = Self(unsafe { std::mem::zeroed() });

        #[inline(always)]
        fn load(values: &[f32; WIDTH]) -> Self {
            // SAFETY: reads the 16 numbers, at any alignment; see the module for the processor.
            Self(unsafe { _mm512_loadu_ps(values.as_ptr()) })
        }

        #[inline(always)]
        fn load_bf16(values: &[bf16; WIDTH]) -> Self {
            // SAFETY: reads the 16 numbers of two bytes each, at any alignment; see the module for
            // the processor.
            Self(unsafe {
                let halves = _mm256_loadu_si256(values.as_ptr().cast());
                let upper = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves));
                _mm512_castsi512_ps(upper)
            })
        }

        #[inline(always)]
        fn load_i8(values: &[i8; WIDTH]) -> Self {
            // SAFETY: reads the 16 numbers of one byte each, at any alignment; see the module.
            Self(unsafe {
                let bytes = _mm_loadu_si128(values.as_ptr().cast());
                _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
            })
        }

        #[inline(always)]
        fn all_f16(bits: u16) -> Self {
            // SAFETY: see the module.
            Self(unsafe {
                let wide = _mm_cvtph_ps(_mm_cvtsi32_si128(bits.into()));
                _mm512_broadcastss_ps(wide)
            })
        }

        #[inline(always)]
        fn all(value: f32) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        fn store(self, values: &mut [f32; WIDTH]) {
            // SAFETY: writes the 16 numbers, at any alignment; see the module.
            unsafe { _mm512_storeu_ps(values.as_mut_ptr(), self.0) };
        }

        #[inline(always)]
        fn times(self, other: Self) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn add_product(self, x: Self, w: Self) -> Self {
            // SAFETY: see the module.
            Self(unsafe { _mm512_fmadd_ps(x.0, w.0, self.0) })
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            // SAFETY: see the module.
            unsafe { _mm512_reduce_add_ps(self.0) }
        }
    }

    #[derive(Clone, Copy)]
    pub(in crate::fused) struct Bits256([__m256; 2]);

    impl Vector for Bits256 {
        // SAFETY: any bits are vectors of numbers, and these are those of zeros.
        const ZERO: Self = Self(unsafe { std::mem::zeroed() });

        #[inline(always)]
        fn load(values: &[f32; WIDTH]) -> Self {
            let start = values.as_ptr();
            // SAFETY: reads the 16 numbers, at any alignment; see the module for the processor.
            Self(unsafe {
                [
                    _mm256_loadu_ps(start),
                    _mm256_loadu_ps(start.add(WIDTH / 2)),
                ]
            })
        }

        #[inline(always)]
        fn load_bf16(values: &[bf16; WIDTH]) -> Self {
            let (first, second) = values.split_at(WIDTH / 2);
            // SAFETY: each reads 8 numbers of two bytes, at any alignment; see the module for the
            // processor.
            Self([first, second].map(|part| unsafe {
                let halves = _mm_loadu_si128(part.as_ptr().cast());
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
            }))
        }

        #[inline(always)]
        fn load_i8(values: &[i8; WIDTH]) -> Self {
            let (first, second) = values.split_at(WIDTH / 2);
            // SAFETY: each reads 8 numbers of one byte, at any alignment; see the module.
            Self([first, second].map(|part| unsafe {
                let bytes = _mm_loadl_epi64(part.as_ptr().cast());
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
            }))
        }

        #[inline(always)]
        fn all_f16(bits: u16) -> Self {
            // SAFETY: see the module.
            let all = unsafe {
                let wide = _mm_cvtph_ps(_mm_cvtsi32_si128(bits.into()));
                _mm256_broadcastss_ps(wide)
            };
            Self([all; 2])
        }

        #[inline(always)]
        fn all(value: f32) -> Self {
            // SAFETY: see the module.
            Self(unsafe { [_mm256_set1_ps(value); 2] })
        }

        #[inline(always)]
        fn store(self, values: &mut [f32; WIDTH]) {
            let [first, second] = self.0;
            let start = values.as_mut_ptr();
            // SAFETY: writes the 16 numbers, at any alignment; see the module.
            unsafe {
                _mm256_storeu_ps(start, first);
                _mm256_storeu_ps(start.add(WIDTH / 2), second);
            }
        }

        #[inline(always)]
        fn times(self, other: Self) -> Self {
            let ([a, b], [c, d]) = (self.0, other.0);
            // SAFETY: see the module.
            Self(unsafe { [_mm256_mul_ps(a, c), _mm256_mul_ps(b, d)] })
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            let ([a, b], [c, d]) = (self.0, other.0);
            // SAFETY: see the module.
            Self(unsafe { [_mm256_add_ps(a, c), _mm256_add_ps(b, d)] })
        }

        #[inline(always)]
        fn add_product(self, x: Self, w: Self) -> Self {
            let ([a, b], [x, y], [w, v]) = (self.0, x.0, w.0);
            // SAFETY: see the module.
            Self(unsafe { [_mm256_fmadd_ps(x, w, a), _mm256_fmadd_ps(y, v, b)] })
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            let [a, b] = self.0;
            // SAFETY: two vectors of eight numbers are sixteen numbers; see the module.
            let numbers: [f32; WIDTH] = unsafe { std::mem::transmute([a, b]) };
            numbers.iter().sum()
        }
    }
}
