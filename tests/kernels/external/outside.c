// SPDX-License-Identifier: GPL-2.0-only
/* An external module with something to hide. */
#include <linux/module.h>

static int outside_secret = 7;
module_param(outside_secret, int, 0444);

MODULE_DESCRIPTION("An external module");
MODULE_LICENSE("GPL");
