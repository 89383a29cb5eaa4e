//! What is past its keep-by date, out of the file: each step one transaction on the writer's connection, which lets
//! waiting batches pass between the steps.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::tables::{Table, Tables};
use super::{Sqlite, failed, nanos};
use crate::model::ids::TraceId;
use crate::model::time::UnixNanos;
use crate::store::retention::{is_pinned, outlives_its_day};
use crate::store::rows::Reader;
use crate::store::{Cleared, Due, KeepBy, Place, Result, Retention};

/// Traces judged in one step.
const TRACES: i64 = 500;
/// Rows moved or removed in one transaction.
const ROWS: i64 = 2_000;
/// Pages of 4 KiB that are given back in one transaction.
const PAGES: u32 = 2_000;

/// Ids from a JSON array of hex texts, so that one statement is for any number of them.
const IDS: &str = "(SELECT unhex(value) FROM json_each($1))";

const DOING: &str = "remove old spans";

#[async_trait]
impl Retention for Sqlite {
    async fn lease(&self, name: &str, holder: &str, now: UnixNanos, until: UnixNanos) -> Result<bool> {
        let query = sqlx::query(
            "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
             SET holder = excluded.holder, until = excluded.until WHERE holder = excluded.holder OR until <= $4",
        );
        let query = query.bind(name).bind(holder).bind(nanos(until)).bind(nanos(now));
        let done = query.execute(&self.writer).await.map_err(failed("take a lease"))?;
        Ok(done.rows_affected() > 0)
    }

    async fn days_before(&self, day: u32) -> Result<Vec<u32>> {
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let tables = Tables::load(&mut connection, DOING).await?;
        Ok(tables.each_day().filter(|each| *each < day).collect())
    }

