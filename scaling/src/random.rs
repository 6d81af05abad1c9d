//! Seeded draws, written out so that the bytes of an answer do not hang on a release of `rand`.
//!
//! Each purpose and index has a stream of its own, so that draw 17 is the same whatever came before it.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The generator of a stream.
pub(crate) fn generator(seed: u64, stream: u64) -> ChaCha12Rng {
    let mut generator = ChaCha12Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}

/// A uniform index below `count` by multiplication (Lemire 2019; the bias of at most count / 2^64 is nothing here).
pub(crate) fn index_below(generator: &mut ChaCha12Rng, count: usize) -> usize {
    ((u128::from(generator.next_u64()) * count as u128) >> 64) as usize
}

/// Uniform from 0 to 1, 1 excluded.
pub(crate) fn uniform(generator: &mut ChaCha12Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Plus or minus one, each with probability one half.
pub(crate) fn sign(generator: &mut ChaCha12Rng) -> f64 {
    if generator.next_u64() >> 63 == 1 {
        1.0
    } else {
        -1.0
    }
}

/// Fisher and Yates.
pub(crate) fn shuffle<T>(items: &mut [T], generator: &mut ChaCha12Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, index_below(generator, last + 1));
    }
}
