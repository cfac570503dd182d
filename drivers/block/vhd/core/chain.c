// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/byteorder.h>

#include "chain.h"

/* ---- putting together ------------------------------------------------ */

static u64 vhd_id_start(const u8 *id)
{
	__be64 v;

	memcpy(&v, id, sizeof(v));
	return be64_to_cpu(v);
}

static u64 vhd_parent_id_offset(const struct vhd_image *child)
{
	return be64_to_cpu(child->footer.data_offset) +
	       offsetof(struct vhd_dyn_header, parent_unique_id);
}

static int vhd_chain_find(struct vhd_finding *f, enum vhd_finding_code code,
			  u64 offset, u64 found, u64 expected)
{
	*f = (struct vhd_finding) {
		.code = code,
		.block = VHD_NO_BLOCK,
		.offset = offset,
		.found = found,
		.expected = expected,
	};
	return -vhd_finding_info(code)->error;
}

int vhd_chain_check_id(const struct vhd_image *child,
		       const struct vhd_image *parent, struct vhd_finding *f)
{
	const u8 *wanted = child->header.parent_unique_id;
	const u8 *id = parent->footer.unique_id;

	if (memchr_inv(id, 0, sizeof(parent->footer.unique_id)) &&
	    !memcmp(wanted, id, sizeof(parent->footer.unique_id)))
		return 0;
	return vhd_chain_find(f, VHD_FIND_PARENT_ID,
			      vhd_parent_id_offset(child), vhd_id_start(wanted),
			      vhd_id_start(id));
}

int vhd_chain_check(struct vhd_image *const *layers, unsigned int nr,
		    bool ignore_ids, unsigned int *layer, struct vhd_finding *f)
{
	unsigned int i;
	bool child;
	int ret = 0;

	for (i = 0; i < nr && !ret; i++) {
		*layer = i;
		child = layers[i]->type == VHD_TYPE_DIFFERENCING;
		if (child && i + 1 == nr)
			ret = vhd_chain_find(f, VHD_FIND_PARENT, 0, nr, nr + 1);
		else if (!child && i + 1 < nr)
			ret = vhd_chain_find(f, VHD_FIND_PARENT, 0, nr, i + 1);
		else if (child && !ignore_ids)
			ret = vhd_chain_check_id(layers[i], layers[i + 1], f);
	}
	return ret;
}

int vhd_chain_init(struct vhd_chain *c, struct vhd_image *const *layers,
		   unsigned int nr)
{
	u64 limit = ~0ULL;
	unsigned int i;

	memset(c, 0, sizeof(*c));
	c->nr = nr;
	c->layers = kcalloc(nr, sizeof(*c->layers), GFP_KERNEL);
	c->limits = kcalloc(nr, sizeof(*c->limits), GFP_KERNEL);
	if (nr > 1 && layers[0]->bat)
		c->below = kvcalloc(layers[0]->nr_blocks, sizeof(*c->below),
				    GFP_KERNEL);
	if (!c->layers || !c->limits ||
	    (nr > 1 && layers[0]->bat && !c->below))
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		c->layers[i] = layers[i];
		WRITE_ONCE(layers[i]->bitmaps.max,
			   max(VHD_MAX_BITMAPS / nr, VHD_MIN_BITMAPS));
		limit = min(limit, layers[i]->size >> VHD_SECTOR_SHIFT);
		c->limits[i] = limit;
		if (!layers[i]->bat)
			continue;
		if (!c->chunk || vhd_block_sectors(layers[i]) < c->chunk)
			c->chunk = vhd_block_sectors(layers[i]);
	}
	return 0;
}

void vhd_chain_free(struct vhd_chain *c)
{
	kvfree(c->below);
	kfree(c->limits);
	kfree(c->layers);
	memset(c, 0, sizeof(*c));
}

int vhd_chain_room(const struct vhd_chain *c, u32 blocks, u16 **below)
{
	*below = NULL;
	if (!c->below)
		return 0;
	*below = kvcalloc(blocks, sizeof(**below), GFP_KERNEL);
	return *below ? 0 : -ENOMEM;
}

void vhd_chain_resized(struct vhd_chain *c, u16 *below, u32 blocks)
{
	c->limits[0] = c->layers[0]->size >> VHD_SECTOR_SHIFT;
	if (!below)
		return;
	memcpy(below, c->below, blocks * sizeof(*below));
	kvfree(c->below);
	c->below = below;
}

/* ---- looking up ------------------------------------------------------ */

/* Has the layer anything at all in [first, end)? */
static bool vhd_chain_has(const struct vhd_image *img, u64 first, u64 end)
{
	u32 block, last;

	if (img->type != VHD_TYPE_DIFFERENCING)
		return true;
	block = first >> (img->block_shift - VHD_SECTOR_SHIFT);
	last = (end - 1) >> (img->block_shift - VHD_SECTOR_SHIFT);
	for (; block <= last; block++)
		if (READ_ONCE(img->bat[block]) != VHD_BAT_UNUSED)
			return true;
	return false;
}

u32 vhd_chain_below(const struct vhd_chain *c, u64 sector)
{
	const struct vhd_image *top = c->layers[0];
	u32 shift, block, layer;
	u64 first, end;

	if (!c->below)
		return 1;
	shift = top->block_shift - VHD_SECTOR_SHIFT;
	block = sector >> shift;
	layer = READ_ONCE(c->below[block]);
	if (likely(layer))
		return layer;
	first = (u64)block << shift;
	for (layer = 1; layer < c->nr; layer++) {
		end = min(first + vhd_block_sectors(top), c->limits[layer]);
		if (first >= end || vhd_chain_has(c->layers[layer], first, end))
			break;
	}
	WRITE_ONCE(c->below[block], layer);
	return layer;
}

/* Sectors of a range up to the end of the layer's block and of what it shows. */
static u32 vhd_chain_clip(const struct vhd_chain *c, u32 layer, u64 sector,
			  u32 sectors)
{
	const struct vhd_image *img = c->layers[layer];
	u32 block;

	sectors = min_t(u64, sectors, c->limits[layer] - sector);
	if (!img->bat)
		return sectors;
	block = vhd_block_sectors(img);
	return min_t(u32, sectors, block - (sector & (block - 1)));
}

static void vhd_chain_map_layer(struct vhd_image *img, u64 sector, u32 sectors,
				struct vhd_hold *hold, struct vhd_extent *ext)
{
	ext->sectors = sectors;
	ext->kind = vhd_map_fast(img, sector, &ext->pos);
	if (ext->kind == VHD_MAP_SLOW)
		vhd_map_read(img, sector, sectors, hold, ext);
}

void vhd_chain_map_read(struct vhd_chain *c, u64 sector, u32 sectors,
			struct vhd_hold *hold, struct vhd_extent *ext)
{
	u32 layer = 0;

	while (layer < c->nr && sector < c->limits[layer]) {
		sectors = vhd_chain_clip(c, layer, sector, sectors);
		vhd_chain_map_layer(c->layers[layer], sector, sectors, hold,
				    ext);
		ext->layer = layer;
		sectors = ext->sectors;
		if (ext->kind != VHD_MAP_PARENT)
			return;
		layer = layer ? layer + 1 : vhd_chain_below(c, sector);
	}
	ext->kind = VHD_MAP_ZERO;
	ext->layer = min(layer, c->nr - 1);
	ext->sectors = sectors;
}
