//! Spans in: one transaction a batch, each record merged with what is stored under its identity.
//!
//! Ended spans go by COPY, unread, on the word of their trace's row: a trace that the batch begins has no rows, and one
//! that is known seldom has this very span. Where it has, the COPY says so, and the batch is done again with care: the
//! ended spans of known traces are looked for first. While that happens often, care comes first. Open rows are looked for
//! where the trace's row says that there may be any.
//!
//! Every row of a trace is written under the lock on the trace's row, so what is read for merging stays as it was read.
//! Changed rows are taken out and written anew, which is what an UPDATE does too. Twins, rows of one span whose start was
//! told twice differently, may remain; readers fold them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::AssertSqlSafe;

use super::copy::{Target, copy, met_a_row};
use super::erasure::{hold_off, without_deleted};
use super::stored::{read_ended, read_open, remove_ended, remove_open, take_open};
use super::traces::{Known, KnownTraces, touch};
use super::types::{Instant as Timestamp, below_microsecond, uuid};
use super::work::{Mode, Work};
use super::{Epoch, Postgres, days, failed, resources};
use crate::model::ids::TraceId;
use crate::model::merge::merge;
use crate::model::span::{Resource, Span, SpanKey};
use crate::model::time::UnixNanos;
use crate::store::erasure::folded;
use crate::store::error::Cause;
use crate::store::{DeadLetter, Result, SpanWriter, StoreError};

const DOING: &str = "write spans";

