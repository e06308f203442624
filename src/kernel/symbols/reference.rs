// SPDX-License-Identifier: GPL-2.0-only
//! A list beside external modules that has only the names of these modules, and refers to the list of their kernel's
//! symbols, wherever that is kept: 30 MB of a distribution's kernel need not lie in each directory.
//!
//! Its first line differs from that of a whole list ([`crate::kernel::symbols::map::FORMAT`]): a program that does
//! not know this format has to refuse it, rather than miss the kernel's names. The second line has the length, the
//! hash and the path of the other list; the modules follow.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err::File;
use std::io::Read as _;

use crate::kernel::symbols::seal::Seal;

/// The first line.
const FORMAT: &[u8] = b"klpbuild-symbols-beyond 1\n";
/// The most bytes that are read for the first two lines: paths have at most 4096 bytes.
const LONGEST: u64 = 8192;

/// What a list beside external modules says of the kernel's list.
#[derive(Debug, PartialEq, Eq)]
pub struct ListReference {
    /// The kernel's list.
    pub list: PathBuf,
    /// Its length and hash, as [`Seal`] shows them.
    seal: String,
    /// Where the modules' part begins in the list that refers to it.
    pub end: u64,
}

/// The beginning of a list that refers to `list`; none if its path cannot stand in a line.
pub fn beginning(list: &Path, seal: &Seal) -> Option<Vec<u8>> {
    let path = list.as_os_str().as_bytes();
    let is_plain = list.is_absolute() && !path.contains(&b'\n') && path.len() < 4096;
    is_plain.then(|| [FORMAT, format!("{seal} ").as_bytes(), path, b"\n"].concat())
}

impl ListReference {
    /// The reference in the list at `path`; none if the list is a whole one, or there is no list.
    ///
    /// # Errors
    /// The file cannot be read, or its second line is damaged.
    pub fn read(path: &Path) -> Result<Option<ListReference>> {
        let mut text = Vec::new();
        File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
        let Some(rest) = text.strip_prefix(FORMAT) else { return Ok(None) };
        let line = rest.split(|&byte| byte == b'\n').next().filter(|line| line.len() < rest.len());
        let reference = line.and_then(|line| {
            let mut words = line.splitn(3, |&byte| byte == b' ');
            let (length, hash, list) = (words.next()?, words.next()?, words.next()?);
            let seal = format!("{} {}", std::str::from_utf8(length).ok()?, std::str::from_utf8(hash).ok()?);
            let list = Path::new(std::ffi::OsStr::from_bytes(list)).to_path_buf();
            let end = (FORMAT.len() + line.len() + 1) as u64;
            list.is_absolute().then_some(ListReference { list, seal, end })
        });
        let reference = reference.with_context(|| format!("{}: it is cut short: {BUILD}", path.display()))?;
        Ok(Some(reference))
    }

    /// Why the kernel's list cannot be believed: it is gone or altered.
    pub fn doubt(&self) -> Option<String> {
        let list = self.list.display();
        if !self.list.is_file() {
            return Some(format!("names {list}, which is gone"));
        }
        let is_same = Seal::of_file(&self.list).is_ok_and(|now| now.to_string() == self.seal);
        (!is_same).then(|| format!("names {list}, which has changed since"))
    }

    /// Makes sure that the kernel's list, to which the list at `path` refers, is the one that was meant.
    ///
    /// # Errors
    /// It is gone or altered.
    pub fn expect(&self, path: &Path) -> Result<()> {
        let doubt = self.doubt();
        ensure!(doubt.is_none(), "{} {}: {BUILD}", path.display(), doubt.unwrap_or_default());
        Ok(())
    }
}

/// What to do if a list does not say to which other list it refers.
const BUILD: &str = "build there again (klpbuild modules)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_referred_to_is_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, own) = (dir.path().join("whole list"), dir.path().join("own"));
        std::fs::write(&whole, "one\n").unwrap();
        assert_eq!(ListReference::read(&whole).unwrap(), None);
        let text = beginning(&whole, &Seal::of_file(&whole).unwrap()).unwrap();
        std::fs::write(&own, [&text[..], b"*m\nname\n"].concat()).unwrap();
        let reference = ListReference::read(&own).unwrap().unwrap();
        assert_eq!((reference.list.as_path(), reference.end), (whole.as_path(), text.len() as u64));
        assert_eq!(reference.doubt(), None);
        std::fs::write(&whole, "two\n").unwrap();
        let error = reference.expect(&own).unwrap_err().to_string();
        let end = "whole list, which has changed since: build there again (klpbuild modules)";
        assert!(error.starts_with(&format!("{} names ", own.display())) && error.ends_with(end), "{error}");
        std::fs::remove_file(&whole).unwrap();
        assert!(reference.doubt().unwrap().ends_with("whole list, which is gone"));
        std::fs::write(&own, &text[..text.len() - 1]).unwrap();
        assert!(ListReference::read(&own).unwrap_err().to_string().contains("own: it is cut short"));
        assert_eq!(beginning(Path::new("/a\nb"), &Seal::of_parts(&[""])), None);
    }
}
