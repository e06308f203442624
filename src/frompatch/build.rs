// SPDX-License-Identifier: GPL-2.0-only
//! Builds the module with this very program, as its Makefile does, and checks it afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::host::program::Program;
use crate::host::terminal;
use crate::livepatch::rules::Rule::S11;
use crate::livepatch::verify::findings::{Finding, Severity};

/// The inputs of the module's build.
#[derive(Debug)]
pub struct Build<'a> {
    /// The directory of the module.
    pub directory: &'a Path,
    /// The livepatch's name.
    pub name: &'a str,
    /// The kernel's object tree, or its headers.
    pub kdir: &'a Path,
    /// Options that say where the kernel's symbols are.
    pub flags: &'a [String],
    /// The number of jobs, if one was asked for.
    pub jobs: Option<u32>,
}

/// A livepatch that is built.
#[derive(Debug)]
pub struct Built {
    /// Its file.
    pub file: PathBuf,
    /// What `klpbuild verify` warns of.
    pub warnings: Vec<String>,
}

impl Build<'_> {
    /// Builds, converts and verifies the livepatch. make gets the `assignments`.
    ///
    /// # Errors
    /// One of these steps fails; the error has its output. Or a pointer leads to a function that the kernel only calls
    /// directly (S11): on processors with IBT that is a crash.
    pub fn run(&self, assignments: &BTreeSet<String>) -> Result<Built> {
        let mut build = self.program("modules")?;
        build
            .arg(format!("KDIR={}", self.kdir.display()))
            .args(["--progress", "none"])
            .args(assignments.iter().cloned())
            .args(self.flags.iter().cloned());
        if let Some(jobs) = self.jobs {
            build.arg(format!("-j{jobs}"));
        }
        expect(&build, "the module does not build")?;
        let file = self.directory.join(format!("{}.ko", self.name));
        ensure!(file.is_file(), "klpbuild modules has made no {}", file.display());
        let mut verify = self.program("verify")?;
        verify.args(["--format", "json"]).arg(file.display().to_string()).args(self.flags.iter().cloned());
        let output = verify.capture("")?;
        let Ok(answer) = terminal::from_json::<Answer>(&String::from_utf8_lossy(&output.stdout)) else {
            bail!(
                "the livepatch cannot be checked ({verify}):\n{}",
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        };
        let findings = answer.livepatches.into_iter().flat_map(|livepatch| livepatch.findings);
        let (errors, others): (Vec<_>, Vec<_>) =
            findings.partition(|finding| finding.level == Severity::Error || finding.rule == S11);
        let errors: Vec<String> = errors.iter().map(shown).collect();
        ensure!(errors.is_empty(), "the livepatch is not right ({verify}):\n{}", errors.join("\n"));
        ensure!(
            output.success,
            "the livepatch cannot be checked in full ({verify}): {}",
            answer.unchecked.join("; ")
        );
        let warnings = others.iter().filter(|finding| finding.level == Severity::Warning);
        Ok(Built { file, warnings: warnings.map(shown).collect() })
    }

    /// The command with which `klpbuild try` boots the livepatch.
    ///
    /// # Errors
    /// The program's own path cannot be told.
    pub fn trial(&self, command: Option<&str>) -> Result<Program> {
        let mut trial = self.program("try")?;
        trial.arg(format!("{}.ko", self.name)).args(self.flags.iter().cloned());
        if let Some(command) = command {
            trial.args(["--run", command]);
        }
        Ok(trial)
    }

    fn program(&self, verb: &str) -> Result<Program> {
        let own = std::env::current_exe().context("cannot tell the path of klpbuild itself")?;
        let mut program = Program::new(&own.to_string_lossy(), self.directory, "has klpbuild been removed?");
        program.arg(verb);
        Ok(program)
    }
}

/// What `klpbuild verify` answers.
#[derive(Deserialize)]
struct Answer {
    livepatches: Vec<Checked>,
    unchecked: Vec<String>,
}

#[derive(Deserialize)]
struct Checked {
    findings: Vec<Finding>,
}

/// A finding as it stands in the report, without its severity.
fn shown(finding: &Finding) -> String {
    format!("{}: {}: {}; {}", finding.rule, finding.place, finding.message, finding.advice)
}

fn expect(program: &Program, what: &str) -> Result<()> {
    let output = program.capture("")?;
    let words = [output.stdout, output.stderr].concat();
    ensure!(output.success, "{what} ({program}):\n{}", String::from_utf8_lossy(&words).trim_end());
    Ok(())
}