    async fn close_days(&self, before: u32) -> Result<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(DOING))?;
        Tables::close_days(&mut transaction, before).await.map_err(failed(DOING))?;
        transaction.commit().await.map_err(failed(DOING))
    }

    async fn clear(&self, place: Place, after: Option<TraceId>, keep_by: &KeepBy) -> Result<Cleared> {
        let step = Step::new(place, keep_by);
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(DOING))?;
        let tables = Tables::load(&mut transaction, DOING).await?;
        let ids = match step.exists(&tables) {
            true => step.candidates(&mut transaction, after).await?,
            false => Vec::new(),
        };
        let Some(last) = ids.last().copied() else { return Ok(Cleared::default()) };
        let ids = hex(&ids);
        let marked = step.mark(&mut transaction, &ids).await?;
        let removed = step.remove(&mut transaction, &ids).await?;
        transaction.commit().await.map_err(failed(DOING))?;
        let mut moved = 0;
        if matches!(place, Place::Day(_) | Place::OtherDays) {
            loop {
                let some = self.move_some(&ids).await?;
                moved += some;
                if some < ROWS.unsigned_abs() {
                    break;
                }
            }
        }
        self.checkpoints.note(usize::try_from(moved + removed + marked).unwrap_or_default());
        // Elsewhere the rows themselves say what is left.
        Ok(Cleared { moved, removed, marked, next: Some(last) })
    }

    async fn drop_day(&self, day: u32, _keep_by: &KeepBy) -> Result<bool> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(DOING))?;
        let mut tables = Tables::load(&mut transaction, DOING).await?;
        if !tables.each_day().any(|each| each == day) {
            return Ok(true);
        }
        // No row has come since the day was closed, but a pin may have. Safe: a name of digits.
        let pinned = AssertSqlSafe(format!(
            "SELECT 1 FROM pins AS p WHERE EXISTS (SELECT 1 FROM {} AS s WHERE s.trace_id = p.trace_id \
             AND s.tenant = p.tenant) LIMIT 1",
            Table::Day(day)
        ));
        if sqlx::query(pinned).fetch_optional(&mut *transaction).await.map_err(failed(DOING))?.is_some() {
            return Ok(false);
        }
        tables.drop_day(&mut transaction, day).await.map_err(failed(DOING))?;
        transaction.commit().await.map_err(failed(DOING))?;
        Ok(true)
    }

    async fn note_expired(&self, after: Option<TraceId>, now: UnixNanos) -> Result<Option<TraceId>> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(DOING))?;
        let query = sqlx::query(
            "SELECT trace_id, tenant, first_day, last_day FROM traces WHERE spans_partial AND trace_id > ? \
             ORDER BY trace_id LIMIT ?",
        );
        let query = query.bind(bytes(after)).bind(TRACES);
        let rows = query.fetch_all(&mut *transaction).await.map_err(failed(DOING))?;
        let tables = Tables::load(&mut transaction, DOING).await?;
        let mut last = None;
        for row in &rows {
            let mut cells = Reader::new(row, &["trace_id", "tenant", "first_day", "last_day"], DOING);
            let (trace_id, tenant) = (cells.trace_id()?, cells.required_text()?);
            let days = cells.day()?.zip(cells.day()?).map_or(0..=0, |(first, last)| first..=last);
            last = Some(trace_id);
            let mut is_left = false;
            for table in tables.between(&days).chain([Table::Open]) {
                // Safe: a name of our own.
                let sql = AssertSqlSafe(format!("SELECT 1 FROM {table} WHERE trace_id = ? AND tenant = ? LIMIT 1"));
                let query = sqlx::query(sql).bind(&trace_id.as_bytes()[..]).bind(tenant);
                is_left |= query.fetch_optional(&mut *transaction).await.map_err(failed(DOING))?.is_some();
                if is_left {
                    break;
                }
            }
            if !is_left {
                let query = sqlx::query(
                    "UPDATE traces SET spans_partial = 0, spans_expired_at = ? WHERE trace_id = ? AND tenant = ?",
                );
                let query = query.bind(nanos(now)).bind(&trace_id.as_bytes()[..]).bind(tenant);
                query.execute(&mut *transaction).await.map_err(failed(DOING))?;
            }
        }
        transaction.commit().await.map_err(failed(DOING))?;
        // Tenants that share the last id are looked at once more by the next run.
        Ok(last.filter(|_| rows.len() as i64 == TRACES))
    }

    async fn remove_others(&self, keep_by: &KeepBy, resources: bool) -> Result<u64> {
        let failed = failed(DOING);
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        // Safe: names of our own tables.
        let rollups = AssertSqlSafe(format!(
            "DELETE FROM traces WHERE rowid IN (SELECT rowid FROM traces AS t WHERE spans_expired_at IS NOT NULL \
             AND created_at < ? AND NOT {} LIMIT ?)",
            is_pinned("")
        ));
        let rollups = sqlx::query(rollups).bind(nanos(keep_by.rollups)).bind(ROWS);
        let mut removed = rollups.execute(&mut *transaction).await.map_err(failed)?.rows_affected();
        let letters = sqlx::query(
            "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE refused_at < ? \
             OR id <= (SELECT id FROM dead_letters ORDER BY id DESC LIMIT 1 OFFSET ?) LIMIT ?)",
        );
        let most = i64::try_from(keep_by.dead_letters_max).unwrap_or(i64::MAX);
        let letters = letters.bind(nanos(keep_by.dead_letters)).bind(most).bind(ROWS);
        removed += letters.execute(&mut *transaction).await.map_err(failed)?.rows_affected();
        let deletions = sqlx::query(
            "DELETE FROM deletions WHERE (trace_id, tenant) IN \
             (SELECT trace_id, tenant FROM deletions WHERE deleted_at < ? LIMIT ?)",
        );
        let deletions = deletions.bind(nanos(keep_by.rollups)).bind(ROWS);
        removed += deletions.execute(&mut *transaction).await.map_err(failed)?.rows_affected();
        if resources {
            let unused = sqlx::query(
                "DELETE FROM resources WHERE rowid IN (SELECT rowid FROM resources AS r WHERE last_seen_day < $1 \
                 AND NOT EXISTS (SELECT 1 FROM spans_kept AS s WHERE s.created_at < $2 AND s.resource_id = r.id) \
                 AND NOT EXISTS (SELECT 1 FROM open_spans AS s WHERE s.resource_id = r.id) LIMIT 100)",
            );
            // Spans that came on a later day said so of their resource.
            let day_after = UnixNanos::new((u64::from(keep_by.resources_day) + 1) * crate::model::time::DAY_NS);
            let unused = unused.bind(keep_by.resources_day).bind(nanos(day_after));
            let gone = unused.execute(&mut *transaction).await.map_err(failed)?.rows_affected();
            if gone > 0 {
                self.resources.forget();
            }
            removed += gone;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(removed)
    }

    async fn shrink(&self) -> Result<bool> {
        const DOING: &str = "shrink the file";
        let free = |row: SqliteRow| row.try_get::<i64, _>(0).map_err(failed(DOING));
        let count = || async {
            free(sqlx::query("PRAGMA freelist_count").fetch_one(&self.writer).await.map_err(failed(DOING))?)
        };
        if count().await? == 0 {
            return Ok(false);
        }
        // Safe: a number. It is done only when it was stepped to its end.
        let vacuum = AssertSqlSafe(format!("PRAGMA incremental_vacuum({PAGES})"));
        sqlx::query(vacuum).fetch_all(&self.writer).await.map_err(failed(DOING))?;
        let more = count().await? > 0;
        // The file itself is cut when the log is in it; at the end the log too.
        let mode = if more { "PASSIVE" } else { "TRUNCATE" };
        self.checkpoint_now(mode).await.map_err(failed(DOING))?;
        Ok(more)
    }

    async fn due(&self, keep_by: &KeepBy) -> Result<Vec<Due>> {
        const DOING: &str = "count old spans";
        let mut transaction = self.readers.begin().await.map_err(failed(DOING))?;
        let tables = Tables::load(&mut transaction, DOING).await?;
        let mut due = Vec::new();
        let days = tables.each_day().filter(|day| *day < keep_by.first_day);
        for place in days.map(Place::Day).chain([Place::OtherDays, Place::Kept, Place::Open]) {
            let step = Step::new(place, keep_by);
            let (sql, what) = (step.count(), step.name());
            // Safe: names of our own tables.
            let row = sqlx::query(AssertSqlSafe(sql)).bind(step.before.map(nanos)).fetch_one(&mut *transaction);
            let row = row.await.map_err(failed(DOING))?;
            due.push(counted(&row, what, DOING)?);
        }
        let others = [
            (
                "roll-ups",
                format!(
                    "SELECT count(*), 0, 0, 0, 0 FROM traces AS t WHERE spans_expired_at IS NOT NULL \
                     AND created_at < $1 AND NOT {}",
                    is_pinned("")
                ),
                nanos(keep_by.rollups),
            ),
            (
                "dead letters",
                "SELECT 0, count(*), 0, 0, sum(length(body)) FROM dead_letters WHERE refused_at < $1".to_owned(),
                nanos(keep_by.dead_letters),
            ),
        ];
        for (what, sql, before) in others {
            // Safe: names of our own tables.
            let row = sqlx::query(AssertSqlSafe(sql)).bind(before).fetch_one(&mut *transaction);
            due.push(counted(&row.await.map_err(failed(DOING))?, what.to_owned(), DOING)?);
        }
        transaction.commit().await.map_err(failed(DOING))?;
        due.retain(|due| due.traces + due.spans + due.kept_spans + due.bytes > 0);
        Ok(due)
    }
}

