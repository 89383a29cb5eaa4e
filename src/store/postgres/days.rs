//! The partitions of `spans`: one a day near the present, and one for all other days.
//!
//! A day's partition keeps its indexes small, so that writing stays fast however much is stored, and an old day is
//! removed by dropping it. A day has its partition before its first row; a day that could not get one in time (no right
//! to, rows of it in the default partition, a lock held by others) is left to the default partition.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::AssertSqlSafe;

use super::work::{Mode, Work};
use super::{Postgres, Schema, failed};
use crate::model::span::Span;
use crate::model::time::UnixNanos;
use crate::store::rows::Reader;
use crate::store::{Result, StoreError};

/// Days before the present, and after it, that get a partition of their own, so that clocks gone astray do not make
/// thousands.
const DAYS_BACK: u32 = 35;
const DAYS_AHEAD: u32 = 2;

/// The days about which this process need not ask again.
#[derive(Default)]
pub(super) struct Days(Mutex<BTreeMap<u32, Day>>);

/// Where the rows of a day go.
enum Day {
    /// To a partition of their own.
    Apart,
    /// To the default one, for this reason, unless somebody else makes a partition.
    Left(String),
}

impl Days {
    fn unknown(&self, days: impl Iterator<Item = u32>) -> BTreeSet<u32> {
        let known = self.lock();
        days.filter(|day| !known.contains_key(day)).collect()
    }

