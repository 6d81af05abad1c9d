//! What a fault asks for once its member is void: another one after a pause, or the end of the process.

use crate::config::RuntimeConfig;
use cairn_bus::Fault;
use std::time::Duration;

/// A pause that doubles up to a limit.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// A pause that nothing has lengthened yet.
    #[must_use]
    pub fn new(settings: &RuntimeConfig) -> Self {
        let first = Duration::from_millis(settings.restart_backoff_ms);
        Self {
            first,
            longest: Duration::from_millis(settings.restart_backoff_ms_max),
            next: first,
        }
    }

    /// How long to wait before a new member is built.
    ///
    /// # Errors
    /// The fault itself where no new member helps: another took over, or waiting does not help.
    pub fn after(&mut self, fault: Fault) -> Result<Duration, Fault> {
        match fault {
            Fault::Fenced(_) | Fault::Config(_) => Err(fault),
            Fault::Abort(_) | Fault::Unknown(_) | Fault::Unreachable(_) => {
                let wait = self.next;
                self.next = (wait * 2).min(self.longest);
                Ok(wait)
            }
        }
    }

    /// A member has got over what ended its predecessor: it has lived longer than the longest pause.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}
