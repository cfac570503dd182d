// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "move.h"
#include "rig.h"

#define UNMAP	VHD_ZERO_UNMAP
#define PIECE	8192U

static u8 piece[PIECE];

/* Blocks of which the first @written hold their number + 1, committed. */
static void make_written(struct rig *r, u32 blocks, u32 written)
{
	u32 i;

	rig_dynamic(r, blocks, BS);
	for (i = 0; i < written; i++)
		assert_int_equal(rig_write(r, i * (u64)BLKS, BLKS, i + 1), 0);
	assert_int_equal(rig_commit(r), 0);
	mem_settle(&r->mem);
}

/* Unmapped, and their slots free. */
static void free_slot(struct rig *r, u32 block)
{
	assert_int_equal(rig_zero(r, block * (u64)BLKS, BLKS, UNMAP), 0);
	assert_int_equal(rig_commit(r), 0);
	rig_release(r);
}

static enum vhd_move_result begin(struct rig *r, struct vhd_move *m, u32 block)
{
	return vhd_move_init(m, &r->img, block, piece, PIECE);
}

static int move(struct rig *r, u32 block)
{
	struct vhd_move m;

	assert_int_equal(begin(r, &m, block), VHD_MOVE_READY);
	return mem_run(&r->mem, &m.plan);
}

static int cut(struct rig *r)
{
	struct vhd_tidy t;

	vhd_tidy_live_init(&t, &r->img);
	return mem_run(&r->mem, &t.plan);
}

static bool probe(struct rig *r, u32 block, bool read)
{
	struct vhd_probe p;

	vhd_probe_init(&p, &r->img, block, read, piece, PIECE);
	assert_int_equal(mem_run(&r->mem, &p.plan), 0);
	return p.zero;
}

static void a_block_moves_with_one_flush_before_its_entry_changes(void **state)
{
	struct rig r;
	u32 low, high;

	make_written(&r, 8, 4);
	low = r.img.bat[1];
	high = r.img.bat[3];
	free_slot(&r, 1);
	mem_settle(&r.mem);
	assert_int_equal(move(&r, 3), 0);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_FLUSH), 1);
	assert_int_equal(r.mem.ops[r.mem.nr_ops - 1].kind, VHD_IO_FLUSH);
	assert_int_equal(r.img.bat[3], low);
	assert_int_equal(rig_disk_entry(&r, 3), high);
	assert_int_equal(r.img.counters.moves, 1);
	rig_expect(&r, 3 * BLKS, BLKS, 4);
	/* One flush more, and the table; then the old slot drains. */
	assert_true(vhd_dirty(&r.img));
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_disk_entry(&r, 3), low);
	assert_int_equal(vhd_unmap_draining(&r.img), 1);
	assert_int_equal(r.img.space.draining.at[0], high);
	rig_release(&r);
	assert_int_equal(r.img.space.drained, 2);
	rig_reopen(&r, VHD_OPEN_WRITE);
	rig_expect(&r, 3 * BLKS, BLKS, 4);
	rig_expect(&r, 1 * BLKS, BLKS, 0);
	rig_free(&r);
}

static void a_crash_before_the_commit_finds_the_old_place(void **state)
{
	struct rig r;

	make_written(&r, 8, 4);
	free_slot(&r, 0);
	mem_settle(&r.mem);
	assert_int_equal(move(&r, 3), 0);
	/* What is written now goes to the new place, and to that only. */
	assert_int_equal(rig_write(&r, 3 * BLKS, 8, 99), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	rig_expect(&r, 3 * BLKS, BLKS, 4);
	rig_free(&r);
}

static void holes_and_zeros_are_not_copied(void **state)
{
	struct vhd_move m;
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_write(&r, 0, 8, 1), 0);
	assert_int_equal(rig_write(&r, BLKS, BLKS, 2), 0);
	assert_int_equal(rig_write(&r, 2 * BLKS + 100, 8, 3), 0);
	assert_int_equal(rig_commit(&r), 0);
	/* Rubbish is left in the slot: it is zeroed first. */
	free_slot(&r, 1);
	mem_settle(&r.mem);
	assert_int_equal(begin(&r, &m, 2), VHD_MOVE_READY);
	assert_true(m.dirty);
	assert_int_equal(mem_run(&r.mem, &m.plan), 0);
	assert_int_equal(r.mem.ops[0].kind, VHD_IO_ZERO);
	assert_int_equal(mem_count_ops(&r.mem, VHD_IO_ZERO), 1);
	assert_int_equal(m.copied, 512 + 8 * 512);
	rig_expect(&r, 2 * BLKS, 100, 0);
	rig_expect(&r, 2 * BLKS + 100, 8, 3);
	rig_expect(&r, 2 * BLKS + 108, BLKS - 108, 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	rig_expect(&r, 2 * BLKS, 100, 0);
	rig_expect(&r, 2 * BLKS + 100, 8, 3);
	rig_free(&r);
}

static void a_new_block_waits_for_a_commit(void **state)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext;
	struct vhd_move m;
	struct rig r;

	make_written(&r, 8, 4);
	assert_int_equal(rig_write(&r, 5 * BLKS, 8, 9), 0);
	/* One that is being read, too, when it is durable. */
	vhd_map_read(&r.img, 5 * BLKS, 8, &hold, &ext);
	/* A slot before it comes free without a commit of it. */
	spin_lock(&r.img.lock);
	vhd_space_give(&r.img, r.img.bat[0]);
	WRITE_ONCE(r.img.bat[0], VHD_BAT_UNUSED);
	spin_unlock(&r.img.lock);
	assert_int_equal(begin(&r, &m, 5), VHD_MOVE_COMMIT);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(move(&r, 5), 0);
	vhd_map_done(&r.img, &hold, 0);
	rig_expect(&r, 5 * BLKS, 8, 9);
	rig_free(&r);
}

