// SPDX-License-Identifier: GPL-2.0-only
//! The account of a livepatch as a page for a browser, which a reviewer can read, keep, and pass on.

use std::fmt::Write as _;

use crate::command::show::compared;
use crate::command::show::compared::LineFate;
use crate::command::show::tree;
use crate::command::show::trial;
use crate::command::show::trial::Trial;
use crate::host::html::{escaped, escaped_line, page};
use crate::host::words::count;
use crate::livepatch::account::{
    Defined, LivepatchAccount, LivepatchFunction, OutsideReference, Patched, ReplacementAccount, SourcePlace,
    SourceText, VerifyVerdict,
};
use crate::livepatch::verify::findings::Severity;

/// The styles of this page, in addition to those of all pages.
const STYLE: &str = "\
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 0.75rem; }
.side { min-width: 0; }
.source { border: 1px solid var(--line); border-radius: 6px; background: var(--page); padding: 0.4rem 0; }
.source code { display: block; width: max-content; min-width: 100%; }
.source span { display: grid; grid-template-columns: 4.5em max-content; padding-right: 0.75rem; white-space: pre; min-height: 1.5em; } \
.source b { padding-right: 1em; text-align: right; font-weight: 400; color: var(--faint); user-select: none; }
.source .added { background: var(--added); } .source .gone { background: var(--gone); }
.one { padding: 0.5rem 0; border-top: 1px solid var(--line); }
.one:first-child { border-top: 0; padding-top: 0; }
.one .uses, .one .same { padding-left: 1.1rem; font-size: 0.92em; }
nav a { margin-right: 1rem; color: var(--link); }
";

/// The page.
pub(super) fn of(account: &LivepatchAccount, trial: Option<&Trial>) -> String {
    let mut body = String::new();
    head(account, trial.is_some(), &mut body);
    for (number, object) in account.objects.iter().enumerate() {
        patched(number, object, &mut body);
    }
    if !account.other.is_empty() {
        body.push_str("<h2 id=\"other\">Other code and data of the livepatch</h2>\n<div class=\"card\">\n");
        references(&account.other, &mut body);
        body.push_str("</div>\n");
    }
    findings(account, &mut body);
    trial.iter().for_each(|trial| trial.add_to(&mut body));
    if !account.unknown.is_empty() {
        body.push_str("<h2 id=\"unknown\">Not known</h2>\n<ul class=\"card\">\n");
        for one in &account.unknown {
            let _ = writeln!(body, "<li class=\"one\">{}</li>", escaped(one));
        }
        body.push_str("</ul>\n");
    }
    body.push_str(
        "<footer>Made by klpbuild show. Source lines are those of the files as they were when this page was made; whether \
         they are what was compiled, nothing tells.</footer>\n",
    );
    page(&format!("Livepatch {}", account.name), &[STYLE, trial::STYLE].concat(), &body)
}

/// The verdict in one word, and its style.
fn verdict(account: &LivepatchAccount) -> (&'static str, &'static str) {
    match account.verdict {
        VerifyVerdict::Correct => ("correct", "good"),
        VerifyVerdict::Errors => ("not correct", "bad"),
        VerifyVerdict::Unchecked => ("not checked", "warn"),
    }
}

