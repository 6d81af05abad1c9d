//! `cairn tail`: the records of a topic, read-committed.

use super::looks::Look;
use super::{Failure, Global, Outcome, print, say};
use clap::Args;
use std::time::Duration;

/// Print the records of a topic.
#[derive(Args)]
pub struct Tail {
    /// The topic
    topic: String,
    /// Begin at the start, not at the end
    #[arg(long)]
    from_start: bool,
    /// Stop at what is the end now
    #[arg(long)]
    until_end: bool,
    /// Only records with this key
    #[arg(long, value_name = "K")]
    key: Option<String>,
}

impl Tail {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let (_, place) = global.look()?;
        let topics = place.log.topics()?;
        if !topics.contains_key(&self.topic) {
            let nearest = topics
                .keys()
                .min_by_key(|name| strsim::damerau_levenshtein(name, &self.topic));
            return Err(Failure::new(
                "unknown_topic",
                2,
                format!("there is no topic {}", self.topic),
                "log",
                nearest.map_or("run `cairn topics apply`".to_owned(), |name| {
                    format!("did you mean {name}? `cairn topics list` lists them all")
                }),
            ));
        }
        let mut look = Look::new(&place)?;
        let (first, end) = look.ends(&self.topic)?;
        let mut from = if self.from_start { first } else { end.clone() };
        loop {
            if self.until_end
                && from
                    .iter()
                    .all(|(place, next)| end.get(place).is_none_or(|end| next >= end))
            {
                return Ok(0);
            }
            let (records, next) = look.read(&from, Duration::from_millis(500))?;
            for record in records {
                let is_later = self.until_end
                    && end
                        .get(&record.place())
                        .is_some_and(|end| record.offset >= *end);
                let key = record.key.as_deref().map(String::from_utf8_lossy);
                if is_later
                    || self
                        .key
                        .as_deref()
                        .is_some_and(|wanted| key.as_deref() != Some(wanted))
                {
                    continue;
                }
                if global.is_json() {
                    say(&look.json(&record));
                } else {
                    let value = look.value(&record);
                    let key = key.as_deref().unwrap_or("–");
                    print(&format!(
                        "{}[{}]@{} {key} {value}\n",
                        record.topic, record.partition, record.offset
                    ));
                }
            }
            from = next;
        }
    }
}
