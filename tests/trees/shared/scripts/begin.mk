# SPDX-License-Identifier: GPL-2.0-only
# How make comes to stand in the object tree, from 5.3 on: the first make reads O=, and calls the
# Makefile once more there.
ifneq ($(sub_make_done),1)
MAKEFLAGS += -rR
unexport LC_ALL
Q := @
ifeq ($(origin V),command line)
Q := $(if $(findstring 1,$(V)),,@)
endif
export Q
ifeq ($(origin O),command line)
KBUILD_OUTPUT := $(O)
endif
place := $(CURDIR)
ifneq ($(KBUILD_OUTPUT),)
place := $(shell mkdir -p $(KBUILD_OUTPUT) && cd $(KBUILD_OUTPUT) && pwd -P)
endif
export sub_make_done := 1
ifneq ($(place),$(CURDIR))
elsewhere := 1
endif
endif

ifeq ($(filter --no-print-directory,$(MAKEFLAGS)),)
elsewhere := 1
place ?= $(CURDIR)
endif

top := $(patsubst %/,%,$(dir $(abspath $(top-makefile))))
srctree := $(if $(filter $(top),$(CURDIR)),.,$(top))
VPATH := $(if $(filter .,$(srctree)),,$(srctree))
export srctree VPATH

ifneq ($(filter config %config,$(MAKECMDGOALS)),)
ifneq ($(words $(MAKECMDGOALS)),1)
one-by-one := 1
endif
endif
