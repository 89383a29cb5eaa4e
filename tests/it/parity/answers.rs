//! Answers as texts, and whether they are the same.

use std::fmt::Debug;

use tracefall::model::ids::TraceId;
use tracefall::model::merge::{Weaker, fold};
use tracefall::model::span::Span;
use tracefall::model::tenant::TenantId;
use tracefall::model::trace::Trace;
use tracefall::store::Detail;

use crate::store_suite::records::without_sign_of_life;
use crate::support::reference::at_detail;

/// An answer as lines, so that a difference is shown where it is.
pub trait Answer {
    fn answer(&self) -> Vec<String>;
}

impl<T: Debug> Answer for Vec<T> {
    fn answer(&self) -> Vec<String> {
        self.iter().map(|item| format!("{item:?}")).collect()
    }
}

/// Each store's answer must be the first one's.
pub fn compare(question: &str, answers: &[(&str, Vec<String>)]) {
    let [(first, expected), others @ ..] = answers else { return };
    for (name, given) in others {
        if given == expected {
            continue;
        }
        let at = expected.iter().zip(given).position(|(a, b)| a != b).unwrap_or(expected.len().min(given.len()));
        let line = |answer: &[String]| answer.get(at).map_or("nothing more", |line| line).to_owned();
        panic!("{question}\n{first} at {at}: {}\n\n{name} at {at}: {}\n", line(expected), line(given));
    }
}

/// The spans of rows: twins folded, each as it is read at this detail.
pub fn spans(rows: Vec<Span>, detail: Detail) -> Vec<String> {
    let as_read = |span| {
        let mut span = at_detail(without_sign_of_life(span), detail);
        if detail != Detail::Full {
            // What was left out is said of by the stamps of a row that has not been folded.
            span.weaker = Weaker::default();
        }
        format!("{span:?}")
    };
    fold(rows).into_iter().map(as_read).collect()
}

/// The spans of one trace in the order in which they are shown.
pub fn trace(tenant: &TenantId, trace_id: TraceId, rows: Vec<Span>, detail: Detail) -> Vec<String> {
    let trace = Trace::new(tenant.clone(), trace_id, rows, false);
    let order: Vec<String> = trace.spans.iter().map(|span| span.span_id.to_string()).collect();
    [order, spans(trace.spans, detail)].concat()
}
