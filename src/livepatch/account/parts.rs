// SPDX-License-Identifier: GPL-2.0-only
//! What an account of a livepatch is made of. docs/json.md tells programs of its form.

use serde::Serialize;

use crate::livepatch::verify::findings::Finding;

/// All that is to be known of a livepatch.
#[derive(Debug, Serialize)]
pub struct Account {
    /// The file, as it was named.
    pub file: String,
    /// The name that lsmod shows.
    pub name: String,
    /// What its `.modinfo` says it is for.
    pub description: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The kernel it was compiled for: release and what else has to be equal.
    pub vermagic: Option<String>,
    /// Whether it says that it is a livepatch.
    pub is_livepatch: bool,
    /// Whether a signature follows the module. Whose it is, and whether it is good, is not looked at.
    pub is_signed: bool,
    /// The builds that its symbols were resolved against.
    pub built_for: Vec<BuiltFor>,
    /// The kernel at hand; null if there is none.
    pub kernel: Option<Kernel>,
    /// What is not known, with the reason.
    pub unknown: Vec<String>,
    /// The objects that it patches, in its order.
    pub objects: Vec<Patched>,
    /// What code and data refer to that are no new function: other functions, init and exit code, variables.
    pub other: Vec<Reference>,
    /// What `klpbuild verify` says.
    pub verdict: Verdict,
    /// What it finds, the worst first.
    pub findings: Vec<Finding>,
}

/// What verification comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No error was found.
    Correct,
    /// There are errors among the findings.
    Errors,
    /// It could not be checked: `unknown` says why.
    Unchecked,
}

/// A build of an object that symbols were resolved against.
#[derive(Debug, Serialize)]
pub struct BuiltFor {
    /// The run-time name of the object.
    pub object: String,
    /// What the value is of: `build-id`, `symbols` or `names`.
    pub kind: String,
    /// The value, in hexadecimal.
    pub value: String,
    /// Whether the object at hand is that build: `the same`, `another build`, `not known` or `not there`.
    pub at_hand: String,
}

/// The kernel at hand.
#[derive(Debug, Serialize)]
pub struct Kernel {
    /// Its release.
    pub release: Option<String>,
    /// The file that its symbols are in.
    pub vmlinux: Option<String>,
    /// The build ID of that.
    pub build_id: Option<String>,
    /// Whether the livepatch was compiled for another release: then nothing said of this kernel holds for its own.
    pub is_other_release: bool,
}

/// An object that is patched.
#[derive(Debug, Serialize)]
pub struct Patched {
    /// Its run-time name.
    pub name: String,
    /// The functions.
    pub functions: Vec<Replaced>,
    /// What is called when it is patched, and when that is taken back.
    pub callbacks: Vec<New>,
}

/// A function that is replaced.
#[derive(Debug, Serialize)]
pub struct Replaced {
    /// Its name.
    pub name: String,
    /// The position that the livepatch gives; 0: the only one.
    pub sympos: u64,
    /// Why that is the position, or what is wrong with it.
    pub position: String,
    /// The function in the kernel at hand.
    pub old: Option<Defined>,
    /// All definitions of the name in the object, if there are several.
    pub namesakes: Vec<Defined>,
    /// What takes its place.
    pub new: New,
    /// What the new function refers to beyond the livepatch.
    pub references: Vec<Reference>,
}

/// A function or variable of the kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Defined {
    /// The run-time name of the object that has it.
    pub object: String,
    /// Its position among those of its name there, from 1; null if the kernel does not see it.
    pub position: Option<u64>,
    /// How many of its name there are.
    pub total: u64,
    /// Its address in vmlinux, or its offset in the section of a module, as in `0x1f0`.
    pub address: Option<String>,
    /// The section.
    pub section: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// What it is, as in `FUNC`.
    pub kind: Option<String>,
    /// Whether it is the one that the livepatch means.
    pub is_meant: bool,
    /// Where it is in the source.
    pub source: Option<SourcePlace>,
}

/// A function of the livepatch.
#[derive(Debug, Serialize)]
pub struct New {
    /// Its symbol; empty if there is none.
    pub symbol: String,
    /// The section it is in.
    pub section: String,
    /// Where it begins there, as in `0x10`.
    pub offset: String,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Where it is in the source.
    pub source: Option<SourcePlace>,
}

/// A place in a source file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourcePlace {
    /// The file, relative to the source tree if it lies there; its name alone if no more is known.
    pub file: String,
    /// The line, from 1; null if that is not known.
    pub line: Option<u64>,
    /// The lines of the function, if the file is at hand.
    pub text: Option<SourceText>,
}

/// Lines of a source file, as they are there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceText {
    /// The number of the first one.
    pub first: u64,
    /// The lines.
    pub text: String,
}

/// A symbol that is not of the livepatch itself.
#[derive(Debug, Serialize)]
pub struct Reference {
    /// How it is resolved: `livepatch` by a livepatch relocation, `exported` as modules' symbols are, `unresolved` if
    /// nothing is known to export it.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The object that has it; null if that is not known.
    pub object: Option<String>,
    /// The position of a livepatch symbol; 0: the only one.
    pub sympos: Option<u64>,
    /// Why that is the position, or what is wrong with it.
    pub position: Option<String>,
    /// The symbol in the kernel at hand.
    pub defined: Option<Defined>,
    /// All definitions of the name in the object, if there are several.
    pub namesakes: Vec<Defined>,
    /// Where it is used.
    pub uses: Vec<UsePlace>,
}

/// A place where a symbol is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsePlace {
    /// The function or variable, and how far into it, as in `new_f+0x1c`; or the section, if no symbol covers it.
    pub place: String,
    /// The section, and how far into it, as in `.text+0x3c`.
    pub section: String,
    /// The relocation's type, as in `R_X86_64_PC32`.
    pub relocation: String,
    /// What is done there: `calls it`, `reads or writes it`, `takes its address`.
    pub how: &'static str,
    /// The object at whose loading a livepatch relocation is written.
    pub written_with: Option<String>,
    /// The line of the source, as in `lp.c:12`.
    pub source: Option<String>,
}
