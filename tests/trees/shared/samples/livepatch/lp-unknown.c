// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>

MODULE_INFO(livepatch, "Y");
extern char saved_comand_line[];

int lp_unknown(void)
{
	return saved_comand_line[0];
}
