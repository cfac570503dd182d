// SPDX-License-Identifier: GPL-2.0-or-later
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

static enum vhd_map_kind map_read(struct rig *r, u64 sector, u32 sectors,
				  struct vhd_extent *ext)
{
	struct vhd_hold hold = { };

	vhd_map_read(&r->img, sector, sectors, &hold, ext);
	vhd_map_done(&r->img, &hold, 0);
	return ext->kind;
}

static enum vhd_map_kind map_fast(struct rig *r, u64 sector, u64 *pos)
{
	return vhd_map_fast(&r->img, sector, pos);
}

/* ---- fixed images ----------------------------------------------------- */

static void fixed_images_map_one_to_one(void **state)
{
	struct vhd_hold hold;
	struct vhd_extent ext;
	struct rig r;
	u64 pos;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_FIXED, 5 * MIB, 0);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(map_fast(&r, 77, &pos), VHD_MAP_DATA);
	assert_int_equal(pos, 77 * 512);
	assert_int_equal(map_read(&r, 9999, 100, &ext), VHD_MAP_DATA);
	assert_int_equal(ext.pos, 9999 * 512);
	assert_int_equal(ext.sectors, 100);
	assert_int_equal(vhd_map_write(&r.img, 5, 10000, &hold, &ext), 0);
	assert_int_equal(ext.kind, VHD_MAP_DATA);
	assert_int_equal(ext.pos, 5 * 512);
	assert_int_equal(ext.sectors, 10000);
	assert_false(vhd_map_done(&r.img, &hold, 0));
	assert_false(vhd_dirty(&r.img));
	assert_int_equal(rig_write(&r, 3, 5, 8), 0);
	rig_expect(&r, 3, 5, 8);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_FLUSH), 1);
	rig_free(&r);
}

/* ---- reads ------------------------------------------------------------ */

static void unallocated_blocks_read_zeros(void **state)
{
	struct vhd_extent ext;
	struct rig r;
	u64 pos;

	rig_dynamic(&r, 4, BS);
	assert_int_equal(map_fast(&r, BLKS, &pos), VHD_MAP_ZERO);
	assert_int_equal(map_read(&r, BLKS + 3, 50, &ext), VHD_MAP_ZERO);
	assert_int_equal(ext.sectors, 50);
	rig_free(&r);
}

static void full_blocks_map_fast(void **state)
{
	struct rig r;
	u64 pos;

	rig_dynamic(&r, 4, BS);
	assert_int_equal(rig_write(&r, BLKS + 5, 1, 1), 0);
	assert_int_equal(map_fast(&r, BLKS + 7, &pos), VHD_MAP_SLOW);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(map_fast(&r, BLKS + 7, &pos), VHD_MAP_DATA);
	assert_int_equal(pos, r.img.bat[1] * 512ULL + 512 + 7 * 512);
	/* After opening again only a look at the bitmap tells. */
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_int_equal(map_fast(&r, BLKS + 7, &pos), VHD_MAP_SLOW);
	rig_expect(&r, BLKS + 5, 1, 1);
	assert_int_equal(map_fast(&r, BLKS + 7, &pos), VHD_MAP_DATA);
	rig_free(&r);
}

/* A foreign image of one size; bits of block 1: set 0-9, 100-199, 300-end. */
static void foreign(struct rig *r, struct build *b, u32 block_size,
		    unsigned int flags)
{
	u32 sectors = block_size / 512;
	u32 n = min(sectors, 512U);

	rig_init(r);
	build_init(b, VHD_TYPE_DYNAMIC, 3ULL * block_size - 512, block_size);
	build_block(b, 2);
	build_block(b, 1);
	build_write(b, &r->mem);
	build_tag(b, &r->mem, 1, 0, n, 5);
	if (sectors >= 512) {
		build_bits(b, &r->mem, 1, 10, 90, false);
		build_bits(b, &r->mem, 1, 200, 100, false);
	} else {
		build_bits(b, &r->mem, 1, 2, 4, false);
	}
	assert_int_equal(rig_open(r, flags), 0);
}

