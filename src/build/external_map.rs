// SPDX-License-Identifier: GPL-2.0-only
//! The map of a kernel with external modules: the kernel's existing map, then the modules' own objects, and those of
//! modules that KBUILD_EXTRA_SYMBOLS names.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::build::modpost::Beyond;
use crate::host::make::variable::Variable;
use crate::host::terminal;
use crate::host::text;
use crate::kernel::external::External;
use crate::kernel::external::context::Context;
use crate::kernel::installed::cache;
use crate::kernel::origin::Origin;
use crate::kernel::symbols::exports::Exports;
use crate::kernel::symbols::flags;
use crate::kernel::symbols::flags::Makefiles;
use crate::kernel::symbols::list;
use crate::kernel::symbols::list::Counts;
use crate::kernel::symbols::map::{Inputs, Map};
use crate::kernel::symbols::modules;
use crate::kernel::symbols::modules::Module;
use crate::kernel::symbols::reference;
use crate::kernel::symbols::seal::Seal;
use crate::kernel::tree::built::BuiltTree;
use crate::kernel::tree::era::Kbuild;
use crate::kernel::tree::facts;

/// The inputs of the map step for an external build.
#[derive(Debug)]
pub struct ExternalInputs {
    /// The modules: those that are built, and others that they use.
    pub inputs: Inputs,
    /// The map, without the kernel's part.
    pub map: Map,
    /// The symbols that the kernel defines and exports.
    pub beyond: Beyond,
    /// The reference that replaces the kernel's part in the list, if that part is kept elsewhere.
    reference: Option<Vec<u8>>,
}

/// Reads the external modules' objects.
///
/// # Errors
/// A list of modules or an object cannot be read, or a makefile cannot be evaluated.
pub fn prepare(
    context: &Context,
    external: &External,
    kbuild: &Kbuild,
    variables: &[Variable],
) -> Result<ExternalInputs> {
    let kind = kbuild.era.modules();
    let own = modules::list_external(&external.output, kind, &external.root)?;
    let release = facts::release(&context.objtree).unwrap_or_default();
    let makefiles = Makefiles::external(&context.srctree, &context.objtree, external, &release);
    let flagged = flags::flagged(&makefiles, &own, variables)?;
    let prelink = kbuild.prelink.as_deref();
    let object = |module: Module| {
        let object = module.object(&external.output, prelink);
        (module, object)
    };
    let mut inputs = Inputs {
        modules: own.into_iter().map(object).collect(),
        flagged,
        root: Some(external.output.clone()),
        ..Inputs::default()
    };
    for directory in external.extra_directories() {
        inputs.modules.extend(others(&directory, kind, external)?);
    }
    let map = Map::make(&inputs)?;
    let mut exports = Exports::default();
    let kernels = context.objtree.join("Module.symvers");
    for symvers in std::iter::once(kernels).chain(external.extra_symvers()).filter(|path| path.is_file()) {
        exports.add(&symvers)?;
    }
    Ok(ExternalInputs { inputs, map, beyond: Beyond { text: Vec::new(), exports }, reference: None })
}

/// The modules that were built in another directory, with absolute stems, without livepatches: nothing can refer to
/// these.
fn others(directory: &Path, kind: modules::ListKind, external: &External) -> Result<Vec<(Module, PathBuf)>> {
    let livepatches = text::read(directory.join("modules.livepatch")).unwrap_or_default();
    let mut found = Vec::new();
    for module in external.list_extra(directory, kind)? {
        let object = directory.join(format!("{}.o", module.stem));
        if object.is_file() && !livepatches.lines().any(|line| line == module.ko()) {
            let stem = directory.join(&module.stem).to_string_lossy().into_owned();
            found.push((Module { stem }, object));
        }
    }
    Ok(found)
}

impl ExternalInputs {
    /// Adds the kernel's part to the map.
    ///
    /// # Errors
    /// Nothing tells the kernel's symbols, or they cannot be read.
    pub fn add_kernel(&mut self, context: &Context, kbuild: &Kbuild) -> Result<()> {
        if let Some(problem) = &context.problem {
            bail!("{problem}");
        }
        let text = match &context.kernel_list {
            Some(list) => list::whole(list)?,
            None => {
                let tree = BuiltTree::known(&context.srctree, &context.objtree, kbuild);
                let mut origin = Origin::of_kernel(tree, &context.choice)?;
                origin.drop_doubtful_list(terminal::QUIET);
                origin.map_text()?
            }
        };
        let Some(objects) = list::objects(&text) else {
            bail!(
                "the kernel's Symbols.list in {}: Symbol list is in unknown format: make it anew (klpbuild symbols)",
                context.objtree.display()
            );
        };
        let Counts { modules, names } = Counts::of(&text);
        self.map.modules += modules;
        self.map.names += names;
        self.map.parts.insert(1, objects.to_vec());
        let kept = context.kernel_list.as_deref().filter(|list| cache::is_kept(list));
        self.reference = kept.and_then(|list| reference::beginning(list, &Seal::of_parts(&[&text])));
        self.beyond.text = text;
        Ok(())
    }

    /// The content of the list that is written beside the modules.
    pub fn parts(&self) -> Vec<&[u8]> {
        let parts = self.map.parts.iter().map(Vec::as_slice);
        match &self.reference {
            Some(reference) => std::iter::once(reference.as_slice()).chain(parts.skip(2)).collect(),
            None => parts.collect(),
        }
    }
}
