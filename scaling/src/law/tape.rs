//! A formula compiled for a search: value, exact gradient and exact second derivatives, block by block.
//!
//! The tape is a list of operations over blocks of rows. Each node knows on which coordinates it depends and which of its
//! second derivatives are not zero by structure; nothing else is stored or computed (E and alpha never meet in Hoffmann's
//! law). Interpretation costs one dispatch a node and block, not a row; a block of all nodes stays in the first-level
//! cache; no memory is allocated per row.
//!
//! What depends on columns only is computed once, when the tape is made. What depends on parameters only is computed once an
//! evaluation. Products of powers (A / N^alpha, b 6^(p/2) (M N)^p), however written, become one node
//! exp(c0 + sum c_k z_k) in the coordinates z, whose coefficients are columns that are already centred: one exponential a
//! row, derivatives by multiplication alone, and no cancellation between ln A and alpha ln N.

use super::affine::{Affine, Data};
use super::builder::Builder;
use super::expression::{Binary, Expression, Unary};
use super::tape_rules::{binary_rule, unary_rule};
use crate::lanes::exp;

/// Rows of a block. With a dozen slots a node and a dozen nodes 70 kB: more spills the cache, fewer pay dispatch.
pub(crate) const BLOCK: usize = 64;

/// One array of a block.
pub(crate) type Lane = [f64; BLOCK];

/// How a parameter is written in the coordinates of the search.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Coordinate {
    /// Not searched.
    Fixed(f64),
    /// `value = unit * z`.
    Linear { unit: f64 },
    /// `ln value = offset + z + sum of factor * z_other`.
    Log {
        offset: f64,
        shears: Vec<(usize, f64)>,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Columns only.
    Data(Data),
    /// Linear in the coordinates.
    Affine(Affine),
    /// Exponential of something linear.
    Monomial(Affine),
    Unary(Unary, usize),
    /// A constant power.
    Raise(usize, f64),
    Binary(Binary, usize, usize),
}

/// Where an output's parts come from: slots of the operands.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) k: usize,
    pub(crate) l: usize,
    pub(crate) x: Option<usize>,
    pub(crate) y: Option<usize>,
    pub(crate) xk: Option<usize>,
    pub(crate) xl: Option<usize>,
    pub(crate) yk: Option<usize>,
    pub(crate) yl: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) operation: Operation,
    /// Differs between rows.
    pub(crate) wide: bool,
    /// Coordinates it depends on, ascending; slot 1 + index.
    pub(crate) firsts: Vec<usize>,
    /// For each of `firsts` the slots in the operands.
    pub(crate) sources: Vec<(Option<usize>, Option<usize>)>,
    /// Second derivatives that are not zero by structure; slots after the firsts.
    pub(crate) pairs: Vec<Pair>,
    /// First lane in the scratch memory.
    pub(crate) base: usize,
}

impl Node {
    pub(crate) fn first(&self, k: usize) -> Option<usize> {
        self.firsts
            .iter()
            .position(|one| *one == k)
            .map(|index| 1 + index)
    }

    pub(crate) fn pair(&self, k: usize, l: usize) -> Option<usize> {
        let place = self.pairs.iter().position(|one| (one.k, one.l) == (k, l));
        place.map(|index| 1 + self.firsts.len() + index)
    }

    fn slots(&self) -> usize {
        1 + self.firsts.len() + self.pairs.len()
    }
}

/// The compiled formula over the rows it was compiled for.
#[derive(Clone, Debug)]
pub(crate) struct Tape {
    nodes: Vec<Node>,
    lanes: usize,
}

/// Memory of an evaluation, reused between evaluations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch(Vec<Lane>);

/// The root's block: value, first and second derivatives.
pub(crate) struct Block<'a> {
    pub(crate) value: &'a Lane,
    pub(crate) firsts: &'a [Lane],
    pub(crate) seconds: &'a [Lane],
}

impl Tape {
    /// Compiles a formula for rows of columns (the law's order) and parameters in coordinates.
    pub(crate) fn new(
        formula: &Expression,
        coordinates: &[Coordinate],
        columns: &[Vec<f64>],
    ) -> Self {
        let mut builder = Builder {
            coordinates,
            columns,
            nodes: Vec::new(),
            known: Vec::new(),
        };
        builder.node(formula);
        let mut tape = Self {
            nodes: builder.nodes,
            lanes: 0,
        };
        for node in &mut tape.nodes {
            node.base = tape.lanes;
            tape.lanes += node.slots();
        }
        tape
    }

    fn root(&self) -> &Node {
        &self.nodes[self.nodes.len() - 1]
    }

    /// Coordinates that the formula depends on; the order of [`Block::firsts`].
    pub(crate) fn firsts(&self) -> &[usize] {
        &self.root().firsts
    }

