// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "rig.h"

static u32 take(struct rig *r)
{
	enum vhd_slot_mark mark;
	u32 sector;

	spin_lock(&r->img.lock);
	sector = vhd_space_take(&r->img, &mark);
	spin_unlock(&r->img.lock);
	return sector;
}

static void give(struct rig *r, u32 sector)
{
	spin_lock(&r->img.lock);
	vhd_space_give(&r->img, sector);
	spin_unlock(&r->img.lock);
}

static void assert_zeros(struct rig *r, u64 pos, u64 len)
{
	u8 *buf = malloc(len);
	u64 i;

	assert_non_null(buf);
	mem_read(&r->mem, pos, buf, len);
	for (i = 0; i < len; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

/* Follow a plan; after each step the file ends with a good footer. */
static int run_with_footer(struct rig *r, struct vhd_plan *plan)
{
	struct vhd_io io;
	int err = 0;
	int ret;

	while ((ret = vhd_plan_next(plan, err, &io)) > 0) {
		err = mem_io(&r->mem, &io);
		rig_assert_footer(r);
	}
	return ret;
}

/* An open image with junk in the slack before its footer. */
static void make_stale(struct rig *r, u32 blocks)
{
	struct build b;
	u64 end;
	u8 *junk = malloc(8 * MIB);

	rig_init(r);
	build_init(&b, VHD_TYPE_DYNAMIC, (u64)blocks * BS, BS);
	build_block(&b, 0);
	end = b.end;
	b.tail = vhd_tail_pos(end + 3 * STRIDE);
	build_write(&b, &r->mem);
	assert_non_null(junk);
	memset(junk, 0xEE, 8 * MIB);
	mem_write(&r->mem, end, junk, b.tail - end);
	mem_settle(&r->mem);
	free(junk);
	build_free(&b);
	assert_int_equal(rig_open(r, VHD_OPEN_WRITE), 0);
	assert_true(r->img.space.stale);
}

/* ---- slots ------------------------------------------------------------ */

static void nothing_is_handed_out_before_the_file_grew(void **state)
{
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(take(&r), 0);
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(take(&r), 0x1E00 / 512);
	assert_int_equal(take(&r), 0);
	rig_free(&r);
}

static void slots_lie_as_the_layout_says(void **state)
{
	const u32 sizes[] = { 512 << 10, 1 << 20, 2 << 20 };
	struct rig r;
	u32 i, n, sector;

	for (n = 0; n < ARRAY_SIZE(sizes); n++) {
		rig_dynamic(&r, 200, sizes[n]);
		for (i = 0; i < 200; i++) {
			sector = take(&r);
			if (!sector) {
				assert_int_equal(rig_prepare(&r), 0);
				sector = take(&r);
			}
			assert_int_equal(sector * 512ULL, 0x1E00 +
					 i * (sizes[n] + 4096ULL));
			assert_true(sector * 512ULL + 512 + sizes[n] <=
				    r.img.space.tail);
		}
		rig_free(&r);
	}
}

static void a_small_image_stays_small(void **state)
{
	struct rig r;
	u32 i;

	rig_dynamic(&r, 1000, BS);
	for (i = 0; i < 40; i++) {
		assert_int_equal(rig_write(&r, (u64)i * BLKS, 8, i + 1), 0);
		assert_true(r.mem.now.size <= (i + 1 + 2 * VHD_SMALL_CHUNK +
					       i / 4) * STRIDE + 0x2000);
	}
	rig_free(&r);
}

/* Blocks that the geometry does not reach are not to be cut off. */
static void a_smaller_geometry_keeps_what_lies_beyond_it(void **state)
{
	struct rig r;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, 2097664, 512 * KIB);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(rig_write(&r, 4096, 1, 77), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE | VHD_OPEN_SIZE_CHS);
	assert_true(r.img.disk_size <= 4096 * 512);
	assert_int_equal(rig_write(&r, 0, 1, 78), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	rig_expect(&r, 4096, 1, 77);
	rig_free(&r);
}

static void the_file_grows_in_doubling_chunks(void **state)
{
	const u32 chunks[] = { 1, 2, 4, 8, 16, 32, 64, 64 };
	struct rig r;
	u64 before;
	u32 i, n;

	rig_dynamic(&r, 1000, BS);
	/* As if much were in use: little is allowed little. */
	r.img.nr_allocated = 4 * VHD_MAX_CHUNK;
	for (i = 0; i < ARRAY_SIZE(chunks); i++) {
		before = r.mem.now.size;
		assert_int_equal(rig_prepare(&r), 0);
		assert_int_equal(r.mem.now.size - before, chunks[i] * STRIDE);
		assert_int_equal(r.img.space.file_size, r.mem.now.size);
		for (n = 0; take(&r); n++)
			;
		assert_int_equal(n, chunks[i]);
	}
	assert_int_equal(r.img.counters.growths, ARRAY_SIZE(chunks));
	rig_free(&r);
}

static void the_file_grows_no_more_than_the_disk_can_need(void **state)
{
	struct rig r;
	u64 before;

	rig_dynamic(&r, 5, BS);
	assert_int_equal(rig_write(&r, 0, 3 * BLKS, 1), 0);
	r.img.space.chunk = 64;
	before = r.mem.now.size;
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(r.mem.now.size - before, 2 * STRIDE);
	rig_free(&r);
}

static void growth_is_reserve_footer_flush_bitmaps(void **state)
{
	struct vhd_prepare p;
	struct rig r;
	u64 old;
	u32 i;

	rig_dynamic(&r, 8, BS);
	old = r.mem.now.size;
	r.img.space.mark_ahead = true;
	r.img.space.chunk = 4;
	vhd_prepare_init(&p, &r.img);
	assert_int_equal(run_with_footer(&r, &p.plan), 0);
	assert_int_equal(r.mem.nr_ops, 3 + 4);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_RESERVE);
	assert_int_equal(r.mem.ops[0].pos, old);
	assert_int_equal(r.mem.ops[0].pos + r.mem.ops[0].len, r.mem.now.size);
	assert_int_equal(r.mem.ops[1].kind, VHD_IO_WRITE);
	assert_int_equal(r.mem.ops[1].pos, r.mem.now.size - 512);
	assert_int_equal(r.mem.ops[2].kind, VHD_IO_FLUSH);
	for (i = 3; i < 7; i++) {
		assert_int_equal(r.mem.ops[i].kind, VHD_IO_WRITE);
		assert_int_equal(r.mem.ops[i].len, 512);
		/* The first one's last, where the footer was. */
		assert_int_equal(r.mem.ops[i].pos, old - 512 +
				 (i - 2) % 4 * (BS + 4096ULL));
	}
	rig_free(&r);
}

static void slots_are_not_handed_out_before_the_flush(void **state)
{
	struct vhd_prepare p;
	struct vhd_io io;
	struct rig r;
	int ret, err = 0;

	rig_dynamic(&r, 8, BS);
	vhd_prepare_init(&p, &r.img);
	while ((ret = vhd_plan_next(&p.plan, err, &io)) > 0) {
		assert_int_equal(take(&r), 0);
		err = mem_io(&r.mem, &io);
	}
	assert_int_equal(ret, 0);
	assert_int_not_equal(take(&r), 0);
	rig_free(&r);
}

static void foreign_unaligned_tails_are_grown_from(void **state)
{
	struct build b;
	struct rig r;
	u64 old;

	/* As qemu lays out: stride of 4097 sectors, footer right behind. */
	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 8ULL * BS, BS);
	build_block_at(&b, 0, 0x1000 / 512);
	build_block_at(&b, 1, 0x1000 / 512 + 4097);
	b.tail = b.end;
	build_write(&b, &r.mem);
	old = b.tail;
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_false(r.img.space.stale);
	assert_int_equal(rig_write(&r, 2 * BLKS, 2 * BLKS, 4), 0);
	assert_true(r.img.bat[2] * 512ULL >= old);
	assert_int_equal((r.img.bat[2] + 1) % 8, 0);
	rig_expect(&r, 0, 2 * BLKS, 0);
	rig_expect(&r, 2 * BLKS, 2 * BLKS, 4);
	rig_expect(&r, 4 * BLKS, BLKS, 0);
	build_free(&b);
	rig_free(&r);
}

