# SPDX-License-Identifier: GPL-2.0-only
# Prints the LIVEPATCH_* flags that one kbuild makefile sets to y, the modules it builds in directories below
# its own, and KBUILD_EXTRA_SYMBOLS. Read from standard input where kbuild reads it, with srctree, obj, src,
# auto-conf and kbuild-file on the command line: what scripts/Makefile.build reads before its own rules, no more.
.PHONY: klpbuild-flags
klpbuild-flags: ; @:

-include $(auto-conf)
-include $(srctree)/scripts/Kbuild.include
include $(kbuild-file)

$(foreach module,$(foreach m,$(filter %.o,$(obj-m)),$(if $(findstring /,$m),$m)),$(info klpbuild-below $(module)))
$(foreach flag,$(filter LIVEPATCH_%,$(.VARIABLES)),$(if $(filter y,$($(flag))),$(info klpbuild-flag $(flag))))
$(info klpbuild-extra $(KBUILD_EXTRA_SYMBOLS))
