// SPDX-License-Identifier: GPL-2.0-only
//! The definitions of what the kernel exports, which it finds by its tables of exports and not by kallsyms.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use rayon::prelude::*;

use crate::elf::Binding;
use crate::elf::definitions;
use crate::elf::definitions::Definition;
use crate::kernel::kallsyms;
use crate::kernel::sources::{KernelDefinition, Sources};
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Vmlinux;

impl Sources {
    /// The definitions of those of `names` that the kernel exports, each in the object that exports it, if that is
    /// there. They have no position: the kernel finds them by its tables of exports.
    ///
    /// # Errors
    /// An object that exports one of them cannot be read.
    pub fn exported(&self, names: &HashSet<&[u8]>) -> Result<HashMap<Vec<u8>, KernelDefinition>> {
        let mut by_owner: BTreeMap<&str, HashSet<&[u8]>> = BTreeMap::new();
        for &name in names {
            if let Some(owner) = self.exporter(name) {
                by_owner.entry(owner).or_default().insert(name);
            }
        }
        let found = (by_owner.into_par_iter())
            .map(|(owner, names)| Ok((owner, self.exported_by(owner, &names)?)))
            .collect::<Result<Vec<_>>>()?;
        let all = found.into_iter().flat_map(|(owner, definitions)| {
            let seen = definitions.into_iter().filter(|definition| definition.binding != Binding::Local);
            seen.map(move |definition| {
                let object = owner.to_owned();
                let name = definition.name.clone();
                (
                    name,
                    KernelDefinition {
                        object,
                        definition: Some(definition),
                        position: None,
                        total: 1,
                        is_split: false,
                    },
                )
            })
        });
        Ok(all.collect())
    }

    /// The definitions of some names in the object `owner`, if that is there.
    fn exported_by(&self, owner: &str, names: &HashSet<&[u8]>) -> Result<Vec<Definition>> {
        let is_wanted = |name: &[u8]| names.contains(name);
        let file = match (owner, &self.objects.vmlinux) {
            (VMLINUX, Some(Vmlinux::List(list))) => return kallsyms::definitions_in(list, is_wanted),
            (VMLINUX, vmlinux) => vmlinux.as_ref().map(|vmlinux| vmlinux.file().to_path_buf()),
            (module, _) => self.objects.file(module),
        };
        let found = file.map(|file| definitions::find(&file, is_wanted)).transpose()?;
        Ok(found.map(|found| found.definitions).unwrap_or_default())
    }
}