/* ---- space that is not there ------------------------------------------ */

static void enospc_is_tried_smaller_down_to_one(void **state)
{
	struct rig r;
	u64 old;

	rig_dynamic(&r, 1000, BS);
	r.img.space.chunk = 64;
	r.img.nr_allocated = 4 * VHD_MAX_CHUNK;
	old = r.mem.now.size;
	r.mem.limit = old + STRIDE;
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(r.mem.now.size, old + STRIDE);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_RESERVE), 7);
	assert_false(r.img.space.enospc);
	assert_int_not_equal(take(&r), 0);
	assert_int_equal(rig_prepare(&r), -ENOSPC);
	assert_true(r.img.space.enospc);
	assert_int_equal(take(&r), 0);
	assert_int_equal(r.mem.now.size, old + STRIDE);
	/* Full is no reason to fail the image. */
	assert_int_equal(r.img.failed, 0);
	r.mem.limit = ~0ULL;
	assert_int_equal(rig_prepare(&r), 0);
	assert_false(r.img.space.enospc);
	rig_free(&r);
}

static void a_file_system_without_reserve_is_served(void **state)
{
	struct rig r;

	rig_dynamic(&r, 100, BS);
	r.mem.no_reserve = true;
	r.mem.limit = r.mem.now.size + 2 * STRIDE;
	r.img.space.chunk = 16;
	/* It is the footer's write that meets the limit. */
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(r.mem.now.size, r.mem.limit);
	rig_assert_footer(&r);
	assert_int_equal(rig_write(&r, 0, 8, 1), 0);
	rig_expect(&r, 0, 8, 1);
	rig_free(&r);
}

