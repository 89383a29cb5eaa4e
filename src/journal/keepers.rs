//! The journal's two threads: one makes records durable, one looks after the files. Both sleep while nothing happens.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Journal, Shared};
use crate::settings::journal::Fsync;

/// The files are looked after at most this often.
const TEND_EVERY: Duration = Duration::from_millis(500);
/// After a failure, as long as it lasts.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What wakes the threads.
#[derive(Default)]
pub(super) struct Bells {
    pub sync: Bell,
    pub tend: Bell,
}

/// Says that there is something to do. Ringing it again changes nothing.
#[derive(Default)]
pub(super) struct Bell {
    rings: AtomicBool,
    stopped: Mutex<bool>,
    changed: Condvar,
}

/// The running threads. Dropping this ends them, after what they are doing.
pub struct Keepers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Keepers {
    /// Starts the threads of a journal.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(journal: &Journal) -> io::Result<Self> {
        let mut keepers = Self { shared: journal.0.clone(), threads: Vec::new() };
        if journal.0.options.fsync != Fsync::Off {
            keepers.spawn("journal-sync", keep_durable)?;
        }
        keepers.spawn("journal-tend", keep_tidy)?;
        Ok(keepers)
    }

    fn spawn(&mut self, name: &str, run: fn(&Shared)) -> io::Result<()> {
        let shared = self.shared.clone();
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared))?);
        Ok(())
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        self.shared.bells.sync.stop();
        self.shared.bells.tend.stop();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn keep_durable(shared: &Shared) {
    let bell = &shared.bells.sync;
    while bell.answer() {
        if shared.options.fsync == Fsync::Interval {
            bell.pause(shared.options.fsync_interval);
        }
        // Who rings from here on may come too late for this turn.
        bell.silence();
        if shared.sync().is_err() {
            bell.pause(RETRY_AFTER);
            bell.ring();
        }
    }
}

fn keep_tidy(shared: &Shared) {
    let bell = &shared.bells.tend;
    let mut failing = false;
    while bell.answer() {
        let tended = shared.tend();
        if let Err(error) = &tended
            && !failing
        {
            tracing::warn!(%error, "the journal's files cannot be looked after; it is tried again");
        }
        failing = tended.is_err();
        bell.pause(if failing { RETRY_AFTER } else { TEND_EVERY });
        if failing {
            bell.ring();
        }
    }
}

impl Bell {
    /// Wakes who waits for it. Costs next to nothing while it rings already.
    pub fn ring(&self) {
        if !self.rings.swap(true, Ordering::AcqRel) {
            // The lock, so that nobody is between looking and waiting.
            let _stopped = self.lock();
            self.changed.notify_all();
        }
    }

    fn silence(&self) {
        self.rings.store(false, Ordering::Release);
    }

    /// Waits until it rings; false once it was stopped.
    fn answer(&self) -> bool {
        let mut stopped = self.lock();
        loop {
            if *stopped {
                return false;
            }
            if self.rings.swap(false, Ordering::AcqRel) {
                return true;
            }
            stopped = self.changed.wait(stopped).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits so long, or until it is stopped.
    fn pause(&self, length: Duration) {
        let end = Instant::now() + length;
        let mut stopped = self.lock();
        while !*stopped {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { return };
            stopped = self.changed.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn stop(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
