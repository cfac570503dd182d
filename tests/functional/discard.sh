#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Discard and write-zeroes: what is given back is given back to the file system
# of the image, what is zeroed reads as zeros, and nothing else changes.
. "${0%/*}/../lib.sh"

counter() { cat "/sys/block/${DEV##*/}/vhd/$1"; }
host_kib() { du -k "$1" | cut -f1; }

# By the last close at the latest what was unmapped is committed, and its space
# returned a moment later: settled FILE KIB
settled() {
	local i
	for ((i = 0; i < 100; i++)); do
		[ "$(host_kib "$1")" -gt "$2" ] || return 0
		sleep 0.1
	done
	fail "$(host_kib "$1") KiB are in use, expected at most $2"
}

zeros() { vhdio verify "$DEV" 0 "$1" "$2" -b 256; }

t_whole_disk() {
	create --size 60M a.vhd
	attach a.vhd
	local empty
	empty=$(host_kib a.vhd)
	vhdio write "$DEV" 7 0 $((60 * 2048)) -b 256 -d
	[ "$(host_kib a.vhd)" -ge 61440 ] || fail "$(host_kib a.vhd) KiB after 60 MiB"
	blkdiscard "$DEV"
	zeros 0 $((60 * 2048))
	[ "$(counter allocated)" = 0 ] || fail "$(counter allocated) blocks are left"
	# 4 KiB of each slot hold what its neighbour begins with
	settled a.vhd $((empty + 200))
	[ "$(counter unmaps)" = 30 ] || fail "$(counter unmaps) unmapped"
	detach
	sound a.vhd --aligned --exact-blocks ''
	[ "$(stat -c %s a.vhd)" -lt 20000 ] || fail "$(stat -c %s a.vhd) bytes are left"
}

# blkdiscard -z: write-zeroes
t_write_zeroes() {
	uml_is_enough
	create --size 20M a.vhd
	attach a.vhd
	vhdio write "$DEV" 7 0 $((20 * 2048)) -b 256 -d
	# A block, some of two blocks, a sector
	blkdiscard -z -o $((4 * MIB)) -l $((2 * MIB)) "$DEV"
	blkdiscard -z -o $((9 * MIB)) -l $((2 * MIB)) "$DEV"
	blkdiscard -z -o $((15 * MIB + 512)) -l 512 "$DEV"
	zeros $((4 * 2048)) 4096
	zeros $((9 * 2048)) 4096
	zeros $((15 * 2048 + 1)) 1
	[ "$(counter unmaps)" = 1 ] || fail "$(counter unmaps) unmapped"
	vhdio verify "$DEV" 7 0 $((4 * 2048)) -b 256
	vhdio verify "$DEV" 7 $((6 * 2048)) $((3 * 2048)) -b 256
	vhdio verify "$DEV" 7 $((11 * 2048)) $((4 * 2048 + 1)) -b 256
	vhdio verify "$DEV" 7 $((15 * 2048 + 2)) $((5 * 2048 - 2)) -b 256
	dd if="$DEV" of=copy.raw bs=1M iflag=direct status=none
	detach
	sound a.vhd --aligned
	same_to_qemu a.vhd copy.raw
	# Of blocks that are not there nothing comes to be
	create --size 100M b.vhd
	attach b.vhd
	blkdiscard -z "$DEV"
	[ "$(counter allocations)" = 0 ] || fail "$(counter allocations) allocated"
	detach
}

# What a slot held must not show in the block that gets it
t_slots_are_used_again() {
	uml_is_enough
	create --size 80M a.vhd
	attach a.vhd
	local size round
	vhdio write "$DEV" 7 0 $((40 * 2048)) -b 256 -d -f
	size=$(stat -c %s a.vhd)
	for round in 1 2 3; do
		blkdiscard -o $((round * 4 * MIB)) -l $((20 * MIB)) "$DEV"
		blockdev --flushbufs "$DEV"
		vhdio write "$DEV" 9 $((round * 2048 * 4)) 8 -d -f
		for ((i = 0; i < 100; i++)); do [ "$(counter free_slots)" -lt 9 ] || break; sleep 0.1; done
		# 4 KiB of each block: the rest is zeros
		for ((i = 0; i < 10; i++)); do vhdio write "$DEV" $((10 + i)) $(((round * 4 + i * 2) * 2048)) 8 -d; done
		for ((i = 0; i < 10; i++)); do
			vhdio verify "$DEV" $((10 + i)) $(((round * 4 + i * 2) * 2048)) 8
			zeros $(((round * 4 + i * 2) * 2048 + 8)) 4088
		done
	done
	vhdio verify "$DEV" 7 0 $((4 * 2048)) -b 256
	vhdio verify "$DEV" 7 $((36 * 2048)) $((4 * 2048)) -b 256
	detach
	sound a.vhd --aligned
	[ "$(stat -c %s a.vhd)" -le "$size" ] || fail "the file grew from $size to $(stat -c %s a.vhd)"
}

