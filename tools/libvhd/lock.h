/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exclusive use of an image, by the byte locks that qemu takes.
 */
#ifndef _LIBVHD_LOCK_H
#define _LIBVHD_LOCK_H

#include <linux/types.h>

/**
 * vhd_lock_image - claim an image
 * @fd: open for reading; the locks belong to this open file and live as long
 *	as anyone, the kernel included, holds it
 * @write: we shall write; else we read and forbid others to write
 *
 * Return: 0; -EBUSY if another user conflicts; another negative errno if the
 * file system has no locks.
 */
int vhd_lock_image(int fd, bool write);

/**
 * vhd_lock_over - claim an image for writing that others have open
 * They are to let go of it before it is written to their harm.
 * Return: 0; -EBUSY if somebody has it exclusively; another negative errno if the
 * file system has no locks.
 */
int vhd_lock_over(int fd);

/**
 * vhd_lock_guards - how many open files want the image not to be written
 * Return: so many, or a negative errno.  Where the kernel lists the file under
 * another device than stat() tells (btrfs), none is found.
 */
int vhd_lock_guards(int fd);

/** vhd_lock_writer - does another open file claim to write the image */
bool vhd_lock_writer(int fd);

#endif /* _LIBVHD_LOCK_H */
