# SPDX-License-Identifier: GPL-2.0-or-later
"""The hostile and the strange: every rule of the format and its borders.

Each case: name, how to make it, what check exits with, the findings it must
make (others may come along), how attach answers, what check exits with after
--repair.
"""

import struct

from image import (DIFF, DYNAMIC, FIXED, GIB, KIB, MIB, NONE, SECTOR, UNUSED,
                   Image, checksum, make_footer)

CASES = []
RW, RO, NO = "read-write", "read-only", "refused"
CLEAN, NOT_DONE, CORRUPT, MEND = 0, 1, 2, 3


class Raw:
    """Bytes that are no image."""

    def __init__(self, data):
        self.data = data

    def write(self, path):
        with open(path, "wb") as out:
            out.write(self.data)


def case(name, image, exits, findings, attach, after=None):
    """@after: what check exits with after --repair; None: as before."""
    if isinstance(findings, str):
        findings = findings.split()
    CASES.append((name, image, exits, findings, attach,
                  exits if after is None else after))


# ---- files -------------------------------------------------------------

for count in (0, 1, 510):
    case("file-%d-bytes" % count, Raw(bytes(count)), CORRUPT, "file-too-small", NO)
for count in (511, 512, 513, 1023, 1024, 65536):
    case("file-%d-zeros" % count, Raw(bytes(count)), CORRUPT, "no-footer", NO)
case("file-512-ones", Raw(b"\xff" * 512), CORRUPT, "no-footer", NO)
case("file-text", Raw(b"conectix, says this text\n" * 100), CORRUPT, "no-footer", NO)
case("file-cookie-only", Raw(b"conectix".ljust(512, b"\0")), CORRUPT, "footer-checksum", NO)
case("file-footer-alone", Raw(bytes(make_footer(4 * MIB, DYNAMIC))), CORRUPT, "footer-data-offset", NO)
case("file-fixed-footer-alone", Raw(bytes(make_footer(4 * MIB, FIXED))), CORRUPT, "fixed-truncated", RO)
case("file-two-footers", Raw(bytes(make_footer(4 * MIB, DYNAMIC)) * 2), CORRUPT, "footer-data-offset", NO)
case("file-is-vhdx", Raw(b"vhdxfile".ljust(65536, b"\0")), CORRUPT, "no-footer", NO)

# ---- footer, both copies, checksums right -------------------------------

case("footer-good", Image(), CLEAN, "", RW)
case("footer-features-0", Image().footer(features=0), MEND, "footer-features-zero", RW, CLEAN)
case("footer-features-1", Image().footer(features=1), MEND, "footer-features-zero footer-temporary", RW, CLEAN)
case("footer-features-3", Image().footer(features=3), CLEAN, "footer-temporary", RW)
case("footer-features-4", Image().footer(features=6), CLEAN, "footer-features", RO)
case("footer-features-sign", Image().footer(features=0x80000002), CLEAN, "footer-features", RO)
case("footer-features-max", Image().footer(features=UNUSED), CLEAN, "footer-features", RO)
case("footer-version-0", Image().footer(version=0), CORRUPT, "footer-version", NO)
case("footer-version-minor", Image().footer(version=0x10001), CLEAN, "footer-minor", RW)
case("footer-version-minor-max", Image().footer(version=0x1FFFF), CLEAN, "footer-minor", RW)
case("footer-version-2", Image().footer(version=0x20000), CORRUPT, "footer-version", NO)
case("footer-version-sign", Image().footer(version=0x80010000), CORRUPT, "footer-version", NO)
case("footer-version-max", Image().footer(version=UNUSED), CORRUPT, "footer-version", NO)
good = Image()
for name, value in {
        "0": 0, "1": 1, "511": 511, "513": 513, "sign": 1 << 63,
        "max": NONE, "wrap": NONE - 511, "tail": good.tail_pos(),
        "before-tail": good.tail_pos() - 512,
        "end": good.tail_pos() + 512, "4g": 1 << 32}.items():
    case("footer-data-offset-" + name, Image().footer(data_offset=value), CORRUPT, "footer-data-offset", NO)
