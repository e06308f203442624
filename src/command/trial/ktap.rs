// SPDX-License-Identifier: GPL-2.0-only
//! A trial as a KTAP report, version 1, like those of the kernel's own tests (Documentation/dev-tools/ktap.rst). Each
//! stage is a test; its output and log stand before its result, as tools/testing/kunit/kunit_parser.py expects them.

use crate::command::trial::account::{How, TrialAccount, TrialVerdict};
use crate::host::words::printable;

/// The account as KTAP.
pub(super) fn of(account: &TrialAccount) -> String {
    let trouble = account.trouble();
    let count = account.stages.len() + usize::from(trouble.is_some());
    let title = plain(&account.title());
    let mut text = format!("KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: {title}\n  1..{count}\n");
    for (number, stage) in (1..).zip(&account.stages) {
        let lines =
            stage.output.iter().map(|line| ("|", line)).chain(stage.log.iter().map(|line| (" ", line)));
        for (mark, line) in lines {
            // With a mark in front, no line looks like one of KTAP's own.
            text += format!("  # {mark} {}", printable(line)).trim_end_matches(' ');
            text.push('\n');
        }
        let (name, why) = (plain(&stage.stage), printable(&stage.why));
        match stage.verdict {
            How::Ok => text += &format!("  ok {number} {name}\n"),
            How::Skipped => text += format!("  ok {number} {name} # SKIP {why}").trim_end_matches(' '),
            How::Failed => text += &format!("  # failed: {why}\n  not ok {number} {name}\n"),
        }
        if stage.verdict == How::Skipped {
            text.push('\n');
        }
    }
    if let Some(trouble) = trouble {
        let what = if account.verdict == TrialVerdict::Untried { "could not be tried" } else { "failed" };
        text += &format!("  # {what}: {}\n  not ok {count} the whole\n", printable(trouble));
    }
    let result = if account.verdict == TrialVerdict::Works { "ok" } else { "not ok" };
    text + &format!("{result} 1 {title}\n")
}

/// A description without `#`, which would begin a directive.
fn plain(text: &str) -> String {
    printable(text).replace('#', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_is_a_test() {
        let mut account = TrialAccount::sample();
        let expected = "\
KTAP version 1
1..1
  KTAP version 1
  # Subtest: klpbuild try lp_1.ko
  1..4
  ok 1 boot
  # | <a> & \"b\"
  # | \\u{1b}[1mok 1 # x
  ok 2 command before
  ok 3 reload mod.ko # SKIP why # not
  #   module: # Subtest: \\u{1}
  #   not ok 7
  # failed: refused
  not ok 4 load lp_1.ko
not ok 1 klpbuild try lp_1.ko
";
        assert_eq!(of(&account), expected);
        account.stages.truncate(1);
        account.verdict = TrialVerdict::Works;
        account.reason = None;
        let head = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: klpbuild try lp_1.ko\n";
        assert_eq!(of(&account), format!("{head}  1..1\n  ok 1 boot\nok 1 klpbuild try lp_1.ko\n"));
    }

    #[test]
    fn what_could_not_be_tried_is_not_ok() {
        assert_eq!(
            of(&TrialAccount::untried("there is no QEMU".to_owned())),
            "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: klpbuild try livepatches\n  1..1\n  # could not be tried: \
             there is no QEMU\n  not ok 1 the whole\nnot ok 1 klpbuild try livepatches\n"
        );
    }
}
