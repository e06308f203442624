// SPDX-License-Identifier: GPL-2.0-only
//! Reading Symbols.list: which objects have lines for given names. The list of a distribution's kernel has
//! 30 MB; it is searched in parallel, in pieces, without keeping it.

use fs_err::os::unix::fs::FileExt as _;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err::File;
use memchr::{memchr, memchr_iter};
use rayon::prelude::*;
use regex::bytes::Regex;

use crate::host::text;
use crate::kernel::kallsyms::Spelling;
use crate::kernel::symbols::map::FORMAT;
use crate::kernel::symbols::reference::ListReference;

/// The bytes of a list that are searched at once.
const PIECE: u64 = 1 << 19;
/// The longest line there can be. No symbol name comes near it.
const LINE: usize = 1 << 13;

/// A symbol that modpost adds to each module after the map is made. The map has it if the module's own code refers to
/// it.
const THIS_MODULE: &[u8] = b"__this_module";

/// The names looked for.
#[derive(Debug, Clone)]
pub enum NameQuery {
    /// These very names.
    Names(NameSet),
    /// All names that match one of these expressions.
    Patterns(Vec<Regex>),
    /// All names.
    All,
}

/// A set of names, with a table that tells most other names by their length, how they begin and how they end.
#[derive(Debug, Clone)]
pub struct NameSet {
    names: HashSet<Vec<u8>>,
    marks: Vec<bool>,
    /// For some names, the only objects in which they are meant; a name that is not here may be in any object.
    objects: HashMap<Vec<u8>, BTreeSet<String>>,
}

impl NameSet {
    fn of(names: HashSet<Vec<u8>>, objects: HashMap<Vec<u8>, BTreeSet<String>>) -> NameSet {
        let mut marks = vec![false; 1 << 16];
        for name in &names {
            if let Some(mark) = marks.get_mut(NameSet::slot(name)) {
                *mark = true;
            }
        }
        NameSet { names, marks, objects }
    }

    fn slot(name: &[u8]) -> usize {
        let byte = |index: usize| usize::from(name.get(index).copied().unwrap_or(0));
        let last = byte(name.len().saturating_sub(1));
        (byte(0) ^ (byte(1) << 8) ^ (name.len() << 3) ^ (last << 6)) & 0xffff
    }

    fn may_have(&self, name: &[u8]) -> bool {
        self.marks.get(NameSet::slot(name)).copied().unwrap_or(false)
    }
}

impl NameQuery {
    /// A search for exactly these names.
    pub fn names(names: impl IntoIterator<Item = Vec<u8>>) -> NameQuery {
        NameQuery::Names(NameSet::of(names.into_iter().collect(), HashMap::new()))
    }

    /// A search for names, each with the run-time name of the object in which it is meant, if that is known: other
    /// objects that have the name are not read.
    pub fn meant(meant: impl IntoIterator<Item = (Vec<u8>, Option<String>)>) -> NameQuery {
        let mut objects: HashMap<Vec<u8>, BTreeSet<String>> = HashMap::new();
        let mut anywhere = HashSet::new();
        for (name, object) in meant {
            match object {
                Some(object) => drop(objects.entry(name).or_default().insert(object)),
                None => drop(anywhere.insert(name)),
            }
        }
        objects.retain(|name, _| !anywhere.contains(name));
        NameQuery::Names(NameSet::of(objects.keys().cloned().chain(anywhere).collect(), objects))
    }

    /// Of the objects with the symbol `name`, those that have to be read: only the one in which it is meant, or all
    /// of them if that one does not have it.
    pub fn to_read<'a>(
        &'a self,
        name: &[u8],
        having: &'a [(String, u64)],
    ) -> impl Iterator<Item = &'a String> {
        let meant = self.meant_in(name);
        let meant = meant
            .filter(|meant| name == THIS_MODULE || having.iter().any(|(object, _)| meant.contains(object)));
        let all = having.iter().map(|(object, _)| object);
        all.filter(move |object| meant.is_none_or(|meant| meant.contains(*object)))
    }

    /// The objects to read even if the list does not have the name for them: `__this_module` is meant as their own
    /// structure.
    pub fn unlisted(&self) -> impl Iterator<Item = &String> {
        self.meant_in(THIS_MODULE).into_iter().flatten()
    }

    fn meant_in(&self, name: &[u8]) -> Option<&BTreeSet<String>> {
        match self {
            NameQuery::Names(known) => known.objects.get(name),
            NameQuery::Patterns(_) | NameQuery::All => None,
        }
    }

    /// The search for these names and `more`; a search by pattern stays as it is.
    pub fn with(&self, more: &[&str]) -> NameQuery {
        match self {
            NameQuery::Names(known) => {
                let more = more.iter().map(|name| name.as_bytes().to_vec());
                let names = known.names.iter().cloned().chain(more).collect();
                NameQuery::Names(NameSet::of(names, known.objects.clone()))
            }
            NameQuery::Patterns(_) | NameQuery::All => self.clone(),
        }
    }

    /// Whether a name is looked for.
    pub fn has(&self, name: &[u8]) -> bool {
        match self {
            NameQuery::Names(known) => known.may_have(name) && known.names.contains(name),
            NameQuery::Patterns(patterns) => patterns.iter().any(|pattern| pattern.is_match(name)),
            NameQuery::All => true,
        }
    }
}

