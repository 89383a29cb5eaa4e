//! The span: one unit of work, as it was sent or as it is known after merging all that was sent about it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::attributes::Attributes;
use super::ids::{SpanId, TraceId};
use super::merge::Weaker;
use super::tenant::TenantId;
use super::time::UnixNanos;

/// One span. Identity is (tenant, trace id, span id); everything else may be absent, because a record may be only the
/// start, only the completion, or only a later word about the span. See [`super::merge`] for how records become one.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub tenant: TenantId,
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent_span_id: Option<SpanId>,
    /// The earliest start that any record told.
    pub started_at: Option<UnixNanos>,
    pub end: Option<End>,
    pub status: Status,
    /// The sender's own count of its versions of this span; 0 when it keeps none.
    pub revision: u64,
    /// When this service first heard of the span.
    pub created_at: UnixNanos,
    /// When this service last heard of the span: its last sign of life while it is open.
    pub seen_at: UnixNanos,
    pub fields: Fields,
    pub attributes: Attributes,
    /// In order and without repetition: [`Span::set_events`] sees to it.
    pub(super) events: Vec<Event>,
    pub(super) links: Vec<Link>,
    pub resource: Option<Arc<Resource>>,
    /// Stamps of the fields that came from a weaker record than the strongest.
    pub weaker: Weaker,
}

/// When a span ended: told as an instant, or as a duration by a sender that left the start to another record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// This many nanoseconds after the span's start.
    After(i64),
    At(UnixNanos),
}

/// Where a span stands, in the sender's words. Ordered by nothing: [`super::merge::Stamp`] ranks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Announced, not begun.
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
    Skipped,
}

/// A status as it reads: what was sent, or `abandoned`, which is derived and never stored with a span: it is open and
/// nothing was heard of it for the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
    Skipped,
    Abandoned,
}

/// Nanoseconds of silence after which an open span reads as abandoned, unless configured: one hour.
pub const DEFAULT_DEADLINE_NS: i64 = 3_600 * 1_000_000_000;

macro_rules! named {
    ($type:ident, $what:literal, $($variant:ident = $name:literal $(| $alias:literal)*),+ $(,)?) => {
        impl $type {
            pub const ALL: &[$type] = &[$($type::$variant),+];

            /// The one name it is written with.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }

            #[doc = concat!("Reads ", $what, " without regard to case, by its name or an accepted alias.")]
            pub fn parse(text: &str) -> Option<Self> {
                $(if [$name $(, $alias)*].iter().any(|known| known.eq_ignore_ascii_case(text)) {
                    return Some($type::$variant);
                })+
                None
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

named!(
    Status,
    "a status",
    Pending = "pending" | "queued",
    Running = "running" | "started" | "in_progress",
    Completed = "completed" | "ok" | "success" | "succeeded",
    Failed = "failed" | "error" | "timeout" | "failure",
    Cancelled = "cancelled" | "canceled",
    Skipped = "skipped",
);

named!(
    Outcome,
    "a status as it reads",
    Pending = "pending",
    Running = "running" | "started",
    Completed = "completed" | "ok" | "success",
    Failed = "failed" | "error",
    Cancelled = "cancelled" | "canceled",
    Skipped = "skipped",
    Abandoned = "abandoned",
);

impl Status {
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Status::Pending | Status::Running)
    }
}

impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Outcome::Pending,
            Status::Running => Outcome::Running,
            Status::Completed => Outcome::Completed,
            Status::Failed => Outcome::Failed,
            Status::Cancelled => Outcome::Cancelled,
            Status::Skipped => Outcome::Skipped,
        }
    }
}

/// The role of a span in a call, with OTLP's numbers.
/// Source: <https://opentelemetry.io/docs/specs/otel/trace/api/#spankind>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanKind {
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// The status code of OpenTelemetry, with OTLP's numbers.
/// Source: <https://opentelemetry.io/docs/specs/otel/trace/api/#set-status>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtelStatus {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

named!(
    SpanKind,
    "a span kind",
    Internal = "internal" | "span_kind_internal",
    Server = "server" | "span_kind_server",
    Client = "client" | "span_kind_client",
    Producer = "producer" | "span_kind_producer",
    Consumer = "consumer" | "span_kind_consumer",
);
named!(
    OtelStatus,
    "an OpenTelemetry status code",
    Unset = "unset" | "status_code_unset",
    Ok = "ok" | "status_code_ok",
    Error = "error" | "status_code_error",
);

