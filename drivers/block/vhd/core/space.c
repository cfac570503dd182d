// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "bitmap.h"
#include "commit.h"
#include "format.h"
#include "space.h"

/* From one slot's bitmap to the next one's: 4 KiB rule included. */
static u64 vhd_space_stride(const struct vhd_image *img)
{
	return vhd_block_bytes(img) + (u64)VHD_ALIGN;
}

/* Would the table's 32 bits hold the sectors of a slot at @pos? */
static bool vhd_space_addressable(const struct vhd_image *img, u64 pos)
{
	return (pos + vhd_slot_bytes(img)) >> VHD_SECTOR_SHIFT < VHD_BAT_BAD;
}

bool vhd_slots_push(struct vhd_slots *s, u32 sector)
{
	u32 i, up;

	if (s->nr == s->max)
		return false;
	for (i = s->nr++; i; i = up) {
		up = (i - 1) / 2;
		if (s->at[up] <= sector)
			break;
		s->at[i] = s->at[up];
	}
	s->at[i] = sector;
	return true;
}

u32 vhd_slots_pop(struct vhd_slots *s)
{
	u32 low, last, i = 0, down;

	if (!s->nr)
		return 0;
	low = s->at[0];
	last = s->at[--s->nr];
	for (down = 1; down < s->nr; down = 2 * i + 1) {
		if (down + 1 < s->nr && s->at[down + 1] < s->at[down])
			down++;
		if (last <= s->at[down])
			break;
		s->at[i] = s->at[down];
		i = down;
	}
	s->at[i] = last;
	return low;
}

int vhd_slots_reserve(struct vhd_image *img, struct vhd_slots *s, u32 max)
{
	unsigned long flags;
	u32 *at;

	if (READ_ONCE(s->max) >= max)
		return 0;
	at = kvmalloc_array(max, sizeof(*at), GFP_NOIO | __GFP_NOWARN);
	if (!at)
		return -ENOMEM;
	spin_lock_irqsave(&img->lock, flags);
	if (s->max < max) {
		if (s->nr)
			memcpy(at, s->at, s->nr * sizeof(*at));
		swap(s->at, at);
		s->max = max;
	}
	spin_unlock_irqrestore(&img->lock, flags);
	kvfree(at);
	return 0;
}

/* The slot behind all others, if it ends before the footer; or 0. */
static u32 vhd_space_next(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;
	u64 pos = vhd_tail_pos(sp->data_end);

	lockdep_assert_held(&img->lock);
	if (pos + vhd_slot_bytes(img) > sp->tail ||
	    !vhd_space_addressable(img, pos))
		return 0;
	sp->data_end = pos + vhd_slot_bytes(img);
	return pos >> VHD_SECTOR_SHIFT;
}

/* Free slots within the file that are not prepared. */
static u32 vhd_space_reusable(const struct vhd_space *sp)
{
	return sp->holes.nr + sp->freed.nr + sp->gaps.nr;
}

/* Of a slot that was never handed out. */
static enum vhd_slot_mark vhd_space_mark(const struct vhd_image *img, u64 pos)
{
	const struct vhd_space *sp = &img->space;

	if (pos < sp->mark_from || pos >= sp->mark_end)
		return VHD_SLOT_PLAIN;
	if (!sp->mark_reserved || sp->marks_durable != sp->marks)
		return VHD_SLOT_MARKED;
	return VHD_SLOT_FRESH;
}

u32 vhd_space_take(struct vhd_image *img, enum vhd_slot_mark *mark)
{
	struct vhd_space *sp = &img->space;
	u32 sector;

	lockdep_assert_held(&img->lock);
	*mark = VHD_SLOT_PLAIN;
	if (sp->ready.nr)
		return vhd_slots_pop(&sp->ready);
	if (img->on_device || sp->stale || vhd_space_reusable(sp))
		return 0;
	sector = vhd_space_next(img);
	*mark = vhd_space_mark(img, (u64)sector << VHD_SECTOR_SHIFT);
	return sector;
}