/// What a list says of the names looked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MapHits {
    /// For each name: the objects with lines for it, and how many lines.
    pub names: BTreeMap<Vec<u8>, Vec<(String, u64)>>,
    /// All objects of the list.
    pub objects: BTreeSet<String>,
}

/// A line that counts, by its offset in the file.
enum Line {
    Object(String),
    Name(Vec<u8>),
}

/// Searches the list at `path`. `spelling` says how the kernel changes vmlinux's names.
///
/// # Errors
/// The list cannot be read, or is no list.
pub fn search(path: &Path, wanted: &NameQuery, spelling: Spelling) -> Result<MapHits> {
    let mut hits = MapHits::default();
    match ListReference::read(path).with_context(|| no_list(path))? {
        Some(reference) => {
            reference.expect(path)?;
            search_from(&reference.list, None, wanted, spelling, &mut hits)?;
            search_from(path, Some(reference.end), wanted, spelling, &mut hits)?;
        }
        None => search_from(path, None, wanted, spelling, &mut hits)?,
    }
    Ok(hits)
}

/// The whole text of the list at `path`, together with the list that it refers to. A file that is no list is returned
/// as it is.
///
/// # Errors
/// It cannot be read, or what it refers to is gone or altered.
pub fn whole(path: &Path) -> Result<Vec<u8>> {
    let Some(reference) = ListReference::read(path)? else { return Ok(text::list(path)?) };
    reference.expect(path)?;
    let (mut whole, own) = (text::list(&reference.list)?, text::list(path)?);
    whole.extend_from_slice(own.get(reference.end as usize..).unwrap_or_default());
    Ok(whole)
}

/// What stands behind the first line of a list; none if it is no list.
pub fn objects(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(FORMAT.as_bytes())?.strip_prefix(b"\n")
}

/// How much is in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// The objects, without vmlinux.
    pub modules: usize,
    /// The names, vmlinux's and the modules'.
    pub names: usize,
}

impl Counts {
    /// Counts what stands behind the first line of a whole list.
    pub fn of(text: &[u8]) -> Counts {
        let lines = || text.split(|&byte| byte == b'\n').skip(1).filter(|line| !line.is_empty());
        let objects = lines().filter(|line| line.starts_with(b"*")).count();
        Counts { modules: objects.saturating_sub(1), names: lines().count() - objects }
    }
}

