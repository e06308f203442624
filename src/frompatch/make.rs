// SPDX-License-Identifier: GPL-2.0-only
//! All steps, from patches to a livepatch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use rayon::prelude::*;

use crate::build::plan::Order;
use crate::frompatch::account::{self, ChangedUnit};
use crate::frompatch::apply::{self, AppliedPatches, NamedPatch};
use crate::frompatch::build::Build;
use crate::frompatch::compile::{self, Compiled, Trees};
use crate::frompatch::cut::{self, Against, Cut};
use crate::frompatch::module::LivepatchModule;
use crate::frompatch::outline::{self, DefinitionKind};
use crate::frompatch::prepare::Made;
use crate::frompatch::read::{self, Read};
use crate::frompatch::reasons::Reasons;
use crate::frompatch::recipe::Recipe;
use crate::frompatch::report::{Changed, CompiledFile, LivepatchReport};
use crate::frompatch::run_pre::KernelImage;
use crate::frompatch::shared::{self, SharedNames};
use crate::frompatch::steps::Steps;
use crate::frompatch::target::{TargetKernel, Workshop};
use crate::frompatch::units::{self, AffectedUnits, Unit};
use crate::frompatch::{beyond, compiler, helpers, layout, module, overlay, presence, stale, twins};
use crate::host::exit::Exit;
use crate::host::words::{count, hex};
use crate::kernel::installed::loaded::LoadedReplacement;
use crate::kernel::trace::KnownSites;

/// What the user asks for.
#[derive(Debug)]
pub struct LivepatchRequest {
    /// The patches.
    pub patches: Vec<NamedPatch>,
    /// How many directories are stripped from the paths in the patches.
    pub strip: usize,
    /// The livepatch's name.
    pub name: String,
    /// Where it is built: an empty directory.
    pub directory: PathBuf,
    /// Whether types may change: the user knows that data already in memory keeps its layout.
    pub allow_layout: bool,
    /// Whether it replaces all loaded livepatches.
    pub replaces_all: bool,
    /// The functions that the livepatches loaded on this machine replace, if it runs the kernel and they stay loaded.
    pub loaded: Vec<LoadedReplacement>,
    /// Options that say where the kernel's symbols are.
    pub flags: Vec<String>,
    /// The number of jobs, if one was asked for.
    pub jobs: Option<u32>,
}

impl LivepatchRequest {
    /// The build of the livepatch's module, whose files are written already.
    pub fn build<'a>(&'a self, target: &'a TargetKernel) -> Build<'a> {
        Build {
            directory: &self.directory,
            name: &self.name,
            kdir: &target.kdir,
            flags: &self.flags,
            jobs: self.jobs,
        }
    }
}

