#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Images that lie on a block device, without a file system: what was there before
# is no zeros, the end does not move, and the device is ours alone.
. "${0%/*}/../lib.sh"

BUSY=5 BAD=4 RESOURCE=3

counter() { cat "/sys/block/${DEV##*/}/vhd/$1"; }
zeros() { vhdio verify "$DEV" 0 "$1" "$2" -b 256; }

# $LOWER: a loop device of so many MiB, full of what somebody left there
lower() { # MIB [LOSETUP-OPTION]...
	local file size=$1
	shift
	file=$(mktemp -p . lower.XXXXXX)
	truncate -s "${size}M" "$file"
	vhdio write "$file" 99 0 $((size * 2048)) -b 1024
	# An image long gone among it
	create --size 1M --force old.vhd
	dd if=old.vhd of="$file" conv=notrunc bs=512 seek=$((size * 1024)) status=none
	dd if=old.vhd of="$file" conv=notrunc bs=512 status=none
	LOWER=$(losetup --find --show "$@" "$file")
	cleanup_fn losetup -d "$LOWER"
	BACKING=$file
}

# The same, as a logical volume is one
lower_dm() {
	lower "$@"
	requires_dm linear
	local name=vhdtest-linear$RANDOM
	dmsetup create --noudevsync "$name" --table "0 $(blockdev --getsz "$LOWER") linear $LOWER 0"
	dmsetup --noudevsync mknodes "$name"
	cleanup_fn dmsetup remove --noudevsync --retry "$name"
	LOWER=/dev/mapper/$name
}

# What is on it as a file, to be read by others
extracted() {
	dd if="$LOWER" of="$1" bs=1M status=none
	[[ $(vhdctl info "$1") == *fixed* ]] || vhdread check "$1" || fail "$LOWER is not sound"
}

clean() {
	local out
	out=$(vhdctl check "$LOWER") || fail "check: $out"
	[[ $out != *' slack:'* && $out != *file-long* ]] || fail "check: $out"
}

free_settled() { # AT-LEAST
	local i
	for ((i = 0; i < 200; i++)); do
		[ "$(counter free_slots)" -lt "$1" ] || return 0
		sleep 0.1
	done
	fail "$(counter free_slots) free slots, expected $1"
}

# used MIB-OF-DISK CREATE-OPTION...: all that is done with an image there
used() {
	local mib=$1 first
	shift
	expect_fail $BUSY 'block device; --force' create --size "${mib}M" "$@" "$LOWER"
	create --size "${mib}M" --force "$@" "$LOWER"
	clean
	vhdctl info "$LOWER" >/dev/null
	first=$(sums "$LOWER")
	attach "$LOWER"
	detach
	[ "$first" = "$(sums "$LOWER")" ] || fail 'attaching changed it'

	attach "$LOWER"
	[ "$(counter file_size)" = "$(device_bytes "$LOWER")" ] || fail "file_size is $(counter file_size)"
	zeros 0 $((mib * 2048))
	# Whose device it is now
	expect_fail $BUSY 'already attached as' vhdctl attach "$LOWER"
	expect_fail $BUSY 'attached as' vhdctl resize "$LOWER" 1G
	expect_fail $BUSY 'attached' create --size 1M --force "$LOWER"
	! mount "$LOWER" mnt 2>/dev/null || fail 'the lower device can be mounted'
	! mkfs.ext4 -q "$LOWER" </dev/null >/dev/null 2>&1 || fail 'mkfs took the lower device'

	make_fs ext4 "$DEV"
	mount "$DEV" mnt
	dd if=/dev/urandom of=mnt/a bs=64k count=100 conv=fsync status=none
	md5sum mnt/a > a.md5
	umount mnt
	vhdio write "$DEV" 5 $(((mib - 8) * 2048 + 3)) 4000 -b 64 -r
	vhdio verify "$DEV" 5 $(((mib - 8) * 2048 + 3)) 4000 -b 64
	dd if="$DEV" of=copy.raw bs=1M iflag=direct status=none
	detach
	clean
	extracted copy.vhd
	same_to_qemu copy.vhd copy.raw
	rm -f copy.vhd

	attach "$LOWER"
	cmp "$DEV" copy.raw
	detach
	vhdctl map "$LOWER" >/dev/null
	vhdctl dump footer "$LOWER" >/dev/null
	vhdctl convert -f vhd -O raw "$LOWER" out.raw
	cmp out.raw copy.raw
	attach "$LOWER"
	mount "$DEV" mnt
	md5sum -c --quiet a.md5
	umount mnt
	detach
	clean
}

