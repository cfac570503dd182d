#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Chains of differencing images, as the driver sees them: descriptors, no names.
. "${0%/*}/../lib.sh"

attr() { cat "/sys/block/${DEV#/dev/}/vhd/$1"; }

# base (seed 1 everywhere), then a child with seed 2 in some places
two_layers() {
	chains make base.vhd 20 2048
	DEV=$(chains attach base.vhd)
	vhdio write "$DEV" 1 0 40960 -b 256 -f
	detach
	chains make child.vhd 20 "${1:-2048}" base.vhd
	DEV=$(chains attach child.vhd base.vhd)
}

t_two_layers() {
	uml_is_enough
	local before
	two_layers
	before=$(md5sum base.vhd)
	[ "$(attr depth)" = 2 ] && [ "$(attr type)" = differencing ] || fail "depth $(attr depth), $(attr type)"
	[ "$(attr parent_file)" = "$PWD/base.vhd" ] || fail "parent_file: $(attr parent_file)"
	vhdio verify "$DEV" 1 0 40960 -b 256
	# Odd places and sizes, in blocks that the child does not have
	vhdio write "$DEV" 2 1001 15000 -b 3 -p 77 -r -t 8 -d
	vhdio verify "$DEV" 2 1001 15000 -b 3 -p 77
	vhdio verify "$DEV" 1 1004 15000 -b 74 -p 77
	vhdio verify "$DEV" 1 16100 20000 -b 100
	detach
	[ "$(md5sum base.vhd)" = "$before" ] || fail 'the parent was written to'
	sound child.vhd
	DEV=$(chains attach child.vhd base.vhd)
	vhdio verify "$DEV" 2 1001 15000 -b 3 -p 77
	vhdio verify "$DEV" 1 1004 15000 -b 74 -p 77
	detach
	sound child.vhd
}

# A block written by and by becomes the child's own
t_all_of_a_block() {
	uml_is_enough
	two_layers 512
	vhdio write "$DEV" 2 0 4096 -b 1 -r -t 4 -d -f
	vhdio verify "$DEV" 2 0 4096
	vhdio verify "$DEV" 1 4096 8192
	detach
	DEV=$(chains attach child.vhd base.vhd)
	vhdio verify "$DEV" 2 0 4096
	vhdio verify "$DEV" 1 4096 8192
	detach
	sound child.vhd
}

# Blocks of all sizes, a fixed base, a child longer than its parent
t_sizes() {
	uml_is_enough
	chains make base.vhd 7 0
	DEV=$(chains attach base.vhd)
	vhdio write "$DEV" 1 0 14336 -b 64 -f
	detach
	chains make a.vhd 7 512 base.vhd
	chains make b.vhd 5 2048 a.vhd
	chains make c.vhd 12 1024 b.vhd
	DEV=$(chains attach c.vhd b.vhd a.vhd base.vhd)
	[ "$(device_bytes "$DEV")" = $((12 * MIB)) ] || fail "size $(device_bytes "$DEV")"
	vhdio verify "$DEV" 1 0 10240
	vhdio verify "$DEV" 0 10240 14336
	vhdio write "$DEV" 2 10200 100 -b 1
	vhdio verify "$DEV" 1 10000 200
	vhdio verify "$DEV" 2 10200 100
	vhdio verify "$DEV" 0 10300 14200
	detach
}

# Parents are shared; who writes an image has it alone
t_claims() {
	uml_is_enough
	local one two
	two_layers
	chains make other.vhd 20 2048 base.vhd
	one=$DEV
	two=$(chains attach other.vhd base.vhd)
	vhdio write "$one" 3 0 64 -f
	vhdio write "$two" 4 0 64 -f
	vhdio verify "$one" 3 0 64
	vhdio verify "$two" 4 0 64
	chains attach -e 16 base.vhd
	detach "$two"
	chains attach -e 16 base.vhd
	# To be read by one more, it may
	two=$(chains attach -r base.vhd)
	vhdio verify "$two" 1 0 4096
	detach "$two"
	detach "$one"
	two=$(chains attach base.vhd)
	chains attach -e 16 child.vhd base.vhd
	detach "$two"
	DEV=$(chains attach child.vhd base.vhd)
	vhdio verify "$DEV" 3 0 64
	detach
}

