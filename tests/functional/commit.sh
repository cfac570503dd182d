#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Live commit: a device's image merged into its parent while it is in use.
. "${0%/*}/../lib.sh"
. "$TESTS/cuts.sh"

attr() { cat "/sys/block/${DEV#/dev/}/vhd/$1"; }

# base.vhd has seed 1 all over; kid.vhd on top, attached, has seed 2 in odd places
two() { # [CREATE-OPTION]... for the base
	create --size 48M "$@" base.vhd
	attach base.vhd
	vhdio write "$DEV" 1 0 98304 -b 256
	detach
	create --type diff --parent base.vhd kid.vhd
	attach kid.vhd
	vhdio write "$DEV" 2 1001 60000 -b 3 -p 77 -t 4 -d
}
verify_two() { # FILE
	vhdio verify "$1" 2 1001 60000 -b 3 -p 77
	vhdio verify "$1" 1 1004 60000 -b 74 -p 77
	vhdio verify "$1" 1 61100 37000 -b 100
}

# Ends in base.vhd alone
committed() {
	[ "$(attr depth) $(attr backing_file) $(attr state)" = "1 $PWD/base.vhd live" ] || fail "$(attr depth) $(attr backing_file) $(attr state)"
	[ "$(attr merge_total) $(attr merge_left)" = '0 0' ] || fail 'still merging'
}

t_quiet() {
	uml_is_enough
	two
	vhdctl commit "$DEV" | grep -E '^vhd[0-9]+: writes waited [0-9.]+ ms$'
	committed
	[ ! -e kid.vhd ] || fail 'kid.vhd is still there'
	verify_two "$DEV"
	vhdio write "$DEV" 3 98100 200 -b 16 -d
	detach
	sound base.vhd
	vhdread raw base.vhd base.raw
	verify_two base.raw
	vhdio verify base.raw 3 98100 200
}

# Parents of all kinds, blocks of different sizes
t_kinds() {
	local kind
	uml_is_enough
	for kind in '--type fixed' '--block-size 512K' '--block-size 2M --direct-io=off'; do
		# shellcheck disable=SC2086
		case $kind in *direct*) two ;; *) two $kind ;; esac
		if [[ $kind == *direct* ]]; then
			detach
			attach --direct-io=off kid.vhd
		fi
		vhdctl commit "$DEV"
		committed
		verify_two "$DEV"
		detach
		sound base.vhd
		vhdread raw base.vhd base.raw
		verify_two base.raw
		rm base.*
	done
}

# Into an image that has a parent itself, twice; zeros hide what lies deeper
t_down_the_chain() {
	uml_is_enough
	two
	vhdctl snapshot "$DEV" top.vhd
	vhdio write "$DEV" 3 70000 1000 -b 8
	blkdiscard -z -o 4194304 -l 3145728 "$DEV"
	blkdiscard -o 2621440 -l 65536 "$DEV"
	cat "$DEV" > model
	vhdctl commit "$DEV"
	[ "$(attr depth) $(attr backing_file)" = "2 $PWD/kid.vhd" ] || fail "$(attr depth) $(attr backing_file)"
	[ ! -e top.vhd ]
	cmp "$DEV" model
	vhdio verify "$DEV" 0 8192 6144
	vhdio write "$DEV" 4 80000 100
	vhdio write model 4 80000 100
	vhdctl commit --into base.vhd "$DEV"
	committed
	cmp "$DEV" model
	detach
	sound base.vhd
	same_to_qemu base.vhd model
}

# A call that is made twice by mistake does not go one image further down
t_again() {
	uml_is_enough
	local depth
	create --size 8M base.vhd
	create --type diff --parent base.vhd kid.vhd
	attach kid.vhd
	vhdctl snapshot "$DEV" top.vhd
	vhdio write "$DEV" 2 100 1000 -b 8
	expect_fail 4 'not the parent' vhdctl commit --into base.vhd "$DEV"
	vhdctl commit "$DEV"
	[ "$(attr depth) $(attr merges)" = '2 1' ] || fail "$(attr depth) $(attr merges)"
	expect_fail 4 'already.*--into ".*base.vhd"' vhdctl commit "$DEV"
	[ "$(attr depth)" = 2 ]
	vhdctl commit --into kid.vhd "$DEV" 2>&1 | grep 'nothing to do'
	[ "$(attr depth)" = 2 ]
	vhdctl commit --into base.vhd "$DEV"
	vhdctl commit --into base.vhd "$DEV" 2>&1 | grep 'nothing to do'
	committed
	# What is on top of it now is another one
	vhdctl snapshot "$DEV" kid.vhd
	[ "$(attr merges)" = 0 ]
	vhdctl commit "$DEV"
	committed
	vhdio verify "$DEV" 2 100 1000
	detach
	sound base.vhd
}

