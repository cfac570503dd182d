/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chains: a differencing image, its parent, and so on down to an image that has
 * none.
 *
 * Whoever puts a chain together opens the layers one by one and then asks
 * vhd_chain_check() whether they belong together; that no file is in a chain
 * twice is for him to see to.  Only the first layer is written to.  The others
 * stay as they are while they are in a chain, so what is found out about them
 * holds as long as the chain.  (Sectors that a layer above has may be written
 * to the one below, when they are merged: nobody looks there for them.)
 */
#ifndef _VHD_CORE_CHAIN_H
#define _VHD_CORE_CHAIN_H

#include "image.h"
#include "map.h"

/**
 * struct vhd_chain - the layers of a disk
 * @layers: the first is the top, the last has no parent
 * @limits: sectors of each layer that the disk shows: a parent's end is where
 *	all that is below it ends
 * @nr: number of layers
 * @chunk: sectors of the smallest block of all layers: a range that does not
 *	cross a multiple of it crosses no layer's blocks; 0: no layer has blocks
 * @below: for each block of the top the first layer under it that has anything
 *	in the block's range, 0: not known yet; written by anybody, always with
 *	the same value.  NULL for a single layer.
 */
struct vhd_chain {
	struct vhd_image **layers;
	u64 *limits;
	unsigned int nr;
	u32 chunk;
	u16 *below;
};

/**
 * vhd_chain_check - do these layers make a chain
 * @layers: open images, top first
 * @nr: how many there are
 * @ignore_ids: let a parent pass that is not the one its child was made for
 * @layer: out: the layer the finding is about
 * @f: out: what is wrong
 *
 * A null id names nobody.
 * Return: 0 or -ENXIO.
 */
int vhd_chain_check(struct vhd_image *const *layers, unsigned int nr,
		    bool ignore_ids, unsigned int *layer,
		    struct vhd_finding *f);

/** vhd_chain_check_id - is this the parent the child was made for; as above */
int vhd_chain_check_id(const struct vhd_image *child,
		       const struct vhd_image *parent, struct vhd_finding *f);

/**
 * vhd_chain_init - put layers together; process context
 * @c: the chain
 * @layers: as checked; the array is copied, the images must outlive the chain
 * @nr: how many there are
 *
 * Return: 0 or -ENOMEM; vhd_chain_free() may follow in either case.
 */
int vhd_chain_init(struct vhd_chain *c, struct vhd_image *const *layers,
		   unsigned int nr);
void vhd_chain_free(struct vhd_chain *c);

/**
 * vhd_chain_room - what the chain needs when its top gets more blocks
 * @c: the chain
 * @blocks: that the top will have
 * @below: out: NULL where nothing is needed; vhd_chain_resized() takes it, or
 *	kvfree(); process context
 * Return: 0 or -ENOMEM.
 */
int vhd_chain_room(const struct vhd_chain *c, u32 blocks, u16 **below);

/**
 * vhd_chain_resized - the top has another size
 * @c: the chain
 * @below: of vhd_chain_room()
 * @blocks: that the top had
 *
 * No layer shows more or less of itself: a top may become larger only while its
 * parent is not larger than it is.  No request may be under way.
 */
void vhd_chain_resized(struct vhd_chain *c, u16 *below, u32 blocks);

/** vhd_chain_below - the first layer under the top that may have @sector */
u32 vhd_chain_below(const struct vhd_chain *c, u64 sector);

/**
 * vhd_chain_map_read - look the first run of a range up, in all layers
 * @c: the chain
 * @sector: the first of the range
 * @sectors: length of the range, which may cross anything
 * @hold: as for vhd_map_read(); to be given back by vhd_chain_map_done()
 * @ext: out: kind is VHD_MAP_DATA, _ZERO, _BAD or _BITMAP; of the layer it says
 *
 * Any context.
 */
void vhd_chain_map_read(struct vhd_chain *c, u64 sector, u32 sectors,
			struct vhd_hold *hold, struct vhd_extent *ext);

/*
 * vhd_chain_map_done - a mapped range, read or written, is done with
 * Return: as vhd_map_done().  Any context.
 */
static inline bool vhd_chain_map_done(struct vhd_hold *hold, int err)
{
	return hold->img && vhd_map_done(hold->img, hold, err);
}

/**
 * vhd_chain_map_fast - look a range up without lock
 * @c: the chain
 * @sector: the first of the range
 * @sectors: length of the range
 * @layer: out: whose backing file, for VHD_MAP_DATA
 * @pos: out: byte offset in it, for VHD_MAP_DATA
 *
 * The range must not cross a multiple of c->chunk, nor the top's end.  Only of
 * layer 0 VHD_MAP_DATA means that one may write there, and VHD_MAP_ZERO
 * never does.  Any context.
 *
 * Return: VHD_MAP_DATA, VHD_MAP_ZERO, VHD_MAP_BAD or VHD_MAP_SLOW.
 */
static inline enum vhd_map_kind
vhd_chain_map_fast(const struct vhd_chain *c, u64 sector, u32 sectors,
		   u32 *layer, u64 *pos)
{
	enum vhd_map_kind kind = vhd_map_fast(c->layers[0], sector, pos);

	*layer = 0;
	if (kind != VHD_MAP_PARENT)
		return kind;
	*layer = vhd_chain_below(c, sector);
	while (*layer < c->nr && sector < c->limits[*layer]) {
		if (sector + sectors > c->limits[*layer])
			return VHD_MAP_SLOW;
		kind = vhd_map_fast(c->layers[*layer], sector, pos);
		if (kind != VHD_MAP_PARENT)
			return kind;
		++*layer;
	}
	return VHD_MAP_ZERO;
}

#endif /* _VHD_CORE_CHAIN_H */
