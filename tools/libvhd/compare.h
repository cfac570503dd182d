/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Comparing two disks by what they hold.
 */
#ifndef _LIBVHD_COMPARE_H
#define _LIBVHD_COMPARE_H

#include "source.h"

/**
 * struct vhd_compare - a comparison and its result
 * @sources: open, no streams
 * @differ: somewhere, first at byte @at
 * @at: after an error: where on the disk
 * @which: after an error: whose it is
 */
struct vhd_compare {
	struct vhd_source *sources[2];
	bool differ;
	u64 at;
	int which;
};

/**
 * vhd_compare - compare two disks; the shorter one as if zeros followed
 *
 * What is a hole or not allocated in both is not read.  Counts bytes of the
 * longer disk as progress.  Return: 0 or a negative errno.
 */
int vhd_compare(struct vhd_compare *c);

#endif /* _LIBVHD_COMPARE_H */
