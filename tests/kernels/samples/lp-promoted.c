// SPDX-License-Identifier: GPL-2.0-only
/*
 * Uses a function that link-time optimization has made global under another name
 * (PROMOTED is that), and replaces it as well. Both KLP_RELOC_SYMBOLs are of the
 * form that has quotes with gcc and none with clang.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/stringify.h>
#include "klp_relocs.h"

#define SYMBOL(name) KLP_RELOC_SYMBOL(vmlinux, vmlinux, name)
#define SYMBOL_POS(name, position) KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, name, position)

extern int secret(int number) SYMBOL(PROMOTED);
extern int sum(int number) SYMBOL(promoted_sum);
extern int twin_function(void) SYMBOL_POS(klpbuild_twin, 1);
extern const int twin_constant SYMBOL_POS(klpbuild_twin, 2);

static int lp_secret(int number)
{
	return number * 100;
}

static int lp_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "secret=%d sum=%d twins=%x,%x\n", secret(7), sum(1), twin_function(), twin_constant);
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = lp_cmdline_proc_show, },
	{ .old_name = __stringify(PROMOTED), .new_func = lp_secret, },
	{ }
};

static struct klp_object objs[] = {
	{ .funcs = funcs, },
	{ }
};

#include "lp-register.h"
