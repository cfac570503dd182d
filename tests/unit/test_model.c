// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random requests, commits, growth, errors, detaches and crashes against a plain
 * array.
 *
 * Everything advances a step at a time in random order, as it does on a busy
 * device: up to NR_REQS requests between map and done, a commit and a prepare
 * plan.  Of every sector the model knows the values it may have now, and those
 * it may have after a crash.
 */
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "unmap.h"

#define NR_REQS		8
#define MAX_VERSIONS	24
#define MAX_IO		96U
#define STEPS		4000U
/* What a differencing image's parent holds: this and the sector's number. */
#define PARENT_TAG	(1ULL << 40)

/**
 * struct cell - one sector
 * @tags: values written, the oldest first
 * @n: how many
 * @floor: the oldest that may be found after a crash
 * @now: the last that was written with success; later ones failed
 * @taken: @now when the running commit began
 * @busy: a request is under way
 */
struct cell {
	u64 tags[MAX_VERSIONS];
	u8 n;
	u8 floor;
	u8 now;
	u8 taken;
	bool busy;
};

enum req_state {
	REQ_IDLE,
	REQ_MAP,
	REQ_WAIT_SPACE,
	REQ_WAIT_COMMIT,
	REQ_LOAD,
	REQ_DATA,
	REQ_DONE,
};

/**
 * struct req - a request under way
 * @zero: a write of zeros, or a discard: @flags are VHD_ZERO_*
 * @at, @left: what of it is still to be done
 * @bm: bitmap being loaded
 */
struct req {
	enum req_state state;
	bool write;
	bool zero;
	unsigned int flags;
	u64 first;
	u32 sectors;
	u64 at;
	u32 left;
	u64 tag;
	int err;
	struct vhd_hold hold;
	struct vhd_extent ext;
	struct vhd_bitmap *bm;
};

/**
 * struct model - an image in use, and what is known of it
 * @drain_nr: slots that wait for the requests in @drain_reqs, a bit each
 */
struct model {
	struct rig r;
	u64 seed;
	u64 tag;
	u32 nr;
	struct cell *cells;
	struct req reqs[NR_REQS];
	struct vhd_prepare prepare;
	bool preparing;
	int prepare_err;
	bool committing;
	int commit_err;
	u32 drain_nr;
	u32 drain_reqs;
	bool faults;
	u32 writes, reads, zeroes, unmaps, commits, crashes, closes, failures;
};

static u32 dice(struct model *m, u32 n)
{
	return mem_random_below(&m->seed, n);
}

/* ---- what a sector may hold ------------------------------------------- */

static void cell_set(struct cell *c, u64 tag)
{
	memset(c, 0, sizeof(*c));
	c->tags[0] = tag;
	c->n = 1;
}

static bool cell_allows(const struct cell *c, u32 from, u64 tag)
{
	u32 i;

	for (i = from; i < c->n; i++)
		if (c->tags[i] == tag)
			return true;
	return false;
}

static void expect_cell(struct model *m, u64 sector, u32 from, const u8 *data)
{
	const struct cell *c = &m->cells[sector];
	u64 tag = tag_of(data);

	if (!cell_allows(c, from, tag))
		fail_msg("sector %llu holds %llx, expected %llx (%u later)",
			 (unsigned long long)sector, (unsigned long long)tag,
			 (unsigned long long)c->tags[from], c->n - from - 1);
}

/* All of the disk, and what is found there is what it holds from now on. */
static void verify(struct model *m, bool crashed)
{
	u32 n = vhd_block_sectors(&m->r.img);
	u8 *buf = malloc((size_t)n * 512);
	struct cell *c;
	u32 i, sector;

	assert_non_null(buf);
	for (sector = 0; sector < m->nr; sector += n) {
		n = min(n, m->nr - sector);
		assert_int_equal(rig_read(&m->r, sector, n, buf), 0);
		for (i = 0; i < n; i++) {
			c = &m->cells[sector + i];
			expect_cell(m, sector + i, crashed ? c->floor : c->now,
				    buf + i * 512);
			cell_set(c, tag_of(buf + i * 512));
		}
	}
	free(buf);
}

