/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking an image: what the open plan finds, and all it does not look at.
 */
#ifndef _LIBVHD_CHECK_H
#define _LIBVHD_CHECK_H

#include "file.h"
#include "open.h"

/* Findings of one code that are kept; a hostile image could make millions. */
#define VHD_CHECK_KEPT	32

/**
 * struct vhd_check - a check and its result
 * @azure: also what Azure would refuse
 * @windows: also what Windows would refuse
 * @quick: leave out what takes long: bitmaps, batmap, content of slack
 * @each: told every finding, or NULL
 * @now: seconds since VHD_EPOCH
 * @open: the plan, as it ended
 * @hole_start: a hole of the file, up to @hole_end
 * @counts: findings of each code
 * @kept: the first VHD_CHECK_KEPT of each code
 *
 * Large: not for the stack.
 */
struct vhd_check {
	bool azure;
	bool windows;
	bool quick;
	void (*each)(struct vhd_check *c, const struct vhd_finding *f);
	u32 now;

	struct vhd_reporter rep;
	struct vhd_file *file;
	struct vhd_open open;
	u64 hole_start;
	u64 hole_end;
	u64 counts[VHD_NR_FINDINGS];
	struct vhd_finding kept[VHD_NR_FINDINGS][VHD_CHECK_KEPT];
};

/**
 * vhd_check - look at everything; writes nothing
 * Counts blocks as progress.
 *
 * @c: options set, the rest zeroed
 * @f: opened, not loaded; loaded afterwards unless the image is refused
 *
 * Return: 0 if the image could be looked at, whatever was found; -EUCLEAN,
 * -EMEDIUMTYPE if it is too damaged for more than the findings made; another
 * negative errno if it could not be read.
 */
int vhd_check(struct vhd_check *c, struct vhd_file *f);

/** vhd_check_kept - how many findings of a code are kept */
unsigned int vhd_check_kept(const struct vhd_check *c,
			    enum vhd_finding_code code);

/** vhd_check_count - findings of a severity */
u64 vhd_check_count(const struct vhd_check *c, enum vhd_severity severity);

/** vhd_check_policy - the severest policy of all findings */
enum vhd_policy vhd_check_policy(const struct vhd_check *c);

/** vhd_check_table_end - where the table ends, or something else begins in it */
u64 vhd_check_table_end(const struct vhd_check *c);

/** vhd_disk_sectors - how many sectors of a block lie on the disk */
u32 vhd_disk_sectors(const struct vhd_image *img, u32 block);

/**
 * vhd_footer_place - file offset of the footer that the image goes by
 * The end's, or 0 where only the copy there is good.
 */
u64 vhd_footer_place(const struct vhd_open *o);

#endif /* _LIBVHD_CHECK_H */
