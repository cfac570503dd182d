#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""clean.py VHDCTL DIRECTORY SEED COUNT: what qemu writes is clean.

Images of random size, made by qemu-img create and written to by qemu-io, or
made by qemu-img convert from random content; fixed and dynamic, with and
without exact size. check finds nothing but notes, and these are the ones that
are true of qemu's images; the content is what the independent reader reads.
"""

import os
import random
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from run import Fault, check_json, want  # noqa: E402
from image import KIB, MIB  # noqa: E402
import vhdread  # noqa: E402

# qemu calls its system so, rounds the file of a fixed image up, and leaves
# the geometry of another size where the size is given exactly.
TRUE_OF_QEMU = {"geometry", "footer-creator-os", "file-long", "gap",
                "table-padding"}


def qemu(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def options(rand):
    return "subformat=%s,force_size=%s" % (
        rand.choice(("dynamic", "fixed")), rand.choice(("on", "off")))


def created(rand, path):
    size = rand.randrange(1, 200 * 1024) * KIB
    qemu("qemu-img", "create", "-q", "-f", "vpc", "-o", options(rand), path,
         str(size))
    writes = []
    for _ in range(rand.randrange(12)):
        length = 512 * rand.randrange(1, 3000)
        place = 512 * rand.randrange(size // 512)
        if place + length <= size:
            writes += ["-c", "write -P %d %d %d" % (rand.randrange(256), place,
                                                    length)]
    if writes:
        qemu("qemu-io", "-f", "vpc", *writes, path)


def converted(rand, path):
    size = rand.randrange(1, 40 * 1024) * KIB
    with open(path + ".raw", "wb") as out:
        out.truncate(size)
        for _ in range(rand.randrange(8)):
            out.seek(512 * rand.randrange(size // 512))
            out.write(rand.randbytes(512 * rand.randrange(1, 800)))
        out.truncate(size)
    qemu("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options(rand),
         path + ".raw", path)
    with open(path + ".raw", "rb") as source:
        expect = source.read()
    img = vhdread.Image(path)
    data = bytearray(img.size)
    for pos, piece in img.pieces():
        data[pos:pos + len(piece)] = piece[:img.size - pos]
    os.close(img.fd)
    # Rounded up to a geometry, it is longer.
    want("content", data[:size] == expect and not any(data[size:]), True)
    os.unlink(path + ".raw")


def main(vhdctl, directory, seed, count):
    path = os.path.join(directory, "clean.vhd")
    bad = 0
    for number in range(int(count)):
        rand = random.Random("%s:%d" % (seed, number))
        try:
            rand.choice((created, converted))(rand, path)
            code, report = check_json(vhdctl, path)
            counts = set(report.get("counts", {}))
            want("check %s" % sorted(counts), code, 0)
            want("unusual", sorted(counts - TRUE_OF_QEMU), [])
        except Fault as fault:
            bad += 1
            print("%s:%d: %s" % (seed, number, fault), flush=True)
        os.unlink(path)
    print("%s images of qemu, %d bad" % (count, bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
