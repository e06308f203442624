// SPDX-License-Identifier: GPL-2.0-only
//! Why the kernel refused a module, if its log says more than the error number.

use crate::command::trial::module::ModuleFile;

/// The errors that `insmod` prints for ENOKEY and EKEYREJECTED. Which one an unsigned module gets differs between
/// kernels.
const ERRORS: [&str; 2] = ["Required key not available", "Key was rejected by service"];
/// The lines that kernel/module/signing.c and security/lockdown/lockdown.c log.
const UNSIGNED: [&str; 2] =
    ["Loading of unsigned module is rejected", "unsigned module loading is restricted"];
const NO_KEY: [&str; 2] =
    ["Required key not available", "Loading of module with unavailable key is rejected"];

/// Why `module` was refused, by the lines of its stage; none if they do not say.
pub fn reason(lines: &[String], module: &ModuleFile) -> Option<&'static str> {
    let says = |words: [&str; 2]| lines.iter().any(|line| words.iter().any(|words| line.contains(words)));
    if !says(ERRORS) && !says(UNSIGNED) {
        return None;
    }
    Some(if !module.is_signed {
        "it has no signature, and this kernel takes signed modules only (module.sig_enforce=1, \
         CONFIG_MODULE_SIG_FORCE or lockdown): sign it with scripts/sign-file of the kernel, or install it with \
         modules_install if CONFIG_MODULE_SIG_ALL is set"
    } else if says(NO_KEY) {
        "it is signed with a key that this kernel does not have: sign it with the key that the kernel was built with"
    } else {
        "its signature does not fit it: it was changed after it was signed"
    })
}