static void commit_took(struct model *m)
{
	u32 i;

	for (i = 0; i < m->nr; i++)
		m->cells[i].taken = m->cells[i].now;
}

static void commit_succeeded(struct model *m)
{
	u32 i;

	m->commits++;
	for (i = 0; i < m->nr; i++) {
		struct cell *c = &m->cells[i];
		u32 drop = c->taken;

		if (!drop)
			continue;
		memmove(c->tags, c->tags + drop,
			(c->n - drop) * sizeof(*c->tags));
		c->n -= drop;
		c->now -= drop;
		c->floor = 0;
		c->taken = 0;
	}
}

/* ---- the two plans ---------------------------------------------------- */

static void start_prepare(struct model *m)
{
	if (m->preparing)
		return;
	vhd_prepare_init(&m->prepare, &m->r.img);
	m->prepare_err = 0;
	m->preparing = true;
}

static void start_commit(struct model *m)
{
	if (m->committing)
		return;
	vhd_commit_begin(&m->r.commit);
	commit_took(m);
	m->commit_err = 0;
	m->committing = true;
}

/* Who waited for a plan that is over maps again, or gets its error. */
static void wake(struct model *m, enum req_state state, int err)
{
	u32 i;

	for (i = 0; i < NR_REQS; i++) {
		struct req *q = &m->reqs[i];

		if (q->state != state)
			continue;
		q->err = err;
		q->state = err ? REQ_DONE : REQ_MAP;
	}
}

/* One step of a plan.  Return: > 0 while it runs. */
static int step(struct model *m, struct vhd_plan *plan, int *err)
{
	struct vhd_io io;
	int ret = vhd_plan_next(plan, *err, &io);

	if (ret > 0)
		*err = mem_io(&m->r.mem, &io);
	return ret;
}

static void step_prepare(struct model *m)
{
	int ret;

	if (!m->preparing)
		return;
	ret = step(m, &m->prepare.plan, &m->prepare_err);
	if (ret > 0)
		return;
	m->preparing = false;
	m->failures += ret < 0;
	wake(m, REQ_WAIT_SPACE, ret);
}

static void step_commit(struct model *m)
{
	int ret;

	if (!m->committing)
		return;
	ret = step(m, &m->r.commit.plan, &m->commit_err);
	if (ret > 0)
		return;
	m->committing = false;
	m->failures += ret < 0;
	if (!ret)
		commit_succeeded(m);
	wake(m, REQ_WAIT_COMMIT, ret);
}

/* ---- requests --------------------------------------------------------- */

static bool range_free(const struct model *m, u64 first, u32 sectors)
{
	u32 i;

	for (i = 0; i < sectors; i++)
		if (m->cells[first + i].busy ||
		    m->cells[first + i].n == MAX_VERSIONS)
			return false;
	return true;
}

static void range_busy(struct model *m, const struct req *q, bool busy)
{
	u32 i;

	for (i = 0; i < q->sectors; i++)
		m->cells[q->first + i].busy = busy;
}

/* Zeros are there, or may be, from the beginning of the request on. */
static void start_zero(struct model *m, struct req *q)
{
	u32 i;

	q->zero = true;
	q->flags = dice(m, 4) ? VHD_ZERO_UNMAP : 0;
	/* Of a differencing image a discard leaves what the parent has. */
	if (dice(m, 2) && m->r.img.type != VHD_TYPE_DIFFERENCING)
		q->flags |= VHD_ZERO_DISCARD;
	for (i = 0; i < q->sectors; i++) {
		struct cell *c = &m->cells[q->first + i];

		c->tags[c->n++] = 0;
	}
}

