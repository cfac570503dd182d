#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Resizing an attached image: the device goes on, what is on it stays, and the
# image is sound whenever it is looked at.
. "${0%/*}/../lib.sh"

attr() { cat "/sys/block/${DEV##*/}/vhd/$1"; }
size_is() { [ "$(device_bytes "$DEV")" = "$1" ] || fail "the device has $(device_bytes "$DEV") bytes, expected $1"; }
resize() { vhdctl resize -q "$@"; }
# What is in the file now opens and has the size: copy_has BYTES
copy_has() {
	cp --sparse=always a.vhd copy.vhd
	vhdctl check copy.vhd >/dev/null || [ $? = 3 ] || fail "a copy: $(vhdctl check copy.vhd)"
	vhdctl info --json copy.vhd | grep -qE "\"(virtual-size|size)\": *$1\b" || fail "a copy has another size: $(vhdctl info --json copy.vhd)"
}

t_grow() {
	create --size 20M a.vhd
	attach a.vhd
	vhdio write "$DEV" 7 0 $((20 * 2048)) -b 256 -d
	resize "$DEV" 33M
	size_is $((33 * MIB))
	copy_has $((33 * MIB))
	vhdio verify "$DEV" 7 0 $((20 * 2048)) -b 256
	vhdio verify "$DEV" 0 $((20 * 2048)) $((13 * 2048)) -b 256
	vhdio write "$DEV" 8 $((20 * 2048)) $((13 * 2048)) -b 256 -d
	# The table has to move; blocks are handed out before and behind it
	resize "$DEV" 40G
	size_is $((40 << 30))
	copy_has $((40 << 30))
	vhdio write "$DEV" 9 $(((40 << 21) - 20480)) 20480 -b 256 -d -f
	vhdio write "$DEV" 5 $((50 * 2048)) 20480 -b 256 -d
	vhdio verify "$DEV" 7 0 $((20 * 2048)) -b 256
	vhdio verify "$DEV" 8 $((20 * 2048)) $((13 * 2048)) -b 256
	detach
	sound a.vhd
	attach a.vhd
	size_is $((40 << 30))
	vhdio verify "$DEV" 7 0 $((20 * 2048)) -b 256
	vhdio verify "$DEV" 8 $((20 * 2048)) $((13 * 2048)) -b 256
	vhdio verify "$DEV" 5 $((50 * 2048)) 20480 -b 256
	vhdio verify "$DEV" 9 $(((40 << 21) - 20480)) 20480 -b 256
	detach
}

# In blocks that no commit has seen, and with the last block cut by the old end
t_grow_odd() {
	uml_is_enough
	local s
	create --size $((3 * MIB - 5120)) a.vhd
	attach a.vhd
	for s in $((3 * MIB)) $((5 * MIB + 512)) $((6 * MIB + 1024)); do
		vhdio write "$DEV" 7 0 $(($(device_bytes "$DEV") / 512)) -b 61 -d
		resize "$DEV" $s
		size_is $s
	done
	vhdio verify "$DEV" 7 0 $(((5 * MIB + 512) / 512)) -b 61
	vhdio write "$DEV" 7 0 $(($(device_bytes "$DEV") / 512)) -b 61 -d
	detach
	sound a.vhd
	attach a.vhd
	vhdio verify "$DEV" 7 0 $(((6 * MIB + 1024) / 512)) -b 61
	detach
}

