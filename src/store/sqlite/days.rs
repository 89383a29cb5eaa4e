//! One table a day: what exists, what is made, and where a span belongs.
//!
//! A day's table keeps its indexes small, so that writing stays fast however much is stored, and an old day is removed
//! by dropping it. The table `span_days` names the days that have one. It is read inside the transaction that uses it,
//! so every process sees the tables that its snapshot has.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::model::time::UnixNanos;

/// Days before the present, and after it, that get a table of their own. Spans of other days go to `spans_default`, so
/// that clocks gone astray do not make thousands of tables.
const DAYS_BACK: u32 = 35;
const DAYS_AHEAD: u32 = 2;

/// Tables that one SELECT can unite: SQLite's limit on the terms of a compound one, less one for `spans_default`.
const MAX_IN_VIEW: usize = 499;

/// A table of ended spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    Default,
    /// Days since 1970-01-01.
    Day(u32),
}

impl Place {
    /// The day whose table it is.
    pub(super) fn day(self) -> Option<u32> {
        match self {
            Place::Default => None,
            Place::Day(day) => Some(day),
        }
    }
}

/// The table's name. It is the only thing in a statement's text that is not constant, and it is made of digits.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Default => f.write_str("spans_default"),
            Place::Day(day) => {
                let days = jiff::Span::new().try_days(i64::from(*day)).map_err(|_| fmt::Error)?;
                let date = jiff::civil::date(1970, 1, 1).checked_add(days).map_err(|_| fmt::Error)?;
                write!(f, "spans_{:04}{:02}{:02}", date.year(), date.month(), date.day())
            }
        }
    }
}

/// The days that have a table.
#[derive(Debug, Default)]
pub(super) struct Days(BTreeSet<u32>);

impl Days {
    pub(super) async fn load(connection: &mut SqliteConnection) -> sqlx::Result<Self> {
        let rows = sqlx::query("SELECT day FROM span_days").fetch_all(connection).await?;
        rows.iter().map(|row| row.try_get::<u32, _>(0)).collect::<sqlx::Result<_>>().map(Self)
    }

    /// Where a span that started at `started_at` belongs, when the present is `today`.
    pub(super) fn place(&self, started_at: UnixNanos, today: u32) -> Place {
        let day = started_at.day();
        if self.0.contains(&day) || window(today).contains(&day) { Place::Day(day) } else { Place::Default }
    }

    /// The tables in which spans of these days may be. `spans_default` is always among them: a span may have come before
    /// its day got a table.
    pub(super) fn between(&self, days: RangeInclusive<u32>) -> impl Iterator<Item = Place> {
        let days = if days.is_empty() { 0..=0 } else { days };
        [Place::Default].into_iter().chain(self.0.range(days).map(|day| Place::Day(*day)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Place> {
        self.0.iter().map(|day| Place::Day(*day))
    }

    /// Makes those of the `wanted` tables that are missing, as copies of `spans_default`, and the view `spans` anew. To
    /// be called inside a writing transaction.
    pub(super) async fn make(
        &mut self,
        connection: &mut SqliteConnection,
        wanted: impl IntoIterator<Item = u32>,
    ) -> sqlx::Result<()> {
        let missing: BTreeSet<u32> = wanted.into_iter().filter(|day| !self.0.contains(day)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = 'spans_default' AND sql IS NOT NULL ORDER BY type DESC",
        )
        .fetch_all(&mut *connection)
        .await?;
        let definitions = rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<Vec<String>>>()?;
        for day in &missing {
            let name = Place::Day(*day).to_string();
            for definition in &definitions {
                // Safe: our own migration's text, with a name of digits.
                let definition = definition.replace("spans_default", &name);
                sqlx::raw_sql(AssertSqlSafe(definition)).execute(&mut *connection).await?;
            }
            sqlx::query("INSERT INTO span_days (day) VALUES (?)").bind(*day).execute(&mut *connection).await?;
        }
        self.0.extend(missing);
        self.unite(connection).await
    }

    /// Drops every day's table.
    pub(super) async fn drop_all(connection: &mut SqliteConnection) -> sqlx::Result<()> {
        let days = Self::load(connection).await?;
        for place in days.iter() {
            // Safe: a name of digits.
            sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE {place}"))).execute(&mut *connection).await?;
        }
        sqlx::query("DELETE FROM span_days").execute(&mut *connection).await?;
        Self::default().unite(connection).await
    }

    async fn unite(&self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        let newest = self.0.iter().rev().take(MAX_IN_VIEW).map(|day| Place::Day(*day));
        let selects: Vec<String> =
            newest.chain([Place::Default]).map(|place| format!("SELECT * FROM {place}")).collect();
        // Safe: names of digits.
        let view = format!("DROP VIEW spans; CREATE VIEW spans AS {}", selects.join(" UNION ALL "));
        sqlx::raw_sql(AssertSqlSafe(view)).execute(connection).await?;
        Ok(())
    }
}

/// The days that get a table when the present is `today`.
fn window(today: u32) -> RangeInclusive<u32> {
    today.saturating_sub(DAYS_BACK)..=today + DAYS_AHEAD
}

/// The days whose tables are made before their first row comes: days of the past make theirs when one does.
pub(super) fn ahead(now: UnixNanos) -> RangeInclusive<u32> {
    now.day()..=now.day() + DAYS_AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::DAY_NS;

    #[test]
    fn a_table_is_named_after_its_day() {
        assert_eq!(Place::Day(0).to_string(), "spans_19700101");
        assert_eq!(Place::Day(20_458).to_string(), "spans_20260105");
        assert_eq!(Place::Day(UnixNanos::MAX.day()).to_string(), "spans_25540721");
    }

    #[test]
    fn days_near_the_present_have_tables_and_others_share_one() {
        let days = Days(BTreeSet::from([10, 100]));
        let at = |day: u64| UnixNanos::new(day * DAY_NS + 1);
        for (day, place) in [
            (64, Place::Default),
            (65, Place::Day(65)),
            (102, Place::Day(102)),
            (103, Place::Default),
            (10, Place::Day(10)),
        ] {
            assert_eq!(days.place(at(day), 100), place, "day {day}");
        }
        assert_eq!(days.place(UnixNanos::MAX, 100), Place::Default);
        assert_eq!(days.between(11..=100).collect::<Vec<_>>(), [Place::Default, Place::Day(100)]);
    }
}
