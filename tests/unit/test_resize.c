// SPDX-License-Identifier: GPL-2.0-or-later
#include "resize.h"
#include "rig.h"

#define NR	4U

static void resize(struct rig *r, u64 sectors, int want)
{
	struct vhd_resize plan;
	int err;

	assert_int_equal(rig_commit(r), 0);
	err = vhd_resize_init(&plan, &r->img, sectors * 512);
	if (!err)
		err = mem_run(&r->mem, &plan.plan);
	vhd_resize_end(&plan);
	assert_int_equal(err, want);
	rig_reopen(r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(r));
	rig_assert_footer(r);
	if (!want)
		assert_int_equal(r->img.size, sectors * 512);
}

/* The disk ends where the table does: no entry behind it is looked at. */
static void whole_blocks_grow(void **state)
{
	struct rig r;

	rig_dynamic(&r, NR, BS);
	assert_int_equal(rig_write(&r, NR * BLKS - 1, 1, 7), 0);
	resize(&r, NR * BLKS + 3, 0);
	rig_expect(&r, NR * BLKS - 1, 1, 7);
	rig_expect(&r, NR * BLKS, 3, 0);
	assert_int_equal(r.img.nr_blocks, NR + 1);
	rig_free(&r);
}

static void what_was_cut_off_comes_back_as_zeros(void **state)
{
	struct rig r;

	rig_dynamic(&r, NR, BS);
	assert_int_equal(rig_write(&r, 0, NR * BLKS, 7), 0);
	resize(&r, BLKS + 10, 0);
	rig_expect(&r, 0, BLKS + 10, 7);
	resize(&r, NR * BLKS, 0);
	rig_expect(&r, 0, BLKS + 10, 7);
	rig_expect(&r, BLKS + 10, (NR - 1) * BLKS - 10, 0);
	rig_free(&r);
}

static void a_table_without_room_moves(void **state)
{
	struct rig r;

	rig_dynamic(&r, NR, BS);
	assert_int_equal(rig_write(&r, 0, NR * BLKS, 7), 0);
	resize(&r, 4000ULL * BLKS, 0);
	assert_true(r.img.table_offset > NR * STRIDE);
	rig_expect(&r, 0, NR * BLKS, 7);
	assert_int_equal(rig_write(&r, 3999ULL * BLKS, 8, 9), 0);
	resize(&r, 4001ULL * BLKS, 0);
	rig_expect(&r, 3999ULL * BLKS, 8, 9);
	rig_free(&r);
}

static void too_large_is_refused(void **state)
{
	struct rig r;

	rig_dynamic(&r, NR, BS);
	resize(&r, (VHD_MAX_DYNAMIC_SIZE >> 9) + 1, -EFBIG);
	assert_int_equal(r.img.nr_blocks, NR);
	rig_free(&r);
}

/* ---- of an image in use ----------------------------------------------- */

/* Run the plan as the module does, and go on. */
static int resize_open(struct rig *r, u64 sectors)
{
	struct vhd_resize plan;
	int err = vhd_resize_init(&plan, &r->img, sectors * 512);

	plan.piece = 4096;
	if (!err)
		err = mem_run(&r->mem, &plan.plan);
	vhd_resize_adopt(&plan);
	if (!err) {
		assert_true(plan.resized);
		vhd_resize_show(&plan);
		assert_int_equal(r->img.size, sectors * 512);
	}
	vhd_resize_end(&plan);
	return err;
}

/* Blocks written before and after; where they come to lie, and again on disk. */
static void goes_on(struct rig *r, u64 sectors)
{
	u64 block = (r->img.nr_blocks - 1) * (u64)BLKS;

	assert_int_equal(rig_write(r, block, 3, 5), 0);
	assert_int_equal(rig_write(r, 2 * BLKS, 3, 6), 0);
	assert_int_equal(rig_commit(r), 0);
	rig_assert_footer(r);
	rig_reopen(r, VHD_OPEN_WRITE);
	assert_true(rig_harmless(r));
	assert_int_equal(r->img.size, sectors * 512);
	rig_expect(r, block, 3, 5);
	rig_expect(r, 2 * BLKS, 3, 6);
	rig_expect(r, 0, 8, 7);
}

static void an_open_image_goes_on(void **state)
{
	static const u64 sizes[] = { NR * BLKS + 3, NR * BLKS + 9, 500 * BLKS,
				     4000 * BLKS, 1000000 * BLKS };
	struct rig r;
	u32 i;

	rig_dynamic(&r, NR, BS);
	assert_int_equal(rig_write(&r, 0, 8, 7), 0);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(resize_open(&r, sizes[i]), 0);
		goes_on(&r, sizes[i]);
	}
	rig_free(&r);
}

