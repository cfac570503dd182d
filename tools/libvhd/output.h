/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that appears when it is whole: until then it has a temporary name in
 * the same directory, which does not outlive a failure.  Or a block device, of
 * which first of all what made it an image is wiped.
 */
#ifndef _LIBVHD_OUTPUT_H
#define _LIBVHD_OUTPUT_H

#include <linux/types.h>

/**
 * struct vhd_output - a file in the making
 * @fd: empty at first; for reading and writing
 * @device: it is a block device: nothing is known of what it holds
 */
struct vhd_output {
	int fd;
	int dir;
	char *path;
	const char *name;
	bool replace;
	bool device;
	char temporary[32];
};

/**
 * vhd_output_open - begin
 * @replace: an existing regular file may be replaced, a device written over
 * Return: 0 or a negative errno; -EBUSY if it is a device that is mounted or
 * claimed; -EEXIST if @path exists and may not be
 * replaced.  Only after 0 vhd_output_end() is to be called.
 */
int vhd_output_open(struct vhd_output *o, const char *path, bool replace);

/**
 * vhd_output_end - make the file durable and give it its name, or remove it
 * @err: 0, or why there shall be none
 * Return: @err, or the error of this; there is a file only after 0.
 */
int vhd_output_end(struct vhd_output *o, int err);

/** vhd_output_wipe - a block device is no image any more: what unlink() is to a file */
int vhd_output_wipe(const char *path);

#endif /* _LIBVHD_OUTPUT_H */
