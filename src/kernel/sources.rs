// SPDX-License-Identifier: GPL-2.0-only
//! Where symbols are defined, and at which position the kernel would find them: the map first, then the
//! objects that it names.
//!
//! - [`mod@known`]: what is known of a definition, and why it cannot be used
//! - [`exported`]: the definitions of what the kernel exports

mod exported;
mod known;

pub use known::{KernelDefinition, KernelDefinitions, Unusable};

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;

use crate::elf::definitions;
use crate::elf::definitions::Definition;
use crate::elf::{Binding, Machine, notes};
use crate::kernel::installed::inventory;
use crate::kernel::kallsyms;
use crate::kernel::kallsyms::{Filter, Spelling, SystemMap};
use crate::kernel::origin::{Origin, OriginRequest};
use crate::kernel::structures::Sizes;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::exports::Exports;
use crate::kernel::symbols::list;
use crate::kernel::symbols::list::NameQuery;
use crate::kernel::symbols::objects::{Objects, Vmlinux};
use crate::kernel::tree::facts;
use crate::kernel::tree::facts::{LivepatchCore, TELLTALES};

/// The files that tell where a kernel's symbols are defined.
#[derive(Debug)]
pub struct Sources {
    /// The kernel's release, if that is known.
    pub release: Option<String>,
    /// The source tree, if that is known.
    pub srctree: Option<PathBuf>,
    /// Symbols.list, if there is one.
    pub list: Option<PathBuf>,
    /// The exported symbols; none if there is no Module.symvers.
    pub exports: Option<Exports>,
    /// The files that symbols are in.
    pub objects: Objects,
    /// A file with vmlinux's BTF, if one is known.
    pub btf: Option<PathBuf>,
    /// Whether the kernel checks the targets of calls through pointers (CONFIG_CFI_CLANG, CONFIG_CFI).
    pub has_cfi: bool,
    /// Whether calls through pointers have to arrive at an `endbr64` where the processor checks for it
    /// (CONFIG_X86_KERNEL_IBT).
    pub has_ibt: bool,
    /// Where the kernel's symbols were looked for, for messages.
    pub looked_in: String,
    sizes: OnceLock<Sizes>,
    spelling: Spelling,
    filter: Filter,
}

/// A name with one of its definitions.
type Named = (Vec<u8>, KernelDefinition);

/// The sources of the kernel that a command has to look at ([`Origin::named`]).
///
/// # Errors
/// The errors of [`Origin::named`] and [`Sources::open`].
pub fn named(asked: &OriginRequest, file: Option<&Path>) -> Result<Sources> {
    let origin = Origin::named(asked, file)?;
    origin.say_shortcomings();
    Sources::open(&origin, asked.symbols.as_deref())
}

impl Sources {
    /// Opens the files of a kernel, and the map `list` if one is given.
    ///
    /// # Errors
    /// There is neither a map nor a vmlinux, or Module.symvers cannot be read.
    pub fn open(kernel: &Origin, list: Option<&Path>) -> Result<Sources> {
        if let Some(list) = list {
            ensure!(list.is_file(), "{}: no such file: --symbols names a Symbols.list", list.display());
        }
        let objtree = kernel.objtree.as_deref();
        let list = list.or(kernel.list.as_deref()).map(Path::to_path_buf);
        let place = objtree.map_or("here".to_owned(), |tree| format!("in {}", tree.display()));
        if list.is_none() && kernel.objects.vmlinux.is_none() {
            let others = kernel.searched.as_ref().map(|places| format!("; {}", inventory::advice(places)));
            bail!(
                "there is neither a Symbols.list nor a vmlinux {place}: name the object tree of a kernel that \
                 was built with `klpbuild modules` (--objtree DIR), a list (--symbols FILE), or an installed kernel \
                 (--release RELEASE, or KDIR=DIR for its headers; klpbuild doctor says what is missing){}",
                others.unwrap_or_default()
            );
        }
        let srctree = kernel.srctree.clone();
        let version = kernel.release.as_deref().and_then(facts::version);
        let mut exports = Exports::default();
        for symvers in &kernel.symvers {
            exports.add(symvers)?;
        }
        let config = kernel.config();
        let headers = objtree.map(|objtree| objtree.join("vmlinux")).filter(|file| file.is_file());
        let image = kernel.objects.vmlinux.as_ref().and_then(Vmlinux::image).map(Path::to_path_buf);
        Ok(Sources {
            btf: image.or(headers),
            has_cfi: config.is_some_and(|config| config.has("CFI_CLANG") || config.has("CFI")),
            has_ibt: config.is_some_and(|config| config.has("X86_KERNEL_IBT")),
            spelling: config
                .map_or(Spelling::Exact, |config| Spelling::detect(config, srctree.as_deref(), version)),
            filter: Filter::detect(srctree.as_deref()),
            exports: (!kernel.symvers.is_empty()).then_some(exports),
            objects: kernel.objects.clone(),
            release: kernel.release.clone(),
            sizes: OnceLock::new(),
            looked_in: place,
            srctree,
            list,
        })
    }

