// SPDX-License-Identifier: GPL-2.0-only
//! The results of the map step.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use crate::host::text;
use crate::kernel::state::StateDir;
use crate::kernel::symbols::list;
use crate::kernel::symbols::list::Counts;
use crate::kernel::symbols::map::Map;

/// The results of the map step, for the klpbuild that started make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapReport {
    /// The number of modules in the map.
    pub modules: usize,
    /// The number of livepatches, which are not in the map.
    pub livepatches: usize,
    /// The number of names in the map.
    pub names: usize,
    /// Whether the map step itself found a problem, which ends the build.
    pub failed: bool,
}

impl MapReport {
    /// The report on a map.
    pub fn of(map: &Map) -> MapReport {
        MapReport {
            modules: map.modules,
            livepatches: map.livepatches.len(),
            names: map.names,
            failed: false,
        }
    }

    /// Writes the report into `state`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, state: &StateDir) -> Result<()> {
        let MapReport { modules, livepatches, names, failed } = *self;
        let text = format!("{modules} {livepatches} {names} {}\n", u8::from(failed));
        Ok(fs::write(state.report(), text)?)
    }

    /// The report on the lists in an object tree.
    ///
    /// # Errors
    /// There are none.
    pub fn of_lists(objtree: &Path) -> Result<MapReport> {
        let list = list::whole(&objtree.join("Symbols.list"))?;
        let livepatches = text::read(objtree.join("modules.livepatch"))?.lines().count();
        let Counts { modules, names } = Counts::of(&list);
        Ok(MapReport { modules, livepatches, names, failed: false })
    }

    /// The report that the last map step wrote into `state`; none if it wrote none since the report was last removed.
    pub fn read(state: &StateDir) -> Option<MapReport> {
        let text = text::read(state.report()).ok()?;
        let mut numbers = text.split_whitespace().map(|word| word.parse::<usize>().ok());
        let mut next = || numbers.next().flatten();
        Some(MapReport { modules: next()?, livepatches: next()?, names: next()?, failed: next()? != 0 })
    }
}
