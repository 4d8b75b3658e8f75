//! The file of the demo.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::cli::failure::{Failure, because};

const BLOCK_BYTES: usize = 1 << 20;

/// Makes a file of bytes without a pattern, always the same.
pub(super) fn generate(path: &Path, size: u64) -> Result<(), Failure> {
    let mut stream = blake3::Hasher::new().finalize_xof().take(size);
    let mut file = File::create(path).map_err(because("cannot make the file"))?;
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let len = stream
            .read(&mut block)
            .map_err(because("cannot make the file"))?;
        if len == 0 {
            return file.flush().map_err(because("cannot make the file"));
        }
        let part = block.get(..len).unwrap_or_default();
        file.write_all(part)
            .map_err(because("cannot make the file"))?;
    }
}

/// Gives a file a second name, or makes a copy where that is not possible.
pub(super) fn borrow(from: &Path, to: &Path) -> Result<(), Failure> {
    let cannot_use = || because(format!("cannot use {}", from.display()));
    let from = from.canonicalize().map_err(cannot_use())?;
    std::fs::hard_link(&from, to)
        .or_else(|_| std::fs::copy(&from, to).map(drop))
        .map_err(cannot_use())
}

/// Whether two files have the same bytes.
pub(super) fn is_same(left: &Path, right: &Path) -> std::io::Result<bool> {
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    let (mut left_block, mut right_block) = (Vec::new(), Vec::new());
    loop {
        read_block(&mut left, &mut left_block)?;
        read_block(&mut right, &mut right_block)?;
        if left_block != right_block {
            return Ok(false);
        }
        if left_block.is_empty() {
            return Ok(true);
        }
    }
}

fn read_block(file: &mut File, block: &mut Vec<u8>) -> std::io::Result<()> {
    block.clear();
    file.take(BLOCK_BYTES as u64).read_to_end(block)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_only_if_every_byte_is() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
        generate(&a, 3_000_001).unwrap();
        assert_eq!(a.metadata().unwrap().len(), 3_000_001);
        borrow(&a, &b).unwrap();
        assert!(is_same(&a, &b).unwrap());
        let mut other = std::fs::read(&a).unwrap();
        other[3_000_000] ^= 1;
        std::fs::write(&c, &other).unwrap();
        assert!(!is_same(&a, &c).unwrap());
        std::fs::write(&c, &other[..3_000_000]).unwrap();
        assert!(!is_same(&a, &c).unwrap());
    }
}
