// SPDX-License-Identifier: GPL-2.0-only
//! An object tree in which files of an installed kernel can be compiled. It is made once, with the headers'
//! configuration, release and exports and with the kernel's own compiler, and kept in klpbuild's cache by the
//! kernel's build ID.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::build::plan::{Order, Plan};
use crate::build::progress::history::History;
use crate::build::session::Session;
use crate::frompatch::compiler;
use crate::frompatch::descent::{self, Trip};
use crate::frompatch::source;
use crate::host::digest;
use crate::host::exit::Exit;
use crate::host::make::variable::Variable;
use crate::host::terminal;
use crate::host::words::hex;
use crate::kernel::installed::{InstalledKernel, cache};
use crate::kernel::state::Lock;
use crate::kernel::tree::config::Config;
use crate::kernel::tree::facts;

/// The file in a complete tree that says what the tree was made of. Its first line changes when klpbuild makes trees
/// in another way.
const MADE_OF: &str = "prepared";
const VERSION: &str = "klpbuild-prepared 3";

/// The configuration of the headers and of the tree. Packages of headers have it by this name; auto.conf beside it does
/// not say what is not set, nor, before 5.8, which compiler it was. In the tree, which is klpbuild's own, make is told to
/// take it, for KCONFIG_CONFIG of the environment speaks of another build.
const CONFIG: &str = ".config";

/// An installed kernel that needs an object tree.
#[derive(Debug)]
pub struct UnpreparedKernel<'a> {
    /// The kernel.
    pub kernel: &'a InstalledKernel,
    /// Its headers.
    pub headers: &'a Path,
    /// Its source.
    pub source: &'a Path,
}

/// An object tree in which files can be compiled; it stays locked for as long as this lives.
#[derive(Debug)]
pub struct PreparedTree {
    /// The tree.
    pub objtree: PathBuf,
    /// How make is run in it.
    order: Order,
    _lock: Lock,
}

/// The outcome of a run of make.
#[derive(Debug)]
pub enum Made<T> {
    /// The result.
    Done(T),
    /// The run was stopped, or make failed and said why.
    Over(Exit),
}

/// Finds the tree, or makes it. If another klpbuild works in it, waits for its end, or until a `signal` comes.
///
/// # Errors
/// The compiler is not the kernel's, or there is no directory to make the tree in.
pub fn prepare(
    wanted: &UnpreparedKernel<'_>,
    base: impl Fn() -> Result<Order>,
    mut signal: impl FnMut() -> Option<i32>,
) -> Result<Made<PreparedTree>> {
    let config_file = wanted.headers.join(CONFIG);
    ensure!(
        config_file.is_file(),
        "{} has no .config: install the headers of {}",
        wanted.headers.display(),
        wanted.kernel.release
    );
    let config = Config::read(&config_file)?;
    let compiler = compiler::find(&config)?;
    let objtree = place(wanted)?;
    fs::create_dir_all(&objtree).context("cannot make a place for the kernel's object tree")?;
    let mut order = base()?;
    order.start = wanted.source.to_path_buf();
    // A tree of git must not add to the release.
    let own =
        [format!("O={}", objtree.display()), format!("KCONFIG_CONFIG={CONFIG}"), "LOCALVERSION=".to_owned()];
    let mut words = own.into_iter().chain(package(wanted.headers)).collect::<Vec<String>>();
    if is_named_otherwise(wanted) {
        words.push(format!("KERNELRELEASE={}", wanted.kernel.release));
    }
    order.variables = words.iter().chain(&compiler).filter_map(|word| Variable::parse(word)).collect();
    let plan = Plan::resolve(copied(&order, &[]))?;
    let (mut is_told, mut received) = (order.quiet, None);
    let lock = plan.state.lock_when_free(|what| {
        if !is_told {
            terminal::say(format_args!("{what}: waiting for it to end"));
            is_told = true;
        }
        received = signal();
        received.is_none()
    })?;
    let Some(lock) = lock else { return Ok(Made::Over(received.map_or(Exit::Problem, Exit::Signal))) };
    let made_of = made_of(wanted, &compiler)?;
    if fs::read_to_string(objtree.join(MADE_OF)).is_ok_and(|text| text == made_of) {
        return Ok(Made::Done(PreparedTree { objtree, order, _lock: lock }));
    }
    if !order.quiet {
        terminal::say(format_args!(
            "preparing {} to compile its files (once: kept in {})",
            wanted.kernel.release,
            objtree.display()
        ));
    }
    empty(&objtree, &plan)?;
    fill(wanted, &objtree, &config)?;
    for goals in [&["olddefconfig"][..], &["prepare", "modules_prepare"]] {
        if let Some(exit) = make(&order, goals)? {
            return Ok(Made::Over(exit));
        }
    }
    let release = facts::release(&objtree).unwrap_or_default();
    ensure!(
        release == wanted.kernel.release,
        "the object tree made of {} has the release {release}, and the kernel is {}",
        wanted.source.display(),
        wanted.kernel.release
    );
    fs::write(objtree.join(MADE_OF), made_of)?;
    Ok(Made::Done(PreparedTree { objtree, order, _lock: lock }))
}

