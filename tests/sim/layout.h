/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The images that programs begin with.
 */
#ifndef _TESTS_SIM_LAYOUT_H
#define _TESTS_SIM_LAYOUT_H

#include <linux/types.h>
#include <vhd/format.h>

#include "disk.h"
#include "model.h"

/**
 * struct layout - an image
 * @blocks: whole blocks
 * @extra: sectors of one more block, which the disk ends in
 * @mapped: blocks that have a place already
 * @foreign: those lie unaligned, in disorder, with gaps, and some of their bits
 *	are clear over garbage
 * @stale: slots full of garbage between the last block and the footer
 * @surplus: entries of the table beyond what the disk needs
 * @short_footer: 511 bytes
 * @tight: the first block lies right behind the table, which has no room to grow
 * @device: it is a block device: the stale slots are room, and no slack
 */
struct layout {
	const char *name;
	enum vhd_disk_type type;
	u32 block_size;
	u32 blocks;
	u32 extra;
	u32 mapped;
	bool foreign;
	u32 stale;
	u32 surplus;
	bool short_footer;
	bool tight;
	bool device;
};

/* Behind the first @nr_layouts are some more, up to @nr_all_layouts, for resizes. */
extern const struct layout layouts[];
extern const u32 nr_layouts;
extern const u32 nr_all_layouts;

/** layout_find - by name, or NULL */
const struct layout *layout_find(const char *name);
u32 layout_sectors(const struct layout *l);
/** layout_child - an empty differencing image over @l, synced or not yet */
void layout_child(const struct layout *l, struct disk *d);
/** layout_build - the image and what its disk holds */
void layout_build(const struct layout *l, struct disk *d, struct model *m,
		  u64 seed);

#endif /* _TESTS_SIM_LAYOUT_H */
