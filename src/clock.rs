//! Time and randomness, the only two things a pure function cannot make for itself. Rooms receive a [`Clock`] by
//! value and ask it; nothing else in the crate reads the wall clock or draws a random number for an id.

#![expect(clippy::disallowed_methods, reason = "this is the room that clippy.toml sends everybody to")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::time::UnixNanos;

/// Tells the time, in UTC. Cloning shares the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `at` until it is told to move: for tests.
    pub fn manual(at: UnixNanos) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(at.as_u64()))))
    }

    /// The present instant. A system clock set before 1970 reads as 1970.
    pub fn now(&self) -> UnixNanos {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixNanos::new(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
            }
            Source::Manual(at) => UnixNanos::new(at.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock forward by `ns` nanoseconds.
    ///
    /// # Panics
    /// On the system clock, which nobody moves.
    pub fn advance(&self, ns: u64) {
        match &self.0 {
            Source::System => panic!("the system clock cannot be advanced"),
            Source::Manual(at) => {
                at.fetch_add(ns, Ordering::Relaxed);
            }
        }
    }
}

/// A new random identifier of 128 bits, as 32 lower-case hex digits: request ids and generated keys.
pub fn random_hex_128() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A random number in `0..bound` (0 for an empty range), for jitter. Its quality does not matter, its spread does.
pub fn random_below(bound: u64) -> u64 {
    let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
    random.checked_rem(bound).unwrap_or(0)
}
