// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "rig.h"

/*
 * The rows of FORMAT.md §2, §3, §8, §9, §12 and §13.  Each begins with a good
 * image of four blocks, 0 and 2 of which are allocated, and changes one thing.
 */

/* What becomes of an image that is asked for read-only, and read-write. */
enum outcome {
	WRITABLE,	/* both work */
	READ_ONLY,	/* 0 and -EROFS */
	REFUSED,	/* -EUCLEAN twice */
	NOT_VHD,	/* -EMEDIUMTYPE twice */
};

/**
 * struct row - one case
 * @before: changes what is built; checksums are made right afterwards
 * @after: changes the file
 * @finding: what must be reported; -1: nothing that speaks against writing
 * @outcome: without VHD_OPEN_FORCE
 * @forced: with it
 */
struct row {
	const char *name;
	enum vhd_disk_type type;
	void (*before)(struct build *b);
	void (*after)(struct build *b, struct mem *m);
	int finding;
	enum outcome outcome;
	enum outcome forced;
};

static void expect_outcome(struct rig *r, const struct row *row,
			   unsigned int flags, enum outcome outcome)
{
	static const int results[][2] = {
		[WRITABLE] = { 0, 0 },
		[READ_ONLY] = { 0, -EROFS },
		[REFUSED] = { -EUCLEAN, -EUCLEAN },
		[NOT_VHD] = { -EMEDIUMTYPE, -EMEDIUMTYPE },
	};
	bool write = flags & VHD_OPEN_WRITE;

	assert_int_equal(rig_open(r, flags), results[outcome][write]);
	assert_int_equal(r->img.writable, write && outcome == WRITABLE);
	if (row->finding < 0)
		assert_true(rig_harmless(r));
	else
		assert_non_null(rig_found(r, row->finding));
	/* Opening reads only. */
	assert_int_equal(r->mem.nr_ops, 0);
	rig_close(r);
}

static void row_holds(void **state)
{
	const struct row *row = *state;
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, row->type, 4ULL * BS, BS);
	if (row->type != VHD_TYPE_FIXED) {
		build_block(&b, 2);
		build_block(&b, 0);
	}
	if (row->before)
		row->before(&b);
	build_write(&b, &r.mem);
	if (row->after)
		row->after(&b, &r.mem);
	mem_settle(&r.mem);
	expect_outcome(&r, row, 0, row->outcome);
	expect_outcome(&r, row, VHD_OPEN_WRITE, row->outcome);
	expect_outcome(&r, row, VHD_OPEN_FORCE, row->forced);
	expect_outcome(&r, row, VHD_OPEN_FORCE | VHD_OPEN_WRITE, row->forced);
	build_free(&b);
	rig_free(&r);
}

/* One function a change: NAME(field, value) of footer or header. */
#define FOOTER(_name, _field, _value) \
static void _name(struct build *b) { b->footer._field = (_value); }
#define HEADER(_name, _field, _value) \
static void _name(struct build *b) { b->header._field = (_value); }
#define BLOCK(_name, _block, _value) \
static void _name(struct build *b) { b->bat[_block] = (_value); }

FOOTER(features_zero, features, 0)
FOOTER(features_temporary, features, cpu_to_be32(3))
FOOTER(features_unknown, features, cpu_to_be32(6))
FOOTER(features_ones, features, cpu_to_be32(0xFFFFFFFF))
FOOTER(version_0, version, 0)
FOOTER(version_2, version, cpu_to_be32(0x00020000))
FOOTER(version_minor, version, cpu_to_be32(0x00010001))
FOOTER(version_ones, version, cpu_to_be32(0xFFFFFFFF))
FOOTER(offset_0, data_offset, 0)
FOOTER(offset_511, data_offset, cpu_to_be64(511))
FOOTER(offset_odd, data_offset, cpu_to_be64(513))
FOOTER(offset_ones, data_offset, cpu_to_be64(VHD_NO_OFFSET))
FOOTER(offset_sign, data_offset, cpu_to_be64(1ULL << 63))
FOOTER(offset_wrap, data_offset, cpu_to_be64(0xFFFFFFFFFFFFFE00))
FOOTER(size_0, current_size, 0)
FOOTER(size_1, current_size, cpu_to_be64(1))
FOOTER(size_513, current_size, cpu_to_be64(513))
FOOTER(size_over, current_size, cpu_to_be64(2040 * GIB + 512))
FOOTER(size_sign, current_size, cpu_to_be64(1ULL << 63))
FOOTER(size_wrap, current_size, cpu_to_be64(0xFFFFFFFFFFFFFE00))
FOOTER(type_0, disk_type, 0)
FOOTER(type_1, disk_type, cpu_to_be32(1))
FOOTER(type_5, disk_type, cpu_to_be32(5))
FOOTER(type_6, disk_type, cpu_to_be32(6))
FOOTER(type_sign, disk_type, cpu_to_be32(0x80000003))
FOOTER(saved, saved_state, 1)
FOOTER(hidden, hidden, 1)
FOOTER(geometry_max, cylinders, 0xFFFF)
FOOTER(reserved_used, reserved[425], 0x55)
FOOTER(old_time, timestamp, 0)
FOOTER(original_0, original_size, 0)
FOOTER(os_mac, creator_os, cpu_to_be32(VHD_OS_MAC))
FOOTER(creator_tap, creator_app, cpu_to_be32(VHD_CREATOR_TAP))

HEADER(header_cookie, cookie[0], 'C')
HEADER(header_next_0, data_offset, 0)
HEADER(header_next_1, data_offset, cpu_to_be64(512))
HEADER(table_0, table_offset, 0)
HEADER(table_1, table_offset, cpu_to_be64(1))
HEADER(table_odd, table_offset, cpu_to_be64(0x601))
HEADER(table_sign, table_offset, cpu_to_be64(1ULL << 63))
HEADER(table_wrap, table_offset, cpu_to_be64(0xFFFFFFFFFFFFFE00))
HEADER(table_on_header, table_offset, cpu_to_be64(0x200))
HEADER(table_on_header_end, table_offset, cpu_to_be64(0x400))
HEADER(header_version_0, header_version, 0)
HEADER(header_version_2, header_version, cpu_to_be32(0x00020000))
HEADER(header_version_minor, header_version, cpu_to_be32(0x00010001))
HEADER(entries_0, max_table_entries, 0)
HEADER(entries_3, max_table_entries, cpu_to_be32(3))
HEADER(entries_5, max_table_entries, cpu_to_be32(5))
HEADER(entries_max, max_table_entries, cpu_to_be32(0xFFFFFFFF))
HEADER(entries_sign, max_table_entries, cpu_to_be32(0x80000000))
HEADER(block_0, block_size, 0)
HEADER(block_1, block_size, cpu_to_be32(1))
HEADER(block_512, block_size, cpu_to_be32(512))
HEADER(block_2048, block_size, cpu_to_be32(2048))
HEADER(block_odd, block_size, cpu_to_be32(3 << 20))
HEADER(block_512m, block_size, cpu_to_be32(512 << 20))
HEADER(block_sign, block_size, cpu_to_be32(0x80000000))
HEADER(block_max, block_size, cpu_to_be32(0xFFFFFFFF))
HEADER(parent_time, parent_timestamp, cpu_to_be32(0xFFFFFFFF))
HEADER(header_reserved, reserved2[255], 1)

