// SPDX-License-Identifier: GPL-2.0-only
//! What a command has to do: the typed command line and the environment, given their meaning once. After this,
//! nothing is "not known yet".
//!
//! - [`variables`]: the values of variables for make; [`places`]: where the kernel and external modules are
//! - [`goals`]: which goals go into which make run; [`makes`]: the commands that run make

pub(crate) mod goals;
mod makes;
mod places;
mod variables;

pub use variables::TypedVariables;

use std::path::PathBuf;

use anyhow::Result;

use crate::build::plan::goals::GoalKind;
use crate::build::plan::variables::{Variables, is_place};
use crate::build::progress::{Shown, View};
use crate::host::make::makeflags::{Inherited, Jobserver};
use crate::host::make::variable::Variable;
use crate::host::terminal::TerminalStreams;
use crate::kernel::external::External;
use crate::kernel::external::context::Conversion;
use crate::kernel::installed::Choice;
use crate::kernel::state::StateDir;
use crate::kernel::tree::{Tree, config};

/// The command line as the user typed it; paths are absolute.
#[derive(Debug, Default)]
pub struct Order {
    /// The directory to start in.
    pub start: PathBuf,
    /// Goals for make, as typed.
    pub goals: Vec<String>,
    /// Variables for make, as typed.
    pub variables: Vec<Variable>,
    /// Options for make, as typed after `--`.
    pub make_options: Vec<String>,
    /// The files that the user named for the symbols of external modules' kernel; none for a command that builds
    /// nothing.
    pub choice: Option<Choice>,
    /// How livepatches are converted.
    pub conversion: Conversion,
    /// The number of jobs.
    pub jobs: Option<u32>,
    /// Whether to go on after an error.
    pub keep_going: bool,
    /// How to show progress.
    pub shown: Shown,
    /// Whether to print nothing but problems.
    pub quiet: bool,
    /// Whether to print commands.
    pub verbose: bool,
    /// Whether to print what would be done, and do nothing.
    pub dry_run: bool,
    /// The file for make's output.
    pub log: Option<PathBuf>,
}

/// What a command that runs make works on, and how.
#[derive(Debug)]
pub struct Plan {
    /// The trees.
    pub tree: Tree,
    /// The external modules, for a build with M=.
    pub external: Option<External>,
    /// The files that the user named for the symbols of external modules' kernel.
    pub choice: Choice,
    /// Goals besides the command's own, as typed.
    pub goals: Vec<String>,
    /// Variables for make: the typed ones, and those of an outer make.
    pub variables: Vec<Variable>,
    /// Options for make, as typed after `--`.
    make_options: Vec<String>,
    /// The number of jobs for `-j`; none if an outer make's jobserver limits them.
    jobs: Option<usize>,
    keep_going: bool,
    inherited: Inherited,
    /// Whether and how livepatches are converted after their final link.
    pub conversion: Conversion,
    /// The configuration file.
    pub config: PathBuf,
    /// klpbuild's own directory in the object tree.
    pub state: StateDir,
    /// The file for make's output.
    pub log: PathBuf,
    /// How progress is shown.
    pub view: View,
    /// Whether to print nothing but problems.
    pub quiet: bool,
    /// Whether to print commands.
    pub verbose: bool,
    /// Whether to print what would be done, and do nothing.
    pub dry_run: bool,
}

impl Plan {
    /// Turns an order into a plan.
    ///
    /// # Errors
    /// There is no kernel tree where the order names one.
    pub fn resolve(order: Order) -> Result<Plan> {
        let inherited = Inherited::from_env();
        let Order { start, goals, .. } = order;
        let variables = Variables(inherited.variables.iter().chain(&order.variables).collect());
        let asks = match order.choice {
            None => places::Asks::NoBuild,
            Some(_) if order.quiet => places::Asks::QuietBuild,
            Some(_) => places::Asks::Build,
        };
        let choice = order.choice.unwrap_or_default();
        let module = variables.typed("M").or_else(|| variables.anywhere("KBUILD_EXTMOD"));
        let (directory, module) = places::kernel_and_module(&start, module, &variables, &choice, asks)?;
        let output = variables.typed("O").or_else(|| variables.anywhere("KBUILD_OUTPUT"));
        let output = output.map(|output| start.join(output));
        let tree = Tree::locate(&directory, output.as_deref())?;
        let external = module
            .map(|module| places::external(&tree, &module, &variables, &start, directory != start))
            .transpose()?;
        let state = StateDir::at(external.as_ref().map_or(&tree.objtree, |external| &external.output));
        let config = match &external {
            // Modules are built with the configuration that the kernel was built with, whatever file that came from.
            Some(_) => config::file(&tree.objtree),
            None => {
                let name = variables.anywhere("KCONFIG_CONFIG").unwrap_or_else(|| ".config".to_owned());
                tree.objtree.join(name)
            }
        };
        Ok(Plan {
            goals,
            variables: variables
                .0
                .iter()
                .filter(|variable| !is_place(variable))
                .map(|variable| (*variable).clone())
                .collect(),
            keep_going: order.keep_going,
            view: View::choose(order.shown, order.quiet, TerminalStreams::look()),
            quiet: order.quiet,
            verbose: order.verbose,
            dry_run: order.dry_run || inherited.dry_run,
            config,
            log: order.log.unwrap_or_else(|| state.log()),
            jobs: jobs(order.jobs, &inherited, &order.make_options),
            make_options: order.make_options,
            tree,
            external,
            choice,
            inherited,
            state,
            conversion: order.conversion,
        })
    }

    /// The value of a variable for make: as in make itself, the last assignment counts.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().rev().find(|variable| variable.name() == name).map(Variable::value)
    }

    /// The value of a variable for make, from a command line or else from the environment, if that is not empty.
    pub fn anywhere(&self, name: &str) -> Option<String> {
        Variables(self.variables.iter().collect()).anywhere(name)
    }

    /// The goals of one kind, in the order typed.
    pub fn goals_of(&self, kind: GoalKind) -> Vec<String> {
        self.goals.iter().filter(|goal| GoalKind::of(goal) == kind).cloned().collect()
    }

    /// Whether make was given options that klpbuild does not interpret.
    pub fn has_make_options(&self) -> bool {
        !self.make_options.is_empty()
    }
}

/// The number of jobs for `-j`: the number asked for; none if an outer make or an option for make sets it; else one
/// for each CPU.
fn jobs(asked: Option<u32>, inherited: &Inherited, make_options: &[String]) -> Option<usize> {
    let told = inherited.jobserver == Jobserver::Usable
        || inherited.has_jobs
        || make_options.iter().any(|option| gives_jobs(option));
    match asked {
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
