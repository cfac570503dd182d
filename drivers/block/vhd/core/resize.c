// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/align.h>
#include <linux/bitops.h>
#include <linux/container_of.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/byteorder.h>

#include "bat.h"
#include "commit.h"
#include "format.h"
#include "resize.h"
#include "space.h"

/* Flush, and then go on with @step. */
static int vhd_resize_flush(struct vhd_resize *r, struct vhd_io *io,
			    int (*step)(struct vhd_resize *r,
					struct vhd_io *io))
{
	r->step = step;
	r->flushing = true;
	return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);
}

static int vhd_resize_done(struct vhd_resize *r, struct vhd_io *io)
{
	r->resized = !r->error;
	return r->error;
}

static int vhd_resize_last_flush(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_done);
}

/* ---- the table ------------------------------------------------------- */

/*
 * As a commit would write it: a block that no commit has published is none yet.
 * Nor are those beyond the smaller of both disks, whatever stood there.
 */
static void vhd_resize_fill(struct vhd_resize *r, u64 block, u32 bytes)
{
	__be32 *entry = (void *)r->buf;
	unsigned long flags;
	u32 i;

	for (i = 0; i < bytes / sizeof(*entry); i += VHD_BAT_PER_SECTOR) {
		spin_lock_irqsave(&r->img->lock, flags);
		vhd_bat_fill_sector(r->img, (block + i) / VHD_BAT_PER_SECTOR,
				    entry + i);
		spin_unlock_irqrestore(&r->img->lock, flags);
	}
	for (i = 0; i < bytes / sizeof(*entry); i++)
		if (block + i >= r->blocks)
			entry[i] = cpu_to_be32(VHD_BAT_UNUSED);
}

/* Where what is written of the table ends, from its beginning. */
static u64 vhd_resize_table_end(const struct vhd_resize *r)
{
	u32 blocks = max(r->blocks, r->img->nr_blocks);

	if (r->moves)
		return ALIGN((u64)r->entries * sizeof(__be32), VHD_ALIGN);
	return ALIGN((u64)blocks * sizeof(__be32), VHD_SECTOR_SIZE);
}

/* @next comes when it is written, from r->cursor on. */
static int vhd_resize_write_table(struct vhd_resize *r, struct vhd_io *io,
				  int (*next)(struct vhd_resize *r,
					      struct vhd_io *io))
{
	u64 end = vhd_resize_table_end(r);
	u64 pos = r->cursor;
	u32 bytes;

	if (pos >= end)
		return next(r, io);
	bytes = min_t(u64, end - pos, r->piece);
	vhd_resize_fill(r, pos / sizeof(__be32), bytes);
	r->cursor += bytes;
	return vhd_io_set(io, VHD_IO_WRITE, r->table + pos, bytes, r->buf);
}

/* ---- when a step fails ------------------------------------------------ */

/* What lies behind the old end is nothing that anybody needs. */
static int vhd_resize_undo_extend(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_last_flush;
	return vhd_io_set(io, VHD_IO_TRUNCATE, r->img->space.file_size, 0,
			  NULL);
}

static int vhd_resize_undo_switched(struct vhd_resize *r, struct vhd_io *io)
{
	bool extended = r->moves && !r->img->on_device;

	return vhd_resize_flush(r, io, extended ? vhd_resize_undo_extend :
						  vhd_resize_done);
}

/* A sector that could not be written may be there nevertheless. */
static int vhd_resize_undo_header(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_undo_switched;
	return vhd_io_set(io, VHD_IO_WRITE,
			  be64_to_cpu(r->img->footer.data_offset),
			  VHD_SECTOR_SIZE, &r->img->header);
}

static int vhd_resize_undo_head(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_last_flush;
	return vhd_io_set(io, VHD_IO_WRITE, 0, sizeof(r->img->footer),
			  &r->img->footer);
}

static int vhd_resize_undo_tail_written(struct vhd_resize *r,
					struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_undo_head);
}

