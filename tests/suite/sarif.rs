// SPDX-License-Identifier: GPL-2.0-only
//! Whether a log is one of the Static Analysis Results Interchange Format, as far as klpbuild writes it: a table of what the
//! standard's own schema (SARIF 2.1.0 with errata 01, sarif-schema-2.1.0.json) says of these objects and their fields.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a field has to be.
#[derive(Clone, Copy)]
enum Is {
    Text,
    /// A text that is a reference to a URI.
    Uri,
    /// One of these texts.
    Of(&'static [&'static str]),
    Bool,
    /// A whole number, not below this.
    Number(i64),
    /// An object of this name.
    Object(&'static str),
    /// Any number of objects of this name.
    Many(&'static str),
    /// Any number of objects of this name, of which no two are equal.
    Distinct(&'static str),
}

use Is::{Bool, Distinct, Many, Number, Object, Of, Text, Uri};

const LEVELS: Is = Of(&["none", "note", "warning", "error"]);

/// Each object: its name, the fields of which it has to have one, and all fields that it may have. No object may have
/// others (`additionalProperties`). Where several fields are required, there is a row for each.
type Fields = &'static [(&'static str, Is)];
const OBJECTS: &[(&str, &[&[&str]], Fields)] = &[
    (
        "log",
        &[&["version"], &["runs"]],
        &[("$schema", Uri), ("version", Of(&["2.1.0"])), ("runs", Many("run"))],
    ),
    (
        "run",
        &[&["tool"]],
        &[("tool", Object("tool")), ("invocations", Many("invocation")), ("results", Many("result"))],
    ),
    ("tool", &[&["driver"]], &[("driver", Object("toolComponent"))]),
    (
        "toolComponent",
        &[&["name"]],
        &[("name", Text), ("version", Text), ("rules", Distinct("reportingDescriptor"))],
    ),
    (
        "reportingDescriptor",
        &[&["id"]],
        &[
            ("id", Text),
            ("shortDescription", Object("multiformatMessageString")),
            ("fullDescription", Object("multiformatMessageString")),
            ("help", Object("multiformatMessageString")),
        ],
    ),
    ("multiformatMessageString", &[&["text"]], &[("text", Text), ("markdown", Text)]),
    (
        "invocation",
        &[&["executionSuccessful"]],
        &[
            ("executionSuccessful", Bool),
            ("exitCode", Number(i64::MIN)),
            ("toolExecutionNotifications", Many("notification")),
        ],
    ),
    ("notification", &[&["message"]], &[("message", Object("message")), ("level", LEVELS)]),
    ("message", &[&["text", "id"]], &[("text", Text), ("id", Text)]),
    (
        "result",
        &[&["message"]],
        &[
            ("ruleId", Text),
            ("ruleIndex", Number(-1)),
            ("level", LEVELS),
            ("message", Object("message")),
            ("locations", Many("location")),
            ("analysisTarget", Object("artifactLocation")),
        ],
    ),
    (
        "location",
        &[],
        &[
            ("physicalLocation", Object("physicalLocation")),
            ("logicalLocations", Distinct("logicalLocation")),
        ],
    ),
    (
        "physicalLocation",
        &[&["address", "artifactLocation"]],
        &[("artifactLocation", Object("artifactLocation")), ("region", Object("region"))],
    ),
    ("region", &[&["startLine", "charOffset", "byteOffset"]], &[("startLine", Number(1))]),
    ("artifactLocation", &[], &[("uri", Uri)]),
    ("logicalLocation", &[], &[("fullyQualifiedName", Text)]),
];

/// Holds a log against the table.
///
/// # Errors
/// The first fault.
pub(crate) fn check(log: &Value) -> Result<(), String> {
    object("log", log, "")
}