# Zeros that the parent shows anyway are not written into it
t_zeros() {
	uml_is_enough
	create --size 64M base.vhd
	create --type diff --parent base.vhd kid.vhd
	attach kid.vhd
	dd if=/dev/zero of="$DEV" bs=1M count=32 oflag=direct status=none
	vhdio write "$DEV" 2 100000 100 -f
	vhdctl commit "$DEV"
	[ "$(attr allocated)" = 1 ] || fail "$(attr allocated) blocks"
	detach
	sound base.vhd
}

# Writers, readers, discards and flushes while it goes on
t_busy() {
	local pids=() pid pause i
	uml_is_enough
	two
	for i in 0 1 2 3; do
		(for n in {1..8}; do vhdio write "$DEV" $((10 * n + i)) $((4000 + i * 6000)) 6000 -b 8 -t 4 -r -d -f; done) & pids+=($!)
	done
	(while [ ! -e stop ]; do vhdio verify "$DEV" 1 61100 27000 -b 100; done) & reader=$!
	(while [ ! -e stop ]; do blkdiscard -z -o $((90000 * 512)) -l $((2000 * 512)) "$DEV"; blkdiscard -o $((93000 * 512)) -l $((2000 * 512)) "$DEV"; done) & zeros=$!
	pause=$(vhdctl commit "$DEV")
	note "$pause"
	committed
	for pid in "${pids[@]}"; do wait "$pid"; done
	touch stop
	wait $reader $zeros
	for i in 0 1 2 3; do vhdio verify "$DEV" $((80 + i)) $((4000 + i * 6000)) 6000; done
	vhdio verify "$DEV" 2 1001 2900 -b 3 -p 77
	vhdio verify "$DEV" 1 1004 2900 -b 74 -p 77
	vhdio verify "$DEV" 0 90000 2000
	cat "$DEV" > model
	detach
	sound base.vhd
	same_to_qemu base.vhd model
}

# fio verifies what it wrote, with all that it does at a time
t_fio() {
	local fio
	uml_is_enough
	requires fio
	two
	fio --name=busy --filename="$DEV" --direct=1 --ioengine=libaio --iodepth=32 --rw=randwrite --bssplit=512/10:4k/60:64k/30 --size=40m --io_size=120m \
		--verify=crc32c --verify_fatal=1 --verify_backlog=512 --randrepeat=0 --fsync=200 --thread --output=fio.out & fio=$!
	sleep 0.3
	vhdctl commit "$DEV"
	committed
	wait $fio || fail "$(grep -E 'verify|err=' fio.out | head -n 3)"
	cat "$DEV" > model
	detach
	sound base.vhd
	same_to_qemu base.vhd model
}

# What both files hold at any moment, put together, is what the device shows
chain_holds() {
	local copy=$W/copy
	mkdir -p "$copy"
	cp --sparse=always kid.vhd base.vhd "$copy/"
	vhdread raw "$copy/kid.vhd" "$copy/raw"
	verify_two "$copy/raw"
	vhdread check "$copy/kid.vhd"
	vhdread check "$copy/base.vhd"
}

