// SPDX-License-Identifier: GPL-2.0-only
//! Colours: one palette, that of clap's own messages, for klpbuild's words and for compilers' messages.
//!
//! Whether to use them is decided for each stream: by `--color`, then by NO_COLOR, CLICOLOR_FORCE and CLICOLOR
//! (<https://bixense.com/clicolors>), then by whether it is a terminal with colours.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};

use anstyle::{AnsiColor, Style};
use regex::Regex;

use crate::host::words;

/// The meaning of a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hue {
    /// Something is wrong.
    Error,
    /// Something may be wrong.
    Warning,
    /// Something good to know.
    Note,
    /// All is well.
    Good,
    /// A file and line.
    Place,
}

impl Hue {
    fn style(self) -> Style {
        match self {
            Hue::Error => AnsiColor::Red.on_default().bold(),
            Hue::Warning => AnsiColor::Yellow.on_default().bold(),
            Hue::Note => AnsiColor::Cyan.on_default().bold(),
            Hue::Good => AnsiColor::Green.on_default(),
            Hue::Place => Style::new().bold(),
        }
    }

    /// `text` in this colour.
    pub fn on(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColorWhen {
    /// By the environment and the stream.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Sets when to use colours.
pub fn choose(when: ColorWhen) {
    CHOSEN.store(when as u8, Ordering::Relaxed);
}

/// Whether a stream gets colours; `is_terminal` says whether it is a terminal.
pub fn is_wanted(is_terminal: bool) -> bool {
    match CHOSEN.load(Ordering::Relaxed) {
        chosen if chosen == ColorWhen::Always as u8 => true,
        chosen if chosen == ColorWhen::Never as u8 => false,
        _ => by_environment(|name| std::env::var(name).ok(), is_terminal),
    }
}

fn by_environment(variable: impl Fn(&str) -> Option<String>, is_terminal: bool) -> bool {
    let value = |name: &str| variable(name).filter(|value| !value.is_empty());
    if value("NO_COLOR").is_some() {
        return false;
    }
    if value("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    is_terminal
        && value("CLICOLOR").as_deref() != Some("0")
        && value("TERM").is_some_and(|term| term != "dumb")
}

/// A line that begins with a file and a severity, as compilers, linkers, modpost and klpbuild itself print them.
static DIAGNOSTIC: LazyLock<Regex> = LazyLock::new(|| {
    words::pattern(
        r"^((?:[^\s:]+(?::\d+){0,2}: )*)(fatal error|error|warning|note|ERROR|WARNING)(:| [RS]\d+:)",
    )
});
/// make's last line about a command that failed.
static FAILED: LazyLock<Regex> = LazyLock::new(|| words::pattern(r"^(make(?:\[\d+\])?: )(\*\*\* .*)$"));
/// Escape sequences for colours in a program's output (SGR), and gcc's erasing to the end of the line after them
/// (EL).
static OWN: LazyLock<Regex> = LazyLock::new(|| words::pattern("\u{1b}\\[[0-9;]*[mK]"));

/// A line with its file and its severity in colour. A line that has colours already keeps them.
pub fn diagnostic(line: &str) -> String {
    if line.contains('\u{1b}') {
        return line.to_owned();
    }
    if let Some(found) = DIAGNOSTIC.captures(line) {
        let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
        let hue = match part(2) {
            "warning" | "WARNING" => Hue::Warning,
            "note" => Hue::Note,
            _ => Hue::Error,
        };
        let place = if part(1).is_empty() { String::new() } else { Hue::Place.on(part(1)) };
        let rest = line.get(part(0).len()..).unwrap_or_default();
        return format!("{place}{}{rest}", hue.on(&format!("{}{}", part(2), part(3))));
    }
    match FAILED.captures(line) {
        Some(found) => {
            let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
            format!("{}{}", part(1), Hue::Error.on(part(2)))
        }
        None => line.to_owned(),
    }
}

/// A line of another program: its own colours stay if colours are used; other control sequences are removed.
pub fn foreign(line: &str, is_coloured: bool) -> String {
    let plain = |text: &str| text.chars().filter(|character| !character.is_control()).collect::<String>();
    let mut kept = String::new();
    let mut last = 0;
    for found in OWN.find_iter(line) {
        kept.push_str(&plain(line.get(last..found.start()).unwrap_or_default()));
        if is_coloured {
            kept.push_str(found.as_str());
        }
        last = found.end();
    }
    kept.push_str(&plain(line.get(last..).unwrap_or_default()));
    if is_coloured && last > 0 {
        kept.push_str("\u{1b}[0m");
    }
    if is_coloured { diagnostic(&kept) } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_right() {
        for pattern in [&DIAGNOSTIC, &FAILED, &OWN] {
            assert!(!LazyLock::force(pattern).is_match("plain"));
        }
    }

    #[test]
    fn the_environment_is_heeded() {
        let by = |variables: &[(&str, &str)], is_terminal: bool| {
            let find =
                |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, v)| (*v).to_owned());
            by_environment(find, is_terminal)
        };
        assert!(by(&[("TERM", "xterm")], true) && !by(&[("TERM", "xterm")], false));
        assert!(!by(&[("TERM", "dumb")], true) && !by(&[], true));
        assert!(by(&[("CLICOLOR_FORCE", "1")], false) && !by(&[("CLICOLOR_FORCE", "0")], false));
        assert!(!by(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true));
        assert!(by(&[("NO_COLOR", ""), ("TERM", "xterm")], true));
        assert!(!by(&[("CLICOLOR", "0"), ("TERM", "xterm")], true));
    }

    #[test]
    fn places_and_severities_are_painted() {
        for (line, expected) in [
            ("klpbuild: error: no", "\u{1b}[1mklpbuild: \u{1b}[0m\u{1b}[1m\u{1b}[31merror:\u{1b}[0m no"),
            (
                "a/b.c:12:5: warning: x",
                "\u{1b}[1ma/b.c:12:5: \u{1b}[0m\u{1b}[1m\u{1b}[33mwarning:\u{1b}[0m x",
            ),
            ("lp.ko: error R4: x", "\u{1b}[1mlp.ko: \u{1b}[0m\u{1b}[1m\u{1b}[31merror R4:\u{1b}[0m x"),
            ("ERROR: modpost: x", "\u{1b}[1m\u{1b}[31mERROR:\u{1b}[0m modpost: x"),
            ("make[2]: *** [x] Error 1", "make[2]: \u{1b}[1m\u{1b}[31m*** [x] Error 1\u{1b}[0m"),
            ("an error: no", "an error: no"),
            ("\u{1b}[31merror: x", "\u{1b}[31merror: x"),
        ] {
            assert_eq!(diagnostic(line), expected, "{line}");
        }
    }

    #[test]
    fn other_programs_keep_their_colours_and_nothing_else() {
        let line = "\u{1b}[01m\u{1b}[Ka.c:1:\u{1b}[m\u{1b}[K x\u{1b}[2J\r\u{7}y";
        assert_eq!(foreign(line, true), "\u{1b}[01m\u{1b}[Ka.c:1:\u{1b}[m\u{1b}[K x[2Jy\u{1b}[0m");
        assert_eq!(foreign(line, false), "a.c:1: x[2Jy");
    }
}
