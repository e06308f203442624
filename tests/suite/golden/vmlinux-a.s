/* SPDX-License-Identifier: GPL-2.0-only */
/* A part of a vmlinux. It is linked first and its addresses are lower, but its symbols come second, since ld
   meets .text.unlikely of the next part before: the order of the symbol table is not that of addresses (S2). */
    .file "kernel/a.c"
    .text
    .globl exported, klp_apply_section_relocs, klp_enable_patch, clear_relocate_add
function exported
endfunc exported
function klp_apply_section_relocs
endfunc klp_apply_section_relocs
function klp_enable_patch
endfunc klp_enable_patch
function clear_relocate_add
endfunc clear_relocate_add
function unique
endfunc unique
function twin
endfunc twin
function named_twin
endfunc named_twin
function patched
    call_near unique
endfunc patched

    .data
    .type setting, %object
    .type setting_twin, %object
    .type weakly, %object
setting:
    number 1
    .size setting, . - setting
setting_twin:
    number 2
    .size setting_twin, . - setting_twin
weakly:
    number 3
    .size weakly, . - weakly
