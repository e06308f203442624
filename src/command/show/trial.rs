// SPDX-License-Identifier: GPL-2.0-only
//! The report of `klpbuild try --format json` as a part of a livepatch's page: the stages as a time line, with the
//! guest kernel's log.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::host::html::{escaped, escaped_line};
use crate::host::terminal;
use crate::host::text;

/// The styles of this part, in addition to the page's.
pub(super) const STYLE: &str = "\
.track { height: 0.45rem; margin: 0.3rem 0; background: var(--line); border-radius: 3px; overflow: hidden; }
.track div { height: 100%; min-width: 3px; background: var(--bar); border-radius: 3px; }
details pre { margin: 0.4rem 0 0; padding: 0.5rem 0.75rem; border: 1px solid var(--line); border-radius: 6px; \
background: var(--page); }
summary { cursor: pointer; color: var(--faint); }
";

/// A report of `klpbuild try`, as far as the page needs it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Trial {
    schema: u32,
    verdict: String,
    reason: Option<String>,
    seconds: f64,
    livepatches: Vec<String>,
    stages: Vec<Stage>,
}

/// A stage of the report; times are in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stage {
    stage: String,
    verdict: String,
    why: String,
    begin: f64,
    seconds: f64,
    output: Vec<String>,
    log: Vec<String>,
}

impl Trial {
    /// Reads the report at `path`, which has to be about the livepatch `file`.
    ///
    /// # Errors
    /// It is no such report.
    pub(super) fn read(path: &Path, file: &Path) -> Result<Trial> {
        let report = text::read(path)?;
        let no_report = || format!("{}: no report of klpbuild try --format json", path.display());
        let trial: Trial = terminal::from_json(&report).with_context(no_report)?;
        ensure!(trial.schema == 1, "{}: its schema is not 1", no_report());
        let name = file.file_name();
        ensure!(
            trial.livepatches.iter().any(|tried| Path::new(tried).file_name() == name),
            "{} is about {}, not about {}",
            path.display(),
            if trial.livepatches.is_empty() {
                "no livepatch".to_owned()
            } else {
                trial.livepatches.join(", ")
            },
            file.display()
        );
        Ok(trial)
    }

    /// The part of the page.
    pub(super) fn add_to(&self, body: &mut String) {
        let look = match self.verdict.as_str() {
            "works" => "good",
            "fails" => "bad",
            _ => "warn",
        };
        let _ = writeln!(
            body,
            "<h2 id=\"trial\">Tried in a virtual machine <span class=\"badge {look}\">{}</span></h2>",
            escaped(&self.verdict)
        );
        if let Some(reason) = &self.reason {
            let _ = writeln!(body, "<p>{}</p>", escaped(reason));
        }
        let ends = self.stages.iter().map(|stage| stage.begin + stage.seconds);
        let total = ends.fold(self.seconds, f64::max);
        let _ = writeln!(
            body,
            "<p class=\"faint\">{total:.1} s, as klpbuild try has told it</p>\n<ul class=\"card\">"
        );
        self.stages.iter().for_each(|stage| stage.add_to(total, body));
        body.push_str("</ul>\n");
    }
}

impl Stage {
    fn add_to(&self, total: f64, body: &mut String) {
        let look = match self.verdict.as_str() {
            "ok" => "good",
            "failed" => "bad",
            _ => "warn",
        };
        let percent =
            |seconds: f64| if total > 0.0 { (100.0 * seconds / total).clamp(0.0, 100.0) } else { 0.0 };
        let begin = percent(self.begin);
        let why = if self.why.is_empty() { String::new() } else { format!(" {}", escaped(&self.why)) };
        let _ = writeln!(
            body,
            "<li class=\"one\">{} <span class=\"badge {look}\">{}</span>{why} <span class=\"faint\">{:.1} s</span>\n<div \
             class=\"track\"><div style=\"margin-left:{begin:.2}%;width:{:.2}%\"></div></div>",
            escaped(&self.stage),
            escaped(&self.verdict),
            self.seconds,
            percent(self.seconds).min(100.0 - begin)
        );
        for (what, lines) in
            [("What the command printed", &self.output), ("What the kernel logged", &self.log)]
        {
            if lines.is_empty() {
                continue;
            }
            let is_open = if self.verdict == "failed" { " open=\"\"" } else { "" };
            let _ = write!(body, "<details{is_open}><summary>{what}</summary><pre>");
            for line in lines {
                let _ = writeln!(body, "{}", escaped_line(line));
            }
            body.push_str("</pre></details>\n");
        }
        body.push_str("</li>\n");
    }
}
