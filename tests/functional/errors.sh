#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# No space, and I/O errors, below the image: the writer is told, everything else
# stays right, and it goes on afterwards.
. "${0%/*}/../lib.sh"

ENOSPC=28 EIO=5

# --- no space -----------------------------------------------------------------

# The file system's free space, but for MEGABYTES, goes into a file
leave_free() {
	local free
	free=$(($(stat -f -c '%a * %S' $SMALL)))
	fallocate -l $((free - $1 * MIB)) $SMALL/filler
}

# Blocks 0..3 hold seed 1; then a storm over the next 16 finds space for few
full_storm() {
	create --size 256M $SMALL/a.vhd
	attach "$@" $SMALL/a.vhd
	vhdio write "$DEV" 1 0 $((4 * 4096)) -b 128 -d -f
	leave_free 9
	vhdio write "$DEV" 2 $((4 * 4096)) $((16 * 4096)) -b 32 -t 16 -r -d -e $ENOSPC -m map
	vhdio verify "$DEV" 2 $((4 * 4096)) $((16 * 4096)) -b 32 -m map
	[ -n "$(tr -d '\0' < map | head -c 1)" ] || fail 'not one write succeeded'
	vhdio verify "$DEV" 1 0 $((4 * 4096)) -b 128
	# Into what is allocated one can write all the time
	vhdio write "$DEV" 3 4096 4096 -b 64 -t 4 -d -f
	vhdio verify "$DEV" 3 4096 4096 -b 64
	vhdio verify "$DEV" 2 $((4 * 4096)) $((16 * 4096)) -b 32 -m map
	# Space again: the same writes go through now
	rm $SMALL/filler
	vhdio write "$DEV" 4 $((4 * 4096)) $((16 * 4096)) -b 32 -t 16 -r -d
	vhdio verify "$DEV" 4 $((4 * 4096)) $((16 * 4096)) -b 32
	truncate -s 256M copy.raw
	dd if="$DEV" of=copy.raw bs=1M count=40 iflag=direct conv=notrunc,sparse status=none
	detach
	sound $SMALL/a.vhd --exact-blocks "$(seq -s, 0 19)"
	mv $SMALL/a.vhd .
	same_to_qemu a.vhd copy.raw
	vhdio verify copy.raw 1 0 4096
	vhdio verify copy.raw 3 4096 4096
	vhdio verify copy.raw 4 $((4 * 4096)) $((16 * 4096))
}

t_enospc_ext4() { small_fs ext4 90; full_storm; }
slow_enospc_tmpfs() { small_fs tmpfs 90; full_storm; }
slow_enospc_buffered() { small_fs ext4 90; full_storm --direct-io=off; }

# Detached while full: nothing is lost and the image is sound
slow_enospc_detach() {
	small_fs ext4 90
	create --size 256M $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio write "$DEV" 1 0 $((4 * 4096)) -b 128 -d -f
	leave_free 5
	vhdio write "$DEV" 2 $((4 * 4096)) $((16 * 4096)) -b 32 -t 16 -r -d -e $ENOSPC -m map
	detach
	sound $SMALL/a.vhd
	attach -r $SMALL/a.vhd
	vhdio verify "$DEV" 1 0 $((4 * 4096)) -b 128
	vhdio verify "$DEV" 2 $((4 * 4096)) $((16 * 4096)) -b 32 -m map
	detach
}

# A file system on the device is told too, not surprised later
t_enospc_under_a_file_system() {
	uml_is_enough
	small_fs ext4 90
	create --size 256M $SMALL/a.vhd
	attach $SMALL/a.vhd
	make_fs ext4 "$DEV"
	# Attached anew, there is no space prepared ahead
	detach_soon
	attach $SMALL/a.vhd
	mount "$DEV" mnt
	leave_free 4
	! dd if=/dev/zero of=mnt/big bs=1M count=60 conv=fsync status=none || fail 'nobody noticed'
	umount mnt || true
	rm $SMALL/filler
	e2fsck -f -y "$DEV" || [ $? -lt 4 ]
	mount "$DEV" mnt
	head -c 20M /dev/urandom > mnt/more
	sync mnt/more
	umount mnt
	detach_soon
	sound $SMALL/a.vhd
}

# --- one error ----------------------------------------------------------------

# A disk on which errors can be switched on and off: dmsetup tables of vhdtest
shaky() {
	local disk=${VHD_TEST_SMALL:-/dev/vdb}
	requires_dm flakey
	[ -b "$disk" ] || skip "no small disk $disk"
	SHAKY=/dev/mapper/vhdtest SECTORS=$(($(device_bytes "$disk") / 512)) DISK=$(realpath "$disk")
	dmsetup create --noudevsync vhdtest --table "0 $SECTORS linear $DISK 0"
	dmsetup mknodes vhdtest
	# Without a journal: its errors would be the test's, not the image's
	small_fs ext4-nojournal 90 $SHAKY
}

