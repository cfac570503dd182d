#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bad input: each refused with its message and exit status, nothing changed.
. "${0%/*}/../lib.sh"

# refused FILE STATUS REGEX [OPTION]...: attach says so, the file stays, no device
refused() {
	local file=$1 status=$2 regex=$3
	shift 3
	unchanged "$file" -- expect_fail "$status" "$regex" vhdctl attach "$@" "$file"
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail "there is a device: $(echo /sys/block/vhd*)"
}

# The kernel on its own, asked without vhdctl's look at it first
kernel_refuses() { unchanged "$1" -- ioctls --expect "$2" "$1"; }

EMEDIUMTYPE=124 EUCLEAN=117 EROFS=30

t_not_a_vhd() {
	uml_is_enough
	head -c 3M /dev/urandom > text.vhd
	: > empty.vhd
	head -c 400 /dev/zero > short.vhd
	refused text.vhd 4 'text.vhd.*not a vhd'
	kernel_refuses text.vhd $EMEDIUMTYPE
	refused empty.vhd 4 'empty.vhd.*not a vhd'
	kernel_refuses empty.vhd $EMEDIUMTYPE
	refused short.vhd 4 'short.vhd.*not a vhd'
	kernel_refuses short.vhd $EMEDIUMTYPE
	refused text.vhd 4 'text.vhd.*not a vhd' -r
}

t_truncated() {
	uml_is_enough
	vhdmake fixed fixed.vhd $((4 * MIB)) seed=1
	truncate -s 3M fixed.vhd
	refused fixed.vhd 4 'fixed.vhd.*not a vhd'
	kernel_refuses fixed.vhd $EMEDIUMTYPE
	# The data is short, the footer is there
	vhdmake fixed short.vhd $((4 * MIB)) seed=1
	vhdmake poke short.vhd current_size=$((8 * MIB))
	refused short.vhd 4 'shorter than'
	kernel_refuses short.vhd $EROFS
	vhdmake dynamic dynamic.vhd $((20 * MIB)) blocks=0,3
	truncate -s 3M dynamic.vhd
	refused dynamic.vhd 4 'dynamic.vhd'
	kernel_refuses dynamic.vhd $EROFS
	vhdmake dynamic table.vhd $((800 << 30))
	truncate -s 4096 table.vhd
	refused table.vhd 4 'table'
	kernel_refuses table.vhd $EUCLEAN
}

t_checksum() {
	uml_is_enough
	vhdmake fixed fixed.vhd $((4 * MIB))
	vhdmake poke fixed.vhd tail_sum=0x12345678
	refused fixed.vhd 4 'fixed.vhd.*(checksum|not a vhd)'
	vhdmake dynamic both.vhd $((4 * MIB)) blocks=0
	vhdmake poke both.vhd sum=0x12345678
	refused both.vhd 4 'both.vhd.*(checksum|not a vhd)'
	vhdmake dynamic header.vhd $((4 * MIB)) blocks=0
	vhdmake poke header.vhd h_sum=0x12345678
	refused header.vhd 4 'header.vhd.*checksum'
	kernel_refuses header.vhd $EUCLEAN
	refused header.vhd 4 'checksum' -r
	unchanged header.vhd -- vhdctl attach -r --force header.vhd
	vhdctl detach vhd0
}

# One damaged footer: read-only, on request
slow_one_footer() {
	vhdmake dynamic tail.vhd $((4 * MIB)) blocks=0
	vhdmake poke tail.vhd tail_cookie=xonectix
	refused tail.vhd 4 'footer at the end'
	kernel_refuses tail.vhd $EROFS
	unchanged tail.vhd -- usable_read_only tail.vhd
	vhdmake dynamic differ.vhd $((4 * MIB)) blocks=0
	vhdmake poke differ.vhd tail_timestamp=1
	refused differ.vhd 4 'differ'
	kernel_refuses differ.vhd $EROFS
	unchanged differ.vhd -- usable_read_only differ.vhd
}
usable_read_only() {
	attach -r "$1"
	vhdio verify "$DEV" 1 0 2048
	detach
}

