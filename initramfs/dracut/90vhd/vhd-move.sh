#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Called at the end of the system, before the old root is unmounted. The file
# system of the image hangs below it and is in use by it: neither could go before
# the other. So it gets another place, and the old one is given up. /vhd-host is a
# directory already, since /run/initramfs is the root now: that says nothing.
# ntfs-3g, if that is what the image lies on, has nodes open in the old root's /dev:
# that would keep the old root, and dracut would kill it for that.
[ -s /run/vhd/root ] || return 0
vhd_hosts='' vhd_moved=''
while read -r _ dir _; do
	case $dir in /vhd-host) vhd_moved=1 ;; */vhd-host) vhd_hosts="$dir $vhd_hosts" ;; esac
done < /proc/mounts
for dir in $vhd_hosts; do
	[ -n "$vhd_moved" ] || { mkdir -p /vhd-host && mount -o bind "$dir" /vhd-host; } || continue
	vhd_moved=1
	umount -l "$dir"
	case $dir in ?*/run/initramfs/vhd-host) umount -l "${dir%/run/initramfs/vhd-host}/dev" 2>/dev/null ;; esac
done
return 0
