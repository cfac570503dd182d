// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>

#include "bat.h"
#include "bitmap.h"
#include "map.h"
#include "space.h"
#include "unmap.h"

static u32 vhd_map_block(const struct vhd_image *img, u64 sector)
{
	return sector >> (img->block_shift - VHD_SECTOR_SHIFT);
}

static u32 vhd_map_first(const struct vhd_image *img, u64 sector)
{
	return sector & (vhd_block_sectors(img) - 1);
}

static void vhd_map_data(const struct vhd_image *img, u32 entry, u32 first,
			 u32 sectors, struct vhd_extent *ext)
{
	ext->kind = VHD_MAP_DATA;
	ext->sectors = sectors;
	ext->pos = vhd_data_pos(img, entry) + ((u64)first << VHD_SECTOR_SHIFT);
}

static void vhd_hold_new(struct vhd_image *img, struct vhd_hold *hold,
			 struct vhd_new_block *nb)
{
	if (hold->nb)
		return;
	hold->img = img;
	hold->nb = nb;
	nb->users++;
}

/* What is not in this layer. */
static enum vhd_map_kind vhd_map_absent(const struct vhd_image *img)
{
	return img->type == VHD_TYPE_DIFFERENCING ? VHD_MAP_PARENT :
						    VHD_MAP_ZERO;
}

/* The bitmap that the mapping needs, or NULL: it must be loaded first. */
static struct vhd_bitmap *vhd_map_find_bitmap(struct vhd_image *img, u32 block,
					      struct vhd_extent *ext)
{
	struct vhd_bitmap *bm = vhd_bitmap_find(img, block);

	if (bm)
		img->counters.bitmap_hits++;
	else
		ext->kind = VHD_MAP_BITMAP;
	return bm;
}

static void vhd_map_read_locked(struct vhd_image *img, u32 block, u32 first,
				u32 sectors, struct vhd_hold *hold,
				struct vhd_extent *ext)
{
	u32 entry = READ_ONCE(img->bat[block]);
	struct vhd_new_block *nb = NULL;
	struct vhd_bitmap *bm;
	bool set;

	ext->sectors = sectors;
	if (entry == VHD_BAT_UNUSED) {
		ext->kind = vhd_map_absent(img);
		return;
	}
	if (entry == VHD_BAT_BAD) {
		ext->kind = VHD_MAP_BAD;
		return;
	}
	/*
	 * In a differencing image the bitmap of a new block says what it has;
	 * with a bit of it set it is not taken back, so nothing need be held.
	 */
	if (img->writable && img->type != VHD_TYPE_DIFFERENCING)
		nb = vhd_new_find(img, block);
	if (nb)
		vhd_hold_new(img, hold, nb);
	if (nb || test_bit(block, img->full)) {
		vhd_map_data(img, entry, first, sectors, ext);
		return;
	}
	bm = vhd_map_find_bitmap(img, block, ext);
	if (!bm)
		return;
	sectors = vhd_bits_run(bm->live, first, sectors, &set);
	vhd_map_data(img, entry, first, sectors, ext);
	if (!set)
		ext->kind = vhd_map_absent(img);
}

void vhd_map_read(struct vhd_image *img, u64 sector, u32 sectors,
		  struct vhd_hold *hold, struct vhd_extent *ext)
{
	unsigned long flags;

	if (!img->bat) {
		ext->kind = VHD_MAP_DATA;
		ext->sectors = sectors;
		ext->pos = sector << VHD_SECTOR_SHIFT;
		return;
	}
	spin_lock_irqsave(&img->lock, flags);
	vhd_map_read_locked(img, vhd_map_block(img, sector),
			    vhd_map_first(img, sector), sectors, hold, ext);
	spin_unlock_irqrestore(&img->lock, flags);
}

/* A slot and a record for an unallocated block; says what is lacking if not. */
static struct vhd_new_block *vhd_map_allocate(struct vhd_image *img, u32 block,
					      struct vhd_extent *ext)
{
	struct vhd_new_block *nb;
	enum vhd_slot_mark mark;
	u32 sector;

	if (img->new_blocks.nr_used >= VHD_NR_NEW) {
		ext->kind = VHD_MAP_COMMIT;
		return NULL;
	}
	sector = vhd_space_take(img, &mark);
	if (!sector) {
		ext->kind = VHD_MAP_SPACE;
		return NULL;
	}
	nb = vhd_new_add(img, block, sector);
	nb->mark = mark;
	WRITE_ONCE(img->bat[block], sector);
	img->nr_allocated++;
	img->counters.allocations++;
	return nb;
}

