// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild klpclean`, and `clean`, `mrproper` and `distclean`, which are klpclean and make's goal of that
//! name.

use anyhow::Result;

use crate::build::plan::Plan;
use crate::build::progress::history::History;
use crate::build::session::Session;
use crate::cli::{CleanArgs, KlpcleanArgs, Options};
use crate::command::asked;
use crate::host::exit::Exit;
use crate::host::terminal;
use crate::kernel::installed::{Choice, cache};
use crate::kernel::state::StateDir;

/// `klpbuild clean`, `mrproper` and `distclean`: runs make's `goal` of that name, and removes klpbuild's own files.
///
/// # Errors
/// Another klpbuild works on the object tree, or something cannot be removed.
pub fn clean(options: &Options, arguments: &CleanArgs, goal: &str) -> Result<Exit> {
    let places = Choice::default().places();
    let order = asked::order(options, &arguments.words, arguments.release.as_deref(), &places)?;
    make_clean(&Plan::resolve(order)?, Some(goal))
}

/// `klpbuild klpclean`: removes klpbuild's own files, or with --cache the maps of installed kernels that it keeps.
///
/// # Errors
/// Another klpbuild works on the object tree, or something cannot be removed.
pub fn klpclean(options: &Options, arguments: &KlpcleanArgs) -> Result<Exit> {
    if arguments.cache {
        return cache(options);
    }
    let here = StateDir::at(&asked::start(options)?);
    // Files in the directory it was started in are removed without knowing the kernel.
    if arguments.words.is_empty() && !here.present().is_empty() {
        return if options.dry_run { Ok(show(&here)) } else { remove(&here) };
    }
    let order = asked::order(options, &arguments.words, None, &Choice::default().places())?;
    make_clean(&Plan::resolve(order)?, None)
}

/// Runs make's `goal`, if one is given, and removes klpbuild's own files. If make fails, its log stays.
fn make_clean(plan: &Plan, goal: Option<&str>) -> Result<Exit> {
    let command = goal.map(|goal| plan.make(&[goal.to_owned()]));
    if plan.dry_run {
        command.iter().for_each(|command| terminal::out(format!("{command}\n")));
        return Ok(show(&plan.state));
    }
    let Some(command) = command else { return remove(&plan.state) };
    let _lock = plan.state.lock()?;
    let mut session = Session::begin(plan)?;
    let outcome = session.run(&command, History::default())?;
    session.sum_up(&outcome);
    if outcome.exit == Exit::Done {
        drop(session);
        plan.state.remove()?;
        say_foreign(&plan.state);
    }
    Ok(outcome.exit)
}

/// Shows what [`remove`] would do.
fn show(state: &StateDir) -> Exit {
    state.present().iter().for_each(|path| terminal::out(format!("rm -r {}\n", path.display())));
    say_foreign(state);
    Exit::Done
}

fn remove(state: &StateDir) -> Result<Exit> {
    if !state.present().is_empty() {
        let _lock = state.lock()?;
        state.remove()?;
    }
    say_foreign(state);
    Ok(Exit::Done)
}

/// Prints which directory with the name of klpbuild's own is left alone.
fn say_foreign(state: &StateDir) {
    if let Some(directory) = state.foreign() {
        terminal::say(format_args!("{} was not made by klpbuild, and is left alone", directory.display()));
    }
}

/// Empties the cache of installed kernels' symbols.
fn cache(options: &Options) -> Result<Exit> {
    let directory = cache::directory();
    let shown =
        directory.as_ref().map_or_else(|| "XDG_CACHE_HOME".to_owned(), |path| path.display().to_string());
    if options.dry_run {
        if directory.is_some_and(|directory| directory.exists()) {
            terminal::out(format!("rm -r {shown}\n"));
        }
    } else if cache::empty()? && !options.quiet {
        terminal::tell(format_args!("{shown} is removed"));
    }
    Ok(Exit::Done)
}
