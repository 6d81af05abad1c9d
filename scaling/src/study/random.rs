//! The streams of the studies: one for each purpose and index.

use rand_chacha::ChaCha12Rng;

use crate::random;

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
    // The fit's own streams are below 2^48.
    random::generator(seed, (purpose as u64) << 48 | u64::from(index))
}
