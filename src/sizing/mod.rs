//! How much room traffic takes: spans and bytes a day, what they level off at under a retention, and when a capacity is
//! spent. Pure arithmetic on figures that are measured (docs/benchmarks.md) or given.
//!
//! What a store holds at this moment is [`crate::store`]'s; how it is shown is [`crate::render`]'s.

mod plan;

use serde::Serialize;

pub use plan::{Assumptions, Plan, StorePlan, plan};

use crate::settings::retention::{RetentionSettings, StorageSettings};

/// What a day brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Traffic {
    pub traces_per_day: u64,
    pub spans_per_day: u64,
}

impl Traffic {
    /// Of jobs that ask each question of each model in each region: each such run is a trace. Beyond a number's range it
    /// stays at its end.
    pub fn of_jobs(jobs: u64, regions: u64, models: u64, questions: u64, spans_per_question: u64) -> Self {
        let factors = [regions, models, questions];
        let traces_per_day = factors.into_iter().fold(jobs, u64::saturating_mul);
        Self { traces_per_day, spans_per_day: traces_per_day.saturating_mul(spans_per_question) }
    }
}

/// What things cost in the store, in bytes, with their indexes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// A span.
    pub span_bytes: f64,
    /// A trace's summary.
    pub trace_bytes: f64,
}

/// PostgreSQL, by 80 000 spans in traces of eight, each with [`ATTRIBUTE_BYTES`] of attributes and an execution's id, stored by
/// the service and settled (docs/sizing.md).
pub const POSTGRES: Cost = Cost { span_bytes: 700.0, trace_bytes: 1_240.0 };
/// The embedded store, by the same spans.
pub const SQLITE: Cost = Cost { span_bytes: 655.0, trace_bytes: 774.0 };
/// Bytes of attributes of the spans that [`POSTGRES`] and [`SQLITE`] were measured with.
pub const ATTRIBUTE_BYTES: f64 = 400.0;

impl Cost {
    /// The same where spans carry so many bytes of attributes: they are kept as they came.
    pub fn with_attributes(self, bytes: f64) -> Self {
        Self { span_bytes: (self.span_bytes - ATTRIBUTE_BYTES + bytes).max(0.0), ..self }
    }
}

/// How long things stay, in days.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stay {
    pub completed_days: u32,
    pub failed_days: u32,
    pub rollup_days: u32,
    /// Traces of a hundred that fail.
    pub failed_percent: f64,
}

impl Stay {
    pub fn of(settings: &RetentionSettings, failed_percent: f64) -> Self {
        Self {
            completed_days: settings.completed_days,
            failed_days: settings.failed_days,
            rollup_days: settings.rollup_days,
            failed_percent,
        }
    }

    /// With completed traces kept so long, and failed ones no shorter.
    pub fn completed(self, days: u32) -> Self {
        let failed_days = self.failed_days.max(days);
        Self { completed_days: days, failed_days, rollup_days: self.rollup_days.max(failed_days), ..self }
    }

    /// Days of spans that are there after so many days of traffic. A day goes whole, when its last span is past its date.
    fn span_days(&self, after: f64) -> f64 {
        let failed = (self.failed_percent / 100.0).clamp(0.0, 1.0);
        let there = |days: u32| after.min(f64::from(days) + 1.0);
        (1.0 - failed) * there(self.completed_days) + failed * there(self.failed_days)
    }

    /// From then on nothing grows.
    fn level_days(&self) -> f64 {
        f64::from(self.completed_days.max(self.failed_days) + 1).max(f64::from(self.rollup_days))
    }
}

/// The room that a store comes to take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    pub stay: Stay,
    /// While nothing is old enough to go.
    pub bytes_per_day: f64,
    /// What the spans and the summaries level off at.
    pub spans: f64,
    pub span_bytes: f64,
    pub rollup_bytes: f64,
    pub level_bytes: f64,
    /// Absent without a capacity, or where it lasts for ever.
    pub full_in_days: Option<f64>,
}

