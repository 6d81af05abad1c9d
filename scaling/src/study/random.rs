//! Seeded draws for the studies: a generator for each purpose and index, so that draw 17 is the same whatever came before.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a generator is for; keeps the streams of different studies apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Resamples of an iso-FLOP study.
    IsoFlop = 1,
    /// Resamples of an envelope.
    Envelope = 2,
    /// Sign flips of the test for one law.
    Pooling = 3,
    /// Sign flips of the test for a break.
    Break = 4,
}

/// The generator of draw `index` of a purpose.
pub(crate) fn generator(seed: u64, purpose: Purpose, index: u32) -> ChaCha12Rng {
    let mut generator = ChaCha12Rng::seed_from_u64(seed);
    // The fit's own streams are below 2^48.
    generator.set_stream((purpose as u64) << 48 | u64::from(index));
    generator
}

/// A uniform index below `count` (multiplication, Lemire 2019; the bias of at most count / 2^64 is nothing here).
pub(crate) fn index_below(generator: &mut ChaCha12Rng, count: usize) -> usize {
    ((u128::from(generator.next_u64()) * count as u128) >> 64) as usize
}

/// Plus or minus one, each with probability one half.
pub(crate) fn sign(generator: &mut ChaCha12Rng) -> f64 {
    if generator.next_u64() >> 63 == 1 {
        1.0
    } else {
        -1.0
    }
}
