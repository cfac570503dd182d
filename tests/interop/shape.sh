#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# vhdctl resize and compact: what they make of images, what they refuse, and what
# is left when they are interrupted. Needs no module.
. "$(dirname "$0")/../lib.sh"

sparse() { "${PYTHON[@]}" "$TESTS/interop/sparse.py" "$@"; }
resize() { vhdctl resize -q "$@"; }
info() { vhdctl info "$1" | sed -n "s/^$2: //p"; }
fault_library() {
	requires gcc
	gcc -shared -fPIC -O1 -Wall -o fault.so "$TESTS/interop/fault.c"
}

# resized FILE BYTES: it holds what want.raw does, at this size
resized() {
	truncate -s "$2" want.raw
	vhdctl check "$1" >&2
	vhdctl compare -q --strict want.raw "$1"
	[ "$(qemu-img info -f vpc --output=json "$1" | sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p')" = "$2" ] || fail "qemu sees another size than $2"
}

# --- resize -------------------------------------------------------------------

t_steps() {
	local size
	requires qemu-img
	sparse make want.raw $((200 * MIB)) 11 60
	vhdctl convert want.raw a.vhd
	for size in 209715712 1073741824 1099511627776 $((2040 << 30)); do
		resize a.vhd $size
		resized a.vhd $size
	done
	for size in 1099511627776 1073741824 209715712; do
		resize --shrink a.vhd $size
		resized a.vhd $size
	done
	# And blocks can be had behind the old end
	resize a.vhd 1G
	resized a.vhd $((1 << 30))
	qemu-io -f vpc -c 'write -P 7 1000M 5M' a.vhd >/dev/null
	qemu-io -f raw -c 'write -P 7 1000M 5M' want.raw >/dev/null
	resized a.vhd $((1 << 30))
}

t_in_place() {
	vhdctl create --size 1G --reserve 100G a.vhd
	vhdctl create --size 1G b.vhd
	local before at
	before=$(stat -c %s a.vhd) at=$(info a.vhd 'table offset')
	resize a.vhd 100G
	[ "$(stat -c %s a.vhd)" = "$before" ] || fail 'the file has grown'
	[ "$(info a.vhd 'table offset')" = "$at" ] || fail 'the table has moved'
	sound a.vhd
	# Without room it moves, and nothing is lost between
	resize b.vhd 100G
	[ "$(info b.vhd 'table offset')" != "$at" ] || fail 'the table has not moved'
	sound b.vhd
}

t_fixed() {
	requires qemu-img
	sparse make want.raw $((9 * MIB)) 12 20
	vhdctl convert -O fixed want.raw a.vhd
	resize a.vhd 20M
	resized a.vhd $((20 * MIB))
	[ "$(stat -c %s a.vhd)" = $((20 * MIB + 512)) ] || fail "$(stat -c %s a.vhd) bytes"
	resize --shrink a.vhd 9M
	resized a.vhd $((9 * MIB))
	resize --shrink --force a.vhd 4M
	resized a.vhd $((4 * MIB))
	[ "$(stat -c %s a.vhd)" = $((4 * MIB + 512)) ] || fail "$(stat -c %s a.vhd) bytes"
}

# What was cut off does not come back
t_cut_is_gone() {
	vhdmake dynamic a.vhd $((8 * MIB)) blocks=0,1,2,3 raw=want.raw
	unchanged a.vhd -- expect_fail 4 'has data behind the new end, at 3000' vhdctl resize --shrink a.vhd 3000320
	resize --shrink --force a.vhd 3000320
	truncate -s 3000320 want.raw
	vhdctl compare -q --strict want.raw a.vhd
	resize a.vhd 8M
	truncate -s 8M want.raw
	same_to_qemu a.vhd want.raw
	vhdctl check a.vhd
}

