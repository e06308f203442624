//! `klpbuild modules`: compile, map, modpost.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::build::after;
use crate::build::fragment;
use crate::build::hook;
use crate::build::hook::Report;
use crate::build::plan::goals::{Kind, is_interactive};
use crate::build::plan::{Conversion, Order, Plan};
use crate::build::progress::history::Run;
use crate::build::session::{Outcome, Session};
use crate::cli::{ModulesArgs, Options};
use crate::command::asked;
use crate::elf::image::Image;
use crate::host::exit::Exit;
use crate::host::program::Program;
use crate::host::signal::Watch;
use crate::host::terminal;
use crate::host::words::{clock, count};
use crate::kernel::external::context::Context;
use crate::kernel::origin::Origin;
use crate::kernel::symbols::exports;
use crate::kernel::symbols::flags;
use crate::kernel::symbols::flags::Makefiles;
use crate::kernel::tree::config::Config;
use crate::kernel::tree::era::{Era, Kbuild, Method};
use crate::kernel::tree::facts;
use crate::kernel::tree::kconfig::Kconfig;
use crate::livepatch::convert;

/// `klpbuild modules`.
///
/// # Errors
/// klpbuild found a problem: with the tree, the configuration, or what the map step saw.
pub fn modules(options: &Options, arguments: &ModulesArgs) -> Result<Exit> {
    let order = asked::order(options, &arguments.words)?;
    let plan = Plan::resolve(Order {
        make_options: arguments.make_options.clone(),
        choice: Some(asked::choice(&arguments.kernel, &order.start)),
        conversion: Conversion {
            is_off: arguments.no_convert,
            keep_module_exports: arguments.keep_module_exports,
        },
        ..order
    })?;
    build(&plan)
}

