//! Numbers inside sentences.

/// Four places, or powers of ten where these would be zeros or digits that nobody reads.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (1e-3..1e6).contains(&size) => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}