static void a_failed_footer_is_undone(void **state)
{
	const int errors[] = { -EIO, -ENOSPC };
	struct rig r;
	u64 old;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		rig_dynamic(&r, 100, BS);
		old = r.mem.now.size;
		mem_fail(&r.mem, VHD_IO_WRITE, 1, errors[i]);
		r.mem.fault.partial = 100;
		assert_int_equal(rig_prepare(&r), errors[i]);
		assert_int_equal(r.mem.now.size, old);
		rig_assert_footer(&r);
		assert_int_equal(take(&r), 0);
		assert_int_equal(rig_prepare(&r), 0);
		assert_int_equal(take(&r), 0x1E00 / 512);
		rig_free(&r);
	}
}

static void a_failed_undo_is_reported(void **state)
{
	struct mem_fault f;
	struct vhd_prepare p;
	struct vhd_io io;
	struct rig r;
	int ret, err = 0;

	rig_dynamic(&r, 100, BS);
	vhd_prepare_init(&p, &r.img);
	memset(&f, 0, sizeof(f));
	while ((ret = vhd_plan_next(&p.plan, err, &io)) > 0)
		err = io.kind == VHD_IO_RESERVE ? 0 :
		      io.kind == VHD_IO_WRITE ? -ENOSPC : -EROFS;
	assert_int_equal(ret, -EROFS);
	rig_free(&r);
}

static void other_reserve_errors_are_returned(void **state)
{
	struct rig r;

	rig_dynamic(&r, 100, BS);
	r.img.space.chunk = 8;
	mem_fail(&r.mem, VHD_IO_RESERVE, 1, -EIO);
	assert_int_equal(rig_prepare(&r), -EIO);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_RESERVE), 1);
	assert_false(r.img.space.enospc);
	rig_free(&r);
}

static void a_failed_flush_fails_the_image(void **state)
{
	struct rig_req q;
	struct rig r;

	rig_dynamic(&r, 100, BS);
	mem_fail(&r.mem, VHD_IO_FLUSH, 1, -EIO);
	assert_int_equal(rig_prepare(&r), -EIO);
	assert_int_equal(r.img.failed, -EIO);
	assert_int_equal(take(&r), 0);
	/* No way back: no growth, no write. */
	assert_int_equal(rig_prepare(&r), -EIO);
	assert_int_equal(rig_map(&r, &q, 0, 1), -EIO);
	rig_free(&r);
}