#[async_trait]
impl SpanWriter for Postgres {
    async fn write_spans(&self, batch: &[Span]) -> Result<()> {
        let Some(heard_at) = batch.iter().map(|span| span.seen_at).max() else {
            return Ok(());
        };
        debug_assert!(batch.is_sorted_by(|a, b| a.key() <= b.key()), "a batch is in order");
        let today = heard_at.day();
        let write = async {
            let mut careful = self.conflicts.are_frequent();
            // Twice for tables that are no more the same, and once for rows that were there already.
            for _ in 0..3 {
                self.make_days(days::of_batch(batch, today).into_iter(), DOING).await?;
                match self.write_batch(batch, today, careful).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => self.forget(),
                    Err(error) if met_a_row(&error) && !careful => {
                        self.conflicts.note(true);
                        careful = true;
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(StoreError::Conflict { doing: DOING, source: "the tables change again and again".into() })
        };
        let written = self.limits.hold(DOING, write).await;
        if written.as_ref().is_err_and(|error| error.cause() == Cause::Schema) {
            self.forget();
        }
        written
    }

    async fn write_dead_letters(&self, letters: &[DeadLetter], heard_at: UnixNanos) -> Result<()> {
        const DOING: &str = "write dead letters";
        if letters.is_empty() {
            return Ok(());
        }
        // What is wrong with a letter may be the one character that PostgreSQL keeps in no text.
        let texts = |of: fn(&DeadLetter) -> &str| -> Vec<String> {
            letters.iter().map(|letter| of(letter).replace('\0', "\u{fffd}")).collect()
        };
        // Safe: a name of our own table, and placeholders.
        let sql = AssertSqlSafe(format!(
            "INSERT INTO {schema}dead_letters (tenant, trace_id, span_id, body, reason, refused_at) \
             SELECT told.tenant, told.trace_id, told.span_id, told.body, told.reason, told.refused_at \
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::uuid[]) \
             AS told (tenant, trace_id, span_id, body, reason, refused_at, id) \
             WHERE NOT EXISTS (SELECT 1 FROM {schema}deletions AS d WHERE d.trace_id = told.id \
             AND d.tenant = told.tenant AND (d.deleted_at, d.deleted_ns) >= ($8::timestamptz, $9::smallint))",
            schema = self.schema
        ));
        // What a letter is refused for may be its id.
        let id = |letter: &DeadLetter| TraceId::parse(&letter.trace_id).ok().map(|id| uuid(id.as_bytes()));
        let query = sqlx::query(sql)
            .bind(texts(|letter| letter.tenant.as_str()))
            .bind(texts(|letter| &letter.trace_id))
            .bind(texts(|letter| &letter.span_id))
            .bind(texts(|letter| &letter.body))
            .bind(texts(|letter| &letter.reason))
            .bind(letters.iter().map(|letter| Timestamp::of(letter.refused_at)).collect::<Vec<_>>())
            .bind(letters.iter().map(id).collect::<Vec<_>>())
            .bind(Timestamp::of(heard_at))
            .bind(below_microsecond(heard_at));
        let write = async {
            let question = hold_off(&self.schema);
            let begun = Work::begin_asking(&self.writer, Mode::Write, self.limits, &question, DOING).await?;
            let (mut work, _) = begun;
            let written = query.execute(&mut *work).await.map_err(failed(DOING));
            work.end(written).await.map(|_| ())
        };
        self.limits.hold(DOING, write).await
    }
}

impl Postgres {
    /// `careful`: whether ended spans of known traces are looked for before they are written. Answers false, and writes
    /// nothing, where the tables are others than those of which this process remembers things.
    async fn write_batch(&self, batch: &[Span], today: u32, careful: bool) -> Result<bool> {
        let question = Epoch::question(&self.schema);
        let begun = Work::begin_asking(&self.writer, Mode::Write, self.limits, &question, DOING).await?;
        let (mut work, answer) = begun;
        let (epoch, deleted) = answer.split_once('/').unwrap_or((&answer, ""));
        if self.epoch.has_changed(epoch) {
            work.rollback().await;
            return Ok(false);
        }
        let written = async {
            let batch = folded(without_deleted(&mut work, &self.schema, batch, deleted.parse().ok()).await?);
            match batch.is_empty() {
                true => Ok(Vec::new()),
                false => BatchWrite { store: self, work: &mut work, careful, met: false }.run(&batch, today).await,
            }
        }
        .await;
        let resources = work.end(written).await?;
        if self.epoch.is_still(epoch) {
            self.resources.remember(resources, today);
        }
        Ok(true)
    }
}

impl Postgres {
    /// Writes a batch as [`SpanWriter::write_spans`] does, rolls it back, and says how long the writing took. No partition
    /// is made, and nothing is remembered.
    pub(super) async fn rehearse(&self, batch: &[Span]) -> Result<Duration> {
        const DOING: &str = "rehearse writing";
        let today = batch.iter().map(|span| span.seen_at.day()).max().unwrap_or_default();
        let write = async {
            let begun = Instant::now();
            let mut work = Work::begin(&self.writer, Mode::Write, self.limits, DOING).await?;
            let written =
                BatchWrite { store: self, work: &mut work, careful: false, met: false }.run(batch, today).await;
            let took = begun.elapsed();
            work.rollback().await;
            written.map(|_| took)
        };
        self.limits.hold(DOING, write).await
    }

    /// How long commits take that have to reach the disk: each of a message in the server's log, which no table holds and
    /// logical decoding shows only to who asks for messages. One that is not transactional would give no such figure: its
    /// transaction has nothing to wait for.
    /// Source: <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION>.
    pub(super) async fn commit_messages(&self, count: usize) -> Result<Vec<Duration>> {
        const DOING: &str = "rehearse committing";
        let commit = async {
            let mut took = Vec::new();
            for _ in 0..count {
                let mut work = Work::begin(&self.writer, Mode::Write, self.limits, DOING).await?;
                let message = "SELECT pg_catalog.pg_logical_emit_message(true, 'tracefall', 'doctor')";
                work.execute(message.to_owned()).await?;
                let begun = Instant::now();
                work.commit().await?;
                took.push(begun.elapsed());
            }
            Ok(took)
        };
        self.limits.hold(DOING, commit).await
    }
}

/// What a batch does to the tables.
#[derive(Default)]
struct Plan<'b> {
    ended: Vec<Cow<'b, Span>>,
    open: Vec<Cow<'b, Span>>,
    gone_ended: Vec<(SpanKey, UnixNanos)>,
    gone_open: Vec<SpanKey>,
}

struct BatchWrite<'a> {
    store: &'a Postgres,
    work: &'a mut Work,
    careful: bool,
    /// Whether a row was found that a COPY would have met.
    met: bool,
}

