//! Deleting on request, as the stores do it: traces are barred first, so that what was heard of them before is stored no
//! more, by whatever process; then what is stored of them goes, a bounded step at a time. In which order, and for how long,
//! is the pipeline's.

use std::borrow::Cow;
use std::collections::HashMap;

use async_trait::async_trait;
use serde::Deserialize;

use super::Result;
use crate::model::ids::TraceId;
use crate::model::merge::{fold, is_folded};
use crate::model::span::{Field, Span};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// Whose traces: those of which any span says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    User(String),
    Workspace(String),
}

impl Owner {
    pub(super) fn field(&self) -> Field {
        match self {
            Owner::User(_) => Field::UserId,
            Owner::Workspace(_) => Field::WorkspaceId,
        }
    }

    pub(super) fn id(&self) -> &str {
        match self {
            Owner::User(id) | Owner::Workspace(id) => id,
        }
    }

    /// What the text of a dead letter of theirs holds, and maybe that of others: the encoding has no space between a name and
    /// its value.
    pub(super) fn in_letter(&self) -> String {
        format!("\"{}\":{}", self.field().name(), serde_json::Value::from(self.id()))
    }

    /// Whether a dead letter is theirs by its own member: what its inputs or attributes name is nobody's word on whose it is.
    pub(super) fn is_of_letter(&self, body: &str) -> bool {
        #[derive(Deserialize)]
        struct Members {
            user_id: Option<String>,
            workspace_id: Option<String>,
        }
        // Databases read no JSON in which a text holds what they cannot, for which letters are refused.
        serde_json::from_str::<Members>(body).is_ok_and(|members| match self {
            Owner::User(id) => members.user_id.as_ref() == Some(id),
            Owner::Workspace(id) => members.workspace_id.as_ref() == Some(id),
        })
    }
}

/// What is stored of traces, or was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Summaries: one a trace, with its counts, tokens and cost.
    pub traces: u64,
    /// Open, ended and kept ones.
    pub spans: u64,
    pub pins: u64,
    pub dead_letters: u64,
}

impl Erased {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            traces: self.traces + other.traces,
            spans: self.spans + other.spans,
            pins: self.pins + other.pins,
            dead_letters: self.dead_letters + other.dead_letters,
        }
    }
}

/// Dead letters read at a time; each may be as large as a span may be.
pub(super) const LETTERS: i64 = 64;

/// Deletes traces with all that belongs to them. Resources that nothing names any more are left to
/// [`super::Retention::remove_others`].
#[async_trait]
pub trait Erasure: Send + Sync {
    /// The names of the places in which something of somebody's may be, in the order in which rows move from one to the
    /// next.
    async fn places(&self) -> Result<Vec<String>>;

    /// Traces of which something is in this place that is the owner's, in the order of their ids, those behind `after`, at
    /// most `limit`: fewer when there are no more. None of a place that is gone. Reads the whole place where no index helps:
    /// slow.
    async fn traces_of(
        &self,
        tenant: &TenantId,
        owner: &Owner,
        place: &str,
        after: Option<TraceId>,
        limit: usize,
    ) -> Result<Vec<TraceId>>;

    /// What there is of these traces.
    async fn holdings(&self, tenant: &TenantId, traces: &[TraceId]) -> Result<Erased>;

    /// From the return on, no span of these traces of which the service heard at `until` or before is stored any more, by
    /// anybody who writes to this store. Spans heard of later are as any.
    ///
    /// # Errors
    /// [`super::StoreError::Unavailable`] when others write for too long to wait for.
    async fn bar(&self, tenant: &TenantId, traces: &[TraceId], until: UnixNanos) -> Result<()>;

    /// Removes some of what there is of these traces, in one transaction of some thousand rows, and answers what that was
    /// and whether there is more. Each trace's summary goes with the last of it.
    async fn erase(&self, tenant: &TenantId, traces: &[TraceId]) -> Result<(Erased, bool)>;
}

/// One span of each that has several records in the batch; for those that are not deleted, see [`without`].
pub(super) fn folded(batch: Cow<'_, [Span]>) -> Cow<'_, [Span]> {
    match is_folded(&batch) {
        true => batch,
        false => Cow::Owned(fold(batch.into_owned())),
    }
}

/// The batch without the records that were heard of before their trace was deleted.
pub(super) fn without<'b>(batch: &'b [Span], deleted: &HashMap<(TraceId, TenantId), UnixNanos>) -> Cow<'b, [Span]> {
    if deleted.is_empty() {
        return Cow::Borrowed(batch);
    }
    let is_deleted = |span: &Span| {
        deleted.get(&(span.trace_id, span.tenant.clone())).is_some_and(|deleted_at| span.seen_at <= *deleted_at)
    };
    let kept: Vec<Span> = batch.iter().filter(|span| !is_deleted(span)).cloned().collect();
    let dropped = batch.len() - kept.len();
    if dropped > 0 {
        tracing::info!(spans = dropped, "spans that were accepted before their trace was deleted are not stored");
    }
    Cow::Owned(kept)
}
