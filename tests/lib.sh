# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the functional and interop tests have in common. A test file is
#
#	. "$(dirname "$0")/../lib.sh"
#	t_something() { ... }		a case: runs in a shell of its own, set -eu
#	slow_something() { ... }	the same, left out with VHD_TEST_FAST=1
#	long_something() { ... }	the same, only with VHD_TEST_LONG=1
#	run_cases "$@"			all cases, or those named
#
# and prints "ok FILE.CASE", "FAIL FILE.CASE: why" or "skip FILE.CASE: why" for
# each. A case works in the empty directory $W on the file system under test;
# mounts below $W and devices it leaves are cleaned up, as is what cleanup_fn
# was told. Run it in a throw-away machine: tests/vm/run --disk 2G -- FILE.

set -eu -o pipefail

# Few processes are started here and for each case: emulated, each costs 20 ms
TESTS=$(realpath "${BASH_SOURCE[0]}")
TESTS=${TESTS%/*}
REPO=${TESTS%/*}
BUILD=${VHD_BUILD:-$REPO/build}
SAMPLES=${VHD_SAMPLES:-$REPO/../shared/samples}
ME=${0##*/}
ME=${ME%.sh}
CASE_TIMEOUT=${VHD_TEST_TIMEOUT:-120}
PATH=${VHD_TEST_BIN:+$VHD_TEST_BIN:}$BUILD/tests:$BUILD:$PATH:/usr/sbin:/sbin
# The tests' own Python, not somebody's; compiled modules outside the work tree
PYTHON=(/usr/bin/python3 -E -s -S -X pycache_prefix=/tmp/vhd-pycache)
MIB=1048576

# --- reporting ----------------------------------------------------------------

fail() { echo "$*" >&2; exit 1; }
skip() { echo "$*" >&2; exit 77; }
note() { echo "$*" >&2; }

# grep -q leaves at the first match; who still writes into the pipe is killed, and
# pipefail calls that a failure. Counting reads it all, and has the same status.
grep() {
	if [[ ${1:-} =~ ^-[a-zA-Z]*q[a-zA-Z]*$ ]]; then
		command grep "${1/q/c}" "${@:2}" >/dev/null
	else
		command grep "$@"
	fi
}

