//! The tables of spans: one a day for those that ended, one for all other days, one for those that are open.
//!
//! A day's table keeps its indexes small, so that writing stays fast however much is stored, and an old day is removed
//! by dropping it. The table `span_tables` names them all. It is read inside the transaction that uses it, so every
//! process sees the tables that its snapshot has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use super::failed;
use crate::model::time::UnixNanos;
use crate::store::Result;
use crate::store::columns::Filled;
use crate::store::rows::{Cells, Reader};

/// Days before the present, and after it, that get a table of their own. Spans of other days go to `spans_default`, so
/// that clocks gone astray do not make thousands of tables.
const DAYS_BACK: u32 = 35;
const DAYS_AHEAD: u32 = 2;

/// Tables that one SELECT can unite: SQLite's limit on the terms of a compound one, less those that are always there.
const MAX_IN_VIEW: usize = 498;

/// The checkpoint that holds the first day that may have a table: those before it were removed.
const FIRST_DAY: &str = "first day";

/// A table of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Table {
    Open,
    /// Ended ones that were moved out of their day, which is gone.
    Kept,
    /// Ended ones of the days that have no table of their own.
    Default,
    /// Ended ones that started on a day, counted from 1970-01-01.
    Day(u32),
}

/// The table's name. It is the only thing in a statement's text that is not constant, and it is made of digits.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Table::Open => f.write_str("open_spans"),
            Table::Kept => f.write_str("spans_kept"),
            Table::Default => f.write_str("spans_default"),
            Table::Day(day) => {
                let days = jiff::Span::new().try_days(i64::from(*day)).map_err(|_| fmt::Error)?;
                let date = jiff::civil::date(1970, 1, 1).checked_add(days).map_err(|_| fmt::Error)?;
                write!(f, "spans_{:04}{:02}{:02}", date.year(), date.month(), date.day())
            }
        }
    }
}

/// The tables that there are, each with the columns that some of its rows may fill.
#[derive(Debug, Default)]
pub(super) struct Tables {
    filled: BTreeMap<Table, Filled>,
    /// Days before it get no table any more.
    first_day: u32,
}

impl Tables {
    pub(super) async fn load(connection: &mut SqliteConnection, doing: &'static str) -> Result<Self> {
        let query = sqlx::query("SELECT name, day, filled FROM span_tables");
        let rows = query.fetch_all(&mut *connection).await.map_err(failed(doing))?;
        let table = |row| Self::entry(&mut Reader::new(row, &["name", "day", "filled"], doing));
        let filled = rows.iter().map(table).collect::<Result<_>>()?;
        let query = sqlx::query("SELECT CAST(reached AS INTEGER) FROM checkpoints WHERE name = ?").bind(FIRST_DAY);
        let row = query.fetch_optional(connection).await.map_err(failed(doing))?;
        let first_day = row.map(|row| Reader::new(&row, &[FIRST_DAY], doing).day()).transpose()?;
        Ok(Self { filled, first_day: first_day.flatten().unwrap_or_default() })
    }

    /// From now on no day before this one gets a table, nor new rows in the one that it has.
    pub(super) async fn close_days(connection: &mut SqliteConnection, before: u32) -> sqlx::Result<()> {
        let query = sqlx::query(
            "INSERT INTO checkpoints (name, reached) VALUES (?, ?) ON CONFLICT (name) DO UPDATE \
             SET reached = excluded.reached WHERE CAST(excluded.reached AS INTEGER) > CAST(reached AS INTEGER)",
        );
        query.bind(FIRST_DAY).bind(before.to_string()).execute(connection).await?;
        Ok(())
    }

    /// A row's name, day and filled columns.
    pub(super) fn entry<R: Cells>(cells: &mut Reader<'_, R>) -> Result<(Table, Filled)> {
        let name = cells.required_text()?;
        let day = cells.day()?;
        let filled = Filled::parse(cells.required_text()?);
        let filled = filled.map_err(|name| cells.corrupt(format_args!("{name:?} is no column of a span")))?;
        let table = match (day, name) {
            (Some(day), _) => Table::Day(day),
            (None, "open_spans") => Table::Open,
            (None, "spans_kept") => Table::Kept,
            (None, _) => Table::Default,
        };
        Ok((table, filled))
    }

    /// Where an ended span that started at `started_at` belongs, when the present is `today`.
    pub(super) fn home(&self, started_at: Option<UnixNanos>, today: u32) -> Table {
        let Some(started_at) = started_at else { return Table::Default };
        let day = Table::Day(started_at.day());
        let has_one = self.filled.contains_key(&day) || window(today).contains(&started_at.day());
        if has_one && started_at.day() >= self.first_day { day } else { Table::Default }
    }

    /// The tables in which ended spans of these days may be. `spans_default` is always among them: a span may have come
    /// before its day got a table. So is `spans_kept`.
    pub(super) fn between(&self, days: &RangeInclusive<u32>) -> impl Iterator<Item = Table> {
        let days = days.clone();
        self.filled.keys().copied().filter(move |table| match table {
            Table::Open => false,
            Table::Kept | Table::Default => true,
            Table::Day(day) => days.contains(day),
        })
    }

    pub(super) fn filled(&self, table: Table) -> Filled {
        self.filled.get(&table).copied().unwrap_or_default()
    }

    /// Notes that rows of a table fill these columns. To be called in the transaction that writes them, before it does.
    pub(super) async fn fill(
        &mut self,
        connection: &mut SqliteConnection,
        table: Table,
        filled: Filled,
    ) -> sqlx::Result<()> {
        let before = self.filled(table);
        if before.contains(filled) {
            return Ok(());
        }
        let filled = before.union(filled);
        self.filled.insert(table, filled);
        let query = sqlx::query("UPDATE span_tables SET filled = ? WHERE name = ?");
        query.bind(filled.to_text()).bind(table.to_string()).execute(connection).await?;
        Ok(())
    }