impl PreparedTree {
    /// Has kbuild compile `goals` (`fs/proc/cmdline.o`), so that it records their commands.
    ///
    /// # Errors
    /// make cannot be run.
    pub fn compile(&self, goals: &[&str]) -> Result<Option<Exit>> {
        for Trip { goals, variable } in descent::trips(&self.order.start, goals) {
            let mut order = copied(&self.order, &[]);
            order.variables.extend(variable.as_deref().and_then(Variable::parse));
            if let Some(exit) = make(&order, &goals)? {
                return Ok(Some(exit));
            }
        }
        Ok(None)
    }
}

/// Runs make once; returns its exit if it failed.
fn make(order: &Order, goals: &[&str]) -> Result<Option<Exit>> {
    let plan = Plan::resolve(copied(order, goals))?;
    let goals: Vec<String> = goals.iter().map(|&goal| goal.to_owned()).collect();
    let mut session = Session::begin(&plan)?;
    let outcome = session.run(&plan.make(&goals), History::default())?;
    session.sum_up(&outcome);
    Ok((outcome.exit != Exit::Done).then_some(outcome.exit))
}

/// `order` with other goals.
fn copied(order: &Order, goals: &[&str]) -> Order {
    Order {
        start: order.start.clone(),
        goals: goals.iter().map(|&goal| goal.to_owned()).collect(),
        variables: order.variables.clone(),
        jobs: order.jobs,
        shown: order.shown,
        quiet: order.quiet,
        verbose: order.verbose,
        log: order.log.clone(),
        ..Order::default()
    }
}

/// Whether the kernel's release was set on make's command line.
fn is_named_otherwise(wanted: &UnpreparedKernel<'_>) -> bool {
    facts::made_release(wanted.headers).is_some_and(|made| made != wanted.kernel.release)
}

fn place(wanted: &UnpreparedKernel<'_>) -> Result<PathBuf> {
    let base =
        cache::directory().context("there is no place for the kernel's object tree: set XDG_CACHE_HOME")?;
    let name = match &wanted.kernel.build_id {
        Some(id) => hex(id),
        None => wanted.kernel.release.replace('/', "_"),
    };
    Ok(base.join(name).join("objtree"))
}

/// The assignment that sets Debian's LINUX_PACKAGE_ID (include/generated/package.h), which two files contain.
fn package(headers: &Path) -> Vec<String> {
    let text = fs::read_to_string(headers.join("include/generated/package.h")).unwrap_or_default();
    let id = text.lines().find_map(|line| line.strip_prefix("#define LINUX_PACKAGE_ID"));
    let Some((name, version)) = id.and_then(|id| id.trim().trim_matches('"').trim().split_once(' ')) else {
        return Vec::new();
    };
    vec![
        "DISTRIBUTION_OFFICIAL_BUILD=1".to_owned(),
        format!("DISTRIBUTOR={name}"),
        format!("DISTRIBUTION_VERSION={version}"),
    ]
}

/// The text that says what a tree is made of, by which a later run knows whether it can still be used.
fn made_of(wanted: &UnpreparedKernel<'_>, compiler: &[String]) -> Result<String> {
    let hash = |name: &str| -> Result<String> {
        let bytes = fs::read(wanted.headers.join(name)).unwrap_or_default();
        Ok(digest::sha256([bytes.as_slice()]))
    };
    Ok(format!(
        "{VERSION}\n{} {}\n{}\n{}\n{}\n{}\n",
        wanted.kernel.release,
        source::version(wanted.source)?,
        wanted.source.display(),
        compiler.join(" "),
        hash(CONFIG)?,
        hash("Module.symvers")?
    ))
}

/// Removes the files of an interrupted klpbuild, except for klpbuild's own directory with the lock.
fn empty(objtree: &Path, plan: &Plan) -> Result<()> {
    for entry in fs::read_dir(objtree)?.flatten() {
        let path = entry.path();
        if path == plan.state.directory() {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

/// Writes the configuration, release and exports that the kernel was built with.
fn fill(wanted: &UnpreparedKernel<'_>, objtree: &Path, config: &Config) -> Result<()> {
    fs::copy(wanted.headers.join(CONFIG), objtree.join(CONFIG))?;
    let symvers = wanted.headers.join("Module.symvers");
    if symvers.is_file() {
        fs::copy(symvers, objtree.join("Module.symvers"))?;
    }
    if is_named_otherwise(wanted) {
        return Ok(());
    }
    let version = source::version(wanted.source)?;
    let rest = wanted.kernel.release.strip_prefix(&version).unwrap_or_default();
    let own = config.string("LOCALVERSION").unwrap_or_default();
    // scripts/setlocalversion: files named localversion* come before CONFIG_LOCALVERSION.
    let rest = rest.strip_suffix(own.as_str()).unwrap_or(rest);
    if !rest.is_empty() {
        fs::write(objtree.join("localversion"), format!("{rest}\n"))?;
    }
    Ok(())
}
