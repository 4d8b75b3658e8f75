//! The directory that is served, and the files in it.
//!
//! Owns the question whether a path that a peer names may be opened. Never sees a peer.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::cli::failure::{Failure, because};
use crate::file::{FilePath, Refusal};

/// A directory whose regular files are served.
pub(super) struct Root {
    /// Absolute and without symbolic links.
    folder: PathBuf,
}

/// A file that was opened below a root.
#[derive(Debug)]
pub(super) struct ServedFile {
    file: File,
    stamp: Stamp,
}

/// Tells one state of a file from another, as far as the file system does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl Root {
    /// The directory, if it can be read.
    pub(super) fn new(folder: &Path) -> Result<Self, Failure> {
        let cannot_serve = || because(format!("cannot serve {}", folder.display()));
        let folder = folder.canonicalize().map_err(cannot_serve())?;
        std::fs::read_dir(&folder).map_err(cannot_serve())?;
        Ok(Self { folder })
    }

    /// Opens a regular file below the root [FILE-1].
    ///
    /// What the path leads to is looked up before and after the file is opened: a symbolic link that
    /// is put in its way meanwhile changes what was opened or where it lies, and either is noticed.
    pub(super) fn open(&self, path: &FilePath) -> Result<ServedFile, Refusal> {
        let path = self.folder.join(relative(path.as_str())?);
        let place = self.resolve(&path)?;
        let before = std::fs::symlink_metadata(&place).map_err(|error| refusal(&error))?;
        if !before.is_file() {
            return Err(Refusal::NotAFile);
        }
        let file = OpenOptions::new()
            .read(true)
            // Neither follows a link that came to be there, nor waits for the other end of a pipe.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&place)
            .map_err(|error| refusal(&error))?;
        let metadata = file.metadata().map_err(|error| refusal(&error))?;
        let stamp = Stamp::of(&metadata);
        if !metadata.is_file() {
            return Err(Refusal::NotAFile);
        }
        let place = self.resolve(&path)?;
        let after = std::fs::symlink_metadata(&place).map_err(|error| refusal(&error))?;
        if !stamp.is_same_file(&Stamp::of(&after)) {
            return Err(Refusal::OutsideRoot);
        }
        Ok(ServedFile { file, stamp })
    }

    /// Where a path leads once every symbolic link is followed.
    fn resolve(&self, path: &Path) -> Result<PathBuf, Refusal> {
        let place = path.canonicalize().map_err(|error| refusal(&error))?;
        if !place.starts_with(&self.folder) {
            return Err(Refusal::OutsideRoot);
        }
        Ok(place)
    }
}

/// A path without parts that lead elsewhere than down.
fn relative(path: &str) -> Result<&Path, Refusal> {
    if path.is_empty() || path.contains('\0') {
        return Err(Refusal::BadRequest);
    }
    let mut parts = path.split('/');
    if path.starts_with('/') || parts.clone().any(|part| part == "..") {
        return Err(Refusal::OutsideRoot);
    }
    if parts.any(|part| part.is_empty() || part == ".") {
        return Err(Refusal::BadRequest);
    }
    Ok(Path::new(path))
}

/// What a peer is told of a failure: less than we know.
fn refusal(error: &io::Error) -> Refusal {
    let is_missing = matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
    );
    if is_missing {
        Refusal::NotFound
    } else {
        Refusal::Unreadable
    }
}

impl ServedFile {
    /// Its size when it was opened.
    pub(super) fn size(&self) -> u64 {
        self.stamp.size
    }

    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether it is no longer as it was when it was opened: other bytes in one place would be
    /// worth nothing [OVL-1].
    pub(super) fn has_changed(&self) -> bool {
        match self.file.metadata() {
            Ok(metadata) => Stamp::of(&metadata) != self.stamp,
            Err(_) => true,
        }
    }

    /// Exactly `len` bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; len];
        self.file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
    }

    /// Some bytes from `offset` on; none at the end of the file.
    pub(super) fn read_into(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A root with a file, a folder and symbolic links, and a secret beside it.
    fn site() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("a b"), "content").unwrap();
        fs::write(root.join("sub/c"), "").unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::create_dir(dir.path().join("root2")).unwrap();
        fs::write(dir.path().join("root2/x"), "secret").unwrap();
        symlink("a b", root.join("inside")).unwrap();
        symlink("../secret", root.join("outside")).unwrap();
        symlink(dir.path(), root.join("up")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let root = Root::new(&root).unwrap();
        (dir, root)
    }

    fn open(root: &Root, path: &str) -> Result<ServedFile, Refusal> {
        let path = FilePath::new(path).map_err(|_| Refusal::BadRequest)?;
        root.open(&path)
    }

    #[test]
    fn regular_files_below_the_root_are_opened() {
        let (_dir, root) = site();
        for (path, size) in [("a b", 7), ("sub/c", 0), ("inside", 7)] {
            let file = open(&root, path).unwrap();
            assert_eq!(file.size(), size, "{path}");
            assert!(!file.has_changed());
        }
        let file = open(&root, "a b").unwrap();
        assert_eq!(file.read(3, 4).unwrap(), "tent");
        assert!(file.read(4, 4).is_err());
    }

    /// [FILE-1]
    #[test]
    fn nothing_else_is() {
        let (dir, root) = site();
        let absolute = dir.path().join("root/a b").display().to_string();
        for (path, reason) in [
            ("nothing", Refusal::NotFound),
            ("a b/c", Refusal::NotFound),
            ("dangling", Refusal::NotFound),
            ("sub", Refusal::NotAFile),
            ("..", Refusal::OutsideRoot),
            ("../secret", Refusal::OutsideRoot),
            ("sub/../a b", Refusal::OutsideRoot),
            ("sub/../../secret", Refusal::OutsideRoot),
            (&absolute, Refusal::OutsideRoot),
            ("/etc/passwd", Refusal::OutsideRoot),
            ("outside", Refusal::OutsideRoot),
            ("up/secret", Refusal::OutsideRoot),
            ("up/root2/x", Refusal::OutsideRoot),
            ("loop", Refusal::Unreadable),
            ("", Refusal::BadRequest),
            (".", Refusal::BadRequest),
            ("./a b", Refusal::BadRequest),
            ("sub//c", Refusal::BadRequest),
            ("sub/", Refusal::BadRequest),
            ("a b\0", Refusal::BadRequest),
            (&"x".repeat(300), Refusal::NotFound),
        ] {
            assert_eq!(open(&root, path).expect_err(path), reason, "{path}");
        }
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let (dir, root) = site();
        let pipe = dir.path().join("root/pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert_eq!(open(&root, "pipe").expect_err("a pipe"), Refusal::NotAFile);
    }

    #[test]
    fn a_file_that_is_written_to_has_changed() {
        let (dir, root) = site();
        let file = open(&root, "a b").unwrap();
        fs::write(dir.path().join("root/a b"), "longer content").unwrap();
        assert!(file.has_changed());
        assert_ne!(open(&root, "a b").unwrap().stamp(), file.stamp());
    }

    #[test]
    fn a_root_that_is_not_a_directory_is_no_root() {
        let (dir, _) = site();
        assert!(Root::new(&dir.path().join("secret")).is_err());
        assert!(Root::new(&dir.path().join("nothing")).is_err());
    }
}