/* Mostly the first and the last sectors of a block: there they meet. */
static void start_req(struct model *m, struct req *q)
{
	u32 block = vhd_block_sectors(&m->r.img);
	u32 n = dice(m, 8) ? 1 + dice(m, 16) : 1 + dice(m, MAX_IO);
	u32 at = dice(m, 4) ? dice(m, 160) : block - 1 - dice(m, 64);
	u64 first = (u64)dice(m, m->r.img.nr_blocks) * block + at;
	bool write, zero;

	n = min(n, block - at);
	write = dice(m, 3);
	zero = write && !dice(m, 5);
	if (zero && dice(m, 2)) {
		first -= at;
		n = min_t(u64, block, m->nr - first);
	}
	if (first + n > m->nr || !range_free(m, first, n))
		return;
	memset(q, 0, sizeof(*q));
	q->write = write;
	q->first = first;
	q->at = first;
	q->sectors = n;
	q->left = n;
	q->state = REQ_MAP;
	range_busy(m, q, true);
	if (zero)
		start_zero(m, q);
}

static void req_map(struct model *m, struct req *q)
{
	if (q->zero)
		q->err = vhd_map_zero(&m->r.img, q->at, q->left, q->flags,
				      &q->hold, &q->ext);
	else if (q->write)
		q->err = vhd_map_write(&m->r.img, q->at, q->left, &q->hold,
				       &q->ext);
	else
		vhd_map_read(&m->r.img, q->at, q->left, &q->hold, &q->ext);
	if (q->err) {
		q->state = REQ_DONE;
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
		q->state = REQ_WAIT_SPACE;
		start_prepare(m);
		break;
	case VHD_MAP_COMMIT:
		q->state = REQ_WAIT_COMMIT;
		start_commit(m);
		break;
	default:
		fail_msg("mapping kind %d", q->ext.kind);
	}
}

/* Two steps: others may change the bitmap between them. */
static void req_load(struct model *m, struct req *q)
{
	u32 block = q->at / vhd_block_sectors(&m->r.img);
	struct vhd_io io = { .kind = VHD_IO_READ };
	u32 len;

	if (q->bm) {
		vhd_bitmap_add(&m->r.img, q->bm);
		q->bm = NULL;
		q->state = REQ_MAP;
		return;
	}
	q->bm = vhd_bitmap_alloc(&m->r.img, block);
	assert_non_null(q->bm);
	io.pos = vhd_bitmap_load_pos(&m->r.img, q->bm, &len);
	io.len = len;
	io.buf = q->bm->live;
	q->err = io.pos ? mem_io(&m->r.mem, &io) : 0;
	if (!q->err)
		return;
	vhd_bitmap_free(q->bm);
	q->bm = NULL;
	q->state = REQ_DONE;
}

static void req_write_data(struct model *m, struct req *q)
{
	struct rig_req io = { .ext = q->ext, .sectors = q->left };
	u32 i;

	q->tag = ++m->tag;
	for (i = 0; i < q->left; i++) {
		struct cell *c = &m->cells[q->at + i];

		c->tags[c->n++] = q->tag;
	}
	/* Errors of data are what takes allocations back. */
	if (m->faults && !dice(m, 12)) {
		mem_fail(&m->r.mem, VHD_IO_WRITE, 1,
			 dice(m, 2) ? -EIO : -ENOSPC);
		m->r.mem.fault.partial = dice(m, q->left + 1) * 512;
	}
	m->r.leads = dice(m, 3);
	q->err = rig_data(&m->r, &io, q->tag);
	q->hold.marks = io.hold.marks;
	q->state = REQ_DONE;
}

/* A run of zeros: there already, or to be made. */
static void req_zero_data(struct model *m, struct req *q)
{
	struct vhd_io io = {
		.kind = VHD_IO_ZERO,
		.pos = q->ext.pos,
		.len = q->ext.sectors * 512ULL,
	};

	if (q->ext.kind == VHD_MAP_DATA) {
		if (m->faults && !dice(m, 12))
			mem_fail(&m->r.mem, VHD_IO_ZERO, 1, -EIO);
		q->err = mem_io(&m->r.mem, &io);
		vhd_map_done(&m->r.img, &q->hold, q->err);
	}
	q->at += q->ext.sectors;
	q->left -= q->ext.sectors;
	q->state = q->left && !q->err ? REQ_MAP : REQ_DONE;
}

