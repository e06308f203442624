# SPDX-License-Identifier: GPL-2.0-only
# What modpost is given for external modules: their makefile may name dumps.
# From 6.13 on, make stands where they are built, and srcroot is where they lie.
symvers := $(if $(KBUILD_EXTMOD),$(if $(srcroot),,$(KBUILD_EXTMOD)/))Module.symvers
ifneq ($(KBUILD_EXTMOD),)
obj := $(if $(srcroot),.,$(KBUILD_EXTMOD))
src := $(or $(srcroot),$(obj))
include $(firstword $(wildcard $(src)/Kbuild) $(src)/Makefile)
dumps = $(addprefix -i ,$(wildcard $(kernel_objtree)Module.symvers) $(KBUILD_EXTRA_SYMBOLS))
endif
