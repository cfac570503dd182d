// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <asm/byteorder.h>
#include <linux/align.h>
#include <linux/kernel.h>
#include <linux/minmax.h>

#include "io.h"
#include "writer.h"

#define HEADER_POS	sizeof(struct vhd_footer)
#define TABLE_POS	(HEADER_POS + sizeof(struct vhd_dyn_header))

u32 vhd_format_time(void)
{
	time_t now = time(NULL);

	if (now <= VHD_EPOCH)
		return 0;
	return min_t(u64, now - VHD_EPOCH, U32_MAX);
}

static bool has_table(const struct vhd_writer *w)
{
	return !w->raw && w->image.type == VHD_TYPE_DYNAMIC;
}

/* Do so many bytes of data fit the device? */
static int fits(const struct vhd_writer *w, u64 end)
{
	u64 room = w->raw ? w->tail + VHD_SECTOR_SIZE : w->tail;

	return w->tail && end > room ? -ENOSPC : 0;
}

static u64 table_end(u64 entries)
{
	return ALIGN(TABLE_POS + entries * sizeof(__be32), (u64)VHD_ALIGN);
}

int vhd_writer_init(struct vhd_writer *w)
{
	u64 size = w->image.size ? w->image.size : VHD_MAX_DYNAMIC_SIZE;
	int err = vhd_fd_tail(w->fd, &w->tail);

	w->table = NULL;
	if (err || !has_table(w))
		return err ? err : fits(w, w->image.size);
	w->bitmap_bytes = vhd_bitmap_bytes(w->image.block_size);
	w->entries = vhd_nr_blocks(size, w->image.block_size);
	w->table_end = table_end(w->entries);
	/* The data is aligned, hence a bitmap ends at a border. */
	w->next = ALIGN(w->table_end + w->bitmap_bytes, (u64)VHD_ALIGN) -
		  w->bitmap_bytes;
	w->table = malloc(w->table_end - TABLE_POS);
	if (!w->table)
		return -ENOMEM;
	/* Unused entries, and the padding, which looks like them. */
	memset(w->table, 0xFF, w->table_end - TABLE_POS);
	return 0;
}

void vhd_writer_free(struct vhd_writer *w)
{
	free(w->table);
	w->table = NULL;
}

int vhd_writer_slot(struct vhd_writer *w, u32 block, u64 *pos)
{
	u64 slot = w->bitmap_bytes + (u64)w->image.block_size;

	if ((w->next + slot) >> VHD_SECTOR_SHIFT >= VHD_BAT_UNUSED)
		return -EFBIG;
	if (fits(w, w->next + slot))
		return -ENOSPC;
	*pos = w->next;
	w->table[block] = cpu_to_be32(w->next >> VHD_SECTOR_SHIFT);
	w->next += ALIGN(slot, (u64)VHD_ALIGN);
	return 0;
}

/*
 * The table was made for the largest disk: cut out what this one does not need.
 * Where the file system cannot, it stays: room to grow.
 */
static void drop_surplus(struct vhd_writer *w)
{
	u32 entries = vhd_nr_blocks(w->image.size, w->image.block_size);
	u64 end = table_end(entries);
	u64 cut = w->table_end - end;
	u32 i, entry;

	if (!cut || fallocate(w->fd, FALLOC_FL_COLLAPSE_RANGE, end, cut))
		return;
	for (i = 0; i < entries; i++) {
		entry = be32_to_cpu(w->table[i]);
		if (entry != VHD_BAT_UNUSED)
			w->table[i] = cpu_to_be32(entry -
						  (cut >> VHD_SECTOR_SHIFT));
	}
	w->entries = entries;
	w->table_end = end;
	w->next -= cut;
}

/* Where the last block ends, or the table. */
static u64 blocks_end(const struct vhd_writer *w)
{
	u64 first = ALIGN(w->table_end + w->bitmap_bytes, (u64)VHD_ALIGN) -
		    w->bitmap_bytes;

	return w->next == first ? w->table_end :
	       w->next - ALIGN((u64)w->bitmap_bytes + w->image.block_size,
			       (u64)VHD_ALIGN) +
	       w->bitmap_bytes + w->image.block_size;
}

static int write_tables(struct vhd_writer *w)
{
	struct vhd_dyn_header header;
	int err;

	w->image.max_table_entries = w->entries;
	vhd_make_header(&header, &w->image, TABLE_POS);
	err = vhd_pwrite(w->fd, &header, sizeof(header), HEADER_POS);
	if (!err)
		err = vhd_pwrite(w->fd, w->table, w->table_end - TABLE_POS,
				 TABLE_POS);
	return err;
}

static int finish_dynamic(struct vhd_writer *w, const struct vhd_footer *footer)
{
	u64 tail;
	int err;

	/* Beyond the end of a file nothing can be cut out. */
	tail = vhd_tail_pos(blocks_end(w));
	err = vhd_pwrite(w->fd, footer, sizeof(*footer), tail);
	if (err)
		return err;
	drop_surplus(w);
	err = write_tables(w);
	return err ? err : vhd_pwrite(w->fd, footer, sizeof(*footer), 0);
}

/* It is no image before the rest is there. */
static int finish_device(struct vhd_writer *w, const struct vhd_footer *footer)
{
	bool table = w->image.type == VHD_TYPE_DYNAMIC;
	int err = fits(w, table ? w->table_end : w->image.size);

	if (!err && table)
		err = write_tables(w);
	if (!err && fdatasync(w->fd))
		err = -errno;
	if (!err && table)
		err = vhd_pwrite(w->fd, footer, sizeof(*footer), 0);
	return err ? err : vhd_pwrite(w->fd, footer, sizeof(*footer), w->tail);
}

int vhd_writer_finish(struct vhd_writer *w)
{
	struct vhd_footer footer;

	if (w->raw && w->tail)
		return 0;
	if (w->raw)
		return ftruncate(w->fd, w->image.size) ? -errno : 0;
	w->image.timestamp = vhd_format_time();
	vhd_make_footer(&footer, &w->image);
	if (w->tail)
		return finish_device(w, &footer);
	if (w->image.type == VHD_TYPE_DYNAMIC)
		return finish_dynamic(w, &footer);
	return vhd_pwrite(w->fd, &footer, sizeof(footer), w->image.size);
}
