//! What is past its keep-by date, out of the database. By the administrator's connection, in transactions of at most some
//! thousand rows, each under the locks of the traces that it judges, taken in the order in which writers take them.
//!
//! A row may still come into a day's partition while the day is cleared. So a cleared day is detached, after which its rows
//! go to the default partition, then looked through once more, and dropped only then.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::days;
use super::session::Session;
use super::types::{Instant, below_microsecond, uuid};
use super::work::{Mode, Work};
use super::{Postgres, Rows, Schema, failed};
use crate::model::ids::TraceId;
use crate::model::time::UnixNanos;
use crate::store::retention::{is_pinned, outlives_its_day};
use crate::store::rows::Reader;
use crate::store::{Cleared, Due, KeepBy, Place, Result, Retention};

/// Traces judged in one step.
const TRACES: i64 = 1_000;
/// Rows moved or removed in one transaction.
const ROWS: i64 = 2_000;

const DOING: &str = "remove old spans";

#[async_trait]
impl Retention for Postgres {
    async fn lease(&self, name: &str, holder: &str, now: UnixNanos, until: UnixNanos) -> Result<bool> {
        const DOING: &str = "take a lease";
        // Safe: a name of our own table.
        let sql = AssertSqlSafe(format!(
            "INSERT INTO {}leases AS l (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
             SET holder = excluded.holder, until = excluded.until WHERE l.holder = excluded.holder OR l.until <= $4",
            self.schema
        ));
        let query = sqlx::query(sql).bind(name).bind(holder).bind(Instant::of(until)).bind(Instant::of(now));
        let write = async {
            let mut work = Work::begin(&self.admin, Mode::Write, self.limits, DOING).await?;
            let done = query.execute(&mut *work).await.map_err(failed(DOING));
            work.end(done).await
        };
        Ok(self.limits.hold(DOING, write).await?.rows_affected() > 0)
    }

    async fn days_before(&self, day: u32) -> Result<Vec<u32>> {
        // Those that were detached and not yet dropped are among them. Safe: the schema's name is a plain word.
        let sql = AssertSqlSafe(
            "SELECT to_date(substr(relname, 7), 'YYYYMMDD') AS day FROM pg_catalog.pg_class \
             WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' AND relname ~ '^spans_[0-9]{8}$' ORDER BY 1"
                .to_owned(),
        );
        let name = format!("\"{}\"", self.schema.name);
        let read = async {
            let mut work = Work::begin(&self.admin, Mode::Read, self.limits, DOING).await?;
            let rows = sqlx::query(sql).bind(name).fetch_all(&mut *work).await.map_err(failed(DOING));
            work.end(rows).await
        };
        let rows = self.limits.hold(DOING, read).await?;
        let days = rows.iter().map(|row| Reader::new(row, &["day"], DOING).day());
        let days = days.collect::<Result<Vec<_>>>()?;
        Ok(days.into_iter().flatten().filter(|each| *each < day).collect())
    }

    async fn close_days(&self, before: u32) -> Result<()> {
        let write = async {
            let mut work = Work::begin(&self.admin, Mode::Define, self.limits, DOING).await?;
            let closed = async {
                work.execute(super::maintenance::one_at_a_time(&self.schema)).await?;
                days::close(&mut work, &self.schema, before, DOING).await
            }
            .await;
            work.end(closed).await
        };
        self.limits.hold(DOING, write).await
    }

    async fn clear(&self, place: Place, after: Option<TraceId>, keep_by: &KeepBy) -> Result<Cleared> {
        let step = Step::new(&self.schema, place, keep_by);
        let (ids, marked, removed) = self.limits.hold(DOING, self.judge(&step, after)).await?;
        let Some(last) = ids.last().copied() else { return Ok(Cleared::default()) };
        let mut moved = 0;
        if matches!(place, Place::Day(_) | Place::OtherDays) {
            // A day that is detached already is a table of its own.
            let own = matches!(place, Place::Day(_)).then_some(step.table.as_str());
            for source in [format!("{}spans", self.schema)].iter().map(String::as_str).chain(own) {
                moved += self.move_all(source, &ids).await?;
            }
        }
        let next = TraceId::from_bytes(*last.as_bytes()).ok();
        Ok(Cleared { moved, removed, marked, next })
    }

