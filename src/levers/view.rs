//! The resource, as `GET /v1/admin/ingest` shows it and `tracefall ingest` reads it.

use serde::{Deserialize, Serialize};

use super::{Change, Levers, Period, Rule};
use crate::model::time::UnixNanos;

/// The levers of one process: what they say, what came of it, and how they changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct View {
    /// What becomes of spans now, all in all: `on` or `off`.
    pub ingest: String,
    /// Why it is off, and what would switch it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// `off` where the configuration (`ingest.enabled`, ENABLE_DB_TRACING) switches it off: nothing here switches it on.
    pub configuration: String,
    /// The switch of this resource.
    pub enabled: bool,
    /// While it is off: on again from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub until: Option<UnixNanos>,
    /// The first that matches a span decides.
    pub rules: Vec<Rule>,
    /// Names this state, for `If-Match`.
    pub etag: String,
    pub keeping: Keeping,
    /// Since when this process counts.
    #[schema(value_type = String)]
    pub counted_since: UnixNanos,
    /// Requests that were answered unread, because ingest is off.
    pub disabled_requests: u64,
    /// What the rules did, of this process and since its start.
    pub counts: Vec<Counted>,
    /// When what was not kept, newest first.
    pub periods: Vec<Period>,
    /// The last changes, newest first.
    pub changes: Vec<Change>,
    /// Older changes are forgotten: of what was left out before this time, nothing is known. Absent: all are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub forgotten_before: Option<UnixNanos>,
}

/// How often a rule said the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Counted {
    /// Its name; it may be gone.
    pub rule: String,
    /// Whether these spans were sampled away, or kept though the rule matches them.
    pub sampled: bool,
    /// Sampled: `off`, `fraction` (not among the traces that are kept), `short`. Kept: `failed`, `fraction`, `long`,
    /// `unknown` (open, or its start is not told), `in_parts` (its start came before by itself).
    pub reason: String,
    pub spans: u64,
}

/// Where the state is kept beside memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Keeping {
    /// `ok`, so that a restart on this folder finds it; or what is wrong.
    pub file: String,
    /// `ok`: the store has it, where other replicas find it; `pending`: it gets it when it answers.
    pub store: String,
}

impl View {
    /// What the levers of a process say at an instant. Counts and keeping are the caller's.
    pub fn of(levers: &Levers, configured: bool, now: UnixNanos, keeping: Keeping, counted_since: UnixNanos) -> Self {
        let state = levers.state();
        let is_off = state.is_off(now);
        let until = state.until.filter(|_| is_off);
        let because = match (configured, is_off, until) {
            (false, ..) => Some(
                "the configuration switches ingest off (ENABLE_DB_TRACING or ingest.enabled), which this resource cannot \
                 undo: change it and restart"
                    .to_owned(),
            ),
            (true, true, None) => Some("it is switched off here; {\"enabled\": true} switches it on".to_owned()),
            (true, true, Some(until)) => {
                Some(format!("it is switched off here until {until}; {{\"enabled\": true}} switches it on"))
            }
            (true, false, _) => None,
        };
        Self {
            ingest: if because.is_some() { "off" } else { "on" }.to_owned(),
            because,
            configuration: if configured { "on" } else { "off" }.to_owned(),
            enabled: !is_off,
            until,
            rules: state.rules,
            etag: levers.tag(),
            keeping,
            counted_since,
            disabled_requests: 0,
            counts: Vec::new(),
            periods: levers.periods(),
            changes: levers.changes().to_vec(),
            forgotten_before: levers.forgotten_before(),
        }
    }
}