t_dynamic_on_loop() { lower 96; used 64; }
t_fixed_on_loop() { uml_is_enough; lower 40; used 32 --type fixed; }
t_dynamic_on_dm() { uml_is_enough; lower_dm 96; used 64; }
t_fixed_on_dm() { uml_is_enough; lower_dm 40; used 32 --type fixed; }

# Sectors of 4 KiB, where the footer is an eighth of one: through the page cache
t_sectors_of_4k() {
	uml_is_enough
	lower 64 --sector-size 4096
	create --size 32M --force "$LOWER"
	attach "$LOWER"
	[ "$(counter direct_io)" = 0 ] || fail 'direct I/O to it'
	zeros 0 65536
	vhdio write "$DEV" 5 3 4099 -b 1
	vhdio write "$DEV" 6 32768 8192 -b 32 -r
	blkdiscard -o $((16 * MIB)) -l $((2 * MIB)) "$DEV"
	vhdio write "$DEV" 7 40965 5
	zeros 32768 4096
	detach
	clean
	attach "$LOWER"
	vhdio verify "$DEV" 5 3 4099 -b 1
	zeros 4102 28666
	zeros 32768 4096
	vhdio verify "$DEV" 7 40965 5
	detach
}

# The page cache and the device in turn: never stale
t_both_ways() {
	uml_is_enough
	local dio round
	lower 64
	create --size 64M --force "$LOWER"
	attach --direct-io=off "$LOWER"
	for round in 1 2 3 4; do
		dio=$([ $((round % 2)) = 0 ] && echo off || echo on)
		vhdio write "$DEV" $round 0 $((24 * 2048)) -b 256
		blkdiscard -o $((2 * MIB)) -l $((7 * MIB)) "$DEV"
		blockdev --flushbufs "$DEV"
		vhdio write "$DEV" $((round + 10)) $((5 * 2048 + 1)) 7
		zeros $((2 * 2048)) $((3 * 2048 + 1))
		zeros $((5 * 2048 + 8)) $((4 * 2048 - 8))
		vhdio verify "$DEV" $round $((9 * 2048)) $((15 * 2048)) -b 256
		vhdctl set --direct-io=$dio "$DEV"
		blockdev --flushbufs "$DEV"
		vhdio verify "$DEV" $((round + 10)) $((5 * 2048 + 1)) 7
		zeros $((5 * 2048 + 8)) $((4 * 2048 - 8))
		vhdio verify "$DEV" $round $((9 * 2048)) $((15 * 2048)) -b 256
	done
	detach
	clean
}

# More disk than device: an error to who writes, and room again after a discard
t_full() {
	uml_is_enough
	lower 32
	create --size 100M --force "$LOWER"
	attach "$LOWER"
	vhdio write "$DEV" 5 0 $((100 * 2048)) -b 256 -d -t 4 -r -e 28 -m ok.map
	[ "$(counter state)" = live ] || fail "$(counter state)"
	[ "$(counter allocated)" = 15 ] || fail "$(counter allocated) blocks fit 32 MiB"
	vhdio verify "$DEV" 5 0 $((100 * 2048)) -b 256 -m ok.map
	dd if="$DEV" of=copy.raw bs=1M iflag=direct status=none
	blkdiscard "$DEV"
	blockdev --flushbufs "$DEV"
	free_settled 15
	zeros 0 $((100 * 2048))
	# In other blocks, in part: what was there does not show
	for ((i = 0; i < 15; i++)); do vhdio write "$DEV" $((20 + i)) $((i * 4096 * 3 + 100)) 8 -d; done
	for ((i = 0; i < 15; i++)); do
		vhdio verify "$DEV" $((20 + i)) $((i * 4096 * 3 + 100)) 8
		zeros $((i * 4096 * 3)) 100
		zeros $((i * 4096 * 3 + 108)) 3988
	done
	detach
	clean
}

