/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A child that is spoiled: its parent has taken over what it had, and will be
 * written to.
 */
#ifndef _VHD_CORE_ORPHAN_H
#define _VHD_CORE_ORPHAN_H

#include "image.h"

/**
 * struct vhd_orphan - the orphan plan: a child names no parent any more
 * @plan: what the shell runs
 * @img: the child
 * @step: what comes next
 * @error: why it is taken back
 * @header: as it will be
 *
 * The parent's id becomes null, which is nobody's, so that no program takes the
 * image for a child of what it had below it.  That is one sector: done or not.
 * A failed write leaves the image as it was; a failed flush, or one that cannot
 * be taken back, fails it.
 */
struct vhd_orphan {
	struct vhd_plan plan;
	struct vhd_image *img;
	int step;
	int error;
	struct vhd_dyn_header header;
};

/** vhd_orphan_init - of a differencing image; process context */
void vhd_orphan_init(struct vhd_orphan *o, struct vhd_image *img);

#endif /* _VHD_CORE_ORPHAN_H */
