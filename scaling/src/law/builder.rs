//! From the tree of a formula to the nodes of its tape.
//!
//! Three questions are asked of every part, in this order: does it depend on columns only, is it linear in the coordinates, is
//! its logarithm? What answers yes becomes one node; the rest is taken apart.

use super::affine::{Affine, Data};
use super::expression::{Binary, Expression, Unary};
use super::tape::{Coordinate, Curves, Node, Operation, Pair};

/// Turns an expression into nodes.
pub(crate) struct Builder<'a> {
    pub(crate) coordinates: &'a [Coordinate],
    pub(crate) columns: &'a [Vec<f64>],
    pub(crate) nodes: Vec<Node>,
    /// Expressions that have a node: what is defined once is computed once.
    pub(crate) known: Vec<(Expression, usize)>,
}

impl Builder<'_> {
    /// The node of an expression, added unless there is one.
    pub(crate) fn node(&mut self, expression: &Expression) -> usize {
        if let Some((_, known)) = self.known.iter().find(|(known, _)| known == expression) {
            return *known;
        }
        let node = self.add(expression);
        self.known.push((expression.clone(), node));
        node
    }

    fn add(&mut self, expression: &Expression) -> usize {
        if let Some(data) = self.data(expression) {
            return self.leaf(Operation::Data(data));
        }
        if let Some(affine) = self.affine(expression) {
            return self.leaf(Operation::Affine(affine));
        }
        if let Some(affine) = self.logarithm(expression) {
            return self.leaf(Operation::Monomial(affine));
        }
        match expression {
            Expression::Unary(function, x) => {
                let x = self.node(x);
                self.combine(Operation::Unary(*function, x), x, None)
            }
            Expression::Binary(function, x, y) => {
                let power = if *function == Binary::Power {
                    self.data(y)
                } else {
                    None
                };
                if let Some(Data::Same(power)) = power {
                    let x = self.node(x);
                    return self.combine(Operation::Raise(x, power), x, None);
                }
                let (x, y) = (self.node(x), self.node(y));
                self.combine(Operation::Binary(*function, x, y), x, Some(y))
            }
            // Every leaf is data, affine or an exponential of something affine.
            Expression::Number(_) | Expression::Column(_) | Expression::Parameter(_) => {
                self.leaf(Operation::Data(Data::Same(f64::NAN)))
            }
        }
    }

    fn leaf(&mut self, operation: Operation) -> usize {
        let (affine, curved) = match &operation {
            Operation::Affine(affine) => (Some(affine), false),
            Operation::Monomial(affine) => (Some(affine), true),
            _ => (None, false),
        };
        let wide = |data: &Data| matches!(data, Data::Rows(_));
        let firsts: Vec<usize> =
            affine.map_or_else(Vec::new, |one| one.slopes.iter().map(|(k, _)| *k).collect());
        let mut pairs = Vec::new();
        for (place, k) in firsts.iter().enumerate().filter(|_| curved) {
            for (other, l) in firsts[..=place].iter().enumerate() {
                pairs.push(Pair {
                    k: *k,
                    l: *l,
                    x: None,
                    y: None,
                    xk: Some(1 + place),
                    xl: Some(1 + other),
                    yk: None,
                    yl: None,
                });
            }
        }
        let wide = match &operation {
            Operation::Data(data) => wide(data),
            Operation::Affine(affine) | Operation::Monomial(affine) => {
                wide(&affine.constant) || affine.slopes.iter().any(|(_, slope)| wide(slope))
            }
            _ => true,
        };
        self.nodes.push(Node {
            operation,
            wide,
            sources: vec![(None, None); firsts.len()],
            firsts,
            pairs,
            base: 0,
        });
        self.nodes.len() - 1
    }

    fn combine(&mut self, operation: Operation, x: usize, y: Option<usize>) -> usize {
        let left = &self.nodes[x];
        let right = y.map(|y| &self.nodes[y]);
        let mut firsts = left.firsts.clone();
        firsts.extend(right.iter().flat_map(|node| node.firsts.iter().copied()));
        firsts.sort_unstable();
        firsts.dedup();
        let curved = match &operation {
            Operation::Unary(Unary::Negate | Unary::Abs, _) => Curves {
                xx: false,
                xy: false,
                yy: false,
            },
            Operation::Binary(function, ..) => Curves::of(*function),
            _ => Curves {
                xx: true,
                xy: false,
                yy: false,
            },
        };
        let of_right = |k: usize| right.and_then(|node| node.first(k));
        let mut pairs = Vec::new();
        for (place, k) in firsts.iter().enumerate() {
            for l in &firsts[..=place] {
                let pair = Pair {
                    k: *k,
                    l: *l,
                    x: left.pair(*k, *l),
                    y: right.and_then(|node| node.pair(*k, *l)),
                    xk: left.first(*k),
                    xl: left.first(*l),
                    yk: of_right(*k),
                    yl: of_right(*l),
                };
                let both = |one: Option<usize>, two: Option<usize>| one.is_some() && two.is_some();
                let exists = pair.x.is_some()
                    || pair.y.is_some()
                    || curved.xx && both(pair.xk, pair.xl)
                    || curved.yy && both(pair.yk, pair.yl)
                    || curved.xy && (both(pair.xk, pair.yl) || both(pair.xl, pair.yk));
                if exists {
                    pairs.push(pair);
                }
            }
        }
        let sources = firsts
            .iter()
            .map(|k| (left.first(*k), of_right(*k)))
            .collect();
        let wide = left.wide || right.is_some_and(|node| node.wide);
        self.nodes.push(Node {
            operation,
            wide,
            firsts,
            sources,
            pairs,
            base: 0,
        });
        self.nodes.len() - 1
    }

    /// What depends on columns only.
    fn data(&self, expression: &Expression) -> Option<Data> {
        match expression {
            Expression::Number(number) => Some(Data::Same(*number)),
            Expression::Column(index) => Some(Data::Rows(self.columns[*index].clone())),
            Expression::Parameter(index) => match self.coordinates[*index] {
                Coordinate::Fixed(value) => Some(Data::Same(value)),
                _ => None,
            },
            Expression::Unary(function, x) => Some(self.data(x)?.map(|x| function.value(x))),
            Expression::Binary(function, x, y) => {
                let (x, y) = (self.data(x)?, self.data(y)?);
                Some(x.join(&y, |x, y| function.value(x, y)))
            }
        }
    }

    /// The expression as something linear in the coordinates, if it is.
    fn affine(&self, expression: &Expression) -> Option<Affine> {
        if let Some(data) = self.data(expression) {
            return Some(Affine::constant(data));
        }
        match expression {
            Expression::Parameter(index) => match &self.coordinates[*index] {
                Coordinate::Linear { unit } => Some(Affine {
                    constant: Data::Same(0.0),
                    slopes: vec![(*index, Data::Same(*unit))],
                }),
                _ => None,
            },
            Expression::Unary(Unary::Negate, x) => Some(self.affine(x)?.scaled(&Data::Same(-1.0))),
            Expression::Unary(Unary::Ln, x) => self.logarithm(x),
            Expression::Binary(Binary::Add, x, y) => {
                Some(self.affine(x)?.plus(&self.affine(y)?, 1.0))
            }
            Expression::Binary(Binary::Subtract, x, y) => {
                Some(self.affine(x)?.plus(&self.affine(y)?, -1.0))
            }
            Expression::Binary(Binary::Multiply, x, y) => match (self.data(x), self.data(y)) {
                (Some(x), _) => Some(self.affine(y)?.scaled(&x)),
                (_, Some(y)) => Some(self.affine(x)?.scaled(&y)),
                _ => None,
            },
            Expression::Binary(Binary::Divide, x, y) => {
                let inverse = self.data(y)?.map(|y| 1.0 / y);
                Some(self.affine(x)?.scaled(&inverse))
            }
            _ => None,
        }
    }

    /// The logarithm of the expression as something linear in the coordinates, if it is and the expression is positive.
    fn logarithm(&self, expression: &Expression) -> Option<Affine> {
        if let Some(data) = self.data(expression) {
            let positive = data.all(|one| one > 0.0 && one.is_finite());
            return positive.then(|| Affine::constant(data.map(libm::log)));
        }
        match expression {
            Expression::Parameter(index) => match &self.coordinates[*index] {
                Coordinate::Log { offset, shears } => {
                    let own = Affine {
                        constant: Data::Same(*offset),
                        slopes: vec![(*index, Data::Same(1.0))],
                    };
                    Some(shears.iter().fold(own, |sum, (k, factor)| {
                        let shear = Affine {
                            constant: Data::Same(0.0),
                            slopes: vec![(*k, Data::Same(*factor))],
                        };
                        sum.plus(&shear, 1.0)
                    }))
                }
                _ => None,
            },
            Expression::Unary(Unary::Exp, x) => self.affine(x),
            Expression::Unary(Unary::Sqrt, x) => Some(self.logarithm(x)?.scaled(&Data::Same(0.5))),
            Expression::Binary(Binary::Multiply, x, y) => {
                Some(self.logarithm(x)?.plus(&self.logarithm(y)?, 1.0))
            }
            Expression::Binary(Binary::Divide, x, y) => {
                Some(self.logarithm(x)?.plus(&self.logarithm(y)?, -1.0))
            }
            Expression::Binary(Binary::Power, x, y) => {
                let base = self.logarithm(x)?;
                if let Some(power) = self.data(y) {
                    return Some(base.scaled(&power));
                }
                if !base.slopes.is_empty() {
                    return None;
                }
                Some(self.affine(y)?.scaled(&base.constant))
            }
            _ => None,
        }
    }
}
