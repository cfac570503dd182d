#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The largest image the format allows: 2040 GiB.
. "${0%/*}/../lib.sh"

# An emulated processor is twenty times slower than the real one
limit_ms() { if is_uml || grep -q -w -E 'vmx|svm' /proc/cpuinfo; then echo 1000; else echo 5000; fi; }
ms() { local t=${EPOCHREALTIME/./}; echo $((t / 1000)); }

# timed LABEL COMMAND...
timed() {
	local label=$1 start took
	shift
	start=$(ms)
	"$@"
	took=$(($(ms) - start))
	note "$label: $took ms"
	[ $took -lt "$(limit_ms)" ] || fail "$label took $took ms"
}

meminfo() { awk -v "name=$1:" '$1 == name { print $2 }' /proc/meminfo; }
# Freed pages that processors keep for themselves are free, but not counted so
available() {
	local pages
	pages=$(awk '$1 == "count:" { n += $2 } END { print n + 0 }' /proc/zoneinfo)
	echo $(($(meminfo MemAvailable) + pages * $(getconf PAGE_SIZE) / 1024))
}
# Twice: what the first round frees comes back after an RCU grace period
settle_memory() {
	local i
	for i in 1 2; do
		sync
		echo 3 > /proc/sys/vm/drop_caches
		sleep 1
	done
}

t_2040_gib() {
	local last=$(((2040 << 30) / 512 - 1))
	timed create create --size 2040G a.vhd
	timed attach attach a.vhd
	[ "$(device_bytes "$DEV")" = $((2040 << 30)) ] || fail "$(device_bytes "$DEV") bytes"
	vhdio write "$DEV" 1 0 1 -b 1 -d -f
	vhdio write "$DEV" 2 $last 1 -b 1 -d -f
	vhdio verify "$DEV" 1 0 1 -b 1 -d
	vhdio verify "$DEV" 2 $last 1 -b 1 -d
	vhdio verify "$DEV" 0 1000000 64
	! dd if="$DEV" of=/dev/null bs=512 skip=$((last + 1)) count=1 iflag=direct status=none ||
		[ "$(dd if="$DEV" bs=512 skip=$((last + 1)) count=1 iflag=direct status=none | wc -c)" = 0 ] || fail 'read beyond the end'
	timed detach detach
	[ "$(stat -c %s a.vhd)" -lt $((10 * MIB)) ] || fail "the file has $(stat -c %s a.vhd) bytes"
	sound a.vhd --aligned --exact-blocks 0,1044479
	attach a.vhd
	vhdio verify "$DEV" 1 0 1 -b 1
	vhdio verify "$DEV" 2 $last 1 -b 1
	detach
}

# Measured with eight, for other things come and go meanwhile
t_2040_gib_memory() {
	local i available slab vmalloc used
	for i in 0 1 2 3 4 5 6 7 8; do create --size 2040G $i.vhd; done
	# Once before measuring: caches of types, per-processor reserves
	attach 0.vhd
	settle_memory
	available=$(available) slab=$(meminfo SUnreclaim) vmalloc=$(meminfo VmallocUsed)
	for i in 1 2 3 4 5 6 7 8; do attach $i.vhd; done
	settle_memory
	used=$(((available - $(available)) / 8))
	slab=$((($(meminfo SUnreclaim) - slab) / 8)) vmalloc=$((($(meminfo VmallocUsed) - vmalloc) / 8))
	note "KiB a device: $used less available, $slab of slab, $vmalloc of vmalloc"
	vhdctl detach --all
	[ $((slab + vmalloc)) -lt 6144 ] || fail "$slab KiB of slab, $vmalloc of vmalloc"
	[ $used -lt 6144 ] || fail "$used KiB less available memory"
}

slow_2040_gib_unaligned_last_block() {
	create --size $(((2040 << 30) - 512)) a.vhd
	attach a.vhd
	vhdio write "$DEV" 2 $(((2040 << 30) / 512 - 9)) 8 -d -f
	vhdio verify "$DEV" 2 $(((2040 << 30) / 512 - 9)) 8
	detach
	sound a.vhd --exact-blocks 1044479
}

run_cases "$@"