/* Near the end of what 32 bits address less than a chunk may still fit. */
static void the_last_addressable_slots_are_used(void **state)
{
	struct build b;
	struct rig r;
	u32 n, sector, last = 0;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 100ULL * BS, BS);
	build_block_at(&b, 0, 0xFFFFFFFE - 4 * 4104 + 1);
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	/* Before the block there is room, too. */
	r.img.space.gaps.nr = 0;
	r.img.space.chunk = 64;
	for (n = 0; ; n++) {
		sector = take(&r);
		if (!sector && rig_prepare(&r))
			break;
		if (!sector)
			sector = take(&r);
		assert_true(sector > last && sector < 0xFFFFFFFE);
		last = sector;
	}
	assert_in_range(n, 2, 3);
	assert_int_equal(rig_prepare(&r), -ENOSPC);
	assert_true(r.img.space.enospc);
	assert_int_equal(r.img.failed, 0);
	rig_assert_footer(&r);
	build_free(&b);
	rig_free(&r);
}

/* ---- freed slots ------------------------------------------------------ */

static void freed_slots_are_zeroed_lowest_first(void **state)
{
	u32 sectors[3];
	struct rig r;
	u64 size;
	u8 junk[512];
	u32 i;

	rig_dynamic(&r, 100, BS);
	r.img.space.chunk = 4;
	assert_int_equal(rig_prepare(&r), 0);
	memset(junk, 0xEE, sizeof(junk));
	for (i = 0; i < 3; i++) {
		sectors[i] = take(&r);
		mem_write(&r.mem, sectors[i] * 512ULL + 7 * 4096, junk, 512);
	}
	give(&r, sectors[1]);
	give(&r, sectors[2]);
	give(&r, sectors[0]);
	mem_settle(&r.mem);
	size = r.mem.now.size;
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(r.mem.now.size, size);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_ZERO), 3);
	for (i = 0; i < 3; i++) {
		assert_int_equal(r.mem.ops[2 * i].kind, VHD_IO_ZERO);
		assert_int_equal(r.mem.ops[2 * i].pos, sectors[i] * 512ULL);
		assert_int_equal(r.mem.ops[2 * i].len, BS + 512);
		assert_int_equal(r.mem.ops[2 * i + 1].kind, VHD_IO_RESERVE);
		assert_int_equal(r.mem.ops[2 * i + 1].pos, sectors[i] * 512ULL);
		assert_zeros(&r, sectors[i] * 512ULL, BS + 512);
	}
	/* Used before the file's end is. */
	for (i = 0; i < 3; i++)
		assert_int_equal(take(&r), sectors[i]);
	assert_true(take(&r) > sectors[2]);
	rig_free(&r);
}

static void ready_slots_are_bounded(void **state)
{
	u32 sectors[40];
	struct rig r;
	u32 i;

	rig_dynamic(&r, 1000, BS);
	r.img.space.chunk = 40;
	r.img.nr_allocated = 4 * VHD_MAX_CHUNK;
	assert_int_equal(rig_prepare(&r), 0);
	for (i = 0; i < 40; i++)
		sectors[i] = take(&r);
	for (i = 0; i < 40; i++)
		give(&r, sectors[i]);
	assert_int_equal(r.img.space.freed.nr, 40);
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(r.img.space.ready.nr, VHD_NR_READY);
	assert_int_equal(r.img.space.freed.nr, 40 - VHD_NR_READY);
	for (i = 0; i < VHD_NR_READY; i++)
		assert_int_not_equal(take(&r), 0);
	/* The end of the file must wait for them. */
	assert_int_equal(take(&r), 0);
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(r.img.space.ready.nr, 40 - VHD_NR_READY);
	rig_free(&r);
}

