#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is for people to look at: map --graph, colours, list --watch.
. "${0%/*}/../lib.sh"

export LC_ALL=C

# A disk of 64M: data in its first 2M and from 32M to 36M
image() {
	requires qemu-img
	truncate -s 64M raw
	printf x | dd of=raw bs=1M seek=1 conv=notrunc status=none
	head -c 4M /dev/zero | tr '\0' x | dd of=raw bs=1M seek=32 conv=notrunc status=none
	qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on raw a.vhd
}

# on_terminal COMMAND...: what it sends to one
on_terminal() { script -qefc "$(printf '%q ' "$@")" /dev/null < /dev/null; }

t_graph() {
	image
	# 16 cells in a row, eight rows: half a mebibyte each
	COLUMNS=24 vhdctl map --graph a.vhd > graph
	grep -q '^a.vhd: a disk of 64M with 6M of data' graph || fail "$(cat graph)"
	sed -n '/^The disk, 512K/,/^$/s/^ *\([0-9]*M\|0B\) \([.#*+-]*\)$/\1 \2/p' graph > disk
	cat > expected <<-END
		0B ####............
		8M ................
		16M ................
		24M ................
		32M ########........
		40M ................
		48M ................
		56M ................
	END
	diff expected disk || fail "$(cat graph)"
	# Blocks in the order of the disk: its first tenth, then the sixth
	sed -n '/^The file/,$s/^ *[0-9]*[KMB]* //p' graph | tr -d '.\n' | tr -s 0-9 > file
	[ "$(cat file)" = 05 ] || fail "$(cat graph)"
	# Fits where it is shown
	for n in 20 80 200; do
		COLUMNS=$n vhdctl map --graph a.vhd | sed -n '/^The/,$p' | grep -v '^The' | awk -v n=$n 'length > n { exit 1 }' || fail "wider than $n"
	done
}

t_colours() {
	requires script
	image
	! vhdctl map --graph a.vhd | grep -q $'\033' || fail 'coloured, and no terminal'
	TERM=xterm on_terminal vhdctl map --graph a.vhd > graph
	grep -q $'\033\[32m' graph || fail 'not coloured on a terminal'
	TERM=xterm NO_COLOR=1 on_terminal vhdctl map --graph a.vhd > graph
	! grep -q $'\033' graph || fail 'coloured in spite of NO_COLOR'
	TERM=dumb on_terminal vhdctl map --graph a.vhd > graph
	! grep -q $'\033' graph || fail 'coloured on a dumb terminal'
}

t_watch() {
	local pid status=0
	vhdctl list --watch -J > lists &
	pid=$!
	sleep 1.5
	kill -INT $pid
	wait $pid || status=$?
	[ "$status" = 0 ] || fail "status $status"
	[ "$(grep -c vhddevices lists)" -ge 2 ] || fail "$(cat lists)"
	expect_fail 1 'expected seconds' vhdctl list --watch=x
	expect_fail 1 'expected seconds' vhdctl list --watch=0
}

run_cases "$@"
