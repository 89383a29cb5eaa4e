//! One span out of everything that was said about it: the stamped, field-wise merge. The only implementation.
//!
//! Identity is (tenant, trace id, span id). Each *field* is resolved alone: of the records that carry it, the one with
//! the greatest [`Stamp`] wins, and of equal stamps the greater value. The start is the earliest known, attributes are
//! resolved key by key, events and links are sets. Every rule is a maximum over a total order, a minimum or a union, so
//! [`merge`] is commutative, associative and idempotent: any order, grouping and repetition of the records gives the
//! same span. The property tests below hold it to that.
//!
//! A merged span remembers its strongest record's stamp, which is (status, end, revision) and so is not kept twice, and
//! in [`Weaker`] the stamps of just those fields that a weaker record brought.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::attributes::{Attributes, AttributesBuilder};
use super::span::{End, Field, FieldValue, Fields, Span, Status};
use super::time::UnixNanos;

/// How much a record's word weighs against another's. Ordered by lifecycle (pending < running < terminal), then the
/// later end, then the higher revision, then failed > cancelled > completed > skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<UnixNanos>,
    #[serde(default)]
    pub revision: u64,
}

impl Stamp {
    fn order(&self) -> (u8, Option<UnixNanos>, u64, u8) {
        let (lifecycle, tie) = match self.status {
            Status::Pending => (0, 0),
            Status::Running => (1, 0),
            Status::Skipped => (2, 0),
            Status::Completed => (2, 1),
            Status::Cancelled => (2, 2),
            Status::Failed => (2, 3),
        };
        (lifecycle, self.end, self.revision, tie)
    }
}

impl Ord for Stamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Stamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The things of a span that have a stamp of their own. `Status` and `revision` do not: they are the stamp.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Parent,
    End,
    Resource,
    Field(Field),
    Attribute(Box<str>),
}

/// The stamps of the slots that came from a weaker record than the strongest, sorted by slot. Empty for a span that
/// came as one record, or whose completion repeated what its start had said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weaker(Vec<(Slot, Stamp)>);

impl Weaker {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, slot: &Slot) -> Option<Stamp> {
        self.0.binary_search_by(|entry| entry.0.cmp(slot)).ok().map(|at| self.0[at].1)
    }
}

impl Span {
    /// The stamp of its strongest record.
    pub fn stamp(&self) -> Stamp {
        // No record with an end instant is weaker than a terminal one without, so the strongest record's end is the
        // span's own end wherever that is an instant.
        let end = match self.end {
            Some(End::At(at)) => Some(at),
            Some(End::After(_)) | None => None,
        };
        Stamp { status: self.status, end, revision: self.revision }
    }
}

/// Merges what two records, or two merged spans, say of the same span. Costs a walk over both; attributes are parsed
/// only where they differ.
///
/// A span that has ended is terminal: callers bring no record with an end and an open status.
pub fn merge(a: Span, b: Span) -> Span {
    debug_assert_eq!(a.key(), b.key(), "only records of one span merge");
    let created_at = a.created_at.min(b.created_at);
    let seen_at = a.seen_at.max(b.seen_at);
    let started_at = match (a.started_at, b.started_at) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };

    let (stamp_a, stamp_b) = (a.stamp(), b.stamp());
    let mut resolve = Resolver {
        a: (stamp_a, &a.weaker),
        b: (stamp_b, &b.weaker),
        strongest: stamp_a.max(stamp_b),
        weaker: Vec::new(),
    };
    let parent_span_id = resolve.slot(Slot::Parent, a.parent_span_id, b.parent_span_id, Ord::cmp);
    let end = resolve.slot(Slot::End, a.end, b.end, Ord::cmp);
    let resource = resolve.slot(Slot::Resource, a.resource, b.resource, |a, b| a.id().cmp(&b.id()));
    let fields = resolve.fields(a.fields, b.fields);
    let attributes = resolve.attributes(a.attributes, b.attributes);
    let Resolver { strongest, mut weaker, .. } = resolve;
    weaker.sort_by(|x, y| x.0.cmp(&y.0));

    let mut merged = Span {
        tenant: a.tenant,
        trace_id: a.trace_id,
        span_id: a.span_id,
        parent_span_id,
        started_at,
        end,
        status: strongest.status,
        revision: strongest.revision,
        created_at,
        seen_at,
        fields,
        attributes,
        resource,
        weaker: Weaker(weaker),
        ..Span::new(b.tenant, b.trace_id, b.span_id, created_at)
    };
    merged.set_events(union(a.events, b.events));
    merged.set_links(union(a.links, b.links));
    merged
}