static void freed_slots_without_room_are_lost_not_shared(void **state)
{
	struct rig r;
	u32 i;

	rig_dynamic(&r, 8, BS);
	for (i = 0; i < r.img.space.freed.max + 10; i++)
		give(&r, 1000 + i);
	assert_int_equal(r.img.space.freed.nr, r.img.space.freed.max);
	rig_free(&r);
}

static void a_full_file_system_keeps_the_freed_slot(void **state)
{
	struct rig r;
	u32 sector;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_prepare(&r), 0);
	sector = take(&r);
	give(&r, sector);
	mem_fail(&r.mem, VHD_IO_ZERO, 1, -ENOSPC);
	assert_int_equal(rig_prepare(&r), -ENOSPC);
	assert_int_equal(take(&r), 0);
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(take(&r), sector);
	rig_free(&r);
}

/* A bad spot of the backing disk must not end all allocation. */
static void a_slot_that_cannot_be_zeroed_is_given_up(void **state)
{
	struct rig r;
	u32 bad, good;

	rig_dynamic(&r, 100, BS);
	r.img.space.chunk = 2;
	assert_int_equal(rig_prepare(&r), 0);
	bad = take(&r);
	good = take(&r);
	give(&r, bad);
	give(&r, good);
	mem_fail_at(&r.mem, VHD_IO_ZERO, bad * 512ULL + 4096, -EIO);
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(take(&r), good);
	give(&r, bad);
	assert_int_equal(rig_prepare(&r), 0);
	assert_true(take(&r) > good);
	rig_free(&r);
}

/* ---- a stale tail ----------------------------------------------------- */

static void a_stale_tail_is_cut_before_a_slot_is_handed_out(void **state)
{
	struct vhd_prepare p;
	struct rig r;
	u64 end;
	u32 sector;
	int cut;

	make_stale(&r, 8);
	end = r.img.space.data_end;
	assert_non_null(rig_found(&r, VHD_FIND_SLACK));
	assert_int_equal(take(&r), 0);
	vhd_prepare_init(&p, &r.img);
	assert_int_equal(run_with_footer(&r, &p.plan), 0);
	/* The table as it was read; footer where the file is to end; the cut. */
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_FLUSH);
	assert_int_equal(mem_find_op(&r.mem, VHD_IO_WRITE, vhd_tail_pos(end),
				     0), 1);
	assert_int_equal(r.mem.ops[2].kind, VHD_IO_FLUSH);
	cut = mem_find_op(&r.mem, VHD_IO_TRUNCATE, vhd_tail_pos(end) + 512, 0);
	assert_int_equal(cut, 3);
	sector = take(&r);
	assert_int_equal(sector * 512ULL, vhd_tail_pos(end));
	assert_zeros(&r, sector * 512ULL + 512, BS);
	rig_free(&r);
}

static void a_stale_tail_never_shows(void **state)
{
	struct rig r;

	make_stale(&r, 8);
	assert_int_equal(rig_write(&r, 3 * BLKS + 10, 1, 5), 0);
	rig_expect(&r, 3 * BLKS, 10, 0);
	rig_expect(&r, 3 * BLKS + 11, BLKS - 11, 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	rig_expect(&r, 3 * BLKS, 10, 0);
	rig_expect(&r, 3 * BLKS + 10, 1, 5);
	rig_expect(&r, 3 * BLKS + 11, BLKS - 11, 0);
	rig_free(&r);
}

static void errors_of_the_cut_are_returned(void **state)
{
	const struct {
		enum vhd_io_kind kind;
		bool fails_image;
	} rows[] = {
		{ VHD_IO_WRITE, false }, { VHD_IO_FLUSH, true },
		{ VHD_IO_TRUNCATE, false },
	};
	struct rig r;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		make_stale(&r, 8);
		mem_fail(&r.mem, rows[i].kind, 1, -EIO);
		assert_int_equal(rig_prepare(&r), -EIO);
		assert_int_equal(r.img.failed, rows[i].fails_image ? -EIO : 0);
		assert_true(r.img.space.stale);
		assert_int_equal(take(&r), 0);
		rig_assert_footer(&r);
		rig_close(&r);
		assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
		rig_free(&r);
	}
}

