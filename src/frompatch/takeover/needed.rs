// SPDX-License-Identifier: GPL-2.0-only
//! What functions need of their file: types and macros unchanged, declarations of what the kernel has a name for, and
//! copies of what it has none for.

use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::system_call;
use crate::frompatch::takeover::active::directive;
use crate::frompatch::takeover::pieces::{DeclaredNames, PieceKind, SourcePiece, What, declared, pieces};
use crate::frompatch::takeover::rewritten::{self, KernelVariable};
use crate::frompatch::tokens::{self, words};

/// What the kernel's code tells of the unit.
#[derive(Debug, Default)]
pub(super) struct UnitInKernel {
    /// The kernel's functions of the unit that have a usable name.
    pub(super) functions: BTreeSet<String>,
    /// The kernel's variables and constants of the unit that have a usable name, by their names in C.
    pub(super) data: BTreeMap<String, KernelVariable>,
    /// By function: the statics that its code uses, including those of inlined functions.
    pub(super) locals: BTreeMap<String, BTreeMap<String, KernelVariable>>,
}

/// The parts of the new file.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The text before the functions, up to the last include.
    pub(super) front: String,
    /// The text after it.
    pub(super) body: String,
    /// What could not be taken over: the name, and why.
    pub(super) left: BTreeMap<String, String>,
    /// Functions that were copied.
    pub(super) copied: BTreeSet<String>,
    /// Functions of `wanted` that the text does not define.
    pub(super) missing: Vec<String>,
}

/// Takes functions over: `active` is the file without the lines that are configured out, `expanded` its lines after
/// the preprocessor, and `wanted` has the new name of each function.
pub(super) fn take(
    active: &str,
    expanded: &BTreeMap<usize, String>,
    wanted: &BTreeMap<String, String>,
    known: &UnitInKernel,
) -> Taken {
    let file = File::of(active, expanded, wanted, known);
    let mut taken = Taken::default();
    let makes = |entry: &Entry<'_>, name: &str| {
        entry.target.as_deref() == Some(name)
            || entry.target.is_some() && system_call::makes(entry.piece.head(), name)
    };
    let is_defined = |name: &&String| file.entries.iter().any(|entry| makes(entry, name));
    taken.missing = wanted.keys().filter(|name| !is_defined(name)).cloned().collect();
    let is_directive =
        |entry: &Entry<'_>| !matches!(entry.piece.kind, PieceKind::Function | PieceKind::Statement);
    let first = file.entries.iter().position(|entry| !is_directive(entry)).unwrap_or(file.entries.len());
    let is_include = |entry: &Entry<'_>| entry.piece.kind == PieceKind::Include;
    let last_include = file.entries.iter().take(first).rposition(is_include);
    let is_front = |index: usize| last_include.is_some_and(|last| index <= last);
    // A macro that a later header needs.
    let is_for_include = |index: usize| {
        let mut rest = file.entries.iter().skip(index).take_while(|entry| is_directive(entry));
        rest.any(is_include)
    };
    let mut chosen: BTreeMap<usize, String> = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut waiting: Vec<usize> = Vec::new();
    for (index, entry) in file.entries.iter().enumerate() {
        let is_kept = match entry.piece.kind {
            PieceKind::Include | PieceKind::Directive => true,
            PieceKind::Macro => is_for_include(index) && !entry.text(active).contains("CREATE_TRACE_POINTS"),
            _ => entry.target.is_some(),
        };
        if is_kept {
            waiting.push(index);
        }
    }
    let mut called: BTreeSet<String> = BTreeSet::new();
    while let Some(index) = waiting.pop() {
        let Some(entry) = file.entries.get(index).filter(|_| !chosen.contains_key(&index)) else { continue };
        let text = file.emitted(entry, &mut taken);
        for word in words(&text) {
            if seen.insert(word.to_owned()) {
                waiting.extend(file.by_name.get(word).into_iter().flatten());
                if wanted.contains_key(word) {
                    called.insert(word.to_owned());
                }
            }
        }
        chosen.insert(index, text);
    }
    let (mut was_line, mut has_call) = (false, false);
    for (index, text) in chosen {
        let Some(entry) = file.entries.get(index).filter(|_| !text.is_empty()) else { continue };
        let mut whole = comment(active, &file, index, is_front(index)).unwrap_or_default();
        if let Some(own) = entry.target.as_ref().filter(|own| called.contains(*own))
            && let Some(own) = rewritten::prototype(active, entry.piece.head(), own, None)
        {
            whole = format!("extern {own};\n\n{whole}");
        }
        whole.push_str(&text);
        if !has_call && entry.target.as_ref().is_some_and(|name| system_call::makes(entry.piece.head(), name))
        {
            has_call = true;
            whole = format!("{}\n{whole}", system_call::WITHOUT_TABLES);
        }
        let place = if is_front(index) { &mut taken.front } else { &mut taken.body };
        let is_line = !whole.trim_end().contains('\n');
        if !place.is_empty() && !(is_line && (was_line || is_front(index))) {
            place.push('\n');
        }
        was_line = is_line;
        place.push_str(&whole);
        place.push('\n');
    }
    taken
}

