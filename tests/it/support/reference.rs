//! A store as simple as it can be: it keeps the history, everything that was ever written in the order in which it
//! came, and at each question works the answer out of it from the beginning. It says nothing that
//! `tracefall::store`'s docstrings do not promise, so what the real stores answer otherwise is wrong, there or here.
//!
//! It never has twins, since it folds before it answers; readers of rows fold them anyway.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tracefall::model::attributes::Attributes;
use tracefall::model::ids::TraceId;
use tracefall::model::merge::fold;
use tracefall::model::rollup::{Keeping, TraceRollup};
use tracefall::model::search::{Cursor, Page, TraceQuery};
use tracefall::model::span::{Field, Fields, Outcome, Span};
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::store::error::Cause;
use tracefall::store::{
    Checkpoints, Cleared, DeadLetter, DeadLetters, Detail, Due, Erased, Erasure, From, KeepBy, KeptLetter,
    LetterFilter, Maintenance, MigrationState, Owner, Pin, Pins, Place, Result, Retention, RollupStore, SpanWriter,
    Store, StoreError, StoreSize, ToSettle, Touch, TraceReader, TraceRows,
};

use crate::store_suite::Home;
use crate::store_suite::records::without_sign_of_life;
use crate::store_suite::searching::rollup;

/// Something that was written.
enum Event {
    Spans(Vec<Span>),
    Rollups(Vec<(TenantId, Touch, TraceRollup)>),
    DeadLetters(Vec<DeadLetter>),
    /// Dead letters that were removed, by their ids.
    LettersGone(Vec<i64>),
    /// Nothing is stored of these traces that was heard of until then.
    Barred(TenantId, Vec<TraceId>, UnixNanos),
    /// A job's name, and how far it has come.
    Reached(String, String),
    Pinned(TenantId, Pin),
    Unpinned(TenantId, TraceId),
}

/// All that was written since the way up; `None` before it.
type History = Option<Vec<Event>>;

/// Where a history outlives the stores that are opened on it.
#[derive(Default)]
pub struct Reference(Arc<Mutex<History>>);

#[async_trait]
impl Home for Reference {
    async fn open(&self) -> Store {
        let opened = Arc::new(Opened { history: self.0.clone(), closed: AtomicBool::new(false) });
        Store {
            spans: opened.clone(),
            traces: opened.clone(),
            rollups: opened.clone(),
            checkpoints: opened.clone(),
            maintenance: opened.clone(),
            retention: opened.clone(),
            letters: opened.clone(),
            erasure: opened.clone(),
            pins: opened,
            writers: 1,
            reads_apart: false,
        }
    }
}

struct Opened {
    history: Arc<Mutex<History>>,
    closed: AtomicBool,
}

impl Opened {
    /// The events so far.
    fn ask<T>(&self, doing: &'static str, answer: impl FnOnce(&[Event]) -> T) -> Result<T> {
        match &*self.history(doing)? {
            Some(events) => Ok(answer(events)),
            None => Err(StoreError::Other { doing, source: "there is no schema".into() }),
        }
    }

    fn note(&self, doing: &'static str, event: Event) -> Result<()> {
        let mut history = self.history(doing)?;
        let events = history.as_mut().ok_or(StoreError::Other { doing, source: "there is no schema".into() })?;
        events.push(event);
        Ok(())
    }

    fn history(&self, doing: &'static str) -> Result<MutexGuard<'_, History>> {
        match self.closed.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable { doing, cause: Cause::Busy, source: "it is closed".into() }),
            false => Ok(self.history.lock().unwrap()),
        }
    }
}

/// The records of those spans that `wanted` picks, merged.
fn spans(events: &[Event], wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
    let batches = events.iter().filter_map(|event| if let Event::Spans(batch) = event { Some(batch) } else { None });
    let merged = fold(batches.flatten().filter(|record| wanted(record)).cloned().collect());
    merged.into_iter().map(without_sign_of_life).collect()
}

/// A span as it is read at a detail.
pub fn at_detail(span: Span, detail: Detail) -> Span {
    let of_root = detail == Detail::Rollup && span.parent_span_id.is_none();
    if detail == Detail::Full {
        return span;
    }
    let mut fields = Fields::default();
    for (field, value) in span.fields.iter() {
        match field {
            Field::Outputs => {}
            Field::Inputs if !of_root => {}
            field => fields.set(field, value.clone()),
        }
    }
    let mut read = span;
    read.fields = fields;
    read.resource = None;
    if !of_root {
        read.attributes = Attributes::default();
    }
    read.set_events(Vec::new());
    read.set_links(Vec::new());
    read
}

