//! What goes into the stores: random records, whole batches again, roll-ups in time and late, dead letters, two tenants.

use std::collections::{BTreeMap, BTreeSet};

use tracefall::analysis::summary;
use tracefall::model::ids::TraceId;
use tracefall::model::merge::fold;
use tracefall::model::rollup::TraceRollup;
use tracefall::model::span::{DEFAULT_DEADLINE_NS, End, Field, Outcome, Span, Status};
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::model::trace::Trace;
use tracefall::store::{DeadLetter, Store, Touch};

use super::Stores;
use super::answers::{self, Answer};
use crate::store_suite::records::*;

pub const TRACES: u64 = 24;
pub const EXECUTIONS: [&str; 3] = ["1", "run-2", "Grüße"];
pub const JOBS: [&str; 3] = ["j1", "j' OR 1=1", "%"];
pub const SERVICES: [&str; 4] = ["router", "runner", "a\",\"b", "Router"];

pub fn tenants() -> [TenantId; 2] {
    [tenant(), TenantId::new("acme")]
}

/// What was sent so far, and what time it is by now.
#[derive(Default)]
pub struct Traffic {
    /// Nanoseconds since the traffic began.
    passed: i64,
    batches: Vec<Vec<Span>>,
    rollups: Vec<(TenantId, Touch, TraceRollup)>,
}

impl Traffic {
    pub fn now(&self) -> UnixNanos {
        NOW.plus(self.passed)
    }

    /// Writes a new batch: mostly spans, starts and completions apart, in any order.
    pub async fn write(&mut self, stores: &Stores, dice: &mut Dice) {
        // Now and then it is quiet for long enough to give up on open spans.
        self.passed += if dice.one_in(6) { 3_000 * SECOND } else { 1 + dice.below(5_000_000_000) as i64 };
        let largest = if dice.one_in(4) { 300 } else { 40 };
        let size = 1 + dice.below(largest);
        let records = (0..size).map(|_| any_record(self.now(), dice)).collect();
        let batch = fold(records);
        write_to_all(stores, &batch).await;
        self.batches.push(batch);
    }

    /// Writes an earlier batch again, or what two of them shared out differently.
    pub async fn write_again(&mut self, stores: &Stores, dice: &mut Dice) {
        let mut records = Vec::new();
        for _ in 0..dice.below(3) {
            let pick = dice.below(self.batches.len().max(1) as u64) as usize;
            records.extend(self.batches.get(pick).into_iter().flatten().filter(|_| !dice.one_in(3)).cloned());
        }
        write_to_all(stores, &fold(records)).await;
    }

    pub async fn write_dead_letters(&mut self, stores: &Stores, dice: &mut Dice) {
        let letter = |number| DeadLetter {
            tenant: tenant(),
            trace_id: "not\0an id".into(),
            span_id: format!("{number}"),
            body: "{}".into(),
            reason: "Grüße 🦀".into(),
            refused_at: self.now(),
        };
        let letters: Vec<DeadLetter> = (0..dice.below(4)).map(letter).collect();
        for (_, store) in stores.each() {
            store.spans.write_dead_letters(&letters, NOW).await.unwrap();
        }
    }

    /// Reads some traces to settle, and settles them: at once, after more was written to them, or with an earlier roll-up.
    pub async fn settle(&mut self, stores: &Stores, dice: &mut Dice) {
        let asked: BTreeSet<(TenantId, TraceId)> = (0..1 + dice.below(20))
            .map(|_| (tenants()[dice.below(2) as usize].clone(), trace_id(1 + dice.below(TRACES))))
            .collect();
        let asked: Vec<(TenantId, TraceId)> = asked.into_iter().collect();
        let mut settled = Vec::new();
        for (name, store) in stores.each() {
            settled.push((name, roll_up(store, &asked, self.now()).await));
        }
        answers::compare(
            "roll-ups",
            &settled.iter().map(|(name, rollups)| (*name, rollups.answer())).collect::<Vec<_>>(),
        );
        let (_, mut rollups) = settled.swap_remove(0);
        for (_, _, rollup) in &mut rollups {
            if dice.one_in(5) {
                // A store keeps any roll-up, whatever it says.
                rollup.status = Outcome::ALL[dice.below(Outcome::ALL.len() as u64) as usize];
                rollup.started_at = rollup.started_at.plus(dice.below(5) as i64 - 2);
                rollup.services = SERVICES[..dice.below(5) as usize].iter().map(|name| (*name).to_owned()).collect();
                rollup.cost_pico = Some(i64::MAX);
                rollup.execution_id = None;
            }
        }
        if dice.one_in(4) {
            self.write(stores, dice).await;
        }
        if dice.one_in(4) {
            let late = self.rollups.iter().filter(|_| dice.one_in(3)).cloned().collect::<Vec<_>>();
            rollups.extend(late);
            dice.shuffle(&mut rollups);
        }
        for (_, store) in stores.each() {
            store.rollups.write_rollups(&rollups).await.unwrap();
        }
        self.rollups.extend(rollups);
    }
}

