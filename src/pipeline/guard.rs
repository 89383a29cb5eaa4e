//! The storage guard: how full the store is, by its size as it was last measured and the capacity that was declared.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use metrics::gauge;

use crate::meters;
use crate::settings::retention::StorageSettings;

/// How full the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fill {
    /// Below `storage.warn_percent`, or no capacity is declared.
    Room,
    /// From `storage.warn_percent` on.
    Short,
    /// From `storage.stop_percent` on: no span is taken.
    Full,
}

/// What is known of it. Until the first measurement there is room.
#[derive(Debug)]
pub(super) struct Guard {
    settings: StorageSettings,
    bytes: AtomicU64,
    fill: AtomicU8,
}

impl Guard {
    pub fn new(settings: &StorageSettings) -> Self {
        Self { settings: settings.clone(), bytes: AtomicU64::new(0), fill: AtomicU8::new(Fill::Room as u8) }
    }

    fn capacity(&self) -> Option<u64> {
        Some(self.settings.capacity_bytes).filter(|bytes| *bytes > 0)
    }

    pub fn fill(&self) -> Fill {
        match self.fill.load(Ordering::Relaxed) {
            0 => Fill::Room,
            1 => Fill::Short,
            _ => Fill::Full,
        }
    }

    /// What is worth saying in /readyz.
    pub fn note(&self) -> Option<String> {
        let capacity = self.capacity()?;
        let bytes = self.bytes.load(Ordering::Relaxed);
        let how = match self.fill() {
            Fill::Room => return None,
            Fill::Short => "is short of room",
            Fill::Full => "has no room left, so no span is taken",
        };
        Some(format!(
            "the store {how}: {bytes} of {capacity} bytes (storage.capacity_bytes); lower retention.completed_days or raise \
             the capacity"
        ))
    }

    /// How full the store is at this size.
    pub fn judge(&self, bytes: u64) -> Fill {
        let Some(capacity) = self.capacity() else { return Fill::Room };
        let reaches = |percent: u32| u128::from(bytes) * 100 >= u128::from(capacity) * u128::from(percent);
        match () {
            () if reaches(self.settings.stop_percent) => Fill::Full,
            () if reaches(self.settings.warn_percent) => Fill::Short,
            () => Fill::Room,
        }
    }

    /// Takes note of a measurement, and says in the log what has changed.
    pub fn update(&self, bytes: u64) {
        let fill = self.judge(bytes);
        self.bytes.store(bytes, Ordering::Relaxed);
        let before = self.fill();
        self.fill.store(fill as u8, Ordering::Relaxed);
        if let Some(capacity) = self.capacity() {
            gauge!(meters::STORE_CAPACITY_BYTES).set(capacity as f64);
            gauge!(meters::STORE_FULL).set(if fill == Fill::Full { 1.0 } else { 0.0 });
        }
        match (self.note(), before.cmp(&fill)) {
            (_, std::cmp::Ordering::Equal) => {}
            (Some(note), _) => tracing::warn!("{note}"),
            (None, _) => tracing::info!(bytes, "the store has room again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_goes_by_per_cents_of_what_was_declared() {
        let guard = Guard::new(&StorageSettings { capacity_bytes: 1_000, ..StorageSettings::default() });
        assert_eq!((guard.fill(), guard.note()), (Fill::Room, None));
        for (bytes, fill) in [
            (799, Fill::Room),
            (800, Fill::Short),
            (949, Fill::Short),
            (950, Fill::Full),
            (u64::MAX, Fill::Full),
            (1, Fill::Room),
        ] {
            guard.update(bytes);
            assert_eq!(guard.fill(), fill, "{bytes}");
            assert_eq!(guard.note().is_some(), fill > Fill::Room);
        }
        let none = Guard::new(&StorageSettings::default());
        none.update(u64::MAX);
        assert_eq!(none.fill(), Fill::Room);
    }
}