case("footer-data-offset-table", Image().footer(data_offset=0x600), CORRUPT, "header-cookie", NO)
case("footer-data-offset-block", Image().footer(data_offset=0x800), CORRUPT, "header-cookie", NO)
case("footer-timestamp-0", Image().footer(timestamp=0), CLEAN, "", RW)
case("footer-timestamp-max", Image().footer(timestamp=UNUSED), CLEAN, "footer-timestamp", RW)
case("footer-creator-0", Image().footer(creator=b""), CLEAN, "", RW)
case("footer-creator-tap", Image().footer(creator=b"tap\0"), CLEAN, "", RW)
case("footer-os-0", Image().footer(os=b""), CLEAN, "footer-creator-os", RW)
case("footer-os-mac", Image().footer(os=b"Mac "), CLEAN, "", RW)
case("footer-original-0", Image().footer(original=0), CLEAN, "footer-original-size", RW)
case("footer-original-511", Image().footer(original=511), CLEAN, "footer-original-size", RW)
case("footer-original-max", Image().footer(original=NONE), CLEAN, "footer-original-size", RW)
case("footer-size-0", Image().footer(size=0), CORRUPT, "size-zero", NO)
for value in (1, 511, 513, 4 * MIB - 1, NONE):
    case("footer-size-%d" % value, Image().footer(size=value), CORRUPT, "size-unaligned", NO)
case("footer-size-sign", Image().footer(size=1 << 63), CORRUPT, "size-too-large", NO)
case("footer-size-wrap", Image().footer(size=NONE - 511), CORRUPT, "size-too-large", NO)
case("footer-size-over", Image().footer(size=2040 * GIB + 512), CORRUPT, "size-too-large", NO)
case("footer-size-limit", Image().footer(size=2040 * GIB), CORRUPT, "table-small", NO)
case("footer-size-one-more", Image().footer(size=4 * MIB + 512), CORRUPT, "table-small", NO)
case("footer-size-one-less", Image().footer(size=4 * MIB - 512), CLEAN, "", RW)
case("footer-size-512", Image(blocks=()).footer(size=512), CLEAN, "table-slack", RW)
case("footer-size-smaller", Image().footer(size=2 * MIB), MEND, "table-surplus", RW, CLEAN)
case("footer-geometry-0", Image().footer(cylinders=0, heads=0, spt=0), CLEAN, "geometry", RW)
case("footer-geometry-max", Image().footer(cylinders=65535, heads=255, spt=255), CLEAN, "geometry", RW)
for value in (0, 1, 5, 6, 7, 1 << 31, UNUSED):
    case("footer-type-%d" % value, Image().footer(type=value), CORRUPT, "footer-type", NO)
case("footer-type-fixed", Image().footer(type=FIXED), CORRUPT, "fixed-truncated footer-fixed-offset", RO)
case("footer-type-diff", Image().footer(type=DIFF), CLEAN, "parent-null-id parent-unnamed", NO)
case("footer-sum-0", Image().footer(sum=0), CORRUPT, "footer-checksum", NO)
case("footer-sum-1", Image().footer(sum=1), CORRUPT, "footer-checksum", NO)
case("footer-sum-max", Image().footer(sum=UNUSED), CORRUPT, "footer-checksum", NO)
case("footer-id-null", Image().footer(id=bytes(16)), MEND, "null-id", RW, CLEAN)
case("footer-saved-1", Image().footer(saved=1), CLEAN, "saved-state", RO)
case("footer-saved-max", Image().footer(saved=255), CLEAN, "saved-state footer-saved-value", RO)
case("footer-hidden", Image().footer(hidden=1), CLEAN, "footer-hidden", RW)
case("footer-reserved-first", Image().footer(reserved=b"\1"), CLEAN, "footer-reserved", RW)
case("footer-reserved-last", Image().footer(reserved=bytes(425) + b"\1"), CLEAN, "footer-reserved", RW)
case("footer-cookie", Image().footer(cookie=b"Conectix"), CORRUPT, "no-footer", NO)
case("footer-poison", Image().footer(cookie=b"v_poison"), CORRUPT, "footer-poison", NO)