static int vhd_resize_undo_tail(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_undo_tail_written;
	return vhd_io_set(io, VHD_IO_WRITE, r->tail, sizeof(r->img->footer),
			  &r->img->footer);
}

static int vhd_resize_undo_blanked(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_undo_tail);
}

/* The way there, with the old footer. */
static int vhd_resize_undo_footers(struct vhd_resize *r, struct vhd_io *io)
{
	memset(r->buf, 0, VHD_SECTOR_SIZE);
	r->step = vhd_resize_undo_blanked;
	return vhd_io_set(io, VHD_IO_WRITE, 0, VHD_SECTOR_SIZE, r->buf);
}

/* The disk is smaller; what could not be cleared is found when it grows. */
static int vhd_resize_skip(struct vhd_resize *r, struct vhd_io *io)
{
	r->error = 0;
	return vhd_resize_last_flush(r, io);
}

/* Behind the footer, which is where it was. */
static int vhd_resize_undo_fixed_cut(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_last_flush;
	return vhd_io_set(io, VHD_IO_TRUNCATE,
			  r->img->size + sizeof(r->img->footer), 0, NULL);
}

static int vhd_resize_undo_fixed_written(struct vhd_resize *r,
					 struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_undo_fixed_cut);
}

static int vhd_resize_undo_fixed_back(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_undo_fixed_written;
	return vhd_io_set(io, VHD_IO_WRITE, r->img->size,
			  sizeof(r->img->footer), &r->img->footer);
}

static int vhd_resize_undo_fixed_named(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_undo_fixed_back);
}

/* The old size first, whichever of the two is at the new end. */
static int vhd_resize_undo_fixed(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_undo_fixed_named;
	return vhd_io_set(io, VHD_IO_WRITE, r->tail, sizeof(r->img->footer),
			  &r->img->footer);
}

/* The file ends with the old footer still. */
static int vhd_resize_undo_fixed_shrink(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_last_flush;
	return vhd_io_set(io, VHD_IO_ZERO, r->tail, VHD_SECTOR_SIZE, NULL);
}

/*
 * The image is brought back to what it was, once.  Where that fails too nobody
 * knows what is there.
 */
static int vhd_resize_failed(struct vhd_resize *r, int err, struct vhd_io *io)
{
	int (*undo)(struct vhd_resize *r, struct vhd_io *io) = r->undo;

	if (r->error)
		return vhd_image_fail(r->img, err);
	if (!undo)
		return err;
	r->error = err;
	r->undo = NULL;
	return undo(r, io);
}

/* ---- the footers ----------------------------------------------------- */

static int vhd_resize_shrunk(struct vhd_resize *r, struct vhd_io *io);

static int vhd_resize_head_written(struct vhd_resize *r, struct vhd_io *io)
{
	r->undo = NULL;
	return vhd_resize_flush(r, io, r->size < r->img->size ?
				       vhd_resize_shrunk : vhd_resize_done);
}

static int vhd_resize_head(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_head_written;
	return vhd_io_set(io, VHD_IO_WRITE, 0, sizeof(r->footer),
			     &r->footer);
}

static int vhd_resize_tail_written(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_head);
}

static int vhd_resize_tail(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_tail_written;
	return vhd_io_set(io, VHD_IO_WRITE, r->tail, sizeof(r->footer),
			     &r->footer);
}

static int vhd_resize_blanked(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_tail);
}

static int vhd_resize_footers(struct vhd_resize *r, struct vhd_io *io)
{
	memset(r->buf, 0, VHD_SECTOR_SIZE);
	r->undo = vhd_resize_undo_footers;
	r->step = vhd_resize_blanked;
	return vhd_io_set(io, VHD_IO_WRITE, 0, VHD_SECTOR_SIZE, r->buf);
}

/* ---- shrinking ------------------------------------------------------- */

static int vhd_resize_shrunk_zero(struct vhd_resize *r, struct vhd_io *io)
{
	if (!r->zero_len)
		return vhd_resize_last_flush(r, io);
	r->step = vhd_resize_last_flush;
	return vhd_io_set(io, VHD_IO_ZERO, r->zero_pos, r->zero_len, NULL);
}

