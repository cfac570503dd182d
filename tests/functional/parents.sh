#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Chains by name: parents that vhdctl finds, refuses, locks; throw-away writes;
# what was written through a device merged, rebased and read elsewhere.
. "${0%/*}/../lib.sh"

A=a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0

attr() { cat "/sys/block/${DEV#/dev/}/vhd/$1"; }
column() { vhdctl list -n --raw -O "$1" "$DEV"; }

# base.vhd with seed 1 all over its first half
base() {
	create --size 16M base.vhd
	attach base.vhd
	vhdio write "$DEV" 1 0 16384 -b 256
	detach
}
kid() { create --type diff --parent "${1:-base.vhd}" "${2:-kid.vhd}"; }

# refused STATUS REGEX ARG...: attach says so in one line, nothing comes of it
refused() {
	local before lines status=$1 regex=$2
	shift 2
	before=$(echo /sys/block/vhd*)
	expect_fail "$status" "$regex" vhdctl attach "$@"
	lines=$({ vhdctl attach "$@" 2>&1 >/dev/null || true; } | wc -l)
	[ "$lines" = 1 ] || fail "$lines lines"
	[ "$(echo /sys/block/vhd*)" = "$before" ] || fail "a device came of $*"
}

t_chain() {
	uml_is_enough
	base
	kid
	unchanged base.vhd -- chain_written
	vhdread raw kid.vhd kid.raw
	vhdio verify kid.raw 2 1001 2000 -b 3 -p 77
	vhdio verify kid.raw 1 1004 2000 -b 74 -p 77
	sound kid.vhd
	[ -z "$(vhdctl check --chain kid.vhd 2>&1 >/dev/null)" ] || fail "$(vhdctl check --chain kid.vhd)"
	# And on: the child is a parent, the parents are merged
	vhdctl snapshot kid.vhd top.vhd
	attach top.vhd
	[ "$(column DEPTH)" = 3 ] || fail "depth $(column DEPTH)"
	vhdio write "$DEV" 3 4000 100 -b 1
	detach
	vhdctl commit --depth 2 top.vhd
	attach base.vhd
	vhdio verify "$DEV" 2 1001 2000 -b 3 -p 77
	vhdio verify "$DEV" 1 1004 2000 -b 74 -p 77
	vhdio verify "$DEV" 3 4000 100
	vhdio verify "$DEV" 1 4100 12000
	detach
	[ ! -e kid.vhd ] && [ ! -e top.vhd ]
}
chain_written() {
	attach kid.vhd
	[ "$(column TYPE,DEPTH,PARENT)" = "differencing 2 $(vhdctl uuid base.vhd)" ] || fail "$(column TYPE,DEPTH,PARENT)"
	vhdctl status "$DEV" | grep -i depth
	vhdio verify "$DEV" 1 0 16384
	vhdio write "$DEV" 2 1001 2000 -b 3 -p 77 -r -d
	detach
	attach -r kid.vhd
	vhdio verify "$DEV" 2 1001 2000 -b 3 -p 77
	vhdio verify "$DEV" 1 1004 2000 -b 74 -p 77
	detach
}

t_found() {
	uml_is_enough
	base
	mkdir far
	kid
	mv base.vhd far/moved.vhd
	refused 4 'kid.vhd: parent "base.vhd" not found \(tried .*; use --parent' kid.vhd
	attach --parent far/moved.vhd kid.vhd
	vhdio verify "$DEV" 1 0 16384
	detach
	mv far/moved.vhd far/BASE.vhd
	attach --parent-dir far kid.vhd
	detach
	mv far/BASE.vhd Base.VHD
	attach kid.vhd
	vhdio verify "$DEV" 1 0 64
	detach
	create --size 16M far/other.vhd
	refused 4 'other.vhd" is no parent' --parent far/other.vhd kid.vhd
	vhdctl rebase --unsafe --parent far/other.vhd kid.vhd
	rm far/other.vhd
	create --size 16M far/other.vhd
	refused 4 'unique id: found .*, expected' kid.vhd
	attach --ignore-parent-id kid.vhd 2>err
	grep -q 'warning: header.parent_unique_id' err
	vhdio verify "$DEV" 0 0 4096
	detach
}

