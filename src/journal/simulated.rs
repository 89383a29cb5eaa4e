//! A disk in memory for tests: it fails when told to, writes short, and at a power cut forgets what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};
use super::lock::LockError;

/// What fails from now on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Faults {
    /// Writes and creations: the disk is full.
    pub no_space: bool,
    /// Writes: an error, after some of the bytes.
    pub write: bool,
    /// Cutting back.
    pub truncate: bool,
    /// Syncs, of files and directories. What was in doubt then is never synced, also if a later sync succeeds.
    pub sync: bool,
    /// With `sync`: what was in doubt cannot be read back either.
    pub drops_pages: bool,
    /// Reads.
    pub read: bool,
    /// Every write stops short at this many bytes; 0 is never.
    pub short_write: usize,
}

#[derive(Default, Clone)]
pub(super) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    files: Vec<File>,
    faults: Faults,
}

#[derive(Default)]
struct File {
    content: Vec<u8>,
    durable: Vec<u8>,
    /// A sync of it failed: no other one does anything.
    poisoned: bool,
}

struct Open {
    disk: SimulatedDisk,
    file: usize,
}

impl SimulatedDisk {
    pub fn set(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// The process is gone; everything it wrote is there. That a sync failed before is forgotten: the next process has
    /// no way to know.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.faults = Faults::default();
        state.files.iter_mut().for_each(|file| file.poisoned = false);
    }

    /// What was not synced is gone, or not, or some of it: `random` decides.
    pub fn power_cut(&self, mut random: impl FnMut(usize) -> usize) {
        let mut state = self.lock();
        state.faults = Faults::default();
        let mut names = state.durable_names.clone();
        for (name, file) in state.names.clone() {
            if !names.contains_key(&name) && random(2) == 0 {
                names.insert(name, file);
            }
        }
        for (name, file) in state.durable_names.clone() {
            if state.names.get(&name) != Some(&file) && random(2) == 0 {
                names.remove(&name);
            }
        }
        for file in &mut state.files {
            let (written, synced) = (file.content.len(), file.durable.len());
            let mut after = file.durable.clone();
            if written > synced {
                let kept = synced + random(written - synced + 1);
                after.extend_from_slice(&file.content[synced..kept]);
                // Blocks that never arrived read as zeros.
                if random(3) == 0 {
                    let from = synced + random(kept - synced + 1);
                    after[from..].fill(0);
                }
            }
            file.content = after.clone();
            file.durable = after;
            file.poisoned = false;
        }
        state.names = names.clone();
        state.durable_names = names;
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.lock();
        state.files[state.find(name)].content.clone()
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let file = state.find(name);
        change(&mut state.files[file].content);
    }

    pub fn delete(&self, name: &str) {
        self.lock().names.retain(|path, _| !path.ends_with(name));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn open_file(&self, file: usize) -> Arc<dyn DiskFile> {
        Arc::new(Open { disk: self.clone(), file })
    }
}

impl State {
    fn find(&self, name: &str) -> usize {
        *self.names.iter().find(|(path, _)| path.ends_with(name)).unwrap().1
    }

    fn can_write(&self) -> io::Result<()> {
        if self.faults.no_space { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for SimulatedDisk {
    fn make_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> Result<Box<dyn Send + Sync>, LockError> {
        Ok(Box::new(()))
    }

    fn list(&self, _: &Path) -> io::Result<Vec<(String, u64)>> {
        let state = SimulatedDisk::lock(self);
        let entry = |(path, file): (&PathBuf, &usize)| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), state.files[*file].content.len() as u64)
        };
        Ok(state.names.iter().map(entry).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = SimulatedDisk::lock(self);
        state.can_write()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.push(File::default());
        let file = state.files.len() - 1;
        state.names.insert(path.to_owned(), file);
        Ok(self.open_file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = SimulatedDisk::lock(self).names.get(path).copied();
        file.map(|file| self.open_file(file)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = SimulatedDisk::lock(self);
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SimulatedDisk::lock(self).names.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let mut state = SimulatedDisk::lock(self);
        if state.faults.sync {
            return Err(io::Error::other("I/O error"));
        }
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 30)
    }
}

impl DiskFile for Open {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        let faults = state.faults;
        let (content, at) = (&mut state.files[self.file].content, at as usize);
        let count = match faults.short_write {
            0 => bytes.len(),
            most => bytes.len().min(most),
        };
        let fails = faults.no_space || faults.write;
        let count = if fails { count / 2 } else { count };
        content.resize(content.len().max(at + count), 0);
        content[at..at + count].copy_from_slice(&bytes[..count]);
        state.can_write()?;
        if fails { Err(io::Error::other("I/O error")) } else { Ok(count) }
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.lock();
        if state.faults.read {
            return Err(io::Error::other("I/O error"));
        }
        let content = state.files[self.file].content.get(at as usize..).unwrap_or_default();
        let count = content.len().min(bytes.len());
        bytes[..count].copy_from_slice(&content[..count]);
        Ok(count)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        if state.faults.truncate {
            return Err(io::Error::other("I/O error"));
        }
        state.files[self.file].content.truncate(length as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let faults = state.faults;
        let file = &mut state.files[self.file];
        if faults.sync {
            file.poisoned = true;
            if faults.drops_pages {
                let synced = file.durable.len().min(file.content.len());
                file.content[synced..].fill(0);
            }
            return Err(io::Error::other("I/O error"));
        }
        if !file.poisoned {
            file.durable = file.content.clone();
        }
        Ok(())
    }
}
