//! Which traces stay, whatever their age.

use async_trait::async_trait;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, AssertSqlSafe};

use super::types::{Instant, below_microsecond, uuid};
use super::work::{Mode, Work};
use super::{Postgres, failed};
use crate::model::ids::TraceId;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::store::rows::Reader;
use crate::store::{Pin, Pins, Result};

#[async_trait]
impl Pins for Postgres {
    async fn pin(&self, tenant: &TenantId, trace_id: TraceId, at: UnixNanos) -> Result<Option<Pin>> {
        const DOING: &str = "pin a trace";
        let schema = &self.schema;
        // Under the lock on the trace's row, which who removes its spans holds too. Safe: names of our own tables.
        let sql = AssertSqlSafe(format!(
            "WITH known AS (SELECT trace_id, tenant FROM {schema}traces WHERE trace_id = $1 AND tenant = $2 FOR UPDATE) \
             INSERT INTO {schema}pins AS p (trace_id, tenant, pinned_at, pinned_ns) \
             SELECT trace_id, tenant, $3, $4 FROM known \
             ON CONFLICT (trace_id, tenant) DO UPDATE SET pinned_at = p.pinned_at RETURNING pinned_at, pinned_ns"
        ));
        let query = sqlx::query(sql).bind(uuid(trace_id.as_bytes())).bind(tenant.as_str());
        let query = query.bind(Instant::of(at)).bind(below_microsecond(at));
        let write = async {
            let mut work = Work::begin(&self.writer, Mode::Write, self.limits, DOING).await?;
            let row = query.fetch_optional(&mut *work).await.map_err(failed(DOING));
            work.end(row).await
        };
        let row = self.limits.hold(DOING, write).await?;
        let pin = |row| Ok(Pin { trace_id, pinned_at: Reader::new(&row, &["pinned_at"], DOING).required_instant()? });
        row.map(pin).transpose()
    }

    async fn unpin(&self, tenant: &TenantId, trace_id: TraceId) -> Result<bool> {
        const DOING: &str = "unpin a trace";
        // Safe: a name of our own table.
        let sql = AssertSqlSafe(format!("DELETE FROM {}pins WHERE trace_id = $1 AND tenant = $2", self.schema));
        let query = sqlx::query(sql).bind(uuid(trace_id.as_bytes())).bind(tenant.as_str());
        let write = async {
            let mut work = Work::begin(&self.writer, Mode::Write, self.limits, DOING).await?;
            let done = query.execute(&mut *work).await.map_err(failed(DOING));
            work.end(done).await
        };
        Ok(self.limits.hold(DOING, write).await?.rows_affected() > 0)
    }

    async fn pins(&self, tenant: &TenantId, limit: usize) -> Result<Vec<Pin>> {
        const DOING: &str = "list pins";
        let mut bound = PgArguments::default();
        let added = bound.add(tenant.as_str()).and_then(|()| bound.add(i64::try_from(limit).unwrap_or(i64::MAX)));
        added.map_err(sqlx::Error::Encode).map_err(failed(DOING))?;
        // Safe: a name of our own table.
        let sql = AssertSqlSafe(format!(
            "SELECT trace_id, pinned_at, pinned_ns FROM {}pins WHERE tenant = $1 \
             ORDER BY pinned_at DESC, pinned_ns DESC, trace_id LIMIT $2",
            self.schema
        ));
        let rows = self.fetch(sql, bound, DOING).await?;
        let pin = |row| {
            let mut cells = Reader::new(row, &["trace_id", "pinned_at"], DOING);
            Ok(Pin { trace_id: cells.trace_id()?, pinned_at: cells.required_instant()? })
        };
        rows.iter().map(pin).collect()
    }
}
