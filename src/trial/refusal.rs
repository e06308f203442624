//! Why the kernel refused a module, where its error number says more than that it did.

use crate::trial::module::Module;

/// What `insmod` prints for ENOKEY, EKEYREJECTED and EPERM, and what kernel/module/signing.c and
/// security/lockdown/lockdown.c log.
const UNKNOWN_KEY: &str = "Required key not available";
const REJECTED: &str = "Key was rejected by service";
const UNSIGNED: &str = "Loading of unsigned module is rejected";
const LOCKED: &str = "unsigned module loading is restricted";

/// Why `module` was refused, from the lines of its stage; none if they say no more than that.
pub fn reason(lines: &[String], module: Option<&Module>) -> Option<String> {
    let says = |words: &str| lines.iter().any(|line| line.contains(words));
    let is_signed = module.is_some_and(|module| module.is_signed);
    if says(REJECTED) {
        return Some("its signature does not fit it: it was changed after it was signed".to_owned());
    }
    if !(says(UNKNOWN_KEY) || says(UNSIGNED) || says(LOCKED)) {
        return None;
    }
    Some(if is_signed {
        "it is signed with a key that this kernel does not have: sign it with the key that the kernel was built with"
            .to_owned()
    } else {
        "it has no signature, and this kernel takes signed modules only (module.sig_enforce=1, \
         CONFIG_MODULE_SIG_FORCE or lockdown): sign it with scripts/sign-file of the kernel"
            .to_owned()
    })
}
