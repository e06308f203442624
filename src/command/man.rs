// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild man`: the manual pages. The verbs' pages are made from --help; klpbuild(7), on the workflow, is written
//! by hand.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap_mangen::Man;
use fs_err as fs;

use crate::cli::{self, Definition, ManArgs, Options, SECTIONS};
use crate::command::asked;
use crate::host::exit::Exit;
use crate::host::{output, terminal, words};

/// The page on the workflow.
const WORKFLOW: &str = include_str!("../../man/klpbuild.7");

/// Writes the pages.
///
/// # Errors
/// A page cannot be written.
pub fn man(options: &Options, arguments: &ManArgs) -> Result<Exit> {
    let directory = asked::start(options)?.join(&arguments.pages);
    let pages = pages()?;
    for (name, text) in &pages {
        let section = directory.join(format!("man{}", name.rsplit('.').next().unwrap_or("1")));
        fs::create_dir_all(&section)?;
        let path = section.join(name);
        output::replace(&path, output::beside(&path), &[text]).map(drop)?;
    }
    if !options.quiet {
        let count = words::count(pages.len(), "page");
        terminal::tell(format_args!("{count} in {}", Path::new(&arguments.pages).display()));
    }
    Ok(Exit::Done)
}

/// All pages, each with the name of its file.
fn pages() -> Result<Vec<(String, String)>> {
    let mut whole = cli::command();
    whole.build();
    let mut pages =
        vec![("klpbuild.1".to_owned(), overview(&whole)?), ("klpbuild.7".to_owned(), WORKFLOW.to_owned())];
    for verb in whole.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        let name = format!("klpbuild-{}", verb.get_name());
        let examples = section("EXAMPLES", cli::examples(verb.get_name()));
        let nested = verb.get_subcommands().filter(|nested| nested.get_name() != "help");
        let nested: Vec<(String, String)> = nested
            .map(|nested| (format!("klpbuild {} {}", verb.get_name(), nested.get_name()), about(nested)))
            .collect();
        let nested = if nested.is_empty() { String::new() } else { section("COMMANDS", &nested) };
        let page = page(verb, &name, &format!("{nested}{examples}{}", see_also("klpbuild(1), klpbuild(7)")))?;
        pages.push((format!("{name}.1"), page));
    }
    Ok(pages)
}

/// The page of klpbuild itself: all verbs in their groups, and the sections that --help has below the options.
fn overview(whole: &Definition) -> Result<String> {
    let mut more = String::new();
    for (title, verbs) in cli::GROUPS {
        let lines: Vec<(String, String)> = (verbs.iter())
            .filter_map(|name| whole.find_subcommand(name))
            .map(|verb| (format!("klpbuild-{}(1)", verb.get_name()), about(verb)))
            .collect();
        more.push_str(&section(&format!("COMMANDS: {}", title.to_uppercase()), &lines));
    }
    for (title, lines) in SECTIONS {
        more.push_str(&section(&title.to_uppercase(), lines));
    }
    more.push_str(&see_also("klpbuild(7), the workflow of a livepatch; make(1), insmod(8)"));
    page(whole, "klpbuild", &more)
}

fn about(verb: &Definition) -> String {
    verb.get_about().map(ToString::to_string).unwrap_or_default()
}

/// A page: name, synopsis, description and options from the definition, and `more`.
fn page(definition: &Definition, name: &str, more: &str) -> Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(definition.clone().display_name(name).version(version))
        .title(name)
        .section("1")
        .date("")
        .source(format!("klpbuild {version}"))
        .manual("klpbuild");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    Ok(String::from_utf8(text).context("a page is not text")? + more)
}

/// A section with a list of terms and their meanings.
fn section(title: &str, lines: &[(impl AsRef<str>, impl AsRef<str>)]) -> String {
    let mut text = format!(".SH \"{title}\"\n");
    for (word, meaning) in lines {
        let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", escaped(word.as_ref()), escaped(meaning.as_ref()));
    }
    text
}

fn see_also(pages: &str) -> String {
    format!(".SH \"SEE ALSO\"\n{}\n", escaped(pages))
}

/// Text escaped for roff (groff_char(7)).
fn escaped(text: &str) -> String {
    let mut all = String::new();
    for character in text.chars() {
        match character {
            '\\' => all.push_str("\\e"),
            '-' => all.push_str("\\-"),
            '\'' => all.push_str("\\(aq"),
            '^' => all.push_str("\\(ha"),
            '~' => all.push_str("\\(ti"),
            '`' => all.push_str("\\(ga"),
            other => all.push(other),
        }
    }
    if all.starts_with('.') { format!("\\&{all}") } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_verb() {
        let pages = pages().unwrap();
        let text = |name: &str| &pages.iter().find(|(own, _)| own == name).unwrap().1;
        let verbs = cli::GROUPS.iter().flat_map(|(_, verbs)| *verbs);
        for verb in verbs {
            let page = text(&format!("klpbuild-{verb}.1"));
            assert!(page.contains(&format!("klpbuild\\-{verb} \\- ")) || page.contains("\\- "), "{page}");
            assert!(page.contains(".SH \"EXAMPLES\"\n.TP\n"), "{page}");
            assert!(text("klpbuild.1").contains(&format!("\\fBklpbuild\\-{verb}(1)\\fR\n")));
        }
        assert!(text("klpbuild-try.1").contains("\\-\\-timeout"));
        assert!(text("klpbuild.1").contains(".SH \"ENVIRONMENT\"\n.TP\n\\fBKDIR\\fR\n"));
    }

    #[test]
    fn what_roff_would_take_for_its_own_is_escaped() {
        assert_eq!(escaped(".klpbuild/ don't ~/a-b\\"), "\\&.klpbuild/ don\\(aqt \\(ti/a\\-b\\e");
    }
}
