// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define UNMAP	VHD_ZERO_UNMAP
#define DISCARD	(VHD_ZERO_UNMAP | VHD_ZERO_DISCARD)

/* An image whose first @written blocks hold their number + 1, committed. */
static void make_written(struct rig *r, u32 blocks, u32 written)
{
	u32 i;

	rig_dynamic(r, blocks, BS);
	for (i = 0; i < written; i++)
		assert_int_equal(rig_write(r, i * (u64)BLKS, BLKS, i + 1), 0);
	assert_int_equal(rig_commit(r), 0);
	mem_settle(&r->mem);
}

static u32 write_and_place(struct rig *r, u32 block)
{
	assert_int_equal(rig_write(r, block * (u64)BLKS, 1, 77), 0);
	return r->img.bat[block];
}

/* ---- zeroing where the data are ---------------------------------------- */

static void a_part_of_a_block_is_zeroed_in_its_slot(void **state)
{
	struct rig r;

	make_written(&r, 8, 2);
	assert_int_equal(rig_zero(&r, BLKS + 8, 16, UNMAP), 0);
	assert_int_equal(r.mem.nr_ops, 1);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_ZERO);
	assert_int_equal(r.mem.ops[0].pos,
			 vhd_data_pos(&r.img, r.img.bat[1]) + 8 * 512);
	assert_int_equal(r.mem.ops[0].len, 16 * 512);
	rig_expect(&r, BLKS, 8, 2);
	rig_expect(&r, BLKS + 8, 16, 0);
	rig_expect(&r, BLKS + 24, BLKS - 24, 2);
	assert_false(vhd_dirty(&r.img));
	rig_free(&r);
}

static void what_is_not_allocated_costs_nothing(void **state)
{
	struct vhd_extent ext;
	struct vhd_hold hold;
	struct rig r;

	rig_dynamic(&r, 1000, BS);
	mem_settle(&r.mem);
	assert_int_equal(vhd_map_zero(&r.img, 5, 600 * BLKS, 0, &hold, &ext), 0);
	assert_int_equal(ext.kind, VHD_MAP_ZERO);
	assert_true(ext.sectors > 200 * BLKS);
	assert_int_equal(rig_zero(&r, 0, 1000ULL * BLKS, UNMAP), 0);
	assert_int_equal(rig_zero(&r, 0, 1000ULL * BLKS, 0), 0);
	assert_int_equal(r.mem.nr_ops, 0);
	assert_false(vhd_dirty(&r.img));
	rig_free(&r);
}

static void without_unmap_blocks_keep_their_slots(void **state)
{
	struct rig r;

	make_written(&r, 8, 3);
	assert_int_equal(rig_zero(&r, 0, 8ULL * BLKS, 0), 0);
	assert_int_equal(r.img.nr_allocated, 3);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_ZERO), 3);
	rig_expect(&r, 0, 8 * BLKS, 0);
	rig_free(&r);
}

static void a_fixed_image_is_zeroed_where_it_is(void **state)
{
	struct rig r;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_FIXED, 4 * MIB, 0);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(rig_write(&r, 0, 64, 5), 0);
	assert_int_equal(rig_zero(&r, 8, 16, DISCARD), 0);
	rig_expect(&r, 0, 8, 5);
	rig_expect(&r, 8, 16, 0);
	rig_expect(&r, 24, 40, 5);
	rig_free(&r);
}

/* Sectors 8 to 15 and 64 to 127 of each block are not written, but hold junk. */
static void make_partial(struct rig *r, u32 blocks)
{
	struct build b;
	u32 i;

	rig_init(r);
	build_init(&b, VHD_TYPE_DYNAMIC, (u64)blocks * BS, BS);
	for (i = 0; i < blocks; i++)
		build_block(&b, i);
	build_write(&b, &r->mem);
	for (i = 0; i < blocks; i++) {
		build_tag(&b, &r->mem, i, 0, BLKS, i + 1);
		build_bits(&b, &r->mem, i, 8, 8, false);
		build_bits(&b, &r->mem, i, 64, 64, false);
	}
	build_free(&b);
	mem_settle(&r->mem);
	assert_int_equal(rig_open(r, VHD_OPEN_WRITE), 0);
}

