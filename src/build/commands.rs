// SPDX-License-Identifier: GPL-2.0-only
//! compile_commands.json: how each source file in a directory of livepatches is compiled, for clangd and other programs that
//! read sources with clang.
//!
//! The kernel's own compile_commands.json (scripts/clang-tools/gen_compile_commands.py) has the commands as they were
//! run; a file `.clangd` has to remove the options that clang does not know. But `.clangd` is the user's, and
//! clang-tidy does not read it; so options that only gcc understands are left out here. They change from release to
//! release: of gcc's options, only those are kept that change what a source file means.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use serde::Serialize;

use crate::host::output;
use crate::host::terminal;
use crate::host::text;
use crate::kernel::external::External;
use crate::kernel::recorded::{self, Recorded};
use crate::kernel::state::StateDir;
use crate::kernel::symbols::seal::Seal;

/// The command that compiles one file (clang's JSONCompilationDatabase.html).
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Entry {
    directory: String,
    file: String,
    arguments: Vec<String>,
}

/// A file that every kernel with livepatches compiles, with no options of its own directory.
const TYPICAL: &str = "kernel/livepatch/.core.o.cmd";

/// Options that are followed by another word.
const WITH_WORD: [&str; 7] =
    ["-include", "-imacros", "-isystem", "-iquote", "-idirafter", "-iprefix", "--param"];

/// How those of gcc's options begin that clang has to have as well: macros and headers, the version of C, the width
/// and signedness of its types, and the registers. clang has warnings, too, as far as it knows them.
const MEANING: [&str; 26] = [
    "-D",
    "-U",
    "-I",
    "-O",
    "-W",
    "-std=",
    "-nostdinc",
    "-fshort-",
    "-fsigned-char",
    "-funsigned-char",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-common",
    "-fno-strict-aliasing",
    "-fms-extensions",
    "-fcf-protection",
    "-m16",
    "-m32",
    "-m64",
    "-mno-sse",
    "-mno-mmx",
    "-mno-avx",
    "-mno-80387",
    "-mgeneral-regs-only",
    "-mlittle-endian",
    "-mbig-endian",
];

/// Writes compile_commands.json for external modules, from the commands that kbuild has recorded; nothing if it
/// recorded none, or if another program's file is there.
///
/// # Errors
/// The file cannot be written.
pub fn write(external: &External, state: &StateDir) -> Result<()> {
    let entry = |file| {
        let recorded = Recorded::parse(&text::read(file).ok()?).ok()?;
        // Nobody edits modpost's own files (`NAME.mod.c`).
        let is_wanted = recorded.source.ends_with(".c") && !recorded.source.ends_with(".mod.c");
        // The path without a leading `..`; a link that leads to a file elsewhere keeps its own path.
        let named = external.root.join(&recorded.source);
        let file = fs::canonicalize(named.parent()?).ok()?.join(named.file_name()?);
        let is_own = file.starts_with(&external.source) || file.starts_with(&external.output);
        (is_wanted && is_own).then(|| Entry::of(&recorded, &external.root, &file))
    };
    let entries: Vec<Entry> = recorded::files(&external.output).into_iter().filter_map(entry).collect();
    if entries.is_empty() { Ok(()) } else { put(&entries, state) }
}

/// The text of compile_commands.json for a new file `name` with the suffix `.c`, in a directory of its own, made from
/// the command of one of the kernel's own files. None for an object tree that has only headers, and so no commands.
///
/// # Errors
/// The commands cannot be written as JSON.
pub fn of_new(objtree: &Path, directory: &Path, name: &str) -> Result<Option<String>> {
    let recorded = text::read(objtree.join(TYPICAL)).ok().and_then(|text| Recorded::parse(&text).ok());
    let Some(recorded) = recorded else { return Ok(None) };
    // `modname_flags` and `modfile_flags` in scripts/Makefile.lib.
    let of_another = |word: &String| {
        ["-DKBUILD_MODFILE=", "-DKBUILD_BASENAME=", "-DKBUILD_MODNAME=", "-D__KBUILD_MODNAME="]
            .iter()
            .any(|begin| word.starts_with(begin))
    };
    let id = name.replace('-', "_");
    let own = [
        "-DMODULE".to_owned(),
        format!("-DKBUILD_MODFILE=\"{name}\""),
        format!("-DKBUILD_BASENAME=\"{id}\""),
        format!("-DKBUILD_MODNAME=\"{id}\""),
        format!("-D__KBUILD_MODNAME=kmod_{id}"),
    ];
    let mut words = recorded.words;
    words.retain(|word| !of_another(word));
    let recorded = Recorded { words: words.into_iter().chain(own).collect(), ..recorded };
    let file = directory.join(format!("{name}.c"));
    Ok(Some(terminal::to_json(&[Entry::of(&recorded, objtree, &file)])?))
}

/// Writes a text to the file that [`write()`] writes, and notes that the file is klpbuild's.
///
/// # Errors
/// It cannot be written.
pub fn put_text(text: &str, state: &StateDir) -> Result<()> {
    if state.commands().exists() && !state.has_own_commands() {
        return Ok(());
    }
    state.create_directory()?;
    output::replace(&state.commands(), &state.directory(), &[text])?;
    let seal = Seal::of_parts(&[text]);
    output::replace(&state.commands_seal(), &state.directory(), &[format!("{seal}\n")])?;
    Ok(())
}

fn put(entries: &[Entry], state: &StateDir) -> Result<()> {
    put_text(&terminal::to_json(&entries)?, state)
}

