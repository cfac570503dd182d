/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who depends on an image?  No image knows its children; they can only be looked
 * for.
 */
#ifndef _LIBVHD_CHILDREN_H
#define _LIBVHD_CHILDREN_H

#include "layers.h"

/**
 * vhd_children_find - the differencing images beside @parent that name it
 * @except: layers that are not counted, or NULL
 * @found: called with the path of each
 *
 * Looks into the headers of all regular files of its directory; of an image on a
 * logical volume, of all block devices there, such as those of a volume group.
 * Return: how many there are, or a negative errno if the directory cannot be
 * read, or is /dev itself.
 */
int vhd_children_find(const struct vhd_file *parent,
		      const struct vhd_layers *except,
		      void (*found)(const char *path, void *arg), void *arg);

#endif /* _LIBVHD_CHILDREN_H */
