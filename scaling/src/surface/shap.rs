//! Exact Shapley values of trees, path-dependent (Lundberg, Erion and Lee 2018, algorithm 2).
//!
//! A feature that is not known goes both ways, each with the share of training weight that went there. The value of a
//! feature is its mean contribution over all orders in which features may become known; the values and the mean add up
//! to the prediction. The algorithm keeps, along each path, the weights of all subset sizes at once.

use super::tree::Tree;

/// One feature on the path from the root.
#[derive(Clone, Copy)]
struct Step {
    feature: usize,
    /// Share of paths that pass when the feature is unknown.
    zero: f64,
    /// 1 where the row itself passes, else 0.
    one: f64,
    /// Weight of the subsets of each size.
    weight: f64,
}

/// Adds a tree's Shapley values, times `factor`, to `values`, and returns the tree's mean (times `factor`).
pub(crate) fn add_shapley(
    tree: &Tree,
    categorical: &[bool],
    bin: &dyn Fn(usize) -> u8,
    factor: f64,
    values: &mut [f64],
) -> f64 {
    let mut walk = Walk {
        tree,
        categorical,
        bin,
        factor,
        values,
    };
    walk.visit(0, &[], 1.0, 1.0, usize::MAX);
    factor * mean(tree, 0)
}

/// Weighted mean of the leaves below a node.
fn mean(tree: &Tree, node: usize) -> f64 {
    if tree.is_leaf(node) {
        return f64::from(tree.value[node]);
    }
    let left = tree.left[node] as usize;
    let (one, two) = shares(tree, node);
    one * mean(tree, left) + two * mean(tree, left + 1)
}

/// Shares of a node's weight that go left and right.
fn shares(tree: &Tree, node: usize) -> (f64, f64) {
    let left = tree.left[node] as usize;
    let (one, two) = (f64::from(tree.cover[left]), f64::from(tree.cover[left + 1]));
    let sum = (one + two).max(1e-300);
    (one / sum, two / sum)
}

struct Walk<'a> {
    tree: &'a Tree,
    categorical: &'a [bool],
    bin: &'a dyn Fn(usize) -> u8,
    factor: f64,
    values: &'a mut [f64],
}

impl Walk<'_> {
    fn visit(&mut self, node: usize, parents: &[Step], zero: f64, one: f64, feature: usize) {
        let mut path = parents.to_vec();
        extend(&mut path, zero, one, feature);
        if self.tree.is_leaf(node) {
            let value = self.factor * f64::from(self.tree.value[node]);
            for place in 1..path.len() {
                let step = path[place];
                self.values[step.feature] +=
                    unwound_sum(&path, place) * (step.one - step.zero) * value;
            }
            return;
        }
        let column = usize::from(self.tree.feature[node]);
        let left = self.tree.left[node] as usize;
        let goes_left = self
            .tree
            .goes_left(node, (self.bin)(column), self.categorical[column]);
        // A feature met again: its shares multiply, and it counts once.
        let (mut seen_zero, mut seen_one) = (1.0, 1.0);
        if let Some(place) = path.iter().skip(1).position(|step| step.feature == column) {
            (seen_zero, seen_one) = (path[place + 1].zero, path[place + 1].one);
            unwind(&mut path, place + 1);
        }
        let (left_share, right_share) = shares(self.tree, node);
        let pass = |passes: bool| if passes { seen_one } else { 0.0 };
        self.visit(left, &path, seen_zero * left_share, pass(goes_left), column);
        self.visit(
            left + 1,
            &path,
            seen_zero * right_share,
            pass(!goes_left),
            column,
        );
    }
}

fn extend(path: &mut Vec<Step>, zero: f64, one: f64, feature: usize) {
    let depth = path.len();
    path.push(Step {
        feature,
        zero,
        one,
        weight: if depth == 0 { 1.0 } else { 0.0 },
    });
    let size = (depth + 1) as f64;
    for place in (0..depth).rev() {
        path[place + 1].weight += one * path[place].weight * (place + 1) as f64 / size;
        path[place].weight *= zero * (depth - place) as f64 / size;
    }
}

