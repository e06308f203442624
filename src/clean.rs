//! `klpbuild klpclean`, and `clean`, `mrproper` and `distclean`, which are klpclean and make's goal of that
//! name.

use anyhow::Result;

use crate::cli::Options;
use crate::exit::Exit;
use crate::installed::cache;
use crate::plan::Plan;
use crate::session::Session;
use crate::terminal;

/// Runs make's `goal`, if one is given, and removes what is klpbuild's. If make fails, its log stays.
///
/// # Errors
/// Another klpbuild is at work on the object tree, or something cannot be removed.
pub fn clean(plan: &Plan, goal: Option<&str>) -> Result<Exit> {
    let command = goal.map(|goal| plan.make(&[goal.to_owned()]));
    if plan.dry_run {
        if let Some(command) = &command {
            terminal::out(format!("{command}\n"));
        }
        for path in plan.state.present() {
            terminal::out(format!("rm -r {}\n", path.display()));
        }
        return Ok(Exit::Done);
    }
    let Some(command) = command else {
        if !plan.state.present().is_empty() {
            let _lock = plan.state.lock()?;
            plan.state.remove()?;
        }
        return Ok(Exit::Done);
    };
    let _lock = plan.state.lock()?;
    let mut session = Session::begin(plan)?;
    let outcome = session.run(&command, None)?;
    session.sum_up(&outcome);
    if outcome.exit == Exit::Done {
        drop(session);
        plan.state.remove()?;
    }
    Ok(outcome.exit)
}

/// Empties the cache of installed kernels' symbols.
///
/// # Errors
/// Something cannot be removed.
pub fn cache(options: &Options) -> Result<Exit> {
    let directory = cache::directory();
    let shown =
        directory.as_ref().map_or_else(|| "XDG_CACHE_HOME".to_owned(), |path| path.display().to_string());
    if options.dry_run {
        if directory.is_some_and(|directory| directory.exists()) {
            terminal::out(format!("rm -r {shown}\n"));
        }
    } else if cache::empty()? && !options.quiet {
        terminal::out(format!("klpbuild: {shown} is removed\n"));
    }
    Ok(Exit::Done)
}