    async fn drop_day(&self, day: u32, keep_by: &KeepBy) -> Result<bool> {
        let table = days::name(day);
        if self.limits.hold(DOING, self.detach(&table)).await? {
            tracing::debug!(partition = table, "a day is no partition any more");
        }
        let mut after = None;
        while let Some(next) = self.clear(Place::Day(day), after, keep_by).await?.next {
            after = Some(next);
        }
        let drop = async {
            let mut work = Work::begin(&self.admin, Mode::Define, self.limits, DOING).await?;
            let dropped = work.execute(format!("DROP TABLE IF EXISTS {}{table}", self.schema)).await;
            work.end(dropped).await
        };
        self.limits.hold(DOING, drop).await?;
        Ok(true)
    }

    async fn note_expired(&self, after: Option<TraceId>, now: UnixNanos) -> Result<Option<TraceId>> {
        let schema = &self.schema;
        // Safe: names of our own tables.
        let some = AssertSqlSafe(format!(
            "SELECT trace_id FROM {schema}traces WHERE spans_partial AND trace_id > $1 \
             ORDER BY trace_id, tenant LIMIT {TRACES} FOR UPDATE"
        ));
        let here = "s.trace_id = t.trace_id AND s.tenant = t.tenant";
        let note = AssertSqlSafe(format!(
            "UPDATE {schema}traces AS t SET spans_partial = false, spans_expired_at = $2, spans_expired_ns = $3 \
             WHERE trace_id = ANY($1) AND spans_partial \
             AND NOT EXISTS (SELECT 1 FROM {schema}open_spans AS s WHERE {here}) \
             AND NOT EXISTS (SELECT 1 FROM {schema}spans_kept AS s WHERE {here}) \
             AND NOT EXISTS (SELECT 1 FROM {schema}spans AS s WHERE {here} \
             AND s.started_at >= (t.first_day::timestamp AT TIME ZONE 'UTC') \
             AND s.started_at < ((t.last_day + 1)::timestamp AT TIME ZONE 'UTC'))"
        ));
        let write = async {
            let mut work = Work::begin(&self.admin, Mode::Write, self.limits, DOING).await?;
            let noted = async {
                let rows = sqlx::query(some).bind(start(after)).fetch_all(&mut *work).await.map_err(failed(DOING))?;
                let ids = ids(&rows)?;
                let query = sqlx::query(note).bind(&ids).bind(Instant::of(now)).bind(below_microsecond(now));
                query.execute(&mut *work).await.map_err(failed(DOING))?;
                Ok(ids.last().filter(|_| rows.len() as i64 == TRACES).copied())
            }
            .await;
            work.end(noted).await
        };
        let last = self.limits.hold(DOING, write).await?;
        Ok(last.and_then(|last| TraceId::from_bytes(*last.as_bytes()).ok()))
    }

