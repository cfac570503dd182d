// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/errno.h>
#include <linux/kernel.h>

#include "bitmap.h"
#include "open.h"
#include "session.h"

#define MAX_SETTLE	200000U

void session_fail(struct session *s, const char *fmt, ...)
{
	va_list ap;

	if (s->failed)
		return;
	s->failed = true;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
}

bool session_full(const struct session *s, int err)
{
	return err == -ENOSPC && s->disk.now.device;
}

/*
 * Errors are right only where one was injected since the image was opened; or
 * the device is full.
 */
void session_expect_error(struct session *s, const char *what, int err)
{
	if (session_full(s, err))
		return;
	if (err && session_errors(s) == s->errors_before)
		session_fail(s, "%s failed (%d) without cause", what, err);
}

static bool dynamic(const struct session *s)
{
	return s->layout->type != VHD_TYPE_FIXED;
}

/* ---- plans ----------------------------------------------------------------- */

static bool flushing(const struct runner *r)
{
	return r && r->flight && r->io.kind == VHD_IO_FLUSH;
}

static bool others_flush(const struct runner *r)
{
	return flushing(r->others[0]) || flushing(r->others[1]);
}

/* One of the writes that are under way side by side ends, some or other. */
static void runner_end_post(struct runner *r, struct disk *d)
{
	u32 i = d->changes % r->nr_posts;
	int err = disk_complete(d, &r->posts[i]);

	r->posts[i] = r->posts[--r->nr_posts];
	if (!r->posts_err)
		r->posts_err = err;
}

/* Return: is @want dealt with: begun beside others, or to wait for them? */
static bool runner_post(struct runner *r, struct disk *d)
{
	bool write = r->want.kind == VHD_IO_WRITE;

	if (r->plan->side_by_side && write && r->nr_posts < RUNNER_POSTS && !r->posts_err) {
		disk_issue(d, &r->want, r->lane, &r->posts[r->nr_posts++]);
		r->err = 0;
		return true;
	}
	r->awaits = (r->nr_posts || r->posts_err) && (write || !r->posts_raced);
	return r->awaits;
}

static int runner_issue(struct runner *r, struct disk *d)
{
	if (runner_post(r, d))
		return 1;
	r->held = r->want.kind == VHD_IO_FLUSH && others_flush(r);
	r->flight = !r->held;
	if (r->flight)
		disk_issue(d, &r->want, r->lane, &r->io);
	return 1;
}

static int runner_next(struct runner *r, struct disk *d)
{
	int ret = vhd_plan_next(r->plan, r->err, &r->want);

	if (ret > 0)
		return runner_issue(r, d);
	while (r->nr_posts)
		runner_end_post(r, d);
	r->plan = NULL;
	return ret;
}

/* All have ended: their error is handed in, or @want issued. */
static int runner_awaited(struct runner *r, struct disk *d)
{
	r->awaits = false;
	if (!r->posts_err)
		return runner_issue(r, d);
	r->err = r->posts_err;
	r->posts_err = 0;
	r->plan->unflushed = r->want.kind == VHD_IO_FLUSH;
	return runner_next(r, d);
}

int runner_step(struct runner *r, struct disk *d)
{
	if (r->nr_posts && (r->awaits || d->changes % 3 == 0)) {
		runner_end_post(r, d);
		return 1;
	}
	if (r->awaits)
		return runner_awaited(r, d);
	if (r->held)
		return runner_issue(r, d);
	if (!r->flight)
		return runner_next(r, d);
	r->flight = false;
	r->err = disk_complete(d, &r->io);
	return r->others[0] && r->io.kind == VHD_IO_FLUSH ? runner_next(r, d) : 1;
}

bool runner_ready(const struct runner *r)
{
	return r->plan && !(r->held && others_flush(r));
}

static void runner_start(struct session *s, struct runner *r,
			 struct vhd_plan *plan, u32 lane)
{
	const struct runner *other = lane == LANE_COMMIT ? &s->space_run :
							   &s->commit_run;

	*r = (struct runner) {
		.plan = plan, .lane = lane, .posts_raced = s->posts_raced,
	};
	if (s->flush_raced)
		return;
	r->others[0] = other;
	r->others[1] = &s->mover.run;
}

static bool waits(const struct session *s, enum req_state state)
{
	u32 i;

	for (i = 0; i < NR_REQS; i++)
		if (s->reqs[i].state == state)
			return true;
	return false;
}

