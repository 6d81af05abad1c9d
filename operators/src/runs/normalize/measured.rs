//! What runs measure: steps, latencies, tool calls. Measurements go by attempt and step, the greatest wins: what a run has
//! reached, it has reached in its newest attempt, whichever attempt is heard of last.

use super::derived::Measured;
use super::{LIST_MAX, RowState, set, sketch};
use cairn_avro::record::{NumberState, RuntimeTelemetry, ToolOutcome, ToolUse, TrainingTelemetry};

/// Metrics of which the row tells percentiles by themselves.
const LATENCY: &str = "latency_ms";
const TIME_TO_FIRST_TOKEN: &str = "time_to_first_token_ms";
const THROUGHPUT: &str = "throughput_tokens_per_second";

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
        if self.runtime_at.is_none_or(|at| place >= at) {
            self.runtime_at = Some(place);
            set(&mut self.row.memory_bytes, event.memory_bytes);
            set(&mut self.row.power_watts, event.power_watts);
        }
        if let Some(watts) = event.power_watts {
            let (sum, n) = self.power.unwrap_or_default();
            self.power = Some((sum + watts, n + 1));
        }
        if is_measurement(event) {
            self.measurement(event);
        } else if self.summary_at.is_none_or(|at| place >= at) {
            self.summary(place, event);
        }
    }

    /// What one request measured goes into the sketches.
    fn measurement(&mut self, event: &RuntimeTelemetry) {
        for (metric, value) in [
            (LATENCY, event.latency_ms),
            (TIME_TO_FIRST_TOKEN, event.time_to_first_token_ms),
            ("time_per_output_token_ms", event.time_per_output_token_ms),
            (THROUGHPUT, event.throughput_tokens_per_second),
        ] {
            if let Some(value) = value {
                let known = &self.row.quantiles;
                self.unpacked.note(known, metric, event.attempt, value);
            }
        }
    }

    /// Packs the sketches once all events of a record are in; the row's own figures are theirs unless a summary told them.
    pub fn settle(&mut self) {
        if self.unpacked.is_empty() {
            return;
        }
        let row = &mut self.row;
        self.unpacked.pack(&mut row.quantiles);
        if self.summary_at.is_some() {
            return;
        }
        if let Some(latency) = sketch::of(&row.quantiles, LATENCY) {
            row.latency_ms_p50 = latency.p50;
            row.latency_ms_p95 = latency.p95;
            row.latency_ms_p99 = latency.p99;
        }
        let median = |metric| sketch::of(&row.quantiles, metric).and_then(|known| known.p50);
        let (first_token, throughput) = (median(TIME_TO_FIRST_TOKEN), median(THROUGHPUT));
        set(&mut row.time_to_first_token_ms, first_token);
        set(&mut row.throughput_tokens_per_second, throughput);
    }

    /// A record of many requests: percentiles of percentiles are none, so that the newest stands for itself.
    fn summary(&mut self, place: (i32, i64), event: &RuntimeTelemetry) {
        let row = &mut self.row;
        if self.summary_at.replace(place).is_none() {
            (row.latency_ms_p50, row.latency_ms_p95, row.latency_ms_p99) = (None, None, None);
            (row.time_to_first_token_ms, row.throughput_tokens_per_second) = (None, None);
        }
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
    }

    pub(super) fn tool_use(&mut self, call: &ToolUse) {
        self.row.tool_calls += 1;
        if call.outcome == ToolOutcome::Success {
            self.tool_successes += 1;
        }
        self.row.tool_success_ratio = Some(self.tool_successes as f64 / self.row.tool_calls as f64);
        if let Some(latency_ms) = call.latency_ms {
            let known = &self.row.quantiles;
            self.unpacked
                .note(known, "tool_latency_ms", call.attempt, latency_ms);
        }
    }

    /// Widens the time of an attempt's training to cover a moment.
    pub(super) fn train_at(&mut self, attempt: i32, time_ms: i64) {
        let spans = self.training_spans.get_or_insert_default();
        if spans.len() >= LIST_MAX && !spans.contains_key(&attempt) {
            return;
        }
        let span = spans.entry(attempt).or_insert((time_ms, time_ms));
        *span = (span.0.min(time_ms), span.1.max(time_ms));
    }

    /// What the fold knows beside the row, for what is derived from it.
    pub(super) fn measured(&self) -> Measured {
        let row = &self.row;
        let training_ms = match &self.training_spans {
            Some(spans) if spans.is_empty() => None,
            Some(spans) => Some(
                spans
                    .values()
                    .map(|(first, last)| last.saturating_sub(*first))
                    .fold(0, i64::saturating_add),
            ),
            // a state of before derivation 2, which kept no spans
            None => row
                .first_event_time_ms
                .zip(row.last_event_time_ms)
                .map(|(first, last)| last.saturating_sub(first)),
        };
        Measured {
            tokens_per_second: self.tokens_per_second,
            training_ms,
            // a state of before derivation 2 knows the newest alone
            power_watts: self
                .power
                .map(|(sum, n)| sum / n as f64)
                .or(row.power_watts),
        }
    }
}

/// True for a record of one request; whoever tells percentiles or a number of requests has many.
fn is_measurement(event: &RuntimeTelemetry) -> bool {
    event.n.is_none_or(|n| n == 1)
        && event.latency_ms_p50.is_none()
        && event.latency_ms_p95.is_none()
        && event.latency_ms_p99.is_none()
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
