//! The tree of a formula, and its plain value at points.
//!
//! Searches use the compiled form (`tape`), which has derivatives; this one serves predictions, starting points and as the
//! yardstick that the compiled form is tested against.

use crate::lanes::{exp, log};

/// A function of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Negate,
    Exp,
    Ln,
    Sqrt,
    Sigmoid,
    Tanh,
    Softplus,
    Abs,
}

/// A function of two arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Least,
    Most,
}

/// A formula; columns and parameters by their place in the law.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Number(f64),
    Column(usize),
    Parameter(usize),
    Unary(Unary, Box<Expression>),
    Binary(Binary, Box<Expression>, Box<Expression>),
}

impl Unary {
    pub(crate) fn value(self, x: f64) -> f64 {
        match self {
            Self::Negate => -x,
            Self::Exp => libm::exp(x),
            Self::Ln => libm::log(x),
            Self::Sqrt => x.sqrt(),
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => libm::tanh(x),
            Self::Softplus => x.max(0.0) + libm::log1p(libm::exp(-x.abs())),
            Self::Abs => x.abs(),
        }
    }
}

/// 1 / (1 + e^-x) without overflow and without losing the small tail.
pub(crate) fn sigmoid(x: f64) -> f64 {
    let small = libm::exp(-x.abs());
    if x >= 0.0 {
        1.0 / (1.0 + small)
    } else {
        small / (1.0 + small)
    }
}

impl Binary {
    pub(crate) fn value(self, x: f64, y: f64) -> f64 {
        match self {
            Self::Add => x + y,
            Self::Subtract => x - y,
            Self::Multiply => x * y,
            Self::Divide => x / y,
            Self::Power => libm::pow(x, y),
            // Not `f64::min`, which would swallow a NaN.
            Self::Least => {
                if y < x {
                    y
                } else {
                    x
                }
            }
            Self::Most => {
                if y > x {
                    y
                } else {
                    x
                }
            }
        }
    }
}

/// A value that is the same in all rows, or one a row.
enum Values {
    Same(f64),
    Rows(Vec<f64>),
}

impl Expression {
    /// The value at one point; everything in the law's order.
    pub(crate) fn value(&self, parameters: &[f64], columns: &[f64]) -> f64 {
        let at = |list: &[f64], index: usize| list.get(index).copied().unwrap_or(f64::NAN);
        match self {
            Self::Number(number) => *number,
            Self::Column(index) => at(columns, *index),
            Self::Parameter(index) => at(parameters, *index),
            Self::Unary(function, x) => function.value(x.value(parameters, columns)),
            Self::Binary(function, x, y) => {
                function.value(x.value(parameters, columns), y.value(parameters, columns))
            }
        }
    }

    /// The value in every row of columns of equal length `rows`, good to about 1e-14: for starting points.
    pub(crate) fn values(&self, parameters: &[f64], columns: &[Vec<f64>], rows: usize) -> Vec<f64> {
        match self.walk(parameters, columns) {
            Values::Same(value) => vec![value; rows],
            Values::Rows(values) => values,
        }
    }

    fn walk(&self, parameters: &[f64], columns: &[Vec<f64>]) -> Values {
        match self {
            Self::Number(number) => Values::Same(*number),
            Self::Column(index) => Values::Rows(columns[*index].clone()),
            Self::Parameter(index) => Values::Same(parameters[*index]),
            Self::Unary(function, x) => match x.walk(parameters, columns) {
                Values::Same(x) => Values::Same(function.value(x)),
                Values::Rows(mut x) => {
                    match function {
                        Unary::Exp => exp(&mut x),
                        Unary::Ln => log(&mut x),
                        _ => x
                            .iter_mut()
                            .for_each(|value| *value = function.value(*value)),
                    }
                    Values::Rows(x)
                }
            },
            Self::Binary(function, x, y) => {
                match (x.walk(parameters, columns), y.walk(parameters, columns)) {
                    (Values::Same(x), Values::Same(y)) => Values::Same(function.value(x, y)),
                    (Values::Rows(mut x), Values::Same(y))
                        if *function == Binary::Power && x.iter().all(|one| *one > 0.0) =>
                    {
                        log(&mut x);
                        x.iter_mut().for_each(|value| *value *= y);
                        exp(&mut x);
                        Values::Rows(x)
                    }
                    (Values::Rows(mut x), Values::Same(y)) => {
                        for value in &mut x {
                            *value = function.value(*value, y);
                        }
                        Values::Rows(x)
                    }
                    (Values::Same(x), Values::Rows(mut y)) => {
                        for value in &mut y {
                            *value = function.value(x, *value);
                        }
                        Values::Rows(y)
                    }
                    (Values::Rows(mut x), Values::Rows(y)) => {
                        for (value, y) in x.iter_mut().zip(&y) {
                            *value = function.value(*value, *y);
                        }
                        Values::Rows(x)
                    }
                }
            }
        }
    }

    /// Calls `see` for every node, parents before children.
    pub(crate) fn visit(&self, see: &mut impl FnMut(&Self)) {
        see(self);
        match self {
            Self::Unary(_, x) => x.visit(see),
            Self::Binary(_, x, y) => {
                x.visit(see);
                y.visit(see);
            }
            _ => {}
        }
    }

    /// Which parameters occur.
    pub(crate) fn parameters(&self, count: usize) -> Vec<bool> {
        let mut found = vec![false; count];
        self.visit(&mut |node| {
            if let Self::Parameter(index) = node {
                found[*index] = true;
            }
        });
        found
    }

    /// Which columns occur.
    pub(crate) fn columns(&self, count: usize) -> Vec<bool> {
        let mut found = vec![false; count];
        self.visit(&mut |node| {
            if let Self::Column(index) = node {
                found[*index] = true;
            }
        });
        found
    }

    /// Whether this is a polynomial of at most first degree in the marked parameters jointly.
    pub(crate) fn affine(&self, marked: &[bool]) -> bool {
        self.degree(marked).is_some()
    }

    /// 0 where no marked parameter occurs, 1 where they enter affinely, `None` otherwise.
    fn degree(&self, marked: &[bool]) -> Option<u8> {
        match self {
            Self::Number(_) | Self::Column(_) => Some(0),
            Self::Parameter(index) => Some(u8::from(marked[*index])),
            Self::Unary(Unary::Negate, x) => x.degree(marked),
            Self::Unary(_, x) => (x.degree(marked)? == 0).then_some(0),
            Self::Binary(function, x, y) => {
                let (x, y) = (x.degree(marked)?, y.degree(marked)?);
                match function {
                    Binary::Add | Binary::Subtract => Some(x.max(y)),
                    Binary::Multiply => (x + y <= 1).then_some(x + y),
                    Binary::Divide => (y == 0).then_some(x),
                    _ => (x + y == 0).then_some(0),
                }
            }
        }
    }
}