table() {
	dmsetup suspend --noudevsync --nolockfs --noflush vhdtest
	dmsetup load vhdtest --table "$1"
	dmsetup resume --noudevsync vhdtest
}
writes_fail() { table "0 $SECTORS flakey $DISK 0 0 1000 1 error_writes"; }
writes_work() { table "0 $SECTORS linear $DISK 0"; }

# Only some sectors of the disk fail: sectors_fail FROM COUNT
sectors_fail() {
	table "$(printf '0 %d linear %s 0\n%d %d error\n%d %d linear %s %d' "$1" "$DISK" "$1" "$2" \
		$(($1 + $2)) $((SECTORS - $1 - $2)) "$DISK" $(($1 + $2)))"
}

# shared_slot BREAK...: qemu's driver: A fails, B gets A's slot, A written again
# destroys B.
shared_slot() {
	local a=$((2 * 4096)) b=$((9 * 4096))
	"$@"
	vhdio write "$DEV" 10 $((a + 128)) 8 -d -e $EIO
	writes_work
	vhdio write "$DEV" 11 $b 4096 -b 64 -d
	vhdio verify "$DEV" 0 $a 4096 -b 64 -d
	vhdio verify "$DEV" 11 $b 4096 -b 64 -d
	vhdio write "$DEV" 12 $a 4096 -b 64 -d
	vhdio verify "$DEV" 11 $b 4096 -b 64 -d
	vhdio verify "$DEV" 12 $a 4096 -b 64 -d
	detach
	sound $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio verify "$DEV" 11 $b 4096 -b 64 -d
	vhdio verify "$DEV" 12 $a 4096 -b 64 -d
	detach
	qemu-io -f vpc -c "read -v $((a * 512)) 8" -c "read -v $((b * 512)) 8" $SMALL/a.vhd > qemu.out
	grep -q '00 20 00 00 00 00 0c 00' qemu.out || fail "qemu: $(cat qemu.out)"
	grep -q '00 90 00 00 00 00 0b 00' qemu.out || fail "qemu: $(cat qemu.out)"
}

# The error hits the first growth of the file
t_eio_at_growth() {
	uml_is_enough
	shaky
	create --size 200M $SMALL/a.vhd
	attach $SMALL/a.vhd
	shared_slot writes_fail
}

# Space is ready, the error hits the data and nothing else
t_eio_at_data() {
	uml_is_enough
	shaky
	create --size 200M $SMALL/a.vhd
	attach $SMALL/a.vhd
	fill_until_ahead 20
	# shellcheck disable=SC2086
	shared_slot sectors_fail $AHEAD
}

slow_eio_buffered() {
	shaky
	create --size 200M $SMALL/a.vhd
	attach --direct-io=off $SMALL/a.vhd
	vhdio write "$DEV" 9 $((20 * 4096)) $((8 * 4096)) -b 64 -d -f
	# Errors of the page cache come at a flush, and then for good: here only
	# that what was flushed before is there afterwards.
	writes_fail
	# A growth that is still under way meets the error first
	vhdio write "$DEV" 10 0 64 -d || note 'the image has failed already'
	! blockdev_fsync || fail 'a flush succeeded that could not'
	writes_work
	vhdio verify "$DEV" 9 $((20 * 4096)) $((8 * 4096)) -b 64 -d
	detach || true
	# What the cache still has of the commit that failed is not on the disk
	attach $SMALL/a.vhd
	vhdio verify "$DEV" 9 $((20 * 4096)) $((8 * 4096)) -b 64 -d
	vhdio write "$DEV" 11 0 64 -d -f
	detach
	echo 3 > /proc/sys/vm/drop_caches
	sound $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio verify "$DEV" 9 $((20 * 4096)) $((8 * 4096)) -b 64 -d
	vhdio verify "$DEV" 11 0 64 -d
	detach
}
blockdev_fsync() { sync "$DEV"; }

# In the middle of a storm some sectors of the space ahead cannot be written;
# flushes and all else can.
t_eio_in_a_storm() {
	local n
	shaky
	create --size 200M $SMALL/a.vhd
	attach $SMALL/a.vhd
	fill_until_ahead 0
	n=$FILLED
	# shellcheck disable=SC2086
	sectors_fail $AHEAD
	vhdio write "$DEV" 2 $((n * 4096)) $((16 * 4096)) -b 32 -t 16 -r -d -e $EIO -m map
	vhdio verify "$DEV" 2 $((n * 4096)) $((16 * 4096)) -b 32 -m map -d
	vhdio verify "$DEV" 1 0 $((n * 4096)) -b 128 -d
	writes_work
	vhdio write "$DEV" 3 $((n * 4096)) $((16 * 4096)) -b 32 -t 16 -r -d -f
	vhdio verify "$DEV" 3 $((n * 4096)) $((16 * 4096)) -b 32 -d
	detach
	sound $SMALL/a.vhd --exact-blocks "$(seq -s, 0 $((n + 15)))"
	attach -r $SMALL/a.vhd
	vhdio verify "$DEV" 1 0 $((n * 4096)) -b 128
	vhdio verify "$DEV" 3 $((n * 4096)) $((16 * 4096)) -b 32
	detach
}

