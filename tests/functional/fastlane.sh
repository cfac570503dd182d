#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The fast lane: requests that go past the file system of the image. What the
# image's file does not own any more must never be written to, whoever took it
# away and however: what is freed is given to another file at once, whose content
# is known, and looked at while the device goes on writing.
. "${0%/*}/../lib.sh"

DIR=/tmp/vhd-lane
# Of the image, in sectors: what is written and verified all the time, what is
# taken away (its beginning being written to meanwhile), and what others write to
IMAGE_MB=24
CHECKED=0 VICTIM=16384 OTHER=32768 PART=16384 BUSY=4096

# An XFS on $LOOP, a loop device over the file system under test: requests below it end
# when another process has done them, not at once
lane_fs() {
	requires mkfs.xfs
	requires_module xfs xfs
	truncate -s 320M disk
	mkfs.xfs -q -f disk
	mkdir -p $DIR
	LOOP=$(losetup --find --show disk)
	cleanup_fn losetup -d "$LOOP"
	cleanup_fn umount -l $DIR
	mount "$LOOP" $DIR
}

attr() { cat "/sys/block/${DEV##*/}/vhd/fast_lane${1:+_$1}"; }

# wait_for SECONDS COMMAND...: until it is true
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "waited in vain for: $* (lane $(attr), $(attr mapped) mapped, $(attr hits) hits, $(attr breaks) breaks)"
		sleep 0.05
	done
}

# A request misses the lane, and so it is opened, or its place is looked up
poke() { dd if="$DEV" of=/dev/null bs=4k count=1 skip="${1:-0}" iflag=direct status=none; }
is_open() { poke || true; [ "$(attr)" = open ]; }
hits_more() { poke "${2:-0}" || true; [ "$(attr hits)" -gt "$1" ]; }
has_hits() { [ "$(attr hits)" -ge "$1" ]; }
broken_more() { [ "$(attr breaks)" -gt "$1" ]; }
all_mapped() { vhdio verify "$DEV" 1 0 $((IMAGE_MB * 2048)) -b 128 -d && [ "$(attr mapped)" -ge $((IMAGE_MB * MIB)) ]; }
lane_opens() { wait_for 60 is_open; wait_for 60 hits_more "$(attr hits)" "${1:-0}"; }

# lane_image CREATE-OPTION...: written all over, so that all of it has a place
lane_image() {
	create --size ${IMAGE_MB}M "$@" $DIR/a.vhd
	attach --fast-lane=on $DIR/a.vhd
	[ "$(attr)" = open ] || fail "the lane is $(attr)"
	vhdio write "$DEV" 1 0 $((IMAGE_MB * 2048)) -b 128 -d -f
	wait_for 60 all_mapped
}

# ---- that it works -------------------------------------------------------------

takes_it() {
	local hits
	lane_fs
	lane_image "$@"
	hits=$(attr hits)
	vhdio write "$DEV" 2 $VICTIM 4096 -b 8 -t 16 -r -d -f
	vhdio verify "$DEV" 2 $VICTIM 4096 -d
	[ "$(attr hits)" -ge $((hits + 512)) ] || fail "$(($(attr hits) - hits)) hits of 512 writes and their reads"
	detach
	[ "$(stat -c %Y $DIR/a.vhd)" -ge $(($(date +%s) - 60)) ] || fail 'the file has old times'
	sound $DIR/a.vhd
	attach --fast-lane=off $DIR/a.vhd
	[ "$(attr)" = off ] || fail "the lane is $(attr)"
	vhdio verify "$DEV" 1 0 $VICTIM
	vhdio verify "$DEV" 2 $VICTIM 4096
	vhdio verify "$DEV" 1 $((VICTIM + 4096)) $((IMAGE_MB * 2048 - VICTIM - 4096))
	[ "$(attr hits)" = 0 ] || fail 'there is a lane where none was asked for'
}

t_fixed() { takes_it --type fixed; }
t_dynamic() { uml_is_enough; takes_it; }