BLOCK(entry_0, 2, 0)
BLOCK(entry_1, 2, 1)
BLOCK(entry_2, 2, 2)
BLOCK(entry_table, 2, 3)
BLOCK(entry_max, 2, 0xFFFFFFFE)
BLOCK(entry_sign, 2, 0x80000000)
BLOCK(entry_7fff, 2, 0x7FFFFFFF)
BLOCK(entry_unused, 2, 0xFFFFFFFF)

static void null_id(struct build *b)
{
	memset(b->footer.unique_id, 0, 16);
}

/* A fixed image whose size says more than the file holds. */
static void fixed_short(struct build *b)
{
	b->tail -= 512;
}

static void fixed_long(struct build *b)
{
	b->tail += 512;
}

static void fixed_offset(struct build *b)
{
	b->footer.data_offset = cpu_to_be64(512);
}

static void fixed_huge(struct build *b)
{
	b->footer.current_size = cpu_to_be64((1ULL << 60) + 512);
}

static void short_tail(struct build *b)
{
	b->tail_bytes = 511;
}

static void no_tail(struct build *b)
{
	b->tail_bytes = 0;
}

static void no_head(struct build *b)
{
	b->no_head = true;
}

static void neither(struct build *b)
{
	b->no_head = true;
	b->tail_bytes = 0;
}

/* As XenServer leaves it: tapdisk had the image open. */
static void tail_c7(struct build *b, struct mem *m)
{
	u8 junk[512];

	memset(junk, 0xC7, sizeof(junk));
	mem_write(m, b->tail, junk, sizeof(junk));
}

static void tail_checksum_0(struct build *b, struct mem *m)
{
	struct vhd_footer f = b->footer;

	f.checksum = 0;
	mem_write(m, b->tail, &f, sizeof(f));
}

static void tail_checksum_1(struct build *b, struct mem *m)
{
	struct vhd_footer f = b->footer;

	f.checksum ^= cpu_to_be32(1);
	mem_write(m, b->tail, &f, sizeof(f));
}

static void both_checksums(struct build *b, struct mem *m)
{
	struct vhd_footer f = b->footer;

	f.checksum ^= cpu_to_be32(1);
	mem_write(m, b->tail, &f, sizeof(f));
	mem_write(m, 0, &f, sizeof(f));
}

static void head_checksum(struct build *b, struct mem *m)
{
	mem_write(m, 500, "x", 1);
}

static void head_differs(struct build *b, struct mem *m)
{
	struct vhd_footer f = b->footer;

	f.timestamp ^= cpu_to_be32(1);
	vhd_seal_footer(&f);
	mem_write(m, 0, &f, sizeof(f));
}

static void head_fixed_tail_bad(struct build *b, struct mem *m)
{
	struct vhd_footer f = b->footer;

	f.disk_type = cpu_to_be32(VHD_TYPE_FIXED);
	vhd_seal_footer(&f);
	mem_write(m, 0, &f, sizeof(f));
	tail_c7(b, m);
}

static void poison_tail(struct build *b, struct mem *m)
{
	mem_write(m, b->tail, VHD_POISON_COOKIE, 8);
}

static void poison_head(struct build *b, struct mem *m)
{
	mem_write(m, 0, VHD_POISON_COOKIE, 8);
}

static void header_checksum(struct build *b, struct mem *m)
{
	mem_write(m, 512 + 1023, "x", 1);
}

static void cut_to_510(struct build *b, struct mem *m)
{
	mem_truncate(m, 510);
}

static void cut_to_0(struct build *b, struct mem *m)
{
	mem_truncate(m, 0);
}

static void cut_to_head(struct build *b, struct mem *m)
{
	mem_truncate(m, 512);
}

/* Cut in the middle of the second block: the tail is gone, too. */
static void cut_block(struct build *b, struct mem *m)
{
	mem_truncate(m, build_data_pos(b, 0) + BS / 2);
}

static void header_at_end(struct build *b)
{
	b->tail = vhd_tail_pos(b->end);
	b->footer.data_offset = cpu_to_be64(b->tail - 512);
}

static void table_at_end(struct build *b)
{
	b->tail = vhd_tail_pos(b->end);
	b->header.table_offset = cpu_to_be64(b->tail);
}

static void table_last_sector(struct build *b)
{
	b->tail = vhd_tail_pos(b->end);
	b->header.table_offset = cpu_to_be64(b->tail - 512);
}

static void block_4k(struct build *b)
{
	b->header.block_size = cpu_to_be32(4096);
	b->footer.current_size = cpu_to_be64(16384);
}

static void block_256m(struct build *b)
{
	b->header.block_size = cpu_to_be32(256 << 20);
	b->footer.current_size = cpu_to_be64(4ULL << 28);
	memset(b->bat, 0xFF, b->nr_bat * 4);
}

static void block_512k(struct build *b)
{
	b->header.block_size = cpu_to_be32(512 << 10);
	b->footer.current_size = cpu_to_be64(2 << 20);
}

/* 2040 GiB of 256 KiB blocks: a table that memory is not spent on. */
static void table_too_large(struct build *b)
{
	b->header.block_size = cpu_to_be32(256 << 10);
	b->header.max_table_entries = cpu_to_be32(2040U << 12);
	b->footer.current_size = cpu_to_be64(2040 * GIB);
}

/* The table would reach into the footer. */
static void table_past_end(struct build *b)
{
	memset(b->bat, 0xFF, b->nr_bat * sizeof(*b->bat));
	b->end = 0x1000;
	b->header.max_table_entries = cpu_to_be32(1044480);
	b->footer.current_size = cpu_to_be64(2040 * GIB);
}

static void same_block(struct build *b)
{
	b->bat[1] = b->bat[2];
}

