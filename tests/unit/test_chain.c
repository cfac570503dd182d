// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Chains: what belongs together, where a sector is found, and random writes,
 * commits, snapshots and reopenings against a plain array.
 */
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "resize.h"
#include "rig.h"

#define MAX_DEPTH	130U

/**
 * struct stack - layers, the top first in @images, last in @rigs
 * @ids: number of ids given
 */
struct stack {
	struct rig *rigs[MAX_DEPTH];
	struct vhd_image *images[MAX_DEPTH];
	struct vhd_chain chain;
	u32 nr;
	u8 ids;
};

static struct rig *top_of(struct stack *s)
{
	return s->rigs[s->nr - 1];
}

static struct rig *layer_of(struct stack *s, u32 layer)
{
	return s->rigs[s->nr - 1 - layer];
}

static void make_id(u8 *id, u8 n)
{
	memset(id, n, 16);
}

/* Put the chain together anew, whatever has happened to its layers. */
static void stack_link(struct stack *s)
{
	struct vhd_finding f;
	u32 i, layer;

	vhd_chain_free(&s->chain);
	for (i = 0; i < s->nr; i++)
		s->images[i] = &layer_of(s, i)->img;
	assert_int_equal(vhd_chain_check(s->images, s->nr, false, &layer, &f),
			 0);
	assert_int_equal(vhd_chain_init(&s->chain, s->images, s->nr), 0);
}

/* A new top over what is there, as tools make it; not opened. */
static struct build *stack_build(struct stack *s, enum vhd_disk_type type,
				 u64 size, u32 block_size)
{
	struct build *b = malloc(sizeof(*b));
	struct rig *r = malloc(sizeof(*r));

	assert_true(s->nr < MAX_DEPTH);
	assert_non_null(b);
	assert_non_null(r);
	rig_init(r);
	build_init(b, type, size, block_size);
	make_id(b->header.parent_unique_id, s->ids);
	make_id(b->footer.unique_id, ++s->ids);
	s->rigs[s->nr++] = r;
	return b;
}

static void stack_finish(struct stack *s, struct build *b, unsigned int flags)
{
	build_free(b);
	free(b);
	assert_int_equal(rig_open(top_of(s), flags), 0);
	assert_int_equal(top_of(s)->img.writable, flags == VHD_OPEN_WRITE);
}

static void stack_push(struct stack *s, enum vhd_disk_type type, u64 size,
		       u32 block_size, unsigned int flags)
{
	struct build *b = stack_build(s, type, size, block_size);

	build_write(b, &top_of(s)->mem);
	stack_finish(s, b, flags);
}

static void stack_free(struct stack *s)
{
	vhd_chain_free(&s->chain);
	while (s->nr) {
		rig_free(top_of(s));
		free(top_of(s));
		s->nr--;
	}
}

/* The lockless answer for one sector must be a true one, if there is one. */
static void expect_fast(struct stack *s, u64 sector, const u8 *data)
{
	enum vhd_map_kind kind;
	u8 buf[512] = { 0 };
	u32 layer;
	u64 pos;

	kind = vhd_chain_map_fast(&s->chain, sector, 1, &layer, &pos);
	if (kind == VHD_MAP_SLOW)
		return;
	if (kind == VHD_MAP_DATA)
		mem_read(&layer_of(s, layer)->mem, pos, buf, sizeof(buf));
	else
		assert_int_equal(kind, VHD_MAP_ZERO);
	assert_memory_equal(buf, data, sizeof(buf));
}

static void stack_read(struct stack *s, u64 sector, u32 sectors, u8 *buf)
{
	struct vhd_extent ext;
	struct rig *r;

	while (sectors) {
		struct vhd_hold hold = { };

		vhd_chain_map_read(&s->chain, sector, sectors, &hold, &ext);
		r = layer_of(s, ext.layer);
		if (ext.kind == VHD_MAP_BITMAP) {
			assert_int_equal(rig_load(r, sector >>
					 (r->img.block_shift - 9)), 0);
			continue;
		}
		assert_in_range(ext.sectors, 1, sectors);
		if (ext.kind == VHD_MAP_DATA)
			mem_read(&r->mem, ext.pos, buf, ext.sectors * 512ULL);
		else
			assert_int_equal(ext.kind, VHD_MAP_ZERO);
		if (ext.kind == VHD_MAP_ZERO)
			memset(buf, 0, ext.sectors * 512ULL);
		vhd_chain_map_done(&hold, 0);
		expect_fast(s, sector, buf);
		expect_fast(s, sector + ext.sectors - 1,
			    buf + (ext.sectors - 1) * 512ULL);
		buf += ext.sectors * 512ULL;
		sector += ext.sectors;
		sectors -= ext.sectors;
	}
}

