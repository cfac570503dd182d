#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Devices come and go: what stays, what is refused, who may die meanwhile.
. "${0%/*}/../lib.sh"

gone() { [ ! -e "/sys/block/${1#/dev/}" ] && [ ! -e "$1" ]; }
soon() {
	local end=$((SECONDS + 15))
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "never: $*"
		sleep 0.1
	done
}

t_rmmod() {
	create --size 10M a.vhd
	attach a.vhd
	! rmmod vhd || fail 'the module went although a device exists'
	vhdio write "$DEV" 1 0 64 -f
	detach
	rmmod vhd
	[ ! -e /sys/module/vhd ] || fail 'the module is still there'
	modprobe vhd
	attach a.vhd
	vhdio verify "$DEV" 1 0 64
	detach
}

# What is there: open files, slab, devices
slab() { sync; echo 3 > /proc/sys/vm/drop_caches; awk '$1 == "SUnreclaim:" { print $2 }' /proc/meminfo; }
census() {
	ls /sys/block /dev | sort | md5sum
	ls /sys/class/bdi | sort | md5sum
	grep -c . /proc/devices
	cut -f1 /proc/sys/fs/file-nr
}

# A leak shows in every round; what KASAN's quarantine and RCU still hold at the
# moment of a look, only now and then.
t_200_cycles() {
	local before after slab_before slab_after
	create --size 40M a.vhd
	cycles a.vhd 20
	sleep 1
	slab_before=$(slab) before=$(census)
	for _ in 1 2 3; do
		cycles a.vhd 200
		# What RCU and workqueues put off
		sleep 2
		slab_after=$(slab) after=$(census)
		note "unreclaimable slab: $slab_before -> $slab_after KiB"
		[ "$(sed '$d' <<<"$before")" = "$(sed '$d' <<<"$after")" ] || fail "before: $before after: $after"
		[ $(($(tail -n 1 <<<"$after") - $(tail -n 1 <<<"$before"))) -le 64 ] || fail "open files: before $before, after $after"
		# 200 cycles that leave a page each would be 800 KiB
		[ $((slab_after - slab_before)) -ge 600 ] || break
		slab_before=$slab_after
	done
	[ $((slab_after - slab_before)) -lt 600 ] || fail 'slab grew in each of three rounds'
	sound a.vhd
}

# With I/O running a detach is refused; when the writer has ended it works
t_detach_under_io() {
	local writer n=0
	create --size 100M a.vhd
	attach a.vhd
	exec 9<"$DEV"
	vhdio write "$DEV" 1 0 100000 -b 16 -t 16 -r -d &
	writer=$!
	while kill -0 $writer 2>/dev/null && [ $n -lt 20 ]; do
		n=$((n + 1))
		! vhdctl detach "$DEV" 2>/dev/null || fail 'detached under I/O'
	done
	wait $writer
	exec 9>&-
	vhdio verify "$DEV" 1 0 100000 -b 16
	detach
	sound a.vhd
}

t_deferred() {
	uml_is_enough
	create --size 60M a.vhd
	attach a.vhd
	exec 9<>"$DEV"
	vhdctl detach --deferred "$DEV"
	[ -b "$DEV" ] || fail 'gone although open'
	vhdctl list -n -O NAME,DEFERRED | grep -Eq '1|yes|true' || fail 'list does not tell of it'
	vhdio write "$DEV" 1 0 64
	exec 9>&-
	soon gone "$DEV"
	sound a.vhd --exact-blocks 0
	attach a.vhd
	vhdio verify "$DEV" 1 0 64
	detach
	# Nobody has it open: at once
	attach a.vhd
	vhdctl detach --deferred "$DEV"
	soon gone "$DEV"
}

t_cancel_deferred() {
	uml_is_enough
	create --size 60M a.vhd
	attach a.vhd
	exec 9<>"$DEV"
	vhdctl detach --deferred "$DEV"
	vhdctl detach --cancel-deferred "$DEV"
	exec 9>&-
	sleep 1
	[ -b "$DEV" ] || fail 'gone although taken back'
	vhdio write "$DEV" 1 0 64 -f
	detach
}

