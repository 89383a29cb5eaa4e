//! What a submission was promised, and when the promise holds.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Busy;

/// What became of the spans of one submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// All are committed, but for this many that the store refused for good: they are among the dead letters.
    Yes { dead_letters: usize },
    /// Not known within the time given; they are kept, and on their way.
    NotYet,
}

/// The promise that spans are on their way.
#[derive(Debug)]
pub struct Receipt {
    pub(super) stored: oneshot::Receiver<usize>,
    pub(super) kept: Kept,
    pub(super) sampled: usize,
}

/// When spans may be acknowledged.
#[derive(Debug)]
pub(super) enum Kept {
    /// Now: they are in the journal, or there is none and memory is all that was promised.
    Already,
    /// Once the disk has them; it says whether it does.
    Soon(oneshot::Receiver<bool>),
    /// Once the store has them: the journal could not take them.
    OnCommit,
}

impl Receipt {
    /// Spans that are not kept, as the levers say.
    pub fn sampled(&self) -> usize {
        self.sampled
    }

    /// Waits until the spans may be acknowledged, at most for `patience`. Mostly that is at once.
    ///
    /// # Errors
    /// [`Busy::Unkept`]: they may be stored all the same.
    pub async fn kept(self, patience: Duration) -> Result<(), Busy> {
        match self.kept {
            Kept::Already => Ok(()),
            Kept::Soon(told) => match timeout(patience, told).await {
                Ok(Ok(true)) => Ok(()),
                _ => Err(Busy::Unkept),
            },
            Kept::OnCommit => match committed(self.stored, patience).await {
                Stored::Yes { .. } => Ok(()),
                Stored::NotYet => Err(Busy::Unkept),
            },
        }
    }

    /// Waits until the spans are committed, at most for `patience`.
    ///
    /// # Errors
    /// [`Busy::Unkept`] if they are neither committed nor kept by then: they may be stored all the same.
    pub async fn stored(self, patience: Duration) -> Result<Stored, Busy> {
        let stored = committed(self.stored, patience).await;
        let is_kept = match self.kept {
            Kept::Already => true,
            Kept::Soon(mut told) => told.try_recv() == Ok(true),
            Kept::OnCommit => false,
        };
        if is_kept || stored != Stored::NotYet { Ok(stored) } else { Err(Busy::Unkept) }
    }
}

async fn committed(told: oneshot::Receiver<usize>, patience: Duration) -> Stored {
    match timeout(patience, told).await {
        Ok(Ok(dead_letters)) => Stored::Yes { dead_letters },
        Ok(Err(_)) | Err(_) => Stored::NotYet,
    }
}
