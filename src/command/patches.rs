// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild patches`: the series of `kbuild-patches`, by which a kernel's own makefiles do what the fragment does
//! from outside.
//!
//! - [`series`]: the series themselves; [`mod@change`]: the changes of one in a tree; `checked`: the result for
//!   programs
//!
//! To find the series for a tree, all are tried in memory; either all files are written or none.

mod change;
mod checked;
mod series;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use tempfile::NamedTempFile;

use crate::cli::{Format, Options, PatchesCommand};
use crate::command::asked;
use crate::command::patches::change::{Change, FileText, SeriesState, Way};
use crate::command::patches::series::{ALL, Series};
use crate::host::exit::Exit;
use crate::host::output;
use crate::host::patch::{FileChange, read};
use crate::host::program;
use crate::host::program::Program;
use crate::host::signal::Watch;
use crate::host::terminal;
use crate::kernel::tree;
use crate::kernel::tree::era::Kbuild;

const UNREADABLE: &str = "a patch of klpbuild's own cannot be read";

impl Series {
    /// Tries the series on the tree.
    fn state(&self, tree: &Path) -> Result<SeriesState> {
        let why = match self.change(tree, Way::Forth, None)? {
            Ok(change) => return Ok(SeriesState::Fits(change)),
            Err(why) => why,
        };
        Ok(match self.change(tree, Way::Back, None)? {
            Ok(change) => SeriesState::Applied(change),
            Err(_) => self.half(tree)?.unwrap_or(SeriesState::Neither(why)),
        })
    }

    /// The state of a tree in which each file is either as with the series or as without it; none for any other tree.
    fn half(&self, tree: &Path) -> Result<Option<SeriesState>> {
        let mut sides = [Change { files: BTreeMap::new() }, Change { files: BTreeMap::new() }];
        for path in self.paths()? {
            // A file that has the lines already must not get them twice.
            let mut found = false;
            for (side, way) in sides.iter_mut().rev().zip([Way::Back, Way::Forth]) {
                if !found && let Ok(change) = self.change(tree, way, Some(&path))? {
                    side.files.extend(change.files);
                    found = true;
                }
            }
            if !found {
                return Ok(None);
            }
        }
        let [forth, back] = sides;
        Ok(Some(SeriesState::Half { forth, back }))
    }

    /// The files that the series changes.
    fn paths(&self) -> Result<BTreeSet<PathBuf>> {
        let mut paths = BTreeSet::new();
        for (_, text) in &self.patches {
            paths.extend(changes(text)?.iter().map(|change| PathBuf::from(change.path())));
        }
        Ok(paths)
    }

    /// The changes of applying or reverting the series (in `only` one file); or which patch does not fit.
    fn change(
        &self,
        tree: &Path,
        way: Way,
        only: Option<&Path>,
    ) -> Result<std::result::Result<Change, String>> {
        let mut change = Change { files: BTreeMap::new() };
        let mut patches: Vec<&(&str, &str)> = self.patches.iter().collect();
        if way == Way::Back {
            patches.reverse();
        }
        for (name, text) in patches {
            if let Err(why) = change.add(tree, text, way, only)? {
                return Ok(Err(format!("{name}: {why}")));
            }
        }
        Ok(Ok(change))
    }
}

impl Change {
    /// Adds the changes of one patch, except those in files that a tree may lack.
    fn add(
        &mut self,
        tree: &Path,
        text: &str,
        way: Way,
        only: Option<&Path>,
    ) -> Result<std::result::Result<(), String>> {
        for file in changes(text)? {
            let (name, creates) = (file.path(), file.old.is_none());
            let path = PathBuf::from(name);
            if only.is_some_and(|only| only != path) {
                continue;
            }
            let (_, now) = match self.files.get(&path) {
                Some(state) => state.clone(),
                None => {
                    let now = content(&tree.join(&path))?;
                    self.files.insert(path.clone(), (now.clone(), now.clone()));
                    (now.clone(), now)
                }
            };
            if now.is_none() && OPTIONAL.contains(&name) {
                self.files.remove(&path);
                continue;
            }
            let next = match (creates, way, &now) {
                (true, Way::Forth, Some(_)) => return Ok(Err(format!("{name} is there already"))),
                (_, _, None) if !creates || way == Way::Back => {
                    return Ok(Err(format!("there is no {name}")));
                }
                (_, Way::Forth, now) => text_of(&file, now.as_deref()).map(Some),
                (_, Way::Back, now) => text_of(&file.reversed(), now.as_deref())
                    .map(|text| Some(text).filter(|text| !creates || !text.is_empty())),
            };
            match next {
                Ok(next) => {
                    if let Some(state) = self.files.get_mut(&path) {
                        state.1 = next;
                    }
                }
                Err(error) => return Ok(Err(format!("{name}: {error}"))),
            }
        }
        Ok(Ok(()))
    }

    /// The paths it changes.
    fn paths(&self) -> Vec<String> {
        self.files.keys().map(|path| path.display().to_string()).collect()
    }

