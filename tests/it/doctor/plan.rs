//! `tracefall plan`, by its documented figures and by what a store holds.

use serde_json::Value;
use tracefall::clock::Clock;
use tracefall::settings::DatabaseUrl;
use tracefall::store;

use crate::store_suite::records::{full, write};
use crate::support::binary::{run, tracefall};
use crate::support::psql::Database;
use crate::support::settings as settings_in;

fn plan(arguments: &[&str], change: impl FnOnce(&mut std::process::Command)) -> (bool, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tracefall();
    command.current_dir(folder.path()).arg("plan").args(arguments);
    change(&mut command);
    let output = run(&mut command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "it is arithmetic: nothing is made");
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_defaults_are_22_500_spans_a_day_on_both_stores() {
    let (ok, out, err) = plan(&["--capacity", "500MB"], |_| {});
    assert!(ok, "{err}");
    for words in
        ["4 500 traces, 22 500 spans a day; room: 500 MB", "PostgreSQL: ", "SQLite: ", "30 days *", "full after"]
    {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (_, out, _) = plan(&["--json", "--store", "postgres", "--jobs-per-day", "100"], |_| {});
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(plan["traffic"]["spans_per_day"], 225_000);
    assert_eq!(plan["stores"].as_array().unwrap().len(), 1);
    assert_eq!(plan["stores"][0]["forecasts"].as_array().unwrap().len(), 3);
}

#[test]
fn the_documents_show_what_it_prints() {
    let document = include_str!("../../../docs/sizing.md");
    let shown = document.split("\n```\n").find(|block| block.starts_with("4 500 traces")).unwrap();
    let (_, out, err) = plan(&["--capacity", "10GB"], |_| {});
    assert!(out.starts_with(shown), "{out}{err}\n--\n{shown}");
    assert!(out.contains("655 B a span, 774 B a summary") && document.contains("| 655 B |"));
}

#[test]
fn capacity_and_retention_are_the_settings_unless_flags_say_otherwise() {
    let set = |command: &mut std::process::Command| {
        command
            .env("TRACEFALL__STORAGE__CAPACITY_BYTES", "2000000000")
            .env("TRACEFALL__RETENTION__COMPLETED_DAYS", "12");
    };
    let (_, out, _) = plan(&[], set);
    assert!(out.contains("room: 2 GB (1.9 GB before") && out.contains("12 days *"), "{out}");
    let (_, out, _) = plan(&["--capacity", "8GiB", "--completed-days", "40"], set);
    assert!(out.contains("room: 8.59 GB") && out.contains("40 days *"), "{out}");
    let (ok, _, err) = plan(&["--completed-days", "40", "--failed-days", "10"], |_| {});
    assert!(!ok && err.contains("retention.failed_days is 10; accepted is at least"), "{err}");
    let (ok, _, err) = plan(&["--capacity", "much"], |_| {});
    assert!(!ok && err.contains("500MB, 10GB"), "{err}");
}

#[tokio::test]
async fn a_store_is_measured_by_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = vec![settings_in(&folder).store];
    let database = Database::new("plan");
    all.extend(database.as_ref().map(|database| {
        let url = Some(DatabaseUrl::new(database.url()));
        tracefall::settings::store::StoreSettings { url, ..settings_in(&folder).store }
    }));
    for settings in all {
        let store = store::open(&settings).await.unwrap();
        store.maintenance.migrate_up().await.unwrap();
        store.maintenance.prepare_days(Clock::system().now()).await.unwrap();
        let measured = || {
            plan(&["--measured", "--json"], |command| {
                command.env("TRACEFALL__STORE__DATA_DIR", &settings.data_dir);
                if let Some(url) = &settings.url {
                    command.env("DATABASE_URL", url.expose());
                }
            })
        };
        let (ok, _, err) = measured();
        assert!(!ok && err.contains("the store holds 0 spans") && err.contains("tracefall demo"), "{err}");
        write(&store, (1..4_001).map(|id| full(id / 8, id)).collect::<Vec<_>>()).await;
        if let Some(database) = database.as_ref().filter(|_| settings.url.is_some()) {
            database.sql("ANALYZE");
        }
        let (ok, out, err) = measured();
        assert!(ok, "{err}");
        let plan: Value = serde_json::from_str(&out).unwrap();
        let cost = &plan["stores"][0]["cost"];
        let of = |what: &str| cost[what].as_f64().unwrap();
        assert!(
            (200.0..5_000.0).contains(&of("span_bytes")) && (100.0..5_000.0).contains(&of("trace_bytes")),
            "{cost}"
        );
        assert!(plan["stores"][0]["cost_source"].as_str().unwrap().starts_with("measured: 4000 spans of 50"), "{out}");
        store.maintenance.close().await;
    }
}
