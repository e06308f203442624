// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>

int sum_up(int one, int other)
{
	return one + other;
}
EXPORT_SYMBOL(sum_up);
MODULE_INFO(license, "GPL");