    /// Writes the change: new files are first put beside the old ones; if one cannot replace its file, the old files
    /// are restored.
    fn write(&self, tree: &Path) -> Result<()> {
        let mut prepared = Vec::new();
        let prepare = |prepared: &mut Vec<(NamedTempFile, PathBuf)>| -> Result<()> {
            for (path, (old, new)) in &self.files {
                let Some(new) = new else { continue };
                let path = tree.join(path);
                let mode = if old.is_some() { fs::metadata(&path)?.permissions().mode() } else { 0o644 };
                let mut temporary = output::temporary(output::beside(&path), Some(mode))?;
                temporary.write_all(new.as_bytes())?;
                prepared.push((temporary, path));
            }
            Ok(())
        };
        let swap = |prepared: Vec<(NamedTempFile, PathBuf)>| -> Result<()> {
            for (temporary, path) in prepared {
                temporary.persist(path)?;
            }
            for (path, (_, new)) in &self.files {
                if new.is_none() {
                    fs::remove_file(tree.join(path))?;
                }
            }
            Ok(())
        };
        if let Err(error) = prepare(&mut prepared) {
            return Err(error.context("cannot change the tree: it is left as it was"));
        }
        if let Err(error) = swap(prepared) {
            for (path, (old, _)) in &self.files {
                match old {
                    Some(old) => drop(fs::write(tree.join(path), old)),
                    None => drop(fs::remove_file(tree.join(path))),
                }
            }
            return Err(error.context("cannot change the tree: it is as it was"));
        }
        Ok(())
    }
}

/// The changes in the text of one of klpbuild's own patches.
fn changes(text: &str) -> Result<Vec<FileChange>> {
    let changes = read::parse(text.as_bytes()).context(UNREADABLE)?;
    changes.into_iter().map(|change| change.stripped(1).context(UNREADABLE)).collect()
}

