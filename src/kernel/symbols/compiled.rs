// SPDX-License-Identifier: GPL-2.0-only
//! Which source files a kernel that someone else built was compiled of, by the debugging information of its objects.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;

use crate::elf::lines;
use crate::host::words::count;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Objects;

/// A file that every kernel is compiled of: what stands before it stands before the others too.
const KNOWN: &str = "init/main.c";

/// Those of `paths`, which are relative to the source tree, that vmlinux and the modules were compiled of.
///
/// # Errors
/// The debugging information of vmlinux or of a module is not here.
pub fn compiled(objects: &Objects, paths: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let vmlinux = objects.told_by(VMLINUX).as_deref().and_then(lines::compiled);
    let vmlinux = vmlinux.context("vmlinux has no debugging information here")?;
    let before = vmlinux.iter().filter_map(|name| name.strip_suffix(KNOWN)).min_by_key(|before| before.len());
    let before =
        before.context("the debugging information of vmlinux does not name the kernel's source files")?;
    let modules = objects.all_told();
    let missing = objects.names().count() - modules.len();
    ensure!(missing == 0, "the debugging information of {} is not here", count(missing, "module"));
    let named: HashSet<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
    let of_modules: Vec<Vec<String>> = (modules.par_iter())
        .filter_map(|(name, file)| match lines::mentions(file, &named) {
            Some(false) => None,
            Some(true) => Some(Ok(lines::compiled(file).unwrap_or_default())),
            None => Some(Err(anyhow::anyhow!("{name} has no debugging information here"))),
        })
        .collect::<Result<_>>()?;
    let all = vmlinux.iter().chain(of_modules.iter().flatten());
    let inside = all.filter_map(|name| name.strip_prefix(before));
    Ok(inside.filter(|name| paths.contains(*name)).map(str::to_owned).collect())
}
