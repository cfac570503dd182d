// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "bat.h"
#include "bitmap.h"
#include "format.h"

bool vhd_bits_test(const u8 *bits, u32 n)
{
	return bits[n >> 3] & (0x80 >> (n & 7));
}

bool vhd_bits_set(u8 *bits, u32 first, u32 count)
{
	bool changed = false;
	u32 end = first + count;
	u32 n = first;

	while (n < end) {
		u8 mask = 0x80 >> (n & 7);
		u32 step = 1;

		if (!(n & 7) && end - n >= 8) {
			mask = 0xFF;
			step = 8;
		}
		changed |= (bits[n >> 3] & mask) != mask;
		bits[n >> 3] |= mask;
		n += step;
	}
	return changed;
}

u32 vhd_bits_run(const u8 *bits, u32 first, u32 limit, bool *set)
{
	u32 end = first + limit;
	u32 n = first;
	u8 same;

	*set = vhd_bits_test(bits, first);
	same = *set ? 0xFF : 0;
	while (n < end) {
		if (!(n & 7) && end - n >= 8 && bits[n >> 3] == same)
			n += 8;
		else if (vhd_bits_test(bits, n) == *set)
			n++;
		else
			break;
	}
	return n - first;
}

static struct vhd_bitmap **vhd_bitmap_bucket(struct vhd_image *img, u32 block)
{
	return &img->bitmaps.buckets[block % VHD_BITMAP_BUCKETS];
}

struct vhd_bitmap *vhd_bitmap_find(struct vhd_image *img, u32 block)
{
	struct vhd_bitmap *bm;

	for (bm = *vhd_bitmap_bucket(img, block); bm; bm = bm->hash_next)
		if (bm->block == block)
			return bm;
	return NULL;
}

bool vhd_bitmap_full(const struct vhd_image *img, u32 block, const u8 *bits)
{
	u64 first = (u64)block << (img->block_shift - VHD_SECTOR_SHIFT);
	u64 left = (img->size >> VHD_SECTOR_SHIFT) - first;
	u32 sectors = min_t(u64, left, vhd_block_sectors(img));
	bool set;

	return vhd_bits_run(bits, 0, sectors, &set) == sectors && set;
}

u64 vhd_bitmap_pos(struct vhd_image *img, u32 block, u32 *len)
{
	*len = img->bitmap_sectors << VHD_SECTOR_SHIFT;
	return (u64)READ_ONCE(img->bat[block]) << VHD_SECTOR_SHIFT;
}

u32 vhd_bitmap_pad(struct vhd_image *img, u32 sector)
{
	u64 data = vhd_data_pos(img, sector);

	lockdep_assert_held(&img->lock);
	if (data & (VHD_ALIGN - 1) || data - VHD_ALIGN < img->space.pad_from)
		return 0;
	return VHD_ALIGN - (img->bitmap_sectors << VHD_SECTOR_SHIFT);
}

int vhd_bitmap_write(struct vhd_image *img, struct vhd_io *io, u32 sector,
		     void *buf)
{
	unsigned long flags;
	u32 pad;

	spin_lock_irqsave(&img->lock, flags);
	pad = vhd_bitmap_pad(img, sector);
	spin_unlock_irqrestore(&img->lock, flags);
	vhd_io_set(io, VHD_IO_WRITE, (u64)sector << VHD_SECTOR_SHIFT,
		   VHD_SECTOR_SIZE, buf);
	io->pad = pad;
	return 1;
}

u64 vhd_bitmap_load_pos(const struct vhd_image *img,
			const struct vhd_bitmap *bm, u32 *len)
{
	*len = img->bitmap_sectors << VHD_SECTOR_SHIFT;
	if (bm->entry >= VHD_BAT_BAD)
		return 0;
	return (u64)bm->entry << VHD_SECTOR_SHIFT;
}

struct vhd_bitmap *vhd_bitmap_alloc(struct vhd_image *img, u32 block)
{
	u32 bytes = img->bitmap_sectors << VHD_SECTOR_SHIFT;
	struct vhd_bitmap *bm;
	unsigned long flags;

	/* Only a writable image needs the second copy. */
	bm = kvzalloc(sizeof(*bm) + bytes * (img->writable ? 2 : 1), GFP_NOIO);
	if (!bm)
		return NULL;
	bm->block = block;
	spin_lock_irqsave(&img->lock, flags);
	bm->entry = img->bat[block];
	bm->loaded_at = img->bitmaps.evictions;
	spin_unlock_irqrestore(&img->lock, flags);
	bm->live = (u8 *)(bm + 1);
	bm->taken = img->writable ? bm->live + bytes : NULL;
	return bm;
}

void vhd_bitmap_free(struct vhd_bitmap *bm)
{
	kvfree(bm);
}

static void vhd_bitmap_unlink(struct vhd_image *img, struct vhd_bitmap *bm)
{
	struct vhd_bitmap **p = vhd_bitmap_bucket(img, bm->block);

	while (*p != bm)
		p = &(*p)->hash_next;
	*p = bm->hash_next;
	list_del(&bm->lru);
	img->bitmaps.nr--;
	WRITE_ONCE(img->bitmaps.evictions,
		   img->bitmaps.evictions + bm->changed);
}