static void expect(struct stack *s, u64 sector, u32 sectors, u64 tag)
{
	u8 *buf = malloc(sectors * 512ULL);
	u32 i;

	assert_non_null(buf);
	stack_read(s, sector, sectors, buf);
	for (i = 0; i < sectors; i++)
		assert_int_equal(tag_of(buf + i * 512ULL), tag);
	free(buf);
}

/* ---- what belongs together -------------------------------------------- */

static void ids_link_a_chain(void **state)
{
	struct stack s = { };
	struct vhd_finding f;
	u32 layer;

	stack_push(&s, VHD_TYPE_DYNAMIC, 4 * MIB, BS, 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 4 * MIB, BS, 0);
	stack_link(&s);
	make_id(s.images[1]->footer.unique_id, 99);
	assert_int_equal(vhd_chain_check(s.images, 2, false, &layer, &f),
			 -ENXIO);
	assert_int_equal(f.code, VHD_FIND_PARENT_ID);
	assert_int_equal(layer, 0);
	assert_int_equal(f.found, 0x0101010101010101ULL);
	assert_int_equal(f.expected, 0x6363636363636363ULL);
	assert_int_equal(f.offset, 512 + 40);
	assert_int_equal(vhd_chain_check(s.images, 2, true, &layer, &f), 0);
	stack_free(&s);
}

static void a_null_id_names_nobody(void **state)
{
	struct stack s = { };
	struct vhd_finding f;
	u32 layer;

	stack_push(&s, VHD_TYPE_DYNAMIC, 4 * MIB, BS, 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 4 * MIB, BS, 0);
	stack_link(&s);
	make_id(s.images[1]->footer.unique_id, 0);
	make_id(s.images[0]->header.parent_unique_id, 0);
	assert_int_equal(vhd_chain_check(s.images, 2, false, &layer, &f),
			 -ENXIO);
	assert_int_equal(f.code, VHD_FIND_PARENT_ID);
	stack_free(&s);
}

static void too_few_and_too_many_layers(void **state)
{
	struct stack s = { };
	struct vhd_finding f;
	u32 layer;

	stack_push(&s, VHD_TYPE_FIXED, 4 * MIB, BS, 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 4 * MIB, BS, 0);
	stack_link(&s);
	assert_int_equal(vhd_chain_check(s.images, 1, true, &layer, &f),
			 -ENXIO);
	assert_int_equal(f.code, VHD_FIND_PARENT);
	assert_int_equal(layer, 0);
	assert_int_equal(f.found, 1);
	assert_int_equal(f.expected, 2);
	/* Turned over, the first layer has no parent. */
	s.images[0] = &s.rigs[0]->img;
	s.images[1] = &s.rigs[1]->img;
	assert_int_equal(vhd_chain_check(s.images, 2, true, &layer, &f),
			 -ENXIO);
	assert_int_equal(f.found, 2);
	assert_int_equal(f.expected, 1);
	stack_free(&s);
}

static void no_memory_for_a_chain(void **state)
{
	struct stack s = { };
	u32 i;

	stack_push(&s, VHD_TYPE_DYNAMIC, 4 * MIB, BS, 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 4 * MIB, BS, 0);
	stack_link(&s);
	for (i = 1; i <= 3; i++) {
		vhd_chain_free(&s.chain);
		vhd_shim_fail_alloc = i;
		assert_int_equal(vhd_chain_init(&s.chain, s.images, 2),
				 -ENOMEM);
	}
	vhd_shim_fail_alloc = 0;
	stack_free(&s);
}

/* ---- where a sector is ------------------------------------------------ */

static void a_single_layer_is_a_chain(void **state)
{
	struct stack s = { };

	stack_push(&s, VHD_TYPE_DYNAMIC, 4 * MIB, BS, VHD_OPEN_WRITE);
	stack_link(&s);
	assert_int_equal(s.chain.chunk, BLKS);
	assert_int_equal(rig_write(top_of(&s), BLKS - 2, 4, 7), 0);
	expect(&s, BLKS - 2, 4, 7);
	expect(&s, 0, BLKS - 2, 0);
	stack_free(&s);
}

