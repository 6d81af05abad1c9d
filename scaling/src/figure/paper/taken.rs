//! Which parts of the page are taken, so that legends and words find a free one.

use super::scene::{Point, Rect};

/// Side of a cell, points.
const CELL: f64 = 2.0;

/// A coarse map of the page: how much it would hurt to cover each cell.
pub(super) struct Taken {
    columns: usize,
    rows: usize,
    cells: Vec<u8>,
}

impl Taken {
    pub fn new(width: f64, height: f64) -> Self {
        let (columns, rows) = ((width / CELL) as usize + 1, (height / CELL) as usize + 1);
        Self {
            columns,
            rows,
            cells: vec![0; columns * rows],
        }
    }

    fn cell(&self, at: f64, most: usize) -> usize {
        ((at / CELL).max(0.0) as usize).min(most - 1)
    }

    pub fn rect(&mut self, rect: &Rect, weight: u8) {
        for row in self.cell(rect.top, self.rows)..=self.cell(rect.bottom, self.rows) {
            for column in self.cell(rect.left, self.columns)..=self.cell(rect.right, self.columns) {
                let cell = &mut self.cells[row * self.columns + column];
                *cell = (*cell).max(weight);
            }
        }
    }

    pub fn disc(&mut self, (x, y): Point, radius: f64) {
        self.rect(
            &Rect {
                left: x - radius,
                top: y - radius,
                right: x + radius,
                bottom: y + radius,
            },
            4,
        );
    }

    pub fn line(&mut self, line: &[Point]) {
        for pair in line.windows(2) {
            let ((x, y), (to_x, to_y)) = (pair[0], pair[1]);
            let steps = ((to_x - x).abs().max((to_y - y).abs()) / CELL) as usize + 1;
            for step in 0..=steps {
                let share = step as f64 / steps as f64;
                self.disc((x + (to_x - x) * share, y + (to_y - y) * share), 0.0);
            }
        }
    }

    /// What covering a rectangle would hide; 0 for nothing.
    pub fn cost(&self, rect: &Rect) -> u64 {
        let columns = self.cell(rect.left, self.columns)..=self.cell(rect.right, self.columns);
        (self.cell(rect.top, self.rows)..=self.cell(rect.bottom, self.rows))
            .flat_map(|row| {
                columns
                    .clone()
                    .map(move |column| row * self.columns + column)
            })
            .map(|at| u64::from(self.cells[at]))
            .sum()
    }
}
