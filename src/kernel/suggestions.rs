// SPDX-License-Identifier: GPL-2.0-only
//! Names that are like one that is not there; the only place that names strsim.

use std::collections::BTreeSet;
use std::path::PathBuf;

use fs_err as fs;
use rayon::prelude::*;

use crate::debuginfo::dwarf::NoSymbolReason;
use crate::elf::debugging;
use crate::kernel::kallsyms;
use crate::kernel::sources::{KernelDefinitions, Sources};
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::list;

/// How much debugging information of modules is read for a name that any of them may have, in bytes.
const LOOKED_THROUGH: u64 = 256 << 20;

/// Up to five names like `name`, each with its object. `parts` are pieces of a Symbols.list, each beginning with an
/// object's line. Nearest of all are the compiler's variants of the same function (`foo.isra.0`, `foo.cold`), and the
/// kernel's names of a system call's function (`__x64_sys_foo`). If `patched` names the patched objects, their names
/// come first, then those of vmlinux, and no others.
pub fn nearest(name: &str, parts: &[&[u8]], patched: &[String]) -> Vec<String> {
    let limit = (name.len() / 4).max(2);
    let mut near: Vec<(usize, bool, String)> = parts
        .par_iter()
        .flat_map_iter(|part| {
            let text = String::from_utf8_lossy(part);
            let mut lines = text.lines();
            let object = lines.next().unwrap_or_default().trim_start_matches('*').to_owned();
            let is_patched = patched.contains(&object);
            let is_far = !patched.is_empty() && !is_patched && object != VMLINUX;
            let candidates = lines.filter(|_| !is_far).filter_map(|line| {
                let candidate = line.split(' ').next().unwrap_or(line);
                let is_same = kallsyms::is_variant(name, candidate) || is_call(name, candidate);
                let distance = if is_same { Some(0) } else { distance(name, candidate, limit) };
                Some((distance?, !is_patched, format!("{candidate} ({object})")))
            });
            candidates.collect::<Vec<_>>()
        })
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(5).map(|(.., text)| text).collect()
}

/// Whether `candidate` is a machine's function for the system call `name`, as in `sys_name`
/// (CONFIG_ARCH_HAS_SYSCALL_WRAPPER).
fn is_call(name: &str, candidate: &str) -> bool {
    const MACHINES: [&str; 4] = ["__x64_", "__arm64_", "__s390x_", "__riscv_"];
    name.starts_with("sys_") && MACHINES.iter().any(|machine| candidate.strip_prefix(machine) == Some(name))
}

/// The sentence for an object that is not there: its run-time name, or the names that are like it.
pub fn like_object(object: &str, all: &BTreeSet<String>) -> String {
    let meant = object.strip_suffix(".ko").unwrap_or(object).replace('-', "_");
    if all.contains(&meant) { format!(": its run-time name is {meant}") } else { objects(object, all) }
}

/// Which objects other than `object` define `name`: a sentence that follows another, or nothing.
pub fn owners(object: &str, name: &str, found: &KernelDefinitions) -> String {
    let owners: BTreeSet<&str> = found
        .of(name.as_bytes())
        .iter()
        .map(|known| known.object.as_str())
        .filter(|o| *o != object)
        .collect();
    let owners: Vec<&str> = owners.into_iter().take(3).collect();
    if owners.is_empty() { String::new() } else { format!("; {name} is in {}", owners.join(", ")) }
}

/// How far two names are apart, if that is at most `limit`. A name that begins with the other comes after
/// those that only look like it.
fn distance(name: &str, candidate: &str, limit: usize) -> Option<usize> {
    if name.len() >= 4 && candidate.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')) {
        return Some(limit + candidate.len() - name.len());
    }
    if candidate == name || candidate.len().abs_diff(name.len()) > limit {
        return None;
    }
    let distance = strsim::osa_distance(name, candidate);
    (distance <= limit).then_some(distance)
}

