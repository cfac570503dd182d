// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "orphan.h"
#include "rig.h"

/* An image of @blocks blocks, sectors 8 to 15 of each not written. */
static void make_partial(struct rig *r, u32 blocks, u32 block_size)
{
	struct build b;
	u8 bits[512];
	u32 i;

	rig_init(r);
	build_init(&b, VHD_TYPE_DYNAMIC, (u64)blocks * block_size, block_size);
	for (i = 0; i < blocks; i++)
		build_block(&b, i);
	build_write(&b, &r->mem);
	memset(bits, 0xFF, sizeof(bits));
	bits[1] = 0;
	for (i = 0; i < blocks; i++)
		mem_write(&r->mem, (u64)b.bat[i] << 9, bits, sizeof(bits));
	mem_settle(&r->mem);
	build_free(&b);
	assert_int_equal(rig_open(r, VHD_OPEN_WRITE), 0);
}

/* Run the plan until it has done @n steps; < 0: to its end. */
static int steps(struct rig *r, struct vhd_plan *plan, int n)
{
	struct vhd_io io;
	int err = 0;
	int ret = 1;

	while (n-- && (ret = vhd_plan_next(plan, err, &io)) > 0)
		err = mem_io(&r->mem, &io);
	return ret;
}

static u32 bitmap_byte(struct rig *r, u32 block, u32 n)
{
	u8 byte;

	mem_read(&r->mem, r->img.bat[block] * 512ULL + n, &byte, 1);
	return byte;
}

/* ---- the two phases --------------------------------------------------- */

static void nothing_dirty_is_one_flush(void **state)
{
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_false(vhd_dirty(&r.img));
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(r.mem.nr_ops, 1);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_FLUSH);
	assert_int_equal(r.img.counters.commits, 0);
	rig_free(&r);
}

static void bitmaps_flush_table_flush(void **state)
{
	struct rig r;
	u32 i;

	rig_dynamic(&r, 300, BS);
	r.img.space.chunk = 8;
	/* Out of order, in two sectors of the table. */
	assert_int_equal(rig_write(&r, 299ULL * BLKS, 1, 1), 0);
	assert_int_equal(rig_write(&r, 3 * BLKS, 1, 2), 0);
	assert_int_equal(rig_write(&r, 257 * BLKS, 1, 3), 0);
	assert_int_equal(rig_write(&r, 1 * BLKS, 1, 4), 0);
	assert_true(vhd_dirty(&r.img));
	rig_unmark(&r);
	mem_settle(&r.mem);
	assert_int_equal(rig_commit(&r), 0);
	assert_false(vhd_dirty(&r.img));
	assert_int_equal(r.mem.nr_ops, 4 + 1 + 2 + 1);
	for (i = 0; i < 4; i++) {
		assert_int_equal(r.mem.ops[i].kind, VHD_IO_WRITE);
		assert_int_equal(r.mem.ops[i].len, 512);
	}
	for (i = 0; i < 4; i++) {
		const u32 blocks[] = { 1, 3, 257, 299 };
		u64 pos = r.img.bat[blocks[i]] * 512ULL;

		assert_in_range(mem_find_op(&r.mem, VHD_IO_WRITE, pos, 0), 0,
				3);
		assert_int_equal(bitmap_byte(&r, blocks[i], 0), 0xFF);
		assert_int_equal(bitmap_byte(&r, blocks[i], 511), 0xFF);
		assert_int_equal(rig_disk_entry(&r, blocks[i]),
				 r.img.bat[blocks[i]]);
	}
	assert_int_equal(r.mem.ops[4].kind, VHD_IO_FLUSH);
	assert_int_equal(r.mem.ops[5].pos, 0x600);
	assert_int_equal(r.mem.ops[6].pos, 0x600 + 2 * 512);
	assert_int_equal(r.mem.ops[7].kind, VHD_IO_FLUSH);
	assert_int_equal(rig_disk_entry(&r, 2), 0xFFFFFFFF);
	rig_free(&r);
}

/* Ops of a commit of block @block, written just now, and of what was before. */
static u32 ops_of_commit(struct rig *r, u32 block)
{
	assert_int_equal(rig_write(r, block * BLKS, 1, block + 1), 0);
	mem_settle(&r->mem);
	assert_int_equal(rig_commit(r), 0);
	return r->mem.nr_ops;
}

