//! What every ingress record can be asked, whatever its kind.

use crate::contract::{Entry, Record};
use crate::record::*;

/// Evaluates an expression with the record inside a payload.
macro_rules! each {
    ($payload:expr, $record:ident => $answer:expr) => {
        match $payload {
            Payload::TrainingTelemetry($record) => $answer,
            Payload::RuntimeTelemetry($record) => $answer,
            Payload::ToolUse($record) => $answer,
            Payload::EvalResult($record) => $answer,
            Payload::SafetyResult($record) => $answer,
            Payload::RunConfig($record) => $answer,
            Payload::RunLifecycle($record) => $answer,
            Payload::RunPlanned($record) => $answer,
            Payload::RunTags($record) => $answer,
        }
    };
}

impl Payload {
    /// The contract's entry of the record inside.
    pub fn entry(&self) -> &'static Entry {
        fn of<T: Record>(_: &T) -> &'static Entry {
            T::entry()
        }
        match self {
            Payload::RunConfig(record) => of(&**record),
            Payload::RunPlanned(record) => of(&**record),
            Payload::TrainingTelemetry(record) => of(record),
            Payload::RuntimeTelemetry(record) => of(record),
            Payload::ToolUse(record) => of(record),
            Payload::EvalResult(record) => of(record),
            Payload::SafetyResult(record) => of(record),
            Payload::RunLifecycle(record) => of(record),
            Payload::RunTags(record) => of(record),
        }
    }

    /// The topic family of the record, without a tenant's prefix.
    pub fn topic(&self) -> &'static str {
        self.entry().topics[0]
    }

    /// The run that it is about.
    pub fn run_id(&self) -> &str {
        each!(self, record => &record.run_id)
    }

    /// The attempt that it is about; plans and tags are about the run, which is attempt 0.
    pub fn attempt(&self) -> i32 {
        match self {
            Payload::TrainingTelemetry(record) => record.attempt,
            Payload::RuntimeTelemetry(record) => record.attempt,
            Payload::ToolUse(record) => record.attempt,
            Payload::EvalResult(record) => record.attempt,
            Payload::SafetyResult(record) => record.attempt,
            Payload::RunConfig(record) => record.attempt,
            Payload::RunLifecycle(record) => record.attempt,
            Payload::RunPlanned(_) | Payload::RunTags(_) => 0,
        }
    }

    /// When it happened by the sender's clock (milliseconds since 1970, UTC).
    pub fn event_time_ms(&self) -> Option<i64> {
        each!(self, record => record.event_time_ms)
    }

    /// Optimizer steps done when it was made.
    pub fn step(&self) -> Option<i64> {
        match self {
            Payload::TrainingTelemetry(record) => Some(record.step),
            Payload::RuntimeTelemetry(record) => record.step,
            Payload::EvalResult(record) => record.step,
            Payload::SafetyResult(record) => record.step,
            Payload::RunLifecycle(record) => record.step,
            Payload::ToolUse(_)
            | Payload::RunConfig(_)
            | Payload::RunPlanned(_)
            | Payload::RunTags(_) => None,
        }
    }

    /// Tokens seen when it was made.
    pub fn tokens(&self) -> Option<i64> {
        match self {
            Payload::TrainingTelemetry(record) => record.tokens,
            Payload::EvalResult(record) => record.tokens,
            Payload::RunLifecycle(record) => record.tokens,
            _ => None,
        }
    }
}