/// Makes the livepatch in the directory of the request; returns the report.
///
/// # Errors
/// A step fails; the message says what to do about it.
pub fn make(
    request: &LivepatchRequest,
    target: &TargetKernel,
    steps: &mut Steps,
    order: impl Fn() -> Result<Order>,
) -> Result<Made<LivepatchReport>> {
    ensure!(
        !request.replaces_all || livepatch_header(target).contains("bool replace;"),
        "--replace: livepatches of this kernel cannot take each other's place (from 5.1 on they can): unload the others first"
    );
    let applied = apply::apply(&target.source, &request.patches, request.strip, target.arch)?;
    ensure!(!applied.files.is_empty(), "the patches have no effect on this kernel: {}", ignored(&applied));
    if !request.allow_layout {
        layout::check_texts(&applied.files)?;
    }
    let work = tempfile::Builder::new().prefix("klpbuild-").tempdir();
    let work = work.context("cannot make a temporary directory (TMPDIR names the place)")?;
    let overlay = fs::canonicalize(work.path())?.join("overlay");
    apply::write(&overlay, &applied.files)?;
    overlay::surround(&overlay, &target.source)?;
    if steps.done(&format!("applied to {}", count(applied.files.len(), "file"))) {
        return Ok(stopped(steps));
    }
    let workshop = match target.workshop(order, || steps.signal())? {
        Made::Done(workshop) => workshop,
        Made::Over(exit) => return Ok(Made::Over(exit)),
    };
    let found = match find_units(target, &workshop, &applied)? {
        Made::Done(found) => found,
        Made::Over(exit) => return Ok(Made::Over(exit)),
    };
    let units = &found.units;
    check_removed(&applied, units)?;
    if steps.done(&format!("{} to compile", count(units.len(), "file"))) {
        return Ok(stopped(steps));
    }
    for compiler in units.iter().map(|unit| &unit.recipe.compiler).collect::<BTreeSet<_>>() {
        target.check_compiler(compiler)?;
    }
    let helpers = helpers::write(work.path())?;
    let trees = Trees {
        source: &target.source,
        objects: workshop.objtree(),
        overlay: &overlay,
        helpers: &helpers,
        work: work.path(),
    };
    let beyond = beyond::check(&found, trees)?;
    let compiled = compile::all(units.clone(), trees);
    let compiled = compiled.map_err(|error| with_plain_lines(units, &applied, trees).unwrap_or(error))?;
    twins::check(&compiled, &found.twins, &found.shared, trees)?;
    if matches!(workshop, Workshop::Built(_)) {
        stale::check(&compiled, &applied.files, trees, &target.sources.objects)?;
    }
    if !request.allow_layout {
        layout::check(&applied.files, &compiled, trees)?;
    }
    if steps.done("compiled, unpatched and patched") {
        return Ok(stopped(steps));
    }
    let declared = read::declared(&applied.files);
    let reads = compiled.par_iter().map(|unit| Read::of(unit, &declared)).collect::<Result<Vec<Read>>>()?;
    let (mut report, module) = compare(request, target, &applied, &compiled, &reads, trees)?;
    report.notes.extend(beyond);
    report.notes.extend(lost(&request.loaded, &report.changed));
    if steps.done("compared with the kernel, and cut out") {
        return Ok(stopped(steps));
    }
    let names: Vec<Vec<String>> = reads.iter().map(|read| read.changes.names()).collect();
    let outcomes: Vec<ChangedUnit<'_>> =
        compiled.iter().zip(&names).map(|(compiled, names)| ChangedUnit { compiled, names }).collect();
    report.hunks = account::all(&applied.files, &outcomes, trees)?;
    if steps.done("each change accounted for") {
        return Ok(stopped(steps));
    }
    if report.changed.is_empty() && report.callbacks.is_empty() {
        bail!("the patches change no code that runs in this kernel:\n{}", report.text().trim_end());
    }
    build(request, target, &module, &mut report)?;
    steps.done("built, converted and verified");
    report.seconds = steps.seconds();
    Ok(Made::Done(report))
}

/// The kernel's own header, which tells what its livepatches can do.
fn livepatch_header(target: &TargetKernel) -> String {
    fs::read_to_string(target.source.join("include/linux/livepatch.h")).unwrap_or_default()
}

fn stopped(steps: &mut Steps) -> Made<LivepatchReport> {
    Made::Over(steps.signal().map_or(Exit::Problem, Exit::Signal))
}

fn ignored(applied: &AppliedPatches) -> String {
    let all: Vec<String> = applied.ignored.iter().map(|(file, why)| format!("{file} ({why})")).collect();
    if all.is_empty() { "nothing is changed".to_owned() } else { all.join(", ") }
}

/// The units. In a prepared tree, kbuild first has to compile them to record their commands.
fn find_units(
    target: &TargetKernel,
    workshop: &Workshop,
    applied: &AppliedPatches,
) -> Result<Made<AffectedUnits>> {
    let objtree = workshop.objtree();
    let mut shared = BTreeMap::new();
    if let Workshop::Prepared(_) = workshop {
        let needed = presence::needed(target, objtree, &applied.files)?;
        shared = needed.shared;
        let goals: Vec<&str> = needed.goals.iter().map(String::as_str).collect();
        if !goals.is_empty()
            && let Some(exit) = workshop.compile(&goals)?
        {
            return Ok(Made::Over(exit));
        }
    }
    let object = |recipe: &Recipe, path: &str, goal: &str| twins::object(target, recipe, path, goal);
    let mut found = units::of_built(&target.source, objtree, &applied.files, target.arch, &object)?;
    found.shared = shared;
    if found.units.is_empty() && found.assembler.is_empty() && found.apart.is_empty() {
        bail!(
            "no file of this kernel is compiled with {}: they are off in its configuration, or belong to programs that its \
             build or boot runs, and the patches have no effect",
            found.unused.join(", ")
        );
    }
    Ok(Made::Done(found))
}