/* Growth has written the bitmaps of the slots; a flush has made them durable, or not. */
static void fresh_slots_need_one_flush(void **state)
{
	struct rig r;

	rig_dynamic(&r, 300, BS);
	r.img.space.mark_ahead = true;
	r.img.space.chunk = 8;
	assert_int_equal(ops_of_commit(&r, 3), 3);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_FLUSH);
	assert_int_equal(r.mem.ops[1].pos, 0x600);
	assert_int_equal(r.mem.ops[2].kind, VHD_IO_FLUSH);

	assert_int_equal(rig_write(&r, 299ULL * BLKS, 1, 2), 0);
	assert_int_equal(ops_of_commit(&r, 4), 3);
	assert_int_equal(r.mem.ops[0].pos, 0x600);
	assert_int_equal(r.mem.ops[1].pos, 0x600 + 2 * 512);
	assert_int_equal(r.mem.ops[2].kind, VHD_IO_FLUSH);
	assert_int_equal(rig_disk_entry(&r, 4), r.img.bat[4]);
	assert_int_equal(bitmap_byte(&r, 4, 511), 0xFF);
	rig_free(&r);
}

static void other_slots_need_two_flushes(void **state)
{
	struct rig r;

	rig_dynamic(&r, 300, BS);
	r.img.space.mark_ahead = true;
	r.img.space.chunk = 2;
	assert_int_equal(ops_of_commit(&r, 0), 3);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_FLUSH);
	assert_int_equal(ops_of_commit(&r, 1), 2);
	/* A growth that no flush followed. */
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(ops_of_commit(&r, 2), 3);
	assert_int_equal(ops_of_commit(&r, 3), 2);
	/* A slot that was used: zeroed, and no flush says so. */
	assert_int_equal(rig_zero(&r, 3 * BLKS, BLKS, VHD_ZERO_UNMAP), 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_release(&r);
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(ops_of_commit(&r, 4), 4);
	rig_free(&r);
}

static void without_reservation_two_flushes(void **state)
{
	struct rig r;

	rig_dynamic(&r, 300, BS);
	r.img.space.mark_ahead = true;
	r.img.space.chunk = 8;
	mem_fail(&r.mem, VHD_IO_RESERVE, 1, -EOPNOTSUPP);
	assert_int_equal(ops_of_commit(&r, 0), 3);
	assert_int_equal(ops_of_commit(&r, 1), 3);
	rig_free(&r);
}

static void bits_of_mapped_blocks_belong_to_phase_two(void **state)
{
	struct rig r;
	int flush;
	u64 pos;

	make_partial(&r, 4, BS);
	assert_int_equal(rig_write(&r, BLKS + 9, 2, 5), 0);
	assert_int_equal(rig_write(&r, 3 * BLKS + 15, 1, 5), 0);
	mem_settle(&r.mem);
	assert_int_equal(bitmap_byte(&r, 1, 1), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(r.mem.nr_ops, 4);
	flush = mem_find_op(&r.mem, VHD_IO_FLUSH, 0, 0);
	assert_int_equal(flush, 0);
	pos = r.img.bat[1] * 512ULL;
	assert_true(mem_find_op(&r.mem, VHD_IO_WRITE, pos, 0) > flush);
	assert_int_equal(bitmap_byte(&r, 1, 1), 0x60);
	assert_int_equal(bitmap_byte(&r, 3, 1), 0x01);
	assert_int_equal(r.mem.ops[3].kind, VHD_IO_FLUSH);
	rig_free(&r);
}

static void durable_blocks_need_no_commit(void **state)
{
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_write(&r, 5, 1, 1), 0);
	assert_int_equal(rig_commit(&r), 0);
	mem_forget(&r.mem);
	assert_int_equal(rig_write(&r, 6, 100, 2), 0);
	assert_false(vhd_dirty(&r.img));
	assert_int_equal(rig_commit(&r), 0);
	/* The data and one flush. */
	assert_int_equal(r.mem.nr_ops, 2);
	rig_free(&r);
}

/* ---- epochs ----------------------------------------------------------- */

static void blocks_written_later_are_of_the_next_epoch(void **state)
{
	struct rig r;
	int n, total;

	/* Let the late write come after each step in turn. */
	for (n = 0, total = 1; n < total; n++) {
		rig_dynamic(&r, 8, BS);
		r.img.space.chunk = 4;
		assert_int_equal(rig_write(&r, BLKS, 1, 1), 0);
		mem_settle(&r.mem);
		vhd_commit_begin(&r.commit);
		assert_int_equal(steps(&r, &r.commit.plan, n), 1);
		assert_int_equal(rig_write(&r, 2 * BLKS, 1, 2), 0);
		assert_int_equal(steps(&r, &r.commit.plan, -1), 0);
		total = mem_count_ops(&r.mem, VHD_IO_FLUSH) + 2;
		assert_int_equal(rig_disk_entry(&r, 1), r.img.bat[1]);
		assert_int_equal(rig_disk_entry(&r, 2), 0xFFFFFFFF);
		/* No bitmap of it, either: the slot is still as it was. */
		assert_int_equal(mem_find_op(&r.mem, VHD_IO_WRITE,
					     r.img.bat[2] * 512ULL, 0), -1);
		assert_true(vhd_dirty(&r.img));
		assert_int_equal(rig_commit(&r), 0);
		assert_int_equal(rig_disk_entry(&r, 2), r.img.bat[2]);
		rig_free(&r);
	}
}

