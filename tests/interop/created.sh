#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What vhdctl create writes: byte for byte where FORMAT gives bytes, and of the
# right size to everybody else. Needs no module.
. "$(dirname "$0")/../lib.sh"

hex() { dd if="$1" bs=1 skip=$(($2)) count=$(($3)) status=none | od -A n -v -t x1 | tr -d ' \n'; }

# at FILE OFFSET HEX WHAT
at() {
	local have
	have=$(hex "$1" $(($2)) $((${#3} / 2)))
	[ "$have" = "$3" ] || fail "$1: $4 at $(($2)): $have, expected $3"
}

# The whole footer but for time, checksum and id, which the reader checks
footer_bytes() {
	local f=$1 at=$2 type=$3 offset=$4 size
	size=$(printf %016x "$5")
	at "$f" "$at" 636f6e6563746978 cookie
	at "$f" "$at+8" 00000002 features
	at "$f" "$at+12" 00010000 version
	at "$f" "$at+16" "$offset" data_offset
	at "$f" "$at+28" 77696e20 creator_app
	at "$f" "$at+32" 000a0000 creator_version
	at "$f" "$at+36" 5769326b creator_os
	at "$f" "$at+40" "$size" original_size
	at "$f" "$at+48" "$size" current_size
	at "$f" "$at+60" "0000000$type" disk_type
	at "$f" "$at+84" "$(printf '%0856d' 0)" 'saved state, hidden, reserved'
}

t_dynamic_bytes() {
	local size=$((512 * MIB)) now stamp
	create --size 512M a.vhd
	[ "$(stat -c %s a.vhd)" = 8192 ] || fail "file of $(stat -c %s a.vhd) bytes"
	footer_bytes a.vhd 0 3 0000000000000200 $size
	footer_bytes a.vhd 0x1e00 3 0000000000000200 $size
	cmp <(head -c 512 a.vhd) <(tail -c 512 a.vhd)
	at a.vhd 0x200 6378737061727365 'header cookie'
	at a.vhd 0x208 ffffffffffffffff 'header data_offset'
	at a.vhd 0x210 0000000000000600 table_offset
	at a.vhd 0x218 00010000 'header version'
	at a.vhd 0x21c 00000100 max_table_entries
	at a.vhd 0x220 00200000 block_size
	at a.vhd 0x228 "$(printf '%040d' 0)" 'parent id, time, reserved'
	[ "$(hex a.vhd 576 960)" = "$(printf '%01920d' 0)" ] || fail 'parent name, locators, reserved'
	[ "$(hex a.vhd 0x600 $((0x1000 - 0x600)))" = "$(printf "%$((2 * (0x1000 - 0x600)))s" | tr ' ' f)" ] || fail 'table and padding'
	[ "$(hex a.vhd 0x1000 $((0x1e00 - 0x1000)))" = "$(printf "%0$((2 * (0x1e00 - 0x1000)))d" 0)" ] || fail 'gap before the footer'
	# Seconds since 2000: now, give or take
	stamp=$((16#$(hex a.vhd 24 4) + 946684800)) now=$(date +%s)
	[ $((now - stamp)) -lt 60 ] && [ $stamp -le "$now" ] || fail "timestamp $stamp, now $now"
	# An id that is random: of version 4
	[[ $(hex a.vhd 68 16) =~ ^............4...[89ab]...............$ ]] || fail "id $(hex a.vhd 68 16)"
	sound a.vhd
}

t_fixed_bytes() {
	local size=$((10 * MIB))
	create --size 10M --type fixed a.vhd
	[ "$(stat -c %s a.vhd)" = $((size + 512)) ] || fail "file of $(stat -c %s a.vhd) bytes"
	footer_bytes a.vhd $size 2 ffffffffffffffff $size
	cmp -n $size a.vhd /dev/zero
	sound a.vhd
}

# size cylinders heads sectors, from FORMAT's table
t_geometry() {
	local size chs c h s at
	while read -r size chs; do
		IFS=/ read -r c h s <<<"$chs"
		rm -f a.vhd
		create --size "$size" a.vhd
		at a.vhd 56 "$(printf '%04x%02x%02x' "$c" "$h" "$s")" "geometry of $size"
	done <<-END
		1M 30/4/17
		3M 90/4/17
		4M 120/4/17
		10M 301/4/17
		64M 963/8/17
		100M 1003/12/17
		128M 963/16/17
		504M 1024/16/63
		512M 1040/16/63
		1G 2080/16/63
		2G 4161/16/63
		10G 20805/16/63
		32G 16448/16/255
		127G 65278/16/255
		136899993600 65535/16/255
		136899994112 65535/16/255
		2040G 65535/16/255
	END
}

# qemu and libvhdi read the size asked for; so does our own reader
t_sizes() {
	local size type bytes have
	requires vhdiinfo qemu-img
	while read -r size type bytes; do
		rm -f a.vhd
		create --size "$size" --type "$type" a.vhd
		have=$(qemu-img info -f vpc --output=json a.vhd | sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p')
		[ "$have" = "$bytes" ] || fail "qemu-img: $size is $have"
		vhdiinfo a.vhd > vhdi
		grep -q -E "Media size.*[ (]$bytes bytes" vhdi || fail "vhdiinfo: $size: $(grep Media vhdi)"
		vhdread info a.vhd | grep -q " size=$bytes " || fail "vhdread: $(vhdread info a.vhd)"
		faults=$(vhdread check --tight a.vhd) || fail "$size: $faults"
	done <<-END
		512 dynamic 512
		512s dynamic 262144
		1M dynamic 1048576
		1M fixed 1048576
		1000000s fixed 512000000
		3000KiB dynamic 3072000
		33822351360 dynamic 33822351360
		127G dynamic 136365211648
		200G dynamic 214748364800
		2040G dynamic 2190433320960
		10240KB fixed 10240000
	END
}

t_block_sizes() {
	local b
	for b in 512K 1M 2M; do
		rm -f a.vhd
		create --size 100M --block-size $b a.vhd
		vhdread check --tight a.vhd
		qemu-img info -f vpc a.vhd >/dev/null
		vhdread info a.vhd | grep -q "block_size=$((${b%?} * (${#b} == 4 ? 1024 : MIB)))"
	done
}

t_size_rule_chs() {
	local have
	create --size 100M --size-rule chs a.vhd
	have=$(vhdread info a.vhd)
	# 1003/12/17 is less than 100 MiB: up to the next exact product
	set -- $(sed -n 's/.* size=\([0-9]*\) .*chs=\([0-9]*\)\/\([0-9]*\)\/\([0-9]*\).*/\1 \2 \3 \4/p' <<<"$have")
	[ "$1" = $(($2 * $3 * $4 * 512)) ] || fail "size is not its geometry: $have"
	[ "$1" -ge $((100 * MIB)) ] || fail "smaller than asked for: $have"
	[ "$1" -lt $((101 * MIB)) ] || fail "much larger than asked for: $have"
	[ "$(qemu-img info -f vpc --output=json a.vhd | sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p')" = "$1" ] || fail 'qemu reads another size'
}

t_azure() {
	create --size 10M --azure a.vhd
	vhdread info a.vhd | grep -q 'type=2 size=10485760 file_size=10486272'
	expect_fail 1 'MiB|azure' vhdctl create --size 1000000s --azure b.vhd
}

t_uuid() {
	create --size 10M --uuid 01234567-89ab-cdef-0123-456789abcdef a.vhd
	at a.vhd 68 0123456789abcdef0123456789abcdef uuid
	expect_fail 1 'uuid|id' vhdctl create --size 10M --uuid 00000000-0000-0000-0000-000000000000 b.vhd
	[ ! -e b.vhd ] || fail 'a null id was written'
}

t_preallocate() {
	create --size 20M --preallocate full a.vhd
	vhdread check a.vhd
	create --size 20M --type fixed --preallocate full b.vhd
	[ "$(($(stat -c %b b.vhd) * 512))" -ge $((20 * MIB)) ] || fail 'space is not allocated'
	vhdread check b.vhd
}

# Room in the table for a later growth
t_reserve() {
	create --size 20M --reserve 200M a.vhd
	[[ $(vhdread info a.vhd) =~ entries=1[01]0\  ]] || [[ $(vhdread info a.vhd) =~ entries=100 ]] || fail "$(vhdread info a.vhd)"
	vhdread check --tight a.vhd
}

t_2040_gib_under_a_second() {
	local start=${EPOCHREALTIME/./}
	create --size 2040G a.vhd
	[ $((${EPOCHREALTIME/./} - start)) -lt 1000000 ] || fail "$((${EPOCHREALTIME/./} - start)) us"
	[ "$(stat -c %s a.vhd)" -lt $((5 * MIB)) ] || fail "$(stat -c %s a.vhd) bytes"
}

# In the words of the tool: info and map agree with the reader
t_info() {
	vhdmake dynamic a.vhd $((20 * MIB)) blocks=3,0,9
	vhdctl info --json a.vhd > info.json
	"${PYTHON[@]}" - <<-'END'
		import json
		d = json.load(open("info.json"))
		text = json.dumps(d)
		assert "20971520" in text and "dynamic" in text, d
	END
	vhdctl map --json a.vhd > map.json
	"${PYTHON[@]}" -c 'import json; assert json.load(open("map.json"))'
	unchanged a.vhd -- vhdctl map a.vhd
	unchanged a.vhd -- vhdctl info a.vhd
}

run_cases "$@"