static int vhd_resize_shrunk(struct vhd_resize *r, struct vhd_io *io)
{
	r->undo = vhd_resize_skip;
	r->step = vhd_resize_shrunk;
	return vhd_resize_write_table(r, io, vhd_resize_shrunk_zero);
}

/* ---- growing --------------------------------------------------------- */

static int vhd_resize_switched(struct vhd_resize *r, struct vhd_io *io)
{
	r->switched = true;
	return vhd_resize_footers(r, io);
}

static int vhd_resize_header_written(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_switched);
}

/* One sector: the switch. */
static int vhd_resize_header(struct vhd_resize *r, struct vhd_io *io)
{
	if (!memcmp(&r->header, &r->img->header, sizeof(r->header)))
		return vhd_resize_footers(r, io);
	r->undo = vhd_resize_undo_header;
	r->step = vhd_resize_header_written;
	return vhd_io_set(io, VHD_IO_WRITE,
			     be64_to_cpu(r->img->footer.data_offset),
			     VHD_SECTOR_SIZE, &r->header);
}

static int vhd_resize_prepared(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_header);
}

static int vhd_resize_zero(struct vhd_resize *r, struct vhd_io *io)
{
	if (!r->zero_len)
		return vhd_resize_prepared(r, io);
	r->step = vhd_resize_prepared;
	return vhd_io_set(io, VHD_IO_ZERO, r->zero_pos, r->zero_len, NULL);
}

static int vhd_resize_table(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_table;
	return vhd_resize_write_table(r, io, vhd_resize_zero);
}

static int vhd_resize_stray_cut(struct vhd_resize *r, struct vhd_io *io)
{
	vhd_space_set_ragged(r->img, false);
	return vhd_resize_flush(r, io, r->begin);
}

/* A footer behind ours would name the old size. */
static int vhd_resize_cut_stray(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_stray_cut;
	return vhd_io_set(io, VHD_IO_TRUNCATE, r->img->space.file_size, 0,
			  NULL);
}

static int vhd_resize_extended(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_table);
}

/* The file ends with a footer at any time; it is the old one still. */
static int vhd_resize_extend(struct vhd_resize *r, struct vhd_io *io)
{
	r->undo = vhd_resize_undo_extend;
	r->step = vhd_resize_extended;
	return vhd_io_set(io, VHD_IO_WRITE, r->tail,
			     sizeof(r->img->footer), &r->img->footer);
}

/* ---- fixed images ---------------------------------------------------- */

static int vhd_resize_fixed_cut(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_last_flush;
	return vhd_io_set(io, VHD_IO_TRUNCATE, r->tail + VHD_SECTOR_SIZE, 0,
			  NULL);
}

static int vhd_resize_fixed_written(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_fixed_cut);
}

/* Smaller: where the footer comes to lie nobody has data any more. */
static int vhd_resize_fixed_shrink(struct vhd_resize *r, struct vhd_io *io)
{
	r->undo = vhd_resize_undo_fixed_shrink;
	r->step = vhd_resize_fixed_written;
	return vhd_io_set(io, VHD_IO_WRITE, r->tail, sizeof(r->footer),
			  &r->footer);
}

/* One sector: the switch. */
static int vhd_resize_fixed_named(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_last_flush;
	return vhd_io_set(io, VHD_IO_WRITE, r->tail, sizeof(r->footer),
			  &r->footer);
}

static int vhd_resize_fixed_zeroed(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_fixed_named);
}

/* The sector that the footer took up will be the disk's. */
static int vhd_resize_fixed_zero(struct vhd_resize *r, struct vhd_io *io)
{
	r->undo = vhd_resize_undo_fixed;
	r->step = vhd_resize_fixed_zeroed;
	return vhd_io_set(io, VHD_IO_ZERO, r->img->size, VHD_SECTOR_SIZE, NULL);
}

