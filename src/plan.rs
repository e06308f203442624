//! What is to be done: the typed command line and the environment, turned once into what they mean. After
//! this, nothing is "not known yet".
//!
//! - [`goals`]: which goals go into which make run

pub mod goals;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::cli::Options;
use crate::hook;
use crate::make;
use crate::make::makeflags::{Inherited, Jobserver};
use crate::plan::goals::{Kind, assignment};
use crate::program::Program;
use crate::progress::View;
use crate::state::State;
use crate::terminal::Surroundings;
use crate::tree::Tree;
use crate::tree::era::Era;

/// What a command that drives make works on, and how.
#[derive(Debug)]
pub struct Plan {
    /// The trees.
    pub tree: Tree,
    /// The directory of an external module, for a build with M=: absolute.
    pub external: Option<PathBuf>,
    /// Goals beside those that the command itself stands for, as typed.
    pub goals: Vec<String>,
    /// `NAME=VALUE` for make: typed ones, and those of an outer make.
    pub variables: Vec<String>,
    /// Options for make, as typed after `--`.
    make_options: Vec<String>,
    /// The number of jobs for `-j`, or none if an outer make's jobserver tells.
    jobs: Option<usize>,
    keep_going: bool,
    inherited: Inherited,
    /// What is done with livepatches once they are linked.
    pub conversion: Conversion,
    /// The configuration file.
    pub config: PathBuf,
    /// Where klpbuild keeps its state.
    pub state: State,
    /// Where make's output goes.
    pub log: PathBuf,
    /// How progress is shown.
    pub view: View,
    /// Say nothing but problems.
    pub quiet: bool,
    /// Print commands.
    pub verbose: bool,
    /// Print what would be done, and do nothing.
    pub dry_run: bool,
}

/// How livepatches are converted after their final link.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conversion {
    /// They are left as they are linked.
    pub is_off: bool,
    /// Symbols that modules export stay normal ones.
    pub keep_module_exports: bool,
}

/// Variables for make: those of an outer make's command line, then those of this one. The last one counts.
struct Variables<'a>(Vec<&'a String>);

impl Variables<'_> {
    /// The value given on a command line, if that is not empty.
    fn typed(&self, name: &str) -> Option<String> {
        let mut all = self.0.iter().rev().filter_map(|word| assignment(word));
        let value = all.find(|(other, _)| *other == name)?.1;
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Likewise, or of the environment. Inside of a kbuild recipe that speaks of another build.
    fn anywhere(&self, name: &str) -> Option<String> {
        let environment = || std::env::var(name).ok().filter(|value| !value.is_empty() && !inside_kbuild());
        self.typed(name).or_else(environment)
    }
}

impl Plan {
    /// Gives `words` (goals and variables) and `options` their meaning.
    ///
    /// # Errors
    /// There is no kernel tree where one is named.
    pub fn resolve(options: &Options, words: &[String], make_options: &[String]) -> Result<Plan> {
        let inherited = Inherited::from_env();
        let (assignments, goals): (Vec<&String>, Vec<&String>) =
            words.iter().partition(|word| assignment(word).is_some());
        let variables = Variables(inherited.assignments.iter().chain(assignments).collect());
        let start = start(options)?;
        let output = variables.typed("O").or_else(|| variables.anywhere("KBUILD_OUTPUT"));
        let tree = Tree::locate(&start, output.as_deref().map(Path::new))?;
        // Up to 6.12, M= is relative to the object tree, where make is then. Later it is relative to where make
        // is started, which is not where klpbuild is.
        let from_start = tree.external_has_output()?;
        let base = if from_start { start.clone() } else { tree.objtree.clone() };
        let rebased = |word: &&String| match assignment(word) {
            Some((name @ ("M" | "MO"), value)) if from_start && !value.is_empty() => {
                format!("{name}={}", start.join(value).display())
            }
            _ => (*word).clone(),
        };
        let external = variables.typed("M").or_else(|| variables.anywhere("KBUILD_EXTMOD"));
        let external = external.map(|module| base.join(module));
        let state = State::at(&place(&tree, external.as_deref(), &variables, &start)?);
        let config = variables.anywhere("KCONFIG_CONFIG").unwrap_or_else(|| ".config".to_owned());
        Ok(Plan {
            goals: goals.into_iter().cloned().collect(),
            variables: variables.0.iter().filter(|word| !is_output(word)).map(rebased).collect(),
            make_options: make_options.to_vec(),
            keep_going: options.keep_going,
            view: View::choose(options.progress, options.quiet, Surroundings::look()),
            quiet: options.quiet,
            verbose: options.verbose,
            dry_run: options.dry_run || inherited.dry_run,
            config: tree.objtree.join(config),
            log: options.log.as_ref().map_or_else(|| state.log(), |log| start.join(log)),
            jobs: jobs(options, &inherited, make_options),
            tree,
            external,
            inherited,
            state,
            conversion: Conversion::default(),
        })
    }

    /// The value of a variable for make, as make itself would have it: the last one counts.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut all = self.variables.iter().rev().filter_map(|word| assignment(word));
        all.find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The goals of one kind, in the order typed.
    pub fn goals_of(&self, kind: Kind) -> Vec<String> {
        self.goals.iter().filter(|goal| Kind::of(goal) == kind).cloned().collect()
    }