static void overlap_by_one(struct build *b)
{
	b->bat[1] = b->bat[2] + BS / 512;
}

static void touching(struct build *b)
{
	build_block_at(b, 1, (b->end >> 9));
	build_block_at(b, 3, (b->end >> 9));
}

static void block_in_footer(struct build *b)
{
	b->tail = b->end - 512;
}

static void block_to_footer(struct build *b)
{
	b->tail = b->end;
}

/* An entry beyond the disk's blocks: slack, whatever it says. */
static void surplus_entry(struct build *b)
{
	b->header.max_table_entries = cpu_to_be32(6);
	b->bat = realloc(b->bat, 6 * sizeof(u32));
	b->nr_bat = 6;
	b->bat[4] = b->bat[2];
	b->bat[5] = 1;
}

static void locator_fits(struct build *b)
{
	build_locator(b, 0, VHD_LOC_W2RU, 0x800, 1, 512);
}

static void locator_over_space(struct build *b)
{
	build_locator(b, 0, VHD_LOC_W2RU, 0x800, 1, 513);
}

static void locator_cap(struct build *b)
{
	build_locator(b, 7, VHD_LOC_MACX, 0x800, 1 << 20, 65537);
}

static void locator_outside(struct build *b)
{
	build_locator(b, 3, VHD_LOC_W2KU, 1ULL << 40, 512, 512);
}

static void locator_wraps(struct build *b)
{
	build_locator(b, 3, VHD_LOC_W2KU, 0xFFFFFFFFFFFFFF00, 512, 512);
}

static void locator_unused(struct build *b)
{
	build_locator(b, 3, VHD_LOC_NONE, 0xFFFFFFFFFFFFFF00, 512, 70000);
}

static void locator_in_table(struct build *b)
{
	build_locator(b, 0, VHD_LOC_W2KU, 0x600, 512, 100);
}

static void locator_in_block(struct build *b)
{
	build_locator(b, 0, VHD_LOC_W2KU, build_data_pos(b, 2) + 4096, 512,
		      100);
}

/* Nothing is there, so nothing can be in a block. */
static void locator_empty_in_block(struct build *b)
{
	build_locator(b, 0, VHD_LOC_W2KU, build_data_pos(b, 2) + 4096, 0, 0);
}

static void slack(struct build *b)
{
	b->tail = vhd_tail_pos(b->end + 8 * MIB);
}

static void batmap(struct build *b, struct mem *m, u8 key, u64 offset,
		   u32 sectors)
{
	struct vhd_batmap_header h = {
		.cookie = "tdbatmap",
		.offset = cpu_to_be64(offset),
		.sectors = cpu_to_be32(sectors),
		.key_cookie = key,
	};

	mem_write(m, 0x800, &h, sizeof(h));
}

static void batmap_plain(struct build *b, struct mem *m)
{
	batmap(b, m, 0, 0xA00, 1);
}

static void batmap_key(struct build *b, struct mem *m)
{
	batmap(b, m, 1, 0xA00, 1);
}

static void batmap_far(struct build *b, struct mem *m)
{
	batmap(b, m, 0, 0xFFFFFFFFFFFFFE00, 0xFFFFFFFF);
}

static void batmap_in_block(struct build *b, struct mem *m)
{
	batmap(b, m, 0, build_data_pos(b, 2), 1);
}

#define FIND(x) VHD_FIND_##x
#define D VHD_TYPE_DYNAMIC
#define X VHD_TYPE_DIFFERENCING
#define F VHD_TYPE_FIXED