static void clear_bits_ask_the_parent(void **state)
{
	struct stack s = { };
	struct build *b;
	u32 layer;
	u64 pos;

	stack_push(&s, VHD_TYPE_DYNAMIC, 4 * MIB, BS, VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 0, 2 * BLKS, 1), 0);
	assert_int_equal(rig_commit(top_of(&s)), 0);
	b = stack_build(&s, VHD_TYPE_DIFFERENCING, 4 * MIB, BS);
	build_block(b, 0);
	build_write(b, &top_of(&s)->mem);
	build_bits(b, &top_of(&s)->mem, 0, 0, BLKS, false);
	build_bits(b, &top_of(&s)->mem, 0, 9, 3, true);
	build_tag(b, &top_of(&s)->mem, 0, 9, 3, 2);
	stack_finish(&s, b, 0);
	stack_link(&s);
	expect(&s, 0, 9, 1);
	expect(&s, 9, 3, 2);
	expect(&s, 12, 2 * BLKS - 12, 1);
	/* The block of the parent alone is found without a lock. */
	assert_int_equal(vhd_chain_map_fast(&s.chain, BLKS, 8, &layer, &pos),
			 VHD_MAP_DATA);
	assert_int_equal(layer, 1);
	stack_free(&s);
}

static void nothing_but_what_was_written_is_in_a_new_block(void **state)
{
	struct stack s = { };
	struct rig *r;
	u8 bits[512];
	u32 len;

	stack_push(&s, VHD_TYPE_DYNAMIC, 4 * MIB, BS, VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 0, 2 * BLKS, 1), 0);
	assert_int_equal(rig_commit(top_of(&s)), 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 4 * MIB, BS, VHD_OPEN_WRITE);
	stack_link(&s);
	r = top_of(&s);
	assert_int_equal(rig_write(r, 9, 3, 2), 0);
	expect(&s, 0, 9, 1);
	expect(&s, 9, 3, 2);
	expect(&s, 12, 50, 1);
	assert_int_equal(rig_commit(r), 0);
	mem_read(&r->mem, vhd_bitmap_pos(&r->img, 0, &len), bits, 512);
	assert_int_equal(bits[0], 0x00);
	assert_int_equal(bits[1], 0x70);
	assert_int_equal(bits[2], 0x00);
	assert_false(test_bit(0, r->img.full));
	/* With the last bit on disk no bitmap is needed any more. */
	assert_int_equal(rig_write(r, 0, BLKS, 3), 0);
	assert_false(test_bit(0, r->img.full));
	assert_int_equal(rig_commit(r), 0);
	assert_true(test_bit(0, r->img.full));
	assert_int_equal(r->img.bitmaps.nr, 0);
	expect(&s, 0, BLKS, 3);
	stack_free(&s);
}

static void a_failed_write_leaves_the_parent_s_data(void **state)
{
	struct stack s = { };

	stack_push(&s, VHD_TYPE_DYNAMIC, 4 * MIB, BS, VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 0, BLKS, 1), 0);
	assert_int_equal(rig_commit(top_of(&s)), 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 4 * MIB, BS, VHD_OPEN_WRITE);
	stack_link(&s);
	assert_int_equal(rig_prepare(top_of(&s)), 0);
	mem_fail(&top_of(&s)->mem, VHD_IO_WRITE, 1, -EIO);
	assert_int_equal(rig_write(top_of(&s), 9, 3, 2), -EIO);
	assert_int_equal(top_of(&s)->img.nr_allocated, 0);
	expect(&s, 0, BLKS, 1);
	assert_int_equal(rig_write(top_of(&s), 9, 3, 2), 0);
	expect(&s, 9, 3, 2);
	expect(&s, 12, 9, 1);
	stack_free(&s);
}

/*
 * A commit that failed may have left the entry on the disk: from then on bits
 * must not be written before a flush has covered their data.
 */
