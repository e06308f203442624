// SPDX-License-Identifier: GPL-2.0-only
//! The output of make and kbuild, line by line: make's bytes become a typed [`KbuildLine`].

use std::sync::LazyLock;
use std::time::Duration;

use regex::bytes::Regex;

use crate::host::processes;
use crate::host::processes::Descendant;

/// One line of a kernel build's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KbuildLine<'a> {
    /// A step: `  CC [M]  fs/fat/dir.o` (`quiet_cmd_*` in scripts/Kbuild.include). Any tag counts, known or not.
    Step {
        /// The kind of step, as in `CC [M]`.
        tag: &'a str,
        /// Its target, mostly a path relative to the object tree.
        path: &'a str,
    },
    /// make gives a target up: `make[2]: *** [scripts/Makefile.build:243: fs/fat/dir.o] Error 1`.
    Failed {
        /// The target.
        target: String,
        /// make's reason: `Error 1`, `Interrupt`, `Terminated`.
        why: String,
    },
    /// make cannot go on at all: `make: *** No rule to make target 'x'.  Stop.`
    Stopped(String),
    /// A line that nobody needs: `*** Waiting for unfinished jobs....`, and the like.
    Noise,
    /// Any other line: the output of compilers and scripts.
    Text,
}

/// The expressions by which lines are recognised.
struct Patterns {
    step: Regex,
    failed: Regex,
    stopped: Regex,
    noise: Regex,
    /// The step's line in the command line of a recipe's shell.
    echo: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| Patterns {
    step: pattern(r"^  ([A-Z][A-Z0-9_.+-]*(?: \[[A-Z]\]| [A-Z])?) +(\S[^\x00-\x1F\x7F]*)$"),
    failed: pattern(r"^\S*make(?:\[\d+\])?: \*\*\* \[(?:[^\]]*?:\d+: )?([^\]]+)\] (.+)$"),
    stopped: pattern(r"^(?:\S*make(?:\[\d+\])?|[^ :]+:\d+): \*\*\* (?:\[[^\]]*\] )?(.+?)(?:  Stop\.)?$"),
    noise: pattern(
        r"^(?:\S*make(?:\[\d+\])?: (?:\*\*\* Waiting for unfinished jobs|\*\*\* Deleting |Entering directory|Leaving directory|Nothing to be done|Target .* not remade because of errors)|  Building modules, stage 2\.|\S*make(?:\[\d+\])?: '.*' is up to date)",
    ),
    echo: pattern(r"echo '(  [A-Z][^']*)'"),
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant, which every test of a line compiles")
}

/// Classifies a line of output; `line` has no line break at its end.
pub fn classify(line: &[u8]) -> KbuildLine<'_> {
    fn group<'a>(captures: &regex::bytes::Captures<'a>, index: usize) -> &'a str {
        captures.get(index).and_then(|found| std::str::from_utf8(found.as_bytes()).ok()).unwrap_or_default()
    }
    if line.starts_with(b"  ")
        && let Some(found) = PATTERNS.step.captures(line)
    {
        return KbuildLine::Step { tag: group(&found, 1), path: group(&found, 2) };
    }
    if PATTERNS.noise.is_match(line) {
        return KbuildLine::Noise;
    }
    if !line.windows(5).any(|window| window == b" *** ") {
        return KbuildLine::Text;
    }
    if let Some(found) = PATTERNS.failed.captures(line) {
        return KbuildLine::Failed { target: group(&found, 1).to_owned(), why: group(&found, 2).to_owned() };
    }
    match PATTERNS.stopped.captures(line) {
        Some(found) => KbuildLine::Stopped(group(&found, 1).to_owned()),
        None => KbuildLine::Text,
    }
}

/// A step that is running now in some recipe's shell below this process, as `CC` and `kernel/fork.o`. make holds a
/// target's output back until the target is done (`-O`), but the shell's command line contains the step's line, in an
/// `echo` (`cmd` in scripts/Kbuild.include).
pub fn running_step() -> Option<(String, String)> {
    processes::command_lines().find_map(|command| step_of(&command))
}

/// A step that a recipe's shell is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningStep {
    /// The kind of step, as in `CC`.
    pub tag: String,
    /// Its target.
    pub path: String,
    /// The process: its number and start time.
    pub process: (u32, u64),
    /// How long the process has been running.
    pub age: Duration,
}

