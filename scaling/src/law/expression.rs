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
#[derive(Clone)]
enum Values {
    Same(f64),
    Rows(Vec<f64>),
}

impl Values {
    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Same(x) => Self::Same(f(x)),
            Self::Rows(mut x) => {
                x.iter_mut().for_each(|value| *value = f(*value));
                Self::Rows(x)
            }
        }
    }

    fn join(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (x, Self::Same(y)) => x.map(|x| f(x, y)),
            (Self::Same(x), y) => y.map(|y| f(x, y)),
            (Self::Rows(mut x), Self::Rows(y)) => {
                for (x, y) in x.iter_mut().zip(&y) {
                    *x = f(*x, *y);
                }
                Self::Rows(x)
            }
        }
    }

    fn rows(self, count: usize) -> Vec<f64> {
        match self {
            Self::Same(value) => vec![value; count],
            Self::Rows(values) => values,
        }
    }
}

/// What is left where some parameters are nothing, and what a unit of each adds.
struct Parts {
    origin: Values,
    slopes: Vec<(usize, Values)>,
}

impl Parts {
    fn map(self, f: impl Fn(Values) -> Values) -> Self {
        Self {
            origin: f(self.origin),
            slopes: self
                .slopes
                .into_iter()
                .map(|(index, slope)| (index, f(slope)))
                .collect(),
        }
    }

    fn plus(mut self, other: Self) -> Self {
        let add = |x: Values, y: Values| x.join(y, |x, y| x + y);
        for (index, slope) in other.slopes {
            match self.slopes.iter().position(|(known, _)| *known == index) {
                Some(place) => {
                    let (_, known) = self.slopes.swap_remove(place);
                    self.slopes.push((index, add(known, slope)));
                }
                None => self.slopes.push((index, slope)),
            }
        }
        self.origin = add(self.origin, other.origin);
        self
    }
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

    /// For parameters that enter linearly, jointly: the value in every row of columns of equal length `rows` with all of them
    /// nothing, and what a unit of each adds. Good to about 1e-14: for starting points. Each power is computed once.
    pub(crate) fn linear_parts(
        &self,
        linear: &[usize],
        parameters: &[f64],
        columns: &[Vec<f64>],
        rows: usize,
    ) -> (Vec<f64>, Vec<Vec<f64>>) {
        let mut marked = vec![false; parameters.len()];
        for index in linear {
            marked[*index] = true;
        }
        let mut parts = self.parts(&marked, parameters, columns);
        let slopes = linear
            .iter()
            .map(|index| {
                let place = parts.slopes.iter().position(|(known, _)| known == index);
                place.map_or_else(
                    || vec![0.0; rows],
                    |place| parts.slopes.swap_remove(place).1.rows(rows),
                )
            })
            .collect();
        (parts.origin.rows(rows), slopes)
    }

    fn parts(&self, marked: &[bool], parameters: &[f64], columns: &[Vec<f64>]) -> Parts {
        let parts = |one: &Self| one.parts(marked, parameters, columns);
        match self {
            Self::Parameter(index) if marked[*index] => Parts {
                origin: Values::Same(0.0),
                slopes: vec![(*index, Values::Same(1.0))],
            },
            _ if self.degree(marked) == Some(0) => Parts {
                origin: self.walk(parameters, columns),
                slopes: Vec::new(),
            },
            Self::Unary(Unary::Negate, x) => parts(x).map(|x| x.map(|x| -x)),
            Self::Binary(Binary::Add, x, y) => parts(x).plus(parts(y)),
            Self::Binary(Binary::Subtract, x, y) => parts(x).plus(parts(y).map(|y| y.map(|y| -y))),
            Self::Binary(Binary::Multiply, x, y) => {
                // At most one factor has marked parameters.
                let (by, one) = if x.degree(marked) == Some(0) {
                    (x, y)
                } else {
                    (y, x)
                };
                let by = by.walk(parameters, columns);
                parts(one).map(|one| one.join(by.clone(), |one, by| one * by))
            }
            Self::Binary(Binary::Divide, x, y) => {
                let by = y.walk(parameters, columns);
                parts(x).map(|one| one.join(by.clone(), |one, by| one / by))
            }
            // Nothing else is linear.
            _ => Parts {
                origin: Values::Same(f64::NAN),
                slopes: Vec::new(),
            },
        }
    }

    fn walk(&self, parameters: &[f64], columns: &[Vec<f64>]) -> Values {
        match self {
            Self::Number(number) => Values::Same(*number),
            Self::Column(index) => Values::Rows(columns[*index].clone()),
            Self::Parameter(index) => Values::Same(parameters[*index]),
            Self::Unary(function, x) => match (function, x.walk(parameters, columns)) {
                (Unary::Exp, Values::Rows(mut x)) => {
                    exp(&mut x);
                    Values::Rows(x)
                }
                (Unary::Ln, Values::Rows(mut x)) => {
                    log(&mut x);
                    Values::Rows(x)
                }
                (_, x) => x.map(|x| function.value(x)),
            },
            Self::Binary(function, x, y) => {
                match (x.walk(parameters, columns), y.walk(parameters, columns)) {
                    (Values::Rows(mut x), Values::Same(y))
                        if *function == Binary::Power && x.iter().all(|one| *one > 0.0) =>
                    {
                        log(&mut x);
                        x.iter_mut().for_each(|value| *value *= y);
                        exp(&mut x);
                        Values::Rows(x)
                    }
                    (x, y) => x.join(y, |x, y| function.value(x, y)),
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

#[cfg(test)]
mod tests {
    use crate::law::Law;

    #[test]
    fn linear_parts_add_up_to_the_value() {
        let law = Law::from_yaml(
            "name: all\nformula: -(p - q * x^r) / (1 + x) + 2 * (q + exp(r * x)) - 3 * p\ncolumns: [{name: x}]\nresponse: {name: y}\nparameters:\n  - {name: p, bounds: [-9, 9]}\n  - {name: q, bounds: [-9, 9]}\n  - {name: r, bounds: [-9, 9]}\n",
        )
        .expect("a law");
        let formula = &law.compiled().formula;
        let columns = [vec![0.5, 1.0, 4.0]];
        let (origin, slopes) = formula.linear_parts(&[0, 1], &[7.0, 7.0, 1.5], &columns, 3);
        for (row, x) in columns[0].iter().enumerate() {
            let near = |one: f64, two: f64| assert!((one - two).abs() < 1e-12 * two.abs().max(1.0));
            near(origin[row], 2.0 * libm::exp(1.5 * x));
            near(slopes[0][row], -1.0 / (1.0 + x) - 3.0);
            near(slopes[1][row], x * x.sqrt() / (1.0 + x) + 2.0);
        }
    }
}