/* ---- ahead of need ---------------------------------------------------- */

static void low_asks_when_a_quarter_has_gone(void **state)
{
	struct rig r;

	rig_dynamic(&r, 100, BS);
	assert_true(vhd_space_low(&r.img));
	r.img.space.chunk = 8;
	assert_int_equal(rig_prepare(&r), 0);
	r.img.space.chunk = 8;
	assert_false(vhd_space_low(&r.img));
	take(&r);
	take(&r);
	assert_false(vhd_space_low(&r.img));
	take(&r);
	assert_true(vhd_space_low(&r.img));
	r.img.space.enospc = true;
	assert_false(vhd_space_low(&r.img));
	rig_free(&r);
}

static void low_is_false_where_nothing_can_be_allocated(void **state)
{
	struct rig r;

	rig_init(&r);
	rig_make(&r, VHD_TYPE_FIXED, MIB, 0);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_false(vhd_space_low(&r.img));
	rig_free(&r);
	rig_init(&r);
	rig_make(&r, VHD_TYPE_DYNAMIC, 8ULL * BS, BS);
	assert_int_equal(rig_open(&r, 0), 0);
	assert_false(vhd_space_low(&r.img));
	rig_free(&r);
	/* A full disk. */
	rig_dynamic(&r, 3, BS);
	assert_int_equal(rig_write(&r, 0, 3 * BLKS, 1), 0);
	assert_false(vhd_space_low(&r.img));
	rig_free(&r);
}

static void low_counts_ready_slots_over_a_stale_tail(void **state)
{
	struct rig r;

	make_stale(&r, 100);
	r.img.space.chunk = 2;
	assert_true(vhd_space_low(&r.img));
	spin_lock(&r.img.lock);
	vhd_slots_push(&r.img.space.ready, 77);
	vhd_slots_push(&r.img.space.ready, 78);
	spin_unlock(&r.img.lock);
	assert_false(vhd_space_low(&r.img));
	assert_int_equal(take(&r), 77);
	rig_free(&r);
}

/* ---- tidy ------------------------------------------------------------- */

static void tidy_leaves_a_tight_file(void **state)
{
	struct vhd_tidy t;
	struct rig r;
	u64 end;

	rig_dynamic(&r, 100, BS);
	r.img.space.chunk = 32;
	assert_int_equal(rig_write(&r, 5 * BLKS, 1, 1), 0);
	assert_int_equal(rig_write(&r, 2 * BLKS, 1, 2), 0);
	assert_int_equal(rig_commit(&r), 0);
	mem_forget(&r.mem);
	end = 0x1E00 + 2 * STRIDE;
	vhd_tidy_init(&t, &r.img);
	assert_int_equal(run_with_footer(&r, &t.plan), 0);
	assert_int_equal(r.mem.now.size, end + 512);
	assert_int_equal(r.mem.nr_ops, 4);
	assert_int_equal(mem_find_op(&r.mem, VHD_IO_WRITE, end, 0), 0);
	assert_int_equal(r.mem.ops[1].kind, VHD_IO_FLUSH);
	assert_int_equal(r.mem.ops[2].kind, VHD_IO_TRUNCATE);
	assert_int_equal(r.mem.ops[3].kind, VHD_IO_FLUSH);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_int_equal(r.nr_found, 0);
	rig_expect(&r, 5 * BLKS, 1, 1);
	rig_expect(&r, 2 * BLKS, 1, 2);
	/* Once tight, nothing is to be done. */
	mem_forget(&r.mem);
	assert_int_equal(rig_tidy(&r), 0);
	assert_int_equal(r.mem.nr_ops, 0);
	rig_free(&r);
}

static void tidy_takes_back_what_was_never_used(void **state)
{
	struct rig r;
	u64 old;

	rig_dynamic(&r, 100, BS);
	old = r.mem.now.size;
	r.img.space.mark_ahead = true;
	r.img.space.chunk = 32;
	/* A growth by 8: a footer, 8 bitmaps; then the data. */
	mem_fail(&r.mem, VHD_IO_WRITE, 1 + 8 + 1, -EIO);
	assert_int_equal(rig_write(&r, 0, 1, 1), -EIO);
	assert_true(r.mem.now.size > old);
	assert_int_equal(rig_tidy(&r), 0);
	assert_int_equal(r.mem.now.size, old);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_int_equal(r.nr_found, 0);
	rig_free(&r);
}