/// Checks that no removed file has code in the kernel: that code would stay, and the rest of the kernel would go on
/// calling it.
fn check_removed(applied: &AppliedPatches, units: &[Unit]) -> Result<()> {
    for file in applied.files.iter().filter(|file| file.patched.is_none()) {
        ensure!(
            units.iter().all(|unit| unit.path != file.path),
            "{} is removed: the kernel has its code, and goes on with it; leave the file where it is",
            file.path
        );
    }
    Ok(())
}

/// The compiler's error about the patched files with their own line numbers, so that the numbers in the message are
/// those of the files it shows. None if it finds no error then.
fn with_plain_lines(units: &[Unit], applied: &AppliedPatches, trees: Trees<'_>) -> Option<anyhow::Error> {
    let work = trees.work.join("plain");
    let overlay = work.join("overlay");
    overlay::copy(trees.overlay, &overlay).ok()?;
    apply::write_plain(&overlay, &applied.files).ok()?;
    let own = Trees { overlay: &overlay, work: &work, ..trees };
    units.iter().find_map(|unit| compile::patched_to(unit, own, &work.join("plain.s")).err())
}

/// Compares all units, and cuts their changes out.
fn compare(
    request: &LivepatchRequest,
    target: &TargetKernel,
    applied: &AppliedPatches,
    compiled: &[Compiled],
    reads: &[Read],
    trees: Trees<'_>,
) -> Result<(LivepatchReport, LivepatchModule)> {
    let mut module = LivepatchModule {
        name: request.name.clone(),
        replaces_all: request.replaces_all,
        ..LivepatchModule::default()
    };
    let compilers = compiled.iter().map(|compiled| &compiled.unit.recipe.compiler);
    module.assignments = compilers.filter_map(|name| compiler::assignment(name, &target.config)).collect();
    module.description = format!("Livepatch of {}", names(&request.patches).join(", "));
    let header = livepatch_header(target);
    module.is_registered = header.contains("klp_register_patch");
    module.has_callbacks = header.contains("post_unpatch") || header.contains("livepatch_external.h");
    let mut report = LivepatchReport {
        name: request.name.clone(),
        kernel: target.release.clone(),
        patches: names(&request.patches),
        replaces_all: request.replaces_all,
        ignored: applied.ignored.clone(),
        build_id: target.origin.installed.as_ref().and_then(|kernel| kernel.build_id.as_deref()).map(hex),
        ..LivepatchReport::default()
    };
    for Compiled { unit: Unit { path, recipe, .. }, .. } in compiled {
        report.compiled.push(CompiledFile { path: path.clone(), object: recipe.object.clone() });
    }
    let mut shared = SharedNames::of(compiled, reads);
    shared::check_new_names(compiled, reads, target)?;
    let mut cuts = cut_all(target, applied, compiled, reads, trees, &shared)?;
    shared.unclear = shared.unclear_in(cuts.iter().map(Cut::kernel_names));
    if !shared.unclear.is_empty() {
        cuts = cut_all(target, applied, compiled, reads, trees, &shared)?;
    }
    for cut in cuts {
        take(cut, &mut report, &mut module, target)?;
    }
    Ok((report, module))
}

/// Cuts the changes out of all units that have some.
fn cut_all(
    target: &TargetKernel,
    applied: &AppliedPatches,
    compiled: &[Compiled],
    reads: &[Read],
    trees: Trees<'_>,
    shared: &SharedNames,
) -> Result<Vec<Cut>> {
    let mut cuts = Vec::new();
    let mut kernels: BTreeMap<&str, KernelImage> = BTreeMap::new();
    let mut sites = KnownSites::of(&target.origin.objects);
    for (index, (compiled, read)) in compiled.iter().zip(reads).enumerate() {
        let Unit { path, recipe: Recipe { object, .. } } = &compiled.unit;
        if read.changes.is_empty() {
            read.check_outside(path)?;
            continue;
        }
        if !kernels.contains_key(object.as_str()) {
            kernels.insert(object, KernelImage::open(&target.sources, object)?);
        }
        let Some(kernel) = kernels.get(object.as_str()) else { continue };
        let prefix =
            if compiled_count(reads) == 1 { "klpbuild_".to_owned() } else { format!("klpbuild{index}_") };
        let against = Against { kernel, sites: sites.in_object(object)? };
        let reasons = Reasons::new(touched(applied, compiled), &compiled.unit, trees);
        cuts.push(cut::cut(compiled, read, target, &against, &reasons, &prefix, shared)?);
    }
    Ok(cuts)
}

