#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""shape.py VHDCTL OPLOG.so DIRECTORY [NAME...]: resizes and compactions that a
power cut ends.

What the command does to the image is recorded; then every state is made that a
crash could leave (see crash.py).  Each of them is an image that can be attached
for writing, at once or, where the copy of the footer is blank, after a repair;
it has the old size or the new one, and all data; and the same command ends what
was begun.  A fixed image, which has no copy of its footer, also survives a file
system whose sizes arrive without the data: then it needs a repair.
"""

import itertools
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import crash  # noqa: E402
import image  # noqa: E402,F401  (sets the path to the reader)
import vhdmake  # noqa: E402
import vhdread  # noqa: E402
from run import ENV, Fault, check_json, run, want  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
CASES = []


def case(name, make, size, *command):
    CASES.append((name, make, size, command))


def dynamic(stride="classic", size=6 * MIB, blocks="9,2,0,5", drop=(), **opts):
    def make(path):
        wish = dict(block=str(512 * KIB), blocks=blocks, stride=stride, **opts)
        vhdmake.make_dynamic(path, size, wish)
        for block in drop:
            vhdmake.poke(path, {"bat%d" % block: "0xffffffff"})
    return make


def fixed(path):
    vhdmake.make_fixed(path, 1 * MIB, {"seed": "3"})


def grown(path):
    """Its table is behind its blocks, and two blocks are no more."""
    dynamic("aligned")(path)
    os.rename(path, path + ".old")
    for size, how in (("100M", ()), ("2621440", ("--shrink", "--force"))):
        done = run([VHDCTL, "resize", *how, path + ".old", size])
        want("grown: %s" % done.stderr.decode(), done.returncode, 0)
    os.rename(path + ".old", path)


def grow(name, make, size):
    case(name, make, size, "resize", str(size))


def shrink(name, make, size):
    case(name, make, size, "resize", "--shrink", "--force", str(size))


grow("grow-last-block", dynamic(size=6 * MIB - 5120, blocks="11,1"), 6 * MIB)
grow("grow-same-sector", dynamic(), 9 * MIB)
grow("grow-slack", dynamic(entries="300"), 100 * MIB)
grow("grow-room", dynamic("aligned"), 80 * MIB)
grow("grow-move", dynamic(), 80 * MIB)
grow("grow-move-far", dynamic("aligned"), 900 * MIB)
grow("grow-empty", dynamic(blocks=""), 80 * MIB)
grow("grow-bits", dynamic(size=6 * MIB - 5120, blocks="11,1", bits="half"),
     7 * MIB)
shrink("shrink-blocks", dynamic(), 3 * MIB)
shrink("shrink-last-block", dynamic(blocks="2,1,0"), 3 * MIB - 400 * KIB - 3072)
shrink("shrink-cut-block", dynamic(), 5 * MIB - 512)
grow("fixed-grow", fixed, 2 * MIB)
grow("fixed-grow-sector", fixed, MIB + 512)
grow("fixed-grow-far", fixed, 9 * MIB)
shrink("fixed-shrink", fixed, 600 * KIB)
case("compact-gap", dynamic(blocks="9,2,0,5,1,7", drop=(9, 0)), 0, "compact")
case("compact-aligned", dynamic("aligned", blocks="9,2,0,5,1", drop=(2,)), 0,
     "compact")
case("compact-all", dynamic(blocks="9,2,0", drop=(9, 2, 0)), 0, "compact")
case("compact-bits", dynamic(blocks="9,2,0", drop=(9,), bits="half"), 0,
     "compact", "--zero")
case("compact-table", grown, 0, "compact")


class State:
    """Size and data of an image, as the independent reader sees them."""

    def __init__(self, path):
        img = vhdread.Image(path)
        self.size = img.size
        self.data = {}
        for pos, piece in img.pieces():
            for at in range(0, len(piece), 512):
                sector = bytes(piece[at:at + 512])
                if pos + at < img.size and sector.strip(b"\0"):
                    self.data[pos + at] = sector
        os.close(img.fd)

    def below(self, size):
        return {at: s for at, s in self.data.items() if at < size}


def record(vhdctl, library, path, command, log):
    """Run it; the operations on the image as crash.py has them."""
    ENV.update(LD_PRELOAD=library, OPLOG=log)
    done = run([vhdctl, command[0], *command[1:-1], path, command[-1]]
               if command[0] == "resize" else [vhdctl, *command, path])
    del ENV["LD_PRELOAD"]
    want("%s: %s" % (command, done.stderr.decode()), done.returncode, 0)
    inode = os.stat(path).st_ino
    data = crash.slurp(log)
    os.unlink(log)
    ops = []
    at = 0
    while at < len(data):
        op, where, pos, length, count = crash.HEAD.unpack_from(data, at)
        at += crash.HEAD.size
        if where == inode:
            ops.append((op, False, pos, length, data[at:at + count]))
        at += count
    return ops


def again(vhdctl, path, command):
    done = run([vhdctl, command[0], *command[1:-1], path, command[-1]]
               if command[0] == "resize" else [vhdctl, *command, path])
    want("again: %s" % done.stderr.decode(), done.returncode, 0)


def hollow(start, ops):
    """The file grows, at once or less far, and what was written is not there."""
    data = bytearray(start)
    for op in ops:
        end = op[2] + op[3]
        if op[0] == crash.WRITE and end > len(data):
            for size in {end, end - 512, (len(data) + end) // 8192 * 4096}:
                yield bytes(data) + bytes(max(0, size - len(data))), None
        crash.apply(data, op)


def look(vhdctl, path, needs):
    """It can be attached for writing, or after a repair of what it needs."""
    code, report = check_json(vhdctl, path)
    if report.get("attach") != "read-write":
        want("findings", [f for f in report["counts"] if f == needs], [needs])
        code, report = check_json(vhdctl, path, "--repair", "--undo-file",
                                  path + ".u")
        if os.path.exists(path + ".u"):
            os.unlink(path + ".u")
    want("attach: %s" % report.get("counts"), report.get("attach"),
         "read-write")
    if code not in (0, 3):
        raise Fault("check exits with %d: %s" % (code, report.get("counts")))


def same(state, before, size):
    """All data up to the smaller size; nothing behind it."""
    if state.size not in (before.size, size or before.size):
        raise Fault("size %d" % state.size)
    limit = min(before.size, size or before.size)
    if state.below(limit) != before.below(limit):
        raise Fault("data changed")
    if state.size == before.size and not size:
        return
    more = [at for at in state.data if at >= limit]
    if state.size > before.size:
        want("data behind the old end", more, [])


def one(vhdctl, library, base, row):
    name, make, size, command = row
    path = base + ".vhd"
    make(path)
    start = crash.slurp(path)
    before = State(path)
    ops = record(vhdctl, library, path, command, base + ".log")
    end = os.stat(path).st_size
    same(State(path), before, size)
    count = 0
    needs = "no-footer" if make is fixed else "head-bad"
    states = [crash.states(start, ops)]
    if make is fixed:
        states.append(hollow(start, ops))
    for data, _ in itertools.chain(*states):
        count += 1
        try:
            crash.spill(path, data)
            look(vhdctl, path, needs)
            same(State(path), before, size)
            again(vhdctl, path, command)
            look(vhdctl, path, needs)
            done = State(path)
            want("size", done.size, size or before.size)
            same(done, before, size)
            if os.stat(path).st_size > end and not size:
                raise Fault("file of %d bytes, not %d" %
                            (os.stat(path).st_size, end))
        except Fault as fault:
            crash.spill(base + ".bad", data)
            raise Fault("state %d: %s" % (count, fault))
    print("%s: %d operations, %d states" % (name, len(ops), count), flush=True)
    return count


def main(vhdctl, library, directory, *names):
    global VHDCTL
    VHDCTL = vhdctl
    base = os.path.join(directory, "shape")
    total = bad = 0
    for row in CASES:
        if names and row[0] not in names:
            continue
        try:
            total += one(vhdctl, library, base, row)
        except Fault as fault:
            bad += 1
            print("%s: %s" % (row[0], fault), flush=True)
    print("%d states, %d bad" % (total, bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