static void nothing_moves_up(void **state)
{
	struct vhd_last last;
	struct vhd_move m;
	struct rig r;

	make_written(&r, 8, 4);
	assert_int_equal(begin(&r, &m, 7), VHD_MOVE_NOT);
	free_slot(&r, 3);
	assert_int_equal(begin(&r, &m, 2), VHD_MOVE_NOT);
	vhd_last_find(&last, &r.img);
	assert_int_equal(last.nr, 0);
	free_slot(&r, 0);
	vhd_last_find(&last, &r.img);
	assert_int_equal(last.nr, 2);
	assert_int_equal(vhd_last_block(&last, 0), 2);
	assert_int_equal(vhd_last_block(&last, 1), 1);
	rig_free(&r);
}

static void of_many_blocks_the_last_are_found(void **state)
{
	struct vhd_last last;
	struct rig r;
	u32 i;

	rig_dynamic(&r, 700, 512 * KIB);
	for (i = 0; i < 600; i++) {
		assert_int_equal(rig_write(&r, i * 1024ULL, 1, i + 1), 0);
		if (i % 100 == 99)
			assert_int_equal(rig_commit(&r), 0);
	}
	assert_int_equal(rig_zero(&r, 0, 1024, UNMAP), 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_release(&r);
	vhd_last_find(&last, &r.img);
	assert_int_equal(last.nr, VHD_NR_LAST);
	for (i = 0; i < last.nr; i++)
		assert_int_equal(vhd_last_block(&last, i), 599 - i);
	rig_free(&r);
}

static void bits_move_with_their_block(void **state)
{
	struct vhd_move m;
	struct build b;
	struct rig r;
	u32 i;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 16ULL * BS, BS);
	for (i = 0; i < 5; i++)
		build_block(&b, i);
	build_write(&b, &r.mem);
	build_bits(&b, &r.mem, 4, 0, BLKS, false);
	build_bits(&b, &r.mem, 4, 10, 20, true);
	build_tag(&b, &r.mem, 4, 0, BLKS, 5);
	mem_settle(&r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	free_slot(&r, 1);
	rig_expect(&r, 4 * BLKS, 10, 0);
	rig_expect(&r, 4 * BLKS + 10, 20, 5);
	/* A bit that is in memory only would be lost with the old slot. */
	assert_int_equal(rig_write(&r, 4 * BLKS + 30, 1, 6), 0);
	assert_int_equal(begin(&r, &m, 4), VHD_MOVE_COMMIT);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(move(&r, 4), 0);
	rig_expect(&r, 4 * BLKS, 10, 0);
	assert_int_equal(rig_write(&r, 4 * BLKS + 31, 1, 7), 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	rig_expect(&r, 4 * BLKS, 10, 0);
	rig_expect(&r, 4 * BLKS + 10, 20, 5);
	rig_expect(&r, 4 * BLKS + 30, 1, 6);
	rig_expect(&r, 4 * BLKS + 31, 1, 7);
	rig_expect(&r, 4 * BLKS + 32, BLKS - 32, 0);
	build_free(&b);
	rig_free(&r);
}

static void an_error_leaves_the_block_where_it_is(void **state)
{
	const enum vhd_io_kind kinds[] = { VHD_IO_ZERO, VHD_IO_READ,
					   VHD_IO_WRITE };
	const int errors[] = { -EIO, -ENOSPC };
	struct rig r;
	u32 i, e, was;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		for (e = 0; e < ARRAY_SIZE(errors); e++) {
			make_written(&r, 8, 4);
			free_slot(&r, 0);
			was = r.img.bat[3];
			mem_fail(&r.mem, kinds[i], 1, errors[e]);
			assert_int_equal(move(&r, 3), errors[e]);
			assert_int_equal(r.img.bat[3], was);
			assert_int_equal(r.img.failed, 0);
			assert_false(vhd_dirty(&r.img));
			rig_expect(&r, 3 * BLKS, BLKS, 4);
			rig_free(&r);
		}
}

static void a_failed_flush_fails_the_image(void **state)
{
	struct rig r;
	u32 was;

	make_written(&r, 8, 4);
	free_slot(&r, 0);
	was = r.img.bat[3];
	mem_fail(&r.mem, VHD_IO_FLUSH, 1, -EIO);
	assert_int_equal(move(&r, 3), -EIO);
	assert_int_equal(r.img.failed, -EIO);
	assert_int_equal(r.img.bat[3], was);
	rig_free(&r);
}

static void zeros_are_seen(void **state)
{
	struct rig r;

	rig_dynamic(&r, 8, BS);
	assert_int_equal(rig_write(&r, 0, 8, 1), 0);
	assert_int_equal(rig_zero(&r, 0, 8, 0), 0);
	assert_int_equal(rig_write(&r, BLKS + BLKS - 1, 1, 1), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_true(probe(&r, 0, false));
	assert_true(probe(&r, 0, true));
	assert_false(probe(&r, 1, false));
	assert_false(probe(&r, 1, true));
	assert_int_equal(vhd_drop_block(&r.img, 0), 1);
	assert_int_equal(vhd_drop_block(&r.img, 0), 0);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_disk_entry(&r, 0), VHD_BAT_UNUSED);
	rig_free(&r);
}

static void a_new_block_over_a_parent_keeps_its_slot(void **state)
{
	struct rig r;

	rig_init(&r);
	r.parent = 1000;
	rig_make(&r, VHD_TYPE_DIFFERENCING, 8ULL * BS, BS);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	assert_int_equal(rig_write(&r, 0, 8, 5), 0);
	assert_int_equal(vhd_drop_block(&r.img, 0), 0);
	rig_expect(&r, 0, 8, 5);
	rig_free(&r);
}

static void the_file_is_cut_while_it_is_in_use(void **state)
{
	struct rig_req q;
	struct rig r;
	u64 before;

	make_written(&r, 300, 6);
	free_slot(&r, 5);
	/* Still in the table on disk; then still known to a request. */
	assert_int_equal(rig_zero(&r, 4 * BLKS, BLKS, UNMAP), 0);
	before = r.mem.now.size;
	assert_int_equal(cut(&r), 0);
	assert_true(r.mem.now.size <= before);
	rig_assert_footer(&r);
	before = r.mem.now.size;
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(cut(&r), 0);
	assert_int_equal(r.mem.now.size, before);
	rig_release(&r);
	assert_int_equal(cut(&r), 0);
	assert_int_equal(r.mem.now.size, before - STRIDE);
	rig_assert_footer(&r);
	/* A write that is under way has its slot, and it stays. */
	assert_int_equal(rig_map(&r, &q, 9 * BLKS, 8), 0);
	assert_int_equal(cut(&r), 0);
	assert_true(q.ext.pos + 8 * 512 <= r.img.space.tail);
	assert_int_equal(rig_data(&r, &q, 77), 0);
	rig_done(&r, &q, 0);
	assert_int_equal(rig_write(&r, 10 * BLKS, 8, 78), 0);
	assert_int_equal(rig_commit(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	rig_expect(&r, 0, BLKS, 1);
	rig_expect(&r, 3 * BLKS, BLKS, 4);
	rig_expect(&r, 9 * BLKS, 8, 77);
	rig_expect(&r, 10 * BLKS, 8, 78);
	rig_free(&r);
}

static void a_cut_that_fails_is_done_by_the_next_growth(void **state)
{
	struct rig r;

	make_written(&r, 300, 6);
	free_slot(&r, 4);
	free_slot(&r, 5);
	mem_fail(&r.mem, VHD_IO_TRUNCATE, 1, -EIO);
	assert_int_equal(cut(&r), -EIO);
	assert_true(r.img.space.stale);
	assert_int_equal(vhd_space_free_slots(&r.img), 0);
	assert_int_equal(rig_write(&r, 7 * BLKS, 8, 7), 0);
	assert_false(r.img.space.stale);
	assert_int_equal(rig_commit(&r), 0);
	assert_int_equal(rig_tidy(&r), 0);
	rig_reopen(&r, VHD_OPEN_WRITE);
	assert_int_equal(r.nr_found, 0);
	rig_expect(&r, 7 * BLKS, 8, 7);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_moves_with_one_flush_before_its_entry_changes),
		cmocka_unit_test(a_crash_before_the_commit_finds_the_old_place),
		cmocka_unit_test(holes_and_zeros_are_not_copied),
		cmocka_unit_test(a_new_block_waits_for_a_commit),
		cmocka_unit_test(nothing_moves_up),
		cmocka_unit_test(of_many_blocks_the_last_are_found),
		cmocka_unit_test(bits_move_with_their_block),
		cmocka_unit_test(an_error_leaves_the_block_where_it_is),
		cmocka_unit_test(a_failed_flush_fails_the_image),
		cmocka_unit_test(zeros_are_seen),
		cmocka_unit_test(a_new_block_over_a_parent_keeps_its_slot),
		cmocka_unit_test(the_file_is_cut_while_it_is_in_use),
		cmocka_unit_test(a_cut_that_fails_is_done_by_the_next_growth),
	};

	return run_group("move", tests);
}