static void a_write_in_flight_is_of_the_epoch_it_completes_in(void **state)
{
	struct rig_req q;
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_map(&r, &q, 0, 1), 0);
	assert_int_equal(rig_data(&r, &q, 7), 0);
	vhd_commit_begin(&r.commit);
	rig_done(&r, &q, 0);
	assert_int_equal(steps(&r, &r.commit.plan, -1), 0);
	assert_int_equal(rig_disk_entry(&r, 0), 0xFFFFFFFF);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_disk_entry(&r, 0), r.img.bat[0]);
	rig_free(&r);
}

static void bits_set_later_are_of_the_next_epoch(void **state)
{
	struct rig r;
	int n;

	for (n = 0; n < 3; n++) {
		make_partial(&r, 4, BS);
		assert_int_equal(rig_write(&r, BLKS + 8, 1, 1), 0);
		vhd_commit_begin(&r.commit);
		assert_int_equal(steps(&r, &r.commit.plan, n), 1);
		assert_int_equal(rig_write(&r, BLKS + 15, 1, 2), 0);
		assert_int_equal(steps(&r, &r.commit.plan, -1), 0);
		assert_int_equal(bitmap_byte(&r, 1, 1), 0x80);
		rig_expect(&r, BLKS + 15, 1, 2);
		assert_true(vhd_dirty(&r.img));
		assert_int_equal(rig_commit(&r), 0);
		assert_int_equal(bitmap_byte(&r, 1, 1), 0x81);
		rig_free(&r);
	}
}

static void a_write_into_a_block_being_committed_needs_no_second(void **state)
{
	struct rig_req q, late;
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_write(&r, 0, 1, 1), 0);
	vhd_commit_begin(&r.commit);
	assert_int_equal(rig_map(&r, &q, 5, 1), 0);
	assert_int_equal(rig_map(&r, &late, 9, 1), 0);
	assert_false(rig_done(&r, &q, 0));
	assert_int_equal(steps(&r, &r.commit.plan, -1), 0);
	assert_false(vhd_dirty(&r.img));
	/* One that fails after the block became durable changes nothing. */
	assert_int_equal(r.img.new_blocks.nr_used, 1);
	assert_false(rig_done(&r, &late, -EIO));
	assert_int_equal(r.img.new_blocks.nr_used, 0);
	assert_int_equal(r.img.bat[0], rig_disk_entry(&r, 0));
	rig_free(&r);
}

static void a_failed_first_write_is_never_published(void **state)
{
	struct rig_req q;
	struct rig r;

	rig_dynamic(&r, 8, BS);
	r.img.space.chunk = 4;
	assert_int_equal(rig_map(&r, &q, 0, 1), 0);
	assert_int_equal(rig_write(&r, BLKS, 1, 1), 0);
	vhd_commit_begin(&r.commit);
	assert_int_equal(steps(&r, &r.commit.plan, 2), 1);
	rig_done(&r, &q, -EIO);
	assert_int_equal(steps(&r, &r.commit.plan, -1), 0);
	assert_int_equal(rig_disk_entry(&r, 0), 0xFFFFFFFF);
	assert_int_equal(rig_disk_entry(&r, 1), r.img.bat[1]);
	rig_free(&r);
}

/* ---- failures --------------------------------------------------------- */

/* Two new blocks of different table sectors, and bits of a mapped block. */
static void make_busy(struct rig *r)
{
	struct build b;

	rig_init(r);
	build_init(&b, VHD_TYPE_DYNAMIC, 300ULL * BS, BS);
	build_block(&b, 5);
	build_write(&b, &r->mem);
	build_bits(&b, &r->mem, 5, 0, BLKS, false);
	build_free(&b);
	assert_int_equal(rig_open(r, VHD_OPEN_WRITE), 0);
	assert_int_equal(rig_write(r, 0, 1, 1), 0);
	assert_int_equal(rig_write(r, 200ULL * BLKS, 1, 2), 0);
	assert_int_equal(rig_write(r, 5 * BLKS, 1, 3), 0);
	rig_unmark(r);
	mem_settle(&r->mem);
}

