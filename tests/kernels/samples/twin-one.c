// SPDX-License-Identifier: GPL-2.0-only
/* Compiled first, so that its symbols come first in the symbol table; but read-only data comes after code. */
#include <linux/jump_label.h>

static const int klpbuild_twin __used = 0x0d;

/* A key that is on, where code compiled for it takes it for off until it is told. */
struct static_key_true klpbuild_key = STATIC_KEY_TRUE_INIT;
