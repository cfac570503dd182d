/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unmapping: how blocks of a dynamic image lose their slots.
 *
 * A slot goes through these, each step after the one before it is durable:
 *
 *	vhd_unmap()	the entry in memory is cleared: reads see zeros.  The
 *			slot is in quarantine: after a crash the entry on disk
 *			may still point there
 *	commit		the cleared entry is written in phase 2; after its flush
 *			the slot is draining: nothing on disk points there, but
 *			a request that looked the block up before may still be
 *			reading or writing it
 *	vhd_unmap_release()
 *			the shell has seen those requests end: the slot is free
 *	the punch plan, or the prepare plan
 *			it is zeroed, and may be handed out again
 *
 * A block that is written again meanwhile gets another slot.  In differencing
 * images no request unmaps: the parent would show through.  Blocks that move to
 * other slots (move.h) leave theirs in the same way.
 */
#ifndef _VHD_CORE_UNMAP_H
#define _VHD_CORE_UNMAP_H

#include "image.h"

/**
 * enum vhd_unmap_result - how it went
 * @VHD_UNMAP_DONE: the block reads as zeros
 * @VHD_UNMAP_COMMIT: too many are waiting for a commit; ask again after one
 * @VHD_UNMAP_NOT: it cannot be unmapped (no memory, or its bitmap is in use):
 *	its data may be zeroed where they are
 */
enum vhd_unmap_result {
	VHD_UNMAP_DONE,
	VHD_UNMAP_COMMIT,
	VHD_UNMAP_NOT,
};

/*
 * vhd_unmap_reserve - memory for unmapping @nr blocks more
 * May sleep; not under img->lock.  Without it vhd_unmap() says VHD_UNMAP_NOT.
 */
void vhd_unmap_reserve(struct vhd_image *img, u32 nr);

/*
 * vhd_unmap - clear the entry of an allocated block
 * Writes to the block that are under way may or may not be seen afterwards; the
 * caller must not mind.  Under img->lock.
 */
enum vhd_unmap_result vhd_unmap(struct vhd_image *img, u32 block);

/*
 * vhd_unmap_may - is there room for one block more that leaves its slot
 * Under img->lock, after vhd_unmap_reserve().
 */
enum vhd_unmap_result vhd_unmap_may(struct vhd_image *img);

/*
 * vhd_unmap_quarantine - @block, whose entry on disk is durable, has left the slot
 * The next commit writes its entry as it is by then; afterwards the slot is
 * draining.  Under img->lock.
 * Return: false if there is no room; see vhd_unmap_may().
 */
bool vhd_unmap_quarantine(struct vhd_image *img, u32 block, u32 sector);

/*
 * vhd_unmap_draining - slots that are draining now
 * Requests that begin after this call do not use them.  Any context.
 */
u32 vhd_unmap_draining(struct vhd_image *img);

/**
 * vhd_unmap_release - all requests of before have ended
 * @img: the image
 * @nr: what vhd_unmap_draining() said before that
 *
 * The slots are free.  Any context.
 */
void vhd_unmap_release(struct vhd_image *img, u32 nr);

/** vhd_unmap_freed - is there something for the punch plan; any context */
bool vhd_unmap_freed(struct vhd_image *img);

/* Slots that the punch plan zeroes in one step. */
#define VHD_PUNCH_BATCH	64U
/* Steps of one plan: somebody may be waiting for another one. */
#define VHD_PUNCH_STEPS	16U

/*
 * struct vhd_punch - the punch plan: give the space of freed slots back
 * For backing files that can punch holes, and devices that can discard; where
 * zeros must be written, freed slots are better left to the prepare plan.  It ends after VHD_PUNCH_STEPS.  One
 * prepare, punch or tidy plan at a time.
 */
struct vhd_punch {
	struct vhd_plan plan;
	struct vhd_image *img;
	u32 steps;
	u32 nr;
	u32 slots[VHD_PUNCH_BATCH];
};

void vhd_punch_init(struct vhd_punch *p, struct vhd_image *img);

/* Of the commit; under img->lock. */
void vhd_unmap_take(struct vhd_image *img);
void vhd_unmap_untake(struct vhd_image *img);
void vhd_unmap_publish(struct vhd_image *img);
void vhd_unmap_free(struct vhd_image *img);

#endif /* _VHD_CORE_UNMAP_H */
