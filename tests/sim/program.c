// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include <linux/kernel.h>

#include "program.h"

static const char * const names[NR_STEP_KINDS] = {
#define X(kind, name, ...) [STEP_##kind] = (name),
	SIM_STEPS(X)
#undef X
};

/* ---- random programs ------------------------------------------------------- */

/**
 * struct writer - of a random program
 * @faults: operations fail in it
 * @snapshots: there are some
 * @resizes: there are some
 * @compacts: there are some
 * @many: resizes
 * @crashes: more of them mean fewer ends of sessions
 * @blocks: requests go to so many blocks, from @first on
 */
struct writer {
	struct program *p;
	u64 seed;
	bool faults;
	bool snapshots;
	bool resizes;
	bool compacts;
	bool many;
	u32 crashes;
	u32 first;
	u32 blocks;
};

static void add(struct writer *w, enum step_kind kind, u32 a, u32 b, u32 c,
		u32 d)
{
	if (w->p->nr < MAX_STEPS)
		w->p->steps[w->p->nr++] = (struct step) { kind, { a, b, c, d } };
}

/* Mostly where requests meet: the ends of a few blocks. */
static void add_request(struct writer *w, bool write)
{
	u32 total = layout_sectors(w->p->layout);
	u32 per = w->p->layout->block_size / 512;
	u32 block = w->first + dice(&w->seed, 1 + dice(&w->seed, w->blocks));
	u32 at = dice(&w->seed, 4) ? dice(&w->seed, 170) :
				     per - 1 - dice(&w->seed, 40);
	u32 n = 1 + dice(&w->seed, dice(&w->seed, 3) ? 12 : 90);

	/* A new block's bitmap goes with its first sector. */
	if (!dice(&w->seed, 3))
		at = 0;
	/* Now and then all of a block, which makes it full. */
	if (!dice(&w->seed, 40)) {
		at = 0;
		n = min(per, 1024U);
	}
	n = min(n, per - at);
	if (block * per + at >= total)
		at = 0;
	n = min(n, total - block * per - at);
	add(w, write ? STEP_WRITE : STEP_READ, dice(&w->seed, NR_REQS),
	    block * per + at, n, write && !dice(&w->seed, 12));
}

/* Whole blocks, one or several, or what requests go to. */
static void add_zero(struct writer *w)
{
	u32 total = layout_sectors(w->p->layout);
	u32 per = w->p->layout->block_size / 512;
	u32 first = (w->first + dice(&w->seed, w->blocks)) * per;
	u32 n = per * (dice(&w->seed, 4) ? 1 : 1 + dice(&w->seed, 3));
	u32 flags = dice(&w->seed, 8) ? VHD_ZERO_UNMAP : 0;

	if (!dice(&w->seed, 3)) {
		first += dice(&w->seed, 170);
		n = 1 + dice(&w->seed, dice(&w->seed, 4) ? 90 : 2 * per);
	}
	if (!dice(&w->seed, 2))
		flags |= VHD_ZERO_DISCARD;
	if (first >= total)
		first = 0;
	add(w, STEP_ZERO, dice(&w->seed, NR_REQS), first,
	    min(n, total - first), flags);
}

static void add_run(struct writer *w, u32 most)
{
	add(w, STEP_RUN, dice(&w->seed, 1 << 30), dice(&w->seed, most), 0, 0);
}

/*
 * What random steps seldom bring together: a block is unmapped, and its slot is
 * used by another one, while a read of it takes its time; after a commit that
 * failed; before the last commit, that fails.
 */
static void add_reuse(struct writer *w)
{
	u32 total = layout_sectors(w->p->layout);
	u32 per = w->p->layout->block_size / 512;
	u32 blocks = max(total / per, 1U);
	u32 a = dice(&w->seed, blocks), b = dice(&w->seed, blocks);
	u32 at = dice(&w->seed, 8), scene = dice(&w->seed, w->faults ? 4 : 2);

	add(w, STEP_WRITE, 0, a * per, 16, 0);
	add_run(w, 30);
	if (scene == 2)
		add(w, STEP_FAULT, VHD_IO_WRITE, 1 + dice(&w->seed, 4), EIO,
		    dice(&w->seed, 1 << 30));
	add(w, STEP_COMMIT, 0, 0, 0, 0);
	add_run(w, 40);
	if (scene < 2) {
		add(w, STEP_READ, 1, a * per + at, 4, 10 + dice(&w->seed, 20));
		add_run(w, 8);
	}
	add(w, STEP_ZERO, 2, a * per, per, VHD_ZERO_UNMAP);
	add_run(w, 8);
	if (scene == 3) {
		add(w, STEP_FAULT, VHD_IO_WRITE, 1, EIO, 0);
		add(w, STEP_DETACH, dice(&w->seed, 1 << 30), 0, 0, 0);
		return;
	}
	if (scene < 2) {
		add(w, STEP_COMMIT, 0, 0, 0, 0);
		add_run(w, 60);
	}
	add(w, STEP_WRITE, 3, b * per + at, 8, 0);
	add_run(w, 40);
}

