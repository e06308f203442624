// SPDX-License-Identifier: GPL-2.0-only
//! Where distributions put a kernel's files. `R` is its release.
//!
//! | what | Debian, Ubuntu | Fedora, RHEL | openSUSE |
//! |---|---|---|---|
//! | vmlinux with symbols | `/usr/lib/debug/boot/vmlinux-R` | `/usr/lib/debug/lib/modules/R/vmlinux` | `/usr/lib/debug/usr/lib/modules/R/vmlinux.debug`, `/boot/vmlinux-R.xz` |
//! | System.map | `/boot/System.map-R` (Debian: one line; the real one in `/usr/lib/debug/boot`) | `/lib/modules/R/System.map` | `/boot/System.map-R` |
//! | modules' debug files | `/usr/lib/debug/lib/modules/R/....ko` | `/usr/lib/debug/lib/modules/R/....ko.debug` | `/usr/lib/debug/usr/lib/modules/R/....ko.debug` |
//! | kernel image | `/boot/vmlinuz-R` | `/lib/modules/R/vmlinuz` | `/boot/vmlinuz-R` |

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::host::compressed::unpacked_name;
use crate::host::text;

/// The longest line of a list of symbols, in bytes.
const LONGEST_LINE: u64 = 1 << 13;

/// What a value such as KDIR means: a directory, or the release of an installed kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedKernel {
    /// Its headers, object or source tree.
    Directory(PathBuf),
    /// Its release.
    Release(String),
}

impl NamedKernel {
    /// What the value of KDIR means, relative to `start`: a directory; if there is none of that name, a release.
    pub fn by_kdir(places: &Places, start: &Path, value: &str) -> NamedKernel {
        let directory = start.join(value);
        if !directory.is_dir() && !value.contains('/') && places.has(value) {
            return NamedKernel::Release(value.to_owned());
        }
        NamedKernel::Directory(directory)
    }
}

/// The root of the file system in which a kernel is installed.
#[derive(Debug, Clone)]
pub struct Places {
    root: PathBuf,
}

impl Places {
    /// Below `sysroot`, or below `/`.
    pub fn below(sysroot: Option<&Path>) -> Places {
        Places { root: sysroot.unwrap_or(Path::new("/")).to_path_buf() }
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The names of what is in a directory; none if there is no such one.
    pub(super) fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(directory)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Where a vmlinux with symbols may be, the best first.
    pub fn vmlinux(&self, release: &str) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = [
            format!("usr/lib/debug/lib/modules/{release}/vmlinux"),
            format!("usr/lib/debug/boot/vmlinux-{release}"),
            format!("usr/lib/debug/usr/lib/modules/{release}/vmlinux.debug"),
            format!("usr/lib/debug/boot/vmlinux-{release}.debug"),
        ]
        .iter()
        .map(|path| self.at(path))
        .collect();
        for place in [format!("boot/vmlinux-{release}"), format!("lib/modules/{release}/vmlinux")] {
            all.push(self.at(&place));
            all.extend(
                crate::host::compressed::SUFFIXES.iter().map(|suffix| self.at(&format!("{place}{suffix}"))),
            );
        }
        all
    }

    /// The paths of [`Places::vmlinux`], for a message.
    pub(super) fn shown_vmlinux(&self, release: &str) -> String {
        let shown: Vec<String> =
            self.vmlinux(release).iter().take(2).map(|path| path.display().to_string()).collect();
        format!("{} and the like", shown.join(", "))
    }

    /// Where its System.map may be.
    pub fn system_maps(&self, release: &str) -> Vec<PathBuf> {
        [
            format!("usr/lib/debug/boot/System.map-{release}"),
            format!("boot/System.map-{release}"),
            format!("lib/modules/{release}/System.map"),
        ]
        .iter()
        .map(|path| self.at(path))
        .collect()
    }

    /// The directory of its modules, if there is one.
    pub fn modules(&self, release: &str) -> Option<PathBuf> {
        let directories = ["lib/modules", "usr/lib/modules"].map(|place| self.at(place).join(release));
        // Headers leave a directory that has nothing but the link `build`.
        directories
            .into_iter()
            .find(|directory| ["kernel", "updates", "extra"].iter().any(|d| directory.join(d).is_dir()))
    }

    /// Where the debugging information of the module `stem` (a path below the modules' directory, without suffix)
    /// may be.
    pub fn debug_of(&self, release: &str, stem: &str) -> Vec<PathBuf> {
        [
            format!("usr/lib/debug/lib/modules/{release}/{stem}.ko"),
            format!("usr/lib/debug/lib/modules/{release}/{stem}.ko.debug"),
            format!("usr/lib/debug/usr/lib/modules/{release}/{stem}.ko.debug"),
        ]
        .iter()
        .map(|path| self.at(path))
        .collect()
    }

