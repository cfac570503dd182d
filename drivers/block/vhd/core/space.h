/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Free space: handing out slots, growing the file ahead of need, tightening it.
 *
 * The rule everything here serves: the file always ends with a footer, and a
 * slot reads as zeros before it is handed out.
 *
 * A block device does not grow: its last sector is the footer, which nothing
 * here writes, and the slots are all there.  But what lies behind the blocks is
 * unknown, where a file would read as zeros or end; so each slot is zeroed before
 * it is handed out, also one that was discarded, and nothing is cut off.
 */
#ifndef _VHD_CORE_SPACE_H
#define _VHD_CORE_SPACE_H

#include "image.h"

/* A heap of slots; under img->lock. */
bool vhd_slots_push(struct vhd_slots *s, u32 sector);
/** vhd_slots_pop - the lowest one, out of the heap; 0 if there is none */
u32 vhd_slots_pop(struct vhd_slots *s);
/*
 * vhd_slots_reserve - room for @max slots; may sleep, not under img->lock
 * Return: 0 or -ENOMEM.
 */
int vhd_slots_reserve(struct vhd_image *img, struct vhd_slots *s, u32 max);

/* Slots the file grows by at most in one step. */
#define VHD_MAX_CHUNK	64U
/* Slots it may always grow by, however little is allocated. */
#define VHD_SMALL_CHUNK	8U

/*
 * vhd_space_take - take a prepared slot
 * Return: absolute sector of its bitmap, or 0 if none is prepared.  While there
 * are free slots in the file to prepare, none is taken at its end.  @mark: what
 * growth has done for it.  Under img->lock.
 */
u32 vhd_space_take(struct vhd_image *img, enum vhd_slot_mark *mark);

/*
 * vhd_space_give - give a slot back that was taken and never published
 * It will be zeroed before it is handed out again.  Under img->lock.
 */
void vhd_space_give(struct vhd_image *img, u32 sector);

/*
 * vhd_space_lowest_free - the lowest free slot in the file, whatever must be done
 * before it can be handed out; 0: there is none.  Under img->lock.
 */
u32 vhd_space_lowest_free(struct vhd_image *img);

/*
 * vhd_space_take_lowest - take that one
 * @dirty: out: it must be zeroed before it is used, and before that the table
 *	flushed if img->space.unsettled.  Under img->lock.
 */
u32 vhd_space_take_lowest(struct vhd_image *img, bool *dirty);

/** vhd_space_settled - it has been flushed; any context */
void vhd_space_settled(struct vhd_image *img);

/** vhd_space_set_ragged - may the file be longer than we know; any context */
void vhd_space_set_ragged(struct vhd_image *img, bool ragged);

/*
 * vhd_space_relax - give up what was reserved ahead of need
 * It becomes freed slots as others.  For when blocks are unmapped: who gives
 * space back does not want some kept for him.  Under img->lock.
 */
void vhd_space_relax(struct vhd_image *img);

/*
 * vhd_space_free_slots - slots in the file that no block has, whatever must be
 * done before they can be handed out; any context
 */
u32 vhd_space_free_slots(struct vhd_image *img);

/** vhd_space_low - is it time to run the prepare plan ahead of need */
bool vhd_space_low(struct vhd_image *img);

/*
 * struct vhd_prepare - the prepare plan: make slots ready
 * Free slots are zeroed and their space reserved, the lowest first; only when
 * there is none the file grows, or the next slot of the device is zeroed.  ENOSPC of a large growth is tried again
 * smaller; -ENOSPC means that not one slot could be had.
 */
struct vhd_prepare {
	struct vhd_plan plan;
	struct vhd_image *img;
	int step;
	int error;
	u32 chunk;
	u32 slot;
	u32 readied;
	u64 old_size;
	u64 new_tail;
	u64 first;
	u32 bitmaps;
	bool marked;
	bool reserved;
	struct vhd_footer footer;
	u8 bitmap[VHD_SECTOR_SIZE];
};

/** vhd_prepare_init - process context; one prepare or tidy plan at a time */
void vhd_prepare_init(struct vhd_prepare *p, struct vhd_image *img);

/*
 * struct vhd_tidy - the tidy plan: leave the image tight
 * Footer right behind the last block, then the rest cut off; pads a 511-byte
 * footer.  Does nothing where nothing is to be done.  To be run after the last
 * commit; new blocks that were not published are forgotten.
 */
struct vhd_tidy {
	struct vhd_plan plan;
	struct vhd_image *img;
	int step;
	bool live;
	u64 new_tail;
	struct vhd_footer footer;
};

void vhd_tidy_init(struct vhd_tidy *t, struct vhd_image *img);

/*
 * vhd_tidy_live_init - the same of an image in use
 * Slots that something may still point to stay; free ones behind the last of those
 * go.  No other plan may be under way, nor begin: writes that want a slot meanwhile
 * are told VHD_MAP_SPACE.  If it fails, the next prepare plan cuts the file.
 */
void vhd_tidy_live_init(struct vhd_tidy *t, struct vhd_image *img);

int vhd_space_init(struct vhd_image *img);
void vhd_space_free(struct vhd_image *img);

#endif /* _VHD_CORE_SPACE_H */
