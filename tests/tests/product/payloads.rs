//! Payloads of every version that was ever shipped: rows of the build before must run in this one.

use std::collections::BTreeSet;

use keryu_common::job::Terms;
use keryu_worker::registry;
use serde::Deserialize;
use serde_json::Value;

/// One line of `fixtures/payloads.json`; lines are added and never changed.
#[derive(Deserialize)]
struct Shipped {
    kind: String,
    version: i16,
    payload: Value,
}

#[test]
fn every_payload_that_was_ever_shipped_is_still_read() {
    let shipped: Vec<Shipped> =
        serde_json::from_str(include_str!("../fixtures/payloads.json")).expect("fixtures");
    let registry = registry::registry();
    let now = "2026-11-20T12:00:00Z".parse().expect("a time");
    let mut known = BTreeSet::new();
    for one in &shipped {
        let kind = registry.find(&one.kind).unwrap_or_else(|| panic!("{} is not run any more", one.kind));
        let read = kind.row(now, one.payload.clone(), Terms::default());
        assert!(read.is_ok(), "version {} of {}: {}", one.version, one.kind, read.err().unwrap_or_default());
        known.insert((one.kind.as_str(), one.version));
    }
    for kind in registry.kinds() {
        for version in 1..=kind.version {
            assert!(
                known.contains(&(kind.name, version)),
                "no payload of version {version} of {}",
                kind.name
            );
        }
    }
}
