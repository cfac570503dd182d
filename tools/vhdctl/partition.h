/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is on an attached device: partitions, file systems.
 */
#ifndef _VHDCTL_PARTITION_H
#define _VHDCTL_PARTITION_H

#include <linux/types.h>

#include "device.h"

/**
 * struct volume - a disk or one of its partitions
 * @nr: 0 for the disk
 * @node: /dev/vhdNpM
 * @name: of a GPT partition, or empty
 * @type: of the file system, as blkid calls it, or empty
 * @label: of the file system, or empty
 * @mountable: @type is a file system (not swap, an encrypted volume, a member
 *	of a RAID...)
 */
struct volume {
	int nr;
	char node[32];
	char name[128];
	char type[32];
	char label[128];
	u64 bytes;
	bool mountable;
};

/**
 * volume_list - the disk, then its partitions in the order of their numbers
 * @volumes: out: to be freed
 * Return: how many, or a negative errno.
 */
int volume_list(const struct device *d, struct volume **volumes);

#endif /* _VHDCTL_PARTITION_H */
