//! Pins: traces that somebody wants to keep, whatever their age.

use serde::Serialize;

use crate::model::ids::TraceId;
use crate::model::tenant::TenantId;
use crate::query::Queries;
use crate::store::{Pin, StoreError};

/// Pins in one answer.
const MAX_PINS: usize = 10_000;

/// What is pinned, the newest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PinList {
    pub pins: Vec<Pin>,
    /// Whether there are more.
    pub truncated: bool,
}

impl Queries {
    /// Pins a trace; one that is pinned stays pinned since then. `None` if no such trace is known.
    ///
    /// # Errors
    /// What the store says.
    pub async fn pin(&self, tenant: &TenantId, trace_id: TraceId) -> Result<Option<Pin>, StoreError> {
        self.pins.pin(tenant, trace_id, self.clock.now()).await
    }

    /// From now on a trace goes when its age says so. `false` if it was not pinned.
    ///
    /// # Errors
    /// What the store says.
    pub async fn unpin(&self, tenant: &TenantId, trace_id: TraceId) -> Result<bool, StoreError> {
        self.pins.unpin(tenant, trace_id).await
    }

    /// All that is pinned.
    ///
    /// # Errors
    /// What the store says.
    pub async fn pins(&self, tenant: &TenantId) -> Result<PinList, StoreError> {
        let mut pins = self.pins.pins(tenant, MAX_PINS + 1).await?;
        let truncated = pins.len() > MAX_PINS;
        pins.truncate(MAX_PINS);
        Ok(PinList { pins, truncated })
    }
}
