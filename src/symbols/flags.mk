# Prints the LIVEPATCH_* flags that one kbuild makefile sets to y. Run in the object tree, with
# srctree, obj, src and kbuild-file on the command line: what scripts/Makefile.build reads before
# its own rules, and nothing more.
.PHONY: klpbuild-flags
klpbuild-flags: ; @:

-include include/config/auto.conf
-include $(srctree)/scripts/Kbuild.include
include $(kbuild-file)

$(foreach flag,$(filter LIVEPATCH_%,$(.VARIABLES)),$(if $(filter y,$($(flag))),$(info klpbuild-flag $(flag))))