# ---- one of the two -----------------------------------------------------

case("head-zeros", Image().no_head(), MEND, "head-bad", RO, CLEAN)
case("head-cookie", Image().head(cookie=b"xonectix"), MEND, "head-bad", RO, CLEAN)
case("head-sum-0", Image().head(sum=0), MEND, "head-bad", RO, CLEAN)
case("head-sum-1", Image().head(sum=1), MEND, "head-bad", RO, CLEAN)
case("head-differs", Image().head(timestamp=1), MEND, "head-differs", RO)
case("head-differs-size", Image().head(size=2 * MIB), MEND, "head-differs", RO)
case("head-fixed", Image().head(type=FIXED), MEND, "head-differs", RO)
case("head-poison", Image().head(cookie=b"v_poison"), CORRUPT, "footer-poison", NO)
case("head-offset", Image().head(data_offset=1 << 63), MEND, "head-differs", RO)
case("tail-zeros", Image().no_tail(), MEND, "tail-bad", RO, CLEAN)
case("tail-cookie", Image().tail(cookie=b"xonectix"), MEND, "tail-bad", RO, CLEAN)
case("tail-sum-0", Image().tail(sum=0), MEND, "tail-checksum-zero", RO, CLEAN)
case("tail-sum-1", Image().tail(sum=1), MEND, "tail-bad", RO, CLEAN)
case("tail-sum-0-both", Image().tail(sum=0).head(sum=0), CORRUPT, "footer-checksum", NO)
case("tail-c7", Image().no_tail().poke(good.tail_pos(), b"\xc7" * 512), MEND, "tail-bad", RO, CLEAN)
case("tail-poison", Image().tail(cookie=b"v_poison"), CORRUPT, "footer-poison", NO)
case("tail-fixed", Image().tail(type=FIXED, data_offset=NONE), CORRUPT, "fixed-truncated", RO)
case("tail-bad-head-fixed", Image().head(type=FIXED).no_tail(), CORRUPT, "no-footer", NO)
case("tail-bad-sum-head-fixed", Image().head(type=FIXED).tail(sum=9), CORRUPT, "footer-checksum", NO)
case("tail-511", Image().short(), MEND, "footer-511", RW, CLEAN)
case("tail-510", Image().short(510), MEND, "tail-bad", RO, CLEAN)
case("tail-1", Image().short(1), MEND, "tail-bad", RO, CLEAN)
case("tail-511-head-differs", Image().short().head(timestamp=1), MEND, "footer-511 head-differs", RO)
case("tail-511-head-bad", Image().short().no_head(), MEND, "footer-511 head-bad", RO, CLEAN)
case("tail-one-byte-more", Image().cut(good.tail_pos() + 513), MEND, "tail-bad", RO, CLEAN)
case("tail-unaligned", Image().more(100), MEND, "file-unaligned slack", RW, CLEAN)
case("tail-512-more", Image().cut(good.tail_pos() + 1024), MEND, "tail-bad", RO, CLEAN)

# ---- dynamic header -----------------------------------------------------

case("header-elsewhere", Image(header=0x10000, table=0x10400), CLEAN, "", RW)
case("header-behind-table", Image(header=0x800, gap=1024), CLEAN, "", RW)
case("header-cookie", Image().hdr(cookie=b"cxsparsf"), CORRUPT, "header-cookie", NO)
case("header-cookie-flipped", Image().hdr(cookie=b"cxsparsf", sum=struct.unpack(">I", Image().header[36:40])[0]), CORRUPT, "header-cookie", NO, CLEAN)
case("header-zeros", Image().poke(512, bytes(1024)), CORRUPT, "header-cookie", NO)
for value in (0, 512, 1 << 63, NONE - 1):
    case("header-data-offset-%d" % value, Image().hdr(data_offset=value), CORRUPT, "header-data-offset", NO)
case("header-version-0", Image().hdr(version=0), CORRUPT, "header-version", NO)
case("header-version-minor", Image().hdr(version=0x10001), CLEAN, "header-minor", RW)
case("header-version-2", Image().hdr(version=0x20000), CORRUPT, "header-version", NO)
case("header-version-max", Image().hdr(version=UNUSED), CORRUPT, "header-version", NO)
for value in (0, 1, UNUSED):
    case("header-sum-%d" % value, Image().hdr(sum=value), CORRUPT, "header-checksum", NO)
