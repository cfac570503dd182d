#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Memory that cannot be had: each allocation fails once, or all of the driver's
# fail. Needs a kernel with fault injection: uml-debug and debug have it. And
# memory that the kernel wants back.
. "${0%/*}/../lib.sh"

FAULTS=/sys/kernel/debug

# set_fault NAME KEY=VALUE...
set_fault() {
	local name=$1 pair
	shift
	for pair; do echo "${pair#*=}" > "$FAULTS/$name/${pair%%=*}"; done
}

faults_off() {
	local name
	for name in failslab fail_page_alloc; do set_fault $name probability=0 times=1 task-filter=N; done
	set_fault failslab cache-filter=N
}

requires_faults() {
	[ -e /proc/self/fail-nth ] && [ -d $FAULTS/failslab ] || skip 'no fault injection in this kernel'
	cleanup_fn faults_off
	# Allocations that may sleep are the ones that matter
	set_fault failslab verbose=0 ignore-gfp-wait=N
	set_fault fail_page_alloc verbose=0 ignore-gfp-wait=N ignore-gfp-highmem=N min-order=0
}

# each OPERATION [STEP]: and the module can go afterwards, so that no device is
# left behind; the image is sound. A leak shows in every round; what KASAN's
# quarantine and RCU still hold at the moment of a look, only now and then.
each() {
	local slab_before slab_after
	requires_faults
	create --size 40M a.vhd
	if [ -n "${VHD_TEST_ATTACH:-}" ]; then
		# The tool marks the image for the fast lane, failnth does not
		attach a.vhd
		note "fast lane: $(cat "/sys/block/${DEV##*/}/vhd/fast_lane")"
		detach
	fi
	cycles a.vhd 10
	slab_before=$(slab)
	for _ in 1 2 3; do
		failnth a.vhd "$@"
		! accounted || nothing_allocated
		rmmod vhd
		modprobe vhd
		sleep 1
		slab_after=$(slab)
		note "unreclaimable slab: $slab_before -> $slab_after KiB"
		# Some hundred failures that leave a page each would be 2 MiB
		[ $((slab_after - slab_before)) -ge 1200 ] || break
		slab_before=$slab_after
	done
	[ $((slab_after - slab_before)) -lt 1200 ] || fail 'slab grew in each of three rounds'
	attach a.vhd
	detach_soon
	sound a.vhd
}
slab() { sync; echo 3 > /proc/sys/vm/drop_caches; awk '$1 == "SUnreclaim:" { print $2 }' /proc/meminfo; }

t_each_allocation_of_attach() { each attach 1; }
t_each_allocation_of_io() { each io; }
t_each_allocation_of_the_workers() { each workers; }
t_each_allocation_of_set() { each set; }
t_each_allocation_of_detach() { each detach; }

# Of the driver's threads and of those that work for it
mark_threads() {
	local thread
	for thread in /proc/[0-9]*; do
		case $(cat "$thread/comm" 2>/dev/null) in vhd* | kworker/u*) echo 1 > "$thread/make-it-fail" ;; esac
	done
}

# The kernel counts them down; its messages are few, and go when others come
MANY=1000000
did_fail() { [ "$(cat $FAULTS/failslab/times)" -lt $MANY ] || fail 'nothing could be made to fail'; }

# All arrays of bvecs fail while requests of many bios come: bio by bio
t_no_bvecs() {
	local cache
	requires_faults
	create --size 60M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 $((20 * 4096)) -b 128 -d -f
	for cache in 1k 2k 4k 8k; do echo 1 > "/sys/kernel/slab/kmalloc-$cache/failslab" || skip 'caches cannot be made to fail'; done
	mark_threads
	set_fault failslab cache-filter=Y task-filter=Y times=$MANY interval=1 space=0 probability=100
	# Through the page cache: neighbouring bios are merged into large requests
	dd if=/dev/zero bs=1M count=10 status=none | tr '\0' 'x' > want
	dd if=want of="$DEV" bs=1M seek=10 conv=notrunc,fsync status=none
	echo 3 > /proc/sys/vm/drop_caches
	dd if="$DEV" bs=1M skip=10 count=10 status=none | cmp - want
	vhdio verify "$DEV" 1 0 $((5 * 4096)) -b 128
	did_fail
	faults_off
	for cache in 1k 2k 4k 8k; do echo 0 > "/sys/kernel/slab/kmalloc-$cache/failslab"; done
	detach_soon
	sound a.vhd
}

