// SPDX-License-Identifier: GPL-2.0-only
/* A livepatch that does not say which of two symbols it means. */
#include <linux/module.h>
extern const int klpbuild_twin;
static int __init ambiguous_init(void) { return klpbuild_twin; }
module_init(ambiguous_init);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