case("header-reserved1", Image().hdr(reserved1=1), CLEAN, "header-reserved", RW)
case("header-reserved2", Image().hdr(reserved2=bytes(255) + b"\1"), CLEAN, "header-reserved", RW)
case("header-parent-id", Image().hdr(parent_id=b"p" * 16), CLEAN, "header-parent", RW)
case("header-parent-name", Image().hdr(parent_name="p".encode("utf-16-be")), CLEAN, "header-parent", RW)
case("header-parent-name-long", Image(DIFF).hdr(parent_id=b"p" * 16, parent_name=b"\0p" * 256), CLEAN, "", NO)
case("header-parent-name-surrogate", Image(DIFF).hdr(parent_id=b"p" * 16, parent_name=b"\xd8\0\xdc\0\xdc\0\xd8\0"), CLEAN, "", NO)
for value in (1, 511, 513, 0x601):
    case("header-table-%d" % value, Image().hdr(table_offset=value), CORRUPT, "table-offset", NO)
case("header-table-0", Image().hdr(table_offset=0), CORRUPT, "table-offset", NO)
case("header-table-sign", Image().hdr(table_offset=1 << 63), CORRUPT, "table-offset", NO)
case("header-table-wrap", Image().hdr(table_offset=NONE - 511), CORRUPT, "table-offset", NO)
case("header-table-tail", Image().hdr(table_offset=good.tail_pos()), CORRUPT, "table-offset", NO)
case("header-table-end", Image().hdr(table_offset=good.tail_pos() + 512), CORRUPT, "table-offset", NO)
case("header-table-is-header", Image().hdr(table_offset=512), CORRUPT, "table-metadata", NO)
case("header-table-half-header", Image().hdr(table_offset=1024), CORRUPT, "table-metadata", NO)
case("header-table-in-block", Image().hdr(table_offset=0x800 + 512 * KIB), CORRUPT, "", RO)
for value in (0, 1, 7):
    case("header-entries-%d" % value, Image().hdr(entries=value), CORRUPT, "table-small", NO)
case("header-entries-9", Image().hdr(entries=9), CLEAN, "table-slack", RW)
case("header-entries-128", Image().hdr(entries=128), CLEAN, "table-slack", RW)
case("header-entries-129", Image().hdr(entries=129), MEND, "table-slack table-end", RW, CLEAN)
case("header-entries-sign", Image().hdr(entries=1 << 31), MEND, "table-slack table-end", RW, CLEAN)
case("header-entries-max", Image().hdr(entries=UNUSED), MEND, "table-slack table-end", RW, CLEAN)
for value in (0, 1, 511, 512, 2048, 3 * MIB, 512 * KIB + 1, 512 * MIB, 1 << 31, UNUSED):
    case("header-block-%d" % value, Image().hdr(block_size=value), CORRUPT, "block-size", NO)
case("header-block-4096", Image(block=4096), CLEAN, "block-size-ro", RO)
case("header-block-256k", Image(block=256 * KIB), CLEAN, "block-size-ro", RO)
case("header-block-4m", Image(block=4 * MIB, blocks=(0,)), CLEAN, "block-size-ro", RO)
case("header-block-256m", Image(block=256 * MIB, size=300 * MIB, blocks=()), CLEAN, "block-size-ro", RO)
case("header-block-256m-used", Image(block=256 * MIB, size=300 * MIB, blocks=()).entry(0, 4), CORRUPT, "block-end", RO)
case("header-block-1m", Image(block=MIB, blocks=(2, 0)), CLEAN, "", RW)
case("header-block-smaller", Image().hdr(block_size=256 * KIB), CORRUPT, "table-small", NO)
case("header-block-larger", Image().hdr(block_size=MIB), CORRUPT, "block-overlap", RO, CLEAN)
case("header-table-large", Image(size=2040 * GIB, block=256 * KIB, blocks=(), entries=8).hdr(entries=UNUSED), CORRUPT, "table-large", NO)

