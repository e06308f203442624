// SPDX-License-Identifier: GPL-2.0-only
/* The second klpbuild_twin by address: a constant. Marked as a livepatch by the Makefile alone. */
#include "klp_relocs.h"

extern const int klpbuild_twin;
static KLP_MODULE_RELOC(vmlinux) vmlinux_relocs[] = { KLP_SYMPOS(klpbuild_twin, 2) };

#define TWIN klpbuild_twin
#define IS_MARKED 0
#include "lp-twin.h"