static void add_fault(struct writer *w)
{
	static const u32 kinds[] = {
		VHD_IO_DATA, VHD_IO_DATA, VHD_IO_DATA, VHD_IO_WRITE,
		VHD_IO_WRITE, VHD_IO_WRITE, VHD_IO_RESERVE, VHD_IO_ZERO,
		VHD_IO_TRUNCATE, VHD_IO_FLUSH,
	};
	u32 kind = kinds[dice(&w->seed, ARRAY_SIZE(kinds))];

	add(w, STEP_FAULT, kind, 1 + dice(&w->seed, kind == VHD_IO_WRITE ? 5 : 2),
	    dice(&w->seed, 3) ? EIO : ENOSPC, dice(&w->seed, 1 << 30));
}

static void add_trouble(struct writer *w)
{
	if (!w->faults)
		return;
	switch (dice(&w->seed, 12)) {
	case 0:
		add(w, STEP_LIMIT, dice(&w->seed, 3), 0, 0, 0);
		break;
	case 1:
		add(w, STEP_LIMIT, 99, 0, 0, 0);
		break;
	case 2:
		add(w, STEP_RESERVE, dice(&w->seed, 2), 0, 0, 0);
		break;
	case 3 ... 6:
		/* Rather the first write into a block, and its slot's zeroing. */
		add(w, STEP_FAULT, VHD_IO_DATA, 1, EIO,
		    dice(&w->seed, 1 << 30));
		add_request(w, true);
		if (!dice(&w->seed, 3))
			add(w, STEP_FAULT, VHD_IO_ZERO, 1, EIO,
			    dice(&w->seed, 1 << 30));
		break;
	case 7:
		/* A flush of one of two plans that are under way together. */
		add_request(w, true);
		add(w, STEP_GROW, 0, 0, 0, 0);
		add(w, STEP_RUN, dice(&w->seed, 1 << 30),
		    dice(&w->seed, 12), 0, 0);
		add(w, STEP_COMMIT, 0, 0, 0, 0);
		add(w, STEP_FAULT, VHD_IO_FLUSH, 1 + dice(&w->seed, 2), EIO,
		    dice(&w->seed, 1 << 30));
		break;
	default:
		add_fault(w);
	}
}

static void add_end(struct writer *w)
{
	u32 seed = dice(&w->seed, 1 << 30);

	switch (dice(&w->seed, 8)) {
	case 0:
		add(w, STEP_KILL, seed, 0, 0, 0);
		break;
	case 1 ... 3:
		add(w, STEP_DETACH, seed, 0, 0, 0);
		break;
	default:
		add(w, STEP_CRASH, dice(&w->seed, NR_CRASH_MODES), seed, 0, 0);
	}
}

/* A commit, a growth, with writes that came after they began. */
static void add_plans(struct writer *w)
{
	if (dice(&w->seed, 2)) {
		add(w, STEP_GROW, 0, 0, 0, 0);
		add_run(w, 6);
	}
	if (dice(&w->seed, 3)) {
		add(w, STEP_COMMIT, 0, 0, 0, 0);
		add_run(w, 10);
	}
	if (dice(&w->seed, 2))
		add_request(w, true);
}

/* Writes before it that no commit has taken, and writes over them behind it. */
static void add_snapshot(struct writer *w)
{
	bool busy = dice(&w->seed, 3);

	if (dice(&w->seed, 2))
		add_request(w, true);
	if (w->faults && !dice(&w->seed, 3))
		add_fault(w);
	if (busy)
		add_plans(w);
	if (busy && w->faults && !dice(&w->seed, 4))
		add(w, STEP_FAULT, VHD_IO_FLUSH, 1 + dice(&w->seed, 2), EIO,
		    dice(&w->seed, 1 << 30));
	add(w, STEP_SNAPSHOT, dice(&w->seed, 1 << 30), dice(&w->seed, 3) > 0,
	    busy, 0);
	add_request(w, true);
}