# ---- table --------------------------------------------------------------

first = good.bat[3]
slot = good.slot // SECTOR
tail = good.tail_pos() // SECTOR
for name, value, code in (
        ("0", 0, "block-metadata"), ("header", 1, "block-metadata"),
        ("header-2", 2, "block-metadata"), ("table", 3, "block-metadata"),
        ("tail", tail, "block-end"), ("end", tail + 1, "block-end"),
        ("beyond", tail + 1000, "block-end"),
        ("one-too-far", tail - slot + 1, "block-end"),
        ("signed", 0x7FFFFFFF, "block-end"), ("sign", 1 << 31, "block-end"),
        ("max-1", 0xFFFFFFFD, "block-end"), ("max", 0xFFFFFFFE, "block-end"),
        ("swapped", 0x04000000, "block-end")):
    case("table-entry-" + name, Image().entry(3, value), CORRUPT, code, RO)
for name, value in (
        ("same", good.bat[0]), ("one-up", good.bat[0] + 1),
        ("one-down", good.bat[0] - 1), ("last", good.bat[0] - slot + 1),
        ("first", good.bat[0] + slot - 1), ("bitmap", good.bat[0] + 4),
        ("bytes", good.bat[3] * SECTOR)):
    case("table-overlap-" + name, Image().entry(3, value), CORRUPT, "block-overlap", RO, CLEAN)
case("table-overlap-all", Image().entry(3, first).entry(0, first).entry(5, first), CORRUPT, "block-overlap", RO, CLEAN)
case("table-overlap-chain", Image().entry(0, first + 1).entry(5, first + 2), CORRUPT, "block-overlap", RO, CLEAN)
case("table-zeros", Image().poke(0x600, bytes(512)), CORRUPT, "block-metadata", RO)
case("table-all-max", Image().poke(0x600, b"\xff\xff\xff\xfe" * 8), CORRUPT, "block-end", RO)
case("table-all-zero-but-one", Image().poke(0x604, bytes(28)), CORRUPT, "block-metadata", RO)
case("table-touching", Image().entry(3, tail - 2 * slot).entry(5, tail - slot).entry(0, UNUSED), CLEAN, "gap", RW)
case("table-empty", Image(blocks=()), CLEAN, "", RW)
case("table-forgotten", Image().entry(0, UNUSED), CLEAN, "gap", RW)
case("table-forgotten-last", Image().entry(5, UNUSED), MEND, "slack slack-data", RW, CLEAN)
case("table-padding-0", Image().poke(0x620, bytes(480)), CLEAN, "table-padding", RW)
case("table-surplus", Image(entries=100).entry(50, 4), MEND, "table-slack table-surplus", RW, CLEAN)
case("table-surplus-0", Image(entries=100).poke(0x620, bytes(4)), MEND, "table-surplus", RW, CLEAN)
case("table-surplus-last", Image(entries=100).entry(99, UNUSED - 1), MEND, "table-surplus", RW, CLEAN)
case("table-at-end", Image(table=0x800 + 3 * good.slot, blocks=()).entry(1, 4), CLEAN, "", RW)
case("table-last-block", Image(blocks=(7,)), CLEAN, "", RW)
case("table-reverse", Image(blocks=(7, 6, 5, 4, 3, 2, 1, 0)), CLEAN, "", RW)
case("table-gap", Image(gap=65536), CLEAN, "gap", RW)
case("table-slack", Image().more(65536), MEND, "slack", RW, CLEAN)
case("table-slack-data", Image().more(65536).poke(good.tail_pos() + 5000, b"stale"), MEND, "slack slack-data", RW, CLEAN)
case("table-slack-footer", Image().more(8192).poke(good.tail_pos(), bytes(good.foot)), MEND, "slack slack-data", RW, CLEAN)

# ---- sector bitmaps -----------------------------------------------------

