// SPDX-License-Identifier: GPL-2.0-only
//! Which maps are believed. A map that was changed after it was written, or that is older than an object it was made
//! of, is not.

use std::path::Path;

use crate::host::terminal;
use crate::kernel::origin::Origin;
use crate::kernel::state::StateDir;
use crate::kernel::symbols::reference::ListReference;
use crate::kernel::symbols::seal::Seal;

impl Origin {
    /// Makes the cached map of an installed kernel again, if the list in the directory of external modules refers to
    /// it and it is gone or altered. Whether the new map is the one that was meant is checked later, as for any list.
    pub(super) fn make_what_is_named(&mut self, directory: &Path, quiet: bool) {
        let reference = ListReference::read(&directory.join("Symbols.list")).ok().flatten();
        if let (None, Some(kernel)) = (&self.list, &self.installed)
            && reference.is_some_and(|reference| reference.doubt().is_some())
            && let Ok(list) = kernel
                .objects()
                .and_then(|objects| kernel.list(&objects, Some(&StateDir::at(directory).directory()), quiet))
        {
            self.list = Some(list);
        }
    }

    /// Drops a map that cannot be believed; the objects are read in its place.
    pub fn drop_doubtful_list(&mut self, quiet: bool) {
        let Some((list, doubt)) = self.list.as_ref().and_then(|list| Some((list, self.doubt(list)?))) else {
            return;
        };
        if !quiet {
            terminal::say_once(format_args!(
                "{} {doubt}: the symbols are read anew (klpbuild symbols makes it again)",
                list.display()
            ));
        }
        self.list = None;
    }

    /// Why a map that klpbuild left in a tree, or beside external modules, cannot be believed: it was changed since
    /// it was written, or an object has changed since, for example by a plain make.
    fn doubt(&self, list: &Path) -> Option<String> {
        let seal = StateDir::at(list.parent()?).seal();
        let made = if seal.is_file() { &seal } else { list };
        if let Ok(text) = fs_err::read_to_string(&seal)
            && Seal::of_file(list).map_or(true, |now| text != format!("{now}\n"))
        {
            return Some("is not what klpbuild wrote there".to_owned());
        }
        if let Some(doubt) = ListReference::read(list).ok()?.and_then(|reference| reference.doubt()) {
            return Some(doubt);
        }
        let made = fs_err::metadata(made).and_then(|meta| meta.modified()).ok()?;
        let (file, changed) = self.objects.newest(self.installed.is_some())?;
        // Without a seal, nobody knows when the map was made: it stays if a new one would be equal.
        let is_telling =
            seal.is_file() || self.objects.vmlinux.as_ref().is_some_and(|own| own.file() == file);
        (is_telling && changed > made).then(|| format!("is older than {}", file.display()))
    }
}
