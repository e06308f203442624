// SPDX-License-Identifier: GPL-2.0-only
//! Livepatches marked in a kbuild makefile, by `LIVEPATCH_<name>.o := y` or `LIVEPATCH_<name> := y`.
//!
//! make evaluates the makefiles; reading their text only decides which of them need it. A makefile that
//! neither mentions `LIVEPATCH_` nor includes another one cannot set a flag.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use regex::bytes::Regex;

use crate::host::make;
use crate::host::make::variable::Variable;
use crate::kernel::external::External;
use crate::kernel::symbols::modules::Module;

/// Where kbuild makefiles lie, and which variables kbuild has set when it reads them.
#[derive(Debug)]
pub struct Makefiles {
    srctree: PathBuf,
    objtree: PathBuf,
    /// For external modules: where they are, and the release of the kernel.
    external: Option<(External, String)>,
}

/// The values that make finds in one kbuild makefile.
#[derive(Debug, Default)]
struct Marks {
    /// `LIVEPATCH_*` variables that are `y`.
    flags: BTreeSet<String>,
    /// Stems of modules that the makefile builds in directories below its own.
    below: BTreeSet<String>,
    /// Symbol dumps of other external modules (KBUILD_EXTRA_SYMBOLS).
    extra_symbols: Vec<String>,
}

/// The modules (by stem) that their kbuild makefile marks as livepatches.
///
/// `variables` are the assignments the user gave to make, which a makefile may depend on.
///
/// # Errors
/// A makefile that may set a flag cannot be read or evaluated; the message has make's own words.
pub fn flagged(
    makefiles: &Makefiles,
    modules: &[Module],
    variables: &[Variable],
) -> Result<BTreeSet<String>> {
    let may_set = Regex::new(r"(?m)(?-u:(^|[^A-Za-z0-9_])LIVEPATCH_)|^[ \t]*[-s]?include[ \t]")?;
    let mut marks: BTreeMap<&str, Option<Marks>> = BTreeMap::new();
    let mut flagged = BTreeSet::new();
    for module in modules {
        // The nearest makefile builds the module, unless one in a directory above says that it builds the module
        // itself.
        let mut nearest = true;
        for directory in makefiles.ancestors(module.directory()) {
            let Some(file) = makefiles.file(directory) else { continue };
            if !marks.contains_key(directory) {
                let evaluated = if may_set.is_match(&fs::read(&file)?) {
                    Some(makefiles.evaluate(directory, &file, variables)?)
                } else {
                    None
                };
                marks.insert(directory, evaluated);
            }
            if let Some(Some(found)) = marks.get(directory)
                && (nearest || found.below.contains(&module.stem))
                && found.marks(module)
            {
                flagged.insert(module.stem.clone());
            }
            nearest = false;
        }
    }
    Ok(flagged)
}

/// The symbol dumps of other modules that external modules use: KBUILD_EXTRA_SYMBOLS from the command line, their
/// makefile or the environment, with make's own precedence.
///
/// # Errors
/// Their makefile cannot be evaluated.
pub fn extra_symbols(makefiles: &Makefiles, variables: &[Variable]) -> Result<Vec<String>> {
    match makefiles.file("") {
        Some(file) => Ok(makefiles.evaluate("", &file, variables)?.extra_symbols),
        None => Ok(Vec::new()),
    }
}

impl Marks {
    fn marks(&self, module: &Module) -> bool {
        let name = module.base();
        self.flags.contains(&format!("LIVEPATCH_{name}.o"))
            || self.flags.contains(&format!("LIVEPATCH_{name}"))
    }
}

impl Makefiles {
    /// The makefiles of a kernel tree.
    pub fn in_tree(srctree: &Path, objtree: &Path) -> Makefiles {
        Makefiles { srctree: srctree.to_path_buf(), objtree: objtree.to_path_buf(), external: None }
    }

    /// The makefiles of external modules, for the kernel `release`.
    pub fn external(srctree: &Path, objtree: &Path, external: &External, release: &str) -> Makefiles {
        let external = Some((external.clone(), release.to_owned()));
        Makefiles { external, ..Makefiles::in_tree(srctree, objtree) }
    }

