/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Merging the upper layers of a chain into a lower one, or into a new image.
 *
 * Only sectors that the merged layers have are written, and each with what the
 * top shows there.  So the top shows the same all the time, however far this has
 * come, and it can be done again from the beginning.
 */
#ifndef _LIBVHD_MERGE_H
#define _LIBVHD_MERGE_H

#include "layers.h"

/**
 * struct vhd_merge - what goes where
 * @c: the chain
 * @depth: the layers from 0 on that are merged
 * @target: loaded for writing: layer @depth, or an image of its own
 */
struct vhd_merge {
	struct vhd_layers *c;
	unsigned int depth;
	struct vhd_file *target;
};

/**
 * vhd_merge_space - bytes by which the target's file may grow
 * Return: 0 or a negative errno.
 */
int vhd_merge_space(struct vhd_merge *m, u64 *bytes);

/**
 * vhd_merge_run - do it; the target is durable and tight afterwards
 * Return: 0; -EINTR after a signal; -EIO where a block is damaged; another
 * negative errno.
 */
int vhd_merge_run(struct vhd_merge *m);

#endif /* _LIBVHD_MERGE_H */
