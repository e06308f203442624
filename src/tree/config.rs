//! The kernel's configuration, as far as klpbuild has to know it.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;

/// What `.config` says of the options that decide what klpbuild does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// `CONFIG_MODULES=y`
    pub modules: bool,
    /// `CONFIG_LIVEPATCH=y`
    pub livepatch: bool,
}

impl Config {
    /// Reads the configuration file at `path` (`.config`, or what KCONFIG_CONFIG names).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Config> {
        let text = fs::read(path).context("cannot read the kernel's configuration")?;
        let text = String::from_utf8_lossy(&text);
        let is_set =
            |option: &str| text.lines().any(|line| line.trim_end().strip_prefix(option) == Some("=y"));
        Ok(Config { modules: is_set("CONFIG_MODULES"), livepatch: is_set("CONFIG_LIVEPATCH") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_that_are_set_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".config");
        fs::write(&path, "# CONFIG_LIVEPATCH is not set\nCONFIG_MODULES=y\nCONFIG_LIVEPATCH_X=y\n").unwrap();
        assert_eq!(Config::read(&path).unwrap(), Config { modules: true, livepatch: false });
        fs::write(&path, "CONFIG_MODULES_X=y\nCONFIG_LIVEPATCH=y\n").unwrap();
        assert_eq!(Config::read(&path).unwrap(), Config { modules: false, livepatch: true });
        assert!(Config::read(&dir.path().join("none")).is_err());
    }
}