    /// Makes those of the `wanted` days' tables that are missing, as copies of `spans_default`, and the view `spans`
    /// anew. To be called in a writing transaction.
    pub(super) async fn make(
        &mut self,
        connection: &mut SqliteConnection,
        wanted: impl IntoIterator<Item = u32>,
    ) -> sqlx::Result<()> {
        let missing: BTreeSet<u32> = wanted
            .into_iter()
            .filter(|day| *day >= self.first_day && !self.filled.contains_key(&Table::Day(*day)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(
            // Ours by their names: what others hang on the table is not copied.
            "SELECT sql FROM sqlite_schema WHERE tbl_name = 'spans_default' AND sql IS NOT NULL \
             AND type IN ('table', 'index') AND name GLOB 'spans_default*' \
             AND name <> 'spans_default_created_at' ORDER BY type DESC",
        )
        .fetch_all(&mut *connection)
        .await?;
        let definitions = rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<Vec<String>>>()?;
        for day in missing {
            let name = Table::Day(day).to_string();
            for definition in &definitions {
                // Safe: our own migration's text, with a name of digits.
                let definition = definition.replace("spans_default", &name);
                sqlx::raw_sql(AssertSqlSafe(definition)).execute(&mut *connection).await?;
            }
            let insert = sqlx::query("INSERT INTO span_tables (name, day) VALUES (?, ?)").bind(name).bind(day);
            insert.execute(&mut *connection).await?;
            self.filled.insert(Table::Day(day), Filled::default());
        }
        unite(connection, self.days()).await
    }

    /// Drops a day's table.
    pub(super) async fn drop_day(&mut self, connection: &mut SqliteConnection, day: u32) -> sqlx::Result<()> {
        if self.filled.remove(&Table::Day(day)).is_none() {
            return Ok(());
        }
        unite(connection, self.days()).await?;
        // Safe: a name of digits.
        let drop = AssertSqlSafe(format!("DROP TABLE {}", Table::Day(day)));
        sqlx::raw_sql(drop).execute(&mut *connection).await?;
        sqlx::query("DELETE FROM span_tables WHERE day = ?").bind(day).execute(connection).await?;
        Ok(())
    }

    /// The days that have a table, oldest first.
    pub(super) fn each_day(&self) -> impl Iterator<Item = u32> {
        self.filled.keys().filter_map(|table| if let Table::Day(day) = table { Some(*day) } else { None })
    }

    /// Drops every day's table.
    pub(super) async fn drop_days(connection: &mut SqliteConnection, doing: &'static str) -> Result<()> {
        let tables = Self::load(connection, doing).await?;
        for table in tables.days() {
            // Safe: a name of digits.
            let drop = sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE {table}")));
            drop.execute(&mut *connection).await.map_err(failed(doing))?;
        }
        let delete = sqlx::query("DELETE FROM span_tables WHERE day IS NOT NULL");
        delete.execute(&mut *connection).await.map_err(failed(doing))?;
        unite(connection, []).await.map_err(failed(doing))
    }

    /// Newest first.
    fn days(&self) -> impl Iterator<Item = Table> {
        self.filled.keys().rev().copied().filter(|table| matches!(table, Table::Day(_)))
    }
}

async fn unite(connection: &mut SqliteConnection, days: impl IntoIterator<Item = Table>) -> sqlx::Result<()> {
    let tables = days.into_iter().take(MAX_IN_VIEW).chain([Table::Kept, Table::Default]);
    let selects: Vec<String> = tables.map(|table| format!("SELECT * FROM {table}")).collect();
    // Safe: names of digits.
    let view = format!("DROP VIEW spans; CREATE VIEW spans AS {}", selects.join(" UNION ALL "));
    sqlx::raw_sql(AssertSqlSafe(view)).execute(connection).await?;
    Ok(())
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
        assert_eq!(Table::Day(0).to_string(), "spans_19700101");
        assert_eq!(Table::Day(20_458).to_string(), "spans_20260105");
        assert_eq!(Table::Day(UnixNanos::MAX.day()).to_string(), "spans_25540721");
    }

    #[test]
    fn days_near_the_present_have_tables_and_others_share_one() {
        let known = [Table::Open, Table::Default, Table::Day(10), Table::Day(100)];
        let filled = known.map(|table| (table, Filled::default())).into();
        let mut tables = Tables { filled, first_day: 0 };
        let at = |day: u64| Some(UnixNanos::new(day * DAY_NS + 1));
        for (day, table) in [
            (64, Table::Default),
            (65, Table::Day(65)),
            (102, Table::Day(102)),
            (103, Table::Default),
            (10, Table::Day(10)),
        ] {
            assert_eq!(tables.home(at(day), 100), table, "day {day}");
        }
        assert_eq!(tables.home(Some(UnixNanos::MAX), 100), Table::Default);
        assert_eq!(tables.between(&(11..=100)).collect::<Vec<_>>(), [Table::Default, Table::Day(100)]);
        assert_eq!(ahead(UnixNanos::new(100 * DAY_NS)), 100..=102);
        tables.first_day = 99;
        assert_eq!(tables.home(at(98), 100), Table::Default, "what was removed does not come back");
        assert_eq!(tables.home(at(10), 100), Table::Default, "nor does what is about to be get new rows");
        assert_eq!(tables.home(at(99), 100), Table::Day(99));
    }
}
