//! The embedded store's file gets smaller, and in what time.

use std::time::Instant;

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

/// Not a test of anything: what the steps cost, for the documents.
#[tokio::test]
#[ignore = "measures"]
async fn measure() {
    for name in ["sqlite", "postgres"] {
        let file = File::new();
        let database = Database::new().unwrap();
        let home: &dyn Home = if name == "sqlite" { &file } else { &database };
        let store = home.ready().await;
        fill(&store, 0, 0..40_000, 5, done).await;
        fill(&store, 0, 100_000..110_000, 5, failed).await;
        let begun = Instant::now();
        settle(&store, NOW).await;
        println!("{name}: settled 50 000 traces in {:?}", begun.elapsed());
        let keep_by = keep_by(&RetentionSettings::default(), NOW.plus(days(31)));
        let steps = &store.retention;
        let day = steps.days_before(keep_by.first_day).await.unwrap()[0];
        steps.close_days(keep_by.first_day).await.unwrap();
        let (mut after, mut longest, mut moved, begun) = (None, std::time::Duration::ZERO, 0, Instant::now());
        loop {
            let step = Instant::now();
            let cleared = steps.clear(Place::Day(day), after, &keep_by).await.unwrap();
            longest = longest.max(step.elapsed());
            moved += cleared.moved;
            after = cleared.next;
            if after.is_none() {
                break;
            }
        }
        println!(
            "{name}: cleared 250 000 spans, {moved} moved, in {:?}, the longest step {longest:?}",
            begun.elapsed()
        );
        let begun = Instant::now();
        steps.drop_day(day, &keep_by).await.unwrap();
        println!("{name}: dropped the day in {:?}", begun.elapsed());
        let begun = Instant::now();
        let mut after = None;
        loop {
            after = steps.note_expired(after, NOW).await.unwrap();
            if after.is_none() {
                break;
            }
        }
        println!("{name}: noted 40 000 expired traces in {:?}", begun.elapsed());
        let (begun, mut count, mut longest) = (Instant::now(), 0, std::time::Duration::ZERO);
        loop {
            let step = Instant::now();
            let more = steps.shrink().await.unwrap();
            longest = longest.max(step.elapsed());
            count += 1;
            if !more {
                break;
            }
        }
        println!("{name}: shrank in {:?}, {count} steps, the longest {longest:?}", begun.elapsed());
    }
}
