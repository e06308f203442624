// SPDX-License-Identifier: GPL-2.0-only
//! A module to load, and whether the kernel at hand can be expected to accept it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::trial::soft;
use crate::elf::ObjectSymbols;
use crate::elf::image::Image;
use crate::elf::modinfo::SIGNATURE;
use crate::host::compressed;
use crate::host::compressed::unpacked_name;
use crate::livepatch::order;
use crate::livepatch::order::LoadBefore;
use crate::livepatch::patch::Patch;

/// A module file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFile {
    /// Where it is.
    pub path: PathBuf,
    /// The file's name.
    pub file: String,
    /// Its run-time name.
    pub name: String,
    /// The kernel release it was built for.
    pub release: Option<String>,
    /// Whether it is a livepatch.
    pub livepatch: bool,
    /// The modules that have to be loaded before it, by run-time name.
    pub depends: Vec<String>,
    /// The soft dependencies to load before it, if they are there, by the names that it gives.
    pub soft: Vec<String>,
    /// The objects that a livepatch patches, as far as they can be seen.
    pub patches: Vec<String>,
    /// The functions that a livepatch replaces, as far as they can be seen: object, name and position, from 1.
    pub replaces: BTreeSet<(String, String, u64)>,
    /// The modules that a livepatch needs to be loaded, and to stay.
    pub needs: Vec<LoadBefore>,
    /// Whether it ends with a signature.
    pub is_signed: bool,
    /// Whether the kernel can unload it: a module with an init function but no exit function stays (`delete_module`
    /// in kernel/module/main.c).
    pub can_unload: bool,
}

impl ModuleFile {
    /// Reads the information in the module at `path`.
    ///
    /// # Errors
    /// There is no module at `path`.
    pub fn read(path: &Path) -> Result<ModuleFile> {
        let shown = path.display();
        ensure!(path.is_file(), "{shown}: no such module: build it first (klpbuild modules)");
        let object = ObjectSymbols::read(path)?;
        let modinfo = object.modinfo();
        let has = |name: &[u8]| object.symbols().any(|(symbol, _)| symbol == name);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = unpacked_name(&file).to_owned();
        let Some(stem) = file.strip_suffix(".ko") else {
            bail!("{shown} is not named like a module: a file that ends in .ko is wanted, packed or not");
        };
        ensure!(
            modinfo.entries().next().is_some(),
            "{shown} has no .modinfo: it is no module, or modpost has not finished it"
        );
        Ok(ModuleFile {
            path: path.to_path_buf(),
            name: modinfo.text("name").unwrap_or_else(|| stem.replace(['-', ','], "_")),
            release: modinfo.release(),
            livepatch: modinfo.is_livepatch(),
            depends: modinfo.depends(),
            soft: modinfo
                .texts("softdep")
                .flat_map(|words| soft::before(&words).map(str::to_owned).collect::<Vec<_>>())
                .collect(),
            patches: Vec::new(),
            replaces: BTreeSet::new(),
            needs: Vec::new(),
            is_signed: compressed::read(path)?.ends_with(SIGNATURE),
            can_unload: !has(b"init_module") || has(b"cleanup_module"),
            file,
        })
    }

    /// Why the kernel cannot unload it; none if it can.
    pub fn why_it_stays(&self) -> Option<&'static str> {
        (!self.can_unload).then_some("it has no module_exit, so that the kernel never unloads it")
    }

    /// Reads the livepatch at `path`.
    ///
    /// # Errors
    /// It is no livepatch, or was built for another kernel than `release`.
    pub fn livepatch(path: &Path, release: Option<&str>) -> Result<ModuleFile> {
        let module = ModuleFile::read(path)?;
        ensure!(
            module.livepatch,
            "{} is not a livepatch (no livepatch=Y in its .modinfo): name an ordinary module with --load",
            path.display()
        );
        module.complete(path, release)
    }

    /// Reads the module at `path`, which is no livepatch.
    ///
    /// # Errors
    /// It is a livepatch, or was built for another kernel than `release`.
    pub fn ordinary(path: &Path, release: Option<&str>) -> Result<ModuleFile> {
        let module = ModuleFile::read(path)?;
        ensure!(!module.livepatch, "{} is a livepatch: name it without --load", path.display());
        module.complete(path, release)
    }

    /// Adds what it patches, and the modules that it needs.
    fn complete(self, path: &Path, release: Option<&str>) -> Result<ModuleFile> {
        let mut module = self;
        let shown = path.display();
        if let (Some(wanted), Some(release)) = (&module.release, release) {
            ensure!(
                wanted == release,
                "{shown} is for {wanted}, and the kernel here is {release}: build the module again"
            );
        }
        let patch = module.livepatch.then(|| Image::read(path).ok()).flatten();
        module.needs.extend(patch.iter().flat_map(order::of));
        let patch = patch.and_then(|image| Patch::read(&image));
        for object in patch.into_iter().flat_map(|patch| patch.objects) {
            module.replaces.extend(object.functions.iter().map(|function| {
                let name = String::from_utf8_lossy(&function.old_name).into_owned();
                (object.name.clone(), name, function.old_sympos.max(1))
            }));
            module.patches.push(object.name);
        }
        Ok(module)
    }

    /// The module's bytes, unpacked.
    ///
    /// # Errors
    /// The file is gone, or damaged.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        compressed::read(&self.path).context("a module is gone")
    }

    /// A livepatch of this file's name, for tests.
    #[cfg(test)]
    pub(crate) fn sample(file: &str) -> ModuleFile {
        ModuleFile {
            path: file.into(),
            file: file.to_owned(),
            name: file.replace(".ko", ""),
            release: None,
            livepatch: true,
            depends: Vec::new(),
            soft: Vec::new(),
            patches: Vec::new(),
            replaces: BTreeSet::new(),
            needs: Vec::new(),
            is_signed: false,
            can_unload: true,
        }
    }
}
