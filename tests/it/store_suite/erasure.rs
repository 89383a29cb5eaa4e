//! Promises about deleting on request.

use serde_json::json;
use tracefall::analysis::summary;
use tracefall::model::ids::TraceId;
use tracefall::model::merge::gather;
use tracefall::model::search::TraceQuery;
use tracefall::model::span::{DEFAULT_DEADLINE_NS, Field, Span};
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::model::trace::Trace;
use tracefall::store::{DeadLetter, Erased, LetterFilter, Owner, Store, Touch};

use super::records::*;

/// Erases until nothing is left.
async fn erase(store: &Store, ids: &[TraceId]) -> Erased {
    let mut all = Erased::default();
    loop {
        let (erased, more) = store.erasure.erase(&tenant(), ids).await.unwrap();
        all = all.and(erased);
        if !more {
            return all;
        }
    }
}

async fn is_listed(store: &Store, trace: u64) -> bool {
    let query = TraceQuery { trace_id: Some(trace_id(trace)), limit: 1, ..TraceQuery::default() };
    !store.traces.search_traces(&tenant(), &query).await.unwrap().items.is_empty()
}

/// Ended today, ended long ago, and open; pinned, with a dead letter.
async fn fill(store: &Store, trace: u64) {
    write(store, [whole(trace, 1, NOW), whole(trace, 2, NOW.plus(-days(400))), started(trace, 3, NOW)]).await;
    store.pins.pin(&tenant(), trace_id(trace), NOW).await.unwrap().unwrap();
    let letter = DeadLetter {
        tenant: tenant(),
        trace_id: trace_id(trace).to_string(),
        span_id: span_id(9).to_string(),
        body: "{}".into(),
        reason: "no".into(),
        refused_at: NOW,
    };
    store.spans.write_dead_letters(&[letter], NOW).await.unwrap();
}

pub async fn a_deleted_trace_leaves_nothing_and_its_neighbours_stay(store: &Store) {
    fill(store, 1).await;
    fill(store, 2).await;
    let mut other = whole(1, 1, NOW);
    other.tenant = TenantId::new("other");
    store.spans.write_spans(&[other.clone()]).await.unwrap();
    let held = Erased { traces: 1, spans: 3, pins: 1, dead_letters: 1 };
    let ids = [trace_id(1)];
    assert_eq!(store.erasure.holdings(&tenant(), &ids).await.unwrap(), held);
    store.erasure.bar(&tenant(), &ids, NOW).await.unwrap();
    assert_eq!(erase(store, &ids).await, held);
    assert_eq!(erase(store, &ids).await, Erased::default());
    assert_eq!(store.erasure.holdings(&tenant(), &ids).await.unwrap(), Erased::default());
    assert!(rows(store, 1).await.is_empty() && !is_listed(store, 1).await);
    assert_eq!(store.erasure.holdings(&tenant(), &[trace_id(2)]).await.unwrap(), held);
    assert_eq!(store.erasure.holdings(&other.tenant, &ids).await.unwrap().spans, 1, "another tenant's");
}

pub async fn what_was_heard_of_before_a_deletion_is_not_stored_after_it(store: &Store) {
    let heard = |mut span: Span, at: UnixNanos| {
        (span.created_at, span.seen_at) = (at, at);
        span
    };
    fill(store, 1).await;
    let until = NOW.plus(SECOND);
    store.erasure.bar(&tenant(), &[trace_id(1)], until).await.unwrap();
    store.erasure.bar(&tenant(), &[trace_id(1)], until.plus(-5)).await.unwrap();
    erase(store, &[trace_id(1)]).await;
    // A replay of what was there, beside what is nobody's.
    let replay = [whole(1, 1, NOW), heard(whole(1, 2, NOW), until), started(1, 3, NOW), whole(2, 1, NOW)];
    store.spans.write_spans(&replay).await.unwrap();
    assert!(rows(store, 1).await.is_empty() && !is_listed(store, 1).await);
    assert_eq!(spans(store, 2).await.len(), 1);
    // What comes later is new.
    let new = heard(whole(1, 1, NOW), until.plus(1));
    store.spans.write_spans(&[new.clone(), heard(started(1, 7, NOW), until)]).await.unwrap();
    assert_eq!(spans(store, 1).await, expected([new]));
    assert!(is_listed(store, 1).await);
}

pub async fn of_a_span_told_before_and_after_a_deletion_only_the_later_word_is_stored(store: &Store) {
    let mut start = started(1, 1, NOW);
    start.fields.set_text(Field::Inputs, "deleted");
    let mut end = whole(1, 1, NOW);
    end.seen_at = NOW.plus(2);
    end.created_at = end.seen_at;
    let neighbour = [started(2, 1, NOW), whole(2, 1, NOW.plus(2))];
    store.erasure.bar(&tenant(), &[trace_id(1)], NOW.plus(1)).await.unwrap();
    let records = [start, end.clone()].into_iter().chain(neighbour.clone()).collect();
    store.spans.write_spans(&gather(records)).await.unwrap();
    assert_eq!(spans(store, 1).await, expected([end]));
    assert_eq!(spans(store, 2).await, expected(neighbour));
}