# Bitmaps are given back when the kernel wants memory, and read again
bitmaps_over() { # BLOCKS: a child that has a bit of each
	create --size 60M base.vhd
	attach base.vhd
	vhdio write "$DEV" 1 0 $((60 * 2048)) -b 256
	detach
	create --type diff --block-size 512K --parent base.vhd kid.vhd
	attach kid.vhd
	vhdio write "$DEV" 2 8 $(($1 * 1024 - 16)) -b 8 -p 1024
}
misses() { cat "/sys/block/${DEV#/dev/}/vhd/bitmap_misses"; }
look() { # BLOCKS
	vhdio verify "$DEV" 2 8 $(($1 * 1024 - 16)) -b 8 -p 1024
	vhdio verify "$DEV" 1 16 $(($1 * 1024 - 24)) -b 8 -p 1024
}
t_bitmaps_are_given_back() {
	local before after
	bitmaps_over 40
	detach
	attach kid.vhd
	look 40
	before=$(misses)
	[ "$before" -ge 40 ] || fail "$before bitmaps were read"
	look 40
	[ "$(misses)" = "$before" ] || fail "$(misses) bitmaps were read, $before the first time"
	echo 2 > /proc/sys/vm/drop_caches
	look 40
	after=$(misses)
	[ $((after - before)) -ge 30 ] || fail "only $((after - before)) of $before bitmaps had been given back"
	detach
	sound kid.vhd
}

# While they are read, written and committed. Few rounds: each makes programs be
# looked up anew, too
t_bitmaps_are_given_back_in_use() {
	local pids=() pid i
	bitmaps_over 40
	for i in 1 2 3; do
		(for n in 1 2; do vhdio write "$DEV" $((10 * n + i)) $((i * 20000)) 3000 -b 3 -p 11 -t 2 -r -d -f; done) & pids+=($!)
	done
	for i in 1 2 3 4; do
		echo 2 > /proc/sys/vm/drop_caches
		vhdio verify "$DEV" 1 100000 5000 -b 100
	done
	for pid in "${pids[@]}"; do wait "$pid"; done
	for i in 1 2 3; do vhdio verify "$DEV" $((20 + i)) $((i * 20000)) 3000 -b 3 -p 11; done
	detach
	attach kid.vhd
	for i in 1 2 3; do vhdio verify "$DEV" $((20 + i)) $((i * 20000)) 3000 -b 3 -p 11; done
	detach
	sound kid.vhd
}

# One allocation in twenty of all the driver's threads fails, those of the file
# system below, too: requests take longer, and none fails
t_one_in_twenty() {
	requires_faults
	create --size 100M a.vhd
	attach a.vhd
	mark_threads
	set_fault failslab task-filter=Y times=$MANY interval=1 space=0 probability=5
	set_fault fail_page_alloc task-filter=Y times=$MANY interval=1 space=0 probability=5
	vhdio write "$DEV" 1 0 $((40 * 4096)) -b 64 -t 8 -r -d -f
	vhdio verify "$DEV" 1 0 $((40 * 4096)) -b 64 -t 8 -r -d
	vhdio write "$DEV" 2 4096 $((20 * 4096)) -b 16 -p 64 -t 8 -r -d -f
	did_fail
	faults_off
	vhdio verify "$DEV" 2 4096 $((20 * 4096)) -b 16 -p 64 -d
	detach
	sound a.vhd
}

# The same of requests without data, whose zeroes the file system makes: it punches
# holes, zeroes ranges, or takes zeros that are written
zeroes() {
	local i
	mark_threads
	set_fault failslab task-filter=Y times=$MANY interval=1 space=0 probability=10
	for ((i = 0; i < 16; i++)); do
		blkdiscard "$@" -o $((i * 2 * MIB + 65536)) -l 524288 "$DEV" || fail "request $i failed"
	done
	did_fail
	faults_off
	for ((i = 0; i < 16; i++)); do
		dd if="$DEV" bs=64K skip=$((i * 32 + 1)) count=8 iflag=direct status=none | cmp -n 524288 - /dev/zero
	done
}

t_zeroing_waits_for_memory() {
	local image
	requires_faults
	create --size 32M dynamic.vhd
	create --type fixed --size 32M fixed.vhd
	for image in dynamic.vhd fixed.vhd; do
		attach $image
		dd if=/dev/zero bs=1M count=32 status=none | tr '\0' 'x' | dd of="$DEV" bs=1M oflag=direct iflag=fullblock conv=fsync status=none
		zeroes
		zeroes -z
		detach
		sound $image
	done
}

run_cases "$@"
