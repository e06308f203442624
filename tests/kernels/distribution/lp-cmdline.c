// SPDX-License-Identifier: GPL-2.0-only
/* A function of vmlinux. */
#include "common.h"

static int new_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s names: %s\n", saved_command_line, vlan_name_type_str[0]);
	return 0;
}

LIVEPATCH(NULL, cmdline_proc_show);