t_autoclear() {
	uml_is_enough
	create --size 60M a.vhd
	attach a.vhd
	make_fs ext4 "$DEV"
	detach_soon
	attach --autoclear a.vhd
	mount "$DEV" mnt
	echo hello > mnt/file
	umount mnt
	soon gone "$DEV"
	sound a.vhd
	attach a.vhd
	mount "$DEV" mnt
	[ "$(cat mnt/file)" = hello ] || fail 'the file is lost'
	vhdctl set --autoclear=on "$DEV"
	umount mnt
	soon gone "$DEV"
}

# The driver keeps what it needs: the process that attached may be killed
t_attacher_killed() {
	local pid
	create --size 60M a.vhd
	bash -c 'vhdctl attach a.vhd > dev; echo done; exec sleep 1000' > ready &
	pid=$!
	soon grep -q 'done' ready
	kill -9 $pid
	wait $pid || true
	DEV=$(cat dev)
	vhdio write "$DEV" 1 0 8192 -b 64 -f
	rm ready
	vhdio verify "$DEV" 1 0 8192 -b 64 -d
	# Also without the file's name
	mv a.vhd b.vhd
	vhdio write "$DEV" 2 8192 8192 -b 64 -f
	expect_fail 5 'in use|attached|busy' vhdctl attach b.vhd
	detach
	sound b.vhd --exact-blocks 0,1,2,3
}

slow_unlinked_image() {
	create --size 60M a.vhd
	attach a.vhd
	rm a.vhd
	vhdio write "$DEV" 1 0 8192 -b 64 -f
	vhdio verify "$DEV" 1 0 8192 -b 64 -d
	vhdctl list > list
	detach
}

t_partscan() {
	requires sfdisk
	create --size 60M a.vhd
	attach a.vhd
	printf '%s\n' 'label: dos' ',20M' ',' | sfdisk -q --no-tell-kernel "$DEV"
	detach_soon
	attach a.vhd
	[ -b "${DEV}p1" ] && [ -b "${DEV}p2" ] || fail 'no partitions after attach'
	[ "$(device_bytes "${DEV}p1")" = $((20 * MIB)) ] || fail 'wrong size of a partition'
	detach_soon
	attach --no-partscan a.vhd
	[ ! -e "${DEV}p1" ] || fail 'partitions although --no-partscan'
	detach_soon
}

slow_20_partitions() {
	requires sfdisk
	create --size 100M a.vhd
	attach a.vhd
	{ echo 'label: gpt'; for _ in $(seq 20); do echo ',4M'; done; } | sfdisk -q --no-tell-kernel "$DEV"
	vhdctl set --reread "$DEV"
	[ -b "${DEV}p20" ] || fail 'no 20th partition'
	vhdio write "${DEV}p20" 1 0 8192 -b 32 -f
	vhdio write "${DEV}p17" 2 0 8192 -b 32 -f
	detach_soon
	attach a.vhd
	vhdio verify "${DEV}p20" 1 0 8192 -b 32
	vhdio verify "${DEV}p17" 2 0 8192 -b 32
	detach_soon
}

# A mounted partition keeps the whole device
t_busy_by_partition() {
	uml_is_enough
	requires sfdisk
	create --size 60M a.vhd
	attach a.vhd
	printf '%s\n' 'label: gpt' ',' | sfdisk -q --no-tell-kernel "$DEV"
	vhdctl set --reread "$DEV"
	make_fs ext4 "${DEV}p1"
	mount "${DEV}p1" mnt
	expect_fail 5 "$W/mnt" vhdctl detach "$DEV"
	umount mnt
	detach_soon
}

