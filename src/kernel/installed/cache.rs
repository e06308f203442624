// SPDX-License-Identifier: GPL-2.0-only
//! The map of an installed kernel, made once and kept below XDG_CACHE_HOME, in a directory named by the kernel's
//! build ID: a distribution's 4,000 packed modules take a while to read.
//!
//! Beside each map lies a note: the files that the map was made of, each with size and times, and the map's own
//! length and hash. If any of that has changed, the map is made anew. Files that another user has put there are not
//! read.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::host::output;
use crate::host::terminal;
use crate::host::text;
use crate::host::words;
use crate::host::words::hex;
use crate::kernel::installed::InstalledKernel;
use crate::kernel::symbols::map::{Inputs, Map};
use crate::kernel::symbols::modules::Module;
use crate::kernel::symbols::objects::{Objects, Vmlinux};
use crate::kernel::symbols::seal::Seal;

/// The first line of the note on a map. It changes when klpbuild makes maps in another way.
const MADE_OF: &str = "klpbuild-cache 2";

/// Where maps are kept: XDG_CACHE_HOME, or `.cache` in the home directory. None if there is neither.
pub fn directory() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("klpbuild"))
}

/// The text of the note beside a kept map, which changes when one of the map's objects does; none for a list that is
/// not kept here.
pub fn made_of(list: &Path) -> Option<String> {
    text::read(list.with_file_name("made-of")).ok()
}

/// Whether a list is kept here, with a note beside it.
pub fn is_kept(list: &Path) -> bool {
    made_of(list).is_some_and(|note| note.starts_with(MADE_OF))
}

/// Removes all maps that are kept; true if there were any.
///
/// # Errors
/// They cannot be removed.
pub fn empty() -> Result<bool> {
    let Some(directory) = directory().filter(|directory| directory.exists()) else { return Ok(false) };
    fs::remove_dir_all(&directory).context("cannot empty the cache")?;
    Ok(true)
}

impl InstalledKernel {
    /// The map of this kernel's symbols: from the cache, or made now. If it cannot be kept there, it is kept in the
    /// directory `fallback`.
    ///
    /// # Errors
    /// An object cannot be read, or is another kernel's, or the map can be written nowhere.
    pub fn list(&self, objects: &Objects, fallback: Option<&Path>, quiet: bool) -> Result<PathBuf> {
        let vmlinux = self.expect_vmlinux()?;
        let kept = directory().map(|directory| directory.join(self.key()));
        let places: Vec<&Path> = kept.as_deref().into_iter().chain(fallback).collect();
        for place in places.iter().filter(|place| is_own(place)) {
            let [list, livepatches, note] = files(place);
            let listed = text::read(&livepatches).unwrap_or_default();
            let made_of = self.made_of(vmlinux.file(), objects, &listed)?;
            // A file that cannot be read has no seal, and then the map is made anew.
            let sealed =
                || Some(sealed(&made_of, &Seal::of_file(&list).ok()?, &Seal::of_file(&livepatches).ok()?));
            if text::read(note).is_ok_and(|text| sealed().is_some_and(|sealed| text == sealed)) {
                return Ok(list);
            }
        }
        let count = objects.names().count();
        if !quiet {
            let place = kept.as_ref().map(|place| format!(" (once: kept in {})", place.display()));
            terminal::say(format_args!(
                "reading the symbols of {}, vmlinux and {}{}",
                self.release,
                words::count(count, "module"),
                place.unwrap_or_default()
            ));
        }
        let map = self.make(objects, quiet)?;
        let made_of = self.made_of(vmlinux.file(), objects, &map.livepatch_list())?;
        let mut last = None;
        for place in places {
            match keep(place, &map, &made_of) {
                Ok(list) => return Ok(list),
                Err(error) => {
                    terminal::say(format_args!(
                        "cannot keep the map of symbols in {}: {error:#}",
                        place.display()
                    ));
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            anyhow::anyhow!("there is no place for the map of symbols: set XDG_CACHE_HOME")
        }))
    }

    /// The name of the directory for this kernel's map: its build ID, and a hash of the files that the user named.
    pub fn key(&self) -> String {
        let name = self.build_id.as_deref().map_or_else(|| self.release.replace('/', "_"), hex);
        if !self.is_chosen {
            return name;
        }
        let mut hasher = DefaultHasher::new();
        (self.vmlinux.as_ref().map(Vmlinux::file), &self.modules).hash(&mut hasher);
        format!("{name}-{:08x}", hasher.finish() & 0xffff_ffff)
    }

    /// The files that the map is made of. Livepatches are not among them: they may come and go.
    fn made_of(&self, vmlinux: &Path, objects: &Objects, livepatches: &str) -> Result<String> {
        let livepatches: HashSet<&str> =
            livepatches.lines().filter_map(|line| line.strip_suffix(".ko")).collect();
        let mut text = format!(
            "{MADE_OF}\nkernel {} {}\n",
            self.release,
            self.build_id.as_deref().map_or_else(String::new, hex)
        );
        writeln!(text, "of any kernel: {}", self.accepts_other_kernels())?;
        let modules = objects.files().filter(|(name, _)| !livepatches.contains(name.as_str()));
        for file in std::iter::once(vmlinux.to_path_buf()).chain(modules.map(|(_, file)| file)) {
            let meta = fs::metadata(&file)?;
            // Files of /proc have no times of their own. A package gives its files the time of its last change: a
            // second build may have the same time, but its files are not written at the same moment.
            let times = match meta.len() {
                0 => [0; 4],
                _ => [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()],
            };
            let times = times.map(|time| time.to_string()).join(" ");
            writeln!(text, "{} {times} {}", meta.len(), file.display())?;
        }
        Ok(text)
    }

    fn make(&self, objects: &Objects, quiet: bool) -> Result<Map> {
        let modules = objects.files().map(|(name, file)| (Module { stem: name.clone() }, file)).collect();
        let inputs = Inputs {
            vmlinux: self.vmlinux.clone(),
            modules,
            release: (!self.accepts_other_kernels()).then(|| self.release.clone()),
            ..Inputs::default()
        };
        Map::make_visibly(&inputs, quiet)
    }
}

/// The map, the list of livepatches, and the note on them in a directory.
fn files(place: &Path) -> [PathBuf; 3] {
    ["Symbols.list", "modules.livepatch", "made-of"].map(|name| place.join(name))
}

/// The text of the note on a map: the files it is made of, and the map's own length and hash.
fn sealed(made_of: &str, list: &Seal, livepatches: &Seal) -> String {
    format!("{made_of}Symbols.list {list}\nmodules.livepatch {livepatches}\n")
}

/// Whether the user that runs klpbuild, or root, put the files into a directory.
fn is_own(place: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    files(place).iter().all(|file| fs::metadata(file).is_ok_and(|meta| [user, 0].contains(&meta.uid())))
}

fn keep(place: &Path, map: &Map, made_of: &str) -> Result<PathBuf> {
    fs::create_dir_all(place)?;
    let [list, livepatches, note] = files(place);
    // The note must not vouch for the map while that is being written.
    if note.exists() {
        fs::remove_file(&note)?;
    }
    let listed = map.livepatch_list();
    let sealed = sealed(made_of, &Seal::of_parts(&map.parts), &Seal::of_parts(&[&listed]));
    output::replace(&list, output::beside(&list), &map.parts)?;
    output::replace(&livepatches, output::beside(&livepatches), &[listed])?;
    output::replace(&note, output::beside(&note), &[sealed])?;
    ensure!(list.is_file(), "{} is gone", list.display());
    Ok(list)
}
