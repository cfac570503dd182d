#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Long commands: telling how far they are, and ending when told to. Needs no
# module.
. "$(dirname "$0")/../lib.sh"

# field LINE NAME
field() { "${PYTHON[@]}" -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$@"; }

# until REGEX FILE: ten seconds' patience
until_said() {
	for _ in $(seq 200); do
		! grep -qE "$1" "$2" || return 0
		sleep 0.05
	done
	fail "no '$1' in $2: $(cat "$2")"
}

t_progress_json() {
	local line
	vhdctl --progress-json create --size 64M --preallocate full a.vhd 2> said
	line=$(tail -n 1 said)
	[ "$(field "$line" done)" = $((64 * MIB)) ] || fail "done: $line"
	[ "$(field "$line" total)" = $((64 * MIB)) ] || fail "total: $line"
	[ "$(field "$line" eta)" = 0 ] || fail "eta: $line"
	# Behind the command too, and of a command that counts blocks
	vhdctl check --progress-json a.vhd 2> said
	[ "$(field "$(tail -n 1 said)" total)" = 32 ] || fail "check: $(cat said)"
}

t_progress_modes() {
	vhdctl create --progress=off --size 4M --preallocate full a.vhd 2> said
	[ ! -s said ] || fail "said: $(cat said)"
	vhdctl create --force --size 4M --preallocate full a.vhd 2> said
	[ ! -s said ] || fail "said to a file: $(cat said)"
	expect_fail 1 'unknown value.*must be auto' vhdctl create --progress=maybe --size 4M b.vhd
	[ ! -e b.vhd ] || fail 'made all the same'
}

# Asked how far it is, then told to stop: nothing stays behind
t_signals() {
	local job rc=0
	vhdctl create --size 900G --type fixed --preallocate full a.vhd 2> said &
	job=$!
	for _ in $(seq 200); do ! compgen -G '.vhdctl-*' >/dev/null || break; sleep 0.05; done
	kill -USR1 $job
	until_said '^creating: .* of 900G' said
	kill -INT $job
	wait $job || rc=$?
	[ $rc = 130 ] || fail "status $rc: $(cat said)"
	grep -q interrupted said || fail "said: $(cat said)"
	[ -z "$(ls -A | grep -v -e '^said$' -e '^mnt$')" ] || fail "left: $(ls -A)"
}

run_cases "$@"