# Held by device-mapper
t_busy_by_dm() {
	uml_is_enough
	requires_dm linear
	create --size 60M a.vhd
	attach a.vhd
	dmsetup create --noudevsync vhdtest --table "0 100000 linear $DEV 0"
	expect_fail 5 'vhdtest|dm-' vhdctl detach "$DEV"
	dmsetup remove --noudevsync --retry vhdtest
	detach_soon
}

t_named() {
	uml_is_enough
	create --size 10M a.vhd
	create --size 10M b.vhd
	attach -n vhd7 a.vhd
	[ "$DEV" = /dev/vhd7 ] || fail "got $DEV"
	expect_fail 5 'vhd7' vhdctl attach -n vhd7 b.vhd
	attach b.vhd
	[ "$DEV" = /dev/vhd0 ] || fail "got $DEV, vhd0 is free"
	vhdctl detach a.vhd vhd0
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail 'one is left'
}

slow_detach_all() {
	local i
	for i in 1 2 3 4 5; do
		create --size 10M $i.vhd
		attach $i.vhd
	done
	vhdctl detach --all
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail 'one is left'
	vhdctl detach --all
}

t_crowd() {
	local i
	for i in $(seq 0 19); do create --size 10M "$i.vhd"; done
	crowd "$PWD" 20 8
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail 'one is left'
	for i in 0 7 19; do sound "$i.vhd"; done
}

# Everybody attaches, detaches, sets, opens and scans everything
t_melee() {
	local i
	for i in 0 1 2 3; do create --size 48M "$i.vhd"; done
	melee prepare "$PWD" 4
	melee "$PWD" 4 12 "${VHD_TEST_MELEE:-6}"
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail 'one is left'
	for i in 0 1 2 3; do sound "$i.vhd"; done
}

# A file system on a VHD on a file system on a VHD, and once more
t_three_deep() {
	uml_is_enough
	local devs=() i sum
	mkdir 1 2 3
	ln -s . 0
	for i in 1 2 3; do
		create --size $((80 - i * 20))M $((i - 1))/$i.vhd
		attach $((i - 1))/$i.vhd
		devs+=("$DEV")
		make_fs ext4 "$DEV"
		mount "$DEV" "$i"
	done
	head -c 3M /dev/urandom > 3/file
	sum=$(md5sum < 3/file)
	sync 3/file
	truncate -s 2M 3/raw
	vhdio write 3/raw 1 0 4096 -b 16 -t 4 -r -d -f
	for i in 1 2 3; do dd if=/dev/urandom of=$i/noise bs=64k count=20 status=none & done
	for i in 1 2 3; do wait -n; done
	# What is below is frozen while above is written: it waits, no more
	fsfreeze -f 1
	dd if=/dev/urandom of=3/late bs=64k count=8 conv=fsync status=none &
	sleep 0.5
	fsfreeze -u 1
	wait $!
	sync
	echo 3 > /proc/sys/vm/drop_caches
	[ "$(md5sum < 3/file)" = "$sum" ] || fail 'the file has changed'
	vhdio verify 3/raw 1 0 4096 -b 16
	for i in 3 2 1; do
		umount "$i"
		detach_soon "${devs[i - 1]}"
		sound $((i - 1))/$i.vhd
	done
}

# The same through the tool, with list in between
slow_crowd_of_tools() {
	local i
	for i in 0 1 2 3 4 5; do create --size 10M "$i.vhd"; done
	for i in 0 1 2 3 4 5; do member "$i" & done
	for _ in 1 2 3 4 5; do vhdctl list -J > "list" && "${PYTHON[@]}" -c 'import json; json.load(open("list"))'; done
	for _ in 0 1 2 3 4 5; do wait -n; done
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail 'one is left'
}
member() {
	local dev
	for _ in 1 2 3 4; do
		dev=$(vhdctl attach "$1.vhd")
		dd if=/dev/zero of="$dev" bs=4k count=1 conv=notrunc status=none
		vhdctl detach --wait=10 "$dev"
	done
}

run_cases "$@"