static void clear_bits_stay_clear(void **state)
{
	struct rig r;

	make_partial(&r, 2);
	assert_int_equal(rig_zero(&r, 4, 80, UNMAP), 0);
	/* 4 to 7 and 16 to 63. */
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_ZERO), 2);
	assert_int_equal(r.mem.ops[0].len, 4 * 512);
	assert_int_equal(r.mem.ops[1].len, 48 * 512);
	rig_expect(&r, 0, 4, 1);
	rig_expect(&r, 4, 124, 0);
	rig_expect(&r, 128, 100, 1);
	assert_false(vhd_dirty(&r.img));
	rig_free(&r);
}

static void a_block_with_a_bitmap_is_unmapped_if_nobody_uses_it(void **state)
{
	struct vhd_bitmap *loading;
	struct rig_req q;
	struct rig r;

	make_partial(&r, 3);
	/* In the cache. */
	rig_expect(&r, 8, 8, 0);
	assert_int_equal(r.img.bitmaps.nr, 1);
	loading = vhd_bitmap_alloc(&r.img, 0);
	assert_int_equal(rig_zero(&r, 0, BLKS, UNMAP), 0);
	assert_int_equal(r.img.bat[0], VHD_BAT_UNUSED);
	assert_int_equal(r.img.bitmaps.nr, 0);
	/* What was being read is of the slot of before. */
	assert_int_equal(rig_write(&r, 0, 1, 9), 0);
	vhd_bitmap_add(&r.img, loading);
	assert_int_equal(r.img.bitmaps.nr, 0);
	rig_expect(&r, 0, 1, 9);
	rig_expect(&r, 1, BLKS - 1, 0);
	/* Not in the cache. */
	assert_int_equal(rig_zero(&r, 2 * BLKS, BLKS, UNMAP), 0);
	assert_int_equal(r.img.bat[2], VHD_BAT_UNUSED);
	/* In use. */
	assert_int_equal(rig_map(&r, &q, BLKS + 8, 1), 0);
	assert_int_equal(rig_zero(&r, BLKS, BLKS, UNMAP), 0);
	assert_int_not_equal(r.img.bat[1], VHD_BAT_UNUSED);
	rig_done(&r, &q, -EIO);
	rig_expect(&r, BLKS, BLKS, 0);
	rig_free(&r);
}

static void damaged_blocks_are_left_alone(void **state)
{
	struct vhd_extent ext;
	struct vhd_hold hold;
	struct rig r;

	make_written(&r, 8, 3);
	r.img.bat[1] = VHD_BAT_BAD;
	clear_bit(1, r.img.full);
	assert_int_equal(vhd_map_zero(&r.img, 0, 3 * BLKS, UNMAP, &hold, &ext),
			 0);
	assert_int_equal(ext.kind, VHD_MAP_ZERO);
	assert_int_equal(ext.sectors, BLKS);
	assert_int_equal(vhd_map_zero(&r.img, BLKS, BLKS, UNMAP, &hold, &ext),
			 0);
	assert_int_equal(ext.kind, VHD_MAP_BAD);
	rig_free(&r);
}

static void read_only_and_failed_images_refuse(void **state)
{
	struct vhd_extent ext;
	struct vhd_hold hold;
	struct rig r;

	make_written(&r, 8, 1);
	r.img.failed = -EIO;
	assert_int_equal(vhd_map_zero(&r.img, 0, 8, 0, &hold, &ext), -EIO);
	rig_reopen(&r, 0);
	assert_int_equal(vhd_map_zero(&r.img, 0, 8, 0, &hold, &ext), -EROFS);
	rig_free(&r);
}

/* ---- the life of a slot -------------------------------------------------- */

