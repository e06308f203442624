//! make, as the commands here run it.
//!
//! - [`makeflags`]: what an outer make says in MAKEFLAGS

pub mod makeflags;

use std::path::Path;

use crate::program::Program;

/// A `make` that runs in `directory`. The environment variable MAKE does not count: kbuild exports its own,
/// with arguments.
pub fn new(directory: &Path) -> Program {
    let mut make = Program::new("make", directory, "is GNU make installed?");
    // The top Makefile unexports LC_ALL: what its sub-makes say goes by LC_MESSAGES.
    make.env("LC_MESSAGES", "C");
    make
}

/// Makes `make` one of its own, without the flags, the jobserver and the makefiles of an outer one.
pub fn detach_from_outer(make: &mut Program) {
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEFILES", "MAKEOVERRIDES"] {
        make.env_remove(name);
    }
}
