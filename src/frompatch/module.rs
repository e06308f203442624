// SPDX-License-Identifier: GPL-2.0-only
//! The external module that a livepatch is built from: the assembler text of each unit's changed functions, a C file
//! with klp_func, klp_object and klp_patch and with the positions of the symbols it refers to, and a Makefile.
//!
//! It can be read, changed and built again with plain make.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use fs_err as fs;

use crate::frompatch::report;
use crate::kernel::symbols::VMLINUX;
use crate::livepatch::header;
use crate::livepatch::special::VERSIONED_NAME_LIMIT;

/// A function that the livepatch replaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplacedFunction {
    /// Its object's run-time name.
    pub object: String,
    /// Its name in the kernel.
    pub name: String,
    /// Its position there (S7).
    pub sympos: u64,
    /// The symbol of the new function in the assembler text.
    pub label: String,
}

/// A symbol of the kernel that is not exported and that the livepatch refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnexportedSymbol {
    /// The object that has it.
    pub object: String,
    /// Its name in the kernel, and in the assembler text.
    pub name: String,
    /// Its position there (S1).
    pub sympos: u64,
}

impl UnexportedSymbol {
    /// Whether modpost may have no room for the name: where it is declared and used, it has to be weak.
    pub fn is_long(&self) -> bool {
        self.name.len() > VERSIONED_NAME_LIMIT
    }
}

/// A function that the kernel calls before or after it patches or unpatches an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleCallback {
    /// The callback as the report has it.
    pub told: report::ReportedCallback,
    /// The symbol of the function in the assembler text.
    pub label: String,
}

/// The part of the module from one unit.
#[derive(Debug, Clone, Default)]
pub struct UnitText {
    /// The unit's path in the source tree.
    pub path: String,
    /// The assembler text.
    pub text: String,
}

/// The module's contents.
#[derive(Debug, Default)]
pub struct LivepatchModule {
    /// Its name, with dashes as it was typed.
    pub name: String,
    /// Its MODULE_DESCRIPTION.
    pub description: String,
    /// The assembler texts, one for each unit.
    pub parts: Vec<UnitText>,
    /// The functions that it replaces.
    pub replaced: BTreeSet<ReplacedFunction>,
    /// The callbacks.
    pub callbacks: Vec<ModuleCallback>,
    /// The kernel's symbols that it refers to and that are not exported.
    pub annotated: BTreeSet<UnexportedSymbol>,
    /// The namespaces that it imports.
    pub namespaces: BTreeSet<String>,
    /// Whether it replaces all loaded livepatches (klp_patch.replace).
    pub replaces_all: bool,
    /// The assignments with which make uses the kernel's compiler.
    pub assignments: BTreeSet<String>,
    /// Whether the kernel wants a livepatch registered before it is enabled (up to 5.0).
    pub is_registered: bool,
    /// Whether the kernel calls callbacks (from 4.15 on).
    pub has_callbacks: bool,
}

/// The name of the files for a unit: its path without directories.
pub fn file_of(path: &str) -> String {
    path.strip_suffix(".c").unwrap_or(path).replace(['/', ','], "-")
}

impl LivepatchModule {
    /// Adds a callback.
    ///
    /// # Errors
    /// The object has one for the same moment already, or this kernel calls no callbacks.
    pub fn add_callback(&mut self, callback: ModuleCallback) -> Result<()> {
        let report::ReportedCallback { object, moment, name, file } = &callback.told;
        ensure!(
            self.has_callbacks,
            "{file}: {name}: this kernel calls no callbacks of livepatches (from 4.15 on they do)"
        );
        let mut all = self.callbacks.iter().map(|other| &other.told);
        let other = all.find(|other| (&other.object, other.moment) == (object, *moment));
        if let Some(other) = other {
            bail!(
                "{file}: {name} is a {moment} callback of {object}, and {} of {} is one already: an object has one of each, \
                 call both functions from it",
                other.name,
                other.file
            );
        }
        self.callbacks.push(callback);
        Ok(())
    }

