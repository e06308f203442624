/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rest of a livepatch that has lp_cmdline_proc_show() say what /proc/cmdline
 * shows. IS_MARKED is 0 if only the Makefile says that it is a livepatch.
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

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, };

static int __init lp_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit lp_exit(void)
{
}

module_init(lp_init);
module_exit(lp_exit);
MODULE_LICENSE("GPL");
#if IS_MARKED
MODULE_INFO(livepatch, "Y");
#endif
