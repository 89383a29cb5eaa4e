//! Deleting on request, by the role that looks after the store.
//!
//! A writer learns within its transaction which traces are barred, and shares an advisory lock until it ends. Who bars
//! traces notes them, then waits for that lock alone, and ends: those who did not know yet have ended by then, and what they
//! wrote is removed with the rest; those who come later know. Nothing else waits for that lock, a backup least of all.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::session::Session;
use super::types::{Instant, below_microsecond, uuid};
use super::work::{Mode, Work};
use super::{Postgres, Schema, days, failed};
use crate::model::ids::TraceId;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::store::erasure::LETTERS;
use crate::store::rows::Reader;
use crate::store::{Erased, Erasure, Owner, Result};

/// Rows removed in one transaction.
const ROWS: i64 = 5_000;

/// The places that are no day's.
const OTHERS: [&str; 4] = ["dead_letters", "open_spans", "spans_kept", "traces"];
const UNDEFINED_TABLE: &str = "42P01";

const DOING: &str = "delete traces";
const WRITING: &str = "write spans";

#[async_trait]
impl Erasure for Postgres {
    async fn places(&self) -> Result<Vec<String>> {
        let read = async {
            let mut work = Work::begin(&self.admin, Mode::Read, self.limits, DOING).await?;
            let partitions = days::partitions(&mut work, &self.schema, DOING).await;
            work.end(partitions).await
        };
        let partitions = self.limits.hold(DOING, read).await?;
        let mut places: Vec<String> = partitions.into_iter().chain(OTHERS.map(str::to_owned)).collect();
        // Which is also the way that rows go: from open to a day to the kept ones.
        places.sort();
        Ok(places)
    }

    async fn traces_of(
        &self,
        tenant: &TenantId,
        owner: &Owner,
        place: &str,
        after: Option<TraceId>,
        limit: usize,
    ) -> Result<Vec<TraceId>> {
        let (schema, column) = (&self.schema, owner.field().name());
        match (place, owner) {
            // A summary does not say whose workspace it is.
            ("traces", Owner::Workspace(_)) => return Ok(Vec::new()),
            ("dead_letters", _) => return self.traces_of_letters(tenant, owner, after, limit).await,
            _ => {}
        }
        // Safe: names of our own, and one that the catalogue told.
        let sql = AssertSqlSafe(format!(
            "SELECT DISTINCT trace_id FROM {schema}\"{}\" WHERE tenant = $1 AND {column} = $2 AND trace_id > $3 \
             ORDER BY trace_id LIMIT $4",
            place.replace('"', "")
        ));
        let after = after.map_or(Uuid::nil(), |after| uuid(after.as_bytes()));
        let query = sqlx::query(sql).bind(tenant.as_str()).bind(owner.id()).bind(after);
        let query = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let read = async {
            let mut work = Work::begin(&self.admin, Mode::Read, self.limits, DOING).await?;
            let rows = async {
                // Without an index everything is read.
                work.execute("SET LOCAL enable_seqscan = on".to_owned()).await?;
                query.fetch_all(&mut *work).await.map_err(failed(DOING))
            }
            .await;
            work.end(rows).await
        };
        let rows = match self.limits.hold(DOING, read).await {
            // Retention dropped the day meanwhile, and all that was in it.
            Err(error) if !OTHERS.contains(&place) && error.code().is_some_and(|code| code == UNDEFINED_TABLE) => {
                return Ok(Vec::new());
            }
            rows => rows?,
        };
        rows.iter().map(|row| Reader::new(row, &["trace_id"], DOING).trace_id()).collect()
    }

    async fn holdings(&self, tenant: &TenantId, traces: &[TraceId]) -> Result<Erased> {
        let schema = &self.schema;
        let of = |table: &str, id: &str| {
            format!("(SELECT count(*) FROM {schema}{table} WHERE trace_id = ANY({id}) AND tenant = $2)")
        };
        // Safe: names of our own tables.
        let sql = AssertSqlSafe(format!(
            "SELECT {}, {} + {} + {}, {}, {}",
            of("traces", "$1"),
            of("spans", "$1"),
            of("spans_kept", "$1"),
            of("open_spans", "$1"),
            of("pins", "$1"),
            of("dead_letters", "$3::text[]"),
        ));
        let query = sqlx::query(sql).bind(ids(traces)).bind(tenant.as_str()).bind(texts(traces));
        let read = async {
            let mut work = Work::begin(&self.admin, Mode::Read, self.limits, DOING).await?;
            let row = query.fetch_one(&mut *work).await.map_err(failed(DOING));
            work.end(row).await
        };
        let row = self.limits.hold(DOING, read).await?;
        let mut cells = Reader::new(&row, &["traces", "spans", "pins", "dead_letters"], DOING);
        let mut count = || Ok(cells.required_int()?.unsigned_abs());
        Ok(Erased { traces: count()?, spans: count()?, pins: count()?, dead_letters: count()? })
    }