static void expect_busy(struct rig *r)
{
	rig_expect(r, 0, 1, 1);
	rig_expect(r, 200ULL * BLKS, 1, 2);
	rig_expect(r, 5 * BLKS, 1, 3);
	rig_expect(r, 5 * BLKS + 1, 7, 0);
}

/* A commit of 12 new blocks whose bitmaps are written: of the table's sector alone. */
static void commits_marked_blocks(struct rig *r)
{
	u32 i;

	r->img.space.chunk = 8;
	for (i = 0; i < 12; i++)
		assert_int_equal(rig_write(r, (290 - i) * BLKS, 1, 1 + i), 0);
	mem_settle(&r->mem);
	assert_int_equal(rig_commit(r), 0);
	assert_int_equal(mem_count_ops(&r->mem, VHD_IO_WRITE), 1);
	for (i = 0; i < 12; i++) {
		assert_int_equal(bitmap_byte(r, 290 - i, 0), 0xFF);
		assert_int_equal(bitmap_byte(r, 290 - i, 511), 0xFF);
	}
}

static void expect_marked_blocks(struct rig *r)
{
	u32 i;

	rig_reopen(r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(r));
	for (i = 0; i < 12; i++)
		rig_expect(r, (290 - i) * BLKS, 1, 1 + i);
}

/* Growth has written them: all ones, behind zeros that are nobody's. */
static void bitmaps_written_by_growth_are_not_written_again(void **state)
{
	struct rig r;

	rig_dynamic(&r, 300, BS);
	r.img.space.mark_ahead = true;
	commits_marked_blocks(&r);
	expect_marked_blocks(&r);
	rig_free(&r);
}

/* Who writes a block's first sector may write all before it, to the last 4 KiB boundary. */
static void bitmaps_that_came_with_the_data_are_not_written_again(void **state)
{
	struct rig r;

	rig_dynamic(&r, 300, BS);
	r.leads = true;
	commits_marked_blocks(&r);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_FLUSH);
	expect_marked_blocks(&r);
	rig_free(&r);
}

static bool leads(struct rig *r, u64 sector)
{
	struct rig_req q;

	assert_int_equal(rig_map(r, &q, sector, 1), 0);
	rig_done(r, &q, 0);
	return q.ext.lead;
}

static void only_first_sectors_of_new_blocks_bring_bitmaps(void **state)
{
	struct rig r;

	rig_dynamic(&r, 300, BS);
	r.img.space.chunk = 8;
	assert_false(leads(&r, BLKS + 1));
	assert_true(leads(&r, BLKS));
	/* Nobody has said that it was written. */
	assert_true(leads(&r, BLKS));
	r.leads = true;
	assert_int_equal(rig_write(&r, BLKS, 1, 1), 0);
	assert_false(leads(&r, BLKS));
	assert_true(leads(&r, 2 * BLKS));
	assert_int_equal(rig_commit(&r), 0);
	assert_false(leads(&r, 2 * BLKS));
	/* Growth has written them. */
	assert_int_equal(rig_write(&r, 3 * BLKS, 40 * BLKS, 1), 0);
	r.img.space.mark_ahead = true;
	assert_int_equal(rig_prepare(&r), 0);
	while (r.img.nr_allocated < 70)
		leads(&r, (50 + r.img.nr_allocated) * BLKS);
	assert_false(leads(&r, 299 * BLKS));
	rig_free(&r);

	rig_init(&r);
	rig_make(&r, VHD_TYPE_DIFFERENCING, 300ULL * BS, BS);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_false(leads(&r, BLKS));
	assert_false(leads(&r, 2 * BLKS));
	rig_free(&r);
}

static u32 pad_of(struct rig *r, u32 sector)
{
	u32 pad;

	spin_lock(&r->img.lock);
	pad = vhd_bitmap_pad(&r->img, sector);
	spin_unlock(&r->img.lock);
	return pad;
}

/* As qemu lays out: stride of 4097 sectors, footer right behind. */
static void what_is_somebodys_is_no_pad(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 8ULL * BS, BS);
	build_block_at(&b, 0, 8);
	build_block_at(&b, 1, 8 + 4097);
	b.tail = b.end;
	build_write(&b, &r.mem);
	build_free(&b);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	r.img.space.chunk = 8;
	/* The end of block 1 lies in the 4 KiB before the data. */
	assert_false(leads(&r, 2 * BLKS));
	assert_int_equal(rig_write(&r, 2 * BLKS, 1, 1), 0);
	assert_true(leads(&r, 3 * BLKS));
	assert_int_equal(pad_of(&r, r.img.bat[0]), 0);
	assert_int_equal(pad_of(&r, r.img.bat[2]), 0);
	assert_int_equal(pad_of(&r, r.img.bat[2] + 4104), 4096 - 512);
	rig_free(&r);
}