/// Builds what the plan asks for.
fn build(plan: &Plan) -> Result<Exit> {
    if plan.external.is_none() {
        plan.tree.check_clean_source(plan.variable("ARCH"))?;
    }
    if plan.dry_run {
        return dry_run(plan);
    }
    if let Ok(Main::Mapped(kbuild)) = decide(plan) {
        after::check(plan, &kbuild)?;
    }
    let _lock = plan.state.lock()?;
    // Reading an installed kernel's symbols takes a while, and can be stopped at any time: not yet under a session.
    let external = match (&plan.external, decide(plan)) {
        (Some(_), Ok(Main::Mapped(kbuild))) => Some(context(plan, &kbuild)?),
        _ => None,
    };
    let mut session = Session::begin(plan)?;
    for goals in before(plan) {
        let interactive =
            goals.iter().any(|goal| is_interactive(goal)) && terminal::Surroundings::is_interactive();
        let exit = if interactive {
            session.interact(&plan.interactive_make(&goals))?
        } else {
            run(&mut session, &plan.make(&goals))?
        };
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    let exit = main_run(plan, &mut session, external)?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    for command in follow(plan)? {
        let exit = run(&mut session, &command)?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    Ok(Exit::Done)
}

/// Goals of make runs that have to come before the main one.
fn before(plan: &Plan) -> impl Iterator<Item = Vec<String>> {
    [Kind::Clean, Kind::Config].map(|kind| plan.goals_of(kind)).into_iter().filter(|goals| !goals.is_empty())
}

/// The makes that have to come after the main one.
fn follow(plan: &Plan) -> Result<Vec<Program>> {
    match decide(plan)? {
        Main::Plain => after::makes(plan, None, 0),
        Main::Mapped(kbuild) => after::makes(plan, Some(&kbuild), plan.state.livepatches()?.len()),
    }
}

/// The goals of the main run. `modules` comes first: the fragment relies on it.
fn main_goals(plan: &Plan) -> Vec<String> {
    let rest = plan.goals_of(Kind::Build).into_iter().filter(|goal| goal != "modules");
    std::iter::once("modules".to_owned()).chain(rest).collect()
}

fn run(session: &mut Session<'_>, command: &Program) -> Result<Exit> {
    let outcome = session.run(command, None)?;
    session.sum_up(&outcome);
    Ok(outcome.exit)
}

/// What the main run is.
enum Main {
    /// Without CONFIG_LIVEPATCH: as make does it.
    Plain,
    /// With the map in the middle.
    Mapped(Kbuild),
}

fn decide(plan: &Plan) -> Result<Main> {
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
    if options.livepatch {
        return Ok(Main::Mapped(Kbuild::detect(&plan.tree.srctree)?));
    }
    Ok(Main::Plain)
}

fn main_run(plan: &Plan, session: &mut Session<'_>, external: Option<Context>) -> Result<Exit> {
    let goals = main_goals(plan);
    match decide(plan)? {
        Main::Plain => {
            without_map(plan)?;
            let last = Run::read(&plan.state.last_run());
            let outcome = session.run(&plan.make(&goals), last)?;
            finish(plan, session, &outcome, None)
        }
        Main::Mapped(kbuild) => {
            let context = prepare(plan, &kbuild, external)?;
            match &kbuild.method {
                Method::Fragment => with_fragment(plan, session, &kbuild, &goals),
                Method::Patched => with_patches(plan, session, &kbuild, &goals),
                Method::Phased { compile } => in_phases(plan, session, &kbuild, &context, compile, &goals),
            }
        }
    }
}

/// One make run of a tree that carries the series of `kbuild-patches`: it makes the map and converts by itself, with this
/// program. For external modules it does not.
fn with_patches(plan: &Plan, session: &mut Session<'_>, kbuild: &Kbuild, goals: &[String]) -> Result<Exit> {
    if plan.external.is_some() {
        return with_fragment(plan, session, kbuild, goals);
    }
    let last = Run::read(&plan.state.last_run());
    let outcome = session.run(&plan.make_of_patched_tree(goals)?, last)?;
    // Where nothing has changed, make has not come to the map.
    let report = match Report::read(&plan.state) {
        None if outcome.exit == Exit::Done => Some(Report::of_lists(&plan.tree.objtree)?),
        report => report,
    };
    finish(plan, session, &outcome, report)
}

/// Says that there will be no map. One of an earlier configuration would only mislead.
fn without_map(plan: &Plan) -> Result<()> {
    let stale = plan.state.remove_lists()?;
    if !plan.quiet {
        let stale = if stale { "; the old one is removed" } else { "" };
        let config = plan.config.display();
        terminal::say(format_args!(
            "CONFIG_LIVEPATCH is not set in {config}: modules only, no Symbols.list is made{stale}"
        ));
        if plan.external.is_none() {
            say_why_off(plan)?;
        }
    }
    Ok(())
}

/// Says what keeps CONFIG_LIVEPATCH off, and how to have it.
fn say_why_off(plan: &Plan) -> Result<()> {
    let config = Config::read(&plan.config)?;
    let kconfig = Kconfig::read(&plan.tree.srctree, &config);
    if let Some(obstacles) = kconfig.obstacles("LIVEPATCH", &config) {
        let why = obstacles.shown().map(|why| format!("{why}; ")).unwrap_or_default();
        terminal::say(format_args!("{why}for livepatches: {}", obstacles.remedy(&plan.config)));
    }
    Ok(())
}

/// One make run; the fragment makes the map a prerequisite of modpost.
fn with_fragment(plan: &Plan, session: &mut Session<'_>, kbuild: &Kbuild, goals: &[String]) -> Result<Exit> {
    let last = Run::read(&plan.state.last_run());
    let outcome = session.run(&plan.make_with_map(kbuild, goals)?, last)?;
    let report = Report::read(&plan.state);
    // Options like -n and --help have make do nothing, and end well.
    if outcome.exit == Exit::Done && !plan.has_make_options() {
        ensure!(
            report.is_some(),
            "make is done, but it never came to make Symbols.list: this tree's makefiles are unlike any known \
             ones; the full output is in {}",
            plan.log.display()
        );
    }
    finish(plan, session, &outcome, report)
}

/// Writes the fragment and what the map step has to know, which it returns, and empties what the last run left for make to read.
fn prepare(plan: &Plan, kbuild: &Kbuild, external: Option<Context>) -> Result<Context> {
    let state = &plan.state;
    let context = external.map_or_else(|| context(plan, kbuild), Ok)?;
    state.write_context(&context)?;
    fs::write(state.fragment(), fragment::FRAGMENT)?;
    fs::write(state.modpost_arguments(), "")?;
    fs::write(state.strict_arguments(), "")?;
    match fs::remove_file(state.report()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot begin"),
        _ => Ok(context),
    }
}

/// What the map step has to know. The symbols of an installed kernel are read now, which takes a while the first time.
fn context(plan: &Plan, kbuild: &Kbuild) -> Result<Context> {
    let tree = &plan.tree;
    let mut context = Context {
        external: plan.external.clone(),
        choice: plan.choice.clone(),
        unconverted: plan.conversion.is_off,
        keep_module_exports: plan.conversion.keep_module_exports,
        ..Context::of_tree(&tree.srctree, &tree.objtree)
    };
    let Some(external) = &mut context.external else { return Ok(context) };
    ensure!(
        !matches!(kbuild.method, Method::Phased { .. }),
        "this kernel's makefiles are unlike any known ones: external modules cannot be built for it with klpbuild"
    );
    // Without it, modpost only warns of undefined symbols, and all of a livepatch's would count as not exported.
    ensure!(
        tree.objtree.join("Module.symvers").is_file(),
        "{}",
        exports::not_known(&format!("in {}", tree.objtree.display()))
    );
    let release = facts::release(&tree.objtree).unwrap_or_default();
    let makefiles = Makefiles::external(&tree.srctree, &tree.objtree, external, &release);
    external.extra_symbols = flags::extra_symbols(&makefiles, &plan.variables)?;
    for dump in external.extra_symvers().filter(|dump| !dump.is_file()) {
        terminal::say(format_args!(
            "KBUILD_EXTRA_SYMBOLS names {}, which is not there: what is exported there counts as not exported; build \
             those modules first",
            dump.display()
        ));
    }
    // Ordinary modules can do without the kernel's symbols.
    let origin = Origin::of_kernel(&tree.objtree, &plan.choice).and_then(|mut origin| {
        origin.drop_doubtful_list(plan.quiet);
        origin.make_list(Some(&plan.state.directory()), plan.quiet)?;
        Ok(origin)
    });
    match origin {
        Ok(origin) => {
            context.kernel_list = origin.list.clone();
            if !plan.quiet {
                origin.say_shortcomings();
            }
        }
        Err(error) => context.problem = Some(format!("{error:#}")),
    }
    Ok(context)
}

/// Several make runs, for a tree without the targets that the fragment needs: everything is compiled and
/// vmlinux linked, then the map is made, then `make modules` descends once more.
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
    let (report, _) = hook::step(context, kbuild, &plan.variables, &plan.state)?;
    let mut command = plan.make(goals);
    command.arg("KBUILD_BUILTIN=y");
    let modpost = fs::read_to_string(plan.state.modpost_arguments())?;
    command.args(modpost.split_whitespace());
    let outcome = session.run(&command, None)?;
    finish(plan, session, &outcome, Some(report))
}

/// The makes before the map: one for all objects, and one for vmlinux where that does not link it.
fn phases(plan: &Plan, kbuild: &Kbuild, compile: &[&str]) -> (Program, Option<Program>) {
    let goals: Vec<String> = compile.iter().map(|&goal| goal.to_owned()).collect();
    let mut both = plan.make(&goals);
    both.arg("KBUILD_BUILTIN=y");
    both.arg(if kbuild.era == Era::ModpostFirst { "KBUILD_MODULES=y" } else { "KBUILD_MODULES=1" });
    let linked = compile.contains(&"vmlinux");
    (both, (!linked).then(|| plan.make(&["vmlinux".to_owned()])))
}

/// Says how the main run ended.
fn finish(plan: &Plan, session: &Session<'_>, outcome: &Outcome, report: Option<Report>) -> Result<Exit> {
    session.sum_up(outcome);
    if outcome.exit != Exit::Done && !plan.conversion.is_off {
        remove_unconverted(plan, outcome.run.time)?;
    }
    match outcome.exit {
        Exit::Done => {}
        Exit::Make(_) if report.is_some_and(|report| report.failed) => return Ok(Exit::Problem),
        exit => return Ok(exit),
    }
    if report.is_some_and(|report| report.livepatches > 0) && !plan.conversion.is_off && !is_patched(plan)? {
        let exit = convert(plan)?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    if let (Some(external), Some(Report { modules: 0, livepatches: 0, .. })) = (&plan.external, report) {
        terminal::say(format_args!(
            "{} has no module to build: what is to be one has to be in obj-m (obj-y is for what becomes a part of the \
             kernel)",
            external.source.display()
        ));
    }
    // V=1 and -s have no steps: that says nothing of the next run.
    if outcome.run.steps > 0 {
        outcome.run.write(&plan.state.last_run())?;
    }
    if !plan.quiet {
        let time = clock(outcome.run.time);
        terminal::out(match report {
            Some(Report { modules, livepatches: 0, .. }) if plan.external.is_some() => {
                format!("klpbuild: {}, no livepatch; {time}\n", count(modules, "module"))
            }
            Some(Report { modules, livepatches, names, .. }) => format!(
                "klpbuild: {}, {}; {names} names in Symbols.list; {time}\n",
                count(modules, "module"),
                count(livepatches, "livepatch"),
            ),
            None => format!("klpbuild: make is done; {time}\n"),
        });
    }
    Ok(Exit::Done)
}

/// Whether the kernel's own makefiles have converted its livepatches.
fn is_patched(plan: &Plan) -> Result<bool> {
    Ok(plan.external.is_none() && Kbuild::detect(&plan.tree.srctree)?.method == Method::Patched)
}

/// Removes livepatches that a make which has failed, or was stopped, has linked in its last `time`: the step that
/// converts them has not come, and make and `modules_install` would take them for done.
fn remove_unconverted(plan: &Plan, time: Duration) -> Result<()> {
    let root = plan.external.as_ref().map_or(&plan.tree.objtree, |external| &external.output);
    // Time stamps may be coarse.
    let begin = SystemTime::now().checked_sub(time + Duration::from_secs(2));
    for module in plan.state.livepatches()? {
        let path = root.join(module);
        let is_new = fs::metadata(&path).and_then(|meta| meta.modified()).is_ok_and(|at| Some(at) >= begin);
        if is_new && Image::read(&path).map_or(true, |image| !convert::is_converted(&image)) {
            fs::remove_file(&path).context("cannot remove a livepatch that is not converted")?;
        }
    }
    Ok(())
}

/// Converts the livepatches that the map step found.
fn convert(plan: &Plan) -> Result<Exit> {
    let root = plan.external.as_ref().map_or(&plan.tree.objtree, |external| &external.output);
    // With goals of its own, make may not have come to link all of them.
    let modules = plan.state.livepatches()?;
    let modules: Vec<String> = modules.into_iter().filter(|module| root.join(module).is_file()).collect();
    let mut watch = Watch::begin()?;
    // Each is converted or removed: a signal waits until all are.
    let origin = match (&plan.external, plan.state.context()?) {
        (Some(_), Some(context)) => Origin::of_external(&context, plan.quiet)?,
        _ => Origin::of_tree(root)?,
    };
    convert::tree::convert_tree(root, &modules, &origin, plan.conversion.keep_module_exports, plan.quiet)?;
    Ok(watch.received().map_or(Exit::Done, Exit::Signal))
}

/// Prints the makes that would be run.
fn dry_run(plan: &Plan) -> Result<Exit> {
    let mut commands: Vec<Program> = Vec::new();
    commands.extend(before(plan).map(|goals| plan.make(&goals)));
    let goals = main_goals(plan);
    let main = match plan.goals_of(Kind::Config).is_empty() || plan.external.is_some() {
        true => decide(plan)?,
        // What the configuration will be is not known before that goal has run.
        false => Main::Mapped(Kbuild::detect(&plan.tree.srctree)?),
    };
    let following = match &main {
        Main::Plain => after::makes(plan, None, 0)?,
        Main::Mapped(kbuild) => {
            after::check(plan, kbuild)?;
            after::makes(plan, Some(kbuild), plan.state.livepatches()?.len())?
        }
    };
    match main {
        Main::Plain => commands.push(plan.make(&goals)),
        Main::Mapped(kbuild) => match &kbuild.method {
            Method::Patched if plan.external.is_none() => commands.push(plan.make_of_patched_tree(&goals)?),
            Method::Fragment | Method::Patched => commands.push(plan.make_with_map(&kbuild, &goals)?),
            Method::Phased { compile } => {
                let (both, vmlinux) = phases(plan, &kbuild, compile);
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
