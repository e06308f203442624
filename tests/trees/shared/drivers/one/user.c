// SPDX-License-Identifier: GPL-2.0-only
int klog(const char *text);
int sum_up(int one, int other);

int user(void)
{
#ifdef BROKEN
	return undeclared;
#endif
	return sum_up(klog("user"), 1);
}
