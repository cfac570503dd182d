#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# How a system whose root lies in an image goes down: dracut's hooks, as its
# shutdown calls them. That it boots, too, is tested by tests/boot/run.
. "${0%/*}/../lib.sh"

HOOKS=$REPO/initramfs/dracut/90vhd

# hook NAME: as dracut calls one, with a shell that is no bash
hook() { (PATH=$(dirname "$(command -v vhdctl)"):$PATH; exec sh -c '. "$1"' sh "$HOOKS/$1"); }

# The image on a file system that hangs below the root that is in the image
old_root() {
	small_fs ext4 80
	create --size 40M $SMALL/root.vhd
	attach $SMALL/root.vhd
	make_fs ext4 "$DEV"
	mkdir oldroot
	mount "$DEV" oldroot
	mkdir -p oldroot/run oldroot/dev
	mount -t tmpfs tmpfs oldroot/run
	mount -t tmpfs tmpfs oldroot/dev
	mkdir -p oldroot/run/initramfs/vhd-host /run/vhd
	mount --move $SMALL oldroot/run/initramfs/vhd-host
	echo "$DEV" > /run/vhd/root
	cleanup_fn rm -rf /run/vhd
	cleanup_fn eval 'umount -l /vhd-host; rmdir /vhd-host'
}

t_dracut_goes_down() {
	uml_is_enough
	old_root
	# As it is left when /run/initramfs has become the root
	mkdir /vhd-host
	# As ntfs-3g has
	exec 8> oldroot/dev/node
	echo hello > oldroot/file
	! umount oldroot/run/initramfs/vhd-host 2>/dev/null || fail 'nothing is in use'
	hook vhd-move.sh
	umount oldroot/run
	umount oldroot
	exec 8>&-
	hook vhd-detach.sh
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail 'the image is still attached'
	! mountpoint -q /vhd-host || fail 'what it lies on is still mounted'
	dmesg | tail -n 5 | grep -q 'vhd-shutdown: all is down' || fail "$(dmesg | tail -n 5)"
	e2fsck -fn "${VHD_TEST_SMALL:-/dev/vdb}"
	mount "${VHD_TEST_SMALL:-/dev/vdb}" $SMALL
	sound $SMALL/root.vhd
	attach $SMALL/root.vhd
	mount "$DEV" oldroot
	[ "$(cat oldroot/file)" = hello ] || fail 'the file is lost'
	umount oldroot
	detach_soon
}

# As long as the old root is there, a hook says no, and is called again
t_dracut_is_patient() {
	uml_is_enough
	old_root
	hook vhd-move.sh
	! hook vhd-detach.sh || fail 'all is down, and the root is mounted'
	umount oldroot/run
	umount oldroot
	hook vhd-detach.sh
}

# A system whose root lies elsewhere
t_dracut_leaves_others_alone() {
	uml_is_enough
	create --size 20M a.vhd
	attach a.vhd
	hook vhd-move.sh
	hook vhd-detach.sh
	[ -b "$DEV" ] || fail 'a device that is none of its business is gone'
	detach
}

run_cases "$@"
