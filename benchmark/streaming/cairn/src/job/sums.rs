//! What is remembered of one window of one (run, metric).

use super::row::Row;

/// Sums of the rows so far. Steps and logarithms are taken relative to the first row, so that the least squares do not cancel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    pub count: i64,
    pub loss_min: f64,
    pub loss_max: f64,
    pub loss_sum: f64,
    pub last_step: i64,
    pub least_step: i64,
    pub first_step: i64,
    pub first_y: f64,
    pub x: f64,
    pub y: f64,
    pub xx: f64,
    pub xy: f64,
}

impl Sums {
    /// The sums of one row.
    pub fn first(step: i64, loss: f64, log_perplexity: f64) -> Self {
        Self {
            count: 1,
            loss_min: loss,
            loss_max: loss,
            loss_sum: loss,
            last_step: step,
            least_step: step,
            first_step: step,
            first_y: log_perplexity,
            ..Self::default()
        }
    }

    #[inline]
    pub fn add(&mut self, row: &Row<'_>) {
        self.count += 1;
        self.loss_min = self.loss_min.min(row.loss);
        self.loss_max = self.loss_max.max(row.loss);
        self.loss_sum += row.loss;
        self.last_step = self.last_step.max(row.step);
        self.least_step = self.least_step.min(row.step);
        let x = (row.step - self.first_step) as f64;
        let y = row.log_perplexity - self.first_y;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
    }

    pub fn loss_mean(&self) -> f64 {
        self.loss_sum / self.count as f64
    }

    /// Of ln(perplexity) against step, by least squares; none where all steps are equal.
    pub fn slope(&self) -> Option<f64> {
        let n = self.count as f64;
        (self.least_step < self.last_step)
            .then(|| (n * self.xy - self.x * self.y) / (n * self.xx - self.x * self.x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points (2, 4), (4, 3), (6, 1), (8, 2) as (step, ln perplexity). By hand: means 5 and 2.5, sum of (dx dy) is
    /// -3*1.5 - 1*0.5 + 1*-1.5 + 3*-0.5 = -8, sum of dx^2 is 9 + 1 + 1 + 9 = 20: slope -0.4.
    #[test]
    fn the_slope_is_that_of_least_squares() {
        let mut sums = Sums::first(2, 4.0, 4.0);
        for (step, y) in [(4, 3.0), (6, 1.0), (8, 2.0)] {
            sums.add(&Row {
                run_id: b"r",
                metric: b"m",
                step,
                event_ms: 1,
                loss: y,
                log_perplexity: y,
            });
        }
        assert_eq!(sums.count, 4);
        assert_eq!(
            (sums.loss_min, sums.loss_max, sums.loss_mean()),
            (1.0, 4.0, 2.5)
        );
        assert_eq!((sums.least_step, sums.last_step), (2, 8));
        let slope = sums.slope().expect("steps differ");
        assert!((slope + 0.4).abs() < 1e-15, "{slope}");
    }

    #[test]
    fn equal_steps_have_no_slope() {
        let mut sums = Sums::first(5, 1.0, 1.0);
        sums.add(&Row {
            run_id: b"r",
            metric: b"m",
            step: 5,
            event_ms: 1,
            loss: 2.0,
            log_perplexity: 2.0,
        });
        assert_eq!(sums.slope(), None);
    }
}