void vhd_space_give(struct vhd_image *img, u32 sector)
{
	lockdep_assert_held(&img->lock);
	/* One that finds no room is lost until the image is opened again. */
	vhd_slots_push(&img->space.freed, sector);
}

void vhd_space_relax(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;
	u64 slot = vhd_slot_bytes(img), pos;
	u32 sector;

	lockdep_assert_held(&img->lock);
	sp->enospc = false;
	sp->chunk = 1;
	sp->mark_end = 0;
	/* No space is reserved there, and what was zeroed stays so. */
	if (img->on_device)
		return;
	while ((sector = vhd_slots_pop(&sp->ready)))
		vhd_slots_push(&sp->freed, sector);
	while (!sp->stale && sp->freed.nr < sp->freed.max &&
	       (pos = vhd_tail_pos(sp->data_end)) + slot <= sp->tail) {
		vhd_slots_push(&sp->freed, pos >> VHD_SECTOR_SHIFT);
		sp->data_end = pos + slot;
	}
}

/* Slots between all others and the footer. */
static u64 vhd_space_room(struct vhd_image *img)
{
	u64 pos = vhd_tail_pos(img->space.data_end);

	if (pos >= img->space.tail)
		return 0;
	return div64_u64(img->space.tail - pos, vhd_space_stride(img));
}

/* Slots that can be had at once: without zeroing any, or a growth. */
static u64 vhd_space_slots(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;

	if (img->on_device || sp->stale || vhd_space_reusable(sp))
		return sp->ready.nr;
	return sp->ready.nr + vhd_space_room(img);
}

/*
 * Slots to grow by: what use suggests, a fraction of what is there so that
 * small images stay small, and not more than the disk can need.
 */
static u32 vhd_space_chunk(struct vhd_image *img)
{
	u32 most = max(img->nr_allocated / 4, VHD_SMALL_CHUNK);
	u32 chunk = min(img->space.chunk, most);

	lockdep_assert_held(&img->lock);
	return min(chunk, img->nr_blocks - img->nr_allocated);
}

/* Slots to have ready as long as there are free ones in the file. */
static u32 vhd_space_reuse(struct vhd_image *img)
{
	return clamp(vhd_space_chunk(img), 1U, VHD_NR_READY);
}

/* What should be ready ahead of need. */
static u64 vhd_space_wanted(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;

	if (sp->enospc)
		return 0;
	if (img->on_device)
		return min3((u64)vhd_space_chunk(img), (u64)VHD_NR_READY,
			    sp->ready.nr + vhd_space_reusable(sp) +
			    vhd_space_room(img));
	if (vhd_space_reusable(sp))
		return min(vhd_space_reuse(img),
			   sp->ready.nr + vhd_space_reusable(sp));
	return vhd_space_chunk(img);
}

u32 vhd_space_free_slots(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;
	unsigned long flags;
	u32 nr;

	spin_lock_irqsave(&img->lock, flags);
	nr = sp->ready.nr + vhd_space_reusable(sp) + sp->draining.nr +
	     img->unmaps.nr_pending + img->unmaps.nr_taken;
	spin_unlock_irqrestore(&img->lock, flags);
	return nr;
}

bool vhd_space_low(struct vhd_image *img)
{
	unsigned long flags;
	u64 slots, wanted;

	if (!img->bat || !img->writable)
		return false;
	spin_lock_irqsave(&img->lock, flags);
	slots = vhd_space_slots(img);
	wanted = vhd_space_wanted(img);
	spin_unlock_irqrestore(&img->lock, flags);
	return slots * 4 < wanted * 3;
}

enum vhd_prepare_step {
	VHD_PREPARE_START,
	VHD_PREPARE_SETTLE,
	VHD_PREPARE_ZEROED,
	VHD_PREPARE_RESERVED,
	VHD_PREPARE_CUT_FOOTER,
	VHD_PREPARE_CUT_FLUSH,
	VHD_PREPARE_CUT_TRUNCATE,
	VHD_PREPARE_RESERVE,
	VHD_PREPARE_FOOTER,
	VHD_PREPARE_FLUSH,
	VHD_PREPARE_BITMAPS,
	VHD_PREPARE_UNDO,
};

