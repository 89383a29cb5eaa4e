//! Promises about dead letters.

use tracefall::model::time::UnixNanos;
use tracefall::store::{DeadLetter, From, LetterFilter, Store};

use super::records::*;

fn letter(span: u64, reason: &str, refused_at: UnixNanos) -> DeadLetter {
    DeadLetter {
        tenant: tenant(),
        trace_id: trace_id(1).to_string(),
        span_id: span_id(span).to_string(),
        body: format!("{{\"n\":{span}}}"),
        reason: reason.into(),
        refused_at,
    }
}

pub async fn dead_letters_are_read_by_page_filtered_and_removed(store: &Store) {
    let written: Vec<DeadLetter> = (0..10)
        .map(|n| letter(n + 1, if n % 2 == 0 { "23514: even" } else { "odd 100%_'" }, NOW.plus(n as i64 * SECOND)))
        .collect();
    store.spans.write_dead_letters(&written, NOW).await.unwrap();
    let letters = &store.letters;
    let all = LetterFilter::default();

    let first = letters.dead_letters(&all, From::OldestAfter(0), 4).await.unwrap();
    assert_eq!(first.iter().map(|kept| kept.letter.clone()).collect::<Vec<_>>(), written[..4]);
    let next = letters.dead_letters(&all, From::OldestAfter(first[3].id), 100).await.unwrap();
    assert_eq!(next.iter().map(|kept| kept.letter.clone()).collect::<Vec<_>>(), written[4..]);
    let newest = letters.dead_letters(&all, From::NewestBefore(next[5].id), 2).await.unwrap();
    assert_eq!(newest.iter().map(|kept| &kept.letter).collect::<Vec<_>>(), [&written[8], &written[7]]);

    let count = async |filter: &LetterFilter| letters.count_dead_letters(filter).await.unwrap();
    let odd = LetterFilter { reason: Some("100%_'".into()), ..LetterFilter::default() };
    let late = LetterFilter { since: Some(NOW.plus(8 * SECOND)), ..LetterFilter::default() };
    let early = LetterFilter { before: Some(NOW.plus(8 * SECOND)), ..odd.clone() };
    let two = LetterFilter { ids: vec![first[0].id, next[0].id, 999_999], ..LetterFilter::default() };
    assert_eq!((count(&all).await, count(&odd).await, count(&late).await), (10, 5, 2));
    assert_eq!((count(&early).await, count(&two).await), (4, 2));

    assert_eq!(letters.remove_dead_letters(&odd, 3).await.unwrap(), 3);
    assert_eq!(letters.remove_dead_letters(&odd, 3).await.unwrap(), 2);
    assert_eq!(letters.remove_dead_letters(&odd, 3).await.unwrap(), 0);
    assert_eq!(letters.remove_dead_letters(&two, 10).await.unwrap(), 2);
    assert_eq!(count(&all).await, 3);
    let left = letters.dead_letters(&all, From::OldestAfter(0), 100).await.unwrap();
    assert!(left.iter().all(|kept| kept.letter.reason == "23514: even"));
}