static void take_waiters(struct session *s, enum req_state state)
{
	u32 i;

	for (i = 0; i < NR_REQS; i++)
		if (s->reqs[i].state == state)
			s->reqs[i].served = true;
}

static void resume_waiters(struct session *s, enum req_state state, int err)
{
	u32 i;

	for (i = 0; i < NR_REQS; i++) {
		struct req *q = &s->reqs[i];

		if (q->state != state || !q->served)
			continue;
		q->served = false;
		q->err = err;
		q->state = err ? REQ_END : REQ_MAP;
	}
}

static void commit_begin_top(struct session *s)
{
	s->lower_commits = false;
	vhd_commit_begin(&s->commit);
	runner_start(s, &s->commit_run, &s->commit.plan, LANE_COMMIT);
}

/* The former top first; its flushes are of another file than the top's growth. */
static void commit_begin(struct session *s)
{
	struct lower *low = &s->lower;

	s->commit_wanted = false;
	take_waiters(s, REQ_WAIT_COMMIT);
	model_commit_begins(&s->model);
	if (!lower_commits(s)) {
		commit_begin_top(s);
		return;
	}
	s->lower_commits = true;
	s->tally.lower_commits++;
	vhd_commit_begin(&low->commit);
	s->commit_run = (struct runner) {
		.plan = &low->commit.plan,
		.lane = LANE_COMMIT,
		.others[0] = s->space_old && !s->lower_raced ? &s->space_run : NULL,
	};
}

/* What a flush promises covers both. */
static bool commit_goes_on(struct session *s, int ret)
{
	if (!s->lower_commits || s->commit_old || (ret && !s->lower_error_lost))
		return false;
	commit_begin_top(s);
	return true;
}

static void commit_step(struct session *s)
{
	int ret;

	if (!s->commit_run.plan) {
		commit_begin(s);
		return;
	}
	ret = runner_step(&s->commit_run,
			  s->lower_commits ? &s->lower.disk : &s->disk);
	if (ret > 0)
		return;
	/* Of one that began before the snapshot the new top hears at the next. */
	if (s->lower_commits && s->lower.img.failed && !s->commit_old &&
	    !s->lower_error_lost)
		vhd_image_fail(&s->img, ret);
	if (commit_goes_on(s, ret))
		return;
	s->lower_commits = false;
	s->commit_ret = ret;
	s->tally.failed_commits += ret < 0;
	if (!ret) {
		model_commit_succeeded(&s->model);
		s->lower.durable |= !s->commit_old || s->commit_counts;
		s->epoch++;
	}
	s->commit_old = false;
	lower_retire(s);
	session_expect_error(s, "commit", ret);
	resume_waiters(s, REQ_WAIT_COMMIT, ret);
}

/* Somebody waits for space, or is to find it. */
static bool space_needed(const struct session *s)
{
	return s->grow_wanted || waits(s, REQ_WAIT_SPACE);
}

static bool punch_needed(const struct session *s)
{
	return s->punches && s->img.space.freed.nr && !s->img.failed;
}

static void space_begin(struct session *s)
{
	if (!space_needed(s)) {
		s->punching = true;
		vhd_punch_init(&s->punch, &s->img);
		runner_start(s, &s->space_run, &s->punch.plan, LANE_SPACE);
		return;
	}
	s->grow_wanted = false;
	take_waiters(s, REQ_WAIT_SPACE);
	/* Commits here are small; either is right. */
	s->img.space.mark_ahead = s->disk.changes % 2;
	vhd_prepare_init(&s->prepare, &s->img);
	runner_start(s, &s->space_run, &s->prepare.plan, LANE_SPACE);
}

static void tally_space(struct session *s)
{
	const struct vhd_image *img = s->space_old ? &s->lower.img : &s->img;
	const struct runner *r = &s->space_run;

	if (!r->flight || r->held)
		return;
	if (r->want.kind == VHD_IO_ZERO || r->want.kind == VHD_IO_DISCARD)
		(*(s->punching ? &s->tally.punched : &s->tally.zeroed))++;
	s->tally.reused += !s->punching && r->want.kind == VHD_IO_RESERVE &&
			   r->want.pos < img->space.tail;
	s->tally.cuts += r->want.kind == VHD_IO_TRUNCATE && img->space.stale;
}

