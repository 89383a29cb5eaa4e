//! `[retention]`: how long spans and what belongs to them are kept. `[storage]`: how much room there is for them.

use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// Ages in days, after which things are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// Spans of completed, cancelled and skipped traces.
    pub completed_days: u32,
    /// Spans of failed traces and of those that never ended.
    pub failed_days: u32,
    /// Summaries of traces: what lists show.
    pub rollup_days: u32,
    /// Spans that the store refused.
    pub dead_letter_days: u32,
    /// Dead letters at most; the oldest go first.
    pub dead_letters_max: u64,
    /// Seconds between two runs at least.
    pub every_secs: u64,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            completed_days: 30,
            failed_days: 90,
            rollup_days: 400,
            dead_letter_days: 90,
            dead_letters_max: 100_000,
            every_secs: 3_600,
        }
    }
}

impl RetentionSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        const MOST: u32 = 36_500;
        problems.within("retention.completed_days", self.completed_days, 1..=MOST);
        problems.within("retention.failed_days", self.failed_days, 1..=MOST);
        problems.within("retention.rollup_days", self.rollup_days, 1..=MOST);
        problems.within("retention.dead_letter_days", self.dead_letter_days, 1..=MOST);
        problems.within("retention.dead_letters_max", self.dead_letters_max, 1..=100_000_000);
        problems.within("retention.every_secs", self.every_secs, 60..=86_400);
        for (key, value, least, at_least) in [
            ("retention.failed_days", self.failed_days, "retention.completed_days", self.completed_days),
            ("retention.rollup_days", self.rollup_days, "retention.failed_days", self.failed_days),
        ] {
            if value < at_least {
                problems.add(key, format!("is {value}; accepted is at least {least}, {at_least}"));
            }
        }
    }
}

/// The room that the store may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSettings {
    /// Bytes that the store may take; 0: nobody watches.
    pub capacity_bytes: u64,
    /// From so many per cent on, the log and /readyz warn.
    pub warn_percent: u32,
    /// From so many per cent on, ingest is refused with 503 until space is free again.
    pub stop_percent: u32,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self { capacity_bytes: 0, warn_percent: 80, stop_percent: 95 }
    }
}

impl StorageSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        if self.capacity_bytes > 0 {
            problems.within("storage.capacity_bytes", self.capacity_bytes, (1 << 20)..=(1 << 60));
        }
        problems.within("storage.warn_percent", self.warn_percent, 1..=100);
        problems.within("storage.stop_percent", self.stop_percent, 1..=100);
        if self.stop_percent < self.warn_percent {
            let text =
                format!("is {}; accepted is at least storage.warn_percent, {}", self.stop_percent, self.warn_percent);
            problems.add("storage.stop_percent", text);
        }
    }
}
