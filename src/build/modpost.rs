// SPDX-License-Identifier: GPL-2.0-only
//! Which symbols modpost may accept: a livepatch's undefined symbols that some object of the map defines, and no
//! others.
//!
//! No released modpost knows livepatches: an undefined symbol is an error, no matter which module refers to it. This
//! module finds the references that conversion will resolve, refuses those that it could never resolve, and says how
//! the tree's modpost gets the former while it stays strict with ordinary modules. If that takes a program in
//! modpost's place, it is in [`programs`].

pub(crate) mod programs;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rayon::prelude::*;

use crate::elf::image::Image;
use crate::elf::{Definedness, ObjectSymbols};
use crate::host::several::Several;
use crate::kernel::suggestions;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::exports::Exports;
use crate::kernel::symbols::map::{Inputs, Livepatch, Map};
use crate::kernel::symbols::modules::Module;
use crate::kernel::symbols::objects::Vmlinux;
use crate::kernel::tree::era::Modpost;
use crate::livepatch::convert::problem;
use crate::livepatch::names::AnnotatedName;
use crate::livepatch::special::{VERSIONED_NAME_LIMIT, asked, cut, is_resolved_by_modpost};

/// A symbol's name, raw.
type Name = Vec<u8>;

/// What the objects show about the livepatches' undefined symbols.
#[derive(Debug, Default)]
pub struct UndefinedSymbols {
    /// Not exported, but defined in some object of the map: modpost has to accept these.
    pub allowed: BTreeSet<Name>,
    /// Undefined in some ordinary module as well, and not exported: never to be accepted.
    pub missing_elsewhere: BTreeSet<Name>,
    /// A message for each symbol that no object defines.
    pub problems: Vec<String>,
}

/// A kernel whose objects are not among the inputs: external modules are built for it.
#[derive(Debug, Default)]
pub struct Beyond {
    /// The map of its symbols.
    pub text: Vec<u8>,
    /// The symbols that it exports, and those of modules that were built before.
    pub exports: Exports,
}

impl Beyond {
    /// Which of `wanted` the kernel has, and which it exports. If a kernel's module only refers to a symbol, another
    /// of its objects exports it, or the kernel would not have passed modpost.
    fn findings(&self, wanted: &HashSet<Name>) -> Findings {
        let lines = self.text.par_split(|&byte| byte == b'\n');
        let names = lines.map(|line| line.split(|&byte| byte == b' ').next().unwrap_or(line));
        Findings {
            defined: names.filter(|name| wanted.contains(*name)).map(<[u8]>::to_vec).collect(),
            exported: wanted.iter().filter(|name| self.exports.owner(name).is_some()).cloned().collect(),
            wanted: HashSet::new(),
        }
    }
}

/// How one object uses the names that livepatches want.
#[derive(Default)]
struct Findings {
    defined: HashSet<Name>,
    exported: HashSet<Name>,
    wanted: HashSet<Name>,
}

impl UndefinedSymbols {
    /// Sorts the undefined symbols of the map's livepatches; `beyond` is the kernel that external ones are for.
    ///
    /// # Errors
    /// An object cannot be read.
    pub fn of(map: &Map, inputs: &Inputs, beyond: &Beyond) -> Result<UndefinedSymbols> {
        let mut wanted = wanted(map);
        if wanted.is_empty() {
            return Ok(UndefinedSymbols::default());
        }
        wanted.extend(map.livepatches.iter().flat_map(references).map(|name| asked(name).to_vec()));
        let livepatches: HashSet<&str> = map.livepatches.iter().map(|l| l.module.stem.as_str()).collect();
        let mut all = beyond.findings(&wanted);
        for (is_livepatch, found) in scan(inputs, &livepatches, &wanted)? {
            all.exported.extend(found.exported);
            if !is_livepatch {
                all.defined.extend(found.defined);
                all.wanted.extend(found.wanted);
            }
        }
        let mut verdict = UndefinedSymbols::default();
        let mut unknown: BTreeMap<&[u8], Vec<&Module>> = BTreeMap::new();
        for livepatch in &map.livepatches {
            for name in references(livepatch) {
                // Nothing exports an annotated name.
                if all.exported.contains(name) {
                    continue;
                }
                if !all.defined.contains(&meant(name)) {
                    unknown.entry(name).or_default().push(&livepatch.module);
                } else if !all.exported.contains(asked(name)) {
                    // Otherwise modpost takes it for that symbol.
                    verdict.allowed.insert(name.clone());
                }
            }
        }
        let is_wanted = |name: &&Name| all.wanted.contains(asked(name));
        verdict.missing_elsewhere = verdict.allowed.iter().filter(is_wanted).cloned().collect();
        if !unknown.is_empty() {
            verdict.problems = describe(&unknown, map, inputs);
        }
        Ok(verdict)
    }

