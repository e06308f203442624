// SPDX-License-Identifier: GPL-2.0-only
/* The first klpbuild_twin by address, which is the second in the symbol table: a function. */
#include "klp_relocs.h"

extern int klpbuild_twin(void);
static KLP_MODULE_RELOC(vmlinux) vmlinux_relocs[] = { KLP_SYMPOS(klpbuild_twin, 1) };

#define TWIN klpbuild_twin()
#define IS_MARKED 1
#include "lp-twin.h"
