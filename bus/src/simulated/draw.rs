//! What a seed decides.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Numbers from a seed, the same on every machine.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// True with this probability. Nothing is drawn for what never happens.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        // the upper 53 bits as a number from 0 to 1
        share > 0.0 && ((self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64) < share
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        if high <= low {
            return low;
        }
        let span = (high - low) as u64 + 1;
        low + (self.0.next_u64() % span) as i64
    }
}