static int vhd_resize_fixed_extended(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_fixed_zero);
}

/*
 * The same footer at the new end.  Until it is durable, what the file ends with
 * but for zeros is the one at its old place.
 */
static int vhd_resize_fixed_extend(struct vhd_resize *r, struct vhd_io *io)
{
	r->undo = vhd_resize_undo_fixed_cut;
	r->step = vhd_resize_fixed_extended;
	return vhd_io_set(io, VHD_IO_WRITE, r->tail, sizeof(r->img->footer),
			  &r->img->footer);
}

static int vhd_resize_fixed_tight(struct vhd_resize *r, struct vhd_io *io)
{
	r->switched = true;
	return vhd_resize_fixed_extend(r, io);
}

static int vhd_resize_fixed_surplus_cut(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_fixed_tight);
}

static int vhd_resize_fixed_surplus_flushed(struct vhd_resize *r,
					    struct vhd_io *io)
{
	r->step = vhd_resize_fixed_surplus_cut;
	return vhd_io_set(io, VHD_IO_TRUNCATE,
			  r->img->size + VHD_SECTOR_SIZE, 0, NULL);
}

static int vhd_resize_fixed_surplus_written(struct vhd_resize *r,
					    struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_fixed_surplus_flushed);
}

/* The file is longer than its disk needs: what is there was no guest's. */
static int vhd_resize_fixed_surplus(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_fixed_surplus_written;
	return vhd_io_set(io, VHD_IO_WRITE, r->img->size,
			  sizeof(r->img->footer), &r->img->footer);
}

/* The footer stays where it is: one sector, and so one write is the switch. */
static int vhd_resize_undo_device(struct vhd_resize *r, struct vhd_io *io)
{
	r->step = vhd_resize_last_flush;
	return vhd_io_set(io, VHD_IO_WRITE, r->tail, sizeof(r->img->footer),
			  &r->img->footer);
}

static int vhd_resize_device_footer(struct vhd_resize *r, struct vhd_io *io)
{
	r->undo = vhd_resize_undo_device;
	r->step = vhd_resize_last_flush;
	return vhd_io_set(io, VHD_IO_WRITE, r->tail, sizeof(r->footer),
			  &r->footer);
}

static int vhd_resize_device_zeroed(struct vhd_resize *r, struct vhd_io *io)
{
	return vhd_resize_flush(r, io, vhd_resize_device_footer);
}

/* Behind the old end of the disk lies anything. */
static int vhd_resize_device(struct vhd_resize *r, struct vhd_io *io)
{
	if (!r->zero_len)
		return vhd_resize_device_footer(r, io);
	r->step = vhd_resize_device_zeroed;
	return vhd_io_set(io, VHD_IO_ZERO, r->zero_pos, r->zero_len, NULL);
}

/* ---- preparing ------------------------------------------------------- */

static int vhd_resize_next(struct vhd_plan *plan, int err, struct vhd_io *io)
{
	struct vhd_resize *r = container_of(plan, struct vhd_resize, plan);

	if (err && r->flushing)
		return vhd_image_fail(r->img, err);
	r->flushing = false;
	if (READ_ONCE(r->img->failed))
		return r->img->failed;
	return err ? vhd_resize_failed(r, err, io) : r->step(r, io);
}

static void vhd_resize_make_footer(struct vhd_resize *r)
{
	struct vhd_geometry g = vhd_geometry_of(r->size);

	r->footer = r->img->footer;
	r->footer.current_size = cpu_to_be64(r->size);
	r->footer.cylinders = cpu_to_be16(g.cylinders);
	r->footer.heads = g.heads;
	r->footer.sectors_per_track = g.sectors;
	vhd_seal_footer(&r->footer);
}

