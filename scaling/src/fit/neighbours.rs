//! The nearest row of another unit, for every row, by a tree over the points.
//!
//! Asking every row about every other is quadratic: 100,000 rows are ten thousand million distances. The tree halves the
//! points by their widest axis (Bentley 1975, "Multidimensional binary search trees") and a search leaves out what lies behind
//! the nearest point found so far, or belongs to the row's own unit alone. The answer is the same, ties included: among equal
//! distances the first row counts. Distances to boxes are rounded as those to points are, so that no nearer point hides.

/// Points that are not divided further.
const LEAF: usize = 8;

/// A box around some of the points.
struct Node {
    low: Vec<f64>,
    high: Vec<f64>,
    /// Its points are `order[from..to]`.
    from: usize,
    to: usize,
    /// The least row in it.
    first: usize,
    /// The unit of all of its points, where they have one.
    unit: Option<usize>,
    /// Its halves.
    halves: Option<(usize, usize)>,
}

struct Tree<'a> {
    points: &'a [Vec<f64>],
    unit_of: &'a [usize],
    order: Vec<usize>,
    nodes: Vec<Node>,
}

/// For each point the nearest one of another unit, the first of equally near ones; itself where all are of one unit.
pub(super) fn neighbours(points: Vec<Vec<f64>>, unit_of: &[usize]) -> Vec<usize> {
    let mut tree = Tree {
        points: &points,
        unit_of,
        order: (0..points.len()).collect(),
        nodes: Vec::new(),
    };
    if points.is_empty() {
        return Vec::new();
    }
    tree.grow(0, points.len());
    (0..points.len())
        .map(|row| {
            let mut best = (f64::INFINITY, row);
            tree.descend(0, row, &mut best);
            best.1
        })
        .collect()
}

impl Tree<'_> {
    /// Adds the node of `order[from..to]` and those below it.
    fn grow(&mut self, from: usize, to: usize) -> usize {
        let rows = &mut self.order[from..to];
        let axes = self.points[rows[0]].len();
        let mut low = self.points[rows[0]].clone();
        let mut high = low.clone();
        for row in rows.iter() {
            for (axis, value) in self.points[*row].iter().enumerate() {
                low[axis] = low[axis].min(*value);
                high[axis] = high[axis].max(*value);
            }
        }
        let unit = self.unit_of[rows[0]];
        let widest = (0..axes).max_by(|one, two| {
            let width = |axis: usize| high[axis] - low[axis];
            width(*one).total_cmp(&width(*two)).then(two.cmp(one))
        });
        let middle = rows.len() / 2;
        let divided = rows.len() > LEAF;
        if divided {
            // Equal places by row, so that a half of equal points is the half with the first rows.
            rows.select_nth_unstable_by(middle, |one, two| {
                let place = |row: usize| widest.map_or(0.0, |axis| self.points[row][axis]);
                place(*one).total_cmp(&place(*two)).then(one.cmp(two))
            });
        }
        let place = self.nodes.len();
        self.nodes.push(Node {
            low,
            high,
            from,
            to,
            first: rows.iter().copied().min().unwrap_or(0),
            unit: rows
                .iter()
                .all(|row| self.unit_of[*row] == unit)
                .then_some(unit),
            halves: None,
        });
        if divided {
            let left = self.grow(from, from + middle);
            let right = self.grow(from + middle, to);
            self.nodes[place].halves = Some((left, right));
        }
        place
    }

    /// Looks for a point nearer to a row's than the best (distance, row) so far.
    fn descend(&self, node: usize, row: usize, best: &mut (f64, usize)) {
        let node = &self.nodes[node];
        let Some((left, right)) = node.halves else {
            let others = self.order[node.from..node.to].iter();
            for other in others.filter(|other| self.unit_of[**other] != self.unit_of[row]) {
                let gaps = self.points[row].iter().zip(&self.points[*other]);
                let distance: f64 = gaps.map(|(one, two)| (one - two) * (one - two)).sum();
                if distance < best.0 || distance == best.0 && *other < best.1 {
                    *best = (distance, *other);
                }
            }
            return;
        };
        let mut halves = [left, right].map(|half| (self.distance(half, row), half));
        let first = |half: usize| self.nodes[half].first;
        if (halves[1].0, first(halves[1].1)) < (halves[0].0, first(halves[0].1)) {
            halves.swap(0, 1);
        }
        for (distance, half) in halves {
            let nearer = distance < best.0 || distance == best.0 && first(half) < best.1;
            if nearer && self.nodes[half].unit != Some(self.unit_of[row]) {
                self.descend(half, row, best);
            }
        }
    }

    /// How far a row's point is from a box, squared.
    fn distance(&self, node: usize, row: usize) -> f64 {
        let node = &self.nodes[node];
        let sides = node.low.iter().zip(&node.high);
        self.points[row]
            .iter()
            .zip(sides)
            .map(|(value, (low, high))| {
                let gap = (low - value).max(value - high).max(0.0);
                gap * gap
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Places on a coarse grid repeat, so that ties are common.
        #[test]
        fn the_tree_finds_what_asking_all_finds(
            rows in prop::collection::vec((0..6_i32, 0..40_i32, 0.0..1.0f64, 0..9_usize), 1..120),
            fine in any::<bool>(),
        ) {
            let points: Vec<Vec<f64>> = rows
                .iter()
                .map(|(x, y, z, _)| vec![f64::from(*x), f64::from(*y), if fine { *z } else { 0.0 }])
                .collect();
            let units: Vec<usize> = rows.iter().map(|row| row.3).collect();
            let distance = |one: usize, two: usize| -> f64 {
                let gaps = points[one].iter().zip(&points[two]);
                gaps.map(|(one, two)| (one - two) * (one - two)).sum()
            };
            let expected: Vec<usize> = (0..rows.len())
                .map(|row| {
                    let others = (0..rows.len()).filter(|other| units[*other] != units[row]);
                    // The first of the least.
                    others
                        .min_by(|one, two| distance(row, *one).total_cmp(&distance(row, *two)))
                        .unwrap_or(row)
                })
                .collect();
            prop_assert_eq!(neighbours(points.clone(), &units), expected);
        }
    }
}
