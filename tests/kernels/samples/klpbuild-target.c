// SPDX-License-Identifier: GPL-2.0-only
/* /proc/klpbuild-target, for livepatches to change. */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int target_secret = 700;

static noinline int target_show(struct seq_file *m, void *v)
{
	seq_printf(m, "target as built\n");
	return 0;
}

static int __init target_init(void)
{
	target_secret += 7;
	return proc_create_single("klpbuild-target", 0444, NULL, target_show) ? 0 : -ENOMEM;
}

static void __exit target_exit(void)
{
	remove_proc_entry("klpbuild-target", NULL);
}

module_init(target_init);
module_exit(target_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a module to be patched");
