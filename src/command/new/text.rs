// SPDX-License-Identifier: GPL-2.0-only
//! The files of a skeleton.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::path::Path;

use crate::command::new::target::ReplaceableFunction;
use crate::debuginfo::prototype::Prototype;
use crate::frompatch::takeover::NewFile;
use crate::kernel::symbols::VMLINUX;

/// The files that git has to ignore: all that make and klpbuild write beside the sources.
pub const IGNORED: &str = "\
# SPDX-License-Identifier: GPL-2.0
.*.cmd
*.ko
*.mod
*.mod.c
*.o
*.o.d
.klpbuild/
.tmp_versions/
Module.symvers
Symbols.list
allowed.symvers
compile_commands.json
modules.livepatch
modules.order
";

/// Headers that define the types which [`Prototype::declaration`] writes by name.
const HEADERS: [&str; 6] = [
    "linux/module.h",
    "linux/kernel.h",
    "linux/livepatch.h",
    "linux/mm.h",
    "linux/interrupt.h",
    "linux/netdevice.h",
];

/// The Makefile; `kdir` is the kernel's directory, if it is not the running one's.
pub fn makefile(name: &str, kdir: Option<&Path>, flags: &str, taken: Option<&Parts<'_>>) -> String {
    let kdir = kdir.map(|kdir| format!("KDIR ?= {}\n", kdir.display())).unwrap_or_default();
    let flags = if flags.is_empty() { String::new() } else { format!("KLPBUILD_FLAGS ?= {flags}\n") };
    let mut parts = String::new();
    if let Some(Parts { source, files }) = taken {
        parts.push_str(&format!("{name}-y := tables.o\n"));
        for file in *files {
            let (own, options) = (&file.name, file.flags.join(" "));
            parts.push_str(&format!("{name}-y += {own}.o\nCFLAGS_{own}.o += {options}\n"));
        }
        parts.push_str(&format!(
            "# Whose headers the functions were written with.\nKSRC ?= {}\n",
            source.display()
        ));
    }
    format!(
        "# SPDX-License-Identifier: GPL-2.0\nobj-m += {name}.o\n{parts}{kdir}{flags}\
         include $(dir $(lastword $(MAKEFILE_LIST)))Makefile.snippet\n"
    )
}

/// The files that were taken over from a source tree.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The source tree.
    pub source: &'a Path,
    /// The files.
    pub files: &'a [NewFile],
}

/// dkms.conf, for only the kernel of this `release`: in another one the function may differ. DKMS signs and
/// compresses the converted livepatch, and must not strip it.
pub fn dkms(name: &str, release: Option<&str>) -> String {
    let escaped = |release: &str| release.replace('.', "\\.").replace('+', "\\+");
    let exclusive = match release {
        Some(release) => format!("BUILD_EXCLUSIVE_KERNEL=\"^{}$\"\n", escaped(release)),
        None => "# FILL IN: the release of the kernel that this is for, as a regular expression.\nBUILD_EXCLUSIVE_KERNEL=\"^$\"\n"
            .to_owned(),
    };
    format!(
        "PACKAGE_NAME=\"{name}\"\nPACKAGE_VERSION=\"1.0\"\nBUILT_MODULE_NAME[0]=\"{name}\"\n\
         DEST_MODULE_LOCATION[0]=\"/updates/dkms\"\nMAKE[0]=\"make KDIR=$kernel_source_dir\"\n\
         CLEAN=\"make clean KDIR=$kernel_source_dir\"\nSTRIP[0]=\"no\"\n{exclusive}AUTOINSTALL=\"yes\"\n"
    )
}

/// The C file of a skeleton.
pub fn source(name: &str, targets: &[ReplaceableFunction]) -> String {
    let mut text =
        format!("// SPDX-License-Identifier: GPL-2.0\n/*\n * Replaces {}.\n */\n", replaced(targets));
    for header in HEADERS {
        text.push_str(&format!("#include <{header}>\n"));
    }
    if targets.iter().any(|target| target.needs_annotation) {
        text.push_str("\n#include \"klp_relocs.h\"\n");
    }
    for target in targets {
        text.push_str(&functions(target));
    }
    let entries = targets.iter().map(|target| (target, format!("new_{}", target.name)));
    text.push_str(&structures(&entries.collect::<Vec<_>>()));
    text.push_str(&ends(name, targets, &BTreeSet::new()));
    text
}

