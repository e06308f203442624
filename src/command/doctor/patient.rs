// SPDX-License-Identifier: GPL-2.0-only
//! The kernel that the doctor checks.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::build::plan::TypedVariables;
use crate::cli::{DoctorArgs, Options};
use crate::command::asked;
use crate::host::make::variable;
use crate::kernel::installed::Choice;
use crate::kernel::installed::inventory;
use crate::kernel::installed::places::{NamedKernel, Places};
use crate::kernel::origin::OriginRequest;
use crate::kernel::symbols::objects::Vmlinux;
use crate::kernel::tree::config::{self, Config};
use crate::kernel::tree::{self, facts};

/// A kernel, and all that is known of it before the checks.
#[derive(Debug)]
pub struct Patient {
    /// Its release.
    pub release: String,
    /// Its headers, or the tree it was built in, if those are there.
    pub objtree: Option<PathBuf>,
    /// Its sources, or as much of them as headers have.
    pub srctree: Option<PathBuf>,
    /// Its configuration, if that is known.
    pub config: Option<Config>,
    /// The configuration file.
    pub config_file: Option<PathBuf>,
    /// Whether it has been built; before that, only its configuration is known.
    pub is_built: bool,
    /// Whether it is the running kernel.
    pub is_running: bool,
    /// The files that the user named for its symbols.
    pub choice: Choice,
    /// The root below which it is installed.
    pub places: Places,
}

impl Patient {
    /// Whether the user has built it here, or is going to, and no distribution has.
    pub fn is_own(&self) -> bool {
        !self.is_built || self.objtree.as_ref().is_some_and(|objtree| Vmlinux::of_tree(objtree).is_some())
    }

    /// The kernel that the command line means.
    ///
    /// # Errors
    /// There is no such kernel, or something cannot be read.
    pub fn find(options: &Options, arguments: &DoctorArgs) -> Result<Patient> {
        let start = asked::start(options)?;
        let choice = asked::choice(&arguments.kernel, &start);
        let places = choice.places();
        let named = named(&start, &arguments.words, &places)?;
        let mut wanted = OriginRequest {
            start: start.clone(),
            release: arguments.kernel.release.clone(),
            ..OriginRequest::default()
        };
        asked::add_kernel(&mut wanted, named.kernel)?;
        let is_named = wanted.objtree.is_some();
        let release = wanted.release.or_else(|| match places.environment() {
            Some(NamedKernel::Release(release)) if !is_named => Some(release),
            _ => None,
        });
        release.iter().try_for_each(|release| inventory::expect(&places, release))?;
        // An object tree that was only configured has no link to its source yet.
        let started_in = Some(start.clone()).filter(|start| tree::is_source(start));
        let objtree = match (wanted.objtree, &release) {
            (None, Some(release)) => Some(places.build(release)).filter(|build| build.is_dir()),
            (None, None) if tree::is_kernel(&start) => Some(start),
            (objtree, _) => places.kernel_directory(objtree),
        };
        inventory::or_others(objtree.as_deref().map_or(Ok(()), tree::expect_kernel), &places)?;
        let objtree = objtree.map(fs_err::canonicalize).transpose()?;
        let running = places.running();
        let configured = objtree
            .iter()
            .flat_map(|tree| [tree.join(&named.config), config::file(tree)])
            .find(|p| p.is_file());
        let built = objtree.as_deref().map_or_else(|| release.or(running.clone()), facts::release);
        let release = match (&built, &objtree) {
            (Some(release), _) => release.clone(),
            (None, None) => bail!("which kernel is running cannot be told: name a kernel's headers"),
            (None, Some(_)) if configured.is_some() => "not built yet".to_owned(),
            (None, Some(objtree)) => bail!(
                "{} has no release (include/config/kernel.release) and no {}: configure the kernel (klpbuild modules \
                 defconfig, for example), or build it first (klpbuild modules)",
                objtree.display(),
                named.config
            ),
        };
        let config_file =
            configured.or_else(|| places.configs(&release).into_iter().find(|path| path.is_file()));
        Ok(Patient {
            config: config_file.as_deref().map(Config::read).transpose()?,
            config_file,
            is_running: running.as_deref() == Some(release.as_str()),
            is_built: built.is_some(),
            srctree: objtree.as_deref().and_then(tree::source_if_known).or(started_in),
            release,
            objtree,
            choice,
            places,
        })
    }
}

/// The kernel that the words of the command line name; a word without `=` is a KDIR.
fn named(start: &Path, words: &[String], places: &Places) -> Result<TypedVariables> {
    let (variables, plain) = variable::sort_out(words);
    ensure!(plain.len() <= 1, "{}: one kernel at a time", plain.join(" "));
    let named = TypedVariables::in_words(start, &variables, places);
    if let Some(NamedKernel::Directory(objtree)) =
        named.kernel.as_ref().filter(|_| variables.iter().any(|variable| variable.name() == "O"))
    {
        ensure!(objtree.is_dir(), "{}: no such directory: O= names an object tree", objtree.display());
    }
    let plain = plain.first().map(|kdir| NamedKernel::by_kdir(places, start, kdir));
    Ok(TypedVariables { kernel: plain.or(named.kernel), ..named })
}
