# SPDX-License-Identifier: GPL-2.0-only
# External modules: the first make is called once more where they are built, and knows the kernel's trees from there.
ifneq ($(KBUILD_EXTMOD),)
ifeq ($(kernel_objtree),)
export kernel_objtree := $(place)/
export srcroot := $(realpath $(KBUILD_EXTMOD))
place := $(shell mkdir -p $(or $(KBUILD_EXTMOD_OUTPUT),$(KBUILD_EXTMOD)); cd $(or $(KBUILD_EXTMOD_OUTPUT),$(KBUILD_EXTMOD)) && pwd -P)
elsewhere := 1
else
srctree := $(top)
VPATH :=
endif
endif