impl SpanKind {
    /// From OTLP's number; 0 (unspecified) and unknown numbers are `None`.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as i64 == number)
    }
}

impl OtelStatus {
    /// From OTLP's number; unknown numbers are `None`.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| *status as i64 == number)
    }
}

/// How the value of a field is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    Text,
    Int,
    /// Any JSON value, as text.
    Json,
}

/// The value of a field: `Text` also holds the JSON text of a [`FieldType::Json`] field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldValue {
    Int(i64),
    Text(Box<str>),
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident: $type:ident = $name:ident),+ $(,)?) => {
        /// The plain fields of a span. This list is the one place that knows them: columns, JSON names and merging
        /// follow it. In the order of the columns; a new field goes to the end, with a migration.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Field { $($(#[$doc])* $variant),+ }

        impl Field {
            pub const ALL: &[Field] = &[$(Field::$variant),+];

            /// Name of the column and of the member in JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Field::$variant => stringify!($name)),+ }
            }

            pub const fn field_type(self) -> FieldType {
                match self { $(Field::$variant => FieldType::$type),+ }
            }

            pub fn parse(name: &str) -> Option<Field> {
                match name { $(stringify!($name) => Some(Field::$variant),)+ _ => None }
            }
        }

        impl Span {
            $(fields!(@accessor $type, $variant, $name, $(#[$doc])*);)+
        }
    };
    (@accessor Int, $variant:ident, $name:ident, $(#[$doc:meta])*) => {
        $(#[$doc])*
        pub fn $name(&self) -> Option<i64> { self.fields.int(Field::$variant) }
    };
    (@accessor $text:ident, $variant:ident, $name:ident, $(#[$doc:meta])*) => {
        $(#[$doc])*
        pub fn $name(&self) -> Option<&str> { self.fields.text(Field::$variant) }
    };
}

fields! {
    /// The service that did the work (`service.name`).
    Service: Text = service,
    /// What was done (OpenTelemetry's span name).
    Operation: Text = operation,
    /// The sender's class of span: `llm`, `tool`, `vector_search`, `job` …
    SpanType: Text = span_type,
    /// A [`SpanKind`]'s number.
    Kind: Int = kind,
    /// An [`OtelStatus`]'s number, as sent.
    OtelStatus: Int = otel_status,
    StatusMessage: Text = status_message,
    ErrorType: Text = error_type,
    ErrorMessage: Text = error_message,
    ErrorStack: Text = error_stack,
    /// The run this span belongs to: one execution has one or more traces.
    ExecutionId: Text = execution_id,
    JobId: Text = job_id,
    QuestionId: Text = question_id,
    WorkflowId: Text = workflow_id,
    SessionId: Text = session_id,
    UserId: Text = user_id,
    Region: Text = region,
    /// The model that answered.
    Model: Text = model,
    /// The model that was asked for, where it differs in name.
    RequestModel: Text = request_model,
    Provider: Text = provider,
    /// Tokens read by the model, cached ones included.
    InputTokens: Int = input_tokens,
    /// Tokens written by the model, reasoning included.
    OutputTokens: Int = output_tokens,
    CacheReadTokens: Int = cache_read_tokens,
    CacheWriteTokens: Int = cache_write_tokens,
    CacheWrite1hTokens: Int = cache_write_1h_tokens,
    ReasoningTokens: Int = reasoning_tokens,
    AudioTokens: Int = audio_tokens,
    /// Cost in 1e-12 USD; absent when unknown, 0 when it is known to be nothing.
    CostPico: Int = cost_pico,
    /// `provided` by the sender or `computed` here.
    CostSource: Text = cost_source,
    CostStatus: Text = cost_status,
    /// `own` for a span that spent, `aggregate` for one that repeats what its children spent.
    CostRole: Text = cost_role,
    PriceRef: Text = price_ref,
    UsageBasis: Text = usage_basis,
    /// What went in: a prompt, a query, arguments. Never read by lists.
    Inputs: Json = inputs,
    /// What came out. Never read by lists.
    Outputs: Json = outputs,
    RetryCount: Int = retry_count,
    WorkspaceId: Text = workspace_id,
    ReleaseTargetKey: Text = release_target_key,
    ReleaseId: Text = release_id,
    /// The trace that this one continues (32 hex digits where it is a trace id).
    ParentTraceId: Text = parent_trace_id,
    Phase: Text = phase,
    NodeType: Text = node_type,
    Decision: Text = decision,
    Result: Text = result,
    Trigger: Text = trigger,
    /// Depth in the tree as its writer counted it.
    Depth: Int = depth,
    Sequence: Int = sequence,
    TraceState: Text = trace_state,
    /// OTLP's flags: bits 0-7 are the W3C trace flags.
    Flags: Int = flags,
    DroppedAttributes: Int = dropped_attributes,
    DroppedEvents: Int = dropped_events,
    DroppedLinks: Int = dropped_links,
}

/// The fields that a span carries, sorted; most carry a dozen of the half hundred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(Field, FieldValue)>);

impl Fields {
    pub fn with_capacity(fields: usize) -> Self {
        Self(Vec::with_capacity(fields))
    }

    /// Sets a text or JSON field, replacing what was there.
    pub fn set_text(&mut self, field: Field, text: impl Into<Box<str>>) {
        debug_assert_ne!(field.field_type(), FieldType::Int, "{field:?} holds a number");
        self.set(field, FieldValue::Text(text.into()));
    }

    /// Sets an integer field, replacing what was there.
    pub fn set_int(&mut self, field: Field, value: i64) {
        debug_assert_eq!(field.field_type(), FieldType::Int, "{field:?} holds a text");
        self.set(field, FieldValue::Int(value));
    }

    pub fn set(&mut self, field: Field, value: FieldValue) {
        match self.0.binary_search_by_key(&field, |entry| entry.0) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (field, value)),
        }
    }

    pub fn get(&self, field: Field) -> Option<&FieldValue> {
        self.0.binary_search_by_key(&field, |entry| entry.0).ok().map(|at| &self.0[at].1)
    }

    pub fn text(&self, field: Field) -> Option<&str> {
        match self.get(field)? {
            FieldValue::Text(text) => Some(text),
            FieldValue::Int(_) => None,
        }
    }

    pub fn int(&self, field: Field) -> Option<i64> {
        match self.get(field)? {
            FieldValue::Int(value) => Some(*value),
            FieldValue::Text(_) => None,
        }
    }

    /// In the order of [`Field::ALL`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Field, &FieldValue)> {
        self.0.iter().map(|(field, value)| (*field, value))
    }

    pub(super) fn into_vec(self) -> Vec<(Field, FieldValue)> {
        self.0
    }

    /// `entries` must be sorted by field and unique.
    pub fn from_sorted(entries: Vec<(Field, FieldValue)>) -> Self {
        debug_assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
        Self(entries)
    }
}

/// Something that happened during a span (OpenTelemetry's event; older tracers call it a log).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<UnixNanos>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_attributes: u32,
}

/// A causal relation to a span of this or another trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trace_state: String,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_attributes: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What produced the span: OpenTelemetry's resource and instrumentation scope. They repeat on every span of a process,
/// so they are kept once, by the hash of their content.
#[derive(Clone, Debug)]
pub struct Resource {
    id: ResourceId,
    content: Box<str>,
}

/// The first 128 bits of the SHA-256 of a resource's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(pub [u8; 16]);

impl Resource {
    /// `content` is a JSON object: `{"attributes": {…}, "scope": {"name", "version", "attributes"}, …}`.
    pub fn new(content: impl Into<Box<str>>) -> Self {
        let content = content.into();
        let hash = Sha256::digest(content.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self { id: ResourceId(id), content }
    }

    pub fn id(&self) -> ResourceId {
        self.id
    }

    /// JSON text.
    pub fn content(&self) -> &str {
        &self.content
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// The identity of a span within its tenant: what makes two records the same span.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanKey {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub tenant: TenantId,
}

impl Span {
    /// A span of which nothing is known but that it was announced at `heard_at`.
    pub fn new(tenant: TenantId, trace_id: TraceId, span_id: SpanId, heard_at: UnixNanos) -> Self {
        Self {
            tenant,
            trace_id,
            span_id,
            parent_span_id: None,
            started_at: None,
            end: None,
            status: Status::Pending,
            revision: 0,
            created_at: heard_at,
            seen_at: heard_at,
            fields: Fields::default(),
            attributes: Attributes::default(),
            events: Vec::new(),
            links: Vec::new(),
            resource: None,
            weaker: Weaker::default(),
        }
    }

    pub fn key(&self) -> SpanKey {
        SpanKey { trace_id: self.trace_id, span_id: self.span_id, tenant: self.tenant.clone() }
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Keeps `events` as a set: ordered by time, name and attributes, equal ones once.
    pub fn set_events(&mut self, mut events: Vec<Event>) {
        events.sort();
        events.dedup();
        self.events = events;
    }

    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Keeps `links` as a set.
    pub fn set_links(&mut self, mut links: Vec<Link>) {
        links.sort();
        links.dedup();
        self.links = links;
    }

    /// When it ended, as far as that is known.
    pub fn ended_at(&self) -> Option<UnixNanos> {
        match self.end? {
            End::At(at) => Some(at),
            End::After(ns) => self.started_at.map(|start| start.plus(ns)),
        }
    }

    /// End minus start in nanoseconds; negative where the sender's clock ran backwards, `None` while either is unknown
    /// (but a duration that was told as such needs no start).
    pub fn duration_ns(&self) -> Option<i64> {
        match self.end? {
            End::After(ns) => Some(ns),
            End::At(at) => self.started_at.map(|start| at.since(start)),
        }
    }

    /// Whether it has reached its final state and its start is known: only then does it belong among the ended spans.
    pub fn is_ended(&self) -> bool {
        self.status.is_terminal() && self.started_at.is_some()
    }

    /// The status as it reads at `now`: an open span silent for `deadline_ns` is abandoned.
    pub fn outcome(&self, now: UnixNanos, deadline_ns: i64) -> Outcome {
        if !self.status.is_terminal() && now.since(self.seen_at) > deadline_ns {
            return Outcome::Abandoned;
        }
        self.status.into()
    }

    pub fn span_kind(&self) -> Option<SpanKind> {
        self.kind().and_then(SpanKind::from_number)
    }

    /// Bytes of memory it holds, roughly: what the queue's bound counts.
    pub fn weight(&self) -> usize {
        let fields: usize = self
            .fields
            .iter()
            .map(|(_, value)| match value {
                FieldValue::Text(text) => 24 + text.len(),
                FieldValue::Int(_) => 24,
            })
            .sum();
        let events: usize = self.events.iter().map(|event| 96 + event.name.len() + event.attributes.len()).sum();
        let links: usize = self.links.iter().map(|link| 128 + link.attributes.len()).sum();
        size_of::<Self>() + fields + events + links + self.attributes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_are_unique_and_found_again() {
        for field in Field::ALL {
            assert_eq!(Field::parse(field.name()), Some(*field));
        }
    }

    #[test]
    fn statuses_are_read_in_every_spelling() {
        for (text, status) in [
            ("started", Status::Running),
            ("OK", Status::Completed),
            ("success", Status::Completed),
            ("error", Status::Failed),
            ("timeout", Status::Failed),
            ("canceled", Status::Cancelled),
        ] {
            assert_eq!(Status::parse(text), Some(status));
        }
        assert_eq!(Status::parse("abandoned"), None, "it is derived, nobody sends it");
        assert_eq!(Status::parse("finished?"), None);
    }

    #[test]
    fn an_open_span_is_abandoned_after_its_deadline_and_healed_by_any_word() {
        let second = 1_000_000_000;
        let heard = UnixNanos::new(1_767_607_200 * second);
        let mut span =
            Span::new(TenantId::default(), TraceId::from_bytes([1; 16]).unwrap(), SpanId::parse("1").unwrap(), heard);
        span.status = Status::Running;
        let later = heard.plus(DEFAULT_DEADLINE_NS + 1);
        assert_eq!(span.outcome(heard, DEFAULT_DEADLINE_NS), Outcome::Running);
        assert_eq!(span.outcome(later, DEFAULT_DEADLINE_NS), Outcome::Abandoned);
        span.seen_at = later;
        assert_eq!(span.outcome(later, DEFAULT_DEADLINE_NS), Outcome::Running);
    }
}
