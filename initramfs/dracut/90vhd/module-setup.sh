#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# dracut: what vhd= on the kernel's command line needs. See vhdtab(5).

check() {
	require_binaries vhdctl blkid || return 1
	# By itself only where the root is on such a device now
	[[ $(findmnt -n -o SOURCE /) == /dev/vhd* ]] || return 255
}

depends() { echo base rootfs-block shutdown; }

installkernel() { hostonly='' instmods vhd ext4 exfat vfat ntfs3 ntfs xfs btrfs nls_utf8 nls_iso8859_1 nls_cp437 fuse; }

install() {
	inst_multiple vhdctl blkid modprobe grep cat mkdir ln mount umount sync
	inst_multiple -o ntfs-3g
	inst_script /usr/lib/vhd/vhd-root /usr/lib/vhd/vhd-root
	inst_rules 60-vhd.rules
	inst_hook initqueue/settled 20 "$moddir/vhd-attach.sh"
	inst_hook pre-shutdown 20 "$moddir/vhd-move.sh"
	inst_hook shutdown 20 "$moddir/vhd-detach.sh"
}
