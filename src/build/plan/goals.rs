// SPDX-License-Identifier: GPL-2.0-only
//! Sorts goals by the make run that they need.
//!
//! make builds most goals in one run. But if config, clean, install or single-file goals are among others, the top
//! Makefile calls itself once for each goal (`mixed-build`), and the fragment would be lost. Therefore klpbuild runs
//! these goals separately.

/// The kinds of goals, in the order in which they are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GoalKind {
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

impl GoalKind {
    /// The kind of one goal, as the top Makefile sees it.
    pub fn of(goal: &str) -> GoalKind {
        const SINGLE: [&str; 13] =
            [".a", ".i", ".ko", ".lds", ".ll", ".lst", ".mod", ".o", ".rsi", ".s", ".symtypes", ".dtb", "/"];
        if goal == "mrproper" || goal == "cleandocs" || goal.ends_with("clean") {
            GoalKind::Clean
        } else if goal.ends_with("config") {
            GoalKind::Config
        } else if goal.ends_with("install") {
            GoalKind::Install
        } else if goal.ends_with("pkg") && !goal.starts_with("perf-") {
            GoalKind::Package
        } else if SINGLE.iter().any(|suffix| goal.ends_with(suffix)) {
            GoalKind::Single
        } else {
            GoalKind::Build
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
            ("modules", GoalKind::Build),
            ("bzImage", GoalKind::Build),
            ("all", GoalKind::Build),
            ("olddefconfig", GoalKind::Config),
            ("kvm_guest.config", GoalKind::Config),
            ("mrproper", GoalKind::Clean),
            ("modules_install", GoalKind::Install),
            ("bindeb-pkg", GoalKind::Package),
            ("dir-pkg", GoalKind::Package),
            ("perf-tar-src-pkg", GoalKind::Build),
            ("fs/fat/", GoalKind::Single),
            ("fs/fat/dir.o", GoalKind::Single),
        ] {
            assert_eq!(GoalKind::of(goal), kind, "{goal}");
        }
        assert!(
            GoalKind::Clean < GoalKind::Config
                && GoalKind::Config < GoalKind::Build
                && GoalKind::Build < GoalKind::Package
        );
        assert!(GoalKind::Package < GoalKind::Install);
    }
}
