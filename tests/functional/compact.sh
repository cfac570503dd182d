#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Compacting a device in use: the file is as small as what it holds, the disk
# shows the same at every moment, and whatever ends it, the image is sound.
. "${0%/*}/../lib.sh"
. "$TESTS/cuts.sh"

attr() { cat "/sys/block/${DEV##*/}/vhd/$1"; }
compact() { vhdctl compact -q "$@" "$DEV"; }
file_bytes() { stat -c %s "$1"; }

# Of 512 KiB blocks, block N (0, ...) has sectors N * BLK and so on
BLK=1024
# discard BLOCK...
discard() { local b; for b; do blkdiscard -o $((b * BLK * 512)) -l $((BLK * 512)) "$DEV"; done; }
# zero BLOCK...: by writing zeros, as a file system that knows of no discard leaves them
zero() { local b; for b; do dd if=/dev/zero of="$DEV" bs=$((BLK * 512)) seek="$b" count=1 conv=notrunc oflag=direct status=none; done; }

# aged: a.vhd, 32 MiB, attached, all 64 blocks written with seed 7; every third is
# discarded, in a disorder that leaves gaps all over; of those left, 1, 4 and 62
# are zeros. What it shows is in model.
aged() { # [ATTACH-OPTION]...
	create --block-size 512K --size 32M a.vhd
	attach "$@" a.vhd
	vhdio write "$DEV" 7 0 $((64 * BLK)) -b 512 -d
	sync "$DEV"
	# shellcheck disable=SC2046
	discard $(for ((b = 0; b < 64; b += 3)); do echo $((b * 29 % 66)); done | awk '$1 < 64')
	zero 1 4 62
	cat "$DEV" > model
}

# What the file must have with so many blocks: smallest NR
smallest() {
	echo $((FIRST + $1 * (BLK * 512 + 4096) + 512))
}
# The file's size with one block says where blocks begin
first() {
	create --block-size 512K --size 32M first.vhd
	DEV=$(vhdctl attach first.vhd)
	vhdio write "$DEV" 1 0 1 -f
	detach
	FIRST=$(($(file_bytes first.vhd) - BLK * 512 - 4096 - 512))
}
is_smallest() { # FILE BLOCKS
	[ "$(file_bytes "$1")" = "$(smallest "$2")" ] || fail "$1 has $(file_bytes "$1") bytes, expected $(smallest "$2") of $2 blocks"
}

# What is in the file now shows the model
copy_shows() { # FILE MODEL
	cp --sparse=always "$1" copy.vhd
	vhdctl check copy.vhd >/dev/null || [ $? = 3 ] || fail "a copy: $(vhdctl check copy.vhd)"
	vhdread raw copy.vhd copy.raw
	cmp copy.raw "$2" || fail "a copy of $1 shows something else"
	rm copy.vhd copy.raw
}

wait_state() { # STATE
	local i
	for ((i = 0; i < 2000; i++)); do [ "$(attr state)" != "$1" ] || return 0; sleep 0.01; done
	fail "state $(attr state), expected $1"
}
wait_moved() { # MORE-THAN
	local i
	for ((i = 0; i < 3000; i++)); do [ "$(attr moves)" -le "$1" ] || return 0; sleep 0.01; done
	fail "$(attr moves) blocks were moved, expected more than $1"
}

t_aged() {
	uml_is_enough
	local left
	first
	aged
	left=$(attr allocated)
	compact
	[ "$(attr allocated)" = "$left" ] || fail "$(attr allocated) blocks, had $left: zeros were read"
	is_smallest a.vhd "$left"
	[ "$(attr moves)" -gt 5 ] || fail "$(attr moves) blocks were moved"
	cmp "$DEV" model
	copy_shows a.vhd model
	compact --zero
	[ "$(attr allocated)" = $((left - 3)) ] || fail "$(attr allocated) blocks, expected $((left - 3))"
	is_smallest a.vhd $((left - 3))
	cmp "$DEV" model
	[ "$(attr state) $(attr compact_total) $(attr compact_left)" = 'live 0 0' ] || fail "$(attr state) $(attr compact_total) $(attr compact_left)"
	# Nothing to do is done at once
	compact --zero
	is_smallest a.vhd $((left - 3))
	# Slots are where they can be had again
	vhdio write "$DEV" 8 0 $((64 * BLK)) -b 512 -d -f
	vhdio verify "$DEV" 8 0 $((64 * BLK)) -b 512
	detach
	sound a.vhd
	attach a.vhd
	vhdio verify "$DEV" 8 0 $((64 * BLK)) -b 512
	detach
}