    async fn remove_others(&self, keep_by: &KeepBy, resources: bool) -> Result<u64> {
        let schema = &self.schema;
        let pinned = is_pinned(&schema.prefix);
        // Safe: names of our own tables.
        let rollups = AssertSqlSafe(format!(
            "DELETE FROM {schema}traces WHERE ctid = ANY(ARRAY(SELECT ctid FROM {schema}traces AS t \
             WHERE spans_expired_at IS NOT NULL AND created_at < $1 AND NOT {pinned} \
             ORDER BY trace_id, tenant LIMIT {ROWS} FOR UPDATE))"
        ));
        let letters = AssertSqlSafe(format!(
            "DELETE FROM {schema}dead_letters WHERE ctid = ANY(ARRAY(SELECT ctid FROM {schema}dead_letters \
             WHERE refused_at < $1 OR id <= (SELECT id FROM {schema}dead_letters ORDER BY id DESC LIMIT 1 OFFSET $2) \
             LIMIT {ROWS}))"
        ));
        let deletions = AssertSqlSafe(format!(
            "DELETE FROM {schema}deletions WHERE ctid = ANY(ARRAY(SELECT ctid FROM {schema}deletions \
             WHERE deleted_at < $1 LIMIT {ROWS}))"
        ));
        let unused = AssertSqlSafe(format!(
            "DELETE FROM {schema}resources WHERE ctid = ANY(ARRAY(SELECT ctid FROM {schema}resources AS r \
             WHERE last_seen_day < date '1970-01-01' + $1::int \
             AND NOT EXISTS (SELECT 1 FROM {schema}spans_kept AS s WHERE s.created_at < $2 AND s.resource_id = r.id) \
             AND NOT EXISTS (SELECT 1 FROM {schema}open_spans AS s WHERE s.resource_id = r.id) LIMIT 100)) \
             AND last_seen_day < date '1970-01-01' + $1::int"
        ));
        let day = keep_by.resources_day;
        let most = i64::try_from(keep_by.dead_letters_max).unwrap_or(i64::MAX);
        let write = async {
            let mut work = Work::begin(&self.admin, Mode::Write, self.limits, DOING).await?;
            let removed = async {
                let query = sqlx::query(rollups).bind(Instant::of(keep_by.rollups));
                let mut removed = query.execute(&mut *work).await.map_err(failed(DOING))?.rows_affected();
                let query = sqlx::query(letters).bind(Instant::of(keep_by.dead_letters)).bind(most);
                removed += query.execute(&mut *work).await.map_err(failed(DOING))?.rows_affected();
                let query = sqlx::query(deletions).bind(Instant::of(keep_by.rollups));
                removed += query.execute(&mut *work).await.map_err(failed(DOING))?.rows_affected();
                if resources {
                    // Spans that came on a later day said so of their resource.
                    let query = sqlx::query(unused).bind(day.cast_signed()).bind(Instant::of_day(day + 1));
                    removed += query.execute(&mut *work).await.map_err(failed(DOING))?.rows_affected();
                }
                Ok(removed)
            }
            .await;
            work.end(removed).await
        };
        let removed = self.limits.hold(DOING, write).await?;
        if removed > 0 {
            self.resources.forget();
        }
        Ok(removed)
    }

    /// Dropped partitions are given back at once, and vacuum is the database's own.
    async fn shrink(&self) -> Result<bool> {
        Ok(false)
    }

    async fn due(&self, keep_by: &KeepBy) -> Result<Vec<Due>> {
        const DOING: &str = "count old spans";
        let days = self.days_before(keep_by.first_day).await?;
        let mut due = Vec::new();
        for place in days.into_iter().map(Place::Day).chain([Place::OtherDays, Place::Kept, Place::Open]) {
            let step = Step::new(&self.schema, place, keep_by);
            due.push(self.count(step.count(), step.before, step.name(), DOING).await?);
        }
        let schema = &self.schema;
        let rollups = format!(
            "SELECT count(*), 0, 0, 0, 0 FROM {schema}traces AS t WHERE spans_expired_at IS NOT NULL \
             AND created_at < $1 AND NOT {}",
            is_pinned(&schema.prefix)
        );
        due.push(self.count(rollups, Some(keep_by.rollups), "roll-ups".into(), DOING).await?);
        let letters = format!(
            "SELECT 0, count(*), 0, 0, coalesce(sum(length(body)), 0)::bigint FROM {schema}dead_letters \
             WHERE refused_at < $1"
        );
        due.push(self.count(letters, Some(keep_by.dead_letters), "dead letters".into(), DOING).await?);
        due.retain(|due| due.traces + due.spans + due.kept_spans + due.bytes > 0);
        Ok(due)
    }
}

