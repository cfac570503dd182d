// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/kernel.h>
#include <vhd/format.h>

#include "disk.h"

u32 dice(u64 *seed, u32 n)
{
	u64 z = *seed += 0x9E3779B97F4A7C15ULL;

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
	return (u32)((z ^ (z >> 31)) >> 32) % n;
}

static void *grow(void *p, u32 *max, u32 needed, size_t size)
{
	if (needed <= *max)
		return p;
	*max = max(needed, 2 * *max);
	p = realloc(p, *max * size);
	if (!p)
		abort();
	return p;
}

/* ---- contents ---------------------------------------------------------- */

void pool_reset(struct pool *p)
{
	p->nr_meta = 0;
	p->next_id = 1;
}

void pool_free(struct pool *p)
{
	free(p->meta);
}

u32 pool_data(struct pool *p, u32 n)
{
	u32 id = p->next_id;

	p->next_id += n;
	return id;
}

static void pool_bytes(const struct pool *p, u32 id, u8 *buf)
{
	u64 word = id * 0x9E3779B97F4A7C15ULL;
	u32 i;

	if (!id) {
		memset(buf, 0, VHD_SECTOR_SIZE);
	} else if (id & ID_META) {
		memcpy(buf, p->meta[id & ~ID_META], VHD_SECTOR_SIZE);
	} else {
		for (i = 0; i < VHD_SECTOR_SIZE; i += 8, word++)
			memcpy(buf + i, &word, 8);
	}
}

/* The number whose bytes these are; 0: zeros, or @none: of no data. */
static u32 pool_number(const struct pool *p, const u8 *bytes, u32 none)
{
	u8 same[VHD_SECTOR_SIZE];
	u64 word;
	u32 id;

	memcpy(&word, bytes, sizeof(word));
	/* The inverse of the factor in pool_bytes(). */
	id = word * 0xF1DE83E19937733DULL;
	if (id >= p->next_id)
		return none;
	pool_bytes(p, id, same);
	return memcmp(same, bytes, sizeof(same)) ? none : id;
}

static u32 pool_meta(struct pool *p, const u8 *bytes, u32 sectors)
{
	u32 id = p->nr_meta;

	p->meta = grow(p->meta, &p->max_meta, id + sectors, sizeof(*p->meta));
	memcpy(p->meta[id], bytes, (size_t)sectors * VHD_SECTOR_SIZE);
	p->nr_meta += sectors;
	return id | ID_META;
}

/* ---- one content of the file ------------------------------------------- */

static u32 sectors_of(u64 bytes)
{
	return DIV_ROUND_UP(bytes, VHD_SECTOR_SIZE);
}

static void file_reach(struct disk_file *f, u32 sectors)
{
	u32 old = f->cap;

	f->ids = grow(f->ids, &f->cap, sectors, sizeof(*f->ids));
	if (f->cap > old)
		memset(f->ids + old, 0, (f->cap - old) * sizeof(*f->ids));
}

void file_copy(struct disk_file *to, const struct disk_file *from)
{
	u32 n = sectors_of(from->size), old = sectors_of(to->size);

	file_reach(to, n);
	if (n)
		memcpy(to->ids, from->ids, n * sizeof(*to->ids));
	if (old > n)
		memset(to->ids + n, 0, (old - n) * sizeof(*to->ids));
	to->size = from->size;
	to->device = from->device;
}

void file_free(struct disk_file *f)
{
	free(f->ids);
	memset(f, 0, sizeof(*f));
}

u32 file_id(const struct disk_file *f, u64 sector)
{
	return sector < sectors_of(f->size) ? f->ids[sector] : 0;
}

void file_read(const struct pool *p, const struct disk_file *f, u64 pos,
	       void *buf, u64 len)
{
	u8 sector[VHD_SECTOR_SIZE], *to = buf;

	while (len) {
		u32 skip = pos % VHD_SECTOR_SIZE;
		u32 n = min_t(u64, len, VHD_SECTOR_SIZE - skip);

		pool_bytes(p, file_id(f, pos / VHD_SECTOR_SIZE), sector);
		memcpy(to, sector + skip, n);
		pos += n;
		to += n;
		len -= n;
	}
}