static bool vhd_bitmap_idle(const struct vhd_bitmap *bm)
{
	return !bm->users && !bm->dirty && !bm->taken_valid;
}

/* The oldest bitmap that nobody needs, out of the cache, or NULL. */
static struct vhd_bitmap *vhd_bitmap_evict(struct vhd_image *img)
{
	struct vhd_bitmap *bm;

	list_for_each_entry(bm, &img->bitmaps.lru, lru) {
		if (vhd_bitmap_idle(bm)) {
			vhd_bitmap_unlink(img, bm);
			return bm;
		}
	}
	return NULL;
}

static bool vhd_bitmaps_many(const struct vhd_image *img)
{
	u32 max = VHD_MAX_BITMAP_BYTES >>
		  (ilog2(img->bitmap_sectors) + VHD_SECTOR_SHIFT);

	return img->bitmaps.nr >= min(max, READ_ONCE(img->bitmaps.max));
}

/* Has the block been unmapped and written again since it had this bitmap? */
static bool vhd_bitmap_outlived(struct vhd_image *img, u32 block)
{
	return img->type == VHD_TYPE_DYNAMIC && img->writable &&
	       vhd_new_find(img, block);
}

void vhd_bitmap_add(struct vhd_image *img, struct vhd_bitmap *bm)
{
	struct vhd_bitmap **bucket = vhd_bitmap_bucket(img, bm->block);
	struct vhd_bitmap *victim = NULL;
	unsigned long flags;

	spin_lock_irqsave(&img->lock, flags);
	img->counters.bitmap_misses++;
	if (test_bit(bm->block, img->full) || vhd_bitmap_find(img, bm->block) ||
	    vhd_bitmap_outlived(img, bm->block) ||
	    bm->loaded_at != img->bitmaps.evictions ||
	    bm->entry != img->bat[bm->block]) {
		victim = bm;
	} else if (vhd_bitmap_full(img, bm->block, bm->live)) {
		set_bit(bm->block, img->full);
		victim = bm;
	} else {
		if (vhd_bitmaps_many(img))
			victim = vhd_bitmap_evict(img);
		bm->hash_next = *bucket;
		*bucket = bm;
		list_add_tail(&bm->lru, &img->bitmaps.lru);
		img->bitmaps.nr++;
	}
	spin_unlock_irqrestore(&img->lock, flags);
	vhd_bitmap_free(victim);
}

void vhd_bitmap_retire(struct vhd_image *img, struct vhd_bitmap *bm)
{
	if (!vhd_bitmap_idle(bm) || !vhd_bitmap_full(img, bm->block, bm->live))
		return;
	/* Who sees the full bit must see the entry. */
	smp_mb__before_atomic();
	set_bit(bm->block, img->full);
	vhd_bitmap_unlink(img, bm);
	vhd_bitmap_free(bm);
}

bool vhd_bitmap_drop(struct vhd_image *img, struct vhd_bitmap *bm)
{
	if (!vhd_bitmap_idle(bm))
		return false;
	vhd_bitmap_unlink(img, bm);
	vhd_bitmap_free(bm);
	return true;
}

/* Up to @nr idle bitmaps, out of the cache, linked by @hash_next. */
static struct vhd_bitmap *vhd_bitmaps_take(struct vhd_image *img, u32 nr)
{
	struct vhd_bitmap *bm, *next, *victims = NULL;

	list_for_each_entry_safe(bm, next, &img->bitmaps.lru, lru) {
		if (!nr)
			break;
		if (!vhd_bitmap_idle(bm))
			continue;
		vhd_bitmap_unlink(img, bm);
		bm->hash_next = victims;
		victims = bm;
		nr--;
	}
	return victims;
}

u32 vhd_bitmaps_shrink(struct vhd_image *img, u32 nr)
{
	struct vhd_bitmap *bm, *victims;
	unsigned long flags;
	u32 freed = 0;

	spin_lock_irqsave(&img->lock, flags);
	victims = vhd_bitmaps_take(img, nr);
	spin_unlock_irqrestore(&img->lock, flags);
	for (; victims; freed++) {
		bm = victims;
		victims = bm->hash_next;
		vhd_bitmap_free(bm);
	}
	return freed;
}

int vhd_bitmaps_init(struct vhd_image *img)
{
	INIT_LIST_HEAD(&img->bitmaps.lru);
	img->bitmaps.max = VHD_MAX_BITMAPS;
	img->bitmaps.buckets = kcalloc(VHD_BITMAP_BUCKETS,
				       sizeof(*img->bitmaps.buckets),
				       GFP_KERNEL);
	return img->bitmaps.buckets ? 0 : -ENOMEM;
}

void vhd_bitmaps_free(struct vhd_image *img)
{
	struct vhd_bitmap *bm, *next;

	if (!img->bitmaps.buckets)
		return;
	list_for_each_entry_safe(bm, next, &img->bitmaps.lru, lru)
		vhd_bitmap_free(bm);
	kfree(img->bitmaps.buckets);
	img->bitmaps.buckets = NULL;
}