t_refused() {
	uml_is_enough
	two_layers
	detach
	chains make stranger.vhd 20 2048
	chains attach -e 6 child.vhd
	chains attach -e 6 child.vhd stranger.vhd
	chains attach -e 6 base.vhd stranger.vhd
	chains attach -e 6 child.vhd base.vhd stranger.vhd
	chains attach -e 22 child.vhd child.vhd
	chains attach -e 22 child.vhd base.vhd base.vhd
	chains attach -e 22 -r child.vhd child.vhd
	truncate -s 20M raw
	chains attach -e 124 child.vhd raw
	chains attach -e 22 child.vhd /dev/null
	# No pipe: grep -q ends at once, and dmesg with a signal
	grep -q 'parent_unique_id is not the parent' <<< "$(dmesg)" || fail 'the log does not tell why'
	DEV=$(chains attach -i child.vhd stranger.vhd)
	vhdio verify "$DEV" 0 0 4096
	detach
	# Nothing was left behind
	DEV=$(chains attach child.vhd base.vhd)
	vhdio verify "$DEV" 1 0 4096
	detach
}

# On a file system that cannot be written to
t_read_only_parent() {
	uml_is_enough
	small_fs ext4 64
	two_layers
	detach
	cp base.vhd $SMALL/
	mount -o remount,ro $SMALL
	DEV=$(chains attach child.vhd $SMALL/base.vhd)
	vhdio write "$DEV" 2 5 100 -b 1 -f
	vhdio verify "$DEV" 2 5 100
	vhdio verify "$DEV" 1 105 10000
	detach
	DEV=$(chains attach -r child.vhd $SMALL/base.vhd)
	vhdio verify "$DEV" 2 5 100
	! vhdio write "$DEV" 2 5 1 -f 2>/dev/null || fail 'written read-only'
	detach
}

# Many layers, each with a bit of its own
t_deep() {
	local i paths=(0.vhd)
	chains make 0.vhd 4 512
	DEV=$(chains attach 0.vhd)
	vhdio write "$DEV" 1 0 8192 -b 64 -f
	detach
	for ((i = 1; i <= 127; i++)); do
		chains make $i.vhd 4 512 $((i - 1)).vhd
		paths=($i.vhd "${paths[@]}")
		[ $((i % 16)) = 15 ] || continue
		DEV=$(chains attach "${paths[@]}")
		vhdio write "$DEV" $i $((i * 16)) 16 -b 1 -f
		detach
	done
	DEV=$(chains attach "${paths[@]}")
	[ "$(attr depth)" = 128 ] || fail "depth $(attr depth)"
	for ((i = 15; i <= 127; i += 16)); do
		vhdio verify "$DEV" $i $((i * 16)) 16
		vhdio verify "$DEV" 1 $((i * 16 + 16)) 200
	done
	vhdio verify "$DEV" 1 2048 6144
	detach
}

# Under writers that verify what they wrote, ten children one after the other
t_live_snapshots() {
	local i writer pause worst=0 sum
	chains make 0.vhd 40 2048
	DEV=$(chains attach 0.vhd)
	vhdio write "$DEV" 1 0 81920 -b 512 -f
	for ((i = 1; i <= 10; i++)); do
		chains make $i.vhd 40 2048 $((i - 1)).vhd
		vhdio write "$DEV" $((i + 1)) $((i * 4000)) 6000 -b 8 -t 8 -r -d &
		writer=$!
		sleep 0.1
		pause=$(chains snapshot "$DEV" $((i - 1)).vhd $i.vhd)
		[ "$pause" -le $worst ] || worst=$pause
		sum=$(md5sum $((i - 1)).vhd)
		wait $writer
		vhdio verify "$DEV" $((i + 1)) $((i * 4000)) 6000
		vhdio verify "$DEV" 1 $((i * 4000 + 6000)) $((81920 - i * 4000 - 6000)) -b 256
		[ "$(md5sum $((i - 1)).vhd)" = "$sum" ] || fail 'the parent changed'
	done
	note "worst pause: $worst us"
	[ "$(attr depth)" = 11 ] || fail "depth $(attr depth)"
	[ "$(attr backing_file) $(attr parent_file)" = "$PWD/10.vhd $PWD/9.vhd" ] || fail "$(attr backing_file) $(attr parent_file)"
	detach
	for ((i = 0; i <= 10; i++)); do sound $i.vhd; done
	DEV=$(chains attach {10,9,8,7,6,5,4,3,2,1,0}.vhd)
	for ((i = 1; i < 10; i++)); do vhdio verify "$DEV" $((i + 1)) $((i * 4000)) 4000; done
	vhdio verify "$DEV" 11 40000 6000
	vhdio verify "$DEV" 1 0 4000
	detach
}

