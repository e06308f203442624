// SPDX-License-Identifier: GPL-2.0-only
//! The account of a livepatch as a tree, for people.

use crate::command::show::branches::Branch;
use crate::host::words::{count, wrapped};
use crate::kernel::symbols::VMLINUX;
use crate::livepatch::account::{
    Defined, LivepatchAccount, LivepatchFunction, OutsideReference, Patched, ReplacementAccount, SourcePlace,
    UsePlace, VerifyVerdict,
};
use crate::livepatch::verify::findings::Severity;

/// How many uses of one symbol are listed.
const USES: usize = 5;

/// A text as a file name: characters that cannot be in one are left out.
pub(super) fn file_name(name: &str) -> String {
    let is_fine = |letter: &char| letter.is_ascii_alphanumeric() || "_-".contains(*letter);
    let name: String = name.chars().filter(is_fine).take(64).collect();
    if name.is_empty() { "livepatch".to_owned() } else { name }
}

/// The tree.
pub(super) fn of(account: &LivepatchAccount) -> Branch {
    let mut root = Branch::new(format!("{} ({})", account.name, account.file));
    if let Some(description) = &account.description {
        root.line(wrapped(description, usize::MAX));
    }
    root.grow(built_for(account));
    for object in &account.objects {
        root.grow(patched(object));
    }
    if !account.other.is_empty() {
        let mut other = Branch::new("other code and data refers to");
        references(&mut other, &account.other);
        root.grow(other);
    }
    if !account.unknown.is_empty() {
        let mut unknown = Branch::new("not known");
        account.unknown.iter().for_each(|one| unknown.grow(Branch::new(one)));
        root.grow(unknown);
    }
    root.grow(verdict(account));
    root
}

fn built_for(account: &LivepatchAccount) -> Branch {
    let mut branch = match &account.vermagic {
        Some(magic) => Branch::new(format!("compiled for {}", magic.trim())),
        None => Branch::new("compiled for a kernel that it does not name (no vermagic)"),
    };
    if !account.is_livepatch {
        branch.line("it does not say that it is a livepatch (no livepatch=Y in .modinfo)");
    }
    for one in &account.built_for {
        let at_hand = match (&account.kernel, one.at_hand.as_str()) {
            (None, _) => String::new(),
            (_, "the same") => ": the one at hand".to_owned(),
            (_, "another build") => ": ANOTHER BUILD IS AT HAND".to_owned(),
            (_, "not there") => ": it is not at hand".to_owned(),
            _ => ": whether the one at hand is the same is not known".to_owned(),
        };
        branch.grow(Branch::new(format!("resolved with {} {}:{}{at_hand}", one.object, one.kind, one.value)));
    }
    if account.built_for.is_empty() {
        branch.grow(Branch::new("it does not say with which builds its symbols were resolved"));
    }
    if let Some(kernel) = &account.kernel {
        let release = kernel.release.as_deref().unwrap_or("a release that is not known");
        let other = if kernel.is_other_release { ": ANOTHER RELEASE than it was compiled for" } else { "" };
        let mut at_hand = Branch::new(format!("kernel at hand: {release}{other}"));
        at_hand.line(kernel.vmlinux.as_deref().unwrap_or("without a vmlinux"));
        branch.grow(at_hand);
    }
    branch
}

fn patched(object: &Patched) -> Branch {
    let mut branch =
        Branch::new(format!("{}: {} replaced", object.name, count(object.functions.len(), "function")));
    for function in &object.functions {
        branch.grow(replaced(function));
    }
    for callback in &object.callbacks {
        branch.grow(Branch::new(format!("callback {}", new(callback))));
    }
    branch
}

/// The references, one branch each; symbols that the compiler calls by itself share a branch.
fn references(branch: &mut Branch, all: &[OutsideReference]) {
    let (own, compilers): (Vec<&OutsideReference>, Vec<&OutsideReference>) =
        all.iter().partition(|one| one.kind != "exported" || !is_compilers(&one.name));
    own.into_iter().for_each(|one| branch.grow(reference(one)));
    if !compilers.is_empty() {
        let names: Vec<&str> = compilers.iter().map(|one| one.name.as_str()).collect();
        branch.grow(Branch::new(format!("what the compiler calls: {}", names.join(", "))));
    }
}

/// Whether only the compiler calls a function, so that no source does.
pub(super) fn is_compilers(name: &str) -> bool {
    let is_thunk = name.starts_with("__x86_") && name.contains("thunk");
    is_thunk || ["__fentry__", "_mcount", "__stack_chk_fail"].contains(&name)
}