t_refused() {
	uml_is_enough
	local how
	base
	kid
	kid kid.vhd top.vhd
	rm base.vhd
	refused 4 'kid.vhd: parent "base.vhd" not found' top.vhd
	vhdmake diff own.vhd $((16 * MIB)) "pid=$A" "uid=$A" 'w2ru=.\own.vhd'
	refused 4 'leads back to itself' own.vhd
	truncate -s 16M raw.img
	mkfifo fifo
	for how in 'w2ru=.\..\..\..\..\..\..\etc\shadow' 'macx=file:///dev/vda' 'macx=file:///proc/kcore' 'w2ku=C:\dev\zero' 'w2ru=.\fifo' 'w2ru=.\raw.img'; do
		vhdmake diff evil.vhd $((16 * MIB)) "pid=$A" "$how"
		refused 4 'evil.vhd: parent ".*" not found \(tried .*\); use --parent' evil.vhd
	done
	vhdmake diff evil.vhd $((16 * MIB)) "pid=$A" 'w2ru=.\kid.vhd'
	vhdmake poke evil.vhd l0_length=0xfffffffe
	expect_fail 4 'evil.vhd.*locator' vhdctl attach evil.vhd
	expect_fail 4 'names no parent' vhdctl attach -r evil.vhd
}

# A writer and a reader of one file: neither is let in beside the other
t_busy() {
	uml_is_enough
	local one two
	base
	kid
	kid base.vhd other.vhd
	attach base.vhd
	refused 5 'base.vhd: is attached as /dev/vhd' kid.vhd
	expect_fail 5 'is attached as' vhdctl snapshot base.vhd x.vhd
	detach
	attach kid.vhd
	one=$DEV
	attach other.vhd
	two=$DEV
	refused 5 'base.vhd' base.vhd
	refused 5 'kid.vhd' kid.vhd
	expect_fail 5 'kid.vhd: is (attached|being written)' vhdctl commit kid.vhd
	if command -v qemu-io >/dev/null; then
		! qemu-io -f raw -c 'write 0 512' base.vhd >/dev/null 2>&1 || fail 'qemu writes to a parent'
	fi
	vhdio write "$one" 2 0 8 -f
	vhdio write "$two" 3 0 8 -f
	vhdio verify "$one" 2 0 8
	vhdio verify "$two" 3 0 8
	detach "$one"
	detach "$two"
	attach base.vhd
	vhdio verify "$DEV" 1 0 64
	detach
}

t_overlay() {
	uml_is_enough
	base
	unchanged base.vhd -- overlay base.vhd
	kid
	unchanged base.vhd kid.vhd -- overlay kid.vhd
	[ "$(ls -A)" = "$(printf '%s\n' base.vhd kid.vhd mnt)" ] || fail "left: $(ls -A)"
	attach --overlay=kept.vhd kid.vhd
	vhdio write "$DEV" 7 100 100
	detach
	attach kept.vhd
	[ "$(attr depth)" = 3 ] || fail "depth $(attr depth)"
	vhdio verify "$DEV" 7 100 100
	vhdio verify "$DEV" 1 200 100
	detach
	expect_fail 5 'exists' vhdctl attach --overlay=kept.vhd kid.vhd
	expect_fail 1 'not together' vhdctl attach -r --overlay kid.vhd
}
overlay() {
	attach --overlay "$1"
	vhdio write "$DEV" 5 0 4096 -b 64 -d
	vhdio verify "$DEV" 5 0 4096
	vhdio verify "$DEV" 1 4096 4096
	detach
	attach -r "$1"
	vhdio verify "$DEV" 1 0 4096
	detach
}

t_other_filesystem() {
	uml_is_enough
	small_fs ext4 64
	base
	mv base.vhd $SMALL/
	kid $SMALL/base.vhd
	mount -o remount,ro $SMALL
	attach kid.vhd
	vhdio write "$DEV" 2 10 10
	vhdio verify "$DEV" 1 20 1000
	vhdio verify "$DEV" 2 10 10
	detach
	# Nothing can be made beside an image there: the overlay goes elsewhere
	attach --overlay $SMALL/base.vhd
	vhdio write "$DEV" 2 10 10
	detach
}

