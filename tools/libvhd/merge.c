// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <linux/align.h>
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "io.h"
#include "merge.h"
#include "progress.h"

#define COPY_SIZE	(1U << 20)

/* ---- the runs to be written ------------------------------------------ */

/*
 * Zeros that are there because a merged layer ends before the target does: what
 * the target has there would appear.
 */
static bool cut_off(const struct vhd_merge *m, u64 sector)
{
	unsigned int i;

	for (i = 1; i < m->depth; i++)
		if (sector >= m->c->layers[i]->image.size >> VHD_SECTOR_SHIFT)
			return true;
	return false;
}

/*
 * Call @each for every run that the merged layers have.  @ext->kind is
 * VHD_MAP_DATA, of layer @layer, or VHD_MAP_ZERO.
 */
static int for_each_run(struct vhd_merge *m, void *arg,
			int (*each)(struct vhd_merge *m, void *arg, u64 sector,
				    const struct vhd_extent *ext,
				    unsigned int layer))
{
	u64 sectors = m->c->layers[0]->image.size >> VHD_SECTOR_SHIFT;
	struct vhd_extent ext;
	unsigned int layer;
	u64 sector;
	int err = 0;

	for (sector = 0; sector < sectors && !err; sector += ext.sectors) {
		if (vhd_interrupted)
			return -EINTR;
		err = vhd_layers_map(m->c, 0, sector, sectors - sector, &ext,
				    &layer);
		if (err)
			return err;
		if (ext.kind == VHD_MAP_BAD && layer < m->depth)
			err = -EIO;
		else if ((ext.kind == VHD_MAP_DATA && layer < m->depth) ||
			 (ext.kind == VHD_MAP_ZERO && cut_off(m, sector)))
			err = each(m, arg, sector, &ext, layer);
	}
	return err;
}

/* ---- space ----------------------------------------------------------- */

struct space {
	unsigned long *blocks;	/* those of the target that will be new */
	u64 nr_blocks;
	u64 data;
};

static int count_run(struct vhd_merge *m, void *arg, u64 sector,
		     const struct vhd_extent *ext, unsigned int layer)
{
	const struct vhd_image *img = &m->target->image;
	struct space *s = arg;
	u64 block, last;

	s->data += (u64)ext->sectors << VHD_SECTOR_SHIFT;
	if (!img->bat)
		return 0;
	block = sector << VHD_SECTOR_SHIFT >> img->block_shift;
	last = (sector + ext->sectors - 1) << VHD_SECTOR_SHIFT >>
	       img->block_shift;
	for (; block <= last && block < img->nr_blocks; block++) {
		if (img->bat[block] != VHD_BAT_UNUSED ||
		    test_bit(block, s->blocks))
			continue;
		set_bit(block, s->blocks);
		s->nr_blocks++;
	}
	return 0;
}

/* Of a fixed image, and of blocks that were never written: holes of the file. */
static u64 file_holes(const struct vhd_file *f)
{
	struct stat st;
	u64 used;

	if (fstat(f->fd, &st))
		return 0;
	used = st.st_blocks * 512ULL;
	return used < (u64)st.st_size ? st.st_size - used : 0;
}

int vhd_merge_space(struct vhd_merge *m, u64 *bytes)
{
	const struct vhd_image *img = &m->target->image;
	struct space s = { };
	int err;

	s.blocks = calloc(BITS_TO_LONGS(img->nr_blocks + 1), sizeof(long));
	if (!s.blocks)
		return -ENOMEM;
	err = for_each_run(m, &s, count_run);
	free(s.blocks);
	*bytes = min(file_holes(m->target), s.data);
	/* Data are aligned, so is the footer. */
	if (img->bat)
		*bytes = s.nr_blocks * ALIGN(vhd_slot_bytes(img), VHD_ALIGN) +
			 (s.nr_blocks ? VHD_ALIGN : 0);
	return err;
}

/* ---- copying --------------------------------------------------------- */

/* Would zeros be no news to the target, nor to what is below it? */
static int shows_zeros(struct vhd_merge *m, u64 sector, u32 sectors, bool *yes)
{
	struct vhd_extent ext;
	u32 n;
	int err;

	*yes = m->target->image.type != VHD_TYPE_DIFFERENCING;
	for (n = 0; n < sectors && *yes; n += ext.sectors) {
		err = vhd_file_map(m->target, sector + n, sectors - n, &ext);
		if (err)
			return err;
		*yes = ext.kind == VHD_MAP_ZERO;
	}
	return 0;
}

static int copy_piece(struct vhd_merge *m, u8 *buf, u64 sector, u32 sectors)
{
	size_t bytes = (size_t)sectors << VHD_SECTOR_SHIFT;
	bool skip = !memchr_inv(buf, 0, bytes);
	int err = 0;

	if (skip)
		err = shows_zeros(m, sector, sectors, &skip);
	if (err || skip)
		return err;
	return vhd_file_write(m->target, buf, bytes,
			      sector << VHD_SECTOR_SHIFT);
}

static int copy_run(struct vhd_merge *m, void *arg, u64 sector,
		    const struct vhd_extent *ext, unsigned int layer)
{
	u8 *buf = arg;
	u64 pos = ext->pos;
	u32 left, n;
	int err = 0;

	for (left = ext->sectors; left && !err; left -= n, sector += n) {
		n = min_t(u32, left, COPY_SIZE >> VHD_SECTOR_SHIFT);
		if (vhd_interrupted)
			return -EINTR;
		if (ext->kind == VHD_MAP_ZERO)
			memset(buf, 0, (size_t)n << VHD_SECTOR_SHIFT);
		else
			err = vhd_pread(m->c->layers[layer]->fd, buf,
					(size_t)n << VHD_SECTOR_SHIFT, pos);
		if (!err)
			err = copy_piece(m, buf, sector, n);
		pos += (u64)n << VHD_SECTOR_SHIFT;
	}
	vhd_progress_set((sector << VHD_SECTOR_SHIFT));
	return err;
}

int vhd_merge_run(struct vhd_merge *m)
{
	u8 *buf = malloc(COPY_SIZE);
	int err, finish;

	if (!buf)
		return -ENOMEM;
	vhd_progress_begin(m->c->layers[0]->image.size);
	err = for_each_run(m, buf, copy_run);
	if (!err)
		vhd_progress_set(m->c->layers[0]->image.size);
	free(buf);
	/* Also what was done by half is left in order. */
	finish = vhd_file_finish(m->target);
	return err ? err : finish;
}
