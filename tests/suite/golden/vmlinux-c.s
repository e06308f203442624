/* SPDX-License-Identifier: GPL-2.0-only */
/* A part of a vmlinux that is linked last: data counts together with functions of the same name (S2). */
    .file "kernel/c.c"
    .data
    .type twin, %object
twin:
    number 5
    .size twin, . - twin
