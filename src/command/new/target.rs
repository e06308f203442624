// SPDX-License-Identifier: GPL-2.0-only
//! The function to replace: where it is, whether it can be replaced, and its type.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail, ensure};

use crate::cli::NewArgs;
use crate::debuginfo::btf;
use crate::debuginfo::prototype::Prototype;
use crate::elf::{Machine, debugging, memory};
use crate::host::terminal;
use crate::kernel::installed::places::Places;
use crate::kernel::origin::Origin;
use crate::kernel::sources::{KernelDefinition, KernelDefinitions, Sources};
use crate::kernel::suggestions;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::list::NameQuery;
use crate::kernel::symbols::objects::Vmlinux;
use crate::kernel::trace::FtraceSites;
use crate::livepatch::candidates::{Candidates, SourcePlaces};
use crate::livepatch::copies;
use crate::livepatch::definition;
use crate::livepatch::definition::SymbolFault;

/// The bytes of the call or the no-operation that ftrace has at the beginning of a function of x86-64
/// (`MCOUNT_INSN_SIZE` in arch/x86/include/asm/ftrace.h).
const FTRACE_SITE: u64 = 5;

/// A function that can be replaced.
#[derive(Debug)]
pub struct ReplaceableFunction {
    /// Its name.
    pub name: String,
    /// The run-time name of its object.
    pub object: String,
    /// Its position (S7); 0 if it is the only one.
    pub sympos: u64,
    /// The definition in the symbol tables.
    pub known: KernelDefinition,
    /// The kernel's release, if that is known.
    pub release: Option<String>,
    /// Its type, if that is known and can be written in C.
    pub prototype: Option<Prototype>,
    /// Why the type is missing.
    pub why_no_prototype: Option<String>,
    /// The offset in bytes of the first instruction behind the ftrace site, if the function can be entered there.
    pub entry: Option<u64>,
    /// Whether its name alone does not tell which symbol is meant.
    pub needs_annotation: bool,
    /// Whether this kernel wants a livepatch registered before it is enabled (up to 5.0).
    pub is_registered: bool,
    /// The compiler's other versions of it, and what to do about them.
    pub elsewhere: Option<(String, String)>,
    /// The namespace that it is exported to.
    pub namespace: Option<String>,
    /// The run-time names of all objects of the kernel.
    pub objects: BTreeSet<String>,
}

impl ReplaceableFunction {
    /// Finds the function `name`.
    ///
    /// # Errors
    /// There is none, or more than one, or no livepatch can replace it.
    pub fn find(
        origin: &Origin,
        sources: &Sources,
        name: &str,
        arguments: &NewArgs,
    ) -> Result<ReplaceableFunction> {
        ensure!(
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
                && !name.is_empty(),
            "{name}: this is no function's name (klpbuild lookup takes patterns)"
        );
        ensure!(
            !name.contains('.'),
            "{name}: the compiler made this function of another one, with other parameters: patch the functions that call \
             it"
        );
        let found = sources.find(&NameQuery::names([name.as_bytes().to_vec()]))?;
        let known = choose(sources, &found, name, arguments)?;
        let sites = FtraceSites::of_object(&origin.objects, &known.object)?;
        let fault = definition::nameable(&known.object, name.as_bytes(), found.kernel.name_limit)
            .and_then(|()| definition::replaceable(&known, sites.as_ref()));
        if let Err(fault) = fault {
            bail!("{name}: {}; {}", fault.with_rule(), fault.advice());
        }
        let site = sites.and_then(|sites| sites.of(&known));
        let all = found.of(name.as_bytes());
        let has = |option: &str| origin.config().is_some_and(|config| config.has(option));
        let can_enter = found.machine == Some(Machine::X86_64) && !has("CC_IS_CLANG");
        let (prototype, why_no_prototype) = match prototype(origin, &known, name) {
            Some(prototype) if prototype.declaration(name).is_some() => (Some(prototype), None),
            Some(_) => {
                (None, Some("it hands over a structure as a whole, which a header has to define".to_owned()))
            }
            None => (None, Some("neither BTF nor debug information has it".to_owned())),
        };
        // With frame pointers, the compiler makes a call of the jump, and parameters on the stack are not passed on.
        let can_enter = can_enter && (prototype.is_some() || !has("FRAME_POINTER"));
        let header = sources.srctree.as_ref().map(|srctree| srctree.join("include/linux/livepatch.h"));
        let header = header.and_then(|header| fs_err::read_to_string(header).ok()).unwrap_or_default();
        Ok(ReplaceableFunction {
            name: name.to_owned(),
            sympos: known.sympos().unwrap_or(0),
            release: sources.release.clone(),
            prototype,
            why_no_prototype,
            entry: site.filter(|_| can_enter).map(|site| site + FTRACE_SITE),
            needs_annotation: all.len() > 1,
            elsewhere: copies::of_function(sources, &known)?.left_unpatched(),
            is_registered: header.contains("klp_register_patch"),
            namespace: (sources.exports.as_ref())
                .and_then(|exports| exports.namespace(name.as_bytes()))
                .map(str::to_owned),
            object: known.object.clone(),
            objects: found.objects,
            known,
        })
    }
}

