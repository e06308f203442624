// SPDX-License-Identifier: GPL-2.0-only
//! The map itself: reads vmlinux and every module's object, leaves the livepatches out, and sorts the names.
//!
//! The format is the one of the original klp-convert: a first line, then for each object a line `*<object>`
//! and a line for each symbol. Names and their order are those of `nm -f posix FILE | cut -d' ' -f1` in the
//! C locale.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use rayon::prelude::*;

use crate::elf::{Definedness, Machine, ObjectSymbols};
use crate::host::make::variable::Variable;
use crate::host::status;
use crate::kernel::kallsyms;
use crate::kernel::symbols::flags::{self, Makefiles};
use crate::kernel::symbols::modules::{self, ListKind, MODVERDIR, Module};
use crate::kernel::symbols::objects::Vmlinux;
use crate::kernel::tree::era::Kbuild;

/// The first line of Symbols.list.
pub const FORMAT: &str = "klp-convert-symbol-data.0.1";

/// The objects to map, and how livepatches among them are recognised.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The final vmlinux; none if its part of the map comes from elsewhere.
    pub vmlinux: Option<Vmlinux>,
    /// The modules with their objects as they are before modpost, in the order of the map.
    pub modules: Vec<(Module, PathBuf)>,
    /// Stems of the modules that a kbuild makefile marks as livepatches.
    pub flagged: BTreeSet<String>,
    /// The directory that stems are relative to, where marker files may lie; none for installed modules.
    pub root: Option<PathBuf>,
    /// The release that all modules have to be for; none if that is not checked.
    pub release: Option<String>,
}

impl Inputs {
    /// Finds the objects to map in `objtree`. Without a source tree, no kbuild makefile can mark livepatches.
    ///
    /// # Errors
    /// There is no vmlinux or no list of modules, or a makefile cannot be evaluated.
    pub fn of_tree(
        objtree: &Path,
        srctree: Option<&Path>,
        kbuild: Option<&Kbuild>,
        variables: &[Variable],
    ) -> Result<Inputs> {
        let vmlinux = objtree.join("vmlinux");
        if !vmlinux.is_file() {
            bail!("{} is not built: build it first (klpbuild modules)", vmlinux.display());
        }
        let kind = match kbuild {
            Some(kbuild) => kbuild.era.modules(),
            None if objtree.join("modules.order").exists() => ListKind::ModulesOrder,
            None => ListKind::ModverDir,
        };
        let list = modules::list(objtree, kind)?;
        let flagged = match srctree {
            Some(srctree) => flags::flagged(&Makefiles::in_tree(srctree, objtree), &list, variables)?,
            None => Default::default(),
        };
        let prelink = kbuild.and_then(|kbuild| kbuild.prelink.as_deref());
        let with_object = |module: Module| {
            let object = module.object(objtree, prelink);
            (module, object)
        };
        let vmlinux = Vmlinux::Image { file: vmlinux, system_map: None };
        Ok(Inputs {
            vmlinux: Some(vmlinux),
            modules: list.into_iter().map(with_object).collect(),
            flagged,
            root: Some(objtree.to_path_buf()),
            release: None,
        })
    }
}

/// A module that is a livepatch, and so is not in the map.
#[derive(Debug)]
pub struct Livepatch {
    /// The module.
    pub module: Module,
    /// Names it refers to and does not define, weak references aside.
    pub undefined: Vec<Vec<u8>>,
    /// The machine it is for.
    pub machine: Machine,
}

/// The content of Symbols.list and modules.livepatch.
#[derive(Debug)]
pub struct Map {
    /// One part for the first line, then one for each object.
    pub parts: Vec<Vec<u8>>,
    /// The livepatches, in the order of the modules.
    pub livepatches: Vec<Livepatch>,
    /// How many modules are in the map.
    pub modules: usize,
    /// How many names are in the map, vmlinux's and the modules'.
    pub names: usize,
    /// Modules that register a patch, while nothing says that they are livepatches: the kernel will refuse it (R6).
    pub unmarked: Vec<Module>,
}