# What is given back reaches the lower device, if it can have it
t_discards_go_down() {
	uml_is_enough
	lower 64
	create --size 60M --force "$LOWER"
	attach "$LOWER"
	[ "$(counter discard)" = 1 ] || skip 'this loop device takes no discards'
	vhdio write "$DEV" 7 0 $((40 * 2048)) -b 256 -d -f
	local i full
	full=$(du -k "$BACKING" | cut -f1)
	blkdiscard "$DEV"
	blockdev --flushbufs "$DEV"
	for ((i = 0; i < 100; i++)); do
		[ "$(du -k "$BACKING" | cut -f1)" -gt $((full - 38 * 1024)) ] || break
		sleep 0.1
	done
	[ $i -lt 100 ] || fail "$(du -k "$BACKING" | cut -f1) KiB are in use, there were $full"
	zeros 0 $((60 * 2048))
	detach
	clean
}

# A fixed image's disk is what the lower device begins with: it can be mounted
t_mounted_is_refused() {
	uml_is_enough
	lower 40
	create --size 32M --type fixed --force "$LOWER"
	attach "$LOWER"
	make_fs ext4 "$DEV"
	detach
	mount "$LOWER" mnt
	expect_fail $BUSY 'in use: mounted' vhdctl attach "$LOWER"
	expect_fail $BUSY 'in use: mounted' create --size 1M --force "$LOWER"
	expect_fail $BUSY 'in use: mounted' vhdctl resize "$LOWER" 34M
	umount mnt
	attach "$LOWER"
	detach
}

t_claimed_is_refused() {
	uml_is_enough
	lower_dm 40
	create --size 32M --force "$LOWER"
	local loop
	loop=$(losetup -j "$BACKING" | cut -d: -f1)
	expect_fail $BUSY 'claimed by a driver' vhdctl attach "$loop"
	attach "$LOWER"
	detach
}

# A parent that several children share, read only, of which one is on a device
t_parents() {
	uml_is_enough
	local base first
	lower 64
	base=$LOWER
	create --size 32M --force "$base"
	attach "$base"
	vhdio write "$DEV" 5 0 20000 -b 64
	detach
	first=$(sums "$base")
	create --parent "$base" a.vhd
	expect_fail $BAD 'only --parent opens it' vhdctl attach a.vhd
	attach --parent "$base" a.vhd
	local a=$DEV
	lower 32
	create --parent "$base" --force "$LOWER"
	attach "$LOWER"
	expect_fail $BUSY '' vhdctl attach "$base"
	! mount "$base" mnt 2>/dev/null || fail 'the parent can be mounted'
	vhdio verify "$DEV" 5 0 20000 -b 64
	vhdio write "$DEV" 6 100 5000
	vhdio write "$a" 7 100 5000
	vhdio verify "$DEV" 6 100 5000
	vhdio verify "$a" 7 100 5000
	vhdio verify "$DEV" 5 5100 14900
	zeros 20000 45536
	detach
	detach "$a"
	[ "$first" = "$(sums "$base")" ] || fail 'the parent changed'
	vhdctl check --chain "$LOWER" >/dev/null
	# And what is merged is no image any more
	vhdctl commit "$LOWER"
	expect_fail $BAD 'not a VHD' vhdctl info "$LOWER"
	LOWER=$base clean
	attach "$base"
	vhdio verify "$DEV" 6 100 5000
	detach
}

t_offline() {
	uml_is_enough
	create --size 64M file.vhd
	attach file.vhd
	vhdio write "$DEV" 5 12345 20000 -b 64 -r
	dd if="$DEV" of=copy.raw bs=1M iflag=direct status=none
	detach
	# From a file, and as each kind
	lower 100
	expect_fail $BUSY 'block device; --force' vhdctl convert file.vhd "$LOWER"
	local kind
	for kind in dynamic fixed; do
		vhdctl convert --force -O $kind file.vhd "$LOWER"
		clean
		vhdctl compare --format vhd "$LOWER" file.vhd
		extracted copy.vhd
		same_to_qemu copy.vhd copy.raw
	done
	vhdctl convert --force -O raw file.vhd "$LOWER"
	cmp -n $((64 * MIB)) "$LOWER" copy.raw
	vhdctl convert --force file.vhd "$LOWER"
	vhdctl uuid --random "$LOWER"
	vhdctl compact --zero "$LOWER"
	clean
	vhdctl compare --format vhd "$LOWER" file.vhd
	# Too large for it
	lower 16
	expect_fail $RESOURCE 'too small|no space' vhdctl convert --force -O fixed file.vhd "$LOWER"
	expect_fail $RESOURCE 'too small' create --force --type fixed --size 16M "$LOWER"
	expect_fail $BAD 'not a VHD' vhdctl info "$LOWER"
}

