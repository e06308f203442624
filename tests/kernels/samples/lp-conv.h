/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rest of a livepatch that replaces nothing, and shows in a parameter what it finds in vmlinux and klpbuild_conv:
 * the including file has lp_show() before this.
 */
#include <linux/livepatch.h>
#include <linux/module.h>

static int lp_get(char *buffer, const struct kernel_param *parameter)
{
	return lp_show(buffer, PAGE_SIZE);
}

static const struct kernel_param_ops lp_ops = { .get = lp_get };
module_param_cb(values, &lp_ops, NULL, 0444);

static struct klp_func no_funcs[] = {
	{ }
};

static struct klp_object objs[] = {
	{ .funcs = no_funcs, },
	{ .name = "klpbuild_conv", .funcs = no_funcs, },
	{ }
};

#include "lp-register.h"
