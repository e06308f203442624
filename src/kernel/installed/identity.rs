// SPDX-License-Identifier: GPL-2.0-only
//! What a kernel is recognised by: its release; with headers at hand, its version (`uname -v`), which tells builds
//! of one release apart; and, while it runs, its build ID.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

use crate::elf::{definitions, notes};
use crate::host::words;
use crate::kernel::installed::places::Places;
use crate::kernel::kallsyms;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::exports::Exports;

/// What is known of a kernel beforehand.
#[derive(Debug, Clone)]
pub struct KernelIdentity {
    release: String,
    /// `#1 SMP PREEMPT_DYNAMIC Debian 6.12.38-1 (2025-07-16)`, for example.
    version: Option<String>,
    /// Its build ID, if it is running.
    pub build_id: Option<Vec<u8>>,
    /// What its vmlinux exports, as its headers have it (Module.symvers).
    symvers: Option<PathBuf>,
}

impl KernelIdentity {
    /// What is known of the kernel `release`, with its headers in `objtree`.
    pub fn of(release: &str, objtree: Option<&Path>, places: &Places) -> KernelIdentity {
        let is_running = places.running().as_deref() == Some(release);
        let notes = if is_running { places.running_notes() } else { None };
        KernelIdentity {
            release: release.to_owned(),
            version: objtree.and_then(version),
            symvers: objtree.map(|objtree| objtree.join("Module.symvers")).filter(|path| path.is_file()),
            build_id: notes.and_then(|notes| notes::build_id_in_notes(&notes)),
        }
    }

    /// How the vmlinux at `file` differs from this kernel; none if it is this kernel's, or if that cannot be told.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn difference(&self, file: &Path) -> Result<Option<String>> {
        let shown = file.display();
        if let Some(banner) = notes::banner(file)? {
            let release = banner.split(' ').nth(2).unwrap_or_default();
            if release != self.release {
                return Ok(Some(format!("{shown} is {release}'s, and not {}'s", self.release)));
            }
            if let Some(version) = self.version.as_ref().filter(|version| !banner.ends_with(version.as_str()))
            {
                return Ok(Some(format!(
                    "{shown} is another build of {release}: the headers are of {version:?}, and it says {banner:?}"
                )));
            }
        } else {
            // A file without contents of its own, such as openSUSE's vmlinux.debug, has them elsewhere.
            let found = definitions::find(file, |_| true)?;
            let names = found.definitions.iter().map(|definition| definition.name.as_slice());
            if let Some(lack) = self.lack(names.collect())? {
                return Ok(Some(format!("{shown} {lack}")));
            }
        }
        if let (Some(running), Some(own)) = (&self.build_id, notes::build_id(file)?)
            && *running != own
        {
            return Ok(Some(format!(
                "{shown} is another build of {}: its build ID is {}, that of the kernel which is running {}",
                self.release,
                words::hex(&own),
                words::hex(running)
            )));
        }
        Ok(None)
    }
}

impl KernelIdentity {
    /// How the list of symbols at `file` differs from this kernel, as far as its names tell: a list carries no build ID.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn difference_of_list(&self, file: &Path) -> Result<Option<String>> {
        let found = kallsyms::definitions_in(file, |_| true)?;
        let names = found.iter().map(|definition| definition.name.as_slice()).collect();
        Ok(self.lack(names)?.map(|lack| format!("{} {lack}", file.display())))
    }

    /// What `names` lack of the symbols that the kernel's vmlinux exports, as a message.
    fn lack(&self, names: HashSet<&[u8]>) -> Result<Option<String>> {
        let Some(symvers) = &self.symvers else { return Ok(None) };
        let exports = Exports::read(symvers)?;
        let mut missing: Vec<&[u8]> = exports.of(VMLINUX).filter(|name| !names.contains(name)).collect();
        missing.sort_unstable();
        Ok(missing.first().map(|first| {
            format!(
                "is another kernel's than {}: it lacks {} that vmlinux exports, {} among them",
                self.release,
                words::count(missing.len(), "symbol"),
                String::from_utf8_lossy(first)
            )
        }))
    }
}

/// UTS_VERSION in the headers (include/generated/utsversion.h, up to 5.x compile.h).
fn version(objtree: &Path) -> Option<String> {
    ["utsversion.h", "compile.h"].iter().find_map(|name| {
        let text = fs::read_to_string(objtree.join("include/generated").join(name)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("#define UTS_VERSION"))?;
        Some(line.trim().trim_matches('"').to_owned()).filter(|version| !version.is_empty())
    })
}