t_fields() {
	uml_is_enough
	vhdmake dynamic base.vhd $((4 * MIB)) blocks=0 block=524288
	cat > fields <<-END
		$EUCLEAN type=5:disk_type
		$EUCLEAN type=0:disk_type
		$EUCLEAN type=1:disk_type
		$EUCLEAN type=6:disk_type
		$EUCLEAN version=0x20000:version
		$EUCLEAN current_size=0:current_size
		$EUCLEAN current_size=1000:current_size
		$EUCLEAN current_size=0x1FE00000200:current_size
		$EUCLEAN current_size=0x7FFFFFFFFFFFFE00:current_size
		$EUCLEAN block_size=0:block_size
		$EUCLEAN block_size=3000000:block_size
		$EUCLEAN block_size=2048:block_size
		$EUCLEAN block_size=0x80000000:block_size
		$EUCLEAN table_offset=0:table_offset
		$EUCLEAN table_offset=1537:table_offset
		$EUCLEAN table_offset=0xFFFFFFFFFFFFFE00:table_offset
		$EUCLEAN table_offset=0x10000000:table_offset
		$EUCLEAN table_offset=512:table
		$EUCLEAN entries=1:max_table_entries
		$EUCLEAN h_version=0x20000:version
		$EUCLEAN h_cookie=cxsparsf:cookie
		$EUCLEAN h_data_offset=4096:data_offset
		$EUCLEAN data_offset=0xFFFFFFFFFFFFFE00:data_offset
		$EROFS features=6:features
		$EROFS saved=1:saved
	END
	sed 's/^[0-9]* //; s/:.*//' fields | vhdmake variants base.vhd
	unchanged base.vhd.* -- refused_fields
}
refused_fields() {
	local n=0 status line
	while read -r status line; do
		n=$((n + 1))
		expect_fail 4 "base.vhd.$n.*${line#*:}" vhdctl attach base.vhd.$n
		ioctls --expect "$status" base.vhd.$n
	done < fields
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail "there is a device: $(echo /sys/block/vhd*)"
}

# Read-write refused; read-only works where the block is not the bad one
overlap() {
	vhdmake dynamic "$1" $((8 * MIB)) block=524288 blocks=0,1,2
	vhdmake poke "$1" "$2"
	refused "$1" 4 'block'
	kernel_refuses "$1" $EROFS
	unchanged "$1" -- overlap_read_only "$1"
}
overlap_read_only() {
	attach -r "$1"
	vhdio verify "$DEV" 1 0 1024 -b 64
	! vhdio verify "$DEV" 1 2048 8 -d || fail 'the bad block can be read'
	detach
}
t_overlap() {
	uml_is_enough
	overlap same.vhd bat2=0x405
	overlap partly.vhd bat2=0x406
	overlap metadata.vhd bat2=1
	overlap beyond.vhd bat2=0x10000000
	overlap wraps.vhd bat2=0xFFFFFFFE
	overlap footer.vhd bat2=0x807
}

t_in_use() {
	uml_is_enough
	create --size 10M a.vhd
	ln a.vhd b.vhd
	ln -s a.vhd c.vhd
	attach a.vhd
	expect_fail 5 'a.vhd.*(in use|attached|busy)' vhdctl attach a.vhd
	expect_fail 5 '(in use|attached|busy)' vhdctl attach b.vhd
	expect_fail 5 '(in use|attached|busy)' vhdctl attach c.vhd
	expect_fail 5 '(in use|attached|busy)' vhdctl attach -r a.vhd
	expect_fail 1 'lock' qemu-io -f vpc -c 'write 0 512' a.vhd
	detach
	# And the other way round
	attach a.vhd
	detach
}

t_held_by_qemu() {
	uml_is_enough
	local holder
	requires qemu-io
	create --size 10M a.vhd
	mkfifo commands
	qemu-io -f vpc a.vhd < commands > qemu.out 2>&1 &
	holder=$!
	exec 8> commands
	echo 'write -P 1 0 512' >&8
	for _ in $(seq 100); do ! grep -q wrote qemu.out || break; sleep 0.1; done
	expect_fail 5 '(in use|lock|busy)' vhdctl attach a.vhd
	exec 8>&-
	wait $holder
	attach a.vhd
	detach
}

t_devices_and_others() {
	uml_is_enough
	create --size 10M a.vhd
	attach a.vhd
	expect_fail 4 'not a VHD' vhdctl attach "$DEV"
	detach
	# Mounted, it may not even be opened for writing
	expect_fail 4 'not a VHD' vhdctl attach -r /dev/vda
	expect_fail 4 'regular file|director' vhdctl attach .
	expect_fail 4 'regular file' vhdctl attach /dev/zero
	expect_fail 4 'no such file' vhdctl attach nothing.vhd
	expect_fail 4 '.*' vhdctl detach /dev/vhd77
	expect_fail 4 '.*' vhdctl detach /dev/vda
	expect_fail 4 '.*' vhdctl detach nothing.vhd
	expect_fail 4 '.*' vhdctl status /dev/vhd77
}

# A file on the device itself cannot be put under it; one level up it may
t_on_its_own_device() {
	create --size 60M a.vhd
	attach a.vhd
	make_fs ext4 "$DEV"
	mount "$DEV" mnt
	create --size 10M mnt/inner.vhd
	outer=$DEV
	attach mnt/inner.vhd
	vhdio write "$DEV" 1 0 8192 -b 64 -f
	# The image of the outer device is in use, whichever way
	expect_fail 5 '.*' vhdctl attach a.vhd
	expect_fail 5 'mnt|inner|mount' vhdctl detach "$outer"
	vhdio verify "$DEV" 1 0 8192 -b 64
	detach "$DEV"
	umount mnt
	DEV=$outer detach_soon "$outer"
	sound a.vhd
}

