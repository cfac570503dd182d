#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# queue.sh DRIVER - the functions of DRIVER/io.c between queue_rq and the handling of a
# request, with their structures, and DRIVER/linger.c, for queue.c
set -eu
for s in vhd_linger vhd_queue; do sed -n "/^struct $s {/,/^}/p" "$1/vhd.h"; done
sed -e '/^#include/d' "$1/linger.c"
grep -E '^#define VHD_(DRAIN_SINGLY|SINGLES)\>' "$1/io.c"
for f in vhd_queue_drain vhd_queue_sleep vhd_queue_thread vhd_work_begin vhd_work_end vhd_local_work vhd_queue_single vhd_queue_kick vhd_take_lane vhd_queue_rq vhd_commit_rqs vhd_queues_settle; do
	text=$(sed -n "/^[a-z].*\\b$f(/,/^}/p" "$1/io.c")
	[ -n "$text" ] || { echo "no $f in io.c" >&2; exit 1; }
	echo "$text"
done
