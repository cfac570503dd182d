/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is what a crash left sound?  Opened by the core, read whole, compared.
 */
#ifndef _TESTS_SIM_CHECK_H
#define _TESTS_SIM_CHECK_H

#include <linux/types.h>

#include "disk.h"
#include "finding.h"
#include "image.h"
#include "model.h"

#define MAX_WHY	256

/** struct findings - a set of codes */
struct findings {
	bool has[VHD_NR_FINDINGS];
};

/**
 * struct checker - what is known of the image
 * @m: what its disk may hold
 * @expected: findings that the image had from the beginning
 * @lower: the former top, between a snapshot and the end of its retiring; or NULL
 * @lower_expected: findings that it had from the beginning
 * @hollow: the size may have come without its footer: then the image need be
 *	readable only
 * @resizing: the copy of the footer may be blank: the same
 * @grows: what is behind the sectors of the model holds zeros
 * @most: sectors that it may have, if not as many as the model has; or 0
 * @found: out: what each sector holds; or NULL
 * @codes: out: findings
 * @why: out: what is wrong, in words
 */
struct checker {
	const struct pool *pool;
	const struct model *m;
	struct findings expected;
	const struct disk_file *lower;
	struct findings lower_expected;
	struct vhd_image *lower_img;
	bool hollow;
	bool resizing;
	bool grows;
	u32 most;
	u32 *found;
	char why[MAX_WHY];
	struct vhd_reporter rep;
	struct findings codes;
};

/** open_file - run the open plan; the image must be freed in any case */
int open_file(struct checker *c, const struct disk_file *f,
	      struct vhd_image *img, unsigned int flags);
/** check_file - false if something is wrong, and @why says what */
bool check_file(struct checker *c, const struct disk_file *f);
/** check_open - the same with an image that is open */
bool check_image(struct checker *c, const struct disk_file *f,
		 struct vhd_image *img);
/**
 * layer_ids - what sectors of a layer hold
 * @m: tells what those have that the layer itself does not
 * Return: false if the layer is damaged there.
 */
bool layer_ids(const struct pool *p, const struct model *m,
	       const struct disk_file *f, struct vhd_image *img, u32 sector,
	       u32 n, u32 *ids);
/** load_bitmap - as VHD_MAP_BITMAP asks */
bool load_bitmap(const struct pool *p, const struct disk_file *f,
		 struct vhd_image *img, u32 block);

#endif /* _TESTS_SIM_CHECK_H */
