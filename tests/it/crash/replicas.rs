//! Two services before one PostgreSQL, each with a journal of its own.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::time::Duration;

use tracefall::analysis::summary;
use tracefall::clock::Clock;
use tracefall::model::ids::TraceId;
use tracefall::model::limits::Limits;
use tracefall::model::rollup::TraceRollup;
use tracefall::model::search::TraceQuery;
use tracefall::model::span::Span;
use tracefall::model::tenant::TenantId;
use tracefall::model::trace::Trace;
use tracefall::settings::pipeline::PipelineSettings;
use tracefall::store;
use tracefall::wire::context::Carried;
use tracefall::wire::media::Framing;
use tracefall::wire::{DecodeContext, native};

use super::ledger::{Ledger, Record};
use super::load::{Load, Random};
use super::{Place, Site, is_long, until, until_stored};
use crate::support::binary::{Server, run, tracefall};
use crate::support::postgres;

#[tokio::test(flavor = "multi_thread")]
async fn two_services_before_one_database_double_nothing_and_never_deadlock() {
    let Some(one) = Site::postgres("replicas") else { return };
    let two = one.beside();
    let seed = Random::seed();
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    // At the same moment, on a database with nothing in it: both would make the schema.
    let (first, second) = std::thread::scope(|threads| {
        let first = threads.spawn(|| one.start());
        let second = threads.spawn(|| two.start());
        (first.join().unwrap(), second.join().unwrap())
    });
    let sites = [&one, &two];
    let mut servers = [Some(first), Some(second)];
    // Every request goes to one of them as it comes: pairs are split, and what was not answered is said to the other.
    let load = Load::start(8, true, seed);
    load.to(addresses(&servers));
    for server in servers.iter().flatten() {
        // The schema is there: until then they take spans all the same, and an administrator has nothing to maintain.
        until(server, |ready| ready["store"] == "ok").await;
    }
    for round in 0..if is_long() { 40 } else { 4 } {
        load.further(40).await;
        maintain(&one);
        let killed = round % 2;
        servers[killed].take().unwrap().kill();
        load.to(addresses(&servers));
        tokio::time::sleep(Duration::from_millis(random.below(50))).await;
        servers[killed] = Some(sites[killed].start());
        load.to(addresses(&servers));
    }
    load.further(40).await;
    maintain(&two);
    let ledger = load.stop().await;
    for server in servers.iter().flatten() {
        until_stored(server).await;
    }
    one.until_settled().await;
    one.check(&ledger);
    let (listed, expected) = (listed(&one).await, expected(&ledger));
    assert_eq!(listed.len(), expected.len());
    for (trace_id, rollup) in expected {
        assert_eq!(listed.get(&trace_id), Some(&rollup));
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(one.ask(deadlocks), [["0"]]);
}

fn addresses(servers: &[Option<Server>]) -> Vec<std::net::SocketAddr> {
    servers.iter().flatten().map(|server| server.address).collect()
}

/// What an operator's timer does, beside the services.
fn maintain(site: &Site) {
    let mut command: Command = tracefall();
    site.set(&mut command);
    let output = run(command.current_dir(site.path()).args(["maintain", "--once"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The roll-ups in the store.
async fn listed(site: &Site) -> HashMap<TraceId, TraceRollup> {
    let Place::Postgres { url, .. } = &site.store else { panic!("replicas share a PostgreSQL") };
    let store = store::open(&postgres::settings(url)).await.unwrap();
    let mut query = TraceQuery { limit: TraceQuery::MAX_LIMIT, ..TraceQuery::default() };
    let mut listed = HashMap::new();
    loop {
        let page = store.traces.search_traces(&TenantId::default(), &query).await.unwrap();
        listed.extend(page.items.into_iter().map(|rollup| (rollup.trace_id, rollup)));
        query.cursor = page.next;
        if query.cursor.is_none() {
            store.maintenance.close().await;
            return listed;
        }
    }
}

/// The roll-ups of what was sent, computed from it.
fn expected(ledger: &Ledger) -> BTreeMap<TraceId, TraceRollup> {
    let (tenant, now) = (TenantId::default(), Clock::system().now());
    let told = ledger.all();
    assert!(told.values().all(|told| told.sent == told.acknowledged), "everything was sent until it was acknowledged");
    let records: Vec<Record> = told.into_iter().map(|(key, told)| Record { key, says: told.sent }).collect();
    let context = DecodeContext { tenant: &tenant, received_at: now, limits: &Limits::default() };
    let mut traces: BTreeMap<TraceId, Vec<Span>> = BTreeMap::new();
    for records in records.chunks(10_000) {
        let body = ledger.body(records);
        let decoded = native::decode(body.as_bytes(), Framing::Json, &context, &Carried::default()).unwrap();
        assert!(decoded.rejected.is_empty());
        decoded.spans.into_iter().for_each(|span| traces.entry(span.trace_id).or_default().push(span));
    }
    let deadline_ns = PipelineSettings::default().abandoned_after_ns();
    let rollup = |(trace_id, spans)| {
        let trace = Trace::new(tenant.clone(), trace_id, spans, false);
        (trace_id, summary::rollup(&trace, now, deadline_ns))
    };
    traces.into_iter().map(rollup).collect()
}
