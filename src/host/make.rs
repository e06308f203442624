// SPDX-License-Identifier: GPL-2.0-only
//! make, as klpbuild runs it.
//!
//! - [`makeflags`]: MAKEFLAGS, from an outer make
//! - [`variable`]: an assignment, `NAME=VALUE`

pub mod makeflags;
pub mod variable;

use std::path::Path;

use crate::host::program::Program;

/// A `make` that runs in `directory`. The environment variable MAKE is ignored: kbuild exports its own, with
/// arguments.
pub fn new(directory: &Path) -> Program {
    let mut make = Program::new("make", directory, "is GNU make installed?");
    // The top Makefile unexports LC_ALL: the messages of its sub-makes depend on LC_MESSAGES.
    make.env("LC_MESSAGES", "C");
    make
}

/// Whether the make in PATH knows jobservers that are named pipes, as GNU make 4.4 and later. If it cannot be asked,
/// the result is true: then make itself reports the problem.
pub fn knows_fifos() -> bool {
    let mut make = new(Path::new("/"));
    detach_from_outer(make.arg("--version"));
    let Ok(version) = make.capture("") else { return true };
    is_from_4_4(&String::from_utf8_lossy(&version.stdout)).unwrap_or(true)
}

/// Whether the output of `make --version` is from 4.4 or later; none if it is not GNU make's.
fn is_from_4_4(text: &str) -> Option<bool> {
    let mut numbers = text.strip_prefix("GNU Make ")?.split_whitespace().next()?.split('.');
    let mut next = || numbers.next()?.parse::<u32>().ok();
    Some((next()?, next()?) >= (4, 4))
}

/// Makes `make` independent of an outer one: without its flags, jobserver and makefiles.
pub fn detach_from_outer(make: &mut Program) {
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEFILES", "MAKEOVERRIDES"] {
        make.env_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_make() {
        assert_eq!(is_from_4_4("GNU Make 4.3\nBuilt for x86_64-pc-linux-gnu\n"), Some(false));
        assert_eq!(is_from_4_4("GNU Make 4.4.1\n"), Some(true));
        assert_eq!(is_from_4_4("GNU Make 4.10\n"), Some(true));
        assert_eq!(is_from_4_4("GNU Make 3.82\n"), Some(false));
        assert_eq!(is_from_4_4("bmake\n"), None);
    }
}