    /// Where its source may be: directories, and archives that are to be unpacked.
    pub fn sources(&self, release: &str) -> Vec<PathBuf> {
        let version: String =
            release.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
        let short: Vec<&str> = version.split('.').take(2).collect();
        let short = short.join(".");
        let mut all = vec![self.at(&format!("lib/modules/{release}/source"))];
        // Debian and Ubuntu: linux-source-6.12.tar.xz, linux-source-6.8.0/linux-source-6.8.0.tar.bz2
        for version in [&version, &short, &format!("{short}.0")] {
            let name = format!("linux-source-{version}");
            all.push(self.at(&format!("usr/src/{name}")));
            for suffix in ["tar.xz", "tar.bz2", "tar.gz", "tar.zst"] {
                all.push(self.at(&format!("usr/src/{name}.{suffix}")));
                all.push(self.at(&format!("usr/src/{name}/{name}.{suffix}")));
            }
        }
        // openSUSE, whose flavour ends the release: /usr/src/linux-6.12.0-160000.5
        let plain = release.rsplit_once('-').map_or(release, |(plain, _)| plain);
        all.push(self.at(&format!("usr/src/linux-{plain}")));
        // Fedora: /usr/src/debug/kernel-6.12.11/linux-6.12.11-200.fc41.x86_64
        all.push(self.at(&format!("usr/src/debug/kernel-{version}/linux-{release}")));
        all
    }

    /// Where its image may be, from which it is booted.
    pub fn images(&self, release: &str) -> Vec<PathBuf> {
        [format!("boot/vmlinuz-{release}"), format!("lib/modules/{release}/vmlinuz")]
            .iter()
            .map(|path| self.at(path))
            .collect()
    }

    /// Where its configuration may be, beside that of the headers.
    pub fn configs(&self, release: &str) -> Vec<PathBuf> {
        let installed = [format!("boot/config-{release}"), format!("lib/modules/{release}/config")];
        // CONFIG_IKCONFIG_PROC
        let running = (self.running().as_deref() == Some(release)).then(|| self.at("proc/config.gz"));
        installed.iter().map(|path| self.at(path)).chain(running).collect()
    }

    /// The link to the directory that modules are built with.
    pub fn build(&self, release: &str) -> PathBuf {
        self.at("lib/modules").join(release).join("build")
    }

    /// The directory that external modules are built with: the one that `typed` names, else the environment variable
    /// KDIR, else the running kernel's, if that is there.
    pub fn kernel_directory(&self, typed: Option<PathBuf>) -> Option<PathBuf> {
        let environment = || {
            Some(match self.environment()? {
                NamedKernel::Directory(directory) => directory,
                NamedKernel::Release(release) => self.build(&release),
            })
        };
        let installed = || Some(self.build(&self.running()?)).filter(|build| build.is_dir());
        let found = typed.or_else(environment).or_else(installed)?;
        Some(std::path::absolute(&found).unwrap_or(found))
    }

    /// What the environment variable KDIR names.
    pub fn environment(&self) -> Option<NamedKernel> {
        let value = std::env::var("KDIR").ok().filter(|value| !value.is_empty())?;
        Some(NamedKernel::by_kdir(self, Path::new(""), &value))
    }

    /// The releases of all kernels of which something is installed, sorted.
    pub fn releases(&self) -> Vec<String> {
        let modules = ["lib/modules", "usr/lib/modules"];
        let mut all: Vec<String> = modules.into_iter().flat_map(|directory| self.names(directory)).collect();
        for (directory, prefix) in [("boot", "vmlinuz-"), ("usr/lib/debug/boot", "vmlinux-")] {
            all.extend(
                self.names(directory).iter().filter_map(|name| Some(name.strip_prefix(prefix)?.to_owned())),
            );
        }
        all.sort_unstable();
        all.dedup();
        all.retain(|release| self.has(release));
        all
    }

    /// Whether anything of the kernel `release` is installed that klpbuild can use. A directory of modules may outlive its
    /// kernel.
    pub fn has(&self, release: &str) -> bool {
        let is_one = !release.is_empty() && !release.contains('/') && !release.starts_with('.');
        is_one
            && (self.modules(release).is_some()
                || self.build(release).is_dir()
                || self.vmlinux(release).iter().chain(&self.images(release)).any(|file| file.is_file()))
    }

    /// The release of the kernel that is running.
    pub fn running(&self) -> Option<String> {
        let text = fs::read_to_string(self.at("proc/sys/kernel/osrelease")).ok()?;
        Some(text.trim().to_owned()).filter(|release| !release.is_empty())
    }

    /// The notes of the kernel that is running, with its build ID.
    pub fn running_notes(&self) -> Option<Vec<u8>> {
        fs::read(self.at("sys/kernel/notes")).ok()
    }