/// A piece of the file.
struct Entry<'a> {
    piece: SourcePiece<'a>,
    /// Its text with macros expanded.
    expanded: String,
    declared: Vec<DeclaredNames>,
    /// The name of the function, if it is to be replaced.
    target: Option<String>,
}

impl Entry<'_> {
    fn text<'a>(&self, active: &'a str) -> &'a str {
        active.get(self.piece.start()..self.piece.end()).unwrap_or_default()
    }
}

struct File<'a> {
    active: &'a str,
    entries: Vec<Entry<'a>>,
    /// The functions that are copied unchanged.
    copies: BTreeSet<String>,
    /// By name: how many of the functions taken have a static of this name.
    statics: BTreeMap<String, usize>,
    by_name: BTreeMap<String, Vec<usize>>,
    wanted: &'a BTreeMap<String, String>,
    known: &'a UnitInKernel,
}

impl<'a> File<'a> {
    fn of(
        active: &'a str,
        expanded: &BTreeMap<usize, String>,
        wanted: &'a BTreeMap<String, String>,
        known: &'a UnitInKernel,
    ) -> File<'a> {
        let mut entries = Vec::new();
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let starts: Vec<usize> = std::iter::once(0)
            .chain(memchr::memchr_iter(b'\n', active.as_bytes()).map(|at| at + 1))
            .collect();
        let line = |offset: usize| starts.partition_point(|start| *start <= offset);
        for piece in pieces(active) {
            let (first, last) = (line(piece.start()), line(piece.end().saturating_sub(1)));
            let expanded: Vec<&str> = expanded.range(first..=last).map(|(_, line)| line.as_str()).collect();
            let expanded = expanded.join("\n");
            // EXPORT_SYMBOL() and the like declare a symbol that is defined already.
            let is_call = piece.kind == PieceKind::Statement
                && matches!(piece.tokens.as_slice(), [name, open, ..] if name.kind == tokens::TokenKind::Word && open.is("("));
            let declared: Vec<DeclaredNames> = match piece.kind {
                PieceKind::Function | PieceKind::Statement => {
                    pieces(&expanded).iter().filter_map(declared).collect()
                }
                _ => Vec::new(),
            };
            let declared: Vec<DeclaredNames> =
                declared.into_iter().filter(|one| !is_call || one.what != What::Declaration).collect();
            let index = entries.len();
            for name in declared.iter().flat_map(|one| one.names.iter().chain(&one.types)) {
                by_name.entry(name.clone()).or_default().push(index);
            }
            if let (PieceKind::Macro, Some(name)) = (piece.kind, macro_name(&piece)) {
                by_name.entry(name).or_default().push(index);
            }
            let defined = declared.iter().filter(|one| one.what == What::Function).flat_map(|one| &one.names);
            let has_own_head = |name: &&String| {
                wanted.contains_key(*name) && rewritten::prototype(active, piece.head(), name, None).is_some()
            };
            let mut makes = wanted.keys().filter(|name| system_call::makes(piece.head(), name));
            let target = defined.into_iter().find(has_own_head).or_else(|| makes.next());
            let target = target.filter(|_| piece.kind == PieceKind::Function).cloned();
            entries.push(Entry { piece, expanded, declared, target });
        }
        let copied = entries.iter().filter(|entry| entry.target.is_none() && is_copied(entry, known));
        let names = copied.flat_map(|entry| &entry.declared).filter(|one| one.what == What::Function);
        let copies = names.flat_map(|one| one.names.clone()).collect();
        let mut statics: BTreeMap<String, usize> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.target.is_some() || is_copied(entry, known)) {
            let all = pieces(&entry.expanded);
            let raw = words(entry.text(active));
            let names = all.iter().flat_map(rewritten::locals).flat_map(|local| local.names);
            for name in names.filter(|name| raw.contains(&name.as_str())) {
                *statics.entry(name).or_default() += 1;
            }
        }
        File { active, entries, copies, statics, by_name, wanted, known }
    }

    /// The text of a piece in the new file.
    fn emitted(&self, entry: &Entry<'_>, taken: &mut Taken) -> String {
        let text = entry.text(self.active);
        if !matches!(entry.piece.kind, PieceKind::Function | PieceKind::Statement) {
            return text.to_owned();
        }
        if let Some(name) = &entry.target {
            return self.replaced(entry, name, taken);
        }
        let Some(first) = entry.declared.iter().find(|one| one.what != What::Type).or(entry.declared.first())
        else {
            return text.to_owned();
        };
        match first.what {
            What::Type => text.to_owned(),
            What::Declaration => self.declaration(entry, first),
            What::Function => self.function(entry, first, taken),
            What::Data => self.data(entry, first, taken),
        }
    }

    fn replaced(&self, entry: &Entry<'_>, name: &str, taken: &mut Taken) -> String {
        let renamed = self.wanted.get(name).map(String::as_str);
        let body = entry.piece.tokens.iter().find(|token| token.is("{")).map_or(0, |token| token.start);
        let call = renamed.and_then(|new| system_call::head(self.active, entry.piece.head(), new));
        if let Some(head) = call {
            return format!("{head}\n{}", self.body(entry, body, taken));
        }
        let head = rewritten::prototype(self.active, entry.piece.head(), name, renamed).unwrap_or_default();
        format!("{head};\n\n{head}\n{}", self.body(entry, body, taken))
    }

    fn declaration(&self, entry: &Entry<'_>, declared: &DeclaredNames) -> String {
        let is_referred =
            |name: &String| self.known.functions.contains(name) || self.wanted.contains_key(name);
        if declared.names.iter().all(|name| self.copies.contains(name) || !is_referred(name)) {
            return entry.text(self.active).to_owned();
        }
        rewritten::declaration(self.active, &entry.piece.tokens, &|_| KernelVariable::default())
    }

    fn function(&self, entry: &Entry<'_>, declared: &DeclaredNames, taken: &mut Taken) -> String {
        let name = declared.names.first().map(String::as_str).unwrap_or_default();
        if self.copies.contains(name) {
            taken.copied.insert(name.to_owned());
            return self.body(entry, entry.piece.start(), taken);
        }
        let written = rewritten::prototype(self.active, entry.piece.head(), name, None);
        let expanded = pieces(&entry.expanded);
        let own = expanded.iter().find(|piece| piece.kind == PieceKind::Function);
        let written = written.or_else(|| rewritten::prototype(&entry.expanded, own?.head(), name, None));
        written.map(|written| format!("extern {written};")).unwrap_or_default()
    }

    fn data(&self, entry: &Entry<'_>, defined: &DeclaredNames, taken: &mut Taken) -> String {
        let text = entry.text(self.active);
        let lacking: Vec<&String> =
            defined.names.iter().filter(|name| !self.known.data.contains_key(*name)).collect();
        let known = |name: &str| self.known.data.get(name).cloned().unwrap_or_default();
        if lacking.is_empty() {
            let is_plain = declared(&entry.piece)
                .is_some_and(|own| own.what == What::Data && own.names == defined.names);
            if is_plain {
                return rewritten::declaration(self.active, &entry.piece.tokens, &known);
            }
            let expanded = pieces(&entry.expanded);
            let own =
                expanded.iter().find(|piece| declared(piece).is_some_and(|own| own.names == defined.names));
            return own.map_or_else(String::new, |own| {
                rewritten::declaration(&entry.expanded, &own.tokens, &known)
            });
        }
        let is_constant = words(&entry.expanded).contains(&"const");
        if is_constant && lacking.len() == defined.names.len() {
            return text.to_owned();
        }
        for name in lacking {
            taken
                .left
                .insert(name.clone(), "the kernel's code does not tell where this variable is".to_owned());
        }
        String::new()
    }

    /// The kernel's variable for the static `name` of a function, as that function's own code tells, or the code of a
    /// function into which it is inlined. None if there are several of that name.
    fn local(&self, entry: &Entry<'_>, name: &str) -> Option<&KernelVariable> {
        let own = entry.declared.iter().filter(|one| one.what == What::Function).flat_map(|one| &one.names);
        let mut users = own.chain(self.wanted.keys()).filter_map(|function| self.known.locals.get(function));
        let is_only = self.statics.get(name).is_none_or(|count| *count < 2);
        users.find_map(|statics| statics.get(name)).filter(|_| is_only)
    }

    /// The text of a function from `start` on, with references to the kernel's statics in place of its own.
    fn body(&self, entry: &Entry<'_>, start: usize, taken: &mut Taken) -> String {
        let mut text = String::new();
        let mut at = start;
        let expanded = pieces(&entry.expanded);
        let inner: Vec<rewritten::Local<'_>> = expanded.iter().flat_map(rewritten::locals).collect();
        for local in rewritten::locals(&entry.piece) {
            let (Some(first), Some(last)) = (local.tokens.first(), local.tokens.last()) else { continue };
            let raw = self.active.get(first.start..last.end()).unwrap_or_default();
            let raw_words = words(raw);
            // Statics that macros declare, or attributes that they add, are seen only in the expanded text.
            let is_it = |other: &&rewritten::Local<'_>| {
                !other.names.is_empty() && other.names.iter().all(|name| raw_words.contains(&name.as_str()))
            };
            let (source, tokens, names) = match inner.iter().find(is_it) {
                Some(other) if other.names != local.names => {
                    (entry.expanded.as_str(), other.tokens, other.names.clone())
                }
                Some(_) => (self.active, local.tokens, local.names.clone()),
                None => (self.active, local.tokens, vec![raw.to_owned()]),
            };
            let lacking: Vec<&String> =
                names.iter().filter(|name| self.local(entry, name).is_none()).collect();
            if lacking.is_empty() {
                let known = |name: &str| self.local(entry, name).cloned().unwrap_or_default();
                text.push_str(self.active.get(at..first.start).unwrap_or_default());
                text.push_str(&rewritten::declaration(source, tokens, &known));
                at = last.end();
            } else if !raw_words.contains(&"const") {
                for name in lacking {
                    let why = "the kernel's code does not tell where this static variable is";
                    taken.left.insert(name.clone(), why.to_owned());
                }
            }
        }
        text.push_str(self.active.get(at..entry.piece.end()).unwrap_or_default());
        // Blank lines remain where something is configured out.
        while let Some(at) = text.find("\n\n\n") {
            text.remove(at);
        }
        text
    }
}

