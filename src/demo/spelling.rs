//! A story in the words of those who tell it: native JSON records, as the clients of three systems would send them.
//!
//! Owns the spelling: ids as UUID, as 32 and as 16 hex digits; times with nanoseconds, as Python prints them, and as
//! numbers; three sets of names. Leaves what happened to [`super::story`].

use serde_json::{Map, Value, json};

use super::story::{Hop, Story, Told, Tracer};
use crate::model::ids::{SpanId, TraceId};
use crate::model::span::{SpanKind, Status};
use crate::model::time::UnixNanos;

/// One thing that a client sends: a span's start, its completion, or the whole of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When the client would send it, by a clock that is right.
    pub at: UnixNanos,
    /// Whether it completes what an earlier record began.
    pub is_completion: bool,
    /// A JSON object as `POST /v1/spans` takes it.
    pub body: Map<String, Value>,
}

/// A finished span is told of this long after its end: a client's linger.
const LINGER_US: i64 = 200;

/// The records of a story, in the order in which they would be sent.
pub(super) fn records(story: &Story) -> Vec<Record> {
    let mut records = Vec::with_capacity(2 * story.hops.len());
    for hop in &story.hops {
        let speaker = Speaker { story, hop };
        match (hop.told, hop.end_us) {
            (Told::Never, _) => {}
            (Told::Twice, Some(end)) => {
                records.push(speaker.record(hop.start_us, Part::Start));
                records.push(speaker.record(end, Part::Completion));
            }
            (Told::Once, Some(end)) => records.push(speaker.record(end, Part::Whole)),
            (_, None) => records.push(speaker.record(hop.start_us, Part::Start)),
        }
    }
    records.sort_by_key(|record| record.at);
    records
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Start,
    Completion,
    Whole,
}

struct Speaker<'s> {
    story: &'s Story,
    hop: &'s Hop,
}

