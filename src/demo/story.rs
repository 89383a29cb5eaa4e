//! A story: one trace as it happened, before anybody tells of it. Times are microseconds after the story's start, by a
//! clock that is right everywhere; what clients make of it is [`super::spelling`]'s.

use serde_json::{Map, Value, json};

use super::random::Random;
use super::truth::Truth;
use crate::model::ids::{SpanId, TraceId};
use crate::model::span::{SpanKind, Status};
use crate::model::time::UnixNanos;

/// Who tells of a span, and so in whose words: each system has its own spelling of ids, times and members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracer {
    /// Beacon's runner, in Go: UUIDs, RFC 3339 with nanoseconds.
    Runner,
    /// Beacon's hybrid router, in Python: hex digits, `isoformat()`.
    Router,
    /// A function on Modal: 16 hex digits where the trace id is that short, nanoseconds as text.
    Modal,
    /// An LLM workflow: UUIDs, prompts and tokens.
    Workflow,
    /// A deployment engine: ctrlplane's words.
    Deployment,
}

/// How often a span is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// At its start, and again at its end with only what is new.
    Twice,
    /// As a whole, at its end.
    Once,
    /// It happened, and nobody ever hears of it.
    Never,
}

/// One span as it happened.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub id: SpanId,
    pub parent: Option<SpanId>,
    pub tracer: Tracer,
    pub service: &'static str,
    pub operation: String,
    pub kind: SpanKind,
    pub start_us: i64,
    /// `None`: it never ends.
    pub end_us: Option<i64>,
    pub status: Status,
    /// Type and message.
    pub error: Option<(String, String)>,
    /// Members of the span by Tracefall's names, known at its start.
    pub fields: Map<String, Value>,
    /// Members that are known at its end.
    pub results: Map<String, Value>,
    pub attributes: Map<String, Value>,
    pub result_attributes: Map<String, Value>,
    /// Name, microseconds after the story's start, attributes.
    pub events: Vec<(&'static str, i64, Value)>,
    /// How far the clock of its host is ahead.
    pub clock_us: i64,
    pub told: Told,
}

/// One trace with what is true of it.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub trace_id: TraceId,
    pub start: UnixNanos,
    /// Members that every span of the trace carries.
    pub shared: Map<String, Value>,
    pub hops: Vec<Hop>,
    pub truth: Truth,
}

impl Hop {
    /// A span of one service that lasts from `start_ms` for `length_ms`, told of at its start and its end.
    pub fn new(
        id: SpanId,
        tracer: Tracer,
        service: &'static str,
        operation: &str,
        start_ms: f64,
        length_ms: f64,
    ) -> Self {
        let start_us = micros(start_ms);
        Self {
            id,
            parent: None,
            tracer,
            service,
            operation: operation.to_owned(),
            kind: SpanKind::Internal,
            start_us,
            end_us: Some(start_us + micros(length_ms).max(1)),
            status: Status::Completed,
            error: None,
            fields: Map::new(),
            results: Map::new(),
            attributes: Map::new(),
            result_attributes: Map::new(),
            events: Vec::new(),
            clock_us: 0,
            told: Told::Twice,
        }
    }

    pub fn below(mut self, parent: &Hop, kind: SpanKind) -> Self {
        self.parent = Some(parent.id);
        self.kind = kind;
        self
    }

    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    pub fn result(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.results.insert(name.to_owned(), value.into());
        self
    }

    pub fn attribute(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    pub fn result_attribute(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.result_attributes.insert(name.to_owned(), value.into());
        self
    }

    pub fn once(mut self) -> Self {
        self.told = Told::Once;
        self
    }

    /// It failed.
    pub fn fail(&mut self, kind: &str, message: &str) {
        self.status = Status::Failed;
        self.error = Some((kind.to_owned(), message.to_owned()));
    }

    /// Nobody hears of its end.
    pub fn never_ends(&mut self) {
        self.end_us = None;
        self.status = Status::Running;
        self.error = None;
        self.results.clear();
        self.result_attributes.clear();
        self.told = Told::Twice;
    }

    /// Its duration in milliseconds; 0 while it has none.
    pub fn length_ms(&self) -> f64 {
        self.end_us.map_or(0.0, |end| (end - self.start_us) as f64 / 1_000.0)
    }

    pub fn end_ms(&self) -> f64 {
        self.end_us.unwrap_or(self.start_us) as f64 / 1_000.0
    }
}

impl Story {
    /// The last thing that happens, in microseconds after the start.
    pub fn last_us(&self) -> i64 {
        self.hops.iter().map(|hop| hop.end_us.unwrap_or(hop.start_us)).max().unwrap_or(0)
    }

    pub fn hop(&self, id: SpanId) -> Option<&Hop> {
        self.hops.iter().find(|hop| hop.id == id)
    }

    /// The hops of one operation, in the order in which they start.
    pub fn of<'s>(&'s self, operation: &'s str) -> impl Iterator<Item = &'s Hop> {
        self.hops.iter().filter(move |hop| hop.operation == operation)
    }

    /// The same, to be changed.
    pub fn of_mut<'s>(&'s mut self, operation: &'s str) -> impl Iterator<Item = &'s mut Hop> {
        self.hops.iter_mut().filter(move |hop| hop.operation == operation)
    }
}

/// Whole microseconds, which every client's clock can write.
pub(super) fn micros(ms: f64) -> i64 {
    (ms * 1_000.0).round() as i64
}

/// A new trace id; a short one has 64 bits, as tracers of an older kind make them.
pub(super) fn trace_id(random: &mut Random, short: bool) -> TraceId {
    loop {
        let high = if short { 0 } else { random.next() };
        let number = u128::from(high) << 64 | u128::from(random.next() | 1 << 63);
        if let Ok(id) = TraceId::from_bytes(number.to_be_bytes()) {
            return id;
        }
    }
}

/// A new span id of 64 bits, or of 128 as a random UUID has them.
pub(super) fn span_id(random: &mut Random, long: bool) -> SpanId {
    loop {
        // The version and variant of a random UUID (RFC 9562) are 4 and, in bits, 10.
        let high = if long { random.next() & !0xf000 | 0x4000 | 1 << 63 } else { 0 };
        let low = random.next() & !(3 << 62) | 1 << 63;
        if let Ok(id) = SpanId::from_u128(u128::from(high) << 64 | u128::from(low)) {
            return id;
        }
    }
}

/// Tokens as a member of a span.
pub(super) fn tokens(input: u32, output: u32) -> Value {
    json!({"input": input, "output": output, "total": input + output})
}