# Blocks come and go, and the lane with them
t_discard() {
	uml_is_enough
	lane_fs
	lane_image
	blkdiscard -o $((VICTIM * 512)) -l $((PART * 512)) "$DEV"
	vhdio verify "$DEV" 0 $VICTIM $PART -d
	vhdio write "$DEV" 3 $VICTIM $PART -b 64 -t 8 -r -d -f
	lane_opens $((VICTIM / 8))
	# Parts of blocks are zeroed where they are
	blkdiscard -z -o $((VICTIM * 512 + 512)) -l 65024 "$DEV"
	vhdio verify "$DEV" 3 $VICTIM 1 -d
	vhdio verify "$DEV" 0 $((VICTIM + 1)) 127 -d
	vhdio verify "$DEV" 3 $((VICTIM + 128)) $((PART - 128)) -d
	vhdio verify "$DEV" 1 0 $VICTIM -d
	[ "$(attr breaks)" = 0 ] || fail 'the driver has broken its own lease'
	detach
	sound $DIR/a.vhd
}

t_snapshot_and_commit() {
	uml_is_enough
	lane_fs
	lane_image
	vhdctl snapshot "$DEV" $DIR/b.vhd
	vhdio write "$DEV" 4 0 4096 -b 4096 -d -f
	lane_opens
	vhdio write "$DEV" 5 0 1024 -b 8 -t 8 -d
	vhdctl commit "$DEV"
	vhdio verify "$DEV" 5 0 1024 -d
	lane_opens
	vhdio verify "$DEV" 4 1024 3072 -d
	vhdio verify "$DEV" 1 4096 $((IMAGE_MB * 2048 - 4096)) -d
	detach
	sound $DIR/a.vhd
}

# While blocks are moved every request is looked at and nobody takes the lane; then it
# opens again, over a file whose blocks are elsewhere
long_compacted() {
	uml_is_enough
	local before hits i sectors=$((IMAGE_MB * 2048))
	lane_fs
	lane_image --block-size 512K
	for ((i = 1; i < IMAGE_MB * 2; i += 2)); do blkdiscard -o $((i * MIB / 2)) -l $((MIB / 2)) "$DEV"; done
	sync "$DEV"
	before=$(stat -c %s $DIR/a.vhd)
	# The beginning of each block that is left is written all the time
	( seed=10
	while [ ! -e stop ]; do
		seed=$((seed % 100 + 10))
		if ! vhdio write "$DEV" $seed 0 $sectors -b 128 -p 2048 -t 8 -d ||
			! vhdio verify "$DEV" $seed 0 $sectors -b 128 -p 2048 -d; then exit 1; fi
	done ) & writer=$!
	cleanup_fn touch stop
	vhdctl compact -q "$DEV"
	touch stop
	wait $writer || fail 'what was written while blocks were moved is lost'
	[ "$(stat -c %s $DIR/a.vhd)" -lt $((before * 2 / 3)) ] || fail "$(stat -c %s $DIR/a.vhd) bytes, had $before"
	lane_opens
	hits=$(attr hits)
	for ((i = 0; i < IMAGE_MB; i++)); do
		vhdio verify "$DEV" 1 $((i * 2048 + 128)) 896 -b 128 -d
		vhdio verify "$DEV" 0 $((i * 2048 + 1024)) 1024 -b 128 -d
	done
	vhdio write "$DEV" 9 0 $sectors -b 128 -p 2048 -d
	vhdio verify "$DEV" 9 0 $sectors -b 128 -p 2048 -d
	[ "$(attr hits)" -ge $((hits + IMAGE_MB * 4)) ] || fail "$(($(attr hits) - hits)) hits after it"
	[ "$(attr breaks)" = 0 ] || fail "$(attr breaks) breaks"
	detach
	sound $DIR/a.vhd
}

