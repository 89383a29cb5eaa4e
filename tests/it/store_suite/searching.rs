//! Promises of searching traces.

use std::collections::BTreeSet;

use tracefall::model::attributes::Attributes;
use tracefall::model::ids::TraceId;
use tracefall::model::rollup::TraceRollup;
use tracefall::model::search::{Page, TraceQuery};
use tracefall::model::span::{Field, Outcome, Span};
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::store::Store;

use super::records::*;

pub fn everything() -> TraceQuery {
    TraceQuery { limit: TraceQuery::MAX_LIMIT, ..TraceQuery::default() }
}

/// A roll-up of a trace with nothing special about it.
pub fn rollup(trace: u64, started_at: UnixNanos) -> TraceRollup {
    TraceRollup {
        trace_id: trace_id(trace),
        root_service: None,
        root_operation: None,
        status: Outcome::Completed,
        started_at,
        ended_at: None,
        duration_ns: None,
        error_type: None,
        error_message: None,
        error_service: None,
        span_count: 1,
        error_count: 0,
        orphan_count: 0,
        open_count: 0,
        services: Vec::new(),
        execution_id: None,
        job_id: None,
        question_id: None,
        workflow_id: None,
        session_id: None,
        user_id: None,
        regions: Vec::new(),
        models: Vec::new(),
        input_tokens: None,
        output_tokens: None,
        cost_pico: None,
        query: None,
        keeping: Default::default(),
        metadata: Attributes::default(),
    }
}

async fn search(store: &Store, query: &TraceQuery) -> Page<TraceRollup> {
    store.traces.search_traces(&tenant(), query).await.unwrap()
}

async fn found(store: &Store, query: TraceQuery) -> Vec<TraceId> {
    let query = TraceQuery { limit: 100, ..query };
    search(store, &query).await.items.into_iter().map(|rollup| rollup.trace_id).collect()
}

pub async fn a_trace_is_listed_from_its_first_span_on(store: &Store) {
    assert!(search(store, &everything()).await.items.is_empty());
    write(store, [started(1, 1, NOW)]).await;
    let page = search(store, &everything()).await;
    assert_eq!(page.next, None);
    let [listed] = &page.items[..] else { panic!("{page:?}") };
    assert_eq!((listed.trace_id, listed.status, listed.span_count), (trace_id(1), Outcome::Running, 0));
    assert_eq!((listed.started_at, listed.ended_at), (NOW, None));

    write(store, [whole(1, 2, NOW.plus(-7)), ended(2, 1, NOW.plus(3))]).await;
    let items = search(store, &everything()).await.items;
    assert_eq!(items.len(), 2);
    let of = |trace| items.iter().find(|item| item.trace_id == trace_id(trace)).unwrap();
    assert_eq!((of(1).started_at, of(1).ended_at), (NOW.plus(-7), Some(NOW.plus(SECOND - 7))));
    assert_eq!(of(2).started_at, NOW, "the time it was first heard of");
}

pub async fn a_trace_began_with_its_earliest_start_whenever_it_was_heard_of(store: &Store) {
    // By a clock that is ahead of ours, so that each is heard of before it starts.
    let ahead = NOW.plus(90 * SECOND);
    let began = || async { search(store, &everything()).await.items[0].started_at };
    write(store, [ended(1, 1, ahead.plus(SECOND))]).await;
    assert_eq!(began().await, NOW, "no start is known");
    write(store, [started(1, 1, ahead)]).await;
    assert_eq!(began().await, ahead);
    write(store, [ended(1, 2, ahead.plus(SECOND))]).await;
    assert_eq!(began().await, ahead, "an unknown start says nothing");
    write(store, [started(1, 2, ahead.plus(-1)), whole(1, 3, ahead.plus(1))]).await;
    assert_eq!(began().await, ahead.plus(-1));
}

pub async fn an_open_trace_that_is_silent_reads_as_abandoned(store: &Store) {
    write(store, [started(1, 1, NOW), started(2, 1, NOW), whole(3, 1, NOW)]).await;
    let open = |trace| TraceRollup { status: Outcome::Running, open_count: 1, ..rollup(trace, NOW) };
    let settled = [open(1), open(2), rollup(3, NOW)].map(|rollup| (tenant(), FIRST, rollup));
    store.rollups.write_rollups(&settled).await.unwrap();
    let mut sign = started(2, 2, NOW);
    sign.seen_at = NOW.plus(90 * SECOND);
    write(store, [sign]).await;

    let silent_before = Some(NOW.plus(60 * SECOND));
    let statuses = |query: TraceQuery| async move {
        let items = search(store, &TraceQuery { limit: 10, ..query }).await.items;
        items.into_iter().map(|item| (item.trace_id, item.status)).collect::<BTreeSet<_>>()
    };
    let all = statuses(TraceQuery { silent_before, ..TraceQuery::default() }).await;
    let read = [(1, Outcome::Abandoned), (2, Outcome::Running), (3, Outcome::Completed)];
    assert_eq!(all, read.map(|(trace, status)| (trace_id(trace), status)).into());
    for (trace, status) in read {
        let query = TraceQuery { silent_before, status: Some(status), ..TraceQuery::default() };
        assert_eq!(statuses(query).await, [(trace_id(trace), status)].into());
    }
}

