// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Images on block devices: the end does not move, and what no block has is junk.
 */
#include <stdlib.h>
#include <string.h>

#include "resize.h"
#include "rig.h"

#define NR	8U
#define FLAGS	(VHD_OPEN_WRITE | VHD_OPEN_DEVICE)

static void fill_junk(struct rig *r, u64 pos, u64 end)
{
	size_t n = end - pos;
	u8 *junk = malloc(n);

	assert_non_null(junk);
	memset(junk, 0xEE, n);
	mem_write(&r->mem, pos, junk, n);
	mem_settle(&r->mem);
	free(junk);
}

/* A device with room for @slots behind block 0, which is there; not opened. */
static void make_device(struct rig *r, enum vhd_disk_type type, u32 slots)
{
	struct build b;

	rig_init(r);
	build_init(&b, type, (u64)NR * BS, BS);
	if (type != VHD_TYPE_FIXED) {
		build_block(&b, 0);
		b.tail = vhd_tail_pos(b.end + slots * STRIDE);
	} else {
		b.tail = NR * (u64)BS + 3 * BS;
		b.end = NR * (u64)BS;
	}
	build_write(&b, &r->mem);
	if (type == VHD_TYPE_DYNAMIC)
		build_tag(&b, &r->mem, 0, 0, BLKS, 5);
	fill_junk(r, b.end, b.tail);
	build_free(&b);
}

static void open_device(struct rig *r, enum vhd_disk_type type, u32 slots)
{
	make_device(r, type, slots);
	assert_int_equal(rig_open(r, FLAGS), 0);
	assert_true(r->img.writable);
	assert_true(r->img.on_device);
}

/* Nothing moved the end, and the footer is there. */
static void close_device(struct rig *r, u64 size)
{
	assert_int_equal(r->mem.now.size, size);
	assert_int_equal(mem_count_ops(&r->mem, VHD_IO_TRUNCATE), 0);
	rig_assert_footer(r);
	rig_free(r);
}

static void room_is_no_slack(void **state)
{
	struct rig r;
	u64 size;

	open_device(&r, VHD_TYPE_DYNAMIC, 3);
	size = r.mem.now.size;
	assert_false(r.img.space.stale);
	assert_null(rig_found(&r, VHD_FIND_SLACK));
	assert_true(rig_harmless(&r));
	assert_int_equal(r.img.space.tail, size - 512);
	/* And nothing is written by opening it and leaving. */
	mem_forget(&r.mem);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_WRITE), 0);
	close_device(&r, size);
}

static void a_new_block_is_zeroed_first(void **state)
{
	struct rig r;
	u64 size;

	open_device(&r, VHD_TYPE_DYNAMIC, 5);
	size = r.mem.now.size;
	assert_int_equal(rig_write(&r, 2 * BLKS + 9, 3, 7), 0);
	rig_expect(&r, 2 * BLKS, 9, 0);
	rig_expect(&r, 2 * BLKS + 9, 3, 7);
	rig_expect(&r, 2 * BLKS + 12, BLKS - 12, 0);
	rig_expect(&r, 0, BLKS, 5);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_reopen(&r, FLAGS);
	rig_expect(&r, 2 * BLKS, 9, 0);
	rig_expect(&r, 2 * BLKS + 9, 3, 7);
	rig_expect(&r, 2 * BLKS + 12, BLKS - 12, 0);
	close_device(&r, size);
}

/* The first of them only when the table is known to be durable as it was read. */
static void a_flush_comes_before_the_first_slot(void **state)
{
	struct rig r;

	open_device(&r, VHD_TYPE_DYNAMIC, 5);
	mem_forget(&r.mem);
	assert_int_equal(rig_prepare(&r), 0);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_FLUSH);
	assert_int_equal(r.mem.ops[1].kind, VHD_IO_ZERO);
	mem_forget(&r.mem);
	rig_write(&r, BLKS, 1, 3);
	rig_write(&r, 2 * BLKS, 1, 3);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_FLUSH), 0);
	rig_free(&r);
}

