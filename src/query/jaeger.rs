//! Traces for Jaeger's readers: whole ones in either of its forms, and summaries of them.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use serde::Serialize;

use crate::analysis::tree::Tree;
use crate::analysis::waterfall::{self, Flag, Options};
use crate::model::ids::{SpanId, TraceId};
use crate::model::rollup::Keeping;
use crate::model::search::SpanQuery;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::trace::Trace;
use crate::query::scan::{Bounded, Room};
use crate::query::{Loaded, MAX_TRACE_SPANS, Queries};
use crate::store::{Detail, StoreError};
use crate::wire::jaeger::{self, Parent, Seen, legacy};

/// What there is of a trace that was asked for by its id.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Its JSON.
    Found(String),
    Unknown,
    /// Its spans were removed for their age.
    Expired,
    /// There was no room for it in the answer.
    LeftOut,
}

/// A trace in a list. Times are decimal texts of nanoseconds, as OTLP's JSON has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    #[schema(value_type = String)]
    pub trace_id: TraceId,
    pub root_service_name: String,
    pub root_operation_name: String,
    pub min_start_time_unix_nano: String,
    pub max_end_time_unix_nano: String,
    pub span_count: usize,
    pub error_span_count: usize,
    pub orphan_span_count: usize,
    /// In the order of their names.
    pub services: Vec<ServiceSummary>,
}

/// A service's part in a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSummary {
    pub name: String,
    pub span_count: usize,
    pub error_span_count: usize,
}

impl Queries {
    /// Traces by their ids, in Jaeger's legacy JSON.
    ///
    /// # Errors
    /// What the store says.
    pub async fn legacy_traces(&self, tenant: &TenantId, ids: &[TraceId]) -> Result<Vec<Asked>, StoreError> {
        let (mut answers, mut room) = (Vec::with_capacity(ids.len()), Room::default());
        for trace_id in ids {
            if room.is_full() {
                answers.push(Asked::LeftOut);
                continue;
            }
            answers.push(match self.load(tenant, *trace_id, Detail::Full).await? {
                Loaded::Unknown => Asked::Unknown,
                Loaded::Expired(_) => Asked::Expired,
                Loaded::Spans(trace, keeping) if room.takes(&trace) => Asked::Found(self.legacy(&trace, keeping)),
                Loaded::Spans(..) => Asked::LeftOut,
            });
        }
        Ok(answers)
    }

    /// The traces that a search finds, each in Jaeger's legacy JSON, newest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn legacy_search(
        &self,
        tenant: &TenantId,
        query: &SpanQuery,
    ) -> Result<Bounded<Vec<String>>, StoreError> {
        let (mut traces, mut room) = (Vec::new(), Room::default());
        let ended = self.find(tenant, query, Detail::Full, |trace, keeping| {
            if !room.takes(&trace) {
                return ControlFlow::Break(());
            }
            traces.push(self.legacy(&trace, keeping));
            ControlFlow::Continue(())
        });
        let ended = ended.await?;
        Ok(Bounded { answer: traces, cut: ended.or_else(|| room.cut()) })
    }

    /// A trace by its id, in the JSON of version 3.
    ///
    /// # Errors
    /// What the store says.
    pub async fn v3_trace(&self, tenant: &TenantId, trace_id: TraceId) -> Result<Bounded<Asked>, StoreError> {
        Ok(match self.load(tenant, trace_id, Detail::Full).await? {
            Loaded::Unknown => Bounded { answer: Asked::Unknown, cut: None },
            Loaded::Expired(_) => Bounded { answer: Asked::Expired, cut: None },
            Loaded::Spans(trace, keeping) => {
                let (seen, _) = self.seen(&trace, keeping);
                let text = jaeger::v3(std::iter::once((&trace.spans[..], &seen[..])));
                Bounded { answer: Asked::Found(text), cut: missing(&trace, keeping) }
            }
        })
    }

    /// The traces that a search finds, in the JSON of version 3; `None` if there are none.
    ///
    /// # Errors
    /// What the store says.
    pub async fn v3_search(&self, tenant: &TenantId, query: &SpanQuery) -> Result<Bounded<Option<String>>, StoreError> {
        let (mut traces, mut room, mut less) = (Vec::new(), Room::default(), None);
        let ended = self.find(tenant, query, Detail::Full, |trace, keeping| {
            if !room.takes(&trace) {
                return ControlFlow::Break(());
            }
            less = less.take().or_else(|| missing(&trace, keeping));
            let (seen, _) = self.seen(&trace, keeping);
            traces.push((trace, seen));
            ControlFlow::Continue(())
        });
        let cut = ended.await?.or_else(|| room.cut()).or(less);
        let all = traces.iter().map(|(trace, seen)| (&trace.spans[..], &seen[..]));
        Ok(Bounded { answer: (!traces.is_empty()).then(|| jaeger::v3(all)), cut })
    }

    /// Summaries of the traces that a search finds, newest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn summaries(&self, tenant: &TenantId, query: &SpanQuery) -> Result<Bounded<Vec<Summary>>, StoreError> {
        let detail = if query.tags.is_empty() { Detail::Outline } else { Detail::Full };
        let (mut summaries, mut less) = (Vec::new(), None);
        let ended = self.find(tenant, query, detail, |trace, keeping| {
            less = less.take().or_else(|| missing(&trace, keeping));
            summaries.push(summary(&trace));
            ControlFlow::Continue(())
        });
        let cut = ended.await?.or(less);
        Ok(Bounded { answer: summaries, cut })
    }

    fn legacy(&self, trace: &Trace, keeping: Keeping) -> String {
        let (seen, warnings) = self.seen(trace, keeping);
        legacy::trace(&trace.spans, &seen, &warnings)
    }

    /// What a waterfall knows of each span, and of the trace.
    fn seen(&self, trace: &Trace, keeping: Keeping) -> (Vec<Seen>, Vec<String>) {
        let tree = Tree::new(trace);
        let options = Options { max_rows: MAX_TRACE_SPANS, deadline_ns: self.deadline_ns, ..Options::default() };
        let waterfall = waterfall::build(trace, self.clock.now(), &options).kept(keeping);
        let rows = waterfall.rows.iter().map(|row| (row.span_id, &row.flags[..]));
        let flags: HashMap<SpanId, &[Flag]> = rows.collect();
        let seen = trace.spans.iter().enumerate().map(|(place, span)| Seen {
            parent: match tree.parent(place) {
                None => Parent::None,
                Some(parent) => tree.missing_id(parent).map_or(Parent::At(parent), Parent::Missing),
            },
            warnings: flags.get(&span.span_id).into_iter().copied().flatten().filter_map(sentence).collect(),
        });
        let seen = seen.collect();
        let left_out = self.left_out(&waterfall);
        (seen, waterfall.notes.into_iter().chain(left_out).map(|note| note.message).collect())
    }
}

