# SPDX-License-Identifier: GPL-2.0-only
# In a tree with scripts/Makefile.klp of kbuild-patches: what the series adds to the top Makefile.
ifneq ($(wildcard $(srctree)/scripts/Makefile.klp),)
ifeq ($(KBUILD_EXTMOD),)
-include include/config/auto.conf
ifdef CONFIG_KLP_CONVERT
KBUILD_BUILTIN := y
ifneq ($(KBUILD_MODULES),)
export KBUILD_LIVEPATCHES := modules.livepatch
klp-convert = $(Q)$(MAKE) -f $(srctree)/scripts/Makefile.klp klp_convert

.PHONY: klp_check klp_symbols
prepare: klp_check
klp_check:
	$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.klp $@
ifeq ($(era),c)
modpost: klp_symbols
klp_symbols: private _LDFLAGS_vmlinux := $(LDFLAGS_vmlinux)
klp_symbols: export LDFLAGS_vmlinux = $(_LDFLAGS_vmlinux)
klp_symbols: vmlinux_o modules_check
	$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.modpost KBUILD_MODULES= KBUILD_LIVEPATCHES=
	$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.vmlinux
	$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.klp $@
else
modules: klp_symbols
klp_symbols: vmlinux $(if $(filter b,$(era)),modules.order)
	$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.klp $@
endif
endif
endif

.PHONY: klpclean
clean: klpclean
klpclean:
	@rm -rf Symbols.list modules.livepatch .klpbuild
	$(if $(filter clean,$(MAKECMDGOALS)),@find . -name '*.livepatch' -exec rm -f {} +)
endif
endif
