// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "rig.h"

/* ---- bits ------------------------------------------------------------- */

static void bits_are_msb_first(void **state)
{
	u8 bits[2] = { 0 };

	assert_true(vhd_bits_set(bits, 0, 1));
	assert_int_equal(bits[0], 0x80);
	assert_true(vhd_bits_set(bits, 9, 2));
	assert_int_equal(bits[1], 0x60);
	assert_true(vhd_bits_test(bits, 0));
	assert_false(vhd_bits_test(bits, 1));
	assert_true(vhd_bits_test(bits, 10));
	assert_false(vhd_bits_test(bits, 11));
}

static void set_tells_whether_something_changed(void **state)
{
	u8 bits[8] = { 0 };

	assert_true(vhd_bits_set(bits, 5, 30));
	assert_false(vhd_bits_set(bits, 5, 30));
	assert_false(vhd_bits_set(bits, 8, 8));
	assert_true(vhd_bits_set(bits, 34, 2));
	assert_false(vhd_bits_set(bits, 0, 0));
}

/* Against the plainest model there is, over every range of 40 bits. */
static void set_and_run_agree_with_single_bits(void **state)
{
	u32 first, count, n, run;
	u8 bits[6];
	bool set;

	for (first = 0; first < 40; first++) {
		for (count = 1; count <= 40 - first; count++) {
			memset(bits, 0, sizeof(bits));
			assert_true(vhd_bits_set(bits, first, count));
			for (n = 0; n < 48; n++)
				assert_int_equal(vhd_bits_test(bits, n),
						 n >= first &&
						 n < first + count);
			run = vhd_bits_run(bits, first, 48 - first, &set);
			assert_int_equal(run, count);
			assert_true(set);
			run = vhd_bits_run(bits, 0, 48, &set);
			assert_int_equal(run, first ? first : count);
			assert_int_equal(set, first == 0);
		}
	}
}

static void run_stops_at_the_limit(void **state)
{
	u8 bits[4] = { 0xFF, 0xFF, 0xFF, 0xFF };
	u32 limit;
	bool set;

	for (limit = 1; limit <= 32; limit++)
		assert_int_equal(vhd_bits_run(bits, 0, limit, &set), limit);
}

/* ---- full ------------------------------------------------------------- */

static void full_looks_only_at_sectors_of_the_disk(void **state)
{
	struct rig r;
	u8 bits[512] = { 0 };

	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, 2ULL * BS + 11 * 512, BS);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_false(vhd_bitmap_full(&r.img, 2, bits));
	vhd_bits_set(bits, 0, 11);
	assert_true(vhd_bitmap_full(&r.img, 2, bits));
	assert_false(vhd_bitmap_full(&r.img, 1, bits));
	vhd_bits_set(bits, 0, 4095);
	assert_false(vhd_bitmap_full(&r.img, 1, bits));
	vhd_bits_set(bits, 4095, 1);
	assert_true(vhd_bitmap_full(&r.img, 1, bits));
	rig_free(&r);
}

/* ---- the cache -------------------------------------------------------- */

/* An image of @blocks allocated blocks, the bits of @clear sectors clear. */
static void partial_image(struct rig *r, u32 blocks, u32 block_size, u32 clear,
			  unsigned int flags)
{
	struct build b;
	u32 i;

	rig_init(r);
	build_init(&b, VHD_TYPE_DYNAMIC, (u64)blocks * block_size, block_size);
	for (i = 0; i < blocks; i++)
		build_block(&b, i);
	build_write(&b, &r->mem);
	if (clear) {
		u64 seed = 0;

		for (i = 0; i < blocks; i++) {
			u8 bits[512] = { 0 };

			memset(bits, 0xFF, block_size / 4096);
			bits[mem_random_below(&seed, clear)] = 0x55;
			mem_write(&r->mem, (u64)b.bat[i] << 9, bits, 512);
		}
		mem_settle(&r->mem);
	}
	build_free(&b);
	assert_int_equal(rig_open(r, flags), 0);
}

static void loading_a_full_bitmap_keeps_only_the_bit(void **state)
{
	struct rig r;

	partial_image(&r, 3, BS, 0, VHD_OPEN_WRITE);
	assert_false(test_bit(1, r.img.full));
	assert_int_equal(rig_load(&r, 1), 0);
	assert_true(test_bit(1, r.img.full));
	assert_null(vhd_bitmap_find(&r.img, 1));
	assert_int_equal(r.img.bitmaps.nr, 0);
	rig_free(&r);
}

