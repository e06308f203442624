// SPDX-License-Identifier: GPL-2.0-only
//! Which modules an object tree has, and which file holds each one's object before modpost.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use crate::host::text;

/// Where kbuild keeps its list of modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// `modules.order` in the object tree's root (5.3 and later).
    ModulesOrder,
    /// One file for each module in MODVERDIR, `.tmp_versions` (up to 5.2).
    ModverDir,
}

impl ListKind {
    /// Whether the list is there in `directory`.
    pub fn is_there(self, directory: &Path) -> bool {
        match self {
            ListKind::ModulesOrder => directory.join("modules.order").is_file(),
            ListKind::ModverDir => directory.join(MODVERDIR).is_dir(),
        }
    }
}

/// MODVERDIR of an in-tree build, relative to the object tree (top Makefile, up to 5.2).
pub const MODVERDIR: &str = ".tmp_versions";

/// A module of an object tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Module {
    /// Path relative to the object tree without suffix, as in `fs/fat/fat`.
    pub stem: String,
}

impl Module {
    /// The name the module has when it is loaded: the file's name with `-` and `,` turned to `_`
    /// (`name-fix` in scripts/Makefile.lib, KBUILD_MODNAME).
    pub fn name(&self) -> String {
        self.base().replace(['-', ','], "_")
    }

    /// The file's name without directory and suffix.
    pub fn base(&self) -> &str {
        self.stem.rsplit('/').next().unwrap_or(&self.stem)
    }

    /// The module's directory relative to the object tree; empty for its root.
    pub fn directory(&self) -> &str {
        self.stem.rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// The path of the finished module relative to the object tree.
    pub fn ko(&self) -> String {
        format!("{}.ko", self.stem)
    }

    /// The file with the module's symbols as they are before modpost. With a `prelink` suffix
    /// (`mod-prelink-ext` in scripts/Makefile.lib, 5.15 to 5.18) that is `foo.lto.o` or `foo.prelink.o` if
    /// it is there and not older than `foo.o`, which is LLVM bitcode or has not seen objtool then.
    pub fn object(&self, objtree: &Path, prelink: Option<&str>) -> PathBuf {
        let object = objtree.join(format!("{}.o", self.stem));
        let Some(suffix) = prelink else { return object };
        let linked = objtree.join(format!("{}{suffix}.o", self.stem));
        let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        if modified(&linked) >= modified(&object) && modified(&linked).is_some() { linked } else { object }
    }
}

/// The modules of `objtree`, each once: by path in byte order, or by the name of the `.mod` file for
/// MODVERDIR.
///
/// # Errors
/// The list is missing (nothing is built yet), or a line of it is no module's path.
pub fn list(objtree: &Path, kind: ListKind) -> Result<Vec<Module>> {
    listed(objtree, kind, objtree)
}

/// The modules in the directory `external` of external modules: stems are relative to it. `root` is the directory
/// that make runs in when it writes the list: the kernel's object tree up to 6.12, later `external` itself.
///
/// # Errors
/// The errors of [`list`].
pub fn list_external(external: &Path, kind: ListKind, root: &Path) -> Result<Vec<Module>> {
    let beneath = |module: Module| {
        let path = root.join(&module.stem);
        let path = match (path.parent().map(fs::canonicalize), path.file_name()) {
            (Some(Ok(directory)), Some(name)) => directory.join(name),
            _ => path,
        };
        let stem = path.strip_prefix(external).unwrap_or(&path);
        Module { stem: stem.to_string_lossy().into_owned() }
    };
    let mut modules: Vec<Module> = listed(external, kind, root)?.into_iter().map(beneath).collect();
    modules.sort();
    modules.dedup();
    Ok(modules)
}

fn listed(directory: &Path, kind: ListKind, root: &Path) -> Result<Vec<Module>> {
    match kind {
        ListKind::ModulesOrder => from_modules_order(&directory.join("modules.order")),
        ListKind::ModverDir => from_modverdir(&directory.join(MODVERDIR), root),
    }
}

fn from_modules_order(path: &Path) -> Result<Vec<Module>> {
    let text = text::read(path)
        .context("there is no list of modules: build the modules first (klpbuild modules)")?;
    let mut modules = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            module_of(line).with_context(|| format!("{}:{}: {line:?}", path.display(), index + 1))
        })
        .collect::<Result<Vec<Module>>>()?;
    modules.sort();
    modules.dedup();
    Ok(modules)
}

