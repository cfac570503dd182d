#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Called when the old root is unmounted, again and again while it fails: the
# image, then what it lies on.
[ -s /run/vhd/root ] || return 0
vhdctl detach --all --wait=1 > /dev/kmsg 2>&1 || return 1
sync
umount /vhd-host || { mount -o remount,ro /vhd-host; return 1; }
echo 'vhd-shutdown: all is down' > /dev/kmsg
