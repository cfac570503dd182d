// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "bat.h"
#include "bitmap.h"
#include "space.h"
#include "unmap.h"

/* Slots that are on their way to being free, or may be before long. */
static u32 vhd_unmap_underway(const struct vhd_image *img)
{
	const struct vhd_space *sp = &img->space;

	return sp->freed.nr + sp->holes.nr + sp->draining.nr + VHD_NR_NEW +
	       img->unmaps.nr_pending + img->unmaps.nr_taken;
}

static bool vhd_unmap_alloc(struct vhd_image *img)
{
	struct vhd_unmaps *un = &img->unmaps;
	size_t size = VHD_NR_UNMAPS * sizeof(*un->pending);
	struct vhd_unmapped *pending, *taken;
	unsigned long flags;

	if (READ_ONCE(un->pending))
		return true;
	pending = kvmalloc(size, GFP_NOIO | __GFP_NOWARN);
	taken = kvmalloc(size, GFP_NOIO | __GFP_NOWARN);
	spin_lock_irqsave(&img->lock, flags);
	if (pending && taken && !un->pending) {
		swap(un->taken, taken);
		swap(un->pending, pending);
	}
	spin_unlock_irqrestore(&img->lock, flags);
	kvfree(pending);
	kvfree(taken);
	return READ_ONCE(un->pending);
}

/* Lists double, so that they are seldom copied. */
static int vhd_unmap_grow(struct vhd_image *img, struct vhd_slots *s, u32 nr)
{
	if (nr <= READ_ONCE(s->max))
		return 0;
	return vhd_slots_reserve(img, s, max(nr, 2 * READ_ONCE(s->max)));
}

void vhd_unmap_reserve(struct vhd_image *img, u32 nr)
{
	struct vhd_space *sp = &img->space;
	unsigned long flags;

	if (!vhd_unmap_alloc(img))
		return;
	spin_lock_irqsave(&img->lock, flags);
	nr += vhd_unmap_underway(img);
	spin_unlock_irqrestore(&img->lock, flags);
	/* One that fails is seen by vhd_unmap_room(). */
	vhd_unmap_grow(img, &sp->draining, nr);
	vhd_unmap_grow(img, &sp->freed, nr);
	vhd_unmap_grow(img, &sp->holes, nr);
}

static bool vhd_unmap_room(const struct vhd_image *img)
{
	const struct vhd_space *sp = &img->space;

	return img->unmaps.pending &&
	       vhd_unmap_underway(img) <
		       min3(sp->draining.max, sp->freed.max, sp->holes.max);
}

/*
 * The bitmap in the cache, if there is one, is of the slot that the block loses;
 * and one that is being loaded must not come into the cache.
 */
static bool vhd_unmap_bitmap(struct vhd_image *img, u32 block)
{
	struct vhd_bitmap *bm;

	if (test_bit(block, img->full))
		return true;
	bm = vhd_bitmap_find(img, block);
	if (bm && !vhd_bitmap_drop(img, bm))
		return false;
	img->bitmaps.evictions++;
	return true;
}

/* Who still sees the full bit must not take a later entry for a durable one. */
static void vhd_unmap_clear(struct vhd_image *img, u32 block)
{
	clear_bit(block, img->full);
	/* pairs with the second test of the bit in vhd_map_fast() */
	smp_mb__after_atomic();
	WRITE_ONCE(img->bat[block], VHD_BAT_UNUSED);
	img->nr_allocated--;
	img->counters.unmaps++;
}

enum vhd_unmap_result vhd_unmap_may(struct vhd_image *img)
{
	const struct vhd_unmaps *un = &img->unmaps;

	lockdep_assert_held(&img->lock);
	if (!vhd_unmap_room(img))
		return VHD_UNMAP_NOT;
	return un->nr_pending + un->nr_taken < VHD_NR_UNMAPS ?
	       VHD_UNMAP_DONE : VHD_UNMAP_COMMIT;
}

bool vhd_unmap_quarantine(struct vhd_image *img, u32 block, u32 sector)
{
	struct vhd_unmaps *un = &img->unmaps;

	if (vhd_unmap_may(img) != VHD_UNMAP_DONE)
		return false;
	un->pending[un->nr_pending++] = (struct vhd_unmapped) {
		.block = block,
		.sector = sector,
	};
	return true;
}

enum vhd_unmap_result vhd_unmap(struct vhd_image *img, u32 block)
{
	enum vhd_unmap_result may = vhd_unmap_may(img);
	u32 sector = img->bat[block];
	struct vhd_new_block *nb;

	if (may != VHD_UNMAP_DONE)
		return may;
	nb = vhd_new_find(img, block);
	if (!nb && !vhd_unmap_bitmap(img, block))
		return VHD_UNMAP_NOT;
	vhd_unmap_clear(img, block);
	if (!nb || vhd_new_drop(img, nb))
		vhd_unmap_quarantine(img, block, sector);
	return VHD_UNMAP_DONE;
}

