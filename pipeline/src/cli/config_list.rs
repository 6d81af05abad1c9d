//! `cairn config`: every setting, its default and what it means; also the source of two pages of documentation.

use super::{Global, Outcome, print, say};
use crate::{config, metrics};
use clap::Args;

/// Every setting with its default and meaning.
#[derive(Args)]
pub struct ConfigList {
    /// As docs/configuration.md
    #[arg(long)]
    markdown: bool,
    /// The metrics instead, as docs/metrics.md
    #[arg(long)]
    metrics: bool,
}

impl ConfigList {
    pub(super) fn run(self, global: &Global) -> Outcome {
        if self.metrics {
            print(&metrics::markdown());
        } else if self.markdown {
            print(&config::markdown());
        } else {
            for (name, variable, default, meaning) in config::describe() {
                if global.is_json() {
                    say(&serde_json::json!({
                        "setting": name, "environment": variable, "default": default, "meaning": meaning
                    }));
                } else {
                    print(&format!("{name} = {default}\n    {meaning}\n"));
                }
            }
        }
        Ok(0)
    }
}