static void clear_bits_read_zeros_run_by_run(void **state)
{
	const u32 sizes[] = { 512 << 10, 1 << 20, 2 << 20, 4 << 20, 64 << 20,
			      256 << 20 };
	struct vhd_extent ext;
	struct build b;
	struct rig r;
	u32 i, n;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		foreign(&r, &b, sizes[i], 0);
		n = sizes[i] / 512;
		assert_int_equal(map_read(&r, n, n, &ext), VHD_MAP_BITMAP);
		assert_int_equal(r.img.counters.bitmap_hits, 0);
		assert_int_equal(rig_load(&r, 1), 0);
		assert_int_equal(map_read(&r, n, n, &ext), VHD_MAP_DATA);
		assert_int_equal(r.img.counters.bitmap_hits, 1);
		assert_int_equal(r.img.counters.bitmap_misses, 1);
		assert_int_equal(ext.sectors, 10);
		assert_int_equal(ext.pos, build_data_pos(&b, 1));
		assert_int_equal(map_read(&r, n + 10, n - 10, &ext),
				 VHD_MAP_ZERO);
		assert_int_equal(ext.sectors, 90);
		assert_int_equal(map_read(&r, n + 150, n - 150, &ext),
				 VHD_MAP_DATA);
		assert_int_equal(ext.sectors, 50);
		assert_int_equal(ext.pos, build_data_pos(&b, 1) + 150 * 512);
		assert_int_equal(map_read(&r, n + 300, n - 300, &ext),
				 VHD_MAP_DATA);
		assert_int_equal(ext.sectors, n - 300);
		rig_expect(&r, n, 10, 5);
		rig_expect(&r, n + 10, 90, 0);
		rig_expect(&r, n + 100, 100, 5);
		rig_expect(&r, n + 200, 100, 0);
		rig_expect(&r, n + 300, 200, 5);
		build_free(&b);
		rig_free(&r);
	}
}

static void small_blocks_are_read(void **state)
{
	struct build b;
	struct rig r;

	foreign(&r, &b, 4096, 0);
	rig_expect(&r, 8, 2, 5);
	rig_expect(&r, 10, 4, 0);
	rig_expect(&r, 14, 2, 5);
	/* The last block ends a sector early. */
	rig_expect(&r, 16, 7, 0);
	build_free(&b);
	rig_free(&r);
}

static void the_last_partial_block_is_full_in_the_file(void **state)
{
	struct rig r;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, 2ULL * BS + 3 * 512, BS);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(r.img.nr_blocks, 3);
	assert_int_equal(rig_write(&r, 2 * BLKS, 3, 9), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	assert_int_equal(r.mem.now.size, 0x1E00 + STRIDE + 512);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(&r));
	rig_expect(&r, 2 * BLKS, 3, 9);
	rig_free(&r);
}

static void bits_beyond_the_disk_do_not_matter(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, BS + 3 * 512, BS);
	build_block(&b, 1);
	build_write(&b, &r.mem);
	build_bits(&b, &r.mem, 1, 3, BLKS - 3, false);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	rig_expect(&r, BLKS, 3, 0);
	assert_true(test_bit(1, r.img.full));
	build_free(&b);
	rig_free(&r);
}

static void damaged_blocks_are_bad_everywhere(void **state)
{
	struct vhd_extent ext;
	struct build b;
	struct rig r;
	u64 pos;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 3ULL * BS, BS);
	b.bat[1] = 1;
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, 0), 0);
	assert_int_equal(map_fast(&r, BLKS, &pos), VHD_MAP_BAD);
	assert_int_equal(map_read(&r, BLKS, 1, &ext), VHD_MAP_BAD);
	build_free(&b);
	rig_free(&r);
}

/* ---- writes ----------------------------------------------------------- */

static void read_only_images_refuse_writes(void **state)
{
	struct vhd_hold hold;
	struct vhd_extent ext;
	struct rig r;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, 3ULL * BS, BS);
	assert_int_equal(rig_open(&r, 0), 0);
	assert_int_equal(vhd_map_write(&r.img, 0, 1, &hold, &ext), -EROFS);
	/* And a commit of one is a flush. */
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(r.mem.nr_ops, 1);
	rig_free(&r);
}

static void one_block_gets_one_slot(void **state)
{
	struct rig_req q[64];
	struct rig r;
	u32 i;

	rig_dynamic(&r, 4, BS);
	for (i = 0; i < ARRAY_SIZE(q); i++) {
		assert_int_equal(rig_map(&r, &q[i], BLKS + i * 3, 3), 0);
		assert_int_equal(q[i].ext.pos, q[0].ext.pos + i * 3 * 512);
	}
	assert_int_equal(r.img.counters.allocations, 1);
	for (i = 0; i < ARRAY_SIZE(q); i++) {
		assert_int_equal(rig_data(&r, &q[i], i + 1), 0);
		/* Only the first makes something dirty. */
		assert_int_equal(rig_done(&r, &q[i], 0), i == 0);
	}
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, 0);
	for (i = 0; i < ARRAY_SIZE(q); i++)
		rig_expect(&r, BLKS + i * 3, 3, i + 1);
	rig_free(&r);
}

