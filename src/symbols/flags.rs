//! Livepatches marked in a kbuild makefile, by `LIVEPATCH_<name>.o := y` or `LIVEPATCH_<name> := y`.
//!
//! make evaluates the makefiles; reading their text only decides which of them need it. A makefile that
//! neither mentions `LIVEPATCH_` nor includes another one cannot set a flag.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use regex::bytes::Regex;

use crate::make;
use crate::symbols::modules::Module;

/// The modules (by stem) that their kbuild makefile marks as livepatches.
///
/// `variables` are the assignments the user gave to make, which a makefile may depend on. `scratch` is a
/// directory for the evaluating makefile.
///
/// # Errors
/// A makefile that may set a flag cannot be read or evaluated; the message has make's own words.
pub fn flagged(
    srctree: &Path,
    objtree: &Path,
    modules: &[Module],
    variables: &[String],
    scratch: &Path,
) -> Result<BTreeSet<String>> {
    let may_set = Regex::new(r"(?m)(?-u:(^|[^A-Za-z0-9_])LIVEPATCH_)|^[ \t]*[-s]?include[ \t]")?;
    let mut directories: BTreeMap<(PathBuf, &str), Vec<&Module>> = BTreeMap::new();
    for module in modules {
        if let Some((directory, file)) = kbuild_file(srctree, module.directory()) {
            directories.entry((file, directory)).or_default().push(module);
        }
    }
    let mut flagged = BTreeSet::new();
    for ((file, directory), members) in directories {
        if !may_set.is_match(&fs::read(&file)?) {
            continue;
        }
        let flags = evaluate(srctree, objtree, directory, &file, variables, scratch)?;
        let is_flagged = |module: &&&Module| {
            let name = module.base();
            flags.contains(&format!("LIVEPATCH_{name}.o")) || flags.contains(&format!("LIVEPATCH_{name}"))
        };
        flagged.extend(members.iter().filter(is_flagged).map(|module| module.stem.clone()));
    }
    Ok(flagged)
}

/// The kbuild makefile that a module in `directory` is built by: `Kbuild` or `Makefile` of that directory or
/// of the nearest one above that has any (scripts/Makefile.build, `kbuild-file`).
fn kbuild_file<'a>(srctree: &Path, directory: &'a str) -> Option<(&'a str, PathBuf)> {
    let mut current = directory;
    while !current.is_empty() {
        for name in ["Kbuild", "Makefile"] {
            let file = srctree.join(current).join(name);
            if file.is_file() {
                return Some((current, file));
            }
        }
        current = current.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    None
}

fn evaluate(
    srctree: &Path,
    objtree: &Path,
    directory: &str,
    file: &Path,
    variables: &[String],
    scratch: &Path,
) -> Result<BTreeSet<String>> {
    let makefile = scratch.join("flags.mk");
    fs::write(&makefile, include_str!("flags.mk"))?;
    // `src` has been relative to the source tree and absolute (6.10 and later); the tree itself knows.
    let build = fs::read_to_string(srctree.join("scripts/Makefile.build")).unwrap_or_default();
    let src = build.lines().find_map(|line| line.strip_prefix("src := ")).unwrap_or("$(obj)");
    let in_tree = srctree == objtree;
    let root = if in_tree { ".".to_owned() } else { srctree.display().to_string() };
    let mut command = make::Command::new(objtree);
    command.args(["-rR", "-s", "--no-print-directory", "-f"]).arg(makefile.display().to_string());
    command.args(variables.iter().cloned());
    command.args([format!("srctree={root}"), format!("srcroot={root}"), "objtree=.".to_owned()]);
    command.arg(format!("VPATH={}", if in_tree { "" } else { &root }));
    command.args([format!("obj={directory}"), format!("src={src}")]);
    command.arg(format!("kbuild-file={}", file.display())).arg("klpbuild-flags");
    command.detach_from_outer_make();
    let output = command.capture()?;
    ensure!(
        output.success,
        "cannot tell which livepatches {} marks: make says\n{}",
        file.display(),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    let text = String::from_utf8(output.stdout).context("make printed a flag that is not UTF-8")?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("klpbuild-flag ")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate_tree(makefile: &str, variables: &[&str]) -> Result<BTreeSet<String>> {
        let dir = tempfile::tempdir().unwrap();
        let src = dir.path();
        fs::create_dir_all(src.join("drivers/a/deep")).unwrap();
        fs::create_dir_all(src.join("scripts")).unwrap();
        fs::write(src.join("scripts/Makefile.build"), "src := $(if $(VPATH),$(VPATH)/)$(obj)\n").unwrap();
        fs::write(src.join("drivers/a/Makefile"), makefile).unwrap();
        fs::write(src.join("drivers/a/more.mk"), "LIVEPATCH_included.o := y\n").unwrap();
        let modules = ["drivers/a/one", "drivers/a/two", "drivers/a/included", "drivers/a/deep/down"]
            .map(|stem| Module { stem: stem.to_owned() });
        let variables: Vec<String> = variables.iter().map(|&variable| variable.to_owned()).collect();
        flagged(src, src, &modules, &variables, src)
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

    #[test]
    fn a_makefile_that_make_refuses_is_named() {
        let error = evaluate_tree("LIVEPATCH_one.o := y\nendif\n", &[]).unwrap_err().to_string();
        assert!(
            error.contains("drivers/a/Makefile marks") && error.contains("extraneous 'endif'"),
            "{error}"
        );
    }
}