/// Adds what the list at `path` has, whose names begin at `begin` if its first line does not have to be looked at.
fn search_from(
    path: &Path,
    begin: Option<u64>,
    wanted: &NameQuery,
    spelling: Spelling,
    hits: &mut MapHits,
) -> Result<()> {
    let file = File::open(path).with_context(|| no_list(path))?;
    let length = file.metadata()?.len();
    let mut first = vec![0; FORMAT.len() + 1];
    let is_list = begin.is_some() || file.read_exact_at(&mut first, 0).is_ok() && objects(&first).is_some();
    ensure!(
        is_list,
        "{}: Symbol list is in unknown format: its first line is not {FORMAT}; make it anew (klpbuild symbols)",
        path.display()
    );
    let first_name = begin.unwrap_or(first.len() as u64);
    // The first piece begins with the names.
    let pieces: Vec<Range<u64>> = (0..length.div_ceil(PIECE))
        .map(|n| (n * PIECE).max(first_name)..((n + 1) * PIECE).min(length))
        .filter(|piece| piece.start < piece.end)
        .collect();
    let search = |buffer: &mut Vec<u8>, piece: Range<u64>| {
        // A line belongs to the piece it starts in: the byte before the piece tells if one starts there.
        let is_first = piece.start == first_name;
        let from = if is_first { first_name } else { piece.start - 1 };
        let until = (piece.end + LINE as u64).min(length);
        buffer.resize(until.saturating_sub(from) as usize, 0);
        file.read_exact_at(buffer, from)?;
        lines(buffer, piece.end.saturating_sub(from) as usize, is_first, |line| match line {
            [b'*', object @ ..] => Some(Line::Object(String::from_utf8_lossy(object).into_owned())),
            [name @ .., b' ', _] | name => {
                let name = spelling.of(name);
                wanted.has(name).then(|| Line::Name(name.to_vec()))
            }
        })
        .with_context(|| path.display().to_string())
    };
    // A few threads, each with its share of the pieces and a buffer of its own.
    let run = pieces.len().div_ceil(4).max(1);
    let search_run = |pieces: &[Range<u64>]| {
        let mut buffer = Vec::new();
        pieces.iter().map(|piece| search(&mut buffer, piece.clone())).collect::<Result<Vec<_>>>()
    };
    let found: Vec<Vec<Vec<Line>>> = pieces.par_chunks(run).map(search_run).collect::<Result<_>>()?;
    let mut object = None;
    for line in found.into_iter().flatten().flatten() {
        match line {
            Line::Object(name) => {
                hits.objects.insert(name.clone());
                object = Some(name);
            }
            Line::Name(name) => {
                let Some(object) = &object else {
                    bail!(
                        "{}: a name comes before the first object: make it anew (klpbuild symbols)",
                        path.display()
                    )
                };
                let objects = hits.names.entry(name).or_default();
                match objects.last_mut() {
                    Some((last, count)) if last == object => *count += 1,
                    _ => objects.push((object.clone(), 1)),
                }
            }
        }
    }
    Ok(())
}

fn no_list(path: &Path) -> String {
    format!(
        "there is no {}: build with `klpbuild modules`, or make it for a tree that is built (klpbuild symbols)",
        path.display()
    )
}