/* Behind the table, which ends within 4 KiB, was the tail: not in a block now. */
static void no_footer_is_left_in_a_block(void **state)
{
	struct rig r;

	rig_dynamic(&r, NR, BS);
	assert_int_equal(rig_write(&r, 0, 8, 7), 0);
	assert_int_equal(resize_open(&r, 4100 * BLKS), 0);
	assert_int_equal(rig_write(&r, 4000 * BLKS, 3, 9), 0);
	rig_expect(&r, 4000 * BLKS, 3, 9);
	rig_expect(&r, 4000 * BLKS + 3, BLKS - 3, 0);
	goes_on(&r, 4100 * BLKS);
	rig_free(&r);
}

/* What no commit has published does not get into the new table either. */
static void a_new_block_stays_unpublished(void **state)
{
	struct rig_req q;
	struct rig r;

	rig_dynamic(&r, NR, BS);
	assert_int_equal(rig_write(&r, 0, 8, 7), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_map(&r, &q, BLKS, 8), 0);
	assert_int_equal(resize_open(&r, 4000 * BLKS), 0);
	assert_int_equal(rig_disk_entry(&r, 1), VHD_BAT_UNUSED);
	assert_int_equal(rig_data(&r, &q, 9), 0);
	rig_done(&r, &q, 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_not_equal(rig_disk_entry(&r, 1), VHD_BAT_UNUSED);
	goes_on(&r, 4000 * BLKS);
	rig_expect(&r, BLKS, 8, 9);
	rig_free(&r);
}

/* A slot that is free, or was, is no room for the table. */
static void free_slots_are_no_room(void **state)
{
	struct rig r;
	u32 i;

	for (i = 0; i < 5; i++) {
		rig_dynamic(&r, NR, BS);
		assert_int_equal(rig_write(&r, BLKS, BLKS, 9), 0);
		assert_int_equal(rig_write(&r, 0, 8, 7), 0);
		assert_int_equal(rig_commit(&r), 0);
		assert_int_equal(rig_zero(&r, BLKS, BLKS, VHD_ZERO_UNMAP), 0);
		if (i > 0)
			assert_int_equal(rig_commit(&r), 0);
		if (i > 1)
			rig_release(&r);
		if (i > 2)
			assert_int_equal(rig_punch(&r), 0);
		if (i > 3)
			assert_int_equal(rig_prepare(&r), 0);
		assert_int_equal(resize_open(&r, 4000 * BLKS), 0);
		assert_true(r.img.table_offset > STRIDE);
		goes_on(&r, 4000 * BLKS);
		rig_free(&r);
	}
}

/* Bits of the old disk only: that was all of the block, and is not any more. */
static void a_full_block_is_looked_at_again(void **state)
{
	struct build b;
	struct rig r;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, BS + 10 * 512, BS);
	build_block(&b, 1);
	build_write(&b, &r.mem);
	build_bits(&b, &r.mem, 1, 10, BLKS - 10, false);
	build_tag(&b, &r.mem, 1, 0, 10, 8);
	mem_settle(&r.mem);
	build_free(&b);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	rig_expect(&r, BLKS, 10, 8);
	assert_int_equal(resize_open(&r, 3 * BLKS), 0);
	assert_int_equal(rig_write(&r, BLKS + 10, 1, 9), 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	rig_expect(&r, BLKS, 10, 8);
	rig_expect(&r, BLKS + 10, 1, 9);
	rig_free(&r);
}

/* ---- errors ------------------------------------------------------------ */

/* The @nth operation of @kind fails.  Return: was there one? */
static bool fails_at(enum vhd_io_kind kind, u32 nth, u64 sectors)
{
	struct rig r;
	int err;

	rig_dynamic(&r, NR, BS);
	assert_int_equal(rig_write(&r, 0, 8, 7), 0);
	assert_int_equal(rig_write(&r, BLKS, 8, 9), 0);
	assert_int_equal(rig_commit(&r), 0);
	mem_fail(&r.mem, kind, nth, -EIO);
	err = resize_open(&r, sectors);
	mem_heal(&r.mem);
	if (kind == VHD_IO_FLUSH) {
		assert_int_equal(err, r.img.failed);
	} else {
		assert_int_equal(r.img.failed, 0);
		goes_on(&r, err ? NR * BLKS : sectors);
		/* And it can be done again. */
		assert_int_equal(resize_open(&r, sectors), 0);
		goes_on(&r, sectors);
	}
	rig_free(&r);
	return err;
}

static void an_error_leaves_the_old_size(void **state)
{
	static const u64 sizes[] = { NR * BLKS + 3, 4000 * BLKS, 2 * BLKS + 5 };
	u32 i, n;

	for (i = 0; i < ARRAY_SIZE(sizes) - 1; i++) {
		for (n = 1; fails_at(VHD_IO_WRITE, n, sizes[i]); n++)
			;
		assert_in_range(n, 4, 20);
		for (n = 1; fails_at(VHD_IO_FLUSH, n, sizes[i]); n++)
			;
		assert_in_range(n, 5, 20);
	}
}

/* A growth's footer has come, although its write failed, and could not be cut off. */
static void make_ragged(struct rig *r)
{
	struct vhd_prepare p;
	struct vhd_io io;
	int ret, err = 0;

	vhd_prepare_init(&p, &r->img);
	while ((ret = vhd_plan_next(&p.plan, err, &io)) > 0) {
		err = io.kind == VHD_IO_TRUNCATE ? 0 : mem_io(&r->mem, &io);
		if (io.kind == VHD_IO_WRITE || io.kind == VHD_IO_TRUNCATE)
			err = -EIO;
	}
	assert_int_equal(ret, -EIO);
	assert_true(r->mem.now.size > r->img.space.file_size);
}

static void no_footer_stays_behind_the_new_one(void **state)
{
	static const u64 sizes[] = { NR * BLKS + 3, 4000 * BLKS, 3 * BLKS + 5 };
	struct rig r;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		rig_dynamic(&r, NR, BS);
		assert_int_equal(rig_write(&r, 0, 8, 7), 0);
		assert_int_equal(rig_write(&r, BLKS, 8, 9), 0);
		assert_int_equal(rig_commit(&r), 0);
		make_ragged(&r);
		assert_int_equal(resize_open(&r, sizes[i]), 0);
		assert_int_equal(r.mem.now.size, r.img.space.file_size);
		goes_on(&r, sizes[i]);
		rig_free(&r);
	}
}