impl Speaker<'_> {
    fn record(&self, at_us: i64, part: Part) -> Record {
        let mut body = Map::new();
        self.identity(&mut body);
        if part != Part::Completion {
            self.beginning(&mut body);
        }
        match part {
            Part::Start => self.open(&mut body),
            Part::Completion | Part::Whole => self.ending(&mut body),
        }
        let mut attributes = Map::new();
        if part != Part::Completion {
            attributes.extend(self.hop.attributes.clone());
        }
        if part != Part::Start {
            attributes.extend(self.hop.result_attributes.clone());
        }
        if !attributes.is_empty() {
            let beacon = matches!(self.hop.tracer, Tracer::Runner | Tracer::Router | Tracer::Workflow);
            body.insert(if beacon { "metadata" } else { "attributes" }.to_owned(), Value::Object(attributes));
        }
        let at = self.story.start.plus((at_us + LINGER_US) * 1_000);
        Record { at, is_completion: part == Part::Completion, body }
    }

    fn identity(&self, body: &mut Map<String, Value>) {
        let trace = spelled_trace(self.hop.tracer, self.story.trace_id);
        body.insert("trace_id".into(), trace.into());
        body.insert("span_id".into(), spelled_span(self.hop.tracer, self.hop.id).into());
        // Beacon's tracers repeat who speaks in every record.
        body.insert("service".into(), self.hop.service.into());
        body.insert(self.name("operation", "name").into(), self.hop.operation.as_str().into());
    }

    fn beginning(&self, body: &mut Map<String, Value>) {
        let hop = self.hop;
        let parent = match hop.parent {
            Some(parent) => spelled_parent(hop.tracer, parent).into(),
            // ctrlplane writes the empty text, the others say it plainly.
            None if hop.tracer == Tracer::Deployment => "".into(),
            None => Value::Null,
        };
        body.insert("parent_span_id".into(), parent);
        if hop.kind != SpanKind::Internal {
            body.insert("kind".into(), hop.kind.name().into());
        }
        let (name, value) = self.time(["started_at", "start_time", "start_time_unix_nano"], hop.start_us);
        body.insert(name.into(), value);
        body.extend(self.story.shared.clone());
        for (name, value) in &hop.fields {
            body.insert(self.renamed(name).into(), value.clone());
        }
    }

    fn open(&self, body: &mut Map<String, Value>) {
        let status = match self.hop.tracer {
            Tracer::Runner | Tracer::Router => "started",
            _ => "running",
        };
        body.insert("status".into(), status.into());
        if self.hop.tracer == Tracer::Deployment {
            // Go's zero time: not yet.
            body.insert("end_time".into(), "0001-01-01T00:00:00Z".into());
        }
    }

    fn ending(&self, body: &mut Map<String, Value>) {
        let hop = self.hop;
        if let Some(end) = hop.end_us {
            let (name, value) = self.time(["completed_at", "end_time", "end_time_unix_nano"], end);
            body.insert(name.into(), value);
        }
        let status = match (hop.tracer, hop.status) {
            (Tracer::Modal, Status::Completed) => "ok",
            (Tracer::Modal, Status::Failed) => "error",
            (_, status) => status.name(),
        };
        body.insert("status".into(), status.into());
        if let Some((kind, message)) = &hop.error {
            if matches!(hop.tracer, Tracer::Runner | Tracer::Router) {
                body.insert("error_type".into(), kind.as_str().into());
                body.insert("error_message".into(), message.as_str().into());
            } else {
                body.insert("error".into(), json!({"type": kind, "message": message}));
            }
        }
        for (name, value) in &hop.results {
            body.insert(self.renamed(name).into(), value.clone());
        }
        if !hop.events.is_empty() {
            let events = hop.events.iter().map(|(name, at_us, attributes)| {
                json!({"name": name, "timestamp": self.instant(*at_us).to_string(), "attributes": attributes})
            });
            body.insert("events".into(), events.collect());
        }
    }

    /// An instant by the clock of the span's host.
    fn instant(&self, at_us: i64) -> UnixNanos {
        self.story.start.plus((at_us + self.hop.clock_us) * 1_000)
    }

    /// A time under the name that the tracer has for it.
    fn time(&self, names: [&'static str; 3], at_us: i64) -> (&'static str, Value) {
        let at = self.instant(at_us);
        match self.hop.tracer {
            Tracer::Runner | Tracer::Workflow => (names[0], at.to_string().into()),
            // `isoformat()`: an offset in place of the Z.
            Tracer::Router => (names[0], at.to_string().replace('Z', "+00:00").into()),
            Tracer::Deployment => (names[1], at.to_string().into()),
            // Beyond what a double holds: text.
            Tracer::Modal => (names[2], at.as_u64().to_string().into()),
        }
    }

    fn name(&self, beacon: &'static str, others: &'static str) -> &'static str {
        match self.hop.tracer {
            Tracer::Runner | Tracer::Router | Tracer::Modal => beacon,
            Tracer::Workflow | Tracer::Deployment => others,
        }
    }

    fn renamed<'n>(&self, name: &'n str) -> &'n str {
        match (name, self.hop.tracer) {
            ("model", Tracer::Runner | Tracer::Router | Tracer::Modal) => "model_id",
            ("cost_usd", Tracer::Workflow) => "cost",
            (name, _) => name,
        }
    }
}

fn spelled_trace(tracer: Tracer, id: TraceId) -> String {
    let digits = id.to_string();
    match tracer {
        Tracer::Runner | Tracer::Workflow => dashed(&digits),
        Tracer::Modal => digits.strip_prefix(&"0".repeat(16)).map_or(digits.to_uppercase(), str::to_owned),
        Tracer::Router | Tracer::Deployment => digits,
    }
}

fn spelled_span(tracer: Tracer, id: SpanId) -> String {
    let digits = id.to_string();
    match tracer {
        Tracer::Runner | Tracer::Workflow if id.is_long() => dashed(&digits),
        _ => digits,
    }
}

/// A `traceparent` header has room for 16 digits only, so that is what the router knows of the runner's UUID.
fn spelled_parent(tracer: Tracer, id: SpanId) -> String {
    let digits = spelled_span(tracer, id);
    match tracer {
        Tracer::Router if id.is_long() => digits[16..].to_owned(),
        _ => digits,
    }
}

/// 32 digits as a UUID is written.
fn dashed(digits: &str) -> String {
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default());
    parts.join("-")
}
