// SPDX-License-Identifier: GPL-2.0-only
//! A trial as JUnit's XML, which CI systems show: each stage is a test case.

use std::fmt::Write as _;

use crate::command::trial::account::{How, TrialAccount, TrialVerdict};
use crate::host::html::escaped;

/// The account as JUnit's XML.
pub(super) fn of(account: &TrialAccount) -> String {
    let ended = |how: How| account.stages.iter().filter(|stage| stage.verdict == how).count();
    let trouble = account.trouble();
    let is_untried = account.verdict == TrialVerdict::Untried;
    let more = usize::from(trouble.is_some());
    let numbers = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
        account.stages.len() + more,
        ended(How::Failed) + if is_untried { 0 } else { more },
        if is_untried { more } else { 0 },
        ended(How::Skipped),
        account.seconds
    );
    let class = escaped(&account.title());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {numbers}>\n  <testsuite name=\"{class}\" {numbers}>\n"
    );
    for stage in &account.stages {
        let name = escaped(&stage.stage);
        let _ = writeln!(
            text,
            "    <testcase classname=\"{class}\" name=\"{name}\" time=\"{:.3}\">",
            stage.seconds
        );
        let why = escaped(&stage.why);
        match stage.verdict {
            How::Ok => {}
            How::Skipped => text += &format!("      <skipped message=\"{why}\"/>\n"),
            How::Failed => {
                text += &format!("      <failure message=\"{why}\">{}</failure>\n", lines(&stage.log));
            }
        }
        let all =
            [&stage.output[..], if stage.verdict == How::Failed { &[] } else { &stage.log[..] }].concat();
        if !all.is_empty() {
            text += &format!("      <system-out>{}</system-out>\n", lines(&all));
        }
        text += "    </testcase>\n";
    }
    if let Some(trouble) = trouble {
        let kind = if is_untried { "error" } else { "failure" };
        text += &format!(
            "    <testcase classname=\"{class}\" name=\"the whole\">\n      <{kind} message=\"{}\"/>\n    </testcase>\n",
            escaped(trouble)
        );
    }
    text + "  </testsuite>\n</testsuites>\n"
}

/// Lines as the contents of an element.
fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_is_a_case() {
        let numbers = "tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"5.000\"";
        let case = |name: &str, content: &str| {
            format!(
                "    <testcase classname=\"klpbuild try lp#1.ko\" name=\"{name}\" time=\"1.250\">\n{content}    </testcase>\n"
            )
        };
        let expected = [
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {numbers}>\n  <testsuite name=\"klpbuild try \
                 lp#1.ko\" {numbers}>\n"
            ),
            case("boot", ""),
            case(
                "command before",
                "      <system-out>&lt;a&gt; &amp; &quot;b&quot;\n\\u{1b}[1mok 1 # x</system-out>\n",
            ),
            case("reload mod.ko", "      <skipped message=\"why # not\"/>\n"),
            case(
                "load lp#1.ko",
                "      <failure message=\"refused\">module: # Subtest: \\u{1}\nnot ok 7</failure>\n",
            ),
            "  </testsuite>\n</testsuites>\n".to_owned(),
        ];
        assert_eq!(of(&TrialAccount::sample()), expected.concat());
    }

    #[test]
    fn what_could_not_be_tried_is_an_error() {
        let text = of(&TrialAccount::untried("no <QEMU>".to_owned()));
        assert!(text.contains("tests=\"1\" failures=\"0\" errors=\"1\""), "{text}");
        assert!(text.contains("name=\"the whole\">\n      <error message=\"no &lt;QEMU&gt;\"/>\n"), "{text}");
    }
}
