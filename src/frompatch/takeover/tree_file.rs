// SPDX-License-Identifier: GPL-2.0-only
//! Which source file a function is in, by debugging information.

use anyhow::{Context as _, Result, ensure};

use crate::frompatch::system_call;
use crate::frompatch::target::TargetKernel;
use crate::host::paths;
use crate::kernel::sources::KernelDefinition;
use crate::livepatch::candidates::SourcePlaces;

/// A file of the source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TreeFile {
    /// Its path in the source tree.
    pub(super) path: String,
    /// The path by which kbuild reaches it.
    given: String,
}

impl TreeFile {
    /// The goal with which make compiles it.
    pub(super) fn goal(&self) -> String {
        format!("{}.o", paths::stem(&self.given))
    }
}

/// The source file of the function `name`.
///
/// # Errors
/// It is not known, or is not compiled on its own.
pub(super) fn of(target: &TargetKernel, name: &str, known: &KernelDefinition) -> Result<TreeFile> {
    let text = with_name_of_text(name, known);
    let places = SourcePlaces::of(&target.sources, [known].into_iter().chain(&text));
    let defined = places.at(known).or_else(|| places.at(text.as_ref()?));
    let defined = defined.with_context(|| {
        format!(
            "which file {name} is in is not known: install the debugging information of {} (klpbuild doctor names the \
             package)",
            known.object
        )
    })?;
    let unit = if defined.unit.is_empty() { &defined.file } else { &defined.unit };
    let [file, given] = [&defined.file, unit].map(|path| in_source(target, path));
    let given =
        given.with_context(|| format!("{unit}, where {name} is, is not in {}", target.source.display()))?;
    let path = paths::normal(&given);
    let file = file.map(|file| paths::normal(&file)).unwrap_or_default();
    ensure!(file == path, "{name} is in {file}, which {path} includes");
    ensure!(path.ends_with(".c"), "{name} is in {path}, which is not C");
    Ok(TreeFile { path, given })
}

/// The definition of a system call, with the name that the function with its text has in debugging information.
fn with_name_of_text(name: &str, known: &KernelDefinition) -> Option<KernelDefinition> {
    let mut known = known.clone();
    known.definition.as_mut()?.name = system_call::text_of(name)?.into_bytes();
    Some(known)
}

/// The longest end of a path that exists in the source tree.
fn in_source(target: &TargetKernel, path: &str) -> Option<String> {
    let path = path.trim_start_matches("./");
    let starts = std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at + 1));
    let ends = starts.filter_map(|at| path.get(at..));
    let mut inside = ends.filter(|end| !end.is_empty() && !end.starts_with("../"));
    inside
        .find(|end| target.source.join(end.trim_start_matches('/')).is_file() && !end.starts_with('/'))
        .map(str::to_owned)
}
