// SPDX-License-Identifier: GPL-2.0-only
int promoted_value(int number);
int promoted_sum(int number);

int promoted_sum(int number)
{
	return promoted_value(number) + promoted_value(number + 1);
}
