# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of which every byte can be chosen.

Written from the format's description; shares nothing with the driver.
"""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "interop"))
from vhdread import checksum, geometry  # noqa: E402

SECTOR = 512
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
UNUSED = 0xFFFFFFFF
NONE = (1 << 64) - 1
FIXED, DYNAMIC, DIFF = 2, 3, 4

FOOTER = {
    "cookie": (0, "8s"), "features": (8, ">I"), "version": (12, ">I"),
    "data_offset": (16, ">Q"), "timestamp": (24, ">I"), "creator": (28, "4s"),
    "creator_version": (32, ">I"), "os": (36, "4s"), "original": (40, ">Q"),
    "size": (48, ">Q"), "cylinders": (56, ">H"), "heads": (58, "B"),
    "spt": (59, "B"), "type": (60, ">I"), "sum": (64, ">I"), "id": (68, "16s"),
    "saved": (84, "B"), "hidden": (85, "B"), "reserved": (86, "426s"),
}
HEADER = {
    "cookie": (0, "8s"), "data_offset": (8, ">Q"), "table_offset": (16, ">Q"),
    "version": (24, ">I"), "entries": (28, ">I"), "block_size": (32, ">I"),
    "sum": (36, ">I"), "parent_id": (40, "16s"), "parent_time": (56, ">I"),
    "reserved1": (60, ">I"), "parent_name": (64, "512s"),
    "reserved2": (768, "256s"),
}


def put(data, fields, values):
    for name, value in values.items():
        offset, form = fields[name]
        struct.pack_into(form, data, offset, value)


def seal(data, at):
    struct.pack_into(">I", data, at, checksum(bytes(data), at))


def make_footer(size, disk_type):
    data = bytearray(SECTOR)
    cyl, heads, spt = geometry(size)
    put(data, FOOTER, dict(
        cookie=b"conectix", features=2, version=0x10000,
        data_offset=NONE if disk_type == FIXED else 512, timestamp=0x2F000000,
        creator=b"win ", creator_version=0xA0000, os=b"Wi2k", original=size,
        size=size, cylinders=cyl, heads=heads, spt=spt, type=disk_type,
        id=bytes(range(1, 17))))
    seal(data, 64)
    return data


class Image:
    """An image in the making; write() makes it a file."""

    def __init__(self, disk_type=DYNAMIC, size=4 * MIB, block=512 * KIB,
                 blocks=(3, 0, 5), entries=None, table=0x600, header=512,
                 gap=0):
        self.type = disk_type
        self.size = size
        self.block = block
        self.foot = make_footer(size, disk_type)
        self.head_over = None       # fields of the copy only, or b"": none
        self.tail_over = None
        self.pieces = []            # (offset, bytes), written last
        self.tail_bytes = SECTOR
        self.length = None          # cut or extend the file at last
        self.slack = 0
        if disk_type == FIXED:
            self.end = size
            return
        self.table = table
        self.hpos = header
        put(self.foot, FOOTER, dict(data_offset=header))
        seal(self.foot, 64)
        self.nr = -(-size // block)
        self.entries = self.nr if entries is None else entries
        self.header = bytearray(1024)
        put(self.header, HEADER, dict(
            cookie=b"cxsparse", data_offset=NONE, table_offset=table,
            version=0x10000, entries=self.entries, block_size=block))
        seal(self.header, 36)
        self.bat = [UNUSED] * max(self.entries, self.nr)
        self.bits = {}
        self.bitmap_bytes = -(-(block // SECTOR) // 4096) * SECTOR
        self.slot = self.bitmap_bytes + block
        self.end = table + -(-4 * self.entries // SECTOR) * SECTOR + gap
        for number in blocks:
            self.add(number)

    def add(self, number, bits=None):
        """Allocate a block behind the others; its data tell its number."""
        self.bat[number] = self.end // SECTOR
        self.bits[number] = bits or b"\xff" * self.bitmap_bytes
        self.end += self.slot
        return self

    def pos(self, number):
        return self.bat[number] * SECTOR

    def footer(self, **values):
        put(self.foot, FOOTER, values)
        if "sum" not in values:
            seal(self.foot, 64)
        return self

    @staticmethod
    def _over(values):
        return values or {}

    def head(self, **values):
        self.head_over = values
        return self

    def tail(self, **values):
        self.tail_over = values
        return self

    def no_head(self):
        self.head_over = False
        return self

    def no_tail(self):
        self.tail_over = False
        return self

    def hdr(self, **values):
        put(self.header, HEADER, values)
        if "sum" not in values:
            seal(self.header, 36)
        return self

    def locator(self, i, code=0x57327275, space=512, length=8, pos=None,
                reserved=0, data=b".\0\\\0p\0a\0"):
        """Locator @i; without @pos it gets a sector of its own."""
        if pos is None:
            pos = self.end
            self.end += SECTOR
            self.pieces.append((pos, data))
        struct.pack_into(">IIIIQ", self.header, 576 + 24 * i, code, space,
                         length, reserved, pos)
        seal(self.header, 36)
        return self

    def entry(self, block, value):
        self.late = getattr(self, "late", {})
        self.late[block] = value & UNUSED
        return self

    def poke(self, offset, data):
        self.pieces.append((offset, data))
        return self

    def more(self, slack):
        self.slack = slack
        return self

    def cut(self, length):
        self.length = length
        return self

    def short(self, count=511):
        self.tail_bytes = count
        return self

    def _footer(self, over):
        data = bytearray(self.foot)
        if over:
            put(data, FOOTER, over)
            if "sum" not in over:
                seal(data, 64)
        return bytes(data)

    def tail_pos(self):
        return self.end + self.slack

    def _data(self, number):
        word = struct.pack(">Q", 0xDA7A << 48 | number)
        return word * (self.block // 8)

    def write(self, path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        if self.type == FIXED:
            os.pwrite(fd, b"guest data " * 40, 0)
        else:
            self._write_dynamic(fd)
        if self.tail_over is not False:
            os.pwrite(fd, self._footer(self.tail_over)[:self.tail_bytes],
                      self.tail_pos())
        else:
            os.ftruncate(fd, self.tail_pos() + SECTOR)
        for pos, data in self.pieces:
            os.pwrite(fd, data, pos)
        if self.length is not None:
            os.ftruncate(fd, self.length if self.length >= 0 else
                         os.fstat(fd).st_size + self.length)
        os.close(fd)

    def _write_dynamic(self, fd):
        for number, bits in self.bits.items():
            os.pwrite(fd, bits + self._data(number), self.pos(number))
        bat = list(self.bat)
        for number, value in getattr(self, "late", {}).items():
            bat[number] = value
        if len(bat) < 1 << 20:
            table = struct.pack(">%dI" % len(bat), *bat)
            table += b"\xff" * (-len(table) % SECTOR)
            os.pwrite(fd, table, self.table)
        os.pwrite(fd, bytes(self.header), self.hpos)
        if self.head_over is not False:
            os.pwrite(fd, self._footer(self.head_over), 0)
