// SPDX-License-Identifier: GPL-2.0-or-later
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

static void fill(struct rig *r, u32 n, __be32 *buf)
{
	spin_lock(&r->img.lock);
	vhd_bat_fill_sector(&r->img, n, buf);
	spin_unlock(&r->img.lock);
}

static void sectors_of_the_table_lie_one_after_another(void **state)
{
	struct rig r;

	rig_dynamic(&r, 300, BS);
	assert_int_equal(vhd_bat_sector_pos(&r.img, 0), 0x600);
	assert_int_equal(vhd_bat_sector_pos(&r.img, 2), 0xA00);
	assert_int_equal(vhd_bat_table_bytes(&r.img), 1200);
	r.img.table_offset = 1ULL << 40;
	assert_int_equal(vhd_bat_sector_pos(&r.img, 0x800000),
			 (1ULL << 40) + (1ULL << 32));
	rig_free(&r);
}

static void filled_sector_is_big_endian_and_padded(void **state)
{
	__be32 buf[VHD_BAT_PER_SECTOR];
	struct build b;
	struct rig r;
	u32 i;

	rig_init(&r);
	build_init(&b, VHD_TYPE_DYNAMIC, 130ULL * BS, BS);
	build_block(&b, 1);
	build_block(&b, 129);
	build_write(&b, &r.mem);
	assert_int_equal(rig_open(&r, VHD_OPEN_WRITE), 0);
	fill(&r, 0, buf);
	for (i = 0; i < VHD_BAT_PER_SECTOR; i++)
		assert_int_equal(be32_to_cpu(buf[i]), b.bat[i]);
	fill(&r, 1, buf);
	assert_int_equal(be32_to_cpu(buf[1]), b.bat[129]);
	for (i = 2; i < VHD_BAT_PER_SECTOR; i++)
		assert_int_equal(be32_to_cpu(buf[i]), 0xFFFFFFFF);
	build_free(&b);
	rig_free(&r);
}

static void only_taken_blocks_are_published(void **state)
{
	__be32 buf[VHD_BAT_PER_SECTOR];
	struct rig_req q;
	struct rig r;

	rig_dynamic(&r, 8, BS);
	/* 0: no write completed.  1: of this epoch.  2: of the next one. */
	assert_int_equal(rig_map(&r, &q, 0, 1), 0);
	assert_int_equal(rig_write(&r, BLKS, 1, 1), 0);
	fill(&r, 0, buf);
	assert_int_equal(be32_to_cpu(buf[1]), 0xFFFFFFFF);
	vhd_commit_begin(&r.commit);
	assert_int_equal(rig_write(&r, 2 * BLKS, 1, 1), 0);
	fill(&r, 0, buf);
	assert_int_equal(be32_to_cpu(buf[0]), 0xFFFFFFFF);
	assert_int_equal(be32_to_cpu(buf[1]), r.img.bat[1]);
	assert_int_equal(be32_to_cpu(buf[2]), 0xFFFFFFFF);
	assert_int_equal(mem_run(&r.mem, &r.commit.plan), 0);
	fill(&r, 0, buf);
	assert_int_equal(be32_to_cpu(buf[1]), r.img.bat[1]);
	rig_done(&r, &q, 0);
	rig_free(&r);
}

/* ---- records of new blocks -------------------------------------------- */

static void records_are_found_added_and_removed(void **state)
{
	struct vhd_new_block *nb;
	struct rig r;
	u32 i;

	rig_dynamic(&r, 8, BS);
	spin_lock(&r.img.lock);
	/* All of one bucket. */
	for (i = 0; i < 5; i++)
		assert_non_null(vhd_new_add(&r.img, 3 + i * VHD_NEW_BUCKETS,
					    100 + i));
	for (i = 0; i < 5; i++) {
		nb = vhd_new_find(&r.img, 3 + i * VHD_NEW_BUCKETS);
		assert_non_null(nb);
		assert_int_equal(nb->sector, 100 + i);
		assert_int_equal(nb->state, VHD_NEW_EMPTY);
		assert_int_equal(nb->users, 0);
	}
	assert_null(vhd_new_find(&r.img, 4));
	assert_null(vhd_new_find(&r.img, 3 + 5 * VHD_NEW_BUCKETS));
	/* From the middle, the head and the end of the chain. */
	for (i = 0; i < 5; i++) {
		u32 block = 3 + (i * 2 + 2) % 5 * VHD_NEW_BUCKETS;

		nb = vhd_new_find(&r.img, block);
		assert_non_null(nb);
		vhd_new_remove(&r.img, nb);
		assert_null(vhd_new_find(&r.img, block));
		assert_int_equal(nb->state, VHD_NEW_FREE);
	}
	assert_int_equal(r.img.new_blocks.nr_used, 0);
	spin_unlock(&r.img.lock);
	rig_free(&r);
}

static void records_run_out_and_come_back(void **state)
{
	struct vhd_new_block *nb;
	struct rig r;
	u32 i, round;

	rig_dynamic(&r, 8, BS);
	spin_lock(&r.img.lock);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < VHD_NR_NEW; i++)
			assert_non_null(vhd_new_add(&r.img, i, i + 1));
		assert_null(vhd_new_add(&r.img, i, i + 1));
		assert_int_equal(r.img.new_blocks.nr_used, VHD_NR_NEW);
		for (i = 0; i < VHD_NR_NEW; i++) {
			nb = vhd_new_find(&r.img, i);
			assert_non_null(nb);
			vhd_new_remove(&r.img, nb);
		}
		assert_int_equal(r.img.new_blocks.nr_used, 0);
	}
	spin_unlock(&r.img.lock);
	rig_free(&r);
}

static void a_record_lives_until_its_last_user(void **state)
{
	struct vhd_new_block *nb;
	struct rig r;

	rig_dynamic(&r, 8, BS);
	spin_lock(&r.img.lock);
	nb = vhd_new_add(&r.img, 5, 77);
	nb->users = 2;
	vhd_new_remove(&r.img, nb);
	assert_null(vhd_new_find(&r.img, 5));
	assert_int_equal(nb->state, VHD_NEW_DURABLE);
	vhd_new_put(&r.img, nb);
	assert_int_equal(nb->state, VHD_NEW_DURABLE);
	assert_int_equal(r.img.new_blocks.nr_used, 1);
	vhd_new_put(&r.img, nb);
	assert_int_equal(nb->state, VHD_NEW_FREE);
	assert_int_equal(r.img.new_blocks.nr_used, 0);
	spin_unlock(&r.img.lock);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sectors_of_the_table_lie_one_after_another),
		cmocka_unit_test(filled_sector_is_big_endian_and_padded),
		cmocka_unit_test(only_taken_blocks_are_published),
		cmocka_unit_test(records_are_found_added_and_removed),
		cmocka_unit_test(records_run_out_and_come_back),
		cmocka_unit_test(a_record_lives_until_its_last_user),
	};

	return run_group("bat", tests);
}
