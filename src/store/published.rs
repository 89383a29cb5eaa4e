//! The views that are also published under the names by which their users know them, and what became of each.

use std::fmt;

/// In the order in which they are published.
pub(super) const VIEWS: [&str; 4] = ["trace_spans", "trace_waterfall", "trace_spans_health", "deployment_trace_span"];

/// A view, and what became of its name where people look first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub name: &'static str,
    pub outcome: Publication,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    Made,
    /// It was there, and it is ours.
    Ours,
    /// Something else has the name; it was not touched.
    Taken,
    /// The store has one place for names, and the view is in it.
    Native,
}

impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Made => "made",
            Self::Ours => "already ours",
            Self::Taken => "skipped: something else has this name",
            Self::Native => "already there: a SQLite file has no other schema to publish in",
        })
    }
}

/// The comment by which a published view is known as ours: the schema and the name of what it shows.
pub(super) fn mark(schema: &str, name: &str) -> String {
    format!("tracefall: {schema}.{name}")
}