fn union<T>(mut a: Vec<T>, mut b: Vec<T>) -> Vec<T> {
    a.append(&mut b);
    a
}

/// Decides slot by slot, and notes the stamps that a later merge will need.
struct Resolver<'a> {
    a: (Stamp, &'a Weaker),
    b: (Stamp, &'a Weaker),
    strongest: Stamp,
    weaker: Vec<(Slot, Stamp)>,
}

impl Resolver<'_> {
    fn slot<T>(&mut self, slot: Slot, a: Option<T>, b: Option<T>, by: impl Fn(&T, &T) -> Ordering) -> Option<T> {
        let stamp_of = |(stamp, weaker): (Stamp, &Weaker)| weaker.get(&slot).unwrap_or(stamp);
        let (value, stamp) = match (a, b) {
            (None, None) => return None,
            (Some(a), None) => (a, stamp_of(self.a)),
            (None, Some(b)) => (b, stamp_of(self.b)),
            (Some(a), Some(b)) => {
                let (stamp_a, stamp_b) = (stamp_of(self.a), stamp_of(self.b));
                if stamp_a.cmp(&stamp_b).then_with(|| by(&a, &b)).is_ge() { (a, stamp_a) } else { (b, stamp_b) }
            }
        };
        if stamp != self.strongest {
            self.weaker.push((slot, stamp));
        }
        Some(value)
    }

    fn fields(&mut self, a: Fields, b: Fields) -> Fields {
        let mut merged: Vec<(Field, FieldValue)> = Vec::with_capacity(a.iter().len().max(b.iter().len()));
        let mut a = a.into_vec().into_iter().peekable();
        let mut b = b.into_vec().into_iter().peekable();
        while let Some(field) = [a.peek(), b.peek()].into_iter().flatten().map(|entry| entry.0).min() {
            let from_a = a.next_if(|entry| entry.0 == field).map(|entry| entry.1);
            let from_b = b.next_if(|entry| entry.0 == field).map(|entry| entry.1);
            merged.extend(self.slot(Slot::Field(field), from_a, from_b, Ord::cmp).map(|value| (field, value)));
        }
        Fields::from_sorted(merged)
    }

    fn attributes(&mut self, a: Attributes, b: Attributes) -> Attributes {
        if self.attributes_are_one(&a, &b) {
            return a;
        }
        let mut merged = AttributesBuilder::default();
        let mut entries_a = a.entries().into_iter().peekable();
        let mut entries_b = b.entries().into_iter().peekable();
        while let Some(key) = [entries_a.peek(), entries_b.peek()].into_iter().flatten().map(|entry| &entry.0).min() {
            let key = key.clone();
            let from_a = entries_a.next_if(|entry| entry.0 == key).map(|entry| entry.1);
            let from_b = entries_b.next_if(|entry| entry.0 == key).map(|entry| entry.1);
            if let Some(raw) = self.slot(Slot::Attribute((&*key).into()), from_a, from_b, Ord::cmp) {
                merged.push_raw(key, raw);
            }
        }
        merged.finish()
    }

    /// Whether equal texts with equal stamps throughout make a walk key by key pointless: the usual retry.
    fn attributes_are_one(&self, a: &Attributes, b: &Attributes) -> bool {
        a == b && self.a.0 == self.b.0 && self.a.1.is_empty() && self.b.1.is_empty()
    }
}

