// SPDX-License-Identifier: GPL-2.0-only
//! MAKEFLAGS: what a klpbuild inherits from the make whose recipe runs it.
//!
//! Its form is GNU make's: single-letter flags without dashes first, then options, then ` -- ` and the
//! variables of the command line, with blanks and backslashes escaped and `$` doubled.

use std::path::Path;

use crate::host::make;
use crate::host::make::variable::Variable;

/// The settings of an outer make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherited {
    /// The variables of the outer command line.
    pub variables: Vec<Variable>,
    /// `-n`: nothing may be run.
    pub dry_run: bool,
    /// `-j` without a jobserver: the user's own option, for the makes below.
    pub has_jobs: bool,
    /// How the outer make shares jobs.
    pub jobserver: Jobserver,
    /// Whether the jobserver is a named pipe, as from GNU make 4.4 on.
    is_fifo: bool,
    /// MAKEFLAGS without the words that name a jobserver; only if they have to be removed.
    without_jobserver: String,
}

/// The outer make's jobserver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Jobserver {
    /// There is none.
    #[default]
    None,
    /// It can be used.
    Usable,
    /// The outer make has one, but the recipe does not begin with `+`.
    Closed,
    /// The outer make (4.4 and later) has a named pipe, which the make in PATH does not know.
    Unknown,
}

impl Inherited {
    /// Reads the settings from the environment.
    pub fn from_env() -> Inherited {
        let flags = std::env::var("MAKEFLAGS").unwrap_or_default();
        let is_open = |fd: &str| Path::new(&format!("/proc/self/fd/{fd}")).exists();
        let mut inherited = Inherited::parse(&flags, is_open);
        if inherited.is_fifo && inherited.jobserver == Jobserver::Usable && !make::knows_fifos() {
            inherited.jobserver = Jobserver::Unknown;
        }
        inherited
    }

    /// MAKEFLAGS for a make that must not look for the jobserver.
    pub fn without_jobserver(&self) -> &str {
        &self.without_jobserver
    }

    /// Reads MAKEFLAGS; `is_open` tells whether a file descriptor is open.
    pub fn parse(flags: &str, is_open: impl Fn(&str) -> bool) -> Inherited {
        let mut inherited = Inherited::default();
        let mut words = split(flags).into_iter();
        let mut kept = Vec::new();
        let mut first = true;
        for (raw, word) in words.by_ref() {
            if word == "--" {
                kept.push(raw);
                break;
            }
            // make writes letters without a dash; a user may have written one. Other options take words: `-Onone`.
            let letters = word.strip_prefix('-').unwrap_or(&word);
            let is_letters = first && letters.bytes().all(|letter| b"abBdeEikLmnpqrRsStvw".contains(&letter));
            inherited.dry_run |= is_letters && letters.contains('n');
            first = false;
            inherited.has_jobs |= word.starts_with("-j") || word.starts_with("--jobs");
            if let Some(auth) = jobserver_auth(&word) {
                inherited.is_fifo = auth.starts_with("fifo:");
                inherited.jobserver =
                    if is_usable(auth, &is_open) { Jobserver::Usable } else { Jobserver::Closed };
            } else if word.contains('=') && !word.starts_with('-') {
                inherited.variables.extend(Variable::parse(&word));
                kept.push(raw);
            } else if !(word.starts_with("-j") || word.starts_with("--jobs")) {
                kept.push(raw);
            }
        }
        for (raw, word) in words {
            inherited.variables.extend(Variable::parse(&word));
            kept.push(raw);
        }
        inherited.has_jobs &= inherited.jobserver == Jobserver::None;
        // make takes the first word for letters: a variable must not become the first word.
        let letters = if flags.starts_with(' ') { " " } else { "" };
        inherited.without_jobserver = format!("{letters}{}", kept.join(" "));
        inherited
    }
}

/// `R,W` or `fifo:PATH` of `--jobserver-auth=` (`--jobserver-fds=` before GNU make 4.2).
fn jobserver_auth(word: &str) -> Option<&str> {
    word.strip_prefix("--jobserver-auth=").or_else(|| word.strip_prefix("--jobserver-fds="))
}

fn is_usable(auth: &str, is_open: impl Fn(&str) -> bool) -> bool {
    match (auth.strip_prefix("fifo:"), auth.split_once(',')) {
        (Some(path), _) => Path::new(path).exists(),
        (None, Some((read, write))) => is_open(read) && is_open(write),
        (None, None) => false,
    }
}

/// The words of MAKEFLAGS, as they are and unescaped.
fn split(flags: &str) -> Vec<(String, String)> {
    let mut words = Vec::new();
    let (mut raw, mut word) = (String::new(), String::new());
    let mut characters = flags.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => {
                if !raw.is_empty() {
                    words.push((std::mem::take(&mut raw), std::mem::take(&mut word)));
                }
                continue;
            }
            '\\' => {
                raw.push('\\');
                if let Some(next) = characters.next() {
                    raw.push(next);
                    word.push(next);
                }
                continue;
            }
            '$' if characters.peek() == Some(&'$') => {
                characters.next();
                raw.push('$');
            }
            _ => {}
        }
        raw.push(character);
        word.push(character);
    }
    if !raw.is_empty() {
        words.push((raw, word));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(inherited: &Inherited) -> Vec<&str> {
        inherited.variables.iter().map(Variable::word).collect()
    }

    #[test]
    fn words_of_a_real_make() {
        // As GNU make 4.3 exports it for: make -k -j4 KCFLAGS='-g -Wall' M='$x'
        let flags = r"k -j4 --jobserver-auth=3,4 -- M=$$x KCFLAGS=-g\ -Wall";
        let inherited = Inherited::parse(flags, |_| true);
        assert_eq!(words(&inherited), ["M=$x", "KCFLAGS=-g -Wall"]);
        assert_eq!(inherited.jobserver, Jobserver::Usable);
        assert!(!inherited.dry_run);
        assert_eq!(Inherited::parse(flags, |_| false).jobserver, Jobserver::Closed);
        assert_eq!(inherited.without_jobserver(), r"k -- M=$$x KCFLAGS=-g\ -Wall");
    }

    #[test]
    fn without_flags_there_is_nothing() {
        assert_eq!(Inherited::parse("", |_| true), Inherited::default());
        assert_eq!(words(&Inherited::parse(" -- V=1", |_| true)), ["V=1"]);
        assert!(Inherited::parse("kn", |_| true).dry_run);
        assert!(Inherited::parse("-n", |_| true).dry_run);
        assert!(Inherited::parse("-j8", |_| true).has_jobs);
        assert!(!Inherited::parse(" -j8 --jobserver-auth=3,4", |_| true).has_jobs);
        assert!(!Inherited::parse(" --no-print-directory", |_| true).dry_run);
        for flags in [" -Oline -j2 --jobserver-auth=3,4", "-Onone", " -I include", "k -Oline", "-linefeed"] {
            assert!(!Inherited::parse(flags, |_| true).dry_run, "{flags}");
        }
    }
}
