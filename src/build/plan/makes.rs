// SPDX-License-Identifier: GPL-2.0-only
//! The make commands of a plan.

use anyhow::{Context as _, Result};

use crate::build::fragment;
use crate::build::plan::Plan;
use crate::build::plan::variables::inside_kbuild;
use crate::host::make;
use crate::host::make::makeflags::Jobserver;
use crate::host::program::Program;
use crate::kernel::state;
use crate::kernel::tree::era::{Kbuild, Method};

impl Plan {
    /// Why an outer make's jobserver cannot be used; none if it can, or if there is none.
    pub fn jobserver_problem(&self) -> Option<&'static str> {
        match self.inherited.jobserver {
            Jobserver::None | Jobserver::Usable => None,
            Jobserver::Closed => {
                Some("the outer make's jobserver cannot be used: begin the recipe that runs klpbuild with +")
            }
            Jobserver::Unknown => Some(
                "the outer make's jobserver cannot be used: it is a named pipe (GNU make 4.4 and later), which the make in \
                 PATH does not know; run that make with --jobserver-style=pipe, or put it first in PATH",
            ),
        }
    }

    /// A make for `goals` on this plan's trees. With `-O`, the messages of each target stay together, so that the
    /// output of a failing command can be told from the rest.
    pub fn make(&self, goals: &[String]) -> Program {
        let mut command = self.bare_make();
        command.arg("-Otarget");
        if self.keep_going {
            command.arg("-k");
        }
        match self.jobs {
            Some(jobs) => command.arg(format!("-j{jobs}")),
            None => &mut command,
        };
        command.args(self.make_options.iter().cloned());
        command.args(self.words()).args(self.external_words()).args(goals.iter().cloned());
        command
    }

    /// The assignments that tell make where external modules are.
    fn external_words(&self) -> Vec<String> {
        let Some(external) = &self.external else { return Vec::new() };
        let mut words = vec![format!("M={}", external.argument)];
        if external.output != external.source {
            words.push(format!("MO={}", external.output.display()));
        }
        words
    }

    /// A make for config goals that ask questions: as little as possible is between it and the terminal.
    pub fn interactive_make(&self, goals: &[String]) -> Program {
        let mut command = self.bare_make();
        command.args(self.words()).args(goals.iter().cloned());
        command
    }

    /// The main run: a make for `goals` that runs the map step between compilation and modpost.
    ///
    /// # Errors
    /// The running program's own path cannot be told.
    pub fn make_with_map(&self, kbuild: &Kbuild, goals: &[String]) -> Result<Program> {
        let mut command = self.make(&[]);
        if self.external.is_none() {
            // `y` in every era: no makefile compares the value, but from 6.16 on `1` builds no linker script.
            command.arg("KBUILD_BUILTIN=y");
        }
        command.args(goals.iter().cloned());
        self.add_fragment(&mut command, kbuild)?;
        Ok(command)
    }

    /// A make for `goals` that package a built kernel. The makes that its recipes start also run the map step,
    /// because they may link the kernel once more; they convert livepatches before they install them.
    ///
    /// # Errors
    /// The running program's own path cannot be told.
    pub fn make_package(&self, kbuild: &Kbuild, goals: &[String]) -> Result<Program> {
        if kbuild.method == Method::Patched {
            return self.make_of_patched_tree(goals);
        }
        let mut command = self.make(goals);
        self.add_fragment(&mut command, kbuild)?;
        // Not all of these makes run in the object tree.
        let state = self.state.directory().display().to_string();
        command.env(fragment::STATE, state).env(fragment::PACKAGE, "y");
        Ok(command)
    }

    /// Has make read the fragment, and sets the variables that the fragment needs.
    fn add_fragment(&self, command: &mut Program, kbuild: &Kbuild) -> Result<()> {
        let program = std::env::current_exe().context("cannot tell the path of klpbuild itself")?;
        let fragment = self.state.fragment().display().to_string();
        let makefiles = outer_makefiles().map_or(fragment.clone(), |others| format!("{others} {fragment}"));
        command
            .env("MAKEFILES", makefiles)
            .env(fragment::PROGRAM, program.display().to_string())
            .env(fragment::ERA, kbuild.era.letter())
            .env(fragment::FINAL, if self.is_final() { "y" } else { "" })
            .env(fragment::STATE, self.state_for_make());
        if let Some(external) = &self.external {
            command.env(fragment::COMPILED, kbuild.compiled.replace("$(M)", &external.argument));
        }
        Ok(())
    }

    /// The main run in a tree that carries the series of `kbuild-patches`: its makefiles call this program.
    ///
    /// # Errors
    /// The running program's own path cannot be told.
    pub fn make_of_patched_tree(&self, goals: &[String]) -> Result<Program> {
        let mut command = self.make(&[]);
        let program = std::env::current_exe().context("cannot tell the path of klpbuild itself")?;
        if self.variable(fragment::PROGRAM).is_none() {
            command.arg(format!("{}={}", fragment::PROGRAM, program.display()));
        }
        command.args(goals.iter().cloned());
        command.env(fragment::STATE, self.state.directory().display().to_string());
        Ok(command)
    }

    /// Whether the first make is the one that builds, and does not call another one.
    fn is_final(&self) -> bool {
        let is_elsewhere = self.external.as_ref().is_some_and(|external| external.root != self.tree.objtree);
        self.tree.in_tree() && !is_elsewhere
    }

    /// The path of klpbuild's directory for make: relative within an object tree, because the tree may be moved.
    fn state_for_make(&self) -> String {
        match self.external {
            Some(_) => self.state.directory().display().to_string(),
            None => state::DIRECTORY.to_owned(),
        }
    }

    fn words(&self) -> impl Iterator<Item = String> {
        self.variables.iter().map(|variable| variable.word().to_owned())
    }

    fn bare_make(&self) -> Program {
        let mut command = make::new(&self.tree.srctree);
        // Without this option, kernels from 6.x on call make once more to set it.
        command.arg("--no-print-directory");
        command.args(["-C".to_owned(), self.tree.srctree.display().to_string()]);
        // A GNUmakefile that includes Makefile.snippet would start klpbuild again.
        if self.tree.srctree.join("GNUmakefile").exists() {
            command.args(["-f", "Makefile"]);
        }
        for name in ["KBUILD_OUTPUT", "KBUILD_EXTMOD", "KBUILD_EXTMOD_OUTPUT"] {
            command.env_remove(name);
        }
        // Variables of an enclosing klpbuild, which builds something else.
        for name in fragment::VARIABLES {
            command.env_remove(name);
        }
        match outer_makefiles() {
            Some(makefiles) => command.env("MAKEFILES", makefiles),
            None => command.env_remove("MAKEFILES"),
        };
        if !self.tree.in_tree() {
            command.arg(format!("O={}", self.tree.objtree.display()));
        }
        if self.inherited.jobserver != Jobserver::None
            && (self.jobserver_problem().is_some() || self.jobs.is_some())
        {
            command.env("MAKEFLAGS", self.inherited.without_jobserver());
        }
        if inside_kbuild() {
            for name in KBUILD_EXPORTS {
                command.env_remove(name);
            }
        }
        command
    }
}

/// The makefiles that the user has every make read (MAKEFILES), without a fragment of another klpbuild.
fn outer_makefiles() -> Option<String> {
    let makefiles = std::env::var("MAKEFILES").ok()?;
    let fragment = format!("/{}/{}", state::DIRECTORY, state::FRAGMENT);
    let others: Vec<&str> = makefiles.split_whitespace().filter(|file| !file.ends_with(&fragment)).collect();
    (!others.is_empty()).then(|| others.join(" "))
}

/// Variables that kbuild exports to its recipes, and by which another make would take itself for a part of that
/// build.
const KBUILD_EXPORTS: [&str; 19] = [
    "sub_make_done",
    "KBUILD_SRC",
    "srctree",
    "objtree",
    "abs_srctree",
    "abs_objtree",
    "srcroot",
    "VPATH",
    "building_out_of_srctree",
    "KBUILD_BUILTIN",
    "KBUILD_MODULES",
    "KBUILD_EXTMOD",
    "KBUILD_LIVEPATCHES",
    "extmod_prefix",
    "MODORDER",
    "quiet",
    "Q",
    "MAKEOVERRIDES",
    "MAKELEVEL",
];
