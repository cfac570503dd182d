#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An independent reader of VHD images: the tests' oracle.

Written from the format's description alone and sharing no line with the
driver's core, so that a misunderstanding there does not hide here.

  vhdread.py info IMAGE            key=value lines
  vhdread.py blocks IMAGE          "block sector" of every allocated block
  vhdread.py raw IMAGE OUT         content as a sparse raw file; a differencing
                                   image's with its parents', which are found
                                   by what it says of them
  vhdread.py parent IMAGE          how the parent of a differencing image is
                                   named, and where it is found
  vhdread.py sectors IMAGE N...    sectors in hexadecimal, first 16 bytes each
  vhdread.py check [--tight] [--aligned] [--exact-blocks LIST] IMAGE
                                   exit status 1 and a line for each fault
"""

import os
import struct
import sys

SECTOR = 512
ALIGN = 4096
UNUSED = 0xFFFFFFFF
NONE = 0xFFFFFFFFFFFFFFFF
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
FOOTER = struct.Struct(">8sIIQI4sI4sQQHBBII16sBB426s")
HEADER = struct.Struct(">8sQQIIII16sII512s192s256s")


class Bad(Exception):
    """The file is not an image this reader accepts."""


def checksum(data, at):
    """One's complement of the sum of all bytes, the field at @at as 0."""
    return ~(sum(data) - sum(data[at:at + 4])) & 0xFFFFFFFF


