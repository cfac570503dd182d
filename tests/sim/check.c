// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/errno.h>
#include <linux/kernel.h>

#include "bitmap.h"
#include "check.h"
#include "map.h"
#include "open.h"

__attribute__((format(printf, 2, 3)))
static bool wrong(struct checker *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
	return false;
}

/* ---- opening -------------------------------------------------------------- */

static void check_report(struct vhd_reporter *rep, const struct vhd_finding *f)
{
	struct checker *c = container_of(rep, struct checker, rep);

	c->codes.has[f->code] = true;
}

int open_file(struct checker *c, const struct disk_file *f,
	      struct vhd_image *img, unsigned int flags)
{
	struct vhd_open o;
	struct vhd_io io;
	int ret;

	memset(&c->codes, 0, sizeof(c->codes));
	c->rep.report = check_report;
	if (f->device)
		flags |= VHD_OPEN_DEVICE;
	vhd_open_init(&o, img, f->size, flags, &c->rep);
	while ((ret = vhd_plan_next(&o.plan, 0, &io)) > 0)
		file_read(c->pool, f, io.pos, io.buf, io.len);
	vhd_open_end(&o);
	return ret;
}

bool load_bitmap(const struct pool *p, const struct disk_file *f,
		 struct vhd_image *img, u32 block)
{
	struct vhd_bitmap *bm = vhd_bitmap_alloc(img, block);
	u32 len;
	u64 pos;

	if (!bm)
		abort();
	pos = vhd_bitmap_load_pos(img, bm, &len);
	if (pos)
		file_read(p, f, pos, bm->live, len);
	vhd_bitmap_add(img, bm);
	return true;
}

/* Names of what was found and not expected. */
static const char *finding_names(const struct checker *c, char *buf, size_t len)
{
	size_t at = 0;
	u32 i;

	buf[0] = 0;
	for (i = 0; i < VHD_NR_FINDINGS && at < len; i++)
		if (c->codes.has[i] && !c->expected.has[i])
			at += snprintf(buf + at, len - at, " %s",
				       vhd_finding_info(i)->name);
	return buf;
}

/* Nothing may be found that was not there before, slack apart. */
static bool check_findings(struct checker *c)
{
	char names[128];
	u32 i;

	for (i = 0; i < VHD_NR_FINDINGS; i++)
		if (c->codes.has[i] && !c->expected.has[i] &&
		    i != VHD_FIND_SLACK &&
		    !(c->hollow && i == VHD_FIND_TAIL_BAD) &&
		    !(c->resizing && i == VHD_FIND_HEAD_BAD) &&
		    vhd_finding_info(i)->policy != VHD_POLICY_INFO)
			return wrong(c, "findings:%s",
				     finding_names(c, names, sizeof(names)));
	return true;
}

/* ---- content --------------------------------------------------------------- */

static void name_of(u32 id, char *buf, size_t len)
{
	if (!id)
		snprintf(buf, len, "zeros");
	else if (id & ID_META)
		snprintf(buf, len, "metadata %u", id & ~ID_META);
	else
		snprintf(buf, len, "data %u", id);
}

static bool wrong_value(struct checker *c, u32 sector, u32 id)
{
	char found[32], floor[32], now[32];

	name_of(id, found, sizeof(found));
	name_of(c->m->floor[sector], floor, sizeof(floor));
	name_of(model_now(c->m, sector), now, sizeof(now));
	return wrong(c, "sector %u (block %u + %u) holds %s; flushed %s, written last %s",
		     sector, sector / c->m->block_sectors,
		     sector % c->m->block_sectors, found, floor, now);
}

/* The next @n sectors, given what they hold; NULL: zeros. */
static bool check_run(struct checker *c, u32 sector, u32 n, const u32 *ids)
{
	static const u32 zeros[4096];
	u32 i;

	if (!ids)
		ids = zeros;
	if (c->found)
		memcpy(c->found + sector, ids, n * sizeof(*ids));
	if (!memcmp(ids, c->m->floor + sector, n * sizeof(*ids)))
		return true;
	for (i = 0; i < n; i++)
		if (!model_allows(c->m, sector + i, ids[i]))
			return wrong_value(c, sector + i, ids[i]);
	return true;
}