# Gaps that were there when it was attached; buffered; where nothing can be punched
t_gaps() {
	local left
	uml_is_enough
	first
	aged
	left=$(attr allocated)
	detach
	attach --direct-io=off --discard=off a.vhd
	compact
	is_smallest a.vhd "$left"
	cmp "$DEV" model
	compact --zero
	is_smallest a.vhd $((left - 3))
	detach
	sound a.vhd
	same_content a.vhd model
	small_fs tmpfs 80
	cp --sparse=always first.vhd $SMALL/b.vhd
	attach $SMALL/b.vhd
	vhdio write "$DEV" 7 0 $((64 * BLK)) -b 512
	discard 3 5 8
	compact
	is_smallest $SMALL/b.vhd 61
	detach
	sound $SMALL/b.vhd
}

# Of other programs: blocks unaligned and in disorder, bits clear over rubbish
t_foreign() {
	local bits
	uml_is_enough
	for bits in half none; do
		vhdmake dynamic f.vhd $((24 * MIB)) blocks=9,3,0,7,11,1 bits=$bits raw=f.raw
		attach f.vhd
		discard $((4 * 3)) $((4 * 3 + 1)) $((4 * 3 + 2)) $((4 * 3 + 3))
		dd if=/dev/zero of=f.raw bs=1M seek=6 count=2 conv=notrunc status=none
		blkdiscard -o 0 -l $((2 * MIB)) "$DEV"
		dd if=/dev/zero of=f.raw bs=1M seek=0 count=2 conv=notrunc status=none
		vhdio write "$DEV" 5 $((11 * 4096 + 100)) 30 -d
		vhdio write f.raw 5 $((11 * 4096 + 100)) 30
		compact --zero
		[ $bits != none ] || [ "$(attr allocated)" = 1 ] || fail "$(attr allocated) blocks"
		cmp "$DEV" f.raw
		detach
		sound f.vhd
		same_content f.vhd f.raw
	done
}

# Files are made and removed, with and without trim, while it is mounted
t_mounted() {
	uml_is_enough
	local i
	first
	create --block-size 512K --size 64M a.vhd
	attach a.vhd
	make_fs ext4 "$DEV"
	mount "$DEV" mnt
	for i in {1..16}; do dd if=/dev/urandom of=mnt/$i bs=1M count=2 status=none; done
	sync -f mnt
	rm mnt/{2..16..2}
	dd if=/dev/urandom of=mnt/new bs=1M count=5 status=none
	sync -f mnt
	fstrim mnt
	md5sum mnt/[0-9]* mnt/new > sums
	compact
	i=$(attr allocated)
	[ "$(attr file_size)" = "$(smallest "$i")" ] || note "$(attr file_size) bytes, $i blocks"
	md5sum -c --quiet sums
	# Without trim: zeros in what is free
	rm mnt/{1..13..4}
	grep -vE 'mnt/(1|5|9|13)$' sums > left
	dd if=/dev/zero of=mnt/zero bs=1M status=none 2>/dev/null || true
	sync -f mnt
	rm mnt/zero
	sync -f mnt
	compact --zero
	[ "$(attr allocated)" -lt "$i" ] || fail "$(attr allocated) blocks, had $i"
	md5sum -c --quiet left
	umount mnt
	compact --zero
	cat "$DEV" > model
	i=$(attr allocated)
	detach_soon
	[ "$(file_bytes a.vhd)" -le $(($(smallest "$i") + 4096)) ] || fail "$(file_bytes a.vhd) bytes for $i blocks"
	sound a.vhd
	same_content a.vhd model
}

