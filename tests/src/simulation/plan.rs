//! What goes wrong in the story of a seed.

use super::draw::Draw;
use cairn_bus::simulated::FaultPlan;

/// All faults now and then, or about half of them, or half of them and two much more often: what hides behind one fault shows
/// behind two.
pub(super) fn of(seed: u64) -> FaultPlan {
    let plan = match seed % 3 {
        0 => FaultPlan::rough(),
        1 => FaultPlan::drawn(seed),
        _ => stubborn(seed),
    };
    let mut draw = Draw::new(seed, 6);
    FaultPlan {
        // With slow brokers a transaction is open most of the time.
        latency_ms_max: draw.pick(&[2, 10, 60]),
        // An end that comes late is what protocol version 1 is weakest at; it does harm only where somebody went on at once.
        end_delayed: draw.pick(&[plan.end_delayed, 0.1]),
        answer_wait_ms_max: draw.pick(&[50, 2_000]),
        ..plan
    }
}

/// The drawn plan with two faults that come many times as often.
fn stubborn(seed: u64) -> FaultPlan {
    /// Times as often.
    const OFTEN: f64 = 8.0;
    let mut plan = FaultPlan::drawn(seed);
    let rough = FaultPlan::rough();
    let shares = [
        (&mut plan.request_lost, rough.request_lost),
        (&mut plan.answer_lost, rough.answer_lost),
        (&mut plan.request_delayed, rough.request_delayed),
        (&mut plan.end_delayed, rough.end_delayed),
        (&mut plan.ask_lost, rough.ask_lost),
        (&mut plan.abort, rough.abort),
        (&mut plan.rebalance, rough.rebalance),
        (&mut plan.evict, rough.evict),
        (&mut plan.stop, rough.stop),
        (&mut plan.crash, rough.crash),
        (&mut plan.marker_late, rough.marker_late),
        (&mut plan.maintain, rough.maintain),
    ];
    let mut draw = Draw::new(seed, 4);
    let often = [draw.below(shares.len()), draw.below(shares.len())];
    for (index, (share, rough)) in shares.into_iter().enumerate() {
        if often.contains(&index) {
            *share = rough * OFTEN;
        }
    }
    plan
}
