/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image in use: the shell around the core, one small step at a time.
 *
 * As in the module, requests, a commit and a growth advance independently of
 * each other; an actor is any one of them.  An actor's step either issues an
 * operation or takes note of its end, so that others come in between.
 */
#ifndef _TESTS_SIM_SESSION_H
#define _TESTS_SIM_SESSION_H

#include <linux/types.h>

#include "check.h"
#include "commit.h"
#include "disk.h"
#include "image.h"
#include "layout.h"
#include "map.h"
#include "model.h"
#include "move.h"
#include "space.h"
#include "unmap.h"

#define NR_REQS		8
#define ACTOR_COMMIT	NR_REQS
#define ACTOR_SPACE	(NR_REQS + 1)
#define ACTOR_DRAIN	(NR_REQS + 2)
#define ACTOR_LOWER	(NR_REQS + 3)
#define ACTOR_RESIZE	(NR_REQS + 4)
#define ACTOR_MOVER	(NR_REQS + 5)
#define NR_ACTORS	(NR_REQS + 6)
#define MAX_READ	1024U

enum req_state {
	REQ_IDLE,
	REQ_MAP,
	REQ_WAIT_SPACE,
	REQ_WAIT_COMMIT,
	REQ_LOAD,
	REQ_DATA,
	REQ_FLIGHT,
	REQ_END,
};

enum req_op {
	REQ_READ,
	REQ_WRITE,
	REQ_ZERO,
};

/**
 * struct req - a request
 * @flags: VHD_ZERO_*
 * @fua: a commit follows the write
 * @at, @left: what of it is still to be done
 * @served: the plan that it waits for began after it came
 * @pause: small steps that the answer of a read takes
 * @passed: it has begun, whatever is held up by now
 * @raced: sectors are being zeroed while it reads them
 * @was: what they held when it began
 * @born: when it began, in the session's count of requests
 * @lead: the write of the bitmap that goes with it
 * @led: that is under way
 */
struct req {
	enum req_state state;
	enum req_op op;
	unsigned int flags;
	bool fua;
	bool served;
	bool passed;
	bool raced;
	u32 pause;
	u64 born;
	u32 was[MAX_READ];
	u32 sector;
	u32 sectors;
	u32 at;
	u32 left;
	int err;
	struct vhd_hold hold;
	struct vhd_extent ext;
	struct vhd_bitmap *bm;
	struct disk_io io;
	struct disk_io lead;
	bool led;
};

#define RUNNER_POSTS 4

/**
 * struct runner - a plan under way
 * @flight: its step has been issued
 * @held: @want, a flush, waits for the one that one of @others has in flight
 * @posts: writes of a plan that has them done side by side, all under way
 * @awaits: these are waited for, before @want is issued
 * @posts_err: the first error of such that have ended
 * @posts_raced: a mutation: a flush does not wait for them
 *
 * A file tells an error of writing to one flush only.  So the flushes of an
 * image are done one at a time, and the error of one has been handed in when the
 * next begins: the image has failed by then.
 */
struct runner {
	struct vhd_plan *plan;
	u32 lane;
	bool flight;
	bool held;
	int err;
	struct vhd_io want;
	struct disk_io io;
	struct disk_io posts[RUNNER_POSTS];
	u32 nr_posts;
	bool awaits;
	int posts_err;
	bool posts_raced;
	const struct runner *others[2];
};

/*
 * What a resize does, each another way through the plan: X(kind, name).  Of a
 * dynamic image: in place, with more entries in the header or without.
 */
#define RESIZE_KINDS(X) \
	X(GROW, "grow") \
	X(ENTRIES, "grow with entries") \
	X(MOVE, "move the table") \
	X(SHRINK, "shrink") \
	X(DIFF, "grow, differencing") \
	X(DIFF_MOVE, "move the table, differencing") \
	X(FIXED, "grow, fixed") \
	X(FIXED_SHRINK, "shrink, fixed")

enum resize_kind {
#define X(kind, name) RESIZE_##kind,
	RESIZE_KINDS(X)
#undef X
	NR_RESIZE_KINDS
};

