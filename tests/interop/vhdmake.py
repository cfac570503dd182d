#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes VHD images as other programs, or nobody sane, would write them.

  vhdmake.py dynamic OUT SIZE [OPTION=VALUE]...
      block=BYTES     block size (2097152)
      stride=classic|aligned   blocks one after the other, as old programs do
                      (classic, the default), or data at 4 KiB
      blocks=B,B,...  allocate these, in this order in the file
      bits=all|none|half|odd   which bits of their bitmaps are set; under clear
                      bits lies rubbish that must never be seen
      seed=N          content: see stamp() below (1)
      raw=FILE        write what a reader must see there
      creator=XXXX    creator_app (win )
      pad=0|ff        what the table is padded with
      entries=N       max_table_entries, for slack
      footer=511      without the last byte
      uid=HEX         unique id
  vhdmake.py diff OUT SIZE parent=FILE [OPTION=VALUE]...
      a differencing image; the options of dynamic but stride and pad, and
      w2ku=TEXT, w2ru=TEXT, macx=TEXT   these locators, in this order; in a TEXT
                      %uXXXX is that UTF-16 unit
      name=TEXT       header.parent_name (nothing)
      time=N          header.parent_timestamp (0)
      pid=HEX         header.parent_unique_id (the parent's)
      layout=windows|blktap   W2ku before the table, the others behind it (as
                      Windows); all behind the table, one sector each, space in
                      sectors (as blktap)
      praw=FILE       the parent's content, for raw=
  vhdmake.py fixed OUT SIZE [seed=N] [raw=FILE] [data=FILE] [uid=HEX]
      data=FILE       begin the data with this file
  vhdmake.py poke FILE FIELD=VALUE...
      change fields (see FIELDS) and set the checksums right again;
      sum=keep: leave them wrong
  vhdmake.py variants FILE
      copies FILE.1, FILE.2, ...: each poked as a line of the input says
"""

import os
import struct
import sys

from vhdread import (ALIGN, DIFFERENCING, DYNAMIC, FIXED, FOOTER, HEADER, NONE,
                     SECTOR, UNUSED, Image, checksum, geometry)

# name: place (t: footer at the end, b: that and the copy at 0, h: header),
# offset, format
FIELDS = {
    "cookie": ("b", 0, "8s"), "features": ("b", 8, ">I"),
    "version": ("b", 12, ">I"), "data_offset": ("b", 16, ">Q"),
    "creator": ("b", 28, "4s"), "current_size": ("b", 48, ">Q"),
    "type": ("b", 60, ">I"), "sum": ("b", 64, ">I"),
    "saved": ("b", 84, "B"), "id": ("b", 68, "16s"),
    "tail_cookie": ("t", 0, "8s"), "tail_sum": ("t", 64, ">I"),
    "tail_timestamp": ("t", 24, ">I"),
    "h_cookie": ("h", 0, "8s"), "h_data_offset": ("h", 8, ">Q"),
    "table_offset": ("h", 16, ">Q"), "h_version": ("h", 24, ">I"),
    "entries": ("h", 28, ">I"), "block_size": ("h", 32, ">I"),
    "h_sum": ("h", 36, ">I"), "pid": ("h", 40, "16s"),
    "ptime": ("h", 56, ">I"),
}
for _n in range(8):
    _at = 576 + 24 * _n
    FIELDS["l%d_code" % _n] = ("h", _at, ">I")
    FIELDS["l%d_space" % _n] = ("h", _at + 4, ">I")
    FIELDS["l%d_length" % _n] = ("h", _at + 8, ">I")
    FIELDS["l%d_offset" % _n] = ("h", _at + 16, ">Q")


def stamp(seed, first, count):
    """Content of sectors: every word tells the seed and the sector's number.

    The same as vhdio.c's: 63 times (seed << 48 | sector), then its complement.
    """
    out = []
    for n in range(first, first + count):
        word = seed << 48 | n
        out.append(struct.pack("<Q", word) * 63
                   + struct.pack("<Q", word ^ 0xFFFFFFFFFFFFFFFF))
    return b"".join(out)


def footer(size, disk_type, creator=b"win ", uid=bytes(range(16))):
    cyl, heads, spt = geometry(size)
    fields = [b"conectix", 2, 0x10000, NONE if disk_type == FIXED else 512,
              0x2F000000, creator, 0x000A0000, b"Wi2k", size, size, cyl, heads,
              spt, disk_type, 0, uid, 0, 0, b""]
    data = bytearray(FOOTER.pack(*fields))
    struct.pack_into(">I", data, 64, checksum(data, 64))
    return bytes(data)


def header(entries, block):
    data = bytearray(HEADER.pack(b"cxsparse", NONE, 0x600, 0x10000, entries,
                                 block, 0, b"", 0, 0, b"", b"", b""))
    struct.pack_into(">I", data, 36, checksum(data, 36))
    return bytes(data)


def bitmap(kind, sectors):
    pattern = {"all": 0xFF, "none": 0, "odd": 0x55}
    size = -(-sectors // 8 // SECTOR) * SECTOR
    if kind == "half":
        bits = b"\xff" * (sectors // 16) + bytes(sectors // 16)
    else:
        bits = bytes([pattern[kind]]) * (sectors // 8)
    return bits.ljust(size, b"\0")


def masked(bits, data, other):
    """@data where a bit is set, else @other, sector by sector.

    @other: as long as the data, or one sector.
    """
    if len(other) == SECTOR:
        other *= len(data) // SECTOR
    return b"".join(
        (data if bits[n >> 3] & 0x80 >> (n & 7) else other)
        [n * SECTOR:(n + 1) * SECTOR]
        for n in range(len(data) // SECTOR))


class Dynamic:
    """Writes one dynamic image block by block."""

    kind = DYNAMIC
    table = 0x600

    def __init__(self, path, size, opts):
        self.opts = opts
        self.size = size
        self.block = int(opts.get("block", 2 << 20))
        self.nr = -(-size // self.block)
        self.entries = int(opts.get("entries", self.nr))
        self.bat = [UNUSED] * self.entries
        self.out = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self.raw = None
        if "raw" in opts:
            self.raw = os.open(opts["raw"],
                               os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            os.ftruncate(self.raw, size)
        self.end = self.table + -(-4 * self.entries // SECTOR) * SECTOR
        self.aligned = opts.get("stride", "classic") == "aligned"
        self.bits = bitmap(opts.get("bits", "all"), self.block // SECTOR)

    def place(self):
        if self.aligned:
            pos = self.end + len(self.bits)
            self.end = -(-pos // ALIGN) * ALIGN - len(self.bits)
        return self.end

    def add(self, number):
        pos = self.place()
        self.bat[number] = pos // SECTOR
        count = self.block // SECTOR
        data = stamp(int(self.opts.get("seed", 1)), number * count, count)
        full = "bits" not in self.opts
        seen = data if full else masked(self.bits, data, self.below(number))
        kept = data if full else masked(self.bits, data, b"\xee" * SECTOR)
        os.pwrite(self.out, self.bits + kept, pos)
        if self.raw is not None:
            start = number * self.block
            os.pwrite(self.raw, seen[:self.size - start], start)
        self.end = pos + len(self.bits) + self.block

    def below(self, number):
        """What shows through clear bits of a block."""
        return bytes(SECTOR)

    def uid(self):
        return bytes.fromhex(self.opts.get("uid", bytes(range(16)).hex()))

    def finish(self):
        foot = footer(self.size, self.kind,
                      self.opts.get("creator", "win ").encode(), self.uid())
        pad = b"\0" if self.opts.get("pad") == "0" else b"\xff"
        table = struct.pack(">%dI" % self.entries, *self.bat)
        table += pad * (-len(table) % SECTOR)
        os.pwrite(self.out, foot + self.header(), 0)
        os.pwrite(self.out, table, self.table)
        if self.aligned:
            self.end = -(-(self.end + SECTOR) // ALIGN) * ALIGN - SECTOR
        short = self.opts.get("footer") == "511"
        os.pwrite(self.out, foot[:511] if short else foot, self.end)


    def header(self):
        return header(self.entries, self.block)


def units(text, order):
    """A TEXT of the command line as UTF-16."""
    out = []
    while text:
        if text.startswith("%u"):
            out.append(int(text[2:6], 16))
            text = text[6:]
            continue
        code = ord(text[0])
        if code > 0xFFFF:
            code -= 0x10000
            out += [0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF)]
        else:
            out.append(code)
        text = text[1:]
    return struct.pack("%s%dH" % (order, len(out)), *out)


class Diff(Dynamic):
    """Writes one differencing image."""

    kind = DIFFERENCING
    codes = {"w2ku": b"W2ku", "w2ru": b"W2ru", "macx": b"MacX"}

    def __init__(self, path, size, opts):
        self.windows = opts.get("layout", "windows") == "windows"
        self.table = 0x2000 if self.windows else 0x600
        opts["stride"] = "aligned" if self.windows else "classic"
        super().__init__(path, size, opts)
        if self.windows:
            self.end = -(-self.end // ALIGN) * ALIGN
        self.locators = []
        for key, text in opts.items():
            if key in self.codes:
                self.locate(key, text)
        if self.raw is not None and "praw" in opts:
            with open(opts["praw"], "rb") as parent:
                os.pwrite(self.raw, parent.read()[:size], 0)

    def locate(self, key, text):
        data = text.encode("utf-8", "surrogateescape") if key == "macx" \
            else units(text, "<")
        if not self.windows:
            space, size = -(-len(data) // SECTOR), -(-len(data) // SECTOR) * SECTOR
        else:
            space = size = 65536 if key == "w2ru" else 4096
        pos = self.end
        if self.windows and key == "w2ku":
            pos = 0x1000
        else:
            self.end += size
        os.pwrite(self.out, data, pos)
        self.locators.append(struct.pack(
            ">4sIIIQ", self.codes[key], space, len(data), 0, pos))

    def below(self, number):
        if self.raw is None:
            return bytes(SECTOR)
        return os.pread(self.raw, self.block,
                        number * self.block).ljust(self.block, b"\0")

    def header(self):
        if "pid" in self.opts:
            pid = bytes.fromhex(self.opts["pid"])
        else:
            pid = Image(self.opts["parent"]).footer.id
        data = bytearray(HEADER.pack(
            b"cxsparse", NONE, self.table, 0x10000, self.entries, self.block,
            0, pid, int(self.opts.get("time", "0")), 0,
            units(self.opts.get("name", ""), ">")[:512],
            b"".join(self.locators), b""))
        struct.pack_into(">I", data, 36, checksum(data, 36))
        return bytes(data)


def make_dynamic(path, size, opts, kind=Dynamic):
    img = kind(path, size, opts)
    for number in opts.get("blocks", "").split(","):
        if number:
            img.add(int(number))
    img.finish()


def make_diff(path, size, opts):
    make_dynamic(path, size, opts, Diff)


def make_fixed(path, size, opts):
    out = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    data = b""
    if "seed" in opts:
        data = stamp(int(opts["seed"]), 0, size // SECTOR)
    if "data" in opts:
        with open(opts["data"], "rb") as source:
            begin = source.read()
        data = begin + data[len(begin):]
    os.ftruncate(out, size)
    os.pwrite(out, data[:size], 0)
    uid = bytes.fromhex(opts.get("uid", bytes(range(16)).hex()))
    os.pwrite(out, footer(size, FIXED, uid=uid), size)
    if "raw" in opts:
        with open(opts["raw"], "wb") as raw:
            raw.write(data)
            raw.truncate(size)


def put_sum(fd, pos, length, at):
    data = os.pread(fd, length, pos)
    os.pwrite(fd, struct.pack(">I", checksum(data, at)), pos + at)


def poke(path, opts):
    fd = os.open(path, os.O_RDWR)
    tail = os.fstat(fd).st_size - SECTOR
    dynamic = os.pread(fd, 8, 0) == b"conectix"
    keep = opts.pop("sum", None) if opts.get("sum") == "keep" else None
    for name, value in opts.items():
        if name.startswith("bat"):
            os.pwrite(fd, struct.pack(">I", int(value, 0)),
                      0x600 + 4 * int(name[3:]))
            continue
        place, offset, form = FIELDS[name]
        if form == "16s":
            value = bytes.fromhex(value)
        elif form.endswith("s"):
            value = value.encode()
        else:
            value = int(value, 0)
        data = struct.pack(form, value)
        where = {"t": [tail], "b": [tail, 0] if dynamic else [tail],
                 "h": [SECTOR]}[place]
        for pos in where:
            os.pwrite(fd, data, pos + offset)
    if keep:
        return
    touched = {FIELDS[n][0] for n in opts if n in FIELDS and "sum" not in n}
    if touched & {"t", "b"} and "sum" not in opts and "tail_sum" not in opts:
        put_sum(fd, tail, SECTOR, 64)
        if dynamic and "b" in touched:
            put_sum(fd, 0, SECTOR, 64)
    if "h" in touched and "h_sum" not in opts:
        put_sum(fd, SECTOR, 1024, 36)


def variants(path):
    with open(path, "rb") as base:
        content = base.read()
    for number, line in enumerate(sys.stdin, 1):
        name = "%s.%d" % (path, number)
        with open(name, "wb") as out:
            out.write(content)
        poke(name, dict(a.split("=", 1) for a in line.split()))


def main(argv):
    if len(argv) < 3:
        print(__doc__)
        return 2
    if argv[1] == "poke":
        poke(argv[2], dict(a.split("=", 1) for a in argv[3:]))
        return 0
    if argv[1] == "variants":
        variants(argv[2])
        return 0
    opts = dict(a.split("=", 1) for a in argv[4:])
    make = {"dynamic": make_dynamic, "fixed": make_fixed,
            "diff": make_diff}[argv[1]]
    make(argv[2], int(argv[3], 0), opts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
