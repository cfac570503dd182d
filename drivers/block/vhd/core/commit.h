/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commit: what makes completed writes durable.
 *
 * The format has no journal.  Its only commit points are a 4-byte entry of the
 * table and a sector of a bitmap.  So metadata stays in memory until a commit,
 * which goes in two phases:
 *
 *	take the epoch: entries and bits of writes completed by now
 *	phase 1: bitmaps of the epoch's new blocks (the data is already written):
 *		 all set in a dynamic image, if they did not come with the data;
 *		 exact in a differencing one
 *		 -> flush, unless all are fresh (enum vhd_slot_mark) and no
 *		 bitmap goes with them: the table may then come before the data,
 *		 and shows the zeros that were there without it
 *	phase 2: table sectors, with cleared entries of unmapped blocks too;
 *		 bitmaps of blocks that were mapped before
 *		 -> flush
 *	the slots of blocks unmapped before the epoch are draining (unmap.h)
 *
 * New blocks' bitmaps belong to phase 1: they lie where the tail footer was,
 * and nobody can see them until the entry points there.  (Once a commit has begun
 * to write the entry and failed, somebody may see them: then bits of data that
 * no flush has covered wait for phase 2, as those of any mapped block.)  Writes completing
 * during a commit belong to the next epoch.  When a flush fails nothing may be
 * committed ever again: pages may have been dropped, so that a second flush
 * would succeed and publish lost data.
 */
#ifndef _VHD_CORE_COMMIT_H
#define _VHD_CORE_COMMIT_H

#include "image.h"

/**
 * struct vhd_commit - the commit plan
 * @plan: what the shell runs
 * @img: the image
 * @step: where the plan is
 * @cursor: of the new blocks taken, the next to write
 * @nr_taken: new blocks of this epoch
 * @fresh: so many of them in a fresh slot
 * @nr_bitmaps: bitmaps of this epoch
 * @marks: growths whose bitmaps the flush under way covers
 * @taken: their records' indices, in the order of their block numbers
 * @bitmaps: the bitmaps; as many as there are, since writers that were let in
 *	below the bound may together exceed it
 * @bitmap: the next of them to write
 * @nr_unmapped: blocks unmapped in this epoch; img->unmaps.taken has them, in
 *	the order of their numbers
 * @unmapped: the next of them whose table sector is to be written
 * @buf: a sector of the table
 */
struct vhd_commit {
	struct vhd_plan plan;
	struct vhd_image *img;
	int step;
	u32 cursor;
	u32 nr_taken;
	u32 fresh;
	u32 nr_bitmaps;
	u64 marks;
	u16 *taken;
	struct vhd_bitmap *bitmaps;
	struct vhd_bitmap *bitmap;
	u32 nr_unmapped;
	u32 unmapped;
	u8 buf[VHD_SECTOR_SIZE];
};

/*
 * vhd_commit_alloc - memory for commits of @img; once per image, may sleep
 * Return: 0 or -ENOMEM.
 */
int vhd_commit_alloc(struct vhd_commit *c, struct vhd_image *img);
void vhd_commit_free(struct vhd_commit *c);

/*
 * vhd_commit_begin - take the epoch
 * What completed before this call is durable when the plan ends with 0.  With
 * nothing dirty the plan is one flush.  Process context.
 *
 * A failed write leaves everything dirty for the next commit; a failed flush
 * fails the image for good (img->failed).
 */
void vhd_commit_begin(struct vhd_commit *c);

/**
 * vhd_image_fail - a flush has failed: nothing is committed any more
 * @img: the image
 * @err: negative errno
 *
 * Any context.
 * Return: @err, for the caller's convenience.
 */
int vhd_image_fail(struct vhd_image *img, int err);

/**
 * vhd_commit_due - is half of what may be uncommitted
 * @img: the image
 *
 * Writers need not wait for a commit that is begun now.  Any context.
 *
 * Return: true if so; it may be old.
 */
bool vhd_commit_due(const struct vhd_image *img);

/** vhd_dirty - is there metadata for a commit to write; any context */
bool vhd_dirty(struct vhd_image *img);

#endif /* _VHD_CORE_COMMIT_H */
