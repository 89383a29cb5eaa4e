//! Every question that a store answers, asked of all stores.

use tracefall::model::ids::TraceId;
use tracefall::model::rollup::TraceRollup;
use tracefall::model::search::{Cursor, Page, TraceQuery};
use tracefall::model::span::{Outcome, Span};
use tracefall::model::tenant::TenantId;
use tracefall::store::{Detail, Store};

use super::Stores;
use super::answers::{self, Answer, compare};
use super::traffic::{EXECUTIONS, JOBS, SERVICES, TRACES, Traffic, tenants};
use crate::store_suite::records::*;

const DETAILS: [Detail; 3] = [Detail::Outline, Detail::Rollup, Detail::Full];
/// More than there is of anything.
const ALL: usize = 100_000;

/// A few questions, as the dice say.
pub async fn ask_some(stores: &Stores, traffic: &Traffic, dice: &mut Dice) {
    for _ in 0..3 {
        let tenant = tenants()[dice.below(2) as usize].clone();
        let trace_id = trace_id(1 + dice.below(TRACES + 1));
        let detail = DETAILS[dice.below(3) as usize];
        rows(stores, &tenant, trace_id, detail).await;
        first_rows(stores, &tenant, trace_id, detail, dice.below(8) as usize).await;
        search(stores, &tenant, any_query(traffic, dice)).await;
    }
    unsettled(stores).await;
}

/// Everything, of everything.
pub async fn ask_all(stores: &Stores, traffic: &Traffic, dice: &mut Dice) {
    for tenant in tenants() {
        // One more than there are.
        for trace in 1..=TRACES + 1 {
            rows(stores, &tenant, trace_id(trace), Detail::Full).await;
            rows(stores, &tenant, trace_id(trace), DETAILS[dice.below(2) as usize]).await;
        }
        for execution in EXECUTIONS.into_iter().chain(["nobody's", ""]) {
            for limit in [0, 1, 3, ALL] {
                execution_traces(stores, &tenant, execution, limit).await;
            }
        }
        for limit in [0, 1, 3, ALL] {
            services(stores, &tenant, limit).await;
        }
        for query in single_filters(traffic) {
            search(stores, &tenant, query).await;
        }
        for _ in 0..60 {
            search(stores, &tenant, any_query(traffic, dice)).await;
        }
        for limit in [1, 2, 5, 7] {
            let query = TraceQuery { limit, cursor: None, ..any_query(traffic, dice) };
            pages(stores, &tenant, query).await;
        }
    }
    for limit in [0, 1, 10, ALL] {
        to_settle(stores, limit).await;
    }
    sizes(stores).await;
}

async fn rows(stores: &Stores, tenant: &TenantId, trace_id: TraceId, detail: Detail) {
    let question = format!("rows of trace {trace_id} of {tenant}, {detail:?}");
    let mut read = Vec::new();
    for (name, store) in stores.each() {
        let rows = store.traces.trace_rows(tenant, trace_id, detail, ALL).await.unwrap().rows;
        read.push((name, answers::trace(tenant, trace_id, rows, detail)));
    }
    compare(&question, &read);
}

async fn first_rows(stores: &Stores, tenant: &TenantId, trace_id: TraceId, detail: Detail, limit: usize) {
    for (name, store) in stores.each() {
        let all = store.traces.trace_rows(tenant, trace_id, detail, ALL).await.unwrap().rows;
        let some = store.traces.trace_rows(tenant, trace_id, detail, limit).await.unwrap().rows;
        some_of(&format!("rows of trace {trace_id} of {tenant}, {detail:?}"), name, &some, &all, limit);
    }
}

/// With a limit come rows of the answer without one, and one more than the limit where there are more.
fn some_of(question: &str, name: &str, some: &[Span], all: &[Span], limit: usize) {
    assert_eq!(some.len(), all.len().min(limit + 1), "{question}, {name}, limit {limit}");
    for row in some {
        assert!(all.contains(row), "{question}, {name}, limit {limit}: {row:?}");
    }
}

async fn execution_traces(stores: &Stores, tenant: &TenantId, execution: &str, limit: usize) {
    let mut found = Vec::new();
    for (name, store) in stores.each() {
        found.push((name, store.traces.traces_of_execution(tenant, execution, limit).await.unwrap().answer()));
    }
    compare(&format!("traces of execution {execution:?} of {tenant}, limit {limit}"), &found);
}

async fn services(stores: &Stores, tenant: &TenantId, traces: usize) {
    let mut found = Vec::new();
    for (name, store) in stores.each() {
        found.push((name, store.traces.services(tenant, traces).await.unwrap().answer()));
    }
    compare(&format!("services of {traces} traces of {tenant}"), &found);
}

async fn found(store: &Store, tenant: &TenantId, query: &TraceQuery) -> Page<TraceRollup> {
    store.traces.search_traces(tenant, query).await.unwrap()
}

