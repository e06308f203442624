// SPDX-License-Identifier: GPL-2.0-only
//! The series of `kbuild-patches`, which are a part of this program.

use crate::kernel::tree::era::Era;

/// The patches for kernels of one kind.
#[derive(Debug)]
pub struct Series {
    /// The name of its folder.
    pub name: &'static str,
    /// Which kernels it is for.
    pub range: &'static str,
    /// How these kernels build modules.
    pub era: Era,
    /// The patches with their file names, as `git am` takes them.
    pub patches: [(&'static str, &'static str); 5],
}

macro_rules! series {
    ($name:literal, $range:literal, $era:ident) => {
        Series {
            name: $name,
            range: $range,
            era: Era::$era,
            patches: series!(
                $name,
                "0001-livepatch-add-KLP_CONVERT-and-build-built-in-objects-for-it.patch",
                "0002-kbuild-mark-livepatches-with-LIVEPATCH_-name-.o.patch",
                "0003-kbuild-make-Symbols.list-and-convert-livepatches.patch",
                "0004-kbuild-add-klpclean.patch",
                "0005-Documentation-dontdiff-leave-out-what-klpbuild-makes.patch"
            ),
        }
    };
    ($name:literal, $($file:literal),+) => {
        [$(($file, include_str!(concat!("../../../kbuild-patches/", $name, "/", $file)))),+]
    };
}

/// All series, the newest kernels' first.
pub const ALL: [Series; 6] = [
    series!("from-6.19", "6.19 and later", ModpostFirst),
    series!("from-6.1", "6.1 to 6.18", ModpostFirst),
    series!("from-5.19", "5.19 to 6.0", ModulesOrder),
    series!("from-5.8", "5.8 to 5.18", ModulesOrder),
    series!("from-5.3", "5.3 to 5.7", ModulesOrder),
    series!("up-to-5.2", "up to 5.2", ModverDir),
];