/// What a stored row must remember beside its columns so that merging can go on without loss; absent for most.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The end was told as a duration only, see [`End::After`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    end_after: bool,
    /// Instants beyond what the row's columns hold (after 2262-04-11 as signed nanoseconds).
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<UnixNanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<UnixNanos>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    weaker: Vec<Brought>,
}

/// The slots that one weaker record brought, by name: a field's name, `parent_span_id`, `end`, `resource`, or an
/// attribute's key behind `attributes.`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Brought {
    #[serde(flatten)]
    stamp: Stamp,
    slots: Vec<String>,
}

const LAST_SIGNED: UnixNanos = UnixNanos::new(i64::MAX as u64);

impl Span {
    /// What its row must remember beside its columns; `None` for a span whose columns say it all.
    pub fn provenance(&self) -> Option<Provenance> {
        let end_after = matches!(self.end, Some(End::After(_)));
        let started_at = self.started_at.filter(|at| *at > LAST_SIGNED);
        let ended_at = match self.end {
            Some(End::At(at)) if at > LAST_SIGNED || started_at.is_some() => Some(at),
            _ => None,
        };
        let mut weaker: Vec<Brought> = Vec::new();
        for (slot, stamp) in &self.weaker.0 {
            match weaker.iter_mut().find(|brought| brought.stamp == *stamp) {
                Some(brought) => brought.slots.push(slot.name()),
                None => weaker.push(Brought { stamp: *stamp, slots: vec![slot.name()] }),
            }
        }
        let provenance = Provenance { end_after, started_at, ended_at, weaker };
        (provenance != Provenance::default()).then_some(provenance)
    }

    /// Puts the times and the provenance of a row into a span whose start is the row's: read back, it merges exactly as
    /// the span that was written. `ended_at` is the column of a row whose start may be unknown.
    pub fn restore(&mut self, ended_at: Option<UnixNanos>, duration_ns: Option<i64>, provenance: Option<Provenance>) {
        let provenance = provenance.unwrap_or_default();
        self.started_at = provenance.started_at.or(self.started_at);
        let at_duration = self.started_at.zip(duration_ns).map(|(start, ns)| start.plus(ns));
        self.end = match duration_ns {
            Some(ns) if provenance.end_after => Some(End::After(ns)),
            _ => provenance.ended_at.or(ended_at).or(at_duration).map(End::At),
        };
        let mut weaker: Vec<(Slot, Stamp)> = provenance
            .weaker
            .into_iter()
            .flat_map(|brought| brought.slots.into_iter().map(move |name| (name, brought.stamp)))
            .filter_map(|(name, stamp)| Slot::parse(&name).map(|slot| (slot, stamp)))
            .collect();
        weaker.sort_by(|x, y| x.0.cmp(&y.0));
        self.weaker = Weaker(weaker);
    }
}