    /// Whether nobody has been told yet that this day is left.
    fn remember(&self, day: u32, is: Day) -> bool {
        let is_left = matches!(is, Day::Left(_));
        let before = self.lock().insert(day, is);
        is_left && !matches!(before, Some(Day::Left(_)))
    }

    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// What is to be said of the days that were left.
    pub(super) fn note(&self) -> Option<String> {
        let days = self.lock();
        let left = days.iter().filter_map(|(day, is)| match is {
            Day::Left(reason) => Some((*day, reason)),
            Day::Apart => None,
        });
        let (names, mut reasons): (Vec<String>, Vec<&String>) = left.map(|(day, why)| (date(day), why)).unzip();
        let reason = reasons.pop()?;
        Some(format!(
            "spans of {} go to spans_default, which is slower to clear ({reason}): run `tracefall maintain --once` daily \
             as the owner of the schema, or name that role in store.admin_url",
            names.join(", ")
        ))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Day>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The days whose partitions are made before their first row comes: days of the past make theirs when one does.
pub(super) fn ahead(now: UnixNanos) -> RangeInclusive<u32> {
    now.day()..=now.day() + DAYS_AHEAD
}

/// The days of a batch that are to have a partition when the present is `today`.
pub(super) fn of_batch(batch: &[Span], today: u32) -> BTreeSet<u32> {
    let window = today.saturating_sub(DAYS_BACK)..=today + DAYS_AHEAD;
    let mut days = BTreeSet::new();
    let mut last = None;
    for day in batch.iter().filter_map(|span| span.started_at).map(UnixNanos::day) {
        // Nearly all of a batch is of one day.
        if last.replace(day) != Some(day) && window.contains(&day) {
            days.insert(day);
        }
    }
    days
}

/// The name of a day's partition, of digits but for its beginning.
pub(super) fn name(day: u32) -> String {
    format!("spans_{}", date(day).replace('-', ""))
}

/// A day as `2026-01-05`.
fn date(day: u32) -> String {
    UnixNanos::of_day(day).date()
}

impl Postgres {
    /// Sees to it that each of these days either has its partition or is left to the default one.
    pub(super) async fn make_days(&self, days: impl Iterator<Item = u32>, doing: &'static str) -> Result<()> {
        let unknown = self.days.unknown(days);
        self.ask_for_days(unknown, doing).await
    }

    /// As [`Postgres::make_days`], and asks again for those that were left: what stood in the way may be gone.
    pub(super) async fn make_days_anew(&self, days: impl Iterator<Item = u32>, doing: &'static str) -> Result<()> {
        let known = |day: &u32| matches!(self.days.lock().get(day), Some(Day::Apart));
        let unknown = days.filter(|day| !known(day)).collect();
        self.ask_for_days(unknown, doing).await
    }

    async fn ask_for_days(&self, unknown: BTreeSet<u32>, doing: &'static str) -> Result<()> {
        if unknown.is_empty() {
            return Ok(());
        }
        let mut work = Work::begin(&self.admin, Mode::Define, self.limits, doing).await?;
        let there = partitions(&mut work, &self.schema, doing).await;
        let there = work.end(there).await?;
        for day in unknown {
            if there.contains(&name(day)) {
                self.days.remember(day, Day::Apart);
                continue;
            }
            match self.make_day(day, doing).await {
                Ok(()) => {
                    tracing::info!(partition = name(day), "a day got its partition");
                    self.days.remember(day, Day::Apart);
                }
                Err(error) if is_left(&error) => {
                    if self.days.remember(day, Day::Left(super::message_of(&error))) {
                        tracing::warn!(day = date(day), %error, "spans of this day go to spans_default");
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn make_day(&self, day: u32, doing: &'static str) -> Result<()> {
        let mut work = Work::begin(&self.admin, Mode::Define, self.limits, doing).await?;
        let made = make(&mut work, &self.schema, day, doing).await;
        work.end(made).await
    }
}

async fn make(work: &mut Work, schema: &Schema, day: u32, doing: &'static str) -> Result<()> {
    work.execute(super::maintenance::one_at_a_time(schema)).await?;
    let name = name(day);
    if partitions(work, schema, doing).await?.contains(&name) || day < first_day(work, schema, doing).await? {
        return Ok(());
    }
    // Attaching what was made apart locks out no reader of the other days.
    work.execute(format!(
        "CREATE TABLE {schema}{name} (LIKE {schema}spans INCLUDING DEFAULTS); \
         ALTER TABLE {schema}spans ATTACH PARTITION {schema}{name} \
         FOR VALUES FROM ('{} 00:00:00+00') TO ('{} 00:00:00+00')",
        date(day),
        date(day + 1),
    ))
    .await
}

/// The names of the partitions there are.
pub(super) async fn partitions(work: &mut Work, schema: &Schema, doing: &'static str) -> Result<BTreeSet<String>> {
    // Safe: the schema's name is a plain word.
    let sql = AssertSqlSafe(format!(
        "SELECT relname::text FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class ON oid = inhrelid \
         WHERE inhparent = to_regclass('{schema}spans')"
    ));
    let rows = sqlx::query(sql).fetch_all(&mut **work).await.map_err(failed(doing))?;
    rows.iter().map(|row| Ok(Reader::new(row, &["relname"], doing).required_text()?.to_owned())).collect()
}

/// The checkpoint that holds the first day that may have a partition: those before it were removed.
const FIRST_DAY: &str = "first day";

async fn first_day(work: &mut Work, schema: &Schema, doing: &'static str) -> Result<u32> {
    // Safe: the schema's name is a plain word.
    let sql = AssertSqlSafe(format!("SELECT reached::bigint FROM {schema}checkpoints WHERE name = $1"));
    let row = sqlx::query(sql).bind(FIRST_DAY).fetch_optional(&mut **work).await.map_err(failed(doing))?;
    let day = row.map(|row| Reader::new(&row, &[FIRST_DAY], doing).day()).transpose()?;
    Ok(day.flatten().unwrap_or_default())
}

/// From now on no day before this one gets a partition. To be called where nobody makes one.
pub(super) async fn close(work: &mut Work, schema: &Schema, before: u32, doing: &'static str) -> Result<()> {
    // Safe: the schema's name is a plain word.
    let sql = AssertSqlSafe(format!(
        "INSERT INTO {schema}checkpoints AS c (name, reached) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE \
         SET reached = excluded.reached WHERE excluded.reached::bigint > c.reached::bigint"
    ));
    let query = sqlx::query(sql).bind(FIRST_DAY).bind(before.to_string());
    query.execute(&mut **work).await.map_err(failed(doing))?;
    Ok(())
}

/// Whether a day that met this error is left to the default partition: no right to make one, rows of the day there
/// already, or others who hold a lock for long.
fn is_left(error: &StoreError) -> bool {
    error.code().is_some_and(|code| ["42501", "23514", "55P03"].contains(&code.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{SpanId, TraceId};
    use crate::model::tenant::TenantId;

    #[test]
    fn a_partition_is_named_after_its_day() {
        assert_eq!((name(0), date(0)), ("spans_19700101".to_owned(), "1970-01-01".to_owned()));
        assert_eq!((name(20_458), date(20_459)), ("spans_20260105".to_owned(), "2026-01-06".to_owned()));
    }

    #[test]
    fn days_near_the_present_get_partitions_and_others_share_one() {
        let trace_id = TraceId::from_bytes([1; 16]).unwrap();
        let span = |day: Option<u32>| {
            let mut span = Span::new(TenantId::default(), trace_id, SpanId::parse("1").unwrap(), UnixNanos::default());
            span.started_at = day.map(UnixNanos::of_day);
            span
        };
        let batch = [Some(64), Some(65), None, Some(65), Some(102), Some(103), Some(0), Some(65)].map(span);
        assert_eq!(of_batch(&batch, 100), BTreeSet::from([65, 102]));
        assert_eq!(ahead(UnixNanos::of_day(100)), 100..=102);
    }
}