/* A run of a read; the next one is mapped with what is held. */
static void req_read_data(struct model *m, struct req *q)
{
	u8 buf[MAX_IO * 512] = { 0 };
	u32 i;

	if (q->ext.kind == VHD_MAP_DATA) {
		assert_true(q->ext.pos + q->ext.sectors * 512ULL <=
			    m->r.mem.now.size);
		mem_read(&m->r.mem, q->ext.pos, buf, q->ext.sectors * 512);
	} else if (q->ext.kind == VHD_MAP_PARENT) {
		rig_parent_run(&m->r, q->at, q->ext.sectors, buf);
	}
	for (i = 0; i < q->ext.sectors; i++)
		expect_cell(m, q->at + i, m->cells[q->at + i].now,
			    buf + i * 512);
	q->at += q->ext.sectors;
	q->left -= q->ext.sectors;
	q->state = q->left ? REQ_MAP : REQ_DONE;
}

static void req_done(struct model *m, struct req *q)
{
	u32 i;

	vhd_map_done(&m->r.img, &q->hold, q->err);
	if (q->write && !q->err)
		for (i = 0; i < q->sectors; i++)
			m->cells[q->first + i].now =
				m->cells[q->first + i].n - 1;
	range_busy(m, q, false);
	m->drain_reqs &= ~(1U << (q - m->reqs));
	m->zeroes += q->zero && !q->err;
	m->writes += q->write && !q->zero && !q->err;
	m->reads += !q->write && !q->err;
	m->failures += !!q->err;
	q->state = REQ_IDLE;
}

static void step_req(struct model *m, struct req *q)
{
	switch (q->state) {
	case REQ_IDLE:
		start_req(m, q);
		break;
	case REQ_MAP:
		req_map(m, q);
		break;
	case REQ_LOAD:
		req_load(m, q);
		break;
	case REQ_DATA:
		if (q->zero)
			req_zero_data(m, q);
		else if (q->write)
			req_write_data(m, q);
		else
			req_read_data(m, q);
		break;
	case REQ_DONE:
		req_done(m, q);
		break;
	default:
		break;
	}
}

/* Slots of unmapped blocks wait for the requests that may know them. */
static void step_drain(struct model *m)
{
	u32 i;

	if (!m->drain_nr) {
		m->drain_nr = vhd_unmap_draining(&m->r.img);
		for (i = 0; i < NR_REQS; i++)
			if (m->reqs[i].state != REQ_IDLE)
				m->drain_reqs |= 1U << i;
	} else if (!m->drain_reqs) {
		vhd_unmap_release(&m->r.img, m->drain_nr);
		m->unmaps += m->drain_nr;
		m->drain_nr = 0;
	}
}

/* ---- ends of a session ------------------------------------------------ */

/* Let everything that is under way come to its end. */
static void settle(struct model *m)
{
	bool busy = true;
	u32 i, rounds = 0;

	while (busy) {
		assert_true(rounds++ < 100000);
		busy = m->preparing || m->committing;
		for (i = 0; i < NR_REQS; i++) {
			if (m->reqs[i].state == REQ_IDLE)
				continue;
			step_req(m, &m->reqs[i]);
			busy = true;
		}
		step_prepare(m);
		step_commit(m);
	}
}

/* Whatever is under way is never heard of again. */
static void drop(struct model *m)
{
	u32 i;

	for (i = 0; i < NR_REQS; i++) {
		if (m->reqs[i].bm)
			vhd_bitmap_free(m->reqs[i].bm);
		memset(&m->reqs[i], 0, sizeof(m->reqs[i]));
	}
	m->preparing = false;
	m->committing = false;
	m->drain_nr = 0;
	m->drain_reqs = 0;
	m->r.mem.limit = ~0ULL;
	mem_heal(&m->r.mem);
	rig_close(&m->r);
}

static void reopen(struct model *m, bool crashed)
{
	assert_int_equal(rig_open(&m->r, VHD_OPEN_WRITE), 0);
	assert_true(m->r.img.writable);
	assert_true(rig_harmless(&m->r));
	rig_assert_footer(&m->r);
	verify(m, crashed);
}

