/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backing file in memory, and a runner of plans on it.
 *
 * It knows two contents: the current one, and the durable one, which follows at
 * every flush.  A crash goes back to the durable one plus a random part of what
 * was done since.
 */
#ifndef _TESTS_UNIT_MEM_H
#define _TESTS_UNIT_MEM_H

#include <linux/types.h>

#include "plan.h"

#define MEM_PAGE	4096U
#define MEM_BUCKETS	1024U
#define MEM_ANY_POS	(~0ULL)
/* Steps that mem_run() fails at beyond: a plan that does not end. */
#define MEM_MAX_STEPS	1000000U

struct mem_page {
	struct mem_page *next;
	u64 index;
	u8 data[MEM_PAGE];
};

/** struct mem_map - sparse content; pages that are not there read as zeros */
struct mem_map {
	struct mem_page *buckets[MEM_BUCKETS];
	u64 size;
};

/** struct mem_op - an operation as it was done; @err: what it returned */
struct mem_op {
	enum vhd_io_kind kind;
	u64 pos;
	u64 len;
	int err;
	u8 *data;
};

/**
 * struct mem_fault - an error to come
 * @kind: which operations count
 * @left: fail when so many of them are done, counting this one; 0: off
 * @sticky: go on failing
 * @pos: only operations that touch this byte count, or MEM_ANY_POS
 * @partial: bytes of a failing write that arrive all the same
 */
struct mem_fault {
	enum vhd_io_kind kind;
	u32 left;
	int err;
	bool sticky;
	u64 pos;
	u64 partial;
};

/**
 * struct mem - a backing file
 * @no_reserve: RESERVE answers -EOPNOTSUPP
 * @limit: the file may not become longer, nor be reserved beyond: -ENOSPC
 * @ops: every operation since mem_forget(), reads excluded
 * @pending: where in @ops the operations begin that no flush has covered
 */
struct mem {
	struct mem_map now;
	struct mem_map durable;
	struct mem_fault fault;
	bool no_reserve;
	u64 limit;
	struct mem_op *ops;
	u32 nr_ops;
	u32 max_ops;
	u32 pending;
	u64 nr_reads;
};

void mem_init(struct mem *m);
void mem_free(struct mem *m);

/** mem_read, mem_write - look at or change the current content, unlogged */
void mem_read(const struct mem *m, u64 pos, void *buf, u64 len);
void mem_write(struct mem *m, u64 pos, const void *buf, u64 len);
void mem_truncate(struct mem *m, u64 size);
void mem_zero(struct mem *m, u64 pos, u64 len);

/** mem_settle - what is there now is durable, and the log is empty */
void mem_settle(struct mem *m);
/** mem_forget - empty the log of durable operations */
void mem_forget(struct mem *m);

/** mem_io - do one step, log it, fail it when its turn has come */
int mem_io(struct mem *m, const struct vhd_io *io);
/** mem_run - follow a plan to its end and return its result */
int mem_run(struct mem *m, struct vhd_plan *plan);

/** mem_fail - make the @nth operation of @kind from now on fail with @err */
void mem_fail(struct mem *m, enum vhd_io_kind kind, u32 nth, int err);
/** mem_fail_at - make every operation of @kind that touches @pos fail */
void mem_fail_at(struct mem *m, enum vhd_io_kind kind, u64 pos, int err);
void mem_heal(struct mem *m);

/** mem_find_op - index of the first logged @kind at @pos, from @from; or -1 */
int mem_find_op(const struct mem *m, enum vhd_io_kind kind, u64 pos, u32 from);
u32 mem_count_ops(const struct mem *m, enum vhd_io_kind kind);

/**
 * mem_crash - lose power
 * Of the sectors written or zeroed since the last flush any may have arrived;
 * changes of the file's size arrive in order.
 */
void mem_crash(struct mem *m, u64 *seed);

/** mem_random - the next number of the sequence that @seed holds */
u32 mem_random(u64 *seed);
/** mem_dice - while there are some, numbers come from these bytes */
extern const u8 *mem_dice;
extern size_t nr_mem_dice;
/** mem_random_below - a random number from 0 to @n - 1 */
u32 mem_random_below(u64 *seed, u32 n);

/** mem_same - do two contents agree, size and bytes */
bool mem_same(const struct mem_map *a, const struct mem_map *b);

#endif /* _TESTS_UNIT_MEM_H */
