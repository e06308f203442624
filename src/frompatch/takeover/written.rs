// SPDX-License-Identifier: GPL-2.0-only
//! The new file of a livepatch, as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fs_err as fs;

use crate::frompatch::compile::Trees;
use crate::frompatch::takeover::needed::Taken;
use crate::frompatch::target::TargetKernel;
use crate::frompatch::tokens;
use crate::frompatch::units::Unit;
use crate::kernel::symbols::VMLINUX;

/// What a text of the file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The file, which does not compile as long as something is missing in it.
    File,
    /// To see what the compiler says: what stops it is left out.
    Probe,
}

/// What the file is made of.
#[derive(Debug, Default)]
pub(super) struct FileParts {
    licence: String,
    path: String,
    object: String,
    /// What KBUILD_MODNAME was for the kernel's own file.
    modname: String,
    functions: Vec<String>,
    front: String,
    body: String,
    copied: BTreeSet<String>,
    /// Whether THIS_MODULE has to mean the module that is patched.
    pub(super) has_module: bool,
    /// What could not be taken over, and why.
    pub(super) left: BTreeMap<String, String>,
    /// The compiler's first error about it, if there is one.
    pub(super) refused: Option<String>,
    /// By object: the symbols that are not exported, each with its position there.
    pub(super) annotated: BTreeMap<String, BTreeMap<String, u64>>,
}

impl FileParts {
    /// The new file from the parts `taken` of the file `raw`.
    pub(super) fn of(
        raw: &str,
        unit: &Unit,
        functions: &BTreeMap<String, String>,
        taken: Taken,
    ) -> FileParts {
        let first = raw.lines().next().filter(|line| line.contains("SPDX-License-Identifier"));
        let options = unit.recipe.options.iter();
        let modname = options.filter_map(|word| word.strip_prefix("-DKBUILD_MODNAME=")).next_back();
        FileParts {
            licence: first.unwrap_or("// SPDX-License-Identifier: GPL-2.0").to_owned(),
            path: unit.path.clone(),
            object: unit.recipe.object.clone(),
            modname: modname.unwrap_or_default().to_owned(),
            functions: functions.keys().cloned().collect(),
            front: taken.front,
            body: taken.body,
            copied: taken.copied,
            left: taken.left,
            ..FileParts::default()
        }
    }

    /// Notes on what was not taken over, one a line.
    pub(super) fn notes(&self) -> Vec<String> {
        let refused = self.refused.iter().map(|words| format!("it does not compile yet: {words}"));
        self.left
            .iter()
            .map(|(name, why)| format!("{name} is not taken over: {why}"))
            .chain(refused)
            .collect()
    }

    /// The text.
    pub(super) fn text(&self, target: &TargetKernel, purpose: Purpose) -> String {
        let mut text = format!("{}\n{}", self.licence, self.heading(target));
        if purpose == Purpose::File {
            for note in self.left.iter().map(|(name, why)| format!("{name} is not taken over: {why}")) {
                let _ = writeln!(text, "#error \"{}\"", note.replace(['"', '\\', '\n'], " "));
            }
        }
        if self.object == VMLINUX {
            let _ = write!(
                text,
                "\n/* As in the kernel itself, and not in a module: THIS_MODULE, and the name in what is printed. */\n\
                 #undef MODULE\n"
            );
        } else {
            text.push_str("\n/* The name in what is printed. */\n");
        }
        let _ =
            write!(text, "#undef KBUILD_MODNAME\n#define KBUILD_MODNAME {}\n\n{}", self.modname, self.front);
        text.push_str("\n#include \"klp_relocs.h\"\n");
        if self.has_module {
            let object = &self.object;
            let _ = write!(
                text,
                "\n/* The module that is patched, not this one. Weak: modpost asks for no version of it. */\n\
                 extern struct module klp_patched_module KLP_RELOC_SYMBOL({object}, {object}, __this_module) __weak;\n\
                 #undef THIS_MODULE\n#define THIS_MODULE (&klp_patched_module)\n"
            );
        }
        text.push('\n');
        text.push_str(&self.body);
        self.annotations(&mut text);
        text
    }

