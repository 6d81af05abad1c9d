//! One regression tree, grown from gradients over binned columns.
//!
//! Leaves are split where the second-order gain is largest (Chen and Guestrin 2016, eq. 7; leaf by leaf as in Ke et al.
//! 2017), the smaller child's histogram is counted and its sibling's is the difference. A missing value goes where the
//! gain is larger. Categories are put in the order of their mean gradient and cut once (Fisher 1958), smoothed so that
//! rare ones do not lead. Along a monotone column a split must order its children's values, and bounds handed down keep
//! all descendants on their side of the middle.

// Indices run over rows of several columns at once.
#![allow(clippy::needless_range_loop)]

use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

use super::bins::Binned;
use crate::random::index_below;

/// A node that has no split.
const LEAF: u16 = u16::MAX;

/// Added to a category's weight when categories are ordered.
const CATEGORY_SMOOTHING: f64 = 10.0;

/// A tree as parallel arrays over nodes; the root is node 0, and a split's right child follows its left one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tree {
    /// Column of the split, `LEAF` in a leaf.
    pub(crate) feature: Vec<u16>,
    /// Last bin that goes left, or the index of the set of bins that do.
    pub(crate) split: Vec<u8>,
    /// 1 where missing values go left.
    pub(crate) missing_left: Vec<u8>,
    /// Left child.
    pub(crate) left: Vec<u32>,
    /// Value of a leaf, 0 elsewhere.
    pub(crate) value: Vec<f32>,
    /// Weight of the training rows in a node; empty where nothing will be explained.
    pub(crate) cover: Vec<f32>,
    /// Bins that go left, for splits of categories.
    pub(crate) sets: Vec<Vec<u8>>,
}

impl Tree {
    pub(crate) fn is_leaf(&self, node: usize) -> bool {
        self.feature[node] == LEAF
    }

    /// Where a bin goes at a node that has a split on a column without (`false`) or of categories.
    pub(crate) fn goes_left(&self, node: usize, bin: u8, categorical: bool) -> bool {
        if bin == 0 {
            self.missing_left[node] == 1
        } else if categorical {
            self.sets[usize::from(self.split[node])].contains(&bin)
        } else {
            bin <= self.split[node]
        }
    }

    /// The leaf's value for a row of bins.
    pub(crate) fn predict(&self, categorical: &[bool], bin: impl Fn(usize) -> u8) -> f64 {
        let mut node = 0;
        while !self.is_leaf(node) {
            let column = usize::from(self.feature[node]);
            let right = !self.goes_left(node, bin(column), categorical[column]);
            node = self.left[node] as usize + usize::from(right);
        }
        f64::from(self.value[node])
    }

    fn push(&mut self, cover: f64) -> usize {
        self.feature.push(LEAF);
        self.split.push(0);
        self.missing_left.push(0);
        self.left.push(0);
        self.value.push(0.0);
        self.cover.push(cover as f32);
        self.feature.len() - 1
    }
}

/// Limits of a tree.
#[derive(Clone, Debug)]
pub(crate) struct Growth {
    /// Leaves at most.
    pub(crate) leaves: usize,
    /// Splits on a path at most.
    pub(crate) depth: usize,
    /// Rows of a leaf at least.
    pub(crate) rows_min: usize,
    /// Ridge on leaf values.
    pub(crate) l2: f64,
    /// Factor on leaf values.
    pub(crate) rate: f64,
    /// Columns drawn for each split; 0 means all.
    pub(crate) columns_per_split: usize,
    /// Best leaf first; else depth first, which holds few histograms at once.
    pub(crate) best_first: bool,
}

type Sums = [f64; 2];

#[derive(Clone, Debug)]
struct Split {
    gain: f64,
    column: usize,
    bin: u8,
    missing_left: bool,
    set: Vec<u8>,
    left: Sums,
    outputs: [f64; 2],
}

struct Open {
    node: usize,
    start: usize,
    end: usize,
    depth: usize,
    sums: Sums,
    bounds: [f64; 2],
    histogram: Vec<[Sums; 256]>,
    split: Option<Split>,
}