/* What is under way, and writes at the new end. */
static void add_resize(struct writer *w)
{
	u32 faults = 0;
	u32 how;

	add_request(w, true);
	add_run(w, 12);
	if (w->faults && dice(&w->seed, 3))
		faults = 1 + dice(&w->seed, 255);
	if (faults && !dice(&w->seed, 2))
		faults += (1 + dice(&w->seed, 255)) << 8;
	if (w->faults && !dice(&w->seed, 2))
		add_fault(w);
	if (!dice(&w->seed, 3))
		add_zero(w);
	how = dice(&w->seed, 5);
	/* Without padding behind it a larger table has to move. */
	if (w->many && w->p->layout->tight && dice(&w->seed, 2))
		how = 2;
	add(w, STEP_RESIZE, dice(&w->seed, 1 << 30), how,
	    1 + dice(&w->seed, 1 << 13), faults);
	add_request(w, true);
	add_run(w, 12);
}

/* Gaps, perhaps of before; and all sorts of requests meanwhile. */
static void add_compact(struct writer *w)
{
	u32 i;

	if (dice(&w->seed, 3))
		add_zero(w);
	if (!dice(&w->seed, 2))
		add(w, STEP_SETTLE, dice(&w->seed, 1 << 30), 0, 0, 0);
	if (dice(&w->seed, 2))
		add(w, STEP_COMMIT, 0, 0, 0, 0);
	add_run(w, 40);
	add(w, STEP_COMPACT, dice(&w->seed, 2), 0, 0, 0);
	if (w->faults && !dice(&w->seed, 3))
		add_fault(w);
	for (i = dice(&w->seed, 6); i; i--) {
		add_run(w, 60);
		add_request(w, dice(&w->seed, 3));
		if (!dice(&w->seed, 6))
			add_zero(w);
		if (!dice(&w->seed, 4))
			add(w, STEP_COMMIT, 0, 0, 0, 0);
	}
	add_run(w, 200);
}

static void add_any(struct writer *w)
{
	if (w->many && !dice(&w->seed, 12))
		add_resize(w);
	switch (dice(&w->seed, 100)) {
	case 0 ... 21:
		add_request(w, true);
		break;
	case 22 ... 24:
		add_request(w, false);
		break;
	case 41 ... 45:
		add_zero(w);
		break;
	case 46:
		if (!dice(&w->seed, 3))
			add_reuse(w);
		break;
	case 25 ... 30:
		add(w, STEP_COMMIT, 0, 0, 0, 0);
		break;
	case 31:
		add(w, STEP_GROW, 0, 0, 0, 0);
		break;
	case 32 ... 37:
		add_trouble(w);
		break;
	case 38:
		add(w, STEP_SETTLE, dice(&w->seed, 1 << 30), 0, 0, 0);
		break;
	case 39 ... 40:
		if (w->snapshots && dice(&w->seed, 2))
			add_snapshot(w);
		else if (w->resizes && dice(&w->seed, 2))
			add_resize(w);
		else if (w->compacts && dice(&w->seed, 2))
			add_compact(w);
		else if (!dice(&w->seed, w->crashes))
			add_end(w);
		break;
	default:
		add(w, STEP_RUN, dice(&w->seed, 1 << 30),
		    1 + dice(&w->seed, 8), 0, 0);
	}
}

void program_random(struct program *p, u64 seed, const struct layout *l,
		    bool resizes)
{
	struct writer w = { .p = p, .seed = seed * 0x2545F4914F6CDD1DULL };
	u32 steps = 40 + dice(&w.seed, MAX_STEPS - 40), blocks;

	p->seed = seed;
	p->layout = l ? l : &layouts[seed % (resizes ? nr_all_layouts :
						       nr_layouts)];
	p->nr = 0;
	w.faults = dice(&w.seed, 2);
	w.snapshots = !(seed / nr_layouts % 3) && !resizes;
	w.resizes = seed / nr_layouts % 3 == 1 || resizes;
	w.compacts = seed / nr_layouts % 3 == 2 && !resizes;
	w.many = resizes;
	w.crashes = 1 + dice(&w.seed, 3);
	blocks = DIV_ROUND_UP(layout_sectors(p->layout),
			      p->layout->block_size / 512);
	/* All of the disk, or a few blocks where everything meets. */
	w.blocks = dice(&w.seed, 3) ? blocks : min(blocks, 1 + dice(&w.seed, 3));
	w.first = dice(&w.seed, blocks - w.blocks + 1);
	while (p->nr < steps)
		add_any(&w);
}

/* ---- doing it ---------------------------------------------------------------- */

static void do_run(struct session *s, u64 seed, u32 steps)
{
	u32 actors[NR_ACTORS], n;

	while (steps-- && !s->failed && (n = session_actors(s, actors)))
		session_step(s, actors[dice(&seed, n)]);
}

