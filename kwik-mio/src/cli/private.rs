//! Files that hold secrets.
//!
//! Owns their permissions: 0600 when they are made, and no better known to others when they are
//! read. Never sees what is in them.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::failure::{Failure, because};

/// Larger files hold no secret of ours.
const BYTES_MAX: u64 = 4096;

/// Writes a file that did not exist.
pub(super) fn create_new(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let shown = path.display();
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::failed(format!(
                "{shown} exists, and key files are never overwritten"
            )));
        }
        Err(error) => return Err(because(format!("cannot make {shown}"))(error)),
    };
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a key is worse than none. If this fails too, the first error says why.
        let _ = std::fs::remove_file(path);
        because(format!("cannot write {shown}"))(error)
    })
}

/// Reads a file, if others may not.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let cannot_read = || because(format!("cannot read {shown}"));
    let file = File::open(path).map_err(cannot_read())?;
    let metadata = file.metadata().map_err(cannot_read())?;
    if !metadata.is_file() {
        return Err(Failure::failed(format!("{shown} is not a file")));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::failed(format!(
            "{shown} may be read or written by others (mode {mode:04o}); chmod 600 it"
        )));
    }
    let mut content = Vec::new();
    file.take(BYTES_MAX)
        .read_to_end(&mut content)
        .map_err(cannot_read())?;
    Ok(content)
}
