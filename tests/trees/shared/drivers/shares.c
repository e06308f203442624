// SPDX-License-Identifier: GPL-2.0-only
extern char saved_command_line[];

char shares(void)
{
	return saved_command_line[0];
}