/* What of a block that is cut by the smaller size lies behind it. */
static void vhd_resize_find_rest(struct vhd_resize *r)
{
	struct vhd_image *img = r->img;
	u64 size = min(r->size, img->size);
	u32 in_block = size & (vhd_block_bytes(img) - 1);
	u32 entry;

	/* A disk of whole blocks may end where the table does. */
	if (!in_block)
		return;
	entry = img->bat[size >> img->block_shift];
	if (entry >= VHD_BAT_BAD)
		return;
	r->zero_pos = vhd_data_pos(img, entry) + in_block;
	r->zero_len = vhd_block_bytes(img) - in_block;
}

/**
 * struct vhd_room - what is free behind the table
 * @table: where that begins
 * @end: where the first thing behind it begins that was found so far
 */
struct vhd_room {
	u64 table;
	u64 end;
};

static void vhd_room_pos(struct vhd_room *room, u64 start)
{
	if (start > room->table && start < room->end)
		room->end = start;
}

static void vhd_room_slot(struct vhd_room *room, u32 sector)
{
	vhd_room_pos(room, (u64)sector << VHD_SECTOR_SHIFT);
}

static void vhd_room_slots(struct vhd_room *room, const struct vhd_slots *s)
{
	u32 i;

	for (i = 0; i < s->nr; i++)
		vhd_room_slot(room, s->at[i]);
}

/* Slots that no block has may be given to one, or be in use still. */
static void vhd_room_free_slots(struct vhd_room *room,
				const struct vhd_image *img)
{
	const struct vhd_new_block *nb = img->new_blocks.records;
	const struct vhd_unmaps *un = &img->unmaps;
	const struct vhd_space *sp = &img->space;
	u32 i;

	vhd_room_slots(room, &sp->ready);
	vhd_room_slots(room, &sp->holes);
	vhd_room_slots(room, &sp->freed);
	vhd_room_slots(room, &sp->gaps);
	vhd_room_slots(room, &sp->draining);
	for (i = 0; i < un->nr_pending; i++)
		vhd_room_slot(room, un->pending[i].sector);
	for (i = 0; nb && i < VHD_NR_NEW; i++)
		if (nb[i].state != VHD_NEW_FREE)
			vhd_room_slot(room, nb[i].sector);
}

/* Bytes from the table's beginning to the first thing behind it. */
static u64 vhd_resize_table_room(struct vhd_image *img)
{
	struct vhd_room room = { .table = img->table_offset };
	unsigned long flags;
	u32 i;

	spin_lock_irqsave(&img->lock, flags);
	/* The next block may come there at any moment. */
	room.end = min(img->space.tail, vhd_tail_pos(img->space.data_end));
	vhd_room_pos(&room, be64_to_cpu(img->footer.data_offset));
	for (i = 0; i < VHD_NR_LOCATORS; i++)
		if (img->header.locators[i].code)
			vhd_room_pos(&room,
				     be64_to_cpu(img->header.locators[i].data_offset));
	for (i = 0; i < img->nr_blocks; i++)
		if (img->bat[i] < VHD_BAT_BAD)
			vhd_room_slot(&room, img->bat[i]);
	vhd_room_free_slots(&room, img);
	spin_unlock_irqrestore(&img->lock, flags);
	return room.end - room.table;
}

/* Behind the end of the file; on a device behind the last slot. */
static int vhd_resize_move_table(struct vhd_resize *r)
{
	u64 bytes = ALIGN((u64)r->entries * sizeof(__be32), (u64)VHD_ALIGN);
	struct vhd_image *img = r->img;
	unsigned long flags;

	r->moves = true;
	if (img->on_device) {
		spin_lock_irqsave(&img->lock, flags);
		r->table = ALIGN(img->space.data_end, (u64)VHD_ALIGN);
		spin_unlock_irqrestore(&img->lock, flags);
		return r->table + bytes > r->tail ? -ENOSPC : 0;
	}
	r->table = ALIGN(img->space.tail + VHD_SECTOR_SIZE, (u64)VHD_ALIGN);
	r->tail = vhd_tail_pos(r->table + bytes);
	return 0;
}

