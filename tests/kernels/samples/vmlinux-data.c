// SPDX-License-Identifier: GPL-2.0-only
#include "klp_relocs.h"

extern char *saved_command_line;
extern int nr_processes(void);
extern int twin_function(void) KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, klpbuild_twin, 1);

extern char **const lp_constant_pointer;
extern int (*lp_table[])(void);

char **const lp_constant_pointer = &saved_command_line;
int (*lp_table[])(void) = { nr_processes, twin_function };