static void bits_of_a_block_that_may_be_seen_wait_for_phase_two(void **state)
{
	struct stack s = { };
	struct rig *r;
	u64 bitmap;
	u32 len, i, flushed = ~0U, bits = ~0U;

	stack_push(&s, VHD_TYPE_DYNAMIC, 8 * MIB, BS, VHD_OPEN_WRITE);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 8 * MIB, BS, VHD_OPEN_WRITE);
	r = top_of(&s);
	assert_int_equal(rig_write(r, 0, 1, 1), 0);
	assert_int_equal(rig_commit(r), 0);
	assert_int_equal(rig_write(r, 1, 1, 1), 0);
	assert_int_equal(rig_write(r, BLKS, 1, 1), 0);
	/* New bitmap, table, and the bitmap of block 0 fails. */
	mem_fail(&r->mem, VHD_IO_WRITE, 3, -EIO);
	assert_int_equal(rig_commit(r), -EIO);
	mem_heal(&r->mem);
	assert_int_not_equal(rig_disk_entry(r, 1), VHD_BAT_UNUSED);
	assert_int_equal(rig_write(r, BLKS + 7, 1, 1), 0);
	mem_forget(&r->mem);
	assert_int_equal(rig_commit(r), 0);
	bitmap = vhd_bitmap_pos(&r->img, 1, &len);
	for (i = 0; i < r->mem.nr_ops; i++) {
		if (r->mem.ops[i].kind == VHD_IO_FLUSH && flushed == ~0U)
			flushed = i;
		if (r->mem.ops[i].kind == VHD_IO_WRITE &&
		    r->mem.ops[i].pos == bitmap)
			bits = i;
	}
	assert_true(flushed < bits && bits < r->mem.nr_ops);
	stack_free(&s);
}

static void beyond_a_parent_s_end_there_are_zeros(void **state)
{
	struct stack s = { };

	stack_push(&s, VHD_TYPE_DYNAMIC, 8 * MIB, BS, VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 0, 4 * BLKS, 1), 0);
	assert_int_equal(rig_commit(top_of(&s)), 0);
	/* Within a block, too. */
	stack_push(&s, VHD_TYPE_DIFFERENCING, 3 * MIB + 512, BS, 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 8 * MIB, BS, 0);
	stack_link(&s);
	expect(&s, 0, 6145, 1);
	expect(&s, 6145, 4 * BLKS - 6145, 0);
	stack_free(&s);
}

/* Another size for the top, as the module does it. */
static void grow_top(struct stack *s, u64 sectors)
{
	struct vhd_image *img = &top_of(s)->img;
	u32 blocks = img->nr_blocks;
	struct vhd_resize plan;
	u16 *below;

	assert_int_equal(rig_commit(top_of(s)), 0);
	assert_int_equal(vhd_chain_room(&s->chain,
					vhd_nr_blocks(sectors * 512,
						      vhd_block_bytes(img)),
					&below), 0);
	assert_int_equal(vhd_resize_init(&plan, img, sectors * 512), 0);
	assert_int_equal(mem_run(&top_of(s)->mem, &plan.plan), 0);
	vhd_resize_adopt(&plan);
	vhd_resize_show(&plan);
	vhd_chain_resized(&s->chain, below, blocks);
	vhd_resize_end(&plan);
	assert_int_equal(s->chain.limits[0], sectors);
}

/* Wherever its last block ends, and whatever is in it. */
static void a_top_grows_beyond_its_parent(void **state)
{
	struct stack s = { };

	stack_push(&s, VHD_TYPE_DYNAMIC, 8 * MIB, BS, VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 0, 4 * BLKS, 1), 0);
	assert_int_equal(rig_commit(top_of(&s)), 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 3 * MIB + 512, BS,
		   VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 6140, 5, 2), 0);
	assert_int_equal(rig_commit(top_of(&s)), 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 3 * MIB + 512, BS,
		   VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 6144, 1, 3), 0);
	stack_link(&s);
	expect(&s, 0, 6140, 1);
	grow_top(&s, 6145 + 9);
	expect(&s, 6145, 9, 0);
	assert_int_equal(rig_write(top_of(&s), 6147, 3, 4), 0);
	grow_top(&s, 3000ULL * BLKS + 5);
	expect(&s, 0, 6140, 1);
	expect(&s, 6140, 4, 2);
	expect(&s, 6144, 1, 3);
	expect(&s, 6145, 2, 0);
	expect(&s, 6147, 3, 4);
	expect(&s, 6150, 3 * BLKS, 0);
	assert_int_equal(rig_write(top_of(&s), 3000ULL * BLKS, 5, 6), 0);
	expect(&s, 3000ULL * BLKS, 5, 6);
	expect(&s, 2999ULL * BLKS, BLKS, 0);
	assert_int_equal(rig_commit(top_of(&s)), 0);
	rig_reopen(top_of(&s), VHD_OPEN_WRITE);
	stack_link(&s);
	expect(&s, 0, 6140, 1);
	expect(&s, 6147, 3, 4);
	expect(&s, 3000ULL * BLKS, 5, 6);
	stack_free(&s);
}