    async fn bar(&self, tenant: &TenantId, traces: &[TraceId], until: UnixNanos) -> Result<()> {
        let schema = &self.schema;
        // Safe: a name of our own table.
        let sql = AssertSqlSafe(format!(
            "INSERT INTO {schema}deletions AS known (trace_id, tenant, deleted_at, deleted_ns) \
             SELECT DISTINCT trace_id, $2, $3::timestamptz, $4::smallint FROM unnest($1::uuid[]) AS told (trace_id) \
             ORDER BY trace_id \
             ON CONFLICT (trace_id, tenant) DO UPDATE SET deleted_at = excluded.deleted_at, \
             deleted_ns = excluded.deleted_ns \
             WHERE (known.deleted_at, known.deleted_ns) < (excluded.deleted_at, excluded.deleted_ns)"
        ));
        let query = sqlx::query(sql).bind(ids(traces)).bind(tenant.as_str());
        let query = query.bind(Instant::of(until)).bind(below_microsecond(until));
        let write = async {
            let mut work = Work::begin(&self.admin, Mode::Define, self.limits, DOING).await?;
            let barred = async {
                let noted = query.execute(&mut *work).await.map_err(failed(DOING))?;
                // Last, since from here on writers wait.
                work.execute(format!("SELECT pg_catalog.pg_advisory_xact_lock({})", lock(schema))).await?;
                Ok(noted)
            }
            .await;
            work.end(barred).await.map(|_| ())
        };
        self.limits.hold(DOING, write).await
    }

    async fn erase(&self, tenant: &TenantId, traces: &[TraceId]) -> Result<(Erased, bool)> {
        let erase = async {
            let mut work = Work::begin(&self.admin, Mode::Write, self.limits, DOING).await?;
            let erased = self.erase_some(&mut work, tenant, traces).await;
            work.end(erased).await
        };
        self.limits.hold(DOING, erase).await
    }
}

impl Postgres {
    async fn traces_of_letters(
        &self,
        tenant: &TenantId,
        owner: &Owner,
        after: Option<TraceId>,
        limit: usize,
    ) -> Result<Vec<TraceId>> {
        // Safe: a name of our own table.
        let sql = format!(
            "SELECT id, trace_id, body FROM {}dead_letters WHERE tenant = $1 AND strpos(body, $2) > 0 AND id > $3 \
             ORDER BY id LIMIT {LETTERS}",
            self.schema
        );
        let read = async {
            let mut work = Work::begin(&self.admin, Mode::Read, self.limits, DOING).await?;
            let found = async {
                let (mut found, mut last) = (BTreeSet::new(), 0_i64);
                loop {
                    let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(tenant.as_str());
                    let query = query.bind(owner.in_letter()).bind(last);
                    let rows = query.fetch_all(&mut *work).await.map_err(failed(DOING))?;
                    for row in &rows {
                        let mut cells = Reader::new(row, &["id", "trace_id", "body"], DOING);
                        last = cells.required_int()?;
                        // What a letter is refused for may be its id.
                        let trace = TraceId::parse(cells.required_text()?).ok();
                        let is_theirs = owner.is_of_letter(cells.required_text()?);
                        found.extend(trace.filter(|_| is_theirs).filter(|trace| Some(*trace) > after));
                    }
                    if rows.len() < LETTERS as usize {
                        return Ok(found.into_iter().take(limit).collect());
                    }
                }
            }
            .await;
            work.end(found).await
        };
        self.limits.hold(DOING, read).await
    }