/// The function that registers a patch with the kernel (include/linux/livepatch.h).
const ENABLE: &[u8] = b"klp_enable_patch";

/// An object that is to have a part in the map.
enum Wanted<'a> {
    Vmlinux(&'a Vmlinux),
    Module(&'a Module, &'a Path),
}

impl Wanted<'_> {
    fn part(self, inputs: &Inputs) -> Result<Part> {
        match self {
            Wanted::Vmlinux(Vmlinux::Image { file, .. }) => {
                names("vmlinux", &ObjectSymbols::read(file)?, file)
            }
            Wanted::Vmlinux(Vmlinux::List(file)) => {
                let definitions = kallsyms::definitions_in(file, |_| true)?;
                part("vmlinux", definitions.iter().map(|definition| definition.name.as_slice()), file)
            }
            Wanted::Module(module, path) => {
                let object = ObjectSymbols::read(path)?;
                if let Some(release) = &inputs.release {
                    check_release(&object, path, release)?;
                }
                if is_livepatch(inputs, module, &object) {
                    let (undefined, machine) = (undefined(&object), object.machine());
                    return Ok(Part::Livepatch(Livepatch { module: module.clone(), undefined, machine }));
                }
                names(&module.name(), &object, path)
            }
        }
    }
}

enum Part {
    Names(Names),
    Livepatch(Livepatch),
}

/// One object's part of the map.
struct Names {
    text: Vec<u8>,
    count: usize,
    /// Whether [`ENABLE`] is among them.
    has_enable: bool,
}

impl Map {
    /// Makes the map of `inputs`; objects are read in parallel.
    ///
    /// # Errors
    /// An object cannot be read, or is for another kernel; the message names it.
    pub fn make(inputs: &Inputs) -> Result<Map> {
        Map::make_counting(inputs, &AtomicUsize::new(0))
    }

    /// Makes the map of `inputs`; if that takes long, a terminal shows how many modules are read.
    ///
    /// # Errors
    /// The errors of [`Map::make`].
    pub fn make_visibly(inputs: &Inputs, quiet: bool) -> Result<Map> {
        status::counted("modules", inputs.modules.len(), quiet, |done| Map::make_counting(inputs, done))
    }

    fn make_counting(inputs: &Inputs, done: &AtomicUsize) -> Result<Map> {
        let vmlinux = inputs.vmlinux.iter().map(Wanted::Vmlinux);
        let modules = inputs.modules.iter().map(|(module, path)| Wanted::Module(module, path));
        let objects: Vec<_> = vmlinux.chain(modules).collect();
        let parts = objects
            .into_par_iter()
            .with_max_len(8)
            .map(|object| {
                let is_module = matches!(object, Wanted::Module(..));
                let part = object.part(inputs);
                done.fetch_add(is_module.into(), Ordering::Relaxed);
                part
            })
            .collect::<Result<Vec<Part>>>()?;
        let mut map = Map {
            parts: vec![format!("{FORMAT}\n").into_bytes()],
            livepatches: Vec::new(),
            modules: 0,
            names: 0,
            unmarked: Vec::new(),
        };
        // The parts in front of those of the modules are vmlinux's.
        let before = parts.len() - inputs.modules.len();
        let modules = std::iter::repeat_n(None, before).chain(inputs.modules.iter().map(Some));
        for (part, module) in parts.into_iter().zip(modules) {
            match part {
                Part::Livepatch(livepatch) => map.livepatches.push(livepatch),
                Part::Names(names) => {
                    map.parts.push(names.text);
                    map.names += names.count;
                    map.unmarked
                        .extend(module.filter(|_| names.has_enable).map(|(module, _)| module.clone()));
                }
            }
        }
        map.modules = inputs.modules.len() - map.livepatches.len();
        Ok(map)
    }

