#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# vhdctl about attached devices: list, status, set.
. "${0%/*}/../lib.sh"

json() { "${PYTHON[@]}" -c "import json, sys; d = json.load(sys.stdin)['vhddevices']; $1"; }

t_list() {
	[ -z "$(vhdctl list)" ] || [ "$(vhdctl list | wc -l)" = 1 ] || fail 'something is attached already'
	create --size 10M a.vhd
	create --size 20M --type fixed 'b with blanks.vhd'
	attach -n vhd3 a.vhd
	attach -n vhd1 -r 'b with blanks.vhd'
	vhdctl > list
	head -n 1 list | grep -E 'NAME +TYPE +SIZE +ALLOC +RO +DIO +BACK-FILE' || fail "head: $(head -n 1 list)"
	grep -E '^(/dev/)?vhd3 +dynamic +10M .*/a.vhd$' list || fail "$(cat list)"
	grep -E '^(/dev/)?vhd1 +fixed +20M ' list || fail "$(cat list)"
	[ "$(wc -l < list)" = 3 ] || fail 'lines'
	[ "$(vhdctl list -n -b -O SIZE vhd3 | tr -d ' ')" = 10485760 ] || fail 'list -b'
	[ "$(vhdctl ls -n --raw -O NAME,RO /dev/vhd1 | wc -l)" = 1 ] || fail 'list of one'
	vhdctl list --output-all > all
	expect_fail 1 'potato' vhdctl list -O POTATO
	expect_fail 4 'vhd9' vhdctl list vhd9
	vhdctl detach --all
}

t_list_json() {
	create --size 10M $'a "quoted" \\ name.vhd'
	attach $'a "quoted" \\ name.vhd'
	vhdctl list -J | json 'assert len(d) == 1 and d[0]["back-file"].endswith("/a \"quoted\" \\ name.vhd"), d'
	vhdctl list -J -b -O NAME,SIZE,RO | json 'assert d[0]["size"] in (10485760, "10485760") and d[0]["ro"] in (False, 0, "0"), d'
	vhdctl list -J --output-all | json 'assert len(d[0]) > 15, d'
	detach
	vhdctl list -J | json 'assert d == [], d'
}

t_status() {
	create --size 10M a.vhd
	expect_fail 4 '.*' vhdctl status vhd0
	attach a.vhd
	vhdctl status "$DEV" > status
	grep -i -E 'a\.vhd' status
	grep -i 'dynamic' status
	vhdctl status vhd0
	detach
	expect_fail 4 '.*' vhdctl status vhd0
}

t_set_read_only() {
	create --size 10M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 64 -f
	exec 9<>"$DEV"
	expect_fail 5 'busy|open|use' vhdctl set --read-only "$DEV"
	exec 9>&-
	vhdctl set --read-only "$DEV"
	[ "$(blockdev --getro "$DEV")" = 1 ] || fail 'still writable'
	! vhdio write "$DEV" 2 0 64 -f || fail 'a write went through'
	vhdio verify "$DEV" 1 0 64
	vhdctl set --read-write "$DEV"
	vhdio write "$DEV" 2 0 64 -f
	detach
	attach -r a.vhd
	expect_fail 4 'read-only' vhdctl set --read-write "$DEV" || expect_fail 2 'read-only' vhdctl set --read-write "$DEV"
	vhdio verify "$DEV" 2 0 64
	detach
}

t_set_direct_io() {
	create --size 40M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 8192 -b 32 -d
	vhdctl set --direct-io=off "$DEV"
	vhdio verify "$DEV" 1 0 8192 -b 32 -d
	vhdio write "$DEV" 2 0 8192 -b 32 -t 4 -r -d
	vhdctl set --direct-io=on "$DEV" || note 'no direct I/O here'
	vhdio verify "$DEV" 2 0 8192 -b 32 -d
	detach
	sound a.vhd
}

# Under load: nothing lost, nothing stale
slow_set_direct_io_under_load() {
	local writer
	create --size 40M a.vhd
	attach a.vhd
	vhdio write "$DEV" 1 0 81920 -b 16 -t 8 -r -d &
	writer=$!
	for _ in 1 2 3; do
		vhdctl set --direct-io=off "$DEV"
		vhdctl set --direct-io=on "$DEV" || true
	done
	wait $writer
	vhdio verify "$DEV" 1 0 81920 -b 16 -d
	detach
	sound a.vhd
}

slow_attach_json() {
	create --size 10M a.vhd
	vhdctl attach --json a.vhd | "${PYTHON[@]}" -c 'import json, sys; json.load(sys.stdin)'
	vhdctl detach a.vhd
}

t_4096_byte_sectors() {
	create --size 40M a.vhd
	attach -b 4096 a.vhd
	[ "$(blockdev --getss "$DEV")" = 4096 ] || fail 'logical blocks'
	vhdio write "$DEV" 1 0 8192 -b 32 -d
	! vhdio write "$DEV" 1 1 1 -b 1 -d || fail 'one sector could be written'
	make_fs ext4 "$DEV"
	detach_soon
	sound a.vhd
}

# What the tool says of an image that it has just made, attached or not
slow_info_map_dump() {
	create --size 10M a.vhd
	vhdctl info a.vhd > info
	grep -q dynamic info
	vhdctl info --json a.vhd | "${PYTHON[@]}" -c 'import json, sys; json.load(sys.stdin)'
	attach a.vhd
	vhdio write "$DEV" 1 8192 8 -d -f
	vhdctl info a.vhd > info
	detach
	vhdctl map a.vhd > map
	vhdctl map --json a.vhd | "${PYTHON[@]}" -c 'import json, sys; json.load(sys.stdin)'
	for what in footer header bat; do vhdctl dump $what a.vhd > dump || vhdctl dump a.vhd $what > dump; done
}

run_cases "$@"
