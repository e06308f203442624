// SPDX-License-Identifier: GPL-2.0-only
static int twin(void)
{
	return 1;
}

int right(void);

int left(void)
{
	int unused_here;

	return twin() + right();
}
