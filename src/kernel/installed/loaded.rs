// SPDX-License-Identifier: GPL-2.0-only
//! The livepatches that are loaded on this machine, and the functions that they replace, as `/sys/kernel/livepatch`
//! shows them (Documentation/ABI/testing/sysfs-kernel-livepatch).

use fs_err as fs;

use crate::kernel::installed::places::Places;

/// A function that a loaded livepatch replaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadedReplacement {
    /// The livepatch.
    pub livepatch: String,
    /// The object that has the function.
    pub object: String,
    /// The function's name.
    pub name: String,
    /// Its position among those of its name, from 1 on.
    pub position: u64,
}

/// The functions that loaded and enabled livepatches replace.
pub fn replaced(places: &Places) -> Vec<LoadedReplacement> {
    const ROOT: &str = "sys/kernel/livepatch";
    let mut all = Vec::new();
    for livepatch in places.names(ROOT) {
        let enabled = places.at(&format!("{ROOT}/{livepatch}/enabled"));
        if fs::read_to_string(enabled).is_ok_and(|text| text.trim() == "0") {
            continue;
        }
        for object in places.names(&format!("{ROOT}/{livepatch}")) {
            let functions = places.names(&format!("{ROOT}/{livepatch}/{object}"));
            all.extend(functions.into_iter().filter_map(|function| {
                let (name, position) = function.rsplit_once(',')?;
                let (livepatch, object, name) = (livepatch.clone(), object.clone(), name.to_owned());
                Some(LoadedReplacement { livepatch, object, name, position: position.parse().ok()? })
            }));
        }
    }
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_enabled_counts() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("sys/kernel/livepatch");
        for (path, enabled) in
            [("one/vmlinux/f,2", "1"), ("one/vfat/g.isra.0,1", "1"), ("two/vmlinux/h,1", "0")]
        {
            fs::create_dir_all(at.join(path)).unwrap();
            let livepatch = path.split('/').next().unwrap();
            fs::write(at.join(livepatch).join("enabled"), format!("{enabled}\n")).unwrap();
        }
        let found = replaced(&Places::below(Some(root.path())));
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.livepatch.as_str(), one.object.as_str(), one.name.as_str(), one.position))
            .collect();
        assert_eq!(found, [("one", "vfat", "g.isra.0", 1), ("one", "vmlinux", "f", 2)]);
        assert!(replaced(&Places::below(Some(&root.path().join("none")))).is_empty());
    }
}