/* name, type, before, after, finding, outcome, outcome when forced */
static const struct row rows[] = {
{ "good dynamic", D, NULL, NULL, -1, WRITABLE, WRITABLE },
{ "good fixed", F, NULL, NULL, -1, WRITABLE, WRITABLE },
{ "good locators", X, NULL, NULL, -1, WRITABLE, WRITABLE },

/* Which footer. */
{ "tail missing", D, no_tail, NULL, FIND(TAIL_BAD), READ_ONLY, READ_ONLY },
{ "tail overwritten by tapdisk", D, NULL, tail_c7, FIND(TAIL_BAD), READ_ONLY, READ_ONLY },
{ "tail checksum wrong", D, NULL, tail_checksum_1, FIND(TAIL_BAD), READ_ONLY, READ_ONLY },
{ "tail checksum zero", D, NULL, tail_checksum_0, FIND(TAIL_CHECKSUM_ZERO), READ_ONLY, READ_ONLY },
{ "head missing", D, no_head, NULL, FIND(HEAD_BAD), READ_ONLY, READ_ONLY },
{ "head checksum wrong", D, NULL, head_checksum, FIND(HEAD_BAD), READ_ONLY, READ_ONLY },
{ "both good but different", D, NULL, head_differs, FIND(HEAD_DIFFERS), READ_ONLY, READ_ONLY },
{ "neither", D, neither, NULL, FIND(NO_FOOTER), NOT_VHD, NOT_VHD },
{ "both checksums wrong", D, NULL, both_checksums, FIND(FOOTER_CHECKSUM), REFUSED, REFUSED },
{ "fixed tail missing", F, no_tail, NULL, FIND(NO_FOOTER), NOT_VHD, NOT_VHD },
{ "fixed tail checksum wrong", F, NULL, tail_checksum_1, FIND(FOOTER_CHECKSUM), REFUSED, REFUSED },
{ "head says fixed, tail bad", D, NULL, head_fixed_tail_bad, FIND(NO_FOOTER), NOT_VHD, NOT_VHD },
{ "poisoned tail", D, NULL, poison_tail, FIND(FOOTER_POISON), REFUSED, REFUSED },
{ "poisoned head", D, NULL, poison_head, FIND(FOOTER_POISON), REFUSED, REFUSED },
{ "file of 510 bytes", D, NULL, cut_to_510, FIND(FILE_TOO_SMALL), NOT_VHD, NOT_VHD },
{ "empty file", D, NULL, cut_to_0, FIND(FILE_TOO_SMALL), NOT_VHD, NOT_VHD },
{ "only the head left", D, NULL, cut_to_head, FIND(FOOTER_DATA_OFFSET), REFUSED, REFUSED },
{ "cut inside a block", D, NULL, cut_block, FIND(BLOCK_END), READ_ONLY, READ_ONLY },
{ "511-byte footer, dynamic", D, short_tail, NULL, FIND(FOOTER_511), WRITABLE, WRITABLE },
{ "511-byte footer, fixed", F, short_tail, NULL, FIND(FOOTER_511), WRITABLE, WRITABLE },

/* Fields of the footer. */
{ "features 0", D, features_zero, NULL, FIND(FOOTER_FEATURES_ZERO), WRITABLE, WRITABLE },
{ "features temporary", D, features_temporary, NULL, -1, WRITABLE, WRITABLE },
{ "features unknown", D, features_unknown, NULL, FIND(FOOTER_FEATURES), READ_ONLY, READ_ONLY },
{ "features all ones", F, features_ones, NULL, FIND(FOOTER_FEATURES), READ_ONLY, READ_ONLY },
{ "version 0", D, version_0, NULL, FIND(FOOTER_VERSION), REFUSED, REFUSED },
{ "version 2", F, version_2, NULL, FIND(FOOTER_VERSION), REFUSED, REFUSED },
{ "version 1.1", D, version_minor, NULL, -1, WRITABLE, WRITABLE },
{ "version all ones", D, version_ones, NULL, FIND(FOOTER_VERSION), REFUSED, REFUSED },
{ "data_offset 0", D, offset_0, NULL, FIND(FOOTER_DATA_OFFSET), REFUSED, REFUSED },
{ "data_offset 511", D, offset_511, NULL, FIND(FOOTER_DATA_OFFSET), REFUSED, REFUSED },
{ "data_offset unaligned", D, offset_odd, NULL, FIND(FOOTER_DATA_OFFSET), REFUSED, REFUSED },
{ "data_offset all ones", D, offset_ones, NULL, FIND(FOOTER_DATA_OFFSET), REFUSED, REFUSED },
{ "data_offset sign bit", D, offset_sign, NULL, FIND(FOOTER_DATA_OFFSET), REFUSED, REFUSED },
{ "data_offset wraps", D, offset_wrap, NULL, FIND(FOOTER_DATA_OFFSET), REFUSED, REFUSED },
{ "data_offset into the footer", D, header_at_end, NULL, FIND(FOOTER_DATA_OFFSET), REFUSED, REFUSED },
{ "data_offset of a fixed image", F, fixed_offset, NULL, FIND(FOOTER_FIXED_OFFSET), WRITABLE, WRITABLE },
{ "size 0", D, size_0, NULL, FIND(SIZE_ZERO), REFUSED, REFUSED },
{ "size 0, fixed", F, size_0, NULL, FIND(SIZE_ZERO), REFUSED, REFUSED },
{ "size 1", D, size_1, NULL, FIND(SIZE_UNALIGNED), REFUSED, REFUSED },
{ "size 513", F, size_513, NULL, FIND(SIZE_UNALIGNED), REFUSED, REFUSED },
{ "size over 2040 GiB", D, size_over, NULL, FIND(SIZE_TOO_LARGE), REFUSED, REFUSED },
{ "size sign bit", D, size_sign, NULL, FIND(SIZE_TOO_LARGE), REFUSED, REFUSED },
{ "size sign bit, fixed", F, size_sign, NULL, FIND(SIZE_TOO_LARGE), REFUSED, REFUSED },
{ "size wraps", D, size_wrap, NULL, FIND(SIZE_TOO_LARGE), REFUSED, REFUSED },
{ "size over 2^60, fixed", F, fixed_huge, NULL, FIND(SIZE_TOO_LARGE), REFUSED, REFUSED },
{ "fixed size over 2040 GiB", F, size_over, NULL, FIND(FIXED_TRUNCATED), READ_ONLY, READ_ONLY },
{ "fixed file too short", F, fixed_short, NULL, FIND(FIXED_TRUNCATED), READ_ONLY, READ_ONLY },
{ "fixed file longer", F, fixed_long, NULL, -1, WRITABLE, WRITABLE },
{ "type 0", D, type_0, NULL, FIND(FOOTER_TYPE), REFUSED, REFUSED },
{ "type 1", D, type_1, NULL, FIND(FOOTER_TYPE), REFUSED, REFUSED },
{ "type 5", D, type_5, NULL, FIND(FOOTER_TYPE), REFUSED, REFUSED },
{ "type 6", F, type_6, NULL, FIND(FOOTER_TYPE), REFUSED, REFUSED },
{ "type sign bit", D, type_sign, NULL, FIND(FOOTER_TYPE), REFUSED, REFUSED },
{ "saved state", D, saved, NULL, FIND(SAVED_STATE), READ_ONLY, WRITABLE },
{ "saved state, fixed", F, saved, NULL, FIND(SAVED_STATE), READ_ONLY, WRITABLE },
{ "hidden", D, hidden, NULL, -1, WRITABLE, WRITABLE },
{ "null id", D, null_id, NULL, FIND(NULL_ID), WRITABLE, WRITABLE },
{ "geometry of another size", D, geometry_max, NULL, FIND(GEOMETRY), WRITABLE, WRITABLE },
{ "reserved bytes used", D, reserved_used, NULL, -1, WRITABLE, WRITABLE },
{ "timestamp 0", D, old_time, NULL, -1, WRITABLE, WRITABLE },
{ "original size 0", D, original_0, NULL, -1, WRITABLE, WRITABLE },
{ "creator OS Mac", D, os_mac, NULL, -1, WRITABLE, WRITABLE },

/* Fields of the dynamic header. */
{ "header cookie", D, header_cookie, NULL, FIND(HEADER_COOKIE), REFUSED, REFUSED },
{ "header checksum", D, NULL, header_checksum, FIND(HEADER_CHECKSUM), REFUSED, READ_ONLY },
{ "header version 0", D, header_version_0, NULL, FIND(HEADER_VERSION), REFUSED, REFUSED },
{ "header version 2", D, header_version_2, NULL, FIND(HEADER_VERSION), REFUSED, REFUSED },
{ "header version 1.1", D, header_version_minor, NULL, -1, WRITABLE, WRITABLE },
{ "header data_offset 0", D, header_next_0, NULL, FIND(HEADER_DATA_OFFSET), REFUSED, REFUSED },
{ "header data_offset itself", D, header_next_1, NULL, FIND(HEADER_DATA_OFFSET), REFUSED, REFUSED },
{ "table at 0", D, table_0, NULL, FIND(TABLE_OFFSET), REFUSED, REFUSED },
{ "table at 1", D, table_1, NULL, FIND(TABLE_OFFSET), REFUSED, REFUSED },
{ "table unaligned", D, table_odd, NULL, FIND(TABLE_OFFSET), REFUSED, REFUSED },
{ "table sign bit", D, table_sign, NULL, FIND(TABLE_OFFSET), REFUSED, REFUSED },
{ "table wraps", D, table_wrap, NULL, FIND(TABLE_OFFSET), REFUSED, REFUSED },
{ "table at the footer", D, table_at_end, NULL, FIND(TABLE_OFFSET), REFUSED, REFUSED },
{ "table in the last sector", D, table_last_sector, NULL, -1, WRITABLE, WRITABLE },
{ "table on the header", D, table_on_header, NULL, FIND(TABLE_METADATA), REFUSED, REFUSED },
{ "table on the header's end", D, table_on_header_end, NULL, FIND(TABLE_METADATA), REFUSED, REFUSED },
{ "table reaches past the end", D, table_past_end, NULL, FIND(TABLE_OFFSET), REFUSED, REFUSED },
{ "table too large for memory", D, table_too_large, NULL, FIND(TABLE_LARGE), REFUSED, REFUSED },
{ "no entries", D, entries_0, NULL, FIND(TABLE_SMALL), REFUSED, REFUSED },
{ "one entry too few", D, entries_3, NULL, FIND(TABLE_SMALL), REFUSED, REFUSED },
{ "one entry more", D, entries_5, NULL, FIND(TABLE_SLACK), WRITABLE, WRITABLE },
{ "2^32-1 entries", D, entries_max, NULL, FIND(TABLE_SLACK), WRITABLE, WRITABLE },
{ "2^31 entries", D, entries_sign, NULL, FIND(TABLE_SLACK), WRITABLE, WRITABLE },
{ "surplus entries that are hostile", D, surplus_entry, NULL, FIND(TABLE_SLACK), WRITABLE, WRITABLE },
{ "block size 0", D, block_0, NULL, FIND(BLOCK_SIZE), REFUSED, REFUSED },
{ "block size 1", D, block_1, NULL, FIND(BLOCK_SIZE), REFUSED, REFUSED },
{ "block size 512", D, block_512, NULL, FIND(BLOCK_SIZE), REFUSED, REFUSED },
{ "block size 2048", D, block_2048, NULL, FIND(BLOCK_SIZE), REFUSED, REFUSED },
{ "block size 3 MiB", D, block_odd, NULL, FIND(BLOCK_SIZE), REFUSED, REFUSED },
{ "block size 512 MiB", D, block_512m, NULL, FIND(BLOCK_SIZE), REFUSED, REFUSED },
{ "block size sign bit", D, block_sign, NULL, FIND(BLOCK_SIZE), REFUSED, REFUSED },
{ "block size 2^32-1", D, block_max, NULL, FIND(BLOCK_SIZE), REFUSED, REFUSED },
{ "block size 4 KiB", D, block_4k, NULL, FIND(BLOCK_SIZE_RO), READ_ONLY, READ_ONLY },
{ "block size 512 KiB", D, block_512k, NULL, -1, WRITABLE, WRITABLE },
{ "block size 256 MiB", D, block_256m, NULL, FIND(BLOCK_SIZE_RO), READ_ONLY, READ_ONLY },
{ "parent timestamp", X, parent_time, NULL, -1, WRITABLE, WRITABLE },
{ "header reserved bytes used", D, header_reserved, NULL, -1, WRITABLE, WRITABLE },

/* Blocks. */
{ "block at 0", D, entry_0, NULL, FIND(BLOCK_METADATA), READ_ONLY, READ_ONLY },
{ "block on the header", D, entry_1, NULL, FIND(BLOCK_METADATA), READ_ONLY, READ_ONLY },
{ "block on the header's end", D, entry_2, NULL, FIND(BLOCK_METADATA), READ_ONLY, READ_ONLY },
{ "block on the table", D, entry_table, NULL, FIND(BLOCK_METADATA), READ_ONLY, READ_ONLY },
{ "block 0xFFFFFFFE", D, entry_max, NULL, FIND(BLOCK_END), READ_ONLY, READ_ONLY },
{ "block 0x80000000", D, entry_sign, NULL, FIND(BLOCK_END), READ_ONLY, READ_ONLY },
{ "block 0x7FFFFFFF", D, entry_7fff, NULL, FIND(BLOCK_END), READ_ONLY, READ_ONLY },
{ "block not allocated", D, entry_unused, NULL, -1, WRITABLE, WRITABLE },
{ "block into the footer", D, block_in_footer, NULL, FIND(BLOCK_END), READ_ONLY, READ_ONLY },
{ "block up to the footer", D, block_to_footer, NULL, -1, WRITABLE, WRITABLE },
{ "one block twice", D, same_block, NULL, FIND(BLOCK_OVERLAP), READ_ONLY, READ_ONLY },
{ "blocks overlap by one sector", D, overlap_by_one, NULL, FIND(BLOCK_OVERLAP), READ_ONLY, READ_ONLY },
{ "blocks touch, unaligned", D, touching, NULL, -1, WRITABLE, WRITABLE },
{ "slack before the footer", D, slack, NULL, FIND(SLACK), WRITABLE, WRITABLE },

/* Locators and batmap. */
{ "locator fits, space in sectors", D, locator_fits, NULL, -1, WRITABLE, WRITABLE },
{ "locator longer than its space", D, locator_over_space, NULL, FIND(LOCATOR), READ_ONLY, READ_ONLY },
{ "locator over 64 KiB", D, locator_cap, NULL, FIND(LOCATOR), READ_ONLY, READ_ONLY },
{ "locator outside the file", D, locator_outside, NULL, FIND(LOCATOR), READ_ONLY, READ_ONLY },
{ "locator in the table", D, locator_in_table, NULL, FIND(LOCATOR), READ_ONLY, READ_ONLY },
{ "locator wraps", D, locator_wraps, NULL, FIND(LOCATOR), READ_ONLY, READ_ONLY },
{ "unused locator of any content", D, locator_unused, NULL, -1, WRITABLE, WRITABLE },
{ "block on a locator", D, locator_in_block, NULL, FIND(BLOCK_METADATA), READ_ONLY, READ_ONLY },
{ "empty locator inside a block", D, locator_empty_in_block, NULL, -1, WRITABLE, WRITABLE },
{ "batmap", D, creator_tap, batmap_plain, FIND(BATMAP), WRITABLE, WRITABLE },
{ "no batmap though tap", D, creator_tap, NULL, -1, WRITABLE, WRITABLE },
{ "batmap without tap is data", D, NULL, batmap_key, -1, WRITABLE, WRITABLE },
{ "batmap encrypted", D, creator_tap, batmap_key, FIND(BATMAP_ENCRYPTED), REFUSED, REFUSED },
{ "batmap far away", D, creator_tap, batmap_far, FIND(BATMAP), WRITABLE, WRITABLE },
{ "block on the batmap", D, creator_tap, batmap_in_block, FIND(BLOCK_METADATA), READ_ONLY, READ_ONLY },
};

