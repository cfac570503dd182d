/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing what one disk has otherwise than another into a differencing image.
 */
#ifndef _LIBVHD_DIFFERENCE_H
#define _LIBVHD_DIFFERENCE_H

#include "source.h"

/**
 * struct vhd_difference - two disks, and where the difference goes
 * @disk: what @target shall show; no stream
 * @parent: what its parent shows
 * @target: empty, of the size of @disk, loaded for writing
 * @written: out: bytes that differ
 */
struct vhd_difference {
	struct vhd_source *disk;
	struct vhd_source *parent;
	struct vhd_file *target;
	u64 written;
};

/**
 * vhd_difference_write - do it, sector by sector; @target is durable then
 * What neither has is not read.  Counts bytes of the disk as progress.
 * Return: 0 or a negative errno.
 */
int vhd_difference_write(struct vhd_difference *d);

#endif /* _LIBVHD_DIFFERENCE_H */