fn head(account: &LivepatchAccount, is_tried: bool, body: &mut String) {
    let (word, look) = verdict(account);
    let _ = writeln!(
        body,
        "<h1>{} <span class=\"badge {look}\">{word}</span></h1>\n<p class=\"faint\">{}</p>",
        escaped(&account.name),
        escaped(account.description.as_deref().unwrap_or("a livepatch without a description"))
    );
    body.push_str("<nav><p>");
    for (number, object) in account.objects.iter().enumerate() {
        let _ = write!(body, "<a href=\"#object-{number}\">{}</a>", escaped(&object.name));
    }
    let others = [
        (!account.other.is_empty(), "other", "other code"),
        (true, "findings", "findings"),
        (is_tried, "trial", "trial"),
        (!account.unknown.is_empty(), "unknown", "not known"),
    ];
    for (_, id, text) in others.into_iter().filter(|(is_there, ..)| *is_there) {
        let _ = write!(body, "<a href=\"#{id}\">{text}</a>");
    }
    body.push_str("</p></nav>\n<dl class=\"facts\">\n");
    let mut facts: Vec<(&str, String)> = vec![("File", code(&account.file))];
    facts.extend(account.version.as_deref().map(|version| ("Version", escaped(version))));
    facts.extend(account.license.as_deref().map(|license| ("Licence", escaped(license))));
    let magic = account.vermagic.as_deref().map_or("it does not say".to_owned(), |magic| code(magic.trim()));
    facts.push(("Compiled for", magic));
    if !account.is_livepatch {
        let text =
            "<span class=\"bad\">it does not say that it is a livepatch (livepatch=Y in .modinfo)</span>";
        facts.push(("Kind", text.to_owned()));
    }
    let signed = "there is one: whose it is, and whether it is good, was not looked at";
    facts.push(("Signature", if account.is_signed { signed } else { "none" }.to_owned()));
    for one in &account.built_for {
        let look = match one.at_hand.as_str() {
            "the same" => "good",
            "another build" => "bad",
            _ => "warn",
        };
        let at_hand = format!("<span class=\"{look}\">at hand: {}</span>", escaped(&one.at_hand));
        let at_hand = if account.kernel.is_some() { at_hand } else { String::new() };
        let build = code(&format!("{}:{}", one.kind, one.value));
        facts.push(("Resolved with", format!("{} {build} {at_hand}", escaped(&one.object))));
    }
    if account.built_for.is_empty() {
        facts.push((
            "Resolved with",
            "<span class=\"warn\">it does not say with which builds</span>".to_owned(),
        ));
    }
    facts.push((
        "Kernel at hand",
        match &account.kernel {
            None => "<span class=\"warn\">none</span>".to_owned(),
            Some(kernel) => {
                let other = "<span class=\"bad\">another release than it was compiled for</span>";
                format!(
                    "{} {} {}",
                    escaped(kernel.release.as_deref().unwrap_or("a release that is not known")),
                    kernel.vmlinux.as_deref().map(code).unwrap_or_default(),
                    if kernel.is_other_release { other } else { "" }
                )
            }
        },
    ));
    for (term, text) in facts {
        let _ = writeln!(body, "<dt>{term}</dt><dd>{text}</dd>");
    }
    body.push_str("</dl>\n");
}

fn patched(number: usize, object: &Patched, body: &mut String) {
    let _ = writeln!(
        body,
        "<h2 id=\"object-{number}\">{}: {} replaced</h2>",
        escaped(&object.name),
        count(object.functions.len(), "function")
    );
    object.functions.iter().for_each(|function| replaced(function, body));
    if !object.callbacks.is_empty() {
        body.push_str("<div class=\"card\"><h3>Callbacks</h3>\n<ul>\n");
        for callback in &object.callbacks {
            let _ = writeln!(body, "<li class=\"one\">{}</li>", new(callback));
        }
        body.push_str("</ul></div>\n");
    }
}

fn replaced(function: &ReplacementAccount, body: &mut String) {
    let size = |size: Option<u64>| size.map_or("a size that is not known".to_owned(), tree::bytes);
    let old = function.old.as_ref();
    let _ = writeln!(
        body,
        "<div class=\"card\">\n<h3>{}</h3>\n<dl class=\"facts\">\n<dt>Before</dt><dd>{}</dd>\n<dt>After</dt><dd>{}</dd>\n\
         <dt>Position</dt><dd>{}</dd>\n<dt>Size</dt><dd>{} before, {} after</dd>\n</dl>",
        code(&function.name),
        old.map_or("<span class=\"warn\">where it is is not known</span>".to_owned(), definition),
        new(&function.new),
        escaped(&function.position),
        size(old.and_then(|old| old.size)),
        size(function.new.size),
    );
    namesakes(&function.namesakes, body);
    sources(old.and_then(|old| old.source.as_ref()), function.new.source.as_ref(), body);
    body.push_str("<h4>Refers to</h4>\n");
    if function.references.is_empty() {
        body.push_str("<p class=\"faint\">nothing beyond the livepatch</p>\n");
    }
    references(&function.references, body);
    body.push_str("</div>\n");
}

/// The source before and after, side by side if there is room.
fn sources(old: Option<&SourcePlace>, new: Option<&SourcePlace>, body: &mut String) {
    let text = |place: Option<&SourcePlace>| place.and_then(|place| place.text.clone());
    let (before, after) = (text(old), text(new));
    let lines = |text: &Option<SourceText>| -> Vec<String> {
        text.iter().flat_map(|text| text.text.lines()).map(str::to_owned).collect()
    };
    let (old_lines, new_lines) = (lines(&before), lines(&after));
    let is_both = before.is_some() && after.is_some();
    let (gone, added) = match is_both {
        true => compared::fates(&old_lines, &new_lines),
        false => (vec![LineFate::Stays; old_lines.len()], vec![LineFate::Stays; new_lines.len()]),
    };
    body.push_str("<div class=\"sides\">\n");
    let sides = [
        ("Source before", old, before, old_lines, gone, "gone"),
        ("Source after", new, after, new_lines, added, "added"),
    ];
    for (heading, place, text, lines, fates, look) in sides {
        let _ = writeln!(body, "<div class=\"side\"><h4>{heading}</h4>");
        match text {
            None => {
                let reason = match place {
                    Some(_) => "its file is not at hand, or was changed since",
                    None => "debugging information does not tell where it is",
                };
                let _ = writeln!(body, "<p class=\"faint\">Not known: {reason}.</p>");
            }
            Some(text) => {
                body.push_str("<pre class=\"source\"><code>");
                for ((line, fate), number) in lines.iter().zip(fates).zip(text.first..) {
                    let class =
                        if fate == LineFate::Stays { String::new() } else { format!(" class=\"{look}\"") };
                    let _ = write!(body, "<span{class}><b>{number}</b>{}</span>", escaped_line(line));
                }
                body.push_str("</code></pre>\n");
            }
        }
        body.push_str("</div>\n");
    }
    body.push_str("</div>\n");
}

