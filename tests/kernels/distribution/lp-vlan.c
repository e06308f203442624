// SPDX-License-Identifier: GPL-2.0-only
/* A function of a module. */
#include "common.h"

static int new_vlan_seq_show(struct seq_file *m, void *v)
{
	seq_printf(m, "vlans of %s names: %s\n", saved_command_line, vlan_name_type_str[1]);
	return 0;
}

LIVEPATCH("8021q", vlan_seq_show);