# run_cases [CASE]...: each in a process of its own, with a time limit.
run_cases() {
	local case cases elsewhere bad=0
	if [ "${1:-}" = --inside ]; then inside "$2"; fi
	[ $# -gt 0 ] || mapfile -t cases < <(list_cases)
	[ $# -eq 0 ] || cases=("$@")
	elsewhere=()
	runs_all || mapfile -t elsewhere < <(list_elsewhere)
	for case in "${cases[@]}"; do
		if [[ ! $ME.${case#*_} =~ ${VHD_TEST_FILTER:-} ]]; then continue; fi
		if [[ " ${elsewhere[*]} " == *" $case "* ]]; then
			echo "skip $ME.${case#*_}: $in_uml"
			continue
		fi
		run_case "$case" || bad=1
	done
	exit $bad
}

# In the order of the file.
list_cases() {
	local kinds='t|slow'
	[ -z "${VHD_TEST_FAST:-}" ] || kinds=t
	[ -z "${VHD_TEST_LONG:-}" ] || kinds+='|long'
	sed -n -E "s/^(($kinds)_[a-zA-Z0-9_]+)\(\).*/\1/p" "$0"
}

# Cases that begin with uml_is_enough: to begin them takes two seconds, emulated.
list_elsewhere() {
	awk '/^[a-z]+_[a-zA-Z0-9_]+\(\) \{/ { name = $1; sub(/\(\).*/, "", name); if ($3 == "uml_is_enough;") print name; first = NR + 1; next }
		NR == first && $1 == "uml_is_enough" { print name }' "$0"
}

run_case() {
	local case=$1 name=$ME.${1#*_} log rc=0 start=$SECONDS
	[[ $case == *_* ]] || { case=t_$case; name=$ME.$1; }
	log=/tmp/vhd-test.$$
	echo "run $name" >&3
	timeout -k 10 "$CASE_TIMEOUT" bash "$0" --inside "$case" >"$log" 2>&1 </dev/null || rc=$?
	after_case >>"$log" 2>&1 || { [ $rc = 0 ] && rc=3; }
	case $rc in
	0) echo "ok $name ($((SECONDS - start)) s)" ;;
	77) echo "skip $name: $(tail -n 1 "$log")" ;;
	124 | 137) echo "FAIL $name: timeout after $CASE_TIMEOUT s" ;;
	*) echo "FAIL $name: $(grep -v '^+' "$log" | tail -n 1 | cut -c1-300)" ;;
	esac
	# A last line that was cut short is ended, or the next would be part of it
	case $rc in 0 | 77) [ -z "${VHD_TEST_VERBOSE:-}" ] || sed 's/^/#   /;$a\' "$log" ;; *) tail -n 30 "$log" | sed 's/^/#   /;$a\' ;; esac
	rm -f "$log"
	[ $rc = 0 ] || [ $rc = 77 ]
}

# The inner half of run_case.
inside() {
	set -E
	trap 'note "line $LINENO: $BASH_COMMAND: status $?"' ERR
	trap run_cleanups EXIT
	work_dir
	"$1"
	exit 0
}

cleanups=()
cleanup_fn() { cleanups+=("$(printf '%q ' "$@")"); }
run_cleanups() {
	local rc=$? i
	trap - ERR
	set +e
	for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do eval "${cleanups[i]}"; done
	exit $rc
}

# --- a place to work in -------------------------------------------------------

# The file system under test: prepared once by tests/functional/all, else here.
backing() { echo "${VHD_TEST_DIR:-/tmp/vhd-backing}"; }

work_dir() {
	W=${VHD_TEST_DIR:-/tmp/vhd-backing}/work
	[ ! -e "$W" ] || rm -rf "$W"
	mkdir -p "$W/mnt"
	cd "$W"
}

# What a case left behind is its own fault only if it cannot be undone. Top down:
# file systems on VHDs, VHDs, the small file system under them, its disk.
after_case() {
	local d rc=0
	cd /
	unmount_below "$(backing)/work/"
	# The small file system may lie on one VHD and hold another
	vhdctl detach --all >/dev/null 2>&1 || true
	unmount_below $SMALL
	for d in /sys/block/vhd*; do
		[ -e "$d" ] || continue
		vhdctl detach --wait=10 "${d##*/}" || { note "${d##*/} cannot be detached"; rc=1; }
	done
	! compgen -G '/sys/block/dm-*' >/dev/null || for d in $(dmsetup ls 2>/dev/null | sed -n 's/^\(vhdtest[^[:space:]]*\).*/\1/p'); do
		dmsetup remove --noudevsync --retry "$d" || rc=1
	done
	rm -rf "$(backing)/work"
	return $rc
}

unmount_below() {
	local i mounts
	mapfile -t mounts < /proc/mounts
	for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
		# shellcheck disable=SC2086
		set -- "$1" ${mounts[i]}
		[[ $3 != "$1"* ]] || umount "$3" || umount -l "$3"
	done
}

# --- what a case needs --------------------------------------------------------

requires() {
	local program
	for program; do command -v "$program" >/dev/null || skip "$program is not here"; done
}
requires_file() { [ -e "$1" ] || skip "$1 is not here"; }
requires_module() { modprobe "$1" 2>/dev/null || [ -e "/sys/module/$1" ] || grep -qw "$2" /proc/devices /proc/filesystems || skip "no $1 in this kernel"; }
requires_dm() {
	requires dmsetup
	modprobe "dm-$1" 2>/dev/null || true
	dmsetup targets 2>/dev/null | grep -q "^$1 " || skip "no dm-$1 in this kernel"
}
# What the driver has allocated and not freed, a line each: the slab allocator's own
# account (with slub_debug=U: tests/suite --leaks), and that of vmalloc. What has been
# freed may wait in KASAN's quarantine; shrinking empties that.
accounted() { grep -q 'slub_debug=U' /proc/cmdline && [ -r /sys/kernel/debug/slab/kmalloc-64/alloc_traces ]; }
allocated() {
	local cache
	for cache in /sys/kernel/slab/kmalloc-*; do echo 1 > "$cache/shrink"; done
	grep -h -E '^ *[0-9]+ .* \[vhd\]' /sys/kernel/debug/slab/kmalloc-*/alloc_traces || true
	grep -F '[vhd]' /proc/vmallocinfo || true
}
# All of it is freed, some by RCU and works: give them ten seconds and three looks
nothing_allocated() {
	local left looks=0 end=$((SECONDS + 10))
	while [ $looks -lt 3 ] || [ $SECONDS -lt $end ]; do
		left=$(allocated)
		[ -n "$left" ] || return 0
		looks=$((looks + 1))
		sleep 0.1
	done
	note "$left"
	fail "not freed: $(head -n 1 <<<"$left")"
}
is_uml() { grep -q 'User Mode Linux' /proc/cpuinfo; }

# Emulated, a case takes three times as long. What no kernel does otherwise is
# tested in User Mode Linux only, which runs beside; make test-kernels: everywhere.
in_uml='is tested in User Mode Linux'
runs_all() { is_uml || [ -n "${VHD_TEST_WHOLE:-}" ]; }
uml_is_enough() { runs_all || skip "$in_uml"; }
# The same of what User Mode Linux cannot do
newest_is_enough() { [[ $(uname -r) == 7.* ]] || [ -n "${VHD_TEST_WHOLE:-}" ] || skip 'is tested on 7.3'; }

# A second, small file system, made anew: small_fs ext4|ext4-nojournal|xfs|tmpfs
# MEGABYTES; mounted on /tmp/vhd-small. VHD_TEST_SMALL names its disk.
SMALL=/tmp/vhd-small
small_fs() {
	local disk=${VHD_TEST_SMALL:-/dev/vdb}
	mkdir -p $SMALL
	if [ "$1" = tmpfs ]; then mount -t tmpfs -o "size=$2M" tmpfs $SMALL; return; fi
	[ -b "${3:-$disk}" ] || skip "no small disk $disk"
	# Of writes that an earlier case made fail the next who opens the disk would hear
	sync "${3:-$disk}" 2>/dev/null || true
	make_fs "$1" "${3:-$disk}" "$2"
	mount "${3:-$disk}" $SMALL
}

make_fs() {
	case $1 in
	ext4) mkfs.ext4 -q -F -m 0 -E lazy_itable_init=1 "$2" ${3:+"$3M"} ;;
	ext4-nojournal) mkfs.ext4 -q -F -b 4096 -m 0 -O ^has_journal "$2" ${3:+"$3M"} ;;
	xfs) mkfs.xfs -q -f "$2" ;;
	vfat) mkfs.vfat "$2" >/dev/null ;;
	*) fail "make_fs $1?" ;;
	esac
}