static void extent_ids(const struct model *m, const struct disk_file *f,
		       const struct vhd_extent *ext, u32 sector, u32 *ids)
{
	u32 i;

	for (i = 0; i < ext->sectors; i++)
		ids[i] = ext->kind == VHD_MAP_DATA ?
				 file_id(f, ext->pos / VHD_SECTOR_SIZE + i) :
			 ext->kind == VHD_MAP_PARENT ?
				 model_absent(m, sector + i) : 0;
}

bool layer_ids(const struct pool *p, const struct model *m,
	       const struct disk_file *f, struct vhd_image *img, u32 sector,
	       u32 n, u32 *ids)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext = { };

	while (n && ext.kind != VHD_MAP_BAD) {
		vhd_map_read(img, sector, n, &hold, &ext);
		if (ext.kind == VHD_MAP_BITMAP) {
			load_bitmap(p, f, img, sector / m->block_sectors);
			continue;
		}
		extent_ids(m, f, &ext, sector, ids);
		sector += ext.sectors;
		ids += ext.sectors;
		n -= ext.sectors;
	}
	vhd_map_done(img, &hold, 0);
	return ext.kind != VHD_MAP_BAD;
}

static bool check_parent(struct checker *c, u32 sector, u32 n)
{
	u32 ids[4096], i;

	for (i = 0; i < n && !c->lower_img; i++)
		ids[i] = model_absent(c->m, sector + i);
	if (c->lower_img && !layer_ids(c->pool, c->m, c->lower, c->lower_img,
				       sector, n, ids))
		return wrong(c, "sector %u is damaged in the parent", sector);
	return check_run(c, sector, n, ids);
}

static bool check_extent(struct checker *c, const struct disk_file *f,
			 u32 sector, const struct vhd_extent *ext)
{
	switch (ext->kind) {
	case VHD_MAP_ZERO:
		return check_run(c, sector, ext->sectors, NULL);
	case VHD_MAP_PARENT:
		return check_parent(c, sector, ext->sectors);
	case VHD_MAP_DATA:
		if (ext->pos + ext->sectors * 512ULL > f->size)
			return wrong(c, "sector %u lies beyond the end", sector);
		return check_run(c, sector, ext->sectors,
				 f->ids + ext->pos / VHD_SECTOR_SIZE);
	default:
		return wrong(c, "sector %u: mapping kind %d", sector, ext->kind);
	}
}

static bool check_range(struct checker *c, const struct disk_file *f,
			struct vhd_image *img, u32 sector, u32 n)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext;
	bool ok = true;

	while (n && ok) {
		vhd_map_read(img, sector, n, &hold, &ext);
		if (ext.kind == VHD_MAP_BITMAP) {
			load_bitmap(c->pool, f, img,
				    sector / c->m->block_sectors);
			continue;
		}
		ok = check_extent(c, f, sector, &ext);
		sector += ext.sectors;
		n -= ext.sectors;
	}
	vhd_map_done(img, &hold, 0);
	return ok;
}

/*
 * A block of ours has a bitmap of all ones: readers that do not look at it see
 * the same, and in a differencing image it would hide the parent's data.
 */
static bool check_bitmap(struct checker *c, const struct disk_file *f,
			 struct vhd_image *img, u32 block)
{
	u8 bits[VHD_SECTOR_SIZE];
	u64 pos;
	u32 len;

	if (!img->bat || img->bat[block] >= VHD_BAT_BAD || c->m->foreign[block])
		return true;
	/* What that one's says was seen by reading. */
	if (img->type == VHD_TYPE_DIFFERENCING)
		return true;
	pos = vhd_bitmap_pos(img, block, &len);
	file_read(c->pool, f, pos, bits, len);
	if (vhd_bitmap_full(img, block, bits))
		return true;
	return wrong(c, "block %u is mapped and its bitmap is not all ones",
		     block);
}

bool check_image(struct checker *c, const struct disk_file *f,
		 struct vhd_image *img)
{
	u32 block = 0, sector, n;

	for (sector = 0; sector < c->m->nr; sector += n, block++) {
		n = min(c->m->block_sectors, c->m->nr - sector);
		if (!check_range(c, f, img, sector, n))
			return false;
	}
	return true;
}

