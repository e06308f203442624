// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild modules`: compile, map, modpost.
//!
//! - `finish`: conversion, and the closing message
//! - `timed`: the page with the build's times; `told`: the result for programs

mod finish;
mod timed;
mod told;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::build::after;
use crate::build::hook;
use crate::build::plan::goals::{GoalKind, is_interactive};
use crate::build::plan::{Order, Plan};
use crate::build::prepare;
use crate::build::progress::history::History;
use crate::build::report::MapReport;
use crate::build::session::Session;
use crate::build::timings::Timings;
use crate::cli::{Format, ModulesArgs, Options};
use crate::command::asked;
use crate::command::modules::finish::finish;
use crate::host::exit::Exit;
use crate::host::program::Program;
use crate::host::terminal;
use crate::kernel::external::context::{Context, Conversion};
use crate::kernel::tree::config::Config;
use crate::kernel::tree::era::{Era, Kbuild, Method};
use crate::kernel::tree::kconfig::Kconfig;

/// `klpbuild modules`.
///
/// # Errors
/// klpbuild found a problem: with the tree, with the configuration, or in the map step.
pub fn modules(options: &Options, arguments: &ModulesArgs) -> Result<Exit> {
    let start = asked::start(options)?;
    let choice = asked::choice(&arguments.kernel, &start);
    let release = arguments.kernel.release.as_deref();
    let order = asked::order(options, &arguments.words, release, &choice.places())?;
    let is_text = arguments.format == Format::Text;
    let quiet = order.quiet || !is_text;
    let plan = Plan::resolve(Order {
        quiet,
        make_options: arguments.make_options.clone(),
        choice: Some(choice),
        conversion: Conversion {
            is_off: arguments.no_convert,
            keep_module_exports: arguments.keep_module_exports,
        },
        ..order
    })?;
    let begin = Instant::now();
    let Some(page) = &arguments.timings else {
        let exit = build(&plan, None)?;
        return if is_text || plan.dry_run { Ok(exit) } else { told::print(&plan, exit, begin.elapsed()) };
    };
    let timings = Timings::begin();
    let exit = build(&plan, Some(&timings));
    if plan.dry_run {
        return exit;
    }
    exit.iter().filter(|exit| **exit != Exit::Done).for_each(|_| timings.trouble("failed"));
    if let Err(error) = &exit {
        let shown = format!("{error:#}");
        timings.trouble(&format!("failed: {}", shown.lines().next().unwrap_or_default()));
    }
    let page = page.as_ref().map(|page| start.join(page));
    let written = timed::write(&plan, page.as_deref(), &timings);
    // The first error counts.
    let exit = exit?;
    written?;
    if is_text { Ok(exit) } else { told::print(&plan, exit, begin.elapsed()) }
}

