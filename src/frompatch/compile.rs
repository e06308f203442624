// SPDX-License-Identifier: GPL-2.0-only
//! Compiles one file as kbuild does, but to assembler text and with a section for each function and variable: the
//! original, and the patched version.
//!
//! The compiler sees the patched files of the overlay in place of the tree's: their directories stand before the tree's
//! in the search for headers, and the names that `__FILE__` gives are mapped to those that kbuild's own command gives.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use rayon::prelude::*;

use crate::frompatch::overlay;
use crate::frompatch::recipe::Recipe;
use crate::frompatch::units::Unit;
use crate::host::paths;
use crate::host::program::Program;

/// The trees that a file is compiled with.
#[derive(Debug, Clone, Copy)]
pub struct Trees<'a> {
    /// The source tree.
    pub source: &'a Path,
    /// The object tree, in which the compiler is run.
    pub objects: &'a Path,
    /// The patched files.
    pub overlay: &'a Path,
    /// Headers that patches may include beyond the kernel's.
    pub helpers: &'a Path,
    /// Where the results are written.
    pub work: &'a Path,
}

/// The results of compiling one file.
#[derive(Debug)]
pub struct Compiled {
    /// The file.
    pub unit: Unit,
    /// The assembler text of the original.
    pub original: PathBuf,
    /// The assembler text of the patched version.
    pub patched: PathBuf,
    /// The object of the original.
    pub object: PathBuf,
    /// The files of the overlay that it was compiled with.
    pub seen: Vec<String>,
}

impl Compiled {
    /// Whether it was compiled with `path` of the source tree: its own file, or one that it includes.
    pub fn sees(&self, path: &str) -> bool {
        self.unit.path == path || self.seen.iter().any(|seen| seen == path)
    }
}

/// Which of the two versions of a file to compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Original,
    Patched,
}

/// Compiles both versions of all units, several at once.
///
/// # Errors
/// A unit does not compile, or the compiler reads a patched file's original from the source tree.
pub fn all(units: Vec<Unit>, trees: Trees<'_>) -> Result<Vec<Compiled>> {
    let tasks: Vec<(&Unit, Version)> =
        units.iter().flat_map(|unit| [(unit, Version::Original), (unit, Version::Patched)]).collect();
    tasks.par_iter().try_for_each(|(unit, version)| one(unit, *version, trees))?;
    units
        .into_iter()
        .map(|unit| {
            let [original, patched, object] =
                ["orig.s", "new.s", "orig.o"].map(|suffix| place(trees.work, &unit, suffix));
            let list = fs::read_to_string(place(trees.work, &unit, "new.d"))?;
            let seen = dependencies(&list).into_iter().filter_map(|file| {
                // With `#include "../../tools/lib/bpf/relo_core.c"`, the directories above are in the name.
                let file = paths::normal(&file);
                Some(Path::new(&file).strip_prefix(trees.overlay).ok()?.to_str()?.to_owned())
            });
            Ok(Compiled { seen: seen.collect(), unit, original, patched, object })
        })
        .collect()
}

/// Compiles one patched unit to the file `output`, with the overlay of `trees`.
///
/// # Errors
/// It does not compile.
pub fn patched_to(unit: &Unit, trees: Trees<'_>, output: &Path) -> Result<()> {
    let mut command = command(&unit.recipe, trees, Version::Patched, &unit.path);
    command.arg("-S").arg("-o").arg(text(output)?).arg(source(unit, trees, Version::Patched)?);
    run(&command, unit, Version::Patched, trees)
}

/// The files that the unit was compiled with, unpatched and patched.
///
/// # Errors
/// A list of dependencies cannot be read.
pub fn files_of(unit: &Unit, trees: Trees<'_>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for suffix in ["orig.d", "new.d"] {
        let list = fs::read_to_string(place(trees.work, unit, suffix))?;
        files.extend(dependencies(&list).iter().map(|file| trees.objects.join(paths::normal(file))));
    }
    Ok(files)
}

/// Compiles a unit as the kernel has it; returns the paths of its assembler text and of its object.
///
/// # Errors
/// It does not compile.
pub fn original(unit: &Unit, trees: Trees<'_>) -> Result<[PathBuf; 2]> {
    one(unit, Version::Original, trees)?;
    Ok(["orig.s", "orig.o"].map(|suffix| place(trees.work, unit, suffix)))
}