/// What is known of a trace beside its spans.
struct Row {
    touched: i64,
    settled: i64,
    told_start: Option<UnixNanos>,
    heard_at: UnixNanos,
    /// By the batch that began it.
    created_at: UnixNanos,
    ended_at: Option<UnixNanos>,
    /// The last roll-up.
    rollup: TraceRollup,
}

impl Row {
    /// A trace that nothing is known of yet but that it runs.
    fn new(trace_id: TraceId) -> Self {
        let nothing = TraceRollup { status: Outcome::Running, span_count: 0, ..rollup(0, UnixNanos::MAX) };
        let rollup = TraceRollup { trace_id, ..nothing };
        Self {
            touched: 0,
            settled: 0,
            told_start: None,
            heard_at: UnixNanos::MAX,
            created_at: UnixNanos::MAX,
            ended_at: None,
            rollup,
        }
    }

    /// Widens the bounds by what one batch says.
    fn touch(&mut self, records: &[&Span]) {
        self.touched += 1;
        for record in records {
            self.told_start = [self.told_start, record.started_at].into_iter().flatten().min();
            self.heard_at = self.heard_at.min(record.created_at);
            self.ended_at = self.ended_at.max(record.ended_at());
        }
        if self.touched == 1 {
            self.created_at = self.heard_at;
        }
    }

    fn touch_now(&self) -> Touch {
        Touch::new(self.touched, self.created_at)
    }

    fn settle(&mut self, touch: Touch, rollup: &TraceRollup) {
        if touch.since != self.touch_now().since || !(self.settled..=self.touched).contains(&touch.times) {
            return;
        }
        self.settled = touch.times;
        match &mut self.told_start {
            Some(told) => *told = rollup.started_at,
            None => self.heard_at = rollup.started_at,
        }
        self.ended_at = rollup.ended_at;
        self.rollup = rollup.clone();
    }

    fn started_at(&self) -> UnixNanos {
        self.told_start.unwrap_or(self.heard_at)
    }

    /// As lists show it when these are its spans.
    fn listed(&self, spans: &[Span], silent_before: Option<UnixNanos>) -> TraceRollup {
        let (started_at, ended_at) = (self.started_at(), self.ended_at);
        let mut listed = TraceRollup { started_at, ended_at, ..self.rollup.clone() };
        let is_open = spans.iter().any(|span| !span.status.is_terminal());
        let silent = |since| spans.iter().filter(|span| !span.is_ended()).all(|span| span.seen_at < since);
        let runs = matches!(listed.status, Outcome::Pending | Outcome::Running);
        let none_ended = |since| ended_at.is_none_or(|at| at < since);
        if runs && is_open && silent_before.is_some_and(|since| silent(since) && none_ended(since)) {
            listed.status = Outcome::Abandoned;
        }
        listed
    }
}

/// Every trace that was written to.
fn traces(events: &[Event]) -> BTreeMap<(TenantId, TraceId), Row> {
    let mut rows: BTreeMap<(TenantId, TraceId), Row> = BTreeMap::new();
    for event in events {
        match event {
            Event::Spans(batch) => {
                let mut by_trace: BTreeMap<(TenantId, TraceId), Vec<&Span>> = BTreeMap::new();
                for record in batch {
                    by_trace.entry((record.tenant.clone(), record.trace_id)).or_default().push(record);
                }
                for (trace, records) in by_trace {
                    let trace_id = trace.1;
                    rows.entry(trace).or_insert_with(|| Row::new(trace_id)).touch(&records);
                }
            }
            Event::Rollups(rollups) => {
                for (tenant, touch, rollup) in rollups {
                    if let Some(row) = rows.get_mut(&(tenant.clone(), rollup.trace_id)) {
                        row.settle(*touch, rollup);
                    }
                }
            }
            Event::DeadLetters(_)
            | Event::LettersGone(_)
            | Event::Barred(..)
            | Event::Reached(..)
            | Event::Pinned(..)
            | Event::Unpinned(..) => {}
        }
    }
    rows
}

