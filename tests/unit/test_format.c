// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "rig.h"

/* ---- checksum --------------------------------------------------------- */

static void checksum_is_complement_of_byte_sum(void **state)
{
	const u8 bytes[] = { 0x00, 0x01, 0x7F, 0x80, 0xFF };

	assert_int_equal(vhd_checksum(bytes, 0), 0xFFFFFFFF);
	assert_int_equal(vhd_checksum(bytes, 5), ~(u32)0x1FF);
}

static void checksum_field_counts_as_zero(void **state)
{
	const u32 fields[] = { 0, 1, 0x80000000, 0x7FFFFFFF, 0xFFFFFFFE,
			       0xFFFFFFFF };
	struct vhd_footer f = { .cookie = "conectix" };
	struct vhd_dyn_header h = { .cookie = "cxsparse" };
	u32 footer = vhd_checksum(&f, sizeof(f));
	u32 header = vhd_checksum(&h, sizeof(h));
	u32 i;

	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		f.checksum = cpu_to_be32(fields[i]);
		h.checksum = cpu_to_be32(fields[i]);
		assert_int_equal(vhd_footer_checksum(&f), footer);
		assert_int_equal(vhd_header_checksum(&h), header);
	}
}

static void footer_valid_needs_cookie_and_checksum(void **state)
{
	struct build b;
	u32 i;

	build_init(&b, VHD_TYPE_FIXED, MIB, 0);
	assert_true(vhd_footer_valid(&b.footer));
	/* Any changed byte is noticed, reserved and hidden ones too. */
	for (i = 0; i < sizeof(b.footer); i++) {
		((u8 *)&b.footer)[i] ^= 0x40;
		assert_false(vhd_footer_valid(&b.footer));
		((u8 *)&b.footer)[i] ^= 0x40;
	}
	b.footer.cookie[7] = 'X';
	vhd_seal_footer(&b.footer);
	assert_false(vhd_footer_valid(&b.footer));
}

/* ---- geometry --------------------------------------------------------- */

static const struct {
	u64 size;
	struct vhd_geometry g;
} geometries[] = {
	{ 0,			{ 0, 4, 17 } },
	{ 512,			{ 0, 4, 17 } },
	{ 1 * MIB,		{ 30, 4, 17 } },
	{ 3 * MIB,		{ 90, 4, 17 } },
	{ 4 * MIB,		{ 120, 4, 17 } },
	{ 10 * MIB,		{ 301, 4, 17 } },
	{ 64 * MIB,		{ 963, 8, 17 } },
	{ 100 * MIB,		{ 1003, 12, 17 } },
	{ 128 * MIB,		{ 963, 16, 17 } },
	{ 504 * MIB,		{ 1024, 16, 63 } },
	{ 512 * MIB,		{ 1040, 16, 63 } },
	{ 1 * GIB,		{ 2080, 16, 63 } },
	{ 2 * GIB,		{ 4161, 16, 63 } },
	{ 10 * GIB,		{ 20805, 16, 63 } },
	{ 32 * GIB,		{ 16448, 16, 255 } },
	{ 127 * GIB,		{ 65278, 16, 255 } },
	/* 65535 * 16 * 63 sectors: the specification's >= decides. */
	{ 33822351360 - 512,	{ 65534, 16, 63 } },
	{ 33822351360,		{ 16191, 16, 255 } },
	{ 33822351360 + 512,	{ 16191, 16, 255 } },
	{ 136899993600 - 512,	{ 65534, 16, 255 } },
	{ 136899993600,		{ 65535, 16, 255 } },
	{ 2040 * GIB,		{ 65535, 16, 255 } },
	{ ~0ULL,		{ 65535, 16, 255 } },
};

static void geometry_follows_the_specification(void **state)
{
	struct vhd_geometry g;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(geometries); i++) {
		g = vhd_geometry_of(geometries[i].size);
		assert_int_equal(g.cylinders, geometries[i].g.cylinders);
		assert_int_equal(g.heads, geometries[i].g.heads);
		assert_int_equal(g.sectors, geometries[i].g.sectors);
	}
}

static void geometry_never_exceeds_the_size(void **state)
{
	struct vhd_geometry g;
	u64 seed = 1, size;
	u32 i;

	for (i = 0; i < 20000; i++) {
		size = ((u64)mem_random(&seed) << mem_random_below(&seed, 11)) *
		       512;
		g = vhd_geometry_of(size);
		assert_true(vhd_geometry_size(&g) <= size);
		assert_in_range(g.heads, 4, 16);
	}
}

static void geometry_size_multiplies_in_64_bits(void **state)
{
	struct vhd_geometry g = { 65535, 255, 255 };

	assert_true(vhd_geometry_size(&g) == 65535ULL * 255 * 255 * 512);
}

