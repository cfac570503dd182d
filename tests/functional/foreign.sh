#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images of other programs, and ours in other programs' hands.
. "${0%/*}/../lib.sh"

# The device shows just this raw file: shows RAW
shows() {
	[ "$(device_bytes "$DEV")" = "$(stat -c %s "$1")" ] || fail "$DEV has $(device_bytes "$DEV") bytes, $1 $(stat -c %s "$1")"
	cmp "$DEV" "$1"
}

qemu_write() { qemu-io -f vpc -c "write -P $2 $3 $4" "$1" >/dev/null; }
qemu_read() { qemu-io -f vpc -c "read -P $2 $3 $4" "$1" | { ! grep -i -E 'failed|error'; } || fail "qemu does not read $2 at $3 in $1"; }

# $1 options for qemu-img create
qemu_written() {
	requires qemu-img qemu-io
	qemu-img create -q -f vpc -o "$1" a.vhd 64M
	qemu_write a.vhd 0x11 0 1M
	qemu_write a.vhd 0x22 33333k 3333k
	qemu_write a.vhd 0x33 60M 512
	qemu-img convert -f vpc -O raw a.vhd a.raw
	attach a.vhd
	shows a.raw
	# Now we go on writing, into old blocks and new ones.
	vhdio write "$DEV" 5 3000 9000 -t 8 -r -d -b 24
	vhdio write "$DEV" 6 100000 5000 -t 8 -r -d -b 8
	vhdio write a.raw 5 3000 9000 -b 24
	vhdio write a.raw 6 100000 5000
	shows a.raw
	detach
	sound a.vhd
	same_to_qemu a.vhd a.raw
}
t_qemu_dynamic() { qemu_written subformat=dynamic,force_size=on; }
slow_qemu_dynamic_chs() { qemu_written subformat=dynamic,force_size=off; }
t_qemu_fixed() { uml_is_enough; qemu_written subformat=fixed,force_size=on; }
slow_qemu_fixed_chs() { qemu_written subformat=fixed,force_size=off; }

# The other way round: ours, then qemu reads, writes, and we read.
t_ours_for_qemu() {
	uml_is_enough
	local type
	requires qemu-io
	for type in dynamic fixed; do
		create --size 50M --type $type $type.vhd
		attach $type.vhd
		vhdio write "$DEV" 9 0 4096 -d
		head -c 1M /dev/zero | tr '\0' '\104' > fill
		dd if=fill of="$DEV" bs=1M seek=20 status=none
		detach
		qemu_read $type.vhd 0x44 20M 1M
		qemu_read $type.vhd 0 30M 20M
		qemu_write $type.vhd 0x55 30M 64k
		qemu_write $type.vhd 0x56 3M 64k
		attach $type.vhd
		vhdio verify "$DEV" 9 0 4096
		head -c 64k /dev/zero | tr '\0' '\125' | cmp - <(dd if="$DEV" bs=64k skip=480 count=1 status=none)
		head -c 64k /dev/zero | tr '\0' '\126' | cmp - <(dd if="$DEV" bs=64k skip=48 count=1 status=none)
		detach
		sound $type.vhd
	done
}

# The tail decides: what a guest wrote at the start of a fixed disk is data.
t_dynamic_inside_fixed() {
	uml_is_enough
	vhdmake dynamic inner.vhd $((8 * MIB)) blocks=0,2 seed=3
	vhdmake fixed outer.vhd $((16 * MIB)) data=inner.vhd raw=outer.raw
	attach outer.vhd
	[ "$(vhdctl list -n -O TYPE "$DEV" | tr -d ' ')" = fixed ] || fail 'not attached as fixed'
	shows outer.raw
	vhdio write "$DEV" 4 0 64 -d
	vhdio write outer.raw 4 0 64
	detach
	sound outer.vhd
	same_to_qemu outer.vhd outer.raw
}

