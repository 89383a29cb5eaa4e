//! A copy of the embedded store, made while it is written to, and what can be done with it.

use std::path::Path;

use serde_json::{Value, json};
use tracefall::settings::store::StoreSettings;
use tracefall::store::{self, CopyProgress};

use super::*;
use crate::support::TestServer;

async fn backup(settings: &StoreSettings, to: &Path) -> Result<u64> {
    store::backup(settings, to, |_: CopyProgress| {}).await
}

#[tokio::test]
async fn a_copy_made_under_writes_is_one_state_and_goes_on_as_a_store() {
    let file = File::new();
    let store = file.ready().await;
    write(&store, (1..=200).flat_map(|trace| [done(trace, 1, NOW), done(trace, 2, NOW)])).await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("data").join("tracefall.db");
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let settings = file.settings();
    let writing = async {
        for trace in 1_000..1_050 {
            write(&store, [done(trace, 1, NOW), done(trace, 2, NOW)]).await;
        }
    };
    let (copied, ()) = tokio::join!(backup(&settings, &copy), writing);
    assert_eq!(copied.unwrap(), std::fs::metadata(&copy).unwrap().len());
    assert!(backup(&settings, &copy).await.unwrap_err().to_string().contains("is there already"));
    assert_eq!(std::fs::read_dir(folder.path().join("data")).unwrap().count(), 1, "nothing is left beside it");

    let restored = StoreSettings { data_dir: folder.path().join("data"), ..StoreSettings::default() };
    let restored = store::open(&restored).await.unwrap();
    assert_eq!(ids(&restored, 17).await, [1, 2]);
    for trace in 1_000..1_050 {
        let there = ids(&restored, trace).await;
        assert!(there.is_empty() || there == [1, 2], "a batch is there whole or not at all: {there:?}");
    }
    // What came after the copy is sent again, and what came before it too.
    for trace in (1..=200).chain(1_000..1_050) {
        write(&restored, [done(trace, 1, NOW), done(trace, 2, NOW)]).await;
        assert_eq!(ids(&restored, trace).await, [1, 2]);
    }
    settle(&restored, NOW).await;
    run(&restored, NOW.plus(days(31))).await;
    assert_eq!(ids(&restored, 17).await, [0; 0], "and its days go as they would have gone");
}

#[tokio::test]
async fn what_cannot_be_copied_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = StoreSettings { data_dir: folder.path().join("nowhere"), ..StoreSettings::default() };
    let error = backup(&nothing, &folder.path().join("copy")).await.unwrap_err().to_string();
    assert!(error.contains("is not there"), "{error}");
    let url = tracefall::settings::DatabaseUrl::new("postgres://me@localhost/app");
    let postgres = StoreSettings { url: Some(url), ..StoreSettings::default() };
    let error = backup(&postgres, &folder.path().join("copy")).await.unwrap_err().to_string();
    assert!(error.contains("pg_dump --schema=tracefall"), "{error}");
    let file = File::new();
    file.ready().await;
    let error = backup(&file.settings(), &folder.path().join("no/such/folder/copy")).await.unwrap_err();
    assert!(error.to_string().contains("back up the store"), "{error}");
}

#[tokio::test]
async fn a_restored_copy_is_served() {
    let server = TestServer::start().await;
    let spans = json!([{"trace_id": "a1", "span_id": "1", "operation": "x", "service": "s", "execution_id": 5,
        "started_at": "2026-01-05T10:00:00Z", "duration_ms": 3, "status": "completed"}]);
    let spans: Value = serde_json::from_str(&spans.to_string().replace("\"a1\"", "\"00000000000000a1\"")).unwrap();
    server.store(&spans).await;
    let from = StoreSettings { data_dir: server.folder.path().join("data"), ..StoreSettings::default() };
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tracefall.db");
    backup(&from, &copy).await.unwrap();
    let answer = server.read("/v1/executions/5").await;
    let restored = TestServer::with(|settings| settings.store.data_dir = folder.path().to_owned()).await;
    assert_eq!(restored.read("/v1/executions/5").await, answer);
    restored.store(&spans).await;
    assert_eq!(restored.read("/v1/executions/5").await, answer, "sent again it is the same");
}