# Step by step to the largest there is and back, with a file system mounted that
# knows nothing of it; and once more with one that grows
t_mounted() {
	local s fs=xfs
	command -v mkfs.xfs xfs_growfs >/dev/null && requires_module xfs xfs || fs=ext4
	create --size 1G a.vhd
	attach a.vhd
	make_fs $fs "$DEV"
	mount "$DEV" mnt
	dd if=/dev/urandom of=mnt/a bs=1M count=20 conv=fsync status=none
	md5sum mnt/a > a.md5
	for s in 1100M 10G 300G 2040G 1000G 300G 10G 1G; do
		resize --shrink --force "$DEV" $s
		dd if=/dev/urandom of=mnt/c.$s bs=1M count=2 conv=fsync status=none
		echo 3 > /proc/sys/vm/drop_caches
		md5sum -c --quiet a.md5
	done
	size_is $((1 << 30))
	rm mnt/c.*
	for s in 1100M 10G 300G 2040G; do
		dd if=/dev/urandom of=mnt/b bs=1M count=4 status=none
		resize "$DEV" $s
		if [ $fs = xfs ]; then [ $s = 2040G ] || xfs_growfs mnt >/dev/null; else [ $s = 300G ] || [ $s = 2040G ] || resize2fs "$DEV" >/dev/null 2>&1; fi
		cp mnt/b mnt/b.$s
		sync
	done
	size_is $((2040 << 30))
	[ "$(stat -f -c %b mnt)" -gt $((9 << 18)) ] || fail "the file system has $(stat -f -c %b mnt) blocks"
	umount mnt
	detach_soon
	sound a.vhd
	attach a.vhd
	mount "$DEV" mnt
	md5sum -c --quiet a.md5
	for s in 1100M 10G 300G; do [ "$(stat -c %s mnt/b.$s)" = $((4 * MIB)) ] || fail "mnt/b.$s is not there"; done
	expect_fail 5 'in use' vhdctl resize --shrink "$DEV" 1G
	size_is $((2040 << 30))
	umount mnt
	detach_soon
}

t_shrink() {
	uml_is_enough
	create --size 60G a.vhd
	attach a.vhd
	vhdio write "$DEV" 7 0 20480 -b 256 -d
	vhdio write "$DEV" 8 204800 4096 -b 256 -d
	expect_fail 1 shrink vhdctl resize "$DEV" 1G
	resize --shrink "$DEV" 200M
	size_is $((200 * MIB))
	copy_has $((200 * MIB))
	expect_fail 4 'behind the new end' vhdctl resize --shrink "$DEV" 50M
	size_is $((200 * MIB))
	vhdio verify "$DEV" 8 204800 4096 -b 256
	expect_fail 4 'data behind' vhdctl resize --shrink "$DEV" 101M
	blkdiscard -o $((100 * MIB)) -l $((2 * MIB)) "$DEV"
	resize --shrink "$DEV" 100M
	resize --shrink --force "$DEV" $((9 * MIB + 512))
	size_is $((9 * MIB + 512))
	! vhdio verify "$DEV" 7 $((9 * 2048)) 8 -d 2>/dev/null || fail 'reads behind the end'
	# Nothing of it comes back
	resize "$DEV" 60G
	vhdio verify "$DEV" 7 0 $((9 * 2048 + 1)) -b 1
	vhdio verify "$DEV" 0 $((9 * 2048 + 1)) 40000 -b 1
	vhdio write "$DEV" 3 20480 4096 -b 256 -d
	detach
	sound a.vhd
	attach a.vhd
	vhdio verify "$DEV" 7 0 $((9 * 2048 + 1)) -b 1
	vhdio verify "$DEV" 3 20480 4096 -b 256
	detach
}

t_fixed() {
	uml_is_enough
	create --size 10M --type fixed a.vhd
	attach a.vhd
	vhdio write "$DEV" 7 0 20480 -b 256 -d
	resize "$DEV" $((12 * MIB + 512))
	size_is $((12 * MIB + 512))
	copy_has $((12 * MIB + 512))
	vhdio verify "$DEV" 7 0 20480 -b 256
	vhdio verify "$DEV" 0 20480 4097 -b 1
	vhdio write "$DEV" 8 20480 4097 -b 1 -d
	expect_fail 4 'data behind' vhdctl resize --shrink "$DEV" 5M
	resize --shrink --force "$DEV" 5M
	size_is $((5 * MIB))
	copy_has $((5 * MIB))
	vhdio verify "$DEV" 7 0 10240 -b 256
	detach
	sound a.vhd
	[ "$(stat -c %s a.vhd)" = $((5 * MIB + 512)) ] || fail "the file has $(stat -c %s a.vhd) bytes"
}