/* May a write of the block's first sector bring the bitmap along? */
static bool vhd_map_lead(struct vhd_image *img,
			 const struct vhd_new_block *nb, u32 first)
{
	return !first && nb->mark == VHD_SLOT_PLAIN &&
	       img->type == VHD_TYPE_DYNAMIC && vhd_bitmap_pad(img, nb->sector);
}

/*
 * The bitmap that the write will set bits in.  A block to be allocated in a
 * differencing image has one from the beginning: all clear, made by the shell,
 * since there is no memory to be had under the lock.
 */
static struct vhd_bitmap *vhd_map_bitmap(struct vhd_image *img, u32 block,
					 struct vhd_extent *ext)
{
	struct vhd_bitmap *bm = vhd_map_find_bitmap(img, block, ext);

	if (!bm)
		return NULL;
	if (!bm->dirty && img->bitmaps.nr_dirty >= VHD_MAX_DIRTY_BITMAPS) {
		ext->kind = VHD_MAP_COMMIT;
		return NULL;
	}
	return bm;
}

static void vhd_map_write_locked(struct vhd_image *img, u32 block, u32 first,
				 u32 sectors, struct vhd_hold *hold,
				 struct vhd_extent *ext)
{
	bool unused = img->bat[block] == VHD_BAT_UNUSED;
	struct vhd_new_block *nb = NULL;
	struct vhd_bitmap *bm = NULL;

	if (test_bit(block, img->full))
		goto mapped;
	if (!unused)
		nb = vhd_new_find(img, block);
	if (img->type == VHD_TYPE_DIFFERENCING || (!unused && !nb)) {
		bm = vhd_map_bitmap(img, block, ext);
		if (!bm)
			return;
	}
	if (unused) {
		nb = vhd_map_allocate(img, block, ext);
		if (!nb)
			return;
	}
	if (nb) {
		vhd_hold_new(img, hold, nb);
		ext->lead = vhd_map_lead(img, nb, first);
	}
	if (bm) {
		hold->img = img;
		hold->bm = bm;
		bm->users++;
	}
mapped:
	vhd_map_data(img, img->bat[block], first, sectors, ext);
}

int vhd_map_write(struct vhd_image *img, u64 sector, u32 sectors,
		  struct vhd_hold *hold, struct vhd_extent *ext)
{
	unsigned long flags;
	int err;

	if (!img->writable)
		return -EROFS;
	*hold = (struct vhd_hold) { .write = true, .sectors = sectors };
	ext->sectors = sectors;
	ext->lead = false;
	spin_lock_irqsave(&img->lock, flags);
	err = img->failed;
	if (err)
		goto out;
	if (!img->bat) {
		ext->kind = VHD_MAP_DATA;
		ext->pos = sector << VHD_SECTOR_SHIFT;
		goto out;
	}
	hold->first = vhd_map_first(img, sector);
	vhd_map_write_locked(img, vhd_map_block(img, sector), hold->first,
			     sectors, hold, ext);
out:
	spin_unlock_irqrestore(&img->lock, flags);
	return err;
}

/* ---- zeroing ----------------------------------------------------------- */

/* Blocks looked at under the lock at a time. */
#define VHD_ZERO_BATCH	256U

/* Does the range hold all of the block that lies on the disk? */
static bool vhd_map_whole(const struct vhd_image *img, u32 block, u32 first,
			  u32 sectors)
{
	u64 start = (u64)block << (img->block_shift - VHD_SECTOR_SHIFT);
	u64 left = (img->size >> VHD_SECTOR_SHIFT) - start;

	return !first && sectors >= min_t(u64, left, vhd_block_sectors(img));
}

/* The block reads as zeros, or does now. */
static bool vhd_zero_block(struct vhd_image *img, u32 block, u32 first,
			   u32 sectors, unsigned int flags,
			   struct vhd_extent *ext)
{
	if (img->bat[block] == VHD_BAT_UNUSED)
		return true;
	if (!(flags & VHD_ZERO_UNMAP) || img->bat[block] == VHD_BAT_BAD ||
	    !vhd_map_whole(img, block, first, sectors))
		return false;
	switch (vhd_unmap(img, block)) {
	case VHD_UNMAP_DONE:
		return true;
	case VHD_UNMAP_COMMIT:
		ext->kind = VHD_MAP_COMMIT;
		return false;
	default:
		return false;
	}
}

/*
 * What this layer has of the block, to be zeroed where it is.  What it does not
 * have is zeros already, or the parent's.
 */
static void vhd_zero_in_place(struct vhd_image *img, u32 block, u32 first,
			      u32 sectors, struct vhd_hold *hold,
			      struct vhd_extent *ext)
{
	ext->sectors = sectors;
	vhd_map_read_locked(img, block, first, sectors, hold, ext);
	if (ext->kind == VHD_MAP_PARENT)
		ext->kind = VHD_MAP_ZERO;
}

