// SPDX-License-Identifier: GPL-2.0-only
//! Sorts goals by the make run that they need.
//!
//! make builds most goals in one run. But if config, clean, install or single-file goals are among others, the top
//! Makefile calls itself once for each goal (`mixed-build`), and the fragment would be lost. Therefore klpbuild runs
//! these goals separately.

/// The kinds of goals, in the order in which they are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `mrproper`, `%clean`
    Clean,
    /// `defconfig`, `olddefconfig`, `%config`, `%.config`
    Config,
    /// `modules`, `bzImage`, and everything else that the main run builds
    Build,
    /// `fs/fat/`, `fs/fat/fat.o`, ... (`single-targets`)
    Single,
    /// `bindeb-pkg`, `dir-pkg`, `%pkg`: recipes that build and install the kernel with makes of their own
    Package,
    /// `modules_install`, `%install`
    Install,
}

impl Kind {
    /// The kind of one goal, as the top Makefile sees it.
    pub fn of(goal: &str) -> Kind {
        const SINGLE: [&str; 13] =
            [".a", ".i", ".ko", ".lds", ".ll", ".lst", ".mod", ".o", ".rsi", ".s", ".symtypes", ".dtb", "/"];
        if goal == "mrproper" || goal == "cleandocs" || goal.ends_with("clean") {
            Kind::Clean
        } else if goal.ends_with("config") {
            Kind::Config
        } else if goal.ends_with("install") {
            Kind::Install
        } else if goal.ends_with("pkg") && !goal.starts_with("perf-") {
            Kind::Package
        } else if SINGLE.iter().any(|suffix| goal.ends_with(suffix)) {
            Kind::Single
        } else {
            Kind::Build
        }
    }
}

/// Whether a config goal asks questions, and so needs the terminal.
pub fn is_interactive(goal: &str) -> bool {
    const ASKING: [&str; 8] = [
        "config",
        "oldconfig",
        "menuconfig",
        "nconfig",
        "xconfig",
        "gconfig",
        "localmodconfig",
        "localyesconfig",
    ];
    ASKING.contains(&goal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_go_to_their_runs() {
        for (goal, kind) in [
            ("modules", Kind::Build),
            ("bzImage", Kind::Build),
            ("all", Kind::Build),
            ("olddefconfig", Kind::Config),
            ("kvm_guest.config", Kind::Config),
            ("mrproper", Kind::Clean),
            ("modules_install", Kind::Install),
            ("bindeb-pkg", Kind::Package),
            ("dir-pkg", Kind::Package),
            ("perf-tar-src-pkg", Kind::Build),
            ("fs/fat/", Kind::Single),
            ("fs/fat/dir.o", Kind::Single),
        ] {
            assert_eq!(Kind::of(goal), kind, "{goal}");
        }
        assert!(Kind::Clean < Kind::Config && Kind::Config < Kind::Build && Kind::Build < Kind::Package);
        assert!(Kind::Package < Kind::Install);
    }
}
