# SPDX-License-Identifier: GPL-2.0-only
# make demo [KDIR=/path]  builds klpbuild, runs it on a kernel, and boots that with a livepatch
# make test               unit tests, miniature trees, and Debian's 6.12 kernel
# make test-kernels       make test, then Debian's 6.1, KLPBUILD_TEST_KERNEL=/path, and the 6.12 that Debian built (1.2 GB)
# make test-configs       6.12 as distributions configure it (signed and compressed modules), and with clang's ThinLTO
# make fuzz               each fuzz target for a minute (FUZZ_SECONDS=60), or FUZZ_TARGETS="convert btf" only
# make bench              ratios against named rivals
# make install            PREFIX=/usr/local DESTDIR= ZSH=where zsh looks below PREFIX
# make deb, make rpm      packages, in target/packages (packaging/)
# make check-packages     builds the program and both packages in two directories: the same bytes; lintian, rpmlint
# What is missing on a Debian 12 machine is installed first (tests/packages); DEPS=no skips that.

CARGO ?= cargo
PREFIX ?= /usr/local
ZSH ?= share/zsh/site-functions
TARGET := $(or $(CARGO_TARGET_DIR),target)
PROGRAM := $(TARGET)/release/klpbuild
KDIR ?=
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
DEPS ?= yes
KERNELS := $(CURDIR)/target/kernels

# Where it was built is not to be seen in the program's bytes (panics tell source files): cargo's own way for that, the
# profile's trim-paths, is not stable. Of rules that fit, rustc takes the last. RUSTFLAGS, if set, takes the place of these.
CARGO_DIRECTORY := $(or $(CARGO_HOME),$(HOME)/.cargo)
RUST_SOURCES = $(shell rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(shell rustc -vV | sed -n 's/^commit-hash: //p')
REMAPPED = $(CURDIR)=/klpbuild $(abspath $(TARGET))=/klpbuild/target $(CARGO_DIRECTORY)=/cargo $(RUST_SOURCES)
comma := ,
nothing :=
blank := $(nothing) $(nothing)
RELEASE = --release --locked --config 'target."cfg(all())".rustflags = \
	[$(subst $(blank),$(comma),$(patsubst %,"--remap-path-prefix=%",$(REMAPPED)))]'

.PHONY: all
all: build

.PHONY: build
build:
	$(CARGO) build $(RELEASE)

.PHONY: deps deps-bench
deps:
	@[ '$(DEPS)' = no ] || tests/packages build kernel $(if $(KDIR),,boot) \
		$(if $(filter test test-kernels,$(MAKECMDGOALS)),test) $(if $(filter test-kernels,$(MAKECMDGOALS)),distribution) \
		$(if $(filter test-configs,$(MAKECMDGOALS)),configs)
deps-bench:
	@[ '$(DEPS)' = no ] || tests/packages build kernel bench

# Debian's kernel sources, unpacked once.
$(KERNELS)/linux-source-%/Makefile: | deps
	@[ -e /usr/src/linux-source-$*.tar.xz ] || tests/packages linux-source-$*
	@mkdir -p $(KERNELS)
	@echo "unpacking /usr/src/linux-source-$*.tar.xz to $(KERNELS)"
	@rm -rf $(KERNELS)/linux-source-$* $(KERNELS)/unpacking; mkdir $(KERNELS)/unpacking
	@tar -C $(KERNELS)/unpacking -xf /usr/src/linux-source-$*.tar.xz
	@touch $(KERNELS)/unpacking/linux-source-$*/Makefile
	@mv $(KERNELS)/unpacking/linux-source-$* $(KERNELS)/ && rmdir $(KERNELS)/unpacking

.PHONY: demo
demo: deps $(if $(KDIR),,$(KERNELS)/linux-source-6.12/Makefile)
	@$(MAKE) --no-print-directory build
	@KERNELS='$(KERNELS)' tests/demo/run '$(KDIR)'

.PHONY: test
test: deps $(KERNELS)/linux-source-6.12/Makefile
	$(CARGO) test --locked
	KLPBUILD_TEST_TREES='$(KERNELS)/linux-source-6.12' $(CARGO) test $(RELEASE) --test kernels -- \
		--ignored --nocapture real_kernels

.PHONY: test-kernels
test-kernels: deps $(KERNELS)/linux-source-6.12/Makefile $(KERNELS)/linux-source-6.1/Makefile
	$(CARGO) test --locked
	KLPBUILD_TEST_TREES='$(KERNELS)/linux-source-6.12 $(KERNELS)/linux-source-6.1 $(KLPBUILD_TEST_KERNEL)' \
		KLPBUILD_TEST_PACKAGES=1 $(CARGO) test $(RELEASE) --test kernels -- --ignored --nocapture --skip _configuration

.PHONY: test-configs
test-configs: deps $(KERNELS)/linux-source-6.12/Makefile
	KLPBUILD_TEST_TREES='$(KERNELS)/linux-source-6.12' $(CARGO) test $(RELEASE) --test kernels -- \
		--ignored --nocapture --test-threads=1 _configuration

.PHONY: deps-fuzz
deps-fuzz:
	@[ '$(DEPS)' = no ] || tests/packages build test fuzz

.PHONY: fuzz
fuzz: deps-fuzz
	$(CARGO) build --locked
	fuzz/prepare target/debug/klpbuild
	fuzz/run $(FUZZ_SECONDS) $(FUZZ_TARGETS)

.PHONY: bench
bench: deps-bench $(KERNELS)/linux-source-6.12/Makefile
	@$(MAKE) --no-print-directory build
	@KERNELS='$(KERNELS)' tests/bench/run

# Installs what is built. As root, cargo runs only where nothing is built yet.
SHARE := $(DESTDIR)$(PREFIX)/share
.PHONY: install
install: $(if $(and $(wildcard $(PROGRAM)),$(filter 0,$(shell id -u))),,build)
	install -D -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/klpbuild
	install -d $(SHARE)/klpbuild
	sed 's|/usr/local/share/|$(PREFIX)/share/|' Makefile.snippet > $(SHARE)/klpbuild/Makefile.snippet
	install -d $(SHARE)/bash-completion/completions $(DESTDIR)$(PREFIX)/$(ZSH) $(SHARE)/fish/vendor_completions.d
	$(PROGRAM) completions bash > $(SHARE)/bash-completion/completions/klpbuild
	$(PROGRAM) completions zsh > $(DESTDIR)$(PREFIX)/$(ZSH)/_klpbuild
	$(PROGRAM) completions fish > $(SHARE)/fish/vendor_completions.d/klpbuild.fish
	$(PROGRAM) -q man $(SHARE)/man

.PHONY: deps-packages deb rpm check-packages
deps-packages:
	@[ '$(DEPS)' = no ] || tests/packages build packaging
deb rpm: deps-packages
	@$(MAKE) --no-print-directory build
	packaging/$@ '$(PROGRAM)' '$(TARGET)/packages'
check-packages: deps-packages
	packaging/check '$(TARGET)/packages'

.PHONY: clean
clean:
	$(CARGO) clean