fn object(name: &str, value: &Value, place: &str) -> Result<(), String> {
    let fault = |what: String| Err(format!("{place}: {name}: {what}"));
    let Some((_, required, fields)) = OBJECTS.iter().find(|(other, ..)| *other == name) else {
        return fault("the table has no such object".to_owned());
    };
    let Some(all) = value.as_object() else { return fault(format!("{value} is no object")) };
    if let Some(missing) = required.iter().find(|choice| !choice.iter().any(|name| all.contains_key(*name))) {
        return fault(format!("it lacks {}", missing.join(" or ")));
    }
    for (key, value) in all {
        let Some((_, is)) = fields.iter().find(|(other, _)| other == key) else {
            return fault(format!("{key} is none of its fields"));
        };
        field(*is, value, &format!("{place}/{key}"))?;
    }
    Ok(())
}

fn field(is: Is, value: &Value, place: &str) -> Result<(), String> {
    let text = value.as_str();
    let items = || value.as_array().into_iter().flatten().enumerate();
    let is_right = match is {
        Text => text.is_some(),
        Of(texts) => text.is_some_and(|text| texts.contains(&text)),
        Uri => text.is_some_and(is_uri),
        Bool => value.is_boolean(),
        Number(least) => value.as_i64().is_some_and(|number| number >= least),
        Object(name) => return object(name, value, place),
        Many(_) => value.is_array(),
        Distinct(_) => {
            let all: Vec<String> = items().map(|(_, item)| item.to_string()).collect();
            value.is_array() && all.iter().collect::<BTreeSet<_>>().len() == all.len()
        }
    };
    if !is_right {
        return Err(format!("{place}: it may not be {value}"));
    }
    if let Many(name) | Distinct(name) = is {
        items().try_for_each(|(index, item)| object(name, item, &format!("{place}/{index}")))?;
    }
    Ok(())
}

/// Whether a text is a reference to a URI (RFC 3986): of its characters alone, and `%` before two hexadecimal digits.
fn is_uri(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let escapes = text.split('%').skip(1);
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    text.bytes().all(is_allowed) && escapes.into_iter().all(is_escape)
}

#[test]
fn faults_are_seen() {
    let right = serde_json::json!({
        "$schema": "https://x", "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "x", "rules": [{ "id": "R1" }, { "id": "R2" }] } },
            "invocations": [{ "executionSuccessful": true, "exitCode": 0 }],
            "results": [{
                "ruleIndex": 1, "level": "note", "message": { "text": "m" },
                "locations": [{ "physicalLocation": { "artifactLocation": { "uri": "a%20b" }, "region": { "startLine": 1 } } }],
            }],
        }],
    });
    check(&right).unwrap();
    let result = "/runs/0/results/0";
    let other = |pointer: &str, value: Value| {
        let mut log = right.clone();
        *log.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        check(&log).unwrap_err()
    };
    for (pointer, value, words) in [
        ("/version", "2.2.0".into(), "/version: it may not be"),
        ("/runs/0/tool", serde_json::json!({}), "tool: it lacks driver"),
        ("/runs/0/tool/driver/rules/1/id", "R1".into(), "/rules: it may not be"),
        ("/runs/0/invocations/0/exitCode", "0".into(), "/exitCode: it may not be \"0\""),
        (&format!("{result}/level"), "notice".into(), "/level: it may not be \"notice\""),
        (
            &format!("{result}/message"),
            serde_json::json!({ "markdown": "m" }),
            "message: it lacks text or id",
        ),
        (&format!("{result}/locations/0"), serde_json::json!({ "line": 1 }), "line is none of its fields"),
        (
            &format!("{result}/locations/0/physicalLocation/region/startLine"),
            0.into(),
            "/startLine: it may not be 0",
        ),
        (
            &format!("{result}/locations/0/physicalLocation/artifactLocation/uri"),
            "a b".into(),
            "/uri: it may not be \"a b\"",
        ),
    ] {
        let fault = other(pointer, value);
        assert!(fault.contains(words), "{pointer}: {fault}");
    }
}
