#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""sparse.py make FILE BYTES SEED [RUNS]: a raw file with data, holes and zeros.
sparse.py io COMMAND...: run it; print bytes read and written, and its status.
"""

import os
import random
import subprocess
import sys


def make(path, size, seed, runs="25"):
    size = int(size)
    choose = random.Random(int(seed))
    with open(path, "wb") as out:
        out.truncate(size)
        for _ in range(int(runs)):
            length = choose.choice((1, 511, 512, 4096, 65536, 300000, 3000000))
            at = choose.randrange(size)
            length = min(length, size - at)
            out.seek(at)
            # One in five writes zeros, which are no holes.
            out.write(choose.randbytes(length) if choose.random() < .8
                      else bytes(length))


def io(*command):
    child = subprocess.Popen(command, stdout=sys.stderr)
    # Not reaped yet: its figures are there still.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with open("/proc/%d/io" % child.pid) as figures:
        have = dict(line.split(": ") for line in figures.read().splitlines())
    print(have["rchar"], have["wchar"], child.wait())


if __name__ == "__main__":
    {"make": make, "io": io}[sys.argv[1]](*sys.argv[2:])
