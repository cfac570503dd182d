#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# After all that the other files have done: has the driver freed what it allocated?
# Not by looking for pointers, as kmemleak does, but by the slab allocator's account
# of who has allocated what is in use; see allocated() in lib.sh. What is not in it:
# whole pages, per-cpu memory, and what others allocate for the driver.
. "${0%/*}/../lib.sh"

# Requests of several bios, because their bvecs are copied: neighbouring ones of the
# page cache are merged
written_through_the_cache() {
	dd if=/dev/zero bs=1M count=20 status=none | tr '\0' 'x' | dd of="$DEV" bs=1M iflag=fullblock conv=notrunc,fsync status=none
}

# Until a read takes the lane, for which the image has to have a place on the disk
on_the_lane() {
	local hits=/sys/block/${DEV##*/}/vhd/fast_lane_hits _
	for _ in $(seq 100); do
		dd if="$DEV" of=/dev/null bs=4k count=1 iflag=direct status=none
		[ "$(cat "$hits")" = 0 ] || return 0
		sleep 0.1
	done
	fail 'no read has taken the fast lane'
}

# The account sees what there is, and that it goes
t_all_is_freed() {
	accounted || skip 'nobody keeps account of allocations (tests/suite --leaks)'
	create --size 40M a.vhd
	attach a.vhd
	[ "$(allocated | wc -l)" -ge 8 ] || fail "of a device that is there too little is seen: $(allocated)"
	written_through_the_cache
	detach
	if [ "${VHD_TEST_FS:-}" = xfs ]; then
		attach --fast-lane=on a.vhd
		on_the_lane
		[[ $(allocated) = *vhd_lane_* ]] || fail "no lane is seen: $(allocated)"
		detach
	fi
	nothing_allocated
}

run_cases "$@"