/* No undoing helps where nothing can be written: nothing is written then. */
static void what_cannot_be_undone_fails_the_image(void **state)
{
	struct rig r;

	rig_dynamic(&r, NR, BS);
	assert_int_equal(rig_write(&r, 0, 8, 7), 0);
	assert_int_equal(rig_commit(&r), 0);
	mem_fail_at(&r.mem, VHD_IO_WRITE, 0, -EIO);
	assert_int_equal(resize_open(&r, 4000 * BLKS), -EIO);
	assert_int_equal(r.img.failed, -EIO);
	rig_free(&r);
}

static void make_fixed(struct rig *r, u32 sectors)
{
	rig_init(r);
	rig_make(r, VHD_TYPE_FIXED, sectors * 512ULL, 0);
	assert_int_equal(rig_open(r, VHD_OPEN_WRITE), 0);
	assert_int_equal(rig_write(r, 0, sectors, 7), 0);
}

static void a_fixed_image_stays_on_errors(void **state)
{
	static const u32 sizes[] = { 300, 101, 50 };
	struct rig r;
	u32 i, n;
	int err;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (n = 1, err = 1; err; n++) {
			make_fixed(&r, 100);
			mem_fail(&r.mem, n & 1 ? VHD_IO_WRITE : VHD_IO_ZERO,
				 (n + 1) / 2, -EIO);
			err = resize_open(&r, sizes[i]);
			mem_heal(&r.mem);
			assert_int_equal(r.img.failed, 0);
			rig_reopen(&r, VHD_OPEN_WRITE);
			assert_int_equal(r.img.size,
					 (err ? 100 : sizes[i]) * 512);
			rig_expect(&r, 0, min(sizes[i], 50U), 7);
			if (!err && sizes[i] > 100)
				rig_expect(&r, 100, sizes[i] - 100, 0);
			rig_free(&r);
		}
	}
}

/* What lies between disk and footer was no guest's, and does not become one's. */
static void a_fixed_image_in_a_long_file(void **state)
{
	static const u32 sizes[] = { 101, 150, 300 };
	struct build b;
	struct rig r;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		rig_init(&r);
		build_init(&b, VHD_TYPE_FIXED, 100 * 512, 0);
		b.tail = 150 * 512;
		build_write(&b, &r.mem);
		build_free(&b);
		assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
		assert_int_equal(rig_write(&r, 0, 100, 7), 0);
		assert_int_equal(resize_open(&r, sizes[i]), 0);
		assert_int_equal(resize_open(&r, sizes[i] + 9), 0);
		rig_reopen(&r, VHD_OPEN_WRITE);
		assert_int_equal(r.img.size, (sizes[i] + 9) * 512);
		assert_int_equal(r.img.space.tail, r.img.size);
		rig_expect(&r, 0, 100, 7);
		rig_expect(&r, 100, sizes[i] - 91, 0);
		rig_free(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_blocks_grow),
		cmocka_unit_test(what_was_cut_off_comes_back_as_zeros),
		cmocka_unit_test(a_table_without_room_moves),
		cmocka_unit_test(too_large_is_refused),
		cmocka_unit_test(an_open_image_goes_on),
		cmocka_unit_test(no_footer_is_left_in_a_block),
		cmocka_unit_test(a_new_block_stays_unpublished),
		cmocka_unit_test(free_slots_are_no_room),
		cmocka_unit_test(a_full_block_is_looked_at_again),
		cmocka_unit_test(an_error_leaves_the_old_size),
		cmocka_unit_test(no_footer_stays_behind_the_new_one),
		cmocka_unit_test(what_cannot_be_undone_fails_the_image),
		cmocka_unit_test(a_fixed_image_stays_on_errors),
		cmocka_unit_test(a_fixed_image_in_a_long_file),
	};

	return run_group("resize", tests);
}
