// SPDX-License-Identifier: GPL-2.0-only
/* The first part of klpbuild-conv: what livepatches look for in a module by name, and by position. */
#include <linux/cache.h>
#include <linux/jump_label.h>
#include <linux/module.h>

static const char conv_driver_name[] __used = KBUILD_MODNAME;

static noinline __used const char *conv_get_driver_name(void)
{
	return conv_driver_name;
}

/* Once more in the second part */
static const char conv_homonym[] __used = "homonym a";

static noinline __used const char *conv_get_homonym(void)
{
	return conv_homonym;
}

static char conv_string[] __asm__("conv_string.12345") __used = "renamed a";

/* Data of all kinds */
static int conv_initialised __used = 1;
static int conv_zero __used;
static const int conv_constant __used = 3;
static int conv_read_mostly __used __read_mostly = 4;
static int conv_ro_after_init __used __ro_after_init = 5;
static int conv_array[3] __used = { 6, 7, 8 };
static const char *const conv_pointer __used = "pointer";
int conv_global = 9;

/* Keys that are what they are not compiled for */
static struct static_key_true conv_true_key __used = STATIC_KEY_TRUE_INIT;
static struct static_key_false conv_false_key __used = STATIC_KEY_FALSE_INIT;

static int __init conv_init(void)
{
	conv_zero += 2;
	conv_ro_after_init += 10;
	static_branch_disable(&conv_true_key);
	static_branch_enable(&conv_false_key);
	return 0;
}

static void __exit conv_exit(void)
{
}

module_init(conv_init);
module_exit(conv_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a module whose static symbols livepatches use");