    fn heading(&self, target: &TargetKernel) -> String {
        let functions: Vec<String> = self.functions.iter().map(|name| format!("{name}()")).collect();
        let of = if self.object == VMLINUX {
            "the kernel".to_owned()
        } else {
            format!("the module {}", self.object)
        };
        let mut text = format!(
            "/*\n * Replaces {} in {of} of {},\n * as {} of its source has it: until it is changed, it does the same.\n",
            functions.join(" and "),
            target.release,
            self.path
        );
        if !self.copied.is_empty() {
            let copied: Vec<String> = self.copied.iter().map(|name| format!("{name}()")).collect();
            let _ = write!(
                text,
                " *\n * Copied, since the kernel has it only within others: {}.\n",
                copied.join(", ")
            );
        }
        for note in self.notes() {
            let _ = write!(text, " *\n * FILL IN: {}\n", note.replace("*/", "* /"));
        }
        text.push_str(" */\n");
        text
    }

    /// Adds annotations that locate the kernel's symbols that are not exported.
    fn annotations(&self, text: &mut String) {
        let named: BTreeSet<String> = tokens::words(&self.body).into_iter().map(str::to_owned).collect();
        let mut number = 0;
        for (object, names) in &self.annotated {
            let _ = write!(text, "\n/* Not exported, of {object}. */\n");
            let mut records = String::new();
            for (name, sympos) in names {
                if named.contains(name) {
                    let _ = writeln!(records, "\tKLP_SYMPOS({name}, {sympos}),");
                } else {
                    let _ = writeln!(text, "extern struct klp_any klp_ref_{number} __asm__(\"{name}\");");
                    let _ = writeln!(records, "\tKLP_SYMPOS(klp_ref_{number}, {sympos}),");
                    number += 1;
                }
            }
            let _ =
                write!(text, "static KLP_MODULE_RELOC({object}) klp_refs_{object}[] = {{\n{records}}};\n");
        }
    }
}

/// The compiler's options for the file: those that kbuild gives for the kernel's own file and not for every file.
pub(super) fn flags(unit: &Unit, trees: Trees<'_>) -> Vec<String> {
    let directory = unit.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut flags = vec![in_ksrc(directory)];
    for word in &unit.recipe.options {
        if let Some(named) = word.strip_prefix("-I") {
            let inside = fs::canonicalize(trees.objects.join(named)).ok();
            let inside = inside.as_deref().and_then(|path| path.strip_prefix(trees.source).ok()?.to_str());
            let inside = inside.filter(|path| !path.is_empty() && !is_common(path));
            flags.extend(inside.map(in_ksrc));
        } else if word.strip_prefix("-D").is_some_and(is_own) {
            flags.push(quoted(word));
        }
    }
    let mut seen = BTreeSet::new();
    flags.retain(|flag| seen.insert(flag.clone()));
    flags
}

fn in_ksrc(directory: &str) -> String {
    if directory.is_empty() { "-I$(KSRC)".to_owned() } else { format!("-I$(KSRC)/{directory}") }
}

/// Whether every file is compiled with a directory of headers.
fn is_common(directory: &str) -> bool {
    ["include", "include/uapi"].contains(&directory)
        || directory.starts_with("arch/")
            && (directory.ends_with("/include") || directory.ends_with("/include/uapi"))
}

/// Whether a macro is defined for this file, and not by kbuild for every file.
fn is_own(definition: &str) -> bool {
    const COMMON: [&str; 5] = ["KBUILD_", "__KBUILD_", "__KERNEL__", "MODULE", "CC_"];
    !COMMON.iter().any(|start| definition.starts_with(start)) && !definition.starts_with("CONFIG_")
}

/// A word of the command line, quoted for the shell in a makefile.
fn quoted(word: &str) -> String {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=./".contains(&byte));
    let word = word.replace('$', "$$").replace('#', "\\#");
    if is_plain { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