static void loading_twice_keeps_the_first(void **state)
{
	struct vhd_bitmap *bm;
	struct rig r;

	partial_image(&r, 3, BS, 1, VHD_OPEN_WRITE);
	assert_int_equal(rig_load(&r, 1), 0);
	bm = vhd_bitmap_find(&r.img, 1);
	assert_non_null(bm);
	assert_int_equal(rig_load(&r, 1), 0);
	assert_ptr_equal(vhd_bitmap_find(&r.img, 1), bm);
	assert_int_equal(r.img.bitmaps.nr, 1);
	rig_free(&r);
}

static void loading_a_block_become_full_is_dropped(void **state)
{
	struct vhd_bitmap *bm;
	struct rig r;

	partial_image(&r, 3, BS, 1, VHD_OPEN_WRITE);
	bm = vhd_bitmap_alloc(&r.img, 1);
	assert_non_null(bm);
	assert_int_equal(rig_write(&r, BLKS, BLKS, 1), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_true(test_bit(1, r.img.full));
	vhd_bitmap_add(&r.img, bm);
	assert_null(vhd_bitmap_find(&r.img, 1));
	rig_free(&r);
}

static void read_only_images_have_one_copy(void **state)
{
	struct vhd_bitmap *bm;
	struct rig r;

	partial_image(&r, 1, BS, 1, 0);
	bm = vhd_bitmap_alloc(&r.img, 0);
	assert_non_null(bm);
	assert_null(bm->taken);
	vhd_bitmap_free(bm);
	vhd_shim_fail_alloc = 1;
	assert_null(vhd_bitmap_alloc(&r.img, 0));
	rig_free(&r);
}

/* A hostile image has the largest blocks: the bytes are bounded, too. */
static void large_bitmaps_are_fewer(void **state)
{
	u32 max = VHD_MAX_BITMAP_BYTES / 65536, i;
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, (max + 3ULL) * VHD_MAX_BLOCK_SIZE,
		   VHD_MAX_BLOCK_SIZE);
	for (i = 0; i < max + 3; i++)
		build_block(&b, i);
	build_write(&b, &r.mem);
	for (i = 0; i < max + 3; i++)
		mem_write(&r.mem, (u64)b.bat[i] << 9, "", 1);
	build_free(&b);
	assert_int_equal(rig_open(&r, 0), 0);
	for (i = 0; i < max + 3; i++)
		assert_int_equal(rig_load(&r, i), 0);
	assert_int_equal(r.img.bitmaps.nr, max);
	assert_null(vhd_bitmap_find(&r.img, 2));
	assert_non_null(vhd_bitmap_find(&r.img, 3));
	rig_free(&r);
}

#define SMALL	(512U << 10)
#define MANY	(VHD_MAX_BITMAPS + 40)

/* An image of so many blocks takes long to build: the tests share one. */
static struct rig many;

static int many_setup(void **state)
{
	partial_image(&many, MANY, SMALL, 100, VHD_OPEN_WRITE);
	return 0;
}

static int many_teardown(void **state)
{
	rig_free(&many);
	return 0;
}

static void cache_is_bounded_and_evicts_the_oldest(void **state)
{
	struct rig *r = &many;
	u32 i;

	for (i = 0; i < MANY; i++)
		assert_int_equal(rig_load(r, i), 0);
	assert_int_equal(r->img.bitmaps.nr, VHD_MAX_BITMAPS);
	for (i = 0; i < 40; i++)
		assert_null(vhd_bitmap_find(&r->img, i));
	for (; i < MANY; i++)
		assert_non_null(vhd_bitmap_find(&r->img, i));
}

