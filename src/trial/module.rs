//! A module that is to be loaded, and whether the kernel at hand can be expected to take it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::compressed::{self, unpacked_name};
use crate::elf::Object;

/// A module file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Where it is.
    pub path: PathBuf,
    /// The file's name.
    pub file: String,
    /// The name the kernel has for it.
    pub name: String,
    /// The kernel release it was built for.
    pub release: Option<String>,
    /// Whether it is a livepatch.
    pub livepatch: bool,
    /// The modules that have to be loaded before it, by run-time name.
    pub depends: Vec<String>,
}

impl Module {
    /// Reads what the module at `path` says of itself.
    ///
    /// # Errors
    /// There is no module at `path`.
    pub fn read(path: &Path) -> Result<Module> {
        let shown = path.display();
        ensure!(path.is_file(), "{shown}: no such module: build it first (klpbuild modules)");
        let object = Object::read(path)?;
        let value = |tag: &str| {
            let mut all = object.modinfo().filter_map(|entry| entry.strip_prefix(tag.as_bytes()));
            all.find_map(|value| value.strip_prefix(b"="))
                .map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = unpacked_name(&file).to_owned();
        let Some(stem) = file.strip_suffix(".ko") else {
            bail!("{shown} is not named like a module: a file that ends in .ko is wanted, packed or not");
        };
        ensure!(
            object.modinfo().next().is_some(),
            "{shown} has no .modinfo: it is no module, or modpost has not finished it"
        );
        Ok(Module {
            path: path.to_path_buf(),
            name: value("name").unwrap_or_else(|| stem.replace(['-', ','], "_")),
            // include/linux/vermagic.h: the release is the first word.
            release: value("vermagic").and_then(|magic| magic.split(' ').next().map(str::to_owned)),
            livepatch: value("livepatch").as_deref() == Some("Y"),
            depends: value("depends").map_or_else(Vec::new, |names| {
                names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
            }),
            file,
        })
    }

    /// Likewise, for a livepatch or for an ordinary module.
    ///
    /// # Errors
    /// It is not what it should be, or was built for another kernel than `release`.
    pub fn expect(path: &Path, livepatch: bool, release: Option<&str>) -> Result<Module> {
        let module = Module::read(path)?;
        let shown = path.display();
        match (livepatch, module.livepatch) {
            (true, false) => bail!(
                "{shown} is not a livepatch (no livepatch=Y in its .modinfo): name an ordinary module with --load"
            ),
            (false, true) => bail!("{shown} is a livepatch: name it without --load"),
            _ => {}
        }
        if let (Some(wanted), Some(release)) = (&module.release, release) {
            ensure!(
                wanted == release,
                "{shown} is for {wanted}, and the kernel here is {release}: build the module again"
            );
        }
        Ok(module)
    }

    /// The module's bytes, unpacked.
    ///
    /// # Errors
    /// The file is gone, or damaged.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        compressed::read(&self.path).context("a module is gone")
    }
}
