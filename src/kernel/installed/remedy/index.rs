// SPDX-License-Identifier: GPL-2.0-only
//! What the package index of the machine has, so that no package is named that cannot be had. Only apt's can be asked
//! without a connection and without a wait.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

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
    /// apt's: the names of its packages.
    Apt(Arc<HashSet<String>>),
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
        match known_names(places.root()) {
            Some(names) => Index::Apt(names),
            None => Index::Unknown,
        }
    }

    /// Whether it has a package of this name; only a package that it certainly lacks is not there.
    pub fn has(&self, package: &str) -> bool {
        match self {
            Index::Apt(names) => names.contains(package),
            Index::Unknown | Index::Empty => true,
        }
    }
}

/// The names of all packages, which apt-cache is asked for once: it takes half a second for any question.
fn known_names(root: &Path) -> Option<Arc<HashSet<String>>> {
    static KNOWN: Mutex<BTreeMap<PathBuf, Option<Arc<HashSet<String>>>>> = Mutex::new(BTreeMap::new());
    let ask = || {
        let mut command = Program::new("apt-cache", Path::new("/"), "is apt installed?");
        let elsewhere = (root != Path::new("/")).then(|| format!("-oRootDir={}", root.display()));
        command.args(elsewhere).args(["pkgnames"]);
        let said = command.capture("").ok().filter(|said| said.success)?;
        Some(Arc::new(String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect()))
    };
    let mut known = KNOWN.lock().ok()?;
    known.entry(root.to_path_buf()).or_insert_with(ask).clone()
}