    /// A directory and those above it. The kernel's root is left out: its Makefile is no kbuild makefile.
    fn ancestors<'a>(&self, directory: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let root = self.external.is_some() && !Path::new(directory).is_absolute();
        std::iter::successors(Some(directory).filter(|directory| !directory.is_empty()), |directory| {
            directory.rsplit_once('/').map(|(parent, _)| parent)
        })
        .chain(root.then_some(""))
    }

    /// The kbuild makefile of a directory: `Kbuild`, or else `Makefile` (scripts/Makefile.build, `kbuild-file`).
    fn file(&self, directory: &str) -> Option<PathBuf> {
        let root = self.external.as_ref().map_or(&self.srctree, |(external, _)| &external.source);
        let files = ["Kbuild", "Makefile"].map(|name| root.join(directory).join(name));
        files.into_iter().find(|file| file.is_file())
    }

    /// The variables that kbuild has set when it reads the makefile of `directory`.
    fn setting(&self, directory: &str) -> Vec<String> {
        let in_tree = self.srctree == self.objtree;
        let srctree = if in_tree { ".".to_owned() } else { self.srctree.display().to_string() };
        if let Some((external, release)) = &self.external {
            let source = &external.source;
            let place = source.join(directory).display().to_string();
            let place = place.trim_end_matches('/');
            return [
                format!("srctree={srctree}"),
                format!("srcroot={}", source.display()),
                format!("objtree={}", self.objtree.display()),
                format!("obj={place}"),
                format!("src={place}"),
                format!("M={}", external.argument),
                format!("KBUILD_EXTMOD={}", external.argument),
                format!("KERNELRELEASE={release}"),
            ]
            .into_iter()
            .chain(self.versions())
            .collect();
        }
        // `src` has been relative to the source tree, and absolute from 6.10 on; the tree's own makefile shows which.
        let build = fs::read_to_string(self.srctree.join("scripts/Makefile.build")).unwrap_or_default();
        let src = build.lines().find_map(|line| line.strip_prefix("src := ")).unwrap_or("$(obj)");
        vec![
            format!("srctree={srctree}"),
            format!("srcroot={srctree}"),
            "objtree=.".to_owned(),
            format!("VPATH={}", if in_tree { "" } else { &srctree }),
            format!("obj={directory}"),
            format!("src={src}"),
        ]
    }

    /// The version numbers at the beginning of the top Makefile, which makefiles may test.
    fn versions(&self) -> Vec<String> {
        let text = fs::read_to_string(self.srctree.join("Makefile")).unwrap_or_default();
        let number = |name: &str| {
            let value =
                text.lines().take(20).find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='))?;
            Some(format!("{name}={}", value.trim()))
        };
        ["VERSION", "PATCHLEVEL", "SUBLEVEL"].into_iter().filter_map(number).collect()
    }

    fn evaluate(&self, directory: &str, file: &Path, variables: &[Variable]) -> Result<Marks> {
        // The directory that make reads it in; the directory that MO= names may not exist yet.
        let root = self.external.as_ref().map_or(&self.objtree, |(external, _)| &external.root);
        let root = match &self.external {
            Some((external, _)) if !root.is_dir() => &external.source,
            _ => root,
        };
        let mut command = make::new(root);
        let config = self.objtree.join("include/config/auto.conf");
        command.arg(format!("auto-conf={}", config.display()));
        command.args(["-rR", "-s", "--no-print-directory", "-f", "-"]);
        command
            .args(variables.iter().map(|variable| variable.word().to_owned()))
            .args(self.setting(directory));
        command.arg(format!("kbuild-file={}", file.display())).arg("klpbuild-flags");
        make::detach_from_outer(&mut command);
        let output = command.capture(include_str!("flags.mk"))?;
        ensure!(
            output.success,
            "cannot tell which livepatches {} marks: make says\n{}",
            file.display(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        let text = String::from_utf8(output.stdout).context("make printed a flag that is not UTF-8")?;
        let mut marks = Marks::default();
        for line in text.lines() {
            if let Some(flag) = line.strip_prefix("klpbuild-flag ") {
                marks.flags.insert(flag.to_owned());
            } else if let Some(object) =
                line.strip_prefix("klpbuild-below ").and_then(|name| name.strip_suffix(".o"))
            {
                let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
                marks.below.insert(format!("{prefix}{object}"));
            } else if let Some(files) = line.strip_prefix("klpbuild-extra ") {
                marks.extra_symbols = files.split_whitespace().map(str::to_owned).collect();
            }
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate_tree(makefile: &str, variables: &[&str]) -> Result<BTreeSet<String>> {
        evaluate_trees(makefile, "", variables)
    }

    fn evaluate_trees(makefile: &str, deep: &str, variables: &[&str]) -> Result<BTreeSet<String>> {
        let dir = tempfile::tempdir().unwrap();
        let src = dir.path();
        fs::create_dir_all(src.join("drivers/a/deep")).unwrap();
        fs::create_dir_all(src.join("scripts")).unwrap();
        fs::write(src.join("scripts/Makefile.build"), "src := $(if $(VPATH),$(VPATH)/)$(obj)\n").unwrap();
        fs::write(src.join("drivers/a/Makefile"), makefile).unwrap();
        if !deep.is_empty() {
            fs::write(src.join("drivers/a/deep/Makefile"), deep).unwrap();
        }
        fs::write(src.join("drivers/a/more.mk"), "LIVEPATCH_included.o := y\n").unwrap();
        let modules = ["drivers/a/one", "drivers/a/two", "drivers/a/included", "drivers/a/deep/down"]
            .map(|stem| Module { stem: stem.to_owned() });
        let variables: Vec<Variable> = variables.iter().filter_map(|word| Variable::parse(word)).collect();
        flagged(&Makefiles::in_tree(src, src), &modules, &variables)
    }

    fn set(stems: &[&str]) -> BTreeSet<String> {
        stems.iter().map(|&stem| stem.to_owned()).collect()
    }

    #[test]
    fn make_decides_what_is_set() {
        let text = "LIVEPATCH_one.o := y\nifdef WANT_TWO\nLIVEPATCH_two := y\nendif\nLIVEPATCH_down.o := n\n";
        assert_eq!(evaluate_tree(text, &[]).unwrap(), set(&["drivers/a/one"]));
        assert_eq!(evaluate_tree(text, &["WANT_TWO=1"]).unwrap(), set(&["drivers/a/one", "drivers/a/two"]));
        let computed = "$(foreach m,two deep/down,$(eval LIVEPATCH_$(notdir $m).o := y))\n";
        assert_eq!(evaluate_tree(computed, &[]).unwrap(), set(&["drivers/a/deep/down", "drivers/a/two"]));
        let included = "include $(src)/more.mk\n";
        assert_eq!(evaluate_tree(included, &[]).unwrap(), set(&["drivers/a/included"]));
        assert_eq!(evaluate_tree("obj-$(CONFIG_LIVEPATCH) += one.o\n", &[]).unwrap(), set(&[]));
    }

    /// A parent that builds a module in a directory with a makefile of its own.
    #[test]
    fn a_makefile_further_up_may_build_the_module() {
        let text = "obj-m += deep/down.o\nLIVEPATCH_down.o := y\nLIVEPATCH_two.o := y\n";
        let own = |deep: &str| evaluate_trees(text, deep, &[]).unwrap();
        assert_eq!(own("obj-y += other.o\n"), set(&["drivers/a/deep/down", "drivers/a/two"]));
        let text = "LIVEPATCH_down.o := y\n";
        assert_eq!(evaluate_trees(text, "obj-m += down.o\n", &[]).unwrap(), set(&[]));
        assert_eq!(
            evaluate_trees("", "obj-m += down.o\nLIVEPATCH_down := y\n", &[]).unwrap(),
            set(&["drivers/a/deep/down"])
        );
    }

    #[test]
    fn a_makefile_that_make_refuses_is_named() {
        let error = evaluate_tree("LIVEPATCH_one.o := y\nendif\n", &[]).unwrap_err().to_string();
        assert!(
            error.contains("drivers/a/Makefile marks") && error.contains("extraneous 'endif'"),
            "{error}"
        );
    }
}
