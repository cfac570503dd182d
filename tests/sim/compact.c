// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Compacting an image in use.
 *
 * As in the driver: block after block, with writes to it held up; first those of
 * zeros lose their slots, then the last ones move into free slots, a commit, what
 * drains is waited for, and the file is cut with no other plan under way.  Each
 * state has one small step, so that requests come in between.
 */
#include <string.h>

#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>

#include "bitmap.h"
#include "session.h"

/* A block that cannot be had is tried so often; so many are moved. */
#define MAX_TRIES	4U
#define MAX_MOVES	12U

static bool overlaps(const struct session *s, const struct req *q)
{
	u64 first = (u64)s->mover.block * s->model.block_sectors;

	return q->op != REQ_READ && q->sector + q->sectors > first &&
	       q->sector < first + s->model.block_sectors;
}

bool mover_holds(const struct session *s, const struct req *q)
{
	return s->mover.gated && !q->passed && !s->move_ungated &&
	       overlaps(s, q);
}

static bool quiet(const struct session *s)
{
	u32 i;

	for (i = 0; i < NR_REQS && !s->move_ungated; i++)
		if (s->reqs[i].state != REQ_IDLE && s->reqs[i].passed &&
		    overlaps(s, &s->reqs[i]))
			return false;
	return true;
}

bool mover_ready(const struct session *s)
{
	switch (s->mover.state) {
	case MOVER_IDLE:
		return false;
	case MOVER_CLOSE:
		return quiet(s);
	case MOVER_RUN:
		return runner_ready(&s->mover.run);
	case MOVER_COMMIT:
	case MOVER_LAST_COMMIT:
		return !s->commit_run.plan && !s->commit_wanted;
	case MOVER_DRAIN:
		return s->img.failed ||
		       s->img.space.drained >= s->mover.drained;
	case MOVER_ALONE:
		return !s->commit_run.plan && !s->space_run.plan;
	default:
		return true;
	}
}

static void mover_end(struct session *s)
{
	s->mover.gated = false;
	s->mover.state = MOVER_IDLE;
	s->reshaping = false;
}

static void mover_open(struct session *s)
{
	s->mover.gated = false;
	s->mover.tries = 0;
	s->mover.state = MOVER_PICK;
}

/* The next block to be looked at; then the last of those that can move. */
static void mover_pick(struct session *s)
{
	struct mover *m = &s->mover;
	struct vhd_last last;

	if (m->looked < s->img.nr_blocks) {
		m->block = m->looked++;
		m->gated = s->img.bat[m->block] < VHD_BAT_BAD;
		m->state = m->gated ? MOVER_CLOSE : MOVER_PICK;
		return;
	}
	m->moving = true;
	vhd_last_find(&last, &s->img);
	if (!last.nr || m->moved == MAX_MOVES) {
		m->state = MOVER_LAST_COMMIT;
		s->commit_wanted = true;
		return;
	}
	m->block = vhd_last_block(&last, 0);
	m->gated = true;
	m->state = MOVER_CLOSE;
}

static void mover_commit(struct session *s)
{
	s->commit_wanted = true;
	s->mover.state = MOVER_COMMIT;
}

/* Give it up after a few times: what it waits for is not for it to make. */
static void mover_retry(struct session *s)
{
	struct mover *m = &s->mover;

	if (++m->tries < MAX_TRIES) {
		mover_commit(s);
		return;
	}
	mover_open(s);
	if (m->moving)
		m->moved = MAX_MOVES;
}

