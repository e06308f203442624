// SPDX-License-Identifier: GPL-2.0-only
//! Which files may include a header, by the text of all files. These are more than do include it, since conditions
//! are not evaluated and a name may mean another file. A kernel that someone else built leaves no lists of
//! dependencies.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rayon::prelude::*;

use crate::frompatch::apply::scope::{self, BESIDE};
use crate::host::paths;
use crate::host::paths::last;

/// Files that the compiler's command includes in every file (`-include` in the top Makefile and
/// scripts/Makefile.lib).
const ALWAYS: [&str; 3] =
    ["include/linux/kconfig.h", "include/linux/compiler_types.h", "include/linux/compiler-version.h"];
/// The suffixes of files that are compiled, or that such files include.
const SUFFIXES: [&str; 6] = ["c", "h", "S", "inc", "def", "tbl"];

/// The files in C and assembler of the source tree that may include one of `headers`. `objtree` has the generated
/// headers, and `arch` is the directory of the architecture.
pub fn of(srctree: &Path, objtree: &Path, headers: &[&str], arch: &str) -> BTreeSet<String> {
    let generated = [format!("arch/{arch}/include/generated"), "include/generated".to_owned()];
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    collect(srctree, "", arch, &mut files);
    for directory in scope::borrowed() {
        collect(srctree, directory, arch, &mut files);
    }
    for directory in &generated {
        collect(objtree, directory, arch, &mut files);
    }
    let all: HashSet<&str> = files.iter().map(|(_, path)| path.as_str()).collect();
    let included: Vec<(&str, Vec<Name>)> = files
        .par_iter()
        .map(|(root, path)| (path.as_str(), includes(&root.join(path), path, &all)))
        .collect();
    // By the last part of an included name: the files that include it.
    let mut users: HashMap<&str, Vec<(&str, &Name)>> = HashMap::new();
    for (user, names) in &included {
        for name in names {
            users.entry(last(name.text())).or_default().push((user, name));
        }
    }
    let mut found: HashSet<&str> = headers.iter().copied().collect();
    let mut rest: Vec<&str> = headers.to_vec();
    while let Some(path) = rest.pop() {
        if ALWAYS.contains(&path) {
            found.extend(included.iter().map(|(user, _)| user));
            break;
        }
        let named = users.get(last(path)).into_iter().flatten().filter(|(_, name)| name.may_be(path));
        for (user, _) in named {
            if found.insert(user) {
                rest.push(user);
            }
        }
    }
    let is_compiled = |path: &&str| path.ends_with(".c") || path.ends_with(".S");
    found.into_iter().filter(is_compiled).map(str::to_owned).collect()
}

/// How a file in C is used in a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileRole {
    /// It is compiled on its own.
    Compiled,
    /// Other files include it, as in kernel/sched/: no makefile names its object.
    Included,
    /// It is compiled on its own, and other files include it.
    Both,
}

/// How the file `path` in C is used in a build, by the makefiles around it and the files beside it. A file that is
/// compiled on its own, and that only files of another directory include, counts as [`FileRole::Compiled`].
pub fn part(srctree: &Path, path: &str) -> FileRole {
    if scope::is_borrowed(path) {
        // A program beside the kernel has a makefile that names it.
        return FileRole::Included;
    }
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let object = format!("{}.o", name.strip_suffix(".c").unwrap_or(name));
    let makefiles = Path::new(path)
        .ancestors()
        .skip(1)
        .flat_map(|above| ["Makefile", "Kbuild"].map(|makefile| srctree.join(above).join(makefile)));
    let is_made =
        makefiles.into_iter().any(|file| has_word(&fs::read(file).unwrap_or_default(), object.as_bytes()));
    let beside = fs::read_dir(srctree.join(directory)).into_iter().flatten().flatten();
    let own = HashSet::from([path]);
    let is_included = beside.into_iter().any(|entry| {
        let file = entry.file_name();
        let is_source = file.to_str().is_some_and(|file| file.ends_with(".c") || file.ends_with(".h"));
        let beside = format!("{directory}/");
        is_source && includes(&entry.path(), &beside, &own).iter().any(|name| matches!(name, Name::File(_)))
    });
    match (is_made, is_included) {
        (true, false) => FileRole::Compiled,
        (true, true) => FileRole::Both,
        (false, _) => FileRole::Included,
    }
}

/// Whether a makefile's text has a word, possibly after a directory.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.+".contains(&byte);
    memchr::memmem::find_iter(text, word).any(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        let after = text.get(at + word.len());
        ![before, after].into_iter().flatten().any(|&byte| is_letter(byte))
    })
}

/// What an `#include` names.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// A file beside it, which the compiler looks for first.
    File(String),
    /// A file whose path ends with this.
    End(String),
}

impl Name {
    fn text(&self) -> &str {
        let (Name::File(text) | Name::End(text)) = self;
        text
    }

    fn may_be(&self, path: &str) -> bool {
        match self {
            Name::File(file) => file == path,
            Name::End(end) => path
                .strip_suffix(end.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('/')),
        }
    }
}

/// The files below a directory, each with the tree it is in.
fn collect(root: &Path, directory: &str, arch: &str, files: &mut Vec<(PathBuf, String)>) {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            let is_other = directory.is_empty() && BESIDE.contains(&name)
                || directory == "arch" && name != arch && entry.path().is_dir();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !is_other => directories.push(path),
                Ok(kind) if !kind.is_dir() => {
                    let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
                    if suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix)) {
                        files.push((root.to_path_buf(), path));
                    }
                }
                _ => {}
            }
        }
    }
}

