//! Which traces stay, whatever their age.

use async_trait::async_trait;

use super::{Sqlite, failed, nanos};
use crate::model::ids::TraceId;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::store::rows::Reader;
use crate::store::{Pin, Pins, Result};

#[async_trait]
impl Pins for Sqlite {
    async fn pin(&self, tenant: &TenantId, trace_id: TraceId, at: UnixNanos) -> Result<Option<Pin>> {
        const DOING: &str = "pin a trace";
        let query = sqlx::query(
            "INSERT INTO pins (trace_id, tenant, pinned_at) SELECT trace_id, tenant, ? FROM traces \
             WHERE trace_id = ? AND tenant = ? ON CONFLICT DO UPDATE SET pinned_at = pinned_at RETURNING pinned_at",
        );
        let query = query.bind(nanos(at)).bind(&trace_id.as_bytes()[..]).bind(tenant.as_str());
        let row = query.fetch_optional(&self.writer).await.map_err(failed(DOING))?;
        let pin = |row| Ok(Pin { trace_id, pinned_at: Reader::new(&row, &["pinned_at"], DOING).required_instant()? });
        row.map(pin).transpose()
    }

    async fn unpin(&self, tenant: &TenantId, trace_id: TraceId) -> Result<bool> {
        let query = sqlx::query("DELETE FROM pins WHERE trace_id = ? AND tenant = ?");
        let query = query.bind(&trace_id.as_bytes()[..]).bind(tenant.as_str());
        let done = query.execute(&self.writer).await.map_err(failed("unpin a trace"))?;
        Ok(done.rows_affected() > 0)
    }

    async fn pins(&self, tenant: &TenantId, limit: usize) -> Result<Vec<Pin>> {
        const DOING: &str = "list pins";
        let query = sqlx::query(
            "SELECT trace_id, pinned_at FROM pins WHERE tenant = ? ORDER BY pinned_at DESC, trace_id LIMIT ?",
        );
        let query = query.bind(tenant.as_str()).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&self.readers).await.map_err(failed(DOING))?;
        let pin = |row| {
            let mut cells = Reader::new(row, &["trace_id", "pinned_at"], DOING);
            Ok(Pin { trace_id: cells.trace_id()?, pinned_at: cells.required_instant()? })
        };
        rows.iter().map(pin).collect()
    }
}
