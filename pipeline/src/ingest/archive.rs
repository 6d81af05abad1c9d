//! Archives: every file in a tar is a source of its own, `archive.tar!path`.
//!
//! The archive is read once, from its start to its end, whether it is plain or compressed. A member is kept while it is
//! ingested, in memory or in a temporary file: what of it is on the log already is looked up before it is read. Its format is
//! told from its own content, and its progress is its own, so that an archive that was packed anew with more in it adds what
//! is new.
//!
//! What it does not do: open archives within archives, and follow links.

use super::format::{Position, Reject};
use super::progress::{Identity, Known};
use super::reading::{Begun, Reading};
use super::run::{Ingest, Told};
use super::source::{Content, Found, Spool};
use super::writer::{Origin, Writer};
use super::{IngestError, SourceSummary, Step, told};
use crate::objects::is_address;
use cairn_avro::json;
use cairn_avro::record::IngestProgress;
use cairn_bus::Membership;
use cairn_topics::handle::INGEST_PROGRESS;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Bytes of a tar's block; it begins with the header of its first member.
const BLOCK_BYTES: usize = 512;
/// Where the checksum of a header stands.
const CHECKSUM: std::ops::Range<usize> = 148..156;
/// Members that an archive may have.
const MEMBERS_MAX: u64 = 1_000_000;

/// True where content begins as a tar does: with a header whose checksum is right (POSIX.1-1988 and all that came after).
pub(super) fn is_archive(head: &[u8]) -> bool {
    let Some(header) = head.get(..BLOCK_BYTES) else {
        return false;
    };
    let digits = header[CHECKSUM]
        .split(|byte| matches!(byte, 0 | b' '))
        .find(|part| !part.is_empty());
    let said = digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 8).ok());
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| u32::from(if CHECKSUM.contains(&at) { b' ' } else { *byte }))
        .sum();
    said == Some(sum)
}

