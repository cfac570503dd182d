#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mount -t vhd, /etc/fstab, vhdctl mount and umount.
. "${0%/*}/../lib.sh"

# mount(8) looks for helpers there; "make install" makes this link
helper() {
	ln -sf "$(command -v vhdctl)" /sbin/mount.vhd
	cleanup_fn rm -f /sbin/mount.vhd
}

# fstab LINE...: becomes the machine's
fstab() {
	[ -e /etc/fstab.before ] || cp /etc/fstab /etc/fstab.before
	cleanup_fn mv /etc/fstab.before /etc/fstab
	printf '%s\n' "$@" > /etc/fstab
}

no_devices() { [ -z "$(compgen -G '/sys/block/vhd*')" ] || fail "left: $(vhdctl list)"; }
soon() {
	local n
	for n in $(seq 150); do
		if ("$@") 2>/dev/null; then return 0; fi
		sleep 0.1
	done
	"$@"
}

mounted() { mountpoint -q "$1" || fail "nothing is mounted on $1"; }
not_mounted() { ! mountpoint -q "$1" || fail "something is mounted on $1"; }

# disk_with IMAGE FS: one file system on the whole disk
disk_with() {
	create --size 60M "$1"
	attach "$1"
	case $2 in
	ntfs) mkntfs -q -F -f -L data "$DEV" ;;
	exfat) mkfs.exfat -L data "$DEV" >/dev/null ;;
	*) make_fs "$2" "$DEV" ;;
	esac
	detach_soon
}

# As Windows makes it: two partitions, an empty one and one of value
disk_with_partitions() {
	requires sfdisk
	create --size 100M "$1"
	attach "$1"
	printf '%s\n' 'label: gpt' 'size=40M, name=first' 'size=8M, name=empty' 'name=last' | sfdisk -q --no-tell-kernel "$DEV"
	vhdctl set --reread "$DEV"
	make_fs ext4 "${DEV}p1"
	make_fs ext4 "${DEV}p3"
	detach_soon
}

# Files written through it are there the next time, and nothing stays behind
there_and_back() { # IMAGE DRIVERS [OPTIONS]
	local type
	mount -t vhd ${3:+-o "$3"} "$1" mnt
	type=$(awk -v dir="$PWD/mnt" '$2 == dir { print $3 }' /proc/mounts)
	[[ " $2 " == *" $type "* ]] || fail "mounted as $type, expected one of: $2"
	echo hello > mnt/file
	umount mnt
	soon no_devices
	mount -t vhd -o ro "$1" mnt
	[ "$(cat mnt/file)" = hello ] || fail 'the file is lost'
	! touch mnt/other 2>/dev/null || fail 'written although ro'
	[ "$(vhdctl list -n --raw -O RO)" = 1 ] || fail 'ro, and the image is attached for writing'
	umount mnt
	soon no_devices
	sound "$1"
}

t_fstab() {
	uml_is_enough
	helper
	disk_with_partitions a.vhd
	fstab "$PWD/a.vhd $PWD/mnt vhd part=3,fstype=ext4,nofail 0 0" "$PWD/absent.vhd $PWD vhd nofail 0 0"
	mount -a
	mounted mnt
	echo hello > mnt/file
	# What is mounted is left alone
	mount -a
	[ "$(vhdctl list -n | wc -l)" = 1 ] || fail 'attached twice'
	umount mnt
	soon no_devices
	sound a.vhd
	mount "$PWD/mnt"
	[ "$(cat mnt/file)" = hello ] || fail 'the file is lost'
	umount "$PWD/mnt"
	soon no_devices
	fstab "$PWD/absent.vhd $PWD/mnt vhd defaults 0 0"
	expect_fail 32 'absent.vhd' mount "$PWD/mnt"
}

t_ext4() {
	uml_is_enough
	helper
	disk_with a.vhd ext4
	there_and_back a.vhd ext4
}

t_exfat() {
	uml_is_enough
	requires mkfs.exfat
	requires_module exfat exfat
	helper
	disk_with a.vhd exfat
	there_and_back a.vhd 'exfat fuseblk'
}

# The kernel's driver where there is one
t_ntfs3() {
	requires mkntfs
	requires_module ntfs3 ntfs3
	helper
	disk_with a.vhd ntfs
	there_and_back a.vhd ntfs3
}

t_ntfs_3g() {
	requires mkntfs ntfs-3g
	requires_module fuse fuse
	[ -e /dev/fuse ] || skip 'no /dev/fuse'
	# Built without BLK_DEV_WRITE_MOUNTED, which ntfs-3g cannot do without
	! is_uml || skip 'this kernel mounts no device that is open for writing'
	helper
	disk_with a.vhd ntfs
	mount -t vhd -o fstype=ntfs-3g a.vhd mnt
	[ "$(awk -v dir="$PWD/mnt" '$2 == dir { print $3 }' /proc/mounts)" = fuseblk ] || fail 'another driver'
	echo hello > mnt/file
	# The last to close the device is ntfs-3g, when umount has returned
	umount mnt
	soon no_devices
	sound a.vhd
}