static int vhd_io_footer(struct vhd_io *io, struct vhd_footer *f, u64 pos)
{
	return vhd_io_set(io, VHD_IO_WRITE, pos, sizeof(*f), f);
}

/* The file now ends with a footer at @tail. */
static void vhd_space_set_tail(struct vhd_image *img, u64 tail)
{
	unsigned long flags;

	spin_lock_irqsave(&img->lock, flags);
	img->space.tail = tail;
	img->space.mark_end = min(img->space.mark_end, tail);
	img->space.file_size = tail + VHD_SECTOR_SIZE;
	img->space.stale = false;
	spin_unlock_irqrestore(&img->lock, flags);
}

void vhd_space_set_ragged(struct vhd_image *img, bool ragged)
{
	unsigned long flags;

	spin_lock_irqsave(&img->lock, flags);
	img->space.ragged = ragged;
	spin_unlock_irqrestore(&img->lock, flags);
}

/* The list whose slot is the lowest, so that files stay short; NULL: none. */
static struct vhd_slots *vhd_space_lowest(struct vhd_space *sp)
{
	struct vhd_slots *lists[] = { &sp->holes, &sp->freed, &sp->gaps };
	struct vhd_slots *low = NULL;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(lists); i++)
		if (lists[i]->nr && (!low || lists[i]->at[0] < low->at[0]))
			low = lists[i];
	return low;
}

/* The same, of those that are ready, too. */
static struct vhd_slots *vhd_space_lowest_of_all(struct vhd_space *sp)
{
	struct vhd_slots *low = vhd_space_lowest(sp);

	if (sp->ready.nr && (!low || sp->ready.at[0] < low->at[0]))
		return &sp->ready;
	return low;
}

u32 vhd_space_lowest_free(struct vhd_image *img)
{
	struct vhd_slots *low = vhd_space_lowest_of_all(&img->space);

	lockdep_assert_held(&img->lock);
	return low ? low->at[0] : 0;
}

u32 vhd_space_take_lowest(struct vhd_image *img, bool *dirty)
{
	struct vhd_space *sp = &img->space;
	struct vhd_slots *low = vhd_space_lowest_of_all(sp);

	lockdep_assert_held(&img->lock);
	/* What a device has discarded may be anything. */
	*dirty = low == &sp->freed || low == &sp->gaps ||
		 (low == &sp->holes && img->on_device);
	return low ? vhd_slots_pop(low) : 0;
}

static void vhd_space_push(struct vhd_image *img, struct vhd_slots *s,
			   u32 sector)
{
	unsigned long flags;

	spin_lock_irqsave(&img->lock, flags);
	vhd_slots_push(s, sector);
	spin_unlock_irqrestore(&img->lock, flags);
}

static int vhd_prepare_slot(struct vhd_prepare *p, struct vhd_io *io,
			    enum vhd_io_kind kind)
{
	p->step = kind == VHD_IO_ZERO ? VHD_PREPARE_ZEROED :
					VHD_PREPARE_RESERVED;
	return vhd_io_set(io, kind, (u64)p->slot << VHD_SECTOR_SHIFT,
			  vhd_slot_bytes(p->img), NULL);
}

/* The next free slot, as long as some are wanted; 0 if there is none to do. */
static int vhd_prepare_reuse(struct vhd_prepare *p, struct vhd_io *io)
{
	struct vhd_image *img = p->img;
	struct vhd_space *sp = &img->space;
	struct vhd_slots *from = NULL;
	unsigned long flags;

	p->slot = 0;
	spin_lock_irqsave(&img->lock, flags);
	if (sp->ready.nr < vhd_space_reuse(img)) {
		from = vhd_space_lowest(sp);
		if (from)
			p->slot = vhd_slots_pop(from);
		else if (img->on_device)
			p->slot = vhd_space_next(img);
	}
	spin_unlock_irqrestore(&img->lock, flags);
	if (!p->slot)
		return 0;
	if (from == &sp->holes && !img->on_device)
		return vhd_prepare_slot(p, io, VHD_IO_RESERVE);
	return vhd_prepare_slot(p, io, VHD_IO_ZERO);
}

