#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Differencing chains without the module: how parents are named and found, what
# strangers name, and that our reader, our tool and other programs see the same.
. "$(dirname "$0")/../lib.sh"

A=a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0
B=b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1
C=c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2

hex() { dd if="$1" bs=1 skip=$(($2)) count=$(($3)) status=none | od -A n -v -t x1 | tr -d ' \n'; }
utf16() { printf %s "$1" | iconv -t "UTF-16$2" | od -A n -v -t x1 | tr -d ' \n'; }
at() {
	local have
	have=$(hex "$1" $(($2)) $((${#3} / 2)))
	[ "$have" = "$3" ] || fail "$1: $4 at $(($2)): $have, expected $3"
}
id_of() { hex "$1" "$(stat -c %s "$1")-444" 16; }

# finds CHILD PARENT [OPTION]...: the tool takes this file
finds() {
	local child=$1 want=$2 have
	shift 2
	have=$(vhdctl info --chain --json "$@" "$child" | "${PYTHON[@]}" -c 'import json, sys; print(json.load(sys.stdin)[1]["filename"])') || fail "no parent of $child"
	[ "$(realpath "$have")" = "$(realpath "$want")" ] || fail "$child: took $have, expected $want"
}

# lost CHILD REGEX [OPTION]...: refused with one line that matches
lost() {
	local child=$1 regex=$2 lines
	shift 2
	expect_fail 4 "$regex" vhdctl map "$@" "$child"
	lines=$({ vhdctl map "$@" "$child" 2>&1 >/dev/null || true; } | wc -l)
	[ "$lines" = 1 ] || fail "$lines lines"
}

# The tool's map and our reader see this raw file: reads CHILD RAW
reads() {
	vhdctl map --json "$1" | "${PYTHON[@]}" "$TESTS/interop/mapread.py" map.raw "$1"
	cmp map.raw "$2" || fail "$1 by vhdctl map differs from $2"
	vhdread raw "$1" read.raw
	cmp read.raw "$2" || fail "$1 by vhdread differs from $2"
}

base() { vhdmake dynamic "${1:-base.vhd}" $((8 * MIB)) block=524288 blocks=3,0,9 seed=1 raw=base.raw uid=$A; }
child() { vhdmake diff "$@" block=524288; }

# --- what we write ------------------------------------------------------------

t_created_bytes() {
	local size
	mkdir -p vm/snap
	create --size 512M vm/base.vhd
	create --type diff --parent vm/base.vhd vm/snap/kid.vhd
	cd vm/snap
	[ "$(stat -c %s kid.vhd)" = $((0x15000)) ] || fail "file of $(stat -c %s kid.vhd) bytes"
	at kid.vhd 60 00000004 disk_type
	at kid.vhd 16 0000000000000200 data_offset
	cmp <(head -c 512 kid.vhd) <(tail -c 512 kid.vhd)
	at kid.vhd 0x210 0000000000002000 table_offset
	at kid.vhd 0x21c 00000100 max_table_entries
	at kid.vhd 0x220 00200000 block_size
	at kid.vhd 0x228 "$(id_of ../base.vhd)" parent_unique_id
	at kid.vhd 0x238 "$(printf %08x $(($(stat -c %Y ../base.vhd) - 946684800)))" parent_timestamp
	at kid.vhd 0x240 "$(utf16 base.vhd BE)0000" parent_name
	size=$(utf16 "C:${PWD%/snap}/base.vhd" LE)
	at kid.vhd 0x440 "57326b7500001000$(printf %08x $((${#size} / 2)))000000000000000000001000" 'locator 0'
	at kid.vhd 0x1000 "$(utf16 "C:$(tr / '\\' <<<"${PWD%/snap}/base.vhd")" LE)0000" W2ku
	at kid.vhd 0x458 57327275000100000000001a000000000000000000003000 'locator 1'
	at kid.vhd 0x3000 "$(utf16 '.\..\base.vhd' LE)0000" W2ru
	at kid.vhd 0x470 4d6163580000100000000014000000000000000000013000 'locator 2'
	[ "$(dd if=kid.vhd bs=1 skip=$((0x13000)) count=20 status=none)" = file://./../base.vhd ]
	at kid.vhd 0x2000 "$(printf '%4096s' | tr ' ' f)" 'table and padding'
	sound kid.vhd
	finds kid.vhd ../base.vhd
	[ "$(vhdread parent kid.vhd | tail -n 1)" = "found=W2ru path=$(realpath ../base.vhd)" ]
}

# Names that are not ASCII, or need care in a URL; found by each of the ways
t_names() {
	local name
	for name in 'bäse 100%.vhd' '磁盘 #1?.vhd' '😀&+;=[].vhd' ' .vhd' $'tab\there.vhd'; do
		create --size 1M "$name"
		create --type diff --parent "$name" kid.vhd
		finds kid.vhd "$name"
		vhdread parent kid.vhd | grep -q "^found=W2ru"
		vhdread check --tight --aligned kid.vhd
		vhdctl check kid.vhd
		for way in 1 2; do
			vhdmake poke kid.vhd l${way}_code=0
			finds kid.vhd "$name"
		done
		rm kid.vhd "$name"
	done
	create --size 1M 'back\slash.vhd'
	expect_fail 4 'backslash' create --type diff --parent 'back\slash.vhd' kid.vhd
	create --size 1M $'latin\xe4.vhd'
	expect_fail 4 'not UTF-8' create --type diff --parent $'latin\xe4.vhd' kid.vhd
	[ ! -e kid.vhd ] && ! compgen -G '.vhdctl-*'
}

t_absolute() {
	mkdir far
	create --size 1M base.vhd
	create --type diff --absolute --parent base.vhd kid.vhd
	mv kid.vhd far/kid.vhd
	finds far/kid.vhd base.vhd
	vhdread parent far/kid.vhd | grep -q '^found=MacX'
	! vhdread parent far/kid.vhd | grep -q '^W2ru'
	# Relative by default: both move together
	create --type diff --parent base.vhd kid.vhd
	mv base.vhd kid.vhd far/
	finds far/kid.vhd far/base.vhd
}

t_create_refuses() {
	create --size 1M base.vhd
	expect_fail 1 '--parent is needed' create --type diff kid.vhd
	expect_fail 1 'only with --type diff' create --size 1M --type fixed --parent base.vhd kid.vhd
	expect_fail 1 'begins empty' create --type diff --preallocate full --parent base.vhd kid.vhd
	expect_fail 4 'no such file' create --type diff --parent none.vhd kid.vhd
	head -c 1M /dev/zero > raw
	expect_fail 4 'not a VHD' create --type diff --parent raw kid.vhd
	expect_fail 5 'is the parent' create --force --type diff --parent base.vhd base.vhd
	create --type diff --parent base.vhd kid.vhd
	expect_fail 5 'is the parent' create --force --type diff --parent kid.vhd base.vhd
	expect_fail 5 'exists' create --type diff --parent base.vhd kid.vhd
	vhdmake poke base.vhd id=00000000000000000000000000000000
	expect_fail 4 'null' create --type diff --parent base.vhd kid2.vhd
	[ ! -e kid2.vhd ] && ! compgen -G '.vhdctl-*'
}

# --- what others write --------------------------------------------------------

t_variants() {
	local bits n=0 how layout
	base
	mkdir else
	for bits in all half; do
		child kid.vhd $((8 * MIB)) parent=base.vhd praw=base.raw blocks=9,2,0 bits=$bits seed=3 raw=kid.raw 'w2ru=.\base.vhd'
		reads kid.vhd kid.raw
	done
	for how in "w2ru=.\\base.vhd" "w2ru=base.vhd" "w2ku=C:$(tr / '\\' <<<"$PWD")\\base.vhd" \
		"w2ku=D:\\gone\\base.vhd" "macx=file://localhost$PWD/base.vhd" "macx=file://$PWD/base.vhd" \
		'macx=file://./b%61se.vhd' 'name=base.vhd' 'name=C:\vm\base.vhd' 'w2ru=.\else\..\base.vhd' \
		'w2ku=\\server\share\base.vhd'; do
		for layout in windows:odd blktap:none; do
			n=$((n + 1))
			child kid.vhd $((8 * MIB)) parent=base.vhd praw=base.raw blocks=9,0 bits="${layout#*:}" seed=2 raw=kid.raw layout="${layout%:*}" "$how"
			reads kid.vhd kid.raw
		done
	done
	note "$n images"
}

# As Windows 10 does: a whole path in the name, no time; and all locators
t_windows_10() {
	base
	child kid.vhd $((8 * MIB)) parent=base.vhd praw=base.raw blocks=1,0 bits=odd seed=2 raw=kid.raw uid=$B \
		'w2ku=C:\vm\base.vhd' 'w2ru=.\base.vhd' 'name=C:\vm\base.vhd' time=0
	reads kid.vhd kid.raw
	vhdctl map kid.vhd 2>&1 >/dev/null | wc -l | grep -qx 0
	create --type diff --parent kid.vhd top.vhd
	reads top.vhd kid.raw
}

# Names of Windows that are no text are names all the same
t_surrogates() {
	local half=$'half\xed\xa0\x80.vhd'
	base "$half"
	for how in 'w2ru=.\half%uD800.vhd' 'w2ku=C:\x\half%uD800.vhd' 'name=half%uD800.vhd'; do
		child kid.vhd $((8 * MIB)) parent="$half" praw=base.raw blocks=1,0 bits=half raw=kid.raw "$how"
		finds kid.vhd "$half"
		vhdread raw kid.vhd read.raw
		cmp read.raw kid.raw
	done
	# A terminal is shown something harmless
	vhdctl info kid.vhd | iconv -f UTF-8 -t UTF-8 >/dev/null
	rm "$half"
	child kid.vhd $((8 * MIB)) pid=$A 'w2ru=.\half%uDC00%uD800.vhd' 'name=%uDC00'
	lost kid.vhd 'not found'
	{ vhdctl map kid.vhd 2>&1 >/dev/null || true; } | iconv -f UTF-8 -t UTF-8 >/dev/null
	base '😀ä.vhd'
	child kid.vhd $((8 * MIB)) parent='😀ä.vhd' 'w2ru=.\😀Ä.VHD'
	finds kid.vhd '😀ä.vhd'
}

# --- which one is taken -------------------------------------------------------

t_order() {
	mkdir ru macx ku dir given
	for d in given dir ru macx ku .; do base $d/base.vhd; done
	child kid.vhd $((8 * MIB)) pid=$A "w2ku=C:$(tr / '\\' <<<"$PWD")\\ku\\base.vhd" "macx=file://./macx/base.vhd" 'w2ru=.\ru\base.vhd' name=base.vhd
	finds kid.vhd given/base.vhd --parent given/base.vhd --parent-dir dir
	finds kid.vhd dir/base.vhd --parent-dir dir
	for d in ru macx ku; do
		finds kid.vhd $d/base.vhd
		rm $d/base.vhd
	done
	finds kid.vhd base.vhd
	mv base.vhd BaSe.VhD
	finds kid.vhd BaSe.VhD
	rm BaSe.VhD
	finds kid.vhd dir/base.vhd --parent-dir none --parent-dir dir
	lost kid.vhd 'parent "base.vhd" not found \(tried .\\ru\\base.vhd, file://./macx/base.vhd, C:.*\); use --parent'
	# Only the right one is taken, wherever the wrong ones are
	for d in ru macx ku .; do vhdmake dynamic $d/base.vhd $((8 * MIB)) uid=$B; done
	lost kid.vhd 'ru.base.vhd: unique id: found b1b1b1b1-.*, expected a0a0a0a0-'
	base ku/base.vhd
	finds kid.vhd ku/base.vhd
}

t_wrong_id() {
	base
	child kid.vhd $((8 * MIB)) pid=$C 'w2ru=.\base.vhd'
	lost kid.vhd 'unique id: found a0a0a0a0-a0a0-a0a0-a0a0-a0a0a0a0a0a0, expected c2c2c2c2-c2c2-'
	finds kid.vhd base.vhd --ignore-parent-id
	vhdctl info --chain --ignore-parent-id kid.vhd 2>&1 >/dev/null | grep -q 'warning: header.parent_unique_id is not the id'
	finds kid.vhd base.vhd --ignore-parent-id --parent base.vhd
	# A null id is nobody's; a live commit leaves one
	vhdmake poke base.vhd id=00000000000000000000000000000000
	child kid.vhd $((8 * MIB)) pid=00000000000000000000000000000000 'w2ru=.\base.vhd'
	lost kid.vhd 'is not its parent any more'
	# Given, but nobody's parent
	base
	base2=other.vhd
	vhdmake dynamic $base2 $((8 * MIB)) uid=$B
	child kid.vhd $((8 * MIB)) parent=base.vhd 'w2ru=.\base.vhd'
	lost kid.vhd '"other.vhd" is no parent' --parent other.vhd
	lost kid.vhd '"missing.vhd" is no parent' --parent missing.vhd
}

# Replaced or written after the snapshot: another id is refused, another time told
t_replaced() {
	create --size 1M base.vhd
	create --type diff --parent base.vhd kid.vhd
	[ -z "$(vhdctl info --chain kid.vhd 2>&1 >/dev/null)" ]
	touch -d '+1 hour' base.vhd
	vhdctl info --chain kid.vhd 2>&1 >/dev/null | grep -q 'was changed after it was made'
	create --force --size 1M base.vhd
	lost kid.vhd 'unique id'
}

t_sizes() {
	base
	child kid.vhd $((12 * MIB)) parent=base.vhd praw=base.raw blocks=17,1 bits=odd raw=kid.raw 'w2ru=.\base.vhd' uid=$B
	reads kid.vhd kid.raw
	vhdctl info --chain kid.vhd 2>&1 >/dev/null | grep -q 'current_size: found 12582912, its parent ".*base.vhd" has 8388608'
	# A smaller one in the middle hides what is beyond its end
	child mid.vhd $((5 * MIB)) parent=base.vhd praw=base.raw blocks=2 bits=odd raw=mid.raw 'w2ru=.\base.vhd' uid=$C
	child top.vhd $((12 * MIB)) parent=mid.vhd praw=mid.raw blocks=20 bits=half raw=top.raw 'w2ru=.\mid.vhd'
	truncate -s 12M mid.raw
	reads top.vhd top.raw
}

t_cycles() {
	child one.vhd $((8 * MIB)) pid=$B uid=$A 'w2ru=.\two.vhd'
	child two.vhd $((8 * MIB)) pid=$A uid=$B 'w2ru=.\one.vhd'
	lost one.vhd 'leads back to itself'
	child own.vhd $((8 * MIB)) pid=$A uid=$A 'w2ru=.\own.vhd'
	lost own.vhd 'leads back to itself'
	ln own.vhd link.vhd
	child own2.vhd $((8 * MIB)) pid=$A uid=$B 'w2ru=.\link.vhd'
	lost own2.vhd 'leads back to itself'
	# The same name elsewhere is no circle
	mkdir new
	base
	child new/base.vhd $((8 * MIB)) pid=$A uid=$B 'w2ru=.\base.vhd' 'w2ku=C:\gone\base.vhd'
	lost new/base.vhd 'not found'
}

t_deep() {
	local n
	vhdmake dynamic 0.vhd $((2 * MIB)) block=524288 blocks=1,3 seed=1 raw=0.raw uid=$A
	for ((n = 1; n <= 255; n++)); do create -q --type diff --parent $((n - 1)).vhd $n.vhd; done
	reads 255.vhd 0.raw
	vhdctl map 255.vhd | tail -n 1 | grep -q '/0.vhd$'
	expect_fail 4 '255 parents already' create --type diff --parent 255.vhd 256.vhd
	[ ! -e 256.vhd ]
	child 256.vhd $((2 * MIB)) parent=255.vhd 'w2ru=.\255.vhd'
	lost 256.vhd 'more than 256 images'
}

# --- check: how the layers fit is a finding of the child --------------------

# finding STATUS CHILD CODE FOUND EXPECTED [OPTION]...: of the chain's first image
finding() {
	local status=0 want=$1 child=$2
	shift 2
	vhdctl check --chain --json "${@:4}" "$child" > chain.json || status=$?
	[ $status = "$want" ] || fail "check --chain $child: status $status, expected $want"
	"${PYTHON[@]}" - "${@:1:3}" <<-'END' || fail "$child: $(cat chain.json)"
		import json, sys
		top = json.load(open("chain.json"))[0]
		code, found, expected = sys.argv[1], int(sys.argv[2], 0), int(sys.argv[3], 0)
		rows = [(f["found"], f["expected"]) for f in top["findings"] if f["code"] == code]
		sys.exit(rows != [(found, expected)] or top["counts"][code] != 1 or
		         ("parent" in top) == ("parent-trouble" in top))
	END
	vhdctl check --chain "${@:4}" "$child" > chain.txt || true
	grep -q "^[a-z]*: $1: .*found" chain.txt || fail "$child: no line of $1"
}
attaches() {
	"${PYTHON[@]}" -c 'import json, sys; sys.exit(json.load(open("chain.json"))[int(sys.argv[2])]["attach"] != sys.argv[1])' "$1" "$2" || fail "layer $2: not $1"
}

t_check_fits() {
	base
	child kid.vhd $((8 * MIB)) parent=base.vhd 'w2ru=.\base.vhd' uid=$B
	child top.vhd $((8 * MIB)) parent=kid.vhd 'w2ru=.\kid.vhd'
	vhdctl check --chain --json top.vhd > chain.json
	"${PYTHON[@]}" -c 'import json; c = json.load(open("chain.json")); assert [i["result"] for i in c] == ["clean"] * 3 and c[1]["parent"].endswith("/base.vhd")'
	attaches read-write 0
	attaches read-write 2
}

t_check_missing() {
	child kid.vhd $((8 * MIB)) pid=$A 'w2ru=.\base.vhd'
	finding 2 kid.vhd parent-missing 1 2
	attaches refused 0
	# With another id it is not taken, unless one insists
	vhdmake dynamic base.vhd $((8 * MIB)) uid=$B
	finding 2 kid.vhd parent-missing 1 2
	finding 2 kid.vhd parent-id 0xa0a0a0a0a0a0a0a0 0xb1b1b1b1b1b1b1b1 --ignore-parent-id
	attaches refused 0
}

t_check_cycle() {
	child one.vhd $((8 * MIB)) pid=$B uid=$A 'w2ru=.\two.vhd'
	child two.vhd $((8 * MIB)) pid=$A uid=$B 'w2ru=.\one.vhd'
	child own.vhd $((8 * MIB)) pid=$A uid=$A 'w2ru=.\own.vhd'
	finding 2 own.vhd parent-cycle 1 2
	# Told once, of the layer that leads back
	vhdctl check --chain one.vhd > out || [ $? = 2 ] || fail 'status'
	[ "$(grep -c parent-cycle out)" = 1 ] || fail "$(cat out)"
}

t_check_depth() {
	local n
	vhdmake dynamic 0.vhd $((2 * MIB)) block=524288 uid=$A
	for ((n = 1; n <= 256; n++)); do
		child $n.vhd $((2 * MIB)) parent=$((n - 1)).vhd "w2ru=.\\$((n - 1)).vhd" uid=$(printf %032x $((n + 4096)))
	done
	vhdctl check --chain 255.vhd >/dev/null
	vhdctl check --chain 256.vhd > out || [ $? = 2 ] || fail 'status'
	grep -q '^corrupt: parent-depth: .*found 0x101, expected 0x100$' out || fail "$(tail -n 3 out)"
}

t_check_size_and_time() {
	base
	child kid.vhd $((12 * MIB)) parent=base.vhd 'w2ru=.\base.vhd'
	finding 3 kid.vhd parent-size $((12 * MIB)) $((8 * MIB))
	attaches read-write 0
	create --size 1M old.vhd
	create --type diff --parent old.vhd young.vhd
	vhdctl check --chain young.vhd >/dev/null
	touch -d '2001-01-01 00:00:00 UTC' old.vhd
	finding 3 young.vhd parent-time "0x$(hex young.vhd 0x238 4)" 31622400
	# As bad as the worst of all layers
	child top.vhd $((1 * MIB)) parent=young.vhd 'w2ru=.\young.vhd'
	vhdctl check --chain top.vhd >/dev/null || [ $? = 3 ] || fail 'status of the chain'
}

# --- what strangers may name --------------------------------------------------

t_hostile_places() {
	local how
	base
	head -c 8M /dev/zero > raw.img
	mkfifo fifo
	ln -s /etc/shadow shadow.vhd
	ln -s /dev/zero zero.vhd
	for how in 'w2ru=.\..\..\..\..\..\..\..\..\etc\shadow' 'w2ru=.\..\..\..\..\..\..\..\dev\zero' 'macx=file:///dev/sda' \
		'macx=file:///proc/self/mem' 'w2ku=C:\proc\kcore' 'w2ku=\dev\mem' 'w2ru=.\fifo' 'macx=file://./fifo' 'w2ru=.\raw.img' \
		'w2ru=.\shadow.vhd' 'w2ru=.\zero.vhd' 'macx=file:///etc/shadow' 'macx=file://./raw.img%00.vhd' 'macx=http://a/b.vhd' \
		'macx=file://host/base.vhd' 'w2ru=.\' 'w2ru=..' 'w2ru=' 'macx=' 'macx=file://' 'w2ku=\\.\PhysicalDrive0' \
		'w2ku=\\?\Volume{12345678-1234-1234-1234-123456789abc}\x.vhd' 'w2ru=%u0000' 'macx=file:///dev/fd/3' 'macx=file:///dev/stdin' \
		'macx=file:///sys/kernel/notes' 'w2ru=.\.'; do
		child kid.vhd $((8 * MIB)) pid=$A "$how"
		note "$how"
		timeout 10 vhdctl map kid.vhd </dev/zero >/dev/null 2>out && fail "$how: accepted"
		[ "$(wc -l <out)" = 1 ] || fail "$how: $(cat out)"
		grep -qE 'not found|names no parent' out || fail "$how: $(cat out)"
		! timeout 10 vhdctl info --chain kid.vhd >/dev/null 2>&1
	done
}

# Lengths and places that lie: the locator is not believed, others are
t_hostile_fields() {
	local poke
	base
	for poke in l0_length=0xffffffff l0_length=65537 'l0_space=1 l0_length=4000' l0_offset=0xffffffffffffff00 \
		l0_offset=0x7fffffffffffffff 'l0_space=0xffffffff l0_length=0xfffffffe' l0_length=0 l0_length=1; do
		child kid.vhd $((8 * MIB)) pid=$A 'w2ru=.\base.vhd'
		# shellcheck disable=SC2086
		vhdmake poke kid.vhd $poke
		lost kid.vhd 'names no parent|not found'
		child kid.vhd $((8 * MIB)) pid=$A 'w2ru=.\base.vhd' macx=file://./base.vhd
		# shellcheck disable=SC2086
		vhdmake poke kid.vhd $poke
		finds kid.vhd base.vhd
	done
}

# --- other programs -----------------------------------------------------------

# libvhdi has its own bits wrong (see Documentation/format.rst): blocks that are
# wholly in one layer it reads as we do
t_libvhdi() {
	requires vhdimount vhdiinfo
	base
	child kid.vhd $((8 * MIB)) parent=base.vhd praw=base.raw blocks=9,2 seed=2 raw=kid.raw 'w2ru=.\base.vhd' name=base.vhd
	create --type diff --parent kid.vhd top.vhd
	vhdiinfo top.vhd > out
	grep -q 'Disk type.*: Differential' out
	grep -q 'Parent filename.*: kid.vhd' out
	[ -e /dev/fuse ] || skip 'no FUSE here; vhdiinfo agrees'
	mkdir -p mnt
	vhdimount top.vhd mnt >/dev/null 2>&1 || skip 'vhdimount cannot mount here; vhdiinfo agrees'
	cleanup_fn umount "$W/mnt"
	cmp mnt/vhdi3 kid.raw || cmp mnt/vhdi1 kid.raw
}

run_cases "$@"
