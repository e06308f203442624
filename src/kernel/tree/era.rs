// SPDX-License-Identifier: GPL-2.0-only
//! Which kbuild a tree has. Features of its makefiles decide, never its version: stable and vendor trees have
//! backports.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::kernel::symbols::modules::ListKind;
use crate::kernel::tree::config::Config;

/// The three ways kbuild has built modules so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Up to 5.2: MODVERDIR lists the modules; the recipe of `modules` runs modpost.
    ModverDir,
    /// 5.3 to 6.0: `modules.order` lists the modules; the recipe of `modules` runs modpost, after vmlinux is
    /// linked.
    ModulesOrder,
    /// 6.1 and later: the recipe of `modpost` runs modpost, and vmlinux is linked after it.
    ModpostFirst,
}

/// How modpost learns which symbols livepatches may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modpost {
    /// 6.1 and later: MODPOST names only the program, so another program that adds `-i FILE` can stand in for it.
    Program,
    /// 5.14 to 6.0: `existing-input-symdump` lists the symbol dumps to read.
    InputDumps,
    /// 5.12 and 5.13: only `input-symdump` lists them, which are also the prerequisites of modpost's output.
    InputPrerequisites,
    /// 5.8 to 5.11: modpost writes the symbols of the dumps that it reads into Module.symvers, so its whole command
    /// is replaced.
    Command,
    /// Up to 5.7: there is only KBUILD_MODPOST_WARN, so ordinary modules get a strict run of their own first.
    WarnOnly,
}

/// How to have scripts/Makefile.modpost run only modpost, without linking and without touching the kernel's symbol
/// dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// Up to 5.7: by this goal; `kernelsymfile` names the dump.
    Goal(&'static str),
    /// From 5.8 on: the dump is the goal, which `output-symdump` names.
    Dump,
}

/// How klpbuild runs the map step between compilation and modpost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// In one make run, by a makefile fragment that adds a prerequisite (`hook.mk`).
    Fragment,
    /// By the tree itself: it carries the series of `kbuild-patches`, which is switched on.
    Patched,
    /// In phases, for a tree without the targets that the fragment needs: make with these goals, then the
    /// map, then `make modules`.
    Phased {
        /// Goals that compile everything, in a build of modules and built-in objects.
        compile: Vec<&'static str>,
    },
}

/// What klpbuild needs to know of a source tree's kbuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kbuild {
    /// Which of the three ways it builds modules in.
    pub era: Era,
    /// How klpbuild runs the map step.
    pub method: Method,
    /// How modpost learns of livepatches' symbols.
    pub modpost: Modpost,
    /// How modpost is run alone, with a symbol dump of its own; none if the makefile is unlike any known one.
    pub alone: Option<Alone>,
    /// The target that compiles external modules and writes modules.order; `$(M)` stands for the value of M=.
    pub compiled: &'static str,
    /// The suffix of module objects that are linked before modpost (`.lto`, `.prelink`: 5.15 to 5.18).
    pub prelink: Option<String>,
}

/// The makefile that a series of `kbuild-patches` adds to a tree.
const PATCHED: &str = "scripts/Makefile.klp";

/// The option that a series adds, without `CONFIG_`.
const SWITCH: &str = "KLP_CONVERT";

/// The Kconfig file that has this option.
const SWITCH_FILE: &str = "kernel/livepatch/Kconfig";

impl Era {
    /// The kind of list that kbuild keeps its modules in.
    pub fn modules(self) -> ListKind {
        match self {
            Era::ModverDir => ListKind::ModverDir,
            Era::ModulesOrder | Era::ModpostFirst => ListKind::ModulesOrder,
        }
    }

    /// The letter by which the fragment knows the era.
    pub fn letter(self) -> &'static str {
        match self {
            Era::ModverDir => "a",
            Era::ModulesOrder => "b",
            Era::ModpostFirst => "c",
        }
    }
}

/// The command that kbuild runs modpost with from 5.8 to 5.11, which klpbuild replaces: see [`Modpost::Command`].
const COMMAND: &str = "\n      cmd_modpost = sed 's/ko$$/o/' $< | $(MODPOST) -T -\n";

