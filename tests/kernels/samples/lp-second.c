// SPDX-License-Identifier: GPL-2.0-only
/* The second klpbuild_twin by address: a constant. Marked as a livepatch by the Makefile alone. */
#include <linux/seq_file.h>
#include "klp_relocs.h"

extern const int klpbuild_twin;
static KLP_MODULE_RELOC(vmlinux) vmlinux_relocs[] = { KLP_SYMPOS(klpbuild_twin, 2) };

static int lp_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "twin=%x\n", klpbuild_twin);
	return 0;
}

#define IS_MARKED 0
#include "lp-cmdline.h"
