/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _VHDCTL_CONVERT_DIFFERENCE_H
#define _VHDCTL_CONVERT_DIFFERENCE_H

#include "chain.h"
#include "source.h"

/**
 * convert_difference - make an image of what a disk has otherwise than a parent
 * @create: size, block size (0: the parent's), id, whether to replace
 * Return: an exit code; why is told.
 */
int convert_difference(struct vhd_source *s, const char *parent,
		       const char *path, struct vhd_create *create);

#endif /* _VHDCTL_CONVERT_DIFFERENCE_H */