struct writer {
	struct rig *r;
	u32 id;
	u32 places[256];
};

/* Maps and completes; the file itself is not for many threads. */
static void *writer_run(void *arg)
{
	struct writer *w = arg;
	struct vhd_hold hold;
	struct vhd_extent ext;
	u32 round, block;

	for (round = 0; round < 4; round++) {
		for (block = 0; block < 256; block++) {
			if (vhd_map_write(&w->r->img, block * BLKS + w->id, 1,
					  &hold, &ext) ||
			    ext.kind != VHD_MAP_DATA)
				return arg;
			w->places[block] = ext.pos / 512 - w->id;
			vhd_map_done(&w->r->img, &hold, 0);
		}
	}
	return NULL;
}

static void many_writers_share_slots_and_never_a_wrong_one(void **state)
{
	struct writer w[4];
	pthread_t threads[4];
	struct rig r;
	void *failed;
	u32 i, j;

	rig_dynamic(&r, 256, BS);
	while (r.img.space.tail < r.img.space.data_end + 256 * STRIDE)
		assert_int_equal(rig_prepare(&r), 0);
	for (i = 0; i < 4; i++) {
		w[i] = (struct writer) { .r = &r, .id = i };
		assert_int_equal(pthread_create(&threads[i], NULL, writer_run,
						&w[i]), 0);
	}
	for (i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_int_equal(r.img.counters.allocations, 256);
	assert_int_equal(r.img.new_blocks.nr_written, 256);
	for (j = 0; j < 256; j++)
		for (i = 0; i < 4; i++)
			assert_int_equal(w[i].places[j], r.img.bat[j] + 1);
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(&r));
	assert_int_equal(r.img.nr_allocated, 256);
	rig_free(&r);
}

static void a_table_of_new_blocks_that_is_full_asks_for_a_commit(void **state)
{
	struct vhd_hold hold;
	struct vhd_extent ext;
	struct rig r;
	u32 i;

	rig_dynamic(&r, VHD_NR_NEW + 10, BS);
	for (i = 0; i < VHD_NR_NEW; i++)
		assert_int_equal(rig_write(&r, (u64)i * BLKS, 1, i + 1), 0);
	assert_int_equal(r.img.counters.commits, 0);
	assert_int_equal(vhd_map_write(&r.img, (u64)i * BLKS, 1, &hold, &ext),
			 0);
	assert_int_equal(ext.kind, VHD_MAP_COMMIT);
	assert_false(vhd_map_done(&r.img, &hold, 0));
	/* A known block is no new block. */
	assert_int_equal(rig_write(&r, 5, 1, 9), 0);
	assert_int_equal(r.img.counters.commits, 0);
	assert_int_equal(rig_write(&r, (u64)i * BLKS, 1, i + 1), 0);
	assert_int_equal(r.img.counters.commits, 1);
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, 0);
	for (i = 0; i <= VHD_NR_NEW; i++)
		rig_expect(&r, (u64)i * BLKS, 1, i + 1);
	rig_free(&r);
}