# fio verifies what it wrote; the file gets to its smallest meanwhile
t_fio() {
	local fio left
	requires fio
	first
	aged
	# What fio writes to has its blocks and keeps them
	vhdio write "$DEV" 9 $((20 * BLK)) $((44 * BLK)) -b 512 -d
	discard 0 3 6 9 12 15 18
	vhdio write "$DEV" 9 0 $BLK -f
	left=$(attr allocated)
	fio --name=busy --filename="$DEV" --offset=10m --size=22m --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw --bssplit=512/10:4k/60:64k/30 --time_based --runtime=120 \
		--verify=crc32c --verify_fatal=1 --verify_backlog=256 --randrepeat=0 --fsync=200 --thread --output=fio.out & fio=$!
	sleep 0.5
	compact
	is_smallest a.vhd "$left"
	note "$(attr moves) moves"
	# And again, with gaps that come while it goes on
	discard 1 4 7 10 13
	compact
	left=$(attr allocated)
	is_smallest a.vhd "$left"
	kill -0 $fio || fail 'fio was too fast'
	kill -TERM $fio
	wait $fio || true
	! grep -E 'verify:|err=[ ]*[1-9]' fio.out || fail "$(head -n 5 fio.out)"
	vhdio verify "$DEV" 9 0 $BLK
	cat "$DEV" > model
	detach_soon
	sound a.vhd
	same_content a.vhd model
}

# Writers, readers, discards, flushes, all over, while it goes round
t_busy() {
	local pids=() i n=0
	uml_is_enough
	aged
	for i in 0 1 2 3; do
		(for ((k = 1; k <= ${ROUNDS:-3}; k++)); do vhdio write "$DEV" $((10 * k + i)) $((i * 8 * BLK)) $((7 * BLK + 300)) -b 16 -t 4 -r -d -f; done) & pids+=($!)
	done
	(while [ ! -e stop ]; do discard 40 41 42 45 50; vhdio write "$DEV" 77 $((40 * BLK)) $((12 * BLK)) -b 64 -d; zero 44 45; done) & pids+=($!)
	(while [ ! -e stop ]; do blkdiscard -f -z -o $((56 * BLK * 512)) -l $((3 * BLK * 512)) "$DEV"; blkdiscard -f -o $((53 * BLK * 512 + 4096)) -l $((4 * BLK * 512)) "$DEV"; done) & pids+=($!)
	(while [ ! -e stop ]; do cat "$DEV" > /dev/null; done) & pids+=($!)
	while kill -0 "${pids[0]}" 2>/dev/null; do
		compact $([ $((n % 2)) = 0 ] || echo --zero)
		n=$((n + 1))
	done
	touch stop
	wait "${pids[@]}"
	note "$n runs, $(attr moves) moves, $(attr unmaps) unmaps"
	for i in 0 1 2 3; do vhdio verify "$DEV" $((10 * ${ROUNDS:-3} + i)) $((i * 8 * BLK)) $((7 * BLK + 300)) -b 16; done
	cat "$DEV" > model
	compact --zero
	cmp "$DEV" model
	detach_soon
	sound a.vhd
	same_content a.vhd model
}

