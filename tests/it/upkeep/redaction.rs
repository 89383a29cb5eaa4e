//! Redaction in the running service: a secret reaches no disk, no answer and no metric.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tracefall::settings::DatabaseUrl;

use super::{quick, span};
use crate::support::TestServer;
use crate::support::psql::Database;

/// Put together here, so that nothing that looks like a secret stands in the source.
fn secret() -> String {
    format!("{}-{}", "sk", "0123456789abcdefABCDEF0123456789")
}

fn telling(trace: u32) -> Value {
    let mut told = span(trace, 1, "call");
    told["error_message"] = json!(format!("Incorrect API key provided: {}", secret()));
    told["inputs"] = json!({"headers": {"Authorization": format!("Basic {}", secret())}, "prompt": "hello"});
    told["metadata"] = json!({"db": {"password": secret()}, "tokens": 17});
    told["events"] = json!([{"name": "retry", "attributes": {"url": format!("https://app:{}@example.com", secret())}}]);
    told
}

/// Whether any file in a folder holds the text.
fn is_in(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().map(Result::unwrap).any(|entry| match entry.file_type().unwrap().is_dir() {
        true => is_in(&entry.path(), text),
        false => fs::read(entry.path()).unwrap().windows(text.len()).any(|window| window == text.as_bytes()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_neither_the_journal_nor_the_store_nor_a_dead_letter() {
    let mut servers = vec![TestServer::with(quick).await];
    let database = Database::new("redaction");
    if let Some(database) = &database {
        let url = database.url();
        servers.push(
            TestServer::with(|settings| {
                settings.store.url = Some(DatabaseUrl::new(url));
                quick(settings);
            })
            .await,
        );
    }
    for server in &servers {
        server.store(&json!([telling(1), span(2, 1, "plain")])).await;
        let read = server.read(&format!("/v1/traces/{:032x}", 1)).await;
        let told = &read["spans"][0];
        assert_eq!(told["error_message"], "Incorrect API key provided: [redacted]");
        assert_eq!(told["inputs"], json!({"headers": {"Authorization": "[redacted]"}, "prompt": "hello"}));
        assert_eq!(told["attributes"], json!({"db": {"password": "[redacted]"}, "tokens": 17}));
        assert_eq!(told["events"][0]["attributes"]["url"], "https://app:[redacted]@example.com");
        assert!(!is_in(server.folder.path(), &secret()), "journal or file");
        assert!(is_in(server.folder.path(), "[redacted]"));
        let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("tracefall_redacted_total{rule=\"authorization\"}"), "{metrics}");
    }
    if let (Some(database), Some(server)) = (&database, servers.get(1)) {
        database.sql("ALTER TABLE tracefall.spans ADD CONSTRAINT rule CHECK (operation <> 'call') NOT VALID");
        let response = server.post("/v1/spans?wait=stored", json!([telling(3)]).to_string()).send().await.unwrap();
        assert_eq!(response.json::<Value>().await.unwrap()["dead_letters"], 1);
        let letter = database.sql("SELECT body || reason FROM tracefall.dead_letters");
        assert!(letter.contains("[redacted]") && !letter.contains(&secret()), "{letter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_switch_turns_the_defaults_off_and_rules_of_ones_own_hold_without_them() {
    let server = TestServer::with(|settings| {
        quick(settings);
        settings.redaction.defaults = false;
        settings.redaction.keys = vec!["prompt".into()];
    })
    .await;
    server.store(&json!([telling(1)])).await;
    let read = server.read(&format!("/v1/traces/{:032x}", 1)).await;
    assert_eq!(read["spans"][0]["inputs"]["prompt"], "[redacted]");
    assert_eq!(read["spans"][0]["attributes"]["db"]["password"], secret());
}