static void space_step(struct session *s)
{
	int ret;

	if (!s->space_run.plan) {
		space_begin(s);
		return;
	}
	ret = runner_step(&s->space_run,
			  s->space_old ? &s->lower.disk : &s->disk);
	tally_space(s);
	if (ret > 0)
		return;
	s->space_old = false;
	lower_retire(s);
	session_expect_error(s, s->tidying ? "tidy" : "growth", ret);
	if (s->tidying || s->punching) {
		s->tidying = false;
		s->punching = false;
		return;
	}
	s->tally.failed_growths += ret < 0;
	resume_waiters(s, REQ_WAIT_SPACE, ret);
	if (!ret && vhd_space_low(&s->img))
		s->grow_wanted = true;
}

void session_grow(struct session *s)
{
	if (dynamic(s))
		s->grow_wanted = true;
}

/* ---- slots that drain ---------------------------------------------------------- */

/* Has every request ended that may know where the draining slots are? */
static bool drained(const struct session *s)
{
	u32 i;

	for (i = 0; i < NR_REQS && !s->released_early; i++)
		if (s->reqs[i].state != REQ_IDLE &&
		    s->reqs[i].born <= s->drain_clock)
			return false;
	return true;
}

static bool drain_ready(const struct session *s)
{
	return s->drain_nr ? drained(s) : s->img.space.draining.nr;
}

bool session_requests(const struct session *s)
{
	u32 i;

	for (i = 0; i < NR_REQS; i++)
		if (s->reqs[i].state != REQ_IDLE)
			return true;
	return s->drain_nr || s->img.space.draining.nr;
}

static void drain_step(struct session *s)
{
	if (!s->drain_nr) {
		s->drain_nr = vhd_unmap_draining(&s->img);
		s->drain_clock = s->clock;
		s->tally.waits_for_drain += !drained(s);
		return;
	}
	vhd_unmap_release(&s->img, s->drain_nr);
	s->tally.released += s->drain_nr;
	s->drain_nr = 0;
}

/* ---- requests ---------------------------------------------------------------- */

static struct req *req_new(struct session *s, u32 slot, u32 sector, u32 n,
			   enum req_op op)
{
	struct req *q = &s->reqs[slot % NR_REQS];

	if (q->state != REQ_IDLE || !n || sector + n > s->model.nr ||
	    !model_idle(&s->model, sector, n, op != REQ_WRITE))
		return NULL;
	memset(q, 0, offsetof(struct req, was));
	memset(&q->sector, 0, sizeof(*q) - offsetof(struct req, sector));
	q->state = REQ_MAP;
	q->op = op;
	q->sector = sector;
	q->sectors = n;
	q->at = sector;
	q->left = n;
	q->born = ++s->clock;
	if (op == REQ_READ)
		model_reading(&s->model, sector, n, 1);
	else
		model_busy(&s->model, sector, n, true);
	return q;
}

static void req_unbusy(struct session *s, const struct req *q)
{
	if (q->op == REQ_READ)
		model_reading(&s->model, q->sector, q->sectors, -1);
	else
		model_busy(&s->model, q->sector, q->sectors, false);
}

bool session_write(struct session *s, u32 slot, u32 sector, u32 n, bool fua)
{
	struct req *q = req_new(s, slot, sector, n, REQ_WRITE);

	if (!q)
		return false;
	q->fua = fua;
	return true;
}

bool session_read(struct session *s, u32 slot, u32 sector, u32 n, u32 pause)
{
	struct req *q = req_new(s, slot, sector, min(n, MAX_READ), REQ_READ);
	u32 i;

	if (!q)
		return false;
	q->pause = pause;
	for (i = 0; i < q->sectors; i++)
		q->was[i] = model_now(&s->model, sector + i);
	return true;
}

/* What is being read while it is zeroed may be read as it was, or as zeros. */
static void race_reads(struct session *s, u32 sector, u32 n)
{
	struct req *q;

	for (q = s->reqs; q < s->reqs + NR_REQS; q++) {
		if (q->state == REQ_IDLE || q->op != REQ_READ ||
		    q->sector >= sector + n || sector >= q->sector + q->sectors)
			continue;
		s->tally.raced_reads += !q->raced;
		q->raced = true;
	}
}

