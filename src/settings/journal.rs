//! `[journal]`: what was accepted, on disk until the store has it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use super::store::{StoreLocation, StoreSettings, Synchronous};

/// The journal's directory, its promise, and its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalSettings {
    /// Whether accepted spans are written to disk before they are acknowledged.
    pub enabled: bool,
    /// Where. Absent: `journal` in `store.data_dir`.
    pub dir: Option<PathBuf>,
    pub fsync: Fsync,
    /// Milliseconds until what was written is on the disk, with [`Fsync::Interval`].
    pub fsync_interval_ms: u64,
    /// Bytes on disk at most; 0 means the lesser of 8 GiB and half of the disk that is free at the start.
    pub max_bytes: u64,
    /// Bytes of a file, before the next one is begun.
    pub segment_bytes: u64,
    /// A file that waits for the store is compressed once so many newer ones are there; 0 means never.
    pub compress_after_segments: u64,
}

/// When what was acknowledged is on the disk itself. A killed process loses nothing in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Soon: a power cut costs at most `fsync_interval_ms`.
    Interval,
    /// Before the answer: a power cut costs nothing. Those who wait share one fsync.
    Always,
    /// When the operating system pleases.
    Off,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: None,
            fsync: Fsync::Interval,
            fsync_interval_ms: 100,
            max_bytes: 0,
            segment_bytes: 32 << 20,
            compress_after_segments: 2,
        }
    }
}

impl JournalSettings {
    /// Where it is; `None` where there is none.
    pub fn directory(&self, store: &StoreSettings) -> Option<PathBuf> {
        self.enabled.then(|| self.dir.clone().unwrap_or_else(|| store.data_dir.join("journal")))
    }

    pub(super) fn warn(&self, store: &StoreSettings, problems: &mut Problems) {
        let is_sqlite = matches!(store.location(), Ok(StoreLocation::Sqlite(_)));
        if self.enabled && self.fsync == Fsync::Always && is_sqlite && store.sqlite.synchronous != Synchronous::Full {
            problems.add(
                "journal.fsync",
                "is \"always\", but store.sqlite.synchronous is not \"full\": what the journal gives up as stored, a \
                 power cut may still take from the store",
            );
        }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self.dir.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
            problems.add("journal.dir", "is empty; accepted is a directory's path");
        }
        problems.within("journal.fsync_interval_ms", self.fsync_interval_ms, 1..=60_000);
        problems.within("journal.segment_bytes", self.segment_bytes, (1 << 20)..=(1 << 30));
        problems.within("journal.compress_after_segments", self.compress_after_segments, 0..=1_000_000);
        let least = self.segment_bytes.saturating_mul(4);
        if self.max_bytes != 0 && self.max_bytes < least {
            problems.add(
                "journal.max_bytes",
                format!(
                    "is {}; accepted are 0 (8 GiB or half of the free disk) and at least four times \
                     journal.segment_bytes, {least}",
                    self.max_bytes
                ),
            );
        }
    }
}
