/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing a new disk to an empty file: a dynamic image, its blocks in the order
 * of the disk and tight (FORMAT.md, "Layout we write"), a fixed image or a raw
 * file.
 */
#ifndef _LIBVHD_WRITER_H
#define _LIBVHD_WRITER_H

#include "format.h"

/**
 * struct vhd_writer - an image being written
 * @fd: the file
 * @raw: no image: image.size is all that counts
 * @image: what it shall be
 * @table: entries in disk order, as they go to disk; dynamic images
 * @entries: of the table, by what the size needs
 * @table_end: end of the padded table
 * @next: place of the next block's bitmap
 * @tail: of a block device: where the footer will stand; 0: it is a file
 */
struct vhd_writer {
	int fd;
	bool raw;
	struct vhd_new_image image;
	__be32 *table;
	u32 entries;
	u32 bitmap_bytes;
	u64 table_end;
	u64 next;
	u64 tail;
};

/**
 * vhd_writer_init - begin
 * @w: fd, raw, image set; an image.size of 0 is not known yet, then the table is
 *	made for the largest disk
 * Return: 0, -ENOMEM, or -ENOSPC; vhd_writer_free() may follow in either case.
 */
int vhd_writer_init(struct vhd_writer *w);
void vhd_writer_free(struct vhd_writer *w);

/**
 * vhd_writer_slot - give a block of a dynamic image its place
 * To be called in the order of the disk.
 * Return: 0 and the place of its bitmap, which the data follow; or -EFBIG;
 * or -ENOSPC, of a device.
 */
int vhd_writer_slot(struct vhd_writer *w, u32 block, u64 *pos);

/**
 * vhd_writer_finish - write all but the blocks
 * image.size must be known now.
 */
int vhd_writer_finish(struct vhd_writer *w);

/** vhd_format_time - now, as a footer has it */
u32 vhd_format_time(void);

#endif /* _LIBVHD_WRITER_H */
