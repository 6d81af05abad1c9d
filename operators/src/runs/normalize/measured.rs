//! What runs measure: steps, latencies, tool calls. Measurements go by attempt and step, the greatest wins: what a run has
//! reached, it has reached in its newest attempt, whichever attempt is heard of last.

use super::{RowState, set};
use cairn_avro::record::{NumberState, RuntimeTelemetry, ToolOutcome, ToolUse, TrainingTelemetry};

impl RowState {
    pub(super) fn training(&mut self, event: &TrainingTelemetry) {
        let place = (event.attempt, event.step);
        let row = &mut self.row;
        let newest = self.loss_at.is_none_or(|at| place >= at);
        let loss = event
            .loss
            .or_else(|| event.perplexity.filter(|p| *p > 0.0).map(libm::log));
        if let Some(loss) = loss {
            if newest {
                self.loss_at = Some(place);
                row.loss_last = Some(loss);
                row.loss_last_step = Some(event.step);
                row.perplexity_last =
                    Some(libm::exp(loss)).filter(|perplexity| perplexity.is_finite());
            }
            row.loss_min = Some(row.loss_min.map_or(loss, |least| least.min(loss)));
        }
        if let Some(loss) = event.validation_loss
            && self.validation_at.is_none_or(|at| place >= at)
        {
            self.validation_at = Some(place);
            row.validation_loss_last = Some(loss);
            row.validation_loss_step = Some(event.step);
        }
        let states = [
            event.loss_state,
            event.grad_norm_state,
            event.validation_loss_state,
        ];
        if states
            .iter()
            .any(|state| !matches!(state, NumberState::Finite | NumberState::Missing))
        {
            row.nonfinite_steps += 1;
        }
        self.reach(event.attempt, Some(event.step), event.tokens);
        if event.tokens_per_second.is_some() && self.speed_at.is_none_or(|at| place >= at) {
            self.speed_at = Some(place);
            self.tokens_per_second = event.tokens_per_second;
        }
    }

    /// Notes how far an attempt has come.
    pub(super) fn reach(&mut self, attempt: i32, steps: Option<i64>, tokens: Option<i64>) {
        let (row, reached) = (&mut self.row, &mut self.reached);
        greatest(&mut row.steps, &mut reached.steps, attempt, steps);
        greatest(&mut row.tokens, &mut reached.tokens, attempt, tokens);
    }

    pub(super) fn runtime(&mut self, event: &RuntimeTelemetry) {
        let place = (event.attempt, event.event_time_ms.unwrap_or(i64::MIN));
        if self.runtime_at.is_some_and(|at| place < at) {
            return;
        }
        self.runtime_at = Some(place);
        let row = &mut self.row;
        set(&mut row.latency_ms_p50, event.latency_ms_p50);
        set(&mut row.latency_ms_p95, event.latency_ms_p95);
        set(&mut row.latency_ms_p99, event.latency_ms_p99);
        set(
            &mut row.time_to_first_token_ms,
            event.time_to_first_token_ms,
        );
        set(
            &mut row.throughput_tokens_per_second,
            event.throughput_tokens_per_second,
        );
        set(&mut row.memory_bytes, event.memory_bytes);
        set(&mut row.power_watts, event.power_watts);
    }

    pub(super) fn tool_use(&mut self, call: &ToolUse) {
        self.row.tool_calls += 1;
        if call.outcome == ToolOutcome::Success {
            self.tool_successes += 1;
        }
        self.row.tool_success_ratio = Some(self.tool_successes as f64 / self.row.tool_calls as f64);
    }
}

/// A newer attempt replaces the value, the same attempt raises it, an older one says nothing.
fn greatest(value: &mut Option<i64>, of: &mut Option<i32>, attempt: i32, new: Option<i64>) {
    let Some(new) = new.filter(|_| of.is_none_or(|of| attempt >= of)) else {
        return;
    };
    let same = *of == Some(attempt);
    *value = Some(value.filter(|_| same).map_or(new, |known| known.max(new)));
    *of = Some(attempt);
}