t_permission() {
	uml_is_enough
	local as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	requires setpriv
	chmod 755 . ..
	create --size 10M a.vhd
	chmod 666 a.vhd
	unchanged a.vhd -- expect_fail 2 'permi|root|privilege' "${as[@]}" "$(command -v vhdctl)" attach "$PWD/a.vhd"
	"${as[@]}" "$(command -v ioctls)" --expect 13 "$PWD/a.vhd"
	# The node alone does not do either: the capability counts
	chmod 666 /dev/vhd-control
	"${as[@]}" "$(command -v ioctls)" --expect 1 "$PWD/a.vhd"
	setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$(command -v ioctls)" --expect 1 "$PWD/a.vhd"
	chmod 600 /dev/vhd-control
	chmod 600 a.vhd
	expect_fail 2 'a.vhd.*permi' "${as[@]}" "$(command -v vhdctl)" info "$PWD/a.vhd"
}

slow_read_only_file() {
	vhdmake dynamic a.vhd $((4 * MIB)) blocks=0
	small_fs tmpfs 20
	cp a.vhd $SMALL
	mount -o remount,ro $SMALL
	expect_fail 2 'read-only' vhdctl attach $SMALL/a.vhd
	attach -r $SMALL/a.vhd
	vhdio verify "$DEV" 1 0 2048
	detach
}

t_detach_busy() {
	uml_is_enough
	local pid
	create --size 60M a.vhd
	attach a.vhd
	make_fs ext4 "$DEV"
	mount "$DEV" mnt
	expect_fail 5 "busy|use.*mnt|$W/mnt" vhdctl detach "$DEV"
	expect_fail 5 "$W/mnt" vhdctl detach a.vhd
	umount mnt
	(exec 9<"$DEV" && : > held && exec sleep 60) &
	pid=$!
	until [ -e held ]; do sleep 0.05; done
	expect_fail 5 "sleep|$pid" vhdctl detach "$DEV"
	kill $pid
	wait $pid || true
	detach_soon
}

t_create() {
	uml_is_enough
	expect_fail 1 'size' vhdctl create a.vhd
	expect_fail 1 'size' vhdctl create --size 0 a.vhd
	expect_fail 1 'size' vhdctl create --size -1 a.vhd
	expect_fail 1 'size' vhdctl create --size 12potatoes a.vhd
	expect_fail 1 'size|512' vhdctl create --size 1000 a.vhd
	expect_fail 1 '2040' vhdctl create --size 2041G a.vhd
	expect_fail 1 '2040|size' vhdctl create --size 99999999999999999999 a.vhd
	expect_fail 1 'type' vhdctl create --size 10M --type potato a.vhd
	expect_fail 1 'block' vhdctl create --size 10M --block-size 3M a.vhd
	expect_fail 1 'block' vhdctl create --size 10M --block-size 1K a.vhd
	expect_fail 1 'option|unrecognized|invalid' vhdctl create --potato a.vhd
	expect_fail 1 'uuid' vhdctl create --size 10M --uuid potato a.vhd
	expect_fail 1 '.*' vhdctl create --size 10M
	expect_fail 1 '.*' vhdctl create --size 10M a.vhd b.vhd
	[ -z "$(compgen -G '?.vhd')" ] || fail 'something was created'
	echo precious > a.vhd
	unchanged a.vhd -- expect_fail 5 'a.vhd.*exists' vhdctl create --size 10M a.vhd
	expect_fail 4 'nowhere' vhdctl create --size 10M nowhere/a.vhd
	small_fs tmpfs 8
	expect_fail 3 'space' vhdctl create --size 30M --type fixed --preallocate full $SMALL/a.vhd
	[ ! -e $SMALL/a.vhd ] || fail 'half an image was left'
}

t_usage() {
	uml_is_enough
	expect_fail 1 'potato' vhdctl potato
	expect_fail 1 'option|unrecognized|invalid' vhdctl --potato
	expect_fail 1 'option|unrecognized|invalid' vhdctl attach --potato a.vhd
	expect_fail 1 '.*' vhdctl attach
	expect_fail 1 '.*' vhdctl detach
	create --size 10M a.vhd
	expect_fail 1 'vhd|name|potato' vhdctl attach -n potato a.vhd
	expect_fail 1 'block|513|512' vhdctl attach -b 513 a.vhd
	expect_fail 1 'direct-io|maybe' vhdctl attach --direct-io=maybe a.vhd
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail 'there is a device'
	vhdctl --help > help
	vhdctl attach --help > help
	vhdctl -V | grep -q '[0-9]'
}

t_ioctls() {
	create --size 10M a.vhd
	create --size 10M a.vhd.other
	unchanged a.vhd a.vhd.other -- ioctls "$PWD/a.vhd"
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail 'there is a device'
}

run_cases "$@"