/// Whether a function is copied unchanged: an inline function, or one that the kernel has no name for.
fn is_copied(entry: &Entry<'_>, known: &UnitInKernel) -> bool {
    let expanded = pieces(&entry.expanded);
    let Some(own) = expanded.iter().find(|piece| piece.kind == PieceKind::Function) else { return false };
    let has = |words: &[&str]| own.head().iter().any(|token| words.iter().any(|word| token.is(word)));
    let mut defined =
        entry.declared.iter().filter(|one| one.what == What::Function).flat_map(|one| &one.names);
    has(&["inline", "__inline", "__inline__"])
        || has(&["static"]) && defined.any(|name| !known.functions.contains(name))
}

/// The name that a macro's directive defines or undefines.
fn macro_name(piece: &SourcePiece<'_>) -> Option<String> {
    let text = piece.tokens.first()?.text;
    let rest = text.split_once(directive(text))?.1.trim_start();
    let name = rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The comment that stands right in front of a piece.
fn comment(active: &str, file: &File<'_>, index: usize, is_front: bool) -> Option<String> {
    let before = index.checked_sub(1).and_then(|before| file.entries.get(before));
    if is_front || before.is_none() {
        return None;
    }
    let gap = active.get(before?.piece.end()..file.entries.get(index)?.piece.start())?;
    let comment = gap.get(gap.rfind("/*")?..)?;
    let begins_line = gap.get(..gap.rfind("/*")?)?.ends_with(['\n', ' ', '\t']);
    (begins_line && comment.ends_with("*/\n")).then(|| comment.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/* The file. */\n#define pr_fmt(x) x\n#include <a.h>\n#define CREATE_TRACE_POINTS\n#include <trace.h>\n\n\
        struct one { int a; };\nstruct other { int a; };\n#define LIMIT (2 + \\\n\tMORE)\n#define MORE 3\n#define UNUSED 4\n\
        static DEFINE_MUTEX(lock);\nstatic int count = 1;\nstatic int gone = 2;\nstatic const int fixed = 3;\n\
        static int named(struct one *one);\nstatic inline int tiny(int x)\n{\n\treturn x + fixed;\n}\n\n\
        /* Says it. */\nstatic noinline int named(struct one *one)\n{\n\treturn 1;\n}\nEXPORT_SYMBOL(named);\n\n\
        static int unnamed(void)\n{\n\tstatic int calls __read_mostly = 2;\n\n\treturn ++calls + named(NULL);\n}\n\n\
        /* Is replaced. */\nstatic int show(struct one *one)\n{\n\tstatic const char text[] = \"count gone\";\n\n\tmutex_lock(&lock);\n\
        \tcount += LIMIT + tiny(1) + unnamed();\n\treturn 0;\n}\n\nstatic int init(void)\n{\n\treturn show(NULL) + UNUSED;\n}\nmodule_init(init);\n";

    fn expanded(text: &str) -> BTreeMap<usize, String> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        let lines = lines.map(|(index, line)| {
            let line = line.replace("DEFINE_MUTEX(lock)", "struct mutex lock = { .owner = (0) }");
            let line = line.replace("__read_mostly", "__attribute__((section(\".a\")))");
            (index + 1, line.replace("EXPORT_SYMBOL(named)", "extern typeof(named) named"))
        });
        lines.collect()
    }

    fn known() -> UnitInKernel {
        let variable = || KernelVariable::default();
        UnitInKernel {
            functions: ["named", "show"].map(str::to_owned).into(),
            data: ["lock", "count"].map(|name| (name.to_owned(), variable())).into(),
            locals: [(
                "show".to_owned(),
                [(
                    "calls".to_owned(),
                    KernelVariable { annotation: Some("AT(calls.2)".to_owned()), size: None },
                )]
                .into(),
            )]
            .into(),
        }
    }

    fn taken(text: &str, known: &UnitInKernel) -> Taken {
        take(text, &expanded(text), &[("show".to_owned(), "new_show".to_owned())].into(), known)
    }

    #[test]
    fn a_function_comes_with_what_it_needs() {
        let taken = taken(FILE, &known());
        assert_eq!(taken.front, "#define pr_fmt(x) x\n#include <a.h>\n#include <trace.h>\n");
        assert_eq!(
            taken.body,
            "struct one { int a; };\n\n#define LIMIT (2 + \\\n\tMORE)\n\n#define MORE 3\nextern struct mutex lock;\nextern int count;\n\
             static const int fixed = 3;\nextern int named(struct one *one);\n\nstatic inline int tiny(int x)\n{\n\treturn x + fixed;\n}\n\n\
             /* Says it. */\nextern noinline int named(struct one *one);\n\nstatic int unnamed(void)\n{\n\textern int calls AT(calls.2) __attribute__((section(\".a\")));\n\n\
             \treturn ++calls + named(NULL);\n}\n\n/* Is replaced. */\nint new_show(struct one *one);\n\nint new_show(struct one *one)\n{\n\
             \tstatic const char text[] = \"count gone\";\n\n\tmutex_lock(&lock);\n\tcount += LIMIT + tiny(1) + unnamed();\n\treturn 0;\n}\n"
        );
        assert!(taken.left.is_empty() && taken.missing.is_empty(), "{taken:?}");
        assert_eq!(taken.copied, BTreeSet::from(["tiny", "unnamed"].map(str::to_owned)));
    }

    #[test]
    fn what_is_not_in_the_kernel_is_told_and_not_copied() {
        let text = FILE.replace("count +=", "gone +=");
        let lacking = UnitInKernel { locals: BTreeMap::new(), ..known() };
        let taken = taken(&text, &lacking);
        assert_eq!(taken.left.keys().collect::<Vec<_>>(), ["calls", "gone"]);
        assert!(!taken.body.contains("int gone"), "{}", taken.body);
    }

    #[test]
    fn two_statics_of_one_name_are_not_told_apart() {
        let text = FILE.replace("static const char text[] = \"count gone\";", "static int calls;");
        let taken = taken(&text, &known());
        assert_eq!(taken.left.keys().collect::<Vec<_>>(), ["calls"]);
        assert!(!taken.body.contains("AT(calls.2)"), "{}", taken.body);
    }

    #[test]
    fn a_function_that_calls_itself_calls_the_kernels() {
        let taken = taken(&FILE.replace("return 0;", "return show(one);"), &known());
        assert!(
            taken.body.contains(
                "extern int show(struct one *one);\n\n/* Is replaced. */\nint new_show(struct one *one);\n"
            ),
            "{}",
            taken.body
        );
        assert!(taken.body.contains("\treturn show(one);\n"), "{}", taken.body);
        let gap = self::taken(&FILE.replace("\treturn 0;", "\n\n\n\treturn 0;"), &known());
        assert!(gap.body.contains("unnamed();\n\n\treturn 0;\n"), "{}", gap.body);
    }

    #[test]
    fn includes_further_down_stay_there_with_what_is_defined_for_them() {
        let text = FILE.replace(
            "/* Is replaced. */\n",
            "#define NEVER 1\nint between;\n#define PLAN(x) x\n#include \"plan.h\"\n#undef PLAN\n/* Is replaced. */\n",
        );
        let taken = taken(&text, &known());
        assert!(taken.front.ends_with("#include <trace.h>\n"), "{}", taken.front);
        assert!(
            taken
                .body
                .contains("#define PLAN(x) x\n#include \"plan.h\"\n#undef PLAN\n\n/* Is replaced. */\n"),
            "{}",
            taken.body
        );
        assert!(!taken.body.contains("NEVER"), "{}", taken.body);
    }

    #[test]
    fn a_system_call_comes_with_its_macro() {
        let head = "SYSCALL_DEFINE1(show, struct one *, one)";
        let text = FILE.replace("static int show(struct one *one)", head).replace("show(NULL) + ", "");
        let functions = "long __x64_sys_show(long r) { return do_show(r); } long __ia32_sys_show(long r) { return do_show(r); } \
                         static inline long do_show(struct one *one)";
        let expanded = expanded(&text.replace(head, functions));
        let wanted = ["__ia32_sys_show", "__x64_sys_show"];
        let wanted = wanted.map(|name| (name.to_owned(), system_call::renamed(name, "new_").unwrap()));
        let mut known = known();
        let locals = known.locals.remove("show").unwrap();
        known.locals.insert("__x64_sys_show".to_owned(), locals);
        let taken = take(&text, &expanded, &wanted.into(), &known);
        assert!(taken.missing.is_empty() && taken.left.is_empty(), "{taken:?}");
        let head = "/* Is replaced. */\nSYSCALL_DEFINE1(new_show, struct one *, one)\n{\n\tstatic const char";
        let head = format!("{}\n{head}", system_call::WITHOUT_TABLES);
        assert!(taken.body.contains(&head), "{}", taken.body);
    }

    #[test]
    fn what_a_macro_makes_is_missing() {
        let text =
            FILE.replace("static int show(struct one *one)\n", "SYSCALL_DEFINE1(show, struct one *, one)\n");
        let expanded = expanded(
            &text.replace("SYSCALL_DEFINE1(show, struct one *, one)", "long sys_show(struct one *one)"),
        );
        let taken =
            take(&text, &expanded, &[("sys_show".to_owned(), "new_show".to_owned())].into(), &known());
        assert_eq!(taken.missing, ["sys_show"]);
    }
}
