#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Many writers at once where nothing is allocated: right content, one slot a
# block, no slot for nobody.
. "${0%/*}/../lib.sh"

# The blocks 0..N-1 as a list
first_blocks() { seq -s, 0 $(($1 - 1)); }

# storm NAME BLOCKS VERIFY-OPTIONS... -- WRITE-OPTIONS: then all is checked
storm() {
	local blocks=$1 sectors=$(($2)) count
	shift 2
	attach a.vhd
	vhdio write "$DEV" 1 0 $sectors "$@"
	vhdio verify "$DEV" 1 0 $sectors "$@"
	detach
	sound a.vhd --aligned --exact-blocks "$(first_blocks "$blocks")"
	attach a.vhd
	vhdio verify "$DEV" 1 0 $sectors "$@"
	detach
	# One slot a block: what the file has beyond is less than one
	count=$(($(stat -c %s a.vhd) / (${BLOCK:-2097152} + 4096)))
	[ $count = "$blocks" ] || fail "$count slots in the file for $blocks blocks"
}

t_one_block() {
	create --size 64M a.vhd
	storm 1 4096 -b 8 -t 64 -r -d
}

t_one_block_sector_by_sector() {
	create --size 64M a.vhd
	storm 1 4096 -b 1 -t 32 -r -d
}

t_many_blocks_one_write_each() {
	create --size 256M a.vhd
	storm 100 '100 * 4096 - 4096 + 8' -b 8 -p 4096 -t 64 -r -d
}

t_all_of_many_blocks() {
	create --size 64M a.vhd
	storm 16 '16 * 4096' -b 16 -t 32 -r -d
}

slow_over_borders() {
	create --size 64M a.vhd
	storm 16 '16 * 4096' -b 100 -t 16 -r -d
}

slow_through_the_page_cache() {
	create --size 64M a.vhd
	storm 16 '16 * 4096' -b 16 -t 32 -r -f
}

slow_512k_blocks() {
	create --size 64M --block-size 512K a.vhd
	BLOCK=524288
	storm 64 '64 * 1024' -b 32 -t 32 -r -d
}

# More blocks at once than can be allocated between two commits
t_more_blocks_than_a_commit_takes() {
	create --size 800M --block-size 512K a.vhd
	BLOCK=524288
	storm 1500 '1500 * 1024 - 1024 + 8' -b 8 -p 1024 -t 64 -r -d
}

# Readers see zeros or the new content, nothing else, while it happens
t_readers_meanwhile() {
	create --size 64M a.vhd
	attach a.vhd
	head -c 1024 /dev/zero > map
	vhdio write "$DEV" 1 0 65536 -b 64 -t 16 -r -d &
	for _ in 1 2 3 4; do
		vhdio verify "$DEV" 1 0 65536 -b 64 -t 4 -m map -d
	done
	wait $!
	vhdio verify "$DEV" 1 0 65536 -b 64 -d
	detach
	sound a.vhd
}

run_cases "$@"
