# SPDX-License-Identifier: GPL-2.0-only
# make demo [KDIR=/path]  builds klpbuild, runs it on a kernel, and boots that with a livepatch
# make test               unit tests, miniature trees, and Debian's 6.12 kernel
# make test-kernels       likewise with Debian's 6.1, KLPBUILD_TEST_KERNEL=/path, and the 6.12 that Debian built (1.2 GB)
# make test-configs       6.12 as distributions configure it (signed and compressed modules), and with clang's ThinLTO
# make fuzz               each fuzz target for a minute (FUZZ_SECONDS=60), or FUZZ_TARGETS="convert btf" only
# make bench              ratios against named rivals
# make install            PREFIX=/usr/local DESTDIR=
# What is missing on a Debian 12 machine is installed first (tests/packages); DEPS=no leaves that out.

CARGO ?= cargo
PREFIX ?= /usr/local
PROGRAM := $(or $(CARGO_TARGET_DIR),target)/release/klpbuild
KDIR ?=
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
DEPS ?= yes
KERNELS := $(CURDIR)/target/kernels

.PHONY: all
all: build

.PHONY: build
build:
	$(CARGO) build --release --locked

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
	KLPBUILD_TEST_TREES='$(KERNELS)/linux-source-6.12' $(CARGO) test --locked --release --test kernels -- \
		--ignored --nocapture real_kernels

.PHONY: test-kernels
test-kernels: deps $(KERNELS)/linux-source-6.12/Makefile $(KERNELS)/linux-source-6.1/Makefile
	$(CARGO) test --locked
	KLPBUILD_TEST_TREES='$(KERNELS)/linux-source-6.12 $(KERNELS)/linux-source-6.1 $(KLPBUILD_TEST_KERNEL)' \
		KLPBUILD_TEST_PACKAGES=1 $(CARGO) test --locked --release --test kernels -- --ignored --nocapture --skip _configuration

.PHONY: test-configs
test-configs: deps $(KERNELS)/linux-source-6.12/Makefile
	KLPBUILD_TEST_TREES='$(KERNELS)/linux-source-6.12' $(CARGO) test --locked --release --test kernels -- \
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
	install -D -m 644 Makefile.snippet $(SHARE)/klpbuild/Makefile.snippet
	install -d $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	$(PROGRAM) completions bash > $(SHARE)/bash-completion/completions/klpbuild
	$(PROGRAM) completions zsh > $(SHARE)/zsh/site-functions/_klpbuild
	$(PROGRAM) completions fish > $(SHARE)/fish/vendor_completions.d/klpbuild.fish
	$(PROGRAM) -q man $(SHARE)/man

.PHONY: clean
clean:
	$(CARGO) clean