    /// The sizes of this kernel's livepatch structures.
    pub fn sizes(&self) -> Sizes {
        let vmlinux = self.objects.vmlinux.as_ref().and_then(Vmlinux::image);
        *self.sizes.get_or_init(|| Sizes::of_kernel(self.btf.as_deref(), vmlinux))
    }

    /// The run-time name of the object that exports `name`; none if Module.symvers does not tell.
    pub fn exporter(&self, name: &[u8]) -> Option<&str> {
        self.exports.as_ref().and_then(|exports| exports.owner(name))
    }

    /// Whether a definition is exported; none if there is no Module.symvers to tell.
    pub fn is_exported(&self, name: &[u8], known: &KernelDefinition) -> Option<bool> {
        let is_local =
            known.definition.as_ref().is_some_and(|definition| definition.binding == Binding::Local);
        self.exports.as_ref().map(|exports| !is_local && exports.owner(name) == Some(known.object.as_str()))
    }

    /// The name of a symbol of vmlinux as the kernel compares it (S6).
    pub fn compared<'a>(&self, name: &'a [u8]) -> &'a [u8] {
        self.spelling.of(name)
    }

    /// Finds all definitions of the names that are wanted.
    ///
    /// # Errors
    /// The map or an object cannot be read, or System.map is of another build than vmlinux.
    pub fn find(&self, wanted: &NameQuery) -> Result<KernelDefinitions> {
        let all = wanted.with(&TELLTALES);
        // vmlinux nearly always defines some of the names: it is read while the map is searched.
        let search = || self.list.as_deref().map(|list| list::search(list, &all, self.spelling)).transpose();
        let read =
            || self.objects.vmlinux.as_ref().map(|vmlinux| self.read_vmlinux(vmlinux, &all)).transpose();
        let (hits, vmlinux) = rayon::join(search, read);
        let (hits, mut vmlinux) = (hits?, vmlinux?);
        let modules = &self.objects;
        let mut objects: Vec<String> = match &hits {
            Some(hits) => {
                let named = hits.names.iter().flat_map(|(name, having)| all.to_read(name, having).cloned());
                let unlisted = modules.unlisted().chain(all.unlisted());
                let named: BTreeSet<String> = named.chain(unlisted.cloned()).collect();
                named.into_iter().collect()
            }
            None => std::iter::once(VMLINUX.to_owned()).chain(modules.names().cloned()).collect(),
        };
        objects.sort_by_key(|object| object != VMLINUX);
        let read = objects
            .into_par_iter()
            .map(|object| {
                let file = if object == VMLINUX { None } else { modules.file(&object) };
                let found = file.map(|file| self.read_module(&object, &file, &all)).transpose()?;
                Ok((object, found))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut names: BTreeMap<Vec<u8>, Vec<KernelDefinition>> = BTreeMap::new();
        let mut machine = None;
        for (object, found) in read {
            match if object == VMLINUX { vmlinux.take() } else { found } {
                Some((known, of)) => {
                    if object == VMLINUX {
                        machine = of;
                    }
                    for (name, known) in known {
                        names.entry(name).or_default().push(known);
                    }
                }
                None => self.add_from_map(&object, hits.iter().flat_map(|hits| &hits.names), &mut names),
            }
        }
        let has = |name: &str| {
            names.get(name.as_bytes()).is_some_and(|known| known.iter().any(|k| k.object == VMLINUX))
        };
        let kernel = LivepatchCore::detect(self.release.clone(), self.srctree.as_deref(), has);
        names.retain(|name, _| wanted.has(name));
        let listed = hits.map(|hits| hits.objects).unwrap_or_default();
        let objects =
            listed.into_iter().chain(modules.names().cloned()).chain([VMLINUX.to_owned()]).collect();
        Ok(KernelDefinitions { names, objects, kernel, machine })
    }

    /// The run-time names of the objects that have each of `names`, by name. None if there is no map of all objects.
    /// The objects themselves are not read.
    /// # Errors
    /// The map cannot be read.
    pub fn objects_with(&self, names: HashSet<Vec<u8>>) -> Result<Option<BTreeMap<Vec<u8>, Vec<String>>>> {
        let Some(list) = self.list.as_deref() else { return Ok(None) };
        let hits = list::search(list, &NameQuery::names(names), self.spelling)?;
        let objects = |all: Vec<(String, u64)>| all.into_iter().map(|(object, _)| object).collect();
        Ok(Some(hits.names.into_iter().map(|(name, all)| (name, objects(all))).collect()))
    }

    /// All definitions in the object `object`, each with the name that the kernel has for it.
    ///
    /// # Errors
    /// The object is not there or cannot be read, or System.map is of another build than vmlinux.
    pub fn every(&self, object: &str) -> Result<Vec<(Vec<u8>, KernelDefinition)>> {
        let missing = || format!("{object} is not there to be read {}", self.looked_in);
        let (known, _) = if object == VMLINUX {
            self.read_vmlinux(self.objects.vmlinux.as_ref().with_context(missing)?, &NameQuery::All)?
        } else {
            self.read_module(object, &self.objects.file(object).with_context(missing)?, &NameQuery::All)?
        };
        Ok(known)
    }

    /// The definitions in vmlinux, with their positions (S2), and the machine it is for.
    fn read_vmlinux(&self, vmlinux: &Vmlinux, wanted: &NameQuery) -> Result<(Vec<Named>, Option<Machine>)> {
        let spelling = self.spelling;
        let is_asked_for = |name: &[u8]| wanted.has(spelling.of(name)) || INIT_ENDS.contains(&name);
        let (mut definitions, machine, map) = match vmlinux {
            Vmlinux::Image { file, system_map } => {
                let found = definitions::find(file, is_asked_for)?;
                (found.definitions, Some(found.machine), system_map.as_ref())
            }
            Vmlinux::List(file) => (kallsyms::definitions_in(file, is_asked_for)?, None, Some(file)),
        };
        let map = match map {
            Some(map) => SystemMap::read(map, |name| wanted.has(spelling.of(name)), &self.filter)?,
            None => None,
        };
        mark_init(&mut definitions, |name| wanted.has(name));
        if let Some(map) = &map {
            ensure!(
                map.fits(&definitions),
                "System.map and {} are of different builds: positions cannot be told; build again",
                vmlinux.file().display()
            );
        }
        let mut all = Vec::new();
        for (name, definitions) in by_name(&definitions, |name| spelling.of(name)) {
            let counted = kallsyms::counted(&definitions, map.as_ref(), &self.filter);
            all.extend(known(VMLINUX, name, &definitions, &counted));
        }
        Ok((all, machine))
    }

    /// The definitions in a module, with their positions (S5), and the machine it is for.
    fn read_module(
        &self,
        object: &str,
        file: &Path,
        wanted: &NameQuery,
    ) -> Result<(Vec<Named>, Option<Machine>)> {
        let mut found = definitions::find(file, |name| wanted.has(name))?;
        if let Some(debug) = self.objects.debug_file(object) {
            add_source_files(&mut found.definitions, file, debug, wanted)?;
        }
        let mut all = Vec::new();
        for (name, definitions) in by_name(&found.definitions, |name| name) {
            let is_split = definitions.iter().any(|definition| definition.is_init)
                && !definitions.iter().all(|definition| definition.is_init);
            let counted: Vec<&Definition> = definitions.iter().collect();
            let known = known(object, name, &definitions, &counted).into_iter();
            all.extend(known.map(|(name, known)| (name, KernelDefinition { is_split, ..known })));
        }
        Ok((all, Some(found.machine)))
    }

    /// Adds what the map says of an object whose file is not there. An object that only refers to a symbol that
    /// another one exports has a line for it, too.
    fn add_from_map<'a>(
        &self,
        object: &str,
        hits: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<(String, u64)>)>,
        names: &mut BTreeMap<Vec<u8>, Vec<KernelDefinition>>,
    ) {
        for (name, objects) in hits {
            let Some((_, total)) = objects.iter().find(|(other, _)| other == object) else { continue };
            if self.exporter(name).is_some_and(|owner| owner != object) {
                continue;
            }
            names.entry(name.clone()).or_default().push(KernelDefinition {
                object: object.to_owned(),
                definition: None,
                position: None,
                total: *total,
                is_split: false,
            });
        }
    }
}

