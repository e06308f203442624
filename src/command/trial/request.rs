// SPDX-License-Identifier: GPL-2.0-only
//! What is to be tried: turns the command line into files that exist and fit together. All problems that can be found
//! without a boot are found here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cli::{AccelKind, Options, TryArgs};
use crate::command::asked;
use crate::command::trial::loading::{ModuleSearch, add_patched};
use crate::command::trial::module::ModuleFile;
use crate::command::trial::qemu::{self, GuestKernel};
use crate::elf::image::Image;
use crate::elf::notes;
use crate::host::program;
use crate::host::terminal;
use crate::kernel::installed::remedy::{self, MissingPart};
use crate::kernel::origin::{Origin, OriginRequest};
use crate::kernel::symbols::list;
use crate::kernel::symbols::objects::{Objects, Vmlinux};
use crate::kernel::tree;
use crate::kernel::tree::config::Config;
use crate::livepatch::record;

/// The options that the guest needs.
const NEEDED: [&str; 9] = [
    "LIVEPATCH",
    "MODULES",
    "BLK_DEV_INITRD",
    "BINFMT_ELF",
    "PRINTK",
    "TTY",
    "SERIAL_8250_CONSOLE",
    "PROC_FS",
    "SYSFS",
];
/// The memory of a guest without modules, in MiB.
const MEMORY: u64 = 512;

/// A trial that is possible.
#[derive(Debug)]
pub struct TrialRequest {
    /// The kernel to boot.
    pub guest: GuestKernel,
    /// The build ID of the object tree's vmlinux, if there is one.
    pub build_id: Option<Vec<u8>>,
    /// The livepatches, in the order in which they are loaded.
    pub livepatches: Vec<ModuleFile>,
    /// Modules that are loaded before them.
    pub before: Vec<ModuleFile>,
    /// Modules that are loaded after them.
    pub after: Vec<ModuleFile>,
    /// The command that is run at each stage.
    pub command: Option<String>,
    /// Why patched modules cannot be reloaded; none if they can.
    pub no_reload: Option<String>,
    /// Why modules cannot be unloaded; none if they can.
    pub no_unload: Option<String>,
    /// The static busybox.
    pub busybox: PathBuf,
    /// The time limit of the whole trial, in seconds.
    pub timeout: u64,
    /// The accelerator that the user asked for.
    pub accel: AccelKind,
    /// The file for the guest's console.
    pub log: Option<PathBuf>,
}

impl TrialRequest {
    /// Turns the command line into a trial.
    ///
    /// # Errors
    /// A file is missing, or does not fit the kernel at hand.
    pub fn resolve(options: &Options, arguments: &TryArgs) -> Result<TrialRequest> {
        let start = asked::start(options)?;
        let named = asked::files(&arguments.words, &start, &arguments.installed);
        let listed = if named.files.is_empty() { asked::listed(&start, &named, "try")? } else { Vec::new() };
        let all: Vec<&PathBuf> = named.files.iter().copied().chain(&listed).collect();
        let mut asked = OriginRequest {
            start: named.start,
            objtree: arguments.objtree.as_ref().map(|objtree| start.join(objtree)),
            release: arguments.installed.release.clone(),
            symbols: None,
            choice: asked::choice(&arguments.installed, &start),
        };
        asked::add_kernel(&mut asked, named.kernel)?;
        let first = all.first().map(|file| start.join(file));
        let origin = Origin::to_boot(&asked, first.as_deref())?;
        let release = origin.release.as_deref();
        let livepatches = (all.iter())
            .map(|path| ModuleFile::livepatch(&start.join(path), release))
            .collect::<Result<Vec<ModuleFile>>>()?;
        let wanted = ModuleSearch { start: &start, objects: &origin.objects, release };
        let mut before = Vec::new();
        wanted.add(&arguments.load, &mut before)?;
        let mut after = Vec::new();
        wanted.add(&arguments.load_after, &mut after)?;
        add_patched(&livepatches, &wanted, &mut before, &after)?;
        // A module that another one needed may be on the list already.
        after.retain(|module| !before.contains(module));
        let loaded: Vec<&ModuleFile> = before.iter().chain(&after).collect();
        for livepatch in &livepatches {
            is_for_what_is_booted(livepatch, &loaded, &origin.objects, arguments.kernel.is_some())?;
        }
        let config = configuration(&origin, arguments.kernel.is_some())?;
        let kernel = match &arguments.kernel {
            Some(kernel) => start.join(kernel),
            None => image(&origin)?,
        };
        ensure!(kernel.is_file(), "{}: no such kernel image (--kernel)", kernel.display());
        let mut memory = MEMORY;
        for module in livepatches.iter().chain(&before).chain(&after) {
            // Each module takes up memory in the archive, unpacked, and loaded.
            memory += 4 * (module.bytes()?.len() as u64).div_ceil(1 << 20);
        }
        ensure!(
            program::find(program::QEMU).is_some(),
            "there is no {} in PATH: {}",
            program::QEMU,
            remedy::for_program(MissingPart::Qemu)
        );
        let unloads = config.is_none_or(|config| config.has("MODULE_UNLOAD"));
        let no_unload = (!unloads).then(|| "CONFIG_MODULE_UNLOAD is not set".to_owned());
        let no_reload = no_unload.clone().or_else(|| why_no_reload(&lists(&origin)));
        if no_reload.is_none() {
            say_what_goes_stale(&livepatches, before.iter().chain(&after));
        }
        Ok(TrialRequest {
            guest: GuestKernel {
                kernel,
                command_line: qemu::command_line(arguments.append.as_deref())?,
                memory: arguments.memory.map_or(memory, u64::from),
            },
            build_id: match origin.objects.vmlinux.as_ref().and_then(Vmlinux::image) {
                Some(vmlinux) => notes::build_id(vmlinux)?,
                None => None,
            },
            livepatches,
            before,
            after,
            command: arguments.run.clone(),
            no_reload,
            no_unload,
            busybox: busybox()?,
            timeout: arguments.timeout,
            accel: arguments.accel,
            log: options.log.as_ref().map(|log| start.join(log)),
        })
    }
}

