#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# vhdctl convert on other file systems and block devices: what the tests on the
# host cannot mount.
. "$(dirname "$0")/../lib.sh"

sparse() { "${PYTHON[@]}" "$TESTS/interop/sparse.py" "$@"; }

# Raw and fixed are the same bytes: on xfs they share them
t_shares_blocks() {
	uml_is_enough
	local before after
	vhdctl create --size 400M host.vhd
	attach host.vhd
	small_fs xfs '' "$DEV"
	cd $SMALL
	sparse make a.raw $((48 * MIB)) 5 80
	sync
	before=$(df --output=used . | tail -n 1)
	vhdctl -v convert -O fixed a.raw a.vhd 2>&1 | grep -q 'shared with' || skip 'no reflinks here'
	vhdctl -v convert -O raw a.vhd b.raw 2>&1 | grep -q 'shared with'
	after=$(df --output=used . | tail -n 1)
	[ $((after - before)) -lt 2048 ] || fail "$before, then $after KiB in use"
	vhdread check a.vhd
	cmp a.raw b.raw
	vhdctl compare a.raw a.vhd
	cd "$W"
	umount $SMALL
	detach_soon
	sound host.vhd
}

# And so do blocks of dynamic images; what is written to one is not the other's
t_shares_ranges() {
	uml_is_enough
	local before after sum from to
	requires filefrag
	vhdctl create --size 400M host.vhd
	attach host.vhd
	small_fs xfs '' "$DEV"
	cd $SMALL
	sparse make a.raw $((48 * MIB)) 5 80
	dd if=/dev/urandom of=a.raw bs=1M seek=10 count=20 conv=notrunc status=none
	sync
	before=$(df --output=used . | tail -n 1)
	vhdctl -v convert a.raw a.vhd 2>&1 | grep -q 'shared with' || skip 'no reflinks here'
	vhdctl -v convert a.vhd b.vhd 2>&1 | grep -q 'shared with a.vhd'
	vhdctl -v convert -O fixed b.vhd f.vhd 2>&1 | grep -q 'shared with b.vhd'
	after=$(df --output=used . | tail -n 1)
	[ $((after - before)) -lt 6144 ] || fail "$before, then $after KiB in use"
	for from in a.raw a.vhd b.vhd f.vhd; do
		filefrag -v $from | grep -q shared || fail "$from shares nothing: $(filefrag -v $from)"
		for to in a.vhd b.vhd f.vhd; do vhdctl compare $from $to; done
	done
	sum=$(md5sum a.raw b.vhd f.vhd)
	to=$DEV
	attach a.vhd
	vhdio write "$DEV" 3 20480 20480 -b 256 -d
	blkdiscard -o $((30 * MIB)) -l $((4 * MIB)) "$DEV"
	vhdio verify "$DEV" 3 20480 20480 -b 256
	detach
	sound a.vhd
	[ "$(md5sum a.raw b.vhd f.vhd)" = "$sum" ] || fail 'a write got into another file'
	cd "$W"
	umount $SMALL
	detach_soon "$to"
	sound host.vhd
}

# A full file system: no target, and room again
t_full() {
	uml_is_enough
	local how
	small_fs tmpfs 16
	sparse make a.raw $((64 * MIB)) 5 80
	for how in dynamic raw; do
		unchanged a.raw -- expect_fail 3 'no space' vhdctl convert -O $how a.raw $SMALL/b
		[ -z "$(ls -A $SMALL)" ] || fail "left: $(ls -A $SMALL)"
		[ "$(df --output=used $SMALL | tail -n 1)" -lt 64 ] || fail 'space is not free again'
	done
}

# From a device: an attached image, a whole disk; the target is another image
t_from_device() {
	uml_is_enough
	vhdctl create --size 40M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 64
	vhdio write "$DEV" 2 40000 3000
	expect_fail 5 'being written' vhdctl convert a.vhd b.vhd
	vhdctl convert "$DEV" b.vhd
	vhdctl compare "$DEV" b.vhd
	detach
	vhdctl compare a.vhd b.vhd
	sound b.vhd
	attach b.vhd
	vhdio verify "$DEV" 1 0 64
	vhdio verify "$DEV" 2 40000 3000
	detach
}

# Its table behind its blocks, and smaller again: new blocks, and what was there
t_resized() {
	uml_is_enough
	vhdctl create --size 40M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 8192
	detach
	vhdctl resize -q a.vhd 30G
	attach a.vhd
	[ "$(device_bytes "$DEV")" = $((30 << 30)) ] || fail "$(device_bytes "$DEV") bytes"
	vhdio verify "$DEV" 1 0 8192
	vhdio write "$DEV" 2 60000000 8192
	expect_fail 5 'is attached' vhdctl resize a.vhd 40G
	expect_fail 5 'is attached' vhdctl compact a.vhd
	detach
	sound a.vhd
	vhdctl resize -q --shrink --force a.vhd 20M
	vhdctl compact a.vhd
	attach a.vhd
	[ "$(device_bytes "$DEV")" = $((20 * MIB)) ] || fail "$(device_bytes "$DEV") bytes"
	vhdio verify "$DEV" 1 0 8192
	vhdio write "$DEV" 3 30000 8000
	detach
	sound a.vhd
}

run_cases "$@"
