// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>

MODULE_INFO(livepatch, "Y");
int klog(const char *text);

int lp_plain(void)
{
	return klog("plain");
}