static void a_slot_is_free_after_commit_and_drain_only(void **state)
{
	struct rig r;
	u32 old;
	u64 size;

	make_written(&r, 100, 3);
	old = r.img.bat[1];
	assert_int_equal(rig_zero(&r, BLKS, BLKS, UNMAP), 0);
	assert_int_equal(r.mem.nr_ops, 0);
	assert_true(vhd_dirty(&r.img));
	assert_int_equal(r.img.nr_allocated, 2);
	rig_expect(&r, BLKS, BLKS, 0);
	rig_expect(&r, 0, BLKS, 1);
	rig_expect(&r, 2 * BLKS, BLKS, 3);
	assert_int_equal(rig_disk_entry(&r, 1), old);
	/* In quarantine: writes go elsewhere. */
	assert_int_not_equal(write_and_place(&r, 10), old);
	assert_int_equal(vhd_unmap_draining(&r.img), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_disk_entry(&r, 1), VHD_BAT_UNUSED);
	/* Draining. */
	assert_int_equal(vhd_unmap_draining(&r.img), 1);
	assert_false(vhd_unmap_freed(&r.img));
	assert_int_not_equal(write_and_place(&r, 11), old);
	rig_release(&r);
	assert_int_equal(vhd_unmap_draining(&r.img), 0);
	assert_true(vhd_unmap_freed(&r.img));
	/* Free: it is punched, and used again before the file grows. */
	size = r.mem.now.size;
	assert_int_equal(r.img.space.ready.nr, 0);
	mem_settle(&r.mem);
	assert_int_equal(rig_punch(&r), 0);
	assert_int_equal(mem_find_op(&r.mem, VHD_IO_ZERO, old * 512ULL, 0), 0);
	assert_int_equal(r.mem.ops[0].len, BS + 512);
	assert_int_equal(write_and_place(&r, 12), old);
	assert_int_equal(r.mem.now.size, size);
	assert_true(mem_find_op(&r.mem, VHD_IO_RESERVE, old * 512ULL, 1) > 0);
	rig_expect(&r, 12 * BLKS + 1, BLKS - 1, 0);
	rig_free(&r);
}

static void unmapping_alone_commits_with_one_flush(void **state)
{
	struct rig r;

	make_written(&r, 300, 3);
	assert_int_equal(rig_zero(&r, 0, 300ULL * BLKS, UNMAP), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(r.mem.nr_ops, 2);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_WRITE);
	assert_int_equal(r.mem.ops[0].pos, r.img.table_offset);
	assert_int_equal(r.mem.ops[1].kind, VHD_IO_FLUSH);
	assert_int_equal(r.img.counters.unmaps, 3);
	rig_free(&r);
}

