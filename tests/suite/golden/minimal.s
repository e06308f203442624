/* SPDX-License-Identifier: GPL-2.0-only */
/* A livepatch for vmlinux and a module whose code comes from the macros in_patched, in_target and in_shared.
   NO_MARK, NO_PATCH: it is not said to be one; its struct klp_patch is not static.
   NO_INIT: nothing gives the patch to the kernel. NAMED_VMLINUX: the module is called vmlinux. INIT_FUNCTION: the new function is init_new, of the test. */
    .file "minimal.c"
    .section .modinfo, "a"
    .asciz "license=GPL"
.ifndef NO_MARK
    .asciz "livepatch=Y"
.endif
    .section .gnu.linkonce.this_module, "aw"
    .globl __this_module
    .type __this_module, %object
__this_module:
    .zero 64
    .size __this_module, 64

    .text
function shared
    in_shared
endfunc shared
function new_patched
    call_near shared
    in_patched
endfunc new_patched
function new_target
    call_near shared
    in_target
endfunc new_target

.ifndef NO_PATCH
.ifndef NO_INIT
    .section .init.text, "ax"
    .globl init_module
function init_module
    point_to patch
    call_to klp_enable_patch
endfunc init_module
.endif
    .data
    .balign 8
    .type patch, %object
patch:
    pointer __this_module
    pointer objects
    number 0
    .size patch, . - patch
    .type objects, %object
objects:
    number 0
    pointer vmlinux_functions
    .rept 6
    number 0
    .endr
    pointer target_name
    pointer target_functions
    .rept 14
    number 0
    .endr
    .size objects, . - objects
    .type vmlinux_functions, %object
vmlinux_functions:
    pointer patched_name
.ifdef INIT_FUNCTION
    pointer init_new
.else
    pointer new_patched
.endif
    .rept 6
    number 0
    .endr
    .size vmlinux_functions, . - vmlinux_functions
    .type target_functions, %object
target_functions:
    pointer target_old_name
    pointer new_target
    .rept 6
    number 0
    .endr
    .size target_functions, . - target_functions
    .section .rodata.str, "aMS", %progbits, 1
target_name:
.ifdef NAMED_VMLINUX
    .asciz "vmlinux"
.else
    .asciz "target_mod"
.endif
patched_name:
    .asciz "patched"
target_old_name:
    .asciz "target_old"
.endif