# In a differencing image nothing goes that would let the parent show
t_differencing() {
	uml_is_enough
	create --size 16M --block-size 512K base.vhd
	attach base.vhd
	vhdio write "$DEV" 1 0 32768 -b 256
	detach
	create --type diff --parent base.vhd kid.vhd
	attach kid.vhd
	vhdio write "$DEV" 2 0 4096 -b 8 -p 16
	dd if=/dev/zero of="$DEV" bs=512K seek=9 count=4 oflag=direct status=none
	blkdiscard -o 0 -l $MIB "$DEV"
	blkdiscard -z -o $((14 * 524288)) -l $MIB "$DEV"
	cat "$DEV" > model
	compact --zero
	cmp "$DEV" model
	vhdio verify "$DEV" 0 $((9 * BLK)) $((4 * BLK)) -b 256
	detach
	sound kid.vhd
	vhdread raw kid.vhd kid.raw
	cmp kid.raw model
	rm kid.vhd
	# Blocks of which it has nothing are worth nothing, half of one is; gaps are filled
	vhdmake diff kid.vhd $((16 * MIB)) parent=base.vhd block=524288 blocks=5,1,9 bits=none w2ru=base.vhd
	attach kid.vhd
	vhdio write "$DEV" 3 $((20 * BLK)) 30 -d
	cat "$DEV" > model
	compact
	[ "$(attr allocated)" = 1 ] || fail "$(attr allocated) blocks"
	[ "$(attr moves)" = 1 ] || fail "$(attr moves) moves"
	cmp "$DEV" model
	vhdio write "$DEV" 4 $((20 * BLK + 10)) 30 -d -f
	vhdio verify "$DEV" 3 $((20 * BLK)) 10
	vhdio verify "$DEV" 4 $((20 * BLK + 10)) 30
	vhdio verify "$DEV" 1 $((20 * BLK + 40)) 900
	cat "$DEV" > model
	detach
	sound kid.vhd
	vhdread raw kid.vhd kid.raw
	cmp kid.raw model
}

# Slow, so that it is under way as long as we look
t_cancel() {
	local pid rc sig
	uml_is_enough
	first
	aged
	compact --rate 1G
	discard 2 5 8 11 14 17 20 23 26
	cat "$DEV" > model
	for sig in INT TERM KILL; do
		rc=$(attr moves)
		vhdctl compact --rate 2M "$DEV" 2>err & pid=$!
		wait_moved "$rc"
		[ "$(attr state)" = compacting ] || fail "state $(attr state)"
		[ "$(attr compact_total)" -ge "$(attr compact_left)" ] || fail "$(attr compact_total) $(attr compact_left)"
		kill -$sig $pid
		rc=0
		wait $pid || rc=$?
		if [ $sig = KILL ]; then
			wait_state live
		else
			[ $rc = 130 ] || [ $rc = 143 ] || fail "status $rc: $(cat err)"
			grep -q interrupted err
		fi
		[ "$(attr state)" = live ] || fail "$(attr state)"
		cmp "$DEV" model
		sync "$DEV"
		copy_shows a.vhd model
	done
	compact
	is_smallest a.vhd "$(attr allocated)"
	cmp "$DEV" model
	detach
	sound a.vhd
	same_content a.vhd model
}

# Nothing else that changes the device meanwhile; requests go on; the rate is kept
t_alone() {
	local pid begun
	uml_is_enough
	aged
	begun=$(date +%s%N)
	vhdctl compact --rate 2M "$DEV" & pid=$!
	wait_moved 0
	expect_fail 5 'compaction' vhdctl detach "$DEV"
	expect_fail 5 'compaction' vhdctl set --direct-io=off "$DEV"
	expect_fail 5 'compaction' vhdctl resize "$DEV" 64M
	expect_fail 5 'compaction' vhdctl snapshot "$DEV" x.vhd
	[ ! -e x.vhd ] || fail 'x.vhd was left behind'
	expect_fail 5 'compacted already' vhdctl compact "$DEV"
	[ "$(attr state)" = compacting ] || fail 'it did not wait'
	vhdio verify "$DEV" 7 $((5 * BLK)) $BLK
	vhdio write "$DEV" 8 0 $((3 * BLK)) -b 64 -d -f
	vhdio verify "$DEV" 8 0 $((3 * BLK)) -b 64
	wait $pid
	# Each block is read and written, and the last waits for its time, too
	begun=$((($(date +%s%N) - begun) / 1000000))
	note "$(attr moves) moves, $begun ms"
	[ "$begun" -ge $(($(attr moves) * 500 * 9 / 10)) ] || fail "$(attr moves) moves of 512 KiB in $begun ms"
	detach
	sound a.vhd
}

