//! Opening the store beside the requests: whatever it takes, spans are taken meanwhile.

use std::sync::Arc;

use async_trait::async_trait;

use super::circuit::Circuit;
use crate::clock::Clock;
use crate::model::ids::TraceId;
use crate::model::rollup::TraceRollup;
use crate::model::search::{Page, TraceQuery};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::store::error::Cause;
use crate::store::{self, Detail, Maintenance, Pin, Pins, Store, StoreError, TraceReader, TraceRows};

/// Makes the store, brings its schema up to date and prepares its days, as often as it takes; then ends.
pub(super) async fn open(store: Arc<dyn Maintenance>, circuit: Arc<Circuit>, clock: Clock) {
    loop {
        let tried = async {
            store.make().await?;
            store.migrate_up().await?;
            store.prepare_days(clock.now()).await
        };
        if circuit.opened(&tried.await) {
            return;
        }
        circuit.before_opening_again().await;
    }
}

/// Asks whether the store is as it has to be. It is not made so: tables that somebody removed are that somebody's matter.
async fn ask(store: &dyn Maintenance) -> store::Result<()> {
    let missing = store.migrations().await?.into_iter().find(|migration| !migration.applied);
    let Some(missing) = missing else { return Ok(()) };
    let source = format!("migration {:04} {} is not applied", missing.version, missing.name).into();
    Err(StoreError::Unavailable { doing: "ask for the schema", cause: Cause::Schema, source })
}

/// Reads as the circuit lets them: while the store is known to be away they are answered at once.
pub(super) struct Reader {
    inner: Arc<dyn TraceReader>,
    pins: Arc<dyn Pins>,
    maintenance: Arc<dyn Maintenance>,
    circuit: Arc<Circuit>,
    /// What is read is elsewhere than what is written: the one says nothing of the other.
    apart: bool,
}

impl Reader {
    pub fn new(store: &Store, circuit: Arc<Circuit>) -> Self {
        let (inner, pins, maintenance) = (store.traces.clone(), store.pins.clone(), store.maintenance.clone());
        Self { inner, pins, maintenance, circuit, apart: store.reads_apart }
    }

    async fn check(&self) -> store::Result<()> {
        let checked = self.circuit.check_read().await;
        if self.apart {
            return Ok(());
        }
        if checked.is_err()
            && let Ok(turn) = self.circuit.try_turn()
        {
            // Nobody may be writing: then questions find out that the store is back. They do not wait for it.
            let store = self.maintenance.clone();
            tokio::spawn(async move { turn.end(&ask(store.as_ref()).await) });
        }
        checked
    }

    fn heard<T>(&self, result: store::Result<T>) -> store::Result<T> {
        if !self.apart {
            self.circuit.heard(&result);
        }
        result
    }
}

#[async_trait]
impl TraceReader for Reader {
    async fn trace_rows(
        &self,
        tenant: &TenantId,
        trace_id: TraceId,
        detail: Detail,
        limit: usize,
    ) -> store::Result<TraceRows> {
        self.check().await?;
        self.heard(self.inner.trace_rows(tenant, trace_id, detail, limit).await)
    }

    async fn traces_of_execution(
        &self,
        tenant: &TenantId,
        execution_id: &str,
        limit: usize,
    ) -> store::Result<Vec<TraceId>> {
        self.check().await?;
        self.heard(self.inner.traces_of_execution(tenant, execution_id, limit).await)
    }

    async fn services(&self, tenant: &TenantId, traces: usize) -> store::Result<Vec<String>> {
        self.check().await?;
        self.heard(self.inner.services(tenant, traces).await)
    }

    async fn search_traces(&self, tenant: &TenantId, query: &TraceQuery) -> store::Result<Page<TraceRollup>> {
        self.check().await?;
        self.heard(self.inner.search_traces(tenant, query).await)
    }
}

#[async_trait]
impl Pins for Reader {
    async fn pin(&self, tenant: &TenantId, trace_id: TraceId, at: UnixNanos) -> store::Result<Option<Pin>> {
        self.check().await?;
        self.heard(self.pins.pin(tenant, trace_id, at).await)
    }

    async fn unpin(&self, tenant: &TenantId, trace_id: TraceId) -> store::Result<bool> {
        self.check().await?;
        self.heard(self.pins.unpin(tenant, trace_id).await)
    }

    async fn pins(&self, tenant: &TenantId, limit: usize) -> store::Result<Vec<Pin>> {
        self.check().await?;
        self.heard(self.pins.pins(tenant, limit).await)
    }
}
