// SPDX-License-Identifier: GPL-2.0-only
#include <linux/compiler.h>

int klpbuild_twins_called;

static noinline __used int klpbuild_twin(void)
{
	return 0x0f + klpbuild_twins_called;
}