# resized BY CREATE-OPTION...: offline and attached; what comes to the disk is zeros
resized() {
	create --force --size 20M "$@" "$LOWER"
	vhdctl resize "$LOWER" 24M
	clean
	attach "$LOWER"
	zeros 0 $((24 * 2048))
	vhdio write "$DEV" 5 0 $((24 * 2048)) -b 256 -d
	vhdctl resize "$DEV" 32M
	vhdio verify "$DEV" 5 0 $((24 * 2048)) -b 256
	zeros $((24 * 2048)) $((8 * 2048))
	vhdio write "$DEV" 6 $((24 * 2048)) $((8 * 2048)) -b 256 -d
	vhdctl resize --shrink --force "$DEV" 21M
	vhdctl resize "$DEV" 30M
	vhdio verify "$DEV" 5 0 $((21 * 2048)) -b 256
	zeros $((21 * 2048)) $((9 * 2048))
	detach
	clean
	vhdctl resize --shrink --force "$LOWER" 11M
	vhdctl resize "$LOWER" 22M
	attach "$LOWER"
	vhdio verify "$DEV" 5 0 $((11 * 2048)) -b 256
	zeros $((11 * 2048)) $((11 * 2048))
	detach
	clean
}

t_resize_dynamic() { uml_is_enough; lower 80; resized; }
t_resize_fixed() {
	uml_is_enough
	lower 40
	resized --type fixed
	expect_fail $RESOURCE 'space' vhdctl resize "$LOWER" 40M
	clean
}

# The table moves behind the blocks; it has no room in front of them
t_resize_moves_the_table() {
	uml_is_enough
	lower 40
	create --force --size 20M --block-size 512K "$LOWER"
	attach "$LOWER"
	vhdio write "$DEV" 5 0 $((20 * 2048)) -b 256 -d
	vhdctl resize "$DEV" 2G
	vhdio write "$DEV" 6 $((1024 * 2048)) 4096 -d
	zeros $((20 * 2048)) 4096
	detach
	clean
	attach "$LOWER"
	vhdio verify "$DEV" 5 0 $((20 * 2048)) -b 256
	vhdio verify "$DEV" 6 $((1024 * 2048)) 4096
	detach
}

# A dynamic image in a file, copied to a larger device: the footer is not where the
# device ends, as after lvextend
t_repair() {
	uml_is_enough
	create --size 20M file.vhd
	attach file.vhd
	vhdio write "$DEV" 5 0 20000 -b 64
	detach
	lower 64
	dd if=file.vhd of="$LOWER" bs=1M conv=notrunc,fsync status=none
	expect_fail $BAD 'read-only' vhdctl attach "$LOWER"
	attach -r "$LOWER"
	vhdio verify "$DEV" 5 0 20000 -b 64
	detach
	expect_fail 1 'undo-file' vhdctl check --repair "$LOWER"
	vhdctl check --repair --undo-file=undo "$LOWER" >/dev/null
	clean
	attach "$LOWER"
	vhdio verify "$DEV" 5 0 20000 -b 64
	zeros 20000 20960
	vhdio write "$DEV" 6 20000 20960 -b 64
	detach
	clean
}

# The same of a fixed image, which has one footer only, by lvextend; in front of it
# and behind the disk may lie anything
t_repair_fixed() {
	uml_is_enough
	lower 40
	create --force --size 32M --type fixed "$LOWER"
	attach "$LOWER"
	vhdio write "$DEV" 5 0 65536 -b 64
	detach
	vhdio write "$LOWER" 99 65536 100
	truncate -s 56M "$BACKING"
	losetup -c "$LOWER"
	expect_fail $BAD 'not a VHD' vhdctl attach "$LOWER"
	expect_fail 1 'undo-file' vhdctl check --repair "$LOWER"
	vhdctl check --repair --undo-file=undo "$LOWER" >/dev/null
	clean
	vhdctl check --undo undo --force "$LOWER"
	expect_fail $BAD 'not a VHD' vhdctl attach "$LOWER"
	rm undo
	vhdctl check --repair --undo-file=undo "$LOWER" >/dev/null
	attach "$LOWER"
	vhdio verify "$DEV" 5 0 65536 -b 64
	vhdctl resize "$DEV" 55M
	vhdio verify "$DEV" 5 0 65536 -b 64
	zeros 65536 47104
	vhdio write "$DEV" 6 65536 47104 -b 64
	detach
	clean
	# What was added holds what somebody left there: nobody knows then
	truncate -s 72M "$BACKING"
	losetup -c "$LOWER"
	vhdio write "$LOWER" 99 130000 17000
	rm undo
	unchanged "$LOWER" -- expect_fail 2 'no-footer' vhdctl check --repair --undo-file=undo "$LOWER"
}

