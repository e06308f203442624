// SPDX-License-Identifier: GPL-2.0-only
/* Symbols that need no annotation, beside annotated ones: names that there are once, and one that is there twice. */
#include <linux/kernel.h>
#include "klp_relocs.h"

extern char *saved_command_line;
extern const char conv_driver_name[];
extern const char conv_homonym[];
extern const char *conv_get_homonym(void);
extern const char *conv_get_driver_name(void);

KLP_MODULE_RELOC(vmlinux) vmlinux_relocs[] = {
	KLP_SYMPOS(saved_command_line, 0),
};
KLP_MODULE_RELOC(klpbuild_conv) conv_relocs[] = {
	KLP_SYMPOS(conv_homonym, 1),
	KLP_SYMPOS(conv_get_homonym, 2),
	KLP_SYMPOS(conv_get_driver_name, 0),
};

static noinline int lp_show(char *buffer, size_t size)
{
	return scnprintf(buffer, size, "%.2s, %s, %s, %s, %s\n", saved_command_line, conv_driver_name,
			 conv_get_driver_name(), conv_homonym, conv_get_homonym());
}

#include "lp-conv.h"
