/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening an image: read, validate, build the tables.  Reads only.
 */
#ifndef _VHD_CORE_OPEN_H
#define _VHD_CORE_OPEN_H

#include "image.h"

/**
 * struct vhd_open - the open plan
 * @plan: what the shell runs
 * @img: is being opened
 * @rep: is told of each finding
 * @flags: VHD_OPEN_*
 * @forbids: what the findings so far forbid
 * @refused: negative errno of the first finding that forbids to open
 * @step: what comes next
 * @file_size: bytes
 * @tail_pos: file offset of the tail footer, or of where one would end
 * @cursor: how far a step of many parts is
 * @tail_ok: there is a tail footer to go by
 * @tail_short: it has 511 bytes, as old programs wrote it
 * @tail: as read
 * @head: the copy of the footer, as read
 * @batmap_start: first byte of blktap's map
 * @batmap_end: first byte behind it
 * @sorted: the entries in use, ascending
 * @nr_sorted: so many
 * @nr_bad: entries that are not to be touched
 * @buf: for what is read
 *
 * After the plan has succeeded @img is ready for mapping; img->writable tells
 * whether VHD_OPEN_WRITE was granted.  After a failure the image must be freed
 * all the same.
 */
struct vhd_open {
	struct vhd_plan plan;
	struct vhd_image *img;
	struct vhd_reporter *rep;
	unsigned int flags;
	enum vhd_policy forbids;
	int refused;
	int (*step)(struct vhd_open *o, struct vhd_io *io);
	u64 file_size;
	u64 tail_pos;
	u32 cursor;
	bool tail_ok;
	bool tail_short;
	struct vhd_footer tail;
	struct vhd_footer head;
	u64 batmap_start;
	u64 batmap_end;
	u32 *sorted;
	u32 nr_sorted;
	u32 nr_bad;
	u8 *buf;
};

/**
 * vhd_open_init - prepare to open an image
 * @o: the plan, zeroed here
 * @img: zeroed here
 * @file_size: bytes of the backing file
 * @flags: VHD_OPEN_*
 * @rep: told every finding, or NULL
 *
 * The plan's result is 0; -EMEDIUMTYPE (not a VHD), -EUCLEAN (refused);
 * -EROFS (only read-only, and VHD_OPEN_WRITE was asked for); -ENOMEM, or an
 * error of a read.  Process context.
 */
void vhd_open_init(struct vhd_open *o, struct vhd_image *img, u64 file_size,
		   unsigned int flags, struct vhd_reporter *rep);

/** vhd_open_end - free what the plan held; img stays */
void vhd_open_end(struct vhd_open *o);

#endif /* _VHD_CORE_OPEN_H */