/* Blocks that need no I/O are all dealt with at once; of others the first. */
static void vhd_zero_locked(struct vhd_image *img, u64 sector, u32 sectors,
			    unsigned int flags, struct vhd_hold *hold,
			    struct vhd_extent *ext)
{
	u32 blocks = VHD_ZERO_BATCH, done = 0, block, first, part;

	ext->kind = VHD_MAP_ZERO;
	while (done < sectors && blocks--) {
		block = vhd_map_block(img, sector + done);
		first = vhd_map_first(img, sector + done);
		part = min(sectors - done, vhd_block_sectors(img) - first);
		if (!vhd_zero_block(img, block, first, part, flags, ext)) {
			if (!done && ext->kind == VHD_MAP_ZERO)
				vhd_zero_in_place(img, block, first, part, hold,
						  ext);
			break;
		}
		done += part;
	}
	if (!done)
		return;
	ext->kind = VHD_MAP_ZERO;
	ext->sectors = done;
}

/* A differencing image must have the zeros itself, or the parent shows. */
static int vhd_zero_differencing(struct vhd_image *img, u64 sector,
				 u32 sectors, struct vhd_hold *hold,
				 struct vhd_extent *ext)
{
	u32 left = vhd_block_sectors(img) - vhd_map_first(img, sector);

	return vhd_map_write(img, sector, min(sectors, left), hold, ext);
}

int vhd_map_zero(struct vhd_image *img, u64 sector, u32 sectors,
		 unsigned int flags, struct vhd_hold *hold,
		 struct vhd_extent *ext)
{
	unsigned long flags_irq;
	int err;

	if (!img->bat)
		return vhd_map_write(img, sector, sectors, hold, ext);
	if (img->type == VHD_TYPE_DIFFERENCING) {
		flags &= ~VHD_ZERO_UNMAP;
		if (!(flags & VHD_ZERO_DISCARD))
			return vhd_zero_differencing(img, sector, sectors, hold,
						     ext);
	}
	if (!img->writable)
		return -EROFS;
	if (flags & VHD_ZERO_UNMAP)
		vhd_unmap_reserve(img, VHD_ZERO_BATCH);
	*hold = (struct vhd_hold) { };
	ext->sectors = sectors;
	spin_lock_irqsave(&img->lock, flags_irq);
	err = img->failed;
	if (!err)
		vhd_zero_locked(img, sector, sectors, flags, hold, ext);
	spin_unlock_irqrestore(&img->lock, flags_irq);
	return err;
}

/* ---- the end of a mapped range ----------------------------------------- */

/*
 * The first write into a new block failed and nobody else uses it: take back
 * both the entry and the slot, or the next allocation would share it.
 */
static void vhd_map_rollback(struct vhd_image *img, struct vhd_new_block *nb)
{
	WRITE_ONCE(img->bat[nb->block], VHD_BAT_UNUSED);
	img->nr_allocated--;
	img->counters.rollbacks++;
	vhd_space_give(img, nb->sector);
	vhd_new_remove(img, nb);
}

static bool vhd_map_done_new(struct vhd_image *img, struct vhd_hold *hold,
			     int err)
{
	struct vhd_new_block *nb = hold->nb;
	bool dirtied = false;

	if (hold->marks && !err)
		nb->mark = VHD_SLOT_MARKED;
	if (hold->write && !err && nb->state == VHD_NEW_EMPTY) {
		nb->state = VHD_NEW_WRITTEN;
		img->new_blocks.nr_written++;
		dirtied = true;
	}
	vhd_new_put(img, nb);
	if (!nb->users && nb->state == VHD_NEW_EMPTY)
		vhd_map_rollback(img, nb);
	return dirtied;
}

static bool vhd_map_done_bitmap(struct vhd_image *img, struct vhd_hold *hold,
				int err)
{
	struct vhd_bitmap *bm = hold->bm;
	bool dirtied = false;

	if (!err && vhd_bits_set(bm->live, hold->first, hold->sectors)) {
		dirtied = !bm->dirty;
		bm->changed = true;
		bm->dirty = true;
		img->bitmaps.nr_dirty += dirtied;
	}
	bm->users--;
	vhd_bitmap_retire(img, bm);
	return dirtied;
}

bool vhd_map_done(struct vhd_image *img, struct vhd_hold *hold, int err)
{
	bool dirtied = false;
	unsigned long flags;

	if (!hold->nb && !hold->bm)
		return false;
	spin_lock_irqsave(&img->lock, flags);
	if (hold->nb)
		dirtied = vhd_map_done_new(img, hold, err);
	if (hold->bm)
		dirtied |= vhd_map_done_bitmap(img, hold, err);
	spin_unlock_irqrestore(&img->lock, flags);
	*hold = (struct vhd_hold) { };
	return dirtied;
}