case("bitmap-none", Image(blocks=()).add(2, bytes(512)), MEND, "bitmap-clear bitmap-data", RW, CLEAN)
case("bitmap-one-clear", Image(blocks=()).add(2, b"\x7f" + b"\xff" * 511), MEND, "bitmap-clear bitmap-data", RW, CLEAN)
case("bitmap-last-clear", Image(blocks=()).add(2, b"\xff" * 127 + b"\xfe" + b"\xff" * 384), MEND, "bitmap-clear bitmap-data bitmap-beyond", RW, CLEAN)
case("bitmap-padding-clear", Image(blocks=()).add(2, b"\xff" * 128 + bytes(384)), CLEAN, "", RW)
case("bitmap-none-zeros", Image(blocks=()).add(2, bytes(512)).poke(0xA00, bytes(512 * KIB)), CLEAN, "bitmap-clear", RW)
case("bitmap-beyond-disk", Image(size=4 * MIB - 512, blocks=()).add(7, b"\xff" * 127 + b"\xfd" + bytes(384)), MEND, "bitmap-beyond bitmap-data", RW, CLEAN)
case("bitmap-full-beyond-disk", Image(size=4 * MIB - 512, blocks=(7,)), CLEAN, "", RW)
case("bitmap-clear-beyond-disk", Image(size=4 * MIB - 512, blocks=()).add(7, b"\xff" * 127 + b"\xfe" + bytes(384)), CLEAN, "", RW)
case("bitmap-footer", Image(blocks=()).add(2, bytes(good.foot)), MEND, "bitmap-data", RW, CLEAN)
case("bitmap-diff-beyond", Image(DIFF, size=4 * MIB - 512, blocks=(7,)).hdr(parent_id=b"p" * 16).locator(0), CLEAN, "bitmap-beyond", NO)
case("bitmap-large", Image(block=16 * MIB, size=16 * MIB, blocks=()).add(0, bytes(4096)), MEND, "block-size-ro bitmap-data", RO, CLEAN)

# ---- parent locators ----------------------------------------------------


def diff(**values):
    image = Image(DIFF, **values)
    return image.hdr(parent_id=b"p" * 16)


case("locator-good", diff().locator(0), CLEAN, "", NO)
case("locator-none", diff(), CLEAN, "parent-unnamed", NO)
case("locator-null-parent", Image(DIFF).locator(0), CLEAN, "parent-null-id", NO)
case("locator-sectors", diff().locator(0, space=1), CLEAN, "", NO)
case("locator-length-0", diff().locator(0, length=0), CLEAN, "locator-text", NO)
case("locator-length-odd", diff().locator(0, length=7), CLEAN, "locator-text", NO)
case("locator-over-space", diff().locator(0, length=514), MEND, "locator", NO, CLEAN)
case("locator-over-cap", diff().locator(0, space=1 << 20, length=65538), MEND, "locator", NO, CLEAN)
case("locator-length-max", diff().locator(0, space=UNUSED, length=UNUSED), MEND, "locator", NO, CLEAN)
case("locator-space-max", diff().locator(0, space=UNUSED), CLEAN, "locator-space", NO)
case("locator-space-0", diff().locator(0, space=0), MEND, "locator", NO, CLEAN)
case("locator-at-sign", diff().locator(0, pos=1 << 63), MEND, "locator", NO, CLEAN)
case("locator-at-max", diff().locator(0, pos=NONE), MEND, "locator", NO, CLEAN)
case("locator-at-wrap", diff().locator(0, pos=NONE - 3), MEND, "locator", NO, CLEAN)
case("locator-at-end", diff().locator(0, pos=good.tail_pos() + 512), MEND, "locator", NO, CLEAN)
case("locator-at-tail", diff().locator(0, pos=good.tail_pos()), MEND, "locator", NO, CLEAN)
case("locator-last-byte", diff().locator(0, pos=good.tail_pos() - 7), CORRUPT, "locator block-metadata", NO, CLEAN)
case("locator-in-footer", diff().locator(0, pos=0), MEND, "locator-overlap", NO, CLEAN)
case("locator-in-header", diff().locator(0, pos=1024), MEND, "locator-overlap", NO, CLEAN)
case("locator-in-table", diff().locator(0, pos=0x600), MEND, "locator-overlap", NO, CLEAN)
case("locator-before-table", diff().locator(0, pos=0x600 - 7), MEND, "locator-overlap", NO, CLEAN)
case("locator-in-block", diff().locator(0, pos=0x800), CORRUPT, "locator-overlap block-metadata", NO, CLEAN)
case("locator-twice", diff().locator(0).locator(1, pos=good.tail_pos()), MEND, "locator-overlap", NO, CLEAN)
case("locator-touching", diff().locator(0).locator(1, pos=good.tail_pos() + 8), CLEAN, "locator-space", NO)
case("locator-code", diff().locator(0, code=0x58585858), CLEAN, "locator-code", NO)
case("locator-code-max", diff().locator(0, code=UNUSED), CLEAN, "locator-code", NO)
case("locator-deprecated", diff().locator(0, code=0x57693272), CLEAN, "", NO)
case("locator-macx", diff().locator(0, code=0x4D616358, length=7, data=b"file://"), CLEAN, "", NO)
case("locator-reserved", diff().locator(0, reserved=1), CLEAN, "header-reserved", NO)
case("locator-last-slot", diff().locator(7), CLEAN, "", NO)
case("locator-of-dynamic", Image().locator(0), CLEAN, "header-parent", RW)
case("locator-surrogates", diff().locator(0, data=b"\0\xd8\0\xd8\0\xdc\0\xdc"), CLEAN, "", NO)
case("locator-controls", diff().locator(0, data=b"\x1b\0[\0" + b"2\0J\0"), CLEAN, "", NO)