void file_set(struct disk_file *f, u32 first, u32 n, u32 id)
{
	u32 i;

	for (i = 0; i < n; i++)
		f->ids[first + i] = id ? id + i : 0;
}

static void file_resize(struct disk_file *f, u64 size)
{
	u32 n = sectors_of(size), old = sectors_of(f->size);

	file_reach(f, n);
	if (old > n)
		memset(f->ids + n, 0, (old - n) * sizeof(*f->ids));
	f->size = size;
}

/* A hole that is punched does not change the size, nor goes beyond it. */
static u32 file_within(const struct disk_file *f, u32 first, u32 n)
{
	u32 end = sectors_of(f->size);

	return first < end ? min(n, end - first) : 0;
}

static void file_apply(struct disk_file *f, const struct disk_op *op)
{
	if (op->kind == VHD_IO_TRUNCATE) {
		file_resize(f, op->size);
		return;
	}
	if (op->size > f->size)
		file_resize(f, op->size);
	file_set(f, op->first, file_within(f, op->first, op->n), op->id);
}

/* ---- the file ----------------------------------------------------------- */

void disk_init(struct disk *d, struct pool *pool)
{
	memset(d, 0, sizeof(*d));
	d->pool = pool;
	d->limit = ~0ULL;
}

void disk_reset(struct disk *d)
{
	file_resize(&d->now, 0);
	file_resize(&d->durable, 0);
	d->now.device = false;
	d->durable.device = false;
	d->nr_ops = 0;
	d->errors = 0;
	d->no_reserve = false;
	disk_heal(d);
}

void disk_heal(struct disk *d)
{
	d->limit = ~0ULL;
	memset(d->faults, 0, sizeof(d->faults));
}

void disk_restart(struct disk *d)
{
	d->changes = 0;
	d->seq = 0;
}

void disk_free(struct disk *d)
{
	file_free(&d->now);
	file_free(&d->durable);
	free(d->ops);
}

void disk_put(struct disk *d, u64 pos, const void *buf, u32 len)
{
	u32 sectors = len / VHD_SECTOR_SIZE;

	if (pos + len > d->now.size)
		file_resize(&d->now, pos + len);
	file_set(&d->now, pos / VHD_SECTOR_SIZE, sectors,
		 pool_meta(d->pool, buf, sectors));
}

void disk_settle(struct disk *d)
{
	file_copy(&d->durable, &d->now);
	d->nr_ops = 0;
	d->changes++;
}

static struct disk_op *disk_log(struct disk *d, const struct disk_op *op)
{
	d->ops = grow(d->ops, &d->max_ops, d->nr_ops + 1, sizeof(*d->ops));
	d->ops[d->nr_ops] = *op;
	return &d->ops[d->nr_ops++];
}

/* A run of sectors of @op as an operation of its own. */
static void disk_log_part(struct disk *d, const struct disk_op *op, u32 at,
			  u32 n)
{
	struct disk_op part = *op;

	part.first += at;
	part.n = n;
	if (part.id)
		part.id += at;
	if (part.size)
		part.size = min(part.size, (u64)(part.first + n) << 9);
	file_apply(&d->now, disk_log(d, &part));
}

/* Of a write or a punch that fails some sectors may have arrived. */
static void disk_log_partly(struct disk *d, const struct disk_op *op, u64 seed)
{
	u32 style = dice(&seed, 4), at, n;

	if (!style || op->kind == VHD_IO_TRUNCATE)
		return;
	if (style == 1) {
		disk_log_part(d, op, 0, op->n);
		return;
	}
	for (at = 0; at < op->n; at += n) {
		n = min(1 + dice(&seed, style == 2 ? 4 : op->n), op->n - at);
		if (dice(&seed, 2))
			disk_log_part(d, op, at, n);
	}
}