/// All steps that are running below this process, and the map step.
pub fn running_steps() -> Vec<RunningStep> {
    let one = |process: Descendant| {
        let mut arguments = process.command.split(|&byte| byte == 0).skip(1);
        let is_hook = arguments.next() == Some(b"hook") && arguments.next().is_some_and(<[u8]>::is_empty);
        let map = is_hook.then(|| ("KLP".to_owned(), "Symbols.list".to_owned()));
        let (tag, path) = map.or_else(|| step_of(&process.command))?;
        Some(RunningStep { tag, path, process: (process.pid, process.start), age: process.age })
    };
    processes::running().into_iter().filter_map(one).collect()
}

/// The step in the command line of a recipe's shell.
fn step_of(command: &[u8]) -> Option<(String, String)> {
    let mut arguments = command.split(|&byte| byte == 0).skip(1);
    let script = if arguments.next()? == b"-c" { arguments.next()? } else { return None };
    match classify(PATTERNS.echo.captures(script)?.get(1)?.as_bytes()) {
        KbuildLine::Step { tag, path } => Some((tag.to_owned(), path.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step<'a>(tag: &'a str, path: &'a str) -> KbuildLine<'a> {
        KbuildLine::Step { tag, path }
    }

    fn failed<'a>(target: &str, why: &str) -> KbuildLine<'a> {
        KbuildLine::Failed { target: target.to_owned(), why: why.to_owned() }
    }

    #[test]
    fn steps_of_all_kinds() {
        assert_eq!(classify(b"  CC      kernel/fork.o"), step("CC", "kernel/fork.o"));
        assert_eq!(classify(b"  CC [M]  fs/fat/dir.o"), step("CC [M]", "fs/fat/dir.o"));
        assert_eq!(classify(b"  RUSTC L rust/core.o"), step("RUSTC L", "rust/core.o"));
        assert_eq!(classify(b"  ASN.1   crypto/x.asn1.[ch]"), step("ASN.1", "crypto/x.asn1.[ch]"));
        assert_eq!(classify(b"  MODPOST 12 modules"), step("MODPOST", "12 modules"));
        assert_eq!(
            classify(b"  VDSO2C  arch/x86/entry/vdso/vdso-image-64.c").clone(),
            step("VDSO2C", "arch/x86/entry/vdso/vdso-image-64.c")
        );
        assert_eq!(classify(b"  KLP     Symbols.list"), step("KLP", "Symbols.list"));
        let path = "/home/ren\u{e9}/\u{6a21}\u{584a}/lp.o";
        assert_eq!(classify(format!("  CC [M]  {path}").as_bytes()), step("CC [M]", path));
        assert_eq!(classify(b"  CC      a\x1b[m.o"), KbuildLine::Text);
    }

    #[test]
    fn what_compilers_print_is_text() {
        for text in [
            "fs/a.c:3:5: warning: unused variable \u{2018}x\u{2019} [-Wunused-variable]",
            "    3 | int x;",
            "      |     ^",
            "In file included from ./include/linux/kernel.h:5,",
            "Kernel: arch/x86/boot/bzImage is ready  (#1)",
            "  the rest of a message",
            "",
        ] {
            assert_eq!(classify(text.as_bytes()), KbuildLine::Text, "{text}");
        }
        assert_eq!(classify(b"\xff\xfe *** \xff"), KbuildLine::Text);
    }

    #[test]
    fn failures_name_the_target() {
        assert_eq!(
            classify(b"make[3]: *** [scripts/Makefile.build:244: fs/a.o] Error 1"),
            failed("fs/a.o", "Error 1")
        );
        assert_eq!(classify(b"make: *** [Makefile:1936: .] Error 2"), failed(".", "Error 2"));
        assert_eq!(classify(b"gmake[1]: *** [x.o] Interrupt"), failed("x.o", "Interrupt"));
        assert_eq!(
            classify(b"make: *** No rule to make target 'x', needed by 'y'.  Stop."),
            KbuildLine::Stopped("No rule to make target 'x', needed by 'y'.".to_owned())
        );
        assert_eq!(
            classify(b"Makefile:12: *** source directory cannot contain spaces or colons.  Stop."),
            KbuildLine::Stopped("source directory cannot contain spaces or colons.".to_owned())
        );
        assert_eq!(classify(b"make[1]: *** Waiting for unfinished jobs...."), KbuildLine::Noise);
        assert_eq!(classify(b"make[2]: *** Deleting file 'modules-only.symvers'"), KbuildLine::Noise);
        assert_eq!(classify(b"  Building modules, stage 2."), KbuildLine::Noise);
    }
}
