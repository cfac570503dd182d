# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Power cuts: the disk below a file system as it is at a moment (dm-snapshot),
# mounted elsewhere, while those who use the file system go on.
#
#	cut_fs MEGABYTES	a file system that can be cut, on $SMALL
#	writer_begin DEVICE FIRST COUNT [VHDIO-OPTION]...
#				writes sectors and flushes, again and again
#	arm			all that can be done before the moment
#	cut			the moment: the file system as it is, on $W/cut;
#				at_cut, yours, looks around while all I/O waits
#	written DEVICE		what the writer had flushed before the moment is there
#	uncut			the copy away again
#	writer_end

cut_fs() { # MEGABYTES
	local disk=${VHD_TEST_SMALL:-/dev/vdb}
	requires_dm snapshot
	[ -b "$disk" ] || skip "no small disk $disk"
	CUT_DISK=$(realpath "$disk") CUT_SECTORS=$(($1 * 2048))
	dmsetup create --noudevsync vhdtest_b --table "0 $CUT_SECTORS linear $CUT_DISK 0"
	dmsetup create --noudevsync vhdtest_c --table "0 65536 linear $CUT_DISK $CUT_SECTORS"
	dmsetup create --noudevsync vhdtest --table "0 $CUT_SECTORS linear $CUT_DISK 0"
	dmsetup mknodes
	small_fs ext4 "$1" /dev/mapper/vhdtest
	mkdir "$W/cut"
}

cut_table() { dmsetup load vhdtest --table "$1"; }
cut_suspend() { dmsetup suspend --noudevsync --nolockfs --noflush vhdtest; }
cut_resume() { dmsetup resume --noudevsync vhdtest; }

arm() {
	dd if=/dev/zero of=/dev/mapper/vhdtest_c bs=4k count=1 oflag=direct status=none
	cut_table "0 $CUT_SECTORS snapshot-origin /dev/mapper/vhdtest_b"
}

cut() {
	read -r WRITER_FIRST < "$W/done"
	cut_suspend
	at_cut
	dmsetup create --noudevsync vhdtest_a --table "0 $CUT_SECTORS snapshot /dev/mapper/vhdtest_b /dev/mapper/vhdtest_c N 8"
	cut_resume
	read -r WRITER_LAST < "$W/begun"
	dmsetup mknodes vhdtest_a
	mount /dev/mapper/vhdtest_a "$W/cut"
}

uncut() {
	umount "$W/cut"
	dmsetup remove --noudevsync --retry vhdtest_a
	cut_suspend
	cut_table "0 $CUT_SECTORS linear $CUT_DISK 0"
	cut_resume
}

# From one write of all of it to the next the seed is one higher
WRITER='' WRITER_SEED=0
writer_begin() { # DEVICE FIRST COUNT [VHDIO-OPTION]...
	local dev=$1
	shift
	WRITER_REGION=("$@")
	write_next "$dev"
	rm -f "$W/stop"
	(while [ ! -e "$W/stop" ]; do write_next "$dev"; done) & WRITER=$!
	cleanup_fn touch "$W/stop"
}
write_next() { # DEVICE
	WRITER_SEED=$((WRITER_SEED + 1))
	told begun
	vhdio write "$1" $WRITER_SEED "${WRITER_REGION[@]}" -t 2 -r -d -f >/dev/null
	told 'done'
}
told() { # FILE: never half of it
	echo $WRITER_SEED > "$W/$1.new"
	mv "$W/$1.new" "$W/$1"
}

writer_end() {
	touch "$W/stop"
	wait $WRITER
	read -r WRITER_SEED < "$W/begun"
}

written() { # DEVICE
	vhdio verify "$1" "$WRITER_FIRST" "${WRITER_REGION[@]}" -u "$WRITER_LAST" || fail 'flushed data are lost'
}
