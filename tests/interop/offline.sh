#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# snapshot, commit, rebase and uuid on files that nobody uses; read by our own
# reader of the tests. Needs no module.
. "$(dirname "$0")/../lib.sh"

id() { printf "$1%.0s" {1..16}; }

# base.vhd <- mid.vhd <- top.vhd of unlike block sizes and bitmaps, and what each
# shows in *.raw
chain() {
	rm -f ./*.vhd
	vhdmake dynamic base.vhd $((8 * MIB)) block=524288 blocks=3,0,9 seed=1 raw=base.raw "uid=$(id a0)"
	vhdmake diff mid.vhd $((8 * MIB)) block=1048576 parent=base.vhd praw=base.raw blocks=4,0 bits=odd seed=2 raw=mid.raw 'w2ru=.\base.vhd' "uid=$(id b0)"
	vhdmake diff top.vhd $((8 * MIB)) block=524288 parent=mid.vhd praw=mid.raw blocks=9,1,15 bits=half seed=3 raw=top.raw 'w2ru=.\mid.vhd' "uid=$(id c0)"
}
# shows IMAGE RAW: it does, and nothing is wrong with it
shows() {
	same_content "$1" "$2"
	vhdread check --tight "$1"
	vhdctl check "$1" >/dev/null || fail "check $1: $(vhdctl check "$1")"
}
parents_of() { vhdctl info --chain "$1" | sed -n 's/^image: //p' | xargs -d '\n' -n 1 basename | tr '\n' ' '; }
are() { [ "$1" = "$2" ] || fail "'$1', expected '$2'"; }

t_snapshot() {
	chain
	unchanged base.vhd mid.vhd top.vhd -- vhdctl snapshot top.vhd snap.vhd
	shows snap.vhd top.raw
	are "$(parents_of snap.vhd)" 'snap.vhd top.vhd mid.vhd base.vhd '
	expect_fail 5 exists vhdctl snapshot top.vhd snap.vhd
	expect_fail 4 'no such file' vhdctl snapshot top.vhd none/snap.vhd
	rm base.vhd
	expect_fail 4 'not found' vhdctl snapshot top.vhd snap2.vhd
	[ ! -e snap2.vhd ] && ! compgen -G '.vhdctl-*'
}

t_commit() {
	chain
	vhdctl commit top.vhd
	shows mid.vhd top.raw
	shows base.vhd base.raw
	[ ! -e top.vhd ]
	vhdctl commit mid.vhd
	shows base.vhd top.raw
	[ ! -e mid.vhd ]
	expect_fail 4 'has no parent' vhdctl commit base.vhd
}

t_commit_deep() {
	chain
	vhdctl commit --depth 2 top.vhd
	shows base.vhd top.raw
	[ ! -e top.vhd ] && [ ! -e mid.vhd ]
	chain
	chain
	unchanged base.vhd mid.vhd top.vhd -- expect_fail 1 'with --into' vhdctl commit --keep --depth 2 top.vhd
	vhdctl commit --keep --into base.vhd top.vhd
	shows base.vhd top.raw
	shows top.vhd top.raw
	are "$(parents_of top.vhd)" 'top.vhd base.vhd '
	[ -z "$(vhdctl info --chain top.vhd 2>&1 >/dev/null)" ] || fail 'warnings'
	chain
	unchanged base.vhd mid.vhd top.vhd -- expect_fail 4 'found 3, it has 2' vhdctl commit --depth 3 top.vhd
	expect_fail 1 'found "0"' vhdctl commit --depth 0 top.vhd
	expect_fail 1 'not both' vhdctl commit --depth 1 --into base.vhd top.vhd
}

# Cut short while it removes what lay between: only the same goes on
t_commit_goes_on() {
	local n
	requires gcc
	gcc -shared -fPIC -O1 -Wall -o oplog.so "$TESTS/evil/oplog.c"
	chain
	mkdir whole
	cp --sparse=always ./*.vhd whole/
	# How many operations there are; the last ones remove files
	LD_PRELOAD=$W/oplog.so OPLOG=log vhdctl commit --depth 2 top.vhd
	n=$("${PYTHON[@]}" -c 'import struct
data, at, n = open("log", "rb").read(), 0, 0
while at < len(data):
    at, n = at + 40 + struct.unpack_from("<5Q", data, at)[4], n + 1
print(n)')
	for ((; ; n--)); do
		rm -f top.vhd.*
		cp --sparse=always whole/*.vhd .
		LD_PRELOAD=$W/oplog.so OPLOG=/dev/null KILL_AT=$n vhdctl commit --depth 2 top.vhd 2>/dev/null || true
		[ ! -e top.vhd ] || [ ! -e mid.vhd ] || [ -e top.vhd.rebase-undo ] || break
	done
	note "killed at $n"
	[ -e top.vhd.commit ] && [ -e mid.vhd ]
	shows top.vhd top.raw
	unchanged base.vhd top.vhd -- expect_fail 4 'cut short.*--depth 2' vhdctl commit --depth 3 top.vhd
	vhdctl commit --depth 2 top.vhd 2>&1 | grep 'goes on with a commit'
	shows base.vhd top.raw
	[ "$(echo ./*.vhd*)" = './base.vhd' ] || fail "left: $(echo ./*.vhd*)"
	expect_fail 4 'no such file' vhdctl commit --depth 2 top.vhd
}

# A damaged note is none
t_commit_notes() {
	chain
	printf 'vhdctl commit 1\0rubbish' > top.vhd.commit
	vhdctl commit --depth 2 top.vhd
	shows base.vhd top.raw
	[ ! -e mid.vhd ] && [ ! -e top.vhd.commit ]
}

t_commit_into_new() {
	chain
	unchanged base.vhd mid.vhd top.vhd -- vhdctl commit --into new.vhd top.vhd
	shows new.vhd top.raw
	are "$(parents_of new.vhd)" 'new.vhd '
	expect_fail 5 'exists' vhdctl commit --into new.vhd top.vhd
	! compgen -G '.vhdctl-*'
}

# A fixed base; parents that end before their child or before what they hang on
t_commit_sizes() {
	vhdmake fixed base.vhd $((9 * MIB)) seed=1 raw=base.raw "uid=$(id a0)"
	vhdmake diff mid.vhd $((5 * MIB)) block=524288 parent=base.vhd praw=base.raw blocks=2,9 bits=odd seed=2 raw=mid.raw 'w2ru=.\base.vhd' "uid=$(id b0)"
	vhdmake diff top.vhd $((8 * MIB)) block=1048576 parent=mid.vhd praw=mid.raw blocks=7,1 bits=half seed=3 raw=top.raw 'w2ru=.\mid.vhd' "uid=$(id c0)"
	expect_fail 4 'mid.vhd: is smaller .* found 5242880, expected at least 8388608' vhdctl commit top.vhd
	# Between the middle's end and its own the top shows zeros, not the base
	vhdctl commit --depth 2 top.vhd
	truncate -s 9M top.raw
	dd if=base.raw of=top.raw bs=1M skip=8 seek=8 conv=notrunc status=none
	same_content base.vhd top.raw
	vhdctl check base.vhd
}

t_commit_siblings() {
	chain
	create --type diff --parent mid.vhd sib.vhd
	for args in '' '--depth 2' '--keep'; do
		# shellcheck disable=SC2086
		unchanged base.vhd mid.vhd top.vhd sib.vhd -- expect_fail 5 'sib.vhd: depends on it' vhdctl commit $args top.vhd
	done
	vhdctl commit --force top.vhd 2>&1 | grep -q 'sib.vhd: warning: depends on what is changed'
	shows mid.vhd top.raw
}

t_commit_busy() {
	requires qemu-io
	chain
	# qemu holds the lock of a writer while it sleeps
	qemu-io -f raw -c 'sleep 5000' mid.vhd >/dev/null &
	sleep 1
	expect_fail 5 'mid.vhd: is being written' vhdctl commit top.vhd
	expect_fail 5 'mid.vhd: is being written' vhdctl snapshot top.vhd snap.vhd
	expect_fail 5 'mid.vhd: is being written' vhdctl rebase --parent base.vhd top.vhd
	[ ! -e snap.vhd ]
	wait
	vhdctl commit top.vhd
}

# Without space nothing is begun
t_commit_space() {
	mkdir small
	mount -t tmpfs -o size=6M tmpfs small 2>/dev/null || skip 'cannot mount here'
	cleanup_fn umount "$W/small"
	create --size 32M small/base.vhd
	vhdmake diff top.vhd $((32 * MIB)) parent=small/base.vhd blocks=1,3,5,7,9 raw=top.raw 'w2ru=.\small\base.vhd'
	unchanged small/base.vhd top.vhd -- expect_fail 3 'needs up to 10510336 bytes more, and there are' vhdctl commit top.vhd
	expect_fail 3 'needs up to' vhdctl commit --into small/new.vhd top.vhd
	expect_fail 3 'no space left' vhdctl commit --force top.vhd
	same_content top.vhd top.raw
	vhdctl check small/base.vhd
	[ "$(ls -A small)" = base.vhd ] || fail "$(ls -A small)"
	mount -o remount,size=64M small
	vhdctl commit top.vhd
	shows small/base.vhd top.raw
}

t_rebase() {
	chain
	vhdctl rebase --parent base.vhd top.vhd
	shows top.vhd top.raw
	are "$(parents_of top.vhd)" 'top.vhd base.vhd '
	vhdctl rebase --parent mid.vhd top.vhd
	shows top.vhd top.raw
	are "$(parents_of top.vhd)" 'top.vhd mid.vhd base.vhd '
	# Onto something else, and smaller
	vhdmake dynamic other.vhd $((4 * MIB)) block=524288 blocks=0,1,2,7 bits=odd seed=9 raw=other.raw "uid=$(id d0)"
	vhdctl rebase --parent other.vhd top.vhd
	shows top.vhd top.raw
	expect_fail 4 'own parent' vhdctl rebase --parent top.vhd top.vhd
	vhdctl rebase --parent top.vhd mid.vhd
	shows mid.vhd mid.raw
	unchanged top.vhd mid.vhd -- expect_fail 4 'own parent: "mid.vhd" depends on it' vhdctl rebase --unsafe --parent mid.vhd top.vhd
	expect_fail 4 'has no parent' vhdctl rebase --parent top.vhd base.vhd
	expect_fail 1 'needed' vhdctl rebase top.vhd
}

t_rebase_unsafe() {
	chain
	mkdir far
	mv mid.vhd far/moved.vhd
	expect_fail 4 'not found' vhdctl rebase --parent far/moved.vhd top.vhd
	mv base.vhd far/
	vhdctl rebase --unsafe --parent far/moved.vhd top.vhd
	are "$(parents_of top.vhd)" 'top.vhd moved.vhd base.vhd '
	shows top.vhd top.raw
	vhdctl rebase --unsafe --absolute --parent far/moved.vhd top.vhd
	mkdir near
	mv top.vhd near/
	shows near/top.vhd top.raw
	vhdread parent near/top.vhd | grep -q '^found=MacX'
}

t_uuid() {
	local new
	chain
	are "$(vhdctl uuid top.vhd)" c0c0c0c0-c0c0-c0c0-c0c0-c0c0c0c0c0c0
	vhdctl uuid --random top.vhd
	new=$(vhdctl uuid top.vhd)
	[[ $new =~ ^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}- ]] || fail "$new"
	shows top.vhd top.raw
	unchanged base.vhd -- expect_fail 5 'mid.vhd: depends on it' vhdctl uuid --random base.vhd
	vhdctl uuid --force --set 12345678-1234-1234-1234-123456789abc base.vhd
	shows base.vhd base.raw
	expect_fail 4 'unique id' vhdctl info --chain mid.vhd
	vhdctl rebase --unsafe --parent base.vhd mid.vhd
	shows mid.vhd mid.raw
	expect_fail 1 'null id' vhdctl uuid --set 00000000-0000-0000-0000-000000000000 base.vhd
	create --size 1M --type fixed fixed.vhd
	vhdctl uuid --random fixed.vhd
	vhdread check fixed.vhd
	# What has no id can be given one
	vhdmake poke fixed.vhd id=00000000000000000000000000000000
	expect_fail 4 'null' vhdctl snapshot fixed.vhd kid.vhd
	vhdctl uuid --random fixed.vhd
	vhdctl snapshot fixed.vhd kid.vhd
}

run_cases "$@"
