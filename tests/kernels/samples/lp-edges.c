// SPDX-License-Identifier: GPL-2.0-only
/*
 * Functions of all sizes for vmlinux, each with one for klpbuild-target behind it: with return thunks and without
 * padding, one ends where the next begins, in a jump whose field is not filled in.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

extern int target_secret;

#define EDGE(n) \
static noinline int vmlinux_##n(void) \
{ \
	asm volatile(".fill " #n ", 1, 0x90"); \
	return n; \
} \
static noinline int target_##n(void) \
{ \
	return target_secret + n; \
}
#define EDGES(do) \
	do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) \
	do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15)

EDGES(EDGE)

static int lp_cmdline_proc_show(struct seq_file *m, void *v)
{
#define PLUS(n) + vmlinux_##n()
	seq_printf(m, "vmlinux edges: %d\n", 0 EDGES(PLUS));
	return 0;
}

static int lp_target_show(struct seq_file *m, void *v)
{
#define PLUS_TARGET(n) + target_##n()
	seq_printf(m, "target edges: %d\n", 0 EDGES(PLUS_TARGET));
	return 0;
}

#include "lp-target.h"
