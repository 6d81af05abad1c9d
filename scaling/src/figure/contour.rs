//! Lines of equal height over a grid: marching squares, joined into as few lines as there are.

use std::collections::{BTreeMap, BTreeSet};

/// An edge of the grid: from the node at (column, row) to the right or upwards.
type Edge = (usize, usize, bool);

/// Lines on which a surface has the height `level`; closed ones end where they begin. `z[row * x.len() + column]`; cells with
/// a corner that is not finite are left out.
pub(crate) fn lines(x: &[f64], y: &[f64], z: &[f64], level: f64) -> Vec<Vec<(f64, f64)>> {
    let width = x.len();
    if width < 2 || y.len() < 2 || z.len() < width * y.len() || !level.is_finite() {
        return Vec::new();
    }
    let height = |column: usize, row: usize| z[row * width + column];
    let mut neighbours: BTreeMap<Edge, Vec<Edge>> = BTreeMap::new();
    for row in 0..y.len() - 1 {
        for column in 0..width - 1 {
            // Counter-clockwise from the lower left, and the edges between.
            let corners = [
                height(column, row),
                height(column + 1, row),
                height(column + 1, row + 1),
                height(column, row + 1),
            ];
            if corners.iter().any(|corner| !corner.is_finite()) {
                continue;
            }
            let edges: [Edge; 4] = [
                (column, row, true),
                (column + 1, row, false),
                (column, row + 1, true),
                (column, row, false),
            ];
            let above: Vec<bool> = corners.iter().map(|corner| *corner >= level).collect();
            let crossed: Vec<usize> = (0..4)
                .filter(|at| above[*at] != above[(at + 1) % 4])
                .collect();
            let pairs: Vec<(usize, usize)> = match crossed.as_slice() {
                [one, other] => vec![(*one, *other)],
                // A saddle: the mean of the corners says which two of them belong together.
                [..] if crossed.len() == 4 => {
                    let mean = corners.iter().sum::<f64>() / 4.0;
                    if (mean >= level) == above[0] {
                        vec![(0, 1), (2, 3)]
                    } else {
                        vec![(3, 0), (1, 2)]
                    }
                }
                _ => Vec::new(),
            };
            for (one, other) in pairs {
                neighbours.entry(edges[one]).or_default().push(edges[other]);
                neighbours.entry(edges[other]).or_default().push(edges[one]);
            }
        }
    }
    let point = |edge: Edge| {
        let (column, row, rightwards) = edge;
        let (to_column, to_row) = if rightwards {
            (column + 1, row)
        } else {
            (column, row + 1)
        };
        let (from, to) = (height(column, row), height(to_column, to_row));
        let share = (level - from) / (to - from);
        let between = |a: f64, b: f64| a + (b - a) * share;
        (between(x[column], x[to_column]), between(y[row], y[to_row]))
    };
    let ends = neighbours.iter().filter(|(_, next)| next.len() == 1);
    let starts: Vec<Edge> = ends
        .map(|(edge, _)| *edge)
        .chain(neighbours.keys().copied())
        .collect();
    let mut seen: BTreeSet<Edge> = BTreeSet::new();
    let mut found = Vec::new();
    for start in starts {
        if !seen.insert(start) {
            continue;
        }
        let mut path = vec![start];
        while let Some(next) = neighbours[&path[path.len() - 1]]
            .iter()
            .find(|edge| !seen.contains(*edge))
        {
            seen.insert(*next);
            path.push(*next);
        }
        let closed = path.len() > 2 && neighbours[&path[path.len() - 1]].contains(&start);
        let mut line: Vec<(f64, f64)> = path.into_iter().map(point).collect();
        if closed {
            line.push(line[0]);
        }
        found.push(line);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(count: usize) -> Vec<f64> {
        (0..count)
            .map(|at| at as f64 / (count - 1) as f64 * 4.0 - 2.0)
            .collect()
    }

    fn grid(of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let of = &of;
        axis(41)
            .iter()
            .flat_map(|y| axis(41).into_iter().map(move |x| of(x, *y)))
            .collect()
    }

    #[test]
    fn a_cone_has_one_closed_circle_at_each_height() {
        let z = grid(|x, y| libm::sqrt(x * x + y * y));
        let found = lines(&axis(41), &axis(41), &z, 1.0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].first(), found[0].last());
        for (x, y) in &found[0] {
            assert!((libm::sqrt(x * x + y * y) - 1.0).abs() < 2e-3);
        }
        assert!(found[0].len() > 70);
    }

    #[test]
    fn a_plane_has_one_open_line_and_a_saddle_two() {
        let found = lines(&axis(41), &axis(41), &grid(|x, y| x + y), 0.01);
        assert_eq!(found.len(), 1);
        assert!(found[0].iter().all(|(x, y)| (x + y - 0.01).abs() < 1e-9));
        assert_eq!(
            lines(&axis(41), &axis(41), &grid(|x, y| x * y), 0.013).len(),
            2
        );
    }

    #[test]
    fn holes_and_heights_that_do_not_occur_give_no_line() {
        let z = grid(|x, _| if x > 0.0 { f64::NAN } else { x });
        assert_eq!(lines(&axis(41), &axis(41), &z, 5.0).len(), 0);
        assert_eq!(lines(&axis(41), &axis(41), &z, -1.03).len(), 1);
        assert_eq!(lines(&[1.0], &[1.0], &[1.0], 1.0).len(), 0);
    }
}
