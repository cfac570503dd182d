#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a device tells of itself: counters that agree with known requests, the
# tracepoints that the manual's examples name, metrics for Prometheus.
. "${0%/*}/../lib.sh"

GUIDE=$REPO/Documentation/admin-guide/vhd.rst

counter() { cat "/sys/block/${DEV##*/}/vhd/$1"; }

# counts NAME BEFORE BY: it has grown by so much
counts() {
	local now
	now=$(counter "$1")
	[ $((now - $2)) = "$3" ] || fail "$1: $2 -> $now, expected $3 more"
}

t_commits_and_flushes() {
	local commits flushes
	create --size 100M a.vhd
	attach a.vhd
	exec 9<>"$DEV"
	commits=$(counter commits) flushes=$(counter flushes)
	vhdio write "$DEV" 1 0 8192 -b 64 -d -f
	counts allocations 0 2
	counts flushes "$flushes" 1
	[ "$(counter commits)" -gt "$commits" ] || fail 'no commit'
	# Nothing new: a flush is no commit
	commits=$(counter commits)
	vhdio write "$DEV" 2 0 64 -b 64 -d -f
	counts flushes "$flushes" 2
	counts commits "$commits" 0
	counts rollbacks 0 0
	counts unmaps 0 0
	[ "$(counter growths)" -gt 0 ] || fail 'it has not grown'
	blkdiscard -o 0 -l 2M "$DEV"
	counts unmaps 0 1
	exec 9>&-
	detach
}

# A block that its image has in part needs its bitmap: it is read once
t_bitmap_cache() {
	local hits misses
	create --size 20M base.vhd
	attach base.vhd
	vhdio write "$DEV" 1 0 8192 -b 64 -d -f
	detach
	create --parent base.vhd child.vhd
	attach --no-partscan child.vhd
	exec 9<>"$DEV"
	vhdio write "$DEV" 2 8 8 -b 8 -d -f
	exec 9>&-
	detach
	attach --no-partscan -r child.vhd
	hits=$(counter bitmap_hits) misses=$(counter bitmap_misses)
	vhdio verify "$DEV" 2 8 8 -b 8 -d
	vhdio verify "$DEV" 1 1024 64 -b 8 -d
	# The child's, once; and the parent's, which shows the block to be whole
	counts bitmap_misses "$misses" 2
	[ "$(counter bitmap_hits)" -ge $((hits + 8)) ] || fail "bitmap_hits: $hits -> $(counter bitmap_hits)"
	# What is elsewhere, or was seen to be whole, needs none
	vhdio verify "$DEV" 1 4096 8 -b 8 -d
	hits=$(counter bitmap_hits) misses=$(counter bitmap_misses)
	vhdio verify "$DEV" 1 4096 64 -b 8 -d
	counts bitmap_misses "$misses" 0
	counts bitmap_hits "$hits" 0
	detach
}

# They do not begin anew with a new top
t_counters_outlive_a_snapshot() {
	local name before=() i=0
	create --size 60M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 40960 -b 64 -d -f
	for name in commits allocations growths; do before+=("$(counter $name)"); done
	vhdctl snapshot "$DEV" b.vhd
	[ "$(counter depth)" = 2 ] || fail "depth $(counter depth)"
	for name in commits allocations growths; do
		[ "$(counter $name)" -ge "${before[i]}" ] || fail "$name: ${before[i]} -> $(counter $name)"
		i=$((i + 1))
	done
	detach_soon
}

t_linger() {
	local us=/sys/module/vhd/parameters/linger_us before hits
	create --size 20M a.vhd
	before=$(cat $us)
	cleanup_fn eval "echo $before > $us"
	echo 0 > $us
	attach a.vhd
	vhdio write "$DEV" 1 0 40960 -b 64 -d -f
	counts linger_hits 0 0
	before=$(counter linger_sleeps)
	[ "$before" -gt 0 ] || fail 'no worker has slept'
	echo 1000 > $us
	for _ in $(seq 20); do
		vhdio verify "$DEV" 1 0 40960 -b 8 -t 4 -d
		hits=$(counter linger_hits)
		[ "$hits" = 0 ] || break
	done
	[ "$hits" -gt 0 ] || fail "no worker has stayed awake (slept $before -> $(counter linger_sleeps))"
	detach
}

# --- tracepoints --------------------------------------------------------------

events() {
	TRACING=/sys/kernel/tracing
	mountpoint -q $TRACING || mount -t tracefs none $TRACING 2>/dev/null || skip 'no tracefs in this kernel'
	[ -e $TRACING/events/vhd ] || skip 'no tracepoints in this kernel'
}

# Who asks for one piece after the other and waits is served on his own processor
t_own_processor() {
	local n
	[ "$(nproc)" -gt 1 ] || skip 'there is no other processor'
	events
	create --size 20M a.vhd
	attach --fast-lane=off --no-partscan a.vhd
	vhdio write "$DEV" 1 0 4096 -b 64 -d -f
	echo 1 > $TRACING/events/workqueue/workqueue_execute_start/enable
	cleanup_fn eval "echo 0 > $TRACING/events/workqueue/workqueue_execute_start/enable"
	echo > $TRACING/trace
	vhdio verify "$DEV" 1 0 4096 -b 8 -d
	n=$(grep -c vhd_local_work $TRACING/trace) || true
	[ "$n" -gt 100 ] || fail "$n of 512 reads were"
	detach
}

