// SPDX-License-Identifier: GPL-2.0-only
//! The klp_funcs of a livepatch that the kernel would refuse (S7), and what to do about each.

use anyhow::Result;

use crate::kernel::sources::{KernelDefinitions, Sources};
use crate::kernel::suggestions;
use crate::kernel::trace::KnownSites;
use crate::livepatch::definition;
use crate::livepatch::definition::SymbolFault;
use crate::livepatch::patch::{Patch, PatchedFunction};

/// A klp_func that the kernel refuses.
#[derive(Debug)]
pub struct Refused {
    /// The klp_func.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Whether the function, or its object, is missing in the files at hand. Another build may have it.
    pub is_absent: bool,
}

/// A klp_func as messages name it, as in `klp_func vmlinux:cmdline_proc_show,0`.
pub fn shown(object: &str, function: &PatchedFunction) -> String {
    format!("klp_func {object}:{},{}", String::from_utf8_lossy(&function.old_name), function.old_sympos)
}

/// S7: the functions of `patch` that do not exist, or not at their position, or that ftrace cannot trace.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn refused(patch: &Patch, sources: &Sources, found: &KernelDefinitions) -> Result<Vec<Refused>> {
    let mut sites = KnownSites::of(&sources.objects);
    let mut all = Vec::new();
    for object in &patch.objects {
        for function in &object.functions {
            let sites = sites.in_object(&object.name)?;
            let fault = definition::meant(found, &object.name, &function.old_name, function.old_sympos)
                .and_then(|known| definition::replaceable(known, sites));
            if let Err(fault) = fault {
                all.push(explained(&object.name, function, &fault, sources, found));
            }
        }
    }
    Ok(all)
}

/// The message about a function that cannot be replaced; if it does not exist, also about similar names.
fn explained(
    object: &str,
    function: &PatchedFunction,
    fault: &SymbolFault,
    sources: &Sources,
    found: &KernelDefinitions,
) -> Refused {
    let name = String::from_utf8_lossy(&function.old_name);
    let is_nowhere = found.of(&function.old_name).is_empty();
    let hint =
        if is_nowhere { suggestions::hint(&name, sources, &[object.to_owned()]) } else { String::new() };
    let mut message = fault.to_string();
    if fault.is_absence() {
        message.push_str(&suggestions::owners(object, &name, found));
        let told = sources.objects.with_debug_info(object).map(|file| (object.to_owned(), file));
        message.push_str(&suggestions::fate(&name, &told.into_iter().collect::<Vec<_>>()));
    }
    Refused {
        place: shown(object, function),
        message,
        advice: format!("{}{hint}", fault.advice()),
        is_absent: fault.is_absence(),
    }
}