static void a_differencing_image_does_not_shrink(void **state)
{
	struct stack s = { };
	struct vhd_resize plan;

	stack_push(&s, VHD_TYPE_DYNAMIC, 8 * MIB, BS, 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 8 * MIB, BS, VHD_OPEN_WRITE);
	assert_int_equal(vhd_resize_init(&plan, &top_of(&s)->img, 4 * MIB),
			 -EOPNOTSUPP);
	vhd_resize_end(&plan);
	stack_free(&s);
}

static void blocks_of_all_sizes(void **state)
{
	struct stack s = { };
	u32 layer;
	u64 pos;

	stack_push(&s, VHD_TYPE_FIXED, 8 * MIB, 0, VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 0, 4 * BLKS, 1), 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 8 * MIB, 512 * KIB,
		   VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 1024, 1024, 2), 0);
	assert_int_equal(rig_commit(top_of(&s)), 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 8 * MIB, 4 * BS, 0);
	stack_push(&s, VHD_TYPE_DIFFERENCING, 8 * MIB, BS, VHD_OPEN_WRITE);
	assert_int_equal(rig_write(top_of(&s), 5000, 7, 3), 0);
	stack_link(&s);
	assert_int_equal(s.chain.chunk, 1024);
	expect(&s, 0, 1024, 1);
	expect(&s, 1024, 1024, 2);
	expect(&s, 2048, 5000 - 2048, 1);
	expect(&s, 5000, 7, 3);
	expect(&s, 5007, 4 * BLKS - 5007, 1);
	assert_int_equal(vhd_chain_map_fast(&s.chain, 1024, 1024, &layer,
					    &pos), VHD_MAP_DATA);
	assert_int_equal(layer, 2);
	assert_int_equal(vhd_chain_map_fast(&s.chain, 3 * BLKS, 1024, &layer,
					    &pos), VHD_MAP_DATA);
	assert_int_equal(layer, 3);
	stack_free(&s);
}

/* ---- random ----------------------------------------------------------- */

#define MAX_SECTORS	10240U

/**
 * struct sim - a disk and what it should hold
 * @depth: snapshots are taken up to it
 */
struct sim {
	struct stack s;
	u64 seed;
	u64 tag;
	u64 cells[MAX_SECTORS];
	u32 sectors;
	u32 depth;
	u32 writes, commits, reopens, snapshots, growths;
};

static u32 dice(struct sim *m, u32 n)
{
	return mem_random_below(&m->seed, n);
}

static void sim_expect(struct sim *m, u32 first, u32 n)
{
	u8 *buf = malloc(n * 512ULL);
	u32 i;

	assert_non_null(buf);
	stack_read(&m->s, first, n, buf);
	for (i = 0; i < n; i++)
		if (tag_of(buf + i * 512ULL) != m->cells[first + i])
			fail_msg("depth %u: sector %u holds %llx, not %llx",
				 m->s.nr, first + i,
				 (unsigned long long)tag_of(buf + i * 512ULL),
				 (unsigned long long)m->cells[first + i]);
	free(buf);
}

static void sim_write(struct sim *m)
{
	u32 first = dice(m, m->sectors);
	u32 n = 1 + dice(m, dice(m, 8) ? 40 : 2000);

	n = min(n, m->sectors - first);
	m->tag++;
	assert_int_equal(rig_write(top_of(&m->s), first, n, m->tag), 0);
	while (n--)
		m->cells[first + n] = m->tag;
	m->writes++;
}

static void sim_close_top(struct sim *m)
{
	assert_int_equal(rig_commit(top_of(&m->s)), 0);
	assert_int_equal(rig_tidy(top_of(&m->s)), 0);
}

static u32 sim_block_size(struct sim *m)
{
	return (512 << 10) << dice(m, 3);
}

static void sim_resize(struct sim *m)
{
	u32 sectors = MAX_SECTORS - dice(m, 3000);
	u32 i;

	for (i = m->sectors; i < sectors; i++)
		m->cells[i] = 0;
	m->sectors = sectors;
}

/* The top while it is in use; with a larger parent it may not. */
static void sim_grow(struct sim *m)
{
	u32 sectors = m->sectors + 1 + dice(m, 1500);
	struct stack *s = &m->s;
	u32 i;

	if (s->nr < 2 || sectors > MAX_SECTORS ||
	    layer_of(s, 1)->img.size > top_of(s)->img.size)
		return;
	grow_top(s, sectors);
	for (i = m->sectors; i < sectors; i++)
		m->cells[i] = 0;
	m->sectors = sectors;
	m->growths++;
}

