// SPDX-License-Identifier: GPL-2.0-only
/* An ordinary module with a symbol that nothing defines. */
#include <linux/module.h>
int klpbuild_nowhere(void);
static int __init bad_init(void) { return klpbuild_nowhere(); }
module_init(bad_init);
MODULE_LICENSE("GPL");