impl Sqlite {
    /// Moves rows of those of the traces that outlive their day, wherever they are.
    async fn move_some(&self, ids: &str) -> Result<u64> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(DOING))?;
        let mut tables = Tables::load(&mut transaction, DOING).await?;
        let mut left = ROWS;
        for (table, ids) in staying(&mut transaction, &tables, ids).await? {
            let rows = rows_to_move(&mut transaction, table, &ids, left).await?;
            if rows.is_empty() {
                continue;
            }
            let filled = tables.filled(table);
            tables.fill(&mut transaction, Table::Kept, filled).await.map_err(failed(DOING))?;
            left -= rows.len() as i64;
            let list = format!("{rows:?}");
            for sql in [
                format!("INSERT INTO spans_kept SELECT * FROM {table} WHERE rowid IN (SELECT value FROM json_each(?))"),
                format!("DELETE FROM {table} WHERE rowid IN (SELECT value FROM json_each(?))"),
            ] {
                // Safe: a name of our own.
                let query = sqlx::query(AssertSqlSafe(sql)).bind(&list);
                query.execute(&mut *transaction).await.map_err(failed(DOING))?;
            }
            if left == 0 {
                break;
            }
        }
        transaction.commit().await.map_err(failed(DOING))?;
        Ok((ROWS - left).unsigned_abs())
    }
}

