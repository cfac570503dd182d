// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A snapshot: the top becomes a parent, and an empty child is written to.
 *
 * As in the driver no request is under way at the switch, but the former top may
 * have dirty metadata.  So each commit is of both, the former top first, until
 * one has succeeded; then it is made tight, and never written again.  Up to then
 * a crash concerns two files, and says nothing of one by the other.
 *
 * A commit or a growth that is under way at the switch goes on to its end, of the
 * former top alone.  Such a commit is not one of both; growth of the new top, and
 * making the former one tight, wait for the end of such a growth.
 */
#include <string.h>

#include <linux/list.h>
#include <linux/minmax.h>

#include "session.h"

u64 session_errors(const struct session *s)
{
	return s->disk.errors + s->lower.disk.errors;
}

u64 session_changes(const struct session *s)
{
	return s->disk.changes + s->lower.disk.changes;
}

/* ---- the former top ---------------------------------------------------------- */

bool lower_commits(const struct session *s)
{
	return s->lower.there && !s->lower.run.plan && !s->lower_forgotten;
}

void lower_retire(struct session *s)
{
	struct lower *low = &s->lower;

	if (!low->there || !low->retire || !low->durable || low->run.plan ||
	    s->space_old || s->lower_commits)
		return;
	vhd_tidy_init(&low->tidy, &low->img);
	low->run = (struct runner) {
		.plan = &low->tidy.plan,
		.lane = LANE_SPACE,
	};
}

void lower_step(struct session *s)
{
	int ret = runner_step(&s->lower.run, &s->lower.disk);

	if (ret > 0)
		return;
	/* Not tight, then; all that it holds is durable. */
	if (ret && session_errors(s) == s->errors_before)
		session_fail(s, "tidy of the parent failed (%d) without cause",
			     ret);
	s->tally.retired++;
	lower_close(s);
	lower_became_parent(s, &s->lower.disk.now);
}

void lower_close(struct session *s)
{
	struct lower *low = &s->lower;

	if (!low->open)
		return;
	tally_image(&s->tally, &low->img);
	vhd_commit_free(&low->commit);
	vhd_image_free(&low->img);
	memset(&low->run, 0, sizeof(low->run));
	s->lower_commits = false;
	low->open = false;
}

void lower_became_parent(struct session *s, const struct disk_file *f)
{
	struct model *m = &s->model;
	struct findings codes = s->check.codes;
	struct vhd_image img;
	u32 sector, n;

	if (open_file(&s->check, f, &img, 0))
		session_fail(s, "the parent cannot be opened");
	for (sector = 0; sector < m->nr && !s->failed; sector += n) {
		n = min(m->block_sectors, m->nr - sector);
		if (!layer_ids(&s->pool, m, f, &img, sector, n,
			       m->below + sector))
			session_fail(s, "sector %u is damaged in the parent",
				     sector);
	}
	/* Until now it was asked for what lies below the former top. */
	m->chained = true;
	s->check.codes = codes;
	s->check.lower = NULL;
	s->lower.there = false;
	vhd_image_free(&img);
}

/* ---- the switch ---------------------------------------------------------------- */

/* No request holds anything of it. */
static void image_move(struct vhd_image *to, struct vhd_image *from)
{
	*to = *from;
	/* A fixed image has no bitmaps. */
	if (!from->bat)
		return;
	INIT_LIST_HEAD(&to->bitmaps.lru);
	while (!list_empty(&from->bitmaps.lru))
		list_move_tail(from->bitmaps.lru.next, &to->bitmaps.lru);
}

static void lower_take(struct session *s)
{
	struct lower *low = &s->lower;

	swap(s->disk, low->disk);
	image_move(&low->img, &s->img);
	low->commit = s->commit;
	low->commit.img = &low->img;
	s->prepare.img = &low->img;
	s->punch.img = &low->img;
	s->commit_old = s->commit_run.plan;
	s->space_old = s->space_run.plan && !s->growth_moved;
	if (s->commit_old)
		s->commit_run.plan = &low->commit.plan;
	if (s->lower_raced)
		s->space_run.others[0] = NULL;
	s->lower_commits = s->commit_old;
	s->tally.old_commits += s->commit_old;
	s->tally.old_growths += s->space_old;
	memset(&low->run, 0, sizeof(low->run));
	low->there = true;
	low->open = true;
	low->durable = false;
	s->check.lower_expected = s->check.expected;
}

static void make_child(struct session *s)
{
	u64 errors = s->disk.errors;

	s->child = (struct layout) {
		.name = "child",
		.type = VHD_TYPE_DIFFERENCING,
		.block_size = s->layout->block_size,
		.blocks = s->layout->blocks,
		.extra = s->layout->extra,
	};
	s->layout = &s->child;
	disk_reset(&s->disk);
	s->disk.errors = errors;
	s->disk.trace = s->lower.disk.trace;
	s->disk.no_reserve = s->lower.disk.no_reserve;
	layout_child(s->layout, &s->disk);
	if (!s->child_unsynced)
		disk_settle(&s->disk);
	memset(&s->commit, 0, sizeof(s->commit));
	if (open_file(&s->check, &s->disk.now, &s->img, VHD_OPEN_WRITE) ||
	    vhd_commit_alloc(&s->commit, &s->img))
		session_fail(s, "the child cannot be opened");
	s->check.expected = s->check.codes;
}

/* The queue is frozen. */
static void stop_requests(struct session *s, u64 *seed)
{
	u32 actors[NR_ACTORS], n;

	while (!s->failed && session_requests(s)) {
		n = session_actors(s, actors);
		if (n)
			session_step(s, actors[dice(seed, n)]);
		else
			session_fail(s, "snapshot: nothing goes on");
	}
}

void session_snapshot(struct session *s, u64 seed, bool retire, bool busy)
{
	/* The driver does one change at a time. */
	if (s->mover.state != MOVER_IDLE)
		busy = false;
	/* The one of before must have been retired. */
	if (s->lower.there) {
		s->lower.retire = true;
		s->commit_wanted = true;
		busy = false;
	}
	if (busy)
		stop_requests(s, &seed);
	else
		session_settle(s, seed);
	if (s->failed || s->lower.there || s->img.failed)
		return;
	lower_take(s);
	make_child(s);
	s->tally.snapshots++;
	s->lower.retire = retire;
	s->commit_wanted |= retire;
}