bool session_zero(struct session *s, u32 slot, u32 sector, u32 n,
		  unsigned int flags)
{
	struct req *q = req_new(s, slot, sector, n, REQ_ZERO);

	if (!q)
		return false;
	/* There a discard leaves what the parent has: not zeros. */
	if (s->img.type == VHD_TYPE_DIFFERENCING)
		flags &= ~VHD_ZERO_DISCARD;
	q->flags = flags;
	race_reads(s, sector, n);
	model_zero(&s->model, sector, n);
	return true;
}

static void req_map(struct session *s, struct req *q)
{
	if (q->op == REQ_WRITE)
		q->err = vhd_map_write(&s->img, q->at, q->left, &q->hold,
				       &q->ext);
	else if (q->op == REQ_ZERO)
		q->err = vhd_map_zero(&s->img, q->at, q->left, q->flags,
				      &q->hold, &q->ext);
	else
		vhd_map_read(&s->img, q->at, q->left, &q->hold, &q->ext);
	if (q->op == REQ_WRITE && !q->err && vhd_space_low(&s->img))
		s->grow_wanted = true;
	if (q->err) {
		q->state = REQ_END;
		return;
	}
	switch (q->ext.kind) {
	case VHD_MAP_DATA:
	case VHD_MAP_ZERO:
	case VHD_MAP_PARENT:
		q->state = REQ_DATA;
		break;
	case VHD_MAP_BITMAP:
		q->state = REQ_LOAD;
		break;
	case VHD_MAP_SPACE:
		s->tally.waits_for_space++;
		q->state = REQ_WAIT_SPACE;
		break;
	case VHD_MAP_COMMIT:
		s->tally.waits_for_commit++;
		q->state = REQ_WAIT_COMMIT;
		break;
	default:
		session_fail(s, "sector %u: mapping kind %d", q->at, q->ext.kind);
	}
}

/* Reading and adding are two steps: others may change the bitmap between. */
static void req_load(struct session *s, struct req *q)
{
	u32 block = q->at / s->model.block_sectors, len;
	u64 pos;

	if (q->bm) {
		vhd_bitmap_add(&s->img, q->bm);
		q->bm = NULL;
		s->tally.loads++;
		q->state = REQ_MAP;
		return;
	}
	q->bm = vhd_bitmap_alloc(&s->img, block);
	if (!q->bm)
		abort();
	pos = vhd_bitmap_load_pos(&s->img, q->bm, &len);
	if (pos)
		file_read(&s->pool, &s->disk.now, pos, q->bm->live, len);
}

static bool model_reads(const struct session *s, u32 sector, u32 id)
{
	/* What a failed flush lost may be anything, until it is opened again. */
	if (s->img.failed)
		return true;
	/* A write that failed may have arrived. */
	if (session_errors(s) != s->errors_before)
		return model_allows(&s->model, sector, id);
	return model_now(&s->model, sector) == id;
}

/* On to the next run. */
static void req_advance(struct req *q)
{
	q->at += q->ext.sectors;
	q->left -= q->ext.sectors;
	q->state = q->left ? REQ_MAP : REQ_END;
}

/* What is read that the top does not have. */
static u32 id_below(struct session *s, u32 sector)
{
	u32 id;

	if (!s->lower.there)
		return model_absent(&s->model, sector);
	if (!layer_ids(&s->pool, &s->model, &s->lower.disk.now, &s->lower.img,
		       sector, 1, &id))
		session_fail(s, "sector %u is damaged in the parent", sector);
	return id;
}

static void req_read(struct session *s, struct req *q)
{
	u32 i, id;

	for (i = 0; i < q->ext.sectors; i++) {
		id = q->ext.kind == VHD_MAP_DATA ?
			     file_id(&s->disk.now, q->ext.pos / 512 + i) :
		     q->ext.kind == VHD_MAP_PARENT ?
			     id_below(s, q->at + i) : 0;
		/* Nor is it known what a write of before that failed left. */
		if (q->raced && (!id || id == q->was[q->at + i - q->sector] ||
				 session_errors(s) != s->errors_before))
			continue;
		if (!model_reads(s, q->at + i, id))
			session_fail(s, "reading sector %u: %x, written last %x",
				     q->at + i, id,
				     model_now(&s->model, q->at + i));
	}
	req_advance(q);
}

