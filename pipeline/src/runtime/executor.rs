//! Long work beside the loop: an ask goes in, an answer comes out, and neither blocks a batch (DESIGN §3.7).
//!
//! One thread a member, one piece of work at a time, in order. The work is a pure function of the ask; when the member goes,
//! what is under way is thrown away, and the next owner asks again.

use crate::metrics::Metrics;
use cairn_avro::record::{Answer, Offset};
use cairn_operators::operator::Ask;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// Does the work of an ask: the body of the answer, or why there is none.
pub type Work = Arc<dyn Fn(&Ask) -> Result<String, String> + Send + Sync>;

/// The executor of one member.
pub struct Executor {
    way: Way,
    outstanding: usize,
}

enum Way {
    Thread {
        asks: Sender<Ask>,
        answers: Receiver<Answer>,
    },
    Inline {
        work: Work,
        metrics: Arc<Metrics>,
        done: VecDeque<Answer>,
    },
}

impl Executor {
    /// An executor that does this work. The thread ends when the executor is dropped and its current piece is done.
    #[must_use]
    pub fn new(work: Work, metrics: Arc<Metrics>) -> Self {
        let (asks, inbox) = channel::<Ask>();
        let (outbox, answers) = channel();
        std::thread::spawn(move || {
            for ask in inbox {
                if outbox.send(answer(&ask, &work, &metrics)).is_err() {
                    return;
                }
            }
        });
        Self {
            way: Way::Thread { asks, answers },
            outstanding: 0,
        }
    }

    /// An executor without a thread: the work is done when it is asked for. For simulations, which have one thread.
    #[must_use]
    pub fn inline(work: Work, metrics: Arc<Metrics>) -> Self {
        Self {
            way: Way::Inline {
                work,
                metrics,
                done: VecDeque::new(),
            },
            outstanding: 0,
        }
    }

    /// Hands over an ask.
    pub fn ask(&mut self, ask: Ask) {
        match &mut self.way {
            Way::Thread { asks, .. } => {
                if asks.send(ask).is_err() {
                    return;
                }
            }
            Way::Inline {
                work,
                metrics,
                done,
            } => done.push_back(answer(&ask, work, metrics)),
        }
        self.outstanding += 1;
    }

    /// An answer, if one is ready.
    pub fn answered(&mut self) -> Option<Answer> {
        let answer = match &mut self.way {
            Way::Thread { answers, .. } => answers.try_recv().ok(),
            Way::Inline { done, .. } => done.pop_front(),
        }?;
        self.outstanding -= 1;
        Some(answer)
    }

    /// True while an answer is outstanding.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.outstanding > 0
    }
}

/// The answer to an ask, worked out here and now.
pub fn answer(ask: &Ask, work: &Work, metrics: &Metrics) -> Answer {
    let begun = Instant::now();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(ask)))
        .unwrap_or_else(|_| {
            Err("the work panicked; please report this with the rows of the cohort".to_owned())
        });
    let took = begun.elapsed();
    metrics.asked(ask.kind, &ask.cohort, took);
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
    Answer {
        tenant: ask.tenant.clone(),
        ask_id: ask.ask_id.clone(),
        kind: ask.kind.to_owned(),
        cut,
        seed: i64::try_from(ask.seed).unwrap_or(i64::MAX),
        ok,
        error,
        body,
        // How long it took is in the metrics: an answer is the same whenever it is worked out.
        cpu_ms: None,
    }
}