# Clear bits read as zeros whatever lies below; writing sets them.
partly() {
	vhdmake dynamic a.vhd $((12 * MIB)) blocks=4,1,3 bits="$1" "${@:2}" raw=a.raw
	attach a.vhd
	shows a.raw
	# Within a block, over the border of two, a single sector, an absent block
	for range in '4099 1' '5000 333' '8100 500' '12287 2' '20000 8'; do
		# shellcheck disable=SC2086
		vhdio write "$DEV" 8 $range -b 40 -d
		# shellcheck disable=SC2086
		vhdio write a.raw 8 $range -b 40
	done
	shows a.raw
	detach
	sound a.vhd
	same_content a.vhd a.raw
	attach a.vhd
	shows a.raw
	detach
}
t_bits_none() { uml_is_enough; partly none; }
t_bits_odd() { uml_is_enough; partly odd; }
slow_bits_half() { partly half stride=aligned; }
slow_bits_odd_512k() { partly odd block=524288; }

# All sectors of a block with clear bits, from many threads at once
t_bits_filled_by_many() {
	uml_is_enough
	vhdmake dynamic a.vhd $((8 * MIB)) blocks=2,0 bits=odd raw=a.raw
	attach a.vhd
	vhdio write "$DEV" 8 0 12288 -b 1 -p 2 -t 32 -r -d
	vhdio write a.raw 8 0 12288 -b 1 -p 2
	shows a.raw
	detach
	sound a.vhd --exact-blocks 0,1,2
	same_to_qemu a.vhd a.raw
}

# Direct I/O with blocks 512 bytes off any 4 KiB boundary
t_classic_stride() {
	uml_is_enough
	vhdmake dynamic a.vhd $((20 * MIB)) blocks=9,0,5 raw=a.raw
	attach a.vhd
	shows a.raw
	vhdio write "$DEV" 2 0 30000 -b 17 -p 31 -t 8 -r -d
	vhdio write a.raw 2 0 30000 -b 17 -p 31
	shows a.raw
	detach
	sound a.vhd
	same_to_qemu a.vhd a.raw
}

t_512k_blocks() {
	uml_is_enough
	vhdmake dynamic a.vhd $((20 * MIB + 512)) block=524288 blocks=9,0,5,40 raw=a.raw
	attach a.vhd
	shows a.raw
	vhdio write "$DEV" 2 0 40000 -b 17 -p 31 -t 8 -r -d
	vhdio write a.raw 2 0 40000 -b 17 -p 31
	shows a.raw
	detach
	sound a.vhd
	same_to_qemu a.vhd a.raw
}

# Table slack, zero padding, a footer of 511 bytes
t_oddities() {
	uml_is_enough
	vhdmake dynamic slack.vhd $((10 * MIB)) blocks=4,0 entries=1000 pad=0 raw=slack.raw
	vhdmake dynamic short.vhd $((10 * MIB)) blocks=4,0 footer=511 raw=short.raw
	for name in slack short; do
		attach $name.vhd
		shows $name.raw
		vhdio write "$DEV" 3 8192 64 -d
		vhdio write $name.raw 3 8192 64
		detach
		sound $name.vhd
		same_to_qemu $name.vhd $name.raw
	done
}

# Through the backing file's page cache
t_buffered() {
	uml_is_enough
	vhdmake dynamic a.vhd $((20 * MIB)) blocks=9,0,5 raw=a.raw
	attach --direct-io=off a.vhd
	shows a.raw
	vhdio write "$DEV" 2 0 30000 -b 17 -p 31 -t 8 -r -d
	vhdio write a.raw 2 0 30000 -b 17 -p 31
	shows a.raw
	detach
	sound a.vhd
	same_to_qemu a.vhd a.raw
}