t_resize_refused() {
	vhdmake dynamic a.vhd $((8 * MIB)) blocks=0,3
	vhdmake dynamic saved.vhd $((8 * MIB)) blocks=0,3
	vhdmake poke saved.vhd b_saved=1 2>/dev/null || "${PYTHON[@]}" -c '
import sys
sys.path.insert(0, sys.argv[1])
import struct, vhdread
f = open("saved.vhd", "r+b"); f.seek(0, 2); tail = f.tell() - 512
for at in (0, tail):
    f.seek(at); d = bytearray(f.read(512)); d[84] = 1
    d[64:68] = struct.pack(">I", vhdread.checksum(bytes(d), 64))
    f.seek(at); f.write(d)' "$TESTS/interop"
	unchanged a.vhd saved.vhd -- resize_refused
	vhdctl create --parent a.vhd child.vhd
	unchanged a.vhd child.vhd -- expect_fail 5 'depend on it' vhdctl resize a.vhd 1G
	vhdctl resize --force a.vhd 1G
}
resize_refused() {
	expect_fail 1 'shrink makes it smaller' vhdctl resize a.vhd 4M
	expect_fail 1 'multiple of 512' vhdctl resize a.vhd 1000
	expect_fail 1 'multiple of 512' vhdctl resize a.vhd 0
	expect_fail 1 'not a size' vhdctl resize a.vhd large
	expect_fail 1 'expected IMAGE or DEVICE, and SIZE' vhdctl resize a.vhd
	expect_fail 1 'at most 2040' vhdctl resize a.vhd 2041G
	expect_fail 4 'cannot open' vhdctl resize nothing.vhd 1G
	expect_fail 4 'saved_state' vhdctl resize saved.vhd 1G
	vhdctl resize a.vhd 8M
	qemu-io -f vpc -c 'sleep 2000' a.vhd >/dev/null &
	sleep 1
	expect_fail 5 'in use' vhdctl resize a.vhd 1G
	expect_fail 5 'in use' vhdctl compact a.vhd
	wait
}

# Larger than its parent: zeros behind that one's end
t_differencing() {
	vhdmake dynamic base.vhd $((8 * MIB)) block=524288 blocks=3,0,15 seed=1 raw=base.raw
	vhdmake diff kid.vhd $((8 * MIB)) parent=base.vhd name=base.vhd block=524288 blocks=1,3,15 bits=half seed=2 praw=base.raw raw=want.raw uid=11111111111111111111111111111111
	for size in $((9 * MIB)) $((300 * MIB + 512)); do
		unchanged base.vhd -- vhdctl resize -q kid.vhd $size
		truncate -s $size want.raw
		vhdctl compare -q --strict want.raw kid.vhd
		vhdctl check --chain kid.vhd || [ $? = 3 ]
	done
	expect_fail 0 'Windows will refuse' vhdctl resize kid.vhd 301M
	unchanged kid.vhd -- expect_fail 4 'only become larger' vhdctl resize --shrink --force kid.vhd 8M
	# A parent that is larger would show what it has there
	vhdmake diff small.vhd $((5 * MIB)) parent=base.vhd name=base.vhd block=524288 blocks=1 seed=3 uid=22222222222222222222222222222222
	unchanged small.vhd -- expect_fail 4 'has 8388608 bytes, more than' vhdctl resize small.vhd 8M
	mkdir else
	mv base.vhd else/
	unchanged kid.vhd -- expect_fail 4 'not found' vhdctl resize kid.vhd 400M
	resize --parent else/base.vhd kid.vhd 400M
	unchanged else/base.vhd -- expect_fail 1 'no differencing image' vhdctl resize --parent kid.vhd else/base.vhd 400M
}

# The size of the file has come without the footer that was written there
t_fixed_without_footer() {
	vhdmake fixed a.vhd $((3 * MIB)) seed=4
	cp a.vhd want.vhd
	truncate -s 2G a.vhd
	expect_fail 2 'finds the footer' vhdctl check a.vhd
	vhdctl check --repair a.vhd
	cmp a.vhd want.vhd
	vhdctl check --undo a.vhd.vhd-undo a.vhd
	[ "$(stat -c %s a.vhd)" = $((2 << 30)) ] || fail "undone: $(stat -c %s a.vhd) bytes"
	# Not a footer that somebody's data end with
	cp want.vhd b.vhd
	dd if=want.vhd of=b.vhd bs=512 skip=6144 seek=6100 conv=notrunc status=none
	truncate -s $((6101 * 512)) b.vhd
	truncate -s 4M b.vhd
	unchanged b.vhd -- expect_fail 2 'no-footer' vhdctl check --repair b.vhd
}

# --- compact ------------------------------------------------------------------

