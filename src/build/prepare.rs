// SPDX-License-Identifier: GPL-2.0-only
//! Writes files before make runs, for the fragment and for the map step.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::build::fragment;
use crate::build::plan::Plan;
use crate::host::terminal;
use crate::kernel::external::context::Context;
use crate::kernel::origin::Origin;
use crate::kernel::symbols::exports;
use crate::kernel::symbols::flags::{self, Makefiles};
use crate::kernel::tree::built::BuiltTree;
use crate::kernel::tree::era::{Kbuild, Method};
use crate::kernel::tree::facts;

/// Writes the fragment and the map step's context, which it returns, and empties the files that the last run left for
/// make to read.
///
/// # Errors
/// The errors of [`context`]; or a file cannot be written.
pub fn prepare(plan: &Plan, kbuild: &Kbuild, external: Option<Context>) -> Result<Context> {
    let state = &plan.state;
    let context = external.map_or_else(|| context(plan, kbuild), Ok)?;
    state.write_context(&context)?;
    fs::write(state.fragment(), fragment::FRAGMENT)?;
    fs::write(state.modpost_arguments(), "")?;
    fs::write(state.strict_arguments(), "")?;
    match fs::remove_file(state.report()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot begin"),
        _ => Ok(context),
    }
}

/// The map step's context. The symbols of an installed kernel are read now, which takes a while the first time.
///
/// # Errors
/// External modules cannot be built for this kernel.
pub fn context(plan: &Plan, kbuild: &Kbuild) -> Result<Context> {
    let tree = &plan.tree;
    let mut context = Context {
        external: plan.external.clone(),
        choice: plan.choice.clone(),
        conversion: plan.conversion,
        ..Context::of_tree(&tree.srctree, &tree.objtree)
    };
    let Some(external) = &mut context.external else { return Ok(context) };
    ensure!(
        !matches!(kbuild.method, Method::Phased { .. }),
        "this kernel's makefiles are unlike any known ones: external modules cannot be built for it with klpbuild"
    );
    // Without Module.symvers, modpost only warns of undefined symbols, and all symbols of a livepatch would count as
    // not exported.
    ensure!(
        tree.objtree.join("Module.symvers").is_file(),
        "{}",
        exports::not_known(&format!("in {}", tree.objtree.display()))
    );
    let release = facts::release(&tree.objtree).unwrap_or_default();
    let makefiles = Makefiles::external(&tree.srctree, &tree.objtree, external, &release);
    external.extra_symbols = flags::extra_symbols(&makefiles, &plan.variables)?;
    for dump in external.extra_symvers().filter(|dump| !dump.is_file()) {
        terminal::say(format_args!(
            "KBUILD_EXTRA_SYMBOLS names {}, which is not there: what is exported there counts as not exported; build \
             those modules first",
            dump.display()
        ));
    }
    // Ordinary modules can do without the kernel's symbols.
    let built = BuiltTree::known(&tree.srctree, &tree.objtree, kbuild);
    let origin = Origin::of_kernel(built, &plan.choice).and_then(|mut origin| {
        origin.drop_doubtful_list(plan.quiet);
        origin.make_list(Some(&plan.state.directory()), plan.quiet)?;
        Ok(origin)
    });
    match origin {
        Ok(origin) => {
            context.kernel_list = origin.list.clone();
            if !plan.quiet {
                origin.say_shortcomings();
            }
        }
        Err(error) => context.problem = Some(format!("{error:#}")),
    }
    Ok(context)
}
