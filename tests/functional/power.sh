#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The file system below is frozen, the machine suspended; memory is short.
. "${0%/*}/../lib.sh"

# Twice under load: writers and flushes wait, readers do not, nothing is lost
t_freeze_under_load() {
	local writer i
	create --size 200M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 $((8 * 4096)) -b 64 -d -f
	vhdio write "$DEV" 2 $((10 * 4096)) $((60 * 4096)) -b 32 -t 8 -r -d -f &
	writer=$!
	for i in 1 2; do
		sleep 0.3
		cleanup_fn eval "fsfreeze -u '$(backing)' 2>/dev/null || true"
		fsfreeze -f "$(backing)"
		timeout 20 vhdio verify "$DEV" 1 0 $((8 * 4096)) -b 64 -t 4 -d || fail 'reads wait for the frozen file system'
		# Beyond the second of the timer: its commit waits, too
		[ $i = 1 ] || sleep 1.5
		fsfreeze -u "$(backing)"
	done
	wait $writer
	vhdio verify "$DEV" 2 $((10 * 4096)) $((60 * 4096)) -b 32 -t 4 -d
	detach
	sound a.vhd --exact-blocks "$(seq -s, 0 7),$(seq -s, 10 69)"
}

# The frozen file system is on the device: it flushes, and so does the image
t_freeze_above() {
	create --size 100M a.vhd
	attach a.vhd
	make_fs ext4 "$DEV"
	mount "$DEV" mnt
	head -c 5M /dev/urandom > mnt/file
	fsfreeze -f mnt
	cp a.vhd copy.vhd
	md5sum < mnt/file > want
	fsfreeze -u mnt
	umount mnt
	detach_soon
	attach -r copy.vhd
	mount -o ro,noload "$DEV" mnt
	md5sum < mnt/file | cmp - want || fail 'a copy of the frozen image has not all'
	umount mnt
	detach_soon
}

# All of a suspend but the sleep itself: tasks are frozen, devices suspended
t_suspend() {
	local writer
	[ -w /sys/power/pm_test ] && grep -q freeze /sys/power/state || skip 'this kernel cannot rehearse a suspend'
	create --size 200M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 $((40 * 4096)) -b 32 -t 8 -r -d -f &
	writer=$!
	sleep 0.3
	echo freezer > /sys/power/pm_test
	cleanup_fn eval 'echo none > /sys/power/pm_test'
	echo freeze > /sys/power/state
	echo none > /sys/power/pm_test
	wait $writer
	vhdio verify "$DEV" 1 0 $((40 * 4096)) -b 32 -t 4 -d
	vhdio write "$DEV" 2 0 4096 -b 32 -d -f
	detach
	sound a.vhd
}

run_cases "$@"