/// The new text of a file; or why the patch does not fit it.
fn text_of(change: &FileChange, now: Option<&str>) -> std::result::Result<String, String> {
    let (bytes, _) =
        change.apply_nearest(now.unwrap_or_default().as_bytes()).map_err(|misfit| misfit.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// Files that some trees lack, and whose changes nothing else needs: kernels have had Documentation/dontdiff up to
/// 6.17, and a tree that was unpacked or copied may lack .gitignore.
const OPTIONAL: [&str; 2] = ["Documentation/dontdiff", ".gitignore"];

fn content(path: &Path) -> Result<FileText> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Runs `command`.
///
/// # Errors
/// There is no kernel's source tree, no series fits it, or it cannot be written.
pub fn patches(options: &Options, command: &PatchesCommand) -> Result<Exit> {
    let start = asked::start(options)?;
    match command {
        PatchesCommand::List => list(tree::source_if_known(&start).as_deref()),
        PatchesCommand::Show { series } => show(tree::source_if_known(&start).as_deref(), series.as_deref()),
        PatchesCommand::Check { format: Format::Json } => checked::print(&source(&start)?, find),
        PatchesCommand::Check { .. } => check(&source(&start)?, options.quiet),
        PatchesCommand::Apply => change(options, &source(&start)?, Way::Forth),
        PatchesCommand::Revert => change(options, &source(&start)?, Way::Back),
    }
}

fn source(start: &Path) -> Result<PathBuf> {
    tree::source_if_known(start).with_context(|| {
        format!(
            "{} is no kernel's source tree: start klpbuild in one, or name one with -C TREE",
            start.display()
        )
    })
}

fn list(tree: Option<&Path>) -> Result<Exit> {
    let found = tree.map(find).transpose()?.and_then(std::result::Result::ok);
    for series in &ALL {
        let state = match found.as_ref().filter(|(found, _)| found.name == series.name) {
            Some((_, SeriesState::Fits(_))) => "  fits this tree",
            Some((_, SeriesState::Applied(_))) => "  applied to this tree",
            Some((_, SeriesState::Half { .. })) => "  half applied to this tree",
            Some((_, SeriesState::Neither(_))) | None => "",
        };
        let line = format!("{:10}  {:14}  {}{state}", series.name, series.range, count(series));
        terminal::out(line.trim_end().to_owned() + "\n");
    }
    Ok(Exit::Done)
}

fn count(series: &Series) -> String {
    format!("{} patches", series.patches.len())
}

/// The series that fits the tree or is applied to it, with its state; or one reason for each series that does not
/// fit.
fn find(tree: &Path) -> Result<std::result::Result<(&'static Series, SeriesState), Vec<String>>> {
    let mut reasons = Vec::new();
    let mut half = None;
    let era = Kbuild::detect(tree)?.era;
    for series in ALL.iter().filter(|series| series.era == era) {
        match series.state(tree)? {
            SeriesState::Neither(why) => reasons.push(format!("{}: {why}", series.name)),
            state @ SeriesState::Half { .. } => half = half.or(Some((series, state))),
            state => return Ok(Ok((series, state))),
        }
    }
    Ok(half.ok_or(reasons))
}

/// The series that fits the tree or is applied to it, with its state.
///
/// # Errors
/// There is none; the message has a reason for each series.
fn chosen(tree: &Path) -> Result<(&'static Series, SeriesState)> {
    match find(tree)? {
        Ok(found) => Ok(found),
        Err(reasons) => bail!(
            "no series fits {}: it may carry a part of one already, or its makefiles are unlike any known ones\n{}",
            tree.display(),
            reasons.join("\n")
        ),
    }
}

fn show(tree: Option<&Path>, name: Option<&str>) -> Result<Exit> {
    let series = match (name, tree) {
        (Some(name), _) => ALL.iter().find(|series| series.name == name).with_context(|| {
            let names: Vec<&str> = ALL.iter().map(|series| series.name).collect();
            format!("{name}: there is no such series; there are {}", names.join(", "))
        })?,
        (None, Some(tree)) => chosen(tree)?.0,
        (None, None) => {
            bail!("name a series (klpbuild patches list), or start klpbuild in a kernel's source tree")
        }
    };
    for (_, text) in series.patches {
        if !tree.is_some_and(|tree| is_for_missing_files(tree, text)) {
            terminal::out(text);
        }
    }
    Ok(Exit::Done)
}

/// Whether a patch changes only files that the tree lacks: `git am` would stop at it.
fn is_for_missing_files(tree: &Path, text: &str) -> bool {
    let names = text.lines().filter_map(|line| line.strip_prefix("+++ b/"));
    names.into_iter().all(|name| OPTIONAL.contains(&name) && !tree.join(name).exists())
}

fn check(tree: &Path, quiet: bool) -> Result<Exit> {
    let (series, state) = chosen(tree)?;
    if !quiet {
        let what = match state {
            SeriesState::Fits(change) => format!("fits; it changes {}", change.paths().join(", ")),
            SeriesState::Applied(_) => "is applied".to_owned(),
            SeriesState::Half { forth, back } => bail!(
                "{} is half applied to {}: {} have it, and {} do not; `klpbuild patches apply` goes on with it, and \
                 `klpbuild patches revert` takes it back",
                series.name,
                tree.display(),
                back.paths().join(", "),
                forth.paths().join(", ")
            ),
            SeriesState::Neither(why) => why,
        };
        terminal::tell(format_args!("{} ({}) {what}", series.name, series.range));
    }
    Ok(Exit::Done)
}

/// Applies the series that fits, or reverts the one that is applied.
fn change(options: &Options, tree: &Path, way: Way) -> Result<Exit> {
    let (series, state) = chosen(tree)?;
    let change = match (state, way) {
        (SeriesState::Fits(change) | SeriesState::Half { forth: change, .. }, Way::Forth) => {
            check_clean(tree, &change)?;
            change
        }
        (SeriesState::Applied(change) | SeriesState::Half { back: change, .. }, Way::Back) => change,
        (SeriesState::Applied(_), Way::Forth) => {
            bail!("{} is applied to {} already", series.name, tree.display())
        }
        _ => bail!("no series is applied to {}", tree.display()),
    };
    if options.dry_run {
        change.paths().iter().for_each(|path| terminal::out(format!("{path}\n")));
        return Ok(Exit::Done);
    }
    let mut watch = Watch::begin()?;
    change.write(tree)?;
    if !options.quiet {
        let what = if way == Way::Back { "is taken back from" } else { "is applied to" };
        terminal::tell(format_args!("{} ({}) {what} {}", series.name, count(series), tree.display()));
        if way == Way::Forth {
            terminal::tell(
                "a configuration that is there already needs the new option CONFIG_KLP_CONVERT: make olddefconfig \
                 switches it on",
            );
        }
    }
    Ok(watch.received().map_or(Exit::Done, Exit::Signal))
}

/// Checks that in a git repository, the files to be changed have no uncommitted changes.
fn check_clean(tree: &Path, change: &Change) -> Result<()> {
    if program::find("git").is_none() {
        return Ok(());
    }
    let mut git = Program::new("git", tree, "is git installed?");
    git.args(["status", "--porcelain", "--"]).args(change.paths());
    let output = git.capture("")?;
    let dirty: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| Some(line.get(3..)?.to_owned()))
        .collect();
    ensure!(
        !output.success || dirty.is_empty(),
        "{} has changes that are not committed: commit them first, or stash them ({})",
        tree.display(),
        dirty.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_is_a_mail_with_a_reason() {
        for series in &ALL {
            for (name, text) in series.patches {
                let head = text.split("\ndiff --git ").next().unwrap();
                assert!(
                    head.starts_with("From 0000000000000000") && head.contains("\nSubject: [PATCH "),
                    "{name}"
                );
                assert!(
                    head.split("\n\n").nth(1).is_some_and(|body| !body.is_empty()),
                    "{}/{name}",
                    series.name
                );
                changes(text).unwrap();
            }
        }
    }
}