static void freed_neighbours_are_punched_together(void **state)
{
	struct rig r;
	u32 reserved;
	u64 end;

	make_written(&r, 100, 8);
	reserved = (r.img.space.tail - 0x1E00) / STRIDE - 8;
	assert_int_not_equal(reserved, 0);
	assert_int_equal(rig_zero(&r, 0, 3 * BLKS, UNMAP), 0);
	assert_int_equal(rig_zero(&r, 5 * BLKS, 2 * BLKS, UNMAP), 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_release(&r);
	mem_settle(&r.mem);
	assert_int_equal(rig_punch(&r), 0);
	/* And what had been reserved behind the last block. */
	assert_int_equal(r.mem.nr_ops, 2 + 1);
	end = 0x1E00 + 2 * STRIDE + BS + 512;
	assert_int_equal(r.mem.ops[0].pos, 0x1E00);
	assert_int_equal(r.mem.ops[0].len, end - 0x1E00);
	assert_int_equal(r.mem.ops[1].pos, 0x1E00 + 5 * STRIDE);
	assert_int_equal(r.mem.ops[2].pos, 0x1E00 + 8 * STRIDE);
	assert_int_equal(r.img.space.holes.nr, 5 + reserved);
	rig_expect(&r, 3 * BLKS, BLKS, 4);
	rig_expect(&r, 7 * BLKS, BLKS, 8);
	rig_free(&r);
}

static void what_cannot_be_punched_is_zeroed_when_needed(void **state)
{
	struct rig r;
	u32 old;

	make_written(&r, 100, 2);
	/* A place in the list of gaps. */
	assert_int_equal(vhd_slots_reserve(&r.img, &r.img.space.gaps, 4), 0);
	old = r.img.bat[0];
	assert_int_equal(rig_zero(&r, 0, BLKS, UNMAP), 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_release(&r);
	mem_fail(&r.mem, VHD_IO_ZERO, 1, -EIO);
	assert_int_equal(rig_punch(&r), -EIO);
	assert_int_equal(write_and_place(&r, 50), old);
	rig_expect(&r, 50 * BLKS + 1, BLKS - 1, 0);
	rig_free(&r);
}

static void a_block_written_again_gets_another_slot(void **state)
{
	struct rig r;
	u32 old, new;

	make_written(&r, 100, 2);
	old = r.img.bat[0];
	assert_int_equal(rig_zero(&r, 0, BLKS, UNMAP), 0);
	new = write_and_place(&r, 0);
	assert_int_not_equal(new, old);
	assert_int_equal(rig_disk_entry(&r, 0), old);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_disk_entry(&r, 0), new);
	assert_int_equal(vhd_unmap_draining(&r.img), 1);
	rig_release(&r);
	rig_expect(&r, 0, 1, 77);
	rig_expect(&r, 1, BLKS - 1, 0);
	rig_free(&r);
}

static void a_new_block_gives_its_slot_back_at_once(void **state)
{
	struct rig r;
	u32 slot;

	make_written(&r, 100, 1);
	slot = write_and_place(&r, 5);
	assert_int_equal(rig_zero(&r, 5 * BLKS, BLKS, UNMAP), 0);
	assert_false(vhd_dirty(&r.img));
	assert_int_equal(r.img.new_blocks.nr_used, 0);
	assert_int_equal(r.img.space.freed.nr, 1);
	assert_int_equal(write_and_place(&r, 6), slot);
	rig_expect(&r, 6 * BLKS + 1, BLKS - 1, 0);
	rig_free(&r);
}

static void a_new_block_that_is_being_written_keeps_its_slot(void **state)
{
	struct rig_req q;
	struct rig r;
	u32 slot;

	make_written(&r, 100, 1);
	assert_int_equal(rig_map(&r, &q, 5 * BLKS, 8), 0);
	slot = r.img.bat[5];
	assert_int_equal(rig_zero(&r, 5 * BLKS, BLKS, UNMAP), 0);
	assert_int_equal(r.img.bat[5], VHD_BAT_UNUSED);
	assert_int_equal(r.img.space.freed.nr, 0);
	assert_int_not_equal(write_and_place(&r, 5), slot);
	assert_int_equal(rig_data(&r, &q, 1), 0);
	rig_done(&r, &q, 0);
	assert_int_equal(r.img.space.freed.nr, 1);
	assert_int_equal(r.img.new_blocks.nr_used, 1);
	rig_expect(&r, 5 * BLKS, 1, 77);
	rig_free(&r);
}

/* ---- and commits ----------------------------------------------------------- */

/* Run the plan for @n steps. */
static int steps(struct rig *r, int n)
{
	struct vhd_io io;
	int err = 0, ret = 1;

	while (n-- && (ret = vhd_plan_next(&r->commit.plan, err, &io)) > 0)
		err = mem_io(&r->mem, &io);
	return ret;
}

static void a_block_that_a_commit_is_publishing_is_unmapped_by_the_next(void **state)
{
	struct rig r;
	u32 slot, i;

	for (i = 1; i < 5; i++) {
		make_written(&r, 100, 1);
		slot = write_and_place(&r, 5);
		rig_unmark(&r);
		vhd_commit_begin(&r.commit);
		assert_int_equal(steps(&r, i), 1);
		assert_int_equal(rig_zero(&r, 5 * BLKS, BLKS, UNMAP), 0);
		assert_int_equal(steps(&r, 99), 0);
		assert_false(test_bit(5, r.img.full));
		assert_int_equal(r.img.new_blocks.nr_used, 0);
		assert_int_equal(r.img.space.freed.nr, 0);
		assert_true(vhd_dirty(&r.img));
		rig_expect(&r, 5 * BLKS, BLKS, 0);
		assert_int_not_equal(write_and_place(&r, 6), slot);
		assert_int_equal(rig_commit(&r), 0);
		assert_int_equal(rig_disk_entry(&r, 5), VHD_BAT_UNUSED);
		assert_int_equal(vhd_unmap_draining(&r.img), 1);
		rig_free(&r);
	}
}

/* The entry may be on disk although the commit failed. */
static void a_slot_exposed_by_a_failed_commit_is_quarantined(void **state)
{
	struct rig r;
	u32 slot;

	make_written(&r, 300, 1);
	slot = write_and_place(&r, 5);
	assert_int_equal(rig_write(&r, 299 * BLKS, 1, 1), 0);
	/* The second sector of the table. */
	mem_fail_at(&r.mem, VHD_IO_WRITE, vhd_bat_sector_pos(&r.img, 2), -EIO);
	assert_int_equal(rig_commit(&r), -EIO);
	mem_heal(&r.mem);
	assert_int_equal(rig_disk_entry(&r, 5), slot);
	assert_int_equal(rig_zero(&r, 5 * BLKS, BLKS, UNMAP), 0);
	assert_int_equal(r.img.space.freed.nr, 0);
	assert_int_not_equal(write_and_place(&r, 6), slot);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_disk_entry(&r, 5), VHD_BAT_UNUSED);
	assert_int_equal(vhd_unmap_draining(&r.img), 1);
	rig_free(&r);
}

