#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# vhdctl convert and compare: against qemu, of what they read and write, and what
# is left when they fail. Needs no module.
. "$(dirname "$0")/../lib.sh"

sparse() { "${PYTHON[@]}" "$TESTS/interop/sparse.py" "$@"; }
convert() { vhdctl convert "$@"; }

# The faulty disk of fault.c: faulty NAME=VALUE... COMMAND...
fault_library() {
	[ ! -e fault.so ] || return 0
	requires gcc
	gcc -shared -fPIC -O1 -Wall -o fault.so "$TESTS/interop/fault.c"
}
faulty() {
	local faults=()
	fault_library
	while [[ $1 == FAULT_* ]]; do faults+=("$1"); shift; done
	env "${faults[@]}" LD_PRELOAD="$W/fault.so" "$@"
}

# Nothing but what was here before: only FILE...
only_here() {
	local left
	left=$(ls -A | grep -vxF -e mnt -e fault.so -e said "${@/#/-e}" || true)
	[ -z "$left" ] || fail "left: $left"
}

# --- what comes out -----------------------------------------------------------

# Both ways, and each what qemu sees
t_both_ways() {
	local size block how n=0
	requires qemu-img
	for size in 512 2097152 33000000 104857600 5000000001; do
		sparse make a.raw $size $size
		cp --sparse=always a.raw whole.raw
		truncate -s %512 whole.raw
		for block in 512K 1M 2M; do
			convert --block-size $block a.raw a.vhd
			vhdctl check a.vhd
			[ $size -gt $((104857600)) ] || vhdread check --tight a.vhd
			qemu-img compare -q -f raw -F vpc whole.raw a.vhd
			vhdctl compare -q --strict whole.raw a.vhd
			convert -O raw a.vhd b.raw
			qemu-img compare -q -f raw -F raw whole.raw b.raw
			[ "$(stat -c %s b.raw)" = "$(stat -c %s whole.raw)" ] || fail "$(stat -c %s b.raw whole.raw)"
			rm a.vhd b.raw
			n=$((n + 1))
		done
		convert -O fixed a.raw f.vhd
		vhdctl check f.vhd
		qemu-img compare -q -f raw -F vpc whole.raw f.vhd
		convert -O dynamic f.vhd d.vhd
		convert -O fixed d.vhd g.vhd
		vhdctl compare -q --strict f.vhd g.vhd
		[ "$(stat -c %s f.vhd)" = "$(stat -c %s g.vhd)" ] || fail "$(stat -c %s f.vhd g.vhd)"
		rm ./*.vhd
	done
	note "$n images"
}

# From qemu's images, whose blocks are unaligned and in the order of writing
t_from_qemu() {
	local how
	requires qemu-img qemu-io
	for how in dynamic fixed; do
		qemu-img create -q -f vpc -o subformat=$how,force_size=on q.vhd 65M
		qemu-io -f vpc -c 'write -P 1 50M 3M' -c 'write -P 2 100k 300k' -c 'write -z 20M 2M' -c 'write -P 3 68156928 512' -c 'write -P 0 30M 1M' q.vhd >/dev/null
		convert q.vhd a.vhd
		sound a.vhd
		vhdctl check --windows a.vhd
		qemu-img compare -q -f vpc -F vpc q.vhd a.vhd
		convert -O raw q.vhd q.raw
		qemu-img compare -q -f vpc -F raw q.vhd q.raw
		# A block of zeros takes no space
		[ "$(vhdctl map --json a.vhd | grep -c '"data": true')" -lt 6 ] || fail "$(vhdctl map a.vhd)"
		rm ./*.vhd q.raw
	done
}

# map says what qemu-img map does, word for word and run for run.  (Of chains it
# knows nothing: those are read by what map says in parents.sh.)
t_map_as_qemu() {
	local image
	requires qemu-img qemu-io
	sparse make a.raw $((50 * MIB)) 3
	convert a.raw a.vhd
	convert -O fixed a.raw f.vhd
	vhdmake dynamic c.vhd $((33 * MIB)) blocks=9,0,16,1,2 stride=classic
	qemu-img create -q -f vpc -o force_size=on q.vhd 65M
	qemu-io -f vpc -c 'write 50M 3M' -c 'write 100k 300k' -c 'write 48M 2M' q.vhd >/dev/null
	for image in a.vhd f.vhd c.vhd q.vhd; do
		qemu-img map -f vpc $image > qemu
		vhdctl map $image > ours
		cmp ours qemu || fail "$image: $(diff ours qemu | head -n 4)"
		[ "$(wc -l < ours)" -gt 3 ] || fail "$(cat ours)"
		qemu-img map -f vpc --output=json $image > qemu
		vhdctl map --json $image > ours
		"${PYTHON[@]}" -c '
import json
qemu, ours = (json.load(open(name)) for name in ("qemu", "ours"))
for run in qemu:
    run.pop("compressed", None)     # newer ones say that nothing is
assert qemu == ours, [pair for pair in zip(qemu, ours) if pair[0] != pair[1]][:1]'
	done
}

# In the order of the disk and tight, whatever thread was first
t_layout() {
	sparse make a.raw $((200 * MIB)) 7 400
	convert a.raw a.vhd
	sound a.vhd
	vhdctl map --json a.vhd | "${PYTHON[@]}" -c '
import json, sys
at = 0
for run in json.load(sys.stdin):
    if run["data"]:
        assert run["offset"] > at, run
        at = run["offset"]
assert at'
	# Holes in blocks stay holes
	[ "$(du -k a.vhd | cut -f 1)" -le $(($(du -k a.raw | cut -f 1) + 40 * 64)) ] || fail "$(du -k a.vhd a.raw)"
}

# Bits that are clear read as zeros, whatever lies below them
t_clear_bits() {
	vhdmake dynamic a.vhd $((8 * MIB)) blocks=2,0 bits=half raw=want
	convert -O raw a.vhd b.raw
	cmp want b.raw
	convert a.vhd b.vhd
	same_to_qemu b.vhd want
}

t_stream() {
	local block
	sparse make a.raw $((65 * MIB + 100)) 3
	for block in 512K 2M; do
		convert --block-size $block a.raw a.vhd
		cat a.raw | convert --block-size $block - s.vhd
		vhdctl check s.vhd
		vhdctl compare -q --strict a.vhd s.vhd
		[ "$(stat -c %s a.vhd)" = "$(stat -c %s s.vhd)" ] || note 'room to grow in the table stays here'
		rm ./*.vhd
	done
	cat a.raw | convert -O fixed - s.vhd
	vhdctl check s.vhd
	vhdctl compare -q a.raw s.vhd
	cat a.raw | convert -O raw - s.raw
	vhdctl compare -q a.raw s.raw
	# A file from its beginning on is no stream
	convert - t.vhd < a.raw
	vhdctl compare -q a.raw t.vhd
	expect_fail 4 'is empty' vhdctl convert - u.vhd < /dev/null
	: | expect_fail 4 'is empty' vhdctl convert - u.vhd
	expect_fail 1 'always raw' vhdctl convert -f vhd - u.vhd
	[ ! -e u.vhd ] || fail 'made of nothing'
}

t_azure() {
	sparse make a.raw $((3 * MIB + 512)) 5
	convert --azure a.raw a.vhd
	vhdctl check --azure a.vhd
	[ "$(stat -c %s a.vhd)" = $((4 * MIB + 512)) ] || fail "$(stat -c %s a.vhd) bytes"
	expect_fail 0 'what is beyond is zeros' vhdctl compare a.raw a.vhd
	expect_fail 1 'only a fixed' vhdctl convert --azure -O dynamic a.raw b.vhd
	expect_fail 1 'only a fixed' vhdctl convert --azure -O raw a.raw b.vhd
}

t_realign() {
	local id
	vhdmake dynamic a.vhd $((33 * MIB)) blocks=9,0,16 stride=classic raw=want
	id=$(vhdctl info a.vhd | grep '^id:')
	convert --realign a.vhd b.vhd
	sound b.vhd
	same_to_qemu b.vhd want
	[ "$(vhdctl info b.vhd | grep '^id:')" = "$id" ] || fail 'another id'
	vhdctl dump bat b.vhd | awk '$2 ~ /^[0-9]+$/ && $2 % 8 != 7 { exit 1 }' || fail 'not aligned'
	expect_fail 4 'not a dynamic image' vhdctl convert --realign want c.vhd
	expect_fail 1 'stay as they are' vhdctl convert --realign --block-size 1M a.vhd c.vhd
}

# A chain is one disk; and the difference to a parent is an image again
t_chain() {
	vhdmake dynamic base.vhd $((8 * MIB)) block=524288 blocks=3,0,9 seed=1 raw=base.raw
	vhdmake diff kid.vhd $((8 * MIB)) parent=base.vhd name=base.vhd block=524288 blocks=1,3 bits=half seed=2 praw=base.raw raw=kid.raw
	! cmp -s base.raw kid.raw || fail 'a child that changes nothing'
	convert kid.vhd a.vhd
	vhdctl check a.vhd
	same_to_qemu a.vhd kid.raw
	convert -O raw kid.vhd a.raw
	cmp a.raw kid.raw
	convert -O fixed kid.vhd f.vhd
	vhdctl compare kid.vhd f.vhd
	expect_fail 1 'differ at byte' vhdctl compare base.vhd kid.vhd
	mkdir else
	mv base.vhd else/
	expect_fail 4 'not found' vhdctl convert kid.vhd b.vhd
	convert --parent-dir else kid.vhd b.vhd
	vhdctl compare a.vhd b.vhd
	convert --force --parent else/base.vhd kid.vhd b.vhd
	vhdctl compare --parent else/base.vhd kid.vhd b.vhd
	mv else/base.vhd .
	unchanged base.vhd -- expect_fail 5 'is a parent of the source' vhdctl convert --force kid.vhd base.vhd
	expect_fail 4 'is no parent' vhdctl convert --parent a.vhd kid.vhd c.vhd
	expect_fail 1 'no differencing image' vhdctl convert --parent a.vhd kid.raw c.vhd
}

t_difference() {
	local bytes
	sparse make old.raw $((20 * MIB)) 21 20
	cp --sparse=always old.raw new.raw
	dd if=/dev/urandom of=new.raw bs=1M seek=7 count=1 conv=notrunc status=none
	dd if=/dev/urandom of=new.raw bs=512 seek=9999 count=1 conv=notrunc status=none
	dd if=/dev/zero of=new.raw bs=1M seek=2 count=3 conv=notrunc status=none
	convert old.raw base.vhd
	convert -O diff --parent base.vhd new.raw kid.vhd
	vhdctl check kid.vhd
	vhdctl compare --strict kid.vhd new.raw
	vhdread raw kid.vhd read.raw
	cmp read.raw new.raw
	bytes=$(stat -c %s kid.vhd)
	[ "$bytes" -lt $((12 * MIB)) ] || fail "$bytes bytes"
	# Of a chain, against its own parent: the same again
	convert -O diff --parent base.vhd kid.vhd kid2.vhd
	vhdctl compare kid.vhd kid2.vhd
	[ "$(stat -c %s kid2.vhd)" -le "$bytes" ] || fail "$(stat -c %s kid2.vhd) bytes"
	# Nothing differs
	convert -O diff --parent base.vhd old.raw same.vhd
	[ "$(vhdctl info same.vhd | sed -n 's/^blocks: \([0-9]*\) .*/\1/p')" = 0 ] || fail "$(vhdctl info same.vhd)"
	expect_fail 1 'expected one --parent' vhdctl convert -O diff new.raw x.vhd
	expect_fail 4 '' vhdctl convert -O diff --parent old.raw new.raw x.vhd
	expect_fail 4 'not from a stream' vhdctl convert -O diff --parent base.vhd - x.vhd < <(cat new.raw)
	unchanged base.vhd -- expect_fail 5 'is the parent' vhdctl convert --force -O diff --parent base.vhd new.raw base.vhd
	expect_fail 3 'no space' faulty FAULT_FULL=300000 vhdctl convert -O diff --parent base.vhd new.raw x.vhd
	[ ! -e x.vhd ] || fail 'made all the same'
	[ -z "$(compgen -G '.vhdctl-*')" ] || fail 'a temporary file stays'
}

