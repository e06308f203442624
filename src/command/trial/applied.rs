// SPDX-License-Identifier: GPL-2.0-only
//! Which objects the livepatches patched. If the module of a klp_object is never loaded, the klp_object has no
//! effect, and the kernel does not report that.

use std::collections::BTreeSet;

use crate::command::trial::module::ModuleFile;

/// Objects that livepatches name, and whether they were patched at any time.
#[derive(Debug, Default)]
pub struct AppliedObjects {
    patched: BTreeSet<(String, String)>,
    absent: BTreeSet<(String, String)>,
}

impl AppliedObjects {
    /// Notes the guest's line about an object.
    pub fn take(&mut self, livepatch: String, object: String, is_patched: bool) {
        let pair = (livepatch, object);
        if is_patched {
            self.absent.remove(&pair);
            self.patched.insert(pair);
        } else if !self.patched.contains(&pair) {
            self.absent.insert(pair);
        }
    }

    /// The objects of a livepatch that were never loaded.
    pub fn absent(&self, livepatch: &ModuleFile) -> Vec<&str> {
        of(&self.absent, livepatch)
    }

    /// The objects of a livepatch that were patched.
    pub fn patched(&self, livepatch: &ModuleFile) -> Vec<&str> {
        of(&self.patched, livepatch)
    }

    /// Why a trial of these livepatches proves nothing, if one of them never patched anything.
    pub fn why_nothing(&self, livepatches: &[ModuleFile]) -> Option<String> {
        let livepatch = livepatches.iter().find(|livepatch| self.patched(livepatch).is_empty())?;
        let file = &livepatch.file;
        Some(match self.absent(livepatch)[..] {
            [] => format!("{file} names no object that it patches: nothing of it was applied"),
            [object] => format!(
                "{file} patches {object}, which was never there: nothing of it was applied; load it (--load FILE), \
                 or mend the name in the klp_object (klpbuild verify)"
            ),
            ref objects => format!(
                "{file} patches {}, which were never there: nothing of it was applied; load one (--load FILE), or \
                 mend the names in the klp_objects (klpbuild verify)",
                objects.join(", ")
            ),
        })
    }
}

fn of<'a>(pairs: &'a BTreeSet<(String, String)>, livepatch: &ModuleFile) -> Vec<&'a str> {
    pairs.iter().filter(|(name, _)| *name == livepatch.name).map(|(_, object)| object.as_str()).collect()
}
