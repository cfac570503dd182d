#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The hostile images: see ../evil/host.sh.
exec bash "$(realpath "$(dirname "$0")/../evil/host.sh")" "$@"
