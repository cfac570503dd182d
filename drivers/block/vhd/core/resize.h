/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resizing an image in place.
 *
 * The dynamic header has no second copy.  What a resize changes of it (place and
 * entries of the table, checksum) lies in its first sector, and a sector is
 * written or not: that one write is the switch.  The footer's two copies must not
 * both be good and disagree; so the one at 0 is blanked first.  The order:
 *
 *	0. what a failed growth has left behind the footer is cut off  -> flush
 *	grow	1. the table has to move: footer at the new end, behind the new
 *		   table                                              -> flush
 *		2. table: entries that no disk has used yet are unused ones; the
 *		   rest of the last block, behind the old end, is zeros -> flush
 *		3. header, if the table moves or gets more entries    -> flush
 *		4. blank the copy at 0 -> flush, footer at the end -> flush,
 *		   copy at 0 -> flush
 *	shrink	4., then entries of blocks that are no more are unused ones and the
 *		rest of the last block is zeros                       -> flush
 *	fixed	grow: the old footer at the new end -> flush; zeros where it was
 *		-> flush; the new footer over it -> flush
 *		shrink: the new footer at the new end -> flush; cut the file
 *		-> flush
 *
 * On a device the footer stays in the last sector and the table moves to behind the
 * last slot, so that nothing is extended or cut:
 *
 *	grow	2. to 4.
 *	fixed	zeros behind the old end -> flush; footer       -> flush
 *
 * A crash leaves the old size or the new one.  Before 4. more table, or more
 * file, than needed; in 4. possibly a blank copy at 0, which a repair restores.
 *
 * A fixed image has no copy of its footer.  Where the file's size may arrive
 * without what was written, there may be none at the end before the first flush:
 * then the old one is what the file ends with but for zeros, at the place that
 * its size says.  A repair cuts the file behind it.
 *
 * A step that fails is undone by writing what was there before, in the same order.
 * A flush that fails, or a step of the undoing, fails the image.
 */
#ifndef _VHD_CORE_RESIZE_H
#define _VHD_CORE_RESIZE_H

#include "image.h"

/**
 * struct vhd_resize - the resize plan
 * @plan: what the shell runs
 * @img: the image
 * @size: the new size
 * @blocks: of the new size
 * @table: where the table will be
 * @entries: of the table to be
 * @moves: it is not where it was
 * @tail: where the footer will be
 * @piece: bytes written at once, at most; who runs it may lower it
 * @switched: table and header are the new ones, on disk; of a fixed image: its
 *	file has been cut to what the old size needs
 * @resized: so is the size
 * @begin: of a dynamic image what comes first, once nothing lies behind the footer
 * @step: what comes next
 * @undo: what comes next if that fails
 * @error: why it is being undone
 * @flushing: the step before was a flush
 * @cursor: how far a step of many parts is
 * @zero_pos: where zeros are to be written
 * @zero_len: so many, bytes
 * @footer: as it will be
 * @header: as it will be
 * @buf: for what is written
 * @bat: the table in memory, if it is to be longer
 * @full: likewise
 *
 * While the plan runs, sectors of the old disk may be read and written, and
 * blocks allocated and unmapped in memory; but no other plan may run, a commit
 * that had begun before included, and nobody may write behind the smaller size.
 * In memory everything stays as it was.  Afterwards the image is opened again, or
 * who has run the plan calls vhd_resize_adopt() and vhd_resize_show().
 */
struct vhd_resize {
	struct vhd_plan plan;
	struct vhd_image *img;
	u64 size;
	u32 blocks;
	u64 table;
	u32 entries;
	bool moves;
	u64 tail;
	u32 piece;
	bool switched;
	bool resized;

	int (*begin)(struct vhd_resize *r, struct vhd_io *io);
	int (*step)(struct vhd_resize *r, struct vhd_io *io);
	int (*undo)(struct vhd_resize *r, struct vhd_io *io);
	int error;
	bool flushing;
	u64 cursor;
	u64 zero_pos;
	u64 zero_len;
	struct vhd_footer footer;
	struct vhd_dyn_header header;
	u8 *buf;
	u32 *bat;
	unsigned long *full;
};

/**
 * vhd_resize_init - prepare; process context
 * @r: to be filled in
 * @img: the image
 * @size: bytes, a multiple of 512, not 0, not what it is
 *
 * A differencing image can grow only, and only if its parent is not larger than
 * it is, which who calls sees to: what is new reads as zeros, and is asked for
 * beyond the parent's end.
 *
 * Return: 0; -EROFS if the image is not writable; -EOPNOTSUPP for a differencing
 * image that would be smaller, and where blktap's batmap stands in the table's
 * way; -EFBIG if it would be too large; -ENOSPC if it does not fit the device;
 * -ENOMEM.
 */
int vhd_resize_init(struct vhd_resize *r, struct vhd_image *img, u64 size);

/**
 * vhd_resize_adopt - the plan has ended, well or not: go on with what is on disk
 * @r: the plan
 *
 * What plans look at: places of table and footer, and what they write there.
 * Before any other plan begins.  Any context.
 */
void vhd_resize_adopt(struct vhd_resize *r);

/**
 * vhd_resize_show - the new size, after vhd_resize_adopt(), if @resized
 * @r: the plan
 *
 * No request may be under way.  Other plans may be.  Any context.
 */
void vhd_resize_show(struct vhd_resize *r);

/** vhd_resize_end - free what the plan held */
void vhd_resize_end(struct vhd_resize *r);

#endif /* _VHD_CORE_RESIZE_H */