/// Checks that a livepatch was converted for the builds of vmlinux and modules that the guest has, if its record
/// says. For a kernel that `is_foreign`, which the user named by its image, that cannot be checked.
fn is_for_what_is_booted(
    livepatch: &ModuleFile,
    loaded: &[&ModuleFile],
    objects: &Objects,
    is_foreign: bool,
) -> Result<()> {
    let Ok(image) = Image::read(&livepatch.path) else { return Ok(()) };
    let mut objects = objects.clone();
    if is_foreign {
        objects.vmlinux = None;
    }
    for module in loaded {
        objects.add_installed(module.name.clone(), module.path.clone(), Vec::new());
    }
    let differences = record::differences(&image, &objects)?;
    if let Some(difference) = differences.iter().find(|difference| difference.found.is_some()) {
        bail!(
            "{}: {difference}; convert it anew for this one (klpbuild modules), or name the object tree of the kernel \
             that it was converted for (--objtree DIR)",
            livepatch.path.display()
        );
    }
    let named = loaded.iter().map(|module| module.name.clone()).collect();
    let sizes = if is_foreign { BTreeSet::new() } else { record::module_sizes(&named, &objects)? };
    match (record::module_size(&image), sizes.first()) {
        (Some(own), Some(size)) if !sizes.contains(&own) => bail!(
            "{}: it was compiled for a kernel whose struct module has {own} bytes, and this one's has {size}: build it \
             for this kernel, whose configuration is another one",
            livepatch.path.display()
        ),
        _ => Ok(()),
    }
}

/// Warns of modules for which a livepatch keeps wrong addresses after a reload: those that must stay loaded, but are
/// reloaded because they are patched.
fn say_what_goes_stale<'a>(livepatches: &[ModuleFile], loaded: impl Iterator<Item = &'a ModuleFile> + Clone) {
    let is_patched = |name: &String| livepatches.iter().any(|livepatch| livepatch.patches.contains(name));
    for livepatch in livepatches {
        for need in &livepatch.needs {
            let owners = need.owners().iter();
            for owner in owners.filter(|o| is_patched(o) && loaded.clone().any(|module| module.name == **o)) {
                terminal::say(format_args!(
                    "{}: {need}; {owner} is loaded again here all the same, as it is patched, and from then on the \
                     livepatch refers to what was there before",
                    livepatch.file
                ));
            }
        }
    }
}

/// Reads the kernel's configuration, and sees that the guest can run with it. Without one, that is left to
/// the trial, if the kernel is none of the object tree's.
fn configuration(origin: &Origin, is_foreign: bool) -> Result<Option<&Config>> {
    let objtree = origin.objtree.as_deref().unwrap_or(Path::new("."));
    let Some(file) = &origin.config else {
        ensure!(
            is_foreign,
            "{} is no object tree (it has no .config): start klpbuild in one, or name one with --objtree DIR",
            objtree.display()
        );
        return Ok(None);
    };
    let (config, path) = (file.config()?, file.path());
    ensure!(
        config.has("X86_64"),
        "{}: CONFIG_X86_64 is not set: klpbuild try boots kernels for x86-64 only",
        path.display()
    );
    let missing: Vec<&str> = NEEDED.into_iter().filter(|option| !config.has(option)).collect();
    if !missing.is_empty() && origin.installed.is_some() {
        bail!(
            "{}: klpbuild try needs CONFIG_{}, which this kernel lacks",
            path.display(),
            missing.join(", CONFIG_")
        );
    }
    if !missing.is_empty() {
        let source = tree::source_if_known(objtree);
        let source = source.map(|source| format!("{}/", source.display())).unwrap_or_default();
        bail!(
            "{path}: klpbuild try needs CONFIG_{names}; run: {source}scripts/config --file {path} -e {set}, then: \
             klpbuild modules olddefconfig bzImage",
            path = path.display(),
            names = missing.join(", CONFIG_"),
            set = missing.join(" -e ")
        );
    }
    Ok(Some(config))
}