    /// Checks that names fit into modpost's table of versions. With CONFIG_MODVERSIONS, modpost writes a version for
    /// each symbol, with the name as a string in C, and has limited room for it ([`VERSIONED_NAME_LIMIT`]), unless the
    /// kernel `is_extended` (CONFIG_EXTENDED_MODVERSIONS).
    ///
    /// # Errors
    /// A name is longer, or has quotes in it.
    pub fn check_names(&self, is_extended: bool) -> Result<()> {
        let fault = |name: &Name| {
            let shown = String::from_utf8_lossy(name);
            if name.contains(&b'"') {
                return Some(format!(
                    "{shown} has quotes in its name, which modpost of a kernel with CONFIG_MODVERSIONS cannot write down: \
                     an older klp_relocs.h gives them to clang; make it anew (klpbuild header -o klp_relocs.h)"
                ));
            }
            (!is_extended && cut(name).len() > VERSIONED_NAME_LIMIT).then(|| {
                format!(
                    "{shown} is too long for modpost of a kernel with CONFIG_MODVERSIONS, which takes {VERSIONED_NAME_LIMIT} \
                     characters: add __attribute__((weak)) to its declaration, and modpost asks for no version of it"
                )
            })
        };
        let faults: Vec<String> = self.allowed.iter().filter_map(fault).collect();
        Several::unless_empty(faults)
    }

    /// The allowed symbols as a symbol dump (Module.symvers) that modpost can read, under the names that it looks up.
    /// Symbols that an ordinary module lacks as well are left out, so that modpost reports them.
    pub fn dump(&self) -> String {
        let names = self.allowed.difference(&self.missing_elsewhere).map(|name| asked(name));
        let line = |name: &[u8]| {
            format!("0x00000000\t{}\tvmlinux\tEXPORT_SYMBOL\t\n", String::from_utf8_lossy(name))
        };
        names.collect::<BTreeSet<&[u8]>>().into_iter().map(line).collect()
    }

    /// Variables that make the recipe's modpost accept the allowed symbols, as words for a shell. `wrapper`
    /// and `dump` are paths relative to the object tree.
    pub fn modpost_variables(&self, modpost: Modpost, wrapper: &str, dump: &str) -> String {
        if self.allowed.is_empty() {
            return String::new();
        }
        match modpost {
            Modpost::Program => format!("MODPOST={wrapper}"),
            Modpost::InputDumps => format!("existing-input-symdump='vmlinux.symvers {dump}'"),
            Modpost::InputPrerequisites => format!("input-symdump='vmlinux.symvers {dump}'"),
            // The tree's own command, with the program in front of modpost.
            Modpost::Command => format!("'cmd_modpost=sed \"s/ko$$/o/\" $< | {wrapper} $(MODPOST) -T -'"),
            Modpost::WarnOnly => "KBUILD_MODPOST_WARN=1".to_owned(),
        }
    }
}

/// The symbols that a livepatch refers to, does not define, and that modpost has to find.
fn references(livepatch: &Livepatch) -> impl Iterator<Item = &Name> {
    livepatch.undefined.iter().filter(|name| !is_resolved_by_modpost(livepatch.machine, name))
}