static void footer_geometry_reads_the_three_fields(void **state)
{
	struct vhd_footer f = {
		.cylinders = cpu_to_be16(0x1234),
		.heads = 0x56,
		.sectors_per_track = 0x78,
	};
	struct vhd_geometry g = vhd_footer_geometry(&f);

	assert_int_equal(g.cylinders, 0x1234);
	assert_int_equal(g.heads, 0x56);
	assert_int_equal(g.sectors, 0x78);
}

/* ---- sizes of the CHS rule -------------------------------------------- */

/* The contract: file, current_size and geometry agree, and it is enough. */
static void check_size_chs(u64 size)
{
	u64 chs = vhd_size_chs(size);
	struct vhd_geometry g = vhd_geometry_of(chs);

	if (chs < size || vhd_geometry_size(&g) != chs)
		fail_msg("size %llu gives %llu, whose geometry has %llu",
			 (unsigned long long)size, (unsigned long long)chs,
			 (unsigned long long)vhd_geometry_size(&g));
}

static void size_chs_is_exact_and_enough(void **state)
{
	/* Where the rule changes heads or sectors, and what qemu was bitten by. */
	const u64 around[] = {
		MIB, 3 * MIB, 4 * MIB, 10 * MIB, 504 * MIB, 512 * MIB,
		4ULL * 1024 * 17 * 512, 8ULL * 1024 * 17 * 512,
		16ULL * 1024 * 17 * 512, 16ULL * 1024 * 31 * 512,
		16ULL * 1024 * 63 * 512, 33822351360, GIB, 127 * GIB,
	};
	u64 size;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(around); i++)
		for (size = around[i] - 5000 * 512;
		     size < around[i] + 5000 * 512; size += 512)
			check_size_chs(size);
}

static void size_chs_is_the_smallest(void **state)
{
	u64 size, next;

	for (size = 512; size < 40 * MIB; size += 512) {
		next = vhd_size_chs(size);
		/* Every size up to the answer has the same answer. */
		assert_true(vhd_size_chs(next) == next);
		if (next > size)
			assert_true(vhd_size_chs(size + 512) == next);
	}
}

static void size_chs_beyond_chs_is_the_size(void **state)
{
	assert_true(vhd_size_chs(136899993600) == 136899993600);
	assert_true(vhd_size_chs(136899993600 + 512) == 136899993600 + 512);
	assert_true(vhd_size_chs(2040 * GIB) == 2040 * GIB);
}

/* ---- fresh structures ------------------------------------------------- */

static const struct vhd_new_image wish = {
	.type = VHD_TYPE_DYNAMIC,
	.size = 512 * MIB,
	.block_size = BS,
	.timestamp = 0x2B1F0A99,
	.unique_id = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
};

static void made_footer_has_every_field(void **state)
{
	/* Offsets and bytes of FORMAT.md §2, 512 MiB, CHS 1040/16/63. */
	static const u8 expected[] = {
		'c', 'o', 'n', 'e', 'c', 't', 'i', 'x',
		0, 0, 0, 2, 0, 1, 0, 0,
		0, 0, 0, 0, 0, 0, 2, 0,
		0x2B, 0x1F, 0x0A, 0x99, 'w', 'i', 'n', ' ',
		0, 0x0A, 0, 0, 'W', 'i', '2', 'k',
		0, 0, 0, 0, 0x20, 0, 0, 0,
		0, 0, 0, 0, 0x20, 0, 0, 0,
		0x04, 0x10, 16, 63, 0, 0, 0, 3,
	};
	struct vhd_footer f;
	const u8 *bytes = (const u8 *)&f;
	u32 i;

	memset(&f, 0xA5, sizeof(f));
	vhd_make_footer(&f, &wish);
	assert_memory_equal(bytes, expected, sizeof(expected));
	assert_memory_equal(bytes + 68, wish.unique_id, 16);
	for (i = 84; i < 512; i++)
		assert_int_equal(bytes[i], 0);
	assert_true(vhd_footer_valid(&f));
}

static void made_fixed_footer_points_nowhere(void **state)
{
	struct vhd_new_image n = wish;
	struct vhd_footer f;

	n.type = VHD_TYPE_FIXED;
	vhd_make_footer(&f, &n);
	assert_true(be64_to_cpu(f.data_offset) == VHD_NO_OFFSET);
	assert_int_equal(be32_to_cpu(f.disk_type), 2);
	assert_true(vhd_footer_valid(&f));
}