    /// Pairs (k, l), k >= l, of second derivatives; the order of [`Block::seconds`].
    pub(crate) fn seconds(&self) -> Vec<(usize, usize)> {
        self.root()
            .pairs
            .iter()
            .map(|pair| (pair.k, pair.l))
            .collect()
    }

    /// The same formula over some of the rows.
    pub(crate) fn gathered(&self, rows: &[usize]) -> Self {
        let pick = |data: &mut Data| {
            if let Data::Rows(values) = data {
                *values = rows.iter().map(|row| values[*row]).collect();
            }
        };
        let mut tape = self.clone();
        for node in &mut tape.nodes {
            match &mut node.operation {
                Operation::Data(data) => pick(data),
                Operation::Affine(affine) | Operation::Monomial(affine) => {
                    pick(&mut affine.constant);
                    for (_, slope) in &mut affine.slopes {
                        pick(slope);
                    }
                }
                _ => {}
            }
        }
        tape
    }

    /// Evaluates at a point and shows each block of rows: (first row, rows, the root).
    pub(crate) fn evaluate(
        &self,
        at: &[f64],
        rows: usize,
        scratch: &mut Scratch,
        mut show: impl FnMut(usize, usize, Block<'_>),
    ) {
        scratch.0.resize(self.lanes, [0.0; BLOCK]);
        for node in self.nodes.iter().filter(|node| !node.wide) {
            self.run(node, at, 0, 1, &mut scratch.0);
            for lane in &mut scratch.0[node.base..node.base + node.slots()] {
                let value = lane[0];
                lane.fill(value);
            }
        }
        let root = self.root();
        let mut from = 0;
        while from < rows {
            let lanes = (rows - from).min(BLOCK);
            for node in self.nodes.iter().filter(|node| node.wide) {
                self.run(node, at, from, lanes, &mut scratch.0);
            }
            let block = &scratch.0[root.base..root.base + root.slots()];
            let (firsts, seconds) = block[1..].split_at(root.firsts.len());
            show(
                from,
                lanes,
                Block {
                    value: &block[0],
                    firsts,
                    seconds,
                },
            );
            from += lanes;
        }
    }

    fn run(&self, node: &Node, at: &[f64], from: usize, lanes: usize, scratch: &mut [Lane]) {
        let (before, rest) = scratch.split_at_mut(node.base);
        let mine = &mut rest[..node.slots()];
        match &node.operation {
            Operation::Data(data) => data.lane(from, lanes, &mut mine[0]),
            Operation::Affine(affine) => linear(affine, at, from, lanes, mine),
            Operation::Monomial(affine) => {
                linear(affine, at, from, lanes, mine);
                monomial(node, lanes, mine);
            }
            Operation::Unary(function, x) => {
                let x = &self.nodes[*x];
                let operand = &before[x.base..x.base + x.slots()];
                let (mut slope, mut bend) = ([0.0; BLOCK], [0.0; BLOCK]);
                unary_rule(
                    *function,
                    &operand[0],
                    lanes,
                    &mut mine[0],
                    &mut slope,
                    &mut bend,
                );
                chain(node, operand, &slope, &bend, lanes, mine);
            }
            Operation::Raise(x, power) => {
                let x = &self.nodes[*x];
                let operand = &before[x.base..x.base + x.slots()];
                let (mut slope, mut bend) = ([0.0; BLOCK], [0.0; BLOCK]);
                for lane in 0..lanes {
                    let value = operand[0][lane];
                    let raised = libm::pow(value, *power);
                    mine[0][lane] = raised;
                    if value == 0.0 {
                        slope[lane] = power * libm::pow(value, power - 1.0);
                        bend[lane] = power * (power - 1.0) * libm::pow(value, power - 2.0);
                    } else {
                        slope[lane] = power * raised / value;
                        bend[lane] = (power - 1.0) * slope[lane] / value;
                    }
                }
                chain(node, operand, &slope, &bend, lanes, mine);
            }
            Operation::Binary(function, x, y) => {
                let (x, y) = (&self.nodes[*x], &self.nodes[*y]);
                let left = &before[x.base..x.base + x.slots()];
                let right = &before[y.base..y.base + y.slots()];
                join(node, *function, left, right, lanes, mine);
            }
        }
    }
}

fn linear(affine: &Affine, at: &[f64], from: usize, lanes: usize, mine: &mut [Lane]) {
    let (value, firsts) = mine.split_at_mut(1);
    affine.constant.lane(from, lanes, &mut value[0]);
    for ((k, slope), first) in affine.slopes.iter().zip(firsts) {
        slope.lane(from, lanes, first);
        for lane in 0..lanes {
            value[0][lane] += first[lane] * at[*k];
        }
    }
}

/// Turns c0 + sum c_k z_k and the c_k into the exponential and its derivatives.
fn monomial(node: &Node, lanes: usize, mine: &mut [Lane]) {
    exp(&mut mine[0][..lanes]);
    let (head, seconds) = mine.split_at_mut(1 + node.firsts.len());
    for (pair, second) in node.pairs.iter().zip(seconds) {
        let (Some(k), Some(l)) = (pair.xk, pair.xl) else {
            continue;
        };
        for lane in 0..lanes {
            second[lane] = head[0][lane] * head[k][lane] * head[l][lane];
        }
    }
    let (value, firsts) = head.split_at_mut(1);
    for first in firsts {
        for lane in 0..lanes {
            first[lane] *= value[0][lane];
        }
    }
}

/// f(x): f' x_k, and f'' x_k x_l + f' x_kl.
fn chain(node: &Node, x: &[Lane], slope: &Lane, bend: &Lane, lanes: usize, mine: &mut [Lane]) {
    let (head, seconds) = mine.split_at_mut(1 + node.firsts.len());
    for ((source, _), first) in node.sources.iter().zip(&mut head[1..]) {
        let Some(source) = source else { continue };
        for lane in 0..lanes {
            first[lane] = slope[lane] * x[*source][lane];
        }
    }
    for (pair, second) in node.pairs.iter().zip(seconds) {
        match pair.x {
            Some(both) => (0..lanes).for_each(|lane| second[lane] = slope[lane] * x[both][lane]),
            None => second[..lanes].fill(0.0),
        }
        if let (Some(k), Some(l)) = (pair.xk, pair.xl) {
            for lane in 0..lanes {
                second[lane] += bend[lane] * x[k][lane] * x[l][lane];
            }
        }
    }
}

/// The partial derivatives of a function of two arguments, a lane each.
pub(crate) struct Partials {
    pub(crate) x: Lane,
    pub(crate) y: Lane,
    pub(crate) xx: Lane,
    pub(crate) xy: Lane,
    pub(crate) yy: Lane,
}

/// f(x, y) by the chain rule of second order.
fn join(node: &Node, function: Binary, x: &[Lane], y: &[Lane], lanes: usize, mine: &mut [Lane]) {
    let zero = [0.0; BLOCK];
    let mut partials = Partials {
        x: zero,
        y: zero,
        xx: zero,
        xy: zero,
        yy: zero,
    };
    let (head, seconds) = mine.split_at_mut(1 + node.firsts.len());
    binary_rule(function, &x[0], &y[0], lanes, &mut head[0], &mut partials);
    let add = |out: &mut Lane, by: &Lane, one: &Lane| {
        for lane in 0..lanes {
            out[lane] += by[lane] * one[lane];
        }
    };
    let add_product = |out: &mut Lane, by: &Lane, one: &Lane, two: &Lane| {
        for lane in 0..lanes {
            out[lane] += by[lane] * one[lane] * two[lane];
        }
    };
    for ((left, right), first) in node.sources.iter().zip(&mut head[1..]) {
        first[..lanes].fill(0.0);
        if let Some(left) = left {
            add(first, &partials.x, &x[*left]);
        }
        if let Some(right) = right {
            add(first, &partials.y, &y[*right]);
        }
    }
    let curved = Curves::of(function);
    for (pair, second) in node.pairs.iter().zip(seconds) {
        second[..lanes].fill(0.0);
        if let Some(both) = pair.x {
            add(second, &partials.x, &x[both]);
        }
        if let Some(both) = pair.y {
            add(second, &partials.y, &y[both]);
        }
        if curved.xx
            && let (Some(k), Some(l)) = (pair.xk, pair.xl)
        {
            add_product(second, &partials.xx, &x[k], &x[l]);
        }
        if curved.yy
            && let (Some(k), Some(l)) = (pair.yk, pair.yl)
        {
            add_product(second, &partials.yy, &y[k], &y[l]);
        }
        if curved.xy {
            if let (Some(k), Some(l)) = (pair.xk, pair.yl) {
                add_product(second, &partials.xy, &x[k], &y[l]);
            }
            if let (Some(l), Some(k)) = (pair.xl, pair.yk) {
                add_product(second, &partials.xy, &x[l], &y[k]);
            }
        }
    }
}

/// Which second partial derivatives a function of two arguments has.
#[derive(Clone, Copy)]
pub(crate) struct Curves {
    pub(crate) xx: bool,
    pub(crate) xy: bool,
    pub(crate) yy: bool,
}

impl Curves {
    pub(crate) fn of(function: Binary) -> Self {
        let (xx, xy, yy) = match function {
            Binary::Multiply => (false, true, false),
            Binary::Divide => (false, true, true),
            Binary::Power => (true, true, true),
            _ => (false, false, false),
        };
        Self { xx, xy, yy }
    }
}
