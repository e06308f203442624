// SPDX-License-Identifier: GPL-2.0-only
//! Headers that patches may include beyond the kernel's: they declare callbacks with the names that the kernel (from
//! 6.19 on) and kpatch use. The compiler looks for them last, so that a kernel's own header is preferred.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

const FILES: [(&str, &str); 3] = [
    ("linux/livepatch_helpers.h", include_str!("helpers/linux/livepatch_helpers.h")),
    ("kpatch-macros.h", include_str!("helpers/kpatch-macros.h")),
    ("kpatch-syscall.h", include_str!("helpers/kpatch-syscall.h")),
];

/// Writes these headers into a directory of their own in `work`; returns that directory.
///
/// # Errors
/// A file cannot be written.
pub fn write(work: &Path) -> Result<PathBuf> {
    let directory = work.join("helpers");
    for (name, text) in FILES {
        let file = directory.join(name);
        fs::create_dir_all(file.parent().unwrap_or(&directory))?;
        fs::write(file, text)?;
    }
    Ok(directory)
}
