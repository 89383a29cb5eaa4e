//! The file that keeps the levers over a restart: replaced whole, so that it is never half written.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::levers::Levers;

/// What the file says; nothing where there is none. One that makes no sense is renamed to `….damaged`.
///
/// # Errors
/// Why it is not known what it says.
pub(super) fn load(path: &Path) -> Result<Levers, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Levers::default()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    serde_json::from_slice(&text).map_err(|error| {
        let aside = path.with_added_extension("damaged");
        let put = match fs::rename(path, &aside) {
            Ok(()) => format!("; it is {} now", aside.display()),
            Err(error) => format!("; it cannot be renamed: {error}"),
        };
        format!("{} is not what was written: {error}{put}", path.display())
    })
}

/// Writes the file anew. With the answer it is on the disk.
///
/// # Errors
/// The operating system's; the file is as it was.
pub(super) fn replace(path: &Path, levers: &Levers) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_added_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(levers)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::levers::Wish;
    use crate::model::time::UnixNanos;

    fn off() -> Levers {
        let wish = Wish { enabled: Some(false), ..Wish::default() };
        Levers::default().amended(wish, UnixNanos::new(1), "me", "abc").unwrap()
    }

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").join("ingest.json");
        assert_eq!(load(&path), Ok(Levers::default()));
        replace(&path, &off()).unwrap();
        assert_eq!(load(&path), Ok(off()));
        fs::write(&path, "{").unwrap();
        assert!(load(&path).unwrap_err().contains("ingest.json.damaged"));
        assert_eq!(load(&path), Ok(Levers::default()));
        assert!(folder.path().join("data/ingest.json.damaged").exists());
    }

    #[test]
    fn a_write_that_fails_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ingest.json");
        replace(&path, &off()).unwrap();
        fs::create_dir(folder.path().join("ingest.json.new")).unwrap();
        replace(&path, &Levers::default()).unwrap_err();
        assert_eq!(load(&path), Ok(off()));
    }
}
