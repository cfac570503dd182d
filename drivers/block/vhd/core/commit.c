// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "bat.h"
#include "bitmap.h"
#include "commit.h"
#include "unmap.h"

enum vhd_commit_step {
	VHD_COMMIT_NEW_BITMAPS,
	VHD_COMMIT_FLUSH_1,
	VHD_COMMIT_TABLE,
	VHD_COMMIT_BITMAPS,
	VHD_COMMIT_FLUSH_2,
	VHD_COMMIT_END,
};

static struct vhd_new_block *vhd_commit_new(struct vhd_commit *c, u32 i)
{
	return &c->img->new_blocks.records[c->taken[i]];
}

static void vhd_commit_take_new(struct vhd_commit *c)
{
	struct vhd_new_blocks *new = &c->img->new_blocks;
	u32 i;

	if (!new->nr_written)
		return;
	for (i = 0; i < VHD_NR_NEW && c->nr_taken < new->nr_written; i++) {
		if (new->records[i].state != VHD_NEW_WRITTEN)
			continue;
		new->records[i].state = VHD_NEW_TAKEN;
		c->fresh += new->records[i].mark == VHD_SLOT_FRESH;
		c->taken[c->nr_taken++] = i;
	}
	new->nr_written = 0;
	WRITE_ONCE(c->img->space.mark_ahead, c->nr_taken <= VHD_FEW_NEW);
}

/* Is the block one whose entry this commit will be the first to show? */
static bool vhd_commit_is_early(struct vhd_image *img,
				const struct vhd_bitmap *bm)
{
	const struct vhd_new_block *nb = vhd_new_find(img, bm->block);

	return nb && nb->state == VHD_NEW_TAKEN && !nb->exposed;
}

static void vhd_commit_take_bitmaps(struct vhd_commit *c)
{
	struct vhd_bitmaps *cache = &c->img->bitmaps;
	u32 bytes = c->img->bitmap_sectors << VHD_SECTOR_SHIFT;
	struct vhd_bitmap *bm;

	c->bitmaps = NULL;
	c->nr_bitmaps = cache->nr_dirty;
	if (!cache->nr_dirty)
		return;
	list_for_each_entry(bm, &cache->lru, lru) {
		if (!bm->dirty)
			continue;
		memcpy(bm->taken, bm->live, bytes);
		bm->taken_valid = true;
		bm->early = vhd_commit_is_early(c->img, bm);
		bm->dirty = false;
		bm->taken_next = c->bitmaps;
		c->bitmaps = bm;
	}
	cache->nr_dirty = 0;
}

/* Nothing was published: all of it is for the next commit to do. */
static void vhd_commit_untake(struct vhd_commit *c)
{
	struct vhd_image *img = c->img;
	struct vhd_new_block *nb;
	struct vhd_bitmap *bm;
	u32 i;

	for (i = 0; i < c->nr_taken; i++) {
		nb = vhd_commit_new(c, i);
		if (nb->state == VHD_NEW_LEFT) {
			vhd_new_left(img, nb);
			continue;
		}
		nb->state = VHD_NEW_WRITTEN;
		img->new_blocks.nr_written++;
	}
	vhd_unmap_untake(img);
	for (bm = c->bitmaps; bm; bm = bm->taken_next) {
		bm->taken_valid = false;
		img->bitmaps.nr_dirty += !bm->dirty;
		bm->dirty = true;
	}
}

static void vhd_commit_publish(struct vhd_commit *c)
{
	struct vhd_image *img = c->img;
	struct vhd_bitmap *bm, *next;
	struct vhd_new_block *nb;
	u32 i;

	/* Who sees the full bit must see the entry: set_bit orders nothing. */
	smp_mb__before_atomic();
	for (i = 0; i < c->nr_taken; i++) {
		nb = vhd_commit_new(c, i);
		if (nb->state == VHD_NEW_LEFT) {
			vhd_new_left(img, nb);
			continue;
		}
		/* In a differencing image that is for its bitmap to say. */
		if (img->type != VHD_TYPE_DIFFERENCING)
			set_bit(nb->block, img->full);
		vhd_new_remove(img, nb);
	}
	vhd_unmap_publish(img);
	img->space.unsettled = false;
	for (bm = c->bitmaps; bm; bm = next) {
		next = bm->taken_next;
		bm->taken_valid = false;
		vhd_bitmap_retire(img, bm);
	}
	img->counters.commits += c->nr_taken || c->nr_bitmaps || c->nr_unmapped;
}

int vhd_image_fail(struct vhd_image *img, int err)
{
	unsigned long flags;

	spin_lock_irqsave(&img->lock, flags);
	if (!img->failed)
		WRITE_ONCE(img->failed, err);
	spin_unlock_irqrestore(&img->lock, flags);
	return err;
}