/// The traces of a tenant with their spans, newest start first.
fn newest_first(events: &[Event], tenant: &TenantId) -> Vec<(Row, Vec<Span>)> {
    let mut by_trace: BTreeMap<TraceId, Vec<Span>> = BTreeMap::new();
    for span in spans(events, |record| record.tenant == *tenant) {
        by_trace.entry(span.trace_id).or_default().push(span);
    }
    let rows = traces(events).into_iter().filter(|((owner, _), _)| owner == tenant);
    let mut found: Vec<(Row, Vec<Span>)> =
        rows.map(|((_, trace_id), row)| (row, by_trace.remove(&trace_id).unwrap_or_default())).collect();
    found.sort_by_key(|(row, _)| std::cmp::Reverse((row.started_at(), row.rollup.trace_id)));
    found
}

/// Whether a trace, or any span of it, carries this value.
fn carries(row: &Row, spans: &[Span], field: Field, value: &str) -> bool {
    let of_trace = match field {
        Field::ExecutionId => &row.rollup.execution_id,
        _ => &row.rollup.job_id,
    };
    of_trace.as_deref() == Some(value) || spans.iter().any(|span| span.fields.text(field) == Some(value))
}

/// Whether a trace was deleted since something of it was heard of.
fn is_barred(events: &[Event], tenant: &TenantId, trace_id: TraceId, heard_at: UnixNanos) -> bool {
    events.iter().any(|event| {
        matches!(event, Event::Barred(of, traces, until)
            if of == tenant && traces.contains(&trace_id) && heard_at <= *until)
    })
}

#[async_trait]
impl SpanWriter for Opened {
    async fn write_spans(&self, batch: &[Span]) -> Result<()> {
        let kept = self.ask("write spans", |events| {
            let stays = |span: &&Span| !is_barred(events, &span.tenant, span.trace_id, span.seen_at);
            batch.iter().filter(stays).cloned().collect()
        })?;
        self.note("write spans", Event::Spans(kept))
    }

    async fn write_dead_letters(&self, letters: &[DeadLetter], heard_at: UnixNanos) -> Result<()> {
        let kept = self.ask("write dead letters", |events| {
            let stays = |letter: &&DeadLetter| match TraceId::parse(&letter.trace_id) {
                Ok(trace_id) => !is_barred(events, &letter.tenant, trace_id, heard_at),
                Err(_) => true,
            };
            letters.iter().filter(stays).cloned().collect()
        })?;
        self.note("write dead letters", Event::DeadLetters(kept))
    }
}

#[async_trait]
impl TraceReader for Opened {
    async fn trace_rows(
        &self,
        tenant: &TenantId,
        trace_id: TraceId,
        detail: Detail,
        limit: usize,
    ) -> Result<TraceRows> {
        self.ask("read a trace", |events| {
            let spans = spans(events, |record| record.trace_id == trace_id && record.tenant == *tenant);
            let rows = spans.into_iter().take(limit.saturating_add(1)).map(|span| at_detail(span, detail)).collect();
            let pinned = pins(events, tenant).iter().any(|pin| pin.trace_id == trace_id);
            TraceRows { rows, keeping: Keeping { pinned, ..Keeping::default() } }
        })
    }

    async fn traces_of_execution(&self, tenant: &TenantId, execution_id: &str, limit: usize) -> Result<Vec<TraceId>> {
        self.ask("find the traces of an execution", |events| {
            let found = newest_first(events, tenant).into_iter();
            let found = found.filter(|(row, spans)| carries(row, spans, Field::ExecutionId, execution_id));
            found.map(|(row, _)| row.rollup.trace_id).take(limit).collect()
        })
    }

    async fn services(&self, tenant: &TenantId, traces: usize) -> Result<Vec<String>> {
        self.ask("list services", |events| {
            let newest = newest_first(events, tenant).into_iter().take(traces);
            let mut services: Vec<String> = newest.flat_map(|(row, _)| row.rollup.services).collect();
            services.sort();
            services.dedup();
            services
        })
    }