static void a_failed_commit_leaves_unmaps_for_the_next(void **state)
{
	struct rig r;

	make_written(&r, 300, 3);
	assert_int_equal(rig_zero(&r, 0, BLKS, UNMAP), 0);
	vhd_commit_begin(&r.commit);
	mem_fail(&r.mem, VHD_IO_WRITE, 1, -EIO);
	/* Meanwhile another one. */
	assert_int_equal(rig_zero(&r, 2 * BLKS, BLKS, UNMAP), 0);
	assert_int_equal(steps(&r, 99), -EIO);
	assert_int_equal(vhd_unmap_draining(&r.img), 0);
	assert_int_equal(r.img.unmaps.nr_pending, 2);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(vhd_unmap_draining(&r.img), 2);
	assert_int_equal(rig_disk_entry(&r, 0), VHD_BAT_UNUSED);
	assert_int_equal(rig_disk_entry(&r, 2), VHD_BAT_UNUSED);
	rig_free(&r);
}

static void after_a_failed_flush_nothing_is_released(void **state)
{
	struct rig r;

	make_written(&r, 300, 3);
	assert_int_equal(rig_zero(&r, 0, BLKS, UNMAP), 0);
	mem_fail(&r.mem, VHD_IO_FLUSH, 1, -EIO);
	assert_int_equal(rig_commit(&r), -EIO);
	assert_int_equal(r.img.failed, -EIO);
	assert_int_equal(vhd_unmap_draining(&r.img), 0);
	assert_int_equal(rig_punch(&r), -EIO);
	assert_int_equal(rig_zero(&r, BLKS, BLKS, UNMAP), -EIO);
	rig_free(&r);
}

static void tidy_spares_what_the_table_on_disk_still_has(void **state)
{
	struct rig r;

	make_written(&r, 300, 3);
	assert_int_equal(rig_zero(&r, 2 * BLKS, BLKS, UNMAP), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(&r));
	rig_expect(&r, 2 * BLKS, BLKS, 3);
	/* And with a commit it cuts. */
	assert_int_equal(rig_zero(&r, 2 * BLKS, BLKS, UNMAP), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_int_equal(r.nr_found, 0);
	assert_int_equal(r.mem.now.size, 0x1E00 + 2 * STRIDE + 512);
	rig_free(&r);
}

static void unmaps_are_bounded_by_commits(void **state)
{
	u32 blocks = 3 * VHD_NR_UNMAPS / 2;
	struct vhd_extent ext;
	struct vhd_hold hold;
	u64 done = 0;
	struct rig r;
	u32 i;

	/* Entries only: nobody reads the blocks. */
	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, blocks * (u64)BS, BS);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	for (i = 0; i < blocks; i++) {
		r.img.bat[i] = (0x100000 + i * STRIDE) / 512;
		set_bit(i, r.img.full);
	}
	r.img.nr_allocated = blocks;
	for (;;) {
		assert_int_equal(vhd_map_zero(&r.img, done, 1U << 20, UNMAP,
					      &hold, &ext), 0);
		if (ext.kind != VHD_MAP_ZERO)
			break;
		done += ext.sectors;
	}
	assert_int_equal(ext.kind, VHD_MAP_COMMIT);
	assert_int_equal(done, VHD_NR_UNMAPS * (u64)BLKS);
	mem_settle(&r.mem);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(r.mem.nr_ops, VHD_NR_UNMAPS / VHD_BAT_PER_SECTOR + 1);
	assert_int_equal(rig_zero(&r, done, blocks * (u64)BLKS - done, UNMAP),
			 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(vhd_unmap_draining(&r.img), blocks);
	rig_release(&r);
	assert_int_equal(r.img.space.freed.nr, blocks);
	/* The lowest first, whatever the order. */
	for (i = 0; i < blocks; i++)
		assert_int_equal(vhd_slots_pop(&r.img.space.freed),
				 (0x100000 + i * STRIDE) / 512);
	rig_free(&r);
}

static void without_memory_blocks_are_zeroed_where_they_are(void **state)
{
	struct rig r;
	u32 nth;

	for (nth = 1; nth <= 5; nth++) {
		make_written(&r, 8, 2);
		vhd_shim_fail_alloc = nth;
		assert_int_equal(rig_zero(&r, 0, BLKS, UNMAP), 0);
		vhd_shim_fail_alloc = 0;
		/* Two lists of unmaps, two of slots; the third has room. */
		assert_int_equal(r.img.nr_allocated, nth < 5 ? 2 : 1);
		assert_int_equal(rig_zero(&r, BLKS, BLKS, 0), 0);
		rig_expect(&r, 0, 2 * BLKS, 0);
		assert_int_equal(rig_zero(&r, 0, 2 * BLKS, UNMAP), 0);
		assert_int_equal(r.img.nr_allocated, 0);
		rig_free(&r);
	}
}

/* ---- differencing images ----------------------------------------------------- */

static void make_differencing(struct rig *r)
{
	struct build b;

	rig_init(r);
	build_init(&b, VHD_TYPE_DIFFERENCING, 8ULL * BS, BS);
	build_block(&b, 0);
	build_block(&b, 1);
	build_write(&b, &r->mem);
	build_tag(&b, &r->mem, 0, 0, BLKS, 1);
	build_tag(&b, &r->mem, 1, 0, BLKS, 2);
	build_bits(&b, &r->mem, 1, 16, BLKS - 16, false);
	build_free(&b);
	mem_settle(&r->mem);
	assert_int_equal(rig_open(r, VHD_OPEN_WRITE), 0);
}

static void a_discard_never_shows_the_parent(void **state)
{
	struct rig r;

	make_differencing(&r);
	assert_int_equal(rig_zero(&r, 0, 8ULL * BLKS, DISCARD), 0);
	assert_int_equal(r.img.nr_allocated, 2);
	assert_false(vhd_dirty(&r.img));
	/* Block 0 as a whole, of block 1 what it has. */
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_ZERO), 2);
	assert_int_equal(r.mem.ops[0].len, BS);
	assert_int_equal(r.mem.ops[1].len, 16 * 512);
	rig_expect(&r, 0, BLKS + 16, 0);
	rig_free(&r);
}

