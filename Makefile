# SPDX-License-Identifier: GPL-2.0-or-later
# See "make help".

O	?= $(CURDIR)/build
KVER	?= $(shell uname -r)
KDIR	?= /lib/modules/$(KVER)/build
PREFIX	?= /usr
SBINDIR	?= $(PREFIX)/sbin
UDEVDIR	?= $(PREFIX)/lib/udev
UNITDIR	?= $(PREFIX)/lib/systemd
MANDIR	?= $(PREFIX)/share/man
# Where Debian's zsh looks; others look in site-functions
ZSHDIR	?= $(PREFIX)/share/zsh/$(if $(wildcard /etc/debian_version),vendor-completions,site-functions)
# Installs what a target needs; packages say SETUP=true, for they must not
SETUP	?= tests/setup
VERSION	= 0.1.0
CACHE	= $(or $(VHD_CACHE),/var/cache/vhd)

export VHD_BUILD = $(O)

.PHONY: all tool module man install modules_install uninstall unused source_install \
	dkms-install dkms-remove sign dist deb rpm test-packages test-boot demo test check \
	check-uml test-kernels test-debug test-crash bench bench-quick bench-convert coverage sim findings lint clean clean-cache help

all: tool module

help:
	@echo 'make                  vhdctl, and vhd.ko if headers of KVER are there'
	@echo 'make demo             a VHD made, used and read back in a small machine'
	@echo 'make test             every test, on 6.1, 6.12, 7.3 and a debug kernel'
	@echo 'make check            the tests that need no machine (4 minutes the first time)'
	@echo 'make check-uml        functional tests in User Mode Linux'
	@echo 'make test-kernels     every functional test on each of 6.1, 6.12 and 7.3'
	@echo 'make test-debug       functional tests on the two-CPU debug kernel, leaks'
	@echo 'make test-crash       power cuts, faults and pressure for two hours'
	@echo 'make bench            the driver beside loop, qemu-nbd and a raw file (an hour)'
	@echo 'make bench-quick      the same, five minutes, and has it become slower?'
	@echo 'make bench-convert    vhdctl convert beside qemu-img convert, on this machine'
	@echo 'make coverage         line coverage of the core by its unit tests'
	@echo 'make sim              the crash simulator, for TIME= seconds from SEED='
	@echo 'make fuzz             the fuzz targets (libFuzzer), TIME= seconds each'
	@echo 'make fuzz-module      changed images under the module, TIME= seconds from SEED='
	@echo 'make findings         Documentation/findings.rst from the core'
	@echo 'make lint             W=1, sparse, kernel-doc, checkpatch'
	@echo 'make install          vhdctl and what belongs to it, below $$(DESTDIR)$(PREFIX)'
	@echo 'make modules_install  vhd.ko for KVER, and depmod'
	@echo 'make uninstall        both away'
	@echo 'make deb, make rpm    packages, to $$(O)/deb and $$(O)/rpm'
	@echo 'make dist             a tar file of the source'
	@echo 'make dkms-install     the module by DKMS, for KVER and kernels to come'
	@echo 'make dkms-remove      away with that'
	@echo 'make sign             sign vhd.ko with KEY= and CERT=, for Secure Boot'
	@echo 'make test-packages    packages built and used in fresh Debian 12 and 13'
	@echo 'make test-boot        a Debian in a VHD on ext4, exFAT, NTFS boots'
	@echo 'make clean            remove $(O)'
	@echo 'make clean-cache      remove the kernels in $(CACHE)'
	@echo 'variables             O= KVER= KDIR= PREFIX= DESTDIR= KERNEL= (demo)'

tool:
	@$(SETUP) build
	$(MAKE) -C tools O=$(O) VERSION=$(VERSION)

# The kernel's build writes beside the sources: give it a copy of them.
module:
	@if [ -e $(KDIR)/Makefile ]; then \
		$(SETUP) build && tests/stage $(O)/module && \
		$(MAKE) -C $(KDIR) M=$(abspath $(O))/module O= modules; \
	else \
		echo "no headers of $(KVER) (linux-headers-$(KVER)): vhd.ko is not built"; \
	fi

