// SPDX-License-Identifier: GPL-2.0-only
//! The kernels that are installed, each with the files that are there: for the list of kernels, and for the error
//! when a kernel is missing.

use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use serde::Serialize;

use crate::elf::notes;
use crate::host::program;
use crate::kernel::installed::places::{self, Places};
use crate::kernel::tree::config::{self, Config};

/// An installed kernel.
#[derive(Debug, Serialize)]
pub struct ListedKernel {
    /// Its release, as `uname -r` has it.
    pub release: String,
    /// Whether it is the running kernel.
    pub running: bool,
    /// The directory that modules are built with.
    pub headers: Option<PathBuf>,
    /// The file that has the symbols of its vmlinux.
    pub symbols: Option<PathBuf>,
    /// What kind of file that is.
    pub symbol_kind: Option<SymbolFileKind>,
    /// How many modules it has; null if none are installed.
    pub modules: Option<usize>,
    /// Its source: a tree, or an archive of one.
    pub source: Option<PathBuf>,
    /// The options that livepatches need and that its configuration does not set, without `CONFIG_`; null if that is
    /// not known.
    pub options_missing: Option<Vec<&'static str>>,
}

/// What kind of file has the symbols of a vmlinux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SymbolFileKind {
    /// An image with a symbol table: types, sizes and source files are known as well.
    Vmlinux,
    /// A full System.map.
    SystemMap,
    /// /proc/kallsyms of the kernel that is running.
    Kallsyms,
}

impl SymbolFileKind {
    /// The kind as a table shows it.
    pub fn shown(self) -> &'static str {
        match self {
            SymbolFileKind::Vmlinux => "vmlinux",
            SymbolFileKind::SystemMap => "System.map",
            SymbolFileKind::Kallsyms => "kallsyms",
        }
    }
}

/// Looks at all installed kernels, in the order of their versions. The running kernel is among them even if no file
/// of it is there.
///
/// # Errors
/// A directory cannot be read.
pub fn entries(places: &Places) -> Result<Vec<ListedKernel>> {
    let running = places.running();
    let mut releases = places.releases();
    if let Some(running) = running.iter().find(|running| !releases.contains(running)) {
        releases.push(running.clone());
    }
    releases.sort_by_cached_key(|release| order(release));
    releases.into_iter().map(|release| entry(places, release, running.as_deref())).collect()
}

fn entry(places: &Places, release: String, running: Option<&str>) -> Result<ListedKernel> {
    let is_running = running == Some(release.as_str());
    let headers = Some(places.build(&release)).filter(|build| build.is_dir());
    let symbols = symbols(places, &release, is_running);
    let modules = places.modules(&release).map(|directory| places::modules_below(&directory)).transpose()?;
    let of_headers = headers.iter().flat_map(|headers| [headers.join(".config"), config::file(headers)]);
    let config = of_headers.chain(places.configs(&release)).find_map(|file| Config::read(&file).ok());
    Ok(ListedKernel {
        running: is_running,
        symbol_kind: symbols.as_ref().map(|(kind, _)| *kind),
        symbols: symbols.map(|(_, file)| file),
        modules: modules.map(|modules| modules.len()),
        source: places.sources(&release).into_iter().find(|place| places::is_whole_source(place)),
        options_missing: config.map(|config| config.lacks_for_livepatches()),
        headers,
        release,
    })
}

fn symbols(places: &Places, release: &str, is_running: bool) -> Option<(SymbolFileKind, PathBuf)> {
    let image = |file: &PathBuf| file.is_file() && notes::has_code_and_symbols(file).unwrap_or(false);
    let vmlinux =
        || places.vmlinux(release).into_iter().find(image).map(|file| (SymbolFileKind::Vmlinux, file));
    let map = || places.system_maps(release).into_iter().find(|map| places::is_full_map(map));
    let kallsyms = || if is_running { places.kallsyms() } else { None };
    vmlinux()
        .or_else(|| map().map(|file| (SymbolFileKind::SystemMap, file)))
        .or_else(|| kallsyms().map(|file| (SymbolFileKind::Kallsyms, file)))
}

/// The key that releases are sorted by: numbers compare as numbers.
fn order(release: &str) -> Vec<(u64, String)> {
    let mut parts = Vec::new();
    let mut rest = release;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (text, after) = after.split_at(letters);
        parts.push((number.parse().unwrap_or(u64::MAX), text.to_owned()));
        rest = after;
    }
    parts
}

/// Makes sure that a kernel with this release is installed.
///
/// # Errors
/// It is not; the message names the kernels that are.
pub fn expect(places: &Places, release: &str) -> Result<()> {
    ensure!(
        places.has(release),
        "no kernel {release} is installed ({}, {} and the like): {}",
        places.at(&format!("lib/modules/{release}")).display(),
        places.at(&format!("usr/lib/debug/boot/vmlinux-{release}")).display(),
        advice(places)
    );
    Ok(())
}

/// The headers of a kernel that is installed.
///
/// # Errors
/// It is not installed, or has no headers.
pub fn headers(places: &Places, release: &str) -> Result<PathBuf> {
    expect(places, release)?;
    let build = places.build(release);
    ensure!(
        build.is_dir(),
        "the headers of {release} are not installed (there is no {}), and modules are built with them: klpbuild doctor \
         --release {release} says which package has them",
        build.display()
    );
    Ok(build)
}

/// The kernels that are installed, with the command that uses the newest one: for a message.
pub fn advice(places: &Places) -> String {
    let mut releases = places.releases();
    releases.sort_by_cached_key(|release| order(release));
    let with_headers = |release: &&String| places.build(release).is_dir();
    let Some(newest) = releases.iter().rev().find(with_headers).or(releases.last()) else {
        return "no kernel is installed here that could be taken (klpbuild kernels lists them)".to_owned();
    };
    let command = program::again_with("--release", newest);
    match releases.as_slice() {
        [_] => format!("{newest} is installed: {command}"),
        all => format!("installed are {}: choose one, as in {command}", all.join(", ")),
    }
}

/// Adds the kernels that are installed to the error that a kernel is missing.
pub fn or_others<T>(result: Result<T>, places: &Places) -> Result<T> {
    result.map_err(|error| anyhow!("{error:#}; {}", advice(places)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_in_the_order_of_their_numbers() {
        let mut releases = ["6.12.9-amd64", "6.1.0-40-amd64", "6.12.117+deb12-amd64", "6.1.0-9-amd64", "v"];
        releases.sort_by_cached_key(|release| order(release));
        assert_eq!(
            releases,
            ["6.1.0-9-amd64", "6.1.0-40-amd64", "6.12.9-amd64", "6.12.117+deb12-amd64", "v"]
        );
    }
}