/// The only definition that can be meant.
fn choose(
    sources: &Sources,
    found: &KernelDefinitions,
    name: &str,
    arguments: &NewArgs,
) -> Result<KernelDefinition> {
    let all = found.of(name.as_bytes());
    if all.is_empty() {
        let patched: Vec<String> = arguments.object.iter().map(|object| object.replace('-', "_")).collect();
        bail!("{}", suggestions::missing(name, sources, &patched));
    }
    let named = arguments.object.as_ref().map(|object| object.replace('-', "_"));
    let owners: BTreeSet<&str> = all.iter().map(|known| known.object.as_str()).collect();
    let likely = owners.get(VMLINUX).or(owners.first().filter(|_| owners.len() == 1));
    let meant = match named.as_deref().or(likely.copied()) {
        Some(object) => definition::meant(found, object, name.as_bytes(), arguments.sympos.unwrap_or(0)),
        None => Err(SymbolFault::Ambiguous { count: all.len(), objects: owners.len() }),
    };
    meant.cloned().map_err(|fault| {
        let say = match fault {
            SymbolFault::NotOnly { .. } | SymbolFault::Ambiguous { .. } => {
                "; say which is meant (--object MODULE, --sympos N)"
            }
            _ => "",
        };
        let table = match fault {
            SymbolFault::NoObject { .. } => String::new(),
            _ => {
                let places = SourcePlaces::of(sources, all);
                let candidates = Candidates::new(name, all, sources, &places);
                format!("\n{}", candidates.table(terminal::width_of_errors()).trim_end())
            }
        };
        anyhow!("{name}: {}{say}{table}", fault.with_rule())
    })
}

/// The type of a function, from BTF or else from DWARF.
fn prototype(origin: &Origin, known: &KernelDefinition, name: &str) -> Option<Prototype> {
    let image = origin.objects.vmlinux.as_ref().and_then(Vmlinux::image);
    let headers =
        origin.objtree.as_ref().map(|objtree| objtree.join("vmlinux")).filter(|file| file.is_file());
    let is_running = Places::below(None).running() == origin.release;
    let running = || is_running.then(|| fs_err::read("/sys/kernel/btf/vmlinux").ok()).flatten();
    let of_file = |file: &std::path::Path| memory::section(file, ".BTF").ok().flatten();
    let base = image.and_then(of_file).or_else(|| headers.as_deref().and_then(of_file)).or_else(running);
    let module = origin.objects.file(&known.object);
    let is_vmlinux = known.object == VMLINUX;
    // BTF has only one function of each name.
    let is_only = known.total <= 1;
    let from_btf = base.filter(|_| is_only).and_then(|base| match (is_vmlinux, &module) {
        (true, _) => btf::prototype(&base, None, name).ok().flatten(),
        (false, Some(module)) => {
            // A module that was built outside of the kernel's tree carries the base of its BTF.
            let base = memory::section(module, ".BTF.base").ok().flatten().unwrap_or(base);
            btf::prototype(&base, Some(&of_file(module)?), name).ok().flatten()
        }
        (false, None) => None,
    });
    let address = known.definition.as_ref().map_or(0, |definition| definition.value);
    let debug = origin.objects.debug_file(&known.object).map(std::path::Path::to_path_buf).or(module);
    let debug = if is_vmlinux { image.map(std::path::Path::to_path_buf) } else { debug };
    from_btf.or_else(|| debugging::prototype(&debug?, name, address))
}
