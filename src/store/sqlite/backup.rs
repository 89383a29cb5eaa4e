//! A copy of the file while the service writes to it: one state, by `VACUUM INTO` on a connection that reads beside the
//! writer. Source: <https://www.sqlite.org/lang_vacuum.html#vacuuminto>.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::{connecting, failed};
use crate::settings::store::SqliteSettings;
use crate::store::error::Cause;
use crate::store::{CopyProgress, Result, StoreError};

const DOING: &str = "back up the store";
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Writes to a file beside `to`, checks it, and gives it its name when it is on the disk. Answers with its bytes.
pub(in crate::store) async fn backup(
    from: &Path,
    settings: &SqliteSettings,
    to: &Path,
    mut tell: impl FnMut(CopyProgress),
) -> Result<u64> {
    if to.exists() {
        return Err(other(format!("{} is there already; nothing is overwritten", to.display())));
    }
    if !from.exists() {
        return Err(other(format!("{} is not there", from.display())));
    }
    let partial = with_suffix(to, ".partial");
    // What an earlier try left; without it there is nothing to remove.
    let _ = std::fs::remove_file(&partial);
    let done = copy(from, settings, &partial, &mut tell).await;
    let finished = match done {
        Ok(()) => finish(&partial, to).await,
        Err(error) => Err(error),
    };
    if finished.is_err() {
        // Half a copy is of no use to anybody.
        let _ = std::fs::remove_file(&partial);
    }
    finished
}

async fn copy(
    from: &Path,
    settings: &SqliteSettings,
    partial: &Path,
    tell: &mut impl FnMut(CopyProgress),
) -> Result<()> {
    let options = connecting(from, settings, 8 << 20).read_only(true);
    let mut source = options.connect().await.map_err(failed(DOING))?;
    let pages = "SELECT (page_count - freelist_count) * page_size \
         FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    let row = sqlx::query(pages).fetch_one(&mut source).await.map_err(failed(DOING))?;
    let expected = row.try_get::<i64, _>(0).map_err(failed(DOING))?.unsigned_abs();
    let target = partial.to_str().ok_or_else(|| other(format!("{} is no UTF-8", partial.display())))?.to_owned();
    let vacuum = async move {
        sqlx::query("VACUUM INTO ?").bind(target).execute(&mut source).await?;
        source.close().await
    };
    tokio::pin!(vacuum);
    loop {
        match tokio::time::timeout(TELL_EVERY, &mut vacuum).await {
            Ok(done) => return done.map_err(failed(DOING)),
            Err(_) => tell(CopyProgress { written: size(partial), expected }),
        }
    }
}

/// Checks the copy and gives it its name.
async fn finish(partial: &Path, to: &Path) -> Result<u64> {
    let options = SqliteConnectOptions::new().filename(partial).read_only(true);
    let mut copied = options.connect().await.map_err(failed(DOING))?;
    check(&mut copied).await?;
    copied.close().await.map_err(failed(DOING))?;
    let io = |error: std::io::Error| StoreError::Unavailable { doing: DOING, cause: Cause::File, source: error.into() };
    std::fs::File::open(partial).and_then(|file| file.sync_all()).map_err(io)?;
    // Unlike a rename, a link never takes the place of a file that came meanwhile.
    std::fs::hard_link(partial, to)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Err(error),
            _ => std::fs::rename(partial, to),
        })
        .map_err(io)?;
    // Gone already after a rename.
    let _ = std::fs::remove_file(partial);
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(size(to))
}

async fn check(copied: &mut SqliteConnection) -> Result<()> {
    let row = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut *copied).await.map_err(failed(DOING))?;
    let found: String = row.try_get(0).map_err(failed(DOING))?;
    if found != "ok" {
        return Err(other(format!("the copy is damaged: {found}")));
    }
    // A store of ours has this, an empty file or a stranger's does not.
    sqlx::query("SELECT count(*) FROM span_tables").fetch_one(copied).await.map_err(failed(DOING))?;
    Ok(())
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn other(reason: String) -> StoreError {
    StoreError::Other { doing: DOING, source: reason.into() }
}
