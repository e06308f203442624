// SPDX-License-Identifier: GPL-2.0-only
//! What is known of a symbol's definitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::elf::Machine;
use crate::elf::definitions::Definition;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::tree::facts::LivepatchCore;

/// One definition of a symbol, or as much as is known of it.
#[derive(Debug, Clone)]
pub struct KernelDefinition {
    /// The run-time name of the object.
    pub object: String,
    /// What the object's symbol table says; none if only the map was there to ask.
    pub definition: Option<Definition>,
    /// Its position among those of this name in its object, counted from 1 as the kernel counts (S1); none
    /// if the kernel does not see the symbol (S3), or only the map was there to ask.
    pub position: Option<u64>,
    /// How many symbols of this name the kernel sees in the object, or, without the object, how many lines the map
    /// has.
    pub total: u64,
    /// Whether the module has the name both in code or data that is freed after loading and in what stays (S5).
    pub is_split: bool,
}

/// Why no livepatch can use a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Its memory is freed once its object is initialised (R9).
    Init,
    /// Which of several the kernel finds changes while its module is loaded (S5).
    Split,
    /// kallsyms leaves it out (S3).
    Dropped,
    /// It is at address 0, which the kernel takes for not found (S8).
    AtZero,
}

impl KernelDefinition {
    /// Why no livepatch can use it; none if one can, or if only the map was there to ask.
    pub fn unusable(&self) -> Option<Unusable> {
        let definition = self.definition.as_ref()?;
        if definition.is_init {
            Some(Unusable::Init)
        } else if self.is_split {
            Some(Unusable::Split)
        } else if self.object == VMLINUX && self.position.is_none() {
            Some(Unusable::Dropped)
        } else if self.object == VMLINUX && definition.value == 0 {
            Some(Unusable::AtZero)
        } else {
            None
        }
    }

    /// Whether both are the same definition, found in two ways.
    pub fn is_same(&self, other: &KernelDefinition) -> bool {
        (&self.object, self.position, &self.definition) == (&other.object, other.position, &other.definition)
    }

    /// The position to write into a symbol's name: 0 if only one symbol has that name (S1).
    pub fn sympos(&self) -> Option<u64> {
        if self.total <= 1 { Some(0) } else { self.position }
    }

    /// Whether its memory is freed once its object is initialised.
    pub fn is_init(&self) -> bool {
        self.definition.as_ref().is_some_and(|definition| definition.is_init)
    }
}

/// The definitions of some names.
#[derive(Debug)]
pub struct KernelDefinitions {
    /// The definitions of each name, vmlinux's first, then in the order of the map.
    pub names: BTreeMap<Vec<u8>, Vec<KernelDefinition>>,
    /// The run-time names of all objects.
    pub objects: BTreeSet<String>,
    /// The kernel's livepatch core.
    pub kernel: LivepatchCore,
    /// The machine vmlinux is for, if that was read.
    pub machine: Option<Machine>,
}

impl KernelDefinitions {
    /// The definitions of `name`.
    pub fn of(&self, name: &[u8]) -> &[KernelDefinition] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    /// The definition in `object` at `sympos` (S1).
    pub fn at(&self, object: &str, name: &[u8], sympos: u64) -> Option<&KernelDefinition> {
        let own = || self.of(name).iter().filter(|known| known.object == object);
        own().find(|known| known.position == Some(sympos.max(1))).or_else(|| own().next())
    }
}