impl Slot {
    fn name(&self) -> String {
        match self {
            Slot::Parent => "parent_span_id".to_owned(),
            Slot::End => "end".to_owned(),
            Slot::Resource => "resource".to_owned(),
            Slot::Field(field) => field.name().to_owned(),
            Slot::Attribute(key) => format!("attributes.{key}"),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        match name {
            "parent_span_id" => Some(Slot::Parent),
            "end" => Some(Slot::End),
            "resource" => Some(Slot::Resource),
            _ => match name.strip_prefix("attributes.") {
                Some(key) => Some(Slot::Attribute(key.into())),
                None => Field::parse(name).map(Slot::Field),
            },
        }
    }
}

/// Folds records into one span per identity, in the order of the keys (trace id, span id, tenant). Costs one sort.
pub fn fold(records: Vec<Span>) -> Vec<Span> {
    fold_by(records, by_key)
}

/// As [`fold`], but folds only what was heard of at the same instant: of one span there may be several records, one behind
/// the other. A deletion may yet fall between them, and a record that was folded cannot be told apart again.
pub fn gather(records: Vec<Span>) -> Vec<Span> {
    fold_by(records, |a, b| by_key(a, b).then_with(|| (a.seen_at, a.created_at).cmp(&(b.seen_at, b.created_at))))
}

/// Whether records, in the order of [`gather`], are one a span.
pub fn is_folded(records: &[Span]) -> bool {
    records.is_sorted_by(|a, b| by_key(a, b).is_lt())
}

fn by_key(a: &Span, b: &Span) -> Ordering {
    (a.trace_id, a.span_id, &a.tenant).cmp(&(b.trace_id, b.span_id, &b.tenant))
}

fn fold_by(mut records: Vec<Span>, order: impl Fn(&Span, &Span) -> Ordering) -> Vec<Span> {
    if !records.is_sorted_by(|a, b| order(a, b).is_le()) {
        records.sort_by(&order);
    }
    let mut folded: Vec<Span> = Vec::with_capacity(records.len());
    for record in records {
        match folded.pop_if(|last| order(last, &record).is_eq()) {
            Some(last) => folded.push(merge(last, record)),
            None => folded.push(record),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ids::{SpanId, TraceId};
    use crate::model::span::{Event, Resource};
    use crate::model::tenant::TenantId;

    fn attribute_values() -> impl Strategy<Value = Attributes> {
        proptest::collection::vec((prop_oneof!["a", "b", "c"], prop_oneof!["1", "2", "\"x\""]), 0..4).prop_map(
            |pairs| {
                let mut builder = AttributesBuilder::default();
                for (key, value) in pairs {
                    builder.push_raw(key, value);
                }
                builder.finish()
            },
        )
    }

    fn ends() -> impl Strategy<Value = Option<End>> {
        prop_oneof![
            Just(None),
            (0u64..4).prop_map(|at| Some(End::At(UnixNanos::new(at)))),
            Just(Some(End::At(UnixNanos::MAX))),
            (-1i64..3).prop_map(|ns| Some(End::After(ns))),
        ]
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        proptest::collection::vec((0u64..2, prop_oneof!["e", "f"]), 0..3).prop_map(|events| {
            events
                .into_iter()
                .map(|(at, name)| Event {
                    timestamp: Some(UnixNanos::new(at)),
                    name,
                    attributes: Attributes::default(),
                    dropped_attributes: 0,
                })
                .collect()
        })
    }

    prop_compose! {
        fn records()(
            status in proptest::sample::select(Status::ALL),
            started_at in proptest::option::of(prop_oneof![(0u64..3).prop_map(UnixNanos::new), Just(UnixNanos::MAX)]),
            end in ends(),
            revision in 0u64..2,
            parent in proptest::option::of(1u128..3),
            service in proptest::option::of(prop_oneof!["s", "t"]),
            tokens in proptest::option::of(0i64..2),
            resource in proptest::option::of(proptest::sample::select(&[r#"{"r":1}"#, r#"{"r":2}"#][..])),
            attributes in attribute_values(),
            events in events(),
            heard in 0u64..3,
        ) -> Span {
            let mut span = Span::new(
                TenantId::default(),
                TraceId::from_bytes([7; 16]).unwrap(),
                SpanId::parse("1").unwrap(),
                UnixNanos::new(heard),
            );
            span.status = if end.is_some() && !status.is_terminal() { Status::Completed } else { status };
            span.started_at = started_at;
            span.end = end;
            span.revision = revision;
            span.parent_span_id = parent.map(|id| SpanId::from_u128(id).unwrap());
            if let Some(service) = service {
                span.fields.set_text(Field::Service, service);
            }
            if let Some(tokens) = tokens {
                span.fields.set_int(Field::InputTokens, tokens);
            }
            span.resource = resource.map(|content| std::sync::Arc::new(Resource::new(content)));
            span.attributes = attributes;
            span.set_events(events);
            span
        }
    }

    fn merge_all(records: impl IntoIterator<Item = Span>) -> Span {
        records.into_iter().reduce(merge).unwrap()
    }

    /// As the stores do: columns and provenance out, columns and provenance in.
    fn through_a_row(span: Span) -> Span {
        let provenance = span.provenance().map(|provenance| serde_json::to_string(&provenance).unwrap());
        let (started_at, ended_at, duration_ns) = (span.started_at, span.ended_at(), span.duration_ns());
        let mut read = Span { weaker: Weaker::default(), end: None, ..span };
        read.started_at = started_at.map(|at| at.min(LAST_SIGNED));
        let ended_at = ended_at.filter(|_| started_at.is_none()).map(|at| at.min(LAST_SIGNED));
        let provenance = provenance.map(|text| serde_json::from_str(&text).unwrap());
        read.restore(ended_at, duration_ns, provenance);
        read
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_permutation_gives_the_same_span(records in proptest::collection::vec(records(), 1..6).prop_shuffle(), seed in any::<u64>()) {
            let mut shuffled = records.clone();
            let mut state = seed;
            for index in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(index, (state >> 33) as usize % (index + 1));
            }
            prop_assert_eq!(merge_all(records), merge_all(shuffled));
        }

        #[test]
        fn any_grouping_gives_the_same_span(a in records(), b in records(), c in records()) {
            let left = merge(merge(a.clone(), b.clone()), c.clone());
            let right = merge(a, merge(b, c));
            prop_assert_eq!(left, right);
        }

        #[test]
        fn any_repetition_gives_the_same_span(records in proptest::collection::vec(records(), 1..5)) {
            let once = merge_all(records.clone());
            prop_assert_eq!(&merge(once.clone(), once.clone()), &once);
            let repeated = records.iter().cloned().chain(records.iter().rev().cloned());
            prop_assert_eq!(&merge_all(repeated), &once);
            prop_assert_eq!(merge(once.clone(), records[0].clone()), once);
        }

        #[test]
        fn a_stored_row_merges_as_the_span_that_was_written(records in proptest::collection::vec(records(), 1..6)) {
            let in_memory = merge_all(records.clone());
            let through_rows = records.into_iter().map(through_a_row).reduce(|a, b| through_a_row(merge(a, b))).unwrap();
            prop_assert_eq!(through_rows, in_memory);
        }

        #[test]
        fn folding_is_merging_by_key(records in proptest::collection::vec(records(), 1..6)) {
            prop_assert_eq!(fold(gather(records.clone())), fold(records.clone()));
            let folded = fold(records.clone());
            prop_assert_eq!(folded.len(), 1);
            prop_assert_eq!(&folded[0], &merge_all(records));
        }
    }

    #[test]
    fn a_completion_takes_what_it_lacks_from_the_start() {
        let key = || {
            Span::new(
                TenantId::default(),
                TraceId::from_bytes([7; 16]).unwrap(),
                SpanId::parse("1").unwrap(),
                UnixNanos::new(5),
            )
        };
        let mut start = key();
        start.status = Status::Running;
        start.started_at = Some(UnixNanos::new(100));
        start.fields.set_text(Field::Operation, "modal.inference");
        start.fields.set_text(Field::Region, "us-east");
        let mut completion = key();
        completion.status = Status::Failed;
        completion.end = Some(End::At(UnixNanos::new(175)));
        completion.fields.set_text(Field::ErrorMessage, "CUDA out of memory");
        completion.fields.set_text(Field::Region, "us-west");

        let merged = merge(completion, start);
        assert_eq!(merged.status, Status::Failed);
        assert_eq!(merged.operation(), Some("modal.inference"));
        assert_eq!(merged.region(), Some("us-west"), "the terminal record's word outweighs the start's");
        assert_eq!(merged.duration_ns(), Some(75));
        assert!(merged.is_ended());
        let provenance = serde_json::to_string(&merged.provenance().unwrap()).unwrap();
        assert_eq!(provenance, r#"{"weaker":[{"status":"running","revision":0,"slots":["operation"]}]}"#);
    }
}
