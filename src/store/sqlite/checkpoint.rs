//! Checkpoints beside the writer: what commits appended to the write-ahead log goes into the file on a connection of its
//! own, so that no commit waits for it.
//!
//! By itself SQLite does it inside a commit whenever the log has grown by so much, and that commit takes twice as long and
//! more, mostly waiting for the disk. It still does at [`LOG_PAGES`]: only the writer can begin the log anew, and only when
//! all of it is in the file. Source: <https://www.sqlite.org/wal.html#ckpt>.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqlitePool;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Pages of 4 KiB that the log may hold before a commit does what is left to do: 240 MB.
pub(super) const LOG_PAGES: u32 = 60_000;
/// Rows that are written between two checkpoints under load.
const ROWS: usize = 30_000;
/// Without so many rows: this long after a commit.
const DELAY: Duration = Duration::from_secs(1);

/// Tells the task behind it what was committed, and ends it when dropped.
pub(super) struct Checkpoints {
    committed: Arc<Committed>,
    task: AbortHandle,
}

#[derive(Default)]
struct Committed {
    rows: AtomicUsize,
    some: Notify,
    enough: Notify,
}

impl Checkpoints {
    /// Starts the task; `pool` opens its connection when there is something to do.
    pub(super) fn start(pool: SqlitePool) -> Self {
        let committed = Arc::new(Committed::default());
        let task = tokio::spawn(run(pool, committed.clone())).abort_handle();
        Self { committed, task }
    }

    /// Says that so many rows were committed.
    pub(super) fn note(&self, rows: usize) {
        let before = self.committed.rows.fetch_add(rows, Ordering::Relaxed);
        self.committed.some.notify_one();
        if before + rows >= ROWS {
            self.committed.enough.notify_one();
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(pool: SqlitePool, committed: Arc<Committed>) {
    loop {
        committed.some.notified().await;
        // Either is a reason; which one does not matter.
        let _ = tokio::time::timeout(DELAY, committed.enough.notified()).await;
        committed.rows.store(0, Ordering::Relaxed);
        // PASSIVE waits for nobody: what a reader or the writer is in the way of is left to the next time.
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&pool).await {
            tracing::debug!(%error, "a checkpoint failed; a later one does its work");
        }
    }
}