def geometry(size):
    """CHS of @size bytes, by the specification's algorithm."""
    ts = min(size // SECTOR, 65535 * 16 * 255)
    if ts >= 65535 * 16 * 63:
        spt, heads, cth = 255, 16, ts // 255
    else:
        spt, cth = 17, ts // 17
        heads = max(4, (cth + 1023) // 1024)
        if cth >= heads * 1024 or heads > 16:
            spt, heads, cth = 31, 16, ts // 31
        if cth >= heads * 1024:
            spt, heads, cth = 63, 16, ts // 63
    return cth // heads, heads, spt


class Footer:
    """The 512 bytes at the end, and at 0 of all but fixed images."""

    def __init__(self, data):
        self.data = data.ljust(SECTOR, b"\0")
        (self.cookie, self.features, self.version, self.data_offset,
         self.timestamp, self.creator, self.creator_version, self.os,
         self.original_size, self.current_size, cyl, heads, spt, self.type,
         self.sum, self.id, self.saved, self.hidden,
         self.reserved) = FOOTER.unpack(self.data)
        self.chs = (cyl, heads, spt)

    def good(self):
        return (self.cookie == b"conectix"
                and self.sum == checksum(self.data, 64))


class Header:
    """The dynamic header."""

    def __init__(self, data):
        self.data = data
        (self.cookie, self.data_offset, self.table_offset, self.version,
         self.entries, self.block_size, self.sum, self.parent_id,
         self.parent_time, _, self.parent_name, self.locators,
         self.reserved) = HEADER.unpack(data)

    def good(self):
        return (self.cookie == b"cxsparse"
                and self.sum == checksum(self.data, 36))


class Image:
    """An open image; fixed or dynamic content can be read."""

    def __init__(self, path):
        self.path = path
        self.parent = None
        self.fd = os.open(path, os.O_RDONLY)
        self.file_size = os.fstat(self.fd).st_size
        self.short = self.file_size % SECTOR == SECTOR - 1
        self.tail_pos = (self.file_size - SECTOR + (1 if self.short else 0))
        if self.tail_pos < 0:
            raise Bad("file too small")
        self.tail = Footer(self.pread(SECTOR, self.tail_pos))
        self.head = Footer(self.pread(SECTOR, 0))
        self.footer = self.tail if self.tail.good() else self.head
        if not self.footer.good():
            raise Bad("no good footer")
        if self.footer is self.head and self.head.type == FIXED:
            raise Bad("no good footer at the end")
        self.size = self.footer.current_size
        self.bat = None
        if self.footer.type != FIXED:
            self.open_dynamic()

    def pread(self, count, pos):
        data = os.pread(self.fd, count, pos)
        return data.ljust(min(count, SECTOR), b"\0")

    def open_dynamic(self):
        self.header = Header(self.pread(1024, self.footer.data_offset))
        if not self.header.good():
            raise Bad("bad dynamic header")
        self.block_size = self.header.block_size
        self.nr_blocks = -(-self.size // self.block_size)
        if self.header.entries < self.nr_blocks:
            raise Bad("table too small")
        raw = self.pread(4 * self.nr_blocks, self.header.table_offset)
        self.bat = struct.unpack(">%dI" % self.nr_blocks,
                                 raw[:4 * self.nr_blocks])
        self.bitmap_bytes = -(-(self.block_size // SECTOR // 8)
                              // SECTOR) * SECTOR

    def allocated(self):
        return [(b, s) for b, s in enumerate(self.bat) if s != UNUSED]

    def bitmap(self, block):
        return self.pread(self.bitmap_bytes, self.bat[block] * SECTOR)

    def block(self, block):
        """Content of an allocated block: clear bits read as zeros."""
        pos = self.bat[block] * SECTOR
        bits = self.bitmap(block)
        data = self.pread(self.block_size, pos + self.bitmap_bytes)
        data = data.ljust(self.block_size, b"\0")
        count = self.block_size // SECTOR
        if bits[:count // 8] == b"\xff" * (count // 8):
            return data
        return b"".join(
            data[n * SECTOR:(n + 1) * SECTOR]
            if bits[n >> 3] & 0x80 >> (n & 7) else bytes(SECTOR)
            for n in range(count))

    def sector(self, n):
        if self.bat is None:
            return self.pread(SECTOR, n * SECTOR)
        block, n = divmod(n * SECTOR, self.block_size)
        if self.bat[block] == UNUSED:
            return bytes(SECTOR)
        return self.block(block)[n:n + SECTOR]

    def read(self, pos, count):
        """Content, within the disk, of one image and its parents."""
        if self.bat is None:
            return self.pread(count, pos).ljust(count, b"\0")
        out = []
        while count:
            block, offset = divmod(pos, self.block_size)
            n = min(count, self.block_size - offset)
            out.append(self.read_block(block, offset, n))
            pos += n
            count -= n
        return b"".join(out)

    def below(self, pos, count):
        """What an image shows where it has nothing itself."""
        if self.footer.type != DIFFERENCING or pos >= self.parent.size:
            return bytes(count)
        n = min(count, self.parent.size - pos)
        return self.parent.read(pos, n).ljust(count, b"\0")

    def read_block(self, block, offset, count):
        start = block * self.block_size + offset
        if self.bat[block] == UNUSED:
            return self.below(start, count)
        bits = self.bitmap(block)
        data = self.pread(count, self.bat[block] * SECTOR
                          + self.bitmap_bytes + offset).ljust(count, b"\0")
        first, sectors = offset // SECTOR, count // SECTOR
        here = [bits[n >> 3] & 0x80 >> (n & 7)
                for n in range(first, first + sectors)]
        if all(here):
            return data
        under = self.below(start, count)
        return b"".join(
            (data if bit else under)[n * SECTOR:(n + 1) * SECTOR]
            for n, bit in enumerate(here))

    def touched(self, pos, count):
        """May there be anything but zeros?"""
        if pos >= self.size:
            return False
        if self.bat is None:
            return True
        last = min(pos + count, self.size) - 1
        blocks = range(pos // self.block_size, last // self.block_size + 1)
        if any(self.bat[b] != UNUSED for b in blocks):
            return True
        return (self.footer.type == DIFFERENCING
                and self.parent.touched(pos, count))

    def chain_pieces(self):
        step = 512 << 10
        for pos in range(0, self.size, step):
            n = min(step, self.size - pos)
            if self.touched(pos, n):
                yield pos, self.read(pos, n)

    def pieces(self):
        """(offset, data) of everything that may not be zeros."""
        if self.bat is None:
            step = 1 << 20
            for pos in range(0, self.size, step):
                yield pos, self.pread(min(step, self.size - pos), pos)
            return
        for b, _ in self.allocated():
            pos = b * self.block_size
            yield pos, self.block(b)[:self.size - pos]

    def metadata(self):
        """[start, end) of what no block may touch, with a name."""
        table = self.header.table_offset
        yield 0, SECTOR, "footer copy"
        yield (self.footer.data_offset, self.footer.data_offset + 1024,
               "header")
        yield table, table + -(-4 * self.header.entries // SECTOR) * SECTOR, \
            "table"
        for code, space, _, pos in locators(self):
            yield pos, pos + space, "locator %s" % code
        yield self.tail_pos, self.tail_pos + SECTOR, "footer"


def locators(img):
    """(code, space, data, place) of those in use; space in bytes."""
    for n in range(8):
        code, space, length, _, pos = struct.unpack_from(
            ">4sIIIQ", img.header.locators, 24 * n)
        if code == bytes(4):
            continue
        if space < SECTOR:
            space *= SECTOR
        if length > min(space, 65536) or pos + length > img.file_size:
            raise Bad("locator %d is too long, or outside the file" % n)
        yield code.decode("latin1"), space, os.pread(img.fd, length, pos), pos


def utf16(data, order):
    """Text up to the first NUL as a name of a file."""
    count = len(data) // 2
    words = struct.unpack("%s%dH" % (order, count), data[:2 * count])
    if 0 in words:
        words = words[:words.index(0)]
    data = struct.pack("<%dH" % len(words), *words)
    return data.decode("utf-16-le", "surrogatepass").encode(
        "utf-8", "surrogatepass")


def url(data):
    data = data.split(b"\0")[0]
    if data[:7].lower() != b"file://":
        raise Bad("MacX locator is no file URL")
    data = data[7:]
    if data[:10].lower() == b"localhost/":
        data = data[9:]
    parts = data.split(b"%")
    return parts[0] + b"".join(
        bytes([int(p[:2], 16)]) + p[2:] for p in parts[1:])


def told(img):
    """(how, text, path) of all places that an image names for its parent."""
    here = os.path.dirname(os.path.realpath(os.fsencode(img.path)))
    found = {}
    for code, _, data, _ in locators(img):
        if code in ("W2ru", "W2ku"):
            found.setdefault(code, utf16(data, "<"))
        elif code == "MacX":
            found.setdefault(code, url(data))
    if "W2ru" in found:
        path = found["W2ru"].replace(b"\\", b"/")
        yield "W2ru", found["W2ru"], os.path.join(here, path)
    if "MacX" in found:
        yield "MacX", found["MacX"], os.path.join(here, found["MacX"])
    if "W2ku" in found:
        path = found["W2ku"].replace(b"\\", b"/")
        if path[1:2] == b":":
            path = path[2:]
        yield "W2ku", found["W2ku"], path
        yield "W2ku", found["W2ku"], os.path.join(here, path.split(b"/")[-1])
    name = utf16(img.header.parent_name, ">")
    if name:
        last = name.replace(b"\\", b"/").split(b"/")[-1]
        yield "name", name, os.path.join(here, last)


def find_parent(img):
    for how, text, path in told(img):
        try:
            parent = Image(path)
        except (OSError, Bad):
            continue
        if parent.footer.id == img.header.parent_id:
            return how, text, parent
    raise Bad("no parent")


def open_parents(img, depth=0):
    if depth > 300:
        raise Bad("too many parents, or a circle of them")
    if img.footer.type == DIFFERENCING:
        img.parent = find_parent(img)[2]
        open_parents(img.parent, depth + 1)


def cmd_parent(img):
    h = img.header
    print("id=%s time=%d name=%s" % (
        h.parent_id.hex(), h.parent_time,
        utf16(h.parent_name, ">").decode("utf-8", "replace")))
    for code, space, data, pos in locators(img):
        print("%s space=%d length=%d offset=%#x data=%s"
              % (code, space, len(data), pos, data.hex()))
    how, _, parent = find_parent(img)
    print("found=%s path=%s" % (how, os.path.realpath(parent.path)
                                .decode("utf-8", "replace")))


def write_sparse(out, pos, data):
    """Write @data but for whole 4 KiB of zeros."""
    zero = bytes(ALIGN)
    if not data.strip(b"\0"):
        return
    start = None
    for off in range(0, len(data) + ALIGN, ALIGN):
        piece = data[off:off + ALIGN]
        if piece and piece != zero[:len(piece)]:
            start = off if start is None else start
        elif start is not None:
            os.pwrite(out, data[start:off], pos + start)
            start = None


def cmd_raw(img, path):
    out = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    os.ftruncate(out, img.size)
    open_parents(img)
    chain = img.footer.type == DIFFERENCING
    for pos, data in img.chain_pieces() if chain else img.pieces():
        write_sparse(out, pos, data)
    os.close(out)


def cmd_info(img):
    f = img.footer
    print("type=%d size=%d file_size=%d creator=%s os=%s chs=%d/%d/%d" %
          (f.type, img.size, img.file_size, f.creator.hex(), f.os.hex(),
           *f.chs))
    if img.bat is not None:
        blocks = img.allocated()
        print("block_size=%d table_offset=%d entries=%d allocated=%d" %
              (img.block_size, img.header.table_offset, img.header.entries,
               len(blocks)))


def faults_footer(img):
    if not img.tail.good():
        yield "the footer at the end is bad"
    if img.footer.type != FIXED and img.head.data != img.tail.data:
        yield "the footer and its copy at 0 differ"
    if img.footer.version != 0x10000:
        yield "footer version %#x" % img.footer.version
    if img.footer.id == bytes(16):
        yield "null unique id"


def faults_fixed(img):
    if img.tail_pos != img.size:
        yield "data of %d bytes, current_size %d" % (img.tail_pos, img.size)


def faults_blocks(img):
    """Overlaps, among blocks and with metadata, by one sweep."""
    slot = img.bitmap_bytes + img.block_size
    areas = [(s * SECTOR, s * SECTOR + slot, "block %d" % b)
             for b, s in img.allocated()]
    areas += list(img.metadata())
    areas.sort()
    for (_, end, name), (start, _, other) in zip(areas, areas[1:]):
        if start < end:
            yield "%s and %s overlap at %d" % (name, other, start)
    if areas[-1][1] > img.file_size + (1 if img.short else 0):
        yield "%s beyond the end" % areas[-1][2]


def faults_tight(img):
    """The footer right behind the last block, to the 4 KiB rule."""
    slot = img.bitmap_bytes + img.block_size
    table = img.header.table_offset + 4 * img.header.entries
    table = -(-table // ALIGN) * ALIGN
    end = max([table, img.footer.data_offset + 1024]
              + [pos + space for _, space, _, pos in locators(img)]
              + [s * SECTOR + slot for _, s in img.allocated()])
    want = -(-(end + SECTOR) // ALIGN) * ALIGN
    if img.file_size > want:
        yield "not tight: %d bytes, %d would do" % (img.file_size, want)


def faults_aligned(img):
    for b, s in img.allocated():
        if (s * SECTOR + img.bitmap_bytes) % ALIGN:
            yield "block %d: data not at 4 KiB" % b


def cmd_check(img, options):
    faults = list(faults_footer(img))
    if img.bat is None:
        faults += faults_fixed(img)
    else:
        faults += faults_blocks(img)
        if "--tight" in options:
            faults += faults_tight(img)
        if "--aligned" in options:
            faults += faults_aligned(img)
        if "--exact-blocks" in options:
            want = options["--exact-blocks"]
            have = ",".join(str(b) for b, _ in img.allocated())
            if want != have:
                faults.append("blocks %s, expected %s" % (have, want))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def parse(args):
    options = {}
    rest = []
    while args:
        arg = args.pop(0)
        if arg == "--exact-blocks":
            options[arg] = args.pop(0)
        elif arg.startswith("--"):
            options[arg] = True
        else:
            rest.append(arg)
    return options, rest


def main(argv):
    if len(argv) < 3:
        print(__doc__)
        return 2
    options, rest = parse(argv[2:])
    try:
        img = Image(rest[0])
        if argv[1] == "info":
            cmd_info(img)
        elif argv[1] == "blocks":
            for block in img.allocated() if img.bat is not None else ():
                print("%d %d" % block)
        elif argv[1] == "parent":
            cmd_parent(img)
        elif argv[1] == "raw":
            cmd_raw(img, rest[1])
        elif argv[1] == "sectors":
            for n in rest[1:]:
                print(n, img.sector(int(n))[:16].hex())
        elif argv[1] == "check":
            return cmd_check(img, options)
        else:
            return 2
    except Bad as err:
        print("%s: %s" % (rest[0], err))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
