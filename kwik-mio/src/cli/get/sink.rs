//! Where the content of a file goes.
//!
//! Owns the hash of what went there, and the rule that a file appears under its name only when it is
//! whole. Never sees a server.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::watch::Watch;
use crate::cli::failure::{Exit, Failure, because};
use crate::file::Hash;

/// Hashed and written at once, bytes. Chunks as they come are too small for either.
const BLOCK_BYTES: usize = 256 << 10;

/// Takes the content of one file.
pub(super) struct Sink {
    out: Out,
    block: Vec<u8>,
    hasher: blake3::Hasher,
}

enum Out {
    Stdout(File),
    File {
        scratch: NamedTempFile,
        name: PathBuf,
    },
}

impl Sink {
    /// A sink for a file of this name; `-` is stdout. `watch` knows what to remove if the process
    /// has to end at once.
    pub(super) fn new(name: &Path, watch: &Watch) -> Result<Self, Failure> {
        let out = if name.as_os_str() == "-" {
            let stdout = std::io::stdout().as_fd().try_clone_to_owned();
            Out::Stdout(stdout.map_err(because("cannot write to stdout"))?.into())
        } else {
            let scratch = scratch_for(name)?;
            watch.on_scratch(Some(scratch.path()));
            Out::File {
                scratch,
                name: name.to_owned(),
            }
        };
        Ok(Self {
            out,
            block: Vec::with_capacity(BLOCK_BYTES),
            hasher: blake3::Hasher::new(),
        })
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.block.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.hasher.update(&self.block);
        let (written, name) = match &mut self.out {
            Out::Stdout(stdout) => (stdout.write_all(&self.block), "stdout".into()),
            Out::File { scratch, name } => (
                scratch.as_file_mut().write_all(&self.block),
                name.display().to_string(),
            ),
        };
        self.block.clear();
        match (written, &self.out) {
            (Err(error), Out::Stdout(_)) if error.kind() == ErrorKind::BrokenPipe => {
                Err(Failure::quiet(Exit::Failed))
            }
            (Err(error), _) => Err(because(format!("cannot write {name}"))(error)),
            (Ok(()), _) => Ok(()),
        }
    }

    /// Everything was written: its hash.
    pub(super) fn finish(&mut self) -> Result<Hash, Failure> {
        self.flush()?;
        Ok(self.hasher.finalize().into())
    }

    /// What was written is what it should be: gives the file its name.
    pub(super) fn publish(self) -> Result<(), Failure> {
        let Out::File { scratch, name } = self.out else {
            return Ok(());
        };
        let cannot_write = || because(format!("cannot write {}", name.display()));
        scratch.as_file().sync_all().map_err(cannot_write())?;
        scratch
            .persist(&name)
            .map_err(|error| cannot_write()(error.error))?;
        // The name is on the disk when its folder is. Not every file system can say so.
        let _ = File::open(folder_of(&name)).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

fn folder_of(name: &Path) -> &Path {
    match name.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

/// A file of a random name where one of this name may be put later.
fn scratch_for(name: &Path) -> Result<NamedTempFile, Failure> {
    let shown = name.display();
    if name.file_name().is_none() {
        return Err(Failure::failed(format!(
            "{shown} is not the name of a file"
        )));
    }
    // Renaming would put a file in the place of a folder, a pipe or a device.
    if name.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(Failure::failed(format!(
            "{shown} exists and is not a regular file"
        )));
    }
    tempfile::Builder::new()
        .prefix(".kwik-")
        .rand_bytes(12)
        // As for any new file: the umask takes its part.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder_of(name))
        .map_err(because(format!("cannot write {shown}")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn sink(name: &Path) -> Result<Sink, Failure> {
        Sink::new(name, &Watch::default())
    }

    #[test]
    fn a_file_appears_when_it_is_published_and_replaces_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("a");
        fs::write(&name, "old").unwrap();
        let content: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut sink = sink(&name).unwrap();
        for chunk in content.chunks(70_001) {
            sink.write(chunk).unwrap();
        }
        assert_eq!(sink.finish().unwrap(), *blake3::hash(&content).as_bytes());
        assert_eq!(fs::read(&name).unwrap(), b"old");
        sink.publish().unwrap();
        assert!(fs::read(&name).unwrap() == content);
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn nothing_stays_of_a_file_that_is_not_published() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(&dir.path().join("a")).unwrap();
        sink.write(b"content").unwrap();
        sink.finish().unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(sink);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_watcher_can_remove_what_would_stay() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::default();
        let _sink = Sink::new(&dir.path().join("a"), &watch).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        watch.clean_up();
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_file_is_as_readable_as_any_other_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            dir.path()
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode()
        };
        fs::write(dir.path().join("other"), "").unwrap();
        sink(&dir.path().join("a")).unwrap().publish().unwrap();
        assert_eq!(mode("a"), mode("other"));
    }

    #[test]
    fn what_is_not_a_place_for_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        for name in [
            folder,
            dir.path().join("missing/a"),
            "/dev/null".into(),
            "..".into(),
        ] {
            let failure = sink(&name).err().expect("it is refused");
            assert_eq!(failure.exit, Exit::Failed, "{}", name.display());
        }
    }
}
