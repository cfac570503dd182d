/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backing file: what is in it now, what is durable, and what was done in
 * between in the order in which it was done.
 *
 * Content is kept as one number a sector, so that a state can be copied in
 * microseconds.  0: zeros; with ID_META: bytes in a pool (what plans write);
 * else data, each sector ever written having a number of its own.
 *
 * The file system that is modelled:
 *
 *   - An operation is issued and completes later.  Of one that no flush covers
 *     any sectors may have arrived; what is done to one sector arrives in order.
 *   - A flush covers what had completed when it was issued.
 *   - Changes of the size arrive in the order in which they were made, each or
 *     none of those behind it (a journal).  What lies behind a cut that was lost
 *     stays as it was, whatever was written there afterwards.
 *   - The data of a write that extends the file come before the new size (ext4
 *     ordered, XFS, btrfs).  With loose sizes the size may come without them,
 *     and the sectors then read as zeros.
 *   - After a flush that failed, some of what it covered will never arrive,
 *     even if a later flush succeeds.
 *   - A block device has a size, and that is all; nothing can be reserved.  What
 *     was discarded is as it was, or zeros, or anything.
 */
#ifndef _TESTS_SIM_DISK_H
#define _TESTS_SIM_DISK_H

#include <linux/types.h>

#include "plan.h"

#define ID_META		0x80000000U

/** struct pool - the contents that numbers stand for */
struct pool {
	u8 (*meta)[512];
	u32 nr_meta;
	u32 max_meta;
	u32 next_id;
};

/**
 * struct disk_file - one content
 * @ids: beyond @size they are 0
 * @device: a block device: the size does not change
 */
struct disk_file {
	u32 *ids;
	u32 cap;
	u64 size;
	bool device;
};

/**
 * struct disk_op - something done since the last flush
 * @id: of the first sector; the next ones follow, unless it is 0
 * @size: TRUNCATE: the new size; WRITE: where it ended; else 0
 * @seq: which operation this is, or a part of
 * @covered: bit for each flush under way that covers it
 */
struct disk_op {
	enum vhd_io_kind kind;
	u32 first;
	u32 n;
	u32 id;
	u64 size;
	u32 seq;
	bool done;
	u8 covered;
};

/* For faults, the writes of requests are of a kind of their own. */
#define VHD_IO_DATA	(VHD_IO_DISCARD + 1)
#define NR_IO_KINDS	(VHD_IO_DATA + 1)

/** struct disk_fault - the @left-th operation of a kind fails with @err, and @more */
struct disk_fault {
	u32 left;
	u32 more;
	int err;
	u64 seed;
};

/**
 * struct disk - a backing file
 * @faults: to come, one of each kind of operation
 * @limit: it may not grow beyond: -ENOSPC
 * @errors: errors returned so far
 * @changes: counts whatever changes the states a crash may leave
 * @trace: tell what is done
 */
struct disk {
	struct pool *pool;
	struct disk_file now;
	struct disk_file durable;
	struct disk_op *ops;
	u32 nr_ops;
	u32 max_ops;
	u32 seq;
	struct disk_fault faults[NR_IO_KINDS];
	bool no_reserve;
	u64 limit;
	u64 errors;
	u64 changes;
	bool trace;
};

/**
 * struct disk_io - an operation under way
 * @lane: which flush this is; there is one at a time a lane
 */
struct disk_io {
	enum vhd_io_kind kind;
	u32 seq;
	u32 lane;
	int err;
};

enum disk_lane {
	LANE_COMMIT,
	LANE_SPACE,
	LANE_MOVE,
};

/**
 * enum crash_mode - which of what was not flushed has arrived
 * @CRASH_NONE: nothing
 * @CRASH_ALL: all of it
 * @CRASH_DONE: what had completed
 * @CRASH_PREFIX: what was issued first, up to some point
 * @CRASH_RANDOM: any part, torn at sectors
 */
enum crash_mode {
	CRASH_NONE,
	CRASH_ALL,
	CRASH_DONE,
	CRASH_PREFIX,
	CRASH_RANDOM,
	NR_CRASH_MODES,
};

void pool_reset(struct pool *p);
void pool_free(struct pool *p);
/** pool_data - numbers for @n sectors of new data; the first of them */
u32 pool_data(struct pool *p, u32 n);

void file_copy(struct disk_file *to, const struct disk_file *from);
void file_free(struct disk_file *f);
/** file_read - bytes; zeros beyond the end */
void file_read(const struct pool *p, const struct disk_file *f, u64 pos,
	       void *buf, u64 len);
/** file_set - put @n sectors of content @id, no log */
void file_set(struct disk_file *f, u32 first, u32 n, u32 id);
u32 file_id(const struct disk_file *f, u64 sector);

void disk_init(struct disk *d, struct pool *pool);
/** disk_reset - an empty file again, memory kept */
void disk_reset(struct disk *d);
/** disk_restart - count from 0 again; with nothing under way */
void disk_restart(struct disk *d);
void disk_free(struct disk *d);
/** disk_put - bytes into the current content, no log */
void disk_put(struct disk *d, u64 pos, const void *buf, u32 len);
/** disk_heal - no more errors */
void disk_heal(struct disk *d);
/** disk_settle - what is there now is durable */
void disk_settle(struct disk *d);

/** disk_issue - begin a step of a plan */
void disk_issue(struct disk *d, const struct vhd_io *io, u32 lane,
		struct disk_io *out);
/** disk_issue_data - begin a write of data number @id and following */
void disk_issue_data(struct disk *d, u64 pos, u32 sectors, u32 id,
		     struct disk_io *out);
/** disk_complete - end it; returns its error */
int disk_complete(struct disk *d, const struct disk_io *io);

/**
 * disk_crash - what a loss of power leaves
 * @loose: sizes may come without data
 * Return: true if a size came without its data.
 */
bool disk_crash(const struct disk *d, enum crash_mode mode, bool loose,
		u64 *seed, struct disk_file *out);

/** dice - a random number from 0 to @n - 1 */
u32 dice(u64 *seed, u32 n);

#endif /* _TESTS_SIM_DISK_H */