/// The C file with the tables for functions in other files, each with the name of its new function.
pub fn tables(
    name: &str,
    entries: &[(&ReplaceableFunction, String)],
    namespaces: &BTreeSet<String>,
) -> String {
    let targets: Vec<&ReplaceableFunction> = entries.iter().map(|(target, _)| *target).collect();
    let mut text = format!(
        "// SPDX-License-Identifier: GPL-2.0\n/*\n * Replaces {}.\n */\n#include <linux/module.h>\n\
         #include <linux/livepatch.h>\n\n#include \"klp_relocs.h\"\n\n",
        replaced(&targets)
    );
    for (_, new) in entries {
        text.push_str(&format!("extern struct klp_any klp_{new} __asm__(\"{new}\");\n"));
    }
    let entries: Vec<(&ReplaceableFunction, String)> =
        entries.iter().map(|(target, new)| (*target, format!("&klp_{new}"))).collect();
    text.push_str(&structures(&entries));
    text.push_str(&ends(name, &targets, namespaces));
    text
}

/// The replaced functions, in words.
fn replaced<T: Borrow<ReplaceableFunction>>(targets: &[T]) -> String {
    let mut by_object: Vec<(&str, Vec<String>)> = Vec::new();
    for target in targets.iter().map(Borrow::borrow) {
        let name = format!("{}()", target.name);
        match by_object.iter_mut().find(|(object, _)| *object == target.object) {
            Some((_, names)) => names.push(name),
            None => by_object.push((&target.object, vec![name])),
        }
    }
    let release = targets.first().and_then(|target| target.borrow().release.as_ref());
    let release = release.map(|release| format!(" of {release}")).unwrap_or_default();
    let of = |object: &str| match object {
        VMLINUX => "the kernel".to_owned(),
        object => format!("the module {object}"),
    };
    let all = by_object.iter().map(|(object, names)| format!("{} in {}", names.join(" and "), of(object)));
    format!("{}{release}", all.collect::<Vec<_>>().join(", and "))
}

/// The declaration of the old function, for the call, and the new function.
fn functions(target: &ReplaceableFunction) -> String {
    let old = &target.name;
    // Without a type, the parameters stay in their registers for the old function.
    let unknown = Prototype {
        result: crate::debuginfo::prototype::Type::Base(crate::debuginfo::prototype::Scalar::named("long")),
        parameters: Vec::new(),
        is_variadic: false,
    };
    let prototype = target.prototype.as_ref().unwrap_or(&unknown);
    let declaration =
        |name: &str| prototype.declaration(name).unwrap_or_else(|| format!("long {name}(void)"));
    let mut text = String::from("\n");
    let tags = prototype.tags();
    for tag in &tags {
        text.push_str(&format!("{tag};\n"));
    }
    if !tags.is_empty() {
        text.push('\n');
    }
    if target.prototype.is_none() {
        text.push_str(&format!("/* FILL IN: what {old}() takes and returns, in both declarations. */\n"));
    }
    let entry = target.entry.filter(|_| !prototype.is_variadic);
    let body = match entry {
        Some(entry) => {
            text.push_str(&format!(
                "/*\n * The old function, entered behind the place where ftrace steps in: called by its name, it would come\n \
                 * back here. The number is right for this build of the kernel alone.\n */\n{} __asm__(\"{old}+{entry}\");\n\n",
                wrapped("extern", &declaration(&format!("old_{old}")))
            ));
            if target.needs_annotation {
                text.push_str(&format!(
                    "extern const char {old}_symbol[] __asm__(\"{old}\");\nstatic KLP_MODULE_RELOC({}) {old}_reloc[] = {{\n\t\
                     KLP_SYMPOS({old}_symbol, {}),\n}};\n\n",
                    target.object, target.sympos
                ));
            }
            text.push_str("/* FILL IN: its new body. Until then it goes on to the old one. */\n");
            let call = format!("old_{old}({})", prototype.names().join(", "));
            if prototype.result.is_void() { format!("\t{call};\n") } else { format!("\treturn {call};\n") }
        }
        None => {
            text.push_str(
                "/* FILL IN: its new body. Until then it does nothing: do not load it where that matters. */\n",
            );
            match &prototype.result {
                result if result.is_void() => String::new(),
                result if result.is_pointer() => "\treturn NULL;\n".to_owned(),
                _ => "\treturn 0;\n".to_owned(),
            }
        }
    };
    let new = wrapped("static", &declaration(&format!("new_{old}")));
    text.push_str(&format!("{new}\n{{\n{body}}}\n"));
    text
}