/* ---- what a finding says ---------------------------------------------- */

static void findings_carry_place_and_values(void **state)
{
	const struct vhd_finding *f;
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	build_block(&b, 2);
	b.bat[1] = b.bat[2];
	b.footer.saved_state = 1;
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, 0), 0);
	f = rig_found(&r, VHD_FIND_SAVED_STATE);
	assert_non_null(f);
	assert_int_equal(f->offset, b.tail + 84);
	assert_int_equal(f->found, 1);
	assert_int_equal(f->expected, 0);
	assert_int_equal(f->block, VHD_NO_BLOCK);
	/* Both blocks are named, each with its entry's place. */
	assert_int_equal(rig_count_found(&r, VHD_FIND_BLOCK_OVERLAP), 2);
	f = rig_found(&r, VHD_FIND_BLOCK_OVERLAP);
	assert_int_equal(f->block, 2);
	assert_int_equal(f->offset, 0x600 + 8);
	assert_int_equal(f->found, b.bat[2]);
	assert_int_equal(f->expected, b.bat[1]);
	build_free(&b);
	rig_free(&r);
}

static void opens_without_a_reporter(void **state)
{
	struct rig r;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	mem_write(&r.mem, 0, "", 1);
	vhd_open_init(&r.open, &r.img, r.mem.now.size, 0, NULL);
	assert_int_equal(mem_run(&r.mem, &r.open.plan), 0);
	vhd_open_end(&r.open);
	rig_free(&r);
}

