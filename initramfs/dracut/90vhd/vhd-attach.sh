#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Called when udev has settled, again and again until the root is there.
/usr/lib/vhd/vhd-root || true
