// SPDX-License-Identifier: GPL-2.0-only
//! Run-pre matching: compares a unit that was compiled again, unpatched, with the kernel's own bytes. This proves
//! that compiler, source and configuration are the kernel's. The kernel's own references also show where each symbol
//! lies that the unit refers to, even if its name and the name of its source file are ambiguous.
//!
//! - `kernel`: the kernel's bytes and symbols; `unit`: the unit's
//! - `walk`: compares one function with the kernel's, instruction by instruction; `data`: compares one variable
//! - `candidates`: which functions of the kernel each one may be; `facts`: what its references say of other symbols
//! - `agree`: which of several candidates it is: all references have to agree
//! - [`outcome`]: the result; `shown`: a difference as assembler, side by side
//!
//! x86-64 only, so far.

mod agree;
mod candidates;
mod data;
mod facts;
mod kernel;
mod outcome;
mod shown;
mod unit;
mod walk;

use anyhow::{Result, anyhow};

use crate::elf::Machine;
use crate::elf::image::Image;
use crate::host::words::count;

pub use kernel::{KernelImage, KernelSymbol, Spot};
pub use outcome::{ComparedFunction, FunctionFate, Located, Matched, Mismatch};

/// Compares a unit with an object of the kernel: all its functions, and the variables that they refer to.
///
/// # Errors
/// Something differs from the kernel; all differences, in the order of the unit's sections.
pub fn compare(unit: &Image, kernel: &KernelImage) -> std::result::Result<Matched, Vec<Mismatch>> {
    if unit.machine() != Machine::X86_64 {
        let what = format!("code of ELF machine {} is not compared yet: only x86-64 is", unit.machine().0);
        return Err(vec![Mismatch { name: "the unit".to_owned(), offset: 0, what, lines: Vec::new() }]);
    }
    agree::compare(&unit::UnitObject::of(unit), kernel)
}

/// Checks that the source file at `path`, from which `unit` was compiled unpatched, is the kernel's.
///
/// # Errors
/// It is not; the message has the first differences.
pub fn prove(path: &str, unit: &Image, kernel: &KernelImage) -> Result<Matched> {
    compare(unit, kernel).map_err(|mismatches| {
        let shown: Vec<String> = mismatches.iter().take(3).map(ToString::to_string).collect();
        anyhow!(
            "{path}, without any change, does not compile to what {} of the kernel is ({}): another version of the \
             source, another compiler or configuration\n{}",
            kernel.object,
            count(mismatches.len(), "difference"),
            shown.join("\n")
        )
    })
}
