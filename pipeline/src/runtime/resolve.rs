//! Writer schemas by id: what the registry says, and for how long its "no" is believed (DESIGN §3.5).
//!
//! A registry that does not answer is not bad data: the caller pauses the partition. An id that it denies may have been
//! registered a moment ago elsewhere: the caller waits for it too, for `DENIED_WAIT`, but at most one such wait a topic in
//! `DENIED_EVERY`; after that a row with it is bad.

use cairn_bus::{Fault, Lookup, SchemaRegistry};
use cairn_operators::guards::GuardKind;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a denied id is waited for.
pub const DENIED_WAIT: Duration = Duration::from_secs(30);
/// At most one wait a topic in this time.
pub const DENIED_EVERY: Duration = Duration::from_secs(600);
/// How long to leave a registry alone that did not answer.
const UNREACHABLE_WAIT: Duration = Duration::from_secs(1);
/// How often a denied id is asked for again.
const DENIED_RETRY: Duration = Duration::from_secs(1);

/// The writer schema of an id, or what to do without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Its text.
    Schema(Arc<str>),
    /// Ask again after this long; the partition waits.
    Later {
        /// Why.
        why: String,
        /// How long.
        wait: Duration,
        /// The guard that opens where that lasts.
        guard: GuardKind,
    },
    /// There is no such schema.
    Never,
}

/// Schemas by id, with what has been asked before.
pub struct Resolver {
    registry: Arc<dyn SchemaRegistry>,
    known: BTreeMap<u32, Arc<str>>,
    /// When an id was first denied.
    denied: BTreeMap<u32, Instant>,
    /// Which id a topic waits or waited for, and since when.
    waits: BTreeMap<Arc<str>, (u32, Instant)>,
}

impl Resolver {
    /// A resolver that knows nothing yet.
    #[must_use]
    pub fn new(registry: Arc<dyn SchemaRegistry>) -> Self {
        Self {
            registry,
            known: BTreeMap::new(),
            denied: BTreeMap::new(),
            waits: BTreeMap::new(),
        }
    }

    /// The writer schema of `id`, for a record of `topic`, at this moment.
    pub fn resolve(&mut self, topic: &Arc<str>, id: u32, now: Instant) -> Resolved {
        if let Some(schema) = self.known.get(&id) {
            return Resolved::Schema(schema.clone());
        }
        if self
            .denied
            .get(&id)
            .is_some_and(|since| now.duration_since(*since) >= DENIED_WAIT)
            && !self.is_waiting(topic, id, now)
        {
            // Denied for the whole wait: believed, until the next wait of this topic is due.
            return Resolved::Never;
        }
        match self.registry.schema_of(id) {
            Ok(Lookup::Schema(schema)) => {
                self.denied.remove(&id);
                self.known.insert(id, schema.clone());
                Resolved::Schema(schema)
            }
            Ok(Lookup::Denied) => self.deny(topic, id, now),
            Err(Fault::Unreachable(why)) => Resolved::Later {
                why: format!("the schema registry does not answer: {why}"),
                wait: UNREACHABLE_WAIT,
                guard: GuardKind::RegistryOutage,
            },
            Err(fault) => Resolved::Later {
                why: fault.to_string(),
                wait: UNREACHABLE_WAIT,
                guard: GuardKind::RegistryOutage,
            },
        }
    }

    fn is_waiting(&self, topic: &Arc<str>, id: u32, now: Instant) -> bool {
        self.waits.get(topic).is_some_and(|(waited, since)| {
            *waited == id && now.duration_since(*since) < DENIED_WAIT
        })
    }

    fn deny(&mut self, topic: &Arc<str>, id: u32, now: Instant) -> Resolved {
        self.denied.entry(id).or_insert(now);
        let may_wait = self
            .waits
            .get(topic)
            .is_none_or(|(_, since)| now.duration_since(*since) >= DENIED_EVERY);
        if may_wait {
            self.waits.insert(topic.clone(), (id, now));
        }
        if self.is_waiting(topic, id, now) {
            return Resolved::Later {
                why: format!("schema id {id} is not known to the registry yet"),
                wait: DENIED_RETRY,
                guard: GuardKind::UnknownSchema,
            };
        }
        Resolved::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Answers by a script: 0 denies, 1 knows, 2 does not answer.
    struct Script(AtomicU32);

    impl SchemaRegistry for Script {
        fn id_of(&self, _: &str, _: &str) -> Result<u32, Fault> {
            Ok(1)
        }
        fn schema_of(&self, _: u32) -> Result<Lookup, Fault> {
            match self.0.load(Ordering::Relaxed) {
                0 => Ok(Lookup::Denied),
                1 => Ok(Lookup::Schema("{}".into())),
                _ => Err(Fault::Unreachable("down".to_owned())),
            }
        }
    }

    fn resolver(state: u32) -> (Arc<Script>, Resolver, Arc<str>, Instant) {
        let script = Arc::new(Script(AtomicU32::new(state)));
        (
            script.clone(),
            Resolver::new(script),
            "t".into(),
            Instant::now(),
        )
    }

    #[test]
    fn an_outage_is_waited_for_without_end() {
        let (script, mut resolver, topic, start) = resolver(2);
        for minute in 0..100 {
            let answer = resolver.resolve(&topic, 7, start + Duration::from_secs(60 * minute));
            assert!(matches!(answer, Resolved::Later { .. }), "minute {minute}");
        }
        script.0.store(1, Ordering::Relaxed);
        assert_eq!(
            resolver.resolve(&topic, 7, start),
            Resolved::Schema("{}".into())
        );
    }

    #[test]
    fn a_denied_id_is_waited_for_once_and_then_bad() {
        let (_, mut resolver, topic, start) = resolver(0);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(matches!(
            resolver.resolve(&topic, 7, at(0)),
            Resolved::Later { .. }
        ));
        assert!(matches!(
            resolver.resolve(&topic, 7, at(29)),
            Resolved::Later { .. }
        ));
        assert_eq!(resolver.resolve(&topic, 7, at(30)), Resolved::Never);
        // another unknown id on the same topic does not get a wait of its own
        assert_eq!(resolver.resolve(&topic, 8, at(31)), Resolved::Never);
        assert!(matches!(
            resolver.resolve(&topic, 9, at(601)),
            Resolved::Later { .. }
        ));
    }

    #[test]
    fn an_id_that_appears_during_the_wait_is_good() {
        let (script, mut resolver, topic, start) = resolver(0);
        assert!(matches!(
            resolver.resolve(&topic, 7, start),
            Resolved::Later { .. }
        ));
        script.0.store(1, Ordering::Relaxed);
        assert!(matches!(
            resolver.resolve(&topic, 7, start + Duration::from_secs(1)),
            Resolved::Schema(_)
        ));
    }
}
