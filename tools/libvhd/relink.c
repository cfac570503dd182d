// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asm/byteorder.h>
#include <linux/align.h>
#include <linux/kernel.h>
#include <linux/minmax.h>

#include "format.h"
#include "io.h"
#include "progress.h"
#include "relink.h"
#include "undo.h"

#define COPY_SIZE	(1U << 20)

static int sync_file(const struct vhd_file *f)
{
	return fdatasync(f->fd) ? -errno : 0;
}

/* ---- the parent ------------------------------------------------------ */

/* Places for the locators' data from @end on; where they end. */
static u64 place_links(const struct vhd_link *link, u64 end,
		       u64 pos[VHD_NR_LINKS], u32 space[VHD_NR_LINKS])
{
	unsigned int i;

	for (i = 0; i < VHD_NR_LINKS; i++) {
		pos[i] = end;
		space[i] = ALIGN(link->bytes[i], VHD_SECTOR_SIZE);
		if (link->data[i])
			end += space[i];
	}
	return end;
}

static int write_links(const struct vhd_file *f, const struct vhd_link *link,
		       const u64 pos[VHD_NR_LINKS])
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < VHD_NR_LINKS && !err; i++)
		if (link->data[i])
			err = vhd_pwrite(f->fd, link->data[i], link->bytes[i],
					 pos[i]);
	return err;
}

static int write_header(struct vhd_file *f, const struct vhd_link *link,
			const u64 pos[VHD_NR_LINKS],
			const u32 space[VHD_NR_LINKS])
{
	struct vhd_dyn_header h = f->image.header;
	int err;

	vhd_link_put(link, &h, pos, space);
	vhd_seal_header(&h);
	err = vhd_pwrite(f->fd, &h, sizeof(h),
			 be64_to_cpu(f->image.footer.data_offset));
	if (!err)
		f->image.header = h;
	return err;
}

char *vhd_relink_undo(const char *path)
{
	char *undo;

	return asprintf(&undo, "%s.rebase-undo", path) < 0 ? NULL : undo;
}

/* The old header is not needed any more, and may not come back. */
static int drop_undo(const char *undo)
{
	char *copy = strdup(undo);
	int dir = -1, err = 0;

	if (!copy)
		return -ENOMEM;
	if (unlink(undo))
		err = errno == ENOENT ? 0 : -errno;
	else
		dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0) {
		if (fsync(dir) && errno != EINVAL)
			err = -errno;
		close(dir);
	}
	free(copy);
	return err;
}

int vhd_relink_recover(struct vhd_file *f)
{
	char *undo = vhd_relink_undo(f->path);
	struct stat st;
	int err;

	if (!undo)
		return -ENOMEM;
	err = stat(undo, &st) ? 0 : vhd_undo_apply(undo, f->fd, true);
	/* It was cut short before the image was touched. */
	if (err == -EUCLEAN)
		err = 0;
	if (!err && !stat(undo, &st))
		err = drop_undo(undo) ?: 1;
	free(undo);
	return err;
}

/* Write the header while the old one is in the undo file. */
static int replace_header(struct vhd_file *f, const struct vhd_link *link,
			  const u64 pos[VHD_NR_LINKS],
			  const u32 space[VHD_NR_LINKS])
{
	char *undo = vhd_relink_undo(f->path);
	struct vhd_undo u;
	int err;

	if (!undo)
		return -ENOMEM;
	err = drop_undo(undo);
	vhd_undo_init(&u, undo, f->fd);
	if (!err)
		err = vhd_undo_save(&u, be64_to_cpu(f->image.footer.data_offset),
				    sizeof(f->image.header));
	if (!err)
		err = vhd_undo_sync(&u);
	if (!err)
		err = write_header(f, link, pos, space);
	if (!err)
		err = sync_file(f);
	vhd_undo_close(&u);
	if (!err)
		err = drop_undo(undo);
	free(undo);
	return err;
}

int vhd_relink(struct vhd_file *f, const struct vhd_link *link)
{
	const struct vhd_footer *footer = &f->image.footer;
	u64 pos[VHD_NR_LINKS], end;
	u32 space[VHD_NR_LINKS];
	int err;

	/* Beside its node the undo file would not outlive a crash. */
	if (f->image.on_device)
		return -EOPNOTSUPP;
	err = vhd_file_finish(f);
	if (err)
		return err;
	/* Behind the footer that is there now: it stays until another is. */
	end = place_links(link, f->image.space.tail + sizeof(*footer), pos,
			  space);
	err = vhd_pwrite(f->fd, footer, sizeof(*footer), vhd_tail_pos(end));
	if (!err)
		err = sync_file(f);
	if (!err)
		err = write_links(f, link, pos);
	if (!err)
		err = sync_file(f);
	return err ? err : replace_header(f, link, pos, space);
}

/* ---- the same content over another parent ---------------------------- */

/** struct rebase - one under way; the buffers are COPY_SIZE each */
struct rebase {
	struct vhd_layers *c;
	struct vhd_layers *to;
	u8 *old;
	u8 *new;
};

