/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where are these sectors?  The questions a request asks.
 */
#ifndef _VHD_CORE_MAP_H
#define _VHD_CORE_MAP_H

#include <linux/bitops.h>
#include <linux/compiler.h>

#include "image.h"

/**
 * enum vhd_map_kind - answer of the mapping functions
 * @VHD_MAP_DATA: in the backing file, at the extent's pos
 * @VHD_MAP_ZERO: reads as zeros
 * @VHD_MAP_PARENT: not in this layer of a differencing image: the parent has it
 *	(never an answer of the chain's functions)
 * @VHD_MAP_BAD: the block is damaged: EIO
 * @VHD_MAP_BITMAP: load the block's bitmap (vhd_bitmap_alloc, vhd_bitmap_pos,
 *	vhd_bitmap_add), then ask again
 * @VHD_MAP_SPACE: run the prepare plan, then ask again
 * @VHD_MAP_COMMIT: too much is dirty: commit, then ask again
 * @VHD_MAP_SLOW: of vhd_map_fast only: ask vhd_map_read or vhd_map_write
 */
enum vhd_map_kind {
	VHD_MAP_DATA,
	VHD_MAP_ZERO,
	VHD_MAP_PARENT,
	VHD_MAP_BAD,
	VHD_MAP_BITMAP,
	VHD_MAP_SPACE,
	VHD_MAP_COMMIT,
	VHD_MAP_SLOW,
};

/**
 * struct vhd_extent - a run of sectors of one kind
 * @kind: what the run is
 * @sectors: length of the run
 * @layer: whose backing file or bitmap is meant; set by the chain's functions
 * @pos: byte offset in the backing file, VHD_MAP_DATA only
 * @lead: of vhd_map_write(): the VHD_ALIGN bytes before @pos may be written with
 *	the data.  They are the block's bitmap, a sector of ones, and zeros before
 *	it.  Who writes them says so (vhd_hold.marks); or it is left to a commit.
 */
struct vhd_extent {
	enum vhd_map_kind kind;
	u32 sectors;
	u32 layer;
	u64 pos;
	bool lead;
};

/*
 * struct vhd_hold - what a mapped request holds until vhd_map_done()
 * Opaque to callers, but for @marks; zeroed means that nothing is held.  One
 * image's at a time.
 */
struct vhd_hold {
	struct vhd_image *img;
	struct vhd_new_block *nb;
	struct vhd_bitmap *bm;
	u32 first;	/* sector in the block */
	u32 sectors;
	bool write;
	bool marks;	/* the bitmap was written, too: vhd_extent.lead */
};

/**
 * vhd_map_fast - look a range up without lock
 * @img: the image
 * @sector: first virtual sector
 * @pos: out: byte offset in the backing file, for VHD_MAP_DATA
 *
 * The range must not cross a block's border.  Any context.
 *
 * Return: VHD_MAP_DATA: read or write there, nothing to be done afterwards;
 * VHD_MAP_ZERO, in a differencing image VHD_MAP_PARENT: an unallocated block (a
 * write must go the slow way); VHD_MAP_BAD; VHD_MAP_SLOW.
 */
static inline enum vhd_map_kind
vhd_map_fast(const struct vhd_image *img, u64 sector, u64 *pos)
{
	u64 byte = sector << VHD_SECTOR_SHIFT;
	u32 block, entry;

	if (!img->bat) {
		*pos = byte;
		return VHD_MAP_DATA;
	}
	block = byte >> img->block_shift;
	if (likely(test_bit_acquire(block, img->full))) {
		entry = READ_ONCE(img->bat[block]);
		*pos = vhd_data_pos(img, entry) +
		       (byte & (vhd_block_bytes(img) - 1));
		/* Unmapped meanwhile, and perhaps mapped anew elsewhere? */
		smp_rmb();
		if (likely(test_bit(block, img->full)))
			return VHD_MAP_DATA;
	}
	entry = READ_ONCE(img->bat[block]);
	if (entry == VHD_BAT_UNUSED)
		return img->type == VHD_TYPE_DYNAMIC ? VHD_MAP_ZERO :
						       VHD_MAP_PARENT;
	return entry == VHD_BAT_BAD ? VHD_MAP_BAD : VHD_MAP_SLOW;
}

/**
 * vhd_map_read - look the first run of a range up
 * @img: the image
 * @sector: the first of the range
 * @sectors: length of the range, which must not cross a block's border
 * @hold: in: zeroed or holding from an earlier run of the same range;
 *	out: to be given to vhd_map_done() when the whole range is done
 * @ext: out
 *
 * Nothing is held after VHD_MAP_BITMAP.  Any context.
 */
void vhd_map_read(struct vhd_image *img, u64 sector, u32 sectors,
		  struct vhd_hold *hold, struct vhd_extent *ext);

/**
 * vhd_map_write - find or make the place for a write
 * @img: the image
 * @sector: the first of the range
 * @sectors: length of the range, which must not cross a block's border
 * @hold: out: to be given to vhd_map_done() after VHD_MAP_DATA
 * @ext: out; VHD_MAP_DATA always covers the whole range
 *
 * Return: 0, or a negative errno: -EROFS, or the error that failed the image.
 * With kinds other than VHD_MAP_DATA nothing is held.  Any context.
 */
int vhd_map_write(struct vhd_image *img, u64 sector, u32 sectors,
		  struct vhd_hold *hold, struct vhd_extent *ext);

/* Flags of vhd_map_zero(). */
/* Whole blocks may lose their slots. */
#define VHD_ZERO_UNMAP		(1U << 0)
/* Only advice: nothing need be zero that costs an allocation. */
#define VHD_ZERO_DISCARD	(1U << 1)

/**
 * vhd_map_zero - the first run of a range that is to read as zeros
 * @img: the image
 * @sector: the first of the range
 * @sectors: length of the range, which may cross blocks' borders
 * @flags: VHD_ZERO_*
 * @hold: out: to be given to vhd_map_done() after VHD_MAP_DATA
 * @ext: out:
 *	VHD_MAP_ZERO: done, and perhaps over many blocks; metadata may have
 *	become dirty;
 *	VHD_MAP_DATA: make the run read as zeros in the backing file, then call
 *	vhd_map_done();
 *	others: as of vhd_map_write(); nothing is held
 *
 * Dynamic images: whole blocks are unmapped with VHD_ZERO_UNMAP; what is zero
 * already stays as it is.  Differencing images: the range is allocated, to be
 * zeroed and its bits set; with VHD_ZERO_DISCARD only what this layer has is
 * zeroed.  The parent never shows through.
 *
 * Return: 0, or a negative errno: -EROFS, or the error that failed the image.
 * Process context; may sleep for memory, but needs none.
 */
int vhd_map_zero(struct vhd_image *img, u64 sector, u32 sectors,
		 unsigned int flags, struct vhd_hold *hold,
		 struct vhd_extent *ext);

/**
 * vhd_map_done - a mapped range has been read or written
 * @img: the image it was mapped in
 * @hold: what the mapping held
 * @err: 0 or the error; a failed first write into a new block takes the
 *	allocation back
 *
 * Return: true if this made metadata dirty that was clean: the caller sees to
 * it that a commit comes.  Any context.
 */
bool vhd_map_done(struct vhd_image *img, struct vhd_hold *hold, int err);

#endif /* _VHD_CORE_MAP_H */