# An aged image becomes as small as a new one
t_compact() {
	local stride before
	for stride in classic aligned; do
		vhdmake dynamic a.vhd $((60 * MIB)) blocks=29,3,11,0,7,19,2,23,5,13 stride=$stride raw=want.raw
		for block in 29 0 5 19; do
			vhdmake poke a.vhd bat$block=0xffffffff
			dd if=/dev/zero of=want.raw bs=2M seek=$block count=1 conv=notrunc status=none
		done
		before=$(stat -c %s a.vhd)
		vhdctl -v compact a.vhd
		same_to_qemu a.vhd want.raw
		vhdread check --tight a.vhd
		vhdctl convert want.raw b.vhd
		[ "$(stat -c %s a.vhd)" -le "$(stat -c %s b.vhd)" ] || fail "$(stat -c '%n %s' a.vhd b.vhd)"
		# Nothing left to do
		unchanged a.vhd -- vhdctl compact a.vhd
		rm a.vhd b.vhd
	done
}

t_compact_zeros() {
	local size
	requires qemu-img qemu-io
	vhdctl create --size 100M a.vhd
	qemu-io -f vpc -c 'write -P 1 0 8M' -c 'write -P 0 20M 8M' -c 'write -P 2 40M 8M' -c 'write -P 3 60M 8M' -c 'write -P 0 40M 8M' a.vhd >/dev/null
	qemu-img convert -f vpc -O raw a.vhd want.raw
	vhdctl compact a.vhd
	size=$(stat -c %s a.vhd)
	vhdctl compact --zero a.vhd
	[ "$(stat -c %s a.vhd)" -lt $((18 * MIB)) ] || fail "$(stat -c %s a.vhd) bytes, before that $size"
	same_to_qemu a.vhd want.raw
	sound a.vhd
	# Holes are seen without that
	vhdctl create --size 40M --preallocate metadata b.vhd
	vhdctl compact b.vhd
	[ "$(stat -c %s b.vhd)" -lt 65536 ] || fail "$(stat -c %s b.vhd) bytes"
	sound b.vhd
	expect_fail 4 "cannot open" vhdctl compact nothing.vhd
	vhdctl create --type fixed --size 3M f.vhd
	expect_fail 4 'nothing to compact' vhdctl compact f.vhd
}

# The table of a resized image goes back to the front
t_compact_table() {
	sparse make want.raw $((100 * MIB)) 13 80
	vhdctl convert want.raw a.vhd
	resize a.vhd 800G
	resize --shrink --force a.vhd 20M
	truncate -s 20M want.raw
	vhdctl compact a.vhd
	[ "$(stat -c %s a.vhd)" -lt $((25 * MIB)) ] || fail "$(stat -c %s a.vhd) bytes"
	vhdctl check a.vhd
	vhdctl compare -q --strict want.raw a.vhd
}

# Wherever it ends: sound, all data, and another run goes on
t_compact_fails() {
	local job rc=0 full
	fault_library
	vhdmake dynamic a.vhd $((60 * MIB)) blocks=29,3,11,0,7,19,2,23,5,13 raw=want.raw
	vhdmake poke a.vhd bat29=0xffffffff bat3=0xffffffff bat11=0xffffffff
	for block in 29 3 11; do dd if=/dev/zero of=want.raw bs=2M seek=$block count=1 conv=notrunc status=none; done
	for full in 0 3000000 6293200; do
		cp a.vhd b.vhd
		expect_fail 3 'cannot compact.*no space' env FAULT_FULL=$full LD_PRELOAD="$W/fault.so" vhdctl compact b.vhd
		same_content b.vhd want.raw
		vhdctl check b.vhd
		vhdctl compact b.vhd
		same_to_qemu b.vhd want.raw
	done
	FAULT_SLOW=300000 LD_PRELOAD=$W/fault.so vhdctl compact a.vhd 2> said &
	job=$!
	sleep 0.5
	kill -INT $job
	wait $job || rc=$?
	[ $rc = 130 ] || fail "status $rc: $(cat said)"
	grep -q 'interrupted; the image is sound' said || fail "said: $(cat said)"
	same_content a.vhd want.raw
	vhdctl check a.vhd
	vhdctl compact a.vhd
	[ "$(stat -c %s a.vhd)" = "$(stat -c %s b.vhd)" ] || fail "$(stat -c '%n %s' a.vhd b.vhd)"
}

# A power cut at any moment
t_power_cut() {
	requires gcc
	gcc -shared -fPIC -O1 -Wall -o oplog.so "$TESTS/evil/oplog.c"
	"${PYTHON[@]}" "$TESTS/evil/shape.py" "$(command -v vhdctl)" "$W/oplog.so" "$W"
}

run_cases "$@"
