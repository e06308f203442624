// SPDX-License-Identifier: GPL-2.0-only
int right(void)
{
	return 2;
}
