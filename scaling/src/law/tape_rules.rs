//! Values and partial derivatives of the elementary functions, a block at a time.

use super::expression::{Binary, Unary, sigmoid};
use super::tape::{Lane, Partials};
use crate::lanes::{exp, log};

/// Value, slope and bend of a function of one argument.
pub(crate) fn unary_rule(
    function: Unary,
    x: &Lane,
    lanes: usize,
    value: &mut Lane,
    slope: &mut Lane,
    bend: &mut Lane,
) {
    if matches!(function, Unary::Exp | Unary::Ln) {
        value[..lanes].copy_from_slice(&x[..lanes]);
        if function == Unary::Exp {
            exp(&mut value[..lanes]);
            *slope = *value;
            *bend = *value;
            return;
        }
        log(&mut value[..lanes]);
        for lane in 0..lanes {
            slope[lane] = 1.0 / x[lane];
            bend[lane] = -slope[lane] * slope[lane];
        }
        return;
    }
    for lane in 0..lanes {
        let x = x[lane];
        (value[lane], slope[lane], bend[lane]) = match function {
            Unary::Negate => (-x, -1.0, 0.0),
            // Both are done above.
            Unary::Exp | Unary::Ln => (f64::NAN, f64::NAN, f64::NAN),
            Unary::Sqrt => {
                let root = x.sqrt();
                (root, 0.5 / root, -0.25 / (root * x))
            }
            Unary::Sigmoid => {
                let (s, rest) = (sigmoid(x), sigmoid(-x));
                (s, s * rest, s * rest * (rest - s))
            }
            Unary::Tanh => {
                let t = libm::tanh(x);
                (t, 1.0 - t * t, -2.0 * t * (1.0 - t * t))
            }
            Unary::Softplus => {
                let s = sigmoid(x);
                (function.value(x), s, s * sigmoid(-x))
            }
            Unary::Abs => (x.abs(), x.signum(), 0.0),
        };
    }
}

/// Value and partial derivatives of a function of two arguments. Lanes of `partials` that are always zero stay untouched.
pub(crate) fn binary_rule(
    function: Binary,
    x: &Lane,
    y: &Lane,
    lanes: usize,
    value: &mut Lane,
    partials: &mut Partials,
) {
    match function {
        Binary::Add | Binary::Subtract => {
            let sign = if function == Binary::Add { 1.0 } else { -1.0 };
            for lane in 0..lanes {
                value[lane] = x[lane] + sign * y[lane];
            }
            partials.x.fill(1.0);
            partials.y.fill(sign);
        }
        Binary::Multiply => {
            for lane in 0..lanes {
                value[lane] = x[lane] * y[lane];
            }
            partials.x = *y;
            partials.y = *x;
            partials.xy.fill(1.0);
        }
        Binary::Divide => {
            for lane in 0..lanes {
                let inverse = 1.0 / y[lane];
                let quotient = x[lane] * inverse;
                value[lane] = quotient;
                partials.x[lane] = inverse;
                partials.y[lane] = -quotient * inverse;
                partials.xy[lane] = -inverse * inverse;
                partials.yy[lane] = 2.0 * quotient * inverse * inverse;
            }
        }
        Binary::Power => {
            for lane in 0..lanes {
                let (x, y) = (x[lane], y[lane]);
                let logarithm = libm::log(x);
                let power = libm::pow(x, y);
                let over = power / x;
                value[lane] = power;
                partials.x[lane] = y * over;
                partials.y[lane] = power * logarithm;
                partials.xx[lane] = y * (y - 1.0) * over / x;
                partials.xy[lane] = over * (1.0 + y * logarithm);
                partials.yy[lane] = power * logarithm * logarithm;
            }
        }
        Binary::Least | Binary::Most => {
            for lane in 0..lanes {
                let second = if function == Binary::Least {
                    y[lane] < x[lane]
                } else {
                    y[lane] > x[lane]
                };
                value[lane] = function.value(x[lane], y[lane]);
                partials.x[lane] = f64::from(u8::from(!second));
                partials.y[lane] = f64::from(u8::from(second));
            }
        }
    }
}