t_enospc() {
	local i
	uml_is_enough
	small_fs ext4 48
	create --block-size 512K --size 32M $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio write "$DEV" 7 0 $((64 * BLK)) -b 512 -d -f
	discard {0..24..2}
	sync "$DEV"
	for ((i = 0; i < 1000; i++)); do [ "$(stat -c %b $SMALL/a.vhd)" -gt $((52 * 1024)) ] || break; sleep 0.01; done
	cat "$DEV" > model
	dd if=/dev/zero of=$SMALL/fill bs=64k status=none 2>/dev/null || true
	sync -f $SMALL
	expect_fail 3 'no space' vhdctl compact "$DEV"
	[ "$(attr state)" = live ] || fail "$(attr state)"
	cmp "$DEV" model
	vhdio write "$DEV" 7 $((30 * BLK)) 100 -d -f
	copy_shows $SMALL/a.vhd model
	rm $SMALL/fill
	sync -f $SMALL
	compact
	cmp "$DEV" model
	detach
	sound $SMALL/a.vhd
	copy_shows $SMALL/a.vhd model
}

# A file that cannot be written for a while
t_eio() {
	uml_is_enough
	local disk=${VHD_TEST_SMALL:-/dev/vdb} sectors
	requires_dm flakey
	[ -b "$disk" ] || skip "no small disk $disk"
	sectors=$(($(device_bytes "$disk") / 512)) disk=$(realpath "$disk")
	dmsetup create --noudevsync vhdtest --table "0 $sectors linear $disk 0"
	dmsetup mknodes vhdtest
	small_fs ext4-nojournal 60 /dev/mapper/vhdtest
	create --block-size 512K --size 32M $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio write "$DEV" 7 0 $((64 * BLK)) -b 512 -d -f
	discard 0 3 9 12
	cat "$DEV" > model
	sync "$DEV"
	sync -f $SMALL
	writes "flakey $disk 0 0 1000 1 error_writes"
	expect_fail 4 'i/o error|input/output' vhdctl compact "$DEV"
	cmp "$DEV" model
	writes "linear $disk 0"
	# What failed may have been a flush: then it is to be attached anew
	[ "$(attr state)" = live ] || { vhdctl detach "$DEV" || true; attach $SMALL/a.vhd; }
	cmp "$DEV" model
	compact
	cmp "$DEV" model
	detach
	sound $SMALL/a.vhd
	copy_shows $SMALL/a.vhd model
}
writes() { # TARGET
	dmsetup suspend --noudevsync --nolockfs --noflush vhdtest
	dmsetup load vhdtest --table "0 $sectors $1"
	dmsetup resume --noudevsync vhdtest
}