t_refused() {
	uml_is_enough
	create --size 4M a.vhd
	if [ "$(stat -f -c %T .)" != xfs ]; then
		expect_fail 4 'fast lane' vhdctl attach --fast-lane=on a.vhd
		attach --fast-lane=auto a.vhd
		[ "$(attr)" = off ] || fail "the lane is $(attr) on $(stat -f -c %T .)"
		vhdio write "$DEV" 1 0 1024 -d
		vhdio verify "$DEV" 1 0 1024 -d
		[ "$(attr hits)" = 0 ] || fail 'there are hits'
		detach
	fi
	lane_fs
	create --size 4M --type fixed $DIR/a.vhd
	chmod g+w $DIR/a.vhd
	expect_fail 4 'fast lane' vhdctl attach --fast-lane=on $DIR/a.vhd
	chmod g-w $DIR/a.vhd
	chown nobody $DIR/a.vhd
	expect_fail 4 'fast lane' vhdctl attach --fast-lane=on $DIR/a.vhd
	chown root $DIR/a.vhd
	expect_fail 4 'fast lane' vhdctl attach --fast-lane=on --direct-io=off $DIR/a.vhd
	exec 9>>$DIR/a.vhd
	expect_fail 4 'fast lane' vhdctl attach --fast-lane=on $DIR/a.vhd
	exec 9>&-
	# Who attaches for reading changes nothing, not even a flag; else it is the rule
	create --size 4M $DIR/c.vhd
	attach -r $DIR/c.vhd
	[ "$(attr)" = closed ] || fail "attached for reading, the lane is $(attr)"
	detach
	attach $DIR/c.vhd
	[ "$(attr)" = open ] || fail "without an option the lane is $(attr)"
	detach
	vhdio write $DIR/a.vhd 1 0 64
	cp --reflink=always $DIR/a.vhd $DIR/b.vhd
	expect_fail 4 'fast lane' vhdctl attach --fast-lane=on $DIR/a.vhd
	[ "$(vhdctl list -n -O FAST-LANE)" = '' ] || fail 'something is attached'
}

# ---- images that are block devices ------------------------------------------------

# $LOWER: a device of so many MiB, full of what somebody left there
lower() { # MIB
	truncate -s "$1M" lower
	vhdio write lower 99 0 $(($1 * 2048)) -b 1024
	LOWER=$(losetup --find --show lower)
	cleanup_fn losetup -d "$LOWER"
}

# The same as a logical volume is one
lower_dm() { # MIB
	local name=vhdtest-lane$RANDOM
	requires_dm linear
	lower "$1"
	dmsetup create --noudevsync "$name" --table "0 $(blockdev --getsz "$LOWER") linear $LOWER 0"
	dmsetup --noudevsync mknodes "$name"
	cleanup_fn dmsetup remove --noudevsync --retry "$name"
	LOWER=/dev/mapper/$name
}

# on_device CREATE-OPTION...: nothing there ever closes the lane
on_device() {
	local hits sectors=$((IMAGE_MB * 2048))
	create --size ${IMAGE_MB}M --force "$@" "$LOWER"
	attach --fast-lane=on "$LOWER"
	[ "$(attr)" = open ] || fail "the lane is $(attr)"
	vhdio write "$DEV" 1 0 $sectors -b 128 -d -f
	lane_opens
	[ "$(attr mapped)" = "$(device_bytes "$LOWER")" ] || fail "$(attr mapped) bytes are mapped"
	hits=$(attr hits)
	vhdio write "$DEV" 2 $VICTIM 4096 -b 8 -t 16 -r -d -f
	vhdio verify "$DEV" 2 $VICTIM 4096 -d
	[ "$(attr hits)" -ge $((hits + 1024)) ] || fail "$(($(attr hits) - hits)) hits of 512 writes and as many reads"
	# Requests larger than the device below takes, and such as are no whole pages
	vhdio write "$DEV" 3 $((OTHER + 1)) 4095 -b 2047 -d -f
	vhdio verify "$DEV" 3 $((OTHER + 1)) 4095 -b 4095 -d
	vhdio verify "$DEV" 1 0 $VICTIM -d

	# Who reads the device below by the page cache sees what was written before
	churn
	dd if="$LOWER" of=/dev/null bs=1M status=none
	vhdio write "$DEV" 4 $OTHER 2048 -b 8 -t 8 -r -d
	vhdio verify "$DEV" 4 $OTHER 2048 -d
	dd if="$LOWER" of=cached bs=1M status=none
	churn_ends
	blockdev --flushbufs "$LOWER"
	vhdio write "$DEV" 5 $OTHER 2048 -b 8 -t 8 -r -d
	dd if="$LOWER" of=cached bs=1M status=none
	dd if="$LOWER" of=direct bs=1M iflag=direct status=none
	cmp cached direct || fail 'the page cache of the device below is stale'

	# Blocks go, and others come where they were
	blkdiscard -o $((VICTIM * 512)) -l $((PART * 512)) "$DEV"
	vhdio verify "$DEV" 0 $VICTIM $PART -d
	vhdio write "$DEV" 6 $VICTIM $PART -b 64 -t 8 -r -d -f
	vhdio verify "$DEV" 6 $VICTIM $PART -d
	blkdiscard -z -o $((VICTIM * 512 + 512)) -l 65024 "$DEV"
	vhdio verify "$DEV" 6 $VICTIM 1 -d
	vhdio verify "$DEV" 0 $((VICTIM + 1)) 127 -d
	[ "$(attr breaks)" = 0 ] || fail "$(attr breaks) breaks"
	detach
	vhdctl check "$LOWER" || fail 'the image is not sound'
	attach --fast-lane=off "$LOWER"
	[ "$(attr)" = off ] || fail "the lane is $(attr)"
	vhdio verify "$DEV" 5 $OTHER 2048
	vhdio verify "$DEV" 6 $((VICTIM + 128)) $((PART - 128))
	detach
}