static int vhd_resize_plan_table(struct vhd_resize *r)
{
	struct vhd_image *img = r->img;
	u64 bytes = ALIGN((u64)r->blocks * sizeof(__be32), VHD_SECTOR_SIZE);
	int err = 0;
	bool fits;

	r->table = img->table_offset;
	r->entries = be32_to_cpu(img->header.max_table_entries);
	r->header = img->header;
	if (r->blocks <= img->nr_blocks)
		return 0;
	/* The header may claim more than there is. */
	fits = bytes <= vhd_resize_table_room(img);
	if (fits && r->blocks <= r->entries)
		return 0;
	/* A batmap follows the table, wherever that ends. */
	if (img->footer.creator_app == cpu_to_be32(VHD_CREATOR_TAP))
		return -EOPNOTSUPP;
	r->entries = r->blocks;
	if (!fits)
		err = vhd_resize_move_table(r);
	r->header.table_offset = cpu_to_be64(r->table);
	r->header.max_table_entries = cpu_to_be32(r->entries);
	vhd_seal_header(&r->header);
	return err;
}

/* The first sector whose entries change. */
static u64 vhd_resize_table_start(const struct vhd_resize *r)
{
	u32 blocks = min(r->blocks, r->img->nr_blocks);

	return r->moves ? 0 : (u64)blocks / VHD_BAT_PER_SECTOR *
			      VHD_SECTOR_SIZE;
}

static int vhd_resize_plan_dynamic(struct vhd_resize *r)
{
	struct vhd_image *img = r->img;
	int err;

	if (r->size > VHD_MAX_DYNAMIC_SIZE)
		return -EFBIG;
	r->blocks = vhd_nr_blocks(r->size, vhd_block_bytes(img));
	r->tail = img->space.tail;
	err = vhd_resize_plan_table(r);
	if (err)
		return err;
	r->cursor = vhd_resize_table_start(r);
	vhd_resize_find_rest(r);
	if (r->size < img->size)
		r->begin = vhd_resize_footers;
	else
		r->begin = r->moves && !img->on_device ? vhd_resize_extend :
							 vhd_resize_table;
	r->step = READ_ONCE(img->space.ragged) ? vhd_resize_cut_stray :
						 r->begin;
	return 0;
}

/* On a device the footer stays, and it alone is written. */
static int vhd_resize_plan_on_device(struct vhd_resize *r)
{
	struct vhd_image *img = r->img;

	r->tail = img->space.tail;
	r->step = vhd_resize_device;
	if (r->size > r->tail)
		return -ENOSPC;
	if (r->size > img->size) {
		r->zero_pos = img->size;
		r->zero_len = r->size - img->size;
	}
	return 0;
}

static int vhd_resize_plan_fixed(struct vhd_resize *r)
{
	struct vhd_image *img = r->img;

	if (img->on_device)
		return vhd_resize_plan_on_device(r);
	r->tail = r->size;
	if (r->size < img->size)
		r->step = vhd_resize_fixed_shrink;
	else if (img->space.tail == img->size)
		r->step = vhd_resize_fixed_extend;
	else
		r->step = vhd_resize_fixed_surplus;
	return 0;
}

/* For the blocks that come; those that are there are copied in the end. */
static int vhd_resize_alloc(struct vhd_resize *r)
{
	r->buf = kvcalloc(1, VHD_IO_MAX, GFP_KERNEL);
	if (!r->buf)
		return -ENOMEM;
	if (r->blocks <= r->img->nr_blocks)
		return 0;
	r->bat = kvmalloc_array(r->blocks, sizeof(*r->bat), GFP_KERNEL);
	r->full = kvcalloc(BITS_TO_LONGS(r->blocks), sizeof(long), GFP_KERNEL);
	if (!r->bat || !r->full)
		return -ENOMEM;
	memset(r->bat, 0xFF, r->blocks * sizeof(*r->bat));
	return 0;
}

