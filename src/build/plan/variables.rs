// SPDX-License-Identifier: GPL-2.0-only
//! The values of variables for make, on this command line, on an outer make's, or in the environment.

use std::path::{Path, PathBuf};

use crate::host::make::makeflags::Inherited;
use crate::host::make::variable::Variable;
use crate::kernel::installed::places::{NamedKernel, Places};
use crate::kernel::tree;

/// Variables for make: those of an outer make's command line, then those of this one. The last one counts.
pub(super) struct Variables<'a>(pub(super) Vec<&'a Variable>);

impl Variables<'_> {
    /// The value given on a command line, if that is not empty.
    pub(super) fn typed(&self, name: &str) -> Option<String> {
        let value = self.0.iter().rev().find(|variable| variable.name() == name)?.value();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value given on a command line, or else in the environment. Inside a kbuild recipe, the environment belongs
    /// to another build and does not count.
    pub(super) fn anywhere(&self, name: &str) -> Option<String> {
        let environment = || std::env::var(name).ok().filter(|value| !value.is_empty() && !inside_kbuild());
        self.typed(name).or_else(environment)
    }
}

/// What NAME=VALUE words mean for a command that runs no make; they mean the same as for one that does.
#[derive(Debug)]
pub struct TypedVariables {
    /// The directory to start in: M= names an external module.
    pub start: PathBuf,
    /// The kernel: O= or KDIR= names it, or for a source tree the environment variable KBUILD_OUTPUT.
    pub kernel: Option<NamedKernel>,
    /// The configuration file's name, relative to the object tree.
    pub config: String,
}

impl TypedVariables {
    /// What `words` mean for a command that starts in `start`; kernels are installed at `places`.
    pub fn in_words(start: &Path, words: &[Variable], places: &Places) -> TypedVariables {
        let inherited = Inherited::from_env();
        let variables = Variables(inherited.variables.iter().chain(words).collect());
        let output = || tree::is_source(start).then(|| variables.anywhere("KBUILD_OUTPUT")).flatten();
        let directory = |value: String| NamedKernel::Directory(start.join(value));
        let kdir = || variables.typed("KDIR").map(|value| NamedKernel::by_kdir(places, start, &value));
        let kernel = variables.typed("O").map(directory).or_else(kdir);
        let module = variables.typed("M").map(|module| start.join(module));
        TypedVariables {
            start: module.unwrap_or_else(|| start.to_path_buf()),
            kernel: kernel.or_else(|| output().map(directory)),
            config: variables.anywhere("KCONFIG_CONFIG").unwrap_or_else(|| ".config".to_owned()),
        }
    }
}

/// Whether a recipe of some kernel's kbuild runs klpbuild.
pub(super) fn inside_kbuild() -> bool {
    ["sub_make_done", "KBUILD_SRC"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Whether a variable names the object tree or external modules: klpbuild passes these to make itself.
pub(super) fn is_place(variable: &Variable) -> bool {
    const PLACES: [&str; 6] = ["O", "KBUILD_OUTPUT", "M", "KBUILD_EXTMOD", "MO", "KBUILD_EXTMOD_OUTPUT"];
    PLACES.contains(&variable.name())
}