t_dynamic_on_device() { uml_is_enough; lower 96; on_device; }
long_fixed_on_device() { lower 40; on_device --type fixed; }
long_dynamic_on_dm() { lower_dm 96; on_device; }

# Where nothing can be had without waiting, everything goes the other way
t_device_that_waits() {
	uml_is_enough
	requires_dm delay
	lower 40
	local name=vhdtest-lane$RANDOM
	dmsetup create --noudevsync "$name" --table "0 $(blockdev --getsz "$LOWER") delay $LOWER 0 5"
	dmsetup --noudevsync mknodes "$name"
	cleanup_fn dmsetup remove --noudevsync --retry "$name"
	LOWER=/dev/mapper/$name
	create --size 4M --type fixed --force "$LOWER"
	expect_fail 4 'fast lane' vhdctl attach --fast-lane=on "$LOWER"
	attach --fast-lane=auto "$LOWER"
	vhdio write "$DEV" 1 0 512 -d
	vhdio verify "$DEV" 1 0 512 -d
	[ "$(attr hits)" = 0 ] || fail 'there are hits'
	detach
}

# What fails on the lane is done again the other way, and fails there if it must
t_errors_below() {
	uml_is_enough
	requires_dm linear
	requires_dm error
	lower 40
	local name=vhdtest-lane$RANDOM size hits
	size=$(blockdev --getsz "$LOWER")
	dmsetup create --noudevsync "$name" --table "0 $size linear $LOWER 0"
	dmsetup --noudevsync mknodes "$name"
	cleanup_fn dmsetup remove --noudevsync --retry "$name"
	create --size 32M --type fixed --force "/dev/mapper/$name"
	attach --fast-lane=on "/dev/mapper/$name"
	vhdio write "$DEV" 1 0 65536 -b 128 -d -f
	lane_opens
	dmsetup suspend --noudevsync "$name"
	dmsetup load "$name" --table "0 32768 linear $LOWER 0
32768 64 error
32832 $((size - 32832)) linear $LOWER 32832"
	dmsetup resume --noudevsync "$name"
	vhdio verify "$DEV" 1 0 32768 -d
	! poke 4096 2>/dev/null || fail 'a sector that cannot be read was read'
	! dd if=/dev/zero of="$DEV" bs=4k count=1 seek=4096 oflag=direct status=none 2>/dev/null || fail 'a sector that cannot be written was written'
	vhdio verify "$DEV" 1 32832 32704 -d
	# Suspended: who comes waits, and goes on
	lane_opens
	dmsetup suspend --noudevsync "$name"
	hits=$(attr hits)
	vhdio write "$DEV" 2 0 4096 -d -t 8 & writer=$!
	wait_for 30 has_hits $((hits + 1))
	sleep 0.5
	dmsetup resume --noudevsync "$name"
	wait $writer || fail 'a write failed that came while the device was suspended'
	vhdio verify "$DEV" 2 0 4096 -d
	detach
}