static void do_fault(struct session *s, const u32 *arg)
{
	/* Requests have nothing to do with the file of a former top. */
	struct disk *d = s->lower.there && arg[0] != VHD_IO_DATA && arg[3] & 1 ?
				 &s->lower.disk : &s->disk;

	d->faults[arg[0] % NR_IO_KINDS] = (struct disk_fault) {
		.left = arg[1] % 256,
		.more = arg[1] / 256,
		.err = -(int)arg[2],
		.seed = arg[3],
	};
}

/* A few sectors more; blocks more; more than a sector of the table; fewer. */
static void do_resize(struct session *s, const u32 *arg)
{
	u32 nr = s->model.nr, per = s->model.block_sectors, n = arg[2];
	u32 cut = n % (3 * per);

	switch (arg[1] % 5) {
	case 0:
		nr += 1 + n % 12;
		break;
	case 1:
		nr += n % (3 * per);
		break;
	case 2:
		nr = max(nr, 129 * per) + n % per;
		break;
	default:
		nr -= min(cut, nr - 1);
	}
	s->resize_faults = arg[3];
	session_resize(s, arg[0], nr);
	/* In the last block there is, up to its end. */
	nr = s->model.nr;
	n = 1 + min(n % 20, (nr - 1) % per);
	if (!s->failed)
		session_write(s, n, nr - n, n, false);
}

static void do_limit(struct session *s, u32 slots)
{
	u64 slot = s->layout->block_size + 4096ULL;

	s->disk.limit = slots == 99 ? ~0ULL : s->disk.now.size + slots * slot;
}

void program_step(struct session *s, const struct step *step)
{
	const u32 *arg = step->arg;

	switch (step->kind) {
	case STEP_WRITE:
		session_write(s, arg[0], arg[1], arg[2], arg[3]);
		break;
	case STEP_READ:
		session_read(s, arg[0], arg[1], arg[2], arg[3]);
		break;
	case STEP_ZERO:
		session_zero(s, arg[0], arg[1], arg[2], arg[3]);
		break;
	case STEP_RUN:
		do_run(s, arg[0], arg[1]);
		break;
	case STEP_COMMIT:
		s->commit_wanted = true;
		break;
	case STEP_GROW:
		session_grow(s);
		break;
	case STEP_SETTLE:
		session_settle(s, arg[0]);
		break;
	case STEP_FAULT:
		do_fault(s, arg);
		break;
	case STEP_LIMIT:
		do_limit(s, arg[0]);
		break;
	case STEP_RESERVE:
		s->disk.no_reserve = !arg[0];
		break;
	case STEP_DETACH:
		session_detach(s, arg[0]);
		break;
	case STEP_KILL:
		session_kill(s, arg[0]);
		break;
	case STEP_SNAPSHOT:
		session_snapshot(s, arg[0], arg[1], arg[2]);
		break;
	case STEP_RESIZE:
		do_resize(s, arg);
		break;
	case STEP_COMPACT:
		session_compact(s, arg[0]);
		break;
	case STEP_CRASH:
		session_crash(s, arg[0], arg[1]);
		break;
	default:
		session_fail(s, "no such step");
	}
}

/* ---- text ---------------------------------------------------------------------- */

void program_print(const struct program *p, FILE *out)
{
	u32 i;

	fprintf(out, "image %s %llu\n", p->layout->name,
		(unsigned long long)p->seed);
	for (i = 0; i < p->nr; i++)
		fprintf(out, "%s %u %u %u %u\n", names[p->steps[i].kind],
			p->steps[i].arg[0], p->steps[i].arg[1],
			p->steps[i].arg[2], p->steps[i].arg[3]);
}

static bool read_step(struct step *step, const char *line)
{
	char name[32];
	u32 *arg = step->arg, kind;

	memset(step, 0, sizeof(*step));
	if (sscanf(line, "%31s %u %u %u %u", name, &arg[0], &arg[1], &arg[2],
		   &arg[3]) < 1)
		return false;
	for (kind = 0; kind < NR_STEP_KINDS; kind++) {
		if (!strcmp(name, names[kind])) {
			step->kind = kind;
			return true;
		}
	}
	return false;
}

u32 program_read(struct program *p, FILE *in)
{
	unsigned long long seed;
	char line[128], name[64];
	u32 number = 1;

	if (!fgets(line, sizeof(line), in) ||
	    sscanf(line, "image %63s %llu", name, &seed) != 2)
		return number;
	p->layout = layout_find(name);
	p->seed = seed;
	p->nr = 0;
	if (!p->layout)
		return number;
	while (fgets(line, sizeof(line), in)) {
		number++;
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (p->nr == MAX_STEPS || !read_step(&p->steps[p->nr++], line))
			return number;
	}
	return 0;
}
