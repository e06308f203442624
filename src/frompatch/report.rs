// SPDX-License-Identifier: GPL-2.0-only
//! The report on a livepatch that was made from patches: for people, and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::frompatch::assembler::callbacks::Moment;
use crate::host::words::count;

/// The report on a livepatch that was made.
#[derive(Debug, Default, Serialize)]
pub struct LivepatchReport {
    /// The livepatch's name.
    pub name: String,
    /// Its file, once it exists.
    pub livepatch: Option<PathBuf>,
    /// The release of the kernel it is for.
    pub kernel: String,
    /// The build ID of the vmlinux that the code was compared with.
    pub build_id: Option<String>,
    /// The patches.
    pub patches: Vec<String>,
    /// Whether it replaces all loaded livepatches.
    pub replaces_all: bool,
    /// The files that were compiled.
    pub compiled: Vec<CompiledFile>,
    /// The functions that are replaced.
    pub changed: Vec<Changed>,
    /// The functions that the kernel calls when it enables or disables the livepatch.
    pub callbacks: Vec<ReportedCallback>,
    /// Functions and data that the kernel does not have.
    pub new: Vec<NewSymbol>,
    /// The symbols that it refers to and that are not exported.
    pub references: Vec<UnexportedReference>,
    /// What became of each change in the patches.
    pub hunks: Vec<Accounted>,
    /// Files in the patches that are not part of this kernel, with the reason.
    pub ignored: Vec<(String, String)>,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// How many functions of the unpatched files are equal to the kernel's code.
    pub equal: usize,
    /// The time it took, in seconds.
    pub seconds: f64,
}

/// A file that was compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompiledFile {
    /// Its path.
    pub path: String,
    /// The object that it is a part of.
    pub object: String,
}

/// A function that is replaced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Changed {
    /// The object that has it.
    pub object: String,
    /// Its name.
    pub name: String,
    /// Its position.
    pub sympos: u64,
    /// The source file that defines it.
    pub file: String,
    /// Why it changed.
    pub why: String,
}

/// A function that the kernel calls before or after it patches or unpatches an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ReportedCallback {
    /// The object for which it is called.
    pub object: String,
    /// When it is called: the name in struct klp_callbacks.
    pub moment: Moment,
    /// Its name.
    pub name: String,
    /// The source file that defines it.
    pub file: String,
}

/// A function or variable that the kernel does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NewSymbol {
    /// Its name.
    pub name: String,
    /// `function` or `data`.
    pub kind: &'static str,
    /// The source file that defines it.
    pub file: String,
}

/// A reference to a symbol that is not exported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnexportedReference {
    /// The object that has it.
    pub object: String,
    /// Its name there.
    pub name: String,
    /// Its position there.
    pub sympos: u64,
    /// The file whose code refers to it.
    pub file: String,
}

/// What became of a group of changed lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accounted {
    /// The file.
    pub file: String,
    /// The first line, before the patch.
    pub line: usize,
    /// The functions and data that it changes.
    pub changes: Vec<String>,
    /// Why it has no effect, if so.
    pub no_effect: Option<String>,
}

impl Accounted {
    /// File and line, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

impl LivepatchReport {
    /// The report for people, line by line.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |word: &str, what: String| {
            let _ = writeln!(text, "  {word:<10} {what}");
        };
        for file in &self.compiled {
            line("compiled", format!("{} ({})", file.path, file.object));
        }
        for changed in &self.changed {
            let position = position(changed.sympos);
            line("replaced", format!("{}{position} of {}: {}", changed.name, changed.object, changed.why));
        }
        if self.replaces_all {
            line("replaced", "all other livepatches that are loaded when it is (--replace)".to_owned());
        }
        for callback in &self.callbacks {
            let ReportedCallback { object, moment, name, file } = callback;
            line("callback", format!("{moment} of {object}: {name} ({file})"));
        }
        for new in &self.new {
            line("new", format!("{} {} ({})", new.kind, new.name, new.file));
        }
        for reference in self.references_once() {
            let position = position(reference.sympos);
            line("refers to", format!("{}{position} of {}", reference.name, reference.object));
        }
        for hunk in &self.hunks {
            if let Some(why) = &hunk.no_effect {
                line("no effect", format!("{}: {why}", hunk.place()));
            }
        }
        for (file, why) in &self.ignored {
            line("no effect", format!("{file}: {why}"));
        }
        for note in &self.notes {
            line("note", note.clone());
        }
        text
    }

    fn references_once(&self) -> Vec<&UnexportedReference> {
        let by_symbol: BTreeMap<_, &UnexportedReference> =
            self.references.iter().map(|one| ((&one.object, &one.name, one.sympos), one)).collect();
        by_symbol.into_values().collect()
    }

    /// The last line: the livepatch's file, as seen from the directory `current`.
    pub fn closing(&self, current: &Path) -> String {
        let livepatch = self.livepatch.as_deref().unwrap_or(Path::new(""));
        let place = livepatch.strip_prefix(current).unwrap_or(livepatch).display();
        format!(
            "{place}: {} replaced, {} of the unpatched files equal to the kernel's; {:.1} s",
            count(self.changed.len(), "function"),
            count(self.equal, "function"),
            self.seconds
        )
    }
}

fn position(sympos: u64) -> String {
    if sympos == 0 { String::new() } else { format!(",{sympos}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_out_of_the_text() {
        let text = |text: &str| text.to_owned();
        let reference = |file: &str| UnexportedReference {
            object: text("vmlinux"),
            name: text("kmem"),
            sympos: 2,
            file: text(file),
        };
        let report = LivepatchReport {
            compiled: vec![CompiledFile { path: text("fs/a.c"), object: text("vmlinux") }],
            changed: vec![Changed {
                object: text("vmlinux"),
                name: text("f"),
                sympos: 0,
                file: text("fs/a.c"),
                why: text("its own text"),
            }],
            new: vec![NewSymbol { name: text("g"), kind: "function", file: text("fs/a.c") }],
            callbacks: vec![ReportedCallback {
                object: text("vmlinux"),
                moment: "pre_patch",
                name: text("h"),
                file: text("fs/a.c"),
            }],
            references: vec![reference("fs/a.c"), reference("fs/b.c")],
            hunks: vec![Accounted {
                file: text("fs/a.c"),
                line: 7,
                changes: vec![],
                no_effect: Some(text("a comment")),
            }],
            ignored: vec![(text("MAINTAINERS"), text("no part of the kernel"))],
            notes: vec![text("think")],
            ..LivepatchReport::default()
        };
        assert_eq!(
            report.text(),
            "  compiled   fs/a.c (vmlinux)\n  replaced   f of vmlinux: its own text\n  callback   pre_patch of vmlinux: h (fs/a.c)\n  new        function g (fs/a.c)\n  \
             refers to  kmem,2 of vmlinux\n  no effect  fs/a.c:7: a comment\n  no effect  MAINTAINERS: no part of the \
             kernel\n  note       think\n"
        );
    }
}
