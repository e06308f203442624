// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>

static int other_secret = 1100;

int klpbuild_other_exported(void);
int klpbuild_other_exported(void)
{
	return 13;
}
EXPORT_SYMBOL_GPL(klpbuild_other_exported);

static int __init other_init(void)
{
	other_secret += 11;
	return 0;
}

static void __exit other_exit(void)
{
}

module_init(other_init);
module_exit(other_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a module whose symbols a livepatch of another one uses");