/// A declaration, broken into lines that are not too long.
fn wrapped(storage: &str, declaration: &str) -> String {
    const WIDTH: usize = 96;
    let mut text = storage.to_owned();
    let mut length = text.len() + 1;
    for (index, part) in declaration.split_inclusive(", ").enumerate() {
        let is_first = index == 0;
        if !is_first && length + part.trim_end().len() > WIDTH {
            text.truncate(text.trim_end().len());
            text.push_str("\n\t\t");
            length = 16;
        } else if is_first {
            text.push(' ');
        }
        text.push_str(part);
        length += part.len();
    }
    text
}

/// The tables of the patch, with each function's new_func.
fn structures(entries: &[(&ReplaceableFunction, String)]) -> String {
    let mut by_object: Vec<(&str, String)> = Vec::new();
    for (target, new) in entries {
        let old = &target.name;
        let sympos = match target.sympos {
            0 => String::new(),
            sympos => format!("\n\t\t.old_sympos = {sympos},"),
        };
        let entry = format!("\n\t\t.old_name = \"{old}\",\n\t\t.new_func = {new},{sympos}\n\t}}, {{");
        match by_object.iter_mut().find(|(object, _)| *object == target.object) {
            Some((_, all)) => all.push_str(&entry),
            None => by_object.push((&target.object, entry)),
        }
    }
    let is_one = by_object.len() == 1;
    let table = |object: &str| if is_one { "funcs".to_owned() } else { format!("funcs_{object}") };
    let mut text = String::new();
    let mut objects = String::new();
    for (object, all) in &by_object {
        let table = table(object);
        text.push_str(&format!("\nstatic struct klp_func {table}[] = {{\n\t{{{all} }}\n}};\n"));
        // The name of vmlinux is NULL.
        let name = if *object == VMLINUX { String::new() } else { format!("\n\t\t.name = \"{object}\",") };
        objects.push_str(&format!("{name}\n\t\t.funcs = {table},\n\t}}, {{"));
    }
    format!(
        "{text}\nstatic struct klp_object objs[] = {{\n\t{{{objects} }}\n}};\n\n\
         static struct klp_patch patch = {{\n\t.mod = THIS_MODULE,\n\t.objs = objs,\n}};\n"
    )
}

/// The init and exit functions, and the module's information.
fn ends<T: Borrow<ReplaceableFunction>>(name: &str, targets: &[T], namespaces: &BTreeSet<String>) -> String {
    let own = name.replace('-', "_");
    let targets: Vec<&ReplaceableFunction> = targets.iter().map(Borrow::borrow).collect();
    let (enable, leave) = match targets.iter().any(|target| target.is_registered) {
        false => ("\treturn klp_enable_patch(&patch);\n", ""),
        true => (
            "\tint error = klp_register_patch(&patch);\n\n\tif (error)\n\t\treturn error;\n\
             \terror = klp_enable_patch(&patch);\n\tif (error)\n\t\tklp_unregister_patch(&patch);\n\treturn error;\n",
            "\tklp_unregister_patch(&patch);\n",
        ),
    };
    let own_namespaces = targets.iter().filter_map(|target| target.namespace.as_ref());
    let namespaces: BTreeSet<&String> = own_namespaces.chain(namespaces).collect();
    let namespace = namespaces
        .into_iter()
        .map(|namespace| format!("MODULE_INFO(import_ns, \"{namespace}\");\n"))
        .collect::<String>();
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    format!(
        "\nstatic int __init {own}_init(void)\n{{\n{enable}}}\n\nstatic void __exit {own}_exit(void)\n{{\n{leave}}}\n\n\
         module_init({own}_init);\nmodule_exit({own}_exit);\n\
         MODULE_DESCRIPTION(\"Livepatch of {}\");\nMODULE_LICENSE(\"GPL\");\nMODULE_INFO(livepatch, \"Y\");\n{namespace}",
        names.join(" and ")
    )
}
