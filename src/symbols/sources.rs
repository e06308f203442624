//! Where symbols are defined, and at which position the kernel would find them: the map first, then the
//! objects that it names.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use rayon::prelude::*;

use crate::cli::SourceArgs;
use crate::elf::definitions::{self, Definition};
use crate::elf::{Binding, Machine};
use crate::kallsyms::{self, Spelling, SystemMap};
use crate::symbols::exports::Exports;
use crate::symbols::list::{self, Wanted};
use crate::symbols::modules::{self, ListKind, MODVERDIR, Module};
use crate::tree;
use crate::tree::era::Kbuild;
use crate::tree::kernel::{self, Kernel, TELLTALES};

/// The object name of the kernel proper.
pub const VMLINUX: &str = "vmlinux";

/// What is at hand to tell where symbols are defined.
#[derive(Debug)]
pub struct Sources {
    /// The object tree, if there is one.
    pub objtree: Option<PathBuf>,
    /// The source tree, if that is known.
    pub srctree: Option<PathBuf>,
    /// Symbols.list, if there is one.
    pub list: Option<PathBuf>,
    /// What is exported; none if there is no Module.symvers.
    pub exports: Option<Exports>,
    spelling: Spelling,
}

/// One definition of a symbol, or as much as is known of it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The run-time name of the object.
    pub object: String,
    /// What the object's symbol table says; none if only the map was there to ask.
    pub definition: Option<Definition>,
    /// Its position among those of this name in its object, counted from 1 as the kernel counts (S1); none
    /// if the kernel does not see the symbol (S3), or only the map was there to ask.
    pub position: Option<u64>,
    /// How many of this name the kernel sees in the object, or the map has there.
    pub total: u64,
    /// In a module, the name occurs both in code or data that goes away after loading and in what stays (S5).
    pub is_split: bool,
}

/// Why no livepatch can use a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It goes away once its object has come up (R9).
    Init,
    /// Which of several the kernel finds changes while its module is loaded (S5).
    Split,
    /// kallsyms leaves it out (S3).
    Dropped,
    /// It is at address 0, which the kernel takes for not found (S8).
    AtZero,
}

impl Known {
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

    /// The position to write down: 0 for a name that is there once (S1).
    pub fn sympos(&self) -> Option<u64> {
        if self.total <= 1 { Some(0) } else { self.position }
    }

    /// Whether it goes away once its object has come up.
    pub fn is_init(&self) -> bool {
        self.definition.as_ref().is_some_and(|definition| definition.is_init)
    }
}

/// A name with one of its definitions.
type Named = (Vec<u8>, Known);

/// What was found out about some names.
#[derive(Debug)]
pub struct Found {
    /// The definitions of each name, vmlinux's first, then in the order of the map.
    pub names: BTreeMap<Vec<u8>, Vec<Known>>,
    /// All objects there are.
    pub objects: BTreeSet<String>,
    /// The kernel's livepatch core.
    pub kernel: Kernel,
    /// The machine vmlinux is for, if that was read.
    pub machine: Option<Machine>,
}

impl Found {
    /// The definitions of `name`.
    pub fn of(&self, name: &[u8]) -> &[Known] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }
}

impl Sources {
    /// Looks at what is at hand: `list` if one is given, and what lies in the object tree.
    ///
    /// # Errors
    /// There is neither a map nor a vmlinux, or Module.symvers cannot be read.
    pub fn open(objtree: Option<&Path>, list: Option<&Path>) -> Result<Sources> {
        let in_tree = |name: &str| objtree.map(|tree| tree.join(name)).filter(|path| path.is_file());
        if let Some(list) = list {
            ensure!(list.is_file(), "{}: no such file: --symbols names a Symbols.list", list.display());
        }
        let list = list.map(Path::to_path_buf).or_else(|| in_tree("Symbols.list"));
        if list.is_none() && in_tree(VMLINUX).is_none() {
            let place = objtree.map_or("here".to_owned(), |tree| format!("in {}", tree.display()));
            bail!(
                "there is neither a Symbols.list nor a vmlinux {place}: name the object tree of a kernel that \
                 was built with `klpbuild modules` (--objtree DIR), or a list (--symbols FILE)"
            );
        }
        let srctree = objtree.and_then(tree::source_if_known);
        let release = objtree.and_then(kernel::release);
        let version = release.as_deref().and_then(kernel::version);
        Ok(Sources {
            spelling: objtree
                .map_or(Spelling::Exact, |tree| Spelling::detect(tree, srctree.as_deref(), version)),
            exports: in_tree("Module.symvers").map(|path| Exports::read(&path)).transpose()?,
            objtree: objtree.map(Path::to_path_buf),
            srctree,
            list,
        })
    }