# Interrupted early and late; the chain is whole each time; at last it comes through
t_cancel() {
	local s rc commit cancelled=0
	uml_is_enough
	two
	sync
	for s in 0 0.05 0.12 0.25; do
		vhdctl commit "$DEV" 2>err & commit=$!
		while [ "$(attr state)" = live ] && kill -0 $commit 2>/dev/null; do :; done
		sleep $s
		kill -TERM $commit 2>/dev/null || true
		rc=0
		wait $commit || rc=$?
		[ -e kid.vhd ] || break
		[ $rc != 0 ] || fail "status 0, and the image is there still: $(cat err)"
		cancelled=$((cancelled + 1))
		[ "$(attr depth) $(attr state)" = '2 live' ] || fail "$(attr depth) $(attr state)"
		sync
		chain_holds
		verify_two "$DEV"
	done
	note "cancelled $cancelled times"
	[ $cancelled -gt 0 ] || fail 'it was never in time'
	[ ! -e kid.vhd ] || vhdctl commit "$DEV"
	committed
	verify_two "$DEV"
	detach
	sound base.vhd
	vhdread raw base.vhd base.raw
	verify_two base.raw
}

# Killed, and what is there then detached and attached again
t_kill() {
	local s
	uml_is_enough
	two
	for s in 0.03 0.08 0.15; do
		timeout -s KILL $s vhdctl commit "$DEV" || true
		[ "$(attr depth)" = 2 ] || break
		for ((i = 0; i < 100; i++)); do [ "$(attr state)" = merging ] || break; sleep 0.05; done
		verify_two "$DEV"
		detach_soon
		sound kid.vhd
		sound base.vhd
		attach kid.vhd
		verify_two "$DEV"
	done
	[ "$(attr depth)" = 1 ] || vhdctl commit "$DEV"
	committed
	verify_two "$DEV"
	detach
	sound base.vhd
}

# A parent that cannot grow: the device goes on in its image; with space it works
t_enospc() {
	uml_is_enough
	small_fs ext4 40
	create --size 48M $SMALL/base.vhd
	create --type diff --parent $SMALL/base.vhd kid.vhd
	attach kid.vhd
	vhdio write "$DEV" 2 0 90000 -b 128
	fallocate -l $(($(stat -f -c '%a * %S' $SMALL) - 9 * MIB)) $SMALL/filler
	expect_fail 3 'no space' vhdctl commit "$DEV"
	[ "$(attr depth) $(attr state)" = '2 live' ] || fail "$(attr depth) $(attr state)"
	vhdio verify "$DEV" 2 0 90000
	vhdio write "$DEV" 3 100 100 -f
	vhdread check $SMALL/base.vhd
	rm $SMALL/filler
	vhdio write "$DEV" 3 100 100 -f
	detach
	sound $SMALL/base.vhd
	# Most of it does not fit at all; less does
	attach kid.vhd
	expect_fail 3 'no space' vhdctl commit "$DEV"
	vhdio verify "$DEV" 3 100 100
	vhdio verify "$DEV" 2 200 89000
	detach
	mv $SMALL/base.vhd .
	attach --parent base.vhd kid.vhd
	vhdctl commit "$DEV"
	committed
	vhdio verify "$DEV" 3 100 100
	vhdio verify "$DEV" 2 200 89000
	detach
	sound base.vhd
}

# A parent that cannot be written for a while
t_eio() {
	uml_is_enough
	local disk=${VHD_TEST_SMALL:-/dev/vdb} sectors
	requires_dm flakey
	[ -b "$disk" ] || skip "no small disk $disk"
	sectors=$(($(device_bytes "$disk") / 512)) disk=$(realpath "$disk")
	dmsetup create --noudevsync vhdtest --table "0 $sectors linear $disk 0"
	dmsetup mknodes vhdtest
	small_fs ext4-nojournal 90 /dev/mapper/vhdtest
	two
	detach
	mv base.vhd $SMALL/
	sync -f $SMALL
	attach --parent $SMALL/base.vhd kid.vhd
	writes "flakey $disk 0 0 1000 1 error_writes"
	expect_fail 4 'i/o error|input/output' vhdctl commit "$DEV"
	[ "$(attr depth) $(attr state)" = '2 live' ] || fail "$(attr depth) $(attr state)"
	verify_two "$DEV"
	vhdio write "$DEV" 3 98100 100 -f
	writes "linear $disk 0"
	detach
	attach --parent $SMALL/base.vhd kid.vhd
	verify_two "$DEV"
	vhdctl commit "$DEV"
	[ "$(attr depth)" = 1 ]
	verify_two "$DEV"
	vhdio verify "$DEV" 3 98100 100
	detach
	sound $SMALL/base.vhd
}
writes() { # TARGET
	dmsetup suspend --noudevsync --nolockfs --noflush vhdtest
	dmsetup load vhdtest --table "0 $sectors $1"
	dmsetup resume --noudevsync vhdtest
}

