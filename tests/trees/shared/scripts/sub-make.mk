# SPDX-License-Identifier: GPL-2.0-only
# What make is asked for, passed on: to a make that stands in the object tree, or to one for each goal.
ifeq ($(elsewhere),1)
passed-on := 1
.PHONY: $(MAKECMDGOALS) __all __sub-make
$(MAKECMDGOALS) __all: __sub-make
	@:
__sub-make:
	@$(MAKE) --no-print-directory -C $(place) -f $(top)/Makefile $(MAKECMDGOALS)
else ifeq ($(one-by-one),1)
passed-on := 1
.PHONY: $(MAKECMDGOALS) __one-by-one
$(MAKECMDGOALS): __one-by-one
	@:
__one-by-one:
	@set -e; for goal in $(MAKECMDGOALS); do $(MAKE) -f $(srctree)/Makefile $$goal; done
endif