    /// Its files, by name.
    pub fn files(&self, kdir: &Path, flags: &[String]) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for part in &self.parts {
            let name = file_of(&part.path);
            files.insert(format!("{name}.asm"), part.text.clone());
            files.insert(format!("{name}.S"), wrapper(&name, &part.path));
        }
        files.insert("tables.c".to_owned(), self.tables());
        files.insert("Makefile".to_owned(), self.makefile(kdir, flags));
        files.insert("Makefile.snippet".to_owned(), header::SNIPPET.to_owned());
        files.insert("klp_relocs.h".to_owned(), header::HEADER.to_owned());
        files.insert(".gitignore".to_owned(), GITIGNORE.to_owned());
        files
    }

    fn makefile(&self, kdir: &Path, flags: &[String]) -> String {
        let name = &self.name;
        let flags: Vec<&str> = flags.iter().chain(&self.assignments).map(String::as_str).collect();
        let flags = flags.join(" ");
        let flags = if flags.is_empty() { String::new() } else { format!("KLPBUILD_FLAGS ?= {flags}\n") };
        let mut text =
            format!("# SPDX-License-Identifier: GPL-2.0-only\nobj-m += {name}.o\n{name}-y := tables.o\n");
        for part in &self.parts {
            let file = file_of(&part.path);
            let _ = write!(
                text,
                "{name}-y += {file}.o\nAFLAGS_{file}.o += -Wa,-I$(src)\n$(obj)/{file}.o: $(src)/{file}.asm\n"
            );
        }
        let _ = write!(
            text,
            "\nKDIR ?= {}\n{flags}include $(dir $(lastword $(MAKEFILE_LIST)))Makefile.snippet\n",
            kdir.display()
        );
        text
    }

    /// The text of the C file.
    fn tables(&self) -> String {
        let mut text = String::from(
            "// SPDX-License-Identifier: GPL-2.0-only\n\
             /* Made by klpbuild livepatch: what is replaced, and where in the kernel lies what is referred to. */\n\
             #include <linux/module.h>\n#include <linux/kernel.h>\n#include <linux/livepatch.h>\n#include \"klp_relocs.h\"\n",
        );
        self.write_annotations(&mut text);
        self.write_functions(&mut text);
        self.write_ends(&mut text);
        text
    }

    fn write_annotations(&self, text: &mut String) {
        let mut by_object: BTreeMap<&str, Vec<&UnexportedSymbol>> = BTreeMap::new();
        for annotated in &self.annotated {
            by_object.entry(&annotated.object).or_default().push(annotated);
        }
        let mut number = 0;
        for (object, all) in by_object {
            let _ = writeln!(text, "\n/* not exported, of {object} */");
            let mut records = String::new();
            for annotated in all {
                let name = &annotated.name;
                let weak = if annotated.is_long() { " __weak" } else { "" };
                let _ = writeln!(text, "extern struct klp_any klp_ref_{number} __asm__(\"{name}\"){weak};");
                let _ = writeln!(records, "\tKLP_SYMPOS(klp_ref_{number}, {}),", annotated.sympos);
                number += 1;
            }
            let _ =
                writeln!(text, "static KLP_MODULE_RELOC({object}) klp_refs_{object}[] = {{\n{records}}};");
        }
    }

    fn write_functions(&self, text: &mut String) {
        // An object may have only callbacks.
        let mut by_object: BTreeMap<&str, Vec<&ReplacedFunction>> =
            self.callbacks.iter().map(|callback| (callback.told.object.as_str(), Vec::new())).collect();
        for replaced in &self.replaced {
            by_object.entry(&replaced.object).or_default().push(replaced);
        }
        let mut objects = String::new();
        let mut number = 0;
        for (object, all) in by_object {
            text.push('\n');
            let mut entries = String::new();
            for replaced in all {
                let _ =
                    writeln!(text, "extern struct klp_any klp_new_{number} __asm__(\"{}\");", replaced.label);
                let sympos = match replaced.sympos {
                    0 => String::new(),
                    sympos => format!(", .old_sympos = {sympos}"),
                };
                let name = &replaced.name;
                let _ = writeln!(
                    entries,
                    "\t{{ .old_name = \"{name}\", .new_func = &klp_new_{number}{sympos} }},"
                );
                number += 1;
            }
            let _ = writeln!(text, "static struct klp_func klp_funcs_{object}[] = {{\n{entries}\t{{ }}\n}};");
            let name = if object == VMLINUX { String::new() } else { format!(".name = \"{object}\", ") };
            let callbacks = self.write_callbacks(object, text);
            let _ = writeln!(objects, "\t{{ {name}.funcs = klp_funcs_{object}{callbacks} }},");
        }
        let replace = if self.replaces_all { "\t.replace = true,\n" } else { "" };
        let _ = write!(
            text,
            "\nstatic struct klp_object klp_objects[] = {{\n{objects}\t{{ }}\n}};\n\n\
             static struct klp_patch patch = {{\n\t.mod = THIS_MODULE,\n\t.objs = klp_objects,\n{replace}}};\n"
        );
    }

    /// Adds declarations of an object's callbacks to `text`; returns the initialiser of its klp_object for them.
    fn write_callbacks(&self, object: &str, text: &mut String) -> String {
        let own = self.callbacks.iter().enumerate().filter(|(_, callback)| callback.told.object == object);
        own.map(|(number, ModuleCallback { told: report::ReportedCallback { moment, .. }, label })| {
            let returned = if *moment == "pre_patch" { "int" } else { "void" };
            let _ = writeln!(
                text,
                "extern {returned} klp_callback_{number}(struct klp_object *) __asm__(\"{label}\");"
            );
            format!(", .callbacks.{moment} = klp_callback_{number}")
        })
        .collect()
    }

    fn write_ends(&self, text: &mut String) {
        let (enable, leave) = match self.is_registered {
            false => ("\treturn klp_enable_patch(&patch);\n", ""),
            true => (
                "\tint error = klp_register_patch(&patch);\n\n\tif (error)\n\t\treturn error;\n\
                 \terror = klp_enable_patch(&patch);\n\tif (error)\n\t\tklp_unregister_patch(&patch);\n\treturn error;\n",
                "\tklp_unregister_patch(&patch);\n",
            ),
        };
        let namespaces: String =
            self.namespaces.iter().map(|name| format!("MODULE_INFO(import_ns, \"{name}\");\n")).collect();
        let _ = write!(
            text,
            "\nstatic int __init klp_patch_init(void)\n{{\n{enable}}}\n\n\
             static void __exit klp_patch_exit(void)\n{{\n{leave}}}\n\n\
             module_init(klp_patch_init);\nmodule_exit(klp_patch_exit);\n\
             MODULE_DESCRIPTION(\"{}\");\nMODULE_LICENSE(\"GPL\");\nMODULE_INFO(livepatch, \"Y\");\n{namespaces}",
            self.description.replace(['\\', '"', '\n'], " ")
        );
    }
}

