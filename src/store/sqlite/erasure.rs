//! Deleting on request, on the writer's connection: one transaction at a time, so nobody writes in between.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use super::tables::{Table, Tables};
use super::{Sqlite, failed, nanos};
use crate::model::ids::TraceId;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::store::erasure::LETTERS;
use crate::store::rows::Reader;
use crate::store::{Erased, Erasure, Owner, Result};

/// Rows removed in one transaction.
const ROWS: u64 = 5_000;

/// Ids from a JSON array of hex texts, so that one statement is for any number of them.
const IDS: &str = "(SELECT unhex(value) FROM json_each($1))";
/// The same as dead letters have them.
const TEXTS: &str = "(SELECT value FROM json_each($1))";

const DOING: &str = "delete traces";
const WRITING: &str = "write spans";

#[async_trait]
impl Erasure for Sqlite {
    async fn places(&self) -> Result<Vec<String>> {
        let mut connection = self.readers.acquire().await.map_err(failed(DOING))?;
        let tables = Tables::load(&mut connection, DOING).await?;
        let others = ["dead_letters", "traces"].map(str::to_owned);
        let mut places: Vec<String> = each(&tables).map(|table| table.to_string()).chain(others).collect();
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
        let column = owner.field().name();
        match (place, owner) {
            // A summary does not say whose workspace it is.
            ("traces", Owner::Workspace(_)) => return Ok(Vec::new()),
            ("dead_letters", _) => return self.traces_of_letters(tenant, owner, after, limit).await,
            _ => {}
        }
        if !self.places().await?.iter().any(|known| known == place) {
            return Ok(Vec::new());
        }
        // Safe: names of our own, the place among them.
        let sql = AssertSqlSafe(format!(
            "SELECT DISTINCT trace_id FROM {place} WHERE tenant = ? AND {column} = ? AND trace_id > ? \
             ORDER BY trace_id LIMIT ?"
        ));
        let query = sqlx::query(sql).bind(tenant.as_str()).bind(owner.id());
        let query = query.bind(after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()));
        let query = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&self.readers).await.map_err(failed(DOING))?;
        rows.iter().map(|row| Reader::new(row, &["trace_id"], DOING).trace_id()).collect()
    }

    async fn holdings(&self, tenant: &TenantId, traces: &[TraceId]) -> Result<Erased> {
        let mut transaction = self.readers.begin().await.map_err(failed(DOING))?;
        let tables = Tables::load(&mut transaction, DOING).await?;
        let ids = texts(traces);
        let mut count = async |table: &str, among: &str| {
            // Safe: names of our own tables.
            let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE trace_id IN {among} AND tenant = $2"));
            let row = sqlx::query(sql).bind(&ids).bind(tenant.as_str()).fetch_one(&mut *transaction).await;
            let count: i64 = row.and_then(|row| row.try_get(0)).map_err(failed(DOING))?;
            Ok(count.unsigned_abs())
        };
        let mut found = Erased {
            traces: count("traces", IDS).await?,
            pins: count("pins", IDS).await?,
            dead_letters: count("dead_letters", TEXTS).await?,
            spans: 0,
        };
        for table in each(&tables) {
            found.spans += count(&table.to_string(), IDS).await?;
        }
        transaction.commit().await.map_err(failed(DOING))?;
        Ok(found)
    }

    async fn bar(&self, tenant: &TenantId, traces: &[TraceId], until: UnixNanos) -> Result<()> {
        // `WHERE true`: without it the ON of ON CONFLICT is read as a join's.
        let query = sqlx::query(
            "INSERT INTO deletions (trace_id, tenant, deleted_at) SELECT unhex(value), $2, $3 FROM json_each($1) WHERE true \
             ON CONFLICT (trace_id, tenant) DO UPDATE SET deleted_at = max(deleted_at, excluded.deleted_at)",
        );
        let query = query.bind(texts(traces)).bind(tenant.as_str()).bind(nanos(until));
        query.execute(&self.writer).await.map_err(failed(DOING))?;
        Ok(())
    }

    async fn erase(&self, tenant: &TenantId, traces: &[TraceId]) -> Result<(Erased, bool)> {
        let ids = texts(traces);
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(DOING))?;
        let tables = Tables::load(&mut transaction, DOING).await?;
        let (mut erased, mut more) = (Erased::default(), false);
        for table in each(&tables) {
            // Safe: a name of our own table.
            let sql = AssertSqlSafe(format!(
                "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} \
                 WHERE trace_id IN {IDS} AND tenant = $2 LIMIT $3)"
            ));
            let query = sqlx::query(sql).bind(&ids).bind(tenant.as_str());
            let query = query.bind((ROWS - erased.spans).cast_signed());
            erased.spans += query.execute(&mut *transaction).await.map_err(failed(DOING))?.rows_affected();
            more = erased.spans >= ROWS;
            if more {
                break;
            }
        }
        if !more {
            erased.pins = remove(&mut transaction, "pins", IDS, &ids, tenant).await?;
            erased.traces = remove(&mut transaction, "traces", IDS, &ids, tenant).await?;
            erased.dead_letters = remove(&mut transaction, "dead_letters", TEXTS, &ids, tenant).await?;
        }
        transaction.commit().await.map_err(failed(DOING))?;
        self.checkpoints.note(usize::try_from(erased.spans).unwrap_or_default());
        Ok((erased, more))
    }
}

