#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs vhdctl over the hostile images.

  run.py [-o] VHDCTL SANITIZED DIRECTORY GROUP...
      each case whose name begins with "GROUP-"; both builds of vhdctl
      -o: print what happens instead of comparing
  run.py --make DIRECTORY [GROUP...]
      only make the images, and a list of what is stated about each
  run.py --list

Of each image: check, info, map and dump say what is stated, in bounded time
and memory, without a report of the sanitizers and without touching the file;
check --repair ends as stated, a second one changes nothing, and check --undo
brings every byte back.
"""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cases import CASES  # noqa: E402

TIME = 20           # seconds, for one command
MEMORY = 256 << 20  # bytes of address space, for the plain build
REPORT = 99         # what the sanitizers exit with
ENV = dict(os.environ, LC_ALL="C",
           ASAN_OPTIONS="exitcode=%d:allocator_may_return_null=1" % REPORT,
           UBSAN_OPTIONS="halt_on_error=1:exitcode=%d" % REPORT)


class Fault(Exception):
    """A stated outcome was not met."""


def bounded():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # A repair must not fill the disk whatever an image claims.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def run(argv, limit=False):
    try:
        done = subprocess.run(argv, capture_output=True, timeout=TIME, env=ENV,
                              check=False, stdin=subprocess.DEVNULL,
                              preexec_fn=bounded if limit else None)
    except subprocess.TimeoutExpired:
        raise Fault("%s: no end after %d s" % (" ".join(argv[1:]), TIME))
    if done.returncode < 0 or done.returncode > 5:
        raise Fault("%s: status %d: %s" % (
            " ".join(argv[1:]), done.returncode,
            done.stderr.decode(errors="replace")[-2000:]))
    return done


def digest(path):
    """Content and size; holes cost nothing much."""
    total = hashlib.md5(str(os.path.getsize(path)).encode())
    fd = os.open(path, os.O_RDONLY)
    pos = 0
    while True:
        try:
            pos = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError:
            break
        data = os.pread(fd, 4096, pos & ~4095)
        if data.strip(b"\0"):
            total.update(b"%d" % (pos & ~4095) + data)
        pos = (pos & ~4095) + 4096
    os.close(fd)
    return total.hexdigest()


def want(what, have, wanted):
    if have != wanted:
        raise Fault("%s: %s, stated %s" % (what, have, wanted))


def check_json(vhdctl, path, *options, limit=False):
    done = run([vhdctl, "check", "-qJ", *options, path], limit)
    report = json.loads(done.stdout) if done.stdout else {}
    return done.returncode, report


def look(vhdctl, sanitized, path, exits, findings, attach):
    """All that must not write."""
    before = digest(path)
    for program, limit in ((sanitized, False), (vhdctl, True)):
        code, report = check_json(program, path, limit=limit)
        counts = report.get("counts", {})
        want("check exits", code, exits)
        want("findings missing of %s" % sorted(counts),
             [f for f in findings if f not in counts], [])
        want("attach", report.get("attach"), attach)
    done = run([sanitized, "info", "-J", path])
    want("info attach", json.loads(done.stdout)["attach"], attach)
    for argv in (["info"], ["map"], ["map", "-J"], ["dump", "footer"],
                 ["dump", "header"], ["dump", "bat"], ["dump", "locators"],
                 ["dump", "bitmap", "3"], ["check", "--azure", "--windows"],
                 ["-v", "check"]):
        run([sanitized, *argv, path])
    want("file", digest(path), before)


def repair(vhdctl, path, after, options, limit=False):
    """Repair, once more, and back again."""
    before = digest(path)
    undo = path + ".vhd-undo"
    code, report = check_json(vhdctl, path, *options, limit=limit)
    if after is not None:
        want("after %s, with %s" % (options, sorted(report.get("counts", {}))),
             code, after)
    if code == 1:       # not done: encrypted, or no room
        if os.path.exists(undo):
            os.unlink(undo)
        return
    mended = digest(path)
    want("undo file", os.path.exists(undo), mended != before)
    again = path + ".again"
    options = [*options, "--undo-file", again]
    want("second repair", check_json(vhdctl, path, *options, limit=limit)[0],
         code)
    want("file after it", digest(path), mended)
    want("second undo file", os.path.exists(again), False)
    if mended != before:
        done = run([vhdctl, "check", "--undo", undo, path], limit)
        want("undo: %s" % done.stderr.decode(), done.returncode, 0)
        want("file after undo", digest(path), before)
        os.unlink(undo)


def one(vhdctl, sanitized, path, row):
    _, image, exits, findings, attach, after = row
    image.write(path)
    look(vhdctl, sanitized, path, exits, findings, attach)
    repair(sanitized, path, after, ["--repair"])
    repair(vhdctl, path, None, ["--repair", "--repair=footer:tail,header,bat,"
                                "bitmap,tail"], True)


def observe(vhdctl, path, row):
    row[1].write(path)
    code, report = check_json(vhdctl, path)
    after, left = check_json(vhdctl, path, "--repair")
    print("%-32s %d %s %s -> %d %s" % (
        row[0], code, report.get("attach"), report.get("counts"), after,
        left.get("counts")))


def chosen(groups):
    return [row for row in CASES
            if not groups or row[0].split("-")[0] in groups]


def make(directory, groups):
    for row in chosen(groups):
        row[1].write(os.path.join(directory, row[0] + ".vhd"))
        print(row[0], row[2], row[4], ",".join(row[3]) or "-")


def main(argv):
    if argv[1:2] == ["--list"]:
        for row in CASES:
            print(row[0])
        return 0
    if argv[1:2] == ["--make"]:
        make(argv[2], argv[3:])
        return 0
    only_look = argv[1:2] == ["-o"]
    vhdctl, sanitized, directory, *groups = argv[1 + only_look:]
    rows = chosen(groups)
    bad = 0
    for row in rows:
        path = os.path.join(directory, row[0] + ".vhd")
        try:
            if only_look:
                observe(sanitized, path, row)
            else:
                one(vhdctl, sanitized, path, row)
        except Fault as fault:
            bad += 1
            print("%s: %s" % (row[0], fault), flush=True)
        for name in (path, path + ".vhd-undo", path + ".again"):
            if os.path.exists(name):
                os.unlink(name)
    print("%d images, %d bad" % (len(rows), bad))
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