static void dirty_and_used_bitmaps_are_not_evicted(void **state)
{
	struct rig *r = &many;
	u32 sectors = SMALL / 512;
	struct rig_req q;
	u32 i;

	rig_reopen(r, VHD_OPEN_WRITE);
	for (i = 0; i < VHD_MAX_BITMAPS; i++)
		assert_int_equal(rig_load(r, i), 0);
	/* The oldest three: dirty, in use, taken by a commit. */
	assert_int_equal(rig_write(r, 2 * sectors, sectors / 2, 5), 0);
	vhd_commit_begin(&r->commit);
	assert_int_equal(rig_write(r, 0, sectors / 2, 5), 0);
	assert_int_equal(rig_map(r, &q, sectors, 8), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(rig_load(r, VHD_MAX_BITMAPS + i), 0);
	for (i = 0; i < 3; i++)
		assert_non_null(vhd_bitmap_find(&r->img, i));
	for (; i < 6; i++)
		assert_null(vhd_bitmap_find(&r->img, i));
	assert_int_equal(r->img.bitmaps.nr, VHD_MAX_BITMAPS);
	rig_done(r, &q, 0);
	assert_int_equal(mem_run(&r->mem, &r->commit.plan), 0);
	mem_settle(&r->mem);
}

/* When memory is short, all leave but those that are needed. */
static void shrinking_takes_the_oldest_that_are_idle(void **state)
{
	struct rig *r = &many;
	u32 sectors = SMALL / 512;
	struct rig_req q;
	/* Blocks that no other case has written to. */
	u32 first = VHD_MAX_BITMAPS + 21, i;

	rig_reopen(r, VHD_OPEN_WRITE);
	assert_int_equal(vhd_bitmaps_shrink(&r->img, 10), 0);
	for (i = 0; i < 19; i++)
		assert_int_equal(rig_load(r, first + i), 0);
	/* The oldest three: dirty, in use, taken by a commit. */
	assert_int_equal(rig_write(r, (first + 2) * sectors, sectors / 2, 6), 0);
	vhd_commit_begin(&r->commit);
	assert_int_equal(rig_write(r, first * sectors, sectors / 2, 6), 0);
	assert_int_equal(rig_map(r, &q, (first + 1) * sectors, 8), 0);
	assert_int_equal(vhd_bitmaps_shrink(&r->img, 0), 0);
	assert_int_equal(vhd_bitmaps_shrink(&r->img, 5), 5);
	for (i = 0; i < 19; i++)
		assert_int_equal(!vhd_bitmap_find(&r->img, first + i),
				 i >= 3 && i < 8);
	assert_int_equal(vhd_bitmaps_shrink(&r->img, 100), 11);
	assert_int_equal(r->img.bitmaps.nr, 3);
	rig_done(r, &q, 0);
	assert_int_equal(mem_run(&r->mem, &r->commit.plan), 0);
	/* What left was on disk, and is read again. */
	rig_expect(r, (first + 2) * sectors, sectors / 2, 6);
	assert_int_equal(rig_commit(r), 0);
	vhd_bitmaps_shrink(&r->img, 100);
	assert_int_equal(r->img.bitmaps.nr, 0);
	rig_expect(r, first * sectors, sectors / 2, 6);
	mem_settle(&r->mem);
}

/* Nothing can leave: rather one too many than none for the request. */
static void a_cache_in_use_grows_beyond_its_bound(void **state)
{
	struct rig_req *q = calloc(VHD_MAX_BITMAPS, sizeof(*q));
	struct rig *r = &many;
	u32 i;

	assert_non_null(q);
	rig_reopen(r, VHD_OPEN_WRITE);
	for (i = 0; i < VHD_MAX_BITMAPS; i++)
		assert_int_equal(rig_map(r, &q[i], (20 + i) * (SMALL / 512ULL),
					 1), 0);
	assert_int_equal(r->img.bitmaps.nr, VHD_MAX_BITMAPS);
	assert_int_equal(rig_load(r, 20 + VHD_MAX_BITMAPS), 0);
	assert_int_equal(r->img.bitmaps.nr, VHD_MAX_BITMAPS + 1);
	for (i = 0; i < VHD_MAX_BITMAPS; i++)
		rig_done(r, &q[i], -EIO);
	free(q);
}

/*
 * A load that began before its block's bitmap was read by another, changed,
 * committed and evicted has bits that are too old.
 */
static void stale_loads_are_dropped(void **state)
{
	struct rig *r = &many;
	u32 sectors = SMALL / 512;
	struct vhd_bitmap *bm, *now;
	u32 i, len, first = 0;
	u64 pos;

	rig_reopen(r, VHD_OPEN_WRITE);
	bm = vhd_bitmap_alloc(&r->img, 7);
	assert_non_null(bm);
	pos = vhd_bitmap_pos(&r->img, 7, &len);
	assert_int_equal(len, 512);
	mem_read(&r->mem, pos, bm->live, len);
	while (vhd_bits_test(bm->live, first))
		first++;
	assert_int_equal(rig_write(r, 7 * sectors + first, 1, 99), 0);
	assert_int_equal(rig_commit(r), 0);
	for (i = 8; vhd_bitmap_find(&r->img, 7); i++)
		assert_int_equal(rig_load(r, i), 0);
	vhd_bitmap_add(&r->img, bm);
	now = vhd_bitmap_find(&r->img, 7);
	assert_true(!now || vhd_bits_test(now->live, first));
	rig_expect(r, 7 * sectors + first, 1, 99);
	mem_settle(&r->mem);
}

/*
 * Readers at depth 64 over more partial blocks than the cache holds: a load
 * must not be thrown away only because another one evicted a clean bitmap.
 */
static void clean_evictions_do_not_spoil_other_loads(void **state)
{
	struct vhd_bitmap *bm[16];
	struct rig *r = &many;
	u32 i, len;

	rig_reopen(r, VHD_OPEN_WRITE);
	for (i = 0; i < VHD_MAX_BITMAPS; i++)
		assert_int_equal(rig_load(r, i), 0);
	for (i = 0; i < ARRAY_SIZE(bm); i++) {
		bm[i] = vhd_bitmap_alloc(&r->img, VHD_MAX_BITMAPS + i);
		mem_read(&r->mem, vhd_bitmap_pos(&r->img, bm[i]->block, &len),
			 bm[i]->live, 512);
	}
	for (i = 0; i < ARRAY_SIZE(bm); i++)
		vhd_bitmap_add(&r->img, bm[i]);
	for (i = 0; i < ARRAY_SIZE(bm); i++)
		assert_non_null(vhd_bitmap_find(&r->img, VHD_MAX_BITMAPS + i));
}

/* ---- places ----------------------------------------------------------- */

static void bitmap_length_follows_the_block_size(void **state)
{
	const struct {
		u32 block_size;
		u32 len;
	} rows[] = {
		{ 4096, 512 }, { 512 << 10, 512 }, { 2 << 20, 512 },
		{ 4 << 20, 1024 }, { 64 << 20, 16384 }, { 256 << 20, 65536 },
	};
	struct build b;
	struct rig r;
	u32 i, len;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		rig_init(&r);
		build_init(&b, VHD_TYPE_DYNAMIC, 2ULL * rows[i].block_size,
			   rows[i].block_size);
		build_block(&b, 1);
		build_write(&b, &r.mem);
		assert_int_equal(rig_open(&r, 0), 0);
		assert_int_equal(vhd_bitmap_pos(&r.img, 1, &len),
				 (u64)b.bat[1] << 9);
		assert_int_equal(len, rows[i].len);
		assert_int_equal(vhd_data_pos(&r.img, r.img.bat[1]),
				 build_data_pos(&b, 1));
		build_free(&b);
		rig_free(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_are_msb_first),
		cmocka_unit_test(set_tells_whether_something_changed),
		cmocka_unit_test(set_and_run_agree_with_single_bits),
		cmocka_unit_test(run_stops_at_the_limit),
		cmocka_unit_test(full_looks_only_at_sectors_of_the_disk),
		cmocka_unit_test(loading_a_full_bitmap_keeps_only_the_bit),
		cmocka_unit_test(loading_twice_keeps_the_first),
		cmocka_unit_test(loading_a_block_become_full_is_dropped),
		cmocka_unit_test(read_only_images_have_one_copy),
		cmocka_unit_test(large_bitmaps_are_fewer),
		cmocka_unit_test_setup(cache_is_bounded_and_evicts_the_oldest,
				       many_setup),
		cmocka_unit_test(dirty_and_used_bitmaps_are_not_evicted),
		cmocka_unit_test(a_cache_in_use_grows_beyond_its_bound),
		cmocka_unit_test(stale_loads_are_dropped),
		cmocka_unit_test(shrinking_takes_the_oldest_that_are_idle),
		cmocka_unit_test_teardown(
			clean_evictions_do_not_spoil_other_loads,
			many_teardown),
		cmocka_unit_test(bitmap_length_follows_the_block_size),
	};

	return run_group("bitmap", tests);
}
