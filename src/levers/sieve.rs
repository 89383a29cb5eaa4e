//! The rules' word on one span. A function of the span and the rules: no clock, no chance, no memory.

use super::{Action, Rule};
use crate::model::ids::TraceId;
use crate::model::span::{OtelStatus, Span, Status};

/// Rules, ready to be asked. Asking costs some comparisons of names a rule.
#[derive(Clone, Debug, Default)]
pub struct Sieve {
    rules: Vec<Rule>,
}

/// What becomes of a span. A rule is named by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No rule concerns it.
    Free,
    /// A rule concerns it, and lets it pass.
    Spared(usize, Spared),
    /// It is not to be kept.
    Dropped(usize, Reason),
}

/// Why a span is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    Off,
    /// Its trace is not among those that are kept.
    Fraction,
    Short,
}

/// Why a span is kept though a rule matches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Spared {
    Failed,
    /// Its trace is among those that are kept.
    Fraction,
    /// It took long enough.
    Long,
    /// It has not ended, so nobody knows how long it takes. Or it ended, and the record does not tell when it began.
    Unknown,
    /// It is started and completed by records of its own ([`super::Sift`]).
    InParts,
}

impl Reason {
    pub const ALL: [Self; 3] = [Self::Off, Self::Fraction, Self::Short];

    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Fraction => "fraction",
            Self::Short => "short",
        }
    }
}

impl Spared {
    pub const ALL: [Self; 5] = [Self::Failed, Self::Fraction, Self::Long, Self::Unknown, Self::InParts];

    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Fraction => "fraction",
            Self::Long => "long",
            Self::Unknown => "unknown",
            Self::InParts => "in_parts",
        }
    }
}

impl Sieve {
    pub fn new(rules: &[Rule]) -> Self {
        Self { rules: rules.to_vec() }
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The word of the first rule that matches the span's names and holds for when it began.
    ///
    /// A rule concerns only spans that began while it held, by their own clock: one that was under way when the rule came
    /// is already stored as open, and without its completion it would read as abandoned. An open record that does not tell
    /// its start began when it came; a completion that does not is kept.
    pub fn judge(&self, span: &Span) -> Verdict {
        let (service, operation, region) = (span.service(), span.operation(), span.region());
        let begun = span.started_at.or_else(|| (!span.status.is_terminal()).then_some(span.created_at));
        for (place, rule) in self.rules.iter().enumerate() {
            if !rule.matches(service, operation, region) {
                continue;
            }
            match begun {
                Some(begun) if rule.holds_at(begun) => {}
                Some(_) => continue,
                None => return Verdict::Spared(place, Spared::Unknown),
            }
            if is_failed(span) {
                return Verdict::Spared(place, Spared::Failed);
            }
            return match rule.action {
                Action::Off => Verdict::Dropped(place, Reason::Off),
                Action::KeepFraction { fraction } if is_kept(span.trace_id, fraction) => {
                    Verdict::Spared(place, Spared::Fraction)
                }
                Action::KeepFraction { .. } => Verdict::Dropped(place, Reason::Fraction),
                Action::MinimumDuration { duration_ms } => {
                    match span.duration_ns().filter(|_| span.status.is_terminal()) {
                        None => Verdict::Spared(place, Spared::Unknown),
                        Some(ns) if (ns as f64) < duration_ms * 1e6 => Verdict::Dropped(place, Reason::Short),
                        Some(_) => Verdict::Spared(place, Spared::Long),
                    }
                }
            };
        }
        Verdict::Free
    }
}

/// Whether a span says of itself that it failed: by its status, by OpenTelemetry's, or by an error.
pub fn is_failed(span: &Span) -> bool {
    span.status == Status::Failed
        || span.otel_status() == Some(OtelStatus::Error as i64)
        || [span.error_type(), span.error_message(), span.error_stack()].iter().any(Option::is_some)
}

/// Whether a trace is among the part of all traces that is kept. The same everywhere and always, and a larger part holds
/// every smaller one.
///
/// By a hash of all its bits, not by the bits themselves as OpenTelemetry's consistent sampling takes them: here ids are
/// also UUIDs, 64-bit ids and counted numbers.
pub fn is_kept(trace_id: TraceId, fraction: f64) -> bool {
    const ALL: f64 = 18_446_744_073_709_551_616.0;
    fraction >= 1.0 || (hash(trace_id) as f64) < fraction * ALL
}

/// SplitMix64 over both halves; part of what is promised, never to be changed.
/// Source: <https://prng.di.unimi.it/splitmix64.c>.
fn hash(trace_id: TraceId) -> u64 {
    let number = u128::from_be_bytes(*trace_id.as_bytes());
    mix(mix((number >> 64) as u64) ^ number as u64)
}

fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
