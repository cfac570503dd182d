// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Another size for an image in use.
 *
 * As in the driver the plan runs beside requests, and no other plan does.  What
 * is cut off is zeroed and committed first.  Until the plan has ended a crash may
 * leave either size, and the copy of the footer may be blank; if it fails the
 * image, that is so until it is opened again, and repaired.
 */
#include <string.h>

#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>

#include "resize.h"
#include "session.h"

void resize_step(struct session *s)
{
	int ret = runner_step(&s->resize_run, &s->disk);

	if (ret <= 0)
		s->resize_ret = ret;
}

static void run_one(struct session *s, u64 *seed)
{
	u32 actors[NR_ACTORS], n = session_actors(s, actors);

	if (n)
		session_step(s, actors[dice(seed, n)]);
	else
		session_fail(s, "resize: nothing goes on");
}

/* With none of them under way, none begins. */
static void stop_plans(struct session *s, u64 *seed)
{
	s->reshaping = true;
	while (!s->failed && (s->commit_run.plan || s->space_run.plan))
		run_one(s, seed);
}

/* Of the plan's own operations one kind fails, or two. */
static void arm(struct session *s, u32 faults, u64 *seed)
{
	static const u32 kinds[] = {
		VHD_IO_WRITE, VHD_IO_FLUSH, VHD_IO_TRUNCATE, VHD_IO_ZERO,
	};

	for (; faults; faults >>= 8)
		s->disk.faults[kinds[faults % 4]] = (struct disk_fault) {
			.left = 1 + faults / 4 % 8,
			.more = faults / 32 % 8 % 3,
			.err = -EIO,
			.seed = dice(seed, 1 << 30),
		};
}

static enum resize_kind kind_of(const struct vhd_resize *r)
{
	const struct vhd_image *img = r->img;
	bool diff = img->type == VHD_TYPE_DIFFERENCING;

	if (!img->bat)
		return r->size < img->size ? RESIZE_FIXED_SHRINK : RESIZE_FIXED;
	if (r->size < img->size)
		return RESIZE_SHRINK;
	if (r->moves)
		return diff ? RESIZE_DIFF_MOVE : RESIZE_MOVE;
	if (diff)
		return RESIZE_DIFF;
	return r->header.max_table_entries == img->header.max_table_entries ?
		       RESIZE_GROW : RESIZE_ENTRIES;
}

static int run_plan(struct session *s, struct vhd_resize *r, u32 sectors,
		    u64 *seed)
{
	int err = vhd_resize_init(r, &s->img, sectors * 512ULL);

	if (err)
		return err;
	r->piece = 512;
	arm(s, s->resize_faults, seed);
	s->resize_kind = kind_of(r);
	s->check.resizing = true;
	s->resize_run = (struct runner) {
		.plan = &r->plan,
		.lane = LANE_SPACE,
	};
	while (!s->failed && s->resize_run.plan)
		run_one(s, seed);
	vhd_resize_adopt(r);
	s->check.resizing = s->img.failed;
	return s->resize_ret;
}

/* What no disk has had yet holds zeros; no parent has anything there. */
static void model_grow(struct model *m, u32 sectors)
{
	u32 more = sectors - m->nr;

	memset(m->floor + m->nr, 0, more * sizeof(*m->floor));
	memset(m->slot + m->nr, 0, more * sizeof(*m->slot));
	memset(m->below + m->nr, 0, more * sizeof(*m->below));
}

static void model_resize(struct session *s, u32 sectors)
{
	struct model *m = &s->model;

	m->nr = sectors;
	s->shape = *s->layout;
	s->shape.blocks = sectors / m->block_sectors;
	s->shape.extra = sectors % m->block_sectors;
	s->layout = &s->shape;
}

static bool all_unused(const struct session *s, u32 sectors)
{
	u32 i;

	for (i = DIV_ROUND_UP(sectors, s->model.block_sectors);
	     i < s->img.nr_blocks; i++)
		if (s->img.bat[i] != VHD_BAT_UNUSED)
			return false;
	for (i = 0; i < s->model.nr_cells; i++)
		if (s->model.cells[i].sector >= sectors)
			return false;
	return true;
}

