// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/kernel.h>

#include "explore.h"

static const char * const mode_names[NR_CRASH_MODES] = {
	[CRASH_NONE] = "nothing unflushed arrived",
	[CRASH_ALL] = "everything arrived",
	[CRASH_DONE] = "what had completed arrived",
	[CRASH_PREFIX] = "what was issued first arrived",
	[CRASH_RANDOM] = "some of it arrived",
};

/* ---- recovering a state, and losing power meanwhile ----------------------- */

/**
 * struct recovery - of one crash state
 * @m: the disk as it was found, to which nothing may happen any more
 */
struct recovery {
	struct explorer *e;
	struct vhd_image img;
	struct model m;
	struct checker check;
	u64 seed;
};

static bool recovery_check(struct recovery *r, const struct disk_file *f)
{
	r->e->states++;
	if (check_file(&r->check, f))
		return true;
	session_fail(&r->e->s, "%s; recovering: %s", mode_names[r->e->mode],
		     r->check.why);
	return false;
}

static bool recovery_crash(struct recovery *r)
{
	enum crash_mode mode = dice(&r->seed, NR_CRASH_MODES);

	disk_crash(&r->e->nested, mode, false, &r->seed, &r->e->nested_state);
	return recovery_check(r, &r->e->nested_state);
}

static bool recovery_run(struct recovery *r, struct vhd_plan *plan)
{
	struct runner run = { .plan = plan, .lane = LANE_SPACE };
	int ret;

	while ((ret = runner_step(&run, &r->e->nested)) > 0)
		if (dice(&r->seed, 2) && !recovery_crash(r))
			return false;
	if (!ret || session_full(&r->e->s, ret))
		return true;
	session_fail(&r->e->s, "%s; recovering: error %d",
		     mode_names[r->e->mode], ret);
	return false;
}

static bool recovery_plans(struct recovery *r)
{
	struct vhd_prepare prepare;
	struct vhd_tidy tidy;

	if (r->img.bat && dice(&r->seed, 3)) {
		vhd_prepare_init(&prepare, &r->img);
		if (!recovery_run(r, &prepare.plan))
			return false;
	}
	vhd_tidy_init(&tidy, &r->img);
	if (dice(&r->seed, 3) && !recovery_run(r, &tidy.plan))
		return false;
	return recovery_check(r, &r->e->nested.now);
}

/* e->state was found sound, and e->found is what its disk holds. */
static void recover(struct explorer *e, u64 seed)
{
	struct recovery r = { .e = e, .m = e->s.model, .seed = seed };

	e->recoveries++;
	r.m.floor = e->found;
	r.m.nr_cells = 0;
	r.m.slot = calloc(r.m.nr, sizeof(*r.m.slot));
	if (!r.m.slot)
		abort();
	r.check = e->s.check;
	r.check.m = &r.m;
	r.check.found = NULL;
	disk_reset(&e->nested);
	e->nested.pool = &e->s.pool;
	file_copy(&e->nested.now, &e->state);
	disk_settle(&e->nested);
	if (open_file(&r.check, &e->nested.now, &r.img, VHD_OPEN_WRITE))
		session_fail(&e->s, "recovering: cannot be opened");
	else
		recovery_plans(&r);
	vhd_image_free(&r.img);
	free(r.m.slot);
}

/* ---- crash states ----------------------------------------------------------- */

/* Power fails for both files; what arrives of one says nothing of the other. */
static void lower_state(struct explorer *e, enum crash_mode mode, u64 seed)
{
	struct session *s = &e->s;

	s->check.lower = NULL;
	if (!s->lower.there)
		return;
	if (dice(&seed, 2))
		mode = dice(&seed, NR_CRASH_MODES);
	disk_crash(&s->lower.disk, mode, false, &seed, &e->lower_state);
	s->check.lower = &e->lower_state;
}

static bool one_state(struct explorer *e, enum crash_mode mode, u32 nr)
{
	u64 seed = (e->seed ^ (e->moment << 8) ^ nr) * 0xD6E8FEB86659FD93ULL;
	struct checker *c = &e->s.check;
	bool loose = e->loose && dice(&seed, 2);
	/* With a blank copy of the footer it cannot be written to. */
	bool recovers = !dice(&seed, e->recover_every) && !c->resizing, ok;

	e->mode = mode;
	e->states++;
	c->hollow = disk_crash(&e->s.disk, mode, loose, &seed, &e->state);
	lower_state(e, mode, seed);
	e->s.tally.hollow_states += c->hollow;
	if (c->resizing)
		e->s.tally.in_resize[e->s.resize_kind]++;
	if (e->s.mover.state != MOVER_IDLE)
		e->s.tally.in_compaction++;
	c->found = recovers && !c->hollow ? e->found : NULL;
	ok = check_file(c, &e->state);
	if (!ok)
		session_fail(&e->s, "%s: %s", mode_names[mode], c->why);
	else if (c->found)
		recover(e, seed);
	c->found = NULL;
	c->hollow = false;
	return !e->s.failed;
}

