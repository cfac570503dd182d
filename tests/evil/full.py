#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""full.py OUT ordered|shuffled|overlapping|same: 2040 GiB, every block used.

The file is sparse; bitmaps and data are holes.
"""

import array
import os
import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from image import GIB, MIB, SECTOR, Image  # noqa: E402


def main(path, kind):
    size, block = 2040 * GIB, 2 * MIB
    image = Image(size=size, block=block, blocks=())
    first = image.end // SECTOR
    stride = block // SECTOR + (1 if kind != "overlapping" else -8)
    if kind == "same":
        stride = 0
    entries = array.array("I", range(first, first + stride * image.nr, stride)
                          if stride else [first] * image.nr)
    image.end = (max(entries) + block // SECTOR + 1) * SECTOR
    if kind == "shuffled":
        random.seed(1)
        random.shuffle(entries)
    image.write(path)
    if sys.byteorder == "little":
        entries.byteswap()
    with open(path, "r+b") as out:
        out.seek(image.table)
        out.write(entries.tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