async fn write_to_all(stores: &Stores, batch: &[Span]) {
    for (_, store) in stores.each() {
        store.spans.write_spans(batch).await.unwrap();
    }
}

/// As the pipeline does it, ordered by trace.
pub async fn roll_up(
    store: &Store,
    asked: &[(TenantId, TraceId)],
    now: UnixNanos,
) -> Vec<(TenantId, Touch, TraceRollup)> {
    let read = store.rollups.rows_to_settle(asked, 100_000).await.unwrap();
    let mut rows: BTreeMap<(TenantId, TraceId), Vec<Span>> = BTreeMap::new();
    for row in read.rows {
        rows.entry((row.tenant.clone(), row.trace_id)).or_default().push(row);
    }
    let mut traces = read.traces;
    traces.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let rollup = |(tenant, trace_id, touch): (TenantId, TraceId, Touch)| {
        let rows = rows.remove(&(tenant.clone(), trace_id)).unwrap();
        let trace = Trace::new(tenant.clone(), trace_id, rows, false);
        (tenant, touch, summary::rollup(&trace, now, DEFAULT_DEADLINE_NS))
    };
    traces.into_iter().map(rollup).collect()
}

/// Something said of one of few spans, heard of now or a little while ago.
fn any_record(now: UnixNanos, dice: &mut Dice) -> Span {
    let (trace, number) = (1 + dice.below(TRACES), 1 + dice.below(6));
    let mut span = record(trace, number);
    if trace == TRACES {
        // In a trace of its own, since it is heard of in a way of its own.
        span = full(trace, number);
    }
    if dice.one_in(4) {
        span.tenant = TenantId::new("acme");
    }
    span.created_at = now.plus(-(dice.below(3) as i64 * 700 * SECOND));
    span.seen_at = span.created_at.plus(dice.below(2) as i64);
    if trace == TRACES {
        return span;
    }
    // In every third trace the start is told differently each time, around a midnight too.
    let jitters = trace.is_multiple_of(3);
    let start = match trace % 8 {
        0 | 6 => MIDNIGHT,
        1 => NOW.plus(days(-1)),
        2 => NOW.plus(days(-20)),
        3 => NOW.plus(days(-60)),
        4 => NOW.plus(days(500)),
        5 => NOW.plus(3_000 * SECOND),
        _ => NOW,
    };
    let start = start.plus(number as i64 * 1_001 + if jitters { dice.below(20_000) as i64 - 10_000 } else { 0 });
    span.status = Status::ALL[dice.below(Status::ALL.len() as u64) as usize];
    span.started_at = Some(start).filter(|_| !dice.one_in(3));
    span.end = match dice.below(3) {
        _ if !span.status.is_terminal() => None,
        0 => Some(End::After(dice.below(9_999) as i64 - 100)),
        1 if dice.one_in(3) => None,
        _ => Some(End::At(start.plus(dice.below(9_999) as i64))),
    };
    span.parent_span_id =
        (number > 1 || dice.one_in(9)).then(|| span_id(1 + dice.below(number))).filter(|_| !dice.one_in(5));
    span.revision = [0, 1, u64::MAX][dice.below(3) as usize];
    // A twin that once told another id is found by it until it is merged, so where there may be twins ids do not change.
    let mut chosen = |count: usize| if jitters { number as usize % count } else { dice.below(count as u64) as usize };
    let ids = [(Field::ExecutionId, EXECUTIONS[chosen(3)]), (Field::JobId, JOBS[chosen(3)])];
    for (field, value) in ids {
        if dice.one_in(3) {
            span.fields.set_text(field, value);
        }
    }
    decorate(&mut span, dice);
    span
}

/// Fills some of what a span may carry.
fn decorate(span: &mut Span, dice: &mut Dice) {
    for (field, values) in
        [(Field::Service, &SERVICES[..]), (Field::Region, &["us", "eu"]), (Field::ErrorMessage, &["", "boom"])]
    {
        if dice.one_in(3) {
            span.fields.set_text(field, values[dice.below(values.len() as u64) as usize]);
        }
    }
    if dice.one_in(3) {
        span.fields.set_int(Field::CostPico, dice.below(1 << 50) as i64);
        span.fields.set_int(Field::InputTokens, dice.below(9) as i64 - 1);
        span.fields.set_text(Field::Inputs, r#"{"prompt": [1.50, "ü"]}"#);
    }
    if dice.one_in(2) {
        let value = ["1", "2.0", "null", r#""\u0041""#][dice.below(4) as usize];
        span.attributes = attributes(&[("a", value), ("deep", r#"{"x":[{}]}"#)][dice.below(2) as usize..]);
    }
    if dice.one_in(4) {
        span.set_events(full(1, 1).events()[dice.below(2) as usize..].to_vec());
        span.set_links(full(1, 1).links().to_vec());
        span.resource = full(1, 1).resource;
    }
}
