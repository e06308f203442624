// SPDX-License-Identifier: GPL-2.0-only
//! A tree that a kernel was built in, with what its sources tell: found out once, and handed on.

use std::path::{Path, PathBuf};

use crate::kernel::tree::era::Kbuild;
use crate::kernel::tree::source_if_known;

/// The object tree of a kernel, or its headers, and what is known of the sources that it was built from.
#[derive(Debug, Clone)]
pub struct BuiltTree {
    /// The object tree.
    pub objtree: PathBuf,
    /// The source tree, if that can be told.
    pub srctree: Option<PathBuf>,
    /// The kbuild of the source tree; none where its makefiles cannot be read.
    pub kbuild: Option<Kbuild>,
}

impl BuiltTree {
    /// Looks at the tree in `objtree`, of which nothing is known yet.
    pub fn at(objtree: &Path) -> BuiltTree {
        let srctree = source_if_known(objtree);
        BuiltTree {
            kbuild: srctree.as_deref().and_then(|srctree| Kbuild::detect(srctree).ok()),
            objtree: objtree.to_path_buf(),
            srctree,
        }
    }

    /// The tree in `objtree`, built from `srctree`, whose kbuild is known already.
    pub fn known(srctree: &Path, objtree: &Path, kbuild: &Kbuild) -> BuiltTree {
        BuiltTree {
            objtree: objtree.to_path_buf(),
            srctree: Some(srctree.to_path_buf()),
            kbuild: Some(kbuild.clone()),
        }
    }
}