static void tidy_cuts_a_stale_tail(void **state)
{
	struct rig r;

	make_stale(&r, 8);
	assert_int_equal(rig_tidy(&r), 0);
	assert_int_equal(r.mem.now.size, 0x1E00 + STRIDE + 512);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_int_equal(r.nr_found, 0);
	rig_free(&r);
}

/* Slots made ready before may lie behind the new end. */
static void an_image_can_be_used_after_tidy(void **state)
{
	struct rig_req q[3];
	struct rig r;
	u32 i;

	rig_dynamic(&r, 100, BS);
	assert_int_equal(rig_write(&r, 0, 1, 1), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(rig_map(&r, &q[i], (1 + i) * BLKS, 1), 0);
	for (i = 0; i < 3; i++)
		rig_done(&r, &q[i], -EIO);
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(r.img.space.ready.nr, 3);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	for (i = 0; i < 5; i++)
		assert_int_equal(rig_write(&r, (10 + i) * BLKS, 1, 2), 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(&r));
	for (i = 0; i < 5; i++)
		rig_expect(&r, (10 + i) * BLKS, 1, 2);
	rig_free(&r);
}

/* What lay in a free slot must not show when the slot is used after all. */
static void a_tail_that_tidy_could_not_cut_is_stale(void **state)
{
	struct rig_req q;
	struct rig r;

	rig_dynamic(&r, 100, BS);
	assert_int_equal(rig_map(&r, &q, 0, BLKS), 0);
	assert_int_equal(rig_data(&r, &q, 66), 0);
	rig_done(&r, &q, -EIO);
	mem_fail(&r.mem, VHD_IO_TRUNCATE, 1, -EIO);
	assert_int_equal(rig_tidy(&r), -EIO);
	assert_int_equal(rig_write(&r, 3 * BLKS, 1, 5), 0);
	rig_expect(&r, 3 * BLKS, 1, 5);
	rig_expect(&r, 3 * BLKS + 1, BLKS - 1, 0);
	rig_free(&r);
}

static void tidy_pads_a_511_byte_footer(void **state)
{
	const enum vhd_disk_type types[] = { VHD_TYPE_FIXED, VHD_TYPE_DYNAMIC };
	struct build b;
	struct rig r;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		rig_init(&r);
		build_init(&b, types[i], 4ULL * BS, BS);
		b.tail_bytes = 511;
		build_write(&b, &r.mem);
		assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
		assert_int_equal(rig_tidy(&r), 0);
		assert_int_equal(r.mem.now.size, b.tail + 512);
		rig_reopen(&r, VHD_OPEN_WRITE);
		assert_int_equal(r.nr_found, 0);
		build_free(&b);
		rig_free(&r);
	}
}

static void a_511_byte_footer_grows_as_others_do(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 4ULL * BS, BS);
	b.tail_bytes = 511;
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(rig_write(&r, 0, 1, 1), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_int_equal(r.nr_found, 0);
	rig_expect(&r, 0, 1, 1);
	rig_expect(&r, 1, BLKS - 1, 0);
	build_free(&b);
	rig_free(&r);
}

static void tidy_leaves_others_alone(void **state)
{
	struct rig r;

	/* Read-only. */
	make_stale(&r, 8);
	rig_close(&r);
	assert_int_equal(rig_open(&r, 0), 0);
	assert_int_equal(rig_tidy(&r), 0);
	assert_int_equal(r.mem.nr_ops, 0);
	/* Failed. */
	rig_reopen(&r, VHD_OPEN_WRITE);
	r.img.failed = -EIO;
	assert_int_equal(rig_tidy(&r), 0);
	assert_int_equal(r.mem.nr_ops, 0);
	rig_free(&r);
	/* Fixed. */
	rig_init(&r);
	rig_make(&r, VHD_TYPE_FIXED, MIB, 0);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(rig_tidy(&r), 0);
	assert_int_equal(r.mem.nr_ops, 0);
	rig_free(&r);
}

