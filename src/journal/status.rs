//! How the journal is, for gauges and /readyz.

use super::segments::Form;
use super::{JournalError, Shared};

/// How the journal is at a moment. Asking costs a lock and a walk over the table of segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Bytes on disk of the segments that hold what the store has not, and of the last one; this is what the budget bounds.
    pub bytes: u64,
    /// Bytes of those that are kept for who follows alone; each has a share of its own.
    pub kept_bytes: u64,
    pub max_bytes: u64,
    pub segments: usize,
    /// Of these, compressed.
    pub compressed_segments: usize,
    /// The last sequence that was given out.
    pub tail: u64,
    /// Everything up to here is done; the oldest record that is not is the next one.
    pub done_to: u64,
    /// Records that are not done, in whatever order the others were.
    pub undone: u64,
    /// Records that are on disk alone.
    pub waiting: u64,
    /// Every record up to here is known to be on the disk.
    pub durable_to: u64,
    /// Whether 80 % of the budget are spent.
    pub high_water: bool,
    /// Whether the last append was refused because the budget was spent, and nothing became free since.
    pub full: bool,
    /// Why the last append failed, whatever the reason.
    pub append_error: Option<String>,
    /// Why the disk does not keep what is written; while it lasts, appends are refused.
    pub sync_error: Option<String>,
    /// Records that this process found lost, by damage.
    pub lost_records: u64,
    /// Segments that are set aside.
    pub damaged_segments: u64,
    pub replay: Replay,
}

/// How far the replay of what an earlier process left over is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    pub records: u64,
    /// Bytes of the segments that hold them, as they lay on disk at the start.
    pub bytes: u64,
    /// Of the records: done. A record that is done before an older one does not count yet.
    pub done_records: u64,
    /// Of the bytes: in segments that were removed since.
    pub done_bytes: u64,
}

impl Status {
    /// Whether appends are likely to succeed.
    pub fn can_append(&self) -> bool {
        !self.full && self.append_error.is_none() && self.sync_error.is_none()
    }
}

/// What goes wrong, as it happens.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub high_water: bool,
    full: bool,
    append_error: Option<String>,
    sync_error: Option<String>,
    pub lost_records: u64,
    damaged_segments: u64,
    replay: (u64, u64),
}

impl Health {
    /// After a start: segments that are set aside; number of the last segment to replay, and the bytes of all of them.
    pub fn new(damaged_segments: u64, replay: (u64, u64)) -> Self {
        Self { damaged_segments, replay, ..Self::default() }
    }

    pub fn appended(&mut self, error: Option<&JournalError>) {
        match error {
            None if self.append_error.is_none() => {}
            None => (self.full, self.append_error) = (false, None),
            // The journal is as it was.
            Some(JournalError::TooLarge { .. } | JournalError::Closed | JournalError::NotDurable { .. }) => {}
            Some(error) => {
                self.full = matches!(error, JournalError::Full { .. });
                self.append_error = Some(error.to_string());
            }
        }
    }

    /// Whether the disk refused the last append, so that trying may show that it no longer does.
    pub fn is_worth_a_try(&self) -> bool {
        self.append_error.is_some() && !self.full
    }

    /// A segment is gone.
    pub fn removed(&mut self, aside: bool) {
        self.damaged_segments += u64::from(aside);
        self.freed();
    }

    /// There is room again, perhaps.
    pub fn freed(&mut self) {
        if self.full {
            (self.full, self.append_error) = (false, None);
        }
    }

    pub fn sync_failed(&mut self, error: &dyn std::error::Error) {
        self.sync_error = Some(error.to_string());
    }

    pub fn synced(&mut self) {
        self.sync_error = None;
    }
}

impl Shared {
    pub(super) fn status(&self) -> Status {
        let state = self.state();
        let (table, ledger, health) = (&state.table, &state.ledger, &state.health);
        let (records, done_records) = ledger.replay();
        let (last, bytes) = health.replay;
        let left: u64 = table.unstored().iter().filter(|old| old.number <= last).map(|old| old.bytes).sum();
        let left = if done_records == records { 0 } else { left };
        Status {
            bytes: table.unstored_bytes(),
            kept_bytes: table.bytes() - table.unstored_bytes(),
            max_bytes: self.options.max_bytes,
            segments: table.segments().len(),
            compressed_segments: table.segments().iter().filter(|one| one.form == Form::Compressed).count(),
            tail: ledger.tail(),
            done_to: ledger.low(),
            undone: ledger.undone(),
            waiting: ledger.waiting(),
            durable_to: state.unsynced.durable,
            high_water: table.unstored_bytes() >= percent(self.options.max_bytes, super::write::HIGH_WATER_PERCENT),
            full: health.full,
            append_error: health.append_error.clone(),
            sync_error: health.sync_error.clone(),
            lost_records: health.lost_records,
            damaged_segments: health.damaged_segments,
            replay: Replay { records, bytes, done_records, done_bytes: bytes.saturating_sub(left) },
        }
    }
}

/// So many percent of it.
pub(super) fn percent(whole: u64, percent: u64) -> u64 {
    whole / 100 * percent
}
