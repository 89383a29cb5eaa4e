//! The seam to the file system: what the journal asks of it, and the real one behind it. Tests put another in its place
//! that fails, writes short, and forgets what was not synced.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::lock::{DirectoryLock, LockError};

/// A directory's files, by their paths. Errors are the operating system's.
pub trait Disk: Send + Sync {
    /// Makes the directory with all above it, if it is missing.
    fn make_directory(&self, directory: &Path) -> io::Result<()>;
    /// Locks the directory until what is returned is dropped.
    fn lock(&self, directory: &Path) -> Result<Box<dyn Send + Sync>, LockError>;
    /// Names and lengths of its files.
    fn list(&self, directory: &Path) -> io::Result<Vec<(String, u64)>>;
    /// A new file, open for reading and writing. It must not exist.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file, open for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes created, renamed and removed names durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Bytes that this process may still write where the directory is.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;
}

/// An open file. Dropping the last reference closes it.
pub trait DiskFile: Send + Sync {
    /// Writes some of it, at least a byte, and says how much.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// Reads some of it; 0 at the end.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

impl dyn DiskFile + '_ {
    /// Writes all of it, however often the system stops short.
    pub(super) fn write_all_at(&self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    at += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills as much as the file has, and says how much that was.
    pub(super) fn read_full_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_at(&mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// The operating system's.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)
    }

    fn lock(&self, directory: &Path) -> Result<Box<dyn Send + Sync>, LockError> {
        Ok(Box::new(DirectoryLock::acquire(directory)?))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                files.push((name, entry.metadata()?.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create_new(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        let told = rustix::fs::statvfs(directory)?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, at)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
