#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""hurt.py VHDCTL DIRECTORY vhdmake|ours|qemu|diff: corruptions of good images.

Each corruption of a good image is found by check; after --repair check is
clean, and all data that was not itself overwritten is what it was; --undo
brings the corruption back.  The content is read by the independent reader.
"""

import os
import random
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import image  # noqa: E402  (also sets the path to the reader)
import vhdmake  # noqa: E402
import vhdread  # noqa: E402
from image import FOOTER, HEADER, KIB, MIB, SECTOR, UNUSED  # noqa: E402
from run import Fault, check_json, digest, run, want  # noqa: E402

PLAIN = "--repair"
ALL = (PLAIN, "--repair=bat")
HURTS = []


def hurt(name, options=(PLAIN,), fixed=False):
    def add(function):
        HURTS.append((name, function, list(options), fixed))
        return function
    return add


def suits(row, kind):
    """A differencing image may have any bits and any parent."""
    name, fixed = row[0], row[3]
    if kind == "diff":
        return not fixed and not name.startswith("bits-") and \
            name != "header-parent-id"
    return not name.startswith("locator-")


class Victim:
    """A good image, about to be damaged."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.fd).st_size
        self.image = vhdread.Image(path)
        self.tail = self.size - SECTOR
        self.random = random.Random(7)
        if self.image.bat is not None:
            used = self.image.allocated()
            self.used = [b for b, _ in used]
            self.last = max(used, key=lambda e: e[1])[0]
            self.free = next((b for b, s in enumerate(self.image.bat)
                              if s == UNUSED), None)
            self.slot = self.image.bitmap_bytes + self.image.block_size

    def write(self, pos, data):
        os.pwrite(self.fd, data, pos)

    def flip(self, pos, bit=0):
        self.write(pos, bytes([os.pread(self.fd, 1, pos)[0] ^ 1 << bit]))

    def cut(self, size):
        os.ftruncate(self.fd, size)

    def field(self, pos, fields, seal, **values):
        size = 512 if fields is FOOTER else 1024
        data = bytearray(os.pread(self.fd, size, pos))
        image.put(data, fields, values)
        if seal:
            image.seal(data, 64 if fields is FOOTER else 36)
        self.write(pos, data)

    def entry(self, block, value):
        self.write(self.image.header.table_offset + 4 * block,
                   struct.pack(">I", value & UNUSED))
        return [self.range(block)]

    def range(self, block):
        start = block * self.image.block_size
        return start, start + self.image.block_size

    def data(self, block):
        """The first sector of a block that is not zeros."""
        data = self.image.block(block)
        return (len(data) - len(data.lstrip(b"\0"))) // SECTOR

    def clear(self, block, first, count):
        """Clear bits; what is below reads as zeros from now on."""
        bits = bytearray(self.image.bitmap(block))
        for n in range(first, first + count):
            bits[n >> 3] &= ~(0x80 >> (n & 7))
        self.write(self.image.bat[block] * SECTOR, bytes(bits))
        start = block * self.image.block_size
        return [(start + first * SECTOR, start + (first + count) * SECTOR)]


# The footer at the end

def at_tail(name, offset, data):
    hurt("tail-" + name)(lambda v: v.write(v.tail + offset, data))


at_tail("zeros", 0, bytes(512))
at_tail("ones", 0, b"\xff" * 512)
at_tail("c7", 0, b"\xc7" * 512)
at_tail("cookie", 0, b"Conectix")
at_tail("sum-zero", 64, bytes(4))
at_tail("sum-ones", 64, b"\xff" * 4)
at_tail("size-zero", 48, bytes(8))
at_tail("offset", 16, b"\1")
at_tail("type", 63, b"\7")
at_tail("half", 256, b"\xee" * 256)
for place in (9, 30, 57, 70, 100, 511):
    hurt("tail-flip-%d" % place)(lambda v, p=place: v.flip(v.tail + p, 3))


@hurt("tail-gone")
def _(v):
    v.cut(v.tail)