# Holes are not read, zeros not written
t_io() {
	local read written status
	truncate -s 5G a.raw
	for at in 0 1000 4000; do dd if=/dev/urandom of=a.raw bs=1M count=4 seek=$at conv=notrunc status=none; done
	dd if=/dev/zero of=a.raw bs=1M count=8 seek=2000 conv=notrunc status=none
	for how in dynamic fixed raw; do
		read -r read written status < <(sparse io vhdctl convert -O $how a.raw $how)
		note "$how: read $read, written $written"
		[ "$status" = 0 ] || fail "status $status"
		[ "$read" -lt $((21 * MIB)) ] || fail "$how: $read bytes read"
		[ "$written" -lt $((13 * MIB)) ] || fail "$how: $written bytes written"
	done
	read -r read written status < <(sparse io vhdctl compare -q dynamic raw)
	[ "$status" = 0 ] || fail "compare: $status"
	[ "$read" -lt $((25 * MIB)) ] || fail "compare: $read bytes read"
	[ "$(du -k raw | cut -f 1)" -lt 12500 ] || fail "$(du -k raw)"
}

# Data that the files can share are not written, whatever else is; and what the
# file system says to that changes nothing but this
t_shares() {
	local n error how
	sparse make a.raw $((60 * MIB + 512)) 31 80
	dd if=/dev/urandom of=a.raw bs=1M seek=20 count=9 conv=notrunc status=none
	for how in 0:95 0:18 0:22 3:18 7:22 1000:28; do
		n=${how%:*} error=${how#*:}
		faulty FAULT_CLONE=$n FAULT_ERROR=$error vhdctl -v convert a.raw a.vhd 2> said
		[ $n = 0 ] || grep -q 'shared with a.raw' said || fail "$how: $(cat said)"
		[ $n != 0 ] || ! grep shared said || fail "$how: $(cat said)"
		vhdctl check a.vhd
		vhdread check --tight a.vhd
		qemu-img compare -q -f raw -F vpc a.raw a.vhd
		faulty FAULT_CLONE=$n FAULT_ERROR=$error vhdctl convert a.vhd b.vhd
		sound b.vhd
		vhdctl compare -q --strict a.vhd b.vhd
		[ "$(stat -c %s a.vhd)" = "$(stat -c %s b.vhd)" ] || fail "$(stat -c '%n %s' a.vhd b.vhd)"
		faulty FAULT_CLONE=$n FAULT_ERROR=$error vhdctl convert -O fixed b.vhd f.vhd
		vhdctl compare -q --strict a.vhd f.vhd
		rm ./*.vhd
	done
	# The fault library ends the program that asks for less than whole blocks
	vhdmake dynamic c.vhd $((9 * MIB)) blocks=3,0 stride=classic raw=want
	faulty FAULT_CLONE=1000 FAULT_ERROR=18 vhdctl convert --realign c.vhd d.vhd
	same_to_qemu d.vhd want
	# There is a whole file or none
	unchanged a.raw -- expect_fail 3 'no space' faulty FAULT_CLONE=4 FAULT_ERROR=28 FAULT_FULL=2000000 vhdctl convert a.raw x.vhd
	unchanged a.raw -- expect_fail 4 'cannot write' faulty FAULT_CLONE=1000 FAULT_SYNC=1 vhdctl convert a.raw x.vhd
	[ ! -e x.vhd ] || fail 'made all the same'
	[ -z "$(compgen -G '.vhdctl-*')" ] || fail 'a temporary file stays'
}

# --- compare ------------------------------------------------------------------

t_compare_finds() {
	local at
	sparse make a.raw $((33 * MIB)) 9
	echo data | dd of=a.raw bs=1M seek=20 conv=notrunc status=none
	convert a.raw a.vhd
	for at in 0 1 511 512 4096 2097151 2097152 10000001 $((33 * MIB - 1)); do
		cp --sparse=always a.raw b.raw
		"${PYTHON[@]}" -c '
import sys
with open("b.raw", "r+b") as f:
    f.seek(int(sys.argv[1])); old = f.read(1)
    f.seek(int(sys.argv[1])); f.write(bytes([old[0] ^ 1]))
    # A later difference must not be the one told
    f.seek(-1, 2); last = f.read(1)
    f.seek(-1, 2); f.write(last if int(sys.argv[1]) == f.tell() else bytes([last[0] ^ 2]))' $at
		expect_fail 1 "differ at byte $at\$" vhdctl compare a.vhd b.raw
		expect_fail 1 "differ at byte $at\$" vhdctl compare b.raw a.vhd
	done
	# Beyond the end of the shorter one
	cp --sparse=always a.raw b.raw
	truncate -s +1M b.raw
	expect_fail 0 'are the same.*sizes differ' vhdctl compare a.vhd b.raw
	expect_fail 1 'sizes differ' vhdctl compare --strict a.vhd b.raw
	echo x >> b.raw
	expect_fail 1 "differ at byte $((34 * MIB))" vhdctl compare b.raw a.vhd
	expect_fail 2 'cannot open' vhdctl compare a.vhd nothing
	expect_fail 2 'expected A and B' vhdctl compare a.vhd
	expect_fail 2 'unrecognized' vhdctl compare --fast a.vhd b.raw
	expect_fail 2 'unknown value' vhdctl compare -f qcow a.vhd b.raw
	expect_fail 2 'cannot read at' faulty FAULT_READ=$((20 * MIB)) FAULT_FILE=a.raw vhdctl compare a.vhd a.raw
}

# --- what goes wrong ----------------------------------------------------------

t_refused() {
	sparse make a.raw $((3 * MIB)) 1
	convert a.raw a.vhd
	unchanged a.raw a.vhd -- expect_fail 5 'exists; --force' vhdctl convert a.raw a.vhd
	unchanged a.vhd -- expect_fail 5 'is the source' vhdctl convert --force a.vhd a.vhd
	mkdir dir
	expect_fail 5 'regular file' vhdctl convert --force a.raw dir
	expect_fail 4 'is a directory' vhdctl convert dir b.vhd
	expect_fail 4 'cannot open' vhdctl convert nothing b.vhd
	expect_fail 4 'no such file' vhdctl convert a.raw nowhere/b.vhd
	expect_fail 1 'expected SOURCE' vhdctl convert a.raw
	expect_fail 1 'unknown value.*must be dynamic' vhdctl convert -O qcow2 a.raw b.vhd
	expect_fail 1 'expected 512K, 1M or 2M' vhdctl convert --block-size 3M a.raw b.vhd
	expect_fail 1 'only a dynamic image has blocks' vhdctl convert -O fixed --block-size 1M a.raw b.vhd
	cp a.raw c.vhd
	expect_fail 4 'no VHD image, as its name says' vhdctl convert c.vhd b.vhd
	convert --format raw c.vhd b.vhd
	rm b.vhd
	expect_fail 4 '' vhdctl convert --format vhd a.raw b.vhd
	: > empty
	expect_fail 4 'is empty' vhdctl convert empty b.vhd
	truncate -s 2041G big
	expect_fail 4 'try -O fixed' vhdctl convert big b.vhd
	qemu-io -f vpc -c 'sleep 3000' a.vhd >/dev/null &
	sleep 1
	expect_fail 5 'being written' vhdctl convert a.vhd b.vhd
	expect_fail 5 'in use' vhdctl convert --force a.raw a.vhd
	wait
	only_here a.raw a.vhd c.vhd big empty dir
	convert --force a.raw a.vhd
}

# A block in the wrong place is not taken for zeros
t_damaged() {
	vhdmake dynamic a.vhd $((8 * MIB)) blocks=0,1,2
	vhdmake poke a.vhd bat2=0x10000000
	unchanged a.vhd -- expect_fail 4 'cannot read at 4194304' vhdctl convert a.vhd b.vhd
	only_here a.vhd
}

t_no_space() {
	local how full
	sparse make a.raw $((40 * MIB)) 2 60
	echo old > old.vhd
	for how in dynamic fixed raw; do
		for full in 0 5000000; do
			unchanged a.raw -- expect_fail 3 'cannot write.*no space' faulty FAULT_FULL=$full vhdctl convert -O $how a.raw b.vhd
			unchanged a.raw old.vhd -- expect_fail 3 'cannot write.*no space' faulty FAULT_FULL=$full vhdctl convert --force -O $how a.raw old.vhd
			only_here a.raw old.vhd
		done
	done
	(
		ulimit -f 5000
		expect_fail 3 'cannot write.*too large' vhdctl convert -O fixed a.raw b.vhd
	)
	unchanged a.raw -- expect_fail 4 'cannot write' faulty FAULT_SYNC=1 vhdctl convert a.raw b.vhd
	only_here a.raw old.vhd
}

t_unreadable() {
	sparse make a.raw $((40 * MIB)) 2 60
	dd if=/dev/urandom of=a.raw bs=1M count=1 seek=20 conv=notrunc status=none
	unchanged a.raw -- expect_fail 4 "cannot read at [0-9]+ of the disk" faulty FAULT_READ=$((20 * MIB + 5000)) FAULT_FILE=a.raw vhdctl convert a.raw b.vhd
	only_here a.raw
}

# Told to stop in the middle: by either signal, and while a stream says nothing
t_interrupted() {
	local signal job rc
	fault_library
	sparse make a.raw $((200 * MIB)) 4 200
	for signal in INT TERM; do
		rc=0
		FAULT_SLOW=200000 LD_PRELOAD=$W/fault.so vhdctl convert a.raw b.vhd 2> said &
		job=$!
		for _ in $(seq 100); do ! compgen -G '.vhdctl-*' >/dev/null || break; sleep 0.05; done
		sleep 0.3
		unchanged a.raw -- kill -$signal $job
		wait $job || rc=$?
		[ $rc -gt 128 ] || fail "status $rc: $(cat said)"
		grep -q 'interrupted: not made; a.raw is as it was' said || fail "said: $(cat said)"
		only_here a.raw
	done
	mkfifo pipe
	rc=0
	vhdctl convert - b.vhd < pipe 2> said &
	job=$!
	exec 9> pipe
	echo something >&9
	sleep 0.5
	kill -INT $job
	wait $job || rc=$?
	exec 9>&-
	[ $rc = 130 ] || fail "stream: status $rc: $(cat said)"
	only_here a.raw pipe
}

run_cases "$@"
