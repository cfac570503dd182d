#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# fio's own verification at depth 64, submitting 64 at once from two jobs; then
# the image file must hold what the device showed.
. "${0%/*}/../lib.sh"

# Three areas, each written by two jobs: sequentially, at random, mixed with
# reads; each read back by fio, sequentially or at random, and compared.
storm() {
	requires fio
	cat > job <<-END
		[global]
		filename=$DEV
		ioengine=$1
		direct=$2
		iodepth=64
		iodepth_batch_submit=64
		iodepth_batch_complete_min=1
		iodepth_batch_complete_max=64
		verify=crc32c
		verify_fatal=1
		do_verify=1
		numjobs=2
		size=12m
		offset_increment=12m
		random_generator=lfsr
		thread
		[seq]
		rw=write
		bs=64k
		offset=0
		[rand]
		stonewall
		rw=randwrite
		bs=4k
		size=6m
		offset_increment=6m
		offset=30m
		[reread]
		stonewall
		rw=randread
		bs=4k
		size=6m
		offset_increment=6m
		offset=30m
		[mixed]
		rw=randwrite
		bssplit=512/20:4k/30:12k/20:32k/30
		random_generator=tausworthe
		size=6m
		offset_increment=6m
		offset=50m
	END
	fio --eta=never --output=fio.out job || fail "fio: $(grep -E 'verify|err= *[1-9]|fio:' fio.out | head -n 5)"
	! grep -E 'err=[ ]*[1-9]|verify: bad' fio.out || fail 'fio reports an error'
}

# storm_on ENGINE DIRECT: leaves $DEV detached, a.vhd checked against a copy
storm_on() {
	attach a.vhd
	storm "$@"
	dd if="$DEV" of=copy.raw bs=1M iflag=direct conv=sparse status=none
	truncate -s "$(device_bytes "$DEV")" copy.raw
	detach
	sound a.vhd
	same_to_qemu a.vhd copy.raw
}

t_dynamic_empty() {
	create --size 80M a.vhd
	storm_on libaio 1
}

t_fixed() {
	create --size 80M --type fixed a.vhd
	storm_on libaio 1
}

t_dynamic_full() {
	create --size 80M a.vhd
	attach a.vhd
	vhdio write "$DEV" 7 0 $((80 * 2048)) -b 256 -t 4 -d
	detach
	storm_on io_uring 1
	# Where fio did not write, the old content stands.
	attach -r a.vhd
	vhdio verify "$DEV" 7 $((70 * 2048)) $((10 * 2048)) -b 256
	detach
}

slow_dynamic_empty_io_uring_512k_blocks() {
	create --size 80M --block-size 512K a.vhd
	storm_on io_uring 1
}

# Through the page cache above, and around it below
slow_dynamic_buffered() {
	create --size 80M a.vhd
	storm_on io_uring 0
}

run_cases "$@"