# An image that was merged is nobody's child any more, if it is kept
t_kept() {
	uml_is_enough
	two
	vhdctl commit --keep "$DEV"
	committed
	vhdio write "$DEV" 5 0 10
	detach
	[ -e kid.vhd ]
	expect_fail 4 'merged' vhdctl attach kid.vhd
	expect_fail 4 'merged' vhdctl commit kid.vhd
	sound base.vhd
	attach --ignore-parent-id -r kid.vhd
	vhdio verify "$DEV" 2 1001 60000 -b 3 -p 77
	detach
}

t_refused() {
	local other
	uml_is_enough
	create --size 8M base.vhd
	attach base.vhd
	expect_fail 4 'no parent' vhdctl commit "$DEV"
	detach
	create --type diff --parent base.vhd kid.vhd
	create --type diff --parent base.vhd other.vhd
	attach kid.vhd
	expect_fail 5 'other.vhd.*depend' vhdctl commit "$DEV"
	expect_fail 1 'depth' vhdctl commit --depth 2 "$DEV"
	expect_fail 4 'x.vhd: is not the parent' vhdctl commit --into x.vhd "$DEV"
	other=$DEV
	attach other.vhd
	expect_fail 5 'in use' vhdctl commit --force "$DEV"
	detach "$DEV"
	DEV=$other
	rm other.vhd
	vhdio write "$DEV" 2 0 100
	exec 5<base.vhd
	detach
	attach -r kid.vhd
	expect_fail 4 'read-only' vhdctl commit "$DEV"
	detach
	attach kid.vhd
	vhdctl commit "$DEV"
	vhdio verify "$DEV" 2 0 100
	! qemu-io -f raw -c 'write 0 512' base.vhd >/dev/null 2>&1 || fail 'qemu writes to it'
	vhdctl snapshot "$DEV" next.vhd
	vhdctl commit "$DEV"
	detach
	sound base.vhd
}

# While it goes on, nothing else that changes the device. The parent's file system
# is frozen: so the merge waits as long as we look
t_alone() {
	local commit i
	uml_is_enough
	small_fs ext4 90
	two
	detach
	mv base.vhd $SMALL/
	attach --parent $SMALL/base.vhd kid.vhd
	vhdio write "$DEV" 4 0 90000 -b 256
	cleanup_fn eval "fsfreeze -u $SMALL 2>/dev/null || true"
	vhdctl commit "$DEV" & commit=$!
	for ((i = 0; i < 1000; i++)); do [ "$(attr state)" != merging ] || break; sleep 0.01; done
	fsfreeze -f $SMALL
	[ "$(attr state)" = merging ] || fail 'it was too fast'
	expect_fail 5 'commit is under way' vhdctl detach "$DEV"
	for i in --direct-io=off --read-only --autoclear=on --reread; do expect_fail 5 'commit is under way' vhdctl set $i "$DEV"; done
	expect_fail 5 'commit is under way' vhdctl snapshot "$DEV" x.vhd
	[ ! -e x.vhd ] || fail 'x.vhd was left behind'
	expect_fail 5 'commit is under way' vhdctl resize "$DEV" 64M
	expect_fail 5 'being merged already' vhdctl commit "$DEV"
	chains commit -e 114 "$DEV" $SMALL/base.vhd
	[ "$(attr state)" = merging ] || fail 'it did not wait'
	# Reads, and writes elsewhere, do not wait for it
	vhdio verify "$DEV" 4 0 1000
	vhdio write "$DEV" 5 98000 100
	fsfreeze -u $SMALL
	wait $commit
	[ "$(attr depth) $(attr state)" = '1 live' ] || fail "$(attr depth) $(attr state)"
	vhdio verify "$DEV" 4 0 90000 -b 256
	vhdio verify "$DEV" 5 98000 100
	detach
	sound $SMALL/base.vhd
}