# What was there when it was taken is in the old image
t_live_snapshot_keeps() {
	uml_is_enough
	two_layers
	vhdio write "$DEV" 2 100 5000 -b 7
	chains make new.vhd 20 2048 child.vhd
	chains snapshot "$DEV" child.vhd new.vhd
	vhdio write "$DEV" 3 0 8000
	vhdio verify "$DEV" 3 0 8000
	sound child.vhd
	# The old top is a parent now, others may have it as well
	chains make other.vhd 20 2048 child.vhd
	two=$(chains attach other.vhd child.vhd base.vhd)
	vhdio verify "$two" 2 100 5000 -b 7
	vhdio verify "$two" 1 5100 2000
	detach "$two"
	chains attach -e 16 child.vhd base.vhd
	detach
	DEV=$(chains attach child.vhd base.vhd)
	vhdio verify "$DEV" 2 100 5000 -b 7
	detach
}

t_live_snapshot_refused() {
	uml_is_enough
	two_layers
	chains make small.vhd 19 2048 child.vhd
	chains make fine.vhd 20 512 child.vhd
	chains make stranger.vhd 20 2048 base.vhd
	chains make dynamic.vhd 20 2048
	chains make good.vhd 20 2048 child.vhd
	vhdio write "$DEV" 3 0 100 -f
	chains snapshot -e 22 "$DEV" child.vhd small.vhd
	chains snapshot -e 22 "$DEV" child.vhd fine.vhd
	chains snapshot -e 6 "$DEV" child.vhd stranger.vhd
	chains snapshot -e 22 "$DEV" child.vhd dynamic.vhd
	chains snapshot -e 16 "$DEV" child.vhd child.vhd
	chains snapshot -e 16 "$DEV" child.vhd base.vhd
	chains snapshot -e 22 "$DEV" base.vhd good.vhd
	chains snapshot -e 19 /dev/vhd77 child.vhd good.vhd
	[ "$(attr depth)" = 2 ] || fail "depth $(attr depth)"
	vhdio verify "$DEV" 3 0 100
	chains snapshot "$DEV" child.vhd good.vhd
	vhdio verify "$DEV" 3 0 100
	detach
	sound good.vhd
	DEV=$(chains attach -r good.vhd child.vhd base.vhd)
	chains make late.vhd 20 2048 good.vhd
	chains snapshot -e 30 "$DEV" good.vhd late.vhd
	vhdio verify "$DEV" 3 0 100
	detach
}

# Every layer goes the same way, if it can; and what is said of it is so
t_direct_io_of_all_layers() {
	uml_is_enough
	two_layers
	vhdio write "$DEV" 2 100 5000 -b 7
	vhdctl set --direct-io=on "$DEV" || skip 'no direct I/O on this file system'
	[ "$(attr direct_io) $(attr direct_io_layers)" = '1 2' ] || fail "$(attr direct_io) $(attr direct_io_layers)"
	vhdctl set --direct-io=off "$DEV"
	[ "$(attr direct_io) $(attr direct_io_layers)" = '0 0' ] || fail "$(attr direct_io) $(attr direct_io_layers)"
	vhdio verify "$DEV" 2 100 5000
	vhdio verify "$DEV" 1 5100 10000 -b 64
	vhdio write "$DEV" 3 200 1000 -b 8 -t 4 -r -d &
	vhdctl set --direct-io=on "$DEV"
	wait $!
	[ "$(attr direct_io) $(attr direct_io_layers)" = '1 2' ] || fail "$(attr direct_io) $(attr direct_io_layers)"
	vhdio verify "$DEV" 3 200 1000
	vhdio verify "$DEV" 1 5100 10000 -b 64
	detach
	# A parent that cannot, on a file system that cannot
	small_fs tmpfs 60
	cp --sparse=always base.vhd $SMALL/
	DEV=$(chains attach child.vhd $SMALL/base.vhd)
	vhdctl set --direct-io=off "$DEV"
	vhdctl set --direct-io=on "$DEV"
	vhdio verify "$DEV" 3 200 1000
	vhdio verify "$DEV" 1 5100 10000 -b 64
	note "of two layers, one on tmpfs: $(attr direct_io_layers)"
	[ "$(attr direct_io)" = 1 ]
	detach
}

# Everything that may happen to a chain, at random, against an array in memory
model() { # OPERATIONS SEED DEPTH [FIRST]
	local line
	mkdir m
	chains model "$1" "$2" "$3" m ${4:+"$4"} > model.out || fail "seed $2: $(tail -n 1 model.out)"
	while read -r line; do note "seed $2: $line"; done < model.out
	rm -r m
}
t_model() {
	local seed
	for seed in ${VHD_TEST_SEED:-1 2 3}; do model 250 "$seed" 12; done
}

# Documentation/reliability.rst tells how to run it for 10 000 operations
slow_model_deep() {
	model "${VHD_TEST_MODEL:-300}" "${VHD_TEST_SEED:-4}" 128 "${VHD_TEST_FIRST:-120}"
}

run_cases "$@"
