/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making an image file as small as what it holds.
 */
#ifndef _LIBVHD_COMPACT_H
#define _LIBVHD_COMPACT_H

#include "source.h"

/**
 * struct vhd_compact - a wish, and what came of it
 * @source: the image, open for writing and loaded
 * @zero: also read all data, for blocks of zeros
 * @dropped: out: blocks that are no more
 * @moved: out: blocks that have another place
 */
struct vhd_compact {
	struct vhd_source *source;
	bool zero;
	u32 dropped;
	u32 moved;
};

/**
 * vhd_compact - drop blocks of zeros, move the last ones into gaps, cut the file
 *
 * Of a dynamic image a block is dropped if all of it is holes of the file or
 * bits are clear, with @zero also if its data are zeros; of a differencing image
 * only if all its bits are clear.
 *
 * In rounds: the blocks of a round are copied into free places -> flush; their
 * entries are switched, each by one write -> flush; then their old places are
 * free.  At any moment each entry leads to a whole copy, so whatever ends this,
 * the image is sound and holds the same; another run goes on.  Counts blocks as
 * progress.
 *
 * Return: 0 or a negative errno.
 */
int vhd_compact(struct vhd_compact *c);

#endif /* _LIBVHD_COMPACT_H */
