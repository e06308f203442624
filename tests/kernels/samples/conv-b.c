// SPDX-License-Identifier: GPL-2.0-only
/* The second part of klpbuild-conv: names that the first one has, too. */
#include <linux/compiler.h>

static const char conv_homonym[] __used = "homonym b";

static noinline __used const char *conv_get_homonym(void)
{
	return conv_homonym;
}

static char conv_string[] __asm__("conv_string.12345") __used = "renamed b";