/// The symbols that the map's livepatches refer to and do not define.
fn wanted(map: &Map) -> HashSet<Name> {
    map.livepatches.iter().flat_map(references).map(|name| meant(name)).collect()
}

/// Whether some livepatch of the map refers to a symbol that `exports` lacks: then the kernel's own symbols are
/// needed.
pub fn needs_kernel(map: &Map, exports: &Exports) -> bool {
    wanted(map).iter().any(|name| exports.owner(name).is_none())
}

/// The name of the symbol that an undefined one means: an annotation may be wrapped around it.
fn meant(name: &[u8]) -> Name {
    AnnotatedName::parse(name).map_or_else(|| name.to_vec(), |annotated| annotated.symbol.name)
}

fn vmlinux_image(inputs: &Inputs) -> Option<&Path> {
    inputs.vmlinux.as_ref().and_then(Vmlinux::image)
}

fn scan(
    inputs: &Inputs,
    livepatches: &HashSet<&str>,
    wanted: &HashSet<Name>,
) -> Result<Vec<(bool, Findings)>> {
    let vmlinux = vmlinux_image(inputs).into_iter().map(|vmlinux| (false, vmlinux));
    let modules = inputs
        .modules
        .iter()
        .map(|(module, path)| (livepatches.contains(module.stem.as_str()), path.as_path()));
    let objects: Vec<_> = vmlinux.chain(modules).collect();
    objects
        .into_par_iter()
        .map(|(is_livepatch, path)| Ok((is_livepatch, findings(&ObjectSymbols::read(path)?, wanted))))
        .collect()
}

fn findings(object: &ObjectSymbols, wanted: &HashSet<Name>) -> Findings {
    let mut found = Findings::default();
    for (name, place) in object.symbols() {
        match place {
            Definedness::Defined => {
                if wanted.contains(name) {
                    found.defined.insert(name.to_vec());
                }
                if let Some(exported) = exported_name(name)
                    && wanted.contains(exported)
                {
                    found.exported.insert(exported.to_vec());
                }
            }
            Definedness::Undefined if wanted.contains(asked(name)) => {
                found.wanted.insert(asked(name).to_vec());
            }
            Definedness::Undefined | Definedness::UndefinedWeak => {}
        }
    }
    found
}

/// The symbol that a marker exports: `__ksymtab_X` in vmlinux and in modules (include/linux/export.h, with
/// the namespace in between in 5.3), `__export_symbol_X` in a module's object from 6.5 on.
fn exported_name(marker: &[u8]) -> Option<&[u8]> {
    let name = marker.strip_prefix(b"__ksymtab_").or_else(|| marker.strip_prefix(b"__export_symbol_"))?;
    Some(name.rsplit(|&byte| byte == b'.').next().unwrap_or(name))
}

/// A message for each unknown name: which livepatch refers to it and where, the nearest names of the map, and what
/// vmlinux's debugging information says of it.
fn describe(unknown: &BTreeMap<&[u8], Vec<&Module>>, map: &Map, inputs: &Inputs) -> Vec<String> {
    let parts: Vec<&[u8]> = map.parts.iter().skip(1).flat_map(|part| suggestions::parts(part)).collect();
    let told = with_debug_info(inputs);
    let message = |(name, users): (&&[u8], &Vec<&Module>)| {
        let shown = String::from_utf8_lossy(name);
        let users_shown: Vec<String> = users.iter().map(|module| module.ko()).collect();
        let uses: String = users.iter().map(|module| uses(module, name, inputs)).collect();
        let plain = meant(name);
        let plain = String::from_utf8_lossy(&plain);
        format!(
            "{}: Unable to find missing symbol: {shown}: nothing exports it, and neither vmlinux nor any module \
             defines it{}{}{uses}",
            users_shown.join(", "),
            suggestions::among(&suggestions::nearest(&plain, &parts, &[])),
            suggestions::fate(&plain, &told),
        )
    };
    unknown.iter().map(message).collect()
}