impl BatchWrite<'_> {
    /// Answers with the resources that it wrote.
    async fn run(&mut self, batch: &[Span], today: u32) -> Result<Vec<Arc<Resource>>> {
        let Postgres { schema, resources, conflicts, .. } = self.store;
        let written = resources::write(resources, self.work, schema, batch, today).await?;
        let known = touch(self.work, schema, batch).await?;
        let plan = self.plan(batch, &known).await?;
        remove_ended(self.work, schema, &plan.gone_ended).await?;
        remove_open(self.work, schema, &plan.gone_open).await?;
        copy(self.work, schema, Target::Open, &plan.open).await?;
        copy(self.work, schema, Target::Ended, &plan.ended).await?;
        if !known.is_empty() {
            conflicts.note(self.met);
        }
        Ok(written)
    }

    /// Decides what becomes of each record. Open rows that a record ends are taken out here already.
    async fn plan<'b>(&mut self, batch: &'b [Span], known: &KnownTraces) -> Result<Plan<'b>> {
        let Postgres { schema, resources, .. } = self.store;
        let trace_of = |span: &Span| match known.is_empty() {
            true => None,
            false => known.get(&(span.trace_id, span.tenant.clone())),
        };
        let with_open = batch.iter().filter(|span| trace_of(span).is_some_and(|trace| trace.has_open));
        let (ending, going_on): (Vec<&Span>, Vec<&Span>) = with_open.partition(|span| span.is_ended());
        let keys = |spans: Vec<&Span>| spans.into_iter().map(Span::key).collect::<Vec<_>>();
        let mut begun = take_open(self.work, resources, schema, &keys(ending)).await?;
        let mut going_on = read_open(self.work, resources, schema, &keys(going_on)).await?;

        let mut plan = Plan::default();
        let mut sought: Vec<(Cow<'b, Span>, &Known)> = Vec::new();
        for span in batch {
            let trace = trace_of(span);
            let (told, ends) = if span.is_ended() {
                let begun = if begun.is_empty() { None } else { begun.remove(&span.key()) };
                (begun.map_or(Cow::Borrowed(span), |begun| Cow::Owned(merge(begun, span.clone()))), true)
            } else if let Some(stored) = trace.and_then(|_| going_on.remove(&span.key())) {
                let merged = merge(stored.clone(), span.clone());
                if merged == stored {
                    continue;
                }
                plan.gone_open.push(merged.key());
                let ends = merged.is_ended();
                if !ends {
                    plan.open.push(Cow::Owned(merged));
                    continue;
                }
                (Cow::Owned(merged), ends)
            } else {
                (Cow::Borrowed(span), false)
            };
            match (trace, ends) {
                (Some(trace), false) => sought.push((told, trace)),
                (Some(trace), true) if self.careful => sought.push((told, trace)),
                (_, true) => plan.ended.push(told),
                (None, false) => plan.open.push(told),
            }
        }
        self.merge_into_ended(sought, &mut plan).await?;
        Ok(plan)
    }

    /// Merges with the ended rows of the same span, of which there may be twins: one row comes of them. Without such a
    /// row a record is what it was, open or ended.
    async fn merge_into_ended<'b>(&mut self, sought: Vec<(Cow<'b, Span>, &Known)>, plan: &mut Plan<'b>) -> Result<()> {
        if sought.is_empty() {
            return Ok(());
        }
        // A record's own start is among the trace's days by now.
        let within = sought.iter().filter_map(|(span, trace)| Some((span.key(), trace.days.as_ref()?)));
        let within: Vec<_> = within.collect();
        let Postgres { schema, resources, .. } = self.store;
        let mut stored: HashMap<SpanKey, Vec<Span>> = read_ended(self.work, resources, schema, &within).await?;
        for (told, _) in sought {
            let Some(rows) = stored.remove(&told.key()) else {
                let pile = if told.is_ended() { &mut plan.ended } else { &mut plan.open };
                pile.push(told);
                continue;
            };
            self.met |= told.is_ended();
            let merged = rows.iter().fold(told.into_owned(), |merged, row| merge(merged, row.clone()));
            if rows.len() == 1 && says_all(rows[0].clone(), &merged) {
                continue;
            }
            let starts = rows.iter().filter_map(|row| row.started_at);
            plan.gone_ended.extend(starts.map(|start| (merged.key(), start)));
            plan.ended.push(Cow::Owned(merged));
        }
        let by_key = |a: &Cow<'_, Span>, b: &Cow<'_, Span>| {
            (a.trace_id, a.span_id, &a.tenant).cmp(&(b.trace_id, b.span_id, &b.tenant))
        };
        plan.ended.sort_by(by_key);
        plan.open.sort_by(by_key);
        Ok(())
    }
}

/// Whether a row already says all that a merged span does. An ended row does not keep the last sign of life.
fn says_all(mut stored: Span, merged: &Span) -> bool {
    stored.seen_at = merged.seen_at;
    stored == *merged
}

/// How often, of late, a batch brought ended spans that were there already: a share in parts of [`Conflicts::ALL`].
#[derive(Default)]
pub(super) struct Conflicts(AtomicU32);

impl Conflicts {
    const ALL: u32 = 1 << 20;

    /// Each batch counts for a sixteenth, so that one that met a row makes the next few careful.
    fn note(&self, met: bool) {
        let before = self.0.load(Ordering::Relaxed);
        let now = before - before / 16 + if met { Self::ALL / 16 } else { 0 };
        self.0.store(now, Ordering::Relaxed);
    }

    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// More than one batch in twenty.
    fn are_frequent(&self) -> bool {
        self.0.load(Ordering::Relaxed) > Self::ALL / 20
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn care_comes_with_conflicts_and_goes_with_their_absence() {
        let conflicts = Conflicts::default();
        conflicts.note(false);
        assert!(!conflicts.are_frequent());
        conflicts.note(true);
        assert!(conflicts.are_frequent());
        (0..4).for_each(|_| conflicts.note(false));
        assert!(!conflicts.are_frequent());
        (0..1_000).for_each(|_| conflicts.note(true));
        assert!(conflicts.are_frequent());
        (0..60).for_each(|_| conflicts.note(false));
        assert!(!conflicts.are_frequent());
    }
}