static void a_bitmap_whose_write_failed_is_written_by_the_commit(void **state)
{
	struct rig_req q, other;
	struct rig r;

	rig_dynamic(&r, 300, BS);
	r.leads = true;
	r.img.space.chunk = 8;
	assert_int_equal(rig_map(&r, &q, BLKS, 1), 0);
	assert_int_equal(rig_map(&r, &other, BLKS + 9, 1), 0);
	assert_int_equal(rig_data(&r, &other, 2), 0);
	rig_done(&r, &other, 0);
	mem_fail(&r.mem, VHD_IO_WRITE, 1, -EIO);
	assert_int_equal(rig_data(&r, &q, 3), -EIO);
	q.hold.marks = true;
	rig_done(&r, &q, -EIO);
	mem_settle(&r.mem);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_WRITE), 1 + 1);
	assert_int_equal(bitmap_byte(&r, 1, 1), 0xFF);
	rig_free(&r);
}

static void growth_writes_bitmaps_where_commits_are_small(void **state)
{
	struct rig r;
	u32 i;

	rig_dynamic(&r, 300, BS);
	assert_int_equal(rig_write(&r, 0, 1, 1), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_true(r.img.space.mark_ahead);
	for (i = 1; i <= VHD_FEW_NEW + 1; i++)
		assert_int_equal(rig_write(&r, i * BLKS, 1, 1), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_false(r.img.space.mark_ahead);
	/* Nothing new says nothing. */
	assert_int_equal(rig_commit(&r), 0);
	assert_false(r.img.space.mark_ahead);
	rig_free(&r);
}

/* A slot that is used again has been zeroed, bitmap and all. */
static void bitmaps_of_slots_used_again_are_written(void **state)
{
	struct rig r;

	rig_dynamic(&r, 300, BS);
	r.img.space.mark_ahead = true;
	r.img.space.chunk = 8;
	assert_int_equal(rig_write(&r, 7 * BLKS, 1, 1), 0);
	mem_fail(&r.mem, VHD_IO_WRITE, 1, -EIO);
	assert_int_equal(rig_write(&r, 8 * BLKS, 1, 2), -EIO);
	assert_int_equal(r.img.counters.rollbacks, 1);
	assert_int_equal(rig_write(&r, 9 * BLKS, 1, 3), 0);
	mem_settle(&r.mem);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(bitmap_byte(&r, 9, 0), 0xFF);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_WRITE), 2);
	rig_free(&r);
}

static void a_failed_write_leaves_all_for_the_next_commit(void **state)
{
	struct rig r;
	u32 n;

	for (n = 1; n <= 5; n++) {
		make_busy(&r);
		mem_fail(&r.mem, VHD_IO_WRITE, n, n & 1 ? -EIO : -ENOSPC);
		assert_int_equal(rig_commit(&r), n & 1 ? -EIO : -ENOSPC);
		assert_int_equal(r.img.failed, 0);
		assert_true(vhd_dirty(&r.img));
		assert_int_equal(r.img.new_blocks.nr_written, 2);
		assert_int_equal(r.img.bitmaps.nr_dirty, 1);
		expect_busy(&r);
		assert_int_equal(rig_write(&r, 5 * BLKS + 9, 1, 4), 0);
		assert_int_equal(rig_commit(&r), 0);
		rig_reopen(&r, VHD_OPEN_WRITE);
		assert_true(rig_harmless(&r));
		expect_busy(&r);
		rig_expect(&r, 5 * BLKS + 9, 1, 4);
		rig_free(&r);
	}
}

static void bits_dirtied_meanwhile_survive_a_failed_commit(void **state)
{
	struct rig r;

	make_partial(&r, 4, BS);
	assert_int_equal(rig_write(&r, BLKS + 8, 1, 1), 0);
	vhd_commit_begin(&r.commit);
	assert_int_equal(steps(&r, &r.commit.plan, 1), 1);
	assert_int_equal(rig_write(&r, BLKS + 9, 1, 1), 0);
	mem_fail(&r.mem, VHD_IO_WRITE, 1, -EIO);
	assert_int_equal(steps(&r, &r.commit.plan, -1), -EIO);
	assert_int_equal(r.img.bitmaps.nr_dirty, 1);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(bitmap_byte(&r, 1, 1), 0xC0);
	rig_free(&r);
}