impl Postgres {
    /// The traces that a step is about; of those that do not stay the roll-ups are made final and rows past their date
    /// removed. Answers with their ids in order, how many were marked, and how many rows went.
    async fn judge(&self, step: &Step, after: Option<TraceId>) -> Result<(Vec<Uuid>, u64, u64)> {
        let mut work = Work::begin(&self.admin, Mode::Write, self.limits, DOING).await?;
        let judged = async {
            if !step.exists(&mut work).await? {
                return Ok((Vec::new(), 0, 0));
            }
            let ids = step.candidates(&mut work, after).await?;
            if ids.is_empty() {
                return Ok((ids, 0, 0));
            }
            self.lock(&mut work, &ids).await?;
            let marked = step.mark(&mut work, &ids).await?;
            let removed = step.remove(&mut work, &ids).await?;
            Ok((ids, marked, removed))
        }
        .await;
        work.end(judged).await
    }

    /// Locks these traces. Only a later statement sees what was done to them meanwhile.
    async fn lock(&self, connection: &mut Session, ids: &[Uuid]) -> Result<()> {
        // Safe: a name of our own table.
        let sql = AssertSqlSafe(format!(
            "SELECT 1 AS one FROM {}traces WHERE trace_id = ANY($1) ORDER BY trace_id, tenant FOR UPDATE",
            self.schema
        ));
        sqlx::query(sql).bind(ids).fetch_all(connection).await.map_err(failed(DOING))?;
        Ok(())
    }