static void states_of_step(struct explorer *e)
{
	u32 i;

	if (!one_state(e, CRASH_NONE, 0) ||
	    !(e->s.disk.nr_ops || e->s.lower.there))
		return;
	if (!one_state(e, CRASH_ALL, 1) || !one_state(e, CRASH_DONE, 2) ||
	    !one_state(e, CRASH_PREFIX, 3))
		return;
	for (i = 0; i < e->randoms; i++)
		if (!one_state(e, CRASH_RANDOM, 4 + i))
			return;
}

static void explorer_step(struct session *s)
{
	struct explorer *e = container_of(s, struct explorer, s);

	e->moment++;
	e->steps++;
	if (e->seen_changes == session_changes(s) && e->seen_epoch == s->epoch)
		return;
	e->seen_changes = session_changes(s);
	e->seen_epoch = s->epoch;
	states_of_step(e);
}

static void explorer_begin(struct explorer *e, const struct program *p)
{
	struct session *s = &e->s;

	s->on_step = NULL;
	session_begin(s, p->layout, p->seed);
	if (s->model.max > e->max_found) {
		free(e->found);
		e->max_found = s->model.max;
		e->found = calloc(e->max_found, sizeof(*e->found));
		if (!e->found)
			abort();
	}
	e->seed = p->seed;
	e->seen_changes = ~0ULL;
	e->moment = 0;
	e->loose = p->seed % 3 == 0;
}

int explore(struct explorer *e, const struct program *p)
{
	struct session *s = &e->s;
	u32 i;

	explorer_begin(e, p);
	for (i = 0; i < p->nr && !s->failed; i++) {
		if (i >= e->from)
			s->on_step = explorer_step;
		program_step(s, &p->steps[i]);
	}
	if (!s->failed && s->on_step)
		session_settle(s, p->seed);
	session_close(s);
	return s->failed ? (int)min(i, p->nr) - 1 : -1;
}

void explorer_init(struct explorer *e)
{
	memset(e, 0, sizeof(*e));
	disk_init(&e->s.disk, &e->s.pool);
	disk_init(&e->s.lower.disk, &e->s.pool);
	disk_init(&e->nested, &e->s.pool);
	e->randoms = 3;
	e->recover_every = 24;
}

void explorer_free(struct explorer *e)
{
	session_free(&e->s);
	disk_free(&e->nested);
	file_free(&e->state);
	file_free(&e->nested_state);
	file_free(&e->lower_state);
	free(e->found);
}

/* ---- shorter programs --------------------------------------------------------- */

/**
 * struct shrinker
 * @best: the shortest program that fails; it does so in its last step
 */
struct shrinker {
	struct explorer e;
	struct program best;
	char why[MAX_WHY];
	time_t until;
};

/* Does @p fail at all?  Then it is the best so far. */
static bool shrinks(struct shrinker *k, const struct program *p)
{
	int at;

	if (time(NULL) >= k->until)
		return false;
	k->e.from = p->nr > 6 ? p->nr - 6 : 0;
	at = explore(&k->e, p);
	if (at < 0)
		return false;
	k->best = *p;
	k->best.nr = at + 1;
	memcpy(k->why, k->e.s.why, sizeof(k->why));
	return true;
}

static bool shrink_without(struct shrinker *k, u32 at, u32 n)
{
	struct program p = k->best;

	if (at + n > p.nr)
		return false;
	memmove(p.steps + at, p.steps + at + n,
		(p.nr - at - n) * sizeof(*p.steps));
	p.nr -= n;
	return shrinks(k, &p);
}

/* Take pieces out, large ones first, until none can be spared. */
static void shrink_pieces(struct shrinker *k)
{
	u32 n, at;

	for (n = k->best.nr / 2; n; n /= 2)
		for (at = 0; at + n <= k->best.nr;)
			if (!shrink_without(k, at, n))
				at += n;
}

void shrink(struct explorer *e, struct program *p, int at, u32 seconds)
{
	struct shrinker *k = calloc(1, sizeof(*k));
	struct program whole = *p;
	u32 before;

	if (!k)
		abort();
	explorer_init(&k->e);
	k->e.s.done_early = e->s.done_early;
	k->e.s.flush_raced = e->s.flush_raced;
	k->e.s.posts_raced = e->s.posts_raced;
	k->e.s.released_early = e->s.released_early;
	k->e.s.move_ungated = e->s.move_ungated;
	k->e.s.lower_forgotten = e->s.lower_forgotten;
	k->e.s.lower_error_lost = e->s.lower_error_lost;
	k->e.s.child_unsynced = e->s.child_unsynced;
	k->e.s.commit_counts = e->s.commit_counts;
	k->e.s.growth_moved = e->s.growth_moved;
	k->e.s.lower_raced = e->s.lower_raced;
	k->e.randoms = 24;
	k->e.recover_every = 8;
	k->until = time(NULL) + seconds;
	whole.nr = at + 1;
	if (shrinks(k, &whole)) {
		do {
			before = k->best.nr;
			shrink_pieces(k);
		} while (k->best.nr < before);
		*p = k->best;
		memcpy(e->s.why, k->why, sizeof(k->why));
	}
	explorer_free(&k->e);
	free(k);
}