    /// Whether make was given options that klpbuild does not look at.
    pub fn has_make_options(&self) -> bool {
        !self.make_options.is_empty()
    }

    /// Whether an outer make has a jobserver that cannot be reached, for want of a `+` in its recipe.
    pub fn jobserver_is_closed(&self) -> bool {
        self.inherited.jobserver == Jobserver::Closed
    }

    /// A make for `goals` on this plan's trees. Messages of each target stay together (`-O`), so that what a
    /// failing command printed can be told from what others did.
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
        command.args(self.variables.iter().cloned()).args(goals.iter().cloned());
        command
    }

    /// A make for config goals that ask questions: as little as possible stands between it and the terminal.
    pub fn interactive_make(&self, goals: &[String]) -> Program {
        let mut command = self.bare_make();
        command.args(self.variables.iter().cloned()).args(goals.iter().cloned());
        command
    }

    /// The main run: a make for `goals` that stops for the map between compilation and modpost.
    ///
    /// # Errors
    /// The running program's own path cannot be told.
    pub fn make_with_map(&self, era: Era, goals: &[String]) -> Result<Program> {
        let mut command = self.make(&[]);
        // `y` in every era: none compares the value, but from 6.16 on `1` builds no linker script.
        command.arg("KBUILD_BUILTIN=y").args(goals.iter().cloned());
        let program = std::env::current_exe().context("cannot tell the path of klpbuild itself")?;
        let fragment = self.state.fragment().display().to_string();
        let makefiles = match std::env::var("MAKEFILES") {
            Ok(others) if !others.trim().is_empty() => format!("{others} {fragment}"),
            _ => fragment,
        };
        command
            .env("MAKEFILES", makefiles)
            .env(hook::PROGRAM, program.display().to_string())
            .env(hook::ERA, era.letter())
            .env(hook::FINAL, if self.tree.in_tree() { "y" } else { "" })
            .env(hook::UNCONVERTED, if self.conversion.is_off { "y" } else { "" })
            .env(hook::SRCTREE, self.tree.srctree.display().to_string());
        Ok(command)
    }

    fn bare_make(&self) -> Program {
        let mut command = make::new(&self.tree.srctree);
        // Without it, kernels from 6.x on call themselves once more to set it.
        command.arg("--no-print-directory");
        command.args(["-C".to_owned(), self.tree.srctree.display().to_string()]);
        command.env_remove("KBUILD_OUTPUT");
        if !self.tree.in_tree() {
            command.arg(format!("O={}", self.tree.objtree.display()));
        }
        if self.inherited.jobserver != Jobserver::None && (self.jobserver_is_closed() || self.jobs.is_some())
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

/// Variables a kbuild exports to its recipes that would make another make take itself for a part of that
/// build.
const KBUILD_EXPORTS: [&str; 18] = [
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
    "extmod_prefix",
    "MODORDER",
    "quiet",
    "Q",
    "MAKEOVERRIDES",
    "MAKELEVEL",
];

/// Whether klpbuild is run by a recipe of some kernel's kbuild.
fn inside_kbuild() -> bool {
    ["sub_make_done", "KBUILD_SRC"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Whether a variable names the object tree: klpbuild passes that on itself, absolute.
fn is_output(word: &str) -> bool {
    assignment(word).is_some_and(|(name, _)| name == "O" || name == "KBUILD_OUTPUT")
}

/// The directory that klpbuild's state is kept in: the object tree, or where an external module is built.
fn place(tree: &Tree, external: Option<&Path>, variables: &Variables<'_>, start: &Path) -> Result<PathBuf> {
    let Some(module) = external else { return Ok(tree.objtree.clone()) };
    ensure!(
        module.is_dir(),
        "{}: no such directory: M= names the directory of an external module",
        module.display()
    );
    let output = variables.typed("MO").or_else(|| variables.anywhere("KBUILD_EXTMOD_OUTPUT"));
    Ok(output.map_or_else(|| module.to_path_buf(), |output| start.join(output)))
}

/// The number of jobs for `-j`: as asked for, else what an outer make or an option for make tells (none), else
/// one for each CPU.
fn jobs(options: &Options, inherited: &Inherited, make_options: &[String]) -> Option<usize> {
    let told = inherited.jobserver == Jobserver::Usable
        || inherited.has_jobs
        || make_options.iter().any(|option| gives_jobs(option));
    match options.jobs {
        Some(jobs) => Some(jobs as usize),
        None if told => None,
        None => Some(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// Whether an option for make is `-j`, alone or among other letters.
fn gives_jobs(option: &str) -> bool {
    option.starts_with("--jobs")
        || (option.starts_with('-') && !option.starts_with("--") && option.contains('j'))
}

/// The directory to start in, absolute.
pub(crate) fn start(options: &Options) -> Result<PathBuf> {
    let current = std::env::current_dir().context("cannot tell the current directory")?;
    let start = options.directory.as_ref().map_or(current.clone(), |directory| current.join(directory));
    ensure!(
        start.is_dir(),
        "{}: no such directory: -C names a kernel source or object tree",
        start.display()
    );
    Ok(start)
}
