// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/kernel.h>
#include <linux/string.h>
#include <vhd/format.h>

#include "mem.h"

/* ---- sparse content --------------------------------------------------- */

static struct mem_page **map_bucket(struct mem_map *map, u64 index)
{
	return &map->buckets[index % MEM_BUCKETS];
}

static struct mem_page *map_find(const struct mem_map *map, u64 index)
{
	struct mem_page *p = map->buckets[index % MEM_BUCKETS];

	while (p && p->index != index)
		p = p->next;
	return p;
}

static struct mem_page *map_get(struct mem_map *map, u64 index)
{
	struct mem_page *p = map_find(map, index);

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		abort();
	p->index = index;
	p->next = *map_bucket(map, index);
	*map_bucket(map, index) = p;
	return p;
}

static void map_read(const struct mem_map *map, u64 pos, u8 *buf, u64 len)
{
	while (len) {
		u64 n = min(len, MEM_PAGE - pos % MEM_PAGE);
		const struct mem_page *p = map_find(map, pos / MEM_PAGE);

		if (p)
			memcpy(buf, p->data + pos % MEM_PAGE, n);
		else
			memset(buf, 0, n);
		pos += n;
		buf += n;
		len -= n;
	}
}

static void map_write(struct mem_map *map, u64 pos, const u8 *buf, u64 len)
{
	map->size = max(map->size, pos + len);
	while (len) {
		u64 n = min(len, MEM_PAGE - pos % MEM_PAGE);
		struct mem_page *p = map_get(map, pos / MEM_PAGE);

		memcpy(p->data + pos % MEM_PAGE, buf, n);
		pos += n;
		buf += n;
		len -= n;
	}
}

/* Does not change the size. */
static void map_zero(struct mem_map *map, u64 pos, u64 len)
{
	while (len) {
		u64 n = min(len, MEM_PAGE - pos % MEM_PAGE);
		struct mem_page *p = map_find(map, pos / MEM_PAGE);

		if (p)
			memset(p->data + pos % MEM_PAGE, 0, n);
		pos += n;
		len -= n;
	}
}

static void map_truncate(struct mem_map *map, u64 size)
{
	struct mem_page **link, *p;
	u32 i;

	map->size = size;
	if (size % MEM_PAGE)
		map_zero(map, size, MEM_PAGE - size % MEM_PAGE);
	for (i = 0; i < MEM_BUCKETS; i++) {
		link = &map->buckets[i];
		while ((p = *link)) {
			if (p->index * MEM_PAGE < size) {
				link = &p->next;
				continue;
			}
			*link = p->next;
			free(p);
		}
	}
}

static void map_copy(struct mem_map *to, const struct mem_map *from)
{
	const struct mem_page *p;
	u32 i;

	map_truncate(to, 0);
	to->size = from->size;
	for (i = 0; i < MEM_BUCKETS; i++)
		for (p = from->buckets[i]; p; p = p->next)
			memcpy(map_get(to, p->index)->data, p->data, MEM_PAGE);
}

static bool map_within(const struct mem_map *a, const struct mem_map *b)
{
	static const u8 zeros[MEM_PAGE];
	const struct mem_page *p, *q;
	u32 i;

	for (i = 0; i < MEM_BUCKETS; i++) {
		for (p = a->buckets[i]; p; p = p->next) {
			q = map_find(b, p->index);
			if (memcmp(p->data, q ? q->data : zeros, MEM_PAGE))
				return false;
		}
	}
	return true;
}

bool mem_same(const struct mem_map *a, const struct mem_map *b)
{
	return a->size == b->size && map_within(a, b) && map_within(b, a);
}

/* ---- the file --------------------------------------------------------- */

void mem_init(struct mem *m)
{
	memset(m, 0, sizeof(*m));
	m->limit = ~0ULL;
}

void mem_free(struct mem *m)
{
	map_truncate(&m->now, 0);
	map_truncate(&m->durable, 0);
	m->pending = m->nr_ops;
	mem_forget(m);
	free(m->ops);
	m->ops = NULL;
}

void mem_read(const struct mem *m, u64 pos, void *buf, u64 len)
{
	map_read(&m->now, pos, buf, len);
}

void mem_write(struct mem *m, u64 pos, const void *buf, u64 len)
{
	map_write(&m->now, pos, buf, len);
}

void mem_truncate(struct mem *m, u64 size)
{
	map_truncate(&m->now, size);
}