# write, delete, fstrim, write again: trimmed FS MEGABYTES IMAGE-MEGABYTES
trimmed() {
	requires "mkfs.$1" fstrim
	create --size "$3M" a.vhd
	attach a.vhd
	make_fs "$1" "$DEV"
	mount "$DEV" mnt
	sync
	fstrim mnt
	local empty full size trimmed
	sleep 2
	empty=$(host_kib a.vhd)
	dd if=/dev/urandom of=mnt/a bs=1M count="$2" conv=fsync status=none
	full=$(host_kib a.vhd)
	[ "$full" -ge $(($2 * 1024)) ] || fail "$full KiB after $2 MiB"
	size=$(stat -c %s a.vhd)
	rm mnt/a
	sync
	fstrim mnt
	settled a.vhd $((empty + ($2 * 1024) / 20))
	trimmed=$(host_kib a.vhd)
	dd if=/dev/urandom of=mnt/b bs=1M count=$(($2 * 9 / 10)) conv=fsync status=none
	md5sum mnt/b > b.md5
	[ "$(stat -c %s a.vhd)" -le $((size + 20 * MIB)) ] || fail "the file grew from $size to $(stat -c %s a.vhd)"
	note "KiB in use: empty $empty, full $full, trimmed $trimmed, full again $(host_kib a.vhd); bytes: $size, then $(stat -c %s a.vhd)"
	umount mnt
	detach
	sound a.vhd --aligned
	vhdctl check a.vhd
	attach a.vhd
	mount "$DEV" mnt
	md5sum -c --quiet b.md5
	umount mnt
	detach
}

t_fstrim_ext4() { trimmed ext4 200 600; }
t_fstrim_xfs() { uml_is_enough; trimmed xfs 200 600; }
long_fstrim_1_gib_ext4() { trimmed ext4 1024 4096; }
long_fstrim_1_gib_xfs() { trimmed xfs 1024 4096; }

t_mount_discard() {
	uml_is_enough
	requires mkfs.ext4
	create --size 300M a.vhd
	attach a.vhd
	make_fs ext4 "$DEV"
	mount -o discard "$DEV" mnt
	sync
	local empty
	empty=$(host_kib a.vhd)
	dd if=/dev/urandom of=mnt/a bs=1M count=100 conv=fsync status=none
	rm mnt/a
	sync
	# The file system's own commit
	settled a.vhd $((empty + 6 * 1024))
	umount mnt
	detach
	sound a.vhd --aligned
}

t_fixed() {
	uml_is_enough
	create --size 20M --type fixed a.vhd
	attach a.vhd
	vhdio write "$DEV" 7 0 $((20 * 2048)) -b 256 -d
	blkdiscard -o $((4 * MIB)) -l $((8 * MIB)) "$DEV"
	zeros $((4 * 2048)) $((8 * 2048))
	settled a.vhd $((12 * 1024 + 100))
	vhdio verify "$DEV" 7 0 $((4 * 2048)) -b 256
	# A reservation that is asked for is kept
	blkdiscard -z -o 0 -l $((4 * MIB)) "$DEV"
	zeros 0 $((4 * 2048))
	settled a.vhd $((12 * 1024 + 100))
	[ "$(host_kib a.vhd)" -ge $((12 * 1024)) ] || fail 'blkdiscard -z took the reservation'
	detach
	sound a.vhd
}

