// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's configuration, as far as klpbuild needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};

use crate::host::compressed;

/// The file with the configuration that the kernel in `objtree` was built with: the one that kbuild made of the file
/// which KCONFIG_CONFIG named then, or `.config` before the first build.
pub fn file(objtree: &Path) -> PathBuf {
    let built = objtree.join("include/config/auto.conf");
    if built.is_file() { built } else { objtree.join(".config") }
}

/// A configuration file, which is read when it is first asked, and only then.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    content: OnceLock<Result<Config, String>>,
}

impl ConfigFile {
    /// The file at `path`; none if there is no such file.
    pub fn at(path: PathBuf) -> Option<ConfigFile> {
        path.is_file().then(|| ConfigFile { path, content: OnceLock::new() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn config(&self) -> Result<&Config> {
        let read = || Config::read(&self.path).map_err(|error| format!("{error:#}"));
        self.content.get_or_init(read).as_ref().map_err(|error| anyhow!("{error}"))
    }
}

/// What `.config` says of the options that are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `CONFIG_MODULES=y`
    pub modules: bool,
    /// `CONFIG_LIVEPATCH=y`
    pub livepatch: bool,
    /// All options that are `y`, without `CONFIG_`.
    set: BTreeSet<String>,
    /// All values.
    texts: BTreeMap<String, String>,
    /// All options that `.config` says are not set.
    unset: BTreeSet<String>,
}

impl Config {
    /// Reads the configuration file at `path`: `.config`, what KCONFIG_CONFIG names, or what [`file()`] finds.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Config> {
        let text = compressed::read_text(path).context("cannot read the kernel's configuration")?;
        let option =
            |line: &str| Some(line.trim_end().strip_prefix("CONFIG_")?.strip_suffix("=y")?.to_owned());
        let set: BTreeSet<String> = text.lines().filter_map(option).collect();
        let text_of = |line: &str| {
            let (name, value) = line.trim_end().strip_prefix("CONFIG_")?.split_once('=')?;
            // auto.conf has texts without quotes from 5.16 on.
            let Some(value) = value.strip_prefix('"') else {
                return Some((name.to_owned(), value.to_owned()));
            };
            let value = value.strip_suffix('"')?;
            Some((name.to_owned(), value.replace("\\\"", "\"").replace("\\\\", "\\")))
        };
        let not_set = |line: &str| {
            Some(line.trim_end().strip_prefix("# CONFIG_")?.strip_suffix(" is not set")?.to_owned())
        };
        let unset = text.lines().filter_map(not_set).collect();
        let mut texts: BTreeMap<String, String> = text.lines().filter_map(text_of).collect();
        // Before CONFIG_CC_VERSION_TEXT was introduced, a comment named the compiler.
        if let Some(compiler) = text.lines().find_map(|line| line.strip_prefix("# Compiler: ")) {
            texts.entry("CC_VERSION_TEXT".to_owned()).or_insert_with(|| compiler.to_owned());
        }
        Ok(Config {
            modules: set.contains("MODULES"),
            livepatch: set.contains("LIVEPATCH"),
            set,
            texts,
            unset,
        })
    }

    /// The value of the option `name` (without `CONFIG_`), a text without its quotes.
    pub fn string(&self, name: &str) -> Option<String> {
        self.texts.get(name).cloned()
    }

    /// Whether the file `.config` mentions the option `name` (without `CONFIG_`): kconfig asks for an option that it
    /// does not mention.
    pub fn tells(&self, name: &str) -> bool {
        self.texts.contains_key(name) || self.unset.contains(name)
    }

    /// Whether kconfig wrote the file. A file that somebody wrote by hand lacks the options that follow from others.
    pub fn is_complete(&self) -> bool {
        self.set.iter().any(|name| name.starts_with("HAVE_"))
    }

    /// The options that livepatches need and that are not set, without `CONFIG_`.
    pub fn lacks_for_livepatches(&self) -> Vec<&'static str> {
        let needed = ["MODULES", "LIVEPATCH", "KALLSYMS_ALL"];
        let mut missing: Vec<&str> = needed.into_iter().filter(|name| !self.has(name)).collect();
        if self.ftrace().is_none() {
            missing.push("DYNAMIC_FTRACE_WITH_REGS");
        }
        missing
    }

    /// The option by which ftrace gives livepatches the registers, if one is set.
    pub fn ftrace(&self) -> Option<&'static str> {
        ["DYNAMIC_FTRACE_WITH_REGS", "DYNAMIC_FTRACE_WITH_ARGS"].into_iter().find(|name| self.has(name))
    }

    /// Whether the option `name` (without `CONFIG_`) is `y`.
    pub fn has(&self, name: &str) -> bool {
        self.set.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;

    #[test]
    fn only_whole_names_that_are_set_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".config");
        fs::write(&path, "# CONFIG_LIVEPATCH is not set\nCONFIG_MODULES=y\nCONFIG_LIVEPATCH_X=y\n").unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!((config.modules, config.livepatch, config.has("LIVEPATCH_X")), (true, false, true));
        assert_eq!(["MODULES", "LIVEPATCH", "LIVE"].map(|name| config.tells(name)), [true, true, false]);
        fs::write(&path, "CONFIG_MODULES_X=y\nCONFIG_LIVEPATCH=y\n").unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!((config.modules, config.livepatch, config.has("LIVEPATCH_X")), (false, true, false));
        assert!(Config::read(&dir.path().join("none")).is_err());
    }
}
