// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <asm/byteorder.h>
#include <linux/align.h>
#include <linux/kernel.h>

#include "create.h"
#include "io.h"
#include "output.h"
#include "progress.h"
#include "writer.h"

/* Where the parts of a dynamic image go (FORMAT.md, "Layout we write"). */
#define HEADER_POS	sizeof(struct vhd_footer)
#define TABLE_POS	(HEADER_POS + sizeof(struct vhd_dyn_header))
/* And of a differencing one. */
#define W2KU_POS	0x1000U
#define CHILD_TABLE_POS	0x2000U

/**
 * struct layout - of a new dynamic or differencing image, in bytes
 * @table: the table
 * @table_end: end of the padded table
 * @link_pos: data of the parent locators
 * @link_space: space for them
 * @first: first bitmap
 * @stride: from one bitmap to the next
 * @blocks: preallocated ones
 * @tail: footer
 * @device: what is not written holds anything
 */
struct layout {
	u64 table;
	u64 table_end;
	u64 link_pos[VHD_NR_LINKS];
	u32 link_space[VHD_NR_LINKS];
	u64 first;
	u64 stride;
	u32 bitmap_bytes;
	u32 blocks;
	u64 tail;
	bool device;
};

/* W2ku before the table, the others behind it; returns where they end. */
static u64 layout_links(const struct vhd_link *link, struct layout *l)
{
	u64 end = l->table_end;

	l->link_pos[VHD_LINK_W2KU] = W2KU_POS;
	l->link_space[VHD_LINK_W2KU] = VHD_W2KU_SPACE;
	l->link_pos[VHD_LINK_W2RU] = end;
	l->link_space[VHD_LINK_W2RU] = VHD_W2RU_SPACE;
	if (link->data[VHD_LINK_W2RU])
		end += VHD_W2RU_SPACE;
	l->link_pos[VHD_LINK_MACX] = end;
	l->link_space[VHD_LINK_MACX] = ALIGN(link->bytes[VHD_LINK_MACX],
					     VHD_ALIGN);
	return end + l->link_space[VHD_LINK_MACX];
}

static int layout_dynamic(const struct vhd_create *c, struct layout *l)
{
	const struct vhd_new_image *n = &c->image;
	u32 blocks = vhd_nr_blocks(n->size, n->block_size);
	u64 entries = max(blocks, n->max_table_entries);
	u64 meta_end, end;

	l->table = c->link ? CHILD_TABLE_POS : TABLE_POS;
	l->table_end = ALIGN(l->table + entries * sizeof(__be32),
			     (u64)VHD_ALIGN);
	meta_end = c->link ? layout_links(c->link, l) : l->table_end;
	l->bitmap_bytes = vhd_bitmap_bytes(n->block_size);
	/* The data is aligned, hence the bitmap ends at a border. */
	l->first = ALIGN(meta_end + l->bitmap_bytes, (u64)VHD_ALIGN) -
		   l->bitmap_bytes;
	l->stride = ALIGN((u64)l->bitmap_bytes + n->block_size, VHD_ALIGN);
	l->blocks = c->preallocation == VHD_PREALLOC_OFF ? 0 : blocks;
	end = meta_end;
	if (l->blocks)
		end = l->first + (l->blocks - 1) * l->stride +
		      l->bitmap_bytes + n->block_size;
	l->tail = vhd_tail_pos(end);
	if (l->tail >> VHD_SECTOR_SHIFT >= VHD_BAT_UNUSED)
		return -EFBIG;
	return 0;
}

/* On a device: the footer in the last sector, and no metadata of before. */
static int layout_device(int fd, struct layout *l)
{
	u64 tail;
	int err = vhd_fd_tail(fd, &tail);

	if (err || !tail)
		return err;
	if (l->tail > tail)
		return -ENOSPC;
	l->tail = tail;
	l->device = true;
	return vhd_write_zeros(fd, 0, l->first);
}

static __be32 layout_entry(const struct layout *l, u64 block)
{
	if (block >= l->blocks)
		return cpu_to_be32(VHD_BAT_UNUSED);
	return cpu_to_be32((l->first + block * l->stride) >> VHD_SECTOR_SHIFT);
}

/* The table and its padding, which reads as unused entries. */
static int write_table(int fd, const struct layout *l)
{
	__be32 buf[VHD_IO_MAX / sizeof(__be32)];
	u64 pos = l->table;
	u64 block = 0;
	size_t n, i;
	int err;

	for (; pos < l->table_end; pos += n * sizeof(*buf)) {
		n = min_t(u64, ARRAY_SIZE(buf),
			  (l->table_end - pos) / sizeof(*buf));
		for (i = 0; i < n; i++)
			buf[i] = layout_entry(l, block++);
		err = vhd_pwrite(fd, buf, n * sizeof(*buf), pos);
		if (err)
			return err;
	}
	return 0;
}

