// SPDX-License-Identifier: GPL-2.0-only
//! The compiler has to be the kernel's: the layout of structures and inline functions have to agree.

use std::path::Path;
use std::sync::LazyLock;

use fs_err as fs;
use regex::Regex;

use crate::command::doctor::finding::{CheckLevel, CheckResult};
use crate::command::doctor::patient::Patient;
use crate::host::program::Program;
use crate::host::{program, words};
use crate::kernel::installed::remedy;
use crate::kernel::installed::remedy::MissingPart;

const SUBJECT: &str = "compiler";

/// A compiler, with the argument that selects it.
struct Candidate {
    /// The program.
    name: String,
    /// The argument for klpbuild that selects it, if one is needed.
    argument: Option<String>,
}

/// Looks for the compiler that built the kernel (CONFIG_CC_VERSION_TEXT), as kbuild would call it.
pub fn check(patient: &Patient) -> CheckResult {
    let text = patient.config.as_ref().and_then(|config| config.string("CC_VERSION_TEXT"));
    let Some(text) = text else {
        return CheckResult::not(
            CheckLevel::Note,
            SUBJECT,
            "which one built the kernel is not known (no CONFIG_CC_VERSION_TEXT)",
            Vec::new(),
        );
    };
    let wanted = version(&text);
    let major = wanted.split('.').next().unwrap_or_default();
    let is_clang = text.contains("clang");
    let need = if is_clang { MissingPart::Clang } else { MissingPart::Compiler };
    let remedies = || remedy::for_need(need, &patient.places, &patient.release, major);

    let candidates = if is_clang { clang(major) } else { gcc(patient, &text, major) };
    let there = |candidate: &Candidate| program::find(&candidate.name).is_some();
    let own: Vec<(Candidate, String)> = (candidates.into_iter().filter(there))
        .map(|candidate| {
            let version = version_of(&candidate.name);
            (candidate, version)
        })
        .collect();
    let of_major = |version: &str| version.split('.').next() == Some(major);
    let best = (own.iter().find(|(_, version)| *version == wanted))
        .or_else(|| own.iter().find(|(_, version)| of_major(version)))
        .or_else(|| own.first());
    let Some((found, version)) = best else {
        let name = if is_clang { "clang" } else { "gcc" };
        return CheckResult::not(
            CheckLevel::Missing,
            SUBJECT,
            format!("there is no {name} in PATH; the kernel's: {text}"),
            remedies(),
        );
    };
    let name = &found.name;
    let argument = found.argument.iter().map(|argument| format!("give klpbuild, or make, {argument}"));
    if *version == wanted {
        let what = format!("{name} {version}, as the kernel's");
        let level = if found.argument.is_some() { CheckLevel::Note } else { CheckLevel::Fine };
        return CheckResult::not(level, SUBJECT, what, argument.collect());
    }
    let what = format!("{name} is {version}, and the kernel was built with {wanted} ({text})");
    match of_major(version) {
        true => CheckResult::not(CheckLevel::Note, SUBJECT, what, argument.chain(remedies()).collect()),
        false => CheckResult::not(CheckLevel::Missing, SUBJECT, what, remedies()),
    }
}

/// kbuild uses `clang` with LLVM=1, and `clang-18` with LLVM=-18 (Documentation/kbuild/llvm.rst).
fn clang(major: &str) -> Vec<Candidate> {
    vec![
        Candidate { name: "clang".to_owned(), argument: Some("LLVM=1".to_owned()) },
        Candidate { name: format!("clang-{major}"), argument: Some(format!("LLVM=-{major}")) },
    ]
}

/// kbuild uses `gcc`, unless Debian's headers name another one. `text` begins with the name of the compiler that
/// built the kernel.
fn gcc(patient: &Patient, text: &str, major: &str) -> Vec<Candidate> {
    let called = text.split(' ').next().unwrap_or("gcc").to_owned();
    let headers = patient.objtree.as_ref().map(|objtree| objtree.join(".kernelvariables"));
    let variables = headers.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let takes = |name: &str| {
        let is_it = |word: &str| word.rsplit(['(', ')']).next() == Some(name);
        variables.lines().filter(|line| line.starts_with("CC ")).any(|line| line.split(' ').any(is_it))
    };
    let numbered = format!("gcc-{major}");
    let is_named = takes(&numbered) || takes(&called);
    let argument = |name: &str| (!is_named && name != "gcc").then(|| format!("CC={name}"));
    let mut names = vec![called, numbered];
    // If the headers name a compiler, `gcc` comes after it.
    names.insert(if is_named { 2 } else { 0 }, "gcc".to_owned());
    names.into_iter().map(|name| Candidate { argument: argument(&name), name }).collect()
}

fn version_of(compiler: &str) -> String {
    let mut command = Program::new(compiler, Path::new("/"), "is it installed?");
    let text = command
        .arg("--version")
        .capture("")
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    version(text.unwrap_or_default().lines().next().unwrap_or_default())
}

/// The version in the text that `--version` prints: the first number with dots in the first line, outside of a
/// package's name.
fn version(text: &str) -> String {
    // Distributions put the names of their packages in parentheses.
    let outside = PACKAGE.replace_all(text, "");
    NUMBER.find(&outside).map_or_else(String::new, |found| found.as_str().to_owned())
}

static PACKAGE: LazyLock<Regex> = LazyLock::new(|| words::pattern(r"\([^)]*\)"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| words::pattern(r"\b[0-9]+(\.[0-9]+)+\b"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_compilers() {
        for (text, expected) in [
            ("x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "12.2.0"),
            ("gcc (GCC) 13.2.1 20230728 (Red Hat 13.2.1-1)", "13.2.1"),
            ("gcc (SUSE Linux) 7.5.0", "7.5.0"),
            ("Debian clang version 14.0.6", "14.0.6"),
            ("clang version 18.1.8 (Fedora 18.1.8-1.fc40)", "18.1.8"),
            ("none", ""),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