/* The plan's end. */
static int vhd_commit_finish(struct vhd_commit *c, int err)
{
	bool flushing = !c->plan.unflushed &&
			(c->step == VHD_COMMIT_FLUSH_1 ||
			 c->step == VHD_COMMIT_END);
	struct vhd_image *img = c->img;
	unsigned long flags;

	if (err && flushing)
		vhd_image_fail(img, err);

	spin_lock_irqsave(&img->lock, flags);
	if (err)
		vhd_commit_untake(c);
	else
		vhd_commit_publish(c);
	spin_unlock_irqrestore(&img->lock, flags);
	return err;
}

static int vhd_commit_write(struct vhd_io *io, u64 pos, void *buf)
{
	return vhd_io_set(io, VHD_IO_WRITE, pos, VHD_SECTOR_SIZE, buf);
}

/* The next bitmap that belongs to phase 1, or to phase 2; 0 if there is none. */
static int vhd_commit_bitmap(struct vhd_commit *c, bool early,
			     struct vhd_io *io)
{
	struct vhd_bitmap *bm = c->bitmap;

	while (bm && bm->early != early)
		bm = bm->taken_next;
	if (!bm)
		return 0;
	c->bitmap = bm->taken_next;
	return vhd_bitmap_write(c->img, io, READ_ONCE(c->img->bat[bm->block]),
				bm->taken);
}

/* Of the blocks taken the next one whose bitmap nobody has written; or NULL. */
static struct vhd_new_block *vhd_commit_unmarked(struct vhd_commit *c)
{
	struct vhd_new_block *nb = NULL;
	unsigned long flags;

	spin_lock_irqsave(&c->img->lock, flags);
	while (c->cursor < c->nr_taken && !nb) {
		nb = vhd_commit_new(c, c->cursor++);
		if (nb->mark != VHD_SLOT_PLAIN)
			nb = NULL;
	}
	spin_unlock_irqrestore(&c->img->lock, flags);
	return nb;
}

/*
 * In a dynamic image all bits set, over a slot that reads as zeros: never to be
 * written again.  Over a parent's data, the bits of what has been written.
 */
static int vhd_commit_new_bitmap(struct vhd_commit *c, struct vhd_io *io)
{
	struct vhd_new_block *nb;

	if (c->img->type == VHD_TYPE_DIFFERENCING)
		return vhd_commit_bitmap(c, true, io);
	nb = vhd_commit_unmarked(c);
	if (!nb)
		return 0;
	memset(c->buf, 0xFF, sizeof(c->buf));
	return vhd_bitmap_write(c->img, io, nb->sector, c->buf);
}

static u32 vhd_commit_new_sector(struct vhd_commit *c)
{
	return c->cursor < c->nr_taken ?
	       vhd_commit_new(c, c->cursor)->block / VHD_BAT_PER_SECTOR :
	       U32_MAX;
}

static u32 vhd_commit_unmapped_sector(struct vhd_commit *c)
{
	return c->unmapped < c->nr_unmapped ?
	       c->img->unmaps.taken[c->unmapped].block / VHD_BAT_PER_SECTOR :
	       U32_MAX;
}

/*
 * The table sector of the next block of the epoch, mapped or unmapped, and past
 * its neighbours.
 */
static int vhd_commit_table(struct vhd_commit *c, struct vhd_io *io)
{
	u32 n = min(vhd_commit_new_sector(c), vhd_commit_unmapped_sector(c));
	struct vhd_image *img = c->img;
	unsigned long flags;

	spin_lock_irqsave(&img->lock, flags);
	while (vhd_commit_new_sector(c) == n)
		vhd_commit_new(c, c->cursor++)->exposed = true;
	while (vhd_commit_unmapped_sector(c) == n)
		c->unmapped++;
	vhd_bat_fill_sector(img, n, (__be32 *)c->buf);
	spin_unlock_irqrestore(&img->lock, flags);
	return vhd_commit_write(io, vhd_bat_sector_pos(img, n), c->buf);
}

static int vhd_commit_flush(struct vhd_commit *c, struct vhd_io *io)
{
	unsigned long flags;

	spin_lock_irqsave(&c->img->lock, flags);
	c->marks = c->img->space.marks;
	spin_unlock_irqrestore(&c->img->lock, flags);
	return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
}

static void vhd_commit_flushed(struct vhd_commit *c)
{
	unsigned long flags;

	spin_lock_irqsave(&c->img->lock, flags);
	c->img->space.marks_durable = c->marks;
	spin_unlock_irqrestore(&c->img->lock, flags);
}

static bool vhd_commit_is_empty(const struct vhd_commit *c)
{
	return !c->nr_taken && !c->bitmaps && !c->nr_unmapped;
}

/*
 * May the table come before the data?  A fresh slot reads as its block does
 * without it (over a parent a new block comes with a bitmap), and cleared entries
 * show no data.
 */
