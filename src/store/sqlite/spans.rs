//! Spans in: one transaction a batch, each record merged with what is stored under its identity.
//!
//! Most spans are new, and for them nothing is read: the upsert of their trace's row says so. Only where a trace was
//! known before are its open rows looked for, and only where an INSERT finds a row in its way is that row read. Twins,
//! rows of one span in the tables of two days after a start that was told twice differently, may remain; readers fold
//! them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::days::{Days, Place};
use super::encode::{Shape, Verb, write_rows};
use super::stored::{read_ended, read_open, remove};
use super::traces::{Known, touch};
use super::{Sqlite, failed, nanos};
use crate::model::ids::TraceId;
use crate::model::merge::merge;
use crate::model::span::{Span, SpanKey};
use crate::model::tenant::TenantId;
use crate::store::columns::Filled;
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
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(DOING))?;
        let today = heard_at.day();
        let resources = self.resources.write(&mut transaction, batch, today).await?;
        let days = Days::load(&mut transaction).await.map_err(failed(DOING))?;
        let known = touch(&mut transaction, batch).await?;
        let mut write = BatchWrite { store: self, connection: &mut transaction, days, today };
        let plan = write.plan(batch, &known).await?;
        write.carry_out(plan).await?;
        transaction.commit().await.map_err(failed(DOING))?;
        self.resources.remember(resources, today);
        Ok(())
    }

    async fn write_dead_letters(&self, letters: &[DeadLetter]) -> Result<()> {
        let failed = failed("write dead letters");
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        for letter in letters {
            sqlx::query(
                "INSERT INTO dead_letters (tenant, trace_id, span_id, body, reason, refused_at) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(letter.tenant.as_str())
            .bind(letter.trace_id.as_str())
            .bind(letter.span_id.as_str())
            .bind(letter.body.as_str())
            .bind(letter.reason.as_str())
            .bind(nanos(letter.refused_at))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

/// What a batch does to the tables.
#[derive(Default)]
struct Plan<'b> {
    /// New rows of ended spans, unless the table has one already.
    ended: Vec<Cow<'b, Span>>,
    /// Rows of ended spans in place of those in the table.
    ended_again: Vec<(Place, Span)>,
    ended_gone: Vec<(Place, SpanKey)>,
    open: Vec<Cow<'b, Span>>,
    open_again: Vec<Cow<'b, Span>>,
    open_gone: Vec<SpanKey>,
}

type KnownTraces = HashMap<(TraceId, TenantId), Known>;

struct BatchWrite<'a> {
    store: &'a Sqlite,
    connection: &'a mut SqliteConnection,
    days: Days,
    today: u32,
}

impl BatchWrite<'_> {
    async fn plan<'b>(&mut self, batch: &'b [Span], known: &KnownTraces) -> Result<Plan<'b>> {
        let trace_of = |span: &Span| match known.is_empty() {
            true => None,
            false => known.get(&(span.trace_id, span.tenant.clone())),
        };
        let with_open_rows = batch.iter().filter(|span| trace_of(span).is_some_and(|trace| trace.has_open));
        let keys: Vec<SpanKey> = with_open_rows.map(Span::key).collect();
        let mut open_rows = read_open(self.connection, &self.store.resources, &keys).await?;

        let mut plan = Plan::default();
        let mut sought: Vec<(&Span, &Known)> = Vec::new();
        for span in batch {
            let stored = if open_rows.is_empty() { None } else { open_rows.remove(&span.key()) };
            match (stored, trace_of(span)) {
                (Some(stored), _) => {
                    let merged = merge(stored.clone(), span.clone());
                    if merged.is_ended() {
                        plan.open_gone.push(merged.key());
                        plan.ended.push(Cow::Owned(merged));
                    } else if merged != stored {
                        plan.open_again.push(Cow::Owned(merged));
                    }
                }
                (None, _) if span.is_ended() => plan.ended.push(Cow::Borrowed(span)),
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
        let mut by_place: BTreeMap<Place, Vec<SpanKey>> = BTreeMap::new();
        for (span, trace) in sought {
            let days = trace.days_with(span.started_at);
            for place in days.into_iter().flat_map(|days| self.days.between(days)) {
                by_place.entry(place).or_default().push(span.key());
            }
        }
        let mut ended: HashMap<SpanKey, Vec<(Place, Span)>> = HashMap::new();
        for (place, keys) in by_place {
            for (key, stored) in read_ended(self.connection, &self.store.resources, place, &keys).await? {
                ended.entry(key).or_default().push((place, stored));
            }
        }
        for (span, _) in sought {
            let key = span.key();
            let Some(rows) = ended.remove(&key) else {
                plan.open.push(Cow::Borrowed(span));
                continue;
            };
            let merged = rows.iter().fold((*span).clone(), |merged, (_, row)| merge(merged, row.clone()));
            let home = merged.started_at.map_or(Place::Default, |at| self.days.place(at, self.today));
            plan.ended_gone
                .extend(rows.iter().filter(|(place, _)| *place != home).map(|(place, _)| (*place, key.clone())));
            let at_home = rows.into_iter().find(|(place, _)| *place == home);
            match at_home.map(|(_, stored)| says_all(stored, &merged)) {
                None => plan.ended.push(Cow::Owned(merged)),
                Some(true) => {}
                Some(false) => plan.ended_again.push((home, merged)),
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, plan: Plan<'_>) -> Result<()> {
        let Plan { ended, ended_again, ended_gone, open, open_again, open_gone } = plan;
        remove(self.connection, "open_spans", &open_gone).await?;
        let mut gone: BTreeMap<Place, Vec<SpanKey>> = BTreeMap::new();
        for (place, key) in ended_gone {
            gone.entry(place).or_default().push(key);
        }
        for (place, keys) in gone {
            remove(self.connection, &place.to_string(), &keys).await?;
        }
        self.write_open(Verb::Insert, &open).await?;
        self.write_open(Verb::Replace, &open_again).await?;

        let mut by_place: BTreeMap<Place, Vec<Cow<'_, Span>>> = BTreeMap::new();
        for span in ended {
            let place = span.started_at.map_or(Place::Default, |at| self.days.place(at, self.today));
            by_place.entry(place).or_default().push(span);
        }
        let wanted: BTreeSet<u32> = by_place.keys().filter_map(|place| place.day()).collect();
        self.days.make(self.connection, wanted).await.map_err(failed(DOING))?;
        let mut again: BTreeMap<Place, Vec<Cow<'_, Span>>> = BTreeMap::new();
        for (place, span) in ended_again {
            again.entry(place).or_default().push(Cow::Owned(span));
        }
        for (place, spans) in &by_place {
            let met = self.write_ended(Verb::Insert, *place, spans).await?;
            let changed = self.merge_into_met(*place, met).await?;
            again.entry(*place).or_default().extend(changed.into_iter().map(Cow::Owned));
        }
        for (place, spans) in &again {
            self.write_ended(Verb::Replace, *place, spans).await?;
        }
        Ok(())
    }

    async fn write_open(&mut self, verb: Verb, spans: &[Cow<'_, Span>]) -> Result<()> {
        let shape = Shape { filled: filled_by(spans), open: true };
        let rows = self.store.rows_per_statement;
        write_rows(self.connection, verb, "open_spans", shape, spans, rows).await.map_err(failed(DOING))?;
        Ok(())
    }

    /// Answers with the spans of those statements that met a row of theirs in the table.
    async fn write_ended<'s>(&mut self, verb: Verb, place: Place, spans: &'s [Cow<'_, Span>]) -> Result<Vec<&'s Span>> {
        let shape = Shape { filled: widened(filled_by(spans), &self.store.filled), open: false };
        let rows = self.store.rows_per_statement;
        write_rows(self.connection, verb, &place.to_string(), shape, spans, rows).await.map_err(failed(DOING))
    }

    /// Merges with the rows that were there, and answers with those that are changed by it. Rows that were just written
    /// are among them and are not.
    async fn merge_into_met(&mut self, place: Place, met: Vec<&Span>) -> Result<Vec<Span>> {
        let keys: Vec<SpanKey> = met.iter().map(|span| span.key()).collect();
        let mut rows = read_ended(self.connection, &self.store.resources, place, &keys).await?;
        let merged = met.into_iter().filter_map(|span| {
            let stored = rows.remove(&span.key())?;
            let merged = merge(stored.clone(), span.clone());
            (!says_all(stored, &merged)).then_some(merged)
        });
        Ok(merged.collect())
    }
}

/// Whether a row already says all that a merged span does. An ended row does not keep the last sign of life.
fn says_all(mut stored: Span, merged: &Span) -> bool {
    stored.seen_at = merged.seen_at;
    stored == *merged
}

fn filled_by(spans: &[Cow<'_, Span>]) -> Filled {
    spans.iter().fold(Filled::default(), |filled, span| filled.union(Filled::by(span)))
}

/// The columns of the last batch, if they are these and few more; else these, which the next batch may then use.
fn widened(filled: Filled, last: &AtomicU64) -> Filled {
    let before = Filled::from_bits(last.load(Ordering::Relaxed));
    if before.contains(filled) && before.len() <= filled.len() + SPARE_COLUMNS {
        return before;
    }
    let both = before.union(filled);
    let chosen = if both.len() <= filled.len() + SPARE_COLUMNS { both } else { filled };
    last.store(chosen.bits(), Ordering::Relaxed);
    chosen
}