# Two partitions of one image: the image goes with the last of them
t_two_partitions() {
	uml_is_enough
	helper
	disk_with_partitions a.vhd
	mkdir other
	mount -t vhd -o part=1 a.vhd mnt
	mount -t vhd -o partlabel=last a.vhd other
	[ "$(vhdctl list -n | wc -l)" = 1 ] || fail 'attached twice'
	umount mnt
	sleep 0.5
	echo hello > other/file
	umount other
	soon no_devices
	# Both at a time
	mount -t vhd -o part=1 a.vhd mnt & mount -t vhd -o part=3 a.vhd other
	wait $!
	mounted mnt
	mounted other
	[ "$(vhdctl list -n | wc -l)" = 1 ] || fail 'attached twice'
	vhdctl umount a.vhd
	no_devices
	not_mounted mnt
	not_mounted other
}

# The tool's own command; umount returns when the image may be copied
t_vhdctl_mount() {
	uml_is_enough
	disk_with_partitions a.vhd
	vhdctl mount -p 1 -o noatime,sector-size=512 a.vhd mnt
	grep -q " $PWD/mnt ext4 .*noatime" /proc/mounts || fail 'noatime is lost'
	expect_fail 5 'already' vhdctl mount -p 1 a.vhd mnt
	echo hello > mnt/file
	exec 9<mnt/file
	expect_fail 5 'busy' vhdctl umount mnt
	exec 9<&-
	vhdctl umount mnt
	no_devices
	# An image that was attached before stays
	attach a.vhd
	vhdctl mount -p 1 a.vhd mnt
	[ "$(cat mnt/file)" = hello ] || fail 'the file is lost'
	vhdctl umount mnt
	[ -b "$DEV" ] || fail 'detached, although not attached by mount'
	expect_fail 4 'not mounted' vhdctl umount "$DEV"
	detach_soon
	expect_fail 4 'no file system of a VHD' vhdctl umount /proc
}

# A parent that is elsewhere, and writes that are thrown away
t_chain() {
	uml_is_enough
	helper
	disk_with base.vhd ext4
	vhdctl create --type diff --parent base.vhd child.vhd
	mkdir away
	mv base.vhd away/
	expect_fail 32 'parent' mount -t vhd child.vhd mnt
	mount -t vhd -o parent=away/base.vhd child.vhd mnt
	echo hello > mnt/file
	umount mnt
	soon no_devices
	unchanged child.vhd away/base.vhd -- overlaid
}
overlaid() {
	mount -t vhd -o parent-dir=away,overlay child.vhd mnt
	[ "$(cat mnt/file)" = hello ] || fail 'the file is lost'
	echo bye > mnt/file
	umount mnt
	soon no_devices
}

# The other options of vhdctl attach, from fstab
t_options() {
	uml_is_enough
	helper
	disk_with base.vhd ext4
	vhdctl create --type diff --parent base.vhd child.vhd
	vhdctl uuid --force --random base.vhd
	mkdir other
	fstab "$PWD/child.vhd $PWD/mnt vhd ignore-parent-id,direct-io=off,ro,noauto 0 0" \
		"$PWD/chs.vhd $PWD/other vhd size-rule=chs,sector-size=512,noatime,noauto 0 0"
	! mount -t vhd child.vhd mnt || fail 'a strange parent'
	mount mnt
	[ "$(vhdctl list -n --raw -O RO,DIO,DEPTH)" = '1 0 2' ] || fail "$(vhdctl list -O RO,DIO,DEPTH)"
	umount mnt
	soon no_devices
	create --size 60M chs.vhd
	attach --size-rule chs chs.vhd
	make_fs ext4 "$DEV"
	detach_soon
	mount other
	[ "$(cat /sys/block/vhd*/vhd/size_rule)" = chs ] || fail 'another size rule'
	grep -q " $PWD/other ext4 .*noatime" /proc/mounts || fail 'noatime is lost'
	umount other
	soon no_devices
}

# Whatever cannot be mounted leaves no device behind, and it is said why
t_refusals() {
	uml_is_enough
	helper
	disk_with_partitions a.vhd
	expect_fail 4 'several file systems.*part=1.*part=3.*partlabel last' vhdctl mount a.vhd mnt
	soon no_devices
	expect_fail 4 'no partition 7.*part=1' vhdctl mount -p 7 a.vhd mnt
	soon no_devices
	expect_fail 4 'no partition of the name "nobody"' vhdctl mount -o partlabel=nobody a.vhd mnt
	soon no_devices
	expect_fail 4 'no file system found' vhdctl mount -p 2 a.vhd mnt
	soon no_devices
	expect_fail 4 '' vhdctl mount -p 1 -t xfs a.vhd mnt
	soon no_devices
	expect_fail 4 'absent|not exist|no such' vhdctl mount -p 1 a.vhd absent-dir
	soon no_devices
	expect_fail 4 'nosuch.vhd' vhdctl mount nosuch.vhd mnt
	expect_fail 1 'part' vhdctl mount -o part=x a.vhd mnt
	expect_fail 1 'fstype' vhdctl mount -t vhd a.vhd mnt
	expect_fail 1 'direct-io' mount -t vhd -o direct-io=maybe a.vhd mnt
	no_devices
	sound a.vhd
}

run_cases "$@"
