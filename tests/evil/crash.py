#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""crash.py VHDCTL OPLOG.so DIRECTORY: repairs that a power cut ends.

What a repair does to image and undo file is recorded; then every state is made
that a crash could leave: at any operation, of those since the file's last sync
none, all, all but one, or only one done, the last one perhaps by half.  From
each of them --undo brings the image back as it was, and another repair ends
clean with all data intact.
"""

import os
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hurt  # noqa: E402
from run import ENV, Fault, check_json, run, want  # noqa: E402

NAMES = ("tail-zeros tail-cut-1 tail-cut-100 tail-rubbish tail-slack head-zeros "
         "head-differs tail-differs both-features header-cookie "
         "header-table-end entry-far entry-overlap-up entry-three-same bits-run "
         "bits-all cut-early fixed-short fixed-offset").split()
WRITE, TRUNCATE, ZERO, SYNC = 1, 2, 3, 4
HEAD = struct.Struct("=5Q")


def slurp(path):
    with open(path, "rb") as source:
        return source.read()


def spill(path, data):
    with open(path, "wb") as out:
        out.write(data)


def record(vhdctl, library, path, options, log):
    """Repair @path; the operations as (op, is undo file, pos, len, data)."""
    undo = path + ".vhd-undo"
    ENV.update(LD_PRELOAD=library, OPLOG=log)
    code, report = check_json(vhdctl, path, *options)
    del ENV["LD_PRELOAD"]
    want("check: %s" % report.get("counts"), code, 0)
    inodes = {os.stat(path).st_ino: False, os.stat(undo).st_ino: True}
    data = slurp(log)
    os.unlink(log)
    ops = []
    at = 0
    while at < len(data):
        op, inode, pos, length, count = HEAD.unpack_from(data, at)
        at += HEAD.size
        if inode in inodes:     # else the directory
            ops.append((op, inodes[inode], pos, length, data[at:at + count]))
        at += count
    return ops


def apply(data, op, half=False):
    kind, _, pos, length, new = op
    if kind == WRITE:
        # A sector is written or not.
        new = new[:len(new) // 1024 * 512] if half else new
        if not new:
            return
        if len(data) < pos:
            data.extend(bytes(pos - len(data)))
        data[pos:pos + len(new)] = new
    elif kind == TRUNCATE:
        if pos < len(data):
            del data[pos:]
        else:
            data.extend(bytes(pos - len(data)))
    elif kind == ZERO:
        end = min(pos + length, len(data))
        data[pos:end] = bytes(max(0, end - pos))


def choices(pending):
    """Which of the operations that no sync covers are done."""
    n = len(pending)
    yield ()
    yield tuple(range(n))
    if n > 1:
        for i in {0, n // 2, n - 1}:
            yield (i,)
            yield tuple(k for k in range(n) if k != i)


def states(start, ops):
    """(image, undo file) after a crash; each once."""
    seen = set()
    durable = [bytearray(start), bytearray()]
    pending = [[], []]
    for op in [*ops, None]:
        # Long runs of copying are much the same throughout.
        many = len(pending[0]) > 24 and len(pending[0]) % 64
        dull = many and op and op[0] != SYNC
        for picked in () if dull else choices(pending[0]):
            for half in (False, True):
                files = [bytearray(durable[0]), bytearray(durable[1])]
                for i in picked:
                    apply(files[0], pending[0][i],
                          half and i == len(pending[0]) - 1)
                # The undo file is written by appending: a prefix of it is.
                for extra in ({0, len(pending[1])}):
                    undo = bytearray(files[1])
                    for one in pending[1][:extra]:
                        apply(undo, one)
                    key = hash((bytes(files[0]), bytes(undo)))
                    if key not in seen:
                        seen.add(key)
                        yield bytes(files[0]), bytes(undo)
        if op is None:
            return
        which = 1 if op[1] else 0
        if op[0] == SYNC:
            for one in pending[which]:
                apply(durable[which], one)
            pending[which] = []
        else:
            pending[which].append(op)


def one_state(vhdctl, path, start, state, options, good, holes):
    image, undo = state
    spill(path, image)
    if len(undo) >= 24:
        spill(path + ".u", undo)
        done = run([vhdctl, "check", "--force", "--undo", path + ".u", path])
        want("undo: %s" % done.stderr.decode(), done.returncode, 0)
        if slurp(path) != start:
            raise Fault("not what it was after undo")
    elif image != start:
        raise Fault("changed before there is an undo file")
    spill(path, image)
    code, report = check_json(vhdctl, path, *options, "--undo-file",
                              path + ".v")
    want("second repair: %s" % report.get("counts"), code, 0)
    if hurt.without(hurt.content(path), holes) != good:
        raise Fault("data changed")
    for name in (path + ".u", path + ".v"):
        if os.path.exists(name):
            os.unlink(name)


def one(vhdctl, library, base, row):
    name, function, options, fixed = row
    good = base + (".f" if fixed else ".d")
    path = base + ".hurt"
    hurt.copy(good, path)
    victim = hurt.Victim(path)
    holes = function(victim) or []
    os.close(victim.fd)
    os.close(victim.image.fd)
    start = slurp(path)
    content = hurt.without(hurt.content(good), holes)
    ops = record(vhdctl, library, path, options, base + ".log")
    os.unlink(path + ".vhd-undo")
    count = 0
    for state in states(start, ops):
        count += 1
        try:
            one_state(vhdctl, path, start, state, options, content, holes)
        except Fault as fault:
            raise Fault("state %d: %s" % (count, fault))
    print("%s: %d operations, %d states" % (name, len(ops), count), flush=True)
    return count


def main(vhdctl, library, directory):
    base = os.path.join(directory, "crash")
    hurt.make_ours(vhdctl, base)
    total = bad = 0
    for row in hurt.HURTS:
        if row[0] not in NAMES:
            continue
        try:
            total += one(vhdctl, library, base, row)
        except Fault as fault:
            bad += 1
            print("%s: %s" % (row[0], fault), flush=True)
            for name in os.listdir(directory):
                if name.startswith("crash.hurt"):
                    os.unlink(os.path.join(directory, name))
    print("%d states, %d bad repairs" % (total, bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