/// What the file `file` includes; `path` is its path in the tree, and `all` are the files of the tree.
fn includes(file: &Path, path: &str, all: &HashSet<&str>) -> Vec<Name> {
    let Ok(text) = fs::read(file) else { return Vec::new() };
    let word = b"include";
    let mut names = Vec::new();
    for at in memchr::memmem::find_iter(&text, word) {
        let before = text.get(..at).unwrap_or_default().trim_ascii_end();
        let is_begin = before.strip_suffix(b"#").is_some_and(|line| {
            let line = line.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
            line.trim_ascii().is_empty()
        });
        let after = text.get(at + word.len()..).unwrap_or_default().trim_ascii_start();
        let close = match after.first() {
            Some(b'"') if is_begin => b'"',
            Some(b'<') if is_begin => b'>',
            _ => continue,
        };
        let after = after.get(1..).unwrap_or_default();
        let end = memchr::memchr2(close, b'\n', after).unwrap_or(0);
        let Ok(name) = std::str::from_utf8(after.get(..end).unwrap_or_default()) else { continue };
        let beside = Some(beside(path, name)).filter(|file| close == b'"' && all.contains(file.as_str()));
        // The rest of the name after the last `..` is a part of the path.
        let end =
            || name.rsplit_once("../").map_or(name, |(_, name)| name).trim_start_matches("./").to_owned();
        names.push(beside.map_or_else(|| Name::End(end()), Name::File));
    }
    names
}

/// The path of the file `name` as seen from the file `path`.
fn beside(path: &str, name: &str) -> String {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    paths::normal(&format!("{directory}/{name}")).trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_c_that_are_included_are_told_from_others() {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            fs::create_dir_all(directory.path().join(path).parent().unwrap()).unwrap();
            fs::write(directory.path().join(path), text).unwrap();
        };
        write("kernel/sched/Makefile", "obj-y += core.o\nobj-y += build.o both.o # not-rt.o\n");
        write("kernel/Makefile", "obj-y += sched/ sub/far.o\n");
        write("kernel/sched/build.c", "#include <linux/x.h>\n#include \"rt.c\"\n");
        write("kernel/sched/core.c", "# include \"both.c\"\n");
        for path in ["kernel/sched/rt.c", "kernel/sched/both.c", "kernel/sub/far.c"] {
            write(path, "");
        }
        let part = |path| part(directory.path(), path);
        assert_eq!(part("kernel/sched/core.c"), FileRole::Compiled);
        assert_eq!(part("kernel/sched/rt.c"), FileRole::Included);
        assert_eq!(part("kernel/sched/both.c"), FileRole::Both);
        assert_eq!(part("kernel/sub/far.c"), FileRole::Compiled);
        write("scripts/dtc/Makefile", "libfdt-objs := fdt.o\n");
        assert_eq!(part("scripts/dtc/libfdt/fdt.c"), FileRole::Included);
    }

    #[test]
    fn users_are_found_through_other_headers_and_generated_ones() {
        let directory = tempfile::tempdir().unwrap();
        let (source, object) = (directory.path().join("source"), directory.path().join("object"));
        let write = |root: &Path, path: &str, text: &str| {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        };
        write(&source, "include/asm-generic/level.h", "#define LEVEL 1\n");
        write(&source, "include/linux/level.h", "#if 0\n# include <asm/level.h>\n#endif\n");
        write(&object, "arch/x86/include/generated/asm/level.h", "#include <asm-generic/level.h>\n");
        write(&source, "fs/one.c", "\t#\tinclude \"../include/linux/level.h\"\n");
        write(&source, "fs/two.c", "/* #include <linux/level.h> */ int include;\n");
        write(&source, "fs/own/level.h", "");
        write(&source, "fs/own/three.c", "#include \"level.h\"\n");
        write(&source, "arch/x86/entry/four.S", "#include <linux/level.h>\n");
        write(&source, "arch/arm/five.c", "#include <linux/level.h>\n");
        write(&source, "tools/six.c", "#include <linux/level.h>\n");
        write(&source, "include/linux/kconfig.h", "");
        write(&source, "tools/lib/bpf/core.c", "#include \"core.h\"\n");
        write(&source, "tools/lib/bpf/core.h", "");
        write(&source, "kernel/bpf/core.c", "#include \"../../tools/lib/bpf/core.c\"\n");
        let of = |header: &str| of(&source, &object, &[header], "x86").into_iter().collect::<Vec<_>>();
        write(&source, "fs/own/seven.c", "#include <level.h>\n");
        // A name that is not that of a file beside it may mean any file.
        let all = ["arch/x86/entry/four.S", "fs/one.c", "fs/own/seven.c"];
        assert_eq!(of("include/asm-generic/level.h"), all);
        assert_eq!(of("fs/own/level.h"), ["fs/own/seven.c", "fs/own/three.c"]);
        assert_eq!(of("include/linux/none.h"), Vec::<String>::new());
        let borrowed = ["kernel/bpf/core.c", "tools/lib/bpf/core.c"];
        assert_eq!(of("tools/lib/bpf/core.h"), borrowed);
        let every = ["arch/x86/entry/four.S", "fs/one.c", "fs/own/seven.c", "fs/own/three.c", "fs/two.c"];
        let every: Vec<&str> = every.into_iter().chain(borrowed).collect();
        assert_eq!(of("include/linux/kconfig.h"), every);
    }
}
