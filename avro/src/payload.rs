//! What every ingress record can be asked, whatever its kind.

use crate::codec::{self, Fault};
use crate::contract::{Entry, Record};
use crate::record::*;

impl<T: Record> Record for Box<T> {
    fn entry() -> &'static Entry {
        T::entry()
    }
}

fn entry_of<T: Record>(_: &T) -> &'static Entry {
    T::entry()
}

/// Implements what asks every variant the same. A variant more in the schema's union does not
/// compile until it stands in this list too.
macro_rules! payloads {
    ($($record:ident),+) => {
        impl Payload {
            /// The records that a payload can be, in the order of the union.
            pub const RECORDS: &[&str] = &[$(stringify!($record)),+];

            /// The contract's entry of the record inside.
            pub fn entry(&self) -> &'static Entry {
                match self { $(Payload::$record(record) => entry_of(record)),+ }
            }

            /// Appends the Avro bytes of the record inside.
            pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
                match self { $(Payload::$record(record) => codec::encode(record, out)),+ }
            }

            /// Reads a record that was written with the schema of this build.
            pub fn decode(entry: &Entry, bytes: &[u8]) -> Result<Self, Fault> {
                match entry.record {
                    $(stringify!($record) => codec::decode(bytes).map(Payload::$record),)+
                    other => Err(Fault::Decode {
                        record: "payload",
                        reason: format!("{other} is not an ingress record"),
                    }),
                }
            }

            /// The run that it is about.
            pub fn run_id(&self) -> &str {
                match self { $(Payload::$record(record) => &record.run_id),+ }
            }

            /// When it happened by the sender's clock (milliseconds since 1970, UTC).
            pub fn event_time_ms(&self) -> Option<i64> {
                match self { $(Payload::$record(record) => record.event_time_ms),+ }
            }
        }
    };
}

payloads!(
    TrainingTelemetry,
    RuntimeTelemetry,
    ToolUse,
    EvalResult,
    SafetyResult,
    RunConfig,
    RunLifecycle,
    RunPlanned,
    RunTags
);

impl Payload {
    /// The topic family of the record, without a tenant's prefix.
    pub fn topic(&self) -> &'static str {
        self.entry().topics[0]
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