/// The files with the debugging information of vmlinux and, if they are not too large, of the modules.
fn with_debug_info(inputs: &Inputs) -> Vec<(String, PathBuf)> {
    let vmlinux = vmlinux_image(inputs).map(|file| (VMLINUX.to_owned(), file.to_path_buf()));
    let modules = inputs.modules.iter().map(|(module, file)| (module.name(), file.clone()));
    vmlinux.into_iter().chain(suggestions::bounded(modules.collect())).collect()
}

/// Where a livepatch's object refers to a symbol.
fn uses(module: &Module, name: &[u8], inputs: &Inputs) -> String {
    let object = inputs.modules.iter().find(|(other, _)| other == module);
    let Some(image) = object.and_then(|(_, path)| Image::read(path).ok()) else { return String::new() };
    let symbol = image.symbols.enumerate().find(|(_, symbol)| symbol.name == name);
    symbol.map(|(index, _)| problem::uses(&image, index, image.lines().as_ref())).unwrap_or_default()
}

/// The undefined symbols of the ordinary modules, as modpost would report them: for trees whose modpost can only be
/// lenient with all modules or with none.
///
/// # Errors
/// An object cannot be read.
pub fn undefined_in_ordinary_modules(map: &Map, inputs: &Inputs) -> Result<Vec<String>> {
    let livepatches: HashSet<&str> = map.livepatches.iter().map(|l| l.module.stem.as_str()).collect();
    let objects: Vec<&Path> = vmlinux_image(inputs)
        .into_iter()
        .chain(inputs.modules.iter().map(|(_, path)| path.as_path()))
        .collect();
    let exported: HashSet<Name> = objects
        .into_par_iter()
        .map(|path| {
            let object = ObjectSymbols::read(path)?;
            let names = object.symbols().filter(|&(_, place)| place == Definedness::Defined);
            Ok(names.filter_map(|(name, _)| exported_name(name).map(<[u8]>::to_vec)).collect::<Vec<Name>>())
        })
        .collect::<Result<Vec<Vec<Name>>>>()?
        .into_iter()
        .flatten()
        .collect();
    let mut errors = Vec::new();
    for (module, path) in inputs.modules.iter().filter(|(m, _)| !livepatches.contains(m.stem.as_str())) {
        let object = ObjectSymbols::read(path)?;
        for (name, place) in object.symbols() {
            let is_known =
                || exported.contains(asked(name)) || is_resolved_by_modpost(object.machine(), name);
            if place == Definedness::Undefined && !is_known() {
                let name = String::from_utf8_lossy(name);
                errors.push(format!("ERROR: modpost: \"{name}\" [{}] undefined!", module.ko()));
            }
        }
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_markers_of_all_eras() {
        assert_eq!(exported_name(b"__ksymtab_printk"), Some(b"printk".as_slice()));
        assert_eq!(exported_name(b"__ksymtab_USB.usb_stor_probe"), Some(b"usb_stor_probe".as_slice()));
        assert_eq!(exported_name(b"__export_symbol_printk"), Some(b"printk".as_slice()));
        assert_eq!(exported_name(b"printk"), None);
    }

    #[test]
    fn a_symbol_that_an_ordinary_module_lacks_is_not_dumped() {
        let set = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let verdict = UndefinedSymbols {
            allowed: set(&["a.0", "a.1", "b"]),
            missing_elsewhere: set(&["b"]),
            problems: Vec::new(),
        };
        assert_eq!(verdict.dump(), "0x00000000\ta\tvmlinux\tEXPORT_SYMBOL\t\n");
        assert!(verdict.check_names(false).is_ok());
        assert_eq!(verdict.modpost_variables(Modpost::Program, "w", "d"), "MODPOST=w");
        assert_eq!(UndefinedSymbols::default().modpost_variables(Modpost::Program, "w", "d"), "");
    }
}
