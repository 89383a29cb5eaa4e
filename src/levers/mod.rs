//! The levers of ingest: a switch, and rules by which spans of some service, operation or region are not kept. What they
//! are, which spans they concern, and how they changed. Pure: the time comes as an argument; where levers are kept and how
//! replicas learn of them belongs to `pipeline::control`, the resource `/v1/admin/ingest` to `http`.
//!
//! A rule's word on a span depends on the span alone: its names, its trace id, its start, its end. So replicas agree without
//! asking each other, and a later reader can tell what a rule left out ([`Levers::periods`]).

mod check;
mod history;
mod sieve;
mod sift;
mod view;

pub use check::{Fault, Wish, wish};
pub use history::Period;
pub use sieve::{Reason, Sieve, Spared, Verdict, is_failed, is_kept};
pub use sift::{Count, Sift};
pub use view::{Counted, Keeping, View};

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::time::UnixNanos;

/// Rules at a time.
pub const MAX_RULES: usize = 32;
/// Bytes of a pattern, and of a note.
pub const MAX_TEXT: usize = 200;
/// Bytes of a rule's name: it is a label of metrics.
pub const MAX_NAME: usize = 40;
/// Changes that are remembered.
pub const MAX_CHANGES: usize = 100;
/// Bytes of changes as JSON behind which no older one is remembered: replicas read all of them every few seconds.
pub const MAX_HISTORY_BYTES: usize = 64 << 10;
/// How often replicas look for what others changed, while requests come: so much later than its maker one may learn of a rule.
pub const SPREADING_SECS: u64 = 5;
/// How far the clocks of those who send spans may be ahead of ours, at the least, without harm.
pub const CLOCK_MARGIN_SECS: u64 = 5;
/// How long after it is made a rule begins to hold ([`Rule::since`]). A replica that has not heard of it stores the starts of
/// spans; were their completions dropped by one that has, those spans would read as abandoned. So the rule concerns only
/// spans that begin once all have heard: twice the interval, since the store may be slow to answer, and the clocks' margin.
pub const HOLDS_AFTER_NS: i64 = (2 * SPREADING_SECS + CLOCK_MARGIN_SECS) as i64 * 1_000_000_000;

/// The levers as they are and as they were: the changes, newest first. None: on, without rules, as ever.
///
/// Two replicas may change them at a time. What either knows is joined by [`Levers::joined`], in any order and any number of
/// times with the same outcome: the change with the greatest stamp holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Levers {
    changes: Vec<Change>,
}

/// Who changed what, and the state that came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Change {
    /// Counts the changes, from 1.
    pub version: u64,
    /// Random, so that two changes of one version are two.
    pub id: String,
    #[schema(value_type = String)]
    pub at: UnixNanos,
    /// The name of the key; never the key.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it changed, from what to what, in words.
    pub what: Vec<String>,
    /// What came of it.
    pub state: State,
}

/// What the levers say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct State {
    /// `false`: nothing is taken.
    pub enabled: bool,
    /// While not enabled: on again from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub until: Option<UnixNanos>,
    /// The first that matches a span decides.
    pub rules: Vec<Rule>,
}

/// Which spans are not kept. It concerns spans that began from `since` on, and before `until`. `since` is
/// [`HOLDS_AFTER_NS`] after it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Rule {
    /// Its name in metrics and in the history.
    pub name: String,
    /// A name, or the beginning of one with a `*` behind it. Left out, any will do.
    #[serde(default, skip_serializing_if = "Pattern::is_any")]
    #[schema(value_type = Option<String>)]
    pub service: Pattern,
    #[serde(default, skip_serializing_if = "Pattern::is_any")]
    #[schema(value_type = Option<String>)]
    pub operation: Pattern,
    #[serde(default, skip_serializing_if = "Pattern::is_any")]
    #[schema(value_type = Option<String>)]
    pub region: Pattern,
    #[serde(flatten)]
    pub action: Action,
    #[schema(value_type = String)]
    pub since: UnixNanos,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub until: Option<UnixNanos>,
}

