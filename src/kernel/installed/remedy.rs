// SPDX-License-Identifier: GPL-2.0-only
//! Which package or command supplies a missing file or program: for this machine's distribution, or for each known
//! one if it is none of them.
//!
//! - [`index`]: which packages there are

mod index;

use crate::kernel::installed::places::Places;
use crate::kernel::installed::remedy::index::PackageIndex;

/// What may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingPart {
    /// The files that modules are built with.
    Headers,
    /// vmlinux with symbols, and the modules' debug files.
    DebugSymbols,
    /// The source that the kernel was built from.
    Source,
    /// The kernel's modules.
    Kernel,
    /// The compiler, of the given major version if it is gcc.
    Compiler,
    /// clang and lld, of the given major version.
    Clang,
    /// GNU make.
    Make,
    /// ld and the like.
    Binutils,
    /// pahole, for BTF in modules.
    Pahole,
    /// QEMU for x86-64.
    Qemu,
    /// A statically linked busybox.
    Busybox,
}

/// The families of distributions whose packages are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Debian, Ubuntu and others that use apt.
    Debian,
    /// Fedora, RHEL and others that use dnf.
    Fedora,
    /// openSUSE and SLES.
    Suse,
}

impl Family {
    const ALL: [Family; 3] = [Family::Debian, Family::Fedora, Family::Suse];

    /// The family of the distribution that is installed.
    pub fn of(places: &Places) -> Option<Family> {
        places.distribution().iter().find_map(|id| match id.as_str() {
            "debian" | "ubuntu" => Some(Family::Debian),
            "fedora" | "rhel" | "centos" => Some(Family::Fedora),
            id if id == "suse" || id == "sles" || id.starts_with("opensuse") => Some(Family::Suse),
            _ => None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Family::Debian => "Debian",
            Family::Fedora => "Fedora",
            Family::Suse => "openSUSE",
        }
    }

    /// The command that supplies `need` for the kernel `release`; `major` is the compiler's version.
    fn command(self, need: MissingPart, release: &str, major: &str) -> String {
        // openSUSE names its packages by the flavour: 6.4.0-150600.21-default.
        let flavour = release.rsplit_once('-').map_or("default", |(_, flavour)| flavour);
        match self {
            Family::Debian => format!("apt install {}", debian(need, release, major, Archive::Debian)),
            Family::Fedora => match need {
                MissingPart::Headers => format!("dnf install kernel-devel-{release}"),
                MissingPart::DebugSymbols => format!("dnf debuginfo-install kernel-{release}"),
                MissingPart::Source => {
                    let (version, machine) = release.rsplit_once('.').unwrap_or((release, "x86_64"));
                    format!("dnf install kernel-debuginfo-common-{machine}-{version}")
                }
                MissingPart::Kernel => {
                    format!("dnf install kernel-modules-{release} kernel-modules-extra-{release}")
                }
                MissingPart::Compiler => "dnf install gcc".to_owned(),
                MissingPart::Clang => "dnf install clang lld llvm".to_owned(),
                MissingPart::Make => "dnf install make".to_owned(),
                MissingPart::Binutils => "dnf install binutils".to_owned(),
                MissingPart::Pahole => "dnf install dwarves".to_owned(),
                MissingPart::Qemu => "dnf install qemu-system-x86-core".to_owned(),
                MissingPart::Busybox => "dnf install busybox".to_owned(),
            },
            Family::Suse => match need {
                MissingPart::Headers => format!("zypper install kernel-{flavour}-devel"),
                MissingPart::DebugSymbols => {
                    format!("zypper install kernel-{flavour}-debuginfo (from the debug repository)")
                }
                MissingPart::Source => "zypper install kernel-source".to_owned(),
                MissingPart::Kernel => format!("zypper install kernel-{flavour}"),
                MissingPart::Compiler if major.is_empty() => "zypper install gcc".to_owned(),
                MissingPart::Compiler => format!("zypper install gcc{major}"),
                MissingPart::Clang => format!("zypper install clang{major} lld{major} llvm{major}"),
                MissingPart::Make => "zypper install make".to_owned(),
                MissingPart::Binutils => "zypper install binutils".to_owned(),
                MissingPart::Pahole => "zypper install dwarves".to_owned(),
                MissingPart::Qemu => "zypper install qemu-x86".to_owned(),
                MissingPart::Busybox => "zypper install busybox-static".to_owned(),
            },
        }
    }
}

/// Whose packages they are, of those that apt installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Archive {
    Debian,
    /// It has those with debug symbols in an archive of their own (ddebs), and one with the source for each version of three
    /// numbers.
    Ubuntu,
}

