// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <asm/byteorder.h>
#include <linux/align.h>
#include <linux/kernel.h>
#include <linux/minmax.h>

#include "bat.h"
#include "bitmap.h"
#include "compact.h"
#include "format.h"
#include "io.h"
#include "load.h"
#include "open.h"
#include "progress.h"

/* Blocks moved between two flushes. */
#define ROUND		32U

/** struct area - of the file, that is in use; @block: VHD_NO_BLOCK: metadata */
struct area {
	u64 start;
	u64 end;
	u32 block;
};

/** struct move - of a block from one place to another */
struct move {
	u32 block;
	u64 from;
	u64 to;
};

/**
 * struct job - a compaction that goes on
 * @areas: what is in use, in the order of the file
 * @moves: all that are to be done
 * @dirty: sectors of the table that are to be written
 * @raw: the file itself
 */
struct job {
	struct vhd_compact *c;
	struct vhd_image *img;
	int fd;
	struct area *areas;
	u32 nr_areas;
	struct move *moves;
	u32 nr_moves;
	u8 *dirty;
	struct vhd_load load;
	struct vhd_source raw;
};

static u32 nr_table_sectors(const struct vhd_image *img)
{
	return img->nr_blocks / VHD_BAT_PER_SECTOR + 1;
}

static int flush(struct job *j)
{
	return fdatasync(j->fd) ? -errno : 0;
}

/* ---- the table ------------------------------------------------------- */

static void set_entry(struct job *j, u32 block, u32 entry)
{
	j->img->bat[block] = entry;
	j->dirty[block / VHD_BAT_PER_SECTOR] = 1;
}

/* Write what has changed, and make it durable. */
static int write_table(struct job *j)
{
	__be32 buf[VHD_BAT_PER_SECTOR];
	bool any = false;
	u32 i, nr = nr_table_sectors(j->img);
	int err = 0;

	for (i = 0; i < nr && !err; i++) {
		if (!j->dirty[i])
			continue;
		spin_lock(&j->img->lock);
		vhd_bat_fill_sector(j->img, i, buf);
		spin_unlock(&j->img->lock);
		err = vhd_pwrite(j->fd, buf, sizeof(buf),
				 vhd_bat_sector_pos(j->img, i));
		j->dirty[i] = 0;
		any = true;
	}
	return err || !any ? err : flush(j);
}

/* ---- blocks of zeros ------------------------------------------------- */

/* All bits clear: in a differencing image the parent's, else zeros. */
static int bits_clear(struct job *j, u32 block, bool *clear)
{
	u8 buf[VHD_IO_MAX];
	u32 len;
	u64 pos = vhd_bitmap_pos(j->img, block, &len);
	int err = vhd_pread(j->fd, buf, len, pos);

	*clear = !err && vhd_all_zero(buf, len);
	return err;
}

static int block_empty(struct job *j, u32 block, bool *empty)
{
	struct vhd_source *s = j->c->source;
	u64 at = (u64)block << j->img->block_shift;
	u32 len = min_t(u64, s->size - at, vhd_block_bytes(j->img));
	int err;

	if (j->img->type == VHD_TYPE_DIFFERENCING)
		return bits_clear(j, block, empty);
	err = vhd_load_map(&j->load, s, at, len);
	*empty = !err && !j->load.nr_runs;
	if (err || *empty || !j->c->zero)
		return err;
	err = vhd_load_read(&j->load, s);
	*empty = !err && vhd_all_zero(j->load.data, j->load.size);
	return err;
}

static int drop_blocks(struct job *j)
{
	struct vhd_image *img = j->img;
	bool empty;
	u32 block;
	int err = 0;

	for (block = 0; block < img->nr_blocks && !err; block++) {
		vhd_progress_add(1);
		if (vhd_interrupted)
			return -EINTR;
		if (img->bat[block] >= VHD_BAT_BAD)
			continue;
		err = block_empty(j, block, &empty);
		if (err || !empty)
			continue;
		set_entry(j, block, VHD_BAT_UNUSED);
		j->c->dropped++;
	}
	return err ? err : write_table(j);
}

/* ---- places ---------------------------------------------------------- */

