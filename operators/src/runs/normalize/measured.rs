//! What runs measure: steps, latencies, tool calls. Measurements go by attempt and step, the greatest wins.

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
        if event.attempt >= row.attempt {
            row.steps = Some(row.steps.map_or(event.step, |steps| steps.max(event.step)));
            if let Some(tokens) = event.tokens {
                row.tokens = Some(row.tokens.map_or(tokens, |most| most.max(tokens)));
            }
        }
        if newest {
            set(&mut self.tokens_per_second, event.tokens_per_second);
        }
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
