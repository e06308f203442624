// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>

MODULE_INFO(livepatch, "Y");
extern char saved_command_line[];
extern int hidden_counter;

int lp_known(void)
{
	return saved_command_line[0] + hidden_counter;
}
