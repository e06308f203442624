// SPDX-License-Identifier: GPL-2.0-only
//! Whether the headers of an object tree are those that it was built with. Comparing the unpatched code with the kernel's
//! proves what that code uses of them; what only the patched code uses, nothing proves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::frompatch::apply::Touched;
use crate::frompatch::compile::{self, Compiled, Trees};
use crate::frompatch::recipe;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::{Objects, Vmlinux};

/// A list of options, which make does not go by: it goes by a file for each option (scripts/basic/fixdep.c).
const OPTIONS: &str = "include/generated/autoconf.h";

/// Checks that no header and no option that a unit is compiled with, or that the patches name, is newer than the unit's
/// object and what of `objects` that is linked into: then make would compile it again. The unit's own file may be newer,
/// for its code is compared with the kernel's.
///
/// # Errors
/// One is newer, or a list of dependencies cannot be read.
pub fn check(compiled: &[Compiled], patched: &[Touched], trees: Trees<'_>, objects: &Objects) -> Result<()> {
    let texts = patched.iter().filter_map(|file| file.patched.as_deref());
    let named: Vec<PathBuf> = texts.flat_map(|text| named_options(trees.objects, text)).collect();
    for compiled in compiled {
        let unit = &compiled.unit;
        let object = trees.objects.join(format!("{}.o", unit.stem()));
        let image = match unit.recipe.object.as_str() {
            VMLINUX => objects.vmlinux.as_ref().and_then(Vmlinux::image).map(Path::to_owned),
            module => objects.file(module),
        };
        let built = [Some(object), image].into_iter().flatten().filter_map(|file| Some((time(&file)?, file)));
        let Some((built, oldest)) = built.min() else { continue };
        let own = [trees.source.join(&unit.path), trees.overlay.join(&unit.path)];
        let mut files: Vec<PathBuf> = compile::files_of(unit, trees)?;
        files.retain(|file| !own.contains(file) && !file.ends_with(OPTIONS) && !is_made_for(trees, file));
        files.extend(options(trees.objects, &unit.path));
        let newer = files.iter().chain(&named).find(|file| time(file).is_some_and(|time| time > built));
        ensure!(
            newer.is_none(),
            "{}: {} is newer than {}: the kernel may be built with another one; build it again, or, if it is the same, give \
             it an older time (touch -r {} FILE)",
            unit.path,
            newer.map(|file| shown(file, trees)).unwrap_or_default(),
            shown(&oldest, trees),
            oldest.display()
        );
    }
    Ok(())
}

/// The files that make has for the options that a text names: with the option's own name from 5.13 on, and in small
/// letters with directories before.
fn named_options(objtree: &Path, text: &[u8]) -> Vec<PathBuf> {
    let text = String::from_utf8_lossy(text);
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let names: BTreeSet<&str> = words.filter_map(|word| word.strip_prefix("CONFIG_")).collect();
    let files = names.into_iter().flat_map(|name| {
        let old = format!("include/config/{}.h", name.to_ascii_lowercase().replace('_', "/"));
        [format!("include/config/{name}"), old]
    });
    files.map(|file| objtree.join(file)).collect()
}

/// Whether a file was written for this run: a link in the overlay was, but not what it leads to.
fn is_made_for(trees: Trees<'_>, file: &Path) -> bool {
    file.starts_with(trees.work) && fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file())
}

/// The files that make has for the options that the unit `path` depends on.
fn options(objtree: &Path, path: &str) -> Vec<PathBuf> {
    let text = fs::read_to_string(recipe::file_of(objtree, path)).unwrap_or_default();
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
