//! The processes that sessions live in: running, standing still, dead. Pure; what their groups hear of it is the caller's.

use crate::log::Membership;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// None: until somebody says so.
    Stopped {
        until_ms: Option<i64>,
    },
    Dead,
}

/// What stands between a session and its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    StoppedUntil(i64),
    Stopped,
    Dead,
}

/// As whom a session is in which group.
pub(super) type Place = (Arc<str>, String);

/// A member that is heard of from now on (true), or not.
pub(super) type Presence = (Place, bool);

/// One session's part of a process.
struct Client {
    label: String,
    instance: String,
    life: Life,
    member: Option<Place>,
    polled_ms: i64,
    /// It has not polled for so long that it no longer says that it is there.
    overdue: bool,
}

impl Client {
    fn presence(&self) -> Option<Presence> {
        let is_heard = self.life == Life::Running && !self.overdue;
        self.member.clone().map(|place| (place, is_heard))
    }
}

/// All sessions by number, from 1.
pub(super) struct Processes {
    max_poll_interval_ms: i64,
    clients: BTreeMap<u64, Client>,
    next: u64,
}

impl Processes {
    pub(super) fn new(max_poll_interval_ms: i64) -> Self {
        Self {
            max_poll_interval_ms,
            clients: BTreeMap::new(),
            next: 1,
        }
    }

    /// A new session.
    pub(super) fn register(&mut self, who: &Membership, now_ms: i64) -> u64 {
        let id = self.next;
        self.next += 1;
        let client = Client {
            label: format!("{}.{}.{}", who.operator, who.instance, who.thread),
            instance: who.instance.clone(),
            life: Life::Running,
            member: None,
            polled_ms: now_ms,
            overdue: false,
        };
        self.clients.insert(id, client);
        id
    }

    /// A session is gone without a word.
    pub(super) fn forget(&mut self, client: u64) -> Option<Presence> {
        let place = self.clients.remove(&client)?.member?;
        Some((place, false))
    }

    pub(super) fn label(&self, client: u64) -> &str {
        self.clients
            .get(&client)
            .map_or("-", |client| client.label.as_str())
    }

    pub(super) fn instance(&self, client: u64) -> Option<String> {
        Some(self.clients.get(&client)?.instance.clone())
    }

    pub(super) fn member(&self, client: u64) -> Option<Place> {
        self.clients.get(&client)?.member.clone()
    }

    pub(super) fn set_member(&mut self, client: u64, member: Option<Place>) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.member = member;
        }
    }

    /// Whether a session can do anything at all.
    pub(super) fn obstacle(&self, client: u64) -> Option<Obstacle> {
        match self.clients.get(&client).map(|client| client.life) {
            Some(Life::Running) => None,
            Some(Life::Stopped {
                until_ms: Some(until),
            }) => Some(Obstacle::StoppedUntil(until)),
            Some(Life::Stopped { until_ms: None }) => Some(Obstacle::Stopped),
            Some(Life::Dead) | None => Some(Obstacle::Dead),
        }
    }

    /// It has polled: it is there.
    pub(super) fn polled(&mut self, client: u64, now_ms: i64) -> Option<Presence> {
        let client = self.clients.get_mut(&client)?;
        client.polled_ms = now_ms;
        if std::mem::take(&mut client.overdue) {
            client.presence()
        } else {
            None
        }
    }

    /// All sessions of an instance that are not dead.
    pub(super) fn set_life(&mut self, instance: &str, life: Life) -> Vec<Presence> {
        let mut presences = Vec::new();
        for client in self.clients.values_mut() {
            if client.instance == instance && client.life != Life::Dead {
                client.life = life;
                presences.extend(client.presence());
            }
        }
        presences
    }

    /// Who goes on, and who falls silent because it does not poll.
    pub(super) fn settle(&mut self, now_ms: i64) -> Vec<Presence> {
        let mut presences = Vec::new();
        for client in self.clients.values_mut() {
            let wakes =
                matches!(client.life, Life::Stopped { until_ms: Some(until) } if until <= now_ms);
            if wakes {
                client.life = Life::Running;
            }
            let falls_silent =
                client.is_watched() && now_ms - client.polled_ms >= self.max_poll_interval_ms;
            client.overdue |= falls_silent;
            if wakes || falls_silent {
                presences.extend(client.presence());
            }
        }
        presences
    }

    /// When something happens next by itself.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        let due = |client: &Client| match client.life {
            Life::Stopped { until_ms } => until_ms,
            _ if client.is_watched() => Some(client.polled_ms + self.max_poll_interval_ms),
            _ => None,
        };
        self.clients.values().filter_map(due).min()
    }

    pub(super) fn is_stopped(&self, instance: &str) -> bool {
        self.any(instance, |life| matches!(life, Life::Stopped { .. }))
    }

    pub(super) fn is_killed(&self, instance: &str) -> bool {
        self.any(instance, |life| life == Life::Dead)
    }

    fn any(&self, instance: &str, is: impl Fn(Life) -> bool) -> bool {
        self.clients
            .values()
            .any(|client| client.instance == instance && is(client.life))
    }
}

impl Client {
    /// Whether it must poll, or falls silent.
    fn is_watched(&self) -> bool {
        self.life == Life::Running && !self.overdue && self.member.is_some()
    }
}