static bool vhd_commit_in_any_order(const struct vhd_commit *c)
{
	return c->fresh == c->nr_taken && !c->bitmaps &&
	       !vhd_commit_is_empty(c);
}

static int vhd_commit_next(struct vhd_plan *plan, int err, struct vhd_io *io)
{
	struct vhd_commit *c = container_of(plan, struct vhd_commit, plan);

	if (!err)
		err = READ_ONCE(c->img->failed);
	if (err)
		return vhd_commit_finish(c, err);
	switch (c->step) {
	case VHD_COMMIT_NEW_BITMAPS:
		if (vhd_commit_new_bitmap(c, io))
			return 1;
		c->cursor = 0;
		if (vhd_commit_in_any_order(c))
			goto table;
		c->step = VHD_COMMIT_FLUSH_1;
		return vhd_commit_flush(c, io);
	case VHD_COMMIT_FLUSH_1:
		vhd_commit_flushed(c);
		if (vhd_commit_is_empty(c))
			return vhd_commit_finish(c, 0);
table:
		c->step = VHD_COMMIT_TABLE;
		fallthrough;
	case VHD_COMMIT_TABLE:
		if (c->cursor < c->nr_taken || c->unmapped < c->nr_unmapped)
			return vhd_commit_table(c, io);
		c->bitmap = c->bitmaps;
		c->step = VHD_COMMIT_BITMAPS;
		fallthrough;
	case VHD_COMMIT_BITMAPS:
		if (vhd_commit_bitmap(c, false, io))
			return 1;
		c->step = VHD_COMMIT_END;
		return vhd_commit_flush(c, io);
	default:
		vhd_commit_flushed(c);
		return vhd_commit_finish(c, 0);
	}
}

static int vhd_commit_by_block(const void *a, const void *b, const void *priv)
{
	const struct vhd_new_block *records = priv;
	u32 x = records[*(const u16 *)a].block;
	u32 y = records[*(const u16 *)b].block;

	return x < y ? -1 : x > y;
}

static int vhd_commit_by_number(const void *a, const void *b)
{
	u32 x = ((const struct vhd_unmapped *)a)->block;
	u32 y = ((const struct vhd_unmapped *)b)->block;

	return x < y ? -1 : x > y;
}

void vhd_commit_begin(struct vhd_commit *c)
{
	struct vhd_image *img = c->img;
	unsigned long flags;

	c->plan = (struct vhd_plan) {
		.next = vhd_commit_next,
		.side_by_side = true,
	};
	c->step = VHD_COMMIT_NEW_BITMAPS;
	c->cursor = 0;
	c->nr_taken = 0;
	c->fresh = 0;
	c->nr_bitmaps = 0;
	c->bitmaps = NULL;
	c->bitmap = NULL;
	c->nr_unmapped = 0;
	c->unmapped = 0;
	if (!c->taken)
		return;
	spin_lock_irqsave(&img->lock, flags);
	vhd_commit_take_new(c);
	vhd_commit_take_bitmaps(c);
	c->bitmap = c->bitmaps;
	vhd_unmap_take(img);
	c->nr_unmapped = img->unmaps.nr_taken;
	spin_unlock_irqrestore(&img->lock, flags);
	/* Table sectors are found as runs of neighbours. */
	sort_r(c->taken, c->nr_taken, sizeof(*c->taken), vhd_commit_by_block,
	       NULL, img->new_blocks.records);
	if (c->nr_unmapped)
		sort(img->unmaps.taken, c->nr_unmapped,
		     sizeof(*img->unmaps.taken), vhd_commit_by_number, NULL);
}

int vhd_commit_alloc(struct vhd_commit *c, struct vhd_image *img)
{
	memset(c, 0, sizeof(*c));
	c->img = img;
	if (!img->bat)
		return 0;
	c->taken = kcalloc(VHD_NR_NEW, sizeof(*c->taken), GFP_KERNEL);
	return c->taken ? 0 : -ENOMEM;
}

void vhd_commit_free(struct vhd_commit *c)
{
	kfree(c->taken);
	c->taken = NULL;
}

bool vhd_commit_due(const struct vhd_image *img)
{
	return READ_ONCE(img->new_blocks.nr_written) >= VHD_NR_NEW / 2 ||
	       READ_ONCE(img->bitmaps.nr_dirty) >= VHD_MAX_DIRTY_BITMAPS / 2;
}

bool vhd_dirty(struct vhd_image *img)
{
	unsigned long flags;
	bool dirty;

	spin_lock_irqsave(&img->lock, flags);
	dirty = img->new_blocks.nr_written || img->bitmaps.nr_dirty ||
		img->unmaps.nr_pending;
	spin_unlock_irqrestore(&img->lock, flags);
	return dirty;
}
