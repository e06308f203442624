// SPDX-License-Identifier: GPL-2.0-only
//! Hashes of contents that have to stay the same; the only place that names sha2.

use sha2::{Digest as _, Sha256};

use crate::host::words;

/// The SHA-256 of all parts, each with its length before it, in hexadecimal.
pub fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    words::hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let hash = |parts: &[&str]| sha256(parts.iter().map(|part| part.as_bytes()));
        // printf '\001\0\0\0\0\0\0\0a' | sha256sum
        assert_eq!(hash(&["a"]), "ae6121c88ba555f64c3d812123eb799d128015541f850c5e9bf1d54c08ad8481");
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_eq!(hash(&[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