fn compiled_count(reads: &[Read]) -> usize {
    reads.iter().filter(|read| !read.changes.is_empty()).count()
}

fn names(patches: &[NamedPatch]) -> Vec<String> {
    patches.iter().map(|(name, _)| name.rsplit('/').next().unwrap_or(name).to_owned()).collect()
}

fn take(
    cut: Cut,
    report: &mut LivepatchReport,
    module: &mut LivepatchModule,
    target: &TargetKernel,
) -> Result<()> {
    report.notes.extend(cut.notes);
    report.notes.extend(cut.without_effect);
    report.changed.extend(cut.changed);
    report.new.extend(cut.new);
    report.references.extend(cut.references);
    report.equal += cut.equal;
    for callback in cut.callbacks {
        report.callbacks.push(callback.told.clone());
        module.add_callback(callback)?;
    }
    module.replaced.extend(cut.replaced);
    module.annotated.extend(cut.annotated);
    if !cut.part.text.is_empty() {
        let exports = target.sources.exports.as_ref();
        for name in &cut.plain {
            let namespace = exports.and_then(|exports| exports.namespace(name.as_bytes()));
            module.namespaces.extend(namespace.map(str::to_owned));
        }
        module.parts.push(cut.part);
    }
    Ok(())
}

/// The definitions whose text the patches change, in the files that a unit is compiled with.
fn touched(applied: &AppliedPatches, compiled: &Compiled) -> BTreeMap<String, DefinitionKind> {
    let mut touched = BTreeMap::new();
    for file in applied.files.iter().filter(|file| compiled.sees(&file.path)) {
        let [old, new] =
            [&file.original, &file.patched].map(|text| outline::items(text.as_deref().unwrap_or_default()));
        for hunk in file.hunks() {
            let items = outline::changed(&hunk, [&old, &new]);
            touched.extend(items.into_iter().map(|item| (item.name.clone(), item.kind)));
        }
    }
    touched
}

/// The notes about functions that a loaded livepatch replaces as well: the livepatch that is loaded last wins.
fn lost(loaded: &[LoadedReplacement], changed: &[Changed]) -> Vec<String> {
    let is_same = |one: &LoadedReplacement, other: &Changed| {
        (&one.object, &one.name, one.position) == (&other.object, &other.name, other.sympos.max(1))
    };
    let both = loaded.iter().filter(|one| changed.iter().any(|other| is_same(one, other)));
    both.map(|one| {
        format!(
            "{} of {} is replaced already by the livepatch {}, which is loaded: unless its patches are among those given, what \
             it changes there no longer runs; give them too, best with --replace",
            one.name, one.object, one.livepatch
        )
    })
    .collect()
}

/// Writes the module's files, builds it, and writes the report beside it.
fn build(
    request: &LivepatchRequest,
    target: &TargetKernel,
    module: &LivepatchModule,
    report: &mut LivepatchReport,
) -> Result<()> {
    let directory: &Path = &request.directory;
    module::write(directory, &module.files(&target.kdir, &request.flags))?;
    for (name, text) in &request.patches {
        let name = name.rsplit('/').next().filter(|name| *name != "-").unwrap_or("standard-input.patch");
        fs::write(directory.join(name), text)?;
    }
    let built = request.build(target).run(&module.assignments)?;
    report.livepatch = Some(built.file);
    report.notes.extend(built.warnings);
    fs::write(directory.join("report.txt"), report.text())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_is_replaced_already_is_told() {
        let loaded = |name: &str, position| LoadedReplacement {
            livepatch: "lp_one".to_owned(),
            object: "vmlinux".to_owned(),
            name: name.to_owned(),
            position,
        };
        let changed = |name: &str, sympos| Changed {
            object: "vmlinux".to_owned(),
            name: name.to_owned(),
            sympos,
            file: "a.c".to_owned(),
            why: String::new(),
        };
        let loaded = [loaded("f", 1), loaded("g", 2), loaded("h", 1)];
        let told = lost(&loaded, &[changed("f", 0), changed("g", 1), changed("i", 0)]);
        assert!(
            told.len() == 1
                && told[0].starts_with("f of vmlinux is replaced already by the livepatch lp_one")
        );
    }
}
