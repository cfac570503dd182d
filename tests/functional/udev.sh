#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Names that udev gives devices, with the machine's udevd and udev/60-vhd.rules.
. "${0%/*}/../lib.sh"

# udevd for one case, told to look at our devices only: the others do without
start_udev() {
	requires udevadm
	[ -x /lib/systemd/systemd-udevd ] || skip 'no systemd-udevd on this machine'
	[ ! -e /run/udev/control ] || return 0
	mkdir -p /run/udev/rules.d
	cp "$REPO"/udev/*.rules /run/udev/rules.d/
	cleanup_fn stop_udev
	/lib/systemd/systemd-udevd --daemon
	modprobe vhd
	udevadm trigger --action=add --sysname-match='vhd*'
	udevadm settle
}

stop_udev() {
	udevadm settle --timeout=10
	udevadm control --exit
	rm -rf /run/udev
}

# link NAME DEVICE: /dev/disk/NAME is there and leads to it
link() {
	[ -L "/dev/disk/$1" ] || fail "no /dev/disk/$1: $(find /dev/disk -name '*vhd*' -o -path '*by-uuid*' | tr '\n' ' ')"
	[ "$(readlink -f "/dev/disk/$1")" = "$2" ] || fail "/dev/disk/$1 leads to $(readlink "/dev/disk/$1"), not to $2"
}
no_link() { [ ! -L "/dev/disk/$1" ] || fail "/dev/disk/$1 is there"; }

image_id() { cat "/sys/block/${1#/dev/}/vhd/uuid"; }

# An image with two partitions, the first with an ext4 of known names
partitioned() {
	create --size 60M "$1"
	attach --no-settle "$1"
	printf '%s\n' 'label: gpt' 'size=20M, name=first, uuid=11111111-2222-3333-4444-555555555555' 'name=second' |
		sfdisk -q --no-tell-kernel "$DEV"
	vhdctl set --reread "$DEV"
	mkfs.ext4 -q -F -U 01234567-89ab-cdef-0123-456789abcdef -L vhdfs "${DEV}p1"
	detach_soon
}

# All of them are there when attach returns, and gone after detach
t_names() {
	local id
	requires sfdisk
	partitioned a.vhd
	start_udev
	attach a.vhd
	id=$(image_id "$DEV")
	link "by-id/vhd-$id" "$DEV"
	link "by-id/vhd-$id-part1" "${DEV}p1"
	link "by-id/vhd-$id-part2" "${DEV}p2"
	link by-uuid/01234567-89ab-cdef-0123-456789abcdef "${DEV}p1"
	link by-label/vhdfs "${DEV}p1"
	link by-partuuid/11111111-2222-3333-4444-555555555555 "${DEV}p1"
	link by-partlabel/second "${DEV}p2"
	link "by-diskseq/$(cat "/sys/block/${DEV#/dev/}/diskseq")" "$DEV"
	[ "$(lsblk -dno SERIAL "$DEV")" = "$id" ] || fail "lsblk has another serial number than $id"
	# A program that changes what is there needs to tell nobody
	tune2fs -L other "${DEV}p1" >/dev/null
	until_true link by-label/other "${DEV}p1"
	detach_soon
	udevadm settle
	no_link "by-id/vhd-$id"
	no_link by-uuid/01234567-89ab-cdef-0123-456789abcdef
	[ "$(stat -c %a /dev/vhd-control)" = 600 ] || fail 'others may open the control node'
}

until_true() {
	local n
	for n in $(seq 50); do
		! ("$@") 2>/dev/null || return 0
		sleep 0.1
	done
	"$@"
}

# Two that look the same: the lower number has the name for as long as it is
# there, whoever came last or is looked at again; then it goes to the other
t_relatives() {
	uml_is_enough
	local first second uuid=by-uuid/01234567-89ab-cdef-0123-456789abcdef
	requires sfdisk
	partitioned a.vhd
	cp a.vhd b.vhd
	start_udev
	attach -n vhd3 a.vhd; second=$DEV
	link $uuid "${second}p1"
	attach b.vhd; first=$DEV
	link $uuid "${first}p1"
	for _ in 1 2; do
		udevadm trigger --settle --action=change "$second" "${second}p1"
		link $uuid "${first}p1"
		udevadm trigger --settle --action=change "$first" "${first}p1"
		link $uuid "${first}p1"
	done
	detach_soon "$first"
	udevadm settle
	link $uuid "${second}p1"
	detach_soon "$second"
}

# The links of the id follow a device that goes on in another image
t_switches() {
	local first second
	requires sfdisk
	partitioned a.vhd
	start_udev
	attach a.vhd
	first=$(image_id "$DEV")
	vhdctl snapshot "$DEV" b.vhd
	second=$(image_id "$DEV")
	[ "$second" != "$first" ]
	until_true link "by-id/vhd-$second" "$DEV"
	until_true link "by-id/vhd-$second-part1" "${DEV}p1"
	until_true no_link "by-id/vhd-$first"
	until_true no_link "by-id/vhd-$first-part1"
	link by-label/vhdfs "${DEV}p1"
	vhdctl commit "$DEV"
	until_true link "by-id/vhd-$first" "$DEV"
	until_true link "by-id/vhd-$first-part2" "${DEV}p2"
	until_true no_link "by-id/vhd-$second"
	link by-label/vhdfs "${DEV}p1"
	detach_soon
}

# The disk of this machine goes before an image that looks the same
t_disk_before_image() {
	uml_is_enough
	local disk=${VHD_TEST_SMALL:-/dev/vdb} uuid=by-uuid/01234567-89ab-cdef-0123-456789abcdef
	[ -b "$disk" ] || skip "no small disk $disk"
	disk=$(readlink -f "$disk")
	create --size 40M a.vhd
	attach --no-settle a.vhd
	mkfs.ext4 -q -F -U "${uuid#*/}" "$DEV"
	detach_soon
	mkfs.ext4 -q -F -U "${uuid#*/}" "$disk" 20M
	start_udev
	udevadm trigger --settle --action=add "$disk"
	link $uuid "$disk"
	attach a.vhd
	link $uuid "$disk"
	udevadm trigger --settle --action=change "$DEV"
	link $uuid "$disk"
	detach_soon
	wipefs -q -a "$disk"
}

run_cases "$@"