    /// Looks at what a command was told to: the object tree, a list, or both. A list that lies in an object tree
    /// stands for that as well; if nothing is said, `start` is the tree.
    ///
    /// # Errors
    /// There is no such tree or list, or as [`Sources::open`].
    pub fn named(start: &Path, arguments: &SourceArgs) -> Result<Sources> {
        let objtree = arguments.objtree.as_ref().map(|tree| start.join(tree));
        if let Some(objtree) = &objtree {
            ensure!(
                objtree.is_dir(),
                "{}: no such directory: --objtree names an object tree",
                objtree.display()
            );
        }
        let list = arguments.symbols.as_ref().map(|list| start.join(list));
        let beside = list.as_deref().and_then(Path::parent).filter(|tree| tree.join(VMLINUX).is_file());
        let objtree = match (objtree, &list) {
            (Some(objtree), _) => Some(objtree),
            (None, Some(_)) => beside.map(Path::to_path_buf),
            (None, None) => Some(start.to_path_buf()),
        };
        Sources::open(objtree.as_deref(), list.as_deref())
    }

    /// The file of vmlinux, if it is there.
    pub fn vmlinux(&self) -> Option<PathBuf> {
        self.objtree.as_ref().map(|tree| tree.join(VMLINUX)).filter(|path| path.is_file())
    }

    /// The run-time name of the object that exports `name`. Without a Module.symvers, the markers that are in
    /// the map have to do (`found` must have been asked for them).
    pub fn exporter(&self, name: &[u8]) -> Option<&str> {
        self.exports.as_ref().and_then(|exports| exports.owner(name))
    }

    /// Whether a definition is exported; none if there is no Module.symvers to tell.
    pub fn is_exported(&self, name: &[u8], known: &Known) -> Option<bool> {
        let is_local =
            known.definition.as_ref().is_some_and(|definition| definition.binding == Binding::Local);
        self.exports.as_ref().map(|exports| !is_local && exports.owner(name) == Some(known.object.as_str()))
    }