static int write_blocks(int fd, const struct vhd_create *c,
			const struct layout *l)
{
	u8 ones[65536];
	u64 pos = l->first;
	int err = 0;
	u32 i;

	memset(ones, 0xFF, sizeof(ones));
	vhd_progress_begin((u64)l->blocks * c->image.block_size);
	for (i = 0; i < l->blocks && !err; i++, pos += l->stride) {
		if (vhd_interrupted)
			return -EINTR;
		err = vhd_pwrite(fd, ones, l->bitmap_bytes, pos);
		if (!err && c->preallocation == VHD_PREALLOC_FULL)
			err = vhd_write_zeros(fd, pos + l->bitmap_bytes,
					      c->image.block_size);
		else if (!err && l->device)
			err = vhd_zero(fd, pos + l->bitmap_bytes,
				       c->image.block_size);
		vhd_progress_add(c->image.block_size);
	}
	return err;
}

static int write_links(int fd, const struct vhd_link *link,
		       const struct layout *l)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < VHD_NR_LINKS && !err; i++)
		if (link->data[i])
			err = vhd_pwrite(fd, link->data[i], link->bytes[i],
					 l->link_pos[i]);
	return err;
}

/* Dynamic and differencing images. */
static int create_dynamic(int fd, const struct vhd_create *c,
			  const struct vhd_footer *footer)
{
	struct vhd_dyn_header header;
	struct layout l = { };
	int err;

	err = layout_dynamic(c, &l);
	if (!err)
		err = layout_device(fd, &l);
	if (err)
		return err;
	vhd_make_header(&header, &c->image, l.table);
	if (c->link) {
		vhd_link_put(c->link, &header, l.link_pos, l.link_space);
		vhd_seal_header(&header);
	}
	err = vhd_pwrite(fd, &header, sizeof(header), HEADER_POS);
	if (!err)
		err = write_table(fd, &l);
	if (!err && c->link)
		err = write_links(fd, c->link, &l);
	if (!err)
		err = write_blocks(fd, c, &l);
	/* It is no image before the rest is there. */
	if (!err && l.device && fdatasync(fd))
		err = -errno;
	if (!err)
		err = vhd_pwrite(fd, footer, sizeof(*footer), 0);
	if (!err)
		err = vhd_pwrite(fd, footer, sizeof(*footer), l.tail);
	return err;
}

/* Zeros in steps, so that progress can be told; @written: no holes. */
static int write_fixed_data(int fd, const struct vhd_create *c, bool written)
{
	const u64 size = c->image.size;
	const u64 step = 64ULL << 20;
	u64 pos, n;
	int err;

	vhd_progress_begin(size);
	for (pos = 0; pos < size; pos += n) {
		n = min(step, size - pos);
		err = written ? vhd_write_zeros(fd, pos, n) :
				vhd_zero(fd, pos, n);
		if (err)
			return err;
		vhd_progress_set(pos + n);
	}
	return 0;
}

/* What a device holds is not zeros. */
static int create_fixed_device(int fd, const struct vhd_create *c,
			       const struct vhd_footer *footer, u64 tail)
{
	int err;

	if (c->image.size > tail)
		return -ENOSPC;
	err = write_fixed_data(fd, c, c->preallocation == VHD_PREALLOC_FULL);
	if (!err && fdatasync(fd))
		err = -errno;
	return err ? err : vhd_pwrite(fd, footer, sizeof(*footer), tail);
}

static int create_fixed(int fd, const struct vhd_create *c,
			const struct vhd_footer *footer)
{
	u64 tail;
	int err = vhd_fd_tail(fd, &tail);

	if (err || tail)
		return err ? err : create_fixed_device(fd, c, footer, tail);
	if (c->preallocation == VHD_PREALLOC_METADATA &&
	    fallocate(fd, 0, 0, c->image.size + sizeof(*footer)))
		err = -errno;
	if (c->preallocation == VHD_PREALLOC_FULL || err == -EOPNOTSUPP)
		err = write_fixed_data(fd, c, true);
	if (!err)
		err = vhd_pwrite(fd, footer, sizeof(*footer), c->image.size);
	return err;
}

int vhd_create_fd(int fd, const struct vhd_create *c)
{
	struct vhd_create stamped = *c;
	struct vhd_footer footer;

	stamped.image.timestamp = vhd_format_time();
	vhd_make_footer(&footer, &stamped.image);
	switch (c->image.type) {
	case VHD_TYPE_FIXED:
		return create_fixed(fd, &stamped, &footer);
	case VHD_TYPE_DYNAMIC:
		stamped.link = NULL;
		return create_dynamic(fd, &stamped, &footer);
	case VHD_TYPE_DIFFERENCING:
		if (!c->link)
			return -EINVAL;
		stamped.preallocation = VHD_PREALLOC_OFF;
		return create_dynamic(fd, &stamped, &footer);
	default:
		return -EINVAL;
	}
}

int vhd_create(const char *path, const struct vhd_create *c)
{
	struct vhd_output out;
	int err;

	err = vhd_output_open(&out, path, c->replace);
	if (err)
		return err;
	err = vhd_create_fd(out.fd, c);
	if (!err && c->fill)
		err = c->fill(out.fd, c->fill_arg);
	return vhd_output_end(&out, err);
}
