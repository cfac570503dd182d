#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Hostile and damaged images under vhdctl, with and without sanitizers. Needs no
# module. Run by tests/interop/evil.sh.

VHD_TEST_TIMEOUT=${VHD_TEST_TIMEOUT:-900}
. "$(dirname "$0")/../lib.sh"
# shellcheck disable=SC2034  # lib.sh's
ME=evil
EVIL=$TESTS/evil

# Built once for all cases; a second build finds nothing to do.
sanitized() {
	make -s -C "$REPO/tools" O="$BUILD" SANITIZE=1 >/dev/null
	echo "$BUILD/sanitize/vhdctl"
}

evil() {
	"${PYTHON[@]}" "$EVIL/run.py" "$(command -v vhdctl)" "$(sanitized)" "$W" "$@"
}
t_file() { evil file; }
t_footer() { evil footer; }
t_head_or_tail() { evil head tail; }
t_header() { evil header; }
t_table() { evil table; }
t_bitmap() { evil bitmap; }
t_locator() { evil locator; }
t_batmap() { evil batmap; }
t_fixed() { evil fixed; }
t_cut() { evil cut; }

# No case is left out above
t_all_groups() {
	local group
	for group in $("${PYTHON[@]}" "$EVIL/run.py" --list | sed 's/-.*//' | sort -u); do
		grep -q "^t_.*{ evil.* $group\b" "$EVIL/host.sh" || fail "no test runs the images $group-*"
	done
	[ "$("${PYTHON[@]}" "$EVIL/run.py" --list | wc -l)" -ge 120 ] || fail 'fewer than 120 images'
}

# Fifty corruptions of good images: found, mended, the rest intact
hurt() {
	"${PYTHON[@]}" "$EVIL/hurt.py" "$(sanitized)" "$W" "$1"
}
t_hurt_vhdmake() { hurt vhdmake; }
t_hurt_ours() { hurt ours; }
t_hurt_diff() { hurt diff; }
t_hurt_qemu() { requires qemu-img qemu-io; hurt qemu; }

# A power cut during a repair: --undo and another repair both help
t_crash() {
	requires gcc
	gcc -shared -fPIC -O1 -Wall -o oplog.so "$EVIL/oplog.c"
	"${PYTHON[@]}" "$EVIL/crash.py" "$(command -v vhdctl)" "$W/oplog.so" "$W"
}

# Killed, or a power cut, during a commit or a rebase of a chain
t_chain_crash() {
	requires gcc
	gcc -shared -fPIC -O1 -Wall -o oplog.so "$EVIL/oplog.c"
	mkdir chain
	"${PYTHON[@]}" "$EVIL/chaincrash.py" "$(command -v vhdctl)" "$W/oplog.so" "$W/chain" "${SEED:-1}" "${STATES:-25}"
}

# What other programs write is clean
t_clean_qemu() {
	local how size n=0
	requires qemu-img qemu-io
	for how in dynamic fixed; do
		for size in 512K 3M 10000K 33M 129M; do
			for force in on off; do
				qemu-img create -q -f vpc -o subformat=$how,force_size=$force a.vhd $size
				clean a.vhd
				qemu-io -f vpc -c 'write -P 1 0 64k' -c 'write -P 2 200k 300k' a.vhd >/dev/null
				clean a.vhd
				n=$((n + 1))
				rm a.vhd
			done
		done
	done
	note "$n images"
}
clean() {
	local rc=0
	vhdctl check "$1" > report || rc=$?
	[ $rc = 0 ] || fail "status $rc: $(cat report)"
}

# Random sizes and content, created, written and converted
t_clean_qemu_random() {
	requires qemu-img qemu-io
	"${PYTHON[@]}" "$EVIL/clean.py" "$(sanitized)" "$W" "${VHD_FUZZ_SEED:-1}" 24
}

t_clean_ours() {
	local size how
	for size in 512 3M 33822351360 2040G; do
		create --size $size a.vhd
		clean a.vhd
		vhdctl check --windows a.vhd
		rm a.vhd
	done
	create --size 20M --preallocate full a.vhd
	clean a.vhd
	create --size 20M --azure b.vhd
	clean b.vhd
	vhdctl check --azure --windows b.vhd
	expect_fail 3 azure-type vhdctl check --azure a.vhd
}

t_clean_samples() {
	local f
	for f in "$BUILD"/tests/samples/*.vhd; do
		[ -e "$f" ] || skip 'no samples'
		clean "$f"
	done
}

# In seconds and little memory, whatever the order; overlaps too
t_full_table() {
	local kind
	for kind in ordered shuffled overlapping same; do
		"${PYTHON[@]}" "$EVIL/full.py" a.vhd $kind
		(
			ulimit -v 200000
			timeout 60 vhdctl check -q a.vhd > report
		) && rc=0 || rc=$?
		case $kind in ordered | shuffled) want=0 ;; *) want=2 ;; esac
		[ "$rc" = "$want" ] || fail "$kind: status $rc: $(tail -n 1 report)"
		tail -n 1 report >&2
	done
}

t_in_use() {
	create --size 3M a.vhd
	qemu-io -f vpc -c 'sleep 3000' a.vhd >/dev/null &
	sleep 1
	unchanged a.vhd -- expect_fail 1 'in use' vhdctl check --repair a.vhd
	wait
	vhdctl check --repair a.vhd
}

t_undo_is_careful() {
	vhdmake dynamic a.vhd $((8 * MIB)) blocks=0,1
	vhdmake poke a.vhd tail_sum=0 sum=keep
	cp a.vhd b.vhd
	echo keep > a.vhd.vhd-undo
	unchanged a.vhd a.vhd.vhd-undo -- expect_fail 1 'undo file already' vhdctl check --repair a.vhd
	expect_fail 1 'no undo file' vhdctl check --undo a.vhd.vhd-undo a.vhd
	vhdctl check --repair --undo-file u a.vhd
	! cmp -s a.vhd b.vhd || fail 'nothing was repaired'
	touch a.vhd
	unchanged a.vhd -- expect_fail 1 'was changed' vhdctl check --undo u a.vhd
	vhdctl check --undo u --force a.vhd
	cmp a.vhd b.vhd
	# A clean image needs no undo file
	vhdctl check --repair a.vhd --undo-file v
	vhdctl check --repair a.vhd
	expect_fail 1 '' vhdctl check nowhere.vhd
	expect_fail 1 'expected one' vhdctl check
	expect_fail 1 'unknown value' vhdctl check --repair=everything a.vhd
}

# The table in Documentation is the one of the source
t_findings_documented() {
	"$EVIL/findings" "$(command -v vhdctl)" | cmp - "$REPO/Documentation/findings.rst" ||
		fail 'Documentation/findings.rst is old: tests/evil/findings build/vhdctl > Documentation/findings.rst'
}

run_cases "$@"