fn keeps() -> String {
    outlives_its_day("", "t.settled < t.touched")
}

/// The tables in which traces that outlive their day may have rows, each with their ids.
async fn staying(connection: &mut SqliteConnection, tables: &Tables, ids: &str) -> Result<BTreeMap<Table, String>> {
    // Safe: names of our own tables.
    let sql = AssertSqlSafe(format!(
        "SELECT trace_id, first_day, last_day FROM traces AS t WHERE trace_id IN {IDS} AND {}",
        keeps()
    ));
    let rows = sqlx::query(sql).bind(ids).fetch_all(connection).await.map_err(failed(DOING))?;
    let mut staying: BTreeMap<Table, Vec<TraceId>> = BTreeMap::new();
    for row in &rows {
        let mut cells = Reader::new(row, &["trace_id", "first_day", "last_day"], DOING);
        let trace_id = cells.trace_id()?;
        let Some((first, last)) = cells.day()?.zip(cells.day()?) else { continue };
        for table in tables.between(&(first..=last)).filter(|table| *table != Table::Kept) {
            staying.entry(table).or_default().push(trace_id);
        }
    }
    Ok(staying.into_iter().map(|(table, ids)| (table, hex(&ids))).collect())
}

async fn rows_to_move(connection: &mut SqliteConnection, table: Table, ids: &str, most: i64) -> Result<Vec<i64>> {
    // Safe: names of our own tables.
    let sql = AssertSqlSafe(format!(
        "SELECT s.rowid FROM {table} AS s WHERE s.trace_id IN {IDS} AND EXISTS (SELECT 1 FROM traces AS t \
         WHERE t.trace_id = s.trace_id AND t.tenant = s.tenant AND {}) LIMIT $2",
        keeps()
    ));
    let rows = sqlx::query(sql).bind(ids).bind(most).fetch_all(connection).await.map_err(failed(DOING))?;
    rows.iter().map(|row| Reader::new(row, &["rowid"], DOING).required_int()).collect()
}

/// What a step looks at.
struct Step {
    place: Place,
    table: Table,
    /// The column that tells the age of a row, and the age; at a day all rows are old.
    age: &'static str,
    before: Option<UnixNanos>,
    /// Which traces stay: a condition on a row `t` of `traces`.
    stays: String,
}

impl Step {
    fn new(place: Place, keep_by: &KeepBy) -> Self {
        let (table, age, before, stays) = match place {
            Place::Day(day) => (Table::Day(day), "created_at", None, keeps()),
            Place::OtherDays => (Table::Default, "created_at", Some(keep_by.completed), keeps()),
            Place::Kept => (Table::Kept, "created_at", Some(keep_by.failed), is_pinned("")),
            Place::Open => (Table::Open, "deadline", Some(keep_by.failed), is_pinned("")),
        };
        Self { place, table, age, before, stays }
    }

    fn name(&self) -> String {
        match self.place {
            Place::Day(day) => UnixNanos::of_day(day).date(),
            Place::OtherDays => "other days".into(),
            Place::Kept => "kept".into(),
            Place::Open => "open".into(),
        }
    }

    /// Whether there is such a table.
    fn exists(&self, tables: &Tables) -> bool {
        !matches!(self.place, Place::Day(day) if !tables.each_day().any(|each| each == day))
    }

