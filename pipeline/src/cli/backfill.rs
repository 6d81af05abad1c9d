//! `cairn backfill`: derived fields of rows once more, after prices or a convention have changed.

use super::{Failure, Global, Outcome, print, say};
use crate::backfill::{self, Options};
use cairn_avro::time;
use cairn_operators::runs::normalize::Derivation;
use clap::Args;

/// Have derived fields of rows computed again, after prices or a convention have changed.
#[derive(Args)]
pub struct Backfill {
    /// Rows whose last event is not older: a date, an RFC 3339 time in UTC, or `earliest`
    #[arg(long, value_name = "T", value_parser = moment)]
    since: i64,
    /// Only rows of this tenant
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// Rows too that carry the newest versions already
    #[arg(long)]
    all: bool,
    /// Count, and ask for nothing
    #[arg(long)]
    dry_run: bool,
}

impl Backfill {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let (config, place) = global.look()?;
        if let Some(tenant) = &self.tenant
            && !cairn_topics::is_tenant(tenant)
        {
            return Err(Failure::usage(
                format!("{tenant:?} is no tenant"),
                "use lower-case letters, digits and hyphens",
            ));
        }
        let derivation = Derivation::new(&config.runs.derivation);
        let options = Options {
            since_ms: self.since,
            tenant: self.tenant,
            all: self.all,
            dry_run: self.dry_run,
        };
        let summary = backfill::backfill(
            &*place.log,
            &*place.registry,
            &config.log.app_id,
            &derivation,
            &options,
        )?;
        if global.is_json() {
            say(&serde_json::json!({
                "asked": summary.asked, "current": summary.current, "older": summary.older,
                "dry_run": self.dry_run, "tables_version": derivation.tables_version(),
            }));
        } else {
            let would = if self.dry_run {
                "would be asked for"
            } else {
                "asked for"
            };
            print(&format!(
                "{} rows {would}, {} are up to date, {} are older; `cairn run` answers with the settings that it runs with\n",
                summary.asked, summary.current, summary.older
            ));
        }
        Ok(0)
    }
}

/// A moment in milliseconds since 1970.
fn moment(text: &str) -> Result<i64, String> {
    if text == "earliest" {
        return Ok(i64::MIN);
    }
    time::parse(text)
        .or_else(|| time::parse(&format!("{text}T00:00:00Z")))
        .ok_or_else(|| "write 2026-11-30, 2026-11-30T08:00:00Z or earliest".to_owned())
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments_are_dates_times_or_the_beginning() {
        assert_eq!(moment("1970-01-02"), Ok(86_400_000));
        assert_eq!(moment("1970-01-02T00:00:00.5Z"), Ok(86_400_500));
        assert_eq!(moment("earliest"), Ok(i64::MIN));
        assert!(moment("yesterday").is_err());
        assert!(moment("2026-13-01").is_err());
    }
}