# The top of a chain, in the middle of a block; what is new is in no parent
t_differencing() {
	uml_is_enough
	create --size $((3 * MIB + 512)) a.vhd
	attach a.vhd
	vhdio write "$DEV" 7 0 6145 -b 61 -d
	detach
	create --type diff --parent a.vhd b.vhd
	create --type diff --parent b.vhd c.vhd
	attach c.vhd
	vhdio write "$DEV" 8 100 50 -d
	vhdio write "$DEV" 8 6144 1 -d
	resize "$DEV" $((4 * MIB))
	vhdio verify "$DEV" 0 6145 2047 -b 61
	vhdio write "$DEV" 9 7000 9 -d
	# Its table moves
	resize "$DEV" 40G
	size_is $((40 << 30))
	differs_from_parent
	vhdio verify "$DEV" 0 $(((40 << 21) - 4096)) 4096 -b 256
	vhdio write "$DEV" 5 $(((40 << 21) - 4096)) 4096 -b 256 -d -f
	detach
	vhdctl check --chain c.vhd || [ $? = 3 ]
	attach c.vhd
	size_is $((40 << 30))
	differs_from_parent
	vhdio verify "$DEV" 5 $(((40 << 21) - 4096)) 4096 -b 256
	detach
}
differs_from_parent() {
	vhdio verify "$DEV" 7 0 100 -b 10
	vhdio verify "$DEV" 8 100 50 -b 10
	vhdio verify "$DEV" 7 150 5994 -b 9
	vhdio verify "$DEV" 8 6144 1
	vhdio verify "$DEV" 0 6145 855 -b 9
	vhdio verify "$DEV" 9 7000 9
	vhdio verify "$DEV" 0 7009 4096 -b 8
}

t_refused() {
	uml_is_enough
	create --size 10M a.vhd
	create --type diff --parent a.vhd b.vhd
	attach a.vhd
	expect_fail 5 'depend' vhdctl resize "$DEV" 20M
	detach
	attach b.vhd
	expect_fail 4 'differencing' vhdctl resize --shrink --force "$DEV" 5M
	size_is $((10 * MIB))
	detach
	create --type diff --size 8M --parent a.vhd c.vhd
	attach c.vhd
	expect_fail 4 'whose parent is larger' vhdctl resize "$DEV" 9M
	size_is $((8 * MIB))
	detach
	rm b.vhd c.vhd
	attach -r a.vhd
	expect_fail 4 'read-only' vhdctl resize "$DEV" 20M
	detach
	attach -b 4096 a.vhd
	expect_fail 1 'multiple' vhdctl resize "$DEV" $((20 * MIB + 512))
	expect_fail 1 '2040' vhdctl resize "$DEV" 2041G
	size_is $((10 * MIB))
	detach
	sound a.vhd
}

# No room for the new table: the old size, and the device goes on
t_enospc() {
	uml_is_enough
	small_fs ext4 48
	create --size 400M $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio write "$DEV" 7 0 20480 -b 256 -d -f
	dd if=/dev/zero of=$SMALL/fill bs=64k status=none 2>/dev/null || true
	sync
	expect_fail 3 space vhdctl resize "$DEV" 2040G
	size_is $((400 * MIB))
	vhdio write "$DEV" 8 0 4096 -b 256 -d -f
	rm $SMALL/fill
	sync
	resize "$DEV" 2040G
	vhdio write "$DEV" 9 20480 4096 -b 256 -d -f
	vhdio verify "$DEV" 8 0 4096 -b 256
	vhdio verify "$DEV" 7 4096 16384 -b 256
	detach
	sound $SMALL/a.vhd
}

# While requests of all kinds are under way
t_races() {
	local i writer trimmer
	create --size 64M a.vhd
	attach a.vhd
	(
		for i in 1 2 3 4 5 6; do
			vhdio write "$DEV" $i 0 $((24 * 2048)) -b 64 -r -t 4 -f
			vhdio verify "$DEV" $i 0 $((24 * 2048)) -b 64 -d
		done
	) &
	writer=$!
	(
		while kill -0 $writer 2>/dev/null; do
			vhdio write "$DEV" 77 $((24 * 2048)) $((24 * 2048)) -b 64 -d
			blkdiscard -f -o $((24 * MIB)) -l $((24 * MIB)) "$DEV"
			blockdev --flushbufs "$DEV"
		done
	) &
	trimmer=$!
	for ((i = 0; i < 20; i++)); do
		resize "$DEV" $((80 + i * i * 37))M
		resize --shrink --force "$DEV" $((64 + i % 3))M
		kill -0 $writer 2>/dev/null || break
	done
	wait $writer
	wait $trimmer
	note "$i resizes"
	detach_soon
	sound a.vhd
	attach a.vhd
	vhdio verify "$DEV" 6 0 $((24 * 2048)) -b 64
	detach
}

run_cases "$@"
