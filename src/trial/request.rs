//! What is to be tried: the command line, turned into files that are there and fit together. All that can be
//! found wrong without a boot is found here.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::cli::{AccelKind, Options, TryArgs};
use crate::elf::notes;
use crate::plan;
use crate::program;
use crate::tree;
use crate::tree::config::Config;
use crate::trial::module::Module;
use crate::trial::qemu;

/// What the guest cannot do without.
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

/// A trial that can be made.
#[derive(Debug)]
pub struct Request {
    /// The kernel image.
    pub kernel: PathBuf,
    /// The build ID of the object tree's vmlinux, if there is one.
    pub build_id: Option<Vec<u8>>,
    /// The livepatches, in the order to be loaded.
    pub livepatches: Vec<Module>,
    /// Modules that are loaded before them.
    pub before: Vec<Module>,
    /// Modules that are loaded after them.
    pub after: Vec<Module>,
    /// What is run at each stage.
    pub command: Option<String>,
    /// Why patched modules cannot be reloaded, if so.
    pub no_reload: Option<String>,
    /// Why modules cannot be unloaded, if so.
    pub no_unload: Option<String>,
    /// The static busybox.
    pub busybox: PathBuf,
    /// The guest's memory in MiB.
    pub memory: u64,
    /// How many seconds all may take.
    pub timeout: u64,
    /// What the guest runs on.
    pub accel: AccelKind,
    /// Where the console is to be written.
    pub log: Option<PathBuf>,
}

impl Request {
    /// Gives the command line its meaning.
    ///
    /// # Errors
    /// Something is missing, or does not fit the kernel at hand.
    pub fn resolve(options: &Options, arguments: &TryArgs) -> Result<Request> {
        let start = plan::start(options)?;
        let objtree = arguments.objtree.as_ref().map_or(start.clone(), |objtree| start.join(objtree));
        let objtree = fs::canonicalize(&objtree).context("cannot enter the object tree")?;
        let release = tree::kernel::release(&objtree);
        let modules = |paths: &[PathBuf], livepatch: bool| -> Result<Vec<Module>> {
            paths
                .iter()
                .map(|path| Module::expect(&start.join(path), livepatch, release.as_deref()))
                .collect()
        };
        let livepatches = modules(&arguments.livepatches, true)?;
        let (before, after) = (modules(&arguments.load, false)?, modules(&arguments.load_after, false)?);
        let config = configuration(&objtree, arguments.kernel.is_some())?;
        let vmlinux = objtree.join("vmlinux");
        let kernel = match &arguments.kernel {
            Some(kernel) => start.join(kernel),
            None => image(&objtree, &vmlinux)?,
        };
        ensure!(kernel.is_file(), "{}: no such kernel image (--kernel)", kernel.display());
        let mut memory = MEMORY;
        for module in livepatches.iter().chain(&before).chain(&after) {
            // In the archive, unpacked, and loaded.
            memory += 4 * module.size()?.div_ceil(1 << 20);
        }
        ensure!(
            program::find(qemu::NAME).is_some(),
            "there is no {} in PATH: install it (Debian: qemu-system-x86; Fedora: qemu-system-x86-core; \
             openSUSE: qemu-x86)",
            qemu::NAME
        );
        let unloads = config.is_none_or(|config| config.has("MODULE_UNLOAD"));
        let no_unload = (!unloads).then(|| "CONFIG_MODULE_UNLOAD is not set".to_owned());
        Ok(Request {
            kernel,
            build_id: if vmlinux.is_file() { notes::build_id(&vmlinux)? } else { None },
            livepatches,
            before,
            after,
            command: arguments.run.clone(),
            no_reload: no_unload.clone().or_else(|| why_no_reload(&objtree)),
            no_unload,
            busybox: busybox()?,
            memory: arguments.memory.map_or(memory, u64::from),
            timeout: arguments.timeout,
            accel: arguments.accel,
            log: options.log.as_ref().map(|log| start.join(log)),
        })
    }
}

/// Reads the object tree's configuration, and sees that the guest can run with it. Without one, that is left to
/// the trial, if the kernel is none of the object tree's.
fn configuration(objtree: &Path, is_foreign: bool) -> Result<Option<Config>> {
    let path = objtree.join(".config");
    if !path.exists() {
        ensure!(
            is_foreign,
            "{} is no object tree (it has no .config): start klpbuild in one, or name one with --objtree DIR",
            objtree.display()
        );
        return Ok(None);
    }
    let config = Config::read(&path)?;
    ensure!(
        config.has("X86_64"),
        "{}: CONFIG_X86_64 is not set: klpbuild try boots kernels for x86-64 only",
        path.display()
    );
    let missing: Vec<&str> = NEEDED.into_iter().filter(|option| !config.has(option)).collect();
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

/// The object tree's own kernel image.
fn image(objtree: &Path, vmlinux: &Path) -> Result<PathBuf> {
    let image = objtree.join("arch/x86/boot/bzImage");
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

/// Up to 6.2, a patched module on x86 cannot be loaded a second time: nothing clears the relocations that were
/// applied to the livepatch for the first one (`clear_relocate_add`, arch/x86/kernel/module.c).
fn why_no_reload(objtree: &Path) -> Option<String> {
    let lists = ["System.map", "Symbols.list"].map(|name| fs::read_to_string(objtree.join(name)));
    let mut lists = lists.into_iter().filter_map(Result::ok).peekable();
    lists.peek()?;
    let has = lists.any(|list| list.lines().any(|line| line.ends_with("clear_relocate_add")));
    (!has).then(|| {
        "this kernel cannot load a patched module again (it lacks clear_relocate_add of 6.3)".to_owned()
    })
}

/// A busybox that runs without libraries.
fn busybox() -> Result<PathBuf> {
    const INSTALL: &str = "install one (Debian and openSUSE: busybox-static; Fedora: busybox)";
    let found = program::find("busybox");
    let busybox = found.with_context(|| format!("there is no busybox in PATH: {INSTALL}"))?;
    ensure!(
        notes::is_static_x86_64(&busybox)?,
        "{} is not statically linked for x86-64, and the guest has no libraries: {INSTALL}",
        busybox.display()
    );
    Ok(busybox)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_cannot_reload_are_told_by_what_they_lack() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(why_no_reload(dir.path()), None, "nothing is known of it");
        fs::write(dir.path().join("System.map"), "ffffffff81000000 T _text\n").unwrap();
        assert!(why_no_reload(dir.path()).unwrap().contains("clear_relocate_add of 6.3"));
        fs::write(dir.path().join("Symbols.list"), "*vmlinux\n_text\nclear_relocate_add\n").unwrap();
        assert_eq!(why_no_reload(dir.path()), None);
        fs::remove_file(dir.path().join("Symbols.list")).unwrap();
        fs::write(dir.path().join("System.map"), "ffffffff81000000 T clear_relocate_add\n").unwrap();
        assert_eq!(why_no_reload(dir.path()), None);
    }
}
