//! Which recomputed record is which original's, in one partition of an output topic.
//!
//! Records of one identity (the record key; of telegrams and answers their own id) keep their order on both sides, so that each side is
//! a list, and equal ones are found by digest. What lies between two equal ones has no partner: it is paired in order as
//! *different*, and what is left over is *missing* or *extra*. In a compacted topic the older ones may be gone: recomputed
//! ones without a partner are *compacted* where a newer one of the identity has one, and are paired from the newest on.
//!
//! Pure: knows neither records nor logs. Originals are numbers, recomputed ones whatever the caller hands in.

use std::collections::{BTreeMap, VecDeque};

/// SHA-256.
pub(super) type Digest = [u8; 32];

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict<R> {
    Equal { original: u64, ours: R },
    Different { original: u64, ours: R },
    Missing { original: u64 },
    Extra { ours: R },
    Compacted { ours: R },
}

/// What waits for a partner.
pub(super) struct Pairing<R> {
    is_compacted: bool,
    originals: BTreeMap<Vec<u8>, VecDeque<(Digest, u64)>>,
    ours: BTreeMap<Vec<u8>, VecDeque<(Digest, R)>>,
    /// Of a compacted topic, the newest original of each identity.
    newest: BTreeMap<Vec<u8>, Digest>,
}

impl<R> Pairing<R> {
    pub(super) fn new(is_compacted: bool) -> Self {
        Self {
            is_compacted,
            originals: BTreeMap::new(),
            ours: BTreeMap::new(),
            newest: BTreeMap::new(),
        }
    }

    /// True where an original like this waits.
    pub(super) fn has(&self, identity: &[u8], digest: &Digest) -> bool {
        self.originals
            .get(identity)
            .is_some_and(|waiting| waiting.iter().any(|(other, _)| other == digest))
    }

    /// An original came.
    pub(super) fn original(
        &mut self,
        identity: Vec<u8>,
        digest: Digest,
        original: u64,
    ) -> Vec<Verdict<R>> {
        if self.is_compacted {
            self.newest.insert(identity.clone(), digest);
        }
        let mut ours = self.ours.remove(&identity).unwrap_or_default();
        let Some(at) = ours.iter().position(|(other, _)| *other == digest) else {
            if !ours.is_empty() {
                self.ours.insert(identity.clone(), ours);
            }
            let waiting = self.originals.entry(identity).or_default();
            waiting.push_back((digest, original));
            return Vec::new();
        };
        let rest = ours.split_off(at + 1);
        if !rest.is_empty() {
            self.ours.insert(identity.clone(), rest);
        }
        let partner = ours.pop_back();
        let before = self.originals.remove(&identity).unwrap_or_default();
        let mut verdicts = self.pair(before, ours, None);
        verdicts.extend(partner.map(|(_, ours)| Verdict::Equal { original, ours }));
        verdicts
    }

    /// A record was recomputed.
    pub(super) fn ours(&mut self, identity: Vec<u8>, digest: Digest, ours: R) -> Vec<Verdict<R>> {
        let mut originals = self.originals.remove(&identity).unwrap_or_default();
        let Some(at) = originals.iter().position(|(other, _)| *other == digest) else {
            let open = originals.len();
            if open > 0 {
                self.originals.insert(identity.clone(), originals);
            }
            let waiting = self.ours.entry(identity).or_default();
            waiting.push_back((digest, ours));
            if self.is_compacted && waiting.len() > open.max(1) {
                let oldest = waiting.pop_front();
                return oldest
                    .map(|(_, ours)| Verdict::Compacted { ours })
                    .into_iter()
                    .collect();
            }
            return Vec::new();
        };
        let rest = originals.split_off(at + 1);
        if !rest.is_empty() {
            self.originals.insert(identity.clone(), rest);
        }
        let partner = originals.pop_back();
        let before = self.ours.remove(&identity).unwrap_or_default();
        let mut verdicts = self.pair(originals, before, None);
        verdicts.extend(partner.map(|(_, original)| Verdict::Equal { original, ours }));
        verdicts
    }

    /// Judges an identity as it is: nothing more is waited for.
    pub(super) fn give_up(&mut self, identity: &[u8]) -> Vec<Verdict<R>> {
        let originals = self.originals.remove(identity).unwrap_or_default();
        let ours = self.ours.remove(identity).unwrap_or_default();
        let newest = self.newest.get(identity).copied();
        self.pair(originals, ours, Some(newest))
    }

    /// An identity that waits.
    pub(super) fn any(&self) -> Option<Vec<u8>> {
        let first = self.originals.keys().chain(self.ours.keys()).next();
        first.cloned()
    }