    async fn search_traces(&self, tenant: &TenantId, query: &TraceQuery) -> Result<Page<TraceRollup>> {
        self.ask("search traces", |events| {
            let mut found = Vec::new();
            let pinned: Vec<TraceId> = pins(events, tenant).iter().map(|pin| pin.trace_id).collect();
            for (row, spans) in newest_first(events, tenant) {
                let mut listed = row.listed(&spans, query.silent_before);
                listed.keeping.pinned = pinned.contains(&listed.trace_id);
                let place = Cursor { started_at: listed.started_at, trace_id: listed.trace_id };
                let is = |field, wanted: &Option<String>| {
                    wanted.as_ref().is_none_or(|wanted| carries(&row, &spans, field, wanted))
                };
                let wanted = query.trace_id.is_none_or(|wanted| wanted == place.trace_id)
                    && query.service.as_ref().is_none_or(|service| {
                        listed.services.contains(service) || query.or_unsettled && row.settled < row.touched
                    })
                    && query.status.is_none_or(|status| listed.status == status)
                    && is(Field::ExecutionId, &query.execution_id)
                    && is(Field::JobId, &query.job_id)
                    && query.from.is_none_or(|from| place.started_at >= from)
                    && query.to.is_none_or(|to| place.started_at < to)
                    && query
                        .cursor
                        .is_none_or(|cursor| (place.started_at, place.trace_id) < (cursor.started_at, cursor.trace_id));
                if wanted {
                    found.push((place, listed));
                }
            }
            let limit = query.limit.clamp(1, TraceQuery::MAX_LIMIT) as usize;
            let next = (found.len() > limit).then(|| found[limit - 1].0);
            Page { items: found.into_iter().take(limit).map(|(_, listed)| listed).collect(), next }
        })
    }
}

#[async_trait]
impl RollupStore for Opened {
    async fn unsettled(&self, limit: usize) -> Result<Vec<(TenantId, TraceId)>> {
        self.ask("find unsettled traces", |events| {
            let unsettled = traces(events).into_iter().filter(|(_, row)| row.settled < row.touched);
            unsettled.map(|(trace, _)| trace).take(limit).collect()
        })
    }

    async fn rows_to_settle(&self, asked: &[(TenantId, TraceId)], limit: usize) -> Result<ToSettle> {
        self.ask("read traces to settle", |events| {
            let of_asked = |record: &Span| {
                asked.iter().any(|(tenant, trace_id)| *trace_id == record.trace_id && *tenant == record.tenant)
            };
            let rows = spans(events, of_asked).into_iter().take(limit.saturating_add(1));
            let rows = rows.map(|span| at_detail(span, Detail::Rollup)).collect();
            let known = traces(events).into_iter().filter(|(trace, _)| asked.contains(trace));
            let traces = known.map(|((tenant, trace_id), row)| (tenant, trace_id, row.touch_now())).collect();
            ToSettle { traces, rows }
        })
    }

    async fn write_rollups(&self, rollups: &[(TenantId, Touch, TraceRollup)]) -> Result<()> {
        self.note("write roll-ups", Event::Rollups(rollups.to_vec()))
    }
}

#[async_trait]
impl Checkpoints for Opened {
    async fn checkpoint(&self, name: &str) -> Result<Option<String>> {
        self.ask("read a checkpoint", |events| reached(events, name).map(str::to_owned))
    }

    async fn set_checkpoint(&self, name: &str, reached: &str) -> Result<()> {
        self.note("set a checkpoint", Event::Reached(name.to_owned(), reached.to_owned()))
    }

    async fn swap_checkpoint(&self, name: &str, before: Option<&str>, to: &str) -> Result<bool> {
        let mut history = self.history("swap a checkpoint")?;
        let Some(events) = history.as_mut() else {
            return Err(StoreError::Other { doing: "swap a checkpoint", source: "there is no schema".into() });
        };
        let is_as_read = reached(events, name).is_none_or(|noted| Some(noted) == before);
        if is_as_read {
            events.push(Event::Reached(name.to_owned(), to.to_owned()));
        }
        Ok(is_as_read)
    }
}

fn reached<'e>(events: &'e [Event], name: &str) -> Option<&'e str> {
    events.iter().rev().find_map(|event| match event {
        Event::Reached(of, reached) if of == name => Some(reached.as_str()),
        _ => None,
    })
}

#[async_trait]
impl Maintenance for Opened {
    async fn migrate_up(&self) -> Result<()> {
        self.history("migrate up")?.get_or_insert_default();
        Ok(())
    }

    async fn migrate_down(&self) -> Result<()> {
        *self.history("migrate down")? = None;
        Ok(())
    }

    async fn migrations(&self) -> Result<Vec<MigrationState>> {
        let applied = self.history("read the migrations")?.is_some();
        Ok(vec![MigrationState { version: 1, name: "memory".into(), applied }])
    }

    async fn prepare_days(&self, _now: UnixNanos) -> Result<()> {
        Ok(())
    }

