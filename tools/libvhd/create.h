/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making new images.
 */
#ifndef _LIBVHD_CREATE_H
#define _LIBVHD_CREATE_H

#include "format.h"
#include "locator.h"

/**
 * enum vhd_preallocation - what a new image already has
 * @VHD_PREALLOC_OFF: only metadata
 * @VHD_PREALLOC_METADATA: dynamic: every block in the table, their data sparse;
 *	fixed: space reserved where the file system can, else as FULL
 * @VHD_PREALLOC_FULL: zeros written to every block
 */
enum vhd_preallocation {
	VHD_PREALLOC_OFF,
	VHD_PREALLOC_METADATA,
	VHD_PREALLOC_FULL,
};

/**
 * struct vhd_create - a wish
 * @image: type, size, ids; the timestamp is set by vhd_create_fd()
 * @link: the parent of a differencing image, else NULL; nothing of such an
 *	image is preallocated
 * @fill: called when the empty image is written, before it gets its name; or
 *	NULL.  What it returns is the result.
 * @replace: an existing regular file may be replaced, a block device written over
 */
struct vhd_create {
	struct vhd_new_image image;
	enum vhd_preallocation preallocation;
	const struct vhd_link *link;
	int (*fill)(int fd, void *arg);
	void *fill_arg;
	bool replace;
};

/*
 * vhd_create_fd - write a fresh image to an empty file, or over a block device
 * Return: 0 or a negative errno; -EFBIG if the table cannot address all
 * preallocated blocks; -ENOSPC if the device is too small.
 */
int vhd_create_fd(int fd, const struct vhd_create *c);

/**
 * vhd_create - make an image file
 *
 * The name appears when the image is complete and durable; until then the
 * image has a temporary name beside it, which does not outlive a failure.
 * Counts the bytes of the preallocation as progress.
 *
 * Return: 0 or a negative errno; -EEXIST if @path exists and may not be
 * replaced.
 */
int vhd_create(const char *path, const struct vhd_create *c);

#endif /* _LIBVHD_CREATE_H */
