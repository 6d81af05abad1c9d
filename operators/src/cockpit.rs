//! Folds telegrams into the board: one snapshot a tenant, complete, replacing everything before it.
//!
//! An alert lasts from the telegram that raises it (priority 0 to 2) until a status telegram (priority 3) of the same kind
//! about the same subject ends it. What people do about alerts (acknowledge, shelve), pacing and voice belong to the
//! cockpit issue; the board's members for them are there and say so.

use crate::operator::{At, Change, Emit, Output, Remember, Telegram, short};
use crate::tables::Table;
use cairn_avro::hex;
use cairn_avro::time::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Limits of the board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CockpitRules {
    /// Most alerts on a board; more are counted in `alerts_truncated`. The schema's own bound.
    pub alerts_max: usize,
    /// Most run breakers on a board, the newest change first. The schema's own bound.
    pub breakers_max: usize,
    /// A board is stale this long after it was issued.
    pub board_ttl_ms: i64,
    /// Most alerts, run breakers and times of raising remembered for a tenant; of alerts the lowest priority goes first, then the oldest.
    pub remembered_max: usize,
}

impl Default for CockpitRules {
    fn default() -> Self {
        Self {
            alerts_max: 50,
            breakers_max: 32,
            board_ttl_ms: 3_600_000,
            remembered_max: 1_000,
        }
    }
}