for less in (1, 2, 100, 511):
    hurt("tail-cut-%d" % less)(lambda v, n=less: v.cut(v.size - n))
for more in (1, 511, 512, 5000, 3 * MIB):
    hurt("tail-zeros-%d" % more)(lambda v, n=more: v.cut(v.size + n))


@hurt("tail-rubbish")
def _(v):
    v.write(v.size, v.random.randbytes(100000))


@hurt("tail-slack")
def _(v):
    foot = os.pread(v.fd, 512, v.tail)
    v.write(v.tail, v.random.randbytes(64 * KIB))
    v.write(v.tail + 64 * KIB, foot)


# The copy at 0

@hurt("head-zeros")
def _(v):
    v.write(0, bytes(512))


@hurt("head-random")
def _(v):
    v.write(0, v.random.randbytes(512))


@hurt("head-sum-zero")
def _(v):
    v.write(64, bytes(4))


for place in (3, 50, 69, 300):
    hurt("head-flip-%d" % place)(lambda v, p=place: v.flip(p, 5))


@hurt("head-differs", ["--repair=footer:tail"])
def _(v):
    v.field(0, FOOTER, True, timestamp=5)


@hurt("head-other-size", ["--repair=footer:tail"])
def _(v):
    v.field(0, FOOTER, True, size=SECTOR)


@hurt("tail-differs", ["--repair=footer:head"])
def _(v):
    v.field(v.tail, FOOTER, True, timestamp=5)


@hurt("tail-other-offset", ["--repair=footer:head"])
def _(v):
    v.field(v.tail, FOOTER, True, data_offset=1024)


def both(name, **values):
    @hurt("both-" + name)
    def _(v):
        v.field(0, FOOTER, True, **values)
        v.field(v.tail, FOOTER, True, **values)


both("features", features=0)
both("id", id=bytes(16))

# The header

for name, place in (("cookie", 4), ("data-offset", 10), ("version", 27),
                    ("version-major", 25), ("reserved", 800)):
    hurt("header-" + name)(lambda v, p=place: v.flip(
        v.image.footer.data_offset + p, 2))
for name, values in (("table-zero", dict(table_offset=0)),
                     ("table-off", dict(table_offset=0x1234)),
                     ("entries-zero", dict(entries=0)),
                     ("entries-max", dict(entries=UNUSED)),
                     ("block-zero", dict(block_size=0)),
                     ("block-odd", dict(block_size=0x200001))):
    hurt("header-" + name)(lambda v, w=values: v.field(
        v.image.footer.data_offset, HEADER, False,
        sum=v.image.header.sum, **w))
for name, data in (("zero", bytes(4)), ("ones", b"\xff" * 4)):
    hurt("header-sum-" + name, ["--repair=header"])(
        lambda v, d=data: v.write(v.image.footer.data_offset + 36, d))


@hurt("header-parent-id", ["--repair=header"])
def _(v):
    v.write(v.image.footer.data_offset + 40, b"some parent")


@hurt("header-table-end")
def _(v):
    v.field(v.image.footer.data_offset, HEADER, True, entries=1 << 30)


# The table

for name, value in (("zero", 0), ("header", 1), ("far", 0x10000000),
                    ("sign", 0x80000000), ("max", UNUSED - 1)):
    hurt("entry-" + name, ALL)(
        lambda v, n=value: v.entry(v.used[0], n))


