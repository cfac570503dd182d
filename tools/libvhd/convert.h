/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying a disk into a new file of another kind.
 */
#ifndef _LIBVHD_CONVERT_H
#define _LIBVHD_CONVERT_H

#include "format.h"
#include "source.h"

/**
 * struct vhd_convert - a wish, and how it went
 * @source: open
 * @raw: the result is a raw file, and of @image only the size counts
 * @image: type, size (0 for a stream), block size and id of the result; its
 *	size is not smaller than the source's
 * @replace: an existing regular file may be replaced
 * @size: out: of the disk
 * @written: out: bytes of data written
 * @shared: out: bytes of data that the file shares with the source's
 * @cloned: out: the data are shared with the source's file
 * @at: out, after an error: where on the disk
 * @reading: out, after an error: it was the source's
 */
struct vhd_convert {
	struct vhd_source *source;
	bool raw;
	struct vhd_new_image image;
	bool replace;

	u64 size;
	u64 written;
	u64 shared;
	bool cloned;
	u64 at;
	bool reading;
};

/**
 * vhd_convert - do it
 *
 * What are holes in the source, or zeros, are holes in the result, in steps of
 * 64 KiB; a block of a dynamic image that has only such is not allocated.
 * Counts bytes of the disk as progress.
 *
 * Return: 0 or a negative errno; -EFBIG if the table of a dynamic image cannot
 * address as many blocks, or a stream is larger than one can be.  The result
 * is whole and durable after 0, and else it is not there.
 */
int vhd_convert(struct vhd_convert *c, const char *path);

#endif /* _LIBVHD_CONVERT_H */