/// The preprocessed text of a unit as the kernel has it, with line numbers; `how` are further options.
///
/// # Errors
/// It cannot be preprocessed.
pub fn lines_of_original(unit: &Unit, trees: Trees<'_>, how: &[&str]) -> Result<String> {
    lines(unit, trees, Version::Original, how)
}

/// The preprocessed text of a unit as the patches make it, with line numbers; `how` are further options.
///
/// # Errors
/// It cannot be preprocessed.
pub fn lines_of_patched(unit: &Unit, trees: Trees<'_>, how: &[&str]) -> Result<String> {
    lines(unit, trees, Version::Patched, how)
}

fn lines(unit: &Unit, trees: Trees<'_>, version: Version, how: &[&str]) -> Result<String> {
    Ok(String::from_utf8_lossy(&expanded(unit, trees, version, how)?).into_owned())
}

/// Compiles the file `source` with the options of a unit of the kernel, and with headers of `directories`, to
/// assembler text and an object beside it. If that fails, returns the compiler's messages.
///
/// # Errors
/// The compiler cannot be run.
pub fn other(
    unit: &Unit,
    trees: Trees<'_>,
    source: &Path,
    directories: &[&Path],
) -> Result<Result<[PathBuf; 2], String>> {
    let made = ["s", "o"].map(|suffix| source.with_extension(suffix));
    for (how, output) in ["-S", "-c"].into_iter().zip(&made) {
        let mut command = command(&unit.recipe, trees, Version::Original, &unit.path);
        for directory in directories {
            command.arg(format!("-I{}", text(directory)?));
        }
        let ran = command.arg(how).arg("-o").arg(text(output)?).arg(text(source)?).capture("")?;
        if !ran.success {
            return Ok(Err(String::from_utf8_lossy(&ran.stderr).into_owned()));
        }
    }
    Ok(Ok(made))
}

/// Whether the patches change the text of a unit in assembler.
///
/// # Errors
/// It cannot be preprocessed.
pub fn is_changed(unit: &Unit, trees: Trees<'_>) -> Result<bool> {
    let [old, new] = both_preprocessed(unit, trees).with_context(|| unit.path.clone())?;
    Ok(old != new)
}

/// The preprocessed texts of both versions of a unit, without line numbers.
///
/// # Errors
/// It cannot be preprocessed.
pub fn both_preprocessed(unit: &Unit, trees: Trees<'_>) -> Result<[Vec<u8>; 2]> {
    Ok([
        expanded(unit, trees, Version::Original, &["-P"])?,
        expanded(unit, trees, Version::Patched, &["-P"])?,
    ])
}

/// The preprocessed text of a unit, without line numbers: equal texts compile to equal code.
///
/// # Errors
/// It cannot be preprocessed.
pub fn preprocessed(unit: &Unit, trees: Trees<'_>) -> Result<Vec<u8>> {
    expanded(unit, trees, Version::Patched, &["-P"])
}

