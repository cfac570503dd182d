#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the image file holds, read by somebody else through O_DIRECT while the
# device is attached: all of it after a flush, within seconds without one, at
# once after the last close.
. "${0%/*}/../lib.sh"

# The file as another machine would find it: copy. A copy takes its time: while
# the file grows ahead of need it would get the end of one moment and the size
# of another.
copy_image() {
	local size=''
	until [ "$size" = "$(stat -c %s a.vhd)" ]; do
		size=$(stat -c %s a.vhd)
		dd if=a.vhd of=copy.vhd bs=1M iflag=direct conv=sparse status=none 2>/dev/null ||
			dd if=a.vhd of=copy.vhd bs=1M conv=sparse status=none
		truncate -s "$size" copy.vhd
	done
}

# in_file BLOCKS SEED FIRST COUNT [OPTION]...: what an independent reader finds
in_file() {
	local blocks=$1 faults
	shift
	copy_image
	faults=$(vhdread check --exact-blocks "$blocks" copy.vhd) || fail "$faults"
	vhdread raw copy.vhd copy.raw
	vhdio verify copy.raw "$@"
}

# eventually SECONDS COMMAND...
eventually() {
	local end=$((SECONDS + $1))
	shift
	until ( "$@" ) 2>/dev/null; do
		[ $SECONDS -lt $end ] || fail "not after so long: $*"
		sleep 0.2
	done
}

t_fsync() {
	create --size 100M a.vhd
	attach a.vhd
	exec 9<>"$DEV"
	vhdio write "$DEV" 1 0 8192 -b 64 -f
	in_file 0,1 1 0 8192
	vhdio write "$DEV" 2 100000 8 -f -d
	in_file 0,1,24 2 100000 8
	# A block that is there already, then one write over the border
	vhdio write "$DEV" 3 4000 8 -f
	in_file 0,1,24 3 4000 8
	vhdio write "$DEV" 4 $((4096 * 10 - 4)) 8 -b 8 -f -d
	in_file 0,1,9,10,24 4 $((4096 * 10 - 4)) 8
	exec 9>&-
	detach
	sound a.vhd
}

t_fsync_clear_bits() {
	uml_is_enough
	vhdmake dynamic a.vhd $((20 * MIB)) blocks=4,1 bits=none raw=a.raw
	attach a.vhd
	exec 9<>"$DEV"
	vhdio write "$DEV" 2 4100 50 -b 50 -f -d
	in_file 1,4 2 4100 50
	vhdio verify copy.raw 0 4096 4 -b 4
	vhdio verify copy.raw 0 4150 1000
	exec 9>&-
	detach
	sound a.vhd
}

t_fsync_of_a_file() {
	create --size 100M a.vhd
	attach a.vhd
	make_fs ext4 "$DEV"
	mount "$DEV" mnt
	head -c 100000 /dev/urandom > mnt/file
	sync mnt/file
	copy_image
	md5sum < mnt/file > want
	umount mnt
	detach_soon
	attach copy.vhd
	mount "$DEV" mnt
	md5sum < mnt/file | cmp - want || fail 'a synced file is not in the image'
	umount mnt
	detach_soon
}

# One of O_DSYNC: dd oflag=dsync waits for FUA or a flush after each write
slow_dsync() {
	create --size 100M a.vhd
	attach a.vhd
	exec 9<>"$DEV"
	head -c 64k /dev/urandom > data
	dd if=data of="$DEV" bs=16k seek=1000 oflag=direct,dsync status=none
	copy_image
	vhdread raw copy.vhd copy.raw
	cmp data <(dd if=copy.raw bs=16k skip=1000 count=4 status=none)
	exec 9>&-
	detach
}

t_timer() {
	create --size 100M a.vhd
	attach a.vhd
	exec 9<>"$DEV"
	vhdio write "$DEV" 1 50000 64 -d
	eventually 15 in_file 12 1 50000 64
	# Again, for the timer must not have fired for the last time
	vhdio write "$DEV" 1 80000 64 -d
	eventually 15 in_file 12,19 1 80000 64
	exec 9>&-
	detach
}

t_last_close() {
	local entry
	create --size 100M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 8 -d
	entry=$(dd if=a.vhd bs=512 skip=3 count=1 iflag=direct status=none | od -A n -t x1 -N 4)
	[ "$entry" != ' ff ff ff ff' ] || fail 'the last close has published nothing'
	in_file 0 1 0 8
	detach
}

# bitmap_before_commit FIRST SECTOR: the bitmap there, when 40 new blocks have been written
# to, from their sector FIRST on, and nothing has been committed
bitmap_before_commit() {
	local i commits
	for i in 1 2 3 4 5; do
		rm -f a.vhd
		create --size 100M a.vhd
		attach a.vhd
		exec 9<>"$DEV"
		vhdio write "$DEV" 1 "$1" $((40 * 4096)) -b 8 -p 4096 -d
		dd if=a.vhd of=bitmap bs=512 skip="$2" count=1 iflag=direct status=none
		commits=$(cat "/sys/block/${DEV#/dev/}/vhd/commits")
		exec 9>&-
		detach
		sound a.vhd
		[ "$commits" -gt 0 ] || return 0
	done
	skip 'too slow: there is always a commit before'
}

# Who writes a block's first sector brings its bitmap
t_bitmaps_with_data() {
	local sector
	uml_is_enough
	bitmap_before_commit 0 1
	sector=$((16#$(dd if=a.vhd bs=4 skip=$((0x600 / 4 + 30)) count=1 status=none | od -A n -t x1 | tr -d ' ')))
	bitmap_before_commit 0 "$sector"
	tr -d '\377' < bitmap | cmp - /dev/null || fail 'no bitmap came with the data'
	bitmap_before_commit 8 "$sector"
	tr -d '\0' < bitmap | cmp - /dev/null || fail 'a bitmap came from elsewhere'
}

# At every moment the file ends with a footer
slow_footer_always() {
	local i
	create --size 400M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 $((400 * 2048 - 4096)) -p 4096 -t 4 -d &
	for i in 1 2 3 4 5 6 7 8; do
		# Size and last sector cannot be read at once: two of three will do
		vhdread info a.vhd > info || vhdread info a.vhd > info || vhdread info a.vhd > info
		dd if=a.vhd bs=512 skip=$(($(stat -c %s a.vhd) / 512 - 1)) count=1 iflag=direct status=none | grep -aq conectix ||
			note "round $i: the file grew meanwhile"
	done
	wait $!
	detach
	sound a.vhd
}

run_cases "$@"
