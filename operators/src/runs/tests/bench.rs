//! The core of one run on a bench: told payloads, it remembers what it said and what was committed.

use super::*;

/// A core that is told one run's events and remembers what it said.
pub(super) struct Bench {
    pub(super) core: Runs,
    pub(super) offset: i64,
    pub(super) outputs: Vec<Output>,
    pub(super) duplicates: u64,
    /// Everything that was committed.
    pub(super) changelog: Vec<crate::operator::Change>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(RunsRules::default())
    }

    pub(super) fn with(rules: RunsRules) -> Self {
        Self {
            core: Runs::new(rules),
            offset: 0,
            outputs: Vec::new(),
            duplicates: 0,
            changelog: Vec::new(),
        }
    }

    /// The process stops after its last commit, and another takes over with these rules.
    pub(super) fn restart(&mut self, rules: RunsRules) -> &mut Self {
        self.core = Runs::new(rules);
        for change in &self.changelog {
            self.core
                .restore(change.table, &change.key, change.value.as_deref())
                .expect("its own bytes");
        }
        self
    }

    pub(super) fn at(&self, append_time_ms: i64) -> At<'static> {
        At {
            topic: "runs.events",
            partition: 3,
            offset: self.offset,
            append_time_ms,
        }
    }

    pub(super) fn send(&mut self, payload: Payload) -> &mut Self {
        let id = crate::admit::event_id("default", payload.topic(), None, &payload);
        self.send_as(&id, payload)
    }

    pub(super) fn send_as(&mut self, id: &[u8], payload: Payload) -> &mut Self {
        self.pack(vec![event(id, payload)])
    }

    /// Events that come in one record.
    pub(super) fn pack(&mut self, events: Vec<RunEvent>) -> &mut Self {
        let events = RunEvents {
            tenant: "default".to_owned(),
            run_id: "r".to_owned(),
            events,
        };
        self.input(START_MS + self.offset, Input::Events(events))
    }

    pub(super) fn input(&mut self, append_time_ms: i64, input: Input) -> &mut Self {
        let mut emit = Emit::default();
        let at = self.at(append_time_ms);
        self.core.apply(&at, input, &mut emit);
        self.offset += 1;
        self.commit(emit)
    }

    pub(super) fn drain(&mut self) -> &mut Self {
        let mut emit = Emit::default();
        self.core.drain(&mut emit);
        self.commit(emit)
    }

    pub(super) fn commit(&mut self, mut emit: Emit) -> &mut Self {
        self.core.flush(&mut emit);
        self.duplicates += emit.duplicates;
        self.outputs
            .extend(emit.take().into_iter().map(|emitted| emitted.output));
        assert_eq!(self.core.unreadable(), None);
        self.changelog.extend(self.core.changes());
        self.core.merge();
        self
    }

    pub(super) fn row(&self) -> &ExperimentRow {
        &self.core.rows.get("default/r").expect("a row").row
    }

    pub(super) fn windows(&self) -> Vec<(i64, i64)> {
        self.outputs
            .iter()
            .filter_map(|output| match output {
                Output::Window(window) => Some((window.start, window.n)),
                _ => None,
            })
            .collect()
    }
}

pub(super) fn event(id: &[u8], payload: Payload) -> RunEvent {
    RunEvent {
        event_id: id.to_vec(),
        attempt: payload.attempt(),
        clock: crate::admit::clock(&payload),
        received_time_ms: START_MS,
        topic: payload.topic().to_owned(),
        source: None,
        traceparent: None,
        payload,
    }
}

pub(super) fn step(attempt: i32, step: i64, loss: f64) -> Payload {
    Payload::TrainingTelemetry(TrainingTelemetry {
        run_id: "r".to_owned(),
        attempt,
        step,
        tokens: Some(step * 10),
        loss: Some(loss),
        ..TrainingTelemetry::default()
    })
}

pub(super) fn end(attempt: i32, state: RunState, step: i64) -> Payload {
    Payload::RunLifecycle(RunLifecycle {
        run_id: "r".to_owned(),
        attempt,
        state,
        step: Some(step),
        ..RunLifecycle::default()
    })
}
