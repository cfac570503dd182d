// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include <linux/align.h>
#include <linux/minmax.h>

#include "difference.h"
#include "io.h"
#include "load.h"
#include "progress.h"

#define PIECE		(1U << 20)

/* Bytes from @pos on that are the same, or not, in whole sectors. */
static u32 run_at(const struct vhd_load *l, u32 pos, bool differs)
{
	u32 start = pos;

	while (pos < l[0].len &&
	       !!memcmp(l[0].data + pos, l[1].data + pos, VHD_SECTOR_SIZE) ==
	       differs)
		pos += VHD_SECTOR_SIZE;
	return pos - start;
}

static int write_runs(struct vhd_difference *d, const struct vhd_load *l)
{
	u32 pos, len;
	int err = 0;

	for (pos = 0; pos < l[0].len && !err; pos += len) {
		pos += run_at(l, pos, false);
		len = run_at(l, pos, true);
		if (!len)
			break;
		err = vhd_file_write(d->target, l[0].data + pos, len,
				     l[0].at + pos);
		d->written += len;
	}
	return err;
}

/* Behind the parent's end there are zeros. */
static int map_both(struct vhd_difference *d, struct vhd_load *l, u64 at,
		    u32 len)
{
	u64 end = d->parent->size;
	int err = vhd_load_map(&l[0], d->disk, at, len);

	if (err)
		return err;
	return vhd_load_map(&l[1], d->parent, at,
			    at < end ? min_t(u64, end - at, len) : 0);
}

static int write_piece(struct vhd_difference *d, struct vhd_load *l, u64 at,
		       u32 len)
{
	int err = map_both(d, l, at, len);

	if (err || (!l[0].nr_runs && !l[1].nr_runs))
		return err;
	err = vhd_load_read(&l[0], d->disk);
	if (!err)
		err = vhd_load_read(&l[1], d->parent);
	return err ? err : write_runs(d, l);
}

static int write_all(struct vhd_difference *d, struct vhd_load *l)
{
	u64 size = d->disk->size;
	u64 at;
	u32 len;
	int err = 0;

	vhd_progress_begin(size);
	for (at = 0; at < size && !err; at += len) {
		if (vhd_interrupted)
			return -EINTR;
		len = min_t(u64, size - at, PIECE);
		err = write_piece(d, l, at, len);
		vhd_progress_add(len);
	}
	return err ? err : vhd_file_finish(d->target);
}

int vhd_difference_write(struct vhd_difference *d)
{
	struct vhd_load l[2];
	int err;

	err = vhd_load_init(&l[0], PIECE);
	if (err)
		return err;
	err = vhd_load_init(&l[1], PIECE);
	if (!err) {
		err = write_all(d, l);
		vhd_load_free(&l[1]);
	}
	vhd_load_free(&l[0]);
	return err;
}