/* ---- what opens ------------------------------------------------------- */

static void dynamic_image_has_its_constants(void **state)
{
	struct build b;
	struct rig r;
	u32 first;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 512 * MIB, BS);
	first = build_block(&b, 5);
	/* FORMAT.md §11 */
	assert_int_equal(first, 0x1E00 / 512);
	assert_int_equal(build_block(&b, 3), first + 4104);
	build_write(&b, &r.mem);
	assert_int_equal((b.tail + 512) % 4096, 0);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(r.nr_found, 0);
	assert_int_equal(r.img.type, VHD_TYPE_DYNAMIC);
	assert_int_equal(r.img.size, 512 * MIB);
	assert_int_equal(r.img.block_shift, 21);
	assert_int_equal(r.img.nr_blocks, 256);
	assert_int_equal(r.img.bitmap_sectors, 1);
	assert_int_equal(r.img.table_offset, 0x600);
	assert_int_equal(r.img.nr_allocated, 2);
	assert_int_equal(r.img.bat[5], first);
	assert_int_equal(r.img.bat[4], VHD_BAT_UNUSED);
	assert_int_equal(r.img.space.tail, b.tail);
	assert_int_equal(r.img.space.data_end, b.end);
	assert_false(r.img.space.stale);
	build_free(&b);
	rig_free(&r);
}

/* Readers that look at the head first open what the guest wrote there. */
static void fixed_image_beginning_with_a_vhd_is_fixed(void **state)
{
	struct rig r;
	u8 *buf = malloc(4 * MIB);
	u64 size;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	size = r.mem.now.size;
	mem_read(&r.mem, 0, buf, size);
	rig_make(&r, VHD_TYPE_FIXED, 4 * MIB, 0);
	mem_write(&r.mem, 0, buf, size);
	mem_settle(&r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(r.nr_found, 0);
	assert_int_equal(r.img.type, VHD_TYPE_FIXED);
	assert_int_equal(r.img.size, 4 * MIB);
	/* One read of the end; offset 0 was not looked at. */
	assert_int_equal(r.mem.nr_reads, 1);
	free(buf);
	rig_free(&r);
}

static void size_is_current_size_whatever_the_creator(void **state)
{
	const u32 creators[] = { 0x76706320, 0x71656D75, 0x71656D32, 0x64327600,
				 VHD_CREATOR_TAP, VHD_CREATOR_WIN };
	struct build b;
	struct rig r;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(creators); i++) {
		rig_init(&r);
		build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
		b.footer.creator_app = cpu_to_be32(creators[i]);
		build_write(&b, &r.mem);
		assert_int_equal(rig_open(&r, 0), 0);
		assert_int_equal(r.img.size, 4ULL * BS);
		build_free(&b);
		rig_free(&r);
	}
}

static void size_chs_takes_the_geometry(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_FIXED, 10 * MIB, 0);
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_SIZE_CHS), 0);
	assert_int_equal(r.img.disk_size, 301 * 4 * 17 * 512);
	assert_int_equal(r.img.size, 10 * MIB);
	rig_close(&r);
	/* Larger than the file: the end of the disk would be the footer. */
	b.footer.heads = 5;
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_SIZE_CHS | VHD_OPEN_WRITE),
			 -EROFS);
	assert_non_null(rig_found(&r, VHD_FIND_FIXED_TRUNCATED));
	rig_close(&r);
	b.footer.heads = 0;
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_SIZE_CHS), -EUCLEAN);
	assert_non_null(rig_found(&r, VHD_FIND_SIZE_ZERO));
	rig_free(&r);
}

static void size_chs_larger_than_the_table_is_refused(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	b.footer.cylinders = cpu_to_be16(1000);
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_SIZE_CHS), -EUCLEAN);
	assert_non_null(rig_found(&r, VHD_FIND_TABLE_SMALL));
	build_free(&b);
	rig_free(&r);
}

/* By the tail, where head and tail differ; blocks to EOF, where it is gone. */
static void the_chosen_footer_counts(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	build_block(&b, 0);
	build_write(&b, &r.mem);
	head_differs(&b, &r.mem);
	assert_int_equal(rig_open(&r, 0), 0);
	assert_memory_equal(&r.img.footer, &b.footer, sizeof(b.footer));
	rig_close(&r);
	b.tail = b.end;
	b.tail_bytes = 0;
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, 0), 0);
	assert_null(rig_found(&r, VHD_FIND_BLOCK_END));
	rig_expect(&r, 0, 8, 0);
	build_free(&b);
	rig_free(&r);
}