/// Entries end in `.ko` up to 6.1 and in `.o` from 6.2 on.
fn module_of(line: &str) -> Result<Module> {
    let Some(stem) = line.strip_suffix(".ko").or_else(|| line.strip_suffix(".o")) else {
        bail!("this is not the path of a module (*.ko or *.o)");
    };
    Ok(Module { stem: stem.to_owned() })
}

fn from_modverdir(directory: &Path, root: &Path) -> Result<Vec<Module>> {
    let mut files = fs::read_dir(directory)
        .context("there is no list of modules: build the modules first (klpbuild modules)")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "mod"));
    files.sort();
    let mut modules = Vec::with_capacity(files.len());
    for path in &files {
        let text = text::read(path)?;
        let line = text.lines().next().unwrap_or_default();
        let module = module_of(line).with_context(|| format!("{}:1: {line:?}", path.display()))?;
        // A module that is not built any more has left this entry; kbuild skips it as well (scripts/Makefile.modpost,
        // up to 5.2).
        if root.join(format!("{}.o", module.stem)).exists() {
            modules.push(module);
        }
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_by_path_without_suffix() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("modules.order"), "b/a-b.o\nb/a.o\nb/a,c.o\na/z.o\nb/a.o\n").unwrap();
        let modules = list(dir.path(), ListKind::ModulesOrder).unwrap();
        let stems: Vec<&str> = modules.iter().map(|module| module.stem.as_str()).collect();
        assert_eq!(stems, ["a/z", "b/a", "b/a,c", "b/a-b"]);
        let names: Vec<String> = modules.iter().map(Module::name).collect();
        assert_eq!(names, ["z", "a", "a_c", "a_b"]);
    }

    #[test]
    fn modverdir_goes_by_the_mod_files_names_and_skips_stale_ones() {
        let dir = tempfile::tempdir().unwrap();
        let versions = dir.path().join(MODVERDIR);
        fs::create_dir(&versions).unwrap();
        fs::create_dir_all(dir.path().join("x")).unwrap();
        for name in ["a", "a-b", "gone"] {
            fs::write(versions.join(format!("{name}.mod")), format!("x/{name}.ko\nx/{name}.o\n")).unwrap();
        }
        fs::write(dir.path().join("x/a.o"), "").unwrap();
        fs::write(dir.path().join("x/a-b.o"), "").unwrap();
        let modules = list(dir.path(), ListKind::ModverDir).unwrap();
        assert_eq!(modules.iter().map(|m| m.stem.as_str()).collect::<Vec<_>>(), ["x/a-b", "x/a"]);
    }

    #[test]
    fn objects_linked_before_modpost_count_unless_they_are_stale() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let object = |prelink| Module { stem: "a".to_owned() }.object(dir.path(), prelink);
        fs::write(at("a.o"), "").unwrap();
        assert_eq!(object(Some(".lto")), at("a.o"));
        fs::write(at("a.lto.o"), "").unwrap();
        assert_eq!((object(Some(".lto")), object(None)), (at("a.lto.o"), at("a.o")));
        assert_eq!(object(Some(".prelink")), at("a.o"));
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        fs::File::options().append(true).open(at("a.o")).unwrap().set_modified(later).unwrap();
        assert_eq!(object(Some(".lto")), at("a.o"));
    }

    #[test]
    fn a_line_that_is_no_module_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("modules.order"), "a.ko\nb.txt\n").unwrap();
        let error = format!("{:#}", list(dir.path(), ListKind::ModulesOrder).unwrap_err());
        assert!(error.contains("modules.order:2: \"b.txt\""), "{error}");
        let error = format!("{:#}", list(dir.path(), ListKind::ModverDir).unwrap_err());
        assert!(error.contains("klpbuild modules"), "{error}");
    }
}
