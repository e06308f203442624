// SPDX-License-Identifier: GPL-2.0-only
//! What the fuzz targets share: the kernels that livepatches are converted for, and files made of an input.
//!
//! `prepare` has made the kernels (`tree/<machine>`), and the inputs to begin with (`corpus/<target>`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use klpbuild::elf::Machine;
use klpbuild::kernel::origin::Origin;
use klpbuild::kernel::sources::Sources;

const KERNELS: [(Machine, &str); 4] = [
    (Machine::X86_64, "x86-64"),
    (Machine::AARCH64, "aarch64"),
    (Machine::S390, "s390x"),
    (Machine::PPC64, "ppc64le"),
];

/// The directory of a kernel that `prepare` has made.
pub fn tree(machine: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tree").join(machine)
}

/// The kernel for this machine, or the one for x86-64.
pub fn sources(machine: Machine) -> &'static Sources {
    static SOURCES: OnceLock<Vec<(Machine, Sources)>> = OnceLock::new();
    let all = SOURCES.get_or_init(|| {
        let open = |name: &str| Sources::open(&Origin::of_tree(&tree(name)).ok()?, None).ok();
        KERNELS.into_iter().filter_map(|(machine, name)| Some((machine, open(name)?))).collect()
    });
    let of = |wanted: Machine| all.iter().find(|(machine, _)| *machine == wanted);
    &of(machine).or(all.first()).expect("there are no kernels: run fuzz/prepare").1
}

/// A directory in memory, for what is only read from files.
pub struct Files(tempfile::TempDir);

impl Files {
    /// An empty one.
    pub fn new() -> Files {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        Files(tempfile::Builder::new().prefix("klpbuild-fuzz").tempdir_in(base).expect("no place for files"))
    }

    /// Writes a file there, and gives its path.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("cannot write the input");
        path
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Files {
    fn default() -> Files {
        Files::new()
    }
}

thread_local! {
    static FILES: Files = Files::new();
}

/// Has `read` look at a file of this name with this content.
pub fn with_file<T>(name: &str, content: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    FILES.with(|files| read(&files.write(name, content)))
}

/// The words between zero bytes that could be names, so that what looks a name up has some that are there.
pub fn names(data: &[u8]) -> impl Iterator<Item = &str> {
    let words = data.split(|&byte| byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
    words.filter(|word| (1..64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// Whoever shows a message reads all of it: it has to say something.
pub fn told<T>(result: anyhow::Result<T>) -> Option<T> {
    result.inspect_err(|error| assert!(!format!("{error:#}").is_empty())).ok()
}
