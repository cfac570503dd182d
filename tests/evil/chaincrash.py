#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""chaincrash.py VHDCTL OPLOG.so DIRECTORY [SEED [STATES]]

Commits, rebases and changes of the id that end before their time, killed at
every operation, and by power cuts: of what no sync covers, in each file by
itself, any part may have reached the disk, the last write by half.  After each
the image shows what it did, nothing is corrupt, and the same command comes to its
end, which is the end it had been meant to come to: not one image further down.
Of the states of power cuts STATES for each command are tried, picked by SEED.
"""

import os
import random
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "interop"))
import vhdmake  # noqa: E402
import vhdread  # noqa: E402
from crash import HEAD, SYNC, apply, slurp, spill  # noqa: E402

SIZE = 4 << 20
BLOCK = 512 << 10
UNDO = "top.vhd.rebase-undo"
NOTE = "top.vhd.commit"
ID = "0123456789ab4def8123456789abcdef"

# name, arguments, where the content is afterwards, is the top still there
COMMANDS = (
    ("commit", ["commit", "top.vhd"], "mid.vhd", False),
    ("commit-2", ["commit", "--depth", "2", "top.vhd"], "base.vhd", False),
    ("commit-keep", ["commit", "--into", "base.vhd", "--keep", "top.vhd"],
     "base.vhd", True),
    ("rebase", ["rebase", "--parent", "base.vhd", "top.vhd"], "top.vhd", True),
    ("rebase-other", ["rebase", "--parent", "other.vhd", "top.vhd"], "top.vhd",
     True),
    ("uuid", ["uuid", "--set", ID[:8] + "-" + ID[8:12] + "-" + ID[12:16] + "-"
              + ID[16:20] + "-" + ID[20:], "top.vhd"], "top.vhd", True),
)
# What the commits do not go to
DEEPER = "root.vhd"


class Fault(Exception):
    """Something is not as it must be."""


def make(where):
    """The chain, and what its top shows."""
    def build(name, kind, **opts):
        opts = {k: str(v) for k, v in opts.items()}
        opts.update(block=str(BLOCK), raw="%s.raw" % name)
        getattr(vhdmake, "make_" + kind)(name + ".vhd", SIZE, opts)

    os.chdir(where)
    build("root", "dynamic", blocks="5,1", seed=7, uid="e0" * 16)
    build("base", "diff", parent="root.vhd", praw="root.raw", blocks="3,0",
          bits="half", seed=1, w2ru=".\\root.vhd", uid="a0" * 16)
    build("mid", "diff", parent="base.vhd", praw="base.raw", blocks="4,0",
          bits="half", seed=2, w2ru=".\\base.vhd", uid="b0" * 16)
    build("top", "diff", parent="mid.vhd", praw="mid.raw", blocks="6,3",
          bits="half", seed=3, w2ru=".\\mid.vhd", uid="c0" * 16)
    build("other", "dynamic", blocks="2,0", seed=9, uid="d0" * 16)
    names = [n + ".vhd" for n in ("root", "base", "mid", "top", "other")]
    return {n: slurp(n) for n in names}, slurp("top.raw")


def restore(files):
    for name in os.listdir("."):
        if name.endswith(".vhd") or name.startswith("top.vhd."):
            os.unlink(name)
    for name, data in files.items():
        if data is not None:
            spill(name, data)


def content(name):
    img = vhdread.Image(name)
    vhdread.open_parents(img)
    return img.read(0, img.size)


def call(*args, **env):
    return subprocess.run(args, env=dict(os.environ, **env), check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def look(vhdctl, want):
    """Between a crash and the second try."""
    if os.path.exists("top.vhd") and not os.path.exists(UNDO):
        if content("top.vhd") != want:
            raise Fault("the top shows something else")
    # The copy of its footer may be blank, which is repairable.
    for name in sorted(os.listdir(".")):
        if not name.endswith(".vhd") or (name == "top.vhd"
                                         and os.path.exists(UNDO)):
            continue
        done = call(vhdctl, "check", name)
        if done.returncode not in (0, 3):
            raise Fault("%s: %s" % (name, done.stdout.decode()))


def again(vhdctl, row, files, want):
    _, args, where, stays = row
    if os.path.exists("top.vhd"):
        done = call(vhdctl, *args)
        # At its end already: what was kept hangs on what would be changed
        complete = stays and not os.path.exists(NOTE) \
            and b"mid.vhd: depends on it" in done.stdout
        if done.returncode and not complete:
            raise Fault("second try: %s" % done.stdout.decode())
    if content(where) != want:
        raise Fault("%s shows something else at the end" % where)
    if slurp(DEEPER) != files[DEEPER]:
        raise Fault("it went further down")
    # A note that outlives the top does no harm
    left = {n for n in os.listdir(".") if n.startswith("top.vhd.")}
    if os.path.exists("top.vhd") != stays or left - {NOTE} or (stays and left):
        raise Fault("left: %s" % os.listdir("."))
    if args[0] == "commit" and not stays and where == "base.vhd" \
            and os.path.exists("mid.vhd"):
        raise Fault("the image between was left")
    if args[0] == "uuid" and slurp("top.vhd")[68:84].hex() != ID:
        raise Fault("another id")
    for name in (where, "top.vhd") if stays else (where,):
        done = call(vhdctl, "check", name)
        if done.returncode:
            raise Fault("%s at the end: %s" % (name, done.stdout.decode()))


def killed(vhdctl, library, row, files, want):
    """Killed before the first operation, the second, ...; how many there are."""
    n = 0
    while True:
        n += 1
        restore(files)
        done = call(vhdctl, *row[1], LD_PRELOAD=library, OPLOG="/dev/null",
                    KILL_AT=str(n))
        if done.returncode >= 0:
            if done.returncode:
                raise Fault(done.stdout.decode())
            return n - 1
        try:
            look(vhdctl, want)
            again(vhdctl, row, files, want)
        except (Fault, vhdread.Bad) as fault:
            raise Fault("killed at %d: %s" % (n, fault))


def twice(vhdctl, row, files, want):
    """Again although it has come to its end: nothing more happens."""
    restore(files)
    for _ in range(2):
        done = call(vhdctl, *row[1])
    # What lay between was kept, too, and hangs on what would be changed
    if row[3] and done.returncode and b"mid.vhd: depends on it" not in done.stdout:
        raise Fault("once more: %s" % done.stdout.decode())
    if not row[3] and not done.returncode:
        raise Fault("once more: %s" % done.stdout.decode())
    again(vhdctl, row, files, want)


def record(vhdctl, library, row, files):
    """(operation, file) of a whole run."""
    restore(files)
    inodes = {os.stat(name).st_ino: name for name in files}
    here = os.stat(".").st_ino
    done = call(vhdctl, *row[1], LD_PRELOAD=library, OPLOG="log")
    if done.returncode:
        raise Fault(done.stdout.decode())
    data = slurp("log")
    os.unlink("log")
    ops = []
    at = 0
    while at < len(data):
        op, inode, pos, length, count = HEAD.unpack_from(data, at)
        at += HEAD.size
        if inode != here:
            payload = data[at:at + count]
            if inode not in inodes:
                # The first that is written to a new file tells what it is.
                inodes[inode] = NOTE if payload.startswith(b"vhdctl commit") \
                    else UNDO
            ops.append((op, inodes[inode], pos, length, payload))
        at += count
    return ops


def power_cut(files, ops, rng):
    """What is on the disk after a cut at a random place."""
    durable = {n: bytearray(d) for n, d in files.items()}
    durable[UNDO] = bytearray()
    durable[NOTE] = bytearray()
    pending = {n: [] for n in durable}
    for op in ops[:rng.randrange(len(ops) + 1)]:
        name = op[1]
        if op[0] == SYNC:
            for one in pending[name]:
                apply(durable[name], one)
            pending[name] = []
        else:
            pending[name].append(op)
    for name, waiting in pending.items():
        how = rng.randrange(4)
        for i, one in enumerate(waiting):
            last = i == len(waiting) - 1
            # An undo file is only appended to.
            if how == 0 or (how > 1 and rng.randrange(2) and name != UNDO):
                continue
            apply(durable[name], one, last and rng.randrange(2))
        if name == NOTE and waiting:
            # It has its name only when it is whole.
            durable[name] = bytearray()
    state = {n: bytes(d) for n, d in durable.items()}
    for name in (UNDO, NOTE):
        if not state[name]:
            del state[name]
    return state


def one(vhdctl, library, row, files, want, rng, count):
    kills = killed(vhdctl, library, row, files, want)
    twice(vhdctl, row, files, want)
    ops = record(vhdctl, library, row, files)
    for n in range(count):
        restore(power_cut(files, ops, rng))
        try:
            look(vhdctl, want)
            again(vhdctl, row, files, want)
        except (Fault, vhdread.Bad) as fault:
            raise Fault("power cut %d: %s" % (n, fault))
    print("%s: killed at %d operations, %d power cuts" % (row[0], kills, count),
          flush=True)


def main(vhdctl, library, directory, seed="1", count="40"):
    files, want = make(directory)
    bad = 0
    print("seed %s" % seed)
    rng = random.Random(int(seed))
    for row in COMMANDS:
        try:
            one(vhdctl, library, row, files, want, rng, int(count))
        except Fault as fault:
            bad += 1
            print("%s: %s" % (row[0], fault), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