/* What this file system says. */
static int disk_answer(struct disk *d, u32 kind, u64 end)
{
	bool grows = kind == VHD_IO_WRITE || kind == VHD_IO_RESERVE;
	struct disk_fault *fault = &d->faults[kind];
	int err = 0;

	/* What no core should ask for: an error without cause. */
	if (d->now.device ? kind == VHD_IO_TRUNCATE || end > d->now.size :
			    kind == VHD_IO_DISCARD)
		return -EINVAL;
	if (d->now.device && kind == VHD_IO_RESERVE)
		return -EOPNOTSUPP;
	if (fault->left && !--fault->left) {
		err = fault->err;
		if (fault->more) {
			fault->more--;
			fault->left = 1;
		}
	}
	if (!err && grows && end > d->limit && end > d->now.size)
		err = -ENOSPC;
	if (!err && kind == VHD_IO_RESERVE && d->no_reserve)
		return -EOPNOTSUPP;
	d->errors += !!err;
	return err;
}

static void disk_cover(struct disk *d, u32 lane)
{
	u32 i;

	for (i = 0; i < d->nr_ops; i++) {
		d->ops[i].covered &= ~(1U << lane);
		if (d->ops[i].done)
			d->ops[i].covered |= 1U << lane;
	}
}

static void disk_tell(const struct disk *d, const char *verb,
		      const struct disk_io *io, u64 pos, u64 len)
{
	static const char * const names[NR_IO_KINDS] = {
		"read", "write", "zero", "reserve", "truncate", "flush",
		"seek", "discard", "data",
	};

	if (d->trace)
		printf("    %s %s, sector %llu + %llu: %d\n", verb,
		       names[io->kind], (unsigned long long)pos / 512,
		       (unsigned long long)len / 512, io->err);
}

/* Parts of one operation have its @seq. */
static void disk_begin(struct disk *d, struct disk_op *op, int err, u64 seed)
{
	if (!op->seq)
		op->seq = ++d->seq;
	d->changes++;
	if (!err)
		file_apply(&d->now, disk_log(d, op));
	else
		disk_log_partly(d, op, seed);
}

/* Data that are copied keep their numbers; runs of those are ops of their own. */
static void disk_begin_write(struct disk *d, const struct vhd_io *io, int err,
			     struct disk_op *op)
{
	u32 sectors = io->len / VHD_SECTOR_SIZE, at, n, id, next;
	const u8 *bytes = io->buf;

	for (at = 0; at < sectors; at += n) {
		id = pool_number(d->pool, bytes + at * 512, ID_META);
		for (n = 1; at + n < sectors; n++) {
			next = pool_number(d->pool, bytes + (at + n) * 512,
					   ID_META);
			if (next != (id && id != ID_META ? id + n : id))
				break;
		}
		if (id == ID_META)
			id = pool_meta(d->pool, bytes + at * 512, n);
		op->first = io->pos / VHD_SECTOR_SIZE + at;
		op->n = n;
		op->id = id;
		op->size = io->pos + (at + n) * 512ULL;
		disk_begin(d, op, err, d->faults[VHD_IO_WRITE].seed + at);
	}
}

/* The pad is written by some runners, and not by others. */
static void disk_begin_padded(struct disk *d, const struct vhd_io *io, int err,
			      struct disk_op *op)
{
	u8 buf[VHD_ALIGN] = { };
	struct vhd_io whole = *io;

	if (io->pad + io->len <= sizeof(buf) && d->changes % 2) {
		memcpy(buf + io->pad, io->buf, io->len);
		whole.pos -= io->pad;
		whole.len += io->pad;
		whole.buf = buf;
	}
	disk_begin_write(d, &whole, err, op);
}