    /// Moves the rows of those of the traces that outlive their day from a table to those that are kept.
    async fn move_all(&self, source: &str, ids: &[Uuid]) -> Result<u64> {
        let staying = self.limits.hold(DOING, self.staying(ids)).await?;
        let mut moved = 0;
        for some in staying.chunks(200) {
            loop {
                let rows = self.limits.hold(DOING, self.move_some(source, some)).await?;
                moved += rows;
                if rows < ROWS.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(moved)
    }

    async fn staying(&self, ids: &[Uuid]) -> Result<Vec<Uuid>> {
        // Safe: names of our own tables.
        let sql = AssertSqlSafe(format!(
            "SELECT DISTINCT trace_id FROM {}traces AS t WHERE trace_id = ANY($1) AND {} ORDER BY trace_id",
            self.schema,
            keeps(&self.schema)
        ));
        let mut work = Work::begin(&self.admin, Mode::Read, self.limits, DOING).await?;
        let rows = sqlx::query(sql).bind(ids).fetch_all(&mut *work).await.map_err(failed(DOING));
        self::ids(&work.end(rows).await?)
    }

    async fn move_some(&self, source: &str, some: &[Uuid]) -> Result<u64> {
        let schema = &self.schema;
        let bounds = "SELECT trace_id, tenant, (first_day::timestamp AT TIME ZONE 'UTC') AS since, \
             ((last_day + 1)::timestamp AT TIME ZONE 'UTC') AS until";
        // Safe: names of our own tables.
        let sql = AssertSqlSafe(format!(
            "WITH k AS MATERIALIZED ({bounds} FROM {schema}traces AS t WHERE trace_id = ANY($1) AND {keeps}), \
             few AS MATERIALIZED (SELECT s.trace_id, s.span_id, s.started_at, s.tenant FROM k JOIN {source} AS s \
             ON s.trace_id = k.trace_id AND s.tenant = k.tenant AND s.started_at >= k.since AND s.started_at < k.until \
             LIMIT {ROWS}), \
             gone AS (DELETE FROM {source} AS s USING few WHERE s.trace_id = few.trace_id \
             AND s.span_id = few.span_id AND s.started_at = few.started_at AND s.tenant = few.tenant RETURNING s.*) \
             INSERT INTO {schema}spans_kept SELECT * FROM gone",
            keeps = keeps(schema)
        ));
        let mut work = Work::begin(&self.admin, Mode::Write, self.limits, DOING).await?;
        let moved = async {
            if !exists(&mut work, source).await? {
                return Ok(0);
            }
            self.lock(&mut work, some).await?;
            let done = sqlx::query(sql).bind(some).execute(&mut *work).await.map_err(failed(DOING))?;
            Ok(done.rows_affected())
        }
        .await;
        work.end(moved).await
    }

    /// Takes a table out of the partitions; `false` if it is none. Others wait while this waits for those who are in it,
    /// so it waits for half a second.
    async fn detach(&self, table: &str) -> Result<bool> {
        let schema = &self.schema;
        let mut work = Work::begin(&self.admin, Mode::Define, self.limits, DOING).await?;
        let detached = async {
            work.execute(super::maintenance::one_at_a_time(schema)).await?;
            if !days::partitions(&mut work, schema, DOING).await?.contains(table) {
                return Ok(false);
            }
            work.execute("SET LOCAL lock_timeout = 500".to_owned()).await?;
            work.execute(format!("ALTER TABLE {schema}spans DETACH PARTITION {schema}{table}")).await?;
            Ok(true)
        }
        .await;
        work.end(detached).await
    }

    async fn count(&self, sql: String, before: Option<UnixNanos>, what: String, doing: &'static str) -> Result<Due> {
        let mut work = Work::begin(&self.admin, Mode::Read, self.limits, doing).await?;
        let row = async {
            // Here everything is read.
            work.execute("SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on".to_owned()).await?;
            let query = sqlx::query(AssertSqlSafe(sql)).bind(before.map(Instant::of));
            query.fetch_one(&mut *work).await.map_err(failed(doing))
        }
        .await;
        let row = work.end(row).await?;
        let mut cells = Reader::new(&row, &["traces", "spans", "kept_traces", "kept_spans", "bytes"], doing);
        let mut count = || Ok(cells.int()?.unwrap_or_default().unsigned_abs());
        Ok(Due {
            what,
            traces: count()?,
            spans: count()?,
            kept_traces: count()?,
            kept_spans: count()?,
            bytes: count()?,
        })
    }
}

fn keeps(schema: &Schema) -> String {
    outlives_its_day(&schema.prefix, "t.unsettled")
}

/// What a step looks at.
struct Step {
    place: Place,
    /// With its schema.
    table: String,
    schema: String,
    /// The column that tells the age of a row, and the age; at a day all rows are old.
    age: &'static str,
    before: Option<UnixNanos>,
    /// Which traces stay: a condition on a row `t` of `traces`.
    stays: String,
}

impl Step {
    fn new(schema: &Schema, place: Place, keep_by: &KeepBy) -> Self {
        let pinned = || is_pinned(&schema.prefix);
        let (table, age, before, stays) = match place {
            Place::Day(day) => (days::name(day), "created_at", None, keeps(schema)),
            Place::OtherDays => ("spans_default".into(), "created_at", Some(keep_by.completed), keeps(schema)),
            Place::Kept => ("spans_kept".into(), "created_at", Some(keep_by.failed), pinned()),
            Place::Open => ("open_spans".into(), "deadline", Some(keep_by.failed), pinned()),
        };
        Self { place, table: format!("{schema}{table}"), schema: schema.prefix.clone(), age, before, stays }
    }

    fn name(&self) -> String {
        match self.place {
            Place::Day(day) => UnixNanos::of_day(day).date(),
            Place::OtherDays => "other days".into(),
            Place::Kept => "kept".into(),
            Place::Open => "open".into(),
        }
    }

    async fn exists(&self, connection: &mut Session) -> Result<bool> {
        exists(connection, &self.table).await
    }

    /// The next traces with rows past their date, in order.
    async fn candidates(&self, connection: &mut Session, after: Option<TraceId>) -> Result<Vec<Uuid>> {
        let Self { table, age, stays, .. } = self;
        let (sql, before) = (
            match self.place {
                Place::Day(_) => format!(
                    "SELECT DISTINCT trace_id FROM {table} WHERE trace_id > $1 AND $2::timestamptz IS NULL \
                     ORDER BY trace_id LIMIT {TRACES}"
                ),
                Place::OtherDays => format!(
                    "SELECT DISTINCT trace_id FROM (SELECT trace_id FROM {table} \
                     WHERE $1::uuid IS NOT NULL AND {age} < $2 LIMIT {ROWS}) AS few ORDER BY trace_id"
                ),
                Place::Kept | Place::Open => format!(
                    "SELECT DISTINCT trace_id FROM (SELECT trace_id FROM {table} AS t \
                     WHERE $1::uuid IS NOT NULL AND {age} < $2 AND NOT {stays} LIMIT {ROWS}) AS few ORDER BY trace_id"
                ),
            },
            self.before.map(Instant::of),
        );
        // Safe: names of our own tables.
        let query = sqlx::query(AssertSqlSafe(sql)).bind(start(after)).bind(before);
        ids(&query.fetch_all(connection).await.map_err(failed(DOING))?)
    }

    /// From now on these traces have their last roll-up.
    async fn mark(&self, connection: &mut Session, ids: &[Uuid]) -> Result<u64> {
        // Safe: names of our own tables.
        let sql = AssertSqlSafe(format!(
            "UPDATE {}traces AS t SET spans_partial = true, settled = touched, unsettled = false, \
             status = CASE WHEN status IN ('pending', 'running') THEN 'abandoned' ELSE status END \
             WHERE trace_id = ANY($1) AND NOT spans_partial AND spans_expired_at IS NULL AND NOT {}",
            self.schema, self.stays
        ));
        Ok(sqlx::query(sql).bind(ids).execute(connection).await.map_err(failed(DOING))?.rows_affected())
    }

    async fn remove(&self, connection: &mut Session, ids: &[Uuid]) -> Result<u64> {
        let Some(before) = self.before else { return Ok(0) };
        let Self { table, age, stays, schema, .. } = self;
        // Safe: names of our own tables.
        let sql = AssertSqlSafe(format!(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT s.ctid FROM {table} AS s WHERE s.trace_id = ANY($1) \
             AND s.{age} < $2 AND NOT EXISTS (SELECT 1 FROM {schema}traces AS t WHERE t.trace_id = s.trace_id \
             AND t.tenant = s.tenant AND {stays}) LIMIT {ROWS}))"
        ));
        let query = sqlx::query(sql).bind(ids).bind(Instant::of(before));
        Ok(query.execute(connection).await.map_err(failed(DOING))?.rows_affected())
    }

