//! Keys in the order in which they are due: what is next, and what is due by now, without a look at the others.
//!
//! It knows neither runs nor tables; whoever changes a key's time tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Keys by time; a key has one time or none.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    times: BTreeMap<Arc<str>, i64>,
    order: BTreeSet<(i64, Arc<str>)>,
}

impl Agenda {
    /// Gives a key its time, or none.
    pub(super) fn set(&mut self, key: &str, time_ms: Option<i64>) {
        let kept = self.times.get_key_value(key);
        let (key, was_ms) = match kept {
            Some((key, was_ms)) if Some(*was_ms) != time_ms => (Arc::clone(key), Some(*was_ms)),
            None if time_ms.is_some() => (Arc::from(key), None),
            _ => return,
        };
        if let Some(was_ms) = was_ms {
            self.order.remove(&(was_ms, Arc::clone(&key)));
        }
        match time_ms {
            Some(time_ms) => {
                self.times.insert(Arc::clone(&key), time_ms);
                self.order.insert((time_ms, key));
            }
            None => {
                self.times.remove(&key);
            }
        }
    }

    /// The earliest time.
    pub(super) fn first_ms(&self) -> Option<i64> {
        self.order.first().map(|(time_ms, _)| *time_ms)
    }

    /// Keys that are due by then, the earliest first.
    pub(super) fn due(&self, now_ms: i64) -> impl Iterator<Item = &str> {
        self.order
            .iter()
            .take_while(move |(time_ms, _)| *time_ms <= now_ms)
            .map(|(_, key)| &**key)
    }

    /// Keys and times, in key order.
    #[cfg(test)]
    pub(super) fn times(&self) -> Vec<(&str, i64)> {
        self.times.iter().map(|(key, at)| (&**key, *at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_due_at_the_time_given_last() {
        let mut agenda = Agenda::default();
        for (key, time_ms) in [("a", 30), ("b", 10), ("c", 20), ("a", 5), ("b", 40)] {
            agenda.set(key, Some(time_ms));
        }
        agenda.set("d", None);
        assert_eq!(agenda.first_ms(), Some(5));
        assert_eq!(agenda.due(20).collect::<Vec<_>>(), ["a", "c"]);
        agenda.set("a", None);
        assert_eq!(agenda.first_ms(), Some(20));
        assert_eq!(agenda.due(19).count(), 0);
        assert_eq!(agenda.times(), [("b", 40), ("c", 20)]);
    }
}
