/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compacting an image in use: blocks of zeros lose their slots, the last blocks
 * move into free slots before them, the file is cut.
 *
 * A block moves so:
 *
 *	vhd_move_init()	takes the lowest free slot; of the block nothing may be
 *			new: a commit has made its entry and its bits durable
 *	the move plan	copies the slot, bitmap included	-> flush
 *			switches the entry in memory: from here on requests go
 *			to the new place
 *	commit		writes the entry			-> flush
 *	vhd_unmap_release()
 *			the old slot is free, as that of an unmapped block: on
 *			disk nothing points there, and no request of before is
 *			left
 *
 * So on disk the entry leads to a whole copy at any moment: to the old place,
 * which is as it was, or to the new one, which was durable before.  From
 * vhd_move_init() to the plan's end the shell holds writes to the block up, zeroing
 * included, and waits for those under way before.  Reads go on all the time.
 */
#ifndef _VHD_CORE_MOVE_H
#define _VHD_CORE_MOVE_H

#include "image.h"

/* Blocks that are looked for at a time. */
#define VHD_NR_LAST	256U

/**
 * struct vhd_last - the last blocks of the file, those behind some free slot
 * @nr: so many
 * @at: of each place and number, as place << 32 | number; the last one first
 */
struct vhd_last {
	u32 nr;
	u64 at[VHD_NR_LAST];
};

/**
 * vhd_last_find - which blocks are to move
 * @last: to be filled in
 * @img: the image
 *
 * Advice: may be outdated at once.  Process context.
 */
void vhd_last_find(struct vhd_last *last, struct vhd_image *img);

static inline u32 vhd_last_block(const struct vhd_last *last, u32 i)
{
	return (u32)last->at[i];
}

/**
 * enum vhd_move_result - what vhd_move_init() has found
 * @VHD_MOVE_READY: a slot is taken: run the plan
 * @VHD_MOVE_COMMIT: its entry or bits are not durable, or too much waits for a
 *	commit: ask again after one
 * @VHD_MOVE_NOT: it is not allocated, or no free slot lies before it
 * @VHD_MOVE_NOMEM: ask again later
 */
enum vhd_move_result {
	VHD_MOVE_READY,
	VHD_MOVE_COMMIT,
	VHD_MOVE_NOT,
	VHD_MOVE_NOMEM,
};

/**
 * struct vhd_move - the move plan: a block to another place
 * @plan: what the shell runs
 * @img: the image
 * @step: where the plan is
 * @block: its number
 * @from: sector of the slot that it has
 * @to: of the one that it gets
 * @dirty: that one must be zeroed before
 * @unsettled: an entry may still point to it on disk: flush before that
 * @at: bytes of the slot that are dealt with
 * @span: data of the old slot
 * @len: bytes in @buf
 * @copied: bytes written
 * @buf: the shell's, of @piece bytes
 * @piece: at most VHD_IO_MAX
 *
 * Holes and pieces of zeros are not written.  Several plans may be under way at
 * the same time, of different blocks, beside all others but tidy and resize.  If
 * it ends with -EAGAIN too much waits for a commit: the block is where it was.
 */
struct vhd_move {
	struct vhd_plan plan;
	struct vhd_image *img;
	int step;
	u32 block;
	u32 from;
	u32 to;
	bool dirty;
	bool unsettled;
	u64 at;
	struct vhd_span span;
	u32 len;
	u64 copied;
	void *buf;
	u32 piece;
};

/**
 * vhd_move_init - take a free slot for a block; process context
 * @m: to be filled in
 * @img: the image
 * @block: its number
 * @buf: for what is copied
 * @piece: bytes of it
 *
 * Return: see enum vhd_move_result.  After VHD_MOVE_READY the plan is to be run.
 */
enum vhd_move_result vhd_move_init(struct vhd_move *m, struct vhd_image *img,
				   u32 block, void *buf, u32 piece);

/**
 * struct vhd_probe - the probe plan: does a block's data read as zeros
 * @plan: what the shell runs
 * @img: the image
 * @read: also read what is no hole
 * @pos: in the file, from here on it is not known
 * @end: of the data
 * @span: data found
 * @len: bytes in @buf
 * @done: bytes read
 * @zero: out
 * @buf: the shell's, of @piece bytes
 * @piece: at most VHD_IO_MAX
 * @seeking: the step before was VHD_IO_SEEK
 */
struct vhd_probe {
	struct vhd_plan plan;
	struct vhd_image *img;
	bool read;
	u64 pos;
	u64 end;
	struct vhd_span span;
	u32 len;
	u64 done;
	bool zero;
	void *buf;
	u32 piece;
	bool seeking;
};

/**
 * vhd_probe_init - process context
 * @p: to be filled in
 * @img: the image
 * @block: allocated; writes to it are held up
 * @read: also data that are no hole may be zeros
 * @buf: for what is read
 * @piece: bytes of it
 */
void vhd_probe_init(struct vhd_probe *p, struct vhd_image *img, u32 block,
		    bool read, void *buf, u32 piece);

/**
 * vhd_drop_block - unmap a block that shows the same without its slot
 * @img: the image
 * @block: writes to it are held up
 *
 * The block reads as zeros; in a differencing image all its bits are clear.
 * Process context.
 * Return: 1 it is done; 0 it is not, for want of memory, say; -EAGAIN: commit,
 * then ask again.
 */
int vhd_drop_block(struct vhd_image *img, u32 block);

#endif /* _VHD_CORE_MOVE_H */
