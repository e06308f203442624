// SPDX-License-Identifier: GPL-2.0-only
//! The guest's files: busybox, `init.sh`, and its inputs. The only place that names cpio.
//!
//! Nothing in it is quoted for a shell: names are file names, and words are the contents of files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::command::trial::module::ModuleFile;

/// The directory in which the guest finds its inputs.
const HERE: &str = "klpbuild";
/// The script that process 1 runs.
pub const INIT: &str = "/klpbuild/init.sh";

/// Directories, parents first.
const DIRECTORIES: [&str; 9] = ["bin", "sbin", "usr", "dev", "proc", "sys", "tmp", "etc", HERE];
/// Character devices with their numbers (Documentation/admin-guide/devices.txt): no devtmpfs is needed.
const DEVICES: [(&str, u32, u32); 7] = [
    ("dev/console", 5, 1),
    ("dev/ttyS0", 4, 64),
    ("dev/null", 1, 3),
    ("dev/zero", 1, 5),
    ("dev/random", 1, 8),
    ("dev/urandom", 1, 9),
    ("dev/kmsg", 1, 11),
];

/// The contents of the guest's file system.
#[derive(Debug)]
pub struct GuestFiles<'a> {
    /// The busybox program.
    pub busybox: &'a Path,
    /// The text with which each line for the host begins.
    pub token: &'a str,
    /// The text with which the output of the command ends.
    pub mark: &'a str,
    /// The command that is run at each stage.
    pub command: Option<&'a str>,
    /// Why modules cannot be reloaded; none if they can.
    pub no_reload: Option<&'a str>,
    /// Why modules cannot be unloaded; none if they can.
    pub no_unload: Option<&'a str>,
    /// The modules that are loaded before the livepatches.
    pub before: &'a [ModuleFile],
    /// The livepatches.
    pub livepatches: &'a [ModuleFile],
    /// The modules that are loaded after them.
    pub after: &'a [ModuleFile],
}

impl GuestFiles<'_> {
    /// Writes the initramfs to `file`, uncompressed: any kernel reads that.
    ///
    /// # Errors
    /// A file cannot be read, or the initramfs cannot be written.
    pub fn write(&self, file: &File) -> Result<()> {
        let mut archive = Archive { out: BufWriter::new(file), entries: 0 };
        self.write_to(&mut archive).context("cannot make the initramfs")
    }

    fn write_to(&self, archive: &mut Archive<impl Write>) -> Result<()> {
        for name in DIRECTORIES {
            archive.directory(name)?;
        }
        for (name, major, minor) in DEVICES {
            archive.device(name, major, minor)?;
        }
        archive.file("bin/busybox", 0o755, &fs::read(self.busybox)?)?;
        for (name, content) in [
            ("init.sh", Some(include_str!("init.sh"))),
            ("token", Some(self.token)),
            ("mark", Some(self.mark)),
            ("command", self.command),
            ("no-reload", self.no_reload),
            ("no-unload", self.no_unload),
        ] {
            if let Some(content) = content {
                archive.file(&format!("{HERE}/{name}"), 0o644, format!("{content}\n").as_bytes())?;
            }
        }
        for (group, modules) in
            [("before", self.before), ("livepatches", self.livepatches), ("after", self.after)]
        {
            archive.directory(&format!("{HERE}/{group}"))?;
            for (index, module) in modules.iter().enumerate() {
                // Four digits, so that the shell's `*` keeps the order.
                let place = format!("{HERE}/{group}/{index:04}");
                archive.directory(&place)?;
                archive.file(&format!("{place}/name"), 0o644, format!("{}\n", module.name).as_bytes())?;
                if let Some(why) = module.why_it_stays() {
                    archive.file(&format!("{place}/no-unload"), 0o644, format!("{why}\n").as_bytes())?;
                }
                archive.file(&format!("{place}/{}", module.file), 0o644, &module.bytes()?)?;
            }
        }
        cpio::newc::trailer(&mut archive.out)?.flush()?;
        Ok(())
    }
}

/// An archive in the format the kernel unpacks (init/initramfs.c): newc.
struct Archive<W: Write> {
    out: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    fn entry(&mut self, name: &str, mode: u32) -> cpio::NewcBuilder {
        self.entries += 1;
        cpio::NewcBuilder::new(name).ino(self.entries).mode(mode)
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        let entry = self.entry(name, 0o040_755);
        entry.write(&mut self.out, 0).finish()?;
        Ok(())
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        let entry = self.entry(name, 0o020_666).rdev_major(major).rdev_minor(minor);
        entry.write(&mut self.out, 0).finish()?;
        Ok(())
    }

    fn file(&mut self, name: &str, permissions: u32, content: &[u8]) -> Result<()> {
        let entry = self.entry(name, 0o100_000 | permissions);
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too big"))?;
        let mut writer = entry.write(&mut self.out, size);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn names_and_words_arrive_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = (dir.path().join("a 'b.ko"), "a 'b.ko".to_owned());
        fs::write(&path, "abc").unwrap();
        let module = ModuleFile {
            path: path.clone(),
            name: "a_b".to_owned(),
            can_unload: false,
            ..ModuleFile::sample(&file)
        };
        let archive = dir.path().join("i.cpio");
        let content = GuestFiles {
            busybox: &path,
            token: "@T",
            mark: "@M",
            command: Some("echo '$x' \"y\"\ntrue"),
            no_reload: None,
            no_unload: Some("why"),
            before: &[],
            livepatches: &[module],
            after: &[],
        };
        content.write(&File::create(&archive).unwrap()).unwrap();
        let mut found = Vec::new();
        let mut rest = fs::read(&archive).unwrap().into_iter().collect::<std::collections::VecDeque<u8>>();
        loop {
            let mut reader = cpio::NewcReader::new(&mut rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut text = String::new();
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            if !name.ends_with("init.sh") {
                reader.read_to_string(&mut text).unwrap();
            }
            found.push((name, mode, text));
            reader.finish().unwrap();
        }
        for (name, mode, text) in [
            ("dev/console", 0o020_666, ""),
            ("bin/busybox", 0o100_755, "abc"),
            ("klpbuild/command", 0o100_644, "echo '$x' \"y\"\ntrue\n"),
            ("klpbuild/no-unload", 0o100_644, "why\n"),
            ("klpbuild/livepatches/0000", 0o040_755, ""),
            ("klpbuild/livepatches/0000/name", 0o100_644, "a_b\n"),
            ("klpbuild/livepatches/0000/a 'b.ko", 0o100_644, "abc"),
            ("klpbuild/token", 0o100_644, "@T\n"),
            ("klpbuild/mark", 0o100_644, "@M\n"),
            (
                "klpbuild/livepatches/0000/no-unload",
                0o100_644,
                "it has no module_exit, so that the kernel never unloads it\n",
            ),
        ] {
            assert!(found.contains(&(name.to_owned(), mode, text.to_owned())), "{name}: {found:?}");
        }
        assert!(!found.iter().any(|(name, ..)| name == "klpbuild/no-reload"));
        let again = File::create(&archive).unwrap();
        let error = GuestFiles { busybox: &dir.path().join("none"), ..content }.write(&again).unwrap_err();
        assert!(format!("{error:#}").contains("none"), "{error:#}");
    }
}
