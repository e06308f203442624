# SPDX-License-Identifier: GPL-2.0-only
# Read before the kernel's own makefiles by every make of a klpbuild run, until the last one unexports
# it: there it makes Symbols.list a prerequisite of modpost. klpbuild says in the environment:
#   KLPBUILD       the program
#   KLPBUILD_ERA   a: the recipe of `modules` runs modpost, MODVERDIR lists the modules (up to 5.2)
#                  b: likewise, modules.order lists the modules (5.3 to 6.0)
#                  c: the recipe of `modpost` runs modpost, before vmlinux is linked (6.1 and later)
#   KLPBUILD_FINAL not empty if the first make is the one that builds (no O=)
#   KLPBUILD_STATE klpbuild's directory
#   KLPBUILD_COMPILED for external modules: the target that has them compiled
#   KLPBUILD_PACKAGE not empty if the goal makes a package

# The top Makefile calls itself for O=: only the last call builds.
klpbuild-acts := $(sub_make_done)$(KBUILD_SRC)$(KLPBUILD_FINAL)

ifneq ($(KLPBUILD_PACKAGE),)
# Package goals start makes from recipes: of other makefiles (scripts/Makefile.package, debian/rules), which only
# hand this file on, and of the top Makefile, which build the kernel once more and install it.
klpbuild-makefiles := $(MAKEFILES)
klpbuild-file := $(shell tr '\0' '\n' < /proc/$$PPID/cmdline | \
	sed -n -e '/^-f$$/{n;p;}' -e 's/^-f\(..*\)/\1/p' -e 's/^--\(make\)*file=//p')
ifneq ($(filter-out Makefile %/Makefile,$(klpbuild-file)),)
klpbuild-acts :=
endif
endif

ifneq ($(klpbuild-acts),)

# Thousands of sub-makes need not read this.
MAKEFILES := $(filter-out %/.klpbuild/hook.mk,$(MAKEFILES))
ifeq ($(strip $(MAKEFILES)),)
unexport MAKEFILES
endif

ifneq ($(KLPBUILD_PACKAGE),)
%pkg: export MAKEFILES = $(klpbuild-makefiles)

# There a new version of the kernel is linked, hence livepatches are converted anew, before they are installed.
.PHONY: klpbuild-convert
all: klpbuild-begin klpbuild-convert
klpbuild-convert: modules vmlinux
	@"$$KLPBUILD" convert --livepatches

# What the map says is of an earlier build until it is made. make hands MAKE of `modpost` to what that depends on,
# though it is private (GNU make 4.3): the map's link of vmlinux would have another command than the one of
# `vmlinux`, and so be done once more, behind the map.
klpbuild-forget = $(shell : > $(KLPBUILD_STATE)/modpost.args)
endif

# The first prerequisite of the first goal, hence run before anything else: below vmlinux, LDFLAGS_vmlinux
# is hidden by a target-specific variable, and the map's recipe may come to run there.
.PHONY: klpbuild-begin
modules: klpbuild-begin
klpbuild-begin: ; $(eval klpbuild-ldflags := $(LDFLAGS_vmlinux))$(klpbuild-forget)@:

# $(MAKE) of the recipe that runs modpost, with what the map says modpost has to accept.
klpbuild-make = $(strip $(MAKE_COMMAND) $(shell cat $(KLPBUILD_STATE)/modpost.args))

.PHONY: klpbuild-map
ifneq ($(KLPBUILD_COMPILED),)

# External modules: no vmlinux is linked, and the kernel's tree is left alone.
$(if $(filter c,$(KLPBUILD_ERA)),modpost,modules): klpbuild-map
$(if $(filter c,$(KLPBUILD_ERA)),modpost,modules): private MAKE = $(klpbuild-make)
klpbuild-map: $(KLPBUILD_COMPILED)
	@"$$KLPBUILD" hook

else ifeq ($(KLPBUILD_ERA),c)

modpost: klpbuild-map
modpost: private MAKE = $(klpbuild-make)
klpbuild-map: vmlinux_o modules_check
	$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.modpost KBUILD_MODULES=
	+$(Q)LDFLAGS_vmlinux='$(klpbuild-ldflags)' $(MAKE) -f $(srctree)/scripts/Makefile.vmlinux
	@"$$KLPBUILD" hook

else

# Where modpost can only be lenient as a whole, ordinary modules get a strict run of their own first, and what
# that run has to write is looked for: a makefile that runs no modpost would end well.
.PHONY: klpbuild-strict
modules: klpbuild-strict
modules: private MAKE = $(klpbuild-make)
klpbuild-strict: klpbuild-map
	$(if $(shell cat $(KLPBUILD_STATE)/strict.args),$(Q)$(MAKE) -f $(srctree)/scripts/Makefile.modpost \
		KBUILD_MODPOST_NOFINAL=1 $(shell cat $(KLPBUILD_STATE)/strict.args),@:)
	$(if $(shell cat $(KLPBUILD_STATE)/strict.args),@test -e $(KLPBUILD_STATE)/strict.symvers || { \
		echo 'klpbuild: error: modpost did not run over the ordinary modules: this scripts/Makefile.modpost is unlike any known one' >&2; exit 1; })
klpbuild-map: vmlinux $(if $(filter b,$(KLPBUILD_ERA)),modules.order)
	@"$$KLPBUILD" hook

endif
endif
