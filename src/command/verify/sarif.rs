// SPDX-License-Identifier: GPL-2.0-only
//! The findings of verification as a log in the Static Analysis Results Interchange Format (SARIF 2.1.0, an OASIS
//! standard): the rules, and for each finding its level, the livepatch, and the line of the source if it is known.

use std::path::Path;

use serde::Serialize;

use crate::host::exit::Exit;
use crate::livepatch::rules::Rule;
use crate::livepatch::verify::findings::{Finding, Severity};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// A log.
#[derive(Debug, Serialize)]
pub(super) struct SarifLog {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Debug, Serialize)]
struct Run {
    tool: Tool,
    invocations: [Invocation; 1],
    results: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Debug, Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Descriptor>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    id: String,
    short_description: Message,
    full_description: Message,
    help: Message,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    /// Whether everything could be checked, whatever the findings.
    execution_successful: bool,
    exit_code: u8,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Debug, Serialize)]
struct Notification {
    level: &'static str,
    message: Message,
}

#[derive(Debug, Serialize)]
struct Message {
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
    /// The livepatch, if the location is a line of source.
    analysis_target: ArtifactLocation,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
    logical_locations: [LogicalLocation; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u64,
}

#[derive(Debug, Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
}

/// The log of a run: the findings in each file, and what could not be checked.
///
/// File names are relative to `start`.
pub(super) fn log(start: &Path, files: &[(&Path, &[Finding])], unchecked: &[String], exit: Exit) -> SarifLog {
    let results = files.iter().flat_map(|(file, all)| all.iter().map(|one| outcome(start, file, one)));
    let notification = |text: &String| Notification { level: "error", message: message(text) };
    let invocation = Invocation {
        execution_successful: exit != Exit::Unchecked,
        exit_code: exit.code(),
        tool_execution_notifications: unchecked.iter().map(notification).collect(),
    };
    let rules = Rule::ALL.iter().map(|rule| Descriptor {
        id: rule.to_string(),
        short_description: message(rule.title()),
        full_description: message(rule.text()),
        help: message(&format!("{}\n\nKernel: {}", rule.text(), rule.source())),
    });
    let driver = Driver { name: "klpbuild", version: env!("KLPBUILD_VERSION"), rules: rules.collect() };
    let run = Run { tool: Tool { driver }, invocations: [invocation], results: results.collect() };
    SarifLog { schema: SCHEMA, version: "2.1.0", runs: [run] }
}

fn message(text: &str) -> Message {
    Message { text: text.to_owned() }
}

fn outcome(start: &Path, livepatch: &Path, finding: &Finding) -> Outcome {
    let source = source(&finding.place).or_else(|| source(&finding.message));
    // The compiler ran where the livepatch is, or the file is not known.
    let beside = |file: &str| livepatch.parent().unwrap_or(Path::new("")).join(file);
    let source = source.map(|(file, line)| (beside(file), line));
    let physical_location = match source.filter(|(file, _)| start.join(file).is_file()) {
        Some((file, line)) => {
            PhysicalLocation { artifact_location: location(&file), region: Some(Region { start_line: line }) }
        }
        None => PhysicalLocation { artifact_location: location(livepatch), region: None },
    };
    let place = LogicalLocation { fully_qualified_name: finding.place.clone() };
    Outcome {
        rule_id: finding.rule.to_string(),
        rule_index: Rule::ALL.iter().position(|rule| *rule == finding.rule).unwrap_or_default(),
        level: match finding.level {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        },
        message: message(&format!("{}: {}; {}", finding.place, finding.message, finding.advice)),
        locations: [Location { physical_location, logical_locations: [place] }],
        analysis_target: location(livepatch),
    }
}

/// The file and line that a message has in parentheses, as in `(lp.c:12)`.
fn source(text: &str) -> Option<(&str, u64)> {
    text.split('(').skip(1).find_map(|part| {
        let (file, line) = part.split_once(')')?.0.rsplit_once(':')?;
        let is_file = !file.is_empty() && !file.contains([' ', ',', ';', ':']);
        Some((file, line.parse().ok().filter(|line| *line > 0)?)).filter(|_| is_file)
    })
}

/// A path as a URI reference (RFC 3986); a relative path is relative to the directory in which klpbuild was started.
fn location(path: &Path) -> ArtifactLocation {
    let mut uri = if path.is_absolute() { "file://".to_owned() } else { String::new() };
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    ArtifactLocation { uri }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_source_are_read_in_brackets() {
        assert_eq!(source("calls it, in .text+0x10 (lp.c:12)"), Some(("lp.c", 12)));
        assert_eq!(source("a (b) of (../lp/a.c:3) and more"), Some(("../lp/a.c", 3)));
        for text in ["in .text (no: 12)", "(:3)", "(lp.c:0)", "(lp.c:12", "lp.c:12"] {
            assert_eq!(source(text), None, "{text}");
        }
    }

    #[test]
    fn paths_are_uris() {
        assert_eq!(location(Path::new("a b/lp%1.ko")).uri, "a%20b/lp%251.ko");
        assert_eq!(location(Path::new("/ü.ko")).uri, "file:///%C3%BC.ko");
    }
}