void mem_zero(struct mem *m, u64 pos, u64 len)
{
	map_zero(&m->now, pos, len);
}

void mem_settle(struct mem *m)
{
	map_copy(&m->durable, &m->now);
	m->pending = m->nr_ops;
	mem_forget(m);
}

void mem_forget(struct mem *m)
{
	u32 i;

	for (i = 0; i < m->pending; i++)
		free(m->ops[i].data);
	m->nr_ops -= m->pending;
	if (m->nr_ops)
		memmove(m->ops, m->ops + m->pending,
			m->nr_ops * sizeof(*m->ops));
	m->pending = 0;
}

/* ---- errors on demand ------------------------------------------------- */

void mem_fail(struct mem *m, enum vhd_io_kind kind, u32 nth, int err)
{
	m->fault = (struct mem_fault) {
		.kind = kind,
		.left = nth,
		.err = err,
		.pos = MEM_ANY_POS,
	};
}

void mem_fail_at(struct mem *m, enum vhd_io_kind kind, u64 pos, int err)
{
	mem_fail(m, kind, 1, err);
	m->fault.pos = pos;
	m->fault.sticky = true;
}

void mem_heal(struct mem *m)
{
	memset(&m->fault, 0, sizeof(m->fault));
}

static int mem_fault_now(struct mem *m, const struct vhd_io *io)
{
	struct mem_fault *f = &m->fault;

	if (!f->left || f->kind != io->kind)
		return 0;
	if (f->pos != MEM_ANY_POS &&
	    (f->pos < io->pos || f->pos >= io->pos + io->len))
		return 0;
	if (f->sticky && f->left == 1)
		return f->err;
	return --f->left ? 0 : f->err;
}

/* ---- operations ------------------------------------------------------- */

static struct mem_op *mem_log(struct mem *m, const struct vhd_io *io)
{
	struct mem_op *op;

	if (m->nr_ops == m->max_ops) {
		m->max_ops = m->max_ops ? 2 * m->max_ops : 64;
		m->ops = realloc(m->ops, m->max_ops * sizeof(*m->ops));
		if (!m->ops)
			abort();
	}
	op = &m->ops[m->nr_ops++];
	*op = (struct mem_op) {
		.kind = io->kind,
		.pos = io->pos,
		.len = io->len,
	};
	if (io->kind == VHD_IO_WRITE) {
		op->data = malloc(io->len);
		if (!op->data)
			abort();
		memcpy(op->data, io->buf, io->len);
	}
	return op;
}

static void mem_apply(struct mem_map *map, const struct mem_op *op)
{
	switch (op->kind) {
	case VHD_IO_WRITE:
		if (op->len)
			map_write(map, op->pos, op->data, op->len);
		break;
	case VHD_IO_ZERO:
		map_zero(map, op->pos, op->len);
		break;
	case VHD_IO_TRUNCATE:
		map_truncate(map, op->pos);
		break;
	default:
		break;
	}
}

static void mem_flush(struct mem *m)
{
	u32 i;

	for (i = m->pending; i < m->nr_ops; i++)
		mem_apply(&m->durable, &m->ops[i]);
	m->pending = m->nr_ops;
}

/* What this file system says to an operation, faults included. */
static int mem_answer(struct mem *m, const struct vhd_io *io)
{
	int err = mem_fault_now(m, io);
	bool grows = io->kind == VHD_IO_WRITE || io->kind == VHD_IO_RESERVE;

	if (!err && grows && io->pos + io->len > m->limit)
		return -ENOSPC;
	if (!err && io->kind == VHD_IO_RESERVE && m->no_reserve)
		return -EOPNOTSUPP;
	return err;
}

/* In sectors: those of zeros are holes. */
static int mem_seek(struct mem *m, struct vhd_span *span)
{
	u8 sector[512];
	bool data = false;
	u64 pos;

	for (pos = span->pos; pos < span->end; pos += 512) {
		map_read(&m->now, pos, sector, sizeof(sector));
		if (!data && memchr_inv(sector, 0, sizeof(sector))) {
			data = true;
			span->pos = pos;
		} else if (data && !memchr_inv(sector, 0, sizeof(sector))) {
			span->end = pos;
		}
	}
	if (!data)
		span->pos = span->end;
	return 0;
}