static void writing_clear_bits_sets_them(void **state)
{
	struct build b;
	struct rig_req q;
	struct rig r;

	foreign(&r, &b, BS, VHD_OPEN_WRITE);
	assert_int_equal(rig_map(&r, &q, BLKS + 20, 4), 0);
	assert_int_equal(rig_data(&r, &q, 6), 0);
	/* Not before the write has completed. */
	rig_expect(&r, BLKS + 20, 4, 0);
	assert_true(rig_done(&r, &q, 0));
	rig_expect(&r, BLKS + 20, 4, 6);
	rig_expect(&r, BLKS + 19, 1, 0);
	rig_expect(&r, BLKS + 24, 1, 0);
	assert_true(vhd_dirty(&r.img));
	/* Set bits are not set again. */
	assert_int_equal(rig_map(&r, &q, BLKS + 20, 4), 0);
	assert_false(rig_done(&r, &q, 0));
	/* Nor does a failed write set any. */
	assert_int_equal(rig_map(&r, &q, BLKS + 40, 4), 0);
	assert_false(rig_done(&r, &q, -EIO));
	rig_expect(&r, BLKS + 40, 4, 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_false(vhd_dirty(&r.img));
	rig_reopen(&r, 0);
	rig_expect(&r, BLKS + 10, 10, 0);
	rig_expect(&r, BLKS + 20, 4, 6);
	rig_expect(&r, BLKS + 24, 76, 0);
	rig_expect(&r, BLKS + 100, 100, 5);
	build_free(&b);
	rig_free(&r);
}

static void a_bitmap_become_full_leaves_the_cache(void **state)
{
	struct build b;
	struct rig r;
	u64 pos;

	foreign(&r, &b, BS, VHD_OPEN_WRITE);
	assert_int_equal(rig_write(&r, BLKS + 10, 90, 1), 0);
	assert_int_equal(rig_write(&r, BLKS + 200, 100, 2), 0);
	assert_int_equal(map_fast(&r, BLKS, &pos), VHD_MAP_SLOW);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(r.img.bitmaps.nr, 0);
	assert_int_equal(map_fast(&r, BLKS, &pos), VHD_MAP_DATA);
	rig_expect(&r, BLKS + 10, 90, 1);
	rig_expect(&r, BLKS + 200, 100, 2);
	build_free(&b);
	rig_free(&r);
}

/* ---- failed writes ---------------------------------------------------- */

/*
 * In qemu's driver the entry stays and the space does not: the next allocation
 * shares the failed block, and both are destroyed.
 */
static void a_failed_first_write_takes_entry_and_slot_back(void **state)
{
	const int errors[] = { -EIO, -ENOSPC };
	struct rig r;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		rig_dynamic(&r, 8, BS);
		assert_int_equal(rig_prepare(&r), 0);
		mem_fail(&r.mem, VHD_IO_WRITE, 1, errors[i]);
		assert_int_equal(rig_write(&r, 0, 8, 0xAA), errors[i]);
		assert_int_equal(r.img.bat[0], VHD_BAT_UNUSED);
		assert_int_equal(r.img.nr_allocated, 0);
		assert_int_equal(r.img.space.freed.nr, 1);
		assert_int_equal(r.img.counters.rollbacks, 1);
		assert_false(vhd_dirty(&r.img));
		assert_int_equal(rig_write(&r, BLKS, 8, 0xBB), 0);
		rig_expect(&r, 0, 8, 0);
		assert_int_equal(rig_write(&r, 0, 8, 0xCC), 0);
		rig_expect(&r, BLKS, 8, 0xBB);
		rig_expect(&r, 0, 8, 0xCC);
		assert_int_not_equal(r.img.bat[0], r.img.bat[1]);
		assert_int_equal(rig_commit(&r), 0);
		rig_reopen(&r, VHD_OPEN_WRITE);
		assert_true(rig_harmless(&r));
		rig_expect(&r, 0, 8, 0xCC);
		rig_expect(&r, BLKS, 8, 0xBB);
		rig_free(&r);
	}
}

/* What a failed write left in its slot is nobody's to read. */
static void a_slot_taken_back_is_zeroed_before_it_is_used_again(void **state)
{
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_prepare(&r), 0);
	mem_fail(&r.mem, VHD_IO_WRITE, 1, -EIO);
	r.mem.fault.partial = BS / 2;
	assert_int_equal(rig_write(&r, 0, BLKS, 0xAA), -EIO);
	assert_int_equal(rig_write(&r, 3 * BLKS + 7, 1, 0xBB), 0);
	assert_int_equal(r.img.bat[3], 0x1E00 / 512);
	rig_expect(&r, 3 * BLKS, 7, 0);
	rig_expect(&r, 3 * BLKS + 7, 1, 0xBB);
	rig_expect(&r, 3 * BLKS + 8, BLKS - 8, 0);
	rig_free(&r);
}

static void a_block_with_one_good_write_stays(void **state)
{
	struct rig_req q[3];
	struct rig r;
	u32 i;

	rig_dynamic(&r, 8, BS);
	for (i = 0; i < 3; i++)
		assert_int_equal(rig_map(&r, &q[i], i * 8, 8), 0);
	assert_false(rig_done(&r, &q[0], -EIO));
	assert_int_not_equal(r.img.bat[0], VHD_BAT_UNUSED);
	assert_int_equal(rig_data(&r, &q[1], 5), 0);
	assert_true(rig_done(&r, &q[1], 0));
	assert_false(rig_done(&r, &q[2], -EIO));
	assert_int_not_equal(r.img.bat[0], VHD_BAT_UNUSED);
	assert_int_equal(r.img.counters.rollbacks, 0);
	rig_expect(&r, 8, 8, 5);
	rig_free(&r);
}