/* Power is lost, or the process is killed with the page cache left. */
static void crash(struct model *m)
{
	bool power = dice(m, 3);

	m->crashes++;
	drop(m);
	if (power)
		mem_crash(&m->r.mem, &m->seed);
	reopen(m, true);
	mem_settle(&m->r.mem);
}

static void detach(struct model *m)
{
	m->closes++;
	m->r.mem.limit = ~0ULL;
	mem_heal(&m->r.mem);
	settle(m);
	if (m->r.img.failed) {
		crash(m);
		return;
	}
	assert_int_equal(rig_commit(&m->r), 0);
	assert_int_equal(rig_tidy(&m->r), 0);
	commit_took(m);
	commit_succeeded(m);
	drop(m);
	reopen(m, false);
	assert_null(rig_found(&m->r, VHD_FIND_SLACK));
	mem_settle(&m->r.mem);
}

/* ---- a run ------------------------------------------------------------ */

static void trouble(struct model *m)
{
	static const enum vhd_io_kind kinds[] = {
		VHD_IO_READ, VHD_IO_WRITE, VHD_IO_WRITE, VHD_IO_WRITE,
		VHD_IO_ZERO, VHD_IO_RESERVE, VHD_IO_TRUNCATE, VHD_IO_FLUSH,
	};

	if (!m->faults)
		return;
	switch (dice(m, 12)) {
	case 0:
		/* The file system fills up. */
		m->r.mem.limit = m->r.mem.now.size + dice(m, 3) * STRIDE;
		break;
	case 1:
	case 2:
		m->r.mem.limit = ~0ULL;
		m->r.mem.no_reserve = dice(m, 2);
		break;
	default:
		/* Flushes only seldom: they end the session. */
		mem_fail(&m->r.mem, kinds[dice(m, dice(m, 6) ? 7 : 8)],
			 1 + dice(m, 4), dice(m, 2) ? -EIO : -ENOSPC);
		m->r.mem.fault.partial = dice(m, 20) * 512;
	}
}

static void tick(struct model *m)
{
	switch (dice(m, 64)) {
	case 0:
		start_commit(m);
		break;
	case 1:
		if (vhd_space_low(&m->r.img))
			start_prepare(m);
		break;
	case 2:
		if (!dice(m, 3))
			trouble(m);
		break;
	case 3:
		/* Rather while it matters. */
		if (!dice(m, m->committing ? 3 : 8))
			crash(m);
		else if (!dice(m, 8))
			detach(m);
		else if (m->r.img.failed)
			crash(m);
		break;
	case 4 ... 15:
		step_commit(m);
		break;
	case 16 ... 22:
		step_prepare(m);
		break;
	case 23:
		step_drain(m);
		break;
	default:
		step_req(m, &m->reqs[dice(m, NR_REQS)]);
	}
}

/* Blocks of others: unaligned, in disorder, with gaps, partly clear. */
static void make_foreign(struct model *m, struct build *b, u32 block_size)
{
	u32 n = block_size / 512;
	u32 block, i, first, count;

	for (block = 1; block < b->nr_bat; block += 2) {
		u32 gap = dice(m, 10);

		build_block_at(b, b->nr_bat - block,
			       (ALIGN(b->end, 512ULL) >> 9) + gap);
	}
	b->tail = b->end;
	build_write(b, &m->r.mem);
	for (block = 1; block < b->nr_bat; block += 4) {
		u32 at = b->nr_bat - block;

		build_tag(b, &m->r.mem, at, 0, 200, ++m->tag);
		for (i = 0; i < 4; i++) {
			first = dice(m, 200);
			count = dice(m, 40);
			build_bits(b, &m->r.mem, at, first, count, false);
		}
		build_bits(b, &m->r.mem, at, n - 16, dice(m, 17), false);
	}
}