    async fn erase_some(&self, work: &mut Work, tenant: &TenantId, traces: &[TraceId]) -> Result<(Erased, bool)> {
        let (schema, ids) = (&self.schema, ids(traces));
        // Whoever writes to them, settles or moves them waits here. Safe: names of our own tables, here and below.
        let lock = AssertSqlSafe(format!(
            "SELECT 1 AS one FROM {schema}traces WHERE trace_id = ANY($1) AND tenant = $2 ORDER BY trace_id FOR UPDATE"
        ));
        let query = sqlx::query(lock).bind(&ids).bind(tenant.as_str());
        query.fetch_all(&mut **work).await.map_err(failed(DOING))?;
        let mut left = ROWS;
        // Rows move from the first to the second.
        for table in ["spans", "spans_kept", "open_spans"] {
            let sql = AssertSqlSafe(delete_some(schema, table));
            let query = sqlx::query(sql).bind(&ids).bind(tenant.as_str()).bind(left);
            let gone = query.execute(&mut **work).await.map_err(failed(DOING))?.rows_affected();
            // Of twins both go at once.
            left = (left - gone.cast_signed()).max(0);
            if left == 0 {
                return Ok((Erased { spans: ROWS.unsigned_abs(), ..Erased::default() }, true));
            }
        }
        let spans = (ROWS - left).unsigned_abs();
        let mut gone = [0; 3];
        for (gone, table) in gone.iter_mut().zip(["pins", "traces", "dead_letters"]) {
            let is_letters = table == "dead_letters";
            let of = if is_letters { "text" } else { "uuid" };
            let sql =
                AssertSqlSafe(format!("DELETE FROM {schema}{table} WHERE trace_id = ANY($1::{of}[]) AND tenant = $2"));
            let query = match is_letters {
                true => sqlx::query(sql).bind(texts(traces)),
                false => sqlx::query(sql).bind(&ids),
            };
            let query = query.bind(tenant.as_str());
            *gone = query.execute(&mut **work).await.map_err(failed(DOING))?.rows_affected();
        }
        let [pins, traces, dead_letters] = gone;
        Ok((Erased { traces, spans, pins, dead_letters }, false))
    }
}

fn delete_some(schema: &Schema, table: &str) -> String {
    // The start of an open span may be unknown, and of an ended one it says in which partition it is.
    let (columns, same) = match table {
        "open_spans" => ("trace_id, span_id", ""),
        _ => ("trace_id, span_id, started_at", " AND s.started_at = few.started_at"),
    };
    format!(
        "WITH few AS MATERIALIZED (SELECT {columns} FROM {schema}{table} WHERE trace_id = ANY($1) AND tenant = $2 LIMIT $3) \
         DELETE FROM {schema}{table} AS s USING few WHERE s.trace_id = few.trace_id AND s.span_id = few.span_id{same} \
         AND s.tenant = $2"
    )
}

fn ids(traces: &[TraceId]) -> Vec<Uuid> {
    traces.iter().map(|trace| uuid(trace.as_bytes())).collect()
}

/// As dead letters have them.
fn texts(traces: &[TraceId]) -> Vec<String> {
    traces.iter().map(ToString::to_string).collect()
}

/// The advisory lock of a schema's deletions.
fn lock(schema: &Schema) -> String {
    format!("pg_catalog.hashtextextended('tracefall deletions {}', 0)", schema.name)
}

/// A SELECT by which who writes holds off who bars traces until the transaction ends. To be said before anything is asked of
/// the deletions, in a statement of its own, since a statement does not see what was committed while it waited.
pub(super) fn hold_off(schema: &Schema) -> String {
    format!("SELECT pg_catalog.pg_advisory_xact_lock_shared({})", lock(schema))
}

/// A SELECT of the microseconds since 1970 at which a trace was deleted last; NULL where none ever was.
pub(super) fn last_deletion(schema: &Schema) -> String {
    format!("(SELECT (EXTRACT(epoch FROM max(deleted_at)) * 1000000)::bigint FROM {schema}deletions)")
}

/// The batch without the spans that were heard of before their trace was deleted. `last`: as [`last_deletion`] says; a batch
/// that was heard of later asks nothing.
pub(super) async fn without_deleted<'b>(
    connection: &mut Session,
    schema: &Schema,
    batch: &'b [Span],
    last: Option<u64>,
) -> Result<Cow<'b, [Span]>> {
    let Some(last) = last else { return Ok(Cow::Borrowed(batch)) };
    if batch.iter().all(|span| span.seen_at.as_u64() / 1_000 > last) {
        return Ok(Cow::Borrowed(batch));
    }
    let mut traces: Vec<TraceId> = batch.iter().map(|span| span.trace_id).collect();
    traces.dedup();
    // Safe: a name of our own table.
    let sql = AssertSqlSafe(format!(
        "SELECT trace_id, tenant, deleted_at, deleted_ns FROM {schema}deletions WHERE trace_id = ANY($1)"
    ));
    let query = sqlx::query(sql).bind(ids(&traces));
    let rows = query.fetch_all(connection).await.map_err(failed(WRITING))?;
    let mut deleted: HashMap<(TraceId, TenantId), UnixNanos> = HashMap::new();
    for row in &rows {
        let mut cells = Reader::new(row, &["trace_id", "tenant", "deleted_at"], WRITING);
        let key = (cells.trace_id()?, TenantId::new(cells.required_text()?));
        deleted.insert(key, cells.required_instant()?);
    }
    Ok(crate::store::erasure::without(batch, &deleted))
}