pub async fn a_trace_is_abandoned_by_its_spans_and_not_by_an_old_rollup(store: &Store) {
    write(store, [started(1, 1, NOW), started(2, 1, NOW)]).await;
    let open = TraceRollup { status: Outcome::Running, open_count: 1, ..rollup(1, NOW) };
    store.rollups.write_rollups(&[(tenant(), FIRST, open)]).await.unwrap();
    let status = |trace: u64| async move {
        let query = TraceQuery { silent_before: Some(NOW.plus(60 * SECOND)), ..everything() };
        let items = search(store, &query).await.items;
        items.into_iter().find(|item| item.trace_id == trace_id(trace)).unwrap().status
    };
    assert_eq!(status(1).await, Outcome::Abandoned);
    assert_eq!(status(2).await, Outcome::Abandoned, "a trace without a roll-up, too");
    write(store, [whole(2, 2, NOW.plus(90 * SECOND))]).await;
    assert_eq!(status(2).await, Outcome::Running, "a span that ended since is a sign of life");
    let mut end = ended(1, 1, NOW.plus(90 * SECOND));
    end.seen_at = NOW.plus(90 * SECOND);
    write(store, [end]).await;
    assert_eq!(status(1).await, Outcome::Running, "it ended, and is settled in a moment");
}

pub async fn every_filter_holds_alone_and_with_others(store: &Store) {
    let at = |trace: u64| NOW.plus(trace as i64 * SECOND);
    let carrying = |trace, field, text: &str| {
        let mut span = whole(trace, 1, at(trace));
        span.fields.set_text(field, text);
        span
    };
    write(store, [carrying(1, Field::ExecutionId, "e1"), carrying(2, Field::JobId, "j2"), whole(3, 1, at(3))]).await;
    let mut open: Span = started(4, 1, at(4));
    open.fields.set_text(Field::ExecutionId, "e1");
    write(store, [open]).await;
    let mut third = rollup(3, at(3));
    third.status = Outcome::Failed;
    third.services = vec!["a\",\"b".into(), "router".into(), "rünner".into()];
    (third.execution_id, third.job_id) = (Some("e1".into()), Some("j3".into()));
    let mut second = rollup(2, at(2));
    second.services = vec!["router-2".into()];
    let settled = [(tenant(), FIRST, third), (tenant(), FIRST, second)];
    store.rollups.write_rollups(&settled).await.unwrap();

    let ids = |traces: &[u64]| traces.iter().map(|trace| trace_id(*trace)).collect::<Vec<_>>();
    let service = |name: &str| TraceQuery { service: Some(name.into()), ..TraceQuery::default() };
    let status = |status| TraceQuery { status: Some(status), ..TraceQuery::default() };
    let execution = |id: &str| TraceQuery { execution_id: Some(id.into()), ..TraceQuery::default() };
    let job = |id: &str| TraceQuery { job_id: Some(id.into()), ..TraceQuery::default() };
    let between = |from, to| TraceQuery { from, to, ..TraceQuery::default() };
    for (query, traces) in [
        (TraceQuery::default(), &[4, 3, 2, 1][..]),
        (service("router"), &[3]),
        (service("rünner"), &[3]),
        (service("a\",\"b"), &[3]),
        (service("b"), &[]),
        (service("Router"), &[]),
        (service("%"), &[]),
        (service("\0"), &[]),
        (status(Outcome::Failed), &[3]),
        (status(Outcome::Completed), &[2]),
        (status(Outcome::Running), &[4, 1]),
        (status(Outcome::Abandoned), &[]),
        (execution("e1"), &[4, 3, 1]),
        (execution("e"), &[]),
        (execution("' OR 1=1 --"), &[]),
        (job("j2"), &[2]),
        (job("j3"), &[3]),
        (between(Some(at(2)), None), &[4, 3, 2]),
        (between(None, Some(at(2))), &[1]),
        (between(Some(at(2)), Some(at(4))), &[3, 2]),
        (between(Some(at(4).plus(1)), Some(UnixNanos::MAX)), &[]),
        (TraceQuery { status: Some(Outcome::Running), to: Some(at(4)), ..execution("e1") }, &[1]),
        (TraceQuery { service: Some("router".into()), job_id: Some("j3".into()), ..execution("e1") }, &[3]),
    ] {
        assert_eq!(found(store, query.clone()).await, ids(traces), "{query:?}");
    }
}

