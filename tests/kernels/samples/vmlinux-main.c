// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replaces what /proc/cmdline shows, with the help of functions and data of
 * vmlinux that are not exported, from code and data in several sections.
 */
#include <linux/jump_label.h>
#include <linux/seq_file.h>
#include "klp_relocs.h"

extern char *saved_command_line;
extern int nr_processes(void);
extern struct static_key_true klpbuild_key;
extern int twin_function(void) KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, klpbuild_twin, 1);
extern const int twin_constant KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, klpbuild_twin, 2);

/* vmlinux-data.c */
extern char **const lp_constant_pointer;
extern int (*lp_table[])(void);

static noinline __cold int lp_cold(void)
{
	return nr_processes() > 0;
}

static int lp_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "patched: %s", saved_command_line);
	seq_printf(m, " same=%d", *lp_constant_pointer == saved_command_line);
	seq_printf(m, " table=%d", lp_table[0]() > 0 && lp_table[1]() == 0x0f);
	seq_printf(m, " cold=%d", lp_cold());
	seq_printf(m, " key=%s", static_branch_unlikely(&klpbuild_key) ? "on" : "off");
	seq_printf(m, " twins=%x,%x\n", twin_function(), twin_constant);
	return 0;
}

#include "lp-cmdline.h"
