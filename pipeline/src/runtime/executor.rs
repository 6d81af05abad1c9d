//! Long work beside the loop: an ask goes in, an answer comes out, and neither blocks a batch (DESIGN §3.7).
//!
//! One thread a member, one piece of work at a time, in order. The work is a pure function of the ask; when the member goes,
//! what is under way is thrown away, and the next owner asks again.

use crate::metrics::Metrics;
use cairn_avro::record::{Answer, Offset};
use cairn_operators::operator::Ask;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// Does the work of an ask: the body of the answer, or why there is none.
pub type Work = Arc<dyn Fn(&Ask) -> Result<String, String> + Send + Sync>;

/// The executor of one member.
pub struct Executor {
    asks: Sender<Ask>,
    answers: Receiver<Answer>,
    outstanding: usize,
}

impl Executor {
    /// An executor that does this work. The thread ends when the executor is dropped and its current piece is done.
    #[must_use]
    pub fn new(work: Work, metrics: Arc<Metrics>) -> Self {
        let (asks, inbox) = channel::<Ask>();
        let (outbox, answers) = channel();
        std::thread::spawn(move || {
            for ask in inbox {
                let begun = Instant::now();
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&ask)))
                    .unwrap_or_else(|_| {
                        Err(
                            "the work panicked; please report this with the rows of the cohort"
                                .to_owned(),
                        )
                    });
                let took = begun.elapsed();
                metrics.asked(ask.kind, took);
                let (ok, error, body) = match result {
                    Ok(body) => (true, None, body),
                    Err(error) => (false, Some(error), String::new()),
                };
                let cut = ask
                    .cut
                    .iter()
                    .map(|p| Offset {
                        topic: p.topic.clone(),
                        partition: p.partition,
                        offset: p.offset,
                    })
                    .collect();
                let answer = Answer {
                    tenant: ask.tenant.clone(),
                    ask_id: ask.ask_id.clone(),
                    kind: ask.kind.to_owned(),
                    cut,
                    seed: i64::try_from(ask.seed).unwrap_or(i64::MAX),
                    ok,
                    error,
                    body,
                    cpu_ms: i64::try_from(took.as_millis()).ok(),
                };
                if outbox.send(answer).is_err() {
                    return;
                }
            }
        });
        Self {
            asks,
            answers,
            outstanding: 0,
        }
    }

    /// Hands over an ask.
    pub fn ask(&mut self, ask: Ask) {
        if self.asks.send(ask).is_ok() {
            self.outstanding += 1;
        }
    }

    /// An answer, if one is ready.
    pub fn answered(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        self.outstanding -= 1;
        Some(answer)
    }

    /// True while an answer is outstanding.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.outstanding > 0
    }
}
