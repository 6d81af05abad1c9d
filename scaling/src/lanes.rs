//! Exponentials and logarithms of many numbers at once.
//!
//! Two thirds of a fit are exponentials and logarithms, one a row. `libm` has them one by one, with branches that keep the
//! compiler from using vector instructions; these have none. They are additions, multiplications and a division of IEEE
//! numbers in a fixed order, so they give equal bits on every platform as `libm` does; a test holds them to two units in the
//! last place of it. Only what the normal range needs: see each function for what lies outside.

/// 1.5 times 2^52: adding it rounds to an integer, which then stands in the lowest bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// ln 2 in two parts; the first has zeros enough for an exact product with any exponent.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// Replaces each x by e^x. Beyond -708 and 709 it stays at the value there (3e-308, 8e307): a search only has to see that
/// it is out of reach. NaN stays NaN.
pub(crate) fn exp(lanes: &mut [f64]) {
    for lane in lanes {
        let x = *lane;
        let x = if x < -708.0 { -708.0 } else { x };
        let x = if x > 709.0 { 709.0 } else { x };
        // x = k ln 2 + r with |r| <= ln 2 / 2.
        let shifted = x * std::f64::consts::LOG2_E + ROUNDER;
        let k = shifted - ROUNDER;
        let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
        // The exponential series up to r^13 / 13!: what follows is below 5e-18.
        let square = r * r;
        let even = 1.0 / 2.0
            + square
                * (1.0 / 24.0
                    + square
                        * (1.0 / 720.0
                            + square
                                * (1.0 / 40_320.0
                                    + square
                                        * (1.0 / 3_628_800.0 + square * (1.0 / 479_001_600.0)))));
        let odd = 1.0 / 6.0
            + square
                * (1.0 / 120.0
                    + square
                        * (1.0 / 5_040.0
                            + square
                                * (1.0 / 362_880.0
                                    + square
                                        * (1.0 / 39_916_800.0
                                            + square * (1.0 / 6_227_020_800.0)))));
        let value = 1.0 + (r + square * (even + r * odd));
        // 2^k, from the bits of the rounded sum.
        let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
        *lane = value * power;
    }
}

/// The bits of the square root of a half.
const ROOT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;

/// Replaces each x by ln x. Anything below the least normal number (zero, negative) becomes NaN; infinity and NaN stay.
pub(crate) fn log(lanes: &mut [f64]) {
    for lane in lanes {
        let x = *lane;
        // x = 2^k m with m between the roots of 1/2 and 2; the exponent is kept positive by 1024.
        let bits = x.to_bits();
        let raised = bits.wrapping_sub(ROOT_HALF).wrapping_add(1024 << 52) >> 52;
        let k = f64::from_bits(raised | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1024.0);
        let m = f64::from_bits(bits.wrapping_sub(raised.wrapping_sub(1024) << 52));
        // ln(1 + f) = 2 atanh(s) with s = f / (2 + f); 2 s = f - s f keeps the exact f. The series ends below 1e-17.
        let f = m - 1.0;
        let s = f / (2.0 + f);
        let z = s * s;
        let series = 1.0 / 3.0
            + z * (1.0 / 5.0
                + z * (1.0 / 7.0
                    + z * (1.0 / 9.0
                        + z * (1.0 / 11.0
                            + z * (1.0 / 13.0
                                + z * (1.0 / 15.0
                                    + z * (1.0 / 17.0 + z * (1.0 / 19.0 + z * (1.0 / 21.0)))))))));
        let value = k * LN_2_HIGH + (k * LN_2_LOW + (f - s * (f - 2.0 * z * series)));
        let value = if x < f64::INFINITY { value } else { x };
        *lane = if x < f64::MIN_POSITIVE {
            f64::NAN
        } else {
            value
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= 2.0 * f64::EPSILON * expected.abs()
    }

    proptest! {
        #[test]
        fn lanes_agree_with_libm(x in -700.0..700.0f64, small in -1.0..1.0f64, exponent in -1000..1000i32) {
            let mut both = [x, small];
            exp(&mut both);
            prop_assert!(close(both[0], libm::exp(x)), "{x} {} {}", both[0], libm::exp(x));
            prop_assert!(close(both[1], libm::exp(small)), "{small}");
            let (wide, near) = (libm::ldexp(1.5 + 0.5 * small, exponent), 1.0 + 0.3 * small);
            let mut both = [wide, near];
            log(&mut both);
            prop_assert!(close(both[0], libm::log(wide)), "{wide} {} {}", both[0], libm::log(wide));
            prop_assert!(close(both[1], libm::log(near)), "{near} {} {}", both[1], libm::log(near));
        }
    }

    #[test]
    fn what_lies_outside_is_as_documented() {
        let mut values = [0.0, f64::NAN, -1e9, 1e9, f64::NEG_INFINITY];
        exp(&mut values);
        assert!(
            values[0] == 1.0
                && values[1].is_nan()
                && values[2] < 1e-307
                && values[3] > 1e307
                && values[4] < 1e-307
        );
        let mut values = [1.0, f64::NAN, -1.0, 0.0, f64::INFINITY];
        log(&mut values);
        assert!(values[0] == 0.0 && values[1].is_nan() && values[2].is_nan() && values[3].is_nan());
        assert_eq!(values[4], f64::INFINITY);
    }
}