    /// The content of modules.livepatch: the path of each livepatch's `.ko`, relative to the object tree.
    pub fn livepatch_list(&self) -> String {
        self.livepatches.iter().map(|livepatch| livepatch.module.ko() + "\n").collect()
    }
}

/// Whether a module is a livepatch: its object says so (MODULE_INFO(livepatch, "Y"), rule R6), its makefile says so,
/// or a marker file lies beside it or in MODVERDIR.
fn is_livepatch(inputs: &Inputs, module: &Module, object: &ObjectSymbols) -> bool {
    let is_marked = |root: &PathBuf| {
        root.join(format!("{}.livepatch", module.stem)).exists()
            || root.join(MODVERDIR).join(format!("{}.livepatch", module.base())).exists()
    };
    object.modinfo().is_livepatch()
        || inputs.flagged.contains(&module.stem)
        || inputs.root.as_ref().is_some_and(is_marked)
}

/// Checks that a module which names its kernel is for `release` (include/linux/vermagic.h: the release is the first
/// word).
fn check_release(object: &ObjectSymbols, path: &Path, release: &str) -> Result<()> {
    match object.modinfo().release() {
        Some(built_for) if built_for != release => bail!(
            "{} is for {built_for}, and not for {release}: name the directory of that kernel's modules (--modules-dir DIR), or \
             use --force if you know better",
            path.display()
        ),
        _ => Ok(()),
    }
}

fn undefined(object: &ObjectSymbols) -> Vec<Vec<u8>> {
    let wanted = object.symbols().filter(|&(_, place)| place == Definedness::Undefined);
    wanted.map(|(name, _)| name.to_vec()).collect()
}

fn names(name: &str, object: &ObjectSymbols, path: &Path) -> Result<Part> {
    let symbols = object.symbols().map(|(symbol, _)| symbol);
    part(name, symbols.filter(|symbol| !object.is_mapping_symbol(symbol)), path)
}

/// The map's part for the object `name`, whose symbols were read from `path`.
fn part<'a>(name: &str, symbols: impl Iterator<Item = &'a [u8]>, path: &Path) -> Result<Part> {
    // Each with its first eight bytes as a number, which settles most comparisons.
    let mut names: Vec<(u64, &[u8])> = Vec::new();
    let mut length = name.len() + 2;
    for symbol in symbols {
        if symbol.contains(&b'\n') {
            let shown = String::from_utf8_lossy(symbol);
            bail!("{}: symbol {shown:?} has a line break in its name", path.display());
        }
        if symbol.starts_with(b"*") {
            let shown = String::from_utf8_lossy(symbol);
            bail!(
                "{}: symbol {shown:?} would be taken for the name of an object in Symbols.list: rename it",
                path.display()
            );
        }
        names.push((first_bytes(symbol), symbol));
        length += symbol.len() + 1;
    }
    names.sort_unstable();
    let mut text = Vec::with_capacity(length);
    text.push(b'*');
    text.extend_from_slice(name.as_bytes());
    text.push(b'\n');
    for (_, symbol) in &names {
        let end = symbol.iter().position(|&byte| byte == b' ').unwrap_or(symbol.len());
        text.extend_from_slice(symbol.get(..end).unwrap_or(symbol));
        text.push(b'\n');
    }
    let enable = first_bytes(ENABLE);
    let candidates = names.iter().skip(names.partition_point(|(first, _)| *first < enable));
    let has_enable = candidates.take_while(|(first, _)| *first == enable).any(|(_, name)| *name == ENABLE);
    Ok(Part::Names(Names { text, count: names.len(), has_enable }))
}

/// The first eight bytes of a name as a number with the same order.
fn first_bytes(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = name.len().min(8);
    if let (Some(to), Some(from)) = (bytes.get_mut(..length), name.get(..length)) {
        to.copy_from_slice(from);
    }
    u64::from_be_bytes(bytes)
}