static void model_init(struct model *m, enum vhd_disk_type type,
		       u32 block_size, bool foreign)
{
	u64 size = 11ULL * block_size + 100 * 512;
	struct build b;
	u8 sector[512];
	u32 i;

	rig_init(&m->r);
	m->r.parent = type == VHD_TYPE_DIFFERENCING ? PARENT_TAG : 0;
	build_init(&b, type, size, block_size);
	if (foreign)
		make_foreign(m, &b, block_size);
	else
		build_write(&b, &m->r.mem);
	build_free(&b);
	m->nr = size / 512;
	m->cells = calloc(m->nr, sizeof(*m->cells));
	assert_non_null(m->cells);
	assert_int_equal(rig_open(&m->r, VHD_OPEN_WRITE), 0);
	for (i = 0; i < m->nr; i++) {
		/* What others wrote is taken as it reads. */
		assert_int_equal(rig_read(&m->r, i, 1, sector), 0);
		cell_set(&m->cells[i], tag_of(sector));
	}
	mem_settle(&m->r.mem);
}

#define DYN	VHD_TYPE_DYNAMIC
#define DIFF	VHD_TYPE_DIFFERENCING

/**
 * struct run - one test
 * @seed: of the run, times what SEED says
 */
struct run {
	const char *name;
	enum vhd_disk_type type;
	u32 block_size;
	bool foreign;
	bool faults;
	u32 seed;
};

static u64 env(const char *name, u64 otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoull(value, NULL, 0) : otherwise;
}

static void run_model(void **state)
{
	const struct run *run = *state;
	u64 seed = env("SEED", 1) * 1000003 + run->seed;
	u64 n = env("ROUNDS", 1) * STEPS * 4;
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	print_message("seed: SEED=%llu\n", (unsigned long long)env("SEED", 1));
	m->seed = seed * 0x9E3779B97F4A7C15ULL;
	m->faults = run->faults;
	model_init(m, run->type, run->block_size, run->foreign);
	while (n--) {
		tick(m);
		mem_forget(&m->r.mem);
	}
	detach(m);
	print_message("seed run: %u writes, %u reads, %u zeroes, %u unmapped, %u commits, %u crashes, %u detaches, %u failures\n",
		      m->writes, m->reads, m->zeroes, m->unmaps, m->commits, m->crashes, m->closes,
		      m->failures);
	assert_true(m->zeroes > 50 && (m->unmaps || run->type == DIFF));
	assert_true(m->writes > 200 && m->commits > 5 && m->crashes > 2);
	rig_free(&m->r);
	free(m->cells);
	free(m);
}

static const struct run runs[] = {
	{ "512 KiB, fresh", DYN, 512 << 10, false, false, 1 },
	{ "512 KiB, fresh, errors", DYN, 512 << 10, false, true, 2 },
	{ "512 KiB, foreign", DYN, 512 << 10, true, false, 3 },
	{ "512 KiB, foreign, errors", DYN, 512 << 10, true, true, 4 },
	{ "1 MiB, fresh, errors", DYN, 1 << 20, false, true, 5 },
	{ "1 MiB, foreign, errors", DYN, 1 << 20, true, true, 6 },
	{ "2 MiB, fresh", DYN, 2 << 20, false, false, 7 },
	{ "2 MiB, fresh, errors", DYN, 2 << 20, false, true, 8 },
	{ "2 MiB, foreign, errors", DYN, 2 << 20, true, true, 9 },
	{ "512 KiB, differencing", DIFF, 512 << 10, false, false, 10 },
	{ "512 KiB, differencing, errors", DIFF, 512 << 10, false, true, 11 },
	{ "1 MiB, differencing, foreign, errors", DIFF, 1 << 20, true, true, 12 },
	{ "2 MiB, differencing", DIFF, 2 << 20, false, false, 13 },
	{ "2 MiB, differencing, foreign", DIFF, 2 << 20, true, false, 14 },
	{ "2 MiB, differencing, errors", DIFF, 2 << 20, false, true, 15 },
};

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(runs)];
	u32 i;

	for (i = 0; i < ARRAY_SIZE(runs); i++)
		tests[i] = (struct CMUnitTest) {
			runs[i].name, run_model, NULL, NULL, (void *)&runs[i]
		};
	return run_group("model", tests);
}
