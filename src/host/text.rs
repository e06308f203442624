// SPDX-License-Identifier: GPL-2.0-only
//! Text files that other programs have written, up to a size that none of them has: a link to a device has no end.

use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

use fs_err::File;

/// The largest text that is read, in bytes. Module.symvers and modules.dep of a distribution's kernel have 2 MiB.
const LIMIT: u64 = 64 << 20;
/// The largest list of symbols that is read, in bytes. A distribution's kernel has one of 40 MiB.
const LIMIT_OF_LIST: u64 = 1 << 30;

/// The text in the file at `path`.
///
/// # Errors
/// It cannot be read, is no UTF-8, or has more than 64 MiB; the message names it.
pub fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let text = String::from_utf8(bytes(path)?);
    text.map_err(|_| Error::new(ErrorKind::InvalidData, format!("{} is no UTF-8", path.display())))
}

/// The bytes of the text file at `path`.
///
/// # Errors
/// It cannot be read, or has more than 64 MiB; the message names it.
pub fn bytes(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    up_to(path.as_ref(), LIMIT)
}

/// The bytes of the list of symbols at `path`.
///
/// # Errors
/// It cannot be read, or has more than 1 GiB; the message names it.
pub fn list(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    up_to(path.as_ref(), LIMIT_OF_LIST)
}

fn up_to(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = file.metadata().map_or(0, |meta| meta.len().min(limit));
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let what = format!("{} has more than {} MiB", path.display(), limit >> 20);
        return Err(Error::new(ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("some"), "one\n").unwrap();
        assert_eq!(read(at("some")).unwrap(), "one\n");
        assert_eq!(read(at("none")).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::write(at("odd"), b"\xff").unwrap();
        assert!(read(at("odd")).unwrap_err().to_string().contains("odd is no UTF-8"));
        std::os::unix::fs::symlink("/dev/zero", at("endless")).unwrap();
        let error = read(at("endless")).unwrap_err().to_string();
        assert!(error.ends_with("endless has more than 64 MiB"), "{error}");
        std::fs::File::create(at("large")).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(bytes(at("large")).is_err());
        assert_eq!(list(at("large")).unwrap().len() as u64, LIMIT + 1);
    }
}