/* Zeroed and committed.  An error leaves zeros there, and that is all. */
static bool cut_off(struct session *s, u32 sectors, u64 seed)
{
	u32 per = s->model.block_sectors, block, n;

	session_settle(s, seed);
	for (block = DIV_ROUND_UP(sectors, per);
	     block < s->img.nr_blocks && !s->failed; block++) {
		if (s->img.bat[block] == VHD_BAT_UNUSED)
			continue;
		n = min(per, s->model.nr - block * per);
		session_zero(s, 0, block * per, n, VHD_ZERO_UNMAP);
		session_settle(s, seed);
	}
	s->commit_wanted = true;
	session_settle(s, seed);
	return !s->failed && !s->img.failed && all_unused(s, sectors);
}

static void resized(struct session *s, struct vhd_resize *r, u32 sectors,
		    u64 seed)
{
	session_settle(s, seed);
	vhd_resize_show(r);
	model_resize(s, sectors);
	s->tally.resizes++;
	s->tally.moved_tables += r->moves;
}

/*
 * A fixed image has its footer where the disk ends.  If it did not become smaller
 * one lies over what was given up; if it became larger, and that is all, over
 * what should be zeros.
 */
static void footer_left(struct session *s, u32 sector)
{
	u32 id = file_id(&s->disk.now, sector);
	struct model *m = &s->model;

	m->floor[sector] = file_id(&s->disk.durable, sector);
	if (id == m->floor[sector])
		return;
	model_write(m, sector, 1, id);
	model_wrote(m, sector, 1);
}

/* It is as it was, unless the image has failed. */
static void not_resized(struct session *s, u32 old)
{
	u32 small = s->model.nr;

	s->tally.failed_resizes++;
	s->tally.broken_resizes += s->img.failed != 0;
	s->resize_from = old;
	if (s->img.failed)
		return;
	s->model.nr = old;
	if (!s->img.bat && small < old)
		footer_left(s, small);
}

static void resize(struct session *s, u32 sectors, u64 seed)
{
	u32 old = s->model.nr;
	struct vhd_resize r;
	int err;

	stop_plans(s, &seed);
	if (s->failed || s->img.failed) {
		s->reshaping = false;
		return;
	}
	s->check.most = max(old, sectors);
	s->check.grows = sectors > old;
	if (sectors > old)
		model_grow(&s->model, sectors);
	s->model.nr = min(old, sectors);
	err = run_plan(s, &r, sectors, &seed);
	s->reshaping = false;
	if (err && session_errors(s) == s->errors_before &&
	    !session_full(s, err))
		session_fail(s, "resize failed (%d) without cause", err);
	if (err)
		not_resized(s, old);
	else if (!s->failed)
		resized(s, &r, sectors, seed);
	vhd_resize_end(&r);
	if (!s->check.resizing) {
		s->check.most = 0;
		s->check.grows = false;
	}
	s->epoch++;
}

/* ---- opened again after a plan that failed the image ------------------------- */

/* What check --repair does: the footer at the end is the right one. */
static int repair(struct session *s)
{
	u32 last = DIV_ROUND_UP(s->disk.now.size, 512) - 1;

	file_set(&s->disk.now, 0, 1, file_id(&s->disk.now, last));
	vhd_image_free(&s->img);
	return open_file(&s->check, &s->disk.now, &s->img, VHD_OPEN_WRITE);
}

/* It has one size or the other. */
static void adopt_size(struct session *s)
{
	u32 small = s->model.nr, found = s->img.size / 512;

	if (found != s->resize_from)
		model_resize(s, found);
	else
		s->model.nr = found;
	if (!s->img.bat && found > small)
		footer_left(s, small);
}

int resize_reopened(struct session *s, int ret)
{
	if (!s->check.resizing)
		return ret;
	if (ret == -EROFS)
		ret = repair(s);
	disk_settle(&s->disk);
	if (!ret)
		adopt_size(s);
	s->check.resizing = false;
	s->check.most = 0;
	s->check.grows = false;
	return ret;
}

void session_resize(struct session *s, u64 seed, u32 sectors)
{
	if (s->failed || s->img.failed || s->lower.there || !sectors ||
	    s->mover.state != MOVER_IDLE ||
	    (s->img.type == VHD_TYPE_DIFFERENCING && sectors < s->model.nr) ||
	    sectors == s->model.nr || sectors > MAX_GROWN ||
	    sectors / s->model.block_sectors > 500)
		return;
	if (sectors > s->model.nr || cut_off(s, sectors, seed))
		resize(s, sectors, seed);
}
