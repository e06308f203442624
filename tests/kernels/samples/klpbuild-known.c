// SPDX-License-Identifier: GPL-2.0-only
/* A livepatch with a symbol of vmlinux, outside of any patch. */
#include <linux/module.h>
extern char *saved_command_line;
static int __init known_init(void) { return saved_command_line[0]; }
module_init(known_init);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