static bool check_bitmaps(struct checker *c, const struct disk_file *f,
			  struct vhd_image *img)
{
	u32 block;

	for (block = 0; block < img->nr_blocks; block++)
		if (!check_bitmap(c, f, img, block))
			return false;
	return true;
}

static bool check_size(struct checker *c, const struct vhd_image *img)
{
	u64 sectors = img->size / VHD_SECTOR_SIZE;

	if (sectors == c->m->nr || (sectors > c->m->nr && sectors <= c->most))
		return true;
	return wrong(c, "the disk has %llu sectors, expected %u to %u",
		     (unsigned long long)sectors, c->m->nr, c->most);
}

/* What the disk has grown by, if it has. */
static bool check_more(struct checker *c, const struct disk_file *f,
		       struct vhd_image *img)
{
	u32 per = c->m->block_sectors, end = img->size / VHD_SECTOR_SIZE;
	u32 sector, n;

	for (sector = c->m->nr; c->grows && sector < end; sector += n) {
		n = min(per - sector % per, end - sector);
		if (!check_range(c, f, img, sector, n))
			return false;
	}
	return true;
}

static bool check_opened(struct checker *c, const struct disk_file *f,
			 struct vhd_image *img, int ret)
{
	char names[128];

	if (ret)
		return wrong(c, "opening: error %d,%s", ret,
			     finding_names(c, names, sizeof(names)));
	return check_findings(c) && check_size(c, img) &&
	       check_image(c, f, img) && check_more(c, f, img) &&
	       check_bitmaps(c, f, img);
}

/*
 * A fixed image has no copy of its footer.  It can be mended if the file ends
 * with one but for zeros, which stands where its disk ends.
 */
static int open_behind_zeros(struct checker *c, const struct disk_file *f,
			     struct vhd_image *img, struct disk_file *view)
{
	u64 end = f->size / VHD_SECTOR_SIZE;
	int ret;

	while (end && !file_id(f, end - 1))
		end--;
	*view = *f;
	view->size = end * VHD_SECTOR_SIZE;
	ret = open_file(c, view, img, VHD_OPEN_WRITE);
	return !ret && img->size != view->size - VHD_SECTOR_SIZE ? -EUCLEAN :
								   ret;
}

static bool check_top(struct checker *c, const struct disk_file *f)
{
	struct disk_file view;
	struct vhd_image img;
	bool ok;
	int ret;

	ret = open_file(c, f, &img, VHD_OPEN_WRITE);
	if (c->hollow && ret == -EMEDIUMTYPE) {
		vhd_image_free(&img);
		ret = open_behind_zeros(c, f, &img, &view);
		f = &view;
	}
	if ((c->hollow || c->resizing) && ret == -EROFS) {
		vhd_image_free(&img);
		ret = open_file(c, f, &img, 0);
	}
	ok = check_opened(c, f, &img, ret);
	vhd_image_free(&img);
	return ok;
}

/* The former top: its findings are those that it had, its bitmaps are whole. */
static bool check_lower(struct checker *c, struct vhd_image *img)
{
	int ret = open_file(c, c->lower, img, VHD_OPEN_WRITE);
	struct findings expected = c->expected;
	char why[sizeof(c->why)];
	bool ok;

	c->expected = c->lower_expected;
	ok = !ret && check_findings(c) && check_bitmaps(c, c->lower, img);
	c->expected = expected;
	memcpy(why, c->why, sizeof(why));
	if (ret)
		return wrong(c, "the parent cannot be opened: error %d", ret);
	return ok || wrong(c, "the parent: %.200s", why);
}

/* The chain of both: the former top first, then what the top shows of it. */
static bool check_chain(struct checker *c, const struct disk_file *f)
{
	struct vhd_image img;
	bool ok;

	ok = check_lower(c, &img);
	c->lower_img = &img;
	ok = ok && check_top(c, f);
	c->lower_img = NULL;
	vhd_image_free(&img);
	return ok;
}

bool check_file(struct checker *c, const struct disk_file *f)
{
	return c->lower ? check_chain(c, f) : check_top(c, f);
}