/* Is the table to be flushed before free space of before is touched? */
static bool vhd_space_unsettled(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;
	unsigned long flags;
	bool unsettled;

	spin_lock_irqsave(&img->lock, flags);
	unsettled = sp->unsettled &&
		    (img->on_device || sp->stale || sp->gaps.nr);
	spin_unlock_irqrestore(&img->lock, flags);
	return unsettled;
}

void vhd_space_settled(struct vhd_image *img)
{
	unsigned long flags;

	spin_lock_irqsave(&img->lock, flags);
	img->space.unsettled = false;
	spin_unlock_irqrestore(&img->lock, flags);
}

static u32 vhd_prepare_chunk(struct vhd_image *img)
{
	unsigned long flags;
	u32 chunk;

	spin_lock_irqsave(&img->lock, flags);
	chunk = vhd_space_chunk(img);
	spin_unlock_irqrestore(&img->lock, flags);
	return max(chunk, 1U);
}

static int vhd_prepare_reserve(struct vhd_prepare *p, struct vhd_io *io)
{
	struct vhd_image *img = p->img;

	p->first = vhd_tail_pos(img->space.tail);
	p->old_size = img->space.file_size;
	p->new_tail = p->first + p->chunk * vhd_space_stride(img);
	while (!vhd_space_addressable(img, p->new_tail)) {
		if (p->chunk == 1) {
			WRITE_ONCE(img->space.enospc, true);
			return -ENOSPC;
		}
		p->chunk /= 2;
		p->new_tail = p->first + p->chunk * vhd_space_stride(img);
	}
	p->step = VHD_PREPARE_RESERVE;
	return vhd_io_set(io, VHD_IO_RESERVE, p->old_size,
			  p->new_tail + VHD_SECTOR_SIZE - p->old_size, NULL);
}

/* Try again with less, or give up. */
static int vhd_prepare_smaller(struct vhd_prepare *p, int err,
			       struct vhd_io *io)
{
	if (err != -ENOSPC || p->chunk == 1) {
		if (err == -ENOSPC)
			WRITE_ONCE(p->img->space.enospc, true);
		return err;
	}
	p->chunk /= 2;
	return vhd_prepare_reserve(p, io);
}

/* Give back what a failed growth may have reserved behind the old end. */
static int vhd_prepare_undo(struct vhd_prepare *p, int err, struct vhd_io *io)
{
	p->error = err;
	p->step = VHD_PREPARE_UNDO;
	return vhd_io_set(io, VHD_IO_TRUNCATE, p->old_size, 0, NULL);
}

static int vhd_prepare_finish(struct vhd_prepare *p)
{
	struct vhd_space *sp = &p->img->space;
	unsigned long flags;

	vhd_space_set_tail(p->img, p->new_tail);
	spin_lock_irqsave(&p->img->lock, flags);
	if (p->marked) {
		if (sp->mark_end != p->first) {
			sp->mark_from = p->first;
			sp->mark_reserved = true;
		}
		sp->mark_end = p->new_tail;
		sp->mark_reserved &= p->reserved;
		sp->marks++;
	}
	sp->chunk = min(sp->chunk * 2, VHD_MAX_CHUNK);
	sp->enospc = false;
	p->img->counters.growths++;
	spin_unlock_irqrestore(&p->img->lock, flags);
	return 0;
}

/* Cut a tail of unknown content off, so that the file reads zeros there. */
static int vhd_prepare_cut(struct vhd_prepare *p, struct vhd_io *io)
{
	p->new_tail = vhd_tail_pos(p->img->space.data_end);
	p->step = VHD_PREPARE_CUT_FOOTER;
	return vhd_io_footer(io, &p->footer, p->new_tail);
}

