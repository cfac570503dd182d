#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The hostile images of tests/evil, and random ones, under the module alone.
. "${0%/*}/../lib.sh"

# images GROUP...: each attached by ioctl, read and written from end to end
images() {
	local list
	mkdir images
	list=$("${PYTHON[@]}" "$TESTS/evil/run.py" --make images "$@")
	hostile list images <<<"$list"
	[ -z "$(compgen -G '/sys/block/vhd*')" ] || fail "there is a device: $(echo /sys/block/vhd*)"
}

# Emulated, the rest takes too long: User Mode Linux has it, with all checks on.
t_bitmap_batmap_locator() { uml_is_enough; images bitmap batmap locator; }
t_file_footer() { is_uml || skip 'only in User Mode Linux'; images file footer; }
t_head_tail_fixed_cut() { is_uml || skip 'only in User Mode Linux'; images head tail fixed cut; }
t_header() { is_uml || skip 'only in User Mode Linux'; images header; }
t_table() { is_uml || skip 'only in User Mode Linux'; images table; }

# Good images, then changed at random: VHD_FUZZ_TIME seconds from VHD_FUZZ_SEED
t_mutations() {
	is_uml || [ -n "${VHD_FUZZ_TIME:-}" ] || skip 'only in User Mode Linux'
	vhdmake dynamic a.vhd $((3 * MIB)) block=524288 blocks=4,0,2 seed=1
	vhdmake dynamic b.vhd $((4 * MIB)) blocks=1 seed=2
	vhdmake fixed c.vhd "$MIB" seed=3
	create --size 2M --block-size 512K d.vhd
	# A child of one, with some sectors of its own
	vhdctl create --type diff --parent a.vhd e.vhd
	attach e.vhd
	vhdio write "$DEV" 4 8 3000 -b 8 -p 24
	detach
	hostile fuzz "${VHD_FUZZ_TIME:-20}" "${VHD_FUZZ_SEED:-1}" . a.vhd b.vhd c.vhd d.vhd e.vhd+a.vhd e.vhd+c.vhd
}

run_cases "$@"