impl Modpost {
    /// How modpost learns of livepatches' symbols in a tree that runs it after linking vmlinux, by its
    /// scripts/Makefile.modpost.
    fn before_6_1(makefile: &str) -> Modpost {
        let has = |words: &str| makefile.contains(words);
        if has("existing-input-symdump") {
            Modpost::InputDumps
        } else if has("\ninput-symdump := vmlinux.symvers\noutput-symdump := modules-only.symvers\n") {
            Modpost::InputPrerequisites
        } else if has("\ninput-symdump := vmlinux.symvers\noutput-symdump := Module.symvers\n")
            && has(COMMAND)
        {
            Modpost::Command
        } else {
            Modpost::WarnOnly
        }
    }
}

impl Kbuild {
    /// Reads the makefiles of the source tree at `srctree`. A series of `kbuild-patches` in it is disregarded: see
    /// [`Kbuild::for_own_modules`].
    ///
    /// # Errors
    /// The top Makefile or scripts/Makefile.modpost cannot be read.
    pub fn detect(srctree: &Path) -> Result<Kbuild> {
        let read = |name: &str| {
            fs::read_to_string(srctree.join(name)).context("cannot tell how this kernel builds its modules")
        };
        let makefile_modpost = read("scripts/Makefile.modpost")?;
        let top = Rules::parse(&read("Makefile")?);
        let era = if makefile_modpost.contains("MODVERDIR") {
            Era::ModverDir
        } else if top.has_prerequisite("vmlinux", "modpost") {
            Era::ModpostFirst
        } else {
            Era::ModulesOrder
        };
        let expected: &[&str] = match era {
            Era::ModverDir => &["vmlinux", "modules"],
            Era::ModulesOrder => &["vmlinux", "modules", "modules.order"],
            Era::ModpostFirst => &["vmlinux_o", "modules_check", "modules", "modpost"],
        };
        let linker = srctree.join("scripts/Makefile.vmlinux");
        let complete =
            expected.iter().all(|target| top.has(target)) && (era != Era::ModpostFirst || linker.is_file());
        let method = if complete {
            Method::Fragment
        } else {
            let mut goals = vec!["modules_check", "modules.order", "modules_prepare"];
            // Where modpost comes first, vmlinux as a goal among modules would run it too early.
            goals.insert(0, if era == Era::ModpostFirst { "vmlinux_o" } else { "vmlinux" });
            let compile = goals.into_iter().filter(|goal| top.has(goal)).collect();
            Method::Phased { compile }
        };
        let modpost = if matches!(method, Method::Phased { .. }) {
            Modpost::WarnOnly
        } else if era == Era::ModpostFirst {
            Modpost::Program
        } else {
            Modpost::before_6_1(&makefile_modpost)
        };
        let alone = if makefile_modpost.contains("output-symdump :=") {
            Some(Alone::Dump)
        } else {
            makefile_modpost.contains("kernelsymfile :=").then(|| {
                // In 5.3, the default goal does nothing where modules are not linked.
                let rules = Rules::parse(&makefile_modpost);
                Alone::Goal(if rules.has("modules-modpost") { "modules-modpost" } else { "__modpost" })
            })
        };
        // The target that descends in an external build: up to 5.3, from 5.4 to 6.0, later.
        let compiled = match era {
            Era::ModpostFirst => "modules_check",
            _ if top.has("descend") => "descend",
            _ => "_module_$(M)",
        };
        Ok(Kbuild { era, method, modpost, alone, compiled, prelink: prelink(srctree) })
    }

    /// This kbuild as it builds the kernel's own modules: by [`Method::Patched`], if the tree carries a series of
    /// `kbuild-patches` that `config` switches on. Without a configuration it is on, which is its default in kconfig.
    ///
    /// # Errors
    /// The configuration is older than the series: kconfig would ask in the middle of the build.
    pub fn for_own_modules(self, srctree: &Path, config: Option<&Config>) -> Result<Kbuild> {
        if !srctree.join(PATCHED).is_file() {
            return Ok(self);
        }
        let kconfig = fs::read_to_string(srctree.join(SWITCH_FILE)).unwrap_or_default();
        // A series that has no option is always on.
        if let Some(config) = config.filter(|_| kconfig.contains(&format!("config {SWITCH}\n"))) {
            ensure!(
                config.tells(SWITCH),
                "the kernel's makefiles convert livepatches since a series of patches was applied, and its configuration does \
                 not say yet whether they shall (CONFIG_{SWITCH}): have klpbuild modules olddefconfig switch it on, or \
                 scripts/config --disable {SWITCH} off"
            );
            if !config.has(SWITCH) {
                return Ok(self);
            }
        }
        Ok(Kbuild { method: Method::Patched, ..self })
    }
}

