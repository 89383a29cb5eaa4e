//! What spans past their keep-by date are to the stores: where they are, and the steps by which they go. In which order
//! the steps are taken, by whom and how often, is the pipeline's.
//!
//! A trace of which spans are removed is marked first (`spans_partial`): from then on its roll-up is final. A trace that is
//! to stay is moved whole into `spans_kept`. So a run that breaks off at any point leaves nothing half said, and the next
//! one goes on.

use async_trait::async_trait;

use super::Result;
use crate::model::ids::TraceId;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// The keep-by dates of one moment: what is older goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepBy {
    pub now: UnixNanos,
    /// Of days with a table of their own, the first that stays: by the start of the spans (UTC).
    pub first_day: u32,
    /// Of days without one: by when a span was first heard of.
    pub completed: UnixNanos,
    /// Spans of failed traces: by when they were first heard of. Open spans: by when they read as abandoned.
    pub failed: UnixNanos,
    /// Roll-ups, by when their trace was first heard of; those with spans stay. That traces were deleted: by when, so for
    /// longer than anything is of theirs.
    pub rollups: UnixNanos,
    /// Resources, by the day on which a span of theirs last came.
    pub resources_day: u32,
    pub dead_letters: UnixNanos,
    /// Dead letters beyond the newest so many go, however young.
    pub dead_letters_max: u64,
}

/// Where spans are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The ended ones of a day that has a table of its own.
    Day(u32),
    /// The ended ones of all other days.
    OtherDays,
    /// The ended ones that were moved out of their day.
    Kept,
    Open,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Spans moved to those that are kept.
    pub moved: u64,
    /// Spans removed, one by one.
    pub removed: u64,
    /// Traces whose roll-up has become final.
    pub marked: u64,
    /// Where to go on; `None` when nothing is left to do at this place.
    pub next: Option<TraceId>,
}

/// What a run would do with one kind of thing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Due {
    /// A day (`2026-01-05`), `other days`, `kept`, `open`, `roll-ups`, `resources` or `dead letters`.
    pub what: String,
    /// Traces of which spans go, and their spans there.
    pub traces: u64,
    pub spans: u64,
    /// Traces that are failed, pinned or not over, and their spans there, which are kept.
    pub kept_traces: u64,
    pub kept_spans: u64,
    /// Bytes that become free, estimated by the share of the rows.
    pub bytes: u64,
}

/// Removes what is past its keep-by date, a bounded step at a time. Each step is one or a few transactions of at most some
/// thousand rows, and may be repeated.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Takes a lease, or renews it, until `until`: `false` while another holder has it. By the caller's clock.
    async fn lease(&self, name: &str, holder: &str, now: UnixNanos, until: UnixNanos) -> Result<bool>;

    /// The days before this one that have a table of their own, oldest first.
    async fn days_before(&self, day: u32) -> Result<Vec<u32>>;

    /// From now on no day before this one gets a table: spans of it that come late are of [`Place::OtherDays`]. A day that
    /// was closed stays so.
    async fn close_days(&self, before: u32) -> Result<()>;

    /// The next step at a place, behind the trace at which the step before ended. At a day: traces that are failed, pinned
    /// or not over are moved whole to those that are kept; of the others the roll-up becomes final, and their spans are
    /// left for [`Retention::drop_day`]. At the other places the spans past their date go too, except those of pinned
    /// traces.
    async fn clear(&self, place: Place, after: Option<TraceId>, keep_by: &KeepBy) -> Result<Cleared>;

    /// Drops a cleared day with all that is left in it. `false` if something there is to be cleared anew.
    ///
    /// # Errors
    /// [`super::StoreError::Unavailable`] when others use its table for too long.
    async fn drop_day(&self, day: u32, keep_by: &KeepBy) -> Result<bool>;

    /// Says of traces without a span left that their spans have expired: some of them, from `after` on. Answers where to go
    /// on.
    async fn note_expired(&self, after: Option<TraceId>, now: UnixNanos) -> Result<Option<TraceId>>;

    /// Removes some roll-ups without spans, resources, dead letters and notes of deletions, and answers how many: none when none is left.
    /// Resources may go only when all spans past their date are gone.
    async fn remove_others(&self, keep_by: &KeepBy, resources: bool) -> Result<u64>;

    /// Gives some free space of the files back to the operating system; `false` when there is none, or the database does
    /// so by itself.
    async fn shrink(&self) -> Result<bool>;

    /// What a run would do, and how much of each. Reads every row past its date: slow.
    async fn due(&self, keep_by: &KeepBy) -> Result<Vec<Due>>;
}

/// A trace that somebody wants to keep.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Pin {
    #[schema(value_type = String)]
    pub trace_id: TraceId,
    #[schema(value_type = String)]
    pub pinned_at: UnixNanos,
}

/// Which traces stay, whatever their age.
#[async_trait]
pub trait Pins: Send + Sync {
    /// Pins a trace; one that is pinned stays pinned since then. `None` if no such trace is known.
    async fn pin(&self, tenant: &TenantId, trace_id: TraceId, at: UnixNanos) -> Result<Option<Pin>>;

    /// `false` if it was not pinned.
    async fn unpin(&self, tenant: &TenantId, trace_id: TraceId) -> Result<bool>;

    /// The newest pins first, at most `limit`.
    async fn pins(&self, tenant: &TenantId, limit: usize) -> Result<Vec<Pin>>;
}

/// A condition on a row `t` of `traces`: somebody pinned it. `schema` stands before the names of tables.
pub(super) fn is_pinned(schema: &str) -> String {
    format!("EXISTS (SELECT 1 FROM {schema}pins AS p WHERE p.trace_id = t.trace_id AND p.tenant = t.tenant)")
}

/// A condition on a row `t` of `traces`: its spans outlive their day. `unsettled`: how the dialect says that its roll-up is
/// behind its spans. What failed is what a person will ask for; a trace that was cancelled was meant to be.
pub(super) fn outlives_its_day(schema: &str, unsettled: &str) -> String {
    format!("({unsettled} OR t.status NOT IN ('completed', 'cancelled', 'skipped') OR {})", is_pinned(schema))
}
