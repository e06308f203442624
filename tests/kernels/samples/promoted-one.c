// SPDX-License-Identifier: GPL-2.0-only
/*
 * With link-time optimization promoted_value() is small enough for being taken
 * into promoted-two.c, and what it calls becomes global for that: it is
 * promoted_secret.llvm.NUMBER then.
 */
#include <linux/compiler.h>

int promoted_value(int number);

static noinline int promoted_secret(int number)
{
	OPTIMIZER_HIDE_VAR(number);
	return number * 3;
}

int promoted_value(int number)
{
	return promoted_secret(number);
}