pub async fn a_dead_letter_of_before_a_deletion_is_not_kept(store: &Store) {
    let letter = |trace: u64| DeadLetter {
        tenant: tenant(),
        trace_id: trace_id(trace).to_string(),
        span_id: span_id(9).to_string(),
        body: "{}".into(),
        reason: "no".into(),
        refused_at: NOW,
    };
    store.erasure.bar(&tenant(), &[trace_id(1)], NOW).await.unwrap();
    store.spans.write_dead_letters(&[letter(1), letter(2)], NOW).await.unwrap();
    let unnamed = DeadLetter { trace_id: "no id".into(), ..letter(1) };
    store.spans.write_dead_letters(&[unnamed], NOW).await.unwrap();
    let kept = |count| async move {
        let ids = [trace_id(1), trace_id(2)];
        assert_eq!(store.erasure.holdings(&tenant(), &ids).await.unwrap().dead_letters, count);
    };
    kept(1).await;
    store.spans.write_dead_letters(&[letter(1)], NOW.plus(1)).await.unwrap();
    kept(2).await;
    assert_eq!(store.letters.count_dead_letters(&LetterFilter::default()).await.unwrap(), 3);
}

pub async fn a_rollup_does_not_bring_a_deleted_trace_back(store: &Store) {
    write(store, [whole(1, 1, NOW), whole(1, 2, NOW)]).await;
    write(store, [whole(1, 3, NOW)]).await;
    let key = [(tenant(), trace_id(1))];
    let read = store.rollups.rows_to_settle(&key, 100).await.unwrap();
    let touch = read.traces[0].2;
    let trace = Trace::new(tenant(), trace_id(1), read.rows, false);
    // As often as what begins anew below is written to.
    let again = Touch { times: 1, ..touch };
    let late = [touch, again].map(|touch| (tenant(), touch, summary::rollup(&trace, NOW, DEFAULT_DEADLINE_NS)));
    store.erasure.bar(&tenant(), &[trace_id(1)], NOW).await.unwrap();
    erase(store, &[trace_id(1)]).await;
    store.rollups.write_rollups(&late).await.unwrap();
    assert!(!is_listed(store, 1).await);
    // Nor is it the summary of what began anew.
    let mut new = whole(1, 9, NOW);
    (new.created_at, new.seen_at) = (NOW.plus(SECOND), NOW.plus(SECOND));
    store.spans.write_spans(&[new]).await.unwrap();
    store.rollups.write_rollups(&late).await.unwrap();
    assert_eq!(store.rollups.unsettled(10).await.unwrap(), key);
}

pub async fn the_traces_of_somebody_are_found_wherever_they_are(store: &Store) {
    let of = |mut span: Span, field: Field, id: &str| {
        span.fields.set_text(field, id);
        span
    };
    let name = "ü'\" %_\\";
    let told = [
        of(whole(1, 1, NOW), Field::UserId, name),
        whole(1, 2, NOW),
        of(started(2, 1, NOW), Field::UserId, name),
        of(whole(3, 1, NOW.plus(-days(400))), Field::UserId, name),
        of(whole(4, 1, NOW), Field::UserId, "somebody else"),
        of(whole(5, 1, NOW), Field::WorkspaceId, name),
    ];
    write(store, told).await;
    // Of letters only their own member says whose they are.
    let inputs =
        format!(r#"{{"inputs":{{"user_id":{0},"workspace_id":{0}}},"user_id":"bob","x":"\\u0000"}}"#, json!(name));
    let own = format!(r#"{{"user_id":{},"inputs":"\\u0000"}}"#, json!(name));
    let letter = |(trace, body): (u64, String)| DeadLetter {
        tenant: tenant(),
        trace_id: trace_id(trace).to_string(),
        span_id: span_id(9).to_string(),
        body,
        reason: "no".into(),
        refused_at: NOW,
    };
    store.spans.write_dead_letters(&[(6, inputs), (7, own)].map(letter), NOW).await.unwrap();
    let owner = |of: fn(String) -> Owner| of(name.to_owned());
    for (owner, wanted) in [(owner(Owner::User), vec![1, 2, 3, 7]), (owner(Owner::Workspace), vec![5])] {
        let mut found = Vec::new();
        for place in store.erasure.places().await.unwrap() {
            let mut after = None;
            loop {
                let one = store.erasure.traces_of(&tenant(), &owner, &place, after, 1).await.unwrap();
                let Some(last) = one.last() else { break };
                after = Some(*last);
                found.extend(one);
            }
        }
        found.sort();
        found.dedup();
        assert_eq!(found, wanted.into_iter().map(trace_id).collect::<Vec<_>>(), "{owner:?}");
        let other = TenantId::new("other");
        for place in store.erasure.places().await.unwrap() {
            assert!(store.erasure.traces_of(&other, &owner, &place, None, 100).await.unwrap().is_empty());
        }
    }
}
