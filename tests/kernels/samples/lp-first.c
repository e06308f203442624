// SPDX-License-Identifier: GPL-2.0-only
/* The first klpbuild_twin by address, which is the second in the symbol table: a function. */
#include <linux/seq_file.h>
#include "klp_relocs.h"

extern int klpbuild_twin(void);
static KLP_MODULE_RELOC(vmlinux) vmlinux_relocs[] = { KLP_SYMPOS(klpbuild_twin, 1) };

static int lp_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "twin=%x\n", klpbuild_twin());
	return 0;
}

#include "lp-cmdline.h"