fn references(all: &[OutsideReference], body: &mut String) {
    let (own, compilers): (Vec<&OutsideReference>, Vec<&OutsideReference>) =
        all.iter().partition(|one| one.kind != "exported" || !tree::is_compilers(&one.name));
    body.push_str("<ul>\n");
    for one in own {
        reference(one, body);
    }
    if !compilers.is_empty() {
        let names: Vec<String> = compilers.iter().map(|one| code(&one.name)).collect();
        let _ = writeln!(body, "<li class=\"one faint\">What the compiler calls: {}</li>", names.join(", "));
    }
    body.push_str("</ul>\n");
}

fn reference(one: &OutsideReference, body: &mut String) {
    let object = one.object.as_deref().map(escaped);
    let (word, look, rest) = match (one.kind, object) {
        ("livepatch", Some(object)) => {
            ("livepatch relocation", "", format!("of {object}{}", escaped(&tree::written(&one.uses))))
        }
        ("exported", Some(object)) => ("exported", "good", format!("by {object}")),
        ("exported", None) => ("exported", "warn", "by an object that is not known".to_owned()),
        _ => ("unresolved", "bad", "nothing exports it".to_owned()),
    };
    let _ = writeln!(
        body,
        "<li class=\"one\">{} <span class=\"badge {look}\">{word}</span> {rest}",
        code(&one.name)
    );
    if let Some(defined) = &one.defined {
        let _ = writeln!(body, "<p>{}</p>", definition(defined));
    }
    if let Some(position) = &one.position {
        let _ = writeln!(body, "<p>{}</p>", escaped(position));
    }
    body.push_str("<ul class=\"uses faint\">\n");
    for used in &one.uses {
        let source = used.source.as_deref().map(|line| format!(", {}", code(line))).unwrap_or_default();
        let _ = writeln!(body, "<li>{} {}{source}</li>", code(&used.place), used.how);
    }
    body.push_str("</ul>\n");
    namesakes(&one.namesakes, body);
    body.push_str("</li>\n");
}

fn namesakes(all: &[Defined], body: &mut String) {
    if all.is_empty() {
        return;
    }
    body.push_str("<h4>All of this name</h4>\n<ul class=\"same\">\n");
    for one in all {
        let position = match one.position {
            Some(position) => format!("{position} of {}", one.total),
            None => "not seen by the kernel".to_owned(),
        };
        let (mark, class) = if one.is_meant {
            (" <span class=\"badge good\">meant</span>", "")
        } else {
            ("", " class=\"faint\"")
        };
        let _ = writeln!(body, "<li{class}>{position}: {}{mark}</li>", definition(one));
    }
    body.push_str("</ul>\n");
}

fn findings(account: &LivepatchAccount, body: &mut String) {
    let (word, look) = verdict(account);
    let _ = writeln!(
        body,
        "<h2 id=\"findings\">What verify finds <span class=\"badge {look}\">{word}</span></h2>"
    );
    if account.findings.is_empty() {
        let text = match account.verdict {
            VerifyVerdict::Unchecked => "It could not be checked: see below.",
            _ => "Nothing: it keeps the rules, and fits the kernel at hand.",
        };
        let _ = writeln!(body, "<p class=\"faint\">{text}</p>");
        return;
    }
    body.push_str("<ul class=\"card\">\n");
    for finding in &account.findings {
        let (word, look) = match finding.level {
            Severity::Error => ("error", "bad"),
            Severity::Warning => ("warning", "warn"),
            Severity::Note => ("note", "faint"),
        };
        let _ = writeln!(
            body,
            "<li class=\"one\"><span class=\"badge {look}\">{word} {}</span> {}\n<p>{}</p>\n<p class=\"faint\">{}; {}</p></li>",
            finding.rule,
            code(&finding.place),
            escaped(&finding.message),
            escaped(finding.rule.title()),
            escaped(&finding.advice)
        );
    }
    body.push_str("</ul>\n");
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

fn definition(defined: &Defined) -> String {
    let kind = defined.kind.as_deref().map(|kind| format!(" ({})", escaped(kind))).unwrap_or_default();
    format!("{}{kind}", code(&tree::definition(defined)))
}

fn new(new: &LivepatchFunction) -> String {
    code(&tree::new(new))
}
