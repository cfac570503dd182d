/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several threads at one job, each carrying its pieces from the beginning to the
 * end: while one waits for a read another one writes.
 */
#ifndef _LIBVHD_CREW_H
#define _LIBVHD_CREW_H

#include <linux/types.h>

/* Enough to keep two files busy; more only make the disk seek. */
#define VHD_CREW	4U

/**
 * vhd_crew_run - run @work VHD_CREW times at once and wait for all of them
 * @work: takes pieces until there are no more; keeps its first error in @job
 * Return: 0, or a negative errno if not one could be started.
 */
int vhd_crew_run(void *(*work)(void *), void *job);

#endif /* _LIBVHD_CREW_H */