# ---- blktap's batmap ----------------------------------------------------


def batmap(bits=b"\x94", offset=0xA00, sectors=1, version=0x10002, sum_=None,
           key=0, cookie=b"tdbatmap", blocks=(3, 0, 5)):
    image = Image(blocks=(), gap=1024).footer(creator=b"tap\0")
    for number in blocks:
        image.add(number)
    data = bits.ljust(512, b"\0")
    total = checksum(data + bytes(4), 512) if sum_ is None else sum_
    head = struct.pack(">8sQIIIBB", cookie, offset, sectors, version, total,
                       0, key)
    return image.poke(0x800, head.ljust(512, b"\0") + data)


case("batmap-good", batmap(), CLEAN, "batmap", RW)
case("batmap-sum", batmap(sum_=1), CLEAN, "batmap-bad", RW)
case("batmap-version", batmap(version=0), CLEAN, "batmap-bad", RW)
case("batmap-bits", batmap(bits=b"\xff"), CLEAN, "batmap-bits", RW)
case("batmap-offset-sign", batmap(offset=1 << 63), CLEAN, "batmap-bad", RW)
case("batmap-offset-max", batmap(offset=NONE), CLEAN, "batmap-bad", RW)
case("batmap-size-max", batmap(sectors=UNUSED), CORRUPT, "batmap-bad block-metadata", RO)
case("batmap-size-0", batmap(sectors=0), CLEAN, "batmap-bad", RW)
case("batmap-offset-block", batmap(offset=0xC00), CORRUPT, "block-metadata", RO)
case("batmap-key", batmap(key=1), NOT_DONE, "batmap-encrypted", NO)
case("batmap-not-there", batmap(cookie=b"tdbatmaq"), CLEAN, "", RW)
case("batmap-over-block", Image().footer(creator=b"tap\0").poke(0x800, b"tdbatmap"), NOT_DONE, "batmap-encrypted", NO)

# ---- fixed --------------------------------------------------------------


def fixed(size=MIB):
    return Image(FIXED, size)


