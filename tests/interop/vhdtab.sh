#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# /etc/vhdtab: the units that the generator makes of it.
. "${0%/*}/../lib.sh"

# generate LINE...: the units are in units/
generate() {
	rm -rf units
	printf '%s\n' "$@" > vhdtab
	VHDTAB=$PWD/vhdtab sh "$REPO/systemd/vhd-generator" "$PWD/units" 2> messages
}

# has IMAGE TARGET ARGUMENTS: its unit is wanted by the target, with these arguments
has() {
	local unit
	unit=$(systemd-escape --path --template=vhd-attach@.service "$1")
	[ -z "$2" ] || [ -L "units/$2/$unit" ] || fail "no $2/$unit: $(find units)"
	grep -qxF "Environment=\"VHD_OPTIONS=$3\"" "units/$unit.d/50-vhdtab.conf" || fail "$(cat "units/$unit.d/50-vhdtab.conf")"
}

t_generator() {
	requires systemd-escape
	generate '# a comment' '' '/srv/a.vhd' '/srv/b.vhd defaults' '/srv/c.vhd	ro,nofail' '/nfs/d.vhd _netdev,device=vhd7,direct-io=off' \
		'/srv/.e\040f-g//h\134i.vhd noauto' 'relative.vhd' '/srv/x.vhd nonsense'
	has /srv/a.vhd local-fs.target.requires ''
	has /srv/b.vhd local-fs.target.requires ''
	has /srv/c.vhd local-fs.target.wants --read-only
	has /nfs/d.vhd remote-fs.target.requires '--name=vhd7 --direct-io=off'
	has '/srv/.e f-g/h\i.vhd' '' ''
	[ "$(find units -type l | wc -l)" = 4 ] || fail "$(find units)"
	grep -q 'relative.vhd: not an absolute path' messages
	grep -q '/srv/x.vhd: unknown option "nonsense"' messages
	[ "$(wc -l < messages)" = 2 ] || fail "$(cat messages)"
	# A system without the file
	VHDTAB=$PWD/absent sh "$REPO/systemd/vhd-generator" "$PWD/units.absent"
	[ ! -e units.absent ] || fail 'units of nothing'
}

# Its arguments are options of vhdctl attach
t_arguments() {
	local word
	vhdctl attach --help > help
	for word in read-only name parent parent-dir direct-io fast-lane size-rule sector-size no-partscan; do
		grep -q -- "--$word" help || fail "vhdctl attach has no --$word"
	done
}

# systemd finds nothing wrong with the unit
t_unit() {
	requires systemd-analyze
	sed "s#/usr/sbin/vhdctl#$(command -v vhdctl)#" "$REPO/systemd/vhd-attach@.service" > 'vhd-attach@.service'
	cp 'vhd-attach@.service' 'vhd-attach@srv-a.vhd.service'
	systemd-analyze --man=no verify ./'vhd-attach@srv-a.vhd.service' 2> messages || fail "$(cat messages)"
	[ ! -s messages ] || fail "$(cat messages)"
}

# Lines of /etc/fstab, as the manual has them, become units in the right place
t_fstab() {
	local generator=/lib/systemd/system-generators/systemd-fstab-generator unit
	[ -x $generator ] || skip 'no systemd-fstab-generator'
	grep -hE '^[[:space:]]+/[^ ]+ /[^ ]+ vhd ' "$REPO/Documentation/admin-guide/vhd.rst" "$REPO/Documentation/man/vhdctl-mount.8.scd" |
		sed 's/^[[:space:]]*//; s/\\//' | sort -u > fstab
	grep -q '^/srv/win.vhd /mnt/win vhd part=2,ro,nofail 0 0$' fstab || fail "$(cat fstab)"
	mkdir units
	SYSTEMD_FSTAB=$PWD/fstab $generator "$PWD/units" "$PWD/units" "$PWD/units"
	[ -L units/local-fs.target.wants/mnt-win.mount ] || fail "$(find units)"
	# Not a device to wait for: that the directory of the image is mounted first follows from What=
	grep -qx 'What=/srv/win.vhd' units/mnt-win.mount
	grep -qx 'Type=vhd' units/mnt-win.mount
	grep -qx 'Options=part=2,ro,nofail' units/mnt-win.mount
	# Which it does not for _netdev
	[ -L units/remote-fs.target.requires/mnt-data.mount ] || fail "$(find units)"
	grep -qx 'RequiresMountsFor=/nfs' units/mnt-data.mount || fail "$(cat units/mnt-data.mount)"
	for unit in units/*.mount; do
		systemd-analyze --man=no verify "./$unit" 2> messages || [ ! -s messages ] || fail "$unit: $(cat messages)"
	done
}

run_cases "$@"
