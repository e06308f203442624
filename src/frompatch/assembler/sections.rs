// SPDX-License-Identifier: GPL-2.0-only
//! What the names of sections say of what lies in them.

/// Sections that tell of what stands elsewhere.
pub(super) fn is_book_keeping(section: &str) -> bool {
    const NAMES: [&str; 6] = [".discard", ".note", ".comment", ".modinfo", ".initcall", "__dyndbg"];
    is_table(section) || section == "__verbose" || NAMES.iter().any(|name| section.starts_with(name))
}

/// Tables that the kernel reads when it begins, or when the module is loaded: what comes later is not seen.
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
