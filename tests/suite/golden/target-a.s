/* SPDX-License-Identifier: GPL-2.0-only */
/* A part of the module that is patched. */
    .file "drivers/target/a.c"
    .text
    .globl target_export
function target_export
endfunc target_export
function target_static
endfunc target_static
function target_twin
endfunc target_twin

/* What livepatches replace that refer to the others. */
function target_old
endfunc target_old