static void bad_blocks_are_errors_others_are_read(void **state)
{
	struct build b;
	struct rig r;
	u8 buf[512];

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 6ULL * BS, BS);
	build_block(&b, 0);
	build_block(&b, 1);
	build_block(&b, 4);
	build_write(&b, &r.mem);
	build_tag(&b, &r.mem, 0, 0, 8, 7);
	b.bat[2] = b.bat[1] + 1;
	b.bat[3] = 0x90000000;
	b.tail = b.end;
	build_write(&b, &r.mem);
	build_tag(&b, &r.mem, 0, 0, 8, 7);
	assert_int_equal(rig_open(&r, 0), 0);
	assert_int_equal(rig_count_found(&r, VHD_FIND_BLOCK_OVERLAP), 2);
	assert_int_equal(rig_count_found(&r, VHD_FIND_BLOCK_END), 1);
	rig_expect(&r, 0, 8, 7);
	assert_int_equal(rig_read(&r, BLKS, 1, buf), -EIO);
	assert_int_equal(rig_read(&r, 2 * BLKS, 1, buf), -EIO);
	assert_int_equal(rig_read(&r, 3 * BLKS, 1, buf), -EIO);
	rig_expect(&r, 4 * BLKS, 1, 0);
	rig_expect(&r, 5 * BLKS, 1, 0);
	build_free(&b);
	rig_free(&r);
}

static void a_chain_of_overlaps_is_all_bad(void **state)
{
	struct build b;
	struct rig r;
	u32 i, sector;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 8ULL * BS, BS);
	sector = b.end >> 9;
	for (i = 0; i < 6; i++)
		build_block_at(&b, 5 - i, sector + i * 3000);
	build_block(&b, 7);
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, 0), 0);
	assert_int_equal(rig_count_found(&r, VHD_FIND_BLOCK_OVERLAP), 6);
	assert_int_equal(r.img.bat[7], b.bat[7]);
	build_free(&b);
	rig_free(&r);
}

/* In memory 0xFFFFFFFE means damaged: it must never pass for a place. */
static void entry_fffffffe_is_bad_in_a_file_that_holds_it(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	build_block_at(&b, 1, 0xFFFFFFFE);
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), -EROFS);
	assert_non_null(rig_found(&r, VHD_FIND_BLOCK_END));
	build_free(&b);
	rig_free(&r);
}

/* The table is written by whole sectors: its last must not be the footer's. */
static void table_sector_may_not_reach_into_an_unaligned_footer(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	b.tail = 0x600 + 16;
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), -EUCLEAN);
	assert_non_null(rig_found(&r, VHD_FIND_TABLE_OFFSET));
	build_free(&b);
	rig_free(&r);
}

static void entries_beyond_2_tib_of_sectors_are_legal(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	build_block_at(&b, 1, 0x80000000);
	build_block_at(&b, 2, 0xF0000007);
	build_write(&b, &r.mem);
	build_tag(&b, &r.mem, 2, 0, 8, 9);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	rig_expect(&r, 2 * BLKS, 8, 9);
	build_free(&b);
	rig_free(&r);
}

static void largest_image_opens_with_little_memory(void **state)
{
	struct rig r;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, 2040 * GIB, BS);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(r.img.nr_blocks, 1044480);
	assert_int_equal(r.nr_found, 0);
	/* The table comes in pieces. */
	assert_in_range(r.mem.nr_reads, 64, 80);
	assert_int_equal(rig_write(&r, 2040 * GIB / 512 - 1, 1, 5), 0);
	rig_expect(&r, 2040 * GIB / 512 - 1, 1, 5);
	rig_free(&r);
}

/* Memory follows the disk's size, not what the header claims. */
static void surplus_entries_are_not_read(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	b.header.max_table_entries = cpu_to_be32(0xFFFFFFFF);
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(r.img.nr_blocks, 4);
	assert_int_equal(r.mem.nr_reads, 4);
	/* New blocks go behind all of the table that the file has. */
	assert_int_equal(rig_write(&r, 0, 1, 1), 0);
	assert_true(r.img.bat[0] >= b.tail >> 9);
	build_free(&b);
	rig_free(&r);
}

static void metadata_behind_blocks_is_respected(void **state)
{
	struct build b;
	struct rig r;
	u64 locator;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	build_block(&b, 0);
	locator = ALIGN(b.end, 512ULL);
	build_locator(&b, 0, VHD_LOC_MACX, locator, 65536, 100);
	b.end = locator + 65536;
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(r.img.space.data_end, locator + 65536);
	assert_int_equal(rig_write(&r, BLKS, 1, 1), 0);
	assert_true((u64)r.img.bat[1] << 9 >= locator + 65536);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_assert_footer(&r);
	build_free(&b);
	rig_free(&r);
}

/* ---- errors ----------------------------------------------------------- */

static void every_read_error_is_returned(void **state)
{
	struct rig r;
	u32 n;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, 200 * GIB, BS);
	for (n = 1; n <= 100; n++) {
		mem_fail(&r.mem, VHD_IO_READ, n, -EIO);
		if (!rig_open(&r, VHD_OPEN_WRITE))
			break;
		assert_false(r.img.writable);
		rig_close(&r);
	}
	/* Tail, head, header, seven pieces of the table. */
	assert_int_equal(n, 11);
	rig_free(&r);
}

static void every_failed_allocation_is_enomem(void **state)
{
	struct build b;
	struct rig r;
	u32 n;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	build_block(&b, 3);
	build_block(&b, 1);
	build_write(&b, &r.mem);
	for (n = 1; n < 100; n++) {
		vhd_shim_fail_alloc = n;
		if (!rig_open(&r, VHD_OPEN_WRITE))
			break;
		assert_int_equal(vhd_shim_fail_alloc, 0);
		rig_close(&r);
	}
	assert_in_range(n, 5, 20);
	vhd_shim_fail_alloc = 0;
	build_free(&b);
	rig_free(&r);
}

/* ---- hostile images --------------------------------------------------- */

/* If it opens, everything on it can be read, inside the file. */
static void look_through(struct rig *r)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext;
	u64 sectors = r->img.size >> 9;
	u32 n = vhd_block_sectors(&r->img);
	u64 sector;
	u32 block;

	for (block = 0; block < min(r->img.nr_blocks, 64U); block++) {
		sector = (u64)block * n;
		if (sector >= sectors)
			break;
		vhd_map_read(&r->img, sector, 1, &hold, &ext);
		if (ext.kind == VHD_MAP_BITMAP) {
			assert_int_equal(rig_load(r, block), 0);
			vhd_map_read(&r->img, sector, 1, &hold, &ext);
		}
		if (ext.kind == VHD_MAP_DATA)
			assert_true(ext.pos + 512 <= r->mem.now.size);
		else
			assert_true(ext.kind == VHD_MAP_ZERO ||
				    ext.kind == VHD_MAP_BAD);
	}
}

