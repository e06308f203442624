// SPDX-License-Identifier: GPL-2.0-only
/* Uses what vmlinux and the module beside it do not export. */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/version.h>

extern char *saved_command_line;
extern int outside_secret;

static int new_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "outside %d: %s\n", outside_secret, saved_command_line);
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = new_cmdline_proc_show }, { }
};

static struct klp_object objs[] = {
	{ .funcs = funcs }, { }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init lp_outside_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit lp_outside_exit(void)
{
}

module_init(lp_outside_init);
module_exit(lp_outside_exit);
MODULE_DESCRIPTION("Livepatch of cmdline_proc_show");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