/* What layer @from of a chain shows; zeros beyond its end. */
static int read_view(struct vhd_layers *c, unsigned int from, u8 *buf,
		     size_t len, u64 pos)
{
	u64 size = c->layers[from]->image.size;
	size_t n = pos < size ? min_t(u64, len, size - pos) : 0;

	memset(buf + n, 0, len - n);
	return n ? vhd_layers_read(c, from, buf, n, pos) : 0;
}

/* Write the sectors that differ, run by run. */
static int keep_differing(struct rebase *r, u64 pos, size_t len)
{
	size_t start = 0, end;
	int err = 0;

	for (; start < len && !err; start = end) {
		bool same = !memcmp(r->old + start, r->new + start,
				    VHD_SECTOR_SIZE);

		for (end = start + VHD_SECTOR_SIZE; end < len &&
		     !memcmp(r->old + end, r->new + end, VHD_SECTOR_SIZE) == same;)
			end += VHD_SECTOR_SIZE;
		if (!same)
			err = vhd_file_write(r->c->layers[0], r->old + start,
					     end - start, pos + start);
	}
	return err;
}

/* Do both show the same without a look at the data? */
static int known_same(struct rebase *r, u64 pos, u64 *len, bool *same)
{
	struct vhd_extent a, b = { .kind = VHD_MAP_ZERO };
	unsigned int la, lb = 0;
	u64 sector = pos >> VHD_SECTOR_SHIFT;
	u64 left = *len >> VHD_SECTOR_SHIFT;
	u64 size = r->to->layers[0]->image.size >> VHD_SECTOR_SHIFT;
	int err;

	err = vhd_layers_map(r->c, 1, sector, left, &a, &la);
	left = min_t(u64, left, a.sectors);
	if (!err && sector < size) {
		err = vhd_layers_map(r->to, 0, sector, min(left, size - sector),
				    &b, &lb);
		left = min_t(u64, left, b.sectors);
	}
	*len = left << VHD_SECTOR_SHIFT;
	*same = a.kind == b.kind &&
		(a.kind == VHD_MAP_ZERO ||
		 (a.kind == VHD_MAP_DATA && a.pos == b.pos &&
		  r->c->layers[la]->dev == r->to->layers[lb]->dev &&
		  r->c->layers[la]->ino == r->to->layers[lb]->ino));
	return err;
}

/* A run that is not the image's own. */
static int rebase_run(struct rebase *r, u64 pos, u64 len)
{
	bool same;
	int err;
	u64 n;

	for (; len; pos += n, len -= n) {
		if (vhd_interrupted)
			return -EINTR;
		n = min_t(u64, len, COPY_SIZE);
		err = known_same(r, pos, &n, &same);
		if (!err && !same) {
			err = read_view(r->c, 1, r->old, n, pos);
			if (!err)
				err = read_view(r->to, 0, r->new, n, pos);
			if (!err)
				err = keep_differing(r, pos, n);
		}
		if (err)
			return err;
	}
	return 0;
}

static int rebase_all(struct rebase *r)
{
	struct vhd_file *f = r->c->layers[0];
	u64 sectors = f->image.size >> VHD_SECTOR_SHIFT;
	struct vhd_extent ext;
	u64 sector;
	int err = 0;

	vhd_progress_begin(f->image.size);
	for (sector = 0; sector < sectors && !err; sector += ext.sectors) {
		err = vhd_file_map(f, sector, sectors - sector, &ext);
		if (!err && ext.kind == VHD_MAP_ZERO)
			err = rebase_run(r, sector << VHD_SECTOR_SHIFT,
					 (u64)ext.sectors << VHD_SECTOR_SHIFT);
		if (!err)
			vhd_progress_add((u64)ext.sectors << VHD_SECTOR_SHIFT);
	}
	return err;
}

int vhd_rebase(struct vhd_layers *c, struct vhd_layers *to)
{
	struct rebase r = {
		.c = c,
		.to = to,
		.old = malloc(COPY_SIZE),
		.new = malloc(COPY_SIZE),
	};
	int err = r.old && r.new ? rebase_all(&r) : -ENOMEM;
	int finish = vhd_file_finish(c->layers[0]);

	free(r.old);
	free(r.new);
	return err ? err : finish;
}

/* ---- the id ---------------------------------------------------------- */

static int put_footer(const struct vhd_file *f, const struct vhd_footer *footer,
		      u64 pos)
{
	int err = vhd_pwrite(f->fd, footer, sizeof(*footer), pos);

	return err ? err : sync_file(f);
}

int vhd_set_id(struct vhd_file *f, const u8 id[16])
{
	static const struct vhd_footer blank;
	struct vhd_footer footer = f->image.footer;
	int err = f->image.writable ? vhd_file_finish(f) : 0;

	if (err)
		return err;
	memcpy(footer.unique_id, id, sizeof(footer.unique_id));
	vhd_seal_footer(&footer);
	if (f->image.type != VHD_TYPE_FIXED)
		err = put_footer(f, &blank, 0);
	if (!err)
		err = put_footer(f, &footer, f->image.space.tail);
	if (!err && f->image.type != VHD_TYPE_FIXED)
		err = put_footer(f, &footer, 0);
	return err;
}