/* As the module does: a write's error is known when a flush is asked for. */
static int commit_side_by_side(struct rig *r)
{
	struct vhd_plan *plan = &r->commit.plan;
	int ret, err = 0, late = 0;
	struct vhd_io io;

	vhd_commit_begin(&r->commit);
	assert_true(plan->side_by_side);
	while ((ret = vhd_plan_next(plan, err, &io)) > 0) {
		plan->unflushed = late && io.kind == VHD_IO_FLUSH;
		err = plan->unflushed ? late : mem_io(&r->mem, &io);
		if (io.kind == VHD_IO_WRITE) {
			late = late ? late : err;
			err = 0;
		}
	}
	return ret;
}

static void a_write_whose_error_comes_late_is_tried_again(void **state)
{
	struct rig r;
	u32 n;

	for (n = 1; n <= 4; n++) {
		make_busy(&r);
		mem_fail(&r.mem, VHD_IO_WRITE, n, -EIO);
		assert_int_equal(commit_side_by_side(&r), -EIO);
		assert_int_equal(r.img.failed, 0);
		expect_busy(&r);
		assert_int_equal(commit_side_by_side(&r), 0);
		assert_false(vhd_dirty(&r.img));
		expect_busy(&r);
		rig_free(&r);
	}
}

static void a_failed_flush_latches(void **state)
{
	struct rig_req q;
	struct rig r;
	u32 n;

	for (n = 1; n <= 2; n++) {
		make_busy(&r);
		mem_fail(&r.mem, VHD_IO_FLUSH, n, -EIO);
		assert_int_equal(rig_commit(&r), -EIO);
		assert_int_equal(r.img.failed, -EIO);
		assert_int_equal(rig_map(&r, &q, 0, 1), -EIO);
		expect_busy(&r);
		/* Nothing is written any more, by nobody. */
		mem_settle(&r.mem);
		assert_int_equal(rig_commit(&r), -EIO);
		assert_int_equal(rig_prepare(&r), -EIO);
		assert_int_equal(rig_tidy(&r), 0);
		assert_int_equal(r.mem.nr_ops, 0);
		assert_int_equal(rig_write(&r, 0, 1, 9), -EIO);
		rig_free(&r);
	}
}

static void after_a_failed_first_flush_the_old_mapping_stands(void **state)
{
	u64 seed = 7;
	struct rig r;

	make_busy(&r);
	mem_fail(&r.mem, VHD_IO_FLUSH, 1, -EIO);
	assert_int_equal(rig_commit(&r), -EIO);
	assert_int_equal(rig_disk_entry(&r, 0), 0xFFFFFFFF);
	assert_int_equal(rig_disk_entry(&r, 200), 0xFFFFFFFF);
	mem_crash(&r.mem, &seed);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(&r));
	rig_expect(&r, 0, 1, 0);
	rig_free(&r);
}

static void a_commit_stops_when_the_image_fails_meanwhile(void **state)
{
	struct rig r;
	int n;

	for (n = 0; n < 6; n++) {
		make_busy(&r);
		vhd_commit_begin(&r.commit);
		assert_int_equal(steps(&r, &r.commit.plan, n), 1);
		r.img.failed = -ENOMEM;
		assert_int_equal(steps(&r, &r.commit.plan, -1), -ENOMEM);
		assert_int_equal(r.img.failed, -ENOMEM);
		assert_int_equal(r.mem.nr_ops, n);
		rig_free(&r);
	}
}

/* ---- many ------------------------------------------------------------- */

/*
 * The bound on dirty bitmaps is looked at when a write is mapped, and they
 * become dirty when it is done: more of them than the bound can be dirty.
 */
static void more_bitmaps_than_the_bound_are_committed(void **state)
{
	const u32 n = VHD_MAX_DIRTY_BITMAPS + 64;
	const u32 size = 512 << 10;
	struct rig_req *q = calloc(n, sizeof(*q));
	struct rig r;
	u32 i;

	assert_non_null(q);
	make_partial(&r, n, size);
	for (i = 0; i < n; i++)
		assert_int_equal(rig_map(&r, &q[i], i * (size / 512) + 8, 1),
				 0);
	for (i = 0; i < n; i++) {
		assert_int_equal(rig_data(&r, &q[i], i + 1), 0);
		rig_done(&r, &q[i], 0);
	}
	assert_int_equal(rig_commit(&r), 0);
	for (i = 0; i < n; i++)
		assert_int_equal(bitmap_byte(&r, i, 1), 0x80);
	assert_false(vhd_dirty(&r.img));
	free(q);
	rig_free(&r);
}