/// What becomes of spans that a rule matches. Those that failed are kept, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// None is kept.
    Off,
    /// This part (0 to 1) of the traces is kept, each with all of these spans or with none.
    KeepFraction { fraction: f64 },
    /// Those that took at least so many milliseconds are kept, and those of which that is not known.
    MinimumDuration { duration_ms: f64 },
}

/// Which names are meant: all, one, or those with a beginning. Upper and lower case differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pattern {
    /// Every name, and none.
    #[default]
    Any,
    Exact(Box<str>),
    /// Names that begin so.
    Prefix(Box<str>),
}

impl Default for State {
    fn default() -> Self {
        Self { enabled: true, until: None, rules: Vec::new() }
    }
}

impl State {
    /// Whether nothing is taken at an instant.
    pub fn is_off(&self, now: UnixNanos) -> bool {
        !self.enabled && self.until.is_none_or(|until| now < until)
    }
}

impl Rule {
    /// Whether it matches a span of these names.
    pub fn matches(&self, service: Option<&str>, operation: Option<&str>, region: Option<&str>) -> bool {
        self.service.matches(service) && self.operation.matches(operation) && self.region.matches(region)
    }

    /// Whether it concerns spans that began at an instant.
    pub fn holds_at(&self, begun: UnixNanos) -> bool {
        self.since <= begun && self.until.is_none_or(|until| begun < until)
    }
}

impl Action {
    /// Its name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::KeepFraction { .. } => "keep_fraction",
            Self::MinimumDuration { .. } => "minimum_duration",
        }
    }
}

impl Pattern {
    /// From its text.
    ///
    /// # Errors
    /// What is wrong with it and what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        const ACCEPTED: &str = "accepted is a name, the beginning of one with a * behind it, or *";
        let (name, is_prefix) = text.strip_suffix('*').map_or((text, false), |begin| (begin, true));
        if text.len() > MAX_TEXT {
            return Err(format!("has {} bytes; accepted are at most {MAX_TEXT}", text.len()));
        }
        if name.contains('*') {
            return Err(format!("has a * that is not at its end; {ACCEPTED}"));
        }
        match (name, is_prefix) {
            ("", false) => Err(format!("is empty; {ACCEPTED}")),
            ("", true) => Ok(Self::Any),
            (name, true) => Ok(Self::Prefix(name.into())),
            (name, false) => Ok(Self::Exact(name.into())),
        }
    }

    pub fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// Whether a name is meant; no name is meant by [`Pattern::Any`] alone.
    pub fn matches(&self, name: Option<&str>) -> bool {
        match (self, name) {
            (Self::Any, _) => true,
            (Self::Exact(text), Some(name)) => **text == *name,
            (Self::Prefix(begin), Some(name)) => name.starts_with(&**begin),
            (_, None) => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(begin) => write!(f, "{begin}*"),
        }
    }
}

/// What it matches and what it does: `service=modal operation=poll*: keep 0.1 of the traces`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", names(&self.service, &self.operation, &self.region), self.action)?;
        self.until.map_or(Ok(()), |until| write!(f, ", until {until}"))
    }
}

/// `service=modal operation=poll*`.
fn names(service: &Pattern, operation: &Pattern, region: &Pattern) -> String {
    let named = [("service", service), ("operation", operation), ("region", region)];
    let parts: Vec<String> =
        named.iter().filter(|(_, pattern)| !pattern.is_any()).map(|(name, to)| format!("{name}={to}")).collect();
    if parts.is_empty() { "everything".to_owned() } else { parts.join(" ") }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::KeepFraction { fraction } => write!(f, "keep {fraction} of the traces"),
            Self::MinimumDuration { duration_ms } => write!(f, "keep from {duration_ms} ms on"),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