/// Definitions by the name that the kernel has for them.
fn by_name<'a>(
    definitions: &'a [Definition],
    spelling: impl Fn(&'a [u8]) -> &'a [u8],
) -> BTreeMap<&'a [u8], Vec<Definition>> {
    let mut by_name: BTreeMap<&[u8], Vec<Definition>> = BTreeMap::new();
    for definition in definitions {
        by_name.entry(spelling(&definition.name)).or_default().push(definition.clone());
    }
    by_name
}

/// What is known of the definitions of one name in one object; `counted` are those that the kernel counts, in its
/// order.
fn known(object: &str, name: &[u8], definitions: &[Definition], counted: &[&Definition]) -> Vec<Named> {
    let position = |definition: &Definition| {
        counted.iter().position(|other| std::ptr::eq(*other, definition)).map(|index| index as u64 + 1)
    };
    let mut known: Vec<KernelDefinition> = definitions
        .iter()
        .map(|definition| KernelDefinition {
            object: object.to_owned(),
            definition: Some(definition.clone()),
            position: position(definition),
            total: counted.len() as u64,
            is_split: false,
        })
        .collect();
    known.sort_by_key(|known| known.position.unwrap_or(u64::MAX));
    known.into_iter().map(|known| (name.to_vec(), known)).collect()
}