static void req_end(struct session *s, struct req *q)
{
	vhd_map_done(&s->img, &q->hold, q->err);
	req_unbusy(s, q);
	session_expect_error(s, "request", q->err);
	s->tally.reads += q->op == REQ_READ;
	s->tally.writes += q->op == REQ_WRITE && !q->err;
	s->tally.failed_writes += q->op == REQ_WRITE && q->err;
	s->tally.zeroings += q->op == REQ_ZERO && !q->err;
	s->tally.failed_zeroings += q->op == REQ_ZERO && q->err;
	if (q->op != REQ_READ && !q->err) {
		model_wrote(&s->model, q->sector, q->sectors);
		s->commit_wanted |= q->fua;
	}
	q->state = REQ_IDLE;
}

/*
 * The block's bitmap in front of the data, as in the module: there it is one write, of
 * which after a crash any part may be missing.
 */
static void req_lead(struct session *s, struct req *q)
{
	u8 lead[VHD_ALIGN] = { };
	struct vhd_io io = {
		.kind = VHD_IO_WRITE,
		.pos = q->ext.pos - VHD_ALIGN,
		.len = VHD_ALIGN,
		.buf = lead,
	};

	q->led = q->ext.lead && s->disk.changes % 4;
	if (!q->led)
		return;
	memset(lead + VHD_ALIGN - 512, 0xFF, 512);
	disk_issue(&s->disk, &io, 0, &q->lead);
	s->tally.leads++;
}

static void req_issue(struct session *s, struct req *q)
{
	u64 end = q->ext.pos + q->sectors * 512ULL;
	u32 id = pool_data(&s->pool, q->sectors);

	if (dynamic(s) && end > s->img.space.tail)
		session_fail(s, "sector %u is written over the footer", q->at);
	model_write(&s->model, q->at, q->sectors, id);
	req_lead(s, q);
	disk_issue_data(&s->disk, q->ext.pos, q->sectors, id, &q->io);
	q->state = REQ_FLIGHT;
	if (!s->done_early)
		return;
	q->err = q->io.err;
	q->hold.marks = q->led;
	req_end(s, q);
	q->state = REQ_FLIGHT;
}

/* Zeros where the data are; or they are zeros already. */
static void req_issue_zero(struct session *s, struct req *q)
{
	struct vhd_io io = {
		.kind = VHD_IO_ZERO,
		.pos = q->ext.pos,
		.len = q->ext.sectors * 512ULL,
	};

	if (q->ext.kind == VHD_MAP_ZERO) {
		req_advance(q);
		return;
	}
	if (dynamic(s) && io.pos + io.len > s->img.space.tail)
		session_fail(s, "sector %u is zeroed over the footer", q->at);
	disk_issue(&s->disk, &io, 0, &q->io);
	q->state = REQ_FLIGHT;
}

static void req_arrived(struct session *s, struct req *q)
{
	q->err = disk_complete(&s->disk, &q->io);
	if (q->led) {
		q->err = disk_complete(&s->disk, &q->lead) ?: q->err;
		q->hold.marks = true;
	}
	if (q->op == REQ_ZERO) {
		vhd_map_done(&s->img, &q->hold, q->err);
		req_advance(q);
		if (q->err)
			q->state = REQ_END;
		return;
	}
	q->state = s->done_early ? REQ_IDLE : REQ_END;
}

static void req_step(struct session *s, struct req *q)
{
	q->passed = true;
	switch (q->state) {
	case REQ_MAP:
		req_map(s, q);
		break;
	case REQ_LOAD:
		req_load(s, q);
		break;
	case REQ_DATA:
		if (q->op == REQ_WRITE)
			req_issue(s, q);
		else if (q->op == REQ_ZERO)
			req_issue_zero(s, q);
		else if (q->pause)
			q->pause--;
		else
			req_read(s, q);
		break;
	case REQ_FLIGHT:
		req_arrived(s, q);
		break;
	case REQ_END:
		req_end(s, q);
		break;
	default:
		break;
	}
}

/* ---- who is next -------------------------------------------------------------- */

static bool can_step(const struct session *s, u32 actor)
{
	enum req_state state;

	if (actor == ACTOR_COMMIT)
		return runner_ready(&s->commit_run) ||
		       (!s->commit_run.plan && !s->reshaping &&
			(s->commit_wanted ||
		       waits(s, REQ_WAIT_COMMIT)));
	if (actor == ACTOR_SPACE)
		return runner_ready(&s->space_run) ||
		       (!s->space_run.plan && !s->reshaping &&
			(space_needed(s) ||
		       punch_needed(s)));
	if (actor == ACTOR_DRAIN)
		return drain_ready(s);
	if (actor == ACTOR_LOWER)
		return s->lower.run.plan;
	if (actor == ACTOR_RESIZE)
		return s->resize_run.plan;
	if (actor == ACTOR_MOVER)
		return mover_ready(s);
	if (mover_holds(s, &s->reqs[actor]))
		return false;
	state = s->reqs[actor].state;
	return state != REQ_IDLE && state != REQ_WAIT_SPACE &&
	       state != REQ_WAIT_COMMIT;
}

