//! The catalogue against the contract.

use std::collections::BTreeSet;

use cairn_avro::contract;
use cairn_topics::{Cleanup, Encoding, Family, KeptBy, PartitionBy, catalogue, find, split_tenant};

#[test]
fn catalogue_and_contract_name_the_same_topics() {
    let listed: BTreeSet<_> = catalogue()
        .iter()
        .filter(|topic| topic.encoding == Encoding::Avro)
        .map(|topic| (topic.name, topic.schema))
        .collect();
    let contracted: BTreeSet<_> = contract::all()
        .iter()
        .flat_map(|entry| entry.topics.iter().map(|topic| (*topic, entry.record)))
        .collect();
    assert_eq!(listed, contracted);
}

#[test]
fn names_are_unique_and_rows_complete() {
    let names: BTreeSet<_> = catalogue().iter().map(|topic| topic.name).collect();
    assert_eq!(names.len(), catalogue().len());
    for topic in catalogue() {
        assert!(
            !topic.owner.is_empty() && topic.description.ends_with('.'),
            "{}",
            topic.name
        );
        assert!(topic.partitions > 0, "{}", topic.name);
        assert!(topic.append_time, "{}", topic.name);
        assert_eq!(find(topic.name).map(|found| found.name), Some(topic.name));
    }
}

#[test]
fn keys_name_fields_of_the_record() {
    for topic in catalogue() {
        let Some(entry) = topic.entry() else { continue };
        if let PartitionBy::Fields(fields) = topic.partition_by {
            assert!(
                fields
                    .iter()
                    .all(|field| entry.field_names().contains(field)),
                "{}",
                topic.name
            );
        }
        if let KeptBy::Fields(fields) = topic.kept_by {
            assert!(
                fields
                    .iter()
                    .all(|field| entry.field_names().contains(field)),
                "{}",
                topic.name
            );
        }
    }
}

#[test]
fn families_are_partitioned_alike() {
    for topic in catalogue() {
        let (by, partitions): (&[&str], i32) = match topic.family {
            Family::Run => (&["tenant", "run_id"], 16),
            Family::Tenant => (&["tenant"], 1),
            Family::Pool => (&["pool"], 1),
            Family::Ingress | Family::Own => continue,
        };
        assert_eq!(
            topic.partition_by,
            PartitionBy::Fields(by),
            "{}",
            topic.name
        );
        assert_eq!(topic.partitions, partitions, "{}", topic.name);
    }
}

/// What DESIGN §2 promises to keep for good.
#[test]
fn the_compacted_topics_are_these() {
    let compacted: Vec<_> = catalogue()
        .iter()
        .filter(|topic| topic.cleanup == Cleanup::Compact)
        .map(|topic| topic.name)
        .collect();
    assert_eq!(
        compacted,
        [
            "experiments.rows",
            "registry.cohorts",
            "scaling.fits",
            "cockpit.board",
            "growth.assignments",
            "artifacts",
            "ingest.progress",
            "guards",
            "families",
            "changelog.runs",
            "changelog.refit",
            "changelog.cockpit",
        ]
    );
}

#[test]
fn a_tenant_is_told_from_the_topic() {
    let split =
        |name: &str| split_tenant(name).map(|(tenant, topic)| (tenant.to_owned(), topic.name));
    let some = |tenant: &str, topic| Some((tenant.to_owned(), topic));
    assert_eq!(
        split("telemetry.training"),
        some("default", "telemetry.training")
    );
    assert_eq!(split("acme-2.runs.tags"), some("acme-2", "runs.tags"));
    for name in [
        "runs.events",
        "acme.runs.events",
        "a.b.runs.tags",
        "Acme.runs.tags",
        ".runs.tags",
        "",
    ] {
        assert_eq!(split(name), None, "{name}");
    }
    for topic in catalogue()
        .iter()
        .filter(|topic| topic.family == Family::Ingress)
    {
        for tenant in ["default", "acme"] {
            let name = cairn_topics::ingress_name(tenant, topic.name);
            assert_eq!(split(&name), some(tenant, topic.name));
        }
    }
}

/// A record of an ingress topic may have a MiB. What it causes carries it and more, and must never be refused for its size:
/// bad data, and ordinary data packed, never stop the line (DESIGN §3.5).
#[test]
fn what_an_ingress_record_causes_has_room() {
    let ingress = catalogue()
        .iter()
        .filter(|topic| topic.family == Family::Ingress)
        .map(|topic| topic.max_message_bytes)
        .max()
        .unwrap_or_default();
    assert_eq!(ingress, 1_048_588, "what every broker takes");
    for name in ["runs.events", "late", "deadletter"] {
        let topic = find(name).unwrap_or_else(|| panic!("{name} is in the catalogue"));
        assert!(topic.max_message_bytes >= 8 * ingress, "{name}");
    }
    for topic in catalogue()
        .iter()
        .filter(|topic| topic.name.starts_with("changelog."))
    {
        assert!(topic.max_message_bytes >= 16 * ingress, "{}", topic.name);
    }
    for topic in catalogue() {
        assert!(topic.max_message_bytes >= ingress, "{}", topic.name);
        assert!(
            topic.max_message_bytes <= 64 << 20,
            "{}: the clients' own limit",
            topic.name
        );
    }
}