    /// Traces and spans that go, those that stay, and the bytes of what goes.
    fn count(&self) -> String {
        let Self { table, age, stays, schema, .. } = self;
        format!(
            "SELECT count(*) FILTER (WHERE NOT stays), coalesce(sum(n) FILTER (WHERE NOT stays), 0)::bigint, \
             count(*) FILTER (WHERE stays), coalesce(sum(n) FILTER (WHERE stays), 0)::bigint, \
             (coalesce(sum(n) FILTER (WHERE NOT stays), 0) * pg_total_relation_size('{table}') \
             / greatest((SELECT count(*) FROM {table}), 1))::bigint \
             FROM (SELECT n, EXISTS (SELECT 1 FROM {schema}traces AS t WHERE t.trace_id = s.trace_id \
             AND t.tenant = s.tenant AND {stays}) AS stays FROM (SELECT trace_id, tenant, count(*) AS n FROM {table} \
             WHERE $1::timestamptz IS NULL OR {age} < $1 GROUP BY 1, 2) AS s) AS judged"
        )
    }
}

async fn exists(connection: &mut Session, table: &str) -> Result<bool> {
    let row = sqlx::query("SELECT to_regclass($1) IS NOT NULL AS there").bind(table);
    let row = row.fetch_one(connection).await.map_err(failed(DOING))?;
    row.try_get(0).map_err(failed(DOING))
}

fn ids(rows: &Rows) -> Result<Vec<Uuid>> {
    rows.iter().map(|row| row.try_get(0).map_err(failed(DOING))).collect()
}

/// What all ids are greater than, before the first.
fn start(after: Option<TraceId>) -> Uuid {
    after.map_or(Uuid::nil(), |after| uuid(after.as_bytes()))
}