pub async fn services_are_those_of_the_newest_traces(store: &Store) {
    assert_eq!(store.traces.services(&tenant(), 100).await.unwrap(), Vec::<String>::new());
    let at = |trace: u64| NOW.plus(trace as i64 * SECOND);
    write(store, (1..=4).map(|trace| whole(trace, 1, at(trace)))).await;
    let named = |trace, names: &[&str]| {
        let services = names.iter().map(|name| (*name).to_owned()).collect();
        (tenant(), super::records::FIRST, TraceRollup { services, ..rollup(trace, at(trace)) })
    };
    let settled = [named(1, &["old"]), named(2, &["a\",\"b", "rünner/x"]), named(3, &["rünner/x", "web"])];
    store.rollups.write_rollups(&settled).await.unwrap();
    let services = |traces| async move { store.traces.services(&tenant(), traces).await.unwrap() };
    assert_eq!(services(100).await, ["a\",\"b", "old", "rünner/x", "web"]);
    assert_eq!(services(3).await, ["a\",\"b", "rünner/x", "web"]);
    assert_eq!(services(1).await, Vec::<String>::new(), "the newest is not settled yet");
    assert_eq!(store.traces.services(&TenantId::new("other"), 100).await.unwrap(), Vec::<String>::new());
}

pub async fn a_trace_that_is_not_settled_may_be_of_any_service(store: &Store) {
    write(store, (1..=3).map(|trace| whole(trace, 1, NOW.plus(trace as i64)))).await;
    let named = |trace: u64, name: &str| {
        let services = vec![name.to_owned()];
        (tenant(), super::records::FIRST, TraceRollup { services, ..rollup(trace, NOW.plus(trace as i64)) })
    };
    store.rollups.write_rollups(&[named(1, "web"), named(2, "shop")]).await.unwrap();
    let of = |service: &str, or_unsettled| {
        let query = TraceQuery { service: Some(service.into()), or_unsettled, ..TraceQuery::default() };
        async move { found(store, query).await }
    };
    assert_eq!(of("web", false).await, [trace_id(1)]);
    assert_eq!(of("web", true).await, [trace_id(3), trace_id(1)]);
    write(store, [whole(2, 2, NOW.plus(9))]).await;
    assert_eq!(of("web", true).await, [trace_id(3), trace_id(2), trace_id(1)], "a late span may be of any service");
}

pub async fn pages_hold_every_trace_once(store: &Store) {
    // Five starts for a hundred traces: ties on every page's edge.
    write(store, (1..=100).map(|trace| started(trace, 1, NOW.plus((trace % 5) as i64)))).await;
    for limit in [1, 7, 20, 50, 99, 100, 101] {
        let mut seen = Vec::new();
        let mut query = TraceQuery { limit, ..TraceQuery::default() };
        loop {
            let page = search(store, &query).await;
            assert!(page.items.len() <= limit as usize);
            seen.extend(page.items.iter().map(|item| (item.started_at, item.trace_id)));
            query.cursor = page.next;
            if page.next.is_none() {
                break;
            }
            assert_eq!(page.items.len(), limit as usize, "only the last page is short");
        }
        assert!(seen.is_sorted_by(|a, b| a > b), "newest first, by pages of {limit}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 100, "by pages of {limit}");
    }
}

pub async fn an_execution_has_all_its_traces_newest_first(store: &Store) {
    let of = |mut span: Span, execution: &str| {
        span.fields.set_text(Field::ExecutionId, execution);
        span
    };
    let told = [
        of(whole(1, 1, NOW.plus(-days(3))), "123"),
        of(whole(1, 2, NOW.plus(-days(3))), "123"),
        of(whole(2, 1, NOW.plus(-days(90))), "123"),
        of(started(3, 1, NOW), "123"),
        of(ended(4, 1, NOW), "1234"),
        whole(3, 2, NOW),
    ];
    write(store, told).await;
    let traces = |limit| store.traces.traces_of_execution(&TENANT, "123", limit);
    static TENANT: std::sync::LazyLock<tracefall::model::tenant::TenantId> = std::sync::LazyLock::new(tenant);
    assert_eq!(traces(10).await.unwrap(), [trace_id(3), trace_id(1), trace_id(2)]);
    assert_eq!(traces(2).await.unwrap(), [trace_id(3), trace_id(1)]);
    assert!(store.traces.traces_of_execution(&tenant(), "12", 10).await.unwrap().is_empty());
}