# Nothing is cut: what the blocks leave at the end is free for new ones
t_compact() {
	uml_is_enough
	local b
	lower 48
	create --force --block-size 512K --size 32M "$LOWER"
	attach "$LOWER"
	vhdio write "$DEV" 5 0 65536 -b 256 -d -f
	# Every second block away, two that are left are zeros
	for ((b = 0; b < 64; b += 2)); do blkdiscard -o $((b * 524288)) -l 524288 "$DEV"; done
	dd if=/dev/zero of="$DEV" bs=512K seek=1 count=1 conv=notrunc oflag=direct status=none
	dd if=/dev/zero of="$DEV" bs=512K seek=33 count=1 conv=notrunc oflag=direct status=none
	sync "$DEV"
	dd if="$DEV" of=model bs=1M iflag=direct status=none
	[ "$(counter allocated)" = 32 ] || fail "$(counter allocated) blocks"
	vhdctl compact -q --zero "$DEV"
	[ "$(counter allocated)" = 30 ] || fail "$(counter allocated) blocks, expected 30"
	[ "$(counter moves)" -ge 10 ] || fail "$(counter moves) blocks were moved"
	[ "$(counter file_size)" = "$(device_bytes "$LOWER")" ] || fail "file_size is $(counter file_size)"
	cmp "$DEV" model
	# New blocks go where others have been: only zeros show around them
	for ((b = 0; b < 64; b += 2)); do vhdio write "$DEV" $((20 + b)) $((b * 1024 + 100)) 8 -d; done
	for ((b = 0; b < 64; b += 2)); do
		vhdio verify "$DEV" $((20 + b)) $((b * 1024 + 100)) 8
		zeros $((b * 1024)) 100
		zeros $((b * 1024 + 108)) 916
	done
	dd if="$DEV" of=model bs=1M iflag=direct status=none
	detach
	clean
	extracted copy.vhd
	vhdread raw copy.vhd copy.raw
	cmp copy.raw model
	attach "$LOWER"
	cmp "$DEV" model
	detach
}

# A child in a file, and merged again into the device, in use
t_snapshot_and_commit() {
	uml_is_enough
	lower 48
	create --force --size 32M "$LOWER"
	attach "$LOWER"
	vhdio write "$DEV" 5 0 20000 -b 64 -d
	expect_fail 5 '' vhdctl snapshot "$DEV" "$LOWER"
	vhdctl snapshot "$DEV" kid.vhd
	vhdio write "$DEV" 6 10000 20000 -b 64 -d -f
	vhdio verify "$DEV" 5 0 10000 -b 64
	vhdctl commit "$DEV"
	vhdio verify "$DEV" 5 0 10000 -b 64
	vhdio verify "$DEV" 6 10000 20000 -b 64
	zeros 30000 35536
	[ ! -e kid.vhd ] || fail 'what was merged is there still'
	vhdio write "$DEV" 7 60000 100 -d -f
	detach
	clean
	attach "$LOWER"
	vhdio verify "$DEV" 5 0 10000 -b 64
	vhdio verify "$DEV" 6 10000 20000 -b 64
	vhdio verify "$DEV" 7 60000 100
	detach
}

slow_fio() {
	requires fio
	lower 160
	create --size 128M --force "$LOWER"
	attach "$LOWER"
	fio --eta=never --output=fio.out --name=storm --filename="$DEV" --ioengine=libaio --direct=1 --iodepth=32 \
		--rw=randwrite --bssplit=512/20:4k/30:12k/20:64k/30 --random_generator=tausworthe --size=24m --offset_increment=60m \
		--numjobs=2 --thread --verify=crc32c --verify_fatal=1 --do_verify=1 || fail "fio: $(tail -n 5 fio.out)"
	dd if="$DEV" of=copy.raw bs=1M iflag=direct status=none
	detach
	clean
	extracted copy.vhd
	same_to_qemu copy.vhd copy.raw
}

run_cases "$@"
