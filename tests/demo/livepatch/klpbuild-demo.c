// SPDX-License-Identifier: GPL-2.0-only
/*
 * Has /proc/cmdline tell more than the kernel would, with the help of a
 * variable and a function that the kernel does not export.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

extern char *saved_command_line;
extern int nr_processes(void);

static int demo_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d processes, and the command line is: %s\n", nr_processes(), saved_command_line);
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = demo_cmdline_proc_show, },
	{ }
};

static struct klp_object objs[] = {
	{ .funcs = funcs, },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, };

static int __init demo_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit demo_exit(void)
{
}

module_init(demo_init);
module_exit(demo_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
