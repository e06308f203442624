/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rest of a livepatch for /proc/cmdline and /proc/klpbuild-target, which
 * lp_cmdline_proc_show() and lp_target_show() replace.
 */
static struct klp_func vmlinux_funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = lp_cmdline_proc_show, },
	{ }
};

static struct klp_func target_funcs[] = {
	{ .old_name = "target_show", .new_func = lp_target_show, },
	{ }
};

static struct klp_object objs[] = {
	{ .funcs = vmlinux_funcs, },
	{ .name = "klpbuild_target", .funcs = target_funcs, },
	{ }
};

#include "lp-register.h"
