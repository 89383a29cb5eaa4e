//! What became of the rows.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Counts of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows read by this run.
    pub rows: u64,
    /// Rows that an earlier, interrupted run had read, behind which this one went on.
    pub rows_before: u64,
    /// Rows that are spans; of several rows of one span each counts.
    pub spans: u64,
    /// Rows that are no spans.
    pub refused: u64,
    /// Spans that the store itself refused: they are among its dead letters.
    pub dead_letters: u64,
    /// Spans that became known so long ago that retention would remove them once their trace reads as completed.
    pub past_keeping: u64,
    /// The first rows that are no spans, at most [`Report::DETAILS`].
    pub refusals: Vec<Refusal>,
    /// All of them by what is wrong; beyond [`Report::REASONS`] different reasons the rest is under "other reasons".
    pub refused_by_reason: BTreeMap<String, u64>,
    /// By the database's own statistics.
    pub estimated_rows: Option<u64>,
}

/// A row that is no span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which one: `id=17`.
    pub row: String,
    /// The column that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    pub reason: String,
}

impl Report {
    /// Rows that are told of one by one.
    pub const DETAILS: usize = 20;
    /// Reasons that are told apart.
    pub const REASONS: usize = 50;

    pub(super) fn add(&mut self, rows: u64, spans: u64, dead_letters: u64, refused: Vec<Refusal>) {
        self.rows += rows;
        self.spans += spans;
        self.dead_letters += dead_letters;
        self.refused += refused.len() as u64;
        for refusal in refused {
            let mut kind = refusal.kind().to_owned();
            if !self.refused_by_reason.contains_key(&kind) && self.refused_by_reason.len() >= Self::REASONS {
                kind = "other reasons".into();
            }
            *self.refused_by_reason.entry(kind).or_default() += 1;
            if self.refusals.len() < Self::DETAILS {
                self.refusals.push(refusal);
            }
        }
    }
}

impl Refusal {
    /// The reason without the value that it shows.
    fn kind(&self) -> &str {
        self.reason.split(": ").next().unwrap_or_default()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.row, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusals_are_kept_and_all_are_counted() {
        let refusal = |row: usize| Refusal {
            row: format!("id={row}"),
            field: Some("trace_id".into()),
            reason: match row % 2 {
                0 => format!("trace_id is not hex: \"x{row}\""),
                _ => format!("reason {}", row % 200),
            },
        };
        let mut report = Report::default();
        report.add(1_000, 0, 0, (0..1_000).map(refusal).collect());
        assert_eq!((report.refused, report.refusals.len()), (1_000, Report::DETAILS));
        assert_eq!(report.refused_by_reason["trace_id is not hex"], 500);
        assert_eq!(report.refused_by_reason.len(), Report::REASONS + 1);
        assert_eq!(report.refused_by_reason.values().sum::<u64>(), 1_000);
    }
}