/* The first run of sectors that are not zeros; holes of the file. */
static void disk_seek(const struct disk *d, struct vhd_span *span)
{
	u64 end = span->end, pos = span->pos;

	while (pos < end && !file_id(&d->now, pos / 512))
		pos += 512;
	span->pos = pos;
	while (pos < end && file_id(&d->now, pos / 512))
		pos += 512;
	span->end = pos;
}

/* What changes nothing; done at once. */
static bool disk_look(struct disk *d, const struct vhd_io *io,
		      struct disk_io *out)
{
	if (io->kind == VHD_IO_SEEK)
		disk_seek(d, io->buf);
	else if (io->kind == VHD_IO_READ)
		file_read(d->pool, &d->now, io->pos, io->buf, io->len);
	else
		return false;
	out->seq = 0;
	return true;
}

void disk_issue(struct disk *d, const struct vhd_io *io, u32 lane,
		struct disk_io *out)
{
	u32 sectors = io->len / VHD_SECTOR_SIZE;
	struct disk_op op = {
		.kind = io->kind,
		.first = io->pos / VHD_SECTOR_SIZE,
		.n = sectors,
	};

	out->kind = io->kind;
	out->lane = lane;
	out->err = disk_answer(d, io->kind, io->pos + io->len);
	disk_tell(d, "issue", out, io->pos, io->len);
	if (disk_look(d, io, out))
		return;
	if (io->kind == VHD_IO_FLUSH) {
		disk_cover(d, lane);
	} else if (io->kind == VHD_IO_WRITE) {
		disk_begin_padded(d, io, out->err, &op);
	} else if (io->kind != VHD_IO_RESERVE) {
		if (io->kind == VHD_IO_TRUNCATE)
			op.size = io->pos;
		if (io->kind == VHD_IO_DISCARD)
			op.id = d->seq % 3 ? pool_data(d->pool, sectors) : 0;
		disk_begin(d, &op, out->err, d->faults[io->kind].seed);
	}
	out->seq = op.seq;
}

void disk_issue_data(struct disk *d, u64 pos, u32 sectors, u32 id,
		     struct disk_io *out)
{
	struct disk_op op = {
		.kind = VHD_IO_WRITE,
		.first = pos / VHD_SECTOR_SIZE,
		.n = sectors,
		.id = id,
		.size = pos + ((u64)sectors << VHD_SECTOR_SHIFT),
	};

	out->kind = VHD_IO_WRITE;
	out->err = disk_answer(d, VHD_IO_DATA, op.size);
	disk_tell(d, "issue data", out, pos, op.size - pos);
	disk_begin(d, &op, out->err, d->faults[VHD_IO_DATA].seed);
	out->seq = op.seq;
}

/* What a flush covered is durable. */
static void disk_fold(struct disk *d, u32 lane)
{
	u32 i, n = 0;

	for (i = 0; i < d->nr_ops; i++) {
		if (d->ops[i].covered & (1U << lane))
			file_apply(&d->durable, &d->ops[i]);
		else
			d->ops[n++] = d->ops[i];
	}
	d->nr_ops = n;
}

static bool op_sizes(const struct disk_file *f, const struct disk_op *op)
{
	if (op->kind == VHD_IO_TRUNCATE)
		return op->size != f->size;
	return op->size > f->size;
}

/* A flush failed: half of what it covered, changes of size apart, is lost. */
static void disk_drop(struct disk *d, u32 lane)
{
	u64 seed = d->faults[VHD_IO_FLUSH].seed;
	u32 i, n = 0;

	for (i = 0; i < d->nr_ops; i++)
		if (!(d->ops[i].covered & (1U << lane)) ||
		    op_sizes(&d->durable, &d->ops[i]) || dice(&seed, 2))
			d->ops[n++] = d->ops[i];
	d->nr_ops = n;
	file_copy(&d->now, &d->durable);
	for (i = 0; i < n; i++)
		file_apply(&d->now, &d->ops[i]);
}