/// Adds source files' names to the definitions in an installed module, whose own were stripped with its debugging
/// information: they come from the separate debug file. A debug file of another build is not used.
fn add_source_files(
    definitions: &mut [Definition],
    file: &Path,
    debug: &Path,
    wanted: &NameQuery,
) -> Result<()> {
    if notes::build_id(file)? != notes::build_id(debug)? {
        return Ok(());
    }
    let whole = definitions::find(debug, |name| wanted.has(name))?.definitions;
    for definition in definitions.iter_mut().filter(|definition| definition.file.is_none()) {
        let is_same = |other: &&Definition| {
            other.name == definition.name
                && other.value == definition.value
                && other.section == definition.section
        };
        definition.file = whole.iter().find(is_same).and_then(|other| other.file.clone());
    }
    Ok(())
}

/// The two symbols around the memory that vmlinux frees after boot (include/asm-generic/sections.h). It has more than
/// functions marked `__init`: vmlinux's exit functions lie there, too.
const INIT_ENDS: [&[u8]; 2] = [b"__init_begin", b"__init_end"];

/// Marks the definitions in that memory, and removes the two symbols around it again unless they are wanted. Per-CPU
/// data may lie there, but each CPU uses a copy of its own.
fn mark_init(definitions: &mut Vec<Definition>, wanted: impl Fn(&[u8]) -> bool) {
    let [begin, end] = INIT_ENDS.map(|name| definitions.iter().find(|d| d.name == name).map(|d| d.value));
    if let (Some(begin), Some(end)) = (begin, end) {
        for definition in definitions.iter_mut() {
            let is_per_cpu =
                definition.section.as_deref().is_some_and(|name| name.starts_with(".data..percpu"));
            definition.is_init |= (begin..end).contains(&definition.value) && !is_per_cpu;
        }
    }
    definitions
        .retain(|definition| !INIT_ENDS.contains(&definition.name.as_slice()) || wanted(&definition.name));
}