/** struct tally - what has happened, to see that programs reach everything */
struct tally {
	u64 writes, failed_writes, reads, loads, raced_reads;
	u64 zeroings, failed_zeroings, unmaps, released, waits_for_drain;
	u64 commits, failed_commits, waits_for_commit;
	u64 growths, failed_growths, waits_for_space, cuts;
	u64 allocations, leads, rollbacks, zeroed, punched, reused;
	u64 detaches, kills, crashes, failed_images, hollow_states;
	u64 snapshots, retired, lower_commits, old_commits, old_growths;
	u64 resizes, failed_resizes, broken_resizes, moved_tables;
	u64 compacts, dropped, moves, failed_moves, live_cuts;
	u64 in_resize[NR_RESIZE_KINDS];
	u64 in_compaction;
};

/**
 * struct lower - the former top, between a snapshot and the end of its retiring
 * @there: there is one; @open: in memory, too
 * @retire: when a commit of both has succeeded it is made tight, and a parent
 *	like any other; @durable: one has
 * @run: tidy, its last plan
 */
struct lower {
	bool there;
	bool open;
	bool retire;
	bool durable;
	struct disk disk;
	struct vhd_image img;
	struct vhd_commit commit;
	struct vhd_tidy tidy;
	struct runner run;
};

enum mover_state {
	MOVER_IDLE,
	MOVER_PICK,
	MOVER_CLOSE,
	MOVER_COMMIT,
	MOVER_RUN,
	MOVER_LAST_COMMIT,
	MOVER_DRAIN,
	MOVER_ALONE,
};

/**
 * struct mover - a compaction under way (compact.c)
 * @zero: of what is no hole, too
 * @gated: writes to @block are held up
 * @moving: those of zeros have been dropped
 * @cutting: all that moves has moved
 * @looked: so many blocks were looked at; @moved: so many were moved
 * @tries: of this block
 * @drained: the slots that it left are free when so many are
 */
struct mover {
	enum mover_state state;
	bool zero;
	bool gated;
	bool moving;
	bool cutting;
	u32 block;
	u32 looked;
	u32 moved;
	u32 tries;
	u64 drained;
	struct vhd_move move;
	struct vhd_probe probe;
	struct vhd_tidy tidy;
	struct runner run;
	u8 buf[16384];
};

/**
 * struct session
 * @disk: the backing file, which outlives the session
 * @done_early: a mutation: requests end when they are issued
 * @flush_raced: a mutation: several flushes at a time
 * @posts_raced: a mutation: a flush does not wait for writes done side by side
 * @released_early: a mutation: slots do not wait for requests under way
 * @move_ungated: a mutation: blocks move while they are written to
 * @lower_forgotten: a mutation: commits are of the new top only
 * @lower_error_lost: a mutation: what fails in the former top is told to nobody
 * @child_unsynced: a mutation: the new top is not durable when it is used
 * @commit_counts: a mutation: a commit that was under way at a snapshot is of both
 * @growth_moved: a mutation: a growth that was goes on in the new top's file
 * @lower_raced: a mutation: flushes of that growth and of commits are not kept apart
 * @lower: the former top; @lower_commits: the commit under way is at it
 * @commit_old, @space_old: and began before the snapshot, as did the growth
 * @child: the new top, as a layout
 * @resize_run: another size is being written; @resize_ret: how that ended
 * @resize_faults: what fails in it; @resize_from: sectors before it;
 *	@resize_kind: which way
 * @mover: a compaction
 * @commit_ret: how the last commit ended
 * @reshaping: no other plan may begin
 * @shape: the layout, when it has another size
 * @punches: the file system punches holes; else zeros are written when needed
 * @clock: requests that have begun
 * @drain_nr: slots that wait for requests that began before @drain_clock
 * @epoch: counts what a commit makes durable
 * @on_step: called after each small step
 * @failed: something is wrong, and @why says what
 */
struct session {
	struct disk disk;
	struct pool pool;
	struct model model;
	struct checker check;
	const struct layout *layout;

	bool open;
	struct vhd_image img;
	struct vhd_commit commit;
	struct vhd_prepare prepare;
	struct vhd_tidy tidy;
	struct vhd_punch punch;
	struct runner commit_run;
	struct runner space_run;
	struct lower lower;
	struct layout child;
	struct layout shape;
	struct runner resize_run;
	int resize_ret;
	u32 resize_faults;
	u32 resize_from;
	struct mover mover;
	int commit_ret;
	enum resize_kind resize_kind;
	bool reshaping;
	bool lower_commits;
	bool commit_old;
	bool space_old;
	bool commit_wanted;
	bool grow_wanted;
	bool tidying;
	bool punching;
	bool punches;
	u64 clock;
	u64 drain_clock;
	u32 drain_nr;
	struct req reqs[NR_REQS];
	u64 errors_before;
	u32 *found;
	u32 max_found;