static void write_zeroes_hide_the_parent(void **state)
{
	struct vhd_bitmap *bm;
	struct rig r;

	make_differencing(&r);
	assert_int_equal(rig_zero(&r, BLKS + 8, 24, UNMAP), 0);
	assert_true(vhd_dirty(&r.img));
	bm = vhd_bitmap_find(&r.img, 1);
	assert_non_null(bm);
	assert_true(vhd_bits_test(bm->live, 31));
	assert_false(vhd_bits_test(bm->live, 32));
	assert_int_equal(rig_zero(&r, 3 * BLKS, BLKS, UNMAP), 0);
	assert_int_equal(r.img.nr_allocated, 3);
	rig_expect(&r, 3 * BLKS, BLKS, 0);
	rig_free(&r);
}

/* ---- gaps ---------------------------------------------------------------------- */

static void gaps_are_used_before_the_file_grows(void **state)
{
	struct build b;
	u32 bat[8], i;
	struct rig r;
	u64 size;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 100ULL * BS, BS);
	/* Slots 2, 3 and 5 are free, and hold junk. */
	for (i = 0; i < 8; i++)
		build_block(&b, i);
	memcpy(bat, b.bat, sizeof(bat));
	b.bat[2] = b.bat[3] = b.bat[5] = VHD_BAT_UNUSED;
	build_write(&b, &r.mem);
	memcpy(b.bat, bat, sizeof(bat));
	for (i = 0; i < 8; i++)
		build_tag(&b, &r.mem, i, 0, BLKS, 100 + i);
	b.bat[2] = b.bat[3] = b.bat[5] = VHD_BAT_UNUSED;
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(r.img.space.gaps.nr, 3);
	size = r.mem.now.size;
	mem_settle(&r.mem);
	for (i = 0; i < 3; i++) {
		u32 at[] = { 2, 3, 5 };

		assert_int_equal(write_and_place(&r, 20 + i),
				 (0x1E00 + at[i] * STRIDE) / 512);
		rig_expect(&r, (20 + i) * BLKS + 1, BLKS - 1, 0);
	}
	assert_int_equal(r.mem.now.size, size);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	assert_int_equal(r.mem.now.size, size);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_int_equal(r.nr_found, 0);
	assert_int_equal(r.img.space.gaps.nr, 0);
	for (i = 0; i < 8; i++)
		if (b.bat[i] != VHD_BAT_UNUSED)
			rig_expect(&r, i * BLKS, BLKS, 100 + i);
	build_free(&b);
	rig_free(&r);
}