static void a_failed_commit_adds_to_what_became_dirty_meanwhile(void **state)
{
	const u32 n = 2 * VHD_MAX_DIRTY_BITMAPS;
	const u32 size = 512 << 10;
	struct vhd_extent ext;
	struct vhd_hold hold;
	struct rig r;
	u32 i;

	make_partial(&r, n + 1, size);
	for (i = 0; i < n / 2; i++)
		assert_int_equal(rig_write(&r, i * (size / 512) + 8, 1, 1), 0);
	vhd_commit_begin(&r.commit);
	for (; i < n; i++)
		assert_int_equal(rig_write(&r, i * (size / 512) + 8, 1, 1), 0);
	mem_fail(&r.mem, VHD_IO_WRITE, 3, -EIO);
	assert_int_equal(steps(&r, &r.commit.plan, -1), -EIO);
	assert_int_equal(r.img.bitmaps.nr_dirty, n);
	/* Writers wait now, unless the bitmap is dirty anyway. */
	assert_int_equal(rig_load(&r, n), 0);
	assert_int_equal(vhd_map_write(&r.img, n * (size / 512), 1, &hold,
				       &ext), 0);
	assert_int_equal(ext.kind, VHD_MAP_COMMIT);
	assert_int_equal(rig_write(&r, 9, 1, 1), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(bitmap_byte(&r, 0, 1), 0xC0);
	for (i = 1; i < n; i++)
		assert_int_equal(bitmap_byte(&r, i, 1), 0x80);
	rig_free(&r);
}

static void all_new_blocks_there_can_be_go_in_one_commit(void **state)
{
	struct rig r;
	u32 i;

	rig_dynamic(&r, VHD_NR_NEW, 512 << 10);
	for (i = 0; i < VHD_NR_NEW; i++)
		assert_int_equal(rig_write(&r, (VHD_NR_NEW - 1 - i) * 1024ULL,
					   1, i + 1), 0);
	rig_unmark(&r);
	mem_settle(&r.mem);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_WRITE),
			 VHD_NR_NEW + VHD_NR_NEW / 128);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(&r));
	assert_int_equal(r.img.nr_allocated, VHD_NR_NEW);
	rig_free(&r);
}

/* ---- memory ----------------------------------------------------------- */

static void every_failed_allocation_is_enomem(void **state)
{
	struct vhd_commit c;
	struct rig r;
	u32 n;

	rig_dynamic(&r, 8, BS);
	for (n = 1; n < 10; n++) {
		vhd_shim_fail_alloc = n;
		if (!vhd_commit_alloc(&c, &r.img))
			break;
		assert_int_equal(vhd_shim_fail_alloc, 0);
		assert_null(c.taken);
	}
	assert_in_range(n, 2, 9);
	vhd_shim_fail_alloc = 0;
	vhd_commit_free(&c);
	rig_free(&r);
}

/* A commit is often what frees memory: it must not need any. */
static void a_commit_allocates_nothing(void **state)
{
	struct rig r;

	make_busy(&r);
	vhd_shim_fail_alloc = 1;
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(vhd_shim_fail_alloc, 1);
	vhd_shim_fail_alloc = 0;
	rig_free(&r);
}

/* ---- an orphan --------------------------------------------------------- */

static void make_child(struct rig *r, struct vhd_orphan *o)
{
	rig_init(r);
	rig_make(r, VHD_TYPE_DIFFERENCING, 4 * MIB, BS);
	assert_int_equal(rig_open(r, VHD_OPEN_WRITE), 0);
	memset(r->img.header.parent_unique_id, 0x5A, 16);
	vhd_seal_header(&r->img.header);
	mem_write(&r->mem, be64_to_cpu(r->img.footer.data_offset),
		  &r->img.header, sizeof(r->img.header));
	mem_settle(&r->mem);
	r->mem.nr_ops = 0;
	vhd_orphan_init(o, &r->img);
}

/* Is the header on disk what @wanted is, sealed, with this byte for an id? */
static void expect_parent(struct rig *r, u8 byte)
{
	struct vhd_dyn_header h, wanted = r->img.header;

	memset(wanted.parent_unique_id, byte, 16);
	vhd_seal_header(&wanted);
	mem_read(&r->mem, be64_to_cpu(r->img.footer.data_offset), &h,
		 sizeof(h));
	assert_memory_equal(&h, &wanted, sizeof(h));
	assert_memory_equal(&r->img.header, &wanted, sizeof(h));
}

