// SPDX-License-Identifier: GPL-2.0-only
int nowhere_01(void), nowhere_02(void), nowhere_03(void), nowhere_04(void), nowhere_05(void), nowhere_06(void);
int nowhere_07(void), nowhere_08(void), nowhere_09(void), nowhere_10(void), nowhere_11(void), nowhere_12(void);

int bad(void)
{
	return nowhere_01() + nowhere_02() + nowhere_03() + nowhere_04() + nowhere_05() + nowhere_06() +
	       nowhere_07() + nowhere_08() + nowhere_09() + nowhere_10() + nowhere_11() + nowhere_12();
}