static void errors_of_tidy_leave_a_good_image(void **state)
{
	const struct {
		enum vhd_io_kind kind;
		u32 nth;
		bool fails_image;
	} rows[] = {
		{ VHD_IO_WRITE, 1, false }, { VHD_IO_FLUSH, 1, true },
		{ VHD_IO_TRUNCATE, 1, false }, { VHD_IO_FLUSH, 2, true },
	};
	struct rig r;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		rig_dynamic(&r, 8, BS);
		r.img.space.chunk = 4;
		assert_int_equal(rig_write(&r, 0, 1, 1), 0);
		assert_int_equal(rig_commit(&r), 0);
		mem_fail(&r.mem, rows[i].kind, rows[i].nth, -EIO);
		assert_int_equal(rig_tidy(&r), -EIO);
		assert_int_equal(r.img.failed, rows[i].fails_image ? -EIO : 0);
		rig_assert_footer(&r);
		rig_reopen(&r, VHD_OPEN_WRITE);
		assert_true(rig_harmless(&r));
		rig_expect(&r, 0, 1, 1);
		rig_free(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_handed_out_before_the_file_grew),
		cmocka_unit_test(slots_lie_as_the_layout_says),
		cmocka_unit_test(a_small_image_stays_small),
		cmocka_unit_test(a_smaller_geometry_keeps_what_lies_beyond_it),
		cmocka_unit_test(the_file_grows_in_doubling_chunks),
		cmocka_unit_test(the_file_grows_no_more_than_the_disk_can_need),
		cmocka_unit_test(growth_is_reserve_footer_flush_bitmaps),
		cmocka_unit_test(slots_are_not_handed_out_before_the_flush),
		cmocka_unit_test(foreign_unaligned_tails_are_grown_from),
		cmocka_unit_test(enospc_is_tried_smaller_down_to_one),
		cmocka_unit_test(a_file_system_without_reserve_is_served),
		cmocka_unit_test(a_failed_footer_is_undone),
		cmocka_unit_test(a_failed_undo_is_reported),
		cmocka_unit_test(other_reserve_errors_are_returned),
		cmocka_unit_test(a_failed_flush_fails_the_image),
		cmocka_unit_test(the_last_addressable_slots_are_used),
		cmocka_unit_test(freed_slots_are_zeroed_lowest_first),
		cmocka_unit_test(ready_slots_are_bounded),
		cmocka_unit_test(freed_slots_without_room_are_lost_not_shared),
		cmocka_unit_test(a_full_file_system_keeps_the_freed_slot),
		cmocka_unit_test(a_slot_that_cannot_be_zeroed_is_given_up),
		cmocka_unit_test(
			a_stale_tail_is_cut_before_a_slot_is_handed_out),
		cmocka_unit_test(a_stale_tail_never_shows),
		cmocka_unit_test(errors_of_the_cut_are_returned),
		cmocka_unit_test(low_asks_when_a_quarter_has_gone),
		cmocka_unit_test(low_is_false_where_nothing_can_be_allocated),
		cmocka_unit_test(low_counts_ready_slots_over_a_stale_tail),
		cmocka_unit_test(tidy_leaves_a_tight_file),
		cmocka_unit_test(tidy_takes_back_what_was_never_used),
		cmocka_unit_test(tidy_cuts_a_stale_tail),
		cmocka_unit_test(an_image_can_be_used_after_tidy),
		cmocka_unit_test(a_tail_that_tidy_could_not_cut_is_stale),
		cmocka_unit_test(tidy_pads_a_511_byte_footer),
		cmocka_unit_test(a_511_byte_footer_grows_as_others_do),
		cmocka_unit_test(tidy_leaves_others_alone),
		cmocka_unit_test(errors_of_tidy_leave_a_good_image),
	};

	return run_group("space", tests);
}