/// Goes through the lines that start before `end`; the first line only counts if `is_start`.
fn lines(
    buffer: &[u8],
    end: usize,
    is_start: bool,
    mut take: impl FnMut(&[u8]) -> Option<Line>,
) -> Result<Vec<Line>> {
    let mut found = Vec::new();
    let mut start = if is_start { 0 } else { memchr(b'\n', buffer).map_or(end, |newline| newline + 1) };
    let rest = buffer.get(start..).unwrap_or_default();
    let begin = start;
    for newline in memchr_iter(b'\n', rest).map(|newline| begin + newline).chain([buffer.len()]) {
        if start >= end {
            break;
        }
        let line = buffer.get(start..newline).unwrap_or_default();
        ensure!(line.len() < LINE, "a line is longer than {LINE} bytes: this is no list of symbols");
        found.extend(take(line));
        start = newline + 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::symbols::reference;
    use crate::kernel::symbols::seal::Seal;

    fn names(names: &[&str]) -> NameQuery {
        NameQuery::names(names.iter().map(|name| name.as_bytes().to_vec()))
    }

    type Objects = Vec<(String, u64)>;

    fn hits(text: &str, wanted: &NameQuery) -> Result<Vec<(String, Objects)>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Symbols.list");
        std::fs::write(&path, text).unwrap();
        let hits = search(&path, wanted, Spelling::Exact)?;
        Ok(hits
            .names
            .into_iter()
            .map(|(name, objects)| (String::from_utf8(name).unwrap(), objects))
            .collect())
    }

    #[test]
    fn a_name_is_read_where_it_is_meant() {
        let named = |name: &str, object: Option<&str>| (name.as_bytes().to_vec(), object.map(str::to_owned));
        let wanted = NameQuery::meant([
            named("a", Some("one")),
            named("b", Some("one")),
            named("b", None),
            named("c", Some("three")),
        ]);
        let wanted = wanted.with(&["d"]);
        let having = [("one".to_owned(), 1), ("two".to_owned(), 1)];
        let to_read = |name: &str| wanted.to_read(name.as_bytes(), &having).collect::<Vec<_>>();
        assert_eq!(to_read("a"), ["one"]);
        for name in ["b", "c", "d"] {
            assert_eq!(to_read(name), ["one", "two"], "{name}");
        }
        assert!(["a", "b", "c", "d"].iter().all(|name| wanted.has(name.as_bytes())));
        assert_eq!(wanted.unlisted().count(), 0);
    }

    #[test]
    fn the_structure_of_a_module_is_read_though_the_map_lacks_it() {
        let wanted = NameQuery::meant([(THIS_MODULE.to_vec(), Some("two".to_owned()))]);
        assert_eq!(wanted.unlisted().collect::<Vec<_>>(), ["two"]);
        let having = ["one", "three"].map(|object| (object.to_owned(), 1));
        assert_eq!(wanted.to_read(THIS_MODULE, &having).count(), 0);
    }

    #[test]
    fn objects_and_counts() {
        let text = format!("{FORMAT}\n*vmlinux\na\nb\nb\n*m_one\nb t\nc\n*m_two\nc");
        let found = hits(&text, &names(&["b", "c", "nowhere"])).unwrap();
        let at = |object: &str, count| (object.to_owned(), count);
        assert_eq!(
            found,
            [
                ("b".to_owned(), vec![at("vmlinux", 2), at("m_one", 1)]),
                ("c".to_owned(), vec![at("m_one", 1), at("m_two", 1)])
            ]
        );
        let pattern = NameQuery::Patterns(vec![Regex::new("^[ac]$").unwrap()]);
        assert_eq!(hits(&text, &pattern).unwrap().len(), 2);
        // The first line of the list is no name.
        let all = NameQuery::Patterns(vec![Regex::new("^").unwrap()]);
        assert_eq!(
            hits(&text, &all).unwrap().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
    }

    /// A list of several pieces, with lines on every boundary.
    #[test]
    fn pieces_lose_no_line() {
        let mut text = format!("{FORMAT}\n*vmlinux\n");
        let mut count = 0;
        while text.len() < 3 * PIECE as usize {
            text.push_str(if count % 7 == 0 { "wanted\n" } else { "some_other_name\n" });
            count += 1;
            if count % 1000 == 0 {
                text.push_str(&format!("*m{count}\n"));
            }
        }
        let found = hits(&text, &names(&["wanted"])).unwrap();
        let total: u64 = found[0].1.iter().map(|(_, count)| count).sum();
        assert_eq!(total, (text.matches("\nwanted\n").count()) as u64);
        for (object, count) in &found[0].1 {
            let part = text.split(&format!("*{object}\n")).nth(1).unwrap().split("\n*").next().unwrap();
            assert_eq!(part.lines().filter(|line| *line == "wanted").count() as u64, *count, "{object}");
        }
    }

    /// The modules' own list, with the kernel's elsewhere, says the same as one list of both.
    #[test]
    fn a_list_that_refers_to_another_has_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let (kernels, own) = (dir.path().join("kernels"), dir.path().join("own"));
        let text = format!("{FORMAT}\n*vmlinux\na\nb\nb\n*one\nb\n");
        std::fs::write(&kernels, &text).unwrap();
        let seal = Seal::of_file(&kernels).unwrap();
        let modules = "*two\na\nb\n";
        let list = [reference::beginning(&kernels, &seal).unwrap(), modules.into()].concat();
        std::fs::write(&own, list).unwrap();
        let both = text + modules;
        assert_eq!(whole(&own).unwrap(), both.as_bytes());
        assert_eq!(whole(&kernels).unwrap(), std::fs::read(&kernels).unwrap());
        let wanted = names(&["a", "b"]);
        let found = search(&own, &wanted, Spelling::Exact).unwrap();
        std::fs::write(dir.path().join("both"), both).unwrap();
        assert_eq!(found, search(&dir.path().join("both"), &wanted, Spelling::Exact).unwrap());
        assert_eq!(found.names[&b"b"[..]].len(), 3);
        std::fs::write(&kernels, format!("{FORMAT}\n*vmlinux\na\n")).unwrap();
        let error = search(&own, &wanted, Spelling::Exact).unwrap_err().to_string();
        assert!(error.contains("which has changed since"), "{error}");
        assert!(whole(&own).is_err());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let error = hits("some text\n", &names(&["a"])).unwrap_err().to_string();
        assert!(error.contains("Symbol list is in unknown format"), "{error}");
        let error = hits(&format!("{FORMAT}\na\n"), &names(&["a"])).unwrap_err().to_string();
        assert!(error.contains("comes before the first object"), "{error}");
        let error = hits(&format!("{FORMAT}\n*v\n{}", "x".repeat(LINE + 5)), &names(&["a"])).unwrap_err();
        assert!(format!("{error:#}").contains("a line is longer"), "{error:#}");
    }
}
