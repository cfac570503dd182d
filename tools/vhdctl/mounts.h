/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the file systems of a device are mounted.
 */
#ifndef _VHDCTL_MOUNTS_H
#define _VHDCTL_MOUNTS_H

#include "device.h"

/**
 * mounts_of - the directories a device and its partitions are mounted on
 * @targets: out: in the order of mounting; each of them and the list to be
 *	freed; may be NULL
 * Return: how many, or a negative errno.
 */
int mounts_of(const struct device *d, char ***targets);

/** mounted_at - is the node mounted on the directory */
bool mounted_at(const char *node, const char *dir);

/** device_at - the device whose file system is mounted on a directory
 * Return: 0, or -ENODEV.
 */
int device_at(const char *dir, struct device *d);

#endif /* _VHDCTL_MOUNTS_H */