	struct tally tally;
	bool done_early;
	bool flush_raced;
	bool posts_raced;
	bool released_early;
	bool move_ungated;
	bool lower_forgotten;
	bool lower_error_lost;
	bool child_unsynced;
	bool commit_counts;
	bool growth_moved;
	bool lower_raced;
	u64 epoch;
	void (*on_step)(struct session *s);
	bool failed;
	char why[MAX_WHY];
};

/** session_begin - build @l and open it */
void session_begin(struct session *s, const struct layout *l, u64 seed);
/** session_close - forget what is under way; the backing file stays */
void session_close(struct session *s);
void session_free(struct session *s);

bool session_write(struct session *s, u32 slot, u32 sector, u32 n, bool fua);
bool session_read(struct session *s, u32 slot, u32 sector, u32 n, u32 pause);
/** session_zero - write-zeroes or discard: VHD_ZERO_* */
bool session_zero(struct session *s, u32 slot, u32 sector, u32 n,
		  unsigned int flags);
void session_grow(struct session *s);

/** session_actors - who can do a step */
u32 session_actors(const struct session *s, u32 *actors);
void session_step(struct session *s, u32 actor);
/** session_requests - are there some under way, or slots that wait for their end */
bool session_requests(const struct session *s);
/** session_settle - until nothing is under way, in the order of @seed */
void session_settle(struct session *s, u64 seed);

/** session_detach - settle, commit, tidy, open again */
void session_detach(struct session *s, u64 seed);
/** session_kill - settle, open again */
void session_kill(struct session *s, u64 seed);
/** session_crash - lose power, open again */
void session_crash(struct session *s, enum crash_mode mode, u64 seed);

/**
 * session_snapshot - settle, go on in a child
 * @retire: commit both and retire the former top at once, as the driver does;
 *	else when a snapshot or a detach comes
 * @busy: do not settle, but wait for requests only
 */
void session_snapshot(struct session *s, u64 seed, bool retire, bool busy);

/** session_resize - of another size, with requests under way (resize.c) */
void session_resize(struct session *s, u64 seed, u32 sectors);
void resize_step(struct session *s);
/** resize_reopened - opened with @ret; if a resize had failed the image, repair it */
int resize_reopened(struct session *s, int ret);

/** session_compact - begin to compact, also what is not a hole if @zero */
void session_compact(struct session *s, bool zero);

/* Of a compaction (compact.c). */
bool mover_ready(const struct session *s);
void mover_step(struct session *s);
/** mover_holds - may the request not begin yet */
bool mover_holds(const struct session *s, const struct req *q);

/* Of the former top (snapshot.c). */

/** lower_commits - is it committed before the top */
bool lower_commits(const struct session *s);
/** lower_retire - both are durable: tidy begins, if it is time */
void lower_retire(struct session *s);
/** lower_step - a step of tidy */
void lower_step(struct session *s);
/** lower_close - forget it in memory; its file stays until lower_became_parent() */
void lower_close(struct session *s);
/** lower_became_parent - what @f shows is what the top's parent has, for good */
void lower_became_parent(struct session *s, const struct disk_file *f);

/** tally_image - count what @img has counted */
void tally_image(struct tally *t, const struct vhd_image *img);
/** session_errors - of both files, so far; session_changes: of what a crash leaves */
u64 session_errors(const struct session *s);
u64 session_changes(const struct session *s);

/** session_full - is that error the end of a block device */
bool session_full(const struct session *s, int err);
void session_fail(struct session *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/** runner_step - issue or complete a step; returns as vhd_plan_next() */
int runner_step(struct runner *r, struct disk *d);
/** runner_ready - can it do a step, not waiting for another's flush */
bool runner_ready(const struct runner *r);
/** session_expect_error - it is right only where one was injected */
void session_expect_error(struct session *s, const char *what, int err);

#endif /* _TESTS_SIM_SESSION_H */