# The examples for bpftrace name events and fields that there are
t_examples_of_tracing() {
	local event field n=0
	events
	for event in $(grep -oE 'tracepoint:vhd:[a-z_]+' "$GUIDE" | sort -u); do
		[ -e "$TRACING/events/vhd/${event##*:}/format" ] || fail "the manual names $event"
		n=$((n + 1))
	done
	[ $n -ge 2 ] || fail 'the manual has no example'
	for event in vhd_commit vhd_error; do
		for field in $(sed -n "/tracepoint:vhd:$event/,/tracepoint:vhd:\|^\$/p" "$GUIDE" | sed "1!{/tracepoint:vhd:/d}" |
			grep -oE 'args->[a-z_]+' | sort -u); do
			grep -q "field:.* ${field#args->};" $TRACING/events/vhd/$event/format || fail "$event has no ${field#args->}"
		done
	done
	for event in "$TRACING"/events/vhd/*/format; do
		event=$(basename "${event%/format}")
		grep -q "\*$event\*" "$REPO/Documentation/man/vhd.4.scd" || fail "vhd(4) does not tell of $event"
	done
}

t_tracepoints() {
	events
	cleanup_fn eval "echo 0 > $TRACING/events/vhd/enable; echo > $TRACING/trace"
	create --size 20M a.vhd
	attach a.vhd
	echo > $TRACING/trace
	echo 1 > $TRACING/events/vhd/enable
	vhdio write "$DEV" 1 0 40960 -b 64 -d -f
	grep -qE "vhd_commit: ${DEV##*/} blocks [1-9][0-9]* bitmaps 0 error 0" $TRACING/trace || fail "$(cat $TRACING/trace)"
	grep -qE "vhd_grow: ${DEV##*/} tail [0-9]+ error 0" $TRACING/trace || fail "$(cat $TRACING/trace)"
	detach
}

# The example for bpftrace does what the manual says, as it stands there. (User Mode
# Linux has neither BPF programs on tracepoints nor perf events, which they need.)
t_bpftrace() {
	local script block=0
	[[ $(uname -r) == 6.1.* ]] || [ -n "${VHD_TEST_WHOLE:-}" ] || skip 'is tested on 6.1, which the bpftrace of Debian 12 was made for'
	requires bpftrace
	events
	[ -e /sys/kernel/btf/vmlinux ] || skip 'no BTF in this kernel'
	script=$(sed -n "/# bpftrace -e '/,/'\$/p" "$GUIDE" | sed "1s/.* -e '//; \$s/'\$//")
	[ -n "$script" ] || fail 'the manual has no example'
	create --size 400M a.vhd
	attach a.vhd
	bpftrace -B none -e "$script tracepoint:vhd:vhd_commit /args->blocks == 1/ { printf(\"seen\\n\"); }" > bpftrace.out 2>&1 &
	cleanup_fn eval "kill -9 $! 2>/dev/null || true"
	# It compiles first: commits of one block each, until it has seen one
	until grep -q '^seen' bpftrace.out; do
		kill -0 $! 2>/dev/null || fail "$(cat bpftrace.out)"
		[ $block -lt 100 ] || fail "nothing seen: $(cat bpftrace.out)"
		vhdio write "$DEV" 1 $((block * 4096)) 8 -d -f
		block=$((block + 1))
		sleep 1
	done
	kill -INT $!
	wait $! || fail "$(cat bpftrace.out)"
	note "$(cat bpftrace.out)"
	grep -q "^@blocks\[${DEV#/dev/vhd}\]:" bpftrace.out || fail 'no histogram of this device'
	grep -qE '^\[1\] +[1-9]' bpftrace.out || fail 'no commit of one block'
	! grep -q 'error' bpftrace.out || fail 'errors where there were none'
	detach
}

# --- Prometheus ---------------------------------------------------------------

t_metrics() {
	uml_is_enough
	local name
	create --size 20M a.vhd
	create --size 20M b.vhd
	attach a.vhd
	attach b.vhd
	vhdio write "$DEV" 1 0 8192 -b 64 -d -f
	"$REPO/tools/vhd-metrics" vhd.prom
	[ ! -e vhd.prom.new ] || fail 'half of a file is left'
	grep -qx "vhd_allocated_blocks{device=\"${DEV##*/}\"} 2" vhd.prom || fail "$(cat vhd.prom)"
	grep -qx "vhd_allocations_total{device=\"${DEV##*/}\"} 2" vhd.prom || fail "$(cat vhd.prom)"
	[ "$(grep -c '^vhd_failed{device="vhd[0-9]*"} 0$' vhd.prom)" = 2 ] || fail "$(cat vhd.prom)"
	# As node_exporter reads it: told of, typed, no name twice, numbers
	! grep -vE '^(# HELP vhd_[a-z_]+ .+|# TYPE vhd_[a-z_]+ (gauge|counter)|vhd_[a-z_]+\{device="vhd[0-9]+"\} [0-9]+)$' vhd.prom || fail 'no metrics'
	[ -z "$(sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' vhd.prom | sort | uniq -d)" ] || fail 'a name twice'
	for name in $(sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' vhd.prom); do
		[ "$(grep -c "^$name{" vhd.prom)" = 2 ] || fail "$name: $(grep "^$name{" vhd.prom)"
	done
	vhdctl detach --all
	"$REPO/tools/vhd-metrics" > none
	! grep -v '^#' none || fail 'metrics of no device'
}

# Each file is told of, and the reverse
t_sysfs_is_documented() {
	local abi=$REPO/Documentation/ABI/testing/sysfs-block-vhd
	create --size 20M a.vhd
	attach a.vhd
	(cd "/sys/block/${DEV##*/}/vhd" && printf '%s\n' *) | sort > files
	sed -n 's,^What:.*/sys/block/vhdN/vhd/\([a-z_]\+\)$,\1,p' "$abi" | sort > told
	diff files told || fail 'files of /sys/block/vhdN/vhd and what the ABI tells of'
	detach
}

run_cases "$@"
