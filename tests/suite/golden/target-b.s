/* SPDX-License-Identifier: GPL-2.0-only */
/* The other part of it. */
    .file "drivers/target/b.c"
    .data
    .type target_twin, %object
target_twin:
    number 2
    .size target_twin, . - target_twin
    .type target_setting, %object
target_setting:
    number 1
    .size target_setting, . - target_setting