# --- images and devices -------------------------------------------------------

vhdread() { "${PYTHON[@]}" "$TESTS/interop/vhdread.py" "$@"; }
vhdmake() { "${PYTHON[@]}" "$TESTS/interop/vhdmake.py" "$@"; }
create() { vhdctl create "$@"; }

# attach [OPTION]... IMAGE: the device is $DEV. $VHD_TEST_ATTACH is an option for all of
# a run: --fast-lane=off, or on.
attach() {
	DEV=$(vhdctl attach ${VHD_TEST_ATTACH:+"$VHD_TEST_ATTACH"} "$@")
	[ -b "$DEV" ] || fail "vhdctl attach $*: printed '$DEV', which is no block device"
}

detach() { vhdctl detach "${1:-$DEV}"; }

# The last one to look may be a partition scan: patience, where it is allowed.
detach_soon() { vhdctl detach --wait=10 "${1:-$DEV}"; }

device_bytes() { blockdev --getsize64 "$1"; }

# The image has the raw file's content, says our reader
same_content() {
	vhdread raw "$1" "$1.content"
	cmp "$1.content" "$2" || fail "$1 differs from $2"
	rm -f "$1.content"
}

# Says qemu, too (which never looks at a bitmap when it reads)
same_to_qemu() {
	same_content "$1" "$2"
	qemu-img compare -q -f vpc -F raw "$1" "$2" || fail "qemu sees another content in $1 than in $2"
}

# After a detach nothing may be wrong with it: sound IMAGE [vhdread check OPTION]...
sound() {
	local image=$1 faults
	shift
	faults=$(vhdread check --tight "$@" "$image") || fail "$image: $faults"
	qemu-img info -f vpc "$image" >/dev/null
}

# expect_fail STATUS REGEX COMMAND...: it fails so, and says so
expect_fail() {
	local want=$1 regex=$2 out rc=0
	shift 2
	out=$("$@" 2>&1) || rc=$?
	note "$*: status $rc: $out"
	[ $rc = "$want" ] || fail "status $rc, expected $want: $* ($out)"
	[[ ${out,,} =~ ${regex,,} ]] || fail "message of $* does not match '$regex': $out"
}

# unchanged FILE... -- COMMAND...: none of the files is touched by it
unchanged() {
	local files=() before after
	while [ "$1" != -- ]; do files+=("$1"); shift; done
	shift
	before=$(sums "${files[@]}")
	"$@"
	after=$(sums "${files[@]}")
	[ "$before" = "$after" ] || fail "changed by $*: $before -> $after"
}
sums() { md5sum "$@"; stat -c '%n %s' "$@"; }

[ -e /proc/self/fd/3 ] || exec 3>/dev/null