int vhd_resize_init(struct vhd_resize *r, struct vhd_image *img, u64 size)
{
	int err = 0;

	memset(r, 0, sizeof(*r));
	r->plan.next = vhd_resize_next;
	r->img = img;
	r->size = size;
	r->piece = VHD_IO_MAX;
	if (!img->writable)
		return -EROFS;
	/* Made larger again, it would show what the parent has there. */
	if (img->type == VHD_TYPE_DIFFERENCING && size < img->size)
		return -EOPNOTSUPP;
	vhd_resize_make_footer(r);
	if (img->bat)
		err = vhd_resize_plan_dynamic(r);
	else
		err = vhd_resize_plan_fixed(r);
	return err ? err : vhd_resize_alloc(r);
}

void vhd_resize_end(struct vhd_resize *r)
{
	kvfree(r->buf);
	kvfree(r->bat);
	kvfree(r->full);
	r->buf = NULL;
	r->bat = NULL;
	r->full = NULL;
}

/* ---- in memory ------------------------------------------------------- */

static void vhd_resize_adopt_table(struct vhd_resize *r)
{
	struct vhd_image *img = r->img;
	struct vhd_space *sp = &img->space;
	u64 end = r->table + ALIGN((u64)r->entries * sizeof(__be32),
				   (u64)VHD_SECTOR_SIZE);

	lockdep_assert_held(&img->lock);
	img->header = r->header;
	img->table_offset = r->table;
	if (r->moves) {
		/* Blocks come behind the table now: keep what was before it. */
		vhd_space_relax(img);
		/* What pads the table is not for them: the tail is behind it. */
		sp->data_end = ALIGN(end, (u64)VHD_ALIGN);
		sp->tail = r->tail;
		sp->file_size = r->tail + VHD_SECTOR_SIZE;
		sp->stale = false;
	}
	sp->meta_end = max(sp->meta_end, end);
	sp->pad_from = max(sp->pad_from, end);
	sp->data_end = max(sp->data_end, end);
}

static void vhd_resize_adopt_tail(struct vhd_image *img, u64 tail)
{
	img->space.tail = tail;
	img->space.mark_end = 0;
	img->space.file_size = tail + VHD_SECTOR_SIZE;
}

static void vhd_resize_adopt_footer(struct vhd_resize *r)
{
	r->img->footer = r->footer;
	if (!r->img->bat)
		vhd_resize_adopt_tail(r->img, r->tail);
}

void vhd_resize_adopt(struct vhd_resize *r)
{
	unsigned long flags;

	spin_lock_irqsave(&r->img->lock, flags);
	if (r->switched && r->img->bat)
		vhd_resize_adopt_table(r);
	else if (r->switched)
		vhd_resize_adopt_tail(r->img, r->img->size);
	if (r->resized)
		vhd_resize_adopt_footer(r);
	spin_unlock_irqrestore(&r->img->lock, flags);
}

/*
 * Of a block that the old end cut, bits behind that end may be clear although
 * all that could be written was.
 */
static void vhd_resize_uncover(struct vhd_resize *r)
{
	struct vhd_image *img = r->img;

	if (img->size & (vhd_block_bytes(img) - 1))
		clear_bit(img->size >> img->block_shift, img->full);
}

static void vhd_resize_swap(struct vhd_resize *r)
{
	struct vhd_image *img = r->img;

	memcpy(r->bat, img->bat, img->nr_blocks * sizeof(*r->bat));
	memcpy(r->full, img->full,
	       BITS_TO_LONGS(img->nr_blocks) * sizeof(long));
	swap(r->bat, img->bat);
	swap(r->full, img->full);
}

void vhd_resize_show(struct vhd_resize *r)
{
	struct vhd_image *img = r->img;
	unsigned long flags;

	spin_lock_irqsave(&img->lock, flags);
	if (img->bat && r->size > img->size)
		vhd_resize_uncover(r);
	if (r->bat)
		vhd_resize_swap(r);
	img->nr_blocks = r->blocks;
	img->size = r->size;
	img->disk_size = r->size;
	spin_unlock_irqrestore(&img->lock, flags);
}
