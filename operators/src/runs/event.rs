//! One event: taken once, folded into its row, followed by clock, windows and breaker; what follows from it is put out.

use super::normalize::RowState;
use super::seen::Class;
use super::{Runs, wire};
use crate::breaker::follow::{self, Followed, Followup};
use crate::operator::{At, Dead, Emit, Output};
use crate::time::{AppendTimeMs, ClockKind, EndMark, Rejected};
use cairn_avro::record::{
    Payload, RunEvent, RunEvents, RunState, RunStatus, TrainingTelemetry, WindowKind,
};

impl Runs {
    pub(super) fn event(
        &mut self,
        at: &At<'_>,
        key: &str,
        events: &RunEvents,
        event: &RunEvent,
        emit: &mut Emit,
    ) {
        let class = match event.payload {
            Payload::TrainingTelemetry(_) => Class::Telemetry,
            _ => Class::Fact,
        };
        if self.forgotten.get(key).is_some() {
            self.dead(
                events,
                event,
                "run_forgotten",
                "the run's row was let go; raise runs.row_retention_days to keep rows longer",
                emit,
            );
            return;
        }
        if let Payload::RunTags(tags) = &event.payload
            && tags.rederive
            && tags.add.is_empty()
            && tags.remove.is_empty()
        {
            self.derive_again(at, key, event);
            return;
        }
        if self.seen.contains(key, class, &event.event_id) {
            emit.duplicates += 1;
            return;
        }
        // The clock judges telemetry first: a step that leaps out of all proportion amends no row either.
        if let Payload::TrainingTelemetry(telemetry) = &event.payload
            && !self.telemetry(at, key, events, event, telemetry, emit)
        {
            return;
        }
        // Only what was taken counts as seen: a dead letter comes again under its own id (DESIGN §3.5).
        self.seen.insert(key, class, &event.event_id);
        let state = self
            .rows
            .entry(key, || RowState::new(&events.tenant, &events.run_id));
        let was = state.row.status;
        state.fold(at, event);
        if was == RunStatus::Stalled && state.row.status != RunStatus::Stalled {
            emit.put(Output::Telegram(wire::resumed(at, &state.row)));
        }
        if !self.touched.contains(key) {
            self.touched.insert(key.to_owned());
        }
        if let Payload::RunConfig(config) = &event.payload {
            self.declare(key, config.clock);
        }
        if let Payload::RunLifecycle(lifecycle) = &event.payload
            && matches!(lifecycle.state, RunState::Finished | RunState::Crashed)
        {
            let mark = EndMark {
                attempt: event.attempt,
                step: lifecycle.step,
                tokens: lifecycle.tokens,
                append_time_ms: AppendTimeMs(self.wall_ms),
            };
            let run = self.followed.entry(key);
            run.last = Some((at.partition, at.offset));
            follow::end(run, mark);
            self.note_end(key);
        }
    }

    /// Takes a request to derive a row again (decision 0013). It is about the row and not about the run: of a run without a
    /// row it makes none, a row that is up to date stays as it is, and it is no event that could be seen twice, because the
    /// second time changes nothing. A row that this batch has changed is derived before it is put out anyhow.
    fn derive_again(&mut self, at: &At<'_>, key: &str, event: &RunEvent) {
        if !self.touched.contains(key)
            && self
                .rows
                .get(key)
                .is_some_and(|state| !state.is_derived_by(&self.derivation))
        {
            let state = self.rows.entry(key, || RowState::new("", ""));
            state.asked_again(at, event);
            self.touched.insert(key.to_owned());
        }
    }

    /// Notes what a run says orders it (DESIGN §3.4); a run that says nothing is ordered by step.
    fn declare(&mut self, key: &str, clock: WindowKind) {
        let ordered_by = match clock {
            WindowKind::Unknown => return,
            WindowKind::Step => ClockKind::Step,
            WindowKind::Tokens => ClockKind::Tokens,
            WindowKind::Time => ClockKind::EventTime,
        };
        if self
            .followed
            .get(key)
            .is_none_or(|run| run.windows.ordered_by != ordered_by)
        {
            self.followed.entry(key).windows.ordered_by = ordered_by;
        }
    }

    /// Clock, windows and breaker; false when the row is refused and must amend nothing.
    fn telemetry(
        &mut self,
        at: &At<'_>,
        key: &str,
        events: &RunEvents,
        event: &RunEvent,
        telemetry: &TrainingTelemetry,
        emit: &mut Emit,
    ) -> bool {
        let plan = self.plan(key);
        let row = wire::row(at, event.attempt, &event.event_id, telemetry);
        let mut out = Vec::new();
        let run = self.followed.entry(key);
        let taken = follow::row(
            run,
            &self.rules.follow,
            &plan,
            &row,
            AppendTimeMs(self.wall_ms),
            &mut out,
        );
        match taken {
            Ok(()) => {
                run.last = Some((at.partition, at.offset));
                self.follow_up(at, key, out, Some(event), emit);
                self.note_end(key);
                true
            }
            Err(Rejected::StaleAttempt { current }) => {
                // The windows of an attempt that was replaced are closed: its rows are late, and amend the row all the same.
                emit.put(Output::Late(wire::stale(at, events, event, current)));
                true
            }
            Err(rejected) => {
                // A refused row makes no run.
                if *run == Followed::default() {
                    self.followed.remove(key);
                }
                self.dead(
                    events,
                    event,
                    rejected.class(),
                    &wire::reason(rejected),
                    emit,
                );
                false
            }
        }
    }

    pub(super) fn follow_up(
        &mut self,
        at: &At<'_>,
        key: &str,
        out: Vec<Followup>,
        event: Option<&RunEvent>,
        emit: &mut Emit,
    ) {
        // most rows bring nothing forth
        if out.is_empty() {
            return;
        }
        let (tenant, run_id) = match self.rows.get(key) {
            Some(state) => (state.row.tenant.clone(), state.row.run_id.clone()),
            None => match cairn_topics::parts_of(key).as_deref() {
                Some([tenant, run_id]) => (tenant.clone(), run_id.clone()),
                _ => Default::default(),
            },
        };
        let mut said_late = false;
        for followup in out {
            match followup {
                Followup::Window(window) => {
                    emit.put(Output::Window(wire::window(&tenant, &run_id, window)))
                }
                Followup::Late(late) => {
                    // One event, one late row: by the first clock that it missed.
                    if let Some(event) = event.filter(|_| !said_late) {
                        said_late = true;
                        emit.put(Output::Late(wire::late(at, &tenant, &run_id, event, &late)));
                    }
                }
                Followup::Decision(decision) => {
                    let verdict = wire::verdict(at, &tenant, &run_id, decision);
                    let state = self.rows.entry(key, || RowState::new(&tenant, &run_id));
                    state.judged(&verdict);
                    self.touched.insert(key.to_owned());
                    let telegram = wire::telegram(at, &verdict, emit.current_trace());
                    emit.put_urgent(Output::Verdict(verdict));
                    emit.put_urgent(Output::Telegram(telegram));
                }
            }
        }
    }

    fn dead(
        &self,
        events: &RunEvents,
        event: &RunEvent,
        class: &'static str,
        text: &str,
        emit: &mut Emit,
    ) {
        emit.put(Output::Dead(Dead {
            tenant: events.tenant.clone(),
            class,
            text: format!("run {}: {text}", events.run_id),
            topic: event.topic.clone(),
            original: Some(crate::operator::canonical(&event.payload)),
            event_id: Some(event.event_id.clone()),
            origin: None,
        }));
    }
}
