/* SPDX-License-Identifier: GPL-2.0-only */
/* A module that is not patched. */
    .file "lib/provider.c"
    .text
function provider_static
endfunc provider_static
    .globl provider_export
function provider_export
endfunc provider_export
