// SPDX-License-Identifier: GPL-2.0-only
//! The account of a trial for programs: each stage with its output and the kernel's log, and the verdict.

use serde::Serialize;

/// The verdict on a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialVerdict {
    /// All stages went well.
    Works,
    /// A livepatch, or what it did to the kernel, is at fault.
    Fails,
    /// The livepatches could not be tried.
    Untried,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It went well.
    Ok,
    /// It failed.
    Failed,
    /// It was skipped.
    Skipped,
}

/// A stage that has ended. Times are in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct StageResult {
    /// What was done, as in `load lp.ko`.
    pub stage: String,
    /// How it ended.
    pub verdict: How,
    /// More about the verdict.
    pub why: String,
    /// When it began, in seconds after the start of the guest.
    pub begin: f64,
    /// How long it took.
    pub seconds: f64,
    /// What the command printed.
    pub output: Vec<String>,
    /// What the kernel logged.
    pub log: Vec<String>,
}

/// All about a trial.
#[derive(Debug, Clone, Serialize)]
pub struct TrialAccount {
    /// The verdict.
    pub verdict: TrialVerdict,
    /// Why it is not `works`.
    pub reason: Option<String>,
    /// The release of the kernel that booted.
    pub release: Option<String>,
    /// What ran the guest.
    pub accelerator: Option<String>,
    /// The time of the whole trial.
    pub seconds: f64,
    /// The names of the livepatches' files, without directories.
    pub livepatches: Vec<String>,
    /// How the command's output differs from stage to stage.
    pub comparison: Option<String>,
    /// The stages, in their order.
    pub stages: Vec<StageResult>,
}

impl TrialAccount {
    /// A trial that has not begun.
    pub fn untried(reason: String) -> TrialAccount {
        TrialAccount {
            verdict: TrialVerdict::Untried,
            reason: Some(reason),
            release: None,
            accelerator: None,
            seconds: 0.0,
            livepatches: Vec::new(),
            comparison: None,
            stages: Vec::new(),
        }
    }

    /// The livepatches that are tried, in a few words.
    pub(super) fn title(&self) -> String {
        let names =
            if self.livepatches.is_empty() { "livepatches".to_owned() } else { self.livepatches.join(" ") };
        format!("klpbuild try {names}")
    }

    /// Why the verdict is not `works` although no stage has failed.
    pub(super) fn trouble(&self) -> Option<&str> {
        let has_failed = self.stages.iter().any(|stage| stage.verdict == How::Failed);
        let reason = self.reason.as_deref().filter(|_| self.verdict != TrialVerdict::Works);
        reason.filter(|_| !has_failed)
    }
}

/// Splits the lines of a stage into the command's output and the kernel's log.
pub(super) fn parted(lines: &[String]) -> (Vec<String>, Vec<String>) {
    let output = lines.iter().filter_map(|line| line.strip_prefix("  | ")).map(str::to_owned).collect();
    let log = lines.iter().filter(|line| !line.starts_with("  | "));
    (output, log.map(|line| line.trim_start_matches(' ').to_owned()).collect())
}

#[cfg(test)]
impl TrialAccount {
    /// An account with a stage of each kind, for tests.
    pub(crate) fn sample() -> TrialAccount {
        let stage = |stage: &str, verdict, why: &str, output: &[&str], log: &[&str]| StageResult {
            stage: stage.to_owned(),
            verdict,
            why: why.to_owned(),
            begin: 0.5,
            seconds: 1.25,
            output: output.iter().map(|&line| line.to_owned()).collect(),
            log: log.iter().map(|&line| line.to_owned()).collect(),
        };
        TrialAccount {
            verdict: TrialVerdict::Fails,
            reason: Some("load lp#1.ko: refused".to_owned()),
            release: Some("1.2.3".to_owned()),
            accelerator: Some("TCG".to_owned()),
            seconds: 5.0,
            livepatches: vec!["lp#1.ko".to_owned()],
            comparison: None,
            stages: vec![
                stage("boot", How::Ok, "1.2.3, TCG", &[], &[]),
                stage("command before", How::Ok, "", &["<a> & \"b\"", "\u{1b}[1mok 1 # x"], &[]),
                stage("reload mod.ko", How::Skipped, "why # not", &[], &[]),
                stage("load lp#1.ko", How::Failed, "refused", &[], &["module: # Subtest: \u{1}", "not ok 7"]),
            ],
        }
    }
}