    async fn size(&self) -> Result<StoreSize> {
        self.ask("measure the store", |events| {
            let known = spans(events, |_| true);
            StoreSize {
                bytes: known.iter().map(|span| span.weight() as u64).sum(),
                open_spans: known.iter().filter(|span| !span.is_ended()).count() as u64,
                dead_letters: letters(events, &LetterFilter::default()).len() as u64,
            }
        })
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// The dead letters that are left, by their ids, which count them from 1.
fn letters(events: &[Event], filter: &LetterFilter) -> Vec<KeptLetter> {
    let mut letters: Vec<KeptLetter> = Vec::new();
    let mut id = 0;
    for event in events {
        match event {
            Event::DeadLetters(some) => letters.extend(some.iter().map(|letter| {
                id += 1;
                KeptLetter { id, letter: letter.clone() }
            })),
            Event::LettersGone(ids) => letters.retain(|kept| !ids.contains(&kept.id)),
            _ => {}
        }
    }
    letters.retain(|KeptLetter { id, letter }| {
        (filter.ids.is_empty() || filter.ids.contains(id))
            && filter.since.is_none_or(|since| letter.refused_at >= since)
            && filter.before.is_none_or(|before| letter.refused_at < before)
            && filter.reason.as_ref().is_none_or(|reason| letter.reason.contains(reason))
    });
    letters
}

#[async_trait]
impl DeadLetters for Opened {
    async fn dead_letters(&self, filter: &LetterFilter, from: From, limit: usize) -> Result<Vec<KeptLetter>> {
        self.ask("read dead letters", |events| {
            let mut letters = letters(events, filter);
            match from {
                From::OldestAfter(id) => letters.retain(|kept| kept.id > id),
                From::NewestBefore(id) => {
                    letters.retain(|kept| kept.id < id);
                    letters.reverse();
                }
            }
            letters.truncate(limit);
            letters
        })
    }

    async fn count_dead_letters(&self, filter: &LetterFilter) -> Result<u64> {
        self.ask("count dead letters", |events| letters(events, filter).len() as u64)
    }

    async fn remove_dead_letters(&self, filter: &LetterFilter, limit: usize) -> Result<u64> {
        let found = self.dead_letters(filter, From::OldestAfter(0), limit).await?;
        let gone: Vec<i64> = found.iter().map(|kept| kept.id).collect();
        self.note("remove dead letters", Event::LettersGone(gone))?;
        Ok(found.len() as u64)
    }
}

#[async_trait]
impl Erasure for Opened {
    async fn places(&self) -> Result<Vec<String>> {
        Ok(vec!["memory".into()])
    }

    async fn traces_of(
        &self,
        tenant: &TenantId,
        owner: &Owner,
        _place: &str,
        after: Option<TraceId>,
        limit: usize,
    ) -> Result<Vec<TraceId>> {
        let (field, id) = match owner {
            Owner::User(id) => (Field::UserId, id),
            Owner::Workspace(id) => (Field::WorkspaceId, id),
        };
        self.ask("delete traces", |events| {
            let found = spans(events, |record| record.tenant == *tenant);
            let mut ids: Vec<TraceId> =
                found.iter().filter(|span| span.fields.text(field) == Some(id)).map(|span| span.trace_id).collect();
            let of_letter = |letter: &DeadLetter| {
                let body: serde_json::Value = serde_json::from_str(&letter.body).ok()?;
                let is_theirs = letter.tenant == *tenant && body[field.name()] == id.as_str();
                TraceId::parse(&letter.trace_id).ok().filter(|_| is_theirs)
            };
            ids.extend(letters(events, &LetterFilter::default()).iter().filter_map(|kept| of_letter(&kept.letter)));
            ids.sort();
            ids.dedup();
            ids.retain(|id| Some(*id) > after);
            ids.truncate(limit);
            ids
        })
    }

    async fn holdings(&self, tenant: &TenantId, ids: &[TraceId]) -> Result<Erased> {
        self.ask("delete traces", |events| {
            let is_one = |of: &TenantId, id: &TraceId| of == tenant && ids.contains(id);
            let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let letters = letters(events, &LetterFilter::default()).into_iter();
            Erased {
                traces: traces(events).keys().filter(|(of, id)| is_one(of, id)).count() as u64,
                spans: spans(events, |record| is_one(&record.tenant, &record.trace_id)).len() as u64,
                pins: pins(events, tenant).iter().filter(|pin| ids.contains(&pin.trace_id)).count() as u64,
                dead_letters: letters
                    .filter(|kept| kept.letter.tenant == *tenant && texts.contains(&kept.letter.trace_id))
                    .count() as u64,
            }
        })
    }

    async fn bar(&self, tenant: &TenantId, traces: &[TraceId], until: UnixNanos) -> Result<()> {
        self.note("delete traces", Event::Barred(tenant.clone(), traces.to_vec(), until))
    }

    async fn erase(&self, tenant: &TenantId, ids: &[TraceId]) -> Result<(Erased, bool)> {
        let erased = self.holdings(tenant, ids).await?;
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut history = self.history("delete traces")?;
        let is_one = |of: &TenantId, id: &TraceId| of == tenant && ids.contains(id);
        let events = history.as_mut().unwrap();
        let letters = letters(events, &LetterFilter::default()).into_iter();
        let gone = letters.filter(|kept| kept.letter.tenant == *tenant && texts.contains(&kept.letter.trace_id));
        let gone = Event::LettersGone(gone.map(|kept| kept.id).collect());
        events.push(gone);
        for event in events.iter_mut() {
            match event {
                Event::Spans(batch) => batch.retain(|span| !is_one(&span.tenant, &span.trace_id)),
                Event::Rollups(rollups) => rollups.retain(|(of, _, rollup)| !is_one(of, &rollup.trace_id)),
                _ => {}
            }
        }
        events.retain(|event| !matches!(event, Event::Pinned(of, pin) if is_one(of, &pin.trace_id)));
        Ok((erased, false))
    }
}

/// What is pinned, the newest first.
fn pins(events: &[Event], tenant: &TenantId) -> Vec<Pin> {
    let mut pins: Vec<Pin> = Vec::new();
    for event in events {
        match event {
            Event::Pinned(of, pin) if of == tenant && pins.iter().all(|known| known.trace_id != pin.trace_id) => {
                pins.push(pin.clone());
            }
            Event::Unpinned(of, trace_id) if of == tenant => pins.retain(|pin| pin.trace_id != *trace_id),
            _ => {}
        }
    }
    pins.sort_by_key(|pin| (std::cmp::Reverse(pin.pinned_at), pin.trace_id));
    pins
}

#[async_trait]
impl Pins for Opened {
    async fn pin(&self, tenant: &TenantId, trace_id: TraceId, at: UnixNanos) -> Result<Option<Pin>> {
        if !self.ask("pin a trace", |events| traces(events).contains_key(&(tenant.clone(), trace_id)))? {
            return Ok(None);
        }
        self.note("pin a trace", Event::Pinned(tenant.clone(), Pin { trace_id, pinned_at: at }))?;
        Ok(self.pins(tenant, usize::MAX).await?.into_iter().find(|pin| pin.trace_id == trace_id))
    }

    async fn unpin(&self, tenant: &TenantId, trace_id: TraceId) -> Result<bool> {
        let was = self.pins(tenant, usize::MAX).await?.iter().any(|pin| pin.trace_id == trace_id);
        self.note("unpin a trace", Event::Unpinned(tenant.clone(), trace_id))?;
        Ok(was)
    }

    async fn pins(&self, tenant: &TenantId, limit: usize) -> Result<Vec<Pin>> {
        self.ask("list pins", |events| pins(events, tenant).into_iter().take(limit).collect())
    }
}

/// It forgets nothing for its age: what must be left of the others is worked out where that is tested.
#[async_trait]
impl Retention for Opened {
    async fn lease(&self, _name: &str, _holder: &str, _now: UnixNanos, _until: UnixNanos) -> Result<bool> {
        Ok(true)
    }

    async fn days_before(&self, _day: u32) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }

    async fn close_days(&self, _before: u32) -> Result<()> {
        Ok(())
    }

    async fn clear(&self, _place: Place, _after: Option<TraceId>, _keep_by: &KeepBy) -> Result<Cleared> {
        Ok(Cleared::default())
    }

    async fn drop_day(&self, _day: u32, _keep_by: &KeepBy) -> Result<bool> {
        Ok(true)
    }

    async fn note_expired(&self, _after: Option<TraceId>, _now: UnixNanos) -> Result<Option<TraceId>> {
        Ok(None)
    }

    async fn remove_others(&self, _keep_by: &KeepBy, _resources: bool) -> Result<u64> {
        Ok(0)
    }

    async fn shrink(&self) -> Result<bool> {
        Ok(false)
    }

    async fn due(&self, _keep_by: &KeepBy) -> Result<Vec<Due>> {
        Ok(Vec::new())
    }
}
