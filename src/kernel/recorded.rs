// SPDX-License-Identifier: GPL-2.0-only
//! The commands that kbuild has written down, in a `.cmd` file beside each object (`cmd_and_fixdep` in
//! scripts/Kbuild.include).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::host::program;

/// The command that compiles a file, split into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The compiler, without a wrapper in front of it such as ccache.
    pub compiler: String,
    /// The words after the compiler, without the source.
    pub words: Vec<String>,
    /// The file to compile, as the command names it.
    pub source: String,
}

impl Recorded {
    /// Reads the command in the text of a `.cmd` file.
    ///
    /// # Errors
    /// There is none in it that compiles a file in C or assembler.
    pub fn parse(text: &str) -> Result<Recorded> {
        let line = text.lines().find(|line| line.starts_with("savedcmd_") || line.starts_with("cmd_"));
        let (_, command) = line.and_then(|line| line.split_once(" := ")).context("it has no command")?;
        // kbuild has escaped these characters for make (`make-cmd` in scripts/Kbuild.include).
        let command = command.replace("$(pound)", "#").replace("$$", "$");
        let words = program::words(&command).context("its command has a quote without an end")?;
        let mut words: Vec<String> =
            words.into_iter().take_while(|word| word != ";" && word != "&&").collect();
        // `... foo.c; objtool`: without a blank in front
        if let Some(last) = words.last_mut().filter(|word| word.ends_with(';')) {
            last.pop();
        }
        let source = words.pop().filter(|word| word.ends_with(".c") || is_assembler(word));
        let source = source.context("it compiles no C file")?;
        let mut words = words.into_iter();
        let compiler = words.find(|word| !is_wrapper(word)).context("its command names no compiler")?;
        Ok(Recorded { compiler, words: words.collect(), source })
    }

    /// Whether the compiler is clang, by the name of the program.
    pub fn is_clang(&self) -> bool {
        self.compiler.rsplit('/').next().is_some_and(|name| name.contains("clang"))
    }
}

/// The `.cmd` files of all objects in a directory and below, sorted, without those of programs that the build itself
/// runs.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if is_directory {
                if !matches!(name.as_ref(), "scripts" | "tools" | "include" | ".git" | "Documentation") {
                    directories.push(entry.path());
                }
            } else if name.starts_with('.') && name.ends_with(".o.cmd") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Whether a file is in assembler that is preprocessed.
pub fn is_assembler(path: &str) -> bool {
    path.ends_with(".S")
}

/// Programs that stand in front of a compiler and call it.
pub fn is_wrapper(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    ["ccache", "sccache", "distcc", "icecc"].contains(&name)
}