static int vhd_prepare_grow(struct vhd_prepare *p, struct vhd_io *io)
{
	if (p->img->on_device) {
		WRITE_ONCE(p->img->space.enospc, true);
		return -ENOSPC;
	}
	if (p->img->space.stale)
		return vhd_prepare_cut(p, io);
	p->chunk = vhd_prepare_chunk(p->img);
	return vhd_prepare_reserve(p, io);
}

/* Are slots ready, and are there free ones for when they have gone? */
static bool vhd_space_enough(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;
	unsigned long flags;
	bool enough;

	spin_lock_irqsave(&img->lock, flags);
	enough = sp->ready.nr && (img->on_device || vhd_space_reusable(sp));
	spin_unlock_irqrestore(&img->lock, flags);
	return enough;
}

/*
 * On to the next slot; or growth, if not one could be had in the file.  Who asks
 * while enough are ready (he may have waited for one that others took) gets one
 * of these.
 */
static int vhd_prepare_more(struct vhd_prepare *p, struct vhd_io *io)
{
	int ret = vhd_prepare_reuse(p, io);

	if (ret || p->readied || vhd_space_enough(p->img))
		return ret;
	return vhd_prepare_grow(p, io);
}

/* A full file system: the slot stays free, and those ready will do. */
static int vhd_prepare_full(struct vhd_prepare *p, struct vhd_slots *s)
{
	vhd_space_push(p->img, s, p->slot);
	WRITE_ONCE(p->img->space.enospc, true);
	return p->readied ? 0 : -ENOSPC;
}

static void vhd_prepare_ready(struct vhd_prepare *p)
{
	struct vhd_space *sp = &p->img->space;
	unsigned long flags;

	spin_lock_irqsave(&p->img->lock, flags);
	vhd_slots_push(&sp->ready, p->slot);
	if (!p->readied++)
		sp->chunk = min(sp->chunk * 2, VHD_MAX_CHUNK);
	sp->enospc = false;
	spin_unlock_irqrestore(&p->img->lock, flags);
}

/*
 * A slot on a bad spot is lost to this file, or it would stand in the way of
 * all others.
 */
static int vhd_prepare_zeroed(struct vhd_prepare *p, int err, struct vhd_io *io)
{
	if (err == -ENOSPC)
		return vhd_prepare_full(p, &p->img->space.freed);
	if (err)
		return vhd_prepare_more(p, io);
	if (!p->img->on_device)
		return vhd_prepare_slot(p, io, VHD_IO_RESERVE);
	vhd_prepare_ready(p);
	return vhd_prepare_more(p, io);
}

static int vhd_prepare_reserved(struct vhd_prepare *p, int err,
				struct vhd_io *io)
{
	struct vhd_space *sp = &p->img->space;

	if (err == -ENOSPC)
		return vhd_prepare_full(p, &sp->holes);
	if (!err || err == -EOPNOTSUPP)
		vhd_prepare_ready(p);
	return vhd_prepare_more(p, io);
}

/*
 * A commit's flush that failed meanwhile may have dropped the footer: then ours
 * says nothing, and the file must not be cut behind it.
 */
static int vhd_prepare_flushed(struct vhd_prepare *p, int err)
{
	if (!err)
		err = READ_ONCE(p->img->failed);
	return err ? vhd_image_fail(p->img, err) : 0;
}

/*
 * On to the next bitmap.  What went wrong with the others is known when the last one,
 * the first slot's, has been written.  When one cannot be, commits will find out, and
 * write them all.
 */
static int vhd_prepare_next_bitmap(struct vhd_prepare *p, int err,
				   struct vhd_io *io)
{
	u32 slot = ++p->bitmaps % p->chunk;
	u64 pos = p->first + slot * vhd_space_stride(p->img);

	p->marked &= !err;
	if (!p->marked || p->bitmaps > p->chunk)
		return vhd_prepare_finish(p);
	p->plan.side_by_side = slot;
	return vhd_bitmap_write(p->img, io, pos >> VHD_SECTOR_SHIFT,
				p->bitmap);
}