u32 vhd_unmap_draining(struct vhd_image *img)
{
	return READ_ONCE(img->space.draining.nr);
}

void vhd_unmap_release(struct vhd_image *img, u32 nr)
{
	struct vhd_slots *d = &img->space.draining;
	unsigned long flags;
	u32 i;

	spin_lock_irqsave(&img->lock, flags);
	nr = min(nr, d->nr);
	for (i = 0; i < nr; i++)
		vhd_space_give(img, d->at[i]);
	d->nr -= nr;
	WRITE_ONCE(img->space.drained, img->space.drained + nr);
	memmove(d->at, d->at + nr, d->nr * sizeof(*d->at));
	vhd_space_relax(img);
	spin_unlock_irqrestore(&img->lock, flags);
}

/* ---- in a commit ------------------------------------------------------- */

void vhd_unmap_take(struct vhd_image *img)
{
	struct vhd_unmaps *un = &img->unmaps;

	swap(un->pending, un->taken);
	un->nr_taken = un->nr_pending;
	un->nr_pending = 0;
}

void vhd_unmap_untake(struct vhd_image *img)
{
	struct vhd_unmaps *un = &img->unmaps;

	/* Both together are never more than there is room for. */
	if (un->nr_taken)
		memcpy(un->pending + un->nr_pending, un->taken,
		       un->nr_taken * sizeof(*un->taken));
	un->nr_pending += un->nr_taken;
	un->nr_taken = 0;
}

void vhd_unmap_publish(struct vhd_image *img)
{
	struct vhd_unmaps *un = &img->unmaps;
	struct vhd_slots *d = &img->space.draining;
	u32 i;

	for (i = 0; i < un->nr_taken && d->nr < d->max; i++)
		d->at[d->nr++] = un->taken[i].sector;
	un->nr_taken = 0;
}

void vhd_unmap_free(struct vhd_image *img)
{
	struct vhd_unmaps *un = &img->unmaps;

	kvfree(un->pending);
	kvfree(un->taken);
	*un = (struct vhd_unmaps) { };
}

/* ---- punching ---------------------------------------------------------- */

bool vhd_unmap_freed(struct vhd_image *img)
{
	return READ_ONCE(img->space.freed.nr);
}

static u64 vhd_punch_end(const struct vhd_punch *p)
{
	return ((u64)p->slots[p->nr - 1] << VHD_SECTOR_SHIFT) +
	       vhd_slot_bytes(p->img);
}

/* Does the lowest freed slot follow the batch, with nothing but padding between? */
static bool vhd_punch_follows(const struct vhd_punch *p)
{
	const struct vhd_space *sp = &p->img->space;
	u64 end = vhd_punch_end(p), pos;

	if (!sp->freed.nr || p->nr == VHD_PUNCH_BATCH)
		return false;
	pos = (u64)sp->freed.at[0] << VHD_SECTOR_SHIFT;
	return pos == end ||
	       (pos > end && pos - end < VHD_ALIGN && end >= sp->meta_end);
}

/* As many slots as lie side by side. */
static void vhd_punch_take(struct vhd_punch *p)
{
	struct vhd_slots *freed = &p->img->space.freed;
	unsigned long flags;

	p->nr = 0;
	spin_lock_irqsave(&p->img->lock, flags);
	if (freed->nr) {
		do {
			p->slots[p->nr++] = vhd_slots_pop(freed);
		} while (vhd_punch_follows(p));
	}
	spin_unlock_irqrestore(&p->img->lock, flags);
}

static void vhd_punch_give(struct vhd_punch *p, struct vhd_slots *to)
{
	unsigned long flags;
	u32 i;

	spin_lock_irqsave(&p->img->lock, flags);
	for (i = 0; i < p->nr; i++)
		vhd_slots_push(to, p->slots[i]);
	spin_unlock_irqrestore(&p->img->lock, flags);
	p->nr = 0;
}

static int vhd_punch_next(struct vhd_plan *plan, int err, struct vhd_io *io)
{
	struct vhd_punch *p = container_of(plan, struct vhd_punch, plan);
	struct vhd_space *sp = &p->img->space;
	u64 pos;

	/* What cannot be punched is zeroed when it is needed; on a device all is. */
	if (p->nr)
		vhd_punch_give(p, err && !p->img->on_device ? &sp->gaps :
							      &sp->holes);
	if (!err)
		err = READ_ONCE(p->img->failed);
	if (err || p->steps++ == VHD_PUNCH_STEPS)
		return err;
	vhd_punch_take(p);
	if (!p->nr)
		return 0;
	pos = (u64)p->slots[0] << VHD_SECTOR_SHIFT;
	return vhd_io_set(io, p->img->on_device ? VHD_IO_DISCARD : VHD_IO_ZERO,
			  pos, vhd_punch_end(p) - pos, NULL);
}

void vhd_punch_init(struct vhd_punch *p, struct vhd_image *img)
{
	memset(p, 0, sizeof(*p));
	p->plan.next = vhd_punch_next;
	p->img = img;
}
