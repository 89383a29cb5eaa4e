//! Spans in: one transaction a batch, each record merged with what is stored under its identity.
//!
//! Most spans are new, and for them nothing is read: the upsert of their trace's row says so. Only where a trace was
//! known before are its open rows looked for, and only where an INSERT finds a row in its way is that row read. Twins,
//! rows of one span in the tables of two days after a start that was told twice differently, may remain; readers fold
//! them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::encode::{Shape, write_rows};
use super::erasure::without_deleted;
use super::stored::{read, remove, take};
use super::tables::{Table, Tables};
use super::traces::{Known, touch};
use super::{Sqlite, failed, nanos, resources};
use crate::model::ids::TraceId;
use crate::model::merge::merge;
use crate::model::span::{Resource, Span, SpanKey};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::store::columns::Filled;
use crate::store::erasure::folded;
use crate::store::{DeadLetter, Result, SpanWriter};

const DOING: &str = "write spans";

/// Columns that an INSERT may list beyond those that its batch fills, so that batches of slightly different spans share
/// their prepared statements.
const SPARE_COLUMNS: u32 = 6;

#[async_trait]
impl SpanWriter for Sqlite {
    async fn write_spans(&self, batch: &[Span]) -> Result<()> {
        let Some(heard_at) = batch.iter().map(|span| span.seen_at).max() else {
            return Ok(());
        };
        debug_assert!(batch.is_sorted_by(|a, b| a.key() <= b.key()), "a batch is in order");
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(DOING))?;
        let today = heard_at.day();
        let batch = folded(without_deleted(&mut transaction, batch).await?);
        let batch = &*batch;
        let resources = self.write_batch(&mut transaction, batch, today).await?;
        transaction.commit().await.map_err(failed(DOING))?;
        self.resources.remember(resources, today);
        self.checkpoints.note(batch.len());
        Ok(())
    }

    async fn write_dead_letters(&self, letters: &[DeadLetter], heard_at: UnixNanos) -> Result<()> {
        let failed = failed("write dead letters");
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        for letter in letters {
            sqlx::query(
                "INSERT INTO dead_letters (tenant, trace_id, span_id, body, reason, refused_at) \
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS \
                 (SELECT 1 FROM deletions WHERE trace_id = ?7 AND tenant = ?1 AND deleted_at >= ?8)",
            )
            .bind(letter.tenant.as_str())
            .bind(letter.trace_id.as_str())
            .bind(letter.span_id.as_str())
            .bind(letter.body.as_str())
            .bind(letter.reason.as_str())
            .bind(nanos(letter.refused_at))
            // What a letter is refused for may be its id.
            .bind(TraceId::parse(&letter.trace_id).ok().map(|id| id.as_bytes().to_vec()))
            .bind(nanos(heard_at))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

impl Sqlite {
    /// Answers with the resources that it wrote.
    async fn write_batch(
        &self,
        connection: &mut SqliteConnection,
        batch: &[Span],
        today: u32,
    ) -> Result<Vec<Arc<Resource>>> {
        let resources = resources::write(&self.resources, connection, batch, today).await?;
        let tables = Tables::load(connection, DOING).await?;
        let known = touch(connection, batch).await?;
        let mut write = BatchWrite { store: self, connection, tables, today };
        let plan = write.plan(batch, &known).await?;
        write.carry_out(plan).await?;
        Ok(resources)
    }

    /// Writes a batch as [`SpanWriter::write_spans`] does, rolls it back, and says how long the writing took. Nothing is
    /// remembered.
    pub(super) async fn rehearse(&self, batch: &[Span]) -> Result<Duration> {
        const DOING: &str = "rehearse writing";
        let today = batch.iter().map(|span| span.seen_at.day()).max().unwrap_or_default();
        let begun = Instant::now();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(DOING))?;
        let written = self.write_batch(&mut transaction, batch, today).await;
        let took = begun.elapsed();
        transaction.rollback().await.map_err(failed(DOING))?;
        written.map(|_| took)
    }
}

/// What a batch does to the tables.
#[derive(Default)]
struct Plan<'b> {
    /// New rows of ended spans, unless the table has one already.
    ended: Vec<Cow<'b, Span>>,
    /// Rows of ended spans in place of those in the table.
    ended_again: BTreeMap<Table, Vec<Cow<'b, Span>>>,
    open: Vec<Cow<'b, Span>>,
    open_again: Vec<Cow<'b, Span>>,
    gone: BTreeMap<Table, Vec<SpanKey>>,
}

