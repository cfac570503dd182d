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

# delay_writes MS: so long takes each write of the small file system
delay_writes() {
	local disk=${VHD_TEST_SMALL:-/dev/vdb}
	dmsetup suspend --noudevsync --nolockfs vhdtest
	dmsetup load vhdtest --table "0 $(blockdev --getsz "$disk") delay $disk 0 0 $disk 0 $1"
	dmsetup resume --noudevsync vhdtest
}

# The file system below freezes its threads when the driver's work is stopped: none of
# that may be at a commit of its own accord then, which would wait for these threads,
# and the suspend would fail. Nor may it wait as long as somebody writes. Slow writes
# make such a commit long
slow_suspend_beside_commits() {
	local disk=${VHD_TEST_SMALL:-/dev/vdb} writer i timeout
	[ -w /sys/power/pm_test ] && grep -q freeze /sys/power/state || skip 'this kernel cannot rehearse a suspend'
	requires_dm delay
	small_fs ext4 90
	umount $SMALL
	dmsetup create --noudevsync vhdtest --table "0 $(blockdev --getsz "$disk") linear $disk 0"
	dmsetup mknodes vhdtest
	mount /dev/mapper/vhdtest $SMALL
	create --size 60M $SMALL/base.vhd
	create --type diff --parent $SMALL/base.vhd $SMALL/a.vhd
	attach $SMALL/a.vhd
	timeout=$(cat /sys/power/pm_freeze_timeout)
	cleanup_fn eval "echo none > /sys/power/pm_test; echo $timeout > /sys/power/pm_freeze_timeout"
	echo 5000 > /sys/power/pm_freeze_timeout
	echo 0 > /sys/module/suspend/parameters/pm_test_delay
	echo freezer > /sys/power/pm_test
	delay_writes 200
	# Each of these sets a bit, and none is flushed: only the driver asks for commits
	vhdio write "$DEV" 1 0 $((800 * 16)) -b 8 -p 16 -t 4 -r -d &
	writer=$!
	for i in 1 2 3; do
		sleep 0.7
		echo freeze > /sys/power/state || fail "suspend $i was refused"
	done
	kill -0 $writer || fail 'all was written before'
	delay_writes 0
	wait $writer
	vhdio verify "$DEV" 1 0 $((800 * 16)) -b 8 -p 16 -d
	detach
	sound $SMALL/a.vhd
}

run_cases "$@"
