// SPDX-License-Identifier: GPL-2.0-only
/* Static keys: vmlinux's in a branch that is patched, a module's as the data that it is. */
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include "klp_relocs.h"

extern struct static_key_true klpbuild_key;
extern struct static_key_true conv_true_key;
extern struct static_key_false conv_false_key;

static noinline int lp_show(char *buffer, size_t size)
{
	return scnprintf(buffer, size, "%d, %d, %d\n", static_branch_unlikely(&klpbuild_key) ? 1 : 0,
			 static_key_enabled(&conv_true_key), static_key_enabled(&conv_false_key));
}

#include "lp-conv.h"