/// The kernel's boot image: the object tree's own, or the installed one.
fn image(origin: &Origin) -> Result<PathBuf> {
    if let (Some(kernel), Some(release)) = (&origin.installed, &origin.release) {
        let images = kernel.images();
        let found = images.iter().find(|image| image.is_file()).cloned();
        return found.with_context(|| {
            let places: Vec<String> = images.iter().map(|image| image.display().to_string()).collect();
            format!(
                "{release} is not installed: there is no {}; name a kernel with --kernel IMAGE",
                places.join(", nor ")
            )
        });
    }
    let objtree = origin.objtree.clone().unwrap_or_default();
    let (image, vmlinux) = (objtree.join("arch/x86/boot/bzImage"), objtree.join("vmlinux"));
    let shown = image.display();
    let Ok(built) = image.metadata().and_then(|image| image.modified()) else {
        bail!(
            "there is no {shown}: build it (klpbuild modules bzImage), or name a kernel with --kernel IMAGE"
        );
    };
    let linked = vmlinux.metadata().and_then(|vmlinux| vmlinux.modified());
    ensure!(
        !linked.is_ok_and(|linked| linked > built),
        "{shown} is older than vmlinux: build it again (klpbuild modules bzImage)"
    );
    Ok(image)
}

/// The existing lists of vmlinux's symbols.
fn lists(origin: &Origin) -> Vec<PathBuf> {
    let own =
        origin.objtree.iter().flat_map(|tree| ["System.map", "Symbols.list"].map(|name| tree.join(name)));
    let vmlinux = match &origin.objects.vmlinux {
        Some(Vmlinux::Image { system_map, .. }) => system_map.clone(),
        Some(Vmlinux::List(list)) => Some(list.clone()),
        None => None,
    };
    own.chain(vmlinux).chain(origin.list.clone()).collect()
}

/// Why patched modules cannot be reloaded: up to 6.2, a patched module on x86 cannot be loaded a second time, because
/// nothing clears the relocations that were applied to the livepatch the first time (`clear_relocate_add`,
/// arch/x86/kernel/module.c).
fn why_no_reload(lists: &[PathBuf]) -> Option<String> {
    let mut lists = lists.iter().filter_map(|path| list::whole(path).ok()).peekable();
    lists.peek()?;
    let has =
        lists.any(|list| list.split(|&byte| byte == b'\n').any(|line| line.ends_with(b"clear_relocate_add")));
    (!has).then(|| {
        "this kernel cannot load a patched module again (it lacks clear_relocate_add of 6.3)".to_owned()
    })
}

/// A busybox that runs without libraries.
fn busybox() -> Result<PathBuf> {
    let install = || remedy::for_program(MissingPart::Busybox);
    let found = program::find("busybox");
    let busybox = found.with_context(|| format!("there is no busybox in PATH: {}", install()))?;
    ensure!(
        notes::is_static_x86_64(&busybox)?,
        "{} is not statically linked for x86-64, and the guest has no libraries: {}",
        busybox.display(),
        install()
    );
    Ok(busybox)
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn kernels_that_cannot_reload_are_told_by_what_they_lack() {
        let dir = tempfile::tempdir().unwrap();
        let lists = ["System.map", "Symbols.list"].map(|name| dir.path().join(name));
        assert_eq!(why_no_reload(&lists), None, "nothing is known of it");
        fs::write(dir.path().join("System.map"), "ffffffff81000000 T _text\n").unwrap();
        assert!(why_no_reload(&lists).unwrap().contains("clear_relocate_add of 6.3"));
        fs::write(dir.path().join("Symbols.list"), "*vmlinux\n_text\nclear_relocate_add\n").unwrap();
        assert_eq!(why_no_reload(&lists), None);
        fs::remove_file(dir.path().join("Symbols.list")).unwrap();
        fs::write(dir.path().join("System.map"), "ffffffff81000000 T clear_relocate_add\n").unwrap();
        assert_eq!(why_no_reload(&lists), None);
    }
}