t_off() {
	uml_is_enough
	create --size 20M a.vhd
	attach --discard=off a.vhd
	[ "$(counter discard)" = 0 ] || fail 'discards are on'
	[ "$(cat "/sys/block/${DEV##*/}/queue/discard_max_bytes")" = 0 ] || fail 'the queue takes discards'
	vhdio write "$DEV" 7 0 $((20 * 2048)) -b 256 -d
	! blkdiscard "$DEV" 2>/dev/null || fail 'discarded'
	blkdiscard -z "$DEV"
	zeros 0 $((20 * 2048))
	[ "$(counter allocated)" = 10 ] || fail "$(counter allocated) blocks are left"
	[ "$(host_kib a.vhd)" -ge 20480 ] || fail "$(host_kib a.vhd) KiB are left"
	detach
	sound a.vhd --aligned
}

# A file system that cannot punch holes
t_no_punch() {
	uml_is_enough
	requires mkfs.vfat
	requires_module vfat vfat
	small_fs vfat 64
	create --size 20M $SMALL/a.vhd
	attach $SMALL/a.vhd
	[ "$(counter discard)" = 0 ] || fail 'discards are on'
	vhdio write "$DEV" 7 0 $((10 * 2048)) -b 256 -d
	blkdiscard -z -o 0 -l $((5 * MIB)) "$DEV"
	zeros 0 $((5 * 2048))
	vhdio verify "$DEV" 7 $((5 * 2048)) $((5 * 2048)) -b 256
	detach
	sound $SMALL/a.vhd --aligned
}

t_seconds_for_100_gib() {
	local start took
	create --size 100G a.vhd
	attach a.vhd
	vhdio write "$DEV" 7 0 8 -d
	vhdio write "$DEV" 7 $(((100 << 30) / 512 - 8)) 8 -d -f
	start=$SECONDS
	blkdiscard "$DEV"
	blkdiscard -z "$DEV"
	took=$((SECONDS - start))
	[ $took -le 60 ] || fail "$took s"
	zeros 0 8
	detach
	sound a.vhd --aligned --exact-blocks ''
}

# Every block allocated: 51200, of which those stay that two discards share
long_full_100_gib() {
	uml_is_enough
	local start took left
	create --preallocate metadata --size 100G a.vhd
	attach a.vhd
	[ "$(counter allocated)" = 51200 ] || fail "$(counter allocated) blocks to begin with"
	vhdio write "$DEV" 7 0 8 -d
	vhdio write "$DEV" 7 $(((100 << 30) / 512 - 8)) 8 -d -f
	start=$(date +%s%N)
	blkdiscard "$DEV"
	took=$((($(date +%s%N) - start) / 1000000))
	left=$(counter allocated)
	note "$took ms, $left blocks are left"
	[ $took -le 60000 ] || fail "$took ms"
	[ "$left" -le 25 ] || fail "$left blocks are left"
	zeros 0 8
	zeros $(((100 << 30) / 512 - 8)) 8
	settled a.vhd 8192
	detach
	sound a.vhd --aligned
}

# Discards over what is written and read at the same time: fio knows what it
# wrote, and its areas are not touched; in the area between anything goes, but
# no request fails and the image stays sound.
t_races() {
	requires fio
	create --size 120M a.vhd
	attach a.vhd
	cat > job <<-END
		[global]
		filename=$DEV
		ioengine=libaio
		direct=1
		iodepth=16
		thread
		time_based
		runtime=8
		[kept]
		rw=randwrite
		bs=4k
		size=20m
		verify=crc32c
		verify_fatal=1
		verify_backlog=512
		[kept2]
		rw=randwrite
		bsrange=512-64k
		offset=100m
		size=20m
		verify=crc32c
		verify_fatal=1
		verify_backlog=512
		[writes]
		rw=randrw
		bs=16k
		offset=20m
		size=80m
		[trims]
		rw=randtrim
		bsrange=4k-1m
		offset=20m
		size=80m
		iodepth=4
		thinktime=500
		[blocks]
		rw=randtrim
		bs=4m
		ba=2m
		offset=20m
		size=80m
		iodepth=2
		thinktime=2000
	END
	fio --eta=never --output=fio.out job || fail "fio: $(grep -E 'verify|err= *[1-9]|fio:' fio.out | head -n 5)"
	! grep -E 'err=[ ]*[1-9]|verify: bad' fio.out || fail 'fio reports an error'
	note "unmapped: $(counter unmaps)"
	[ "$(counter unmaps)" -gt 5 ] || fail "only $(counter unmaps) blocks were unmapped"
	dd if="$DEV" of=copy.raw bs=1M iflag=direct conv=sparse status=none
	truncate -s "$(device_bytes "$DEV")" copy.raw
	detach
	sound a.vhd --aligned
	same_to_qemu a.vhd copy.raw
}

# No data of another block shows, whatever happens to slots: every sector is
# zeros or what was written there
t_reuse_races() {
	local i pids=()
	create --size 64M a.vhd
	attach a.vhd
	for i in 0 1 2 3; do
		(
			for round in 1 2 3 4 5 6; do
				vhdio write "$DEV" $((100 + i)) $((i * 16 * 2048)) $((16 * 2048)) -b 64 -d
				vhdio verify "$DEV" $((100 + i)) $((i * 16 * 2048)) $((16 * 2048)) -b 64 -d
				blkdiscard -f -o $((i * 16 * MIB)) -l $((16 * MIB)) "$DEV"
				vhdio verify "$DEV" 0 $((i * 16 * 2048)) $((16 * 2048)) -b 64 -d
				blockdev --flushbufs "$DEV"
			done
		) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	detach
	sound a.vhd --aligned --exact-blocks ''
}

run_cases "$@"