/// What is not there of a trace, where its form has no place to say so.
fn missing(trace: &Trace, keeping: Keeping) -> Option<String> {
    let id = trace.trace_id;
    if trace.truncated {
        return Some(format!("trace {id} has more than {MAX_TRACE_SPANS} spans; only these were read"));
    }
    keeping.spans_partial.then(|| format!("some spans of trace {id} were removed for their age"))
}

/// What a flag means to the reader of one span.
fn sentence(flag: &Flag) -> Option<String> {
    let sentence = match flag {
        Flag::Orphan => "its parent is not among the spans of the trace",
        Flag::Skewed => "the clock of its service is off from its parent's; its times are shown as they were told",
        Flag::Open => "it has not ended: its duration is not known yet",
        Flag::Abandoned => "it has not ended, and nothing was heard of it for long",
        Flag::UnknownStart => "its start was not told; it is shown at its end",
        Flag::UnknownEnd => "when it ended was not told",
        Flag::Backwards => "it claims to have ended before it started; it is shown without a length",
        Flag::ClockSuspect => "one of its times is before 2000, or later than it can be",
        Flag::Cycle => "its link to its parent closed a circle and is left out",
        Flag::Early => "it starts before its parent",
        Flag::Placeholder | Flag::Late | Flag::Truncated => return None,
    };
    Some(sentence.to_owned())
}

fn summary(trace: &Trace) -> Summary {
    let tree = Tree::new(trace);
    let root = tree.root_span().map(|node| &trace.spans[node]);
    let mut services: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for span in &trace.spans {
        let (spans, errors) = services.entry(jaeger::service(span)).or_default();
        *spans += 1;
        *errors += usize::from(jaeger::is_error(span));
    }
    let start = |span: &Span| span.started_at.or(span.ended_at()).unwrap_or(span.created_at);
    let started_at = trace.spans.iter().map(start).min().unwrap_or_default();
    let ended_at = trace.spans.iter().map(|span| span.ended_at().unwrap_or_else(|| start(span))).max();
    Summary {
        trace_id: trace.trace_id,
        root_service_name: root.map(jaeger::service).unwrap_or_default().to_owned(),
        root_operation_name: root.and_then(|root| root.operation()).unwrap_or_default().to_owned(),
        min_start_time_unix_nano: started_at.as_u64().to_string(),
        max_end_time_unix_nano: ended_at.unwrap_or_default().max(started_at).as_u64().to_string(),
        span_count: trace.spans.len(),
        error_span_count: services.values().map(|(_, errors)| errors).sum(),
        orphan_span_count: (0..tree.span_count()).filter(|node| tree.is_orphan(*node)).count(),
        services: services
            .into_iter()
            .map(|(name, (span_count, error_span_count))| ServiceSummary {
                name: name.to_owned(),
                span_count,
                error_span_count,
            })
            .collect(),
    }
}
