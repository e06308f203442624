// SPDX-License-Identifier: GPL-2.0-only
//! What runs after the main run: make for single files, packages, and installation. With installation, livepatches
//! leave the object tree.

use anyhow::{Result, bail, ensure};
use fs_err as fs;

use crate::build::plan::Plan;
use crate::build::plan::goals::GoalKind;
use crate::host::program;
use crate::host::program::Program;
use crate::host::terminal;
use crate::kernel::tree::era::{Kbuild, Method};

/// Refuses package goals that klpbuild cannot support, before anything is built.
///
/// # Errors
/// There is such a goal: the message says what to do instead.
pub fn check(plan: &Plan, kbuild: &Kbuild) -> Result<()> {
    let goals = plan.goals_of(GoalKind::Package);
    let Some(first) = goals.first() else { return Ok(()) };
    ensure!(
        plan.external.is_none(),
        "{first}: kbuild makes no packages of external modules (M=): install them with modules_install, or make a DKMS \
         package (klpbuild new --dkms writes its dkms.conf)"
    );
    ensure!(
        !matches!(kbuild.method, Method::Phased { .. }),
        "{first}: this kernel's makefiles are unlike any known ones: packages cannot be made with klpbuild"
    );
    let makefile = fs::read_to_string(plan.tree.srctree.join("scripts/Makefile.package")).unwrap_or_default();
    for goal in &goals {
        // These goals unpack a source package, and build the kernel there once more.
        let is_elsewhere = match goal.as_str() {
            "snap-pkg" => true,
            "rpm-pkg" => !makefile.contains("--build-in-place"),
            _ => false,
        };
        ensure!(
            !is_elsewhere,
            "{goal} builds the kernel anew in a directory of its own, from a package of its sources, where klpbuild does \
             not come: use binrpm-pkg, bindeb-pkg, dir-pkg or tar-pkg, or have the kernel's own makefiles convert \
             livepatches (klpbuild patches apply)"
        );
    }
    Ok(())
}

/// The makes to run after the main run, in order. `kbuild` is none for a kernel without livepatching; `livepatches`
/// is how many were built.
///
/// # Errors
/// The installation would damage livepatches.
pub fn makes(plan: &Plan, kbuild: Option<&Kbuild>, livepatches: usize) -> Result<Vec<Program>> {
    let mut makes = Vec::new();
    let single = plan.goals_of(GoalKind::Single);
    if !single.is_empty() {
        makes.push(plan.make(&single));
    }
    // One after the other: each of these goals builds and installs with makes of its own.
    for goal in plan.goals_of(GoalKind::Package) {
        let mut make = match kbuild {
            Some(kbuild) => plan.make_package(kbuild, &[goal])?,
            None => plan.make(&[goal]),
        };
        if livepatches > 0 {
            use_gnu_strip(plan, &mut make)?;
        }
        makes.push(make);
    }
    let install = plan.goals_of(GoalKind::Install);
    if !install.is_empty() {
        let mut make = plan.make(&install);
        let strips = plan.anywhere("INSTALL_MOD_STRIP");
        if livepatches > 0 && strips.is_some() {
            use_gnu_strip(plan, &mut make)?;
            if strips.is_some_and(|options| options != "1") {
                terminal::say(
                    "INSTALL_MOD_STRIP has options of its own, which may take from livepatches what they need: with 1, \
                     they keep it (klpbuild verify tells)",
                );
            }
        }
        makes.push(make);
    }
    Ok(makes)
}

/// Has GNU strip strip modules when they are installed. llvm-strip refuses livepatches, because it does not know
/// their symbols' section index (SHN_LIVEPATCH); GNU strip keeps them intact.
fn use_gnu_strip(plan: &Plan, make: &mut Program) -> Result<()> {
    let named = plan.anywhere("STRIP");
    let is_llvm = match &named {
        Some(program) => program.contains("llvm-strip"),
        None => plan.anywhere("LLVM").is_some(),
    };
    if !is_llvm {
        return Ok(());
    }
    let strip = format!("{}strip", plan.anywhere("CROSS_COMPILE").unwrap_or_default());
    let is_gnu = program::find(&strip).is_some() && {
        let mut version = Program::new(&strip, &plan.tree.objtree, "is it installed?");
        String::from_utf8_lossy(&version.arg("--version").capture("")?.stdout).contains("GNU")
    };
    if !is_gnu {
        bail!(
            "modules are stripped as they are installed, and llvm-strip cannot take livepatches: install GNU strip (Debian: \
             binutils), or name one with STRIP=PROGRAM, or leave out INSTALL_MOD_STRIP"
        );
    }
    if !plan.quiet {
        terminal::say(format_args!(
            "llvm-strip cannot take livepatches: {strip} strips the modules (STRIP={strip})"
        ));
    }
    make.arg(format!("STRIP={strip}"));
    Ok(())
}