fn prelink(srctree: &Path) -> Option<String> {
    let makefile_lib = fs::read_to_string(srctree.join("scripts/Makefile.lib")).ok()?;
    makefile_lib.lines().find_map(|line| {
        let (name, suffix) = line.split_once(":=")?;
        let is_it = name.trim() == "mod-prelink-ext" && suffix.trim().starts_with('.');
        is_it.then(|| suffix.trim().to_owned())
    })
}

/// The explicit rules of a makefile: enough of its syntax to see targets and prerequisites.
struct Rules(Vec<(String, String)>);

impl Rules {
    fn parse(text: &str) -> Rules {
        let text = text.replace("\\\n", " ").replace("$(MODORDER)", "modules.order");
        let rules = text.lines().filter(|line| !line.starts_with(['\t', '#'])).filter_map(|line| {
            let (targets, rest) = line.split_once(':')?;
            let is_rule = !targets.contains(['=', '$', '(']) && !rest.starts_with(['=', ':']);
            (is_rule && !rest.contains('=')).then(|| (targets.to_owned(), rest.to_owned()))
        });
        Rules(rules.collect())
    }

    fn has(&self, target: &str) -> bool {
        self.0.iter().any(|(targets, _)| targets.split_whitespace().any(|name| name == target))
    }

    fn has_prerequisite(&self, target: &str, prerequisite: &str) -> bool {
        self.0.iter().any(|(targets, rest)| {
            targets.split_whitespace().any(|name| name == target)
                && rest.split_whitespace().any(|name| name == prerequisite)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(top: &str, modpost: &str) -> (tempfile::TempDir, Kbuild) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("scripts")).unwrap();
        fs::write(dir.path().join("Makefile"), top).unwrap();
        fs::write(dir.path().join("scripts/Makefile.modpost"), modpost).unwrap();
        fs::write(dir.path().join("scripts/Makefile.vmlinux"), "").unwrap();
        let kbuild = Kbuild::detect(dir.path()).unwrap();
        (dir, kbuild)
    }

    #[test]
    fn the_ways_to_tell_modpost_are_told_by_its_makefile() {
        let way =
            |modpost: &str| tree("vmlinux: a\nmodules: vmlinux\nmodules.order: descend\n", modpost).1.modpost;
        let shared =
            format!("x\ninput-symdump := vmlinux.symvers\noutput-symdump := Module.symvers\n{COMMAND}");
        assert_eq!(way(&shared), Modpost::Command);
        // Of a command that is another, nothing is known.
        assert_eq!(way(&shared.replace("-T -", "-T -x")), Modpost::WarnOnly);
        let own = shared.replace("Module.symvers", "modules-only.symvers");
        assert_eq!(way(&own), Modpost::InputPrerequisites);
        assert_eq!(way(&format!("{own}existing-input-symdump := x\n")), Modpost::InputDumps);
    }

    const TOP_C: &str = "vmlinux: vmlinux.o \\\n  $(KBUILD_LDS) modpost\n\t@:\nvmlinux_o: vmlinux.a\n\
                         modules: modpost\nmodules_check: modules.order\nmodpost: vmlinux.o\n";

    const TOP_B: &str = "vmlinux: a\nmodules: vmlinux\nmodules.order: descend\n";

    #[test]
    fn eras_are_told_by_features() {
        let (_, kbuild) = tree("vmlinux: a\nmodules: vmlinux\n", "x := $(MODVERDIR)\n");
        assert_eq!((kbuild.era, kbuild.modpost), (Era::ModverDir, Modpost::WarnOnly));
        assert_eq!(kbuild.method, Method::Fragment);
        let (_, kbuild) = tree("vmlinux: a\nmodules: vmlinux\nmodules.order: descend\n", "");
        assert_eq!((kbuild.era, kbuild.modpost), (Era::ModulesOrder, Modpost::WarnOnly));
        let (_, kbuild) = tree(TOP_B, "existing-input-symdump := x\n");
        assert_eq!((kbuild.era, kbuild.modpost), (Era::ModulesOrder, Modpost::InputDumps));
        let (_, kbuild) = tree(TOP_C, "");
        assert_eq!((kbuild.era, kbuild.modpost), (Era::ModpostFirst, Modpost::Program));
        assert_eq!(kbuild.method, Method::Fragment);
    }

    #[test]
    fn the_goal_that_runs_modpost_alone_is_the_trees_own() {
        let alone = |modpost: &str| tree(TOP_B, modpost).1.alone;
        assert_eq!(alone("kernelsymfile := x\n__modpost:\n\ty\n"), Some(Alone::Goal("__modpost")));
        let first = "kernelsymfile := x\n__modpost: z\nmodules-modpost:\n\ty\n";
        assert_eq!(alone(first), Some(Alone::Goal("modules-modpost")));
        assert_eq!(alone("__modpost:\n\ty\n"), None);
        // What modpost reads there, it writes to Module.symvers.
        let (_, kbuild) = tree(TOP_B, "input-symdump := vmlinux.symvers\noutput-symdump := Module.symvers\n");
        assert_eq!((kbuild.modpost, kbuild.alone), (Modpost::WarnOnly, Some(Alone::Dump)));
    }

    #[test]
    fn a_series_counts_where_it_is_switched_on() {
        let (dir, kbuild) = tree(TOP_C, "");
        let config = |text: &str| {
            let path = dir.path().join(".config");
            fs::write(&path, text).unwrap();
            Config::read(&path).unwrap()
        };
        let configs = ["CONFIG_KLP_CONVERT=y\n", "# CONFIG_KLP_CONVERT is not set\n", "CONFIG_LIVEPATCH=y\n"];
        let [on, off, older] = configs.map(config);
        let method = |config: Option<&Config>| Ok(kbuild.clone().for_own_modules(dir.path(), config)?.method);
        let methods = || [None, Some(&on), Some(&off), Some(&older)].map(|config| method(config).ok());
        assert_eq!(methods(), [const { Some(Method::Fragment) }; 4]);
        fs::write(dir.path().join(PATCHED), "").unwrap();
        assert_eq!(Kbuild::detect(dir.path()).unwrap().method, Method::Fragment);
        assert_eq!(methods(), [const { Some(Method::Patched) }; 4]);
        fs::create_dir_all(dir.path().join("kernel/livepatch")).unwrap();
        fs::write(dir.path().join(SWITCH_FILE), "config KLP_CONVERT\n\tbool\n").unwrap();
        assert_eq!(methods(), [Some(Method::Patched), Some(Method::Patched), Some(Method::Fragment), None]);
        let error = method(Some(&older)).map_err(|error: anyhow::Error| error.to_string()).unwrap_err();
        assert!(error.contains("(CONFIG_KLP_CONVERT): have klpbuild modules olddefconfig "), "{error}");
    }

    #[test]
    fn assignments_are_no_rules() {
        let (_, kbuild) = tree("vmlinux: modpost := x\nvmlinux: a\nmodules: vmlinux\nmodules.order:\n", "");
        assert_eq!(kbuild.era, Era::ModulesOrder);
    }

    #[test]
    fn a_tree_without_the_targets_is_built_in_phases() {
        let (_, kbuild) = tree("vmlinux: modpost\nmodules: modpost\nmodpost:\n$(MODORDER): dirs\n", "");
        assert_eq!(kbuild.method, Method::Phased { compile: vec!["modules.order"] });
        let (_, kbuild) = tree("vmlinux: a\nmodules_prepare:\n", "");
        assert_eq!(kbuild.method, Method::Phased { compile: vec!["vmlinux", "modules_prepare"] });
        assert_eq!(kbuild.modpost, Modpost::WarnOnly);
    }

    #[test]
    fn prelink_suffix_comes_from_makefile_lib() {
        let (dir, _) = tree(TOP_C, "");
        let lib = dir.path().join("scripts/Makefile.lib");
        fs::write(&lib, "ifdef CONFIG_LTO_CLANG\nmod-prelink-ext := .lto\nendif\n").unwrap();
        assert_eq!(Kbuild::detect(dir.path()).unwrap().prelink.as_deref(), Some(".lto"));
    }
}
