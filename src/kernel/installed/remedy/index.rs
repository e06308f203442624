// SPDX-License-Identifier: GPL-2.0-only
//! What the package index of the machine has, so that no package is named that cannot be had. Only apt's can be asked
//! without a connection and without a wait.

use std::path::Path;

use fs_err as fs;

use crate::host::program::{self, Program};
use crate::kernel::installed::places::Places;

/// The index of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Index {
    /// There is none that can be asked: any package may be there.
    Unknown,
    /// It was never fetched, or thrown away, as in containers.
    Empty,
    /// apt's, with words for apt-cache.
    Apt(Vec<String>),
}

impl Index {
    /// That of the system at `places`.
    pub fn of(places: &Places) -> Index {
        let lists = places.apt_lists();
        if program::find("apt-cache").is_none() || !lists.is_dir() {
            return Index::Unknown;
        }
        let names = fs::read_dir(&lists).into_iter().flatten().flatten();
        let is_list = |name: String| name.contains("_Packages") || name.ends_with("_Release");
        if !names.map(|entry| entry.file_name().to_string_lossy().into_owned()).any(is_list) {
            return Index::Empty;
        }
        let root = places.root();
        let words =
            if root == Path::new("/") { vec![] } else { vec![format!("-oRootDir={}", root.display())] };
        Index::Apt(words)
    }

    /// Whether it has a package of this name; only a package that it certainly lacks is not there.
    pub fn has(&self, package: &str) -> bool {
        let Index::Apt(words) = self else { return true };
        let mut command = Program::new("apt-cache", Path::new("/"), "is apt installed?");
        command.args(words.clone()).args(["show", "--no-all-versions", package]);
        command.capture("").map_or(true, |shown| shown.success && !shown.stdout.is_empty())
    }
}