fn unwind(path: &mut Vec<Step>, place: usize) {
    let depth = path.len() - 1;
    let Step { zero, one, .. } = path[place];
    let size = (depth + 1) as f64;
    let mut next = path[depth].weight;
    for at in (0..depth).rev() {
        if one != 0.0 {
            let kept = path[at].weight;
            path[at].weight = next * size / ((at + 1) as f64 * one);
            next = kept - path[at].weight * zero * (depth - at) as f64 / size;
        } else {
            path[at].weight = path[at].weight * size / (zero * (depth - at) as f64);
        }
    }
    for at in place..depth {
        let following = path[at + 1];
        (path[at].feature, path[at].zero, path[at].one) =
            (following.feature, following.zero, following.one);
    }
    path.pop();
}

fn unwound_sum(path: &[Step], place: usize) -> f64 {
    let depth = path.len() - 1;
    let Step { zero, one, .. } = path[place];
    let size = (depth + 1) as f64;
    let (mut next, mut sum) = (path[depth].weight, 0.0);
    for at in (0..depth).rev() {
        if one != 0.0 {
            let part = next * size / ((at + 1) as f64 * one);
            sum += part;
            next = path[at].weight - part * zero * (depth - at) as f64 / size;
        } else if zero != 0.0 {
            sum += path[at].weight * size / (zero * (depth - at) as f64);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::bins::{Binned, Cut};
    use super::super::tree::{Grower, Growth};
    use super::*;
    use crate::random::{generator, index_below};

    /// The definition: the mean over all subsets, with unknown features going both ways.
    fn expected(tree: &Tree, node: usize, row: &[u8], known: usize) -> f64 {
        if tree.is_leaf(node) {
            return f64::from(tree.value[node]);
        }
        let (column, left) = (usize::from(tree.feature[node]), tree.left[node] as usize);
        if known & (1 << column) == 0 {
            let (one, two) = shares(tree, node);
            one * expected(tree, left, row, known) + two * expected(tree, left + 1, row, known)
        } else if tree.goes_left(node, row[column], false) {
            expected(tree, left, row, known)
        } else {
            expected(tree, left + 1, row, known)
        }
    }

    #[test]
    fn equals_the_definition_over_all_subsets() {
        let (rows, columns) = (200, 4);
        let mut random = generator(3, 0);
        let raw: Vec<Vec<f64>> = (0..columns)
            .map(|_| {
                (0..rows)
                    .map(|_| {
                        if index_below(&mut random, 10) == 0 {
                            f64::NAN
                        } else {
                            index_below(&mut random, 50) as f64
                        }
                    })
                    .collect()
            })
            .collect();
        let cuts: Vec<Cut> = raw.iter().map(|values| Cut::number(values, 254)).collect();
        let data = Binned::new(&cuts, &raw);
        let zero = |value: f64| if value.is_nan() { 7.0 } else { value };
        let gradient: Vec<f64> = (0..rows)
            .map(|row| -zero(raw[0][row]) * zero(raw[1][row]) - 20.0 * zero(raw[2][row]))
            .collect();
        let growth = Growth {
            leaves: 24,
            depth: 10,
            rows_min: 2,
            l2: 0.0,
            rate: 1.0,
            columns_per_split: 0,
            best_first: true,
        };
        let hessian = vec![1.0; rows];
        let grower = Grower {
            data: &data,
            gradient: &gradient,
            hessian: &hessian,
            monotone: &[0; 4],
            growth: &growth,
        };
        let tree = grower.grow((0..rows as u32).collect(), &mut random, |_, _| {});
        assert!(tree.feature.len() > 40);
        let factorial = |n: usize| (1..=n).product::<usize>() as f64;
        for row in 0..20 {
            let bins: Vec<u8> = (0..columns)
                .map(|column| data.columns[column][row])
                .collect();
            let mut values = vec![0.0; columns];
            let mean = add_shapley(&tree, &[false; 4], &|column| bins[column], 1.0, &mut values);
            assert!((mean - expected(&tree, 0, &bins, 0)).abs() < 1e-9 * mean.abs());
            for (feature, value) in values.iter().enumerate() {
                let mut shapley = 0.0;
                for subset in (0..1_usize << columns).filter(|subset| subset & (1 << feature) == 0)
                {
                    let size = subset.count_ones() as usize;
                    let weight =
                        factorial(size) * factorial(columns - size - 1) / factorial(columns);
                    let gain = expected(&tree, 0, &bins, subset | (1 << feature))
                        - expected(&tree, 0, &bins, subset);
                    shapley += weight * gain;
                }
                assert!((value - shapley).abs() < 1e-8, "{value} against {shapley}");
            }
        }
    }
}
