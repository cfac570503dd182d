/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sector bitmaps: bits in on-disk order (sector n is bit 0x80 >> (n & 7) of
 * byte n >> 3) and the cache of those that are not all ones.
 */
#ifndef _VHD_CORE_BITMAP_H
#define _VHD_CORE_BITMAP_H

#include "image.h"

/** vhd_bits_test - is sector @n's bit set */
bool vhd_bits_test(const u8 *bits, u32 n);

/** vhd_bits_set - set @count bits from @first; true if one was clear */
bool vhd_bits_set(u8 *bits, u32 first, u32 count);

/**
 * vhd_bits_run - how long a run of equal bits is
 * @bits: a bitmap, in on-disk order
 * @first: number of a bit
 * @limit: do not look further than so many bits
 * @set: out: what they are
 *
 * Return: how many bits from @first on are equal.
 */
u32 vhd_bits_run(const u8 *bits, u32 first, u32 limit, bool *set);

/** vhd_bitmap_pos - file offset and bytes of an allocated block's bitmap */
u64 vhd_bitmap_pos(struct vhd_image *img, u32 block, u32 *len);

/*
 * vhd_bitmap_alloc - memory for one cached bitmap; may sleep
 * Fill ->live with what is on disk at vhd_bitmap_load_pos(), then call
 * vhd_bitmap_add().
 */
struct vhd_bitmap *vhd_bitmap_alloc(struct vhd_image *img, u32 block);

/**
 * vhd_bitmap_load_pos - file offset and bytes of what is to be loaded into @bm
 * @img: the image
 * @bm: the bitmap
 * @len: out: bytes
 *
 * Return: 0 if there is nothing on disk, since the block was not allocated when
 * @bm was: it is all clear, as it should be.
 */
u64 vhd_bitmap_load_pos(const struct vhd_image *img,
			const struct vhd_bitmap *bm, u32 *len);
void vhd_bitmap_free(struct vhd_bitmap *bm);

/**
 * vhd_bitmap_add - put a loaded bitmap into the cache
 * @img: the image
 * @bm: the bitmap
 *
 * Takes @bm over: it may be kept, or freed because the block is full or because
 * @bm may be older than what was known meanwhile.  Then map again.  Process
 * context.
 */
void vhd_bitmap_add(struct vhd_image *img, struct vhd_bitmap *bm);

/*
 * vhd_bitmap_write - the step of a plan that writes the bitmap of the slot @sector
 * @buf: a sector.  With what fills its 4 KiB, where that is nobody's.  Takes img->lock.
 * Return: 1, as vhd_io_set().
 */
int vhd_bitmap_write(struct vhd_image *img, struct vhd_io *io, u32 sector,
		     void *buf);

/* For the core itself; all under img->lock. */
/*
 * vhd_bitmap_pad - so many bytes before the bitmap of the slot @sector are nobody's
 * They fill the 4 KiB before the block's data, or are none.
 */
u32 vhd_bitmap_pad(struct vhd_image *img, u32 sector);
struct vhd_bitmap *vhd_bitmap_find(struct vhd_image *img, u32 block);
/** vhd_bitmap_full - are all bits set that lie on the disk */
bool vhd_bitmap_full(const struct vhd_image *img, u32 block, const u8 *bits);
/** vhd_bitmap_retire - if all of @bm is set and nobody needs it, drop it */
void vhd_bitmap_retire(struct vhd_image *img, struct vhd_bitmap *bm);
/** vhd_bitmap_drop - forget @bm, its block is unmapped; false if it is in use */
bool vhd_bitmap_drop(struct vhd_image *img, struct vhd_bitmap *bm);
/**
 * vhd_bitmaps_shrink - free bitmaps that nobody needs, the oldest first
 * @img: the image
 * @nr: at most so many
 *
 * Any number of them are read again when they are needed.  Takes img->lock, and
 * sleeps for nothing.
 * Return: how many it has freed.
 */
u32 vhd_bitmaps_shrink(struct vhd_image *img, u32 nr);
int vhd_bitmaps_init(struct vhd_image *img);
void vhd_bitmaps_free(struct vhd_image *img);

#endif /* _VHD_CORE_BITMAP_H */
