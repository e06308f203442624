// SPDX-License-Identifier: GPL-2.0-only
//! What the names of sections say of what lies in them.

use crate::frompatch::assembler::Piece;

/// Whether a section only describes code or data in other sections.
pub(super) fn is_book_keeping(section: &str) -> bool {
    const NAMES: [&str; 6] = [".discard", ".note", ".comment", ".modinfo", ".initcall", "__dyndbg"];
    is_table(section) || section == "__verbose" || NAMES.iter().any(|name| section.starts_with(name))
}

/// Whether a section is a table that the kernel reads only at boot or when it loads the module: it never sees entries
/// that come later.
pub(super) fn is_table(section: &str) -> bool {
    const NAMES: [&str; 10] = [
        "__tracepoint",
        "_ftrace_event",
        "_ftrace_eval",
        "__syscalls_metadata",
        "___ksymtab",
        ".export_symbol",
        "__ksymtab",
        "__param",
        "__bpf_raw_tp",
        "_error_injection",
    ];
    NAMES.iter().any(|name| section.starts_with(name))
}

/// Where a module has its per-CPU variables: the loader knows no other section of such (`find_pcpusec` in
/// kernel/module/main.c), while vmlinux has some more, which its linker script merges.
const PER_CPU: &str = ".data..percpu";

/// The directive of the section for a piece: all code goes into one section, and so do variables of one kind.
pub(super) fn directive(piece: &Piece) -> String {
    let name = piece.section.as_str();
    if piece.is_code() && !piece.is_replacement() {
        let is_cold = name.starts_with(".text.unlikely");
        return if is_cold {
            "\t.section\t.text.unlikely,\"ax\",@progbits\n".to_owned()
        } else {
            "\t.text\n".to_owned()
        };
    }
    let own = piece.symbol.as_deref().unwrap_or_default();
    let plain = name.strip_suffix(own).and_then(|name| name.strip_suffix('.')).filter(|_| !own.is_empty());
    let name = match plain {
        _ if name.starts_with(PER_CPU) => PER_CPU,
        Some(plain @ (".data" | ".bss" | ".rodata" | ".data.rel.ro" | ".data.rel.ro.local")) => plain,
        _ => name,
    };
    let flags = if piece.flags.is_empty() { String::new() } else { format!(",{}", piece.flags) };
    format!("\t.section\t{name}{flags}\n")
}