/// Builds what the plan asks for.
fn build(plan: &Plan, timings: Option<&Timings>) -> Result<Exit> {
    if plan.external.is_none() {
        plan.tree.check_clean_source(plan.variable("ARCH"))?;
    }
    let kbuild = Kbuild::detect(&plan.tree.srctree)?;
    // Clean and config goals change a kernel's configuration: what it will be is known only after they have run.
    let is_known = plan.external.is_some() || before(plan).next().is_none();
    let main = is_known.then(|| decide(plan, &kbuild)).transpose()?;
    if plan.dry_run {
        let main = match main {
            Some(main) => main,
            None => Main::Mapped(own(plan, &kbuild, None)?),
        };
        return dry_run(plan, &main);
    }
    main.as_ref().map_or(Ok(()), |main| main.check(plan))?;
    let _lock = plan.state.lock()?;
    // Reading an installed kernel's symbols takes a while, and can be stopped at any time: so it happens before the
    // session.
    let external = match (&plan.external, &main) {
        (Some(_), Some(Main::Mapped(kbuild))) => Some(prepare::context(plan, kbuild)?),
        _ => None,
    };
    let mut session = Session::begin(plan)?;
    timings.iter().for_each(|timings| session.record(timings));
    timings.iter().for_each(|timings| timings.phase("preparation", Duration::ZERO));
    for goals in before(plan) {
        let interactive =
            goals.iter().any(|goal| is_interactive(goal)) && terminal::TerminalStreams::is_interactive();
        let exit = if interactive {
            session.interact(&plan.interactive_make(&goals))?
        } else {
            run(&mut session, &plan.make(&goals))?
        };
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    let main = match main {
        Some(main) => main,
        None => {
            let main = decide(plan, &kbuild)?;
            main.check(plan)?;
            main
        }
    };
    let exit = main_run(plan, &mut session, &main, external)?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    for command in follow(plan, &main)? {
        let exit = run(&mut session, &command)?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    Ok(Exit::Done)
}

/// The goals of the make runs before the main one.
fn before(plan: &Plan) -> impl Iterator<Item = Vec<String>> {
    [GoalKind::Clean, GoalKind::Config]
        .map(|kind| plan.goals_of(kind))
        .into_iter()
        .filter(|goals| !goals.is_empty())
}

/// The makes after the main one.
fn follow(plan: &Plan, main: &Main) -> Result<Vec<Program>> {
    match main {
        Main::Plain(_) => after::makes(plan, None, 0),
        Main::Mapped(kbuild) => after::makes(plan, Some(kbuild), plan.state.livepatches()?.len()),
    }
}

/// The goals of the main run. `modules` comes first: the fragment relies on it.
fn main_goals(plan: &Plan) -> Vec<String> {
    let rest = plan.goals_of(GoalKind::Build).into_iter().filter(|goal| goal != "modules");
    std::iter::once("modules".to_owned()).chain(rest).collect()
}

fn run(session: &mut Session<'_>, command: &Program) -> Result<Exit> {
    let outcome = session.run(command, History::default())?;
    session.sum_up(&outcome);
    Ok(outcome.exit)
}

/// The kind of the main run.
enum Main {
    /// Without CONFIG_LIVEPATCH in this configuration: as plain make does it.
    Plain(Config),
    /// With the map step between compilation and modpost.
    Mapped(Kbuild),
}

impl Main {
    /// Refuses goals that klpbuild cannot support ([`after::check`]), before the main run.
    fn check(&self, plan: &Plan) -> Result<()> {
        match self {
            Main::Plain(_) => Ok(()),
            Main::Mapped(kbuild) => after::check(plan, kbuild),
        }
    }
}

/// Decides the kind of the main run, by the configuration as it is now.
fn decide(plan: &Plan, kbuild: &Kbuild) -> Result<Main> {
    let config = plan.config.display();
    ensure!(
        plan.config.is_file() || plan.external.is_none(),
        "{} has no .config: it is neither a kernel that was built nor the headers of one; name one with -C DIR or \
         KDIR=DIR, or build the kernel first (klpbuild modules)",
        plan.tree.objtree.display()
    );
    ensure!(
        plan.config.is_file(),
        "the kernel is not configured: there is no {config}; make one first, with a config goal \
         (klpbuild modules olddefconfig, with a .config of your distribution; or klpbuild modules defconfig)"
    );
    let options = Config::read(&plan.config)?;
    ensure!(
        options.modules,
        "CONFIG_MODULES is not set in {config}: this kernel has no modules; set it \
         (scripts/config --file {config} --enable MODULES), then run: klpbuild modules olddefconfig"
    );
    Ok(match options.livepatch {
        true => Main::Mapped(own(plan, kbuild, Some(&options))?),
        false => Main::Plain(options),
    })
}

/// The kbuild for this build: a series of `kbuild-patches` leaves external modules to klpbuild.
fn own(plan: &Plan, kbuild: &Kbuild, config: Option<&Config>) -> Result<Kbuild> {
    let kbuild = kbuild.clone();
    if plan.external.is_some() { Ok(kbuild) } else { kbuild.for_own_modules(&plan.tree.srctree, config) }
}

fn main_run(plan: &Plan, session: &mut Session<'_>, main: &Main, external: Option<Context>) -> Result<Exit> {
    let goals = main_goals(plan);
    match main {
        Main::Plain(config) => {
            without_map(plan, config)?;
            let last = History::read(&plan.state.last_run());
            let outcome = session.run(&plan.make(&goals), last)?;
            finish(plan, session, &outcome, None, None)
        }
        Main::Mapped(kbuild) => {
            let context = prepare::prepare(plan, kbuild, external)?;
            match &kbuild.method {
                Method::Fragment => with_fragment(plan, session, kbuild, &goals),
                Method::Patched => with_patches(plan, session, kbuild, &goals),
                Method::Phased { compile } => in_phases(plan, session, kbuild, &context, compile, &goals),
            }
        }
    }
}

/// One make run of a tree that carries the series of `kbuild-patches`: it makes the map and converts by itself, with this
/// program.
fn with_patches(plan: &Plan, session: &mut Session<'_>, kbuild: &Kbuild, goals: &[String]) -> Result<Exit> {
    let last = History::read(&plan.state.last_run());
    let outcome = session.run(&plan.make_of_patched_tree(goals)?, last)?;
    // If nothing has changed, make has not run the map step.
    let report = match MapReport::read(&plan.state) {
        None if outcome.exit == Exit::Done => Some(MapReport::of_lists(&plan.tree.objtree)?),
        report => report,
    };
    finish(plan, session, &outcome, report, Some(kbuild))
}

/// Prints that there will be no map, and removes that of an earlier configuration, which would mislead.
fn without_map(plan: &Plan, config: &Config) -> Result<()> {
    let stale = plan.state.remove_lists()?;
    if !plan.quiet {
        let stale = if stale { "; the old one is removed" } else { "" };
        terminal::say(format_args!(
            "CONFIG_LIVEPATCH is not set in {}: modules only, no Symbols.list is made{stale}",
            plan.config.display()
        ));
        if plan.external.is_none() {
            say_why_off(plan, config);
        }
    }
    Ok(())
}

/// Prints what keeps CONFIG_LIVEPATCH off, and how to switch it on.
fn say_why_off(plan: &Plan, config: &Config) {
    let kconfig = Kconfig::read(&plan.tree.srctree, config);
    if let Some(obstacles) = kconfig.obstacles("LIVEPATCH", config) {
        let why = obstacles.shown().map(|why| format!("{why}; ")).unwrap_or_default();
        terminal::say(format_args!("{why}for livepatches: {}", obstacles.remedy(&plan.config)));
    }
}

/// One make run; the fragment makes the map a prerequisite of modpost.
fn with_fragment(plan: &Plan, session: &mut Session<'_>, kbuild: &Kbuild, goals: &[String]) -> Result<Exit> {
    let last = History::read(&plan.state.last_run());
    let outcome = session.run(&plan.make_with_map(kbuild, goals)?, last)?;
    let report = MapReport::read(&plan.state);
    // With options like -n and --help, make does nothing and succeeds.
    if outcome.exit == Exit::Done && !plan.has_make_options() {
        ensure!(
            report.is_some(),
            "make is done, but it never came to make Symbols.list: this tree's makefiles are unlike any known \
             ones; the full output is in {}",
            plan.log.display()
        );
    }
    finish(plan, session, &outcome, report, Some(kbuild))
}

/// Several make runs, for a tree without the targets that the fragment needs: everything is compiled and vmlinux
/// linked, then the map is made, then `make modules` runs once more.
fn in_phases(
    plan: &Plan,
    session: &mut Session<'_>,
    kbuild: &Kbuild,
    context: &Context,
    compile: &[&str],
    goals: &[String],
) -> Result<Exit> {
    let (both, vmlinux) = phases(plan, kbuild, compile);
    for command in std::iter::once(both).chain(vmlinux) {
        let exit = run(session, &command)?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    let map = || hook::step(context, kbuild, &plan.variables, &plan.state);
    let (report, _) = session.part("the map of symbols", map)?;
    let mut command = plan.make(goals);
    command.arg("KBUILD_BUILTIN=y");
    let modpost = fs::read_to_string(plan.state.modpost_arguments())?;
    command.args(modpost.split_whitespace());
    let outcome = session.run(&command, History::default())?;
    finish(plan, session, &outcome, Some(report), Some(kbuild))
}

/// The makes before the map: one for all objects, and one for vmlinux if the first does not link it.
fn phases(plan: &Plan, kbuild: &Kbuild, compile: &[&str]) -> (Program, Option<Program>) {
    let goals: Vec<String> = compile.iter().map(|&goal| goal.to_owned()).collect();
    let mut both = plan.make(&goals);
    both.arg("KBUILD_BUILTIN=y");
    both.arg(if kbuild.era == Era::ModpostFirst { "KBUILD_MODULES=y" } else { "KBUILD_MODULES=1" });
    let linked = compile.contains(&"vmlinux");
    (both, (!linked).then(|| plan.make(&["vmlinux".to_owned()])))
}

/// Prints the makes that would be run.
fn dry_run(plan: &Plan, main: &Main) -> Result<Exit> {
    let mut commands: Vec<Program> = Vec::new();
    commands.extend(before(plan).map(|goals| plan.make(&goals)));
    let goals = main_goals(plan);
    let following = match main {
        Main::Plain(_) => after::makes(plan, None, 0)?,
        Main::Mapped(kbuild) => {
            after::check(plan, kbuild)?;
            after::makes(plan, Some(kbuild), plan.state.livepatches()?.len())?
        }
    };
    match main {
        Main::Plain(_) => commands.push(plan.make(&goals)),
        Main::Mapped(kbuild) => match &kbuild.method {
            Method::Patched => commands.push(plan.make_of_patched_tree(&goals)?),
            Method::Fragment => commands.push(plan.make_with_map(kbuild, &goals)?),
            Method::Phased { compile } => {
                let (both, vmlinux) = phases(plan, kbuild, compile);
                commands.push(both);
                commands.extend(vmlinux);
                let mut modules = plan.make(&goals);
                modules.arg("KBUILD_BUILTIN=y");
                commands.push(modules);
            }
        },
    }
    commands.extend(following);
    for command in commands {
        terminal::out(format!("{command}\n"));
    }
    Ok(Exit::Done)
}
