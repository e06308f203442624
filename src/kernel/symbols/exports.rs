// SPDX-License-Identifier: GPL-2.0-only
//! Module.symvers: which object exports a symbol.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::host::text;
use crate::kernel::symbols::modules::Module;

/// The message that exports cannot be known because the kernel's Module.symvers is missing; `place` says where it was
/// looked for, as in `in ../obj`. A modpost that fails removes the file.
pub fn not_known(place: &str) -> String {
    format!("there is no Module.symvers {place}: what is exported is not known; build the modules first")
}

/// The exported symbols, each with the run-time name of the object that exports it.
#[derive(Debug, Default)]
pub struct Exports {
    owners: HashMap<Vec<u8>, String>,
    namespaces: HashMap<Vec<u8>, String>,
}

impl Exports {
    /// Reads a Module.symvers of any era (`write_dump` in scripts/mod/modpost.c): columns separated by tabs,
    /// the CRC, the symbol, the object as a path without suffix, the kind of export; the namespace is
    /// missing (up to 5.3), third (5.4 and 5.5), or last.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it has other columns.
    pub fn read(path: &Path) -> Result<Exports> {
        let mut exports = Exports::default();
        exports.add(path)?;
        Ok(exports)
    }

    /// Adds the exports of another file; if two objects export a symbol, the last one counts.
    ///
    /// # Errors
    /// The errors of [`Exports::read`].
    pub fn add(&mut self, path: &Path) -> Result<()> {
        let text =
            text::bytes(path).context("the exported symbols are not known: build the modules first")?;
        for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let columns: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
            let kind = columns.iter().position(|column| column.starts_with(b"EXPORT_"));
            let object = match (kind, columns.len()) {
                (Some(kind @ 3..=4), _) => columns.get(kind - 1),
                // "(unknown)" of a symbol whose kind modpost does not know.
                (None, 4..) => columns.get(2),
                _ => None,
            };
            let entry =
                columns.get(1).zip(object).filter(|(name, object)| !name.is_empty() && !object.is_empty());
            ensure!(
                entry.is_some() && columns.first().is_some_and(|crc| crc.starts_with(b"0x")),
                "{}:{}: {:?}: not a line of Module.symvers (CRC, symbol, module, export type)",
                path.display(),
                number + 1,
                String::from_utf8_lossy(line)
            );
            if let Some((name, object)) = entry {
                let module = Module { stem: String::from_utf8_lossy(object).into_owned() };
                self.owners.insert(name.to_vec(), module.name());
                let namespace = match kind {
                    Some(3) => columns.get(4),
                    Some(4) => columns.get(2),
                    _ => None,
                };
                if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
                    self.namespaces.insert(name.to_vec(), String::from_utf8_lossy(namespace).into_owned());
                }
            }
        }
        Ok(())
    }

    /// The run-time name of the object that exports `name`.
    pub fn owner(&self, name: &[u8]) -> Option<&str> {
        self.owners.get(name).map(String::as_str)
    }

    /// The names of the symbols that `object` exports.
    pub fn of<'a>(&'a self, object: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.owners.iter().filter(move |(_, owner)| *owner == object).map(|(name, _)| name.as_slice())
    }

    /// The namespace that `name` is exported to, which its users have to import.
    pub fn namespace(&self, name: &[u8]) -> Option<&str> {
        self.namespaces.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    fn read(text: &str) -> Result<Exports> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Module.symvers");
        fs::write(&path, text).unwrap();
        Exports::read(&path)
    }

    #[test]
    fn columns_of_all_eras() {
        let exports = read(concat!(
            "0x12345678\told\tvmlinux\tEXPORT_SYMBOL\n",
            "0x12345678\tthird\tUSB_STORAGE\tdrivers/usb/storage/usb-storage\tEXPORT_SYMBOL_GPL\n",
            "0x00000000\tlast\tfs/fat/fat\tEXPORT_SYMBOL_GPL\tNS\n",
            "0x00000000\tnone\tvmlinux\tEXPORT_SYMBOL_GPL\t\n",
            "0x00000000\tthird_none\t\tlib/a,b\tEXPORT_SYMBOL\n",
            "0x00000000\todd\tlib/c\t(unknown)\t\n",
        ))
        .unwrap();
        for (name, owner) in [
            ("old", "vmlinux"),
            ("third", "usb_storage"),
            ("last", "fat"),
            ("none", "vmlinux"),
            ("third_none", "a_b"),
            ("odd", "c"),
        ] {
            assert_eq!(exports.owner(name.as_bytes()), Some(owner), "{name}");
        }
        assert_eq!(exports.owner(b"nowhere"), None);
        for (name, namespace) in
            [("third", Some("USB_STORAGE")), ("last", Some("NS")), ("none", None), ("old", None)]
        {
            assert_eq!(exports.namespace(name.as_bytes()), namespace, "{name}");
        }
    }

    #[test]
    fn another_files_line_is_named() {
        let error = read("0x0\ta\tvmlinux\tEXPORT_SYMBOL\nhello\n").unwrap_err().to_string();
        assert!(error.contains("Module.symvers:2: \"hello\""), "{error}");
    }
}
