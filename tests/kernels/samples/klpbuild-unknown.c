// SPDX-License-Identifier: GPL-2.0-only
/* A livepatch with a misspelt symbol. */
#include <linux/module.h>
extern char *saved_comand_line;
static int __init unknown_init(void) { return saved_comand_line[0]; }
module_init(unknown_init);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