/*
 * The bitmaps of new slots, if commits come for few blocks each, which are spared a
 * flush then (enum vhd_slot_mark): these need none of their own, since a commit shows a
 * block when one has followed.  Where commits come for many blocks, most bitmaps go with
 * the first data (vhd_extent.lead), which is less to do.
 *
 * In a differencing image the bits come with a commit, always, over zeros written now:
 * to write a sector where nothing was ever written makes a file system wait for all
 * that is under way in the file, and keep it from anything else meanwhile.
 */
static int vhd_prepare_bitmaps(struct vhd_prepare *p, struct vhd_io *io)
{
	p->bitmaps = 0;
	if (p->img->type != VHD_TYPE_DIFFERENCING)
		memset(p->bitmap, 0xFF, sizeof(p->bitmap));
	p->marked = p->img->type == VHD_TYPE_DIFFERENCING ||
		    READ_ONCE(p->img->space.mark_ahead);
	p->step = VHD_PREPARE_BITMAPS;
	return vhd_prepare_next_bitmap(p, 0, io);
}

static int vhd_prepare_next(struct vhd_plan *plan, int err, struct vhd_io *io)
{
	struct vhd_prepare *p = container_of(plan, struct vhd_prepare, plan);

	switch (p->step) {
	case VHD_PREPARE_START:
		if (READ_ONCE(p->img->failed))
			return p->img->failed;
		if (!vhd_space_unsettled(p->img))
			return vhd_prepare_more(p, io);
		p->step = VHD_PREPARE_SETTLE;
		return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
	case VHD_PREPARE_SETTLE:
		err = vhd_prepare_flushed(p, err);
		if (err)
			return err;
		vhd_space_settled(p->img);
		return vhd_prepare_more(p, io);
	case VHD_PREPARE_ZEROED:
		return vhd_prepare_zeroed(p, err, io);
	case VHD_PREPARE_RESERVED:
		return vhd_prepare_reserved(p, err, io);

	case VHD_PREPARE_CUT_FOOTER:
		if (err)
			return err;
		p->step = VHD_PREPARE_CUT_FLUSH;
		return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
	case VHD_PREPARE_CUT_FLUSH:
		err = vhd_prepare_flushed(p, err);
		if (err)
			return err;
		p->step = VHD_PREPARE_CUT_TRUNCATE;
		return vhd_io_set(io, VHD_IO_TRUNCATE,
				  p->new_tail + VHD_SECTOR_SIZE, 0, NULL);
	case VHD_PREPARE_CUT_TRUNCATE:
		if (err)
			return err;
		vhd_space_set_tail(p->img, p->new_tail);
		vhd_space_set_ragged(p->img, false);
		return vhd_prepare_grow(p, io);

	case VHD_PREPARE_RESERVE:
		if (err && err != -EOPNOTSUPP)
			return vhd_prepare_undo(p, err, io);
		p->reserved = !err;
		p->step = VHD_PREPARE_FOOTER;
		return vhd_io_footer(io, &p->footer, p->new_tail);
	case VHD_PREPARE_FOOTER:
		if (err)
			return vhd_prepare_undo(p, err, io);
		p->step = VHD_PREPARE_FLUSH;
		return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
	case VHD_PREPARE_FLUSH:
		err = vhd_prepare_flushed(p, err);
		if (err)
			return err;
		return vhd_prepare_bitmaps(p, io);
	case VHD_PREPARE_BITMAPS:
		return vhd_prepare_next_bitmap(p, err, io);
	case VHD_PREPARE_UNDO:
	default:
		vhd_space_set_ragged(p->img, err);
		return err ? err : vhd_prepare_smaller(p, p->error, io);
	}
}

void vhd_prepare_init(struct vhd_prepare *p, struct vhd_image *img)
{
	memset(p, 0, sizeof(*p));
	p->plan.next = vhd_prepare_next;
	p->img = img;
	p->step = VHD_PREPARE_START;
	p->footer = img->footer;
}