/// The sentence about names like `name`, to follow another sentence.
pub fn hint(name: &str, sources: &Sources, patched: &[String]) -> String {
    hints(&[name], sources, patched).pop().unwrap_or_default()
}

/// The sentence about names like each of `names`, in that order. The map is read once.
fn hints(names: &[&str], sources: &Sources, patched: &[String]) -> Vec<String> {
    let text = sources.list.as_ref().and_then(|list| list::whole(list).ok());
    let parts = text.as_deref().map(parts);
    let hint =
        |name: &&str| parts.as_ref().map_or(String::new(), |parts| among(&nearest(name, parts, patched)));
    names.iter().map(hint).collect()
}

/// Names that are near, as a sentence that follows another.
pub fn among(near: &[String]) -> String {
    match near {
        [] => "; no name in the map is like it".to_owned(),
        near => format!("; the nearest names are {}", near.join(", ")),
    }
}

/// A list split into its objects; its first line may be missing.
pub fn parts(text: &[u8]) -> Vec<&[u8]> {
    let first = text.starts_with(b"*").then_some(0);
    let mut starts: Vec<usize> = (first.into_iter())
        .chain(memchr::memmem::find_iter(text, b"\n*").map(|newline| newline + 1))
        .collect();
    starts.push(text.len());
    starts.windows(2).filter_map(|pair| text.get(*pair.first()?..*pair.last()?)).collect()
}

/// The message for a symbol that nothing defines; `patched` are the objects that the livepatch patches, if they are
/// known.
pub fn missing(name: &str, sources: &Sources, patched: &[String]) -> String {
    all_missing(&[name], sources, patched).pop().unwrap_or_default()
}

/// The messages for symbols that nothing defines, in the order of `names`. The files that may tell of them are read
/// once.
pub fn all_missing(names: &[&str], sources: &Sources, patched: &[String]) -> Vec<String> {
    let hints = hints(names, sources, patched);
    let fates = fates_in(names, sources, patched);
    let message = |((name, hint), fate): ((&&str, String), String)| {
        let compared = String::from_utf8_lossy(sources.compared(name.as_bytes())).into_owned();
        if compared != **name {
            return format!(
                "Unable to find missing symbol: {name}: this kernel (built with CONFIG_LTO_CLANG) cuts vmlinux's \
                 names before it compares them, and knows it as {compared}: see klpbuild lookup {compared}"
            );
        }
        format!(
            "Unable to find missing symbol: {name}: nothing exports it, and neither vmlinux nor any module defines \
             it{hint}{fate}"
        )
    };
    names.iter().zip(hints).zip(fates).map(message).collect()
}

/// What the debugging information says of each of `names`, which have no symbol: a sentence that follows another, or
/// nothing. First it reads that of the objects `patched`, then that of vmlinux, and that of all modules if it is not
/// known which are patched.
fn fates_in(names: &[&str], sources: &Sources, patched: &[String]) -> Vec<String> {
    if names.is_empty() {
        return Vec::new();
    }
    let objects = patched.iter().map(String::as_str).filter(|object| *object != VMLINUX).chain([VMLINUX]);
    let mut files: Vec<(String, PathBuf)> = objects
        .filter_map(|object| Some((object.to_owned(), sources.objects.with_debug_info(object)?)))
        .collect();
    if patched.is_empty() {
        files.extend(bounded(sources.objects.modules_with_debug_info()));
    }
    fates(names, &files)
}

/// The files of modules, or none where it would take too long to read them for one name.
pub fn bounded(files: Vec<(String, PathBuf)>) -> Vec<(String, PathBuf)> {
    let size = |(_, file): &(String, PathBuf)| fs::metadata(file).map_or(0, |meta| meta.len());
    if files.iter().map(size).sum::<u64>() <= LOOKED_THROUGH { files } else { Vec::new() }
}

/// What the debugging information in `files` (each with its object) says of a name that has no symbol there: a
/// sentence that follows another, or nothing.
pub fn fate(name: &str, files: &[(String, PathBuf)]) -> String {
    fates(&[name], files).pop().unwrap_or_default()
}

