// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "bat.h"
#include "bitmap.h"
#include "commit.h"
#include "move.h"
#include "space.h"
#include "unmap.h"

/* ---- which blocks ------------------------------------------------------ */

static void vhd_last_sift(struct vhd_last *last, u32 i)
{
	u64 v = last->at[i];
	u32 down;

	for (; (down = 2 * i + 1) < last->nr; i = down) {
		if (down + 1 < last->nr && last->at[down + 1] < last->at[down])
			down++;
		if (v <= last->at[down])
			break;
		last->at[i] = last->at[down];
	}
	last->at[i] = v;
}

/* A heap whose first one is the first to go when there are too many. */
static void vhd_last_add(struct vhd_last *last, u64 v)
{
	u32 i;

	if (last->nr < VHD_NR_LAST) {
		last->at[last->nr++] = v;
		if (last->nr < VHD_NR_LAST)
			return;
		for (i = VHD_NR_LAST / 2; i--;)
			vhd_last_sift(last, i);
	} else if (v > last->at[0]) {
		last->at[0] = v;
		vhd_last_sift(last, 0);
	}
}

static int vhd_last_cmp(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

static u32 vhd_lowest_free(struct vhd_image *img)
{
	unsigned long flags;
	u32 sector;

	spin_lock_irqsave(&img->lock, flags);
	sector = vhd_space_lowest_free(img);
	spin_unlock_irqrestore(&img->lock, flags);
	return sector;
}

void vhd_last_find(struct vhd_last *last, struct vhd_image *img)
{
	u32 low = vhd_lowest_free(img), block, entry;

	last->nr = 0;
	for (block = 0; low && block < img->nr_blocks; block++) {
		entry = READ_ONCE(img->bat[block]);
		if (entry < VHD_BAT_BAD && entry > low)
			vhd_last_add(last, (u64)entry << 32 | block);
	}
	sort(last->at, last->nr, sizeof(*last->at), vhd_last_cmp, NULL);
}

/* ---- moving one -------------------------------------------------------- */

enum vhd_move_step {
	VHD_MOVE_START,
	VHD_MOVE_SETTLED,
	VHD_MOVE_ZEROED,
	VHD_MOVE_SEEN,
	VHD_MOVE_READ,
	VHD_MOVE_WRITTEN,
	VHD_MOVE_FLUSHED,
};

static int vhd_move_seek(struct vhd_move *m, struct vhd_io *io)
{
	u64 from = (u64)m->from << VHD_SECTOR_SHIFT;
	u32 slot = vhd_slot_bytes(m->img);

	if (m->at == slot) {
		m->step = VHD_MOVE_FLUSHED;
		return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
	}
	m->step = VHD_MOVE_SEEN;
	m->span = (struct vhd_span) { from + m->at, from + slot };
	return vhd_io_set(io, VHD_IO_SEEK, m->span.pos, slot - m->at, &m->span);
}

/* The next piece of the data, or on to the next ones. */
static int vhd_move_read(struct vhd_move *m, struct vhd_io *io)
{
	u64 pos = ((u64)m->from << VHD_SECTOR_SHIFT) + m->at;

	if (pos >= m->span.end)
		return vhd_move_seek(m, io);
	m->len = min_t(u64, m->piece, m->span.end - pos);
	m->step = VHD_MOVE_READ;
	return vhd_io_set(io, VHD_IO_READ, pos, m->len, m->buf);
}

static int vhd_move_write(struct vhd_move *m, struct vhd_io *io)
{
	u64 pos = ((u64)m->to << VHD_SECTOR_SHIFT) + m->at;

	m->at += m->len;
	if (!memchr_inv(m->buf, 0, m->len))
		return vhd_move_read(m, io);
	m->copied += m->len;
	m->step = VHD_MOVE_WRITTEN;
	return vhd_io_set(io, VHD_IO_WRITE, pos, m->len, m->buf);
}

/*
 * The copy is durable: so whoever writes the entry, and when, shows it whole.
 * Bits in memory stay what they are.
 */
static int vhd_move_switch(struct vhd_move *m)
{
	struct vhd_image *img = m->img;
	struct vhd_bitmap *bm;
	unsigned long flags;
	int ret = -EAGAIN;

	spin_lock_irqsave(&img->lock, flags);
	if (!vhd_unmap_quarantine(img, m->block, m->from)) {
		vhd_space_give(img, m->to);
		goto out;
	}
	bm = vhd_bitmap_find(img, m->block);
	if (bm)
		bm->entry = m->to;
	/* Who sees the entry sees the copy. */
	smp_store_release(&img->bat[m->block], m->to);
	img->counters.moves++;
	ret = 0;
out:
	spin_unlock_irqrestore(&img->lock, flags);
	return ret;
}

/* The slot may hold anything now; one on a bad spot is lost to this file. */
static int vhd_move_failed(struct vhd_move *m, int err)
{
	bool spot = m->step == VHD_MOVE_ZEROED || m->step == VHD_MOVE_WRITTEN;
	unsigned long flags;

	if (m->step == VHD_MOVE_SETTLED || m->step == VHD_MOVE_FLUSHED)
		vhd_image_fail(m->img, err);
	if (spot && err != -ENOSPC)
		return err;
	spin_lock_irqsave(&m->img->lock, flags);
	vhd_space_give(m->img, m->to);
	spin_unlock_irqrestore(&m->img->lock, flags);
	return err;
}

static int vhd_move_zero(struct vhd_move *m, struct vhd_io *io)
{
	if (!m->dirty)
		return vhd_move_seek(m, io);
	m->step = VHD_MOVE_ZEROED;
	return vhd_io_set(io, VHD_IO_ZERO, (u64)m->to << VHD_SECTOR_SHIFT,
			  vhd_slot_bytes(m->img), NULL);
}

static int vhd_move_next(struct vhd_plan *plan, int err, struct vhd_io *io)
{
	struct vhd_move *m = container_of(plan, struct vhd_move, plan);

	/* What cannot be looked for is there. */
	if (m->step == VHD_MOVE_SEEN && err)
		err = 0;
	if (!err)
		err = READ_ONCE(m->img->failed);
	if (err)
		return vhd_move_failed(m, err);
	switch (m->step) {
	case VHD_MOVE_START:
		if (!m->unsettled)
			return vhd_move_zero(m, io);
		m->step = VHD_MOVE_SETTLED;
		return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
	case VHD_MOVE_SETTLED:
		vhd_space_settled(m->img);
		return vhd_move_zero(m, io);
	case VHD_MOVE_ZEROED:
		return vhd_move_seek(m, io);
	case VHD_MOVE_SEEN:
		m->at = m->span.pos - ((u64)m->from << VHD_SECTOR_SHIFT);
		return vhd_move_read(m, io);
	case VHD_MOVE_READ:
		return vhd_move_write(m, io);
	case VHD_MOVE_WRITTEN:
		return vhd_move_read(m, io);
	default:
		return vhd_move_switch(m);
	}
}

/* Is there nothing of it that only a commit makes durable? */
static bool vhd_move_durable(struct vhd_image *img, u32 block)
{
	struct vhd_bitmap *bm = vhd_bitmap_find(img, block);

	return !vhd_new_find(img, block) &&
	       (!bm || (!bm->users && !bm->dirty && !bm->taken_valid));
}

static enum vhd_move_result vhd_move_take(struct vhd_move *m)
{
	struct vhd_image *img = m->img;
	u32 entry = img->bat[m->block], low = vhd_space_lowest_free(img);

	if (entry >= VHD_BAT_BAD || !low || low > entry)
		return VHD_MOVE_NOT;
	if (!vhd_move_durable(img, m->block))
		return VHD_MOVE_COMMIT;
	switch (vhd_unmap_may(img)) {
	case VHD_UNMAP_NOT:
		return VHD_MOVE_NOMEM;
	case VHD_UNMAP_COMMIT:
		return VHD_MOVE_COMMIT;
	default:
		break;
	}
	m->from = entry;
	m->to = vhd_space_take_lowest(img, &m->dirty);
	m->unsettled = m->dirty && img->space.unsettled;
	return VHD_MOVE_READY;
}

enum vhd_move_result vhd_move_init(struct vhd_move *m, struct vhd_image *img,
				   u32 block, void *buf, u32 piece)
{
	enum vhd_move_result result;
	unsigned long flags;

	memset(m, 0, sizeof(*m));
	m->plan.next = vhd_move_next;
	m->img = img;
	m->block = block;
	m->buf = buf;
	m->piece = piece;
	vhd_unmap_reserve(img, 1);
	spin_lock_irqsave(&img->lock, flags);
	result = vhd_move_take(m);
	spin_unlock_irqrestore(&img->lock, flags);
	return result;
}

/* ---- zeros ------------------------------------------------------------- */

static int vhd_probe_seek(struct vhd_probe *p, struct vhd_io *io)
{
	p->zero = p->pos == p->end;
	if (p->zero)
		return 0;
	p->seeking = true;
	p->span = (struct vhd_span) { p->pos, p->end };
	return vhd_io_set(io, VHD_IO_SEEK, p->pos, p->end - p->pos, &p->span);
}

static int vhd_probe_read(struct vhd_probe *p, struct vhd_io *io)
{
	if (p->pos >= p->span.end)
		return vhd_probe_seek(p, io);
	if (!p->read)
		return 0;
	p->len = min_t(u64, p->piece, p->span.end - p->pos);
	p->done += p->len;
	return vhd_io_set(io, VHD_IO_READ, p->pos, p->len, p->buf);
}

static int vhd_probe_next(struct vhd_plan *plan, int err, struct vhd_io *io)
{
	struct vhd_probe *p = container_of(plan, struct vhd_probe, plan);

	if (p->seeking) {
		p->seeking = false;
		p->pos = p->span.pos;
		return vhd_probe_read(p, io);
	}
	if (err)
		return err;
	if (!p->len)
		return vhd_probe_seek(p, io);
	if (memchr_inv(p->buf, 0, p->len))
		return 0;
	p->pos += p->len;
	return vhd_probe_read(p, io);
}

void vhd_probe_init(struct vhd_probe *p, struct vhd_image *img, u32 block,
		    bool read, void *buf, u32 piece)
{
	u64 at = (u64)block << img->block_shift;

	memset(p, 0, sizeof(*p));
	p->plan.next = vhd_probe_next;
	p->img = img;
	p->read = read;
	p->pos = vhd_data_pos(img, READ_ONCE(img->bat[block]));
	p->end = p->pos + min_t(u64, img->size - at, vhd_block_bytes(img));
	p->buf = buf;
	p->piece = piece;
}

int vhd_drop_block(struct vhd_image *img, u32 block)
{
	enum vhd_unmap_result result = VHD_UNMAP_NOT;
	unsigned long flags;

	vhd_unmap_reserve(img, 1);
	spin_lock_irqsave(&img->lock, flags);
	/* The bitmap of a new one may be the only one that it has. */
	if (img->bat[block] < VHD_BAT_BAD &&
	    (img->type == VHD_TYPE_DYNAMIC || !vhd_new_find(img, block)))
		result = vhd_unmap(img, block);
	spin_unlock_irqrestore(&img->lock, flags);
	if (result == VHD_UNMAP_COMMIT)
		return -EAGAIN;
	return result == VHD_UNMAP_DONE;
}