const GITIGNORE: &str = "*.o\n*.ko\n*.mod\n*.mod.c\n*.cmd\n.klpbuild/\nModule.symvers\nmodules.order\nmodules.livepatch\nSymbols.list\ncompile_commands.json\n";

/// The text of a `.S` file that has the assembler read the unit's text as the compiler wrote it. The preprocessor
/// would take names in that text for its macros.
fn wrapper(name: &str, path: &str) -> String {
    format!(
        "/* SPDX-License-Identifier: GPL-2.0-only */\n/* Made by klpbuild livepatch: from {path}. */\n\t.include \"{name}.asm\"\n"
    )
}

/// Writes files into a directory that exists.
///
/// # Errors
/// One cannot be written.
pub fn write(directory: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    for (name, text) in files {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "i_am_a_function_of_the_kernel_with_56_letters_in_my_name";

    fn module() -> LivepatchModule {
        let replaced = |object: &str, name: &str, sympos, label: &str| ReplacedFunction {
            object: object.to_owned(),
            name: name.to_owned(),
            sympos,
            label: label.to_owned(),
        };
        let annotated = |object: &str, name: &str, sympos| UnexportedSymbol {
            object: object.to_owned(),
            name: name.to_owned(),
            sympos,
        };
        LivepatchModule {
            name: "fix-1".to_owned(),
            description: "a \"fix\"".to_owned(),
            parts: vec![UnitText { path: "fs/proc/cmdline.c".to_owned(), text: "\t.text\n".to_owned() }],
            replaced: [replaced("vmlinux", "f", 2, "f"), replaced("vfat", "g.isra.0", 0, "g.isra.0")].into(),
            annotated: [
                annotated("vmlinux", "s.12", 3),
                annotated("vfat", "h", 0),
                annotated("vfat", LONG, 0),
            ]
            .into(),
            assignments: ["LLVM=-19".to_owned()].into(),
            ..LivepatchModule::default()
        }
    }

    #[test]
    fn the_tables_name_object_and_position() {
        let text = module().tables();
        for line in [
            "static struct klp_func klp_funcs_vfat[] = {\n\t{ .old_name = \"g.isra.0\", .new_func = &klp_new_0 },\n\t{ }\n};",
            "\t{ .old_name = \"f\", .new_func = &klp_new_1, .old_sympos = 2 },\n",
            "\t{ .name = \"vfat\", .funcs = klp_funcs_vfat },\n\t{ .funcs = klp_funcs_vmlinux },\n\t{ }\n};",
            "extern struct klp_any klp_ref_0 __asm__(\"h\");",
            &format!("extern struct klp_any klp_ref_1 __asm__(\"{LONG}\") __weak;"),
            "extern struct klp_any klp_ref_2 __asm__(\"s.12\");",
            "static KLP_MODULE_RELOC(vmlinux) klp_refs_vmlinux[] = {\n\tKLP_SYMPOS(klp_ref_2, 3),\n};",
            "MODULE_DESCRIPTION(\"a  fix \");",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains(".replace"), "{text}");
        let text = LivepatchModule { replaces_all: true, ..module() }.tables();
        assert!(text.contains("\t.objs = klp_objects,\n\t.replace = true,\n};\n"), "{text}");
    }

    #[test]
    fn an_object_has_one_callback_of_each_kind() -> Result<()> {
        let callback = |object: &str, moment, name: &str| ModuleCallback {
            told: report::ReportedCallback {
                object: object.to_owned(),
                moment,
                name: name.to_owned(),
                file: "fs/a.c".to_owned(),
            },
            label: format!("klpbuild_{name}"),
        };
        let mut module = LivepatchModule { has_callbacks: true, ..module() };
        module.add_callback(callback("vmlinux", "pre_patch", "begin"))?;
        module.add_callback(callback("ext4", "post_unpatch", "end"))?;
        let text = module.tables();
        for line in [
            "extern int klp_callback_0(struct klp_object *) __asm__(\"klpbuild_begin\");",
            "extern void klp_callback_1(struct klp_object *) __asm__(\"klpbuild_end\");",
            "static struct klp_func klp_funcs_ext4[] = {\n\t{ }\n};",
            "\t{ .name = \"ext4\", .funcs = klp_funcs_ext4, .callbacks.post_unpatch = klp_callback_1 },\n",
            "\t{ .funcs = klp_funcs_vmlinux, .callbacks.pre_patch = klp_callback_0 },\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let twice =
            module.add_callback(callback("vmlinux", "pre_patch", "other")).map_err(|error| error.to_string());
        assert_eq!(
            twice,
            Err("fs/a.c: other is a pre_patch callback of vmlinux, and begin of fs/a.c is one already: an object has one of \
                 each, call both functions from it"
                .to_owned())
        );
        let mut old = LivepatchModule::default();
        assert!(old.add_callback(callback("vmlinux", "pre_patch", "f")).is_err());
        Ok(())
    }

    #[test]
    fn the_makefile_has_every_text_and_the_kernel() {
        let files = module().files(Path::new("/k/obj"), &["--force".to_owned()]);
        let makefile = &files["Makefile"];
        for line in [
            "obj-m += fix-1.o\nfix-1-y := tables.o\nfix-1-y += fs-proc-cmdline.o\n",
            "$(obj)/fs-proc-cmdline.o: $(src)/fs-proc-cmdline.asm\n",
            "KDIR ?= /k/obj\nKLPBUILD_FLAGS ?= --force LLVM=-19\n",
        ] {
            assert!(makefile.contains(line), "{line}\n{makefile}");
        }
        assert!(files["fs-proc-cmdline.S"].ends_with("\t.include \"fs-proc-cmdline.asm\"\n"));
        assert_eq!(files["fs-proc-cmdline.asm"], "\t.text\n");
    }
}