fn replaced(function: &ReplacementAccount) -> Branch {
    let mut branch = Branch::new(&function.name);
    let mut old = match &function.old {
        Some(old) => Branch::new(format!("old: {}; {}", definition(old), function.position)),
        None => Branch::new(format!("old: {}", function.position)),
    };
    namesakes(&mut old, &function.namesakes);
    branch.grow(old);
    let change = match (function.old.as_ref().and_then(|old| old.size), function.new.size) {
        (Some(old), Some(new)) if old == new => " (as before)".to_owned(),
        (Some(old), Some(new)) if old < new => format!(" ({} more)", new - old),
        (Some(old), Some(new)) => format!(" ({} less)", old - new),
        _ => String::new(),
    };
    branch.grow(Branch::new(format!("new: {}{change}", new(&function.new))));
    if function.references.is_empty() {
        branch.grow(Branch::new("refers to nothing beyond the livepatch"));
    } else {
        let mut all = Branch::new("refers to");
        references(&mut all, &function.references);
        branch.grow(all);
    }
    branch
}

/// A definition as a line: file and line, address, size.
pub(super) fn definition(defined: &Defined) -> String {
    let mut parts = vec![place(defined.source.as_ref())];
    let address = defined.address.as_deref().unwrap_or("an address that is not known");
    parts.push(match defined.section.as_deref().filter(|_| defined.object != VMLINUX) {
        Some(section) => format!("{section}+{address}"),
        None => address.to_owned(),
    });
    parts.extend(defined.size.map(bytes));
    parts.join(", ")
}

/// A function of the livepatch as a line.
pub(super) fn new(new: &LivepatchFunction) -> String {
    let name = if new.symbol.is_empty() { "a function without a symbol" } else { &new.symbol };
    let size = new.size.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
    format!("{name}, {}, {}+{}{size}", place(new.source.as_ref()), new.section, new.offset)
}

/// A size in words.
pub(super) fn bytes(size: u64) -> String {
    count(usize::try_from(size).unwrap_or(usize::MAX), "byte")
}

fn place(source: Option<&SourcePlace>) -> String {
    match source {
        Some(SourcePlace { file, line: Some(line), .. }) => format!("{file}:{line}"),
        Some(SourcePlace { file, .. }) => file.clone(),
        None => "source not known".to_owned(),
    }
}

fn namesakes(branch: &mut Branch, all: &[Defined]) {
    for one in all {
        let position = match one.position {
            Some(position) => format!("{position} of {}", one.total),
            None => "not seen by the kernel".to_owned(),
        };
        let mark = if one.is_meant { "this one: " } else { "not " };
        branch.grow(Branch::new(format!("{mark}{position}: {}", definition(one))));
    }
}

fn reference(one: &OutsideReference) -> Branch {
    let object = one.object.as_deref().unwrap_or("an object that is not known");
    let source = one.defined.as_ref().and_then(|defined| defined.source.as_ref());
    let source = source.map(|source| format!(", {}", place(Some(source)))).unwrap_or_default();
    let mut branch = match one.kind {
        "livepatch" => {
            Branch::new(format!("{} of {object}: livepatch relocation{}", one.name, written(&one.uses)))
        }
        "exported" if one.object.is_some() => {
            Branch::new(format!("{}: exported by {object}{source}", one.name))
        }
        "exported" => Branch::new(format!("{}: who exports it is not known", one.name)),
        _ => Branch::new(format!("{}: NOTHING EXPORTS IT", one.name)),
    };
    if let Some(position) = &one.position {
        branch.line(match &one.defined {
            Some(defined) => format!("{}; {position}", definition(defined)),
            None => position.clone(),
        });
    }
    for used in one.uses.iter().take(USES) {
        let source = used.source.as_deref().map(|line| format!(", {line}")).unwrap_or_default();
        branch.line(format!("{} {}{source}", used.place, used.how));
    }
    if one.uses.len() > USES {
        branch.line(format!("and in {}", count(one.uses.len() - USES, "more place")));
    }
    namesakes(&mut branch, &one.namesakes);
    branch
}

/// At whose loading the kernel writes these relocations.
pub(super) fn written(uses: &[UsePlace]) -> String {
    let mut all: Vec<&str> = uses.iter().filter_map(|used| used.written_with.as_deref()).collect();
    all.sort_unstable();
    all.dedup();
    let one = |object: &&str| match *object {
        VMLINUX => "when the livepatch is loaded".to_owned(),
        module => format!("when {module} is loaded"),
    };
    let all: Vec<String> = all.iter().map(one).collect();
    if all.is_empty() { String::new() } else { format!(", written {}", all.join(" and ")) }
}

fn verdict(account: &LivepatchAccount) -> Branch {
    let number = |level: Severity| account.findings.iter().filter(|finding| finding.level == level).count();
    let counted =
        |level, noun| Some(number(level)).filter(|number| *number > 0).map(|number| count(number, noun));
    let found: Vec<String> =
        [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
            .into_iter()
            .filter_map(|(level, noun)| counted(level, noun))
            .collect();
    let verdict = match account.verdict {
        VerifyVerdict::Correct => "correct",
        VerifyVerdict::Errors => "NOT CORRECT",
        VerifyVerdict::Unchecked => "not checked",
    };
    let found = if found.is_empty() { String::new() } else { format!(", {}", found.join(", ")) };
    let mut branch = Branch::new(format!("verify: {verdict}{found}"));
    for finding in &account.findings {
        branch.grow(Branch::new(finding.to_string()));
    }
    branch
}
