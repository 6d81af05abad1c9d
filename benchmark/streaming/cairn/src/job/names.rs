//! Spellings to numbers: (run, metric as spelled) is hashed once a row, and everything behind it is an index.
//!
//! A cache of what the slab holds, not state: it may be emptied at any time.

/// Entries before it is emptied and filled anew: 16 spellings of four metrics of 16,000 runs, about 60 MB.
const ENTRIES_MAX: usize = 1 << 20;
/// Odd constants with about as many ones as zeros (the golden ratio's bits, and those of the square root of two).
const K1: u64 = 0x9e37_79b9_7f4a_7c15;
const K2: u64 = 0xb504_f333_f9de_6485;

#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    /// Where run and metric lie one behind the other.
    at: u32,
    run_length: u16,
    metric_length: u16,
    group: u32,
}

const EMPTY: u32 = u32::MAX;

/// An open table with linear probing, at most half full.
pub struct Names {
    slots: Vec<Slot>,
    entries: usize,
    texts: Vec<u8>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            slots: vec![FREE; 1 << 10],
            entries: 0,
            texts: Vec::new(),
        }
    }
}

const FREE: Slot = Slot {
    hash: 0,
    at: 0,
    run_length: 0,
    metric_length: 0,
    group: EMPTY,
};

impl Names {
    #[inline]
    pub fn find(&self, run_id: &[u8], metric: &[u8]) -> Option<usize> {
        let hash = hash(run_id, metric);
        let mask = self.slots.len() - 1;
        let mut index = hash as usize & mask;
        loop {
            let slot = &self.slots[index];
            if slot.group == EMPTY {
                return None;
            }
            if slot.hash == hash {
                let (run, spelled) = self.text(slot);
                if same(run, run_id) && same(spelled, metric) {
                    return Some(slot.group as usize);
                }
            }
            index = (index + 1) & mask;
        }
    }

    #[inline]
    fn text(&self, slot: &Slot) -> (&[u8], &[u8]) {
        let run_end = slot.at as usize + slot.run_length as usize;
        let texts = &self.texts;
        (
            &texts[slot.at as usize..run_end],
            &texts[run_end..run_end + slot.metric_length as usize],
        )
    }

    /// Adds what `find` did not find.
    pub fn insert(&mut self, run_id: &[u8], metric: &[u8], group: usize) {
        let length = run_id.len() + metric.len();
        if self.entries >= ENTRIES_MAX || self.texts.len() + length > u32::MAX as usize {
            *self = Self::default();
        }
        if 2 * (self.entries + 1) > self.slots.len() {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![FREE; old.len() * 2];
            for slot in old.into_iter().filter(|slot| slot.group != EMPTY) {
                self.place(slot);
            }
        }
        // what does not fit its number is only not cached
        let numbers = (
            u32::try_from(self.texts.len()),
            u16::try_from(run_id.len()),
            u16::try_from(metric.len()),
            u32::try_from(group),
        );
        let (Ok(at), Ok(run_length), Ok(metric_length), Ok(group)) = numbers else {
            return;
        };
        self.texts.extend_from_slice(run_id);
        self.texts.extend_from_slice(metric);
        self.place(Slot {
            hash: hash(run_id, metric),
            at,
            run_length,
            metric_length,
            group,
        });
        self.entries += 1;
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut index = slot.hash as usize & mask;
        while self.slots[index].group != EMPTY {
            index = (index + 1) & mask;
        }
        self.slots[index] = slot;
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>() + self.texts.capacity()
    }
}

#[inline]
fn hash(run_id: &[u8], metric: &[u8]) -> u32 {
    (fold(fold(K2, run_id), metric) >> 32) as u32
}

/// Multiply and fold, eight bytes at a time; the last word overlaps the one before.
#[inline]
fn fold(seed: u64, text: &[u8]) -> u64 {
    let mut hash = seed ^ text.len() as u64;
    let mut words = text.chunks_exact(8);
    for word in &mut words {
        hash = multiply(hash ^ word_of(word));
    }
    if words.remainder().is_empty() {
        return hash;
    }
    multiply(
        hash ^ text
            .last_chunk::<8>()
            .map_or_else(|| word_of(text), |last| u64::from_le_bytes(*last)),
    )
}

/// Equality in words: the texts are short, and a call costs more than they do.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    a.len() == b.len()
        && a_words
            .iter()
            .zip(b_words)
            .all(|(a, b)| u64::from_le_bytes(*a) == u64::from_le_bytes(*b))
        && match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
            (Some(a), Some(b)) => u64::from_le_bytes(*a) == u64::from_le_bytes(*b),
            _ => a_rest.iter().zip(b_rest).all(|(a, b)| a == b),
        }
}

#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[inline]
fn multiply(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(K1);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_by_where_they_are_split() {
        let mut names = Names::default();
        names.insert(b"ab", b"c", 1);
        names.insert(b"a", b"bc", 2);
        assert_eq!(names.find(b"ab", b"c"), Some(1));
        assert_eq!(names.find(b"a", b"bc"), Some(2));
        assert_eq!(names.find(b"abc", b""), None);
    }

    #[test]
    fn all_are_found_after_it_has_grown() {
        let mut names = Names::default();
        let name = |i: usize| (format!("run-{i:04}"), format!("metric/{}", i % 7));
        for i in 0..5_000 {
            let (run, metric) = name(i);
            assert_eq!(names.find(run.as_bytes(), metric.as_bytes()), None);
            names.insert(run.as_bytes(), metric.as_bytes(), i);
        }
        for i in 0..5_000 {
            let (run, metric) = name(i);
            assert_eq!(names.find(run.as_bytes(), metric.as_bytes()), Some(i));
        }
    }
}