# Who cannot have a tag at once, and may not wait, goes the other way. (Lockdep takes the
# queues of the two devices for one when the number is changed: see design.rst)
long_no_tag_free() {
	[ ! -e /proc/lockdep ] || skip 'lockdep would report a cycle that is none'
	lower 40
	local queue=/sys/block/${LOWER##*/}/queue seed
	echo none > "$queue/scheduler"
	echo 4 > "$queue/nr_requests" || skip 'the number of requests cannot be changed here'
	create --size 32M --type fixed --force "$LOWER"
	attach --fast-lane=on "$LOWER"
	vhdio write "$DEV" 1 0 65536 -b 128 -d -f
	lane_opens
	for seed in 2 3; do
		vhdio write "$DEV" $seed 0 16384 -b 8 -t 32 -r -d -f
		vhdio verify "$DEV" $seed 0 16384 -b 8 -t 32 -d
	done
	vhdio verify "$DEV" 1 16384 49152 -d
	detach
}

# Without memory for a map the lane takes less, and nothing that it must not: half of
# all allocations of the driver's threads fail while it zeroes what was mapped
long_no_memory_for_the_map() {
	uml_is_enough
	local faults=/sys/kernel/debug/failslab thread many=1000000 key i
	[ -e /proc/self/make-it-fail ] && [ -d $faults ] || skip 'no fault injection in this kernel'
	lane_fs
	lane_image --type fixed
	for thread in /proc/[0-9]*; do
		case $(cat "$thread/comm" 2>/dev/null) in vhd* | kworker/u*) echo 1 > "$thread/make-it-fail" ;; esac
	done
	cleanup_fn eval "echo 0 > $faults/probability; echo N > $faults/task-filter; echo 1 > $faults/times"
	for key in verbose=0 ignore-gfp-wait=N task-filter=Y times=$many interval=1 space=0 probability=50; do
		echo "${key#*=}" > "$faults/${key%%=*}"
	done
	for ((i = 0; i < 16; i++)); do
		blkdiscard -z -o $(((VICTIM + i * 512) * 512)) -l 65536 "$DEV" || fail "request $i failed"
		vhdio verify "$DEV" 0 $((VICTIM + i * 512)) 128 -d
		vhdio verify "$DEV" 1 $((VICTIM + i * 512 + 128)) 384 -d
		[ $((i % 4)) != 3 ] || fallocate -o $((OTHER * 512)) -l 4096 $DIR/a.vhd
	done
	[ "$(cat $faults/times)" -lt $many ] || fail 'nothing could be made to fail'
	echo 0 > $faults/probability
	lane_opens
	wait_for 60 all_mapped_again
	detach
	sound $DIR/a.vhd
}
all_mapped_again() { dd if="$DEV" of=/dev/null bs=64k iflag=direct status=none; [ "$(attr mapped)" -ge $(((IMAGE_MB - 2) * MIB)) ]; }

# ---- that it does no harm --------------------------------------------------------

# The device is written and verified in one part, and written in the part that is
# taken away, until there is a file stop
churn() {
	( seed=10
	while [ ! -e stop ]; do
		seed=$((seed % 100 + 10))
		if ! vhdio write "$DEV" $seed $CHECKED $PART -b 16 -t 8 -r -d ||
			! vhdio verify "$DEV" $seed $CHECKED $PART -d; then
			touch wrong
			exit 1
		fi
	done ) & checker=$!
	( while [ ! -e stop ]; do vhdio write "$DEV" 200 $VICTIM $BUSY -b 8 -t 8 -r -d -e 28 2>/dev/null || true; done ) &
	victim=$!
	cleanup_fn touch stop
}

churn_ends() {
	touch stop
	wait "$checker" || fail 'what was verified all the time was wrong'
	wait "$victim" || true
	[ ! -e wrong ] || fail 'what was verified all the time was wrong'
}

# Nearly nothing is free: whoever needs space gets what has just been freed
fill_up() {
	local free
	sync -f $DIR
	free=$(df --output=avail -B1M $DIR | tail -n 1)
	fallocate -l $((free - 3))M $DIR/ballast
}

# take COMMAND...: it takes the victim away; its space goes to another file, which
# nobody but us writes to
take() {
	take_away "$@"
	heir_untouched "$@"
}

heir_untouched() {
	for _ in 1 2 3; do vhdio verify $DIR/heir 77 0 $PART -b 128 -d -m heir.map || fail "$*: somebody wrote to blocks of another file"; done
	rm $DIR/heir
}

take_away() {
	local breaks
	lane_opens $((VICTIM / 8))
	breaks=$(attr breaks)
	"$@" || fail "$*: status $?"
	[ "$(attr breaks)" -gt "$breaks" ] || fail "$* broke no lease"
	# What the victim gets back meanwhile the heir cannot have
	truncate -s $((PART * 512)) $DIR/heir
	vhdio write $DIR/heir 77 0 $PART -b 128 -d -e 28 -m heir.map || true
	[ "$(tr -d '\0' < heir.map | wc -c)" -ge $((PART / 128 / 2)) ] || fail "$*: nothing was freed"
}

