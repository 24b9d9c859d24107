//! The widest vectors of the machine at hand, and sums that are taken in vectors.
//!
//! One program runs on every x86-64, so by default the compiler may use only what all of them
//! have: four numbers at a time. Functions made by [`on_widest`] are compiled three times, and the
//! processor says which of them runs. None of them fuses a product and a sum into one rounding,
//! and sums are taken in 16 lanes whatever the width, so all three give the same bits.

use std::ops::Add;

/// Partial sums of a long sum: one of the widest vectors.
const LANES: usize = 16;

/// Makes a function that runs with the widest vectors there are. What it calls is compiled for
/// them only where it is inlined: closures handed to it are not, so it takes none.
macro_rules! on_widest {
    (
        $(#[$attribute:meta])*
        $visible:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visible fn $name($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn on_any($($argument: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn on_512_bits($($argument: $type),*) $(-> $output)? {
                    on_any($($argument),*)
                }
                #[target_feature(enable = "avx2")]
                fn on_256_bits($($argument: $type),*) $(-> $output)? {
                    on_any($($argument),*)
                }
                match $crate::fused::lanes::widest() {
                    // SAFETY: the processor has what the function is compiled for. Worth it:
                    // exponentials took a fifth of the time.
                    $crate::fused::lanes::Width::Bits512 => {
                        return unsafe { on_512_bits($($argument),*) };
                    }
                    // SAFETY: as above.
                    $crate::fused::lanes::Width::Bits256 => {
                        return unsafe { on_256_bits($($argument),*) };
                    }
                    $crate::fused::lanes::Width::Any => {}
                }
            }
            on_any($($argument),*)
        }
    };
}
pub(super) use on_widest;

/// What vectors a processor has.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) enum Width {
    Bits512,
    Bits256,
    Any,
}

/// What vectors this processor has; the standard library remembers the answer.
#[cfg(target_arch = "x86_64")]
pub(super) fn widest() -> Width {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        Width::Bits512
    } else if is_x86_feature_detected!("avx2") {
        Width::Bits256
    } else {
        Width::Any
    }
}

/// Joins running results two by two, always in the same order.
#[inline(always)]
fn joined<A: Copy>(mut lanes: [A; LANES], join: impl Fn(A, A) -> A) -> A {
    let mut count = LANES / 2;
    while count > 0 {
        for at in 0..count {
            lanes[at] = join(lanes[at], lanes[at + count]);
        }
        count /= 2;
    }
    lanes[0]
}

/// The sum over `values` of what `term` makes of each.
#[inline(always)]
pub(super) fn sum_of<A: Copy + Default + Add<Output = A>>(
    values: &[f32],
    term: impl Fn(f32) -> A,
) -> A {
    let mut lanes = [A::default(); LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = *lane + term(*value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = *lane + term(*value);
    }
    joined(lanes, |a, b| a + b)
}

/// The sum over pairs of `a` and `b`, equally many, of what `term` makes of each.
#[inline(always)]
pub(super) fn sum_of_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (mut of_a, mut of_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in (&mut of_a).zip(&mut of_b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(*a, *b);
        }
    }
    let rest = of_a.remainder().iter().zip(of_b.remainder());
    for (lane, (a, b)) in lanes.iter_mut().zip(rest) {
        *lane += term(*a, *b);
    }
    joined(lanes, |a, b| a + b)
}

/// The largest number, NaN passed over; minus infinity of none.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    // Unlike `f32::max`, one instruction.
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = larger(*lane, *value);
    }
    joined(lanes, larger)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    on_widest! {
        fn uneven_product(a: &[f32], b: &[f32]) -> f32 {
            sum_of_pairs(a, b, |a, b| a * b + 0.1)
        }
    }

    proptest! {
        #[test]
        fn lanes_lose_and_double_nothing(values in proptest::collection::vec(-8_i8..8, 0..100)) {
            let numbers: Vec<f32> = values.iter().map(|value| f32::from(*value)).collect();
            let sum: i32 = values.iter().map(|value| i32::from(*value)).sum();
            let squares: i32 = values.iter().map(|value| i32::from(*value).pow(2)).sum();
            // Whole numbers this small add up without rounding, in any order.
            prop_assert_eq!(sum_of(&numbers, |x| x), sum as f32);
            prop_assert_eq!(sum_of(&numbers, f64::from), f64::from(sum));
            prop_assert_eq!(sum_of_pairs(&numbers, &numbers, |a, b| a * b), squares as f32);
            let most = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(largest(&numbers), most);
        }

        #[test]
        fn every_width_gives_the_same_bits(
            values in proptest::collection::vec(-4.0_f32..4.0, 0..100),
        ) {
            let narrow = sum_of_pairs(&values, &values, |a, b| a * b + 0.1);
            prop_assert_eq!(narrow.to_bits(), uneven_product(&values, &values).to_bits());
        }
    }
}