    /// The next traces with rows past their date.
    async fn candidates(&self, connection: &mut SqliteConnection, after: Option<TraceId>) -> Result<Vec<TraceId>> {
        let Self { table, age, .. } = self;
        let sql = match self.place {
            Place::Day(_) => {
                format!(
                    "SELECT DISTINCT trace_id FROM {table} WHERE trace_id > $1 AND $2 IS NULL ORDER BY trace_id LIMIT $3"
                )
            }
            Place::OtherDays => {
                format!("SELECT trace_id FROM {table} WHERE $1 IS NOT NULL AND {age} < $2 LIMIT $3")
            }
            Place::Kept | Place::Open => format!(
                "SELECT trace_id FROM {table} AS t WHERE $1 IS NOT NULL AND {age} < $2 AND NOT {} LIMIT $3",
                self.stays
            ),
        };
        // Safe: names of our own tables.
        let most = if matches!(self.place, Place::Day(_)) { TRACES } else { ROWS };
        let query = sqlx::query(AssertSqlSafe(sql)).bind(bytes(after)).bind(self.before.map(nanos)).bind(most);
        let rows = query.fetch_all(connection).await.map_err(failed(DOING))?;
        let ids = rows.iter().map(|row| Reader::new(row, &["trace_id"], DOING).trace_id());
        let mut ids = ids.collect::<Result<Vec<_>>>()?;
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// From now on these traces have their last roll-up.
    async fn mark(&self, connection: &mut SqliteConnection, ids: &str) -> Result<u64> {
        // Safe: names of our own tables.
        let sql = AssertSqlSafe(format!(
            "UPDATE traces AS t SET spans_partial = 1, settled = touched, \
             status = CASE WHEN status IN ('pending', 'running') THEN 'abandoned' ELSE status END \
             WHERE trace_id IN {IDS} AND NOT spans_partial AND spans_expired_at IS NULL AND NOT {}",
            self.stays
        ));
        let done = sqlx::query(sql).bind(ids).execute(connection).await.map_err(failed(DOING))?;
        Ok(done.rows_affected())
    }

    async fn remove(&self, connection: &mut SqliteConnection, ids: &str) -> Result<u64> {
        let Some(before) = self.before else { return Ok(0) };
        let Self { table, age, stays, .. } = self;
        // Safe: names of our own tables.
        let sql = AssertSqlSafe(format!(
            "DELETE FROM {table} WHERE rowid IN (SELECT s.rowid FROM {table} AS s WHERE s.trace_id IN {IDS} \
             AND s.{age} < $2 AND NOT EXISTS (SELECT 1 FROM traces AS t WHERE t.trace_id = s.trace_id \
             AND t.tenant = s.tenant AND {stays}) LIMIT $3)"
        ));
        let query = sqlx::query(sql).bind(ids).bind(nanos(before)).bind(ROWS);
        Ok(query.execute(connection).await.map_err(failed(DOING))?.rows_affected())
    }

    /// Traces and spans that go, those that stay, and the bytes of what goes.
    fn count(&self) -> String {
        let Self { table, age, stays, .. } = self;
        format!(
            "SELECT count(*) FILTER (WHERE NOT stays), coalesce(sum(n) FILTER (WHERE NOT stays), 0), \
             count(*) FILTER (WHERE stays), coalesce(sum(n) FILTER (WHERE stays), 0), \
             coalesce(sum(n) FILTER (WHERE NOT stays), 0) \
             * coalesce((SELECT sum(pgsize) FROM dbstat('main', 1) WHERE name IN \
             (SELECT name FROM sqlite_schema WHERE tbl_name = '{table}')), 0) \
             / max((SELECT count(*) FROM {table}), 1) \
             FROM (SELECT count(*) AS n, EXISTS (SELECT 1 FROM traces AS t WHERE t.trace_id = s.trace_id \
             AND t.tenant = s.tenant AND {stays}) AS stays FROM {table} AS s \
             WHERE $1 IS NULL OR s.{age} < $1 GROUP BY s.trace_id, s.tenant)"
        )
    }
}

fn counted(row: &SqliteRow, what: String, doing: &'static str) -> Result<Due> {
    let mut cells = Reader::new(row, &["traces", "spans", "kept_traces", "kept_spans", "bytes"], doing);
    let mut count = || Ok(cells.int()?.unwrap_or_default().unsigned_abs());
    Ok(Due { what, traces: count()?, spans: count()?, kept_traces: count()?, kept_spans: count()?, bytes: count()? })
}

fn hex(ids: &[TraceId]) -> String {
    format!("{:?}", ids.iter().map(TraceId::to_string).collect::<Vec<_>>())
}

/// What all ids are greater than, before the first.
fn bytes(after: Option<TraceId>) -> Vec<u8> {
    after.map_or_else(Vec::new, |id| id.as_bytes().to_vec())
}
