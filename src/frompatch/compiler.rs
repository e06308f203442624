// SPDX-License-Identifier: GPL-2.0-only
//! Finds the compiler that built the kernel, to the letter of its version: another one would compile the same source
//! to other functions.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::host::program;
use crate::host::program::Program;
use crate::kernel::tree::config::Config;

/// Why no livepatch is made of a patch for a kernel built with CONFIG_LTO_CLANG: its objects hold no machine code yet.
pub const NO_LTO: &str = "the kernel is built with link-time optimization (CONFIG_LTO_CLANG): not yet";

/// Sees that `compiler` is the one that built the kernel with this configuration.
///
/// # Errors
/// It is another one, or cannot be run.
pub fn check(compiler: &str, config: &Config) -> Result<()> {
    let Some(wanted) = config.string("CC_VERSION_TEXT") else { return Ok(()) };
    let own = first_line(compiler)?;
    ensure!(
        is_same(&own, &wanted),
        "{compiler} is not the compiler that built the kernel: it is {own:?}, and the kernel's was {wanted:?}; install \
         that one (klpbuild doctor names the package)"
    );
    Ok(())
}

/// The assignments that make needs to use the kernel's compiler.
///
/// # Errors
/// The compiler is not installed.
pub fn find(config: &Config) -> Result<Vec<String>> {
    let Some(wanted) = config.string("CC_VERSION_TEXT") else { return Ok(Vec::new()) };
    for (program, words) in candidates(&wanted) {
        if program::find(&program).is_some() && first_line(&program).is_ok_and(|own| is_same(&own, &wanted)) {
            return Ok(words);
        }
    }
    let there: Vec<String> = candidates(&wanted)
        .into_iter()
        .filter(|(program, _)| program::find(program).is_some())
        .filter_map(|(program, _)| Some(format!("{program} is {:?}", first_line(&program).ok()?)))
        .collect();
    bail!(
        "the compiler that built the kernel is not here: {wanted:?}{}; install it (klpbuild doctor names the package)",
        if there.is_empty() { String::new() } else { format!(" ({})", there.join(", ")) }
    )
}

/// The assignment with which make builds a module with the compiler that a kernel's file was compiled with, by the
/// program's name there (Documentation/kbuild/llvm.rst).
pub fn assignment(compiler: &str, config: &Config) -> Option<String> {
    let (directory, name) = compiler.split_at(compiler.rfind('/').map_or(0, |at| at + 1));
    match name.strip_prefix("clang") {
        Some("") if config.has("LD_IS_LLD") && !directory.is_empty() => Some(format!("LLVM={directory}")),
        Some("") if config.has("LD_IS_LLD") => Some("LLVM=1".to_owned()),
        Some(suffix) if config.has("LD_IS_LLD") && directory.is_empty() => Some(format!("LLVM={suffix}")),
        // What kbuild takes by itself.
        None if compiler == "gcc" => None,
        _ => Some(format!("CC={compiler}")),
    }
}

/// The assignment with which make builds a module for a kernel that clang has built, if that clang is here.
pub fn of_clang(config: &Config) -> Option<String> {
    let is_clang = config.string("CC_VERSION_TEXT").is_some_and(|text| text.contains("clang"));
    find(config).ok()?.into_iter().next().filter(|_| is_clang)
}

/// Programs that may be the kernel's compiler, each with the assignments that make needs to use it.
fn candidates(wanted: &str) -> Vec<(String, Vec<String>)> {
    let version = wanted.split_whitespace().rev().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    if wanted.contains("clang") {
        let version = wanted.split("version ").nth(1).unwrap_or_default();
        let major: String = version.chars().take_while(char::is_ascii_digit).collect();
        return vec![
            ("clang".to_owned(), vec!["LLVM=1".to_owned()]),
            (format!("clang-{major}"), vec![format!("LLVM=-{major}")]),
        ];
    }
    let major = version.and_then(|version| version.split('.').next()).unwrap_or_default();
    let first = wanted.split_whitespace().next().unwrap_or_default();
    let mut names = vec![first.to_owned(), format!("gcc-{major}"), "gcc".to_owned()];
    names.retain(|name| name.contains("gcc"));
    names
        .into_iter()
        .map(|name| {
            let words = if name == "gcc" { Vec::new() } else { vec![format!("CC={name}")] };
            (name, words)
        })
        .collect()
}

/// The first line of the compiler's version text, as CONFIG_CC_VERSION_TEXT has it (scripts/cc-version.sh).
fn first_line(compiler: &str) -> Result<String> {
    let mut program = Program::new(compiler, Path::new("/"), "is the kernel's compiler installed?");
    let output = program.arg("--version").capture("")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// Whether two first lines belong to the same compiler: gcc prints there the name by which it was called.
fn is_same(own: &str, wanted: &str) -> bool {
    let rest = |text: &str| {
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        if name.contains("gcc") { rest.to_owned() } else { text.to_owned() }
    };
    rest(own) == rest(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_by_which_gcc_was_called_does_not_count() {
        assert!(is_same(
            "gcc-12 (Debian 12.2.0-14) 12.2.0",
            "x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14) 12.2.0"
        ));
        assert!(!is_same("gcc (Debian 12.2.0-13) 12.2.0", "gcc (Debian 12.2.0-14) 12.2.0"));
        assert!(!is_same("Debian clang version 19.1.7", "gcc (Debian 12.2.0-14) 12.2.0"));
    }

    #[test]
    fn a_module_is_built_with_the_compiler_of_the_kernels_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bfd = Config::read(file.path()).unwrap();
        fs_err::write(file.path(), "CONFIG_LD_IS_LLD=y\n").unwrap();
        let lld = Config::read(file.path()).unwrap();
        for (compiler, config, expected) in [
            ("clang-19", &lld, Some("LLVM=-19")),
            ("clang", &lld, Some("LLVM=1")),
            ("/opt/llvm/bin/clang", &lld, Some("LLVM=/opt/llvm/bin/")),
            ("/opt/llvm/bin/clang-19", &lld, Some("CC=/opt/llvm/bin/clang-19")),
            ("clang-19", &bfd, Some("CC=clang-19")),
            ("gcc-12", &bfd, Some("CC=gcc-12")),
            ("gcc", &bfd, None),
        ] {
            assert_eq!(assignment(compiler, config).as_deref(), expected, "{compiler}");
        }
    }

    #[test]
    fn a_kernel_of_clangs_is_known_by_its_configuration() {
        if program::find("clang-19").is_none() {
            assert!(std::env::var_os("CI").is_none(), "clang-19 is not installed");
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = |name: &str| format!("CONFIG_CC_VERSION_TEXT=\"{}\"\n", first_line(name).unwrap());
        for (name, expected) in [("clang-19", true), ("gcc", false)] {
            fs_err::write(file.path(), text(name)).unwrap();
            assert_eq!(of_clang(&Config::read(file.path()).unwrap()).is_some(), expected, "{name}");
        }
    }

    #[test]
    fn make_is_told_of_what_is_not_its_own_choice() {
        let words =
            |text: &str| candidates(text).into_iter().map(|(_, words)| words.join(" ")).collect::<Vec<_>>();
        assert_eq!(
            words("x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14) 12.2.0"),
            ["CC=x86_64-linux-gnu-gcc-12", "CC=gcc-12", ""]
        );
        assert_eq!(words("Debian clang version 19.1.7 (3+b1)"), ["LLVM=1", "LLVM=-19"]);
    }
}
