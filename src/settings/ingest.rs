//! `[ingest]`: whether spans are taken at all, and how large they may be.

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use crate::model::limits::Limits;

/// What is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSettings {
    /// The kill switch. Off, every ingest request is answered at once as accepted with nothing stored; reads go on.
    /// While it is on, the levers (`/v1/admin/ingest`) may still say off.
    pub enabled: bool,
    pub limits: Limits,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self { enabled: true, limits: Limits::default() }
    }
}

impl IngestSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        const GIB: usize = 1 << 30;
        let limits = &self.limits;
        problems.within("ingest.limits.max_wire_bytes", limits.max_wire_bytes, 1_024..=GIB);
        problems.within("ingest.limits.max_items", limits.max_items, 1..=1_000_000);
        problems.within("ingest.limits.max_otlp_wire_bytes", limits.max_otlp_wire_bytes, 1_024..=GIB);
        problems.within("ingest.limits.max_inflated_bytes", limits.max_inflated_bytes, 1_024..=GIB);
        problems.within("ingest.limits.max_spans", limits.max_spans, 1..=1_000_000);
        problems.within("ingest.limits.max_depth", limits.max_depth, 1..=128);
        problems.within("ingest.limits.max_value_bytes", limits.max_value_bytes, 64..=GIB);
        problems.within("ingest.limits.max_content_bytes", limits.max_content_bytes, 64..=GIB);
        problems.within("ingest.limits.max_span_bytes", limits.max_span_bytes, 1_024..=GIB);
    }
}
