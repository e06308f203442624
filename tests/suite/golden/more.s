/* SPDX-License-Identifier: GPL-2.0-only */
/* A second part of the livepatch: the static helper has the name of another one. */
    .file "more.c"
    .text
function helper
    call_to unique
    call_to twin
endfunc helper
    .section .klp.module_relocs.vmlinux, "a"
    .type vmlinux_relocs, %object
vmlinux_relocs:
    pointer twin
    .4byte 2
    .size vmlinux_relocs, . - vmlinux_relocs
    .section .debug_info, ""
    pointer helper
    pointer vmlinux_relocs