    /// Pairs what found no equal. `end`: nothing newer of the identity comes; holds its newest original where there was one.
    fn pair(
        &self,
        mut originals: VecDeque<(Digest, u64)>,
        mut ours: VecDeque<(Digest, R)>,
        end: Option<Option<Digest>>,
    ) -> Vec<Verdict<R>> {
        let mut verdicts = Vec::new();
        if self.is_compacted {
            let surplus = ours.len().saturating_sub(originals.len());
            let newest = match end {
                Some(newest) if originals.is_empty() => ours
                    .pop_back()
                    // the same state said twice: compaction kept one of them
                    .map(|(digest, ours)| (newest == Some(digest), ours)),
                _ => None,
            };
            let older = surplus.min(ours.len());
            verdicts.extend(
                ours.drain(..older)
                    .map(|(_, ours)| Verdict::Compacted { ours }),
            );
            verdicts.extend(newest.map(|(is_twin, ours)| {
                if is_twin {
                    Verdict::Compacted { ours }
                } else {
                    Verdict::Extra { ours }
                }
            }));
            let lost = originals.len().saturating_sub(ours.len());
            verdicts.extend(
                originals
                    .drain(..lost)
                    .map(|(_, original)| Verdict::Missing { original }),
            );
        }
        loop {
            verdicts.push(match (originals.pop_front(), ours.pop_front()) {
                (Some((_, original)), Some((_, ours))) => Verdict::Different { original, ours },
                (Some((_, original)), None) => Verdict::Missing { original },
                (None, Some((_, ours))) => Verdict::Extra { ours },
                (None, None) => return verdicts,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `o:KV` an original of key K and value V, `r:KV` a recomputed one; originals are numbered from 0. Answers: `0=` equal,
    /// `0!b` different from b, `0?` missing, `+b` extra, `~b` compacted; a bar where the end began.
    fn check(is_compacted: bool, words: &str, expected: &str) {
        let mut pairing = Pairing::new(is_compacted);
        let (mut said, mut number) = (Vec::new(), 0);
        let mut tell = |verdicts: Vec<Verdict<char>>| {
            said.extend(verdicts.into_iter().map(|verdict| match verdict {
                Verdict::Equal { original, .. } => format!("{original}="),
                Verdict::Different { original, ours } => format!("{original}!{ours}"),
                Verdict::Missing { original } => format!("{original}?"),
                Verdict::Extra { ours } => format!("+{ours}"),
                Verdict::Compacted { ours } => format!("~{ours}"),
            }));
        };
        for word in words.split_whitespace() {
            let mut letters = word.chars();
            let (side, _) = (letters.next(), letters.next());
            let key = letters.next().expect("a key");
            let value = letters.next().expect("a value");
            let mut digest = [0; 32];
            digest[0] = value as u8;
            let identity = vec![key as u8];
            if side == Some('o') {
                tell(pairing.original(identity, digest, number));
                number += 1;
            } else {
                tell(pairing.ours(identity, digest, value));
            }
        }
        tell(vec![]);
        while let Some(identity) = pairing.any() {
            tell(pairing.give_up(&identity));
        }
        assert_eq!(said.join(" "), expected, "{words}");
    }

    #[test]
    fn equal_ones_find_each_other_in_any_order_of_coming() {
        check(false, "o:k1 o:k2 r:k1 r:k2", "0= 1=");
        check(false, "r:k1 r:k2 o:k1 o:k2", "0= 1=");
        check(false, "r:k1 o:j5 o:k1 r:j5", "1= 0=");
        check(false, "o:k1 o:k1 r:k1 r:k1", "0= 1=");
    }

    #[test]
    fn one_difference_is_one_and_what_follows_is_equal() {
        check(false, "o:k1 o:k2 o:k3 r:k1 r:k9 r:k3", "0= 1!9 2=");
        check(false, "r:k1 r:k9 r:k3 o:k1 o:k2 o:k3", "0= 1!9 2=");
    }

    #[test]
    fn what_one_side_lacks_shifts_nothing() {
        check(false, "o:k1 o:k2 o:k3 r:k1 r:k3", "0= 1? 2=");
        check(false, "o:k1 o:k3 r:k1 r:k2 r:k3", "0= +2 1=");
        check(false, "o:k1 o:j1 r:k1", "0= 1?");
        check(false, "o:k1 r:k1 r:k2", "0= +2");
    }

    #[test]
    fn compaction_takes_older_ones_and_never_the_newest() {
        check(true, "o:k3 r:k1 r:k2 r:k3", "~1 ~2 0=");
        check(true, "r:k1 r:k2 r:k3 o:k3", "~1 ~2 0=");
        check(true, "o:k3 r:k1 r:k2 r:k9", "~1 ~2 0!9");
        check(true, "o:k1 o:k2 r:k1 r:k9", "0= 1!9");
        check(true, "o:k1 o:k2 r:k9 r:k2", "0!9 1=");
        check(true, "o:k2 r:k2 r:k3", "0= +3");
        check(true, "o:k2 r:k1 r:k2 r:k2", "~1 0= ~2");
        check(true, "r:k1 r:k2", "~1 +2");
        check(true, "o:k1 o:k2", "0? 1?");
    }
}