impl Sqlite {
    async fn traces_of_letters(
        &self,
        tenant: &TenantId,
        owner: &Owner,
        after: Option<TraceId>,
        limit: usize,
    ) -> Result<Vec<TraceId>> {
        let (mut found, mut last) = (BTreeSet::new(), 0_i64);
        loop {
            let query = sqlx::query(
                "SELECT id, trace_id, body FROM dead_letters WHERE tenant = ? AND instr(body, ?) > 0 AND id > ? \
                 ORDER BY id LIMIT ?",
            );
            let query = query.bind(tenant.as_str()).bind(owner.in_letter()).bind(last).bind(LETTERS);
            let rows = query.fetch_all(&self.readers).await.map_err(failed(DOING))?;
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
}

/// Every table of spans.
fn each(tables: &Tables) -> impl Iterator<Item = Table> {
    [Table::Open].into_iter().chain(tables.between(&(0..=u32::MAX)))
}

async fn remove(
    connection: &mut SqliteConnection,
    table: &str,
    among: &str,
    ids: &str,
    tenant: &TenantId,
) -> Result<u64> {
    // Safe: names of our own tables.
    let sql = AssertSqlSafe(format!("DELETE FROM {table} WHERE trace_id IN {among} AND tenant = $2"));
    let query = sqlx::query(sql).bind(ids).bind(tenant.as_str());
    Ok(query.execute(connection).await.map_err(failed(DOING))?.rows_affected())
}

/// As a JSON array of hex texts.
fn texts(traces: &[TraceId]) -> String {
    let texts: Vec<String> = traces.iter().map(|trace| format!("\"{trace}\"")).collect();
    format!("[{}]", texts.join(","))
}

/// The batch without the spans that were heard of before their trace was deleted. A batch that was heard of after the last
/// deletion asks no more than when that was.
pub(super) async fn without_deleted<'b>(
    connection: &mut SqliteConnection,
    batch: &'b [Span],
) -> Result<Cow<'b, [Span]>> {
    let row = sqlx::query("SELECT max(deleted_at) FROM deletions").fetch_one(&mut *connection).await;
    let last: Option<i64> = row.and_then(|row| row.try_get(0)).map_err(failed(WRITING))?;
    let Some(last) = last else { return Ok(Cow::Borrowed(batch)) };
    if batch.iter().all(|span| nanos(span.seen_at) > last) {
        return Ok(Cow::Borrowed(batch));
    }
    let mut traces: Vec<TraceId> = batch.iter().map(|span| span.trace_id).collect();
    traces.dedup();
    // Safe: our own words.
    let sql = AssertSqlSafe(format!("SELECT trace_id, tenant, deleted_at FROM deletions WHERE trace_id IN {IDS}"));
    let rows = sqlx::query(sql).bind(texts(&traces)).fetch_all(connection).await.map_err(failed(WRITING))?;
    let mut deleted: HashMap<(TraceId, TenantId), UnixNanos> = HashMap::new();
    for row in &rows {
        let mut cells = Reader::new(row, &["trace_id", "tenant", "deleted_at"], WRITING);
        let key = (cells.trace_id()?, TenantId::new(cells.required_text()?));
        deleted.insert(key, cells.required_instant()?);
    }
    Ok(crate::store::erasure::without(batch, &deleted))
}
