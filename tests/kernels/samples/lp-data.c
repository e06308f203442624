// SPDX-License-Identifier: GPL-2.0-only
/* Data in all storage classes, and a table whose uses the compiler folds, so that nothing comes to it. */
#include <linux/kernel.h>
#include "klp_relocs.h"

extern int conv_initialised, conv_zero, conv_read_mostly, conv_ro_after_init, conv_global;
extern const int conv_constant;
extern int conv_array[3];
extern const char *const conv_pointer;

extern const int *const lp_table[];
const int *const lp_table[] = { &conv_initialised, &conv_constant };

static noinline int lp_show(char *buffer, size_t size)
{
	static int *lp_local = &conv_array[2];
	int *volatile *local = &lp_local;

	return scnprintf(buffer, size, "%d, %d, %d, %d, %d, %d, %d, %s, %d\n", *lp_table[0], conv_zero,
			 *lp_table[1], conv_read_mostly, conv_ro_after_init, conv_array[1], **local,
			 conv_pointer, conv_global);
}

#include "lp-conv.h"
