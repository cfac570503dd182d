#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the packages' scripts do before they are removed or replaced; the
# packages themselves are tested by tests/package/run.
. "${0%/*}/../lib.sh"

# refuses SCRIPT WORD...: and names device and image
refuses() {
	local script=$1
	shift
	expect_fail 1 "$DEV is attached .*/a.vhd" sh "$script" "$@"
	[ -b "$DEV" ] && vhdctl status "$DEV" || fail "$script: the device is gone"
}

t_debian() {
	uml_is_enough
	local script
	create --size 20M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 4096 -b 64 -d -f
	for script in "$REPO"/debian/vhd-dkms.prerm "$REPO"/debian/vhdctl.prerm; do
		refuses "$script" remove
		# The module in memory goes on while its file is replaced
		sh "$script" upgrade 1.0
		vhdio verify "$DEV" 1 0 4096 -b 64 -d
	done
	detach
	sh "$REPO/debian/vhdctl.prerm" remove
	sh "$REPO/debian/vhd-dkms.prerm" remove
	[ ! -e /sys/module/vhd ] || fail 'the module is still there'
	# And a second time, without module
	sh "$REPO/debian/vhd-dkms.prerm" remove
	modprobe vhd
	sound a.vhd
}

# RPM: what stands between %preun and the next section
t_rpm() {
	uml_is_enough
	create --size 20M a.vhd
	sed -n '/^%preun/,/^%/{/^%/d;p}' "$REPO/packaging/rpm/vhd.spec" > preun
	[ -s preun ] || fail 'the spec has no %preun'
	attach a.vhd
	refuses preun 0
	sh preun 1
	detach
	sh preun 0
}

# make dkms-remove takes the module away from a running system
t_dkms_remove() {
	uml_is_enough
	create --size 20M a.vhd
	attach a.vhd
	expect_fail 2 "$DEV is attached" make -C "$REPO" SOURCE="$PWD/source" dkms-remove
	detach
}

run_cases "$@"
