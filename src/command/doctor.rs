//! `klpbuild doctor`: what there is, and what is missing, for building livepatches for a kernel.
//!
//! - [`checks`]: what is looked at
//! - [`compiler`]: whether the kernel's compiler is there, and how kbuild comes to take it
//! - [`remedy`]: which package or command supplies something, by distribution

pub mod checks;
pub mod compiler;
pub mod remedy;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::build::plan;
use crate::build::plan::Named;
use crate::build::plan::goals::assignment;
use crate::cli::{DoctorArgs, Options};
use crate::host::exit::Exit;
use crate::host::terminal;
use crate::host::words;
use crate::kernel::installed::Choice;
use crate::kernel::installed::places::Places;
use crate::kernel::symbols::objects::Vmlinux;
use crate::kernel::tree;
use crate::kernel::tree::config;
use crate::kernel::tree::config::Config;
use crate::kernel::tree::facts;

/// The width of the column with what is checked.
const SUBJECT: usize = 13;

/// What became of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It is there.
    Fine,
    /// Something works less well, or does not work at all, but livepatches can be built.
    Note,
    /// Livepatches cannot be built, or not loaded.
    Missing,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// What became of it.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do, a line each.
    pub remedies: Vec<String>,
}

impl Finding {
    /// Something is as it should be.
    pub fn fine(subject: &'static str, what: impl Into<String>) -> Finding {
        Finding { subject, level: Level::Fine, what: what.into(), remedies: Vec::new() }
    }

    /// Something is not.
    pub fn not(
        level: Level,
        subject: &'static str,
        what: impl Into<String>,
        remedies: Vec<String>,
    ) -> Finding {
        Finding { subject, level, what: what.into(), remedies }
    }
}

/// The kernel that is looked at.
#[derive(Debug)]
pub struct Patient {
    /// Its release.
    pub release: String,
    /// Its headers, or the tree it was built in, if those are there.
    pub objtree: Option<PathBuf>,
    /// Its sources, or as much of them as headers have.
    pub srctree: Option<PathBuf>,
    /// Its configuration, if that is known.
    pub config: Option<Config>,
    /// Where that is.
    pub config_file: Option<PathBuf>,
    /// Whether it has been built; before that, only its configuration is known.
    pub is_built: bool,
    /// Whether it is the one that is running.
    pub is_running: bool,
    /// Where the user has its symbols taken from.
    pub choice: Choice,
    /// Where it is installed.
    pub places: Places,
}

impl Patient {
    /// Whether it was built here or is going to be, and not by a distribution.
    pub fn is_own(&self) -> bool {
        !self.is_built || self.objtree.as_ref().is_some_and(|objtree| Vmlinux::of_tree(objtree).is_some())
    }

    fn find(options: &Options, arguments: &DoctorArgs) -> Result<Patient> {
        let start = plan::start(options)?;
        let choice = Choice::of(&arguments.kernel, &start);
        let places = choice.places();
        let named = named(&start, &arguments.words)?;
        // An object tree that has only been configured does not lead to it yet.
        let started_in = Some(start.clone()).filter(|start| tree::is_source(start));
        let objtree = match named.objtree {
            None if tree::is_kernel(&start) => Some(start),
            objtree => places.kernel_directory(objtree),
        };
        objtree.as_deref().map_or(Ok(()), tree::expect_kernel)?;
        let objtree = objtree.map(fs_err::canonicalize).transpose()?;
        let running = places.running();
        let configured = objtree
            .iter()
            .flat_map(|tree| [tree.join(&named.config), config::file(tree)])
            .find(|p| p.is_file());
        let built = objtree.as_deref().map_or_else(|| running.clone(), facts::release);
        let release = match (&built, &objtree) {
            (Some(release), _) => release.clone(),
            (None, None) => bail!("which kernel is running cannot be told: name a kernel's headers"),
            (None, Some(_)) if configured.is_some() => "not built yet".to_owned(),
            (None, Some(objtree)) => bail!(
                "{} has no release (include/config/kernel.release) and no {}: configure the kernel (klpbuild modules \
                 defconfig, for example), or build it first (klpbuild modules)",
                objtree.display(),
                named.config
            ),
        };
        let config_file =
            configured.or_else(|| places.configs(&release).into_iter().find(|path| path.is_file()));
        Ok(Patient {
            config: config_file.as_deref().map(Config::read).transpose()?,
            config_file,
            is_running: running.as_deref() == Some(release.as_str()),
            is_built: built.is_some(),
            srctree: objtree.as_deref().and_then(tree::source_if_known).or(started_in),
            release,
            objtree,
            choice,
            places,
        })
    }
}

/// What the words of the command line say; one without `=` is a KDIR.
fn named(start: &Path, words: &[String]) -> Result<Named> {
    let (variables, plain): (Vec<String>, Vec<String>) =
        words.iter().cloned().partition(|word| assignment(word).is_some());
    ensure!(plain.len() <= 1, "{}: one kernel at a time", plain.join(" "));
    let named = Named::in_words(start, &variables);
    if let Some(objtree) =
        named.objtree.as_ref().filter(|_| variables.iter().any(|word| word.starts_with("O=")))
    {
        ensure!(objtree.is_dir(), "{}: no such directory: O= names an object tree", objtree.display());
    }
    Ok(Named { objtree: plain.first().map(|kdir| start.join(kdir)).or(named.objtree), ..named })
}

/// Looks at a kernel, and prints what is found.
///
/// # Errors
/// There is no such kernel, or something cannot be read.
pub fn doctor(options: &Options, arguments: &DoctorArgs) -> Result<Exit> {
    let patient = Patient::find(options, arguments)?;
    let findings = checks::all(&patient)?;
    let missing = findings.iter().filter(|finding| finding.level == Level::Missing).count();
    if !options.quiet {
        let place = match &patient.objtree {
            Some(objtree) => format!(", {}", objtree.display()),
            None => String::new(),
        };
        let running = if patient.is_running { " (running)" } else { "" };
        terminal::out(format!("{}{running}{place}\n", patient.release));
    }
    for finding in findings.iter().filter(|finding| !options.quiet || finding.level == Level::Missing) {
        print(finding);
    }
    if missing > 0 {
        let what = words::count(missing, "thing");
        terminal::say(format_args!(
            "{what} that livepatches need {} missing",
            if missing == 1 { "is" } else { "are" }
        ));
        return Ok(Exit::Problem);
    }
    if !options.quiet {
        terminal::out(match (patient.is_built, &patient.objtree) {
            (false, Some(objtree)) => {
                format!("klpbuild: a kernel for livepatches can be built in {}\n", objtree.display())
            }
            _ => format!("klpbuild: livepatches can be built for {}\n", patient.release),
        });
    }
    Ok(Exit::Done)
}

fn print(finding: &Finding) {
    let level = match finding.level {
        Level::Fine => "ok",
        Level::Note => "note",
        Level::Missing => "MISSING",
    };
    let mut text = format!("  {level:7}  {:SUBJECT$}  {}\n", finding.subject, finding.what);
    for remedy in &finding.remedies {
        text.push_str(&format!("  {:7}  {:SUBJECT$}  {remedy}\n", "", ""));
    }
    terminal::out(text);
}
