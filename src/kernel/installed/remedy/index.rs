// SPDX-License-Identifier: GPL-2.0-only
//! The packages in the machine's package index, so that no message names a package that cannot be had. Only apt's
//! index can be searched without a connection and without a wait.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fs_err as fs;

use crate::host::program::{self, Program};
use crate::kernel::installed::places::Places;

/// The index of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageIndex {
    /// There is no index that can be searched: any package may exist.
    Unknown,
    /// The index was never fetched, or was thrown away, as in containers.
    Empty,
    /// apt's: the names of its packages.
    Apt(Arc<HashSet<String>>),
}

impl PackageIndex {
    /// The index of the system at `places`.
    pub fn of(places: &Places) -> PackageIndex {
        let lists = places.apt_lists();
        if program::find("apt-cache").is_none() || !lists.is_dir() {
            return PackageIndex::Unknown;
        }
        let names = fs::read_dir(&lists).into_iter().flatten().flatten();
        let is_list = |name: String| name.contains("_Packages") || name.ends_with("_Release");
        if !names.map(|entry| entry.file_name().to_string_lossy().into_owned()).any(is_list) {
            return PackageIndex::Empty;
        }
        match known_names(places.root()) {
            Some(names) => PackageIndex::Apt(names),
            None => PackageIndex::Unknown,
        }
    }

    /// Whether the index may have a package of this name: false only if it certainly lacks it.
    pub fn has(&self, package: &str) -> bool {
        match self {
            PackageIndex::Apt(names) => names.contains(package),
            PackageIndex::Unknown | PackageIndex::Empty => true,
        }
    }
}

/// The names of all packages. apt-cache is run once for all of them: any question takes it half a second.
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
