//! Promises of keeping the store itself in order.

use tracefall::store::{DeadLetter, Detail, Store};

use super::Home;
use super::records::*;

pub async fn dead_letters_are_counted(store: &Store) {
    let letter = |span: u64| DeadLetter {
        tenant: tenant(),
        trace_id: "no id".into(),
        span_id: span.to_string(),
        body: r#"{"trace_id":"no id"}"#.into(),
        reason: "is no id".into(),
        refused_at: NOW,
    };
    store.spans.write_dead_letters(&[], NOW).await.unwrap();
    store.spans.write_dead_letters(&[letter(1), letter(2)], NOW).await.unwrap();
    write(store, [started(1, 1, NOW)]).await;
    let size = store.maintenance.size().await.unwrap();
    assert_eq!((size.dead_letters, size.open_spans), (2, 1));
    assert!(size.bytes > 0);
}

pub async fn migrations_go_up_and_down_and_up(home: &dyn Home) {
    let store = home.open().await;
    let applied = || async { store.maintenance.migrations().await.unwrap().iter().all(|state| state.applied) };
    let known = store.maintenance.migrations().await.unwrap();
    assert!(!known.is_empty() && known.iter().all(|state| !state.applied && !state.name.is_empty()));
    for _ in 0..2 {
        store.maintenance.migrate_up().await.unwrap();
        store.maintenance.migrate_up().await.unwrap();
        assert!(applied().await);
        assert!(rows(&store, 1).await.is_empty(), "no data came through the way down");
        store.maintenance.prepare_days(NOW).await.unwrap();
        let told = [full(1, 1), started(1, 2, NOW), whole(1, 3, NOW.plus(-days(100)))];
        write(&store, told.clone()).await;
        assert_eq!(spans(&store, 1).await, expected(told));
        store.maintenance.migrate_down().await.unwrap();
        assert!(!applied().await);
    }
    store.maintenance.migrate_down().await.unwrap();
}

pub async fn a_store_without_a_schema_refuses_and_lives(home: &dyn Home) {
    let store = home.open().await;
    let error = store.spans.write_spans(&[whole(1, 1, NOW)]).await.unwrap_err();
    assert!(error.to_string().starts_with("write spans: "), "{error}");
    assert!(store.traces.trace_rows(&tenant(), trace_id(1), Detail::Full, 1).await.is_err());
    store.maintenance.migrate_up().await.unwrap();
    write(&store, [whole(1, 1, NOW)]).await;
    assert_eq!(rows(&store, 1).await.len(), 1);
}

pub async fn what_was_written_is_there_after_a_restart(home: &dyn Home) {
    let told = [full(1, 1), started(1, 2, NOW), ended(1, 3, NOW)];
    let store = home.ready().await;
    write(&store, told.clone()).await;
    let before = rows(&store, 1).await;
    store.maintenance.close().await;
    let error = store.spans.write_spans(&[whole(1, 1, NOW)]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");

    let store = home.ready().await;
    assert_eq!(rows(&store, 1).await, before);
    write(&store, told).await;
    assert_eq!(rows(&store, 1).await, before);
    assert_eq!(store.rollups.unsettled(10).await.unwrap(), [(tenant(), trace_id(1))]);
}