impl Ingest<'_> {
    /// Ingests what lies in an archive.
    pub(super) fn archive(
        &self,
        found: &Found,
        content: Content,
        each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<SourceSummary>, IngestError> {
        let unreadable = |error| IngestError::Unreadable {
            path: found.name.clone(),
            error,
        };
        let mut archive = tar::Archive::new(content);
        let mut summaries = Vec::new();
        let mut broken = None;
        let mut members = 0;
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            };
            members += 1;
            if members > MEMBERS_MAX {
                return Err(IngestError::Refused(format!(
                    "{}: it has more than {MEMBERS_MAX} members; pack it into several",
                    found.name
                )));
            }
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let hidden = path
                .split('/')
                .any(|part| part.starts_with('.') && part != "." && part != "..");
            if !entry.header().entry_type().is_file() || hidden {
                continue;
            }
            let (spool, cut) = Spool::fill(&mut entry).map_err(unreadable)?;
            let cut = cut.or_else(|| {
                let whole = entry.size();
                let read = super::source::Place::size(&spool, "").unwrap_or(whole);
                (read < whole).then(|| {
                    std::io::Error::new(
                        std::io::ErrorKind::UnexpectedEof,
                        format!("{path} has {whole} bytes, of which {read} are there"),
                    )
                })
            });
            summaries.extend(self.member(found, path, &spool, each)?);
            if cut.is_some() {
                broken = cut;
                break;
            }
        }
        if let Some(error) = broken {
            // a source that cannot be read is no broken archive
            if super::source::is_wait(&error) || error.raw_os_error().is_some() {
                return Err(unreadable(error));
            }
            summaries.push(self.broken_archive(found, members, &error, each)?);
        } else if summaries.is_empty() {
            summaries.push(SourceSummary::skipped(
                &found.name,
                "the archive holds no file".into(),
            ));
        }
        Ok(summaries)
    }

    fn member(
        &self,
        archive: &Found,
        path: String,
        spool: &Spool,
        each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<SourceSummary>, IngestError> {
        let name = format!("{}!{}", archive.name, path.trim_start_matches("./"));
        let found = Found {
            name,
            named: false,
            member: Some(path),
        };
        let unreadable = |error| IngestError::Unreadable {
            path: found.name.clone(),
            error,
        };
        let mut content = Content::new(spool.reader()).map_err(unreadable)?;
        let head = content.peek(super::HEAD_BYTES).map_err(unreadable)?;
        let format = match told(&head, &found, self.options) {
            Ok(Told::Archive) => {
                let why = "an archive within an archive; unpack it first";
                return Ok(vec![SourceSummary::skipped(&found.name, why.into())]);
            }
            Ok(format) => format,
            Err(IngestError::Refused(why)) => {
                return Ok(vec![SourceSummary::skipped(&found.name, why)]);
            }
            Err(error) => return Err(error),
        };
        let ingest = Ingest {
            place: spool,
            growing: None,
            ..*self
        };
        ingest.source(&found, Some(&format), each)
    }

    /// An archive that breaks off is one reject; what came before is kept.
    fn broken_archive(
        &self,
        found: &Found,
        members: u64,
        error: &std::io::Error,
        each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    ) -> Result<SourceSummary, IngestError> {
        let options = self.options;
        let path = if found.name == "-" || is_address(&found.name) {
            found.name.clone()
        } else {
            std::path::absolute(&found.name).map_or_else(
                |_| found.name.clone(),
                |path| path.to_string_lossy().into_owned(),
            )
        };
        let identity = Identity {
            tenant: options.tenant.clone(),
            path: path.clone(),
            format: "tar".into(),
            run_id: String::new(),
            mapping_sha256: None,
            path_matters: true,
        };
        let source_id = identity.source_id();
        let session = self.log.open(Membership {
            operator: "ingest".into(),
            group: format!("{}.ingest", options.app_id),
            instance: source_id[..16].to_owned(),
            thread: 0,
            topics: Vec::new(),
        })?;
        let mut writer = Writer::new(
            session,
            self.registry,
            self.topics,
            &options.tenant,
            options.traceparent.as_deref(),
            &options.recipient,
            &options.redaction,
        );
        let partitions = self
            .topics
            .get(INGEST_PROGRESS.name)
            .map_or(0, |state| state.partitions);
        let mut known = Known::read(writer.session(), &options.tenant, partitions)?;
        let class = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "truncated",
            _ => "damaged",
        };
        let text = format!(
            "the archive breaks off behind its member {members} ({error}); what could be read was kept, fetch it again"
        );
        let reject = Reject {
            class,
            topic: json::DEFAULT_TOPIC.into(),
            position: Position {
                line: members.max(1),
                byte: 0,
            },
            original: text.clone().into_bytes(),
            text,
        };
        let progress = IngestProgress {
            tenant: options.tenant.clone(),
            source_id,
            path,
            format: "tar".into(),
            ..IngestProgress::default()
        };
        let origin = Origin {
            path: &found.name,
            format: "tar",
            run_id: "",
            replay_of: None,
        };
        let mut begun = Begun::default();
        let mut reading =
            Reading::new(self, writer, &mut known, &mut begun, each, origin, progress);
        let duplicate = reading.refused_document(reject)?;
        reading.close()?;
        Ok(SourceSummary {
            source: found.name.clone(),
            format: "tar".into(),
            read: 1,
            duplicate: u64::from(duplicate),
            rejected: u64::from(!duplicate),
            errors: if duplicate {
                BTreeMap::new()
            } else {
                BTreeMap::from([(class, 1)])
            },
            ..SourceSummary::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_told_by_its_checksum() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_old();
        header.set_size(3);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, "a.log", &b"abc"[..])
            .expect("memory takes it");
        let mut archive = builder.into_inner().expect("memory takes it");
        assert!(is_archive(&archive));
        archive[0] ^= 1;
        assert!(!is_archive(&archive));
        assert!(!is_archive(&archive[..511]));
        assert!(!is_archive(&[0; 1024]));
    }
}
