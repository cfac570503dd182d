/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far a long job is.  Whoever does the work counts; whoever runs it looks,
 * from any thread.  A program has one job at a time.
 */
#ifndef _LIBVHD_PROGRESS_H
#define _LIBVHD_PROGRESS_H

#include <linux/types.h>

/** vhd_progress_begin - a job of @total units begins; 0: nobody knows */
void vhd_progress_begin(u64 total);

/** vhd_progress_add - @n more are done; from any thread */
void vhd_progress_add(u64 n);

/** vhd_progress_set - @done of them are done */
void vhd_progress_set(u64 done);

/** vhd_progress_get - how many are done, and of how many */
void vhd_progress_get(u64 *done, u64 *total);

#endif /* _LIBVHD_PROGRESS_H */
