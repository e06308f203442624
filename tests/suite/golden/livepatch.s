/* SPDX-License-Identifier: GPL-2.0-only */
/* A livepatch for vmlinux and a module, with every kind of reference. */
    .file "livepatch.c"
    .section .modinfo, "a"
    .asciz "license=GPL"
    .asciz "livepatch=Y"
    .asciz "depends=provider,target-mod"
    .asciz "name=livepatch"

    .section .gnu.linkonce.this_module, "aw"
    .globl __this_module
    .type __this_module, %object
__this_module:
    .zero 64
    .size __this_module, 64

    .text
/* For vmlinux. twin and setting_twin are annotated below, named_twin by its name. */
function new_patched
    call_to exported
    call_to unique
    call_to twin
    call_to ".klp.sym.rela.vmlinux.vmlinux.named_twin,1"
    refer_to setting
    refer_to setting_twin
endfunc new_patched

/* For target_mod: only new_target comes here, by a call that the assembler may resolve. */
function helper
    call_to target_static
    refer_to ".klp.sym.rela.target_mod.target_mod.target_twin,2"
endfunc helper

function new_target
    call_near helper
    refer_to target_data
    point_to .Ltable
    call_to target_export
    call_to provider_export
    call_to exported
endfunc new_target

    .section .init.text, "ax"
    .globl init_module
function init_module
    call_to klp_enable_patch
    refer_to patch
    call_to unique
endfunc init_module

    .section .rodata, "a"
    .balign 8
    pointer unique
    pointer setting 4
/* Without a symbol that would tell where it begins. */
.Ltable:
    pointer target_static

    .section .altinstructions, "a"
    pointer unique

    .data
    .balign 8
    .weak weakly, nowhere
    pointer weakly
    pointer nowhere
    pointer exported
    dirty unique
    .type target_data, %object
target_data:
    number 0
    pointer target_setting
    .size target_data, . - target_data

/* struct klp_patch: mod, objs, and what the kernel fills in. */
    .type patch, %object
patch:
    pointer __this_module
    pointer objects
    number 0
    number 0
    .size patch, . - patch

/* struct klp_object: name, funcs, four callbacks, and what the kernel fills in. */
    .type objects, %object
objects:
    number 0
    pointer vmlinux_functions
    .rept 6
    number 0
    .endr
    pointer target_name
    pointer target_functions
    .rept 6
    number 0
    .endr
    .rept 8
    number 0
    .endr
    .size objects, . - objects

/* struct klp_func: old_name, new_func, old_sympos, and what the kernel fills in. */
    .type vmlinux_functions, %object
vmlinux_functions:
    pointer patched_name
    pointer new_patched
    number 0
    number 0
    .rept 4
    number 0
    .endr
    .size vmlinux_functions, . - vmlinux_functions
    .type target_functions, %object
target_functions:
    pointer target_twin_name
    pointer new_target
    number 1
    number 0
    .rept 4
    number 0
    .endr
    .size target_functions, . - target_functions

    .section .rodata.str, "aMS", %progbits, 1
target_name:
    .asciz "target_mod"
patched_name:
    .asciz "patched"
target_twin_name:
    .asciz "target_twin"

    .section .klp.module_relocs.vmlinux, "a"
    .type vmlinux_relocs, %object
vmlinux_relocs:
    pointer twin
    .4byte 2
    pointer setting_twin
    .4byte 1
    .size vmlinux_relocs, . - vmlinux_relocs

    .section .debug_info, ""
    pointer new_patched
    pointer vmlinux_relocs
    pointer unique
    pointer twin
    pointer helper
    pointer patch