enum vhd_tidy_step {
	VHD_TIDY_START,
	VHD_TIDY_PAD,
	VHD_TIDY_SETTLE,
	VHD_TIDY_FOOTER,
	VHD_TIDY_FLUSH,
	VHD_TIDY_TRUNCATE,
	VHD_TIDY_DONE,
};

static u64 vhd_tidy_slot_end(const struct vhd_image *img, u32 sector)
{
	return ((u64)sector << VHD_SECTOR_SHIFT) + vhd_slot_bytes(img);
}

/* First byte behind all metadata and blocks in memory. */
static u64 vhd_tidy_blocks_end(const struct vhd_image *img)
{
	u64 end = img->space.meta_end;
	u32 i, entry;

	for (i = 0; i < img->nr_blocks; i++) {
		entry = READ_ONCE(img->bat[i]);
		if (entry < VHD_BAT_BAD)
			end = max(end, vhd_tidy_slot_end(img, entry));
	}
	return end;
}

/* What no commit has unmapped is still in the table on disk. */
static u64 vhd_tidy_unmaps_end(const struct vhd_image *img)
{
	const struct vhd_unmaps *un = &img->unmaps;
	u64 end = 0;
	u32 i;

	for (i = 0; i < un->nr_pending; i++)
		end = max(end, vhd_tidy_slot_end(img, un->pending[i].sector));
	for (i = 0; i < un->nr_taken; i++)
		end = max(end, vhd_tidy_slot_end(img, un->taken[i].sector));
	return end;
}

/* What a request may still know of. */
static u64 vhd_tidy_requests_end(const struct vhd_image *img)
{
	const struct vhd_new_block *nb = img->new_blocks.records;
	const struct vhd_slots *d = &img->space.draining;
	u64 end = 0;
	u32 i;

	for (i = 0; i < d->nr; i++)
		end = max(end, vhd_tidy_slot_end(img, d->at[i]));
	for (i = 0; i < VHD_NR_NEW; i++)
		if (nb[i].state != VHD_NEW_FREE)
			end = max(end, vhd_tidy_slot_end(img, nb[i].sector));
	return end;
}

/*
 * Slots that do not end before @end are not there any more: the first one of some
 * images begins before it, in what is left for the table to be aligned.
 */
static void vhd_slots_cut(const struct vhd_image *img, struct vhd_slots *s,
			  u64 end)
{
	u32 i, nr = s->nr;

	s->nr = 0;
	for (i = 0; i < nr; i++)
		if (vhd_tidy_slot_end(img, s->at[i]) <= end)
			vhd_slots_push(s, s->at[i]);
}

/*
 * With the image in use: first no slot is to be had any more; then blocks come to
 * no new places, and those that leave theirs are found where they go.
 */
static u64 vhd_tidy_live_end(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;
	unsigned long flags;
	u64 end;

	spin_lock_irqsave(&img->lock, flags);
	sp->stale = true;
	vhd_space_relax(img);
	spin_unlock_irqrestore(&img->lock, flags);
	end = vhd_tidy_blocks_end(img);
	spin_lock_irqsave(&img->lock, flags);
	end = max3(end, vhd_tidy_unmaps_end(img), vhd_tidy_requests_end(img));
	vhd_slots_cut(img, &sp->holes, end);
	vhd_slots_cut(img, &sp->freed, end);
	vhd_slots_cut(img, &sp->gaps, end);
	sp->data_end = end;
	spin_unlock_irqrestore(&img->lock, flags);
	return end;
}

static u64 vhd_tidy_end(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;

	/* Free slots may lie behind the new end, and hold anything. */
	sp->ready.nr = 0;
	sp->holes.nr = 0;
	sp->freed.nr = 0;
	sp->gaps.nr = 0;
	sp->draining.nr = 0;
	sp->mark_end = 0;
	sp->data_end = max(vhd_tidy_blocks_end(img), vhd_tidy_unmaps_end(img));
	return sp->data_end;
}

