// SPDX-License-Identifier: GPL-2.0-only
//! The parts of an account of a livepatch. docs/json.md describes their form in JSON.

use serde::Serialize;

use crate::livepatch::verify::findings::Finding;

/// All that is known about a livepatch.
#[derive(Debug, Serialize)]
pub struct LivepatchAccount {
    /// The file, by the path that the user gave.
    pub file: String,
    /// The name that lsmod shows.
    pub name: String,
    /// The description in its `.modinfo`.
    pub description: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The kernel it was compiled for: the release, and the options that have to be equal.
    pub vermagic: Option<String>,
    /// Whether its `.modinfo` says that it is a livepatch.
    pub is_livepatch: bool,
    /// Whether a signature follows the module. Who signed it, and whether the signature is valid, is not checked.
    pub is_signed: bool,
    /// The builds that its symbols were resolved against.
    pub built_for: Vec<BuiltFor>,
    /// The kernel at hand; null if there is none.
    pub kernel: Option<KernelAtHand>,
    /// What is not known, with the reason.
    pub unknown: Vec<String>,
    /// The objects that it patches, in the order of its klp_patch.
    pub objects: Vec<Patched>,
    /// References from code and data other than new functions: from other functions, init and exit code, and
    /// variables.
    pub other: Vec<OutsideReference>,
    /// The verdict of `klpbuild verify`.
    pub verdict: VerifyVerdict,
    /// The findings of `klpbuild verify`, the worst first.
    pub findings: Vec<Finding>,
}

/// The outcome of verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyVerdict {
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
    /// What kind of value identifies the build: `build-id`, `symbols` or `names`.
    pub kind: String,
    /// The value, in hexadecimal.
    pub value: String,
    /// Whether the object at hand is that build: `the same`, `another build`, `not known` or `not there`.
    pub at_hand: String,
}

/// The kernel at hand.
#[derive(Debug, Serialize)]
pub struct KernelAtHand {
    /// Its release.
    pub release: Option<String>,
    /// The file that has its symbols.
    pub vmlinux: Option<String>,
    /// The build ID of that file.
    pub build_id: Option<String>,
    /// Whether the livepatch was compiled for another release: then facts about this kernel need not hold for that
    /// one.
    pub is_other_release: bool,
}

/// An object that is patched.
#[derive(Debug, Serialize)]
pub struct Patched {
    /// Its run-time name.
    pub name: String,
    /// The functions that are replaced.
    pub functions: Vec<ReplacementAccount>,
    /// The functions that the kernel calls when it patches the object, and when it unpatches it.
    pub callbacks: Vec<LivepatchFunction>,
}

/// A function that is replaced.
#[derive(Debug, Serialize)]
pub struct ReplacementAccount {
    /// Its name.
    pub name: String,
    /// The position that the livepatch gives; 0 for the only symbol of its name.
    pub sympos: u64,
    /// Why this position is right, or what is wrong with it.
    pub position: String,
    /// The function in the kernel at hand.
    pub old: Option<Defined>,
    /// All definitions of the name in the object, if there are several.
    pub namesakes: Vec<Defined>,
    /// The new function that replaces it.
    pub new: LivepatchFunction,
    /// The symbols outside of the livepatch that the new function refers to.
    pub references: Vec<OutsideReference>,
}

/// A function or variable of the kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Defined {
    /// The run-time name of the object that has it.
    pub object: String,
    /// Its position among those of its name there, from 1; null if the kernel does not see it.
    pub position: Option<u64>,
    /// How many symbols have its name there.
    pub total: u64,
    /// Its address in vmlinux, or its offset in the section of a module, as in `0x1f0`.
    pub address: Option<String>,
    /// The section.
    pub section: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its type, as in `FUNC`.
    pub kind: Option<String>,
    /// Whether it is the one that the livepatch names.
    pub is_meant: bool,
    /// File and line of its definition.
    pub source: Option<SourcePlace>,
}

/// A function of the livepatch.
#[derive(Debug, Serialize)]
pub struct LivepatchFunction {
    /// Its symbol; empty if there is none.
    pub symbol: String,
    /// The section it is in.
    pub section: String,
    /// The offset of its beginning in the section, as in `0x10`.
    pub offset: String,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// File and line of its definition.
    pub source: Option<SourcePlace>,
}

/// File and line of a definition, with its text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourcePlace {
    /// The file, relative to the source tree if it lies there; only its name if no more is known.
    pub file: String,
    /// The line, from 1; null if that is not known.
    pub line: Option<u64>,
    /// The lines of the function, if the file is at hand.
    pub text: Option<SourceText>,
}

/// Lines of a source file, as the file has them now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceText {
    /// The number of the first line.
    pub first: u64,
    /// The lines.
    pub text: String,
}

/// A reference to a symbol outside of the livepatch.
#[derive(Debug, Serialize)]
pub struct OutsideReference {
    /// How it is resolved: `livepatch` by a livepatch relocation, `exported` like an ordinary module's symbol,
    /// `unresolved` if nothing is known to export it.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The object that has it; null if that is not known.
    pub object: Option<String>,
    /// The position of a livepatch symbol; 0 for the only symbol of its name.
    pub sympos: Option<u64>,
    /// Why this position is right, or what is wrong with it.
    pub position: Option<String>,
    /// The symbol in the kernel at hand.
    pub defined: Option<Defined>,
    /// All definitions of the name in the object, if there are several.
    pub namesakes: Vec<Defined>,
    /// The uses of the symbol.
    pub uses: Vec<UsePlace>,
}

/// One use of a symbol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsePlace {
    /// The function or variable with an offset, as in `new_f+0x1c`; or the section, if no symbol covers the use.
    pub place: String,
    /// The section with an offset, as in `.text+0x3c`.
    pub section: String,
    /// The relocation's type, as in `R_X86_64_PC32`.
    pub relocation: String,
    /// What the code does with the symbol: `calls it`, `reads or writes it`, `takes its address`.
    pub how: &'static str,
    /// The object at whose loading the kernel writes the livepatch relocation.
    pub written_with: Option<String>,
    /// The line of the source, as in `lp.c:12`.
    pub source: Option<String>,
}
