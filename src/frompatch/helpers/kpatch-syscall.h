/* SPDX-License-Identifier: GPL-2.0-only */
/* The name that patches of system calls written for kpatch use, for klpbuild livepatch. */
#include "kpatch-macros.h"