static void the_last_of_several_failures_rolls_back(void **state)
{
	struct rig_req q[3];
	struct rig r;
	u32 i;

	rig_dynamic(&r, 8, BS);
	for (i = 0; i < 3; i++)
		assert_int_equal(rig_map(&r, &q[i], i * 8, 8), 0);
	for (i = 0; i < 3; i++) {
		assert_int_not_equal(r.img.bat[0], VHD_BAT_UNUSED);
		rig_done(&r, &q[i], -EIO);
	}
	assert_int_equal(r.img.bat[0], VHD_BAT_UNUSED);
	assert_int_equal(r.img.counters.rollbacks, 1);
	assert_int_equal(r.img.new_blocks.nr_used, 0);
	rig_free(&r);
}

/* A reader on its way to a slot keeps it from being given to another block. */
static void a_reader_holds_the_slot(void **state)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext;
	struct rig_req q;
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_map(&r, &q, 0, 8), 0);
	vhd_map_read(&r.img, 0, 8, &hold, &ext);
	assert_int_equal(ext.kind, VHD_MAP_DATA);
	rig_done(&r, &q, -EIO);
	assert_int_equal(r.img.space.freed.nr, 0);
	/* The same range once more, as after a bitmap was loaded. */
	vhd_map_read(&r.img, 4, 4, &hold, &ext);
	assert_false(vhd_map_done(&r.img, &hold, 0));
	assert_int_equal(r.img.space.freed.nr, 1);
	assert_int_equal(r.img.bat[0], VHD_BAT_UNUSED);
	/* A hold that holds nothing. */
	assert_false(vhd_map_done(&r.img, &hold, 0));
	rig_free(&r);
}

static void a_write_revives_a_block_whose_first_write_failed(void **state)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext;
	struct rig_req q;
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_map(&r, &q, 0, 8), 0);
	vhd_map_read(&r.img, 0, 8, &hold, &ext);
	rig_done(&r, &q, -EIO);
	assert_int_equal(rig_write(&r, 16, 8, 4), 0);
	vhd_map_done(&r.img, &hold, 0);
	assert_int_equal(r.img.counters.rollbacks, 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, 0);
	rig_expect(&r, 16, 8, 4);
	rig_free(&r);
}

static void enospc_reaches_the_writer_and_all_else_goes_on(void **state)
{
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_write(&r, 0, 8, 1), 0);
	r.mem.limit = r.mem.now.size;
	assert_int_equal(rig_write(&r, BLKS, 8, 2), -ENOSPC);
	assert_int_equal(rig_write(&r, 7 * BLKS, 8, 2), -ENOSPC);
	rig_expect(&r, 0, 8, 1);
	rig_expect(&r, 7 * BLKS, 8, 0);
	assert_int_equal(rig_write(&r, 8, 8, 3), 0);
	assert_int_equal(rig_commit(&r), 0);
	r.mem.limit = ~0ULL;
	assert_int_equal(rig_write(&r, 7 * BLKS, 8, 4), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_int_equal(r.nr_found, 0);
	rig_expect(&r, 0, 8, 1);
	rig_expect(&r, 8, 8, 3);
	rig_expect(&r, 7 * BLKS, 8, 4);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed_images_map_one_to_one),
		cmocka_unit_test(unallocated_blocks_read_zeros),
		cmocka_unit_test(full_blocks_map_fast),
		cmocka_unit_test(clear_bits_read_zeros_run_by_run),
		cmocka_unit_test(small_blocks_are_read),
		cmocka_unit_test(the_last_partial_block_is_full_in_the_file),
		cmocka_unit_test(bits_beyond_the_disk_do_not_matter),
		cmocka_unit_test(damaged_blocks_are_bad_everywhere),
		cmocka_unit_test(read_only_images_refuse_writes),
		cmocka_unit_test(one_block_gets_one_slot),
		cmocka_unit_test(many_writers_share_slots_and_never_a_wrong_one),
		cmocka_unit_test(
			a_table_of_new_blocks_that_is_full_asks_for_a_commit),
		cmocka_unit_test(writing_clear_bits_sets_them),
		cmocka_unit_test(a_bitmap_become_full_leaves_the_cache),
		cmocka_unit_test(a_failed_first_write_takes_entry_and_slot_back),
		cmocka_unit_test(
			a_slot_taken_back_is_zeroed_before_it_is_used_again),
		cmocka_unit_test(a_block_with_one_good_write_stays),
		cmocka_unit_test(the_last_of_several_failures_rolls_back),
		cmocka_unit_test(a_reader_holds_the_slot),
		cmocka_unit_test(
			a_write_revives_a_block_whose_first_write_failed),
		cmocka_unit_test(enospc_reaches_the_writer_and_all_else_goes_on),
	};

	return run_group("map", tests);
}