static int by_start(const void *a, const void *b)
{
	const struct area *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void add_area(struct job *j, u64 start, u64 len, u32 block)
{
	j->areas[j->nr_areas++] = (struct area) { start, start + len, block };
}

static void add_metadata(struct job *j)
{
	const struct vhd_image *img = j->img;
	u32 i;

	/* Where a batmap may be, nothing goes between metadata. */
	if (img->footer.creator_app == cpu_to_be32(VHD_CREATOR_TAP)) {
		add_area(j, 0, img->space.meta_end, VHD_NO_BLOCK);
		return;
	}
	add_area(j, 0, sizeof(img->footer), VHD_NO_BLOCK);
	add_area(j, be64_to_cpu(img->footer.data_offset),
		 sizeof(img->header), VHD_NO_BLOCK);
	add_area(j, img->table_offset,
		 ALIGN(vhd_bat_table_bytes(img), (u64)VHD_SECTOR_SIZE),
		 VHD_NO_BLOCK);
	for (i = 0; i < VHD_NR_LOCATORS; i++) {
		const struct vhd_locator *l = &img->header.locators[i];

		if (l->code)
			add_area(j, be64_to_cpu(l->data_offset),
				 max_t(u64, vhd_locator_space(l),
				       be32_to_cpu(l->data_length)),
				 VHD_NO_BLOCK);
	}
}

static void find_areas(struct job *j)
{
	const struct vhd_image *img = j->img;
	u32 block;

	j->nr_areas = 0;
	add_metadata(j);
	for (block = 0; block < img->nr_blocks; block++)
		if (img->bat[block] < VHD_BAT_BAD)
			add_area(j, (u64)img->bat[block] << VHD_SECTOR_SHIFT,
				 vhd_slot_bytes(img), block);
	qsort(j->areas, j->nr_areas, sizeof(*j->areas), by_start);
}

/* The first place for a block from @pos on. */
static u64 place_from(const struct vhd_image *img, u64 pos)
{
	u32 bitmap = img->bitmap_sectors << VHD_SECTOR_SHIFT;

	if (!img->aligned)
		return ALIGN(pos, (u64)VHD_SECTOR_SIZE);
	return ALIGN(pos + bitmap, (u64)VHD_ALIGN) - bitmap;
}

/*
 * The gaps from the beginning of the file on get the blocks from its end on,
 * until they meet.
 */
static void plan_moves(struct job *j)
{
	u32 slot = vhd_slot_bytes(j->img);
	u32 last = j->nr_areas - 1;
	u64 pos, end = 0;
	u32 i;

	for (i = 0; i < last; i++) {
		/* Claims of a table or locator may overlap. */
		end = max(end, j->areas[i].end);
		for (pos = place_from(j->img, end);
		     pos + slot <= j->areas[i + 1].start && i < last;
		     pos = place_from(j->img, pos + slot)) {
			while (last > i && j->areas[last].block == VHD_NO_BLOCK)
				last--;
			if (last <= i)
				break;
			j->moves[j->nr_moves++] = (struct move) {
				.block = j->areas[last].block,
				.from = j->areas[last].start,
				.to = pos,
			};
			last--;
		}
	}
}

/* ---- moving ---------------------------------------------------------- */

/* Copy the data of [from, from + len), which are bytes of the file. */
static int copy_data(struct job *j, u64 from, u64 to, u64 len)
{
	struct vhd_piece p;
	u64 pos, n;
	int err = 0;

	for (pos = 0; pos < len && !err; pos += p.len) {
		if (vhd_interrupted)
			return -EINTR;
		n = min_t(u64, len - pos, j->load.size);
		err = vhd_source_map(&j->raw, from + pos, n, &p);
		if (err || p.zero)
			continue;
		err = vhd_piece_read(&j->raw, &p, j->load.data, p.len);
		if (!err)
			err = vhd_pwrite(j->fd, j->load.data, p.len, to + pos);
	}
	return err;
}

static int copy_block(struct job *j, const struct move *m)
{
	u32 slot = vhd_slot_bytes(j->img);
	int err;

	/* What is in the gap is nobody's, but it may be anything. */
	err = vhd_zero(j->fd, m->to, slot);
	return err ? err : copy_data(j, m->from, m->to, slot);
}

static int move_round(struct job *j, const struct move *m, u32 nr)
{
	u32 i;
	int err = 0;

	for (i = 0; i < nr && !err; i++)
		err = copy_block(j, &m[i]);
	if (!err)
		err = flush(j);
	if (err)
		return err;
	for (i = 0; i < nr; i++)
		set_entry(j, m[i].block, m[i].to >> VHD_SECTOR_SHIFT);
	err = write_table(j);
	if (!err)
		j->c->moved += nr;
	vhd_progress_add(nr);
	return err;
}

static int move_blocks(struct job *j)
{
	u32 i, nr;
	int err = 0;

	for (i = 0; i < j->nr_moves && !err; i += nr) {
		nr = min(ROUND, j->nr_moves - i);
		err = move_round(j, &j->moves[i], nr);
	}
	return err;
}

/* ---- the table's place ----------------------------------------------- */

/* The first gap in front of the table that has room for it; 0: none. */
static u64 table_place(struct job *j, u64 bytes)
{
	u64 end = 0, pos;
	u32 i;

	for (i = 0; i < j->nr_areas; i++) {
		pos = ALIGN(end, (u64)VHD_ALIGN);
		if (pos >= j->img->table_offset)
			break;
		if (end && pos + bytes <= j->areas[i].start)
			return pos;
		end = max(end, j->areas[i].end);
	}
	return 0;
}

static int copy_table(struct job *j, u64 to, u64 bytes)
{
	int err = vhd_zero(j->fd, to, bytes);

	if (!err)
		err = copy_data(j, j->img->table_offset, to, bytes);
	return err ? err : flush(j);
}

/*
 * A table that a resize has put behind the blocks: as a block, with the header's
 * first sector for an entry.
 */
static int move_table(struct job *j)
{
	struct vhd_dyn_header header = j->img->header;
	u64 bytes = ALIGN(vhd_bat_table_bytes(j->img), (u64)VHD_SECTOR_SIZE);
	u64 to;
	int err;

	if (j->img->footer.creator_app == cpu_to_be32(VHD_CREATOR_TAP))
		return 0;
	find_areas(j);
	to = table_place(j, bytes);
	if (!to)
		return 0;
	err = copy_table(j, to, bytes);
	header.table_offset = cpu_to_be64(to);
	vhd_seal_header(&header);
	if (!err)
		err = vhd_pwrite(j->fd, &header, VHD_SECTOR_SIZE,
				 be64_to_cpu(j->img->footer.data_offset));
	return err ? err : flush(j);
}

/* ---- all of it ------------------------------------------------------- */

/* A device is not shorter for it, but may have the space back; or cannot. */
static void discard_rest(struct vhd_file *f)
{
	const struct vhd_space *sp = &f->image.space;
	u64 start = ALIGN(sp->data_end, (u64)VHD_ALIGN);
	u64 range[2] = { start, ALIGN_DOWN(sp->tail, (u64)VHD_ALIGN) - start };

	if (start + VHD_ALIGN < sp->tail)
		ioctl(f->fd, BLKDISCARD, range);
}

/* As it is now, the file is opened anew: the table may be elsewhere. */
static int tighten(struct job *j)
{
	struct vhd_file *f = &j->c->source->file;
	int err;

	vhd_file_unload(f);
	err = vhd_fd_size(f->fd, &f->size);
	if (!err)
		err = vhd_file_load(f, VHD_OPEN_WRITE);
	if (!err)
		err = vhd_file_finish(f);
	if (!err && f->image.on_device)
		discard_rest(f);
	return err;
}

static int compact(struct job *j)
{
	int err;

	vhd_progress_begin(j->img->nr_blocks);
	err = drop_blocks(j);
	if (err)
		return err;
	find_areas(j);
	plan_moves(j);
	vhd_progress_begin(j->img->nr_blocks + j->nr_moves);
	vhd_progress_set(j->img->nr_blocks);
	err = move_blocks(j);
	if (!err)
		err = move_table(j);
	return err ? err : tighten(j);
}

int vhd_compact(struct vhd_compact *c)
{
	struct job j = {
		.c = c,
		.img = &c->source->file.image,
		.fd = c->source->file.fd,
		.raw.file.fd = c->source->file.fd,
		.raw.flat = true,
		.raw.seek_fd = -1,
	};
	int err;

	if (!j.img->bat)
		return 0;
	if (!j.img->writable)
		return -EROFS;
	err = vhd_load_init(&j.load, vhd_block_bytes(j.img));
	if (err)
		return err;
	j.dirty = calloc(nr_table_sectors(j.img), 1);
	j.areas = malloc((j.img->nr_blocks + VHD_NR_LOCATORS + 3ULL) *
			 sizeof(*j.areas));
	j.moves = malloc((j.img->nr_blocks + 1ULL) * sizeof(*j.moves));
	err = j.dirty && j.areas && j.moves ? compact(&j) : -ENOMEM;
	vhd_load_free(&j.load);
	free(j.dirty);
	free(j.areas);
	free(j.moves);
	return err;
}