# fill_until_ahead BLOCK: write blocks from this one on, until space is ready
# behind the last: $FILLED blocks, $AHEAD on the disk
fill_until_ahead() {
	requires filefrag
	FILLED=0 AHEAD=''
	while [ -z "$AHEAD" ]; do
		[ $FILLED -lt 10 ] || fail 'the file never grows ahead of need'
		vhdio write "$DEV" 1 $((($1 + FILLED) * 4096)) 4096 -b 128 -d -f
		FILLED=$((FILLED + 1))
		sleep 0.3
		AHEAD=$(sectors_ahead $FILLED) || true
	done
	note "$FILLED blocks, errors at sectors $AHEAD of the disk"
}

# sectors_ahead BLOCKS: where on the disk the slot behind them lies, plus 64 KiB; at
# most 1 MiB of it, and nothing else
sectors_ahead() {
	local end
	end=$((4096 / 512 + $1 * (2097152 + 4096) / 512 + 128))
	filefrag -b512 -v $SMALL/a.vhd | tr -d ':.' | awk -v want=$end '
		$1 ~ /^[0-9]+$/ && $2 <= want && want <= $3 {
			left = $3 - want + 1
			print $4 + want - $2, (left > 2048 ? 2048 : left)
			found = 1
			exit
		}
		END { if (!found) exit 1 }'
}

# A flush fails: nothing is published any more, writes are refused, reads go on,
# and the file is as at the last good flush.
t_failed_flush() {
	shaky
	create --size 200M $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio write "$DEV" 1 0 8192 -b 64 -d -f
	exec 9<>"$DEV"
	vhdio write "$DEV" 2 40000 64 -d
	writes_fail
	! sync "$DEV" || fail 'a flush succeeded that could not'
	writes_work
	vhdio verify "$DEV" 1 0 8192 -b 64 -d
	! sync "$DEV" || note 'a later flush succeeded: only allowed if the data was written again'
	exec 9>&-
	detach || note "detach tells of it: $?"
	[ ! -b "$DEV" ] || fail "$DEV is still there"
	attach $SMALL/a.vhd
	vhdio verify "$DEV" 1 0 8192 -b 64 -d
	vhdio write "$DEV" 3 60000 64 -d -f
	detach
	sound $SMALL/a.vhd
}

# Reads fail where the disk has gone bad, and nowhere else, while others write
t_read_errors() {
	uml_is_enough
	local writer out
	shaky
	create --size 200M $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio write "$DEV" 1 0 $((8 * 4096)) -b 128 -d -f
	# Ahead of the third block is the fourth
	# shellcheck disable=SC2046
	sectors_fail $(sectors_ahead 3)
	vhdio write "$DEV" 2 $((20 * 4096)) $((12 * 4096)) -b 32 -t 4 -r -d &
	writer=$!
	out=$(vhdio verify "$DEV" 1 0 $((8 * 4096)) -b 8 -t 8 -r -d -e $EIO)
	note "$out"
	[[ $out == *', 256 failed' ]] || fail "1 MiB in pieces of 8 sectors cannot be read, but: $out"
	vhdio verify "$DEV" 1 0 $((3 * 4096)) -b 64 -d
	wait $writer
	writes_work
	vhdio verify "$DEV" 1 0 $((8 * 4096)) -b 64 -d
	vhdio verify "$DEV" 2 $((20 * 4096)) $((12 * 4096)) -b 64 -d
	detach
	sound $SMALL/a.vhd
}

# What a reader of the page cache sees of it, and a file system
slow_read_errors_buffered() {
	shaky
	create --size 200M $SMALL/a.vhd
	attach --direct-io=off $SMALL/a.vhd
	vhdio write "$DEV" 1 0 $((8 * 4096)) -b 128 -d -f
	detach
	attach --direct-io=off $SMALL/a.vhd
	# shellcheck disable=SC2046
	sectors_fail $(sectors_ahead 3)
	echo 3 > /proc/sys/vm/drop_caches
	vhdio verify "$DEV" 1 0 $((8 * 4096)) -b 8 -d -e $EIO
	vhdio verify "$DEV" 1 0 $((3 * 4096)) -b 8 -d
	writes_work
	echo 3 > /proc/sys/vm/drop_caches
	vhdio verify "$DEV" 1 0 $((8 * 4096)) -b 8 -d
	detach
	sound $SMALL/a.vhd
}

