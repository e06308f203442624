// SPDX-License-Identifier: GPL-2.0-only
/* Symbols whose names the compiler would have made: modpost cuts them at the dot before it looks them up. */
#include <linux/kernel.h>
#include "klp_relocs.h"

extern char conv_string_a[] __asm__("conv_string.12345");
extern char conv_string_b[] KLP_RELOC_SYMBOL_POS(klpbuild_conv, klpbuild_conv, conv_string.12345, 2);

static KLP_MODULE_RELOC(klpbuild_conv) conv_relocs[] = {
	KLP_SYMPOS(conv_string_a, 1),
};

static noinline int lp_show(char *buffer, size_t size)
{
	return scnprintf(buffer, size, "%s, %s\n", conv_string_a, conv_string_b);
}

#include "lp-conv.h"