static void a_full_device_is_enospc(void **state)
{
	u32 block, fit = 0;
	struct rig r;
	u64 size;
	int err;

	open_device(&r, VHD_TYPE_DYNAMIC, 3);
	size = r.mem.now.size;
	for (block = 1; block < NR; block++) {
		err = rig_write(&r, block * BLKS, BLKS, block);
		if (!err)
			fit++;
		else
			assert_int_equal(err, -ENOSPC);
	}
	assert_int_equal(fit, 3);
	for (block = 1; block <= 3; block++)
		rig_expect(&r, block * BLKS, BLKS, block);
	/* What is unmapped is room again, when that is durable; and zeroed. */
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_zero(&r, 2 * BLKS, BLKS, VHD_ZERO_UNMAP), 0);
	assert_int_equal(rig_write(&r, 5 * BLKS, 1, 9), -ENOSPC);
	assert_int_equal(rig_commit(&r), 0);
	rig_release(&r);
	assert_int_equal(rig_punch(&r), 0);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_DISCARD), 1);
	assert_int_equal(rig_write(&r, 5 * BLKS, 1, 9), 0);
	rig_expect(&r, 5 * BLKS, 1, 9);
	rig_expect(&r, 5 * BLKS + 1, BLKS - 1, 0);
	rig_expect(&r, 2 * BLKS, BLKS, 0);
	assert_int_equal(rig_write(&r, 6 * BLKS, 1, 9), -ENOSPC);
	close_device(&r, size);
}

static void a_discard_that_fails_does_no_harm(void **state)
{
	struct rig r;

	open_device(&r, VHD_TYPE_DYNAMIC, 1);
	assert_int_equal(rig_write(&r, BLKS, BLKS, 4), 0);
	assert_int_equal(rig_zero(&r, BLKS, BLKS, VHD_ZERO_UNMAP), 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_release(&r);
	mem_fail(&r.mem, VHD_IO_DISCARD, 1, -EIO);
	rig_punch(&r);
	mem_heal(&r.mem);
	assert_int_equal(rig_write(&r, 3 * BLKS + 1, 1, 9), 0);
	rig_expect(&r, 3 * BLKS, 1, 0);
	rig_expect(&r, 3 * BLKS + 2, BLKS - 2, 0);
	rig_free(&r);
}

/* What lies behind the others may be the damaged block's. */
static void a_bad_entry_takes_the_room(void **state)
{
	struct rig r;
	__be32 bad = cpu_to_be32(0x7fffffff);

	make_device(&r, VHD_TYPE_DYNAMIC, 3);
	mem_write(&r.mem, 0x600 + 4 * 3, &bad, sizeof(bad));
	mem_settle(&r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_DEVICE), 0);
	assert_non_null(rig_found(&r, VHD_FIND_BLOCK_END));
	assert_int_equal(r.img.space.data_end, r.img.space.tail);
	rig_free(&r);
}

/* Whatever else the sectors at the ends hold, the last one counts. */
static void an_old_footer_in_between_is_junk(void **state)
{
	struct vhd_footer f;
	struct rig r;

	make_device(&r, VHD_TYPE_DYNAMIC, 3);
	mem_read(&r.mem, 0, &f, sizeof(f));
	f.current_size = cpu_to_be64(512);
	vhd_seal_footer(&f);
	mem_write(&r.mem, r.mem.now.size - 1024, &f, sizeof(f));
	mem_settle(&r.mem);
	assert_int_equal(rig_open(&r, FLAGS), 0);
	assert_int_equal(r.img.size, (u64)NR * BS);
	rig_free(&r);
}

static int resized(struct rig *r, u64 sectors)
{
	struct vhd_resize plan;
	int err;

	assert_int_equal(rig_commit(r), 0);
	err = vhd_resize_init(&plan, &r->img, sectors * 512);
	if (!err)
		err = mem_run(&r->mem, &plan.plan);
	vhd_resize_end(&plan);
	rig_reopen(r, FLAGS);
	assert_true(rig_harmless(r));
	return err;
}