# A device goes on in a child, twice, while somebody writes to it
t_live_snapshot() {
	uml_is_enough
	local writer
	base
	attach base.vhd
	vhdio write "$DEV" 2 20000 1000 -b 8 -r -t 4 &
	writer=$!
	vhdctl snapshot "$DEV" one.vhd | grep -E '^vhd[0-9]+: waited [0-9.]+ ms$'
	wait $writer
	vhdctl snapshot "$DEV" two.vhd
	[ "$(column DEPTH)" = 3 ] || fail "depth $(column DEPTH)"
	expect_fail 5 'exists' vhdctl snapshot "$DEV" two.vhd
	expect_fail 4 'no such file' vhdctl snapshot "$DEV" none/x.vhd
	vhdio write "$DEV" 3 20500 1000 -b 4
	vhdio verify "$DEV" 2 20000 500
	vhdio verify "$DEV" 3 20500 1000
	expect_fail 5 'attached|written' vhdctl commit two.vhd
	! qemu-io -f raw -c 'write 0 512' base.vhd >/dev/null 2>&1 || fail 'qemu writes to the parent'
	detach
	[ -z "$(vhdctl check --chain two.vhd 2>&1 >/dev/null)" ] || fail "$(vhdctl check --chain two.vhd 2>&1)"
	for image in base one two; do sound $image.vhd; done
	vhdread raw one.vhd one.raw
	vhdio verify one.raw 2 20000 1000
	vhdio verify one.raw 1 0 16384
	attach two.vhd
	vhdio verify "$DEV" 3 20500 1000
	vhdio verify "$DEV" 2 20000 500
	detach
}

# Made by the tests' own writer, as others lay them out
t_foreign() {
	uml_is_enough
	local bits how layout
	vhdmake dynamic base.vhd $((8 * MIB)) block=524288 blocks=3,0,9 seed=1 raw=base.raw "uid=$A"
	for how in 'w2ku=C:\vm\base.vhd' 'w2ru=.\base.vhd' macx=file://./base.vhd "macx=file://localhost$PWD/base.vhd" 'name=C:\vm\base.vhd'; do
		for layout in windows:half blktap:odd; do
			bits=${layout#*:}
			vhdmake diff kid.vhd $((8 * MIB)) block=2097152 parent=base.vhd praw=base.raw blocks=2,0 bits="$bits" seed=2 raw=kid.raw layout="${layout%:*}" "$how"
			attach kid.vhd
			cmp "$DEV" kid.raw
			# Into a block that is there by half
			vhdio write "$DEV" 9 100 50 -b 1 -d
			detach
			vhdread raw kid.vhd after.raw
			vhdio verify after.raw 9 100 50
			cmp -n 51200 after.raw kid.raw
			cmp -i 76800 after.raw kid.raw
			vhdread check kid.vhd
		done
	done
	mv base.vhd $'half\xed\xa0\x80.vhd'
	vhdmake diff kid.vhd $((12 * MIB)) "pid=$A" praw=base.raw blocks=1 bits=odd raw=kid.raw 'w2ru=.\half%uD800.vhd'
	attach kid.vhd 2>err

	LC_ALL=C grep -aq 'current_size: found 12582912, its parent ".*" has 8388608' err
	cmp "$DEV" kid.raw
	detach
}

slow_deep() {
	local n
	base
	kid base.vhd 1.vhd
	for ((n = 2; n <= 140; n++)); do kid $((n - 1)).vhd $n.vhd; done
	attach 140.vhd
	[ "$(attr depth)" = 141 ] || fail "depth $(attr depth)"
	vhdio verify "$DEV" 1 0 16384
	vhdio write "$DEV" 2 77 7 -b 1
	detach
	vhdctl commit --depth 140 140.vhd
	attach base.vhd
	vhdio verify "$DEV" 2 77 7
	vhdio verify "$DEV" 1 84 1000
	detach
	[ "$(ls -A)" = "$(printf '%s\n' base.vhd mnt)" ] || fail "left: $(ls -A)"
}

run_cases "$@"