u32 session_actors(const struct session *s, u32 *actors)
{
	u32 i, n = 0;

	for (i = 0; i < NR_ACTORS; i++)
		if (can_step(s, i))
			actors[n++] = i;
	return n;
}

static void tell_actor(const struct session *s, u32 actor)
{
	static const char * const ops[] = { "read", "write", "zero" };
	const struct req *q = &s->reqs[actor % NR_REQS];

	if (!s->disk.trace)
		return;
	if (actor == ACTOR_COMMIT)
		printf("commit%s\n", s->lower_commits ? " of the parent" : "");
	else if (actor == ACTOR_LOWER)
		printf("tidy of the parent\n");
	else if (actor == ACTOR_RESIZE)
		printf("resize\n");
	else if (actor == ACTOR_MOVER)
		printf("compact, block %u, state %d\n", s->mover.block,
		       s->mover.state);
	else if (actor == ACTOR_SPACE)
		printf("%s\n", s->tidying ? "tidy" :
				s->punching ? "punch" : "growth");
	else if (actor == ACTOR_DRAIN)
		printf("drain\n");
	else
		printf("%s %u, sector %u + %u, state %d\n",
		       ops[q->op], actor, q->sector,
		       q->sectors, q->state);
}

void session_step(struct session *s, u32 actor)
{
	tell_actor(s, actor);
	if (actor == ACTOR_COMMIT)
		commit_step(s);
	else if (actor == ACTOR_SPACE)
		space_step(s);
	else if (actor == ACTOR_DRAIN)
		drain_step(s);
	else if (actor == ACTOR_LOWER)
		lower_step(s);
	else if (actor == ACTOR_RESIZE)
		resize_step(s);
	else if (actor == ACTOR_MOVER)
		mover_step(s);
	else
		req_step(s, &s->reqs[actor]);
	if (!s->failed && s->on_step)
		s->on_step(s);
}

void session_settle(struct session *s, u64 seed)
{
	u32 actors[NR_ACTORS], n, rounds = 0;

	while (!s->failed && (n = session_actors(s, actors))) {
		session_step(s, actors[dice(&seed, n)]);
		if (++rounds > MAX_SETTLE)
			session_fail(s, "it never comes to rest");
	}
}

/* ---- a session's ends --------------------------------------------------------- */

void tally_image(struct tally *t, const struct vhd_image *img)
{
	t->commits += img->counters.commits;
	t->growths += img->counters.growths;
	t->allocations += img->counters.allocations;
	t->rollbacks += img->counters.rollbacks;
	t->unmaps += img->counters.unmaps;
	t->moves += img->counters.moves;
	t->failed_images += img->failed != 0;
}

void session_close(struct session *s)
{
	u32 i;

	if (!s->open)
		return;
	tally_image(&s->tally, &s->img);
	for (i = 0; i < NR_REQS; i++)
		if (s->reqs[i].bm)
			vhd_bitmap_free(s->reqs[i].bm);
	memset(s->reqs, 0, sizeof(s->reqs));
	memset(&s->commit_run, 0, sizeof(s->commit_run));
	memset(&s->space_run, 0, sizeof(s->space_run));
	memset(&s->resize_run, 0, sizeof(s->resize_run));
	s->commit_old = false;
	s->space_old = false;
	memset(&s->mover, 0, sizeof(s->mover));
	s->reshaping = false;
	s->commit_wanted = false;
	s->grow_wanted = false;
	s->tidying = false;
	s->punching = false;
	s->drain_nr = 0;
	lower_close(s);
	vhd_commit_free(&s->commit);
	vhd_image_free(&s->img);
	s->open = false;
}