fn expanded(unit: &Unit, trees: Trees<'_>, version: Version, how: &[&str]) -> Result<Vec<u8>> {
    let mut command = command(&unit.recipe, trees, version, &unit.path);
    let source = source(unit, trees, version)?;
    let output = command.arg("-E").args(how.iter().copied()).arg(source).capture("")?;
    ensure!(output.success, "{}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(output.stdout)
}

/// The path of a result of a unit.
pub fn place(work: &Path, unit: &Unit, suffix: &str) -> PathBuf {
    work.join(format!("{}.{suffix}", unit.stem()))
}

fn one(unit: &Unit, version: Version, trees: Trees<'_>) -> Result<()> {
    let suffix = if version == Version::Original { "orig" } else { "new" };
    let assembler = place(trees.work, unit, &format!("{suffix}.s"));
    fs::create_dir_all(assembler.parent().unwrap_or(trees.work))?;
    let list = place(trees.work, unit, &format!("{suffix}.d"));
    // A header that includes a patched one with quotes finds the original beside itself: it has to lie beside the
    // patched one.
    for _ in 0..16 {
        let mut command = command(&unit.recipe, trees, version, &unit.path);
        command.arg(format!("-Wp,-MMD,{}", text(&list)?));
        command.arg("-S").arg("-o").arg(text(&assembler)?).arg(source(unit, trees, version)?);
        run(&command, unit, version, trees)?;
        if version == Version::Original {
            return if unit.recipe.writes_objects() {
                compile(unit, trees)
            } else {
                assemble(unit, &assembler, trees)
            };
        }
        let seen = dependencies(&fs::read_to_string(&list)?);
        let from_source = seen.iter().filter(|file| !Path::new(file).starts_with(trees.overlay));
        let from_source = from_source.filter_map(|file| in_source(file, trees)).collect();
        if !overlay::carry_includers(&from_source, trees.overlay, trees.source)? {
            return Ok(());
        }
    }
    bail!(
        "{}: the compiler keeps finding the unpatched text of a patched header in the source tree",
        unit.path
    )
}

/// The path of the unit's file: in the overlay if it is patched, in the tree if only files that it includes are.
fn source(unit: &Unit, trees: Trees<'_>, version: Version) -> Result<String> {
    let own = trees.overlay.join(&unit.path);
    if version == Version::Patched && own.is_file() { text(&own) } else { Ok(unit.recipe.source.clone()) }
}

/// Compiles the original to its object without assembler text in between.
fn compile(unit: &Unit, trees: Trees<'_>) -> Result<()> {
    let mut command = command(&unit.recipe, trees, Version::Original, &unit.path);
    command.args(unit.recipe.debugging.iter().cloned());
    let object = place(trees.work, unit, "orig.o");
    command.arg("-c").arg("-o").arg(text(&object)?).arg(source(unit, trees, Version::Original)?);
    run(&command, unit, Version::Original, trees)
}

/// Assembles the original's assembler text to its object.
fn assemble(unit: &Unit, assembler: &Path, trees: Trees<'_>) -> Result<()> {
    let mut command = Program::new(&unit.recipe.compiler, trees.objects, "is it installed?");
    // The options for the assembler; the others are for the compiler proper.
    let is_for_assembler = |word: &&String| {
        word.starts_with("-Wa,")
            || word.starts_with("-m")
            || word.starts_with("--target")
            || *word == "-fintegrated-as"
    };
    command.args(unit.recipe.options.iter().filter(is_for_assembler));
    command.args(unit.recipe.options.iter().filter(|word| word.starts_with("-I")));
    let object = place(trees.work, unit, "orig.o");
    command.arg("-c").arg("-o").arg(text(&object)?).arg(text(assembler)?);
    run(&command, unit, Version::Original, trees)
}

fn run(command: &Program, unit: &Unit, version: Version, trees: Trees<'_>) -> Result<()> {
    let output = command.capture("")?;
    if output.success {
        return Ok(());
    }
    let overlay = format!("{}/", trees.overlay.display());
    let words = String::from_utf8_lossy(&output.stderr).replace(&overlay, "");
    let words: Vec<&str> = words.lines().take(40).collect();
    let what = match version {
        Version::Original => "does not compile as the kernel's command has it, even without the patch",
        Version::Patched => "does not compile with the patch",
    };
    bail!("{} {what}:\n{}", unit.path, words.join("\n"))
}

/// The compiler's command, without its input and output.
fn command(recipe: &Recipe, trees: Trees<'_>, version: Version, path: &str) -> Program {
    let mut command = Program::new(&recipe.compiler, trees.objects, "is it installed?");
    if version == Version::Original {
        command.args(recipe.options.iter().cloned());
    } else {
        command.args(with_overlay(recipe, trees, path));
        command.args(["-idirafter".to_owned(), trees.helpers.display().to_string()]);
    }
    command.args(["-ffunction-sections", "-fdata-sections", "-g0"]);
    command
}

/// The options with the overlay before the tree.
fn with_overlay(recipe: &Recipe, trees: Trees<'_>, path: &str) -> Vec<String> {
    let overlay = trees.overlay.display();
    let mut options = Vec::new();
    let mut maps = vec![format!("-fmacro-prefix-map={overlay}/={}", prefix(recipe, path))];
    let mut words = recipe.options.iter().peekable();
    while let Some(word) = words.next() {
        if let Some(directory) = word.strip_prefix("-I").filter(|directory| !directory.is_empty())
            && let Some(inside) = in_source(directory, trees)
            && trees.overlay.join(&inside).is_dir()
        {
            let inside = trees.overlay.join(&inside).display().to_string();
            // The compiler puts no second slash behind `-Idirectory/`.
            let named = format!("{}/", directory.trim_end_matches('/'));
            maps.push(format!("-fmacro-prefix-map={inside}/={}", shown(recipe, &named)));
            options.push(format!("-I{inside}"));
        }
        options.push(word.clone());
        if word == "-include"
            && let Some(file) = words.next()
        {
            let own = in_source(file, trees).map(|inside| trees.overlay.join(inside));
            let own = own.filter(|own| own.is_file()).map(|own| own.display().to_string());
            options.push(own.unwrap_or_else(|| file.clone()));
        }
    }
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    options.extend(["-iquote".to_owned(), trees.source.join(directory).display().to_string()]);
    // If kbuild reaches a file through another directory (amdgpu/../amdkfd/), this is the path it gives.
    let given = paths::end_of(&recipe.source, path).unwrap_or(path);
    if given != path {
        maps.push(format!("-fmacro-prefix-map={overlay}/{path}={}{given}", prefix(recipe, path)));
    }
    // If several mappings fit, the compiler takes the last one.
    options.extend(maps);
    options
}

/// What the kernel's `__FILE__` has before the path of a source file: nothing, or the source tree.
fn prefix(recipe: &Recipe, path: &str) -> String {
    let given = paths::end_of(&recipe.source, path).unwrap_or(path);
    let before = recipe.source.strip_suffix(given).unwrap_or_default();
    if mapped(recipe, before) { String::new() } else { before.to_owned() }
}

/// Whether the command maps names that begin with `before` to what follows.
fn mapped(recipe: &Recipe, before: &str) -> bool {
    removed_prefixes(recipe).any(|prefix| prefix == before)
}

/// The path of a directory of headers in `__FILE__`.
fn shown(recipe: &Recipe, directory: &str) -> String {
    removed_prefixes(recipe).find_map(|prefix| directory.strip_prefix(prefix)).unwrap_or(directory).to_owned()
}

/// The prefixes that the command removes from names in `__FILE__`.
fn removed_prefixes(recipe: &Recipe) -> impl Iterator<Item = &str> {
    const MAPS: [&str; 2] = ["-fmacro-prefix-map=", "-ffile-prefix-map="];
    let maps = recipe.options.iter().filter_map(|word| MAPS.iter().find_map(|map| word.strip_prefix(map)));
    maps.filter_map(|map| map.strip_suffix('='))
}

/// The path in the source tree of a directory or file that the command names, if it is there.
fn in_source(named: &str, trees: Trees<'_>) -> Option<PathBuf> {
    let path = fs::canonicalize(trees.objects.join(named)).ok()?;
    Some(path.strip_prefix(trees.source).ok()?.to_path_buf())
}

/// The files in a list of dependencies that a compiler wrote for make.
fn dependencies(text: &str) -> Vec<String> {
    let text = text.split_once(':').map_or(text, |(_, list)| list);
    text.split_whitespace().filter(|word| *word != "\\").map(str::to_owned).collect()
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("{}: not valid UTF-8", path.display()))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_directory_of_headers_are_the_kernels() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let [source, overlay] = ["source", "overlay"].map(|tree| root.join(tree));
        for tree in [&source, &overlay] {
            fs::create_dir_all(tree.join("gpu/one")).unwrap();
        }
        let trees =
            Trees { source: &source, objects: &source, overlay: &overlay, helpers: &root, work: &root };
        let of = |directory: &str| {
            let recipe = Recipe {
                debugging: Vec::new(),
                compiler: "gcc".to_owned(),
                options: vec![
                    format!("-fmacro-prefix-map={}/=", source.display()),
                    format!("-I{}", source.join("gpu").display()) + directory,
                ],
                source: source.join("gpu/one/a.c").display().to_string(),
                object: "one".to_owned(),
            };
            let begin = format!("-fmacro-prefix-map={}", overlay.display());
            let options = with_overlay(&recipe, trees, "gpu/one/a.c").into_iter();
            options.filter_map(|word| word.strip_prefix(&begin).map(str::to_owned)).collect::<Vec<_>>()
        };
        for directory in ["/one", "/one/"] {
            assert_eq!(of(directory), ["/=", "/gpu/one/=gpu/one/"], "{directory}");
        }
    }
}