@hurt("entry-tail", ALL)
def _(v):
    return v.entry(v.used[1], v.tail // SECTOR)


for name, by in (("same", 0), ("up", 1), ("down", -1), ("much", 500)):
    hurt("entry-overlap-" + name)(
        lambda v, n=by: v.entry(v.used[0], v.image.bat[v.used[2]] + n))


@hurt("entry-free-far", ALL)
def _(v):
    return v.entry(v.free, 0x7FFFFFFF)


@hurt("entry-free-same")
def _(v):
    return v.entry(v.free, v.image.bat[v.used[1]])


@hurt("entry-three-same")
def _(v):
    place = v.image.bat[v.used[0]]
    return v.entry(v.used[1], place) + v.entry(v.used[2], place)


# Bitmaps

@hurt("bits-one")
def _(v):
    return v.clear(v.used[1], v.data(v.used[1]), 1)


@hurt("bits-run")
def _(v):
    return v.clear(v.used[0], v.data(v.used[0]), 300)


@hurt("bits-all")
def _(v):
    return v.clear(v.used[2], 0, v.image.block_size // SECTOR)


# The last block is cut

def cut_block(name, offset):
    @hurt("cut-" + name)
    def _(v):
        start = v.image.bat[v.last] * SECTOR
        v.cut(start + offset)
        if offset < v.image.bitmap_bytes:
            return [v.range(v.last)]
        left = offset - v.image.bitmap_bytes
        low, high = v.range(v.last)
        return [(low + left, high)]


cut_block("bitmap", 100)
cut_block("data", 512)
cut_block("early", 70001)
cut_block("late", 512 * KIB - 1)

# Fixed images

hurt("fixed-511", fixed=True)(lambda v: v.cut(v.size - 1))
hurt("fixed-features", fixed=True)(
    lambda v: v.field(v.tail, FOOTER, True, features=0))
hurt("fixed-offset", fixed=True)(
    lambda v: v.field(v.tail, FOOTER, True, data_offset=512))
hurt("fixed-id", fixed=True)(
    lambda v: v.field(v.tail, FOOTER, True, id=bytes(16)))


@hurt("fixed-short", ["--repair=tail"], fixed=True)
def _(v):
    foot = os.pread(v.fd, 512, v.tail)
    v.write(v.tail - 70000, foot)
    v.cut(v.tail - 70000 + 512)
    return [(v.image.size - 70000, v.image.size)]


# Parent locators

LOCATORS = 576


def locator(name, offset, form, value):
    @hurt("locator-" + name)
    def _(v):
        data = bytearray(os.pread(v.fd, 1024, v.image.footer.data_offset))
        struct.pack_into(form, data, LOCATORS + 24 + offset, value)
        image.seal(data, 36)
        v.write(v.image.footer.data_offset, data)


locator("long", 8, ">I", 70000)
locator("over-space", 8, ">I", 1000)
locator("no-space", 4, ">I", 0)
locator("far", 16, ">Q", 1 << 40)
locator("sign", 16, ">Q", 1 << 63)
locator("footer", 16, ">Q", 0)
locator("table", 16, ">Q", 0x600)
locator("other", 16, ">Q", 0x800)

# ---- good images ---------------------------------------------------------

def fill(path):
    """Data into the blocks of an image that has them all."""
    img = vhdread.Image(path)
    rand = random.Random(3)
    with open(path, "r+b") as out:
        for _, sector in img.allocated():
            out.seek(sector * SECTOR + img.bitmap_bytes)
            out.write(rand.randbytes(img.block_size))


def make_vhdmake(vhdctl, base):
    opts = {"blocks": "9,0,5,2", "seed": "4"}
    vhdmake.make_dynamic(base + ".d", 20 * MIB, opts)
    vhdmake.make_fixed(base + ".f", 3 * MIB, {"seed": "5"})


def make_ours(vhdctl, base):
    for args in (["--size", "6M", "--block-size", "512K",
                  "--preallocate", "metadata", base + ".d"],
                 ["--size", "3M", "--type", "fixed", base + ".f"]):
        want("create", run([vhdctl, "create", *args]).returncode, 0)
    fill(base + ".d")
    # A block that is not used, and what it leaves
    with open(base + ".d", "r+b") as out:
        out.seek(0x600 + 4)
        out.write(b"\xff" * 4)


def make_qemu(vhdctl, base):
    for name, how in ((".d", "dynamic"), (".f", "fixed")):
        subprocess.run(["qemu-img", "create", "-q", "-f", "vpc", "-o",
                        "subformat=%s,force_size=on" % how, base + name,
                        "11M"], check=True)
        writes = []
        for number, place in enumerate(("0 64k", "9M 2M", "4M 100k",
                                        "2090k 700k", "3M 512")):
            writes += ["-c", "write -P %d %s" % (number + 1, place)]
        subprocess.run(["qemu-io", "-f", "vpc", *writes, base + name],
                       check=True, stdout=subprocess.DEVNULL)


def make_diff(vhdctl, base):
    """Some sectors of some blocks, two locators."""
    img = image.Image(image.DIFF, size=6 * MIB, blocks=(), gap=4096)
    for number, name in enumerate((".\\p.vhd", "C:\\p.vhd")):
        text = name.encode("utf-16-le")
        img.locator(number, pos=0x800 + 512 * number, length=len(text),
                    code=(0x57327275, 0x57326B75)[number])
        img.poke(0x800 + 512 * number, text)
    img.hdr(parent_id=b"p" * 16, parent_name="p.vhd".encode("utf-16-be"))
    rand = random.Random(9)
    for number in (7, 0, 3, 11):
        img.add(number, rand.randbytes(128).ljust(512, b"\0"))
    img.write(base + ".d")


def mark_absent(img, data):
    """What the parent has is told apart from zeros."""
    per_block = img.block_size // SECTOR
    used = dict(img.allocated())
    for block in range(img.nr_blocks):
        bits = img.bitmap(block) if block in used else bytes(per_block // 8)
        for n in range(per_block):
            pos = block * img.block_size + n * SECTOR
            if not bits[n >> 3] & 0x80 >> (n & 7) and pos < img.size:
                data[pos:pos + SECTOR] = b"\xaa" * SECTOR


def content(path):
    img = vhdread.Image(path)
    data = bytearray(img.size)
    for pos, piece in img.pieces():
        data[pos:pos + len(piece)] = piece[:img.size - pos]
    if img.footer.type == vhdread.DIFFERENCING:
        mark_absent(img, data)
    os.close(img.fd)
    return data


def copy(source, target):
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


def without(data, holes):
    for start, end in holes:
        end = min(end, len(data))
        data[start:end] = bytes(max(0, end - start))
    return data


def one(vhdctl, good, path, row):
    name, function, options, _ = row
    copy(good, path)
    victim = Victim(path)
    holes = function(victim) or []
    os.close(victim.fd)
    os.close(victim.image.fd)
    before = digest(path)
    code, report = check_json(vhdctl, path)
    if not code:
        raise Fault("check does not find it: %s" % report.get("counts"))
    code, report = check_json(vhdctl, path, *options)
    want("check after %s: %s" % (options, report.get("counts")), code, 0)
    if without(content(path), holes) != without(content(good), holes):
        raise Fault("other data changed")
    undo = path + ".vhd-undo"
    want("undo", run([vhdctl, "check", "--undo", undo, path]).returncode, 0)
    want("file after undo", digest(path), before)
    os.unlink(undo)


def main(vhdctl, directory, kind):
    base = os.path.join(directory, kind)
    {"vhdmake": make_vhdmake, "ours": make_ours, "diff": make_diff,
     "qemu": make_qemu}[kind](vhdctl, base)
    for name in (".d",) if kind == "diff" else (".d", ".f"):
        code, report = check_json(vhdctl, base + name, PLAIN)
        want("good image %s" % report.get("counts"), code, 0)
    bad = 0
    rows = [row for row in HURTS if suits(row, kind)]
    for row in rows:
        path = base + ".hurt"
        try:
            one(vhdctl, base + (".f" if row[3] else ".d"), path, row)
        except (Fault, vhdread.Bad, struct.error) as fault:
            bad += 1
            print("%s: %s: %s" % (kind, row[0], fault), flush=True)
            if os.path.exists(path + ".vhd-undo"):
                os.unlink(path + ".vhd-undo")
    print("%s: %d corruptions, %d bad" % (kind, len(rows), bad))
    return 1 if bad or len(rows) < 50 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