static int vhd_tidy_footer(struct vhd_tidy *t, struct vhd_io *io)
{
	t->step = VHD_TIDY_FOOTER;
	return vhd_io_footer(io, &t->footer, t->new_tail);
}

static int vhd_tidy_start(struct vhd_tidy *t, struct vhd_io *io)
{
	struct vhd_image *img = t->img;
	struct vhd_space *sp = &img->space;
	bool stale;

	if (!img->writable || img->failed)
		return 0;
	if (sp->file_size < sp->tail + VHD_SECTOR_SIZE) {
		t->step = VHD_TIDY_PAD;
		return vhd_io_footer(io, &t->footer, sp->tail);
	}
	if (!img->bat || img->on_device)
		return 0;
	stale = sp->stale;
	t->new_tail = vhd_tail_pos(t->live ? vhd_tidy_live_end(img) :
					     vhd_tidy_end(img));
	if (sp->tail <= t->new_tail) {
		sp->stale = stale;
		return 0;
	}
	sp->stale = true;
	if (vhd_space_unsettled(img)) {
		t->step = VHD_TIDY_SETTLE;
		return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
	}
	return vhd_tidy_footer(t, io);
}

static int vhd_tidy_next(struct vhd_plan *plan, int err, struct vhd_io *io)
{
	struct vhd_tidy *t = container_of(plan, struct vhd_tidy, plan);

	if (err && (t->step == VHD_TIDY_SETTLE || t->step == VHD_TIDY_FLUSH ||
		    t->step == VHD_TIDY_DONE))
		return vhd_image_fail(t->img, err);
	if (err)
		return err;
	switch (t->step) {
	case VHD_TIDY_PAD:
		t->img->space.file_size = t->img->space.tail + VHD_SECTOR_SIZE;
		fallthrough;
	case VHD_TIDY_START:
		return vhd_tidy_start(t, io);
	case VHD_TIDY_SETTLE:
		vhd_space_settled(t->img);
		return vhd_tidy_footer(t, io);
	case VHD_TIDY_FOOTER:
		t->step = VHD_TIDY_FLUSH;
		return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
	case VHD_TIDY_FLUSH:
		/* As of a growth: another's flush may have dropped the footer. */
		err = READ_ONCE(t->img->failed);
		if (err)
			return err;
		t->step = VHD_TIDY_TRUNCATE;
		return vhd_io_set(io, VHD_IO_TRUNCATE,
				  t->new_tail + VHD_SECTOR_SIZE, 0, NULL);
	case VHD_TIDY_TRUNCATE:
		vhd_space_set_tail(t->img, t->new_tail);
		vhd_space_set_ragged(t->img, false);
		t->step = VHD_TIDY_DONE;
		return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
	default:
		return 0;
	}
}

void vhd_tidy_init(struct vhd_tidy *t, struct vhd_image *img)
{
	memset(t, 0, sizeof(*t));
	t->plan.next = vhd_tidy_next;
	t->img = img;
	t->step = VHD_TIDY_START;
	t->footer = img->footer;
}

void vhd_tidy_live_init(struct vhd_tidy *t, struct vhd_image *img)
{
	vhd_tidy_init(t, img);
	t->live = true;
}

int vhd_space_init(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;

	sp->chunk = 1;
	return vhd_slots_reserve(img, &sp->ready, VHD_NR_READY) ?:
	       vhd_slots_reserve(img, &sp->freed, 2 * VHD_NR_NEW);
}

static void vhd_slots_free(struct vhd_slots *s)
{
	kvfree(s->at);
	*s = (struct vhd_slots) { };
}

void vhd_space_free(struct vhd_image *img)
{
	struct vhd_space *sp = &img->space;

	vhd_slots_free(&sp->ready);
	vhd_slots_free(&sp->holes);
	vhd_slots_free(&sp->freed);
	vhd_slots_free(&sp->gaps);
	vhd_slots_free(&sp->draining);
}
