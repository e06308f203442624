// SPDX-License-Identifier: GPL-2.0-only
//! Whether the headers of an object tree are those that it was built with. Comparing the unpatched code with the kernel's
//! proves what that code uses of them; what only the patched code uses, nothing proves.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::frompatch::compile::{self, Compiled, Trees};

/// A list of options, which make does not go by: it goes by a file for each option (scripts/basic/fixdep.c).
const OPTIONS: &str = "include/generated/autoconf.h";

/// Checks that no header and no option that a unit is compiled with is newer than the unit's object: then make would
/// compile it again. The unit's own file may be newer, for its code is compared with the kernel's.
///
/// # Errors
/// One is newer, or a list of dependencies cannot be read.
pub fn check(compiled: &[Compiled], trees: Trees<'_>) -> Result<()> {
    for compiled in compiled {
        let unit = &compiled.unit;
        let object = format!("{}.o", unit.stem());
        let Some(built) = time(&trees.objects.join(&object)) else { continue };
        let own = [trees.source.join(&unit.path), trees.overlay.join(&unit.path)];
        let mut files: Vec<PathBuf> = compile::files_of(unit, trees)?;
        files.retain(|file| !own.contains(file) && !file.ends_with(OPTIONS) && !is_made_for(trees, file));
        files.extend(options(trees.objects, unit.stem()));
        let newer = files.iter().find(|file| time(file).is_some_and(|time| time > built));
        ensure!(
            newer.is_none(),
            "{}: {} is newer than {object}: the kernel may be built with another one; build it again, or, if it is the same, \
             give it an older time (touch -r {} FILE)",
            unit.path,
            newer.map(|file| shown(file, trees)).unwrap_or_default(),
            trees.objects.join(&object).display()
        );
    }
    Ok(())
}

/// Whether a file was written for this run: a link in the overlay was, but not what it leads to.
fn is_made_for(trees: Trees<'_>, file: &Path) -> bool {
    file.starts_with(trees.work) && fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file())
}

/// The files that make has for the options that a unit depends on.
fn options(objtree: &Path, stem: &str) -> Vec<PathBuf> {
    let (directory, name) = stem.rsplit_once('/').unwrap_or((".", stem));
    let command = fs::read_to_string(objtree.join(directory).join(format!(".{name}.o.cmd")));
    let text = command.unwrap_or_default();
    let words = text.split(|letter: char| letter.is_whitespace() || letter == ')');
    words.filter(|word| word.starts_with("include/config/")).map(|word| objtree.join(word)).collect()
}

fn time(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).ok()?.modified().ok()
}

/// A file as the user knows it.
fn shown(file: &Path, trees: Trees<'_>) -> String {
    let inside =
        [trees.overlay, trees.source, trees.objects].iter().find_map(|tree| file.strip_prefix(tree).ok());
    inside.unwrap_or(file).display().to_string()
}