/* Unaligned blocks leave unaligned gaps that they fit exactly. */
static void gaps_of_unaligned_images_are_found(void **state)
{
	u32 slot = (BS + 512) / 512, base = 0x4000 / 512;
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 100ULL * BS, BS);
	build_block_at(&b, 0, base);
	build_block_at(&b, 1, base + 2 * slot);
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(r.img.space.gaps.nr, 1);
	assert_int_equal(r.img.space.gaps.at[0], base + slot);
	build_free(&b);
	rig_free(&r);
}

static void gaps_spare_metadata_and_its_slack(void **state)
{
	u64 far = 0x1000000, loc;
	struct build b;
	struct rig r;
	u32 i;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 100ULL * BS, BS);
	loc = 0x600000;
	build_locator(&b, 0, VHD_LOC_W2KU, loc, 8192, 20);
	build_block_at(&b, 0, far / 512 - 1);
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_true(r.img.space.gaps.nr >= 4);
	for (i = 0; i < r.img.space.gaps.nr; i++) {
		u64 pos = r.img.space.gaps.at[i] * 512ULL;

		assert_true(pos >= 0x600 + 100 * 4);
		assert_true(pos + BS + 512 <= loc || pos >= loc + 8192);
		assert_true(pos + BS + 512 <= far - 512);
		assert_int_equal((pos + 512) % 4096, 0);
	}
	build_free(&b);
	rig_free(&r);
}

static void damaged_tables_have_no_gaps(void **state)
{
	struct build b;
	struct rig r;
	u32 i;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 100ULL * BS, BS);
	for (i = 0; i < 8; i++)
		build_block(&b, i);
	b.bat[3] = VHD_BAT_UNUSED;
	b.bat[6] = b.bat[5] + 8;
	build_write(&b, &r.mem);
	rig_open(&r, VHD_OPEN_WRITE | VHD_OPEN_FORCE);
	assert_int_equal(r.img.space.gaps.nr, 0);
	build_free(&b);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_part_of_a_block_is_zeroed_in_its_slot),
		cmocka_unit_test(what_is_not_allocated_costs_nothing),
		cmocka_unit_test(without_unmap_blocks_keep_their_slots),
		cmocka_unit_test(a_fixed_image_is_zeroed_where_it_is),
		cmocka_unit_test(clear_bits_stay_clear),
		cmocka_unit_test(a_block_with_a_bitmap_is_unmapped_if_nobody_uses_it),
		cmocka_unit_test(damaged_blocks_are_left_alone),
		cmocka_unit_test(read_only_and_failed_images_refuse),
		cmocka_unit_test(a_slot_is_free_after_commit_and_drain_only),
		cmocka_unit_test(unmapping_alone_commits_with_one_flush),
		cmocka_unit_test(freed_neighbours_are_punched_together),
		cmocka_unit_test(what_cannot_be_punched_is_zeroed_when_needed),
		cmocka_unit_test(a_block_written_again_gets_another_slot),
		cmocka_unit_test(a_new_block_gives_its_slot_back_at_once),
		cmocka_unit_test(a_new_block_that_is_being_written_keeps_its_slot),
		cmocka_unit_test(a_block_that_a_commit_is_publishing_is_unmapped_by_the_next),
		cmocka_unit_test(a_slot_exposed_by_a_failed_commit_is_quarantined),
		cmocka_unit_test(a_failed_commit_leaves_unmaps_for_the_next),
		cmocka_unit_test(after_a_failed_flush_nothing_is_released),
		cmocka_unit_test(tidy_spares_what_the_table_on_disk_still_has),
		cmocka_unit_test(unmaps_are_bounded_by_commits),
		cmocka_unit_test(without_memory_blocks_are_zeroed_where_they_are),
		cmocka_unit_test(a_discard_never_shows_the_parent),
		cmocka_unit_test(write_zeroes_hide_the_parent),
		cmocka_unit_test(gaps_are_used_before_the_file_grows),
		cmocka_unit_test(gaps_of_unaligned_images_are_found),
		cmocka_unit_test(gaps_spare_metadata_and_its_slack),
		cmocka_unit_test(damaged_tables_have_no_gaps),
	};

	return run_group("unmap", tests);
}