static void open_hostile(struct rig *r)
{
	int ret = rig_open(r, 0);

	assert_true(!ret || ret == -EUCLEAN || ret == -EMEDIUMTYPE);
	if (!ret && r->img.bat)
		look_through(r);
	rig_close(r);
	ret = rig_open(r, VHD_OPEN_WRITE | VHD_OPEN_FORCE);
	/* An image that opens for writing can be written and stays sound. */
	if (!ret && r->img.bat) {
		assert_int_equal(rig_write(r, 0, 1, 3), 0);
		assert_int_equal(rig_commit(r), 0);
		assert_int_equal(rig_tidy(r), 0);
		rig_close(r);
		assert_int_equal(rig_open(r, VHD_OPEN_WRITE | VHD_OPEN_FORCE),
				 0);
		rig_expect(r, 0, 1, 3);
	}
	rig_close(r);
}

static void hostile_bytes_do_no_harm(void **state)
{
	const u8 values[] = { 0, 1, 0x7F, 0x80, 0xFE, 0xFF };
	struct build good, b;
	struct rig r;
	u32 at, i;

	rig_init(&r);
	build_init(&good, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	build_locator(&good, 0, VHD_LOC_W2RU, 0x800, 512, 20);
	build_block(&good, 1);
	for (at = 0; at < 96 + 64 + 24; at++) {
		for (i = 0; i < ARRAY_SIZE(values); i++) {
			b = good;
			if (at < 96)
				((u8 *)&b.footer)[at] = values[i];
			else if (at < 96 + 64)
				((u8 *)&b.header)[at - 96] = values[i];
			else
				((u8 *)&b.header)[576 + at - 160] = values[i];
			build_write(&b, &r.mem);
			open_hostile(&r);
		}
	}
	build_free(&good);
	rig_free(&r);
}

static void hostile_tables_do_no_harm(void **state)
{
	const u32 values[] = { 0, 1, 2, 3, 7, 8, 14, 15, 16, 4111, 4119, 8223,
			       0x7FFFFFFF, 0x80000000, 0xFFFFEFFE, 0xFFFFFFFE,
			       0xFFFFFFFF };
	u64 seed = 4;
	struct build b;
	struct rig r;
	u32 i, n;

	rig_init(&r);
	for (n = 0; n < 400; n++) {
		build_init(&b, VHD_TYPE_DYNAMIC, 8ULL * BS, BS);
		build_block(&b, 7);
		build_block(&b, 6);
		for (i = 0; i < 6; i++)
			b.bat[i] = values[mem_random_below(&seed,
							   ARRAY_SIZE(values))];
		build_write(&b, &r.mem);
		open_hostile(&r);
		build_free(&b);
	}
	rig_free(&r);
}

/* ---- images of others ------------------------------------------------- */

static void sample_opens(void **state)
{
	const char *path = *state;
	struct rig r;
	u8 buf[4096];
	char cmd[512];
	u64 pos = 0;
	FILE *f;
	size_t n;

	snprintf(cmd, sizeof(cmd), "%s %s/%s 2>/dev/null",
		 strstr(path, ".gz") ? "gzip -dc" : "bzip2 -dc", SAMPLES, path);
	f = popen(cmd, "r");
	assert_non_null(f);
	rig_init(&r);
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0) {
		mem_write(&r.mem, pos, buf, n);
		pos += n;
	}
	pclose(f);
	if (!pos) {
		print_message("%s/%s is not there\n", SAMPLES, path);
		mem_free(&r.mem);
		skip();
	}
	mem_settle(&r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_true(rig_harmless(&r));
	assert_true(r.img.writable);
	if (!strncmp(path, "win10", 5)) {
		assert_int_equal(r.img.type, VHD_TYPE_FIXED);
		assert_int_equal(r.img.size, 10 * MIB);
		assert_int_equal(rig_read(&r, 0, 1, buf), 0);
		assert_int_equal(buf[510] << 8 | buf[511], 0x55AA);
	} else {
		assert_int_equal(r.img.type, VHD_TYPE_DYNAMIC);
		assert_true(rig_read(&r, 0, 1, buf) == 0);
	}
	if (!strncmp(path, "virtualpc", 9) || !strncmp(path, "hyperv", 6)) {
		assert_int_equal(r.img.size, 127 * GIB);
		assert_int_equal(r.img.nr_allocated, 0);
	}
	assert_int_equal(rig_write(&r, 3, 2, 77), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(&r));
	rig_expect(&r, 3, 2, 77);
	rig_free(&r);
}

static const struct CMUnitTest others[] = {
	cmocka_unit_test(findings_carry_place_and_values),
	cmocka_unit_test(opens_without_a_reporter),
	cmocka_unit_test(dynamic_image_has_its_constants),
	cmocka_unit_test(fixed_image_beginning_with_a_vhd_is_fixed),
	cmocka_unit_test(size_is_current_size_whatever_the_creator),
	cmocka_unit_test(size_chs_takes_the_geometry),
	cmocka_unit_test(size_chs_larger_than_the_table_is_refused),
	cmocka_unit_test(the_chosen_footer_counts),
	cmocka_unit_test(bad_blocks_are_errors_others_are_read),
	cmocka_unit_test(a_chain_of_overlaps_is_all_bad),
	cmocka_unit_test(entry_fffffffe_is_bad_in_a_file_that_holds_it),
	cmocka_unit_test(table_sector_may_not_reach_into_an_unaligned_footer),
	cmocka_unit_test(entries_beyond_2_tib_of_sectors_are_legal),
	cmocka_unit_test(largest_image_opens_with_little_memory),
	cmocka_unit_test(surplus_entries_are_not_read),
	cmocka_unit_test(metadata_behind_blocks_is_respected),
	cmocka_unit_test(every_read_error_is_returned),
	cmocka_unit_test(every_failed_allocation_is_enomem),
	cmocka_unit_test(hostile_bytes_do_no_harm),
	cmocka_unit_test(hostile_tables_do_no_harm),
	{ "sample: Virtual PC", sample_opens, NULL, NULL,
	  (void *)"virtualpc-dynamic.vhd.bz2" },
	{ "sample: Hyper-V 2012 R2", sample_opens, NULL, NULL,
	  (void *)"hyperv2012r2-dynamic.vhd.bz2" },
	{ "sample: Windows 10 fixed", sample_opens, NULL, NULL,
	  (void *)"win10-fixed.vhd.gz" },
};

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(rows) + ARRAY_SIZE(others)];
	u32 i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		tests[i] = (struct CMUnitTest) {
			rows[i].name, row_holds, NULL, NULL, (void *)&rows[i]
		};
	memcpy(&tests[i], others, sizeof(others));
	return run_group("open", tests);
}
