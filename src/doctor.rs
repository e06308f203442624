//! `klpbuild doctor`: what there is, and what is missing, for building livepatches for a kernel.
//!
//! - [`checks`]: what is looked at
//! - [`compiler`]: whether the kernel's compiler is there, and how kbuild comes to take it
//! - [`remedy`]: which package or command supplies something, by distribution

pub mod checks;
pub mod compiler;
pub mod remedy;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::cli::{DoctorArgs, Options};
use crate::exit::Exit;
use crate::installed::Choice;
use crate::installed::places::Places;
use crate::plan;
use crate::symbols::objects::Vmlinux;
use crate::terminal;
use crate::tree;
use crate::tree::config::Config;
use crate::tree::kernel;

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
    /// Its configuration, if that is known.
    pub config: Option<Config>,
    /// Whether it is the one that is running.
    pub is_running: bool,
    /// Where the user has its symbols taken from.
    pub choice: Choice,
    /// Where it is installed.
    pub places: Places,
}

impl Patient {
    /// Whether it was built here, and not by a distribution.
    pub fn is_own(&self) -> bool {
        self.objtree.as_ref().is_some_and(|objtree| Vmlinux::of_tree(objtree).is_some())
    }

    fn find(options: &Options, arguments: &DoctorArgs) -> Result<Patient> {
        let start = plan::start(options)?;
        let choice = Choice::of(&arguments.kernel, &start);
        let places = choice.places();
        let named = arguments.kdir.as_ref().map(|kdir| {
            // As it is written for klpbuild modules.
            let kdir = kdir.to_string_lossy();
            start.join(kdir.strip_prefix("KDIR=").unwrap_or(&kdir))
        });
        let objtree = match named {
            None if tree::is_kernel(&start) => Some(start),
            named => plan::kernel_directory(named, &places),
        };
        objtree.as_deref().map_or(Ok(()), plan::expect_kernel)?;
        let objtree = objtree.map(fs_err::canonicalize).transpose()?;
        let running = places.running();
        let release = match &objtree {
            Some(objtree) => kernel::release(objtree).with_context(|| {
                format!(
                    "{} has no release (include/config/kernel.release): build the kernel first (klpbuild modules)",
                    objtree.display()
                )
            })?,
            None => match &running {
                Some(running) => running.clone(),
                None => bail!("which kernel is running cannot be told: name a kernel's headers"),
            },
        };
        let configs = objtree.iter().map(|objtree| objtree.join(".config")).chain(places.configs(&release));
        let config = configs.into_iter().find(|path| path.is_file());
        Ok(Patient {
            config: config.map(|path| Config::read(&path)).transpose()?,
            is_running: running.as_deref() == Some(release.as_str()),
            release,
            objtree,
            choice,
            places,
        })
    }
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
        let what = crate::build::count(missing, "thing");
        terminal::say(format_args!(
            "{what} that livepatches need {} missing",
            if missing == 1 { "is" } else { "are" }
        ));
        return Ok(Exit::Problem);
    }
    if !options.quiet {
        terminal::out(format!("klpbuild: livepatches can be built for {}\n", patient.release));
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