punch() { fallocate -p -o $((VICTIM * 512)) -l $((PART * 512)) $DIR/a.vhd; }

# The end of the image goes, and comes back without what it had.  (truncate(1) opens
# without waiting, and is refused while the lane is being closed.)
cut_short() {
	local size rc=0
	size=$(stat -c %s $DIR/a.vhd)
	tail -c 512 $DIR/a.vhd > footer
	xfs_io -c "truncate $((VICTIM * 512))" $DIR/a.vhd || rc=$?
	xfs_io -c "truncate $size" $DIR/a.vhd
	dd if=footer of=$DIR/a.vhd bs=512 seek=$((size / 512 - 1)) conv=notrunc status=none
	return $rc
}

t_blocks_taken_away() {
	local rounds=${VHD_TEST_ROUNDS:-1}
	requires xfs_io
	lane_fs
	lane_image --type fixed
	fill_up
	churn
	for _ in $(seq $rounds); do
		take punch
		take cut_short
	done
	lane_opens
	churn_ends
	[ "$(attr breaks)" -ge $((rounds * 2)) ] || fail "$(attr breaks) breaks"
	detach
}

# Who is throttled has writes under way for long: the one who takes their blocks waits
# for them, or they would end where his file is
t_slow_writes_waited_for() {
	uml_is_enough
	local hits
	lane_fs
	lane_image --type fixed
	fill_up
	mkdir -p cgroups
	mount -t cgroup2 none cgroups || skip 'no cgroup2 here'
	cleanup_fn umount -l cgroups
	echo +io > cgroups/cgroup.subtree_control || skip 'no io controller here'
	mkdir -p cgroups/slow
	cleanup_fn rmdir cgroups/slow
	echo "$(cat "/sys/block/${LOOP##*/}/dev") wiops=8" > cgroups/slow/io.max || skip 'no throttling here'
	for _ in $(seq "${VHD_TEST_ROUNDS:-1}"); do
		sync -f $DIR
		vhdio write "$DEV" 1 $VICTIM $PART -b 128 -d -f
		lane_opens $((VICTIM / 8))
		hits=$(attr hits)
		( echo "$BASHPID" > cgroups/slow/cgroup.procs
		exec vhdio write "$DEV" 200 $VICTIM 256 -b 8 -t 32 -r -d -e 28 ) & writer=$!
		# They are under way for seconds, and the rest of this takes less
		wait_for 30 has_hits $((hits + 16))
		take_away punch
		wait $writer || true
		heir_untouched punch
	done
	detach
}

# Who writes beside us, or moves nothing: read right, closed, opened again
t_others_write() {
	uml_is_enough
	local breaks
	lane_fs
	lane_image --type fixed
	churn
	for how in '' 'oflag=direct'; do
		lane_opens
		breaks=$(attr breaks)
		"${PYTHON[@]}" -c 'import sys; sys.stdout.buffer.write(b"x" * 1048576)' > xs
		# shellcheck disable=SC2086
		dd if=xs of=$DIR/a.vhd bs=64k seek=$((OTHER / 128)) conv=notrunc status=none $how
		broken_more "$breaks" || fail "a write (${how:-buffered}) broke no lease"
		dd if="$DEV" of=got bs=64k skip=$((OTHER / 128)) count=16 iflag=direct status=none
		cmp xs got || fail 'the device reads something else than was written to the file'
		vhdio write "$DEV" 6 $OTHER 2048 -d
	done
	lane_opens
	# The page cache has it, and the device writes: the file reads what is new
	vhdio verify $DIR/a.vhd 6 $OTHER 2048
	vhdio write "$DEV" 7 $OTHER 2048 -b 8 -d
	vhdio verify $DIR/a.vhd 7 $OTHER 2048
	lane_opens
	breaks=$(attr breaks)
	fallocate -z -o $((OTHER * 512)) -l 1M $DIR/a.vhd
	broken_more "$breaks" || fail 'fallocate broke no lease'
	vhdio verify "$DEV" 0 $OTHER 2048 -d
	lane_opens
	churn_ends
	detach
}

# Frozen means that nothing is written: the disk below does not change
t_frozen() {
	uml_is_enough
	local before
	lane_fs
	lane_image --type fixed
	churn
	lane_opens $((VICTIM / 8))
	fsfreeze -f $DIR
	before=$(md5sum < disk)
	( dd if=/dev/zero of="$DEV" bs=4k count=1 seek=$((OTHER / 8)) oflag=direct status=none ) & writer=$!
	[ "$(md5sum < disk)" = "$before" ] || { fsfreeze -u $DIR; fail 'the disk changed while its file system was frozen'; }
	fsfreeze -u $DIR
	wait $writer
	vhdio verify "$DEV" 0 $OTHER 8 -d
	lane_opens
	churn_ends
	detach
}

# Defragmentation leaves it alone; a copy that shares blocks closes it for good
t_moved_and_shared() {
	uml_is_enough
	local before
	lane_fs
	lane_image --type fixed
	churn
	lane_opens
	if command -v xfs_fsr >/dev/null; then
		before=$(filefrag -v $DIR/a.vhd | md5sum)
		xfs_fsr -v $DIR/a.vhd || true
		[ "$(filefrag -v $DIR/a.vhd | md5sum)" = "$before" ] || fail 'xfs_fsr has moved it'
	fi
	cp --reflink=always $DIR/a.vhd $DIR/copy
	dd if=$DIR/copy of=copied bs=1M iflag=direct status=none
	wait_for 30 reads_other_way
	vhdio write "$DEV" 8 $OTHER 4096 -d
	dd if=$DIR/copy of=again bs=1M iflag=direct status=none
	cmp copied again || fail 'the copy has changed with the device'
	churn_ends
	umount -l $DIR
	vhdio verify "$DEV" 8 $OTHER 4096 -d
	detach
}
reads_other_way() { local hits; hits=$(attr hits); poke; poke; [ "$(attr hits)" = "$hits" ] && [ "$(attr mapped)" = 0 ]; }

# Who has the image open for writing could swap its extents, which breaks no layout:
# there is no lane before he has it open, nor while he has
t_opened_for_writing() {
	uml_is_enough
	local breaks hits
	lane_fs
	lane_image --type fixed
	churn
	lane_opens
	breaks=$(attr breaks)
	exec 9<>$DIR/a.vhd
	broken_more "$breaks" || fail 'the lane stayed open while somebody opened the image for writing'
	hits=$(attr hits)
	for _ in $(seq 40); do poke; sleep 0.05; done
	[ "$(attr)" = closed ] || fail "the lane is $(attr) while the image is open for writing"
	[ "$(attr hits)" = "$hits" ] || fail 'there are hits while the image is open for writing'
	exec 9>&-
	lane_opens
	churn_ends
	detach
}

# That call itself: the blocks are another file's now, and what the device writes is
# in those that it got for them
t_extents_swapped() {
	local breaks donor before seed
	places() { filefrag -e -b512 $DIR/a.vhd | awk '$1 ~ /^[0-9]+:$/ { print $4 }' | md5sum; }
	requires xfs_io
	requires filefrag
	lane_fs
	lane_image --type fixed
	cp --reflink=never $DIR/a.vhd $DIR/donor
	sync -f $DIR
	lane_opens $((VICTIM / 8))
	vhdio write "$DEV" 1 $VICTIM 64 -d
	breaks=$(attr breaks)
	before=$(places)
	xfs_io -c "swapext $DIR/donor" $DIR/a.vhd
	[ "$(places)" != "$before" ] || fail 'nothing was swapped'
	broken_more "$breaks" || fail 'the lane stayed open'
	donor=$(md5sum < $DIR/donor)
	for seed in 2 3 4; do
		vhdio write "$DEV" $seed $VICTIM 4096 -b 8 -t 8 -r -d -f
		vhdio verify "$DEV" $seed $VICTIM 4096 -d
		echo 3 > /proc/sys/vm/drop_caches
		[ "$(md5sum < $DIR/donor)" = "$donor" ] || fail 'the device has written to blocks of another file'
		lane_opens $((VICTIM / 8))
	done
	vhdio verify "$DEV" 1 0 $VICTIM -d
	detach
}

# The file system goes away, and the device stays
t_lazily_unmounted() {
	uml_is_enough
	lane_fs
	lane_image --type fixed
	churn
	lane_opens
	umount -l $DIR
	wait_for 60 hits_more "$(($(attr hits) + 100))"
	churn_ends
	detach
}

run_cases "$@"