/// What this traffic comes to. `room` is what may be filled, in bytes: see [`usable`].
pub fn forecast(traffic: Traffic, cost: Cost, stay: Stay, room: Option<f64>) -> Forecast {
    let (spans, traces) = (traffic.spans_per_day as f64, traffic.traces_per_day as f64);
    let bytes_after = |days: f64| {
        let rollups = traces * days.min(f64::from(stay.rollup_days)) * cost.trace_bytes;
        (spans * stay.span_days(days) * cost.span_bytes, rollups)
    };
    let level = stay.level_days();
    let (span_bytes, rollup_bytes) = bytes_after(level);
    let total_after = |days: f64| {
        let (spans, rollups) = bytes_after(days);
        spans + rollups
    };
    Forecast {
        stay,
        bytes_per_day: spans * cost.span_bytes + traces * cost.trace_bytes,
        spans: spans * stay.span_days(level),
        span_bytes,
        rollup_bytes,
        level_bytes: span_bytes + rollup_bytes,
        full_in_days: room
            .filter(|room| *room < span_bytes + rollup_bytes)
            .map(|room| reached(total_after, room, level)),
    }
}

/// When a size that never shrinks comes to `room`, within `until` days.
fn reached(size_after: impl Fn(f64) -> f64, room: f64, until: f64) -> f64 {
    const STEPS: usize = 60;
    let (mut before, mut after) = (0.0, until);
    for _ in 0..STEPS {
        let middle = (before + after) / 2.0;
        if size_after(middle) < room { before = middle } else { after = middle }
    }
    after
}

/// The part of a capacity that is filled before ingest stops.
pub fn usable(capacity_bytes: u64, storage: &StorageSettings) -> f64 {
    capacity_bytes as f64 * f64::from(storage.stop_percent) / 100.0
}

/// The longest stay of completed traces that fits into the room, failed ones in proportion, and summaries as long as the rest
/// of it lets them stay, at least as long as the spans. `None` where not even a day fits.
pub fn fitting(traffic: Traffic, cost: Cost, stay: Stay, room: f64) -> Option<Stay> {
    let a_day_of_summaries = traffic.traces_per_day as f64 * cost.trace_bytes;
    let of = |days: u32| {
        let share = f64::from(days) / f64::from(stay.completed_days.max(1));
        let failed_days = ((f64::from(stay.failed_days) * share) as u32).max(days);
        let stay = Stay { completed_days: days, failed_days, ..stay };
        let rest = room - forecast(traffic, cost, stay, None).span_bytes;
        // Beyond a number's range it stays at its end.
        let rollup_days = stay.rollup_days.min((rest / a_day_of_summaries) as u32);
        (rest >= 0.0 && rollup_days >= failed_days).then_some(Stay { rollup_days, ..stay })
    };
    (1..=stay.completed_days).rev().find_map(of)
}

