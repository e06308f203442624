// SPDX-License-Identifier: GPL-2.0-only
//! Builds the module with this very program, as its Makefile does, and checks it afterwards.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::host::program::Program;

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

impl Build<'_> {
    /// Builds, converts and verifies the livepatch; returns the path of its file.
    ///
    /// # Errors
    /// One of these steps fails; the error has its output.
    pub fn run(&self) -> Result<PathBuf> {
        let mut build = self.program("modules")?;
        build
            .arg(format!("KDIR={}", self.kdir.display()))
            .args(["--progress", "none"])
            .args(self.flags.iter().cloned());
        if let Some(jobs) = self.jobs {
            build.arg(format!("-j{jobs}"));
        }
        expect(&build, "the module does not build")?;
        let file = self.directory.join(format!("{}.ko", self.name));
        ensure!(file.is_file(), "klpbuild modules has made no {}", file.display());
        let mut verify = self.program("verify")?;
        verify.arg(file.display().to_string()).args(self.flags.iter().cloned());
        expect(&verify, "the livepatch is not right")?;
        Ok(file)
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

fn expect(program: &Program, what: &str) -> Result<()> {
    let output = program.capture("")?;
    let words = [output.stdout, output.stderr].concat();
    ensure!(output.success, "{what} ({program}):\n{}", String::from_utf8_lossy(&words).trim_end());
    Ok(())
}