async fn search(stores: &Stores, tenant: &TenantId, query: TraceQuery) {
    let mut pages = Vec::new();
    for (name, store) in stores.each() {
        let Page { items, next } = found(store, tenant, &query).await;
        pages.push((name, [items.answer(), vec![next].answer()].concat()));
    }
    compare(&format!("{query:?} of {tenant}"), &pages);
}

/// Page by page to the end.
async fn pages(stores: &Stores, tenant: &TenantId, query: TraceQuery) {
    let mut read = Vec::new();
    for (name, store) in stores.each() {
        let mut query = query.clone();
        let mut items = Vec::new();
        loop {
            let page = found(store, tenant, &query).await;
            items.extend(page.items);
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        read.push((name, items.answer()));
    }
    compare(&format!("pages of {query:?} of {tenant}"), &read);
}

async fn unsettled(stores: &Stores) {
    let mut all = Vec::new();
    for (name, store) in stores.each() {
        let mut found = store.rollups.unsettled(ALL).await.unwrap();
        found.sort();
        let some = store.rollups.unsettled(3).await.unwrap();
        assert!(some.len() == found.len().min(3) && some.iter().all(|trace| found.contains(trace)), "{name}: {some:?}");
        all.push((name, found.answer()));
    }
    compare("unsettled traces", &all);
}

async fn to_settle(stores: &Stores, limit: usize) {
    let asked =
        tenants().into_iter().flat_map(|tenant| (1..=TRACES + 1).map(move |trace| (tenant.clone(), trace_id(trace))));
    let asked: Vec<(TenantId, TraceId)> = asked.collect();
    let mut read = Vec::new();
    for (name, store) in stores.each() {
        let mut all = store.rollups.rows_to_settle(&asked, ALL).await.unwrap();
        let some = store.rollups.rows_to_settle(&asked, limit).await.unwrap();
        some_of("rows to settle", name, &some.rows, &all.rows, limit);
        all.traces.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        read.push((name, [all.traces.answer(), answers::spans(all.rows, Detail::Rollup)].concat()));
    }
    compare("traces to settle", &read);
}

async fn sizes(stores: &Stores) {
    let mut sizes = Vec::new();
    for (name, store) in stores.each() {
        let size = store.maintenance.size().await.unwrap();
        assert!(size.bytes > 0, "{name}");
        sizes.push((name, vec![(size.open_spans, size.dead_letters)].answer()));
    }
    compare("sizes", &sizes);
}

/// Every filter alone, with every value.
fn single_filters(traffic: &Traffic) -> Vec<TraceQuery> {
    let all = || TraceQuery { limit: 500, ..TraceQuery::default() };
    let text = |text: &&str| Some((*text).to_owned());
    let mut queries = vec![all()];
    queries.extend(SERVICES.iter().map(|service| TraceQuery { service: text(service), ..all() }));
    queries.extend(SERVICES.iter().map(|service| TraceQuery { service: text(service), or_unsettled: true, ..all() }));
    queries.extend(EXECUTIONS.iter().map(|id| TraceQuery { execution_id: text(id), ..all() }));
    queries.extend(JOBS.iter().map(|id| TraceQuery { job_id: text(id), ..all() }));
    queries.extend(Outcome::ALL.iter().map(|status| TraceQuery { status: Some(*status), ..all() }));
    for back in [0, 1, 600, 3_600, 7_200] {
        queries.push(TraceQuery { silent_before: Some(traffic.now().plus(-back * SECOND)), ..all() });
    }
    for at in [0, 2_002, 3_003].map(|ns| NOW.plus(ns)) {
        queries.push(TraceQuery { from: Some(at), ..all() });
        queries.push(TraceQuery { to: Some(at), ..all() });
    }
    queries
}

/// Some filters together, each with one of its values or one that nothing has.
fn any_query(traffic: &Traffic, dice: &mut Dice) -> TraceQuery {
    let mut text = |values: &[&str]| -> Option<String> {
        dice.one_in(3)
            .then(|| (*values.get(dice.below(values.len() as u64 + 1) as usize).unwrap_or(&"none")).to_owned())
    };
    let (service, execution_id, job_id) = (text(&SERVICES), text(&EXECUTIONS), text(&JOBS));
    let mut instant = || {
        let from = [NOW, MIDNIGHT, NOW.plus(days(-60)), NOW.plus(days(500)), traffic.now()][dice.below(5) as usize];
        dice.one_in(4).then(|| from.plus(dice.below(8) as i64 * 1_001 - 2_002))
    };
    let (from, to, at) = (instant(), instant(), instant());
    TraceQuery {
        trace_id: None,
        service,
        or_unsettled: dice.one_in(2),
        status: dice.one_in(3).then(|| Outcome::ALL[dice.below(Outcome::ALL.len() as u64) as usize]),
        execution_id,
        job_id,
        from,
        to,
        silent_before: (!dice.one_in(4)).then(|| traffic.now().plus(-(dice.below(12) as i64) * 600 * SECOND)),
        cursor: at.map(|started_at| Cursor { started_at, trace_id: trace_id(dice.below(TRACES)) }),
        limit: [0, 1, 5, 50, 1_000, u32::MAX][dice.below(6) as usize],
    }
}