/* Does the block show the same without its slot? */
static bool block_empty(struct session *s)
{
	struct mover *m = &s->mover;
	u32 per = s->model.block_sectors, first = m->block * per;
	u32 n = min(per, s->model.nr - first);
	struct vhd_hold hold = { };
	struct vhd_extent ext = { };
	struct disk_io done;
	struct vhd_io io;

	if (!load_bitmap(&s->pool, &s->disk.now, &s->img, m->block))
		return false;
	vhd_map_read(&s->img, first, n, &hold, &ext);
	vhd_map_done(&s->img, &hold, 0);
	if (ext.kind != VHD_MAP_DATA)
		return ext.sectors == n && (ext.kind == VHD_MAP_ZERO ||
					    ext.kind == VHD_MAP_PARENT);
	if (s->img.type == VHD_TYPE_DIFFERENCING)
		return false;
	vhd_probe_init(&m->probe, &s->img, m->block, m->zero, m->buf,
		       sizeof(m->buf));
	while (vhd_plan_next(&m->probe.plan, 0, &io) > 0)
		disk_issue(&s->disk, &io, LANE_MOVE, &done);
	return m->probe.zero;
}

static void mover_drop(struct session *s)
{
	int ret = 0;

	if (block_empty(s))
		ret = vhd_drop_block(&s->img, s->mover.block);
	if (ret < 0) {
		mover_retry(s);
		return;
	}
	s->tally.dropped += ret;
	/* The last write to it may not be durable; nor is this. */
	mover_open(s);
}

static void mover_move(struct session *s)
{
	struct mover *m = &s->mover;

	switch (vhd_move_init(&m->move, &s->img, m->block, m->buf,
			      sizeof(m->buf))) {
	case VHD_MOVE_READY:
		m->run = (struct runner) {
			.plan = &m->move.plan,
			.lane = LANE_MOVE,
			.others = { &s->commit_run, &s->space_run },
		};
		m->state = MOVER_RUN;
		break;
	case VHD_MOVE_COMMIT:
		mover_retry(s);
		break;
	default:
		mover_open(s);
		m->moved = MAX_MOVES;
	}
}

static void mover_run(struct session *s)
{
	struct mover *m = &s->mover;
	int ret = runner_step(&m->run, &s->disk);

	if (ret > 0)
		return;
	if (m->cutting) {
		session_expect_error(s, "cutting", ret);
		s->tally.live_cuts += !ret;
		s->epoch++;
		mover_end(s);
	} else if (ret == -EAGAIN) {
		mover_retry(s);
	} else if (ret) {
		session_expect_error(s, "moving", ret);
		s->tally.failed_moves++;
		mover_end(s);
	} else {
		m->moved++;
		mover_open(s);
	}
}

static void mover_cut(struct session *s)
{
	struct mover *m = &s->mover;

	m->cutting = true;
	vhd_tidy_live_init(&m->tidy, &s->img);
	m->run = (struct runner) {
		.plan = &m->tidy.plan,
		.lane = LANE_MOVE,
	};
	m->state = MOVER_RUN;
}

void mover_step(struct session *s)
{
	struct mover *m = &s->mover;

	switch (m->state) {
	case MOVER_PICK:
		mover_pick(s);
		break;
	case MOVER_CLOSE:
		if (m->moving)
			mover_move(s);
		else
			mover_drop(s);
		break;
	case MOVER_RUN:
		mover_run(s);
		break;
	case MOVER_COMMIT:
		m->state = MOVER_CLOSE;
		if (s->commit_ret)
			mover_end(s);
		break;
	case MOVER_LAST_COMMIT:
		m->drained = s->img.space.drained + s->img.space.draining.nr;
		m->state = MOVER_DRAIN;
		if (s->commit_ret)
			mover_end(s);
		break;
	case MOVER_DRAIN:
		m->state = MOVER_ALONE;
		s->reshaping = true;
		if (s->img.failed)
			mover_end(s);
		break;
	default:
		mover_cut(s);
	}
}

void session_compact(struct session *s, bool zero)
{
	struct mover *m = &s->mover;

	if (s->failed || s->img.failed || m->state != MOVER_IDLE ||
	    s->reshaping || !s->img.bat)
		return;
	memset(m, 0, sizeof(*m));
	m->zero = zero;
	m->state = MOVER_PICK;
	s->tally.compacts++;
}
