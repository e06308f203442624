// SPDX-License-Identifier: GPL-2.0-only
//! What variables for make say, on this command line, on an outer make's, or in the environment.

use std::path::{Path, PathBuf};

use crate::host::make::makeflags::Inherited;
use crate::host::make::variable::Variable;
use crate::kernel::installed::places::{Meant, Places};
use crate::kernel::tree;

/// Variables for make: those of an outer make's command line, then those of this one. The last one counts.
pub(super) struct Variables<'a>(pub(super) Vec<&'a Variable>);

impl Variables<'_> {
    /// The value given on a command line, if that is not empty.
    pub(super) fn typed(&self, name: &str) -> Option<String> {
        let value = self.0.iter().rev().find(|variable| variable.name() == name)?.value();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value given on a command line, or else that of the environment, which inside of a kbuild recipe speaks of
    /// another build and does not count.
    pub(super) fn anywhere(&self, name: &str) -> Option<String> {
        let environment = || std::env::var(name).ok().filter(|value| !value.is_empty() && !inside_kbuild());
        self.typed(name).or_else(environment)
    }
}

/// What NAME=VALUE among the words of a command that runs no make says, as for one that does.
#[derive(Debug)]
pub struct Named {
    /// Where it begins: M= names an external module.
    pub start: PathBuf,
    /// The kernel: O= names it, or KDIR=, or for a source tree the environment variable KBUILD_OUTPUT.
    pub kernel: Option<Meant>,
    /// The configuration's name, which is relative to the object tree.
    pub config: String,
}

impl Named {
    /// What `words` say to a command that begins in `start`; kernels are installed at `places`.
    pub fn in_words(start: &Path, words: &[Variable], places: &Places) -> Named {
        let inherited = Inherited::from_env();
        let variables = Variables(inherited.variables.iter().chain(words).collect());
        let output = || tree::is_source(start).then(|| variables.anywhere("KBUILD_OUTPUT")).flatten();
        let directory = |value: String| Meant::Directory(start.join(value));
        let kdir = || variables.typed("KDIR").map(|value| Meant::by_kdir(places, start, &value));
        let kernel = variables.typed("O").map(directory).or_else(kdir);
        let module = variables.typed("M").map(|module| start.join(module));
        Named {
            start: module.unwrap_or_else(|| start.to_path_buf()),
            kernel: kernel.or_else(|| output().map(directory)),
            config: variables.anywhere("KCONFIG_CONFIG").unwrap_or_else(|| ".config".to_owned()),
        }
    }
}

/// Whether klpbuild is run by a recipe of some kernel's kbuild.
pub(super) fn inside_kbuild() -> bool {
    ["sub_make_done", "KBUILD_SRC"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Whether a variable names the object tree or external modules: klpbuild passes that on itself.
pub(super) fn is_place(variable: &Variable) -> bool {
    const PLACES: [&str; 6] = ["O", "KBUILD_OUTPUT", "M", "KBUILD_EXTMOD", "MO", "KBUILD_EXTMOD_OUTPUT"];
    PLACES.contains(&variable.name())
}
