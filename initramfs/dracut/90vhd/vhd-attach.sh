#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Called when udev has settled, again and again until the root is there.
/usr/lib/vhd/vhd-root || true
# Without this mark dracut does not unpack itself for the way down
[ ! -s /run/vhd/root ] || need_shutdown