/// What the debugging information in `files` says of each of `names`, in that order: each file is read once.
fn fates(names: &[&str], files: &[(String, PathBuf)]) -> Vec<String> {
    let by_file: Vec<(&str, Vec<Option<NoSymbolReason>>)> =
        (files.par_iter()).map(|(object, file)| (object.as_str(), debugging::fates(file, names))).collect();
    let of_one = |index: usize| {
        let fates = by_file.iter().filter_map(|(object, fates)| Some((*object, fates.get(index)?.as_ref()?)));
        sentence(&fates.collect::<Vec<_>>())
    };
    (0..names.len()).map(of_one).collect()
}

/// What became of one name in some objects, as a sentence. Inlined counts before removed.
fn sentence(fates: &[(&str, &NoSymbolReason)]) -> String {
    let inlined = fates.iter().find(|(_, fate)| matches!(fate, NoSymbolReason::Inlined { .. }));
    match inlined.or(fates.first()) {
        Some((object, NoSymbolReason::Inlined { file, line, callers })) => {
            let others = if callers.len() < 3 { "" } else { " among others" };
            let callers = match callers.is_empty() {
                true => String::new(),
                false => format!(", into {}{others}", callers.join(", ")),
            };
            format!(
                "; in {object}, the function at {file}:{line} was inlined everywhere{callers}: patch the functions \
                 that call it, and copy it"
            )
        }
        Some((object, NoSymbolReason::OptimizedAway { file, line })) => {
            format!("; in {object}, what {file}:{line} defines by this name was optimized away")
        }
        None => String::new(),
    }
}

/// The sentence about objects named like `object`: up to three, the nearest first. The shorter the name, the less may
/// differ.
pub fn objects(object: &str, all: &BTreeSet<String>) -> String {
    let limit = (object.len() / 3).max(1);
    let mut near: Vec<(usize, &str)> = (all.iter())
        .map(|other| (strsim::osa_distance(object, other), other.as_str()))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort_unstable();
    let near: Vec<&str> = near.into_iter().take(3).map(|(_, name)| name).collect();
    if near.is_empty() { String::new() } else { format!("; the nearest are {}", near.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_objects_are_the_nearest() {
        let all =
            ["a_dash", "b_dash", "c_dash", "pcbc", "pwc", "t_dash", "t_dashes"].map(str::to_owned).into();
        assert_eq!(objects("t_dahs", &all), "; the nearest are t_dash, a_dash, b_dash");
        assert_eq!(objects("proc", &all), "");
        assert_eq!(objects("pwd", &all), "; the nearest are pwc");
    }

    #[test]
    fn compiler_variants_are_nearest() {
        let list = b"x\n*vmlinux\ncmdline_porc\ncmdline_proc.isra.0\ncmdline_proc_show\nother\n*m_x\ncmdline_proc.constprop.0.cold\ncmdline_proc.x\n";
        assert_eq!(
            nearest("cmdline_proc", &parts(list), &[]),
            [
                "cmdline_proc.constprop.0.cold (m_x)",
                "cmdline_proc.isra.0 (vmlinux)",
                "cmdline_porc (vmlinux)",
                "cmdline_proc.x (m_x)",
                "cmdline_proc_show (vmlinux)",
            ]
        );
        assert!(nearest("something_else", &parts(list), &[]).is_empty());
    }

    #[test]
    fn what_is_patched_comes_first_and_far_modules_not_at_all() {
        let list = b"x\n*vmlinux\n__do_sys_open\n__x64_sys_open\nshow_ab\n*far\nshow_ac\n*near\nshow_ad\n";
        let patched = ["near".to_owned()];
        assert_eq!(nearest("show_aa", &parts(list), &patched), ["show_ad (near)", "show_ab (vmlinux)"]);
        assert_eq!(nearest("show_aa", &parts(list), &[]).len(), 3);
        assert_eq!(nearest("sys_open", &parts(list), &patched), ["__x64_sys_open (vmlinux)"]);
    }
}