int mem_io(struct mem *m, const struct vhd_io *io)
{
	int err = mem_answer(m, io);
	struct mem_op *op;

	if (io->kind == VHD_IO_SEEK)
		return mem_seek(m, io->buf);
	if (io->kind == VHD_IO_READ) {
		m->nr_reads++;
		if (!err)
			map_read(&m->now, io->pos, io->buf, io->len);
		return err;
	}
	op = mem_log(m, io);
	op->err = err;
	/* Of what failed a part may have been done: of a write, the start. */
	if (err)
		op->len = io->kind == VHD_IO_WRITE ?
				  min(op->len, m->fault.partial) : 0;
	if (err && io->kind == VHD_IO_TRUNCATE)
		op->kind = VHD_IO_RESERVE;
	mem_apply(&m->now, op);
	if (!err && io->kind == VHD_IO_FLUSH)
		mem_flush(m);
	return err;
}

int mem_run(struct mem *m, struct vhd_plan *plan)
{
	struct vhd_io io;
	u32 steps = 0;
	int err = 0;
	int ret;

	while ((ret = vhd_plan_next(plan, err, &io)) > 0) {
		err = mem_io(m, &io);
		if (++steps > MEM_MAX_STEPS)
			abort();
	}
	return ret;
}

int mem_find_op(const struct mem *m, enum vhd_io_kind kind, u64 pos, u32 from)
{
	u32 i;

	for (i = from; i < m->nr_ops; i++)
		if (m->ops[i].kind == kind &&
		    (kind == VHD_IO_FLUSH || m->ops[i].pos == pos))
			return i;
	return -1;
}

u32 mem_count_ops(const struct mem *m, enum vhd_io_kind kind)
{
	u32 i, n = 0;

	for (i = 0; i < m->nr_ops; i++)
		n += m->ops[i].kind == kind;
	return n;
}

/* ---- crash ------------------------------------------------------------ */

const u8 *mem_dice;
size_t nr_mem_dice;

/* Two bytes make a number; what is left is used up. */
static bool mem_next_dice(u32 *n)
{
	if (nr_mem_dice < 2) {
		nr_mem_dice = 0;
		return false;
	}
	*n = mem_dice[0] | mem_dice[1] << 8;
	mem_dice += 2;
	nr_mem_dice -= 2;
	return true;
}

u32 mem_random(u64 *seed)
{
	u32 n;

	if (mem_next_dice(&n))
		return n;
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 33;
}

u32 mem_random_below(u64 *seed, u32 n)
{
	return mem_random(seed) % n;
}

/* Sectors of a write arrive or not, each for itself, but never beyond EOF. */
static void mem_crash_sectors(struct mem *m, const struct mem_op *op, u64 limit,
			      u64 *seed)
{
	/* All, none, or some of them. */
	u32 keep = mem_random_below(seed, 4);
	u64 done, n;

	for (done = 0; done < op->len; done += n) {
		u64 pos = op->pos + done;

		n = min(op->len - done,
			VHD_SECTOR_SIZE - pos % VHD_SECTOR_SIZE);
		if (keep == 0 || (keep > 1 && mem_random_below(seed, 2)))
			continue;
		if (pos + n > min(limit, m->durable.size))
			continue;
		if (op->kind == VHD_IO_WRITE)
			map_write(&m->durable, pos, op->data + done, n);
		else
			map_zero(&m->durable, pos, n);
	}
}

static bool mem_op_sizes(const struct mem *m, const struct mem_op *op)
{
	if (op->kind == VHD_IO_TRUNCATE)
		return op->pos != m->durable.size;
	return op->kind == VHD_IO_WRITE && op->len &&
	       op->pos + op->len > m->durable.size;
}

void mem_crash(struct mem *m, u64 *seed)
{
	/* Behind this lies what size changes that were lost had touched. */
	u64 limit = ~0ULL;
	bool lost = false;
	u32 i;

	for (i = m->pending; i < m->nr_ops; i++) {
		const struct mem_op *op = &m->ops[i];

		if (!mem_op_sizes(m, op)) {
			mem_crash_sectors(m, op, limit, seed);
			continue;
		}
		lost |= !mem_random_below(seed, 4);
		if (!lost)
			mem_apply(&m->durable, op);
		else if (op->kind == VHD_IO_TRUNCATE)
			limit = min(limit, op->pos);
	}
	map_copy(&m->now, &m->durable);
	mem_settle(m);
	mem_heal(m);
}
