//! What is to be done: the typed command line and the environment, turned once into what they mean. After
//! this, nothing is "not known yet".
//!
//! - [`goals`]: which goals go into which make run

pub mod goals;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::build::fragment;
use crate::build::plan::goals::{Kind, assignment};
use crate::build::progress::View;
use crate::cli::{KernelArgs, Options};
use crate::host::make;
use crate::host::make::makeflags::{Inherited, Jobserver};
use crate::host::program::Program;
use crate::host::terminal::Surroundings;
use crate::kernel::external::External;
use crate::kernel::installed::Choice;
use crate::kernel::state;
use crate::kernel::state::State;
use crate::kernel::tree;
use crate::kernel::tree::era::{Kbuild, Method};
use crate::kernel::tree::{Tree, config};

/// What a command that drives make works on, and how.
#[derive(Debug)]
pub struct Plan {
    /// The trees.
    pub tree: Tree,
    /// The external modules, for a build with M=.
    pub external: Option<External>,
    /// Where external modules' kernel has its symbols.
    pub choice: Choice,
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
    /// Gives `words` (goals and variables) and `options` their meaning. What builds says where a `kernel` has its
    /// symbols; what cleans does not.
    ///
    /// # Errors
    /// There is no kernel tree where one is named.
    pub fn resolve(
        options: &Options,
        words: &[String],
        make_options: &[String],
        kernel: Option<&KernelArgs>,
    ) -> Result<Plan> {
        let inherited = Inherited::from_env();
        let (assignments, goals): (Vec<&String>, Vec<&String>) =
            words.iter().partition(|word| assignment(word).is_some());
        let variables = Variables(inherited.assignments.iter().chain(assignments).collect());
        let start = start(options)?;
        let choice = kernel.map_or_else(Choice::default, |kernel| Choice::of(kernel, &start));
        let module = variables.typed("M").or_else(|| variables.anywhere("KBUILD_EXTMOD"));
        let (directory, module) = kernel_and_module(&start, module, &variables, &choice, kernel.is_some())?;
        let output = variables.typed("O").or_else(|| variables.anywhere("KBUILD_OUTPUT"));
        let output = output.map(|output| start.join(output));
        let tree = Tree::locate(&directory, output.as_deref())?;
        let external = module
            .map(|module| external(&tree, &module, &variables, &start, directory != start))
            .transpose()?;
        let state = State::at(external.as_ref().map_or(&tree.objtree, |external| &external.output));
        let config = match &external {
            // Modules are built with what the kernel was built with, whatever that was called.
            Some(_) => config::file(&tree.objtree),
            None => {
                let name = variables.anywhere("KCONFIG_CONFIG").unwrap_or_else(|| ".config".to_owned());
                tree.objtree.join(name)
            }
        };
        Ok(Plan {
            goals: goals.into_iter().cloned().collect(),
            variables: variables
                .0
                .iter()
                .filter(|word| !is_place(word))
                .map(|word| (*word).clone())
                .collect(),
            make_options: make_options.to_vec(),
            keep_going: options.keep_going,
            view: View::choose(options.progress, options.quiet, Surroundings::look()),
            quiet: options.quiet,
            verbose: options.verbose,
            dry_run: options.dry_run || inherited.dry_run,
            config,
            log: options.log.as_ref().map_or_else(|| state.log(), |log| start.join(log)),
            jobs: jobs(options, &inherited, make_options),
            tree,
            external,
            choice,
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

    /// The value of a variable for make, of a command line or else of the environment, if that is not empty.
    pub fn anywhere(&self, name: &str) -> Option<String> {
        Variables(self.variables.iter().collect()).anywhere(name)
    }

    /// The goals of one kind, in the order typed.
    pub fn goals_of(&self, kind: Kind) -> Vec<String> {
        self.goals.iter().filter(|goal| Kind::of(goal) == kind).cloned().collect()
    }

    /// Whether make was given options that klpbuild does not look at.
    pub fn has_make_options(&self) -> bool {
        !self.make_options.is_empty()
    }

    /// Why an outer make's jobserver cannot be used, if so.
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
        command.args(self.variables.iter().cloned()).args(self.external_words()).args(goals.iter().cloned());
        command
    }

    /// Where external modules are, for make.
    fn external_words(&self) -> Vec<String> {
        let Some(external) = &self.external else { return Vec::new() };
        let mut words = vec![format!("M={}", external.argument)];
        if external.output != external.source {
            words.push(format!("MO={}", external.output.display()));
        }
        words
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
    pub fn make_with_map(&self, kbuild: &Kbuild, goals: &[String]) -> Result<Program> {
        let mut command = self.make(&[]);
        if self.external.is_none() {
            // `y` in every era: none compares the value, but from 6.16 on `1` builds no linker script.
            command.arg("KBUILD_BUILTIN=y");
        }
        command.args(goals.iter().cloned());
        self.add_fragment(&mut command, kbuild)?;
        Ok(command)
    }

    /// A make for `goals` that make packages of a kernel that is built: the makes that its recipes start stop for the map
    /// as well, for they may link the kernel once more, and convert livepatches before they install them.
    ///
    /// # Errors
    /// The running program's own path cannot be told.
    pub fn make_package(&self, kbuild: &Kbuild, goals: &[String]) -> Result<Program> {
        if kbuild.method == Method::Patched {
            return self.make_of_patched_tree(goals);
        }
        let mut command = self.make(goals);
        self.add_fragment(&mut command, kbuild)?;
        // Not all of them stand in the object tree.
        let state = self.state.directory().display().to_string();
        command.env(fragment::STATE, state).env(fragment::PACKAGE, "y");
        Ok(command)
    }

    /// Has make read the fragment, and tells it what it has to know.
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

    /// Whether the first make is the one that builds, and does not call itself elsewhere.
    fn is_final(&self) -> bool {
        let is_elsewhere = self.external.as_ref().is_some_and(|external| external.root != self.tree.objtree);
        self.tree.in_tree() && !is_elsewhere
    }

    /// klpbuild's directory as make has it: relative in an object tree, which may be moved.
    fn state_for_make(&self) -> String {
        match self.external {
            Some(_) => self.state.directory().display().to_string(),
            None => state::DIRECTORY.to_owned(),
        }
    }

    fn bare_make(&self) -> Program {
        let mut command = make::new(&self.tree.srctree);
        // Without it, kernels from 6.x on call themselves once more to set it.
        command.arg("--no-print-directory");
        command.args(["-C".to_owned(), self.tree.srctree.display().to_string()]);
        // One that includes Makefile.snippet would come back here.
        if self.tree.srctree.join("GNUmakefile").exists() {
            command.args(["-f", "Makefile"]);
        }
        for name in ["KBUILD_OUTPUT", "KBUILD_EXTMOD", "KBUILD_EXTMOD_OUTPUT"] {
            command.env_remove(name);
        }
        // Of a klpbuild above this one, which builds something else.
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

/// Whether a variable names the object tree or external modules: klpbuild passes that on itself.
fn is_place(word: &str) -> bool {
    const PLACES: [&str; 6] = ["O", "KBUILD_OUTPUT", "M", "KBUILD_EXTMOD", "MO", "KBUILD_EXTMOD_OUTPUT"];
    assignment(word).is_some_and(|(name, _)| PLACES.contains(&name))
}

/// The kernel's directory, and that of external modules as it was given: a klpbuild that is started in a kernel tree
/// builds that kernel, or modules for it. Elsewhere it builds the modules that lie there, with KDIR or for the kernel
/// that is running. What does not build goes by the last build.
fn kernel_and_module(
    start: &Path,
    module: Option<String>,
    variables: &Variables<'_>,
    choice: &Choice,
    is_build: bool,
) -> Result<(PathBuf, Option<String>)> {
    let typed = variables.typed("KDIR").map(|directory| start.join(directory));
    // A typed KDIR says that this is none, whatever lies here.
    let is_kernel = if typed.is_some() { tree::is_source(start) } else { tree::is_kernel(start) };
    if is_kernel || (module.is_none() && typed.is_none() && !External::is_one(start)) {
        return Ok((start.to_path_buf(), module));
    }
    ensure!(
        module.is_some() || External::is_one(start),
        "{} has no Kbuild and no Makefile with obj-m: there is no external module to build (klpbuild new makes one)",
        start.display()
    );
    let kernel = start.ancestors().skip(1).find(|directory| tree::is_source(directory));
    if let (None, Some(kernel)) = (&module, kernel) {
        bail!(
            "{} is a part of the kernel tree {}: start klpbuild there, or, if it is to be built as an external module, \
             say so with M=",
            start.display(),
            kernel.display()
        );
    }
    let places = choice.places();
    let typed = typed.or_else(|| {
        let module = module.as_ref().map_or(start.to_path_buf(), |module| start.join(module));
        let built_for = || State::at(&module).context().ok().flatten().map(|context| context.objtree);
        let is_named = std::env::var_os("KDIR").is_some_and(|value| !value.is_empty());
        if is_build || is_named { None } else { built_for() }
    });
    let directory = places.kernel_directory(typed).with_context(|| {
        let release = places.running().unwrap_or_default();
        format!(
            "{} is no kernel tree, and to build an external module there, the headers of a kernel are needed: the \
             kernel that is running, {release}, has none in {}; install them (klpbuild doctor says how), or name a \
             kernel tree (KDIR=DIR)",
            start.display(),
            places.build(&release).display()
        )
    })?;
    tree::expect_kernel(&directory)?;
    Ok((directory, Some(module.unwrap_or_else(|| start.display().to_string()))))
}

/// The external modules that M= and MO= name. Up to 6.12, M= is relative to the object tree, where make is then; later
/// to where make is started. If klpbuild has found the kernel by itself, it is relative to where that was started.
fn external(
    tree: &Tree,
    module: &str,
    variables: &Variables<'_>,
    start: &Path,
    from_start: bool,
) -> Result<External> {
    let has_output = tree.external_has_output()?;
    let base = if has_output || from_start { start } else { &tree.objtree };
    let given = base.join(module);
    ensure!(
        given.is_dir(),
        "{}: no such directory: M= names the directory of an external module",
        given.display()
    );
    let source = fs_err::canonicalize(&given)?;
    let output = variables.typed("MO").or_else(|| variables.anywhere("KBUILD_EXTMOD_OUTPUT"));
    ensure!(
        output.is_none() || has_output,
        "this kernel takes no MO=: it builds external modules where their sources are (up to 6.12)"
    );
    let output = match output {
        Some(output) => tree::absolute(&start.join(output))?,
        None => source.clone(),
    };
    tree::check_path(&source)?;
    tree::check_path(&output)?;
    // As it was typed, if that is how make finds it.
    let is_relative = !has_output && !from_start;
    let argument =
        if is_relative { module.trim_end_matches('/').to_owned() } else { given.display().to_string() };
    let argument = if argument.is_empty() { "/".to_owned() } else { argument };
    tree::check_path(Path::new(&argument))?;
    let root = if has_output { output.clone() } else { tree.objtree.clone() };
    Ok(External { source, output, root, argument, extra_symbols: Vec::new() })
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

/// What NAME=VALUE among the words of a command that runs no make says, as for one that does.
#[derive(Debug)]
pub(crate) struct Named {
    /// Where it begins: M= names an external module.
    pub start: PathBuf,
    /// The object tree: O= names it, or KDIR=, or for a source tree the environment variable KBUILD_OUTPUT.
    pub objtree: Option<PathBuf>,
    /// The configuration's name, which is relative to the object tree.
    pub config: String,
}

impl Named {
    /// What `words` say to a command that begins in `start`.
    pub(crate) fn in_words(start: &Path, words: &[String]) -> Named {
        let inherited = Inherited::from_env();
        let variables = Variables(inherited.assignments.iter().chain(words).collect());
        let output = || tree::is_source(start).then(|| variables.anywhere("KBUILD_OUTPUT")).flatten();
        let objtree = variables.typed("O").or_else(|| variables.typed("KDIR")).or_else(output);
        let module = variables.typed("M").map(|module| start.join(module));
        Named {
            start: module.unwrap_or_else(|| start.to_path_buf()),
            objtree: objtree.map(|tree| start.join(tree)),
            config: variables.anywhere("KCONFIG_CONFIG").unwrap_or_else(|| ".config".to_owned()),
        }
    }
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