case("fixed-good", fixed(), CLEAN, "", RW)
case("fixed-512", fixed(512), CLEAN, "", RW)
case("fixed-truncated-512", fixed().footer(size=MIB + 512), CORRUPT, "fixed-truncated", RO)
case("fixed-truncated-much", fixed().footer(size=1 << 40), CORRUPT, "fixed-truncated", RO)
case("fixed-truncated-huge", fixed().footer(size=1 << 60), CORRUPT, "fixed-truncated", RO)
case("fixed-size-over", fixed().footer(size=(1 << 60) + 512), CORRUPT, "size-too-large", NO)
case("fixed-size-sign", fixed().footer(size=1 << 63), CORRUPT, "size-too-large", NO)
case("fixed-size-0", fixed().footer(size=0), CORRUPT, "size-zero", NO)
case("fixed-longer", fixed().footer(size=MIB - 512), CLEAN, "file-long", RW)
case("fixed-longer-unaligned", fixed().more(100), CLEAN, "file-long file-unaligned", RW)
case("fixed-offset-0", fixed().footer(data_offset=0), MEND, "footer-fixed-offset", RW, CLEAN)
case("fixed-offset-512", fixed().footer(data_offset=512), MEND, "footer-fixed-offset", RW, CLEAN)
case("fixed-offset-low-word", fixed().footer(data_offset=UNUSED), MEND, "footer-fixed-offset", RW, CLEAN)
case("fixed-511", fixed().short(), MEND, "footer-511", RW, CLEAN)
case("fixed-510", fixed().short(510), CORRUPT, "no-footer", NO)
case("fixed-cookie", fixed().tail(cookie=b"xonectix"), CORRUPT, "no-footer", NO)
case("fixed-sum", fixed().tail(sum=7), CORRUPT, "footer-checksum", NO)
case("fixed-sum-0", fixed().tail(sum=0), CORRUPT, "footer-checksum", NO)
case("fixed-saved", fixed().footer(saved=1), CLEAN, "saved-state", RO)
case("fixed-features-0", fixed().footer(features=0), MEND, "footer-features-zero", RW, CLEAN)
case("fixed-footer-inside", fixed().poke(0, bytes(make_footer(4 * MIB, DYNAMIC))), CLEAN, "", RW)
case("fixed-poison-inside", fixed().poke(0, b"v_poison"), CLEAN, "", RW)
case("fixed-cut-inner", fixed().poke(0, bytes(make_footer(4 * MIB, DYNAMIC))).cut(-1000), CORRUPT, "header-cookie", NO)

# ---- cut off ------------------------------------------------------------

# Of an image with one block at 0x800, its data at 0xA00, the footer behind.
small = Image(size=MIB, blocks=(1,))
END = small.tail_pos()


def cut(length, *rest):
    case("cut-at-%d" % length, Image(size=MIB, blocks=(1,)).cut(length), *rest)


cut(0, CORRUPT, "file-too-small", NO)
cut(1, CORRUPT, "file-too-small", NO)
cut(510, CORRUPT, "file-too-small", NO)
cut(511, CORRUPT, "footer-data-offset", NO)
cut(512, CORRUPT, "footer-data-offset", NO)
cut(513, CORRUPT, "footer-data-offset", NO)
cut(1023, CORRUPT, "footer-data-offset", NO)
cut(1024, CORRUPT, "footer-data-offset", NO)
cut(1535, CORRUPT, "footer-data-offset", NO)
cut(1536, CORRUPT, "table-offset", NO)
cut(1537, CORRUPT, "table-offset", NO)
cut(2047, CORRUPT, "table-offset", NO)
cut(2048, CORRUPT, "tail-bad block-end", RO)
cut(2049, CORRUPT, "tail-bad block-end", RO, CLEAN)
cut(2559, CORRUPT, "tail-bad block-end", RO, CLEAN)
cut(2560, CORRUPT, "tail-bad block-end", RO, CLEAN)
cut(2561, CORRUPT, "tail-bad block-end", RO, CLEAN)
cut(100000, CORRUPT, "tail-bad block-end", RO, CLEAN)
cut(END - 1, CORRUPT, "tail-bad block-end", RO, CLEAN)
cut(END, MEND, "tail-bad", RO, CLEAN)
cut(END + 1, MEND, "tail-bad", RO, CLEAN)
cut(END + 64, MEND, "tail-bad", RO, CLEAN)
cut(END + 510, MEND, "tail-bad", RO, CLEAN)
cut(END + 511, MEND, "footer-511", RW, CLEAN)
cut(END + 512, CLEAN, "", RW)
cut(END + 513, MEND, "tail-bad", RO, CLEAN)
cut(END + 1024, MEND, "tail-bad", RO, CLEAN)