static void made_header_has_every_field(void **state)
{
	static const u8 expected[] = {
		'c', 'x', 's', 'p', 'a', 'r', 's', 'e',
		0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
		0, 0, 0, 0, 0, 0, 0x06, 0,
		0, 1, 0, 0, 0, 0, 1, 0, 0, 0x20, 0, 0,
	};
	struct vhd_dyn_header h;
	const u8 *bytes = (const u8 *)&h;
	u32 i;

	memset(&h, 0xA5, sizeof(h));
	vhd_make_header(&h, &wish, 0x600);
	assert_memory_equal(bytes, expected, sizeof(expected));
	for (i = 40; i < 1024; i++)
		assert_int_equal(bytes[i], 0);
	assert_int_equal(be32_to_cpu(h.checksum), vhd_header_checksum(&h));
}

static void made_header_keeps_slack(void **state)
{
	struct vhd_new_image n = wish;
	struct vhd_dyn_header h;

	n.max_table_entries = 1000;
	vhd_make_header(&h, &n, 0x600);
	assert_int_equal(be32_to_cpu(h.max_table_entries), 1000);
	n.max_table_entries = 10;
	vhd_make_header(&h, &n, 0x600);
	assert_int_equal(be32_to_cpu(h.max_table_entries), 256);
}

/* ---- arithmetic ------------------------------------------------------- */

static void blocks_are_rounded_up(void **state)
{
	assert_true(vhd_nr_blocks(0, BS) == 0);
	assert_true(vhd_nr_blocks(1, BS) == 1);
	assert_true(vhd_nr_blocks(BS, BS) == 1);
	assert_true(vhd_nr_blocks(BS + 512, BS) == 2);
	assert_true(vhd_nr_blocks(2040 * GIB, BS) == 1044480);
	assert_true(vhd_nr_blocks(~0ULL, 4096) == 1ULL << 52);
}

static void bitmaps_are_whole_sectors(void **state)
{
	assert_int_equal(vhd_bitmap_bytes(4096), 512);
	assert_int_equal(vhd_bitmap_bytes(512 * KIB), 512);
	assert_int_equal(vhd_bitmap_bytes(2 * MIB), 512);
	assert_int_equal(vhd_bitmap_bytes(4 * MIB), 1024);
	assert_int_equal(vhd_bitmap_bytes(256 * MIB), 65536);
}

static void locator_space_is_sectors_or_bytes(void **state)
{
	const struct {
		u32 field;
		u64 bytes;
	} rows[] = {
		{ 0, 0 }, { 1, 512 }, { 511, 511 * 512 }, { 512, 512 },
		{ 513, 513 }, { 65536, 65536 }, { 0xFFFFFFFF, 0xFFFFFFFF },
	};
	struct vhd_locator l = { };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		l.data_space = cpu_to_be32(rows[i].field);
		assert_true(vhd_locator_space(&l) == rows[i].bytes);
	}
}

static void tail_is_the_last_sector_before_4k(void **state)
{
	u64 end, pos;

	/* The vectors of FORMAT.md §11. */
	assert_int_equal(vhd_tail_pos(0x1000), 0x1E00);
	assert_int_equal(vhd_tail_pos(0x2000 + BS), 0x2E00 + BS);
	assert_int_equal(vhd_tail_pos(0), 0xE00);
	for (end = 0; end < 3 * 4096; end++) {
		pos = vhd_tail_pos(end);
		assert_true(pos >= end && pos - end < 4096);
		assert_int_equal((pos + 512) % 4096, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksum_is_complement_of_byte_sum),
		cmocka_unit_test(checksum_field_counts_as_zero),
		cmocka_unit_test(footer_valid_needs_cookie_and_checksum),
		cmocka_unit_test(geometry_follows_the_specification),
		cmocka_unit_test(geometry_never_exceeds_the_size),
		cmocka_unit_test(geometry_size_multiplies_in_64_bits),
		cmocka_unit_test(footer_geometry_reads_the_three_fields),
		cmocka_unit_test(size_chs_is_exact_and_enough),
		cmocka_unit_test(size_chs_is_the_smallest),
		cmocka_unit_test(size_chs_beyond_chs_is_the_size),
		cmocka_unit_test(made_footer_has_every_field),
		cmocka_unit_test(made_fixed_footer_points_nowhere),
		cmocka_unit_test(made_header_has_every_field),
		cmocka_unit_test(made_header_keeps_slack),
		cmocka_unit_test(blocks_are_rounded_up),
		cmocka_unit_test(bitmaps_are_whole_sectors),
		cmocka_unit_test(locator_space_is_sectors_or_bytes),
		cmocka_unit_test(tail_is_the_last_sector_before_4k),
	};

	return run_group("format", tests);
}
