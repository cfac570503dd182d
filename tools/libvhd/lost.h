/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The footer of a fixed image that was being made larger, or whose device was.
 *
 * Where a file's size may reach the disk without what was written, a power cut
 * leaves zeros where the new footer should be.  The old one is still at its place
 * then, and it is what the file ends with but for those zeros.  On a device that
 * has grown it is where the device ended before.
 */
#ifndef _LIBVHD_LOST_H
#define _LIBVHD_LOST_H

#include <linux/types.h>

/**
 * vhd_lost_footer - find it
 * @fd: the file
 * @size: its bytes
 * @device: it is a block device
 * @pos: out: where the footer is
 *
 * It counts only where its disk ends, on a device also behind that.
 *
 * Return: 0; -ENODATA if there is none; -EINTR; the error of a read.
 */
int vhd_lost_footer(int fd, u64 size, bool device, u64 *pos);

#endif /* _LIBVHD_LOST_H */
