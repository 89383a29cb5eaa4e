//! The embedded store's file gets smaller.

use super::*;

fn size(file: &File) -> u64 {
    let name = file.path();
    let length = |suffix: &str| {
        let mut name = name.clone().into_os_string();
        name.push(suffix);
        std::fs::metadata(name).map_or(0, |file| file.len())
    };
    length("") + length("-wal")
}

async fn fill(
    store: &Store,
    day: i64,
    traces: std::ops::Range<u64>,
    spans: u64,
    with: fn(u64, u64, UnixNanos) -> Span,
) {
    let mut batch = Vec::new();
    for trace in traces {
        for number in 1..=spans {
            let mut span = with(trace, number, NOW.plus(days(day)));
            span.attributes = attributes(&[("filler", &format!("\"{}\"", "x".repeat(400)))]);
            batch.push(span);
        }
        if batch.len() >= 5_000 {
            write(store, std::mem::take(&mut batch)).await;
        }
    }
    write(store, batch).await;
}

#[tokio::test]
async fn the_file_shrinks_to_what_is_left() {
    let file = File::new();
    let store = file.ready().await;
    for day in 0..10 {
        fill(&store, day, day as u64 * 1_000..day as u64 * 1_000 + 500, 4, done).await;
    }
    settle(&store, NOW.plus(days(10))).await;
    let before = size(&file);
    run(&store, NOW.plus(days(39))).await;
    let after = size(&file);
    assert!(after * 3 < before, "nine days of ten are gone: {before} -> {after} bytes");
    assert_eq!(ids(&store, 9_000).await, [1, 2, 3, 4]);
}
