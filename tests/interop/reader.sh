#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The oracle itself: vhdread.py and vhdmake.py against qemu.
. "$(dirname "$0")/../lib.sh"

t_reads_what_qemu_writes() {
	local how
	for how in dynamic fixed; do
		qemu-img create -q -f vpc -o subformat=$how,force_size=on a.vhd 33M
		qemu-io -f vpc -c 'write -P 1 0 1M' -c 'write -P 2 20M 3M' -c 'write -P 3 34602496 512' a.vhd >/dev/null
		qemu-img convert -f vpc -O raw a.vhd want
		vhdread raw a.vhd have
		cmp want have
		vhdread check a.vhd
		rm a.vhd
	done
}

t_writes_what_qemu_reads() {
	local stride
	for stride in classic aligned; do
		vhdmake dynamic a.vhd $((33 * MIB)) blocks=9,0,16 stride=$stride raw=want
		vhdread check --tight a.vhd
		same_to_qemu a.vhd want
	done
	vhdmake fixed a.vhd $((3 * MIB)) seed=4 raw=want
	vhdread check a.vhd
	same_to_qemu a.vhd want
}

t_stamps_agree() {
	vhdmake fixed a.vhd $((3 * MIB)) seed=4 raw=a.raw
	vhdio verify a.raw 4 0 6144 -b 64
	truncate -s 3M b.raw
	vhdio write b.raw 4 0 6144 -b 10 -t 3 -r
	cmp a.raw b.raw
	! vhdio verify a.raw 5 0 6144 || fail 'another seed passed'
}

# It must notice, or it proves nothing
t_notices() {
	vhdmake dynamic good.vhd $((8 * MIB)) blocks=0,1,2
	notices 'overlap' bat2=0x1005
	notices 'overlap' bat2=1
	notices 'overlap|beyond' bat2=0x10000000
	notices 'differ' tail_timestamp=7
	notices 'end is bad' tail_cookie=xonectix
	cp good.vhd bad.vhd
	truncate -s +8M bad.vhd
	dd if=good.vhd of=bad.vhd bs=512 count=1 conv=notrunc seek=$((($(stat -c %s bad.vhd) - 512) / 512)) status=none
	expect_fail 1 'not tight' vhdread check --tight bad.vhd
}
notices() {
	cp good.vhd bad.vhd
	vhdmake poke bad.vhd "$2"
	expect_fail 1 "$1" vhdread check bad.vhd
}

run_cases "$@"
