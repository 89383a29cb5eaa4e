//! The operator's brake: at most so many rows a second into the store, over all writers of this process.
//!
//! A bucket holds a second's worth of leave and refills evenly. A writer takes leave for a piece of its batch before it
//! writes it, in debt if need be, and waits until the debt is paid; pieces are no larger than a second's worth. So the
//! rate holds over any while longer than a second, and a burst after silence is at most two seconds' worth.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub(super) struct Brake {
    /// Rows a second; 0 brakes nothing.
    rate: u64,
    bucket: Mutex<Bucket>,
    released: watch::Sender<bool>,
}

/// Leave to write, in rows.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Brake {
    pub fn new(rows_per_second: u64) -> Self {
        let bucket = Bucket { left: rows_per_second as f64, at: Instant::now() };
        Self { rate: rows_per_second, bucket: Mutex::new(bucket), released: watch::Sender::new(false) }
    }

    /// Rows that may be written at once.
    pub fn piece(&self) -> usize {
        match self.rate {
            0 => usize::MAX,
            rate => usize::try_from(rate).unwrap_or(usize::MAX),
        }
    }

    /// Waits until so many rows may be written.
    pub async fn hold(&self, rows: usize) {
        if self.rate == 0 {
            return;
        }
        let wait = self.take(rows, Instant::now());
        if !wait.is_zero() {
            // Whichever comes first.
            let _ = tokio::time::timeout(wait, self.released.subscribe().wait_for(|released| *released)).await;
        }
    }

    /// Brakes no more: at the end nothing is to be left behind.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Takes leave for so many rows, and says how long to wait before they are written.
    fn take(&self, rows: usize, now: Instant) -> Duration {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = self.rate as f64;
        let refill = now.saturating_duration_since(bucket.at).as_secs_f64() * rate;
        bucket.left = (bucket.left + refill).min(rate) - rows as f64;
        bucket.at = bucket.at.max(now);
        Duration::from_secs_f64((-bucket.left / rate).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_is_paid_for_afterwards() {
        let brake = Brake::new(1_000);
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        assert_eq!(brake.take(1_000, at(0)), Duration::ZERO);
        assert_eq!(brake.take(500, at(0)), Duration::from_millis(500));
        assert_eq!(brake.take(100, at(500)), Duration::from_millis(100), "another writer waits behind");
        assert_eq!(brake.take(100, at(700)), Duration::ZERO);
        assert_eq!(brake.take(1_000, at(60_000)), Duration::ZERO, "a minute of silence");
        assert_eq!(brake.take(1, at(60_000)), Duration::from_millis(1), "is worth a second");
    }

    #[tokio::test]
    async fn without_a_rate_nothing_waits_and_released_nothing_waits_any_longer() {
        Brake::new(0).hold(usize::MAX).await;
        let brake = Brake::new(1);
        brake.release();
        brake.hold(1_000_000).await;
    }

    proptest! {
        /// Writers that do as they are told write, by any moment, what the rate allows and two seconds' worth at most.
        #[test]
        fn the_rate_holds(pieces in prop::collection::vec((1_usize..=100, 0_u64..300), 1..200)) {
            let brake = Brake::new(100);
            let begun = Instant::now();
            let (mut now, mut rows) = (begun, 0);
            for (piece, pause_ms) in pieces {
                now += Duration::from_millis(pause_ms);
                now += brake.take(piece, now);
                rows += piece;
                let allowed = (now - begun).as_secs_f64() * 100.0 + 200.0;
                prop_assert!(rows as f64 <= allowed + 1e-3, "{rows} of {allowed}");
            }
        }
    }
}
