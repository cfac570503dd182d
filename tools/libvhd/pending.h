/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a commit over several layers has still to do when it hangs the top on
 * what it was merged into: from then on no image names those that lay between.
 *
 * They are noted in a file beside the top, until the top is gone.
 */
#ifndef _LIBVHD_PENDING_H
#define _LIBVHD_PENDING_H

#include "layers.h"

/** struct vhd_pending_layer - an image that is not needed any more */
struct vhd_pending_layer {
	u8 id[16];
	char *path;
};

/**
 * struct vhd_pending - the note
 * @top: id of the image that was merged
 * @target: id of what it was merged into
 * @depth: so many layers were merged
 * @nr: layers that lay between
 * @layers: those, the upper ones first
 */
struct vhd_pending {
	u8 top[16];
	u8 target[16];
	u32 depth;
	u32 nr;
	struct vhd_pending_layer *layers;
};

/** vhd_pending_path - name of the note for the image @path; to be freed */
char *vhd_pending_path(const char *path);

/**
 * vhd_pending_write - note that @c is merged into its layer @depth, durably
 * One that is there is replaced.  Return: 0 or a negative errno.
 */
int vhd_pending_write(const struct vhd_layers *c, unsigned int depth);

/**
 * vhd_pending_read - the note of an image
 * @p: empty if there is none, or none that could be understood; to be freed
 * Return: 0 or a negative errno.
 */
int vhd_pending_read(struct vhd_pending *p, const char *path);

/** vhd_pending_drop - remove the note of @path, if there is one */
int vhd_pending_drop(const char *path);

/** vhd_pending_free - the memory */
void vhd_pending_free(struct vhd_pending *p);

#endif /* _LIBVHD_PENDING_H */