/// The package of Debian or Ubuntu.
fn debian(need: MissingPart, release: &str, major: &str, archive: Archive) -> String {
    let is_ubuntu = archive == Archive::Ubuntu;
    match need {
        MissingPart::Headers => format!("linux-headers-{release}"),
        MissingPart::DebugSymbols => {
            format!("linux-image-{release}-{}", if is_ubuntu { "dbgsym" } else { "dbg" })
        }
        MissingPart::Source => {
            let numbers = release.split(|c: char| !c.is_ascii_digit());
            let numbers: Vec<&str> = numbers.take(if is_ubuntu { 3 } else { 2 }).collect();
            format!("linux-source-{}", numbers.join("."))
        }
        MissingPart::Kernel => format!("linux-image-{release}"),
        MissingPart::Compiler if major.is_empty() => "gcc".to_owned(),
        MissingPart::Compiler => format!("gcc-{major}"),
        MissingPart::Clang => format!("clang-{major} lld-{major} llvm-{major}"),
        MissingPart::Make => "make".to_owned(),
        MissingPart::Binutils => "binutils".to_owned(),
        MissingPart::Pahole => "pahole".to_owned(),
        MissingPart::Qemu => "qemu-system-x86".to_owned(),
        MissingPart::Busybox => "busybox-static".to_owned(),
    }
}

/// What to run for `need`, a line for each distribution that may be meant. If the distribution's package index can be
/// searched, only packages that it has are named.
pub fn for_need(need: MissingPart, places: &Places, release: &str, major: &str) -> Vec<String> {
    match Family::of(places) {
        Some(Family::Debian) => {
            let is_ubuntu = places.distribution().iter().any(|id| id == "ubuntu");
            let archive = if is_ubuntu { Archive::Ubuntu } else { Archive::Debian };
            indexed(need, &PackageIndex::of(places), release, &debian(need, release, major, archive))
        }
        Some(family) => vec![family.command(need, release, major)],
        None => {
            let line =
                |family: Family| format!("{}: {}", family.name(), family.command(need, release, major));
            Family::ALL.into_iter().map(line).collect()
        }
    }
}

/// What to run on this machine for a missing program, in one line.
pub fn for_program(need: MissingPart) -> String {
    for_need(need, &Places::below(None), "", "").join("; ")
}

/// What to do for packages of Debian, depending on what its index has.
fn indexed(need: MissingPart, index: &PackageIndex, release: &str, packages: &str) -> Vec<String> {
    if *index == PackageIndex::Empty {
        return vec![format!("apt update && apt install {packages}")];
    }
    let lacking: Vec<&str> = packages.split(' ').filter(|package| !index.has(package)).collect();
    if lacking.is_empty() {
        return vec![format!("apt install {packages}")];
    }
    let lacking = lacking.join(" ");
    match need {
        MissingPart::Headers | MissingPart::Kernel | MissingPart::DebugSymbols => {
            let own = ["linux-headers-amd64 linux-image-amd64", "linux-headers-generic linux-image-generic"];
            let own = own.iter().find(|names| names.split(' ').all(|name| index.has(name)));
            let own = own.map(|names| format!(", or install its newest: apt install {names}"));
            let own = own.unwrap_or_default();
            let ddebs =
                if lacking.ends_with("-dbgsym") { ", or the archive ddebs is not set up" } else { "" };
            vec![format!(
                "no package {lacking} is to be had (apt-cache): {release} is not, or no longer, a kernel of this \
                 distribution{ddebs}; take one that is (klpbuild kernels){own}"
            )]
        }
        _ => vec![format!(
            "no package {lacking} is to be had (apt-cache): get it elsewhere, or take another kernel"
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(os_release: &str) -> (tempfile::TempDir, Places) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/os-release"), os_release).unwrap();
        let places = Places::below(Some(dir.path()));
        (dir, places)
    }

    #[test]
    fn a_distribution_gets_its_own_command() {
        let release = "6.4.0-150600.21-default";
        for (text, need, command) in [
            ("ID=debian\n", MissingPart::Headers, "apt install linux-headers-6.4.0-150600.21-default"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", MissingPart::Compiler, "apt install gcc-12"),
            (
                "ID=fedora\n",
                MissingPart::DebugSymbols,
                "dnf debuginfo-install kernel-6.4.0-150600.21-default",
            ),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", MissingPart::Make, "dnf install make"),
            (
                "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n",
                MissingPart::Headers,
                "zypper install kernel-default-devel",
            ),
        ] {
            let (_dir, places) = places(text);
            assert_eq!(for_need(need, &places, release, "12"), [command], "{text}");
        }
    }

    /// The source is in a package of its own, which each distribution names in its own way.
    #[test]
    fn the_source_is_named_for_its_kernel() {
        for (text, release, command) in [
            ("ID=debian\n", "6.12.117+deb12-amd64", "apt install linux-source-6.12"),
            ("ID=ubuntu\nID_LIKE=debian\n", "6.8.0-45-generic", "apt install linux-source-6.8.0"),
            (
                "ID=fedora\n",
                "6.12.3-200.fc41.aarch64",
                "dnf install kernel-debuginfo-common-aarch64-6.12.3-200.fc41",
            ),
            ("ID=\"opensuse-leap\"\n", "6.4.0-150600.21-default", "zypper install kernel-source"),
        ] {
            let (_dir, places) = places(text);
            assert_eq!(for_need(MissingPart::Source, &places, release, ""), [command], "{text}");
        }
    }

    #[test]
    fn of_an_unknown_one_nothing_is_supposed() {
        let (_dir, places) = places("ID=arch\n");
        assert_eq!(
            for_need(MissingPart::Pahole, &places, "6.1", ""),
            ["Debian: apt install pahole", "Fedora: dnf install dwarves", "openSUSE: zypper install dwarves"]
        );
    }
}
