/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks to be read, whatever they are stored in, for convert and compare; images
 * to be changed, for compact and resize.
 */
#ifndef _VHDCTL_DISK_H
#define _VHDCTL_DISK_H

#include "source.h"

/** source_format - of the word "raw" or "vhd"; exits otherwise */
enum vhd_source_format source_format(const char *word);

/**
 * open_source - open a disk for reading, say what is wrong with it
 * @s: zeroed; to be closed whatever the result
 * @opt: for the parents of a differencing image, or NULL
 * Return: an exit code.
 */
int open_source(struct vhd_source *s, const char *path,
		enum vhd_source_format format,
		const struct vhd_parent_options *opt);

/**
 * open_exclusive - open an image to change its structure; nobody else has it
 * Locked, loaded and writable after 0, an exit code.
 */
int open_exclusive(struct vhd_source *s, const char *path);

#endif /* _VHDCTL_DISK_H */
