// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changes klpbuild-target, whether that is loaded already or later, and what
 * vmlinux shows beside it: with symbols of that module, of another one, and of
 * vmlinux.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

extern int target_secret;
extern int other_secret;
extern int klpbuild_other_exported(void);
extern char *saved_command_line;
extern int nr_processes(void);

static noinline int lp_sum(void)
{
	return target_secret + other_secret + klpbuild_other_exported();
}

static int lp_target_show(struct seq_file *m, void *v)
{
	seq_printf(m, "target patched: %d, %c, %d\n", lp_sum(), saved_command_line[0], nr_processes() > 0);
	return 0;
}

static int lp_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "vmlinux patched: %d\n", nr_processes() > 0);
	return 0;
}

#include "lp-target.h"