static void an_orphan_is_made_by_one_sector(void **state)
{
	struct vhd_orphan o;
	struct rig r;

	make_child(&r, &o);
	assert_int_equal(steps(&r, &o.plan, -1), 0);
	assert_int_equal(r.mem.nr_ops, 2);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_WRITE);
	assert_int_equal(r.mem.ops[0].len, VHD_SECTOR_SIZE);
	assert_int_equal(r.mem.ops[1].kind, VHD_IO_FLUSH);
	expect_parent(&r, 0);
	rig_free(&r);
}

static void a_failed_orphan_keeps_its_parent(void **state)
{
	struct vhd_orphan o;
	struct rig r;

	make_child(&r, &o);
	mem_fail(&r.mem, VHD_IO_WRITE, 1, -EIO);
	assert_int_equal(steps(&r, &o.plan, -1), -EIO);
	assert_int_equal(r.img.failed, 0);
	expect_parent(&r, 0x5A);
	rig_free(&r);
}

/* Nobody knows whose child it is: it must not be written any more. */
static void an_orphan_that_may_be_one_fails(void **state)
{
	struct vhd_orphan o;
	struct rig r;
	u64 pos;

	make_child(&r, &o);
	mem_fail(&r.mem, VHD_IO_FLUSH, 1, -EIO);
	assert_int_equal(steps(&r, &o.plan, -1), -EIO);
	assert_int_equal(r.img.failed, -EIO);
	rig_free(&r);
	make_child(&r, &o);
	pos = be64_to_cpu(r.img.footer.data_offset);
	mem_fail_at(&r.mem, VHD_IO_WRITE, pos, -EIO);
	assert_int_equal(steps(&r, &o.plan, -1), -EIO);
	assert_int_equal(r.img.failed, -EIO);
	vhd_orphan_init(&o, &r.img);
	assert_int_equal(steps(&r, &o.plan, -1), -EIO);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_dirty_is_one_flush),
		cmocka_unit_test(bitmaps_flush_table_flush),
		cmocka_unit_test(fresh_slots_need_one_flush),
		cmocka_unit_test(other_slots_need_two_flushes),
		cmocka_unit_test(without_reservation_two_flushes),
		cmocka_unit_test(bits_of_mapped_blocks_belong_to_phase_two),
		cmocka_unit_test(durable_blocks_need_no_commit),
		cmocka_unit_test(blocks_written_later_are_of_the_next_epoch),
		cmocka_unit_test(
			a_write_in_flight_is_of_the_epoch_it_completes_in),
		cmocka_unit_test(bits_set_later_are_of_the_next_epoch),
		cmocka_unit_test(
			a_write_into_a_block_being_committed_needs_no_second),
		cmocka_unit_test(a_failed_first_write_is_never_published),
		cmocka_unit_test(a_failed_write_leaves_all_for_the_next_commit),
		cmocka_unit_test(bits_dirtied_meanwhile_survive_a_failed_commit),
		cmocka_unit_test(bitmaps_written_by_growth_are_not_written_again),
		cmocka_unit_test(bitmaps_that_came_with_the_data_are_not_written_again),
		cmocka_unit_test(only_first_sectors_of_new_blocks_bring_bitmaps),
		cmocka_unit_test(what_is_somebodys_is_no_pad),
		cmocka_unit_test(a_bitmap_whose_write_failed_is_written_by_the_commit),
		cmocka_unit_test(growth_writes_bitmaps_where_commits_are_small),
		cmocka_unit_test(bitmaps_of_slots_used_again_are_written),
		cmocka_unit_test(a_write_whose_error_comes_late_is_tried_again),
		cmocka_unit_test(a_failed_flush_latches),
		cmocka_unit_test(
			after_a_failed_first_flush_the_old_mapping_stands),
		cmocka_unit_test(a_commit_stops_when_the_image_fails_meanwhile),
		cmocka_unit_test(more_bitmaps_than_the_bound_are_committed),
		cmocka_unit_test(
			a_failed_commit_adds_to_what_became_dirty_meanwhile),
		cmocka_unit_test(all_new_blocks_there_can_be_go_in_one_commit),
		cmocka_unit_test(every_failed_allocation_is_enomem),
		cmocka_unit_test(a_commit_allocates_nothing),
		cmocka_unit_test(an_orphan_is_made_by_one_sector),
		cmocka_unit_test(a_failed_orphan_keeps_its_parent),
		cmocka_unit_test(an_orphan_that_may_be_one_fails),
	};

	return run_group("commit", tests);
}
