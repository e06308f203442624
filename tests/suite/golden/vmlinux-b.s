/* SPDX-License-Identifier: GPL-2.0-only */
/* A part of a vmlinux that is linked second. */
    .file "kernel/b.c"
    .section .text.unlikely, "ax"
function cold
endfunc cold

    .text
function twin
endfunc twin
function named_twin
endfunc named_twin

    .data
    .type setting_twin, %object
setting_twin:
    number 4
    .size setting_twin, . - setting_twin

    .section .init.text, "ax"
function start_up
endfunc start_up