impl Entry {
    /// The entry of the file that `recorded` compiles, run in `directory`.
    fn of(recorded: &Recorded, directory: &Path, file: &Path) -> Entry {
        let is_clang = recorded.is_clang();
        let mut arguments = vec![recorded.compiler.clone()];
        if !is_clang {
            arguments.push("-Wno-unknown-warning-option".to_owned());
        }
        let mut words = recorded.words.iter();
        while let Some(word) = words.next() {
            if word == "-o" {
                words.next();
            } else if WITH_WORD.contains(&word.as_str()) {
                let next = words.next();
                // gcc's parameters are unknown to clang.
                if word != "--param" || is_clang {
                    arguments.extend([word].into_iter().chain(next).cloned());
                }
            } else if is_kept(word, is_clang) {
                arguments.push(word.clone());
            }
        }
        let file = file.display().to_string();
        arguments.extend(["-c".to_owned(), file.clone()]);
        Entry { directory: directory.display().to_string(), file, arguments }
    }
}

/// Whether a program that only reads the source needs an option: not if it writes a file, and not if only gcc knows
/// it.
fn is_kept(word: &str, is_clang: bool) -> bool {
    let has_written = ["-Wp,-M", "-fplugin", "-flto", "-c", "-S"].iter().any(|begin| word.starts_with(begin));
    let passed_on = ["-Wp,", "-Wa,", "-Wl,"].iter().any(|begin| word.starts_with(begin));
    // A program with other warnings than gcc's must not take them for errors.
    let is_error = word.starts_with("-Werror");
    match is_clang {
        true => !has_written && word.starts_with('-'),
        false => {
            !has_written && !passed_on && !is_error && MEANING.iter().any(|begin| word.starts_with(begin))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(compiler: &str) -> Recorded {
        let text = format!(
            "savedcmd_/d/lp.o := {compiler} -Wp,-MMD,/d/.lp.o.d -nostdinc -I./include -include /s/include/linux/kconfig.h \
             -D__KERNEL__ -std=gnu11 -fshort-wchar -funsigned-char -mpreferred-stack-boundary=3 -mrecord-mcount \
             -fconserve-stack --param=allow-store-data-races=0 --param x=1 -Wall -Werror=vla -Wa,-march=z -fplugin=./p.so \
             -DKBUILD_MODNAME='\"lp\"' -c -o /d/lp.o /d/lp.c   ; ./tools/objtool/objtool /d/lp.o\n"
        );
        Recorded::parse(&text).unwrap()
    }

    #[test]
    fn of_gccs_options_those_that_clang_knows_are_kept() {
        let entry = Entry::of(&recorded("x86_64-linux-gnu-gcc-12"), Path::new("/o"), Path::new("/d/lp.c"));
        assert_eq!((entry.directory.as_str(), entry.file.as_str()), ("/o", "/d/lp.c"));
        let expected = "x86_64-linux-gnu-gcc-12 -Wno-unknown-warning-option -nostdinc -I./include -include \
                        /s/include/linux/kconfig.h -D__KERNEL__ -std=gnu11 -fshort-wchar -funsigned-char -Wall \
                        -DKBUILD_MODNAME=\"lp\" -c /d/lp.c";
        assert_eq!(entry.arguments.join(" "), expected);
    }

    #[test]
    fn of_clangs_options_only_those_go_that_write_something() {
        let entry = Entry::of(&recorded("clang-19"), Path::new("/o"), Path::new("/d/lp.c"));
        let has = |word: &str| entry.arguments.iter().any(|argument| argument == word);
        assert!(has("-Werror=vla") && has("-Wa,-march=z") && has("--param"), "{entry:?}");
        for gone in ["-Wp,-MMD,/d/.lp.o.d", "-o", "/d/lp.o", "-fplugin=./p.so", "-Wno-unknown-warning-option"]
        {
            assert!(!has(gone), "{gone}: {entry:?}");
        }
    }

    #[test]
    fn anothers_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path());
        put_text("[]\n", &state).unwrap();
        assert!(state.has_own_commands());
        put_text("[1]\n", &state).unwrap();
        assert_eq!(std::fs::read_to_string(state.commands()).unwrap(), "[1]\n");
        std::fs::write(state.commands(), "[2]\n").unwrap();
        put_text("[3]\n", &state).unwrap();
        assert!(!state.has_own_commands());
        assert_eq!(std::fs::read_to_string(state.commands()).unwrap(), "[2]\n");
        state.remove().unwrap();
        assert_eq!(std::fs::read_to_string(state.commands()).unwrap(), "[2]\n");
        assert!(!state.directory().exists());
    }

    #[test]
    fn a_new_file_is_compiled_as_one_of_the_kernels_in_a_module() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_new(dir.path(), Path::new("/d"), "lp-x").unwrap(), None);
        std::fs::create_dir_all(dir.path().join("kernel/livepatch")).unwrap();
        let text = "cmd_kernel/livepatch/core.o := gcc -D__KERNEL__ -DKBUILD_MODFILE='\"kernel/livepatch/core\"' \
                    -DKBUILD_BASENAME='\"core\"' -D__KBUILD_MODNAME=kmod_core -c -o kernel/livepatch/core.o core.c\n";
        std::fs::write(dir.path().join(TYPICAL), text).unwrap();
        let text = of_new(dir.path(), Path::new("/d"), "lp-x").unwrap().unwrap();
        let arguments = "\"-D__KERNEL__\", \"-DMODULE\", \"-DKBUILD_MODFILE=\\\"lp-x\\\"\", \"-DKBUILD_BASENAME=\\\"lp_x\\\"\", \
                         \"-DKBUILD_MODNAME=\\\"lp_x\\\"\", \"-D__KBUILD_MODNAME=kmod_lp_x\", \"-c\", \"/d/lp-x.c\"";
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(joined.contains(arguments), "{joined}");
    }
}
