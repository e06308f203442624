// SPDX-License-Identifier: GPL-2.0-only
//! How kbuild compiles one file, so that klpbuild can do it again.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::frompatch::compiler;
use crate::host::paths;
use crate::kernel::recorded::{Recorded, is_assembler};
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::modules::Module;

/// The command that compiles a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The compiler.
    pub compiler: String,
    /// Its options, without those that name the output, list dependencies or ask for debugging information.
    pub options: Vec<String>,
    /// Its options that ask for debugging information. clang's code depends on them here and there.
    pub debugging: Vec<String>,
    /// The file to compile, as the command names it.
    pub source: String,
    /// The run-time name of the module that the file is a part of, or vmlinux; empty for a file in assembler, whose
    /// command does not name it.
    pub object: String,
}

/// The `.cmd` file of the object of the file at `path` in the source tree, in C or in assembler.
pub fn file_of(objtree: &Path, path: &str) -> PathBuf {
    let stem = path.strip_suffix(".c").or_else(|| path.strip_suffix(".S")).unwrap_or(path);
    let (directory, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    objtree.join(directory).join(format!(".{name}.o.cmd"))
}

impl Recipe {
    /// Whether the compiler writes objects by itself, as clang does: it then has shorter forms for some instructions than
    /// its assembler makes of its own text (`cmp $init_task,%rax`).
    pub fn writes_objects(&self) -> bool {
        let is_other = |word: &String| word == "-fno-integrated-as" || word == "-no-integrated-as";
        paths::last(&self.compiler).starts_with("clang") && !self.options.iter().any(is_other)
    }

    /// Reads the command in the text of a `.cmd` file.
    ///
    /// # Errors
    /// It has no command for a C file, or one that cannot be repeated.
    pub fn parse(text: &str) -> Result<Recipe> {
        let Recorded { compiler, words, source } = Recorded::parse(text)?;
        let debugging = words.iter().filter(|word| is_debug(word)).cloned().collect();
        let options = options(words.into_iter())?;
        let object = if is_assembler(&source) { String::new() } else { object(&options)? };
        Ok(Recipe { compiler, options, debugging, source, object })
    }

    /// Reads the `.cmd` file of the file at `path`; none if there is no such file.
    ///
    /// # Errors
    /// The errors of [`Recipe::parse`].
    pub fn read(objtree: &Path, path: &str) -> Result<Option<Recipe>> {
        let file = file_of(objtree, path);
        if !file.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&file)?;
        Ok(Some(Recipe::parse(&text).with_context(|| file.display().to_string())?))
    }
}

/// The options that are kept.
fn options(words: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-o" => drop(words.next()),
            "-c" | "-S" => {}
            _ if word.starts_with("-Wp,-MD,") || word.starts_with("-Wp,-MMD,") => {}
            _ if word.starts_with("-flto") => bail!(compiler::NO_LTO),
            _ if is_debug(&word) => {}
            _ => kept.push(word),
        }
    }
    Ok(kept)
}

fn is_debug(word: &str) -> bool {
    let Some(rest) = word.strip_prefix("-g") else { return word.starts_with("-Wa,-gdwarf") };
    rest.is_empty() || rest.starts_with("dwarf") || rest.starts_with(|first: char| "0123z-".contains(first))
}

/// The object that the file becomes a part of (`modname_flags` in scripts/Makefile.lib).
fn object(options: &[String]) -> Result<String> {
    let name = options.iter().find_map(|word| word.strip_prefix("-DKBUILD_MODNAME="));
    if !options.iter().any(|word| word == "-DMODULE") {
        return Ok(VMLINUX.to_owned());
    }
    let name = name.map(|name| name.trim_matches('"').to_owned()).unwrap_or_default();
    ensure!(!name.is_empty(), "its command does not tell the module");
    ensure!(!name.contains(':'), "it is a part of more than one module ({name}): not yet");
    let name = name.strip_prefix("kmod_").unwrap_or(&name);
    Ok(Module { stem: name.to_owned() }.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "savedcmd_fs/fat/namei_vfat.o := ccache gcc -Wp,-MMD,fs/fat/.namei_vfat.o.d -nostdinc -I/src/include \
        -I./include -include /src/include/linux/kconfig.h -D__KERNEL__ -fmacro-prefix-map=/src/= -O2 -g -gdwarf-5 \
        -fpatchable-function-entry=16,16 -I/src/fs/fat -Ifs/fat  -DMODULE  -DKBUILD_BASENAME='\"namei_vfat\"' \
        -DKBUILD_MODNAME='\"nf-vfat\"' -D'X(a)=$$a$(pound)' -c -o fs/fat/namei_vfat.o /src/fs/fat/namei_vfat.c   ; \
        ./tools/objtool/objtool --orc fs/fat/namei_vfat.o\n\nsource_fs/fat/namei_vfat.o := /src/fs/fat/namei_vfat.c\n";

    #[test]
    fn a_command_is_read_without_what_it_writes() {
        let recipe = Recipe::parse(TEXT).unwrap();
        assert_eq!((recipe.compiler.as_str(), recipe.object.as_str()), ("gcc", "nf_vfat"));
        assert_eq!(recipe.source, "/src/fs/fat/namei_vfat.c");
        let has = |word: &str| recipe.options.iter().any(|option| option == word);
        assert!(
            has("-DKBUILD_BASENAME=\"namei_vfat\"") && has("-DX(a)=$a#") && has("-O2"),
            "{:?}",
            recipe.options
        );
        for word in ["-g", "-gdwarf-5", "-c", "-o", "fs/fat/namei_vfat.o", "-Wp,-MMD,fs/fat/.namei_vfat.o.d"]
        {
            assert!(!has(word), "{word}");
        }
    }

    #[test]
    fn old_and_built_in_commands_are_read() {
        let text = "cmd_kernel/fork.o := gcc -Wp,-MD,kernel/.fork.o.d -DKBUILD_MODNAME='\"fork\"' -c -o kernel/fork.o kernel/fork.c\n";
        let recipe = Recipe::parse(text).unwrap();
        assert_eq!((recipe.object.as_str(), recipe.source.as_str()), (VMLINUX, "kernel/fork.c"));
    }

    #[test]
    fn assembler_tells_no_object() {
        let recipe = Recipe::parse("savedcmd_a.o := gcc -D__ASSEMBLY__ -c -o a.o ../a.S\n").unwrap();
        assert_eq!((recipe.object.as_str(), recipe.source.as_str()), ("", "../a.S"));
        assert!(is_assembler(&recipe.source));
    }

    #[test]
    fn what_cannot_be_repeated_is_refused() {
        assert!(Recipe::parse("savedcmd_a.o := gcc -c -o a.o a.o.tmp\n").is_err());
        assert!(Recipe::parse("deps_a.o := a.c\n").is_err());
        let lto = Recipe::parse("savedcmd_a.o := clang -flto=thin -c -o a.o a.c\n").unwrap_err();
        assert!(lto.to_string().contains("CONFIG_LTO_CLANG"));
        assert_eq!(file_of(Path::new("/o"), "fs/a.c"), Path::new("/o/fs/.a.o.cmd"));
        assert_eq!(file_of(Path::new("/o"), "a.c"), Path::new("/o/.a.o.cmd"));
    }
}