MAN	= $(patsubst Documentation/man/%.scd,%,$(wildcard Documentation/man/*.scd))

# The date of a page is that of its source's last change, not of the build
man:
	@$(SETUP) man
	@mkdir -p $(O)/man
	@for page in $(MAN); do \
		date=$$(git log -1 --format=%ct -- Documentation/man/$$page.scd 2>/dev/null); \
		SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$${date:-0}} scdoc < Documentation/man/$$page.scd > $(O)/man/$$page || exit 1; \
	done

# DESTINATION:SOURCE, for install and uninstall
FILES = $(UNITDIR)/system/vhd-attach@.service:$(O)/vhd-attach@.service \
	$(UDEVDIR)/rules.d/60-vhd.rules:udev/60-vhd.rules \
	$(PREFIX)/share/bash-completion/completions/vhdctl:completion/vhdctl.bash \
	$(ZSHDIR)/_vhdctl:completion/_vhdctl \
	$(PREFIX)/share/fish/vendor_completions.d/vhdctl.fish:completion/vhdctl.fish \
	$(foreach page,$(MAN),$(MANDIR)/man$(patsubst .%,%,$(suffix $(page)))/$(page):$(O)/man/$(page))

$(O)/vhd-attach@.service: systemd/vhd-attach@.service
	@mkdir -p $(O)
	@sed 's#/usr/sbin/#$(SBINDIR)/#' $< > $@

INITRD	= $(PREFIX)/share/initramfs-tools
DRACUT	= $(PREFIX)/lib/dracut/modules.d/90vhd
PROGRAMS = $(UNITDIR)/system-generators/vhd-generator:systemd/vhd-generator \
	$(PREFIX)/lib/vhd/vhd-root:initramfs/vhd-root \
	$(PREFIX)/lib/vhd/vhd-shutdown:initramfs/vhd-shutdown \
	$(PREFIX)/lib/vhd/vhd-metrics:tools/vhd-metrics \
	$(INITRD)/hooks/vhd:initramfs/initramfs-tools/hooks/vhd \
	$(foreach when,local-top local-block init-bottom,$(INITRD)/scripts/$(when)/vhd:initramfs/initramfs-tools/scripts/$(when)) \
	$(foreach file,module-setup.sh vhd-attach.sh vhd-move.sh vhd-detach.sh,$(DRACUT)/$(file):initramfs/dracut/90vhd/$(file))

install: tool man $(O)/vhd-attach@.service
	install -D -m 755 $(O)/vhdctl $(DESTDIR)$(SBINDIR)/vhdctl
	ln -sf vhdctl $(DESTDIR)$(SBINDIR)/mount.vhd
	set -e; for file in $(FILES); do install -D -m 644 $${file#*:} $(DESTDIR)$${file%%:*}; done
	set -e; for file in $(PROGRAMS); do install -D -m 755 $${file#*:} $(DESTDIR)$${file%%:*}; done
	ln -sf vhdctl-mount.8 $(DESTDIR)$(MANDIR)/man8/mount.vhd.8

modules_install: module
	@test -e $(O)/module/drivers/block/vhd/vhd.ko || \
		{ echo 'there is no vhd.ko to install' >&2; exit 1; }
	install -D -m 644 $(O)/module/drivers/block/vhd/vhd.ko \
		$(DESTDIR)/lib/modules/$(KVER)/updates/vhd.ko
	depmod $(if $(DESTDIR),-b $(DESTDIR)) $(KVER)

# Nothing is taken away from under devices that somebody uses
unused:
	@for dir in /sys/block/vhd*/vhd; do \
		[ -e "$$dir" ] || continue; \
		device=$${dir%/vhd}; \
		echo "/dev/$${device##*/} is attached ($$(cat "$$dir/backing_file")); detach it first (vhdctl detach --all)" >&2; \
		exit 1; \
	done

uninstall: $(if $(DESTDIR),,unused)
	rm -f $(DESTDIR)$(SBINDIR)/vhdctl $(DESTDIR)$(SBINDIR)/mount.vhd \
		$(DESTDIR)$(MANDIR)/man8/mount.vhd.8 \
		$(foreach file,$(FILES) $(PROGRAMS),$(DESTDIR)$(firstword $(subst :, ,$(file)))) \
		$(DESTDIR)/lib/modules/$(KVER)/updates/vhd.ko
	-rmdir $(DESTDIR)$(PREFIX)/lib/vhd $(DESTDIR)$(DRACUT)
	-depmod $(if $(DESTDIR),-b $(DESTDIR)) $(KVER)

# The source of the module, as DKMS builds it
SOURCE	= /usr/src/vhd-$(VERSION)

source_install:
	@mkdir -p $(DESTDIR)$(SOURCE)
	cp -r Kbuild include drivers $(DESTDIR)$(SOURCE)/
	sed 's/^PACKAGE_VERSION=.*/PACKAGE_VERSION="$(VERSION)"/' dkms.conf > $(DESTDIR)$(SOURCE)/dkms.conf
	find $(DESTDIR)$(SOURCE) -type f -exec chmod 644 {} +

dkms-install: source_install
	dkms add -m vhd -v $(VERSION)
	dkms install -m vhd -v $(VERSION) -k $(KVER)

dkms-remove: unused
	-dkms remove -m vhd -v $(VERSION) --all
	rm -rf $(SOURCE)

# Secure Boot: the kernel takes modules signed by an enrolled key only
KEY	?= /var/lib/shim-signed/mok/MOK.priv
CERT	?= /var/lib/shim-signed/mok/MOK.der

sign: module
	@test -e $(KEY) || { echo 'there is no key $(KEY); see "Secure Boot" in README.md' >&2; exit 1; }
	$(KDIR)/scripts/sign-file sha256 $(KEY) $(CERT) $(O)/module/drivers/block/vhd/vhd.ko

dist:
	@mkdir -p $(O)
	git archive --prefix=vhd-$(VERSION)/ HEAD | xz > $(O)/vhd-$(VERSION).tar.xz
	@echo $(O)/vhd-$(VERSION).tar.xz

deb:
	tests/package/deb $(O)/deb

rpm:
	tests/package/rpm $(O)/rpm

test-packages:
	@tests/package/run

test-boot:
	@tests/boot/run

demo:
	@tests/setup build demo
	@$(MAKE) -s -C tools O=$(O)
	@tests/demo

check:
	@tests/all check

check-uml:
	@tests/all check-uml

test:
	@tests/all test

test-kernels:
	@tests/all test-kernels

test-debug:
	@tests/all test-debug

test-crash:
	@tests/all test-crash

# Into Documentation/performance
bench: tool
	@tests/setup build test bench
	tests/bench/bench
	tests/bench/report Documentation/performance

bench-quick: tool
	@tests/setup build test bench
	tests/bench/bench --quick
	tests/bench/report $(O)/bench
	tests/bench/compare Documentation/performance/6.1-deterministic.json $(O)/bench/6.1-deterministic.json

bench-convert: tool
	@tests/setup build test
	tests/bench/convert > $(O)/convert.md
	mv $(O)/convert.md Documentation/performance/

coverage:
	@tests/setup build unit
	@$(MAKE) -s -C tests/unit O=$(O) coverage

lint:
	@tests/all lint

sim:
	@tests/setup build unit
	@$(MAKE) -s -C tests/sim O=$(O) sim

.PHONY: fuzz fuzz-module
fuzz:
	@tests/setup build fuzz
	@$(MAKE) -s -C tests/fuzz O=$(O) fuzz

fuzz-module: tool
	@tests/setup test
	@VHD_FUZZ_TIME=$(or $(TIME),60) VHD_FUZZ_SEED=$(or $(SEED),$(shell date +%s)) \
		tests/suite --verbose --timeout $(or $(TIME),60)0 --file hostile \
		--filter mutations $(or $(KERNEL),uml-debug)

findings: tool
	tests/evil/findings $(O)/vhdctl > Documentation/findings.rst

clean:
	rm -rf $(O)

clean-cache:
	rm -rf $(CACHE)