    /// Finds all definitions of the names that are wanted.
    ///
    /// # Errors
    /// The map or an object cannot be read, or System.map is of another build than vmlinux.
    pub fn find(&self, wanted: &Wanted) -> Result<Found> {
        let all = wanted.with(&TELLTALES);
        // vmlinux nearly always has a part in it: it is read while the map is searched.
        let search = || self.list.as_deref().map(|list| list::search(list, &all, self.spelling)).transpose();
        let read = || self.vmlinux().map(|vmlinux| self.read(VMLINUX, &vmlinux, &all)).transpose();
        let (hits, vmlinux) = rayon::join(search, read);
        let (hits, mut vmlinux) = (hits?, vmlinux?);
        let modules = self.modules()?;
        let mut objects: Vec<String> = match &hits {
            Some(hits) => {
                let named = hits.names.values().flatten().map(|(object, _)| object.clone());
                named.collect::<BTreeSet<String>>().into_iter().collect()
            }
            None => std::iter::once(VMLINUX.to_owned()).chain(modules.names().cloned()).collect(),
        };
        objects.sort_by_key(|object| object != VMLINUX);
        let read = objects
            .into_par_iter()
            .map(|object| {
                let file = if object == VMLINUX { None } else { modules.file(&object) };
                let found = file.map(|file| self.read(&object, &file, &all)).transpose()?;
                Ok((object, found))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut names: BTreeMap<Vec<u8>, Vec<Known>> = BTreeMap::new();
        let mut machine = None;
        for (object, found) in read {
            match if object == VMLINUX { vmlinux.take() } else { found } {
                Some((known, of)) => {
                    if object == VMLINUX {
                        machine = Some(of);
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
        let kernel = Kernel::tell(self.objtree.as_deref(), self.srctree.as_deref(), has);
        names.retain(|name, _| wanted.has(name));
        let listed = hits.map(|hits| hits.objects).unwrap_or_default();
        let objects =
            listed.into_iter().chain(modules.names().cloned()).chain([VMLINUX.to_owned()]).collect();
        Ok(Found { names, objects, kernel, machine })
    }

    /// The definitions in an object that is there to be read.
    fn read(&self, object: &str, file: &Path, wanted: &Wanted) -> Result<(Vec<Named>, Machine)> {
        let is_vmlinux = object == VMLINUX;
        let spelling = if is_vmlinux { self.spelling } else { Spelling::Exact };
        let is_end = |name: &[u8]| is_vmlinux && INIT_ENDS.contains(&name);
        let mut found = definitions::find(file, |name| wanted.has(spelling.of(name)) || is_end(name))?;
        if is_vmlinux {
            mark_init(&mut found.definitions, |name| wanted.has(name));
        }
        let map = if is_vmlinux {
            let map =
                SystemMap::read(&file.with_file_name("System.map"), |name| wanted.has(spelling.of(name)))?;
            if let Some(map) = &map {
                ensure!(
                    map.fits(&found.definitions),
                    "System.map and {} are of different builds: positions cannot be told; build again",
                    file.display()
                );
            }
            map
        } else {
            None
        };
        let mut by_name: BTreeMap<&[u8], Vec<Definition>> = BTreeMap::new();
        for definition in &found.definitions {
            by_name.entry(spelling.of(&definition.name)).or_default().push(definition.clone());
        }
        let mut all = Vec::new();
        for (name, definitions) in by_name {
            let counted: Vec<&Definition> = if is_vmlinux {
                kallsyms::counted(&definitions, map.as_ref())
            } else {
                definitions.iter().collect()
            };
            let is_split = !is_vmlinux
                && definitions.iter().any(|definition| definition.is_init)
                && !definitions.iter().all(|definition| definition.is_init);
            let total = counted.len() as u64;
            let position = |definition: &Definition| {
                counted
                    .iter()
                    .position(|other| std::ptr::eq(*other, definition))
                    .map(|index| index as u64 + 1)
            };
            let mut known: Vec<Known> = definitions
                .iter()
                .map(|definition| Known {
                    object: object.to_owned(),
                    definition: Some(definition.clone()),
                    position: position(definition),
                    total,
                    is_split,
                })
                .collect();
            known.sort_by_key(|known| known.position.unwrap_or(u64::MAX));
            all.extend(known.into_iter().map(|known| (name.to_vec(), known)));
        }
        Ok((all, found.machine))
    }

    /// What the map says of an object that is not there to be read. An object that only refers to what
    /// another one exports has a line, too.
    fn add_from_map<'a>(
        &self,
        object: &str,
        hits: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<(String, u64)>)>,
        names: &mut BTreeMap<Vec<u8>, Vec<Known>>,
    ) {
        for (name, objects) in hits {
            let Some((_, total)) = objects.iter().find(|(other, _)| other == object) else { continue };
            if self.exporter(name).is_some_and(|owner| owner != object) {
                continue;
            }
            names.entry(name.clone()).or_default().push(Known {
                object: object.to_owned(),
                definition: None,
                position: None,
                total: *total,
                is_split: false,
            });
        }
    }

    /// The modules of the object tree that are no livepatches.
    ///
    /// # Errors
    /// The list of modules cannot be read.
    pub fn modules(&self) -> Result<Modules> {
        let mut modules = Modules { objtree: self.objtree.clone(), prelink: None, stems: BTreeMap::new() };
        let Some(objtree) = &self.objtree else { return Ok(modules) };
        let kbuild = self.srctree.as_deref().and_then(|tree| Kbuild::detect(tree).ok());
        let kind = match &kbuild {
            Some(kbuild) => kbuild.era.modules(),
            None if objtree.join(MODVERDIR).is_dir() => ListKind::ModverDir,
            None => ListKind::ModulesOrder,
        };
        let is_listed = match kind {
            ListKind::ModulesOrder => objtree.join("modules.order").is_file(),
            ListKind::ModverDir => objtree.join(MODVERDIR).is_dir(),
        };
        if !is_listed {
            return Ok(modules);
        }
        let livepatches = fs::read_to_string(objtree.join("modules.livepatch")).unwrap_or_default();
        let livepatches: HashSet<&str> = livepatches.lines().collect();
        let all = modules::list(objtree, kind).context("the modules of the object tree are not known")?;
        let ordinary = all.into_iter().filter(|module| !livepatches.contains(module.ko().as_str()));
        modules.stems = ordinary.map(|module| (module.name(), module)).collect();
        modules.prelink = kbuild.and_then(|kbuild| kbuild.prelink);
        Ok(modules)
    }
}

/// The memory that vmlinux frees when it has come up lies between these (include/asm-generic/sections.h): more
/// than what is marked `__init`, as its exit functions.
const INIT_ENDS: [&[u8]; 2] = [b"__init_begin", b"__init_end"];

/// Marks the definitions in that memory, and takes its ends out again if nobody asked for them. Per-CPU data may
/// lie there, but its symbols are used with each CPU's copy.
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

/// The modules of an object tree, by run-time name.
#[derive(Debug)]
pub struct Modules {
    objtree: Option<PathBuf>,
    prelink: Option<String>,
    stems: BTreeMap<String, Module>,
}

impl Modules {
    /// The run-time names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.stems.keys()
    }

    /// The file with a module's symbols, if it is there: the finished module, whose order of symbols counts
    /// (S5), or else its object.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let (objtree, module) = (self.objtree.as_ref()?, self.stems.get(name)?);
        let finished = objtree.join(module.ko());
        if finished.is_file() {
            return Some(finished);
        }
        Some(module.object(objtree, self.prelink.as_deref())).filter(|file| file.is_file())
    }
}