static void a_fixed_disk_grows_over_junk(void **state)
{
	struct rig r;
	u64 size;

	open_device(&r, VHD_TYPE_FIXED, 0);
	size = r.mem.now.size;
	assert_int_equal(rig_write(&r, NR * BLKS - 1, 1, 7), 0);
	assert_int_equal(resized(&r, NR * BLKS + 100), 0);
	rig_expect(&r, NR * BLKS - 1, 1, 7);
	rig_expect(&r, NR * BLKS, 100, 0);
	assert_int_equal(rig_write(&r, NR * BLKS, 100, 8), 0);
	assert_int_equal(resized(&r, NR * BLKS + 50), 0);
	assert_int_equal(resized(&r, NR * BLKS + 3 * BLKS), 0);
	rig_expect(&r, NR * BLKS, 50, 8);
	rig_expect(&r, NR * BLKS + 50, 3 * BLKS - 50, 0);
	assert_int_equal(resized(&r, NR * BLKS + 3 * BLKS + 1), -ENOSPC);
	assert_int_equal(r.img.size, (NR + 3) * (u64)BS);
	close_device(&r, size);
}

static void a_table_moves_behind_the_slots(void **state)
{
	struct rig r;
	u64 size;

	open_device(&r, VHD_TYPE_DYNAMIC, 4);
	size = r.mem.now.size;
	assert_int_equal(rig_write(&r, BLKS, BLKS, 6), 0);
	assert_int_equal(resized(&r, 4000ULL * BLKS), 0);
	assert_true(r.img.table_offset > 2 * STRIDE);
	rig_expect(&r, 0, BLKS, 5);
	rig_expect(&r, BLKS, BLKS, 6);
	assert_int_equal(rig_write(&r, 3999ULL * BLKS, 8, 9), 0);
	rig_expect(&r, 3999ULL * BLKS, 8, 9);
	rig_expect(&r, 3999ULL * BLKS + 8, BLKS - 8, 0);
	/* For this table there is no room, nor anything changed. */
	assert_int_equal(resized(&r, 1000000ULL * BLKS), -ENOSPC);
	rig_expect(&r, 3999ULL * BLKS, 8, 9);
	close_device(&r, size);
}

/* Each step may fail: the old size, and the image goes on. */
static void a_resize_that_fails_is_undone(void **state)
{
	const enum vhd_disk_type types[] = { VHD_TYPE_FIXED, VHD_TYPE_DYNAMIC };
	struct vhd_resize plan;
	struct rig r;
	u32 i, n;
	int err;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		for (n = 1; n < 12; n++) {
			open_device(&r, types[i], 4);
			assert_int_equal(vhd_resize_init(&plan, &r.img,
							 (NR + 1) * (u64)BS), 0);
			mem_fail(&r.mem, VHD_IO_WRITE, n, -EIO);
			err = mem_run(&r.mem, &plan.plan);
			mem_heal(&r.mem);
			vhd_resize_end(&plan);
			rig_reopen(&r, FLAGS);
			assert_true(rig_harmless(&r));
			assert_int_equal(r.img.size,
					 (NR + !err) * (u64)BS);
			rig_free(&r);
			if (!err)
				break;
		}
		assert_true(n > 1 && n < 12);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(room_is_no_slack),
		cmocka_unit_test(a_new_block_is_zeroed_first),
		cmocka_unit_test(a_flush_comes_before_the_first_slot),
		cmocka_unit_test(a_full_device_is_enospc),
		cmocka_unit_test(a_discard_that_fails_does_no_harm),
		cmocka_unit_test(a_bad_entry_takes_the_room),
		cmocka_unit_test(an_old_footer_in_between_is_junk),
		cmocka_unit_test(a_fixed_disk_grows_over_junk),
		cmocka_unit_test(a_table_moves_behind_the_slots),
		cmocka_unit_test(a_resize_that_fails_is_undone),
	};

	return run_group("test_device", tests);
}
