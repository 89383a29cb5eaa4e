//! One process a directory: an advisory lock (`flock`) on the file `lock` in it, which ends with the process however
//! that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "{} is in use by {}; two processes need a directory each: stop the other one, or name another directory",
        directory.display(),
        holder.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Held { directory: PathBuf, holder: Option<u32> },
    #[error("cannot lock {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A directory that is this process's until this is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the directory, which must exist, and writes this process's id into it. Never waits.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process, or another part of this one, has it; [`LockError::Io`] if the file cannot
    /// be made or locked.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join("lock");
        let failed = |source| LockError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who holds it is told if it can be read; that somebody does is certain.
                let _ = file.read_to_string(&mut text);
                return Err(LockError::Held { directory: directory.to_owned(), holder: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The process id is for people; on a full disk the lock holds all the same.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_with_the_first_ones_id_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(folder.path()).unwrap();
        let error = DirectoryLock::acquire(folder.path()).unwrap_err();
        let LockError::Held { holder, .. } = &error else { panic!("{error}") };
        assert_eq!(*holder, Some(std::process::id()));
        let text = error.to_string();
        assert!(text.contains(&format!("is in use by process {}", std::process::id())), "{text}");
        drop(first);
        DirectoryLock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn a_directory_that_is_missing_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = DirectoryLock::acquire(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.starts_with("cannot lock") && error.contains("none/lock"), "{error}");
    }
}