static void sim_snapshot(struct sim *m)
{
	if (m->s.nr >= m->depth)
		return;
	sim_close_top(m);
	rig_reopen(top_of(&m->s), 0);
	if (!dice(m, 6))
		sim_resize(m);
	stack_push(&m->s, VHD_TYPE_DIFFERENCING, m->sectors * 512ULL,
		   sim_block_size(m), VHD_OPEN_WRITE);
	stack_link(&m->s);
	m->snapshots++;
}

static void sim_reopen(struct sim *m)
{
	sim_close_top(m);
	rig_reopen(top_of(&m->s), VHD_OPEN_WRITE);
	stack_link(&m->s);
	m->reopens++;
}

static void sim_step(struct sim *m)
{
	u32 first;

	if (!dice(m, 60))
		sim_grow(m);
	switch (dice(m, 16)) {
	case 0:
		sim_snapshot(m);
		break;
	case 1:
		sim_reopen(m);
		break;
	case 2:
		assert_int_equal(rig_commit(top_of(&m->s)), 0);
		m->commits++;
		break;
	case 3 ... 8:
		first = dice(m, m->sectors);
		sim_expect(m, first, 1 + dice(m, m->sectors - first));
		break;
	default:
		sim_write(m);
	}
}

struct run {
	const char *name;
	enum vhd_disk_type base;
	u32 depth;
	u32 steps;
};

static u64 env(const char *name, u64 otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoull(value, NULL, 0) : otherwise;
}

static void run_sim(void **state)
{
	const struct run *run = *state;
	struct sim *m = calloc(1, sizeof(*m));
	u64 n = env("ROUNDS", 1) * run->steps;

	assert_non_null(m);
	print_message("seed: SEED=%llu\n", (unsigned long long)env("SEED", 1));
	m->seed = (env("SEED", 1) * 1000003 + run->depth + run->base) *
		  0x9E3779B97F4A7C15ULL;
	m->depth = run->depth;
	m->sectors = MAX_SECTORS - dice(m, 3000);
	stack_push(&m->s, run->base, m->sectors * 512ULL, sim_block_size(m),
		   VHD_OPEN_WRITE);
	stack_link(&m->s);
	while (n--) {
		sim_step(m);
		mem_forget(&top_of(&m->s)->mem);
	}
	sim_reopen(m);
	sim_expect(m, 0, m->sectors);
	print_message("seed run: depth %u, %u writes, %u commits, %u snapshots, %u reopenings, %u times larger\n",
		      m->s.nr, m->writes, m->commits, m->snapshots, m->reopens,
		      m->growths);
	assert_int_equal(m->s.nr, run->depth);
	stack_free(&m->s);
	free(m);
}

static const struct run runs[] = {
	{ "random, depth 2 over a fixed image", VHD_TYPE_FIXED, 2, 1000 },
	{ "random, depth 3", VHD_TYPE_DYNAMIC, 3, 1500 },
	{ "random, depth 16 over a fixed image", VHD_TYPE_FIXED, 16, 1500 },
	{ "random, depth 128", VHD_TYPE_DYNAMIC, 128, 3200 },
};

#define NR_FIXED_TESTS	13U

int main(void)
{
	struct CMUnitTest tests[NR_FIXED_TESTS + ARRAY_SIZE(runs)] = {
		cmocka_unit_test(ids_link_a_chain),
		cmocka_unit_test(a_null_id_names_nobody),
		cmocka_unit_test(too_few_and_too_many_layers),
		cmocka_unit_test(no_memory_for_a_chain),
		cmocka_unit_test(a_single_layer_is_a_chain),
		cmocka_unit_test(clear_bits_ask_the_parent),
		cmocka_unit_test(nothing_but_what_was_written_is_in_a_new_block),
		cmocka_unit_test(a_failed_write_leaves_the_parent_s_data),
		cmocka_unit_test(bits_of_a_block_that_may_be_seen_wait_for_phase_two),
		cmocka_unit_test(beyond_a_parent_s_end_there_are_zeros),
		cmocka_unit_test(a_top_grows_beyond_its_parent),
		cmocka_unit_test(a_differencing_image_does_not_shrink),
		cmocka_unit_test(blocks_of_all_sizes),
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(runs); i++)
		tests[NR_FIXED_TESTS + i] = (struct CMUnitTest) {
			runs[i].name, run_sim, NULL, NULL, (void *)&runs[i]
		};
	return run_group("chain", tests);
}
