#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The main job: a file system on a VHD, a few thousand real files in it, and all
# of them there after the image was detached and attached again.
. "${0%/*}/../lib.sh"

# A tar of real files and their checksums; tests/suite makes both once, outside
# the guest, where reading them is quick.
# files NAME: files, or few of them
files() {
	FILES=$BUILD/tests/$1.tar SUMS=$BUILD/tests/$1.sums
	[ -e "$FILES" ] || skip "no $FILES: tests/functional/files makes it"
}

fill() {
	mount "$1" mnt
	tar -xf "$FILES" -C mnt --no-same-owner -m
	umount mnt
}

compare() {
	mount -r "$1" mnt
	(cd mnt && md5sum --quiet -c "$SUMS")
	umount mnt
}

check_fs() {
	case $1 in
	ext4) e2fsck -f -n "$2" ;;
	xfs) xfs_repair -n "$2" ;;
	vfat) fsck.vfat -n "$2" ;;
	esac
}

on_device() {
	requires "mkfs.$1"
	files "${3:-files}"
	create --size "$2" a.vhd
	attach a.vhd
	make_fs "$1" "$DEV"
	fill "$DEV"
	check_fs "$1" "$DEV"
	detach_soon
	sound a.vhd
	attach a.vhd
	compare "$DEV"
	detach_soon
}

t_ext4_device() { on_device ext4 300M; }
t_xfs_device() { on_device xfs 400M; }
# fsck.vfat takes a byte at a time: few files, or one waits long
t_vfat_device() { on_device vfat 100M few; }

slow_ext4_on_fixed() {
	files few
	create --size 150M --type fixed a.vhd
	attach a.vhd
	make_fs ext4 "$DEV"
	fill "$DEV"
	detach_soon
	attach a.vhd
	check_fs ext4 "$DEV"
	compare "$DEV"
	detach_soon
	sound a.vhd
}

# One of each on partitions; they appear by the driver's own scan at attach.
t_partitions() {
	local i fs=(ext4 xfs vfat)
	requires sfdisk
	files few
	create --size 640M a.vhd
	attach a.vhd
	printf '%s\n' 'label: gpt' ',120M' ',330M' ',' | sfdisk -q --no-tell-kernel "$DEV"
	vhdctl set --reread "$DEV"
	for i in 0 1 2; do
		make_fs "${fs[i]}" "${DEV}p$((i + 1))"
		fill "${DEV}p$((i + 1))"
	done
	detach_soon
	[ ! -e "${DEV}p1" ] || fail "${DEV}p1 is still there"
	sound a.vhd
	attach a.vhd
	for i in 0 1 2; do
		check_fs "${fs[i]}" "${DEV}p$((i + 1))"
		compare "${DEV}p$((i + 1))"
	done
	detach_soon
}

run_cases "$@"
