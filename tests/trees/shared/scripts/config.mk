# SPDX-License-Identifier: GPL-2.0-only
# Configuration and cleaning, the same in every tree. External modules' makefiles go by KERNELRELEASE.
export KERNELRELEASE := 9.0-mini

KCONFIG_CONFIG ?= .config
export KCONFIG_CONFIG

.PHONY: defconfig olddefconfig
defconfig olddefconfig:
	@{ echo CONFIG_MODULES=y; echo CONFIG_LIVEPATCH=y; } > $(KCONFIG_CONFIG)
	@echo '#'; echo '# configuration written to $(KCONFIG_CONFIG)'; echo '#'

include/config/auto.conf: $(KCONFIG_CONFIG)
	@mkdir -p $(@D); cp $< $@

scripts/mod/modpost: $(srctree)/scripts/mod/modpost.sh
	@mkdir -p $(@D); cp $< $@; chmod +x $@

.PHONY: clean mrproper distclean prepare
clean:
	@find $(if $(srcroot),.,$(or $(KBUILD_EXTMOD),.)) \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '.*.cmd' \
		-o -name modules.order -o -name built-in.list -o -name '*.symvers' \) -exec rm -f {} +
	@rm -rf $(if $(KBUILD_EXTMOD),$(KBUILD_EXTMOD)/.tmp_versions,vmlinux .tmp_versions)
mrproper distclean: clean
	@rm -rf .config include/config scripts/mod/modpost source
prepare: include/config/auto.conf scripts/mod/modpost
	$(if $(filter .,$(srctree)),,@ln -sfn $(srctree) source)
modules_prepare: prepare

# Installing, and packages: those build once more, as a new version, and install what they have built.
STRIP = $(if $(LLVM),llvm-strip,$(CROSS_COMPILE)strip)
.PHONY: modules_install dir-pkg
modules_install:
	@set -e; for module in $$(sed 's/[.]k*o$$//' modules.order); do \
		to=$(INSTALL_MOD_PATH)/lib/modules/$(KERNELRELEASE)/$$module.ko; mkdir -p $$(dirname $$to); cp $$module.ko $$to; \
		$(if $(INSTALL_MOD_STRIP),echo "  STRIP   $$to"; $(STRIP) --strip-debug $$to;) done
dir-pkg:
	$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.package $@

dirs := init lib drivers samples
CC = $(CROSS_COMPILE)gcc
LD = $(CROSS_COMPILE)ld
LDFLAGS_vmlinux :=
LDFLAGS_vmlinux += --build-id=none -e start -z noexecstack
# As the kernel does; so what runs in a recipe finds these in its environment.
export CC LD MAKE
