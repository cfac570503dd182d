/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Doing I/O on a descriptor: whole transfers, and the core's plans.
 *
 * Everything here returns 0 or a negative errno.
 */
#ifndef _LIBVHD_IO_H
#define _LIBVHD_IO_H

#include <signal.h>
#include <stddef.h>
#include <stdio.h>

#include <linux/types.h>

#include "plan.h"

/* Set by a signal handler: long work ends soon with -EINTR. */
extern volatile sig_atomic_t vhd_interrupted;

/* Where every step of every plan is told, or NULL. */
extern FILE *vhd_io_trace;

/**
 * vhd_pread - read exactly @len bytes at byte @pos
 * What lies beyond the end of the file reads as zeros.
 */
int vhd_pread(int fd, void *buf, size_t len, u64 pos);

/** vhd_pwrite - write exactly @len bytes at byte @pos */
int vhd_pwrite(int fd, const void *buf, size_t len, u64 pos);

/** vhd_fd_size - bytes of a file or of a block device */
int vhd_fd_size(int fd, u64 *size);

/*
 * vhd_fd_tail - where the footer of an image on a block device stands
 * The last sector; 0 in a file, where that depends on what it holds.
 * Return: 0, -ENOSPC if the device is too small for any, or an error.
 */
int vhd_fd_tail(int fd, u64 *tail);

/**
 * vhd_zero - make @len bytes at byte @pos read as zeros
 * Punches a hole, or writes zeros where the file system cannot.  Never extends
 * the file.
 */
int vhd_zero(int fd, u64 pos, u64 len);

/** vhd_write_zeros - write zeros, so that the space is really there */
int vhd_write_zeros(int fd, u64 pos, u64 len);

/** vhd_run_plan - do all steps of a plan on @fd; the plan's result */
int vhd_run_plan(int fd, struct vhd_plan *plan);

#endif /* _LIBVHD_IO_H */