# Power cuts while blocks move, under a writer that flushes: the disk below as it is
# at a moment, mounted elsewhere, shows what was flushed and all that was there
# before, no block is lost, and another run ends what was begun. The writer has
# the even blocks, of the odd ones half are discarded; next time it is the other
# way round, so what is moved is now the writer's, now at rest.
# VHD_TEST_ROUNDS: how many
t_power_cuts() {
	local rounds=${VHD_TEST_ROUNDS:-2} round b pid gone
	uml_is_enough
	NR=32
	cut_fs 60
	first
	cd $SMALL
	create --block-size 512K --size $((NR / 2))M a.vhd
	attach a.vhd
	truncate -s $((NR / 2))M "$W/model"
	put 2000 0 $((NR * BLK)) -b 512
	for ((round = 1; round <= rounds; round++)); do
		mapfile -t gone < <(for ((b = round % 2; b < NR; b += 2)); do echo "$RANDOM $b"; done | sort -n | awk 'NR % 2 { print $2 }')
		for b in "${gone[@]}"; do
			discard "$b"
			fallocate -p -o $((b * BLK * 512)) -l $((BLK * 512)) "$W/model"
		done
		# Some of the rest is zeros, and goes with --zero
		for ((b = 1; b < 4; b++)); do put 0 $((((round % 2) + b * 8) * BLK)) $BLK -b 512; done
		sync "$DEV"
		writer_begin "$DEV" $(((round + 1) % 2 * BLK + 300)) $((NR * BLK - 2 * BLK + 64)) -b 64 -p $((2 * BLK))
		arm
		MOVED=$(attr moves)
		# shellcheck disable=SC2046
		vhdctl compact -q --rate $((4 << round % 4))M $([ $((round % 3)) = 0 ] || echo --zero) "$DEV" & pid=$!
		wait_compacting $pid $((MOVED + RANDOM % 6))
		sleep "0.0$((RANDOM % 10))"
		power_cut
		wait $pid
		writer_end
		put 1000 "${WRITER_REGION[@]}"
		# New at the end of the file, and the next time the writer's
		for b in "${gone[@]}"; do put $((2000 + round)) $((b * BLK)) $BLK -b 512; done
		# Of many rounds somebody may not want to see the end
		[ $((round % 5)) != 0 ] && [ "$round" != "$rounds" ] ||
			echo "power cuts: $CUTS, $CUT_COMPACTING of them during a compaction, which had moved$MOVES blocks; in all $(attr moves) were" >&3
	done
	cd "$W"
	detach_soon
	sound $SMALL/a.vhd
}
CUTS=0 CUT_COMPACTING=0 MOVES=''

# put SEED FIRST COUNT [VHDIO-OPTION]...: on the disk, and in what it shall show
put() { local f; for f in "$DEV" "$W/model"; do vhdio write "$f" "$@" >/dev/null; done; }

wait_compacting() { # PID of the compaction, which may be too fast, and MOVES
	local state='' moves=0 sys=/sys/block/${DEV##*/}/vhd
	while kill -0 "$1" 2>/dev/null && { [ "$state" != compacting ] || [ "$moves" -lt "$2" ]; }; do
		read -r state < "$sys/state"
		read -r moves < "$sys/moves"
	done
}

at_cut() {
	CUTS=$((CUTS + 1))
	[ "$(attr state)" != compacting ] || CUT_COMPACTING=$((CUT_COMPACTING + 1)) MOVES+=" $(($(attr moves) - MOVED))"
}

power_cut() {
	local DEV=$DEV
	cut
	vhdctl check "$W/cut/a.vhd" >&2 || [ $? = 3 ] || fail 'the image after a power cut'
	DEV=$(vhdctl attach "$W/cut/a.vhd")
	written "$DEV"
	shows_model
	vhdctl compact -q --zero "$DEV"
	is_smallest "$W/cut/a.vhd" "$(attr allocated)"
	shows_model
	vhdctl detach --wait=10 "$DEV"
	vhdctl check -q "$W/cut/a.vhd" || fail 'the image after a power cut and a compaction'
	uncut
}

# But for what the writer has written, which was looked at
shows_model() {
	cp "$W/model" "$W/want"
	cat "$DEV" > "$W/found"
	vhdio write "$W/want" 1 "${WRITER_REGION[@]}" >/dev/null
	vhdio write "$W/found" 1 "${WRITER_REGION[@]}" >/dev/null
	cmp "$W/want" "$W/found" || fail 'the disk shows something else after a power cut'
}

t_refused() {
	uml_is_enough
	create --size 8M a.vhd
	create --size 8M --type fixed f.vhd
	expect_fail 1 'rate' vhdctl compact --rate 1M a.vhd
	expect_fail 1 'rate' vhdctl compact --rate fast a.vhd
	# It may hold an image, but it is mounted
	expect_fail 5 'is in use' vhdctl compact /dev/vda
	attach f.vhd
	expect_fail 4 'fixed' vhdctl compact "$DEV"
	detach
	attach -r a.vhd
	expect_fail 4 'read-only' vhdctl compact "$DEV"
	detach
	attach a.vhd
	expect_fail 5 'attached' vhdctl compact a.vhd
	detach
}

run_cases "$@"