/// What is constant while a tree grows.
pub(crate) struct Grower<'a> {
    /// The table.
    pub(crate) data: &'a Binned,
    /// Derivative of the loss by the prediction, times the weight, for each row of the table.
    pub(crate) gradient: &'a [f64],
    /// Second derivative, likewise.
    pub(crate) hessian: &'a [f64],
    /// -1, 0 or 1 for each column.
    pub(crate) monotone: &'a [i8],
    /// Limits.
    pub(crate) growth: &'a Growth,
}

impl Grower<'_> {
    /// Grows a tree over `rows` (indices into the table; a row may occur several times). `landed` is told the rows of
    /// each leaf and its value.
    pub(crate) fn grow(
        &self,
        mut rows: Vec<u32>,
        random: &mut ChaCha12Rng,
        mut landed: impl FnMut(&[u32], f64),
    ) -> Tree {
        let mut tree = Tree::default();
        let mut spare: Vec<Vec<[Sums; 256]>> = Vec::new();
        let mut scratch = vec![0_u32; rows.len()];
        let mut sums = [0.0; 2];
        for row in &rows {
            sums[0] += self.gradient[*row as usize];
            sums[1] += self.hessian[*row as usize];
        }
        let node = tree.push(sums[1]);
        let mut root = Open {
            node,
            start: 0,
            end: rows.len(),
            depth: 0,
            sums,
            bounds: [f64::NEG_INFINITY, f64::INFINITY],
            histogram: self.fresh(&mut spare),
            split: None,
        };
        self.count(&rows, &mut root.histogram);
        root.split = self.best_split(&root, random);
        let mut open = vec![root];
        let mut leaves = 1;
        while leaves < self.growth.leaves {
            let Some(place) = self.next(&open) else { break };
            let mut parent = open.swap_remove(place);
            let Some(split) = parent.split.take() else {
                break;
            };
            let middle = self.partition(&mut rows, &mut scratch, &parent, &split);
            if middle == parent.start || middle == parent.end {
                // Rounding made a gain of a split that parts nothing: the leaf stays, without one.
                open.push(parent);
                continue;
            }
            leaves += 1;
            let right_sums = [
                parent.sums[0] - split.left[0],
                parent.sums[1] - split.left[1],
            ];
            let left = tree.push(split.left[1]);
            tree.push(right_sums[1]);
            tree.feature[parent.node] = split.column as u16;
            tree.left[parent.node] = left as u32;
            tree.missing_left[parent.node] = u8::from(split.missing_left);
            tree.split[parent.node] = split.bin;
            if self.data.categorical[split.column] {
                tree.split[parent.node] = tree.sets.len() as u8;
                tree.sets.push(split.set.clone());
            }
            let (left_bounds, right_bounds) = self.bounds(&parent, &split);
            let child = |node, start, end, sums, bounds| Open {
                node,
                start,
                end,
                depth: parent.depth + 1,
                sums,
                bounds,
                histogram: Vec::new(),
                split: None,
            };
            let mut one = child(left, parent.start, middle, split.left, left_bounds);
            let mut two = child(left + 1, middle, parent.end, right_sums, right_bounds);
            let histogram = std::mem::take(&mut parent.histogram);
            // The tree's arrays index sets by a byte: with 255 of them categories are no longer split.
            if leaves < self.growth.leaves && one.depth < self.growth.depth {
                self.hand_down(&rows, histogram, &mut one, &mut two, &mut spare);
                for side in [&mut one, &mut two] {
                    if tree.sets.len() < 255 || !self.data.categorical.contains(&true) {
                        side.split = self.best_split(side, random);
                    }
                    if side.split.is_none() && !side.histogram.is_empty() {
                        spare.push(std::mem::take(&mut side.histogram));
                    }
                }
            } else {
                spare.push(histogram);
            }
            open.push(one);
            open.push(two);
        }
        for leaf in open {
            let value = self.output(leaf.sums, leaf.bounds) * self.growth.rate;
            tree.value[leaf.node] = value as f32;
            landed(&rows[leaf.start..leaf.end], f64::from(value as f32));
        }
        tree
    }

    /// Which leaf to split next: ties go to the older node, so that the order of the list does not matter.
    fn next(&self, open: &[Open]) -> Option<usize> {
        let candidates = open
            .iter()
            .enumerate()
            .filter(|(_, leaf)| leaf.split.is_some());
        if self.growth.best_first {
            let gain = |leaf: &Open| leaf.split.as_ref().map_or(0.0, |split| split.gain);
            candidates
                .max_by(|(_, one), (_, two)| {
                    gain(one)
                        .total_cmp(&gain(two))
                        .then(two.node.cmp(&one.node))
                })
                .map(|(place, _)| place)
        } else {
            candidates
                .max_by_key(|(_, leaf)| leaf.node)
                .map(|(place, _)| place)
        }
    }

    fn fresh(&self, spare: &mut Vec<Vec<[Sums; 256]>>) -> Vec<[Sums; 256]> {
        let mut histogram = spare
            .pop()
            .unwrap_or_else(|| vec![[[0.0; 2]; 256]; self.data.columns.len()]);
        for (bins, count) in histogram.iter_mut().zip(&self.data.counts) {
            bins[..*count].fill([0.0; 2]);
        }
        histogram
    }

    fn count(&self, rows: &[u32], histogram: &mut [[Sums; 256]]) {
        let values: Vec<Sums> = rows
            .iter()
            .map(|row| [self.gradient[*row as usize], self.hessian[*row as usize]])
            .collect();
        for (bins, column) in histogram.iter_mut().zip(&self.data.columns) {
            for (row, value) in rows.iter().zip(&values) {
                let slot = &mut bins[usize::from(column[*row as usize])];
                slot[0] += value[0];
                slot[1] += value[1];
            }
        }
    }

    /// The smaller child is counted, the larger one is what the parent has left.
    fn hand_down(
        &self,
        rows: &[u32],
        mut parent: Vec<[Sums; 256]>,
        one: &mut Open,
        two: &mut Open,
        spare: &mut Vec<Vec<[Sums; 256]>>,
    ) {
        let (small, large) = if one.end - one.start <= two.end - two.start {
            (one, two)
        } else {
            (two, one)
        };
        if large.end - large.start < 2 * self.growth.rows_min {
            spare.push(parent);
            return;
        }
        let mut counted = self.fresh(spare);
        self.count(&rows[small.start..small.end], &mut counted);
        for ((whole, part), bins) in parent.iter_mut().zip(&counted).zip(&self.data.counts) {
            for (left, taken) in whole[..*bins].iter_mut().zip(&part[..*bins]) {
                left[0] -= taken[0];
                left[1] -= taken[1];
            }
        }
        large.histogram = parent;
        if small.end - small.start < 2 * self.growth.rows_min {
            spare.push(counted);
        } else {
            small.histogram = counted;
        }
    }

    fn output(&self, sums: Sums, bounds: [f64; 2]) -> f64 {
        let value = -sums[0] / (sums[1] + self.growth.l2).max(1e-12);
        value.max(bounds[0]).min(bounds[1])
    }

    /// Twice the fall of the loss's second-order model where a leaf takes this value.
    fn score(&self, sums: Sums, value: f64) -> f64 {
        -(2.0 * sums[0] * value + (sums[1] + self.growth.l2) * value * value)
    }

    fn best_split(&self, leaf: &Open, random: &mut ChaCha12Rng) -> Option<Split> {
        if leaf.histogram.is_empty() || leaf.end - leaf.start < 2 * self.growth.rows_min {
            return None;
        }
        let count = self.data.columns.len();
        let drawn = self.growth.columns_per_split;
        let mut columns: Vec<usize> = (0..count).collect();
        if drawn > 0 && drawn < count {
            for place in 0..drawn {
                let other = place + index_below(random, count - place);
                columns.swap(place, other);
            }
            columns.truncate(drawn);
            columns.sort_unstable();
        }
        let mut best = None;
        for column in columns {
            self.split_column(leaf, column, &mut best);
        }
        best
    }

    fn split_column(&self, leaf: &Open, column: usize, best: &mut Option<Split>) {
        let bins = &leaf.histogram[column][..self.data.counts[column]];
        let rows = (leaf.end - leaf.start) as f64;
        let rows_per_weight = rows / leaf.sums[1].max(1e-300);
        let least = self.growth.rows_min as f64 - 1e-6;
        let parent = self.score(leaf.sums, self.output(leaf.sums, leaf.bounds));
        let categorical = self.data.categorical[column];
        let mut order: Vec<u8> = Vec::new();
        if categorical {
            order = (1..bins.len() as u8)
                .filter(|bin| bins[usize::from(*bin)][1] * rows_per_weight > 0.5)
                .collect();
            let mean = |bin: &u8| {
                let sums = bins[usize::from(*bin)];
                sums[0] / (sums[1] + CATEGORY_SMOOTHING)
            };
            order.sort_by(|one, two| mean(one).total_cmp(&mean(two)).then(one.cmp(two)));
        }
        let steps = if categorical {
            order.len()
        } else {
            bins.len() - 1
        };
        let missing = bins[0];
        let has_missing = missing[1] * rows_per_weight > 0.5;
        let sign = f64::from(self.monotone[column]);
        for missing_left in [false, true] {
            if missing_left && !has_missing {
                continue;
            }
            let mut left = if missing_left { missing } else { [0.0; 2] };
            // The last bin's cut parts the missing from all others.
            let last = if has_missing && !missing_left {
                steps
            } else {
                steps.saturating_sub(1)
            };
            for step in 0..last {
                let bin = if categorical {
                    order[step]
                } else {
                    (step + 1) as u8
                };
                let here = bins[usize::from(bin)];
                left[0] += here[0];
                left[1] += here[1];
                if here[1] == 0.0 {
                    continue;
                }
                let left_rows = left[1] * rows_per_weight;
                if left_rows < least {
                    continue;
                }
                if rows - left_rows < least {
                    break;
                }
                let right = [leaf.sums[0] - left[0], leaf.sums[1] - left[1]];
                let outputs = [
                    self.output(left, leaf.bounds),
                    self.output(right, leaf.bounds),
                ];
                if sign * (outputs[1] - outputs[0]) < 0.0 {
                    continue;
                }
                let gain = self.score(left, outputs[0]) + self.score(right, outputs[1]) - parent;
                if gain > best.as_ref().map_or(1e-10, |best| best.gain) {
                    *best = Some(Split {
                        gain,
                        column,
                        bin,
                        missing_left,
                        set: order.get(..=step).map(<[u8]>::to_vec).unwrap_or_default(),
                        left,
                        outputs,
                    });
                }
            }
        }
    }

    fn bounds(&self, parent: &Open, split: &Split) -> ([f64; 2], [f64; 2]) {
        let (mut left, mut right) = (parent.bounds, parent.bounds);
        let middle = 0.5 * (split.outputs[0] + split.outputs[1]);
        match self.monotone[split.column] {
            1 => (left[1], right[0]) = (middle, middle),
            -1 => (left[0], right[1]) = (middle, middle),
            _ => {}
        }
        (left, right)
    }

    /// Puts the rows that go left first, each side in its old order.
    fn partition(
        &self,
        rows: &mut [u32],
        scratch: &mut [u32],
        leaf: &Open,
        split: &Split,
    ) -> usize {
        let column = &self.data.columns[split.column];
        let mut left_of = [false; 256];
        left_of[0] = split.missing_left;
        if self.data.categorical[split.column] {
            for bin in &split.set {
                left_of[usize::from(*bin)] = true;
            }
        } else {
            left_of[1..=usize::from(split.bin)].fill(true);
        }
        let (mut left, mut right) = (leaf.start, 0);
        for place in leaf.start..leaf.end {
            let row = rows[place];
            if left_of[usize::from(column[row as usize])] {
                rows[left] = row;
                left += 1;
            } else {
                scratch[right] = row;
                right += 1;
            }
        }
        rows[left..leaf.end].copy_from_slice(&scratch[..right]);
        left
    }
}
