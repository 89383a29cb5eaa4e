//! The three source systems, each in its own spelling, against what is understood. After a wanted change:
//! `TRACEFALL_WRITE_FIXTURES=1 cargo test --test it fixtures`, and look at the difference.

use std::path::Path;

use super::*;

#[test]
fn beacon_runs_are_understood() {
    check("beacon.json");
}

#[test]
fn node_ai_workflows_are_understood() {
    check("node_ai.json");
}

#[test]
fn ctrlplane_deployments_are_understood() {
    check("ctrlplane.json");
}

/// Compares every span of a fixture, in the canonical form and one a line, with the expectation beside it.
fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/native");
    let body = std::fs::read(folder.join(name)).unwrap();
    let decoded = decode(&body).unwrap();
    assert_eq!(decoded.rejected, []);
    let mut found = String::new();
    for span in &decoded.spans {
        native::encode_into(span, &mut found);
        found.push('\n');
    }
    assert_eq!(decode_lines(&found).spans, decoded.spans, "the canonical form is read back the same");
    let expected = folder.join(name.replace(".json", ".expected.ndjson"));
    if std::env::var_os("TRACEFALL_WRITE_FIXTURES").is_some() {
        std::fs::write(&expected, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&expected).unwrap(), "{name}");
}