int disk_complete(struct disk *d, const struct disk_io *io)
{
	u32 i;

	d->changes++;
	disk_tell(d, "complete", io, 0, 0);
	if (io->kind == VHD_IO_FLUSH && !io->err)
		disk_fold(d, io->lane);
	else if (io->kind == VHD_IO_FLUSH)
		disk_drop(d, io->lane);
	for (i = 0; io->kind != VHD_IO_FLUSH && i < d->nr_ops; i++)
		if (d->ops[i].seq == io->seq)
			d->ops[i].done = true;
	return io->err;
}

/* ---- crash --------------------------------------------------------------- */

/**
 * struct crash - a state being made
 * @keep: how many of ten operations arrive, CRASH_RANDOM
 * @prefix: operations before this one arrive
 * @lost: a change of the size was lost: so are those after it
 * @limit: nothing written from here on is seen: the cut before it was lost
 */
struct crash {
	const struct disk *d;
	struct disk_file *f;
	enum crash_mode mode;
	bool loose;
	u64 *seed;
	u32 keep;
	u32 prefix;
	bool lost;
	bool hollow;
	u64 limit;
};

static bool crash_keeps(struct crash *c, u32 i)
{
	switch (c->mode) {
	case CRASH_ALL:
		return true;
	case CRASH_DONE:
		return c->d->ops[i].done;
	case CRASH_PREFIX:
		return i < c->prefix;
	case CRASH_RANDOM:
		return dice(c->seed, 10) < c->keep;
	default:
		return false;
	}
}

static void crash_part(struct crash *c, const struct disk_op *op, u32 at, u32 n)
{
	u32 end = sectors_of(min(c->limit, c->f->size));
	u32 first = op->first + at;

	if (first >= end)
		return;
	file_set(c->f, first, min(n, end - first), op->id ? op->id + at : 0);
}

/* All of its sectors, or some. */
static void crash_sectors(struct crash *c, const struct disk_op *op)
{
	u32 at, n, grain;

	if (c->mode != CRASH_RANDOM || op->n == 1 || dice(c->seed, 2)) {
		crash_part(c, op, 0, op->n);
		return;
	}
	grain = op->n > 128 || dice(c->seed, 2) ? op->n : 2;
	for (at = 0; at < op->n; at += n) {
		n = min(1 + dice(c->seed, grain), op->n - at);
		if (dice(c->seed, 2))
			crash_part(c, op, at, n);
	}
}

static void crash_size(struct crash *c, const struct disk_op *op, bool keep)
{
	u32 at = sectors_of(c->f->size) - op->first;

	c->lost |= !keep;
	if (c->lost) {
		if (op->kind == VHD_IO_TRUNCATE)
			c->limit = min(c->limit, op->size);
		/* What of it lies inside the file may be there. */
		else if (op->first < sectors_of(c->f->size) && keep)
			crash_part(c, op, 0, at);
	} else if (c->loose && op->kind == VHD_IO_WRITE && dice(c->seed, 3) == 0) {
		file_resize(c->f, op->size);
		c->hollow = true;
	} else {
		file_apply(c->f, op);
	}
}

bool disk_crash(const struct disk *d, enum crash_mode mode, bool loose,
		u64 *seed, struct disk_file *out)
{
	struct crash c = {
		.d = d,
		.f = out,
		.mode = mode,
		.loose = loose,
		.seed = seed,
		.keep = 2 + 3 * dice(seed, 3),
		.prefix = dice(seed, d->nr_ops + 1),
		.limit = ~0ULL,
	};
	bool keep;
	u32 i;

	file_copy(out, &d->durable);
	for (i = 0; i < d->nr_ops; i++) {
		keep = crash_keeps(&c, i);
		if (op_sizes(out, &d->ops[i]))
			crash_size(&c, &d->ops[i], keep);
		else if (keep)
			crash_sectors(&c, &d->ops[i]);
	}
	return c.hollow;
}
