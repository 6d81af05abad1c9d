//! Clients that send: in transactions that stay open for a while, are aborted, are lost, and are sent again by a client that
//! does not know what became of them. What they wrote in the end, the log says.

use super::draw::Draw;
use super::stage::Stage;
use cairn_bus::{Fault, Log, Membership, Offsets, Outgoing, Session};
use std::collections::VecDeque;

/// Most records that a client sends at once.
const BURST_MAX: i64 = 8;

/// A client.
pub struct Writer {
    name: &'static str,
    session: Option<Box<dyn Session>>,
    waiting: VecDeque<Outgoing>,
    /// Sent, not committed.
    open: Vec<Outgoing>,
}

impl Writer {
    /// A client that has these to send, in order.
    #[must_use]
    pub fn new(name: &'static str, records: Vec<Outgoing>) -> Self {
        Self {
            name,
            session: None,
            waiting: records.into(),
            open: Vec::new(),
        }
    }

    /// Whether everything is sent and committed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }

    /// Sends a few, commits, or does neither.
    ///
    /// # Errors
    /// A fault that no client should meet.
    pub fn step(&mut self, stage: &Stage, draw: &mut Draw) -> Result<(), Fault> {
        if stage.log.is_killed(self.name) {
            self.start_anew(draw);
        }
        if stage.log.is_stopped(self.name) || self.is_done() {
            return Ok(());
        }
        match self.try_step(stage, draw) {
            Ok(()) => Ok(()),
            Err(Fault::Abort(_)) => {
                self.send_again();
                if let Some(session) = &mut self.session
                    && session.abort().is_err()
                {
                    self.start_anew(draw);
                }
                Ok(())
            }
            Err(Fault::Config(why)) => Err(Fault::Config(why)),
            Err(_) => {
                self.start_anew(draw);
                Ok(())
            }
        }
    }

    fn try_step(&mut self, stage: &Stage, draw: &mut Draw) -> Result<(), Fault> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(stage.log.open(Membership {
                operator: "client".to_owned(),
                group: String::new(),
                instance: self.name.to_owned(),
                thread: 0,
                topics: Vec::new(),
            })?),
        };
        for _ in 0..draw.between(1, BURST_MAX) {
            let Some(record) = self.waiting.pop_front() else {
                break;
            };
            self.open.push(record.clone());
            session.send(record)?;
        }
        if self.waiting.is_empty() || draw.percent(60) {
            session.commit(&Offsets::new())?;
            self.open.clear();
        }
        Ok(())
    }

    /// A client that gives up now and then, and otherwise sends again what may have arrived.
    fn start_anew(&mut self, draw: &mut Draw) {
        self.session = None;
        if draw.percent(20) {
            self.open.clear();
        }
        self.send_again();
    }

    fn send_again(&mut self) {
        for record in self.open.drain(..).rev() {
            self.waiting.push_front(record);
        }
    }
}