type KnownTraces = HashMap<(TraceId, TenantId), Known>;

struct BatchWrite<'a> {
    store: &'a Sqlite,
    connection: &'a mut SqliteConnection,
    tables: Tables,
    today: u32,
}

impl BatchWrite<'_> {
    /// Decides what becomes of each record. Open rows that a record ends are taken out here already.
    async fn plan<'b>(&mut self, batch: &'b [Span], known: &KnownTraces) -> Result<Plan<'b>> {
        let trace_of = |span: &Span| match known.is_empty() {
            true => None,
            false => known.get(&(span.trace_id, span.tenant.clone())),
        };
        let with_open = batch.iter().filter(|span| trace_of(span).is_some_and(|trace| trace.has_open));
        let (ending, going_on): (Vec<&Span>, Vec<&Span>) = with_open.partition(|span| span.is_ended());
        let keys = |spans: Vec<&Span>| spans.into_iter().map(Span::key).collect::<Vec<_>>();
        let (open, resources) = ((Table::Open, self.tables.filled(Table::Open)), &self.store.resources);
        let mut begun = take(self.connection, resources, open, &keys(ending)).await?;
        let mut going_on = read(self.connection, resources, open, &keys(going_on)).await?;

        let mut plan = Plan::default();
        let mut sought: Vec<(&Span, &Known)> = Vec::new();
        for span in batch {
            if span.is_ended() {
                let begun = if begun.is_empty() { None } else { begun.remove(&span.key()) };
                plan.ended.push(begun.map_or(Cow::Borrowed(span), |begun| Cow::Owned(merge(begun, span.clone()))));
                continue;
            }
            match (going_on.remove(&span.key()), trace_of(span)) {
                (Some(stored), _) => {
                    let merged = merge(stored.clone(), span.clone());
                    if merged.is_ended() {
                        plan.gone.entry(Table::Open).or_default().push(merged.key());
                        plan.ended.push(Cow::Owned(merged));
                    } else if merged != stored {
                        plan.open_again.push(Cow::Owned(merged));
                    }
                }
                (None, Some(trace)) => sought.push((span, trace)),
                (None, None) => plan.open.push(Cow::Borrowed(span)),
            }
        }
        self.merge_into_ended(&sought, &mut plan).await?;
        Ok(plan)
    }

    /// A late start, or a completion without one, of a span that has ended already, is merged into the ended row; the
    /// others are open.
    async fn merge_into_ended<'b>(&mut self, sought: &[(&'b Span, &Known)], plan: &mut Plan<'b>) -> Result<()> {
        let mut by_table: BTreeMap<Table, Vec<SpanKey>> = BTreeMap::new();
        for (span, trace) in sought {
            // Its own start is among the trace's days by now.
            for table in trace.days.iter().flat_map(|days| self.tables.between(days)) {
                by_table.entry(table).or_default().push(span.key());
            }
        }
        let mut ended: HashMap<SpanKey, Vec<(Table, Span)>> = HashMap::new();
        for (table, keys) in by_table {
            for (key, stored) in self.read_by_key(table, &keys).await? {
                ended.entry(key).or_default().push((table, stored));
            }
        }
        for (span, _) in sought {
            let key = span.key();
            let Some(rows) = ended.remove(&key) else {
                plan.open.push(Cow::Borrowed(span));
                continue;
            };
            let merged = rows.iter().fold((*span).clone(), |merged, (_, row)| merge(merged, row.clone()));
            let home = self.tables.home(merged.started_at, self.today);
            let (at_home, elsewhere): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(table, _)| *table == home);
            for (table, _) in elsewhere {
                plan.gone.entry(table).or_default().push(key.clone());
            }
            match at_home.into_iter().next().map(|(_, stored)| says_all(stored, &merged)) {
                None => plan.ended.push(Cow::Owned(merged)),
                Some(true) => {}
                Some(false) => plan.ended_again.entry(home).or_default().push(Cow::Owned(merged)),
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, plan: Plan<'_>) -> Result<()> {
        let Plan { ended, mut ended_again, open, mut open_again, gone } = plan;
        for (table, keys) in gone {
            remove(self.connection, table, &keys).await?;
        }
        let met = self.write(Table::Open, &open).await?;
        open_again.extend(self.merge_into_met(Table::Open, met).await?.into_iter().map(Cow::Owned));
        self.replace(Table::Open, &open_again).await?;

        let mut by_table: BTreeMap<Table, Vec<Cow<'_, Span>>> = BTreeMap::new();
        for span in ended {
            by_table.entry(self.tables.home(span.started_at, self.today)).or_default().push(span);
        }
        let days = by_table.keys().filter_map(|table| if let Table::Day(day) = table { Some(*day) } else { None });
        self.tables.make(self.connection, days).await.map_err(failed(DOING))?;
        for (table, spans) in &by_table {
            let met = self.write(*table, spans).await?;
            let changed = self.merge_into_met(*table, met).await?;
            ended_again.entry(*table).or_default().extend(changed.into_iter().map(Cow::Owned));
        }
        for (table, spans) in &ended_again {
            self.replace(*table, spans).await?;
        }
        Ok(())
    }

    /// Answers with the spans of those statements that met a row of theirs in the table.
    async fn write<'s>(&mut self, table: Table, spans: &'s [Cow<'_, Span>]) -> Result<Vec<&'s Span>> {
        let by_spans = spans.iter().fold(Filled::default(), |filled, span| filled.union(Filled::by(span)));
        self.tables.fill(self.connection, table, by_spans).await.map_err(failed(DOING))?;
        // Batches of slightly different spans share their prepared statements.
        let by_table = self.tables.filled(table);
        let filled = if by_table.len() <= by_spans.len() + SPARE_COLUMNS { by_table } else { by_spans };
        let (shape, rows) = (Shape { table, filled }, super::ROWS_PER_STATEMENT);
        write_rows(self.connection, shape, spans, rows).await.map_err(failed(DOING))
    }

    /// Writes spans in the place of their rows.
    async fn replace(&mut self, table: Table, spans: &[Cow<'_, Span>]) -> Result<()> {
        let keys: Vec<SpanKey> = spans.iter().map(|span| span.key()).collect();
        remove(self.connection, table, &keys).await?;
        self.write(table, spans).await.map(|_| ())
    }

    async fn read_by_key(&mut self, table: Table, keys: &[SpanKey]) -> Result<HashMap<SpanKey, Span>> {
        read(self.connection, &self.store.resources, (table, self.tables.filled(table)), keys).await
    }

    /// Merges with the rows that were there, and answers with those that are changed by it. Rows that were just written
    /// are among them and are not.
    async fn merge_into_met(&mut self, table: Table, met: Vec<&Span>) -> Result<Vec<Span>> {
        let keys: Vec<SpanKey> = met.iter().map(|span| span.key()).collect();
        let mut rows = self.read_by_key(table, &keys).await?;
        let merged = met.into_iter().filter_map(|span| {
            let stored = rows.remove(&span.key())?;
            let merged = merge(stored.clone(), span.clone());
            let same = if table == Table::Open { stored == merged } else { says_all(stored, &merged) };
            (!same).then_some(merged)
        });
        Ok(merged.collect())
    }
}

/// Whether a row already says all that a merged span does. An ended row does not keep the last sign of life.
fn says_all(mut stored: Span, merged: &Span) -> bool {
    stored.seen_at = merged.seen_at;
    stored == *merged
}