# File systems without holes, or without direct I/O
on_small() {
	create --size 40M $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio write "$DEV" 2 0 40000 -b 17 -p 31 -t 8 -r -d
	truncate -s 40M a.raw
	vhdio write a.raw 2 0 40000 -b 17 -p 31
	shows a.raw
	detach
	sound $SMALL/a.vhd
	vhdread raw $SMALL/a.vhd b.raw
	cmp a.raw b.raw
}
t_on_tmpfs() { uml_is_enough; small_fs tmpfs 80; on_small; }
slow_on_vfat() { requires mkfs.vfat; small_fs vfat 80; on_small; }

# Read-only: refuses writes, leaves every byte, on a read-only file as well
t_read_only() {
	uml_is_enough
	vhdmake dynamic a.vhd $((12 * MIB)) blocks=4,1 bits=odd raw=a.raw
	chmod 400 a.vhd
	unchanged a.vhd -- read_only_use
}
read_only_use() {
	attach -r a.vhd
	shows a.raw
	[ "$(blockdev --getro "$DEV")" = 1 ] || fail 'not marked read-only'
	! vhdio write "$DEV" 1 0 8 || fail 'a write went through'
	! vhdio write "$DEV" 1 20000 8 -d || fail 'a direct write went through'
	blockdev --flushbufs "$DEV"
	detach
}

# The block layer lets writes from inside the kernel pass to a read-only disk,
# with a warning: the driver must be the one to refuse them.
t_read_only_through_dm() {
	uml_is_enough
	requires_dm linear
	vhdmake dynamic a.vhd $((12 * MIB)) blocks=4,1 raw=a.raw
	vhdmake fixed f.vhd $((12 * MIB)) raw=f.raw
	unchanged a.vhd -- write_through_dm a.vhd
	unchanged f.vhd -- write_through_dm f.vhd
}
write_through_dm() {
	attach -r "$1"
	dmsetup create --noudevsync vhdtest --table "0 $((12 * MIB / 512)) linear $DEV 0"
	dmsetup mknodes
	! vhdio write /dev/mapper/vhdtest 1 0 8 -d || fail 'a write to an unallocated or fixed block went through'
	! vhdio write /dev/mapper/vhdtest 1 8192 8 -d || fail 'a write to a block went through'
	dmsetup remove --noudevsync --retry vhdtest
	detach_soon
}

sample() {
	local source=$BUILD/tests/samples/$1
	[ -e "$source" ] || skip "$source: no such sample"
	cp --sparse=always "$source" a.vhd
	attach -r a.vhd
	[ "$(device_bytes "$DEV")" = "$2" ] || fail "$(device_bytes "$DEV") bytes, expected $2"
	detach
	unchanged a.vhd -- sample_content
}
# Compared where there is something; 127 GiB of holes are not read byte by byte.
sample_content() {
	attach -r a.vhd
	vhdread blocks a.vhd | head -n 40 > blocks
	vhdread raw a.vhd a.raw
	if [ "$(stat -c %s a.raw)" -lt 300000000 ]; then shows a.raw; else
		cmp -n $((4 * MIB)) "$DEV" a.raw
		cmp -i $(($(stat -c %s a.raw) - 4 * MIB)) "$DEV" a.raw
	fi
	detach
}
t_sample_virtualpc() { uml_is_enough; sample virtualpc-dynamic.vhd 136365211648; }
t_sample_hyperv() { uml_is_enough; sample hyperv2012r2-dynamic.vhd 136365211648; }
slow_sample_disk2vhd() { sample d2v-zerofilled.vhd 263454720; }
t_sample_win10() { uml_is_enough; sample win10-fixed.vhd 10485760; }

# As Virtual PC saw it: 65278 * 16 * 255 sectors
slow_sample_virtualpc_chs() {
	requires_file "$BUILD/tests/samples/virtualpc-dynamic.vhd"
	cp "$BUILD/tests/samples/virtualpc-dynamic.vhd" a.vhd
	attach -r --size-rule=chs a.vhd
	[ "$(device_bytes "$DEV")" = $((65278 * 16 * 255 * 512)) ] || fail "$(device_bytes "$DEV") bytes"
	detach
}

run_cases "$@"
