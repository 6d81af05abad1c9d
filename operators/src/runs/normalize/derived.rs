//! What follows from a row: compute, utilisation, cost. A function of the row alone, so that a backfill can do it again.

use cairn_avro::record::{Derived, ExperimentRow};

/// Convention of `derived.flops`: forward and backward pass of a dense decoder, Kaplan et al. 2020, eq. 2.2 without the
/// context term; N counts what the row's `parameters_active` says, else `parameters_total`.
pub const FLOPS_CONVENTION: &str = "6ND";

/// What follows from the row.
pub(super) fn derive(row: &ExperimentRow, tokens_per_second: Option<f64>) -> Derived {
    let parameters = row.model.parameters_active.or(row.model.parameters_total);
    let tokens = row.tokens.map(|tokens| tokens as f64);
    let both = parameters.zip(tokens);
    let accelerators = row.hardware.accelerator_count.map(|count| count as f64);
    let hours = row
        .first_event_time_ms
        .zip(row.last_event_time_ms)
        .map(|(first, last)| last.saturating_sub(first) as f64 / 3_600_000.0);
    let accelerator_hours = hours.zip(accelerators).map(|(hours, count)| hours * count);
    let peak = row
        .hardware
        .peak_flops_per_second
        .zip(accelerators)
        .map(|(peak, count)| peak * count);
    let utilization = parameters
        .zip(tokens_per_second)
        .zip(peak)
        .filter(|(_, peak)| *peak > 0.0);
    Derived {
        flops: both.map(|(parameters, tokens)| 6.0 * parameters * tokens),
        flops_convention: FLOPS_CONVENTION.to_owned(),
        tokens_per_parameter: both
            .filter(|(parameters, _)| *parameters > 0.0)
            .map(|(parameters, tokens)| tokens / parameters),
        model_flops_utilization: utilization
            .map(|((parameters, rate), peak)| 6.0 * parameters * rate / peak),
        accelerator_hours,
        cost: accelerator_hours
            .zip(row.hardware.price_per_hour)
            .map(|(hours, price)| hours * price),
        currency: row.hardware.currency.clone(),
        energy_kilowatt_hours: hours
            .zip(row.power_watts)
            .map(|(hours, watts)| hours * watts / 1000.0),
        ..Derived::default()
    }
}