# Power cuts while images are snapshot and merged under a writer: the disk below
# as it is at a moment, mounted elsewhere, shows all that was flushed before.
# VHD_TEST_ROUNDS: how many; from three on each cuts in both
t_power_cuts() {
	local rounds=${VHD_TEST_ROUNDS:-2} round i
	uml_is_enough
	cut_fs 60
	cd $SMALL
	create --size 16M base.vhd
	attach base.vhd
	vhdio write "$DEV" 1 0 32768 -b 256 -f
	writer_begin "$DEV" 20000 1200 -b 16
	for ((round = 1; round <= rounds; round++)); do
		STAMP=$((1000 + round))
		arm
		vhdctl snapshot "$DEV" kid.vhd >&2 & i=$!
		[ $((round % 2)) = 0 ] && [ "$rounds" -le 2 ] || { power_cut $((STAMP - 1)); arm; }
		wait $i
		vhdio write "$DEV" $STAMP 100 12000 -b 8 -t 4 -d -f
		# The same as before, but now it has to be merged
		vhdio write "$DEV" 1 12100 7900 -b 100 -d
		vhdio write "$DEV" 1 21200 11500 -b 100 -d
		vhdctl commit "$DEV" >&2 & i=$!
		wait_merging $i
		sleep "0.0$((round % 4))"
		power_cut $STAMP
		wait $i
	done
	writer_end
	echo "power cuts: $CUTS, $CUT_IN_KID of them found the child, $CUT_MERGING while it was being merged" >&3
	cd "$W"
	detach_soon
	sound $SMALL/base.vhd
}
CUTS=0 CUT_IN_KID=0 CUT_MERGING=0

wait_merging() { # PID of the commit, which may be too fast
	while kill -0 "$1" 2>/dev/null && [ "$(attr state)" != merging ]; do :; done
}

at_cut() { [ "$(attr state)" != merging ] || CUT_MERGING=$((CUT_MERGING + 1)); }

power_cut() { # STAMP that the region written before has
	local dev image
	cut
	image=$W/cut/kid.vhd
	dev=$(vhdctl attach "$image" 2>/dev/null) || { image=$W/cut/base.vhd; dev=$(vhdctl attach "$image"); }
	[[ $image != *kid* ]] || CUT_IN_KID=$((CUT_IN_KID + 1))
	CUTS=$((CUTS + 1))
	[ "$1" = 1000 ] || vhdio verify "$dev" "$1" 100 12000 -b 100
	vhdio verify "$dev" 1 12100 7900 -b 100
	vhdio verify "$dev" 1 21200 11500 -b 100
	written "$dev"
	vhdctl detach --wait=10 "$dev"
	vhdctl check --chain "$image" >&2 || [ $? = 3 ] || fail "$image after a power cut"
	uncut
}

# Users of a device hardly notice a snapshot, nor the end of a commit: fio waits
# for neither, and tells the longest it waited
t_pauses() {
	local fio i line us=()
	! is_uml || skip 'is measured where there are two processors'
	requires fio
	create --size 48M 0.vhd
	attach 0.vhd
	fio --name=busy --filename="$DEV" --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw --bs=4k --size=48m --time_based --runtime=60 --randrepeat=0 \
		--thread --output=fio.out & fio=$!
	sleep 0.5
	for i in 1 2 3 4 5; do
		line=$(vhdctl snapshot "$DEV" $i.vhd)
		note "$line"
		us+=($((10#$(sed -E 's/.* waited ([0-9]+)\.([0-9]{3}) ms/\1\2/' <<<"$line"))))
	done
	mapfile -t us < <(printf '%s\n' "${us[@]}" | sort -n)
	line=$(vhdctl commit "$DEV")
	note "$line"
	kill -TERM $fio
	wait $fio || true
	! grep -E 'err=[ ]*[1-9]' fio.out || fail 'fio reports an error'
	echo "snapshots: ${us[*]} us; commit: $line" >&3
	# Of a machine that does other things, too, one may be unlucky
	[ "${us[2]}" -lt 100000 ] || fail "snapshots took ${us[*]} us"
	detach_soon
	[ -z "$(vhdctl check --chain 4.vhd 2>&1 >/dev/null)" ] || fail "$(vhdctl check --chain 4.vhd 2>&1)"
}

run_cases "$@"