/// The only stream of this release: one board a tenant.
pub const STREAM: &str = "main";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Alert {
    fingerprint: String,
    alert_id: String,
    kind: String,
    subject: String,
    priority: u8,
    key: String,
    args: std::collections::BTreeMap<String, Value>,
    fallback: String,
    raised_ms: i64,
    count: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Board {
    seq: i64,
    alerts: Vec<Alert>,
    /// Name, state, since, reason of run breakers that are not closed.
    breakers: Vec<(String, String, i64, String)>,
    /// Times of the newest raisings, for the load figures.
    raised_ms: Vec<i64>,
    traceparent: Option<String>,
}

/// The core.
pub struct Cockpit {
    rules: CockpitRules,
    boards: Table<Board>,
    touched: std::collections::BTreeMap<String, i64>,
}

impl Cockpit {
    /// A core with these rules and empty boards.
    #[must_use]
    pub fn new(rules: CockpitRules) -> Self {
        Self {
            rules,
            boards: Table::new("boards"),
            touched: std::collections::BTreeMap::new(),
        }
    }

    /// Folds one telegram.
    pub fn apply(&mut self, at: &At<'_>, telegram: &Telegram) {
        let rules = &self.rules;
        let board = self.boards.entry(&telegram.tenant, Board::default);
        let subject = format!("{}:{}", telegram.subject.kind, telegram.subject.id);
        let now_ms = at.append_time_ms;
        if telegram.traceparent.is_some() {
            board.traceparent.clone_from(&telegram.traceparent);
        }
        if telegram.kind == "breaker" {
            let state = telegram
                .evidence
                .verdict
                .as_ref()
                .and_then(|v| v["state"].as_str())
                .unwrap_or("open")
                .to_owned();
            board.breakers.retain(|(name, ..)| *name != subject);
            if state != "closed" {
                board.breakers.insert(
                    0,
                    (
                        subject.clone(),
                        state,
                        now_ms,
                        telegram.text.fallback.clone(),
                    ),
                );
                board.breakers.truncate(rules.remembered_max);
            }
        }
        let same = |alert: &Alert| alert.kind == telegram.kind && alert.subject == subject;
        if telegram.priority >= 3 {
            board.alerts.retain(|alert| !same(alert));
        } else {
            let fingerprint = hex::text(
                &Sha256::digest(format!(
                    "{}\n{subject}\n{}",
                    telegram.kind, telegram.text.key
                ))[..16],
            );
            board.raised_ms.push(now_ms);
            board
                .raised_ms
                .retain(|raised| *raised > now_ms - LOAD_WINDOW_MS);
            let beyond = board.raised_ms.len().saturating_sub(rules.remembered_max);
            board.raised_ms.drain(..beyond);
            let count = board
                .alerts
                .iter()
                .find(|a| a.fingerprint == fingerprint)
                .map_or(0, |alert| alert.count);
            board.alerts.retain(|alert| !same(alert));
            board.alerts.push(Alert {
                alert_id: telegram.telegram_id.clone(),
                fingerprint,
                kind: telegram.kind.clone(),
                subject,
                priority: telegram.priority,
                key: telegram.text.key.clone(),
                args: telegram.text.args.clone(),
                fallback: telegram.text.fallback.clone(),
                raised_ms: now_ms,
                count: count + 1,
            });
            board
                .alerts
                .sort_by_key(|alert| (alert.priority, std::cmp::Reverse(alert.raised_ms)));
            board.alerts.truncate(rules.remembered_max);
        }
        let issued = self
            .touched
            .entry(telegram.tenant.clone())
            .or_insert(now_ms);
        *issued = (*issued).max(now_ms);
    }

    /// Publishes the boards that the batch changed; called once before each commit.
    pub fn flush(&mut self, emit: &mut Emit) {
        for (tenant, issued_ms) in std::mem::take(&mut self.touched) {
            let board = self.boards.entry(&tenant, Board::default);
            board.seq += 1;
            let snapshot = snapshot(&self.rules, &tenant, board, issued_ms);
            emit.put(Output::Board {
                tenant,
                stream: STREAM.to_owned(),
                snapshot,
            });
        }
    }
}

/// ISA-18.2 judges an operator's load over ten minutes.
const LOAD_WINDOW_MS: i64 = 600_000;

fn snapshot(rules: &CockpitRules, tenant: &str, board: &Board, issued_ms: i64) -> Value {
    let raised = board
        .raised_ms
        .iter()
        .filter(|raised| **raised > issued_ms - LOAD_WINDOW_MS)
        .count();
    let load = match raised {
        _ if board.alerts.is_empty() => "dark",
        0..=2 => "normal",
        3..=10 => "busy",
        _ => "flood",
    };
    let digest = Sha256::digest(format!("{tenant}\n{}\n{issued_ms}", board.seq));
    let traceparent = board.traceparent.clone().unwrap_or_else(|| {
        format!(
            "00-{}-{}-00",
            hex::text(&digest[..16]),
            hex::text(&digest[16..24])
        )
    });
    let issued = rfc3339(issued_ms);
    json!({
        "schema_version": "1.0",
        "telegram_id": uuid_v7(issued_ms, &digest),
        "kind": "snapshot",
        "tenant": tenant,
        "stream": STREAM,
        "epoch": 0,
        "seq": board.seq,
        "issued_at": issued,
        "expires_at": rfc3339(issued_ms + rules.board_ttl_ms),
        "producer": {"service": "cairn-cockpit", "version": env!("CARGO_PKG_VERSION"), "instance": "core"},
        "trace": {"traceparent": traceparent},
        "phase": "idle",
        "throttle": {
            "state": load, "since": issued, "raised_10m": raised, "annunciated_10m": 0, "held": 0, "inhibited": 0,
            "focus": [], "focus_overflow": 0
        },
        "breakers": board.breakers.iter().take(rules.breakers_max).map(guard).collect::<Vec<_>>(),
        "alerts": board.alerts.iter().take(rules.alerts_max).map(alert).collect::<Vec<_>>(),
        "alerts_truncated": board.alerts.len().saturating_sub(rules.alerts_max),
        "approvals": [],
        "rollback": {"available": false, "blocked_reason": "No growth job has left a checkpoint to go back to."}
    })
}

fn guard((name, state, since_ms, reason): &(String, String, i64, String)) -> Value {
    json!({
        "name": identifier(name),
        "state": state,
        "since": rfc3339(*since_ms),
        "reason": short(reason),
        // A run's breaker closes on the run's own windows, not by a probe at a set time; the schema wants a time, and the
        // earliest that a new window can say otherwise is now.
        "next_probe_at": rfc3339(*since_ms),
        "blocks": ["train"],
        "observed": {"failure_rate": 0.0, "slow_rate": 0.0, "calls": 0, "window_s": 0}
    })
}

fn alert(alert: &Alert) -> Value {
    let (consequence, action, seconds) = response(&alert.kind, &alert.key);
    let text = |key: String, fallback: &str| json!({"key": key, "fallback": short(fallback)});
    json!({
        "alert_id": alert.alert_id,
        "fingerprint": alert.fingerprint,
        "group": identifier(&alert.kind),
        "priority": alert.priority,
        "state": "unacked",
        "presentation": "listed",
        "message": {"key": alert.key, "args": alert.args, "fallback": alert.fallback},
        "raised_at": rfc3339(alert.raised_ms),
        "count": alert.count,
        "response": {
            "consequence": text(format!("{}.consequence", alert.key), consequence),
            "action": text(format!("{}.action", alert.key), action),
            "respond_within_s": seconds
        }
    })
}

/// What happens if nobody acts, what to do, and within how many seconds: an alarm without an action is no alarm.
fn response(kind: &str, key: &str) -> (&'static str, &'static str, i64) {
    match (kind, key) {
        ("breaker", "breaker.open.plateau") => (
            "Compute is spent on a run that no longer learns.",
            "Look at the run's slope; stop it or lower its learning rate.",
            3600,
        ),
        ("breaker", _) => (
            "The run's weights may be lost from here on.",
            "Stop the run and go back to the last checkpoint before the onset.",
            300,
        ),
        ("fit", _) => (
            "Plans that rest on this law are no better than a guess.",
            "Look at the fit's reasons and back-test before you plan by it.",
            86_400,
        ),
        ("guard", "guard.retention_overtaken.open") => (
            "What the log has deleted unread is in no row and no window.",
            "Send the lost records again, then resume the topic.",
            300,
        ),
        ("guard", "guard.topic_pause.open") => (
            "Nothing of the topic is read; its records wait in the log until its retention is over.",
            "Mend what writes to the topic, then resume it.",
            900,
        ),
        ("guard", _) => (
            "What the guard is about waits, or lies among the dead letters.",
            "Look at `cairn doctor`: it names the cause and the remedy.",
            3600,
        ),
        _ => (
            "See the message.",
            "Look at the evidence that the telegram names.",
            3600,
        ),
    }
}

/// Letters, digits and `._:-`, as the schema's ids have it; at most 128. Where another text could read the same, the beginning of
/// this one's digest tells them apart.
fn identifier(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._:-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let begins_well = clean.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && clean == text && clean.len() <= 128 {
        return clean;
    }
    let digest = hex::text(&Sha256::digest(text)[..8]);
    let first = if begins_well { "" } else { "x" };
    let kept: String = clean.chars().take(100).collect();
    format!("{first}{kept}-{digest}")
}

/// A version 7 UUID (RFC 9562) whose random part comes from the content, so that a replay makes the same one.
fn uuid_v7(time_ms: i64, digest: &[u8]) -> String {
    let time = format!("{:012x}", time_ms.max(0) & 0xffff_ffff_ffff);
    let random = hex::text(digest.get(..10).unwrap_or_default());
    format!(
        "{}-{}-7{}-8{}-{}",
        &time[..8],
        &time[8..],
        &random[..3],
        &random[3..6],
        &random[6..18]
    )
}

impl Remember for Cockpit {
    fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.boards.changes(&mut changes);
        changes
    }

    fn merge(&mut self) {
        self.boards.merge();
    }

    fn discard(&mut self) {
        self.boards.discard();
        self.touched.clear();
    }

    fn restore(&mut self, table: &str, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        match table {
            "boards" => self.boards.restore(key, value),
            other => Err(format!(
                "cockpit has no table {other}; the changelog was written by another version"
            )),
        }
    }

    fn bytes(&self) -> u64 {
        self.boards.bytes()
    }
}