    /// The symbols of the kernel that is running, unless it hides their addresses (kptr_restrict).
    pub fn kallsyms(&self) -> Option<PathBuf> {
        let path = self.at("proc/kallsyms");
        let mut first = String::new();
        BufReader::new(fs::File::open(&path).ok()?.take(LONGEST_LINE)).read_line(&mut first).ok()?;
        let is_hidden = first.split(' ').next()?.bytes().all(|byte| byte == b'0');
        // The first symbol of an x86-64 kernel may be per-CPU, at address 0.
        (!is_hidden || has_an_address(&path)).then_some(path)
    }

    /// The root of the file system.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where apt keeps its lists of packages.
    pub fn apt_lists(&self) -> PathBuf {
        self.at("var/lib/apt/lists")
    }

    /// The ID of the distribution and of those that it is like (os-release(5)).
    pub fn distribution(&self) -> Vec<String> {
        let files = ["etc/os-release", "usr/lib/os-release"].map(|path| self.at(path));
        let text = files.iter().find_map(|file| text::read(file).ok()).unwrap_or_default();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            Some(line.trim_matches(['"', '\'']).to_owned())
        };
        let ids = [value("ID"), value("ID_LIKE")].into_iter().flatten();
        ids.flat_map(|ids| ids.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Whether the kernel that is running is locked down (kernel_lockdown(7)): the mode in brackets.
    pub fn lockdown(&self) -> Option<String> {
        let text = fs::read_to_string(self.at("sys/kernel/security/lockdown")).ok()?;
        let (_, rest) = text.split_once('[')?;
        Some(rest.split_once(']')?.0.to_owned())
    }
}

fn has_an_address(kallsyms: &Path) -> bool {
    let Ok(file) = fs::File::open(kallsyms) else { return false };
    let lines = BufReader::new(file.take(16 << 20)).lines().map_while(Result::ok).take(100_000);
    lines.into_iter().any(|line| line.bytes().take_while(|byte| *byte != b' ').any(|byte| byte != b'0'))
}

/// Whether the directory or archive at `place` has a kernel's whole source: headers leave only a part of it.
pub fn is_whole_source(place: &Path) -> bool {
    place.is_file() || place.join("init/main.c").is_file()
}

/// Whether a System.map is one: some distributions install a line of text in its place.
pub fn is_full_map(path: &Path) -> bool {
    let Ok(file) = fs::File::open(path) else { return false };
    let lines = BufReader::new(file.take(3 * LONGEST_LINE)).lines().map_while(Result::ok).take(3);
    lines.filter(|line| crate::kernel::kallsyms::is_line(line.as_bytes())).count() == 3
}

/// The module files below `directory`, packed or not, sorted; of several with one name, the last is the one that
/// modprobe takes.
///
/// # Errors
/// A directory cannot be read.
pub fn modules_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(current) = directories.pop() {
        for entry in fs::read_dir(&current).context("cannot read the modules' directory")? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = entry.path();
            if kind.is_dir() {
                // The links there lead to modules that were built for other kernels with the same interfaces.
                if entry.file_name() != "weak-updates" {
                    directories.push(path);
                }
            } else if unpacked_name(&entry.file_name().to_string_lossy()).ends_with(".ko") && path.is_file() {
                found.push(path);
            }
        }
    }
    // What depmod has chosen counts; without it, its usual order (depmod.d(5)).
    let chosen = text::read(directory.join("modules.dep")).unwrap_or_default();
    let chosen: HashSet<&str> = chosen.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    let rank = |path: &PathBuf| {
        let rest = path.strip_prefix(directory).unwrap_or(path);
        let place =
            ["extra", "updates"].iter().position(|place| rest.starts_with(place)).map_or(0, |n| n + 1);
        (rest.to_str().is_some_and(|rest| chosen.contains(rest)), place)
    };
    found.sort_by_cached_key(|path| (rank(path), path.clone()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kdir_names_a_directory_before_a_release() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::below(Some(root.path()));
        fs::create_dir_all(root.path().join("lib/modules/6.1/kernel")).unwrap();
        let start = root.path().join("start");
        assert_eq!(NamedKernel::by_kdir(&places, &start, "6.1"), NamedKernel::Release("6.1".to_owned()));
        for other in ["6.2", "./6.1", "/6.1"] {
            assert_eq!(
                NamedKernel::by_kdir(&places, &start, other),
                NamedKernel::Directory(start.join(other))
            );
        }
        fs::create_dir_all(start.join("6.1")).unwrap();
        assert_eq!(NamedKernel::by_kdir(&places, &start, "6.1"), NamedKernel::Directory(start.join("6.1")));
    }
}
