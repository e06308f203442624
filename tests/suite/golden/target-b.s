/* SPDX-License-Identifier: GPL-2.0-only */
/* The other part of it. */
    .file "drivers/target/b.c"
    .text
function target_twin
endfunc target_twin
    .data
    .type target_setting, %object
target_setting:
    number 1
    .size target_setting, . - target_setting
