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
