/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rest of a livepatch that has lp_cmdline_proc_show() say what /proc/cmdline
 * shows.
 */
#include <linux/livepatch.h>
#include <linux/module.h>

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = lp_cmdline_proc_show, },
	{ }
};

static struct klp_object objs[] = {
	{ .funcs = funcs, },
	{ }
};

#include "lp-register.h"