static void session_open(struct session *s)
{
	int ret;

	disk_heal(&s->disk);
	s->check.hollow = false;
	s->open = true;
	s->errors_before = session_errors(s);
	memset(&s->commit, 0, sizeof(s->commit));
	ret = open_file(&s->check, &s->disk.now, &s->img, VHD_OPEN_WRITE);
	ret = resize_reopened(s, ret);
	if (!ret)
		ret = vhd_commit_alloc(&s->commit, &s->img);
	if (ret)
		session_fail(s, "opening: error %d", ret);
}

/* Open what is there now, without a crash. */
static void session_reopen(struct session *s)
{
	session_close(s);
	/* Nobody flushes a parent: what is in the page cache gets there in time. */
	if (s->lower.there)
		disk_settle(&s->lower.disk);
	s->check.hollow = false;
	s->check.found = s->found;
	s->check.lower = s->lower.there ? &s->lower.disk.now : NULL;
	if (!check_file(&s->check, &s->disk.now))
		session_fail(s, "opening again: %s", s->check.why);
	s->check.found = NULL;
	if (s->failed)
		return;
	model_seen(&s->model, s->found);
	if (s->lower.there)
		lower_became_parent(s, &s->lower.disk.now);
	session_open(s);
}

static bool clean(const struct session *s)
{
	return !s->img.failed && session_errors(s) == s->errors_before;
}

/* The last commit and tidy, as of a detach. */
static void session_finish(struct session *s, u64 seed)
{
	s->lower.retire = true;
	s->commit_wanted = true;
	session_settle(s, seed);
	/* Growth ahead of need may have been wanted by none but this. */
	s->grow_wanted = false;
	if (s->failed)
		return;
	s->tidying = true;
	vhd_tidy_init(&s->tidy, &s->img);
	runner_start(s, &s->space_run, &s->tidy.plan, LANE_SPACE);
	session_settle(s, seed);
}

void session_detach(struct session *s, u64 seed)
{
	bool tight;

	s->tally.detaches++;
	s->disk.limit = ~0ULL;
	session_settle(s, seed);
	if (!s->failed)
		session_finish(s, seed);
	if (s->failed)
		return;
	tight = clean(s);
	session_reopen(s);
	if (tight && !s->failed && s->check.codes.has[VHD_FIND_SLACK])
		session_fail(s, "not tight after a clean detach");
}

void session_kill(struct session *s, u64 seed)
{
	s->tally.kills++;
	session_settle(s, seed);
	if (!s->failed)
		session_reopen(s);
}

void session_crash(struct session *s, enum crash_mode mode, u64 seed)
{
	struct disk_file state = { }, lower = { };

	s->tally.crashes++;
	session_close(s);
	disk_crash(&s->disk, mode, false, &seed, &state);
	if (s->lower.there)
		disk_crash(&s->lower.disk, dice(&seed, NR_CRASH_MODES), false,
			   &seed, &lower);
	s->check.hollow = false;
	s->check.found = s->found;
	s->check.lower = s->lower.there ? &lower : NULL;
	if (!check_file(&s->check, &state))
		session_fail(s, "%s", s->check.why);
	s->check.found = NULL;
	file_copy(&s->disk.now, &state);
	disk_settle(&s->disk);
	if (s->lower.there && !s->failed)
		lower_became_parent(s, &lower);
	file_free(&lower);
	file_free(&state);
	if (s->failed)
		return;
	model_found(&s->model, s->found);
	session_open(s);
}

void session_begin(struct session *s, const struct layout *l, u64 seed)
{
	session_close(s);
	pool_reset(&s->pool);
	s->disk.pool = &s->pool;
	s->layout = l;
	s->failed = false;
	s->lower.there = false;
	s->check.lower = NULL;
	s->check.most = 0;
	s->check.resizing = false;
	s->check.grows = false;
	s->punches = seed / 2 % 4;
	/* Who asks them for chance gets the same whatever ran before. */
	disk_restart(&s->disk);
	disk_restart(&s->lower.disk);
	layout_build(l, &s->disk, &s->model, seed);
	if (s->model.max > s->max_found) {
		free(s->found);
		s->max_found = s->model.max;
		s->found = calloc(s->max_found, sizeof(*s->found));
		if (!s->found)
			abort();
	}
	s->check.pool = &s->pool;
	s->check.m = &s->model;
	session_open(s);
	s->check.expected = s->check.codes;
}

void session_free(struct session *s)
{
	session_close(s);
	disk_free(&s->disk);
	disk_free(&s->lower.disk);
	model_free(&s->model);
	pool_free(&s->pool);
	free(s->found);
}