told() { dmesg | grep -c "${DEV#/dev/}: .*writes fail from now on" || true; }

# One that has ended before the disk goes would leave an empty flush to fail
storm_until_it_fails() {
	while [[ $(vhdio write "$DEV" 2 8192 $((20 * 4096)) -b 32 -t 8 -r -d -e $EIO) == *' 0 failed' ]]; do :; done
}

# The disk goes in the middle of a storm over blocks that are there: from the
# failed flush on writes are refused, that is said once, and the image is at its
# last commit. (Where new blocks are to be committed their bitmaps fail first:
# that is tried again.)
failed_flush_in_a_storm() {
	local writer before
	shaky
	create --size 200M $SMALL/a.vhd
	attach "$@" $SMALL/a.vhd
	before=$(told)
	vhdio write "$DEV" 1 0 $((22 * 4096)) -b 128 -d -f
	exec 9<>"$DEV"
	storm_until_it_fails & writer=$!
	sleep 0.3
	writes_fail
	! sync "$DEV" || fail 'a flush succeeded that could not'
	wait $writer || true
	writes_work
	[ "$(vhdio write "$DEV" 3 8192 512 -b 8 -t 4 -d -e $EIO)" = '0 done, 64 failed' ] || fail 'it still writes'
	! sync "$DEV" || fail 'a flush succeeded after one had failed'
	! sync "$DEV" || fail 'a flush succeeded after one had failed'
	vhdio verify "$DEV" 1 0 8192 -b 64 -d
	sleep 2
	[ "$(($(told) - before))" = 1 ] || fail "said $(($(told) - before)) times instead of once"
	exec 9>&-
	detach || note "detach tells of it: $?"
	[ ! -b "$DEV" ] || fail "$DEV is still there"
	vhdread check $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio verify "$DEV" 1 0 8192 -b 64 -d
	vhdio write "$DEV" 3 8192 $((20 * 4096)) -b 64 -d -f
	vhdio verify "$DEV" 3 8192 $((20 * 4096)) -b 64 -d
	detach
	sound $SMALL/a.vhd
}
# On 6.1 ext4 and dm-flakey answer an fsync of the image file itself with success,
# when only a flush is left to do
t_failed_flush_in_a_storm() {
	case $(uname -r) in 6.1.*) skip 'on 6.1 an empty flush does not fail below the file' ;; esac
	failed_flush_in_a_storm
}
slow_failed_flush_in_a_storm_buffered() { failed_flush_in_a_storm --direct-io=off; }

# One transfer in fifty fails, reads, writes and flushes, for some seconds: no
# reader ever sees what was not written, and the device can be detached
t_one_transfer_in_fifty() {
	local disk=${VHD_TEST_SMALL:-/dev/vdb} sys faults=/sys/kernel/debug/fail_make_request i
	[ -d $faults ] || skip 'no fail_make_request in this kernel'
	small_fs ext4-nojournal 90
	sys=/sys/block/$(basename "$(realpath "$disk")")
	create --size 200M $SMALL/a.vhd
	attach $SMALL/a.vhd
	vhdio write "$DEV" 1 0 $((8 * 4096)) -b 128 -d -f
	cleanup_fn eval "echo 0 > $faults/probability; echo 0 > $sys/make-it-fail"
	echo 1 > "$sys/make-it-fail"
	for i in verbose=0 times=-1 interval=1 space=0 probability=2; do echo "${i#*=}" > "$faults/${i%%=*}"; done
	for i in 1 2 3; do
		vhdio verify "$DEV" 1 0 $((8 * 4096)) -b 8 -t 8 -r -d -e $EIO
		vhdio write "$DEV" 2 40960 $((20 * 4096)) -b 32 -t 8 -r -d -e $EIO || true
		sync "$DEV" || note "flush $i fails"
	done
	echo 0 > $faults/probability
	vhdio verify "$DEV" 1 0 $((8 * 4096)) -b 64 -d
	detach || note "detach tells of it: $?"
	[ ! -b "$DEV" ] || fail "$DEV is still there"
}

# The file is cut short under the device: errors, no more
t_file_shrinks() {
	create --size 60M --type fixed a.vhd
	attach --direct-io=off a.vhd
	vhdio write "$DEV" 1 0 $((60 * 2048)) -b 256 -f
	truncate -s 10M a.vhd
	! vhdio verify "$DEV" 1 100000 64 -d || fail 'data from beyond the end'
	vhdio verify "$DEV" 1 0 8192 -d
	detach || note "detach: $?"
	[ ! -b "$DEV" ] || fail "$DEV is still there"
}

run_cases "$@"