/// Bytes as people read them: `512 B`, `15.4 MB`, `2 GB`; powers of ten, three digits.
pub fn human_bytes(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes.max(0.0), 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let decimals = match value {
        value if unit == 0 || value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {}", UNITS[unit])
}

/// A count with its thousands apart: `22 500`.
pub fn human_count(count: f64) -> String {
    let digits = format!("{:.0}", count.max(0.0));
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEACON: (u64, u64, u64, u64, u64) = (10, 3, 3, 50, 5);

    fn beacon() -> Traffic {
        let (jobs, regions, models, questions, spans) = BEACON;
        Traffic::of_jobs(jobs, regions, models, questions, spans)
    }

    fn stay(completed_days: u32, failed_days: u32, rollup_days: u32, failed_percent: f64) -> Stay {
        Stay { completed_days, failed_days, rollup_days, failed_percent }
    }

    #[test]
    fn traffic_is_a_product_that_stays_in_range() {
        assert_eq!(beacon(), Traffic { traces_per_day: 4_500, spans_per_day: 22_500 });
        assert_eq!(Traffic::of_jobs(u64::MAX, 2, 1, 1, 9).spans_per_day, u64::MAX);
    }

    #[test]
    fn a_store_levels_off_at_what_it_keeps() {
        let cost = Cost { span_bytes: 100.0, trace_bytes: 10.0 };
        let found = forecast(beacon(), cost, stay(9, 19, 100, 50.0), None);
        // Half of the spans stay 10 days, half 20: a day goes whole.
        assert_eq!(found.spans, 22_500.0 * 15.0);
        assert_eq!(found.span_bytes, 22_500.0 * 15.0 * 100.0);
        assert_eq!(found.rollup_bytes, 4_500.0 * 100.0 * 10.0);
        assert_eq!(found.bytes_per_day, 22_500.0 * 100.0 + 4_500.0 * 10.0);
        assert_eq!(found.full_in_days, None);
    }

    #[test]
    fn a_capacity_is_spent_on_the_day_that_growth_says_or_never() {
        let cost = Cost { span_bytes: 100.0, trace_bytes: 0.0 };
        let keep = stay(30, 30, 30, 0.0);
        let full = |room: f64| forecast(beacon(), cost, keep, Some(room)).full_in_days;
        let day = 22_500.0 * 100.0;
        assert!((full(day * 12.0).unwrap() - 12.0).abs() < 1e-6);
        assert_eq!(full(day * 31.0), None);
        assert!(full(day * 30.9).is_some());
    }

    #[test]
    fn what_fits_is_found_or_nothing_is() {
        let cost = Cost { span_bytes: 100.0, trace_bytes: 10.0 };
        let keep = stay(30, 90, 400, 0.0);
        let day = 22_500.0 * 100.0;
        let fit = fitting(beacon(), cost, keep, day * 8.0).unwrap();
        assert!(forecast(beacon(), cost, fit, None).level_bytes <= day * 8.0, "{fit:?}");
        assert!(fit.failed_days >= fit.completed_days && fit.rollup_days >= fit.failed_days, "{fit:?}");
        assert_eq!(fitting(beacon(), cost, keep, day), None);
        assert_eq!(fitting(beacon(), cost, keep, f64::MAX), Some(keep));
    }

    #[test]
    fn numbers_read_as_people_say_them() {
        for (bytes, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1_000.0, "1 kB"),
            (15_412_500.0, "15.4 MB"),
            (999_600.0, "1 MB"),
            (500_000_000.0, "500 MB"),
            (2_340_000_000.0, "2.34 GB"),
            (-5.0, "0 B"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
        for (count, text) in [(0.0, "0"), (999.0, "999"), (22_500.0, "22 500"), (1_000_000.0, "1 000 000")] {
            assert_eq!(human_count(count), text);
        }
    }

    proptest! {
        #[test]
        fn more_of_anything_never_takes_less_room_nor_lasts_longer(
            spans in 1_u64..1_000_000, days in 1_u32..200, more in 1_u32..100, room in 1.0..1e12_f64, failed in 0.0..100.0_f64,
        ) {
            let of = |spans: u64, days: u32, room: f64| {
                let traffic = Traffic { traces_per_day: spans / 5, spans_per_day: spans };
                forecast(traffic, POSTGRES, stay(days, days + 60, 400, failed), Some(room))
            };
            let first = of(spans, days, room);
            for larger in [of(spans + u64::from(more), days, room), of(spans, days + more, room)] {
                prop_assert!(larger.level_bytes >= first.level_bytes);
                prop_assert!(larger.full_in_days.unwrap_or(f64::MAX) <= first.full_in_days.unwrap_or(f64::MAX) + 1e-6);
            }
            let roomier = of(spans, days, room * 1.5);
            prop_assert!(roomier.full_in_days.unwrap_or(f64::MAX) + 1e-6 >= first.full_in_days.unwrap_or(f64::MAX));
        }
    }
}
