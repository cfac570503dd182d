/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The module's own structures and the calls between its files.
 *
 *	main.c		module, control node, reboot
 *	control.c	ioctls: arguments in, errors out
 *	device.c	a device's life: attach, open, close, detach
 *	io.c		requests: queues, workers, the fast and the slow way
 *	fastlane.c	requests that go straight to the disk below
 *	linger.c	when a worker sleeps
 *	writeback.c	commits and growth in the background
 *	reclaim.c	slots that discards have freed
 *	gate.c		where requests are held up while the device is changed
 *	merge.c		commit of a live device's top into its parent
 *	compact.c	blocks of zeros go, the last ones move, the file is cut
 *	reshape.c	another size for an attached image
 *	backing.c	the backing file
 *	sysfs.c		/sys/block/vhdN/vhd/
 *
 * Order of locks:
 *
 *	vhd_device.set_lock	held across a change of settings, I/O included
 *	disk->open_mutex (block layer)
 *	  vhd_control_mutex	the table of devices (device.c)
 *	    vhd_device.lock	state, openers, flags of one device
 *	vhd_writeback.shape	held across plans, from their beginning on
 *	vhd_backing.mode	held across plans, I/O included; to change the mode
 *				it is only tried
 *	  vhd_backing.flush_lock	held across a flush
 *	vhd_lane.lease_lock	taking and giving up a layout lease; works only
 *	  file_lock_context.flc_lock (file locks)
 *	    vhd_lane.lock	the fast lane's map and state; leaf
 *	vhd_claims_mutex	inodes in use (backing.c); leaf
 *	vhd_writeback.lock	waiting requests; leaf, interrupts off
 *	vhd_gate.lock		requests that are held up; leaf, interrupts off
 *	vhd_image.lock		leaf, interrupts off (core)
 *
 * But for set_lock, shape, mode and flush_lock, none of them is held across add_disk,
 * del_gendisk, fput, destroy_workqueue or any I/O.
 */
#ifndef _VHD_H
#define _VHD_H

#include <linux/bio.h>
#include <linux/blk-mq.h>
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <uapi/linux/vhd.h>

#include "compat.h"
#include "core/chain.h"
#include "core/commit.h"
#include "core/image.h"
#include "core/map.h"
#include "core/space.h"
#include "core/unmap.h"

#define VHD_QUEUE_DEPTH		128
/* What could not be done for want of memory is tried again after so long. */
#define VHD_STARVED_MS		20
/* Room for one metadata write of a plan. */
#define VHD_BOUNCE_SIZE		4096

struct vhd_claim;
struct vhd_cmd;
struct vhd_device;
struct vhd_gate;
struct vhd_lane;

/**
 * enum vhd_use - what a file is claimed for
 * @VHD_USE_PARENT: as a parent, by any number of chains
 * @VHD_USE_READ: by one device, that does not write it; it may be a parent, too
 * @VHD_USE_WRITE: by one device, and nobody else
 * @VHD_USE_MERGE: the same, but for one device that has it as a parent: the
 *	caller
 */
enum vhd_use {
	VHD_USE_PARENT,
	VHD_USE_READ,
	VHD_USE_WRITE,
	VHD_USE_MERGE,
};

/**
 * struct vhd_backing - the backing file of an image
 * @file: our reference
 * @bdev: NULL, or the block device that it is
 * @hold: our exclusive open of that, for no I/O
 * @claim: of its inode
 * @use: what it is claimed for
 * @mode: held for reading while a plan runs, for writing to change @dio
 * @flush_lock: one flush at a time, until its plan knows how it ended: the file
 *	tells an error of writing back once, and who hears of it must have told
 *	the image before the next one asks
 * @dio: requests go by direct I/O; changed only while the queue is frozen too
 * @dio_possible: the file takes direct I/O in units of 512 bytes
 * @punches: the file system makes holes, or the device discards
 * @zeroes: a large range reads as zeros without being written
 * @dio_mem_mask: bits that must be clear in memory addresses
 * @lane: requests may go past the file system; or NULL
 */
struct vhd_backing {
	struct file *file;
	struct block_device *bdev;
	void *hold;
	struct vhd_claim *claim;
	enum vhd_use use;
	struct rw_semaphore mode;
	struct mutex flush_lock;
	bool dio;
	bool dio_possible;
	bool punches;
	bool zeroes;
	unsigned int dio_mem_mask;
	struct vhd_lane *lane;
};

/**
 * struct vhd_layer - one image of a device's chain and its file
 * @img: what the core knows of it
 * @backing: the file
 * @commit: owned by the commit work; unused where @img is not writable
 */
struct vhd_layer {
	struct vhd_image img;
	struct vhd_backing backing;
	struct vhd_commit commit;
};

/**
 * struct vhd_linger - what a worker has learned about waiting awake
 * @budget: so long it does, ns; 0: not at all
 * @since: when it ran out of requests, ns of local_clock()
 * @shy_until: until then it does not linger, ns of local_clock()
 * @shyness: how often others have kept it away too long
 * @gave_way: it did, and what the others have queued has not been taken yet
 * @waited: so long it had waited for nothing before, ns
 * @balance: what that has saved, less what was waited for, ns
 * @hits: how often it lingered and requests came meanwhile, since attach
 * @sleeps: how often it slept, since attach
 */
struct vhd_linger {
	u64 budget;
	u64 since;
	u64 shy_until;
	unsigned int shyness;
	bool gave_way;
	u64 waited;
	s64 balance;
	unsigned long hits;
	unsigned long sleeps;
};

/**
 * struct vhd_queue - one hardware queue and its worker
 * @list: requests that queue_rq added and the worker has not taken
 * @task: the worker
 * @idle: the worker sleeps, or is about to, and must be woken
 * @rounds: how often the worker has looked at the list; written by it alone
 * @vhd: the device
 * @latest: the request that was queued last; NULL once it has ended
 * @singles: so many in a row were queued when that was NULL, up to a limit
 * @local: takes the list in the worker's place, on the submitter's processor
 * @linger: the worker's own, away from what submitters look at
 *
 * @latest and @singles are guesses, written as who comes finds them; nothing but
 * speed depends on them.
 */
struct vhd_queue {
	struct llist_head list;
	struct task_struct *task;
	bool idle;
	u8 singles;
	unsigned long rounds;
	struct vhd_device *vhd;
	struct vhd_cmd *latest;
	struct work_struct local;
	struct vhd_linger linger ____cacheline_aligned_in_smp;
} ____cacheline_aligned_in_smp;

/**
 * struct vhd_cmd - a request's private part
 * @backing: where the mapped run in progress lies
 * @bvecs: copy of the request's bvecs, if it has several bios or a lead
 * @hold: what the core holds for this request
 * @node: in vhd_queue.list
 * @wait: in one of vhd_writeback's lists, or in vhd_gate.held
 * @work: the slow way
 * @iocb: the transfer in flight
 * @bio: the transfer in flight on the fast lane, in the place of all those before
 * @bvec: of @bio, if its data lie in one page
 * @done: bytes of the request that are dealt with
 * @run_pos: backing file offset of the mapped run in progress
 * @run_left: bytes of that run still to transfer
 * @part: bytes of the kiocb in flight
 * @nr_bvecs: so many
 * @lead: bytes before the request's own there: a block's bitmap, as of
 *	struct vhd_extent
 * @error: negative errno of the request
 * @leading: the kiocb in flight carries it
 * @starved: the file system had no memory for the part; try again after a while
 * @gated: a gate has let it pass, and is to be told when it ends
 * @passed: in one of vhd_gate's lists, if so
 * @epoch: of the device when the request began; see reclaim.c
 *
 * There are VHD_QUEUE_DEPTH of them for each queue, and the block layer gets their
 * memory in pieces of a power of two: with struct request before it one should have
 * 512 bytes at most, which is 64 KiB a queue; a few more are 96.  What a request has
 * from its beginning is first, so that the bio lies there in every configuration, and
 * who forgets to set it anew is found in that for tests.
 */
struct vhd_cmd {
	union {
		struct {
			struct vhd_backing *backing;
			struct bio_vec *bvecs;
			struct vhd_hold hold;
			union {
				struct llist_node node;
				struct list_head wait;
			};
			struct work_struct work;
			struct kiocb iocb;
		};
		struct {
			struct bio bio;
			struct bio_vec bvec;
		};
	};
	loff_t run_pos;
	u32 run_left;
	u32 part;
	u32 done;
	u32 nr_bvecs;
	u32 lead;
	int error;
	bool leading;
	bool starved;
	bool gated;
	struct list_head passed;
	unsigned long epoch;
};

/**
 * struct vhd_sync_io - a transfer that is waited for
 * @iocb: as it was given to the file system
 * @done: it has ended
 * @ret: bytes or a negative errno, then
 * @write: to the file
 */
struct vhd_sync_io {
	struct kiocb iocb;
	struct completion done;
	long ret;
	bool write;
};

/* Writes of a plan that are under way together, at the most. */
#define VHD_NR_POSTS		8U

/**
 * struct vhd_post - one of them
 * @io: the transfer
 * @bvec: its memory, @buf or a page that begins with the pad
 * @pos: byte offset in the backing file
 * @len: bytes
 * @buf: a part of vhd_posts.buf
 * @busy: it was begun and has not been waited for
 */
struct vhd_post {
	struct vhd_sync_io io;
	struct bio_vec bvec;
	u64 pos;
	u32 len;
	void *buf;
	bool busy;
};

/**
 * struct vhd_posts - writes of one plan at a time; owned by who runs it
 * @buf: for what is written
 * @nr: so many at the most; fewer where direct I/O wants much alignment
 * @next: the next one to be used, modulo @nr
 * @post: each one's state
 */
struct vhd_posts {
	void *buf;
	unsigned int nr;
	unsigned int next;
	struct vhd_post post[VHD_NR_POSTS];
};

/**
 * struct vhd_writeback - commits and growth of one device (writeback.c)
 * @lock: the lists and @commit_wanted
 * @flushes: flush requests that wait for the next commit
 * @commit_waiters: writes that found too much dirty
 * @space_waiters: writes that found no prepared slot
 * @commit_wanted: somebody wants one, and waits elsewhere or not at all
 * @grow_wanted: a write has found few slots
 * @commit_error: result of the last commit; written by the commit work only
 * @nr_flushes: flush requests answered; written by the commit work only
 * @failure_told: the kernel log has it
 * @retiring: a former top whose last commit may be missing yet; under @lock
 * @commit_work: commits
 * @timer: wants a commit when metadata has been dirty for long
 * @grow_work: prepares slots, gives space back
 * @prepare: the plan of growth; owned by the grow work
 * @punch: the plan that gives space back; owned by the grow work
 * @commit_posts: what the commit plan writes, side by side
 * @grow_bounce: what the others write
 * @grow_posts: what growth writes side by side
 * @shape: held for reading by a plan from before it begins, for writing by one
 *	that must be alone
 */
struct vhd_writeback {
	spinlock_t lock;
	struct rw_semaphore shape;
	struct list_head flushes;
	struct list_head commit_waiters;
	struct list_head space_waiters;
	bool commit_wanted;
	bool grow_wanted;
	int commit_error;
	unsigned long nr_flushes;
	bool failure_told;
	struct vhd_layer *retiring;
	struct work_struct commit_work;
	struct delayed_work timer;
	struct work_struct grow_work;
	struct vhd_prepare prepare;
	struct vhd_punch punch;
	struct vhd_posts commit_posts;
	void *grow_bounce;
	struct vhd_posts grow_posts;
};

/**
 * struct vhd_reclaim - slots that wait for older requests; owned by the work
 * @work: looks whether they have ended
 * @layer: whose slots they are
 * @nr: so many of the draining ones
 * @epoch: requests of this one and before may still use them
 * @quiet: some have become free
 */
struct vhd_reclaim {
	struct delayed_work work;
	struct vhd_layer *layer;
	unsigned long epoch;
	u32 nr;
	wait_queue_head_t quiet;
};

/**
 * struct vhd_gate_ops - what a gate's owner does besides; under its lock
 * @holds: are all writes to be held up for now
 * @passed: a write has been let pass
 * @ended: and has ended
 */
struct vhd_gate_ops {
	bool (*holds)(struct vhd_gate *gate);
	void (*passed)(struct vhd_gate *gate, struct request *rq);
	void (*ended)(struct vhd_gate *gate, struct request *rq);
};

/**
 * struct vhd_gate - where requests are held up while a device is changed (gate.c)
 * @state: of the device meanwhile, for sysfs
 * @ops: the owner's, or NULL
 * @lock: all below
 * @first: first sector of where writes are held up
 * @end: sector behind
 * @closed: reads are held up as well
 * @held: requests that are held up
 * @reads: under way
 * @writes: under way
 * @quiet: a request has ended
 */
struct vhd_gate {
	const char *state;
	const struct vhd_gate_ops *ops;
	spinlock_t lock;
	u64 first;
	u64 end;
	bool closed;
	struct list_head held;
	struct list_head reads;
	struct list_head writes;
	wait_queue_head_t quiet;
};

/**
 * enum vhd_state - life of a device
 * @VHD_CREATING: not yet to be opened by number, detached or listed
 * @VHD_LIVE: in use
 * @VHD_DETACHING: no more opens; going away
 */
enum vhd_state {
	VHD_CREATING,
	VHD_LIVE,
	VHD_DETACHING,
};

/**
 * struct vhd_device - one attached image, and its parents
 * @index: the N of vhdN
 * @state: where in its life it is
 * @openers: opens and control calls under way
 * @autoclear: detach with the last close after somebody has used it
 * @deferred: detach with the last close
 * @used: was opened for writing or exclusively since it is live
 * @size_chs: the size is that of the geometry
 * @discard: discards are accepted, and whole blocks may lose their slots
 * @fast_lane: requests may take it where there is one
 * @lock: all of the above but @index, @size_chs and @fast_lane, which are
 *	constant, and @discard, which changes as @layers do
 * @key: lock class of @lock: a VHD may lie on a file system on a VHD
 * @set_lock: one change of the device at a time
 * @gate: of a merge or a compaction under way, or NULL; requests read it; changed
 *	while the queue is frozen and @set_lock and @lock are held.  No other
 *	change may begin meanwhile.
 * @merge_total: bytes that a merge began with; of the merge's
 * @merge_left: bytes that it knows it has to copy
 * @merges: how often the device went on in a parent since attach or the last
 *	snapshot; under @lock
 * @compact_total: blocks that a compaction has to deal with; of the compaction's
 * @compact_left: so many are left
 * @disk: the block layer's
 * @tag_set: the block layer's
 * @queues: one for each hardware queue
 * @nr_queues: so many
 * @nr_layers: so many
 * @layers: the image, its parent, and so on; the first is written to, the
 *	others are read only.  They change while no request is under way (the
 *	queue is frozen, or a merge holds all of them up) and @lock and
 *	vhd_writeback.lock are held.
 * @top: the first of them
 * @chain: their images
 * @limits: of the queue
 * @wb: commits and growth
 * @reclaim: freed slots that wait for older requests
 * @shrinker: gives bitmaps back when memory is short
 * @epoch: requests begin in it; written by the reclaim work only
 * @wq: slow reads, commits and growth
 * @write_wq: slow writes; these may wait for a frozen file system, for commits
 *	and for growth, so they have a queue of their own, and since devices may
 *	lie on one another, every device has its own; @wq where the top is
 *	read only, and will be
 * @local_wq: for vhd_queue.local; NULL with one processor
 * @remove_work: detaches with the last close
 */
struct vhd_device {
	int index;
	enum vhd_state state;
	unsigned int openers;
	bool autoclear;
	bool deferred;
	bool used;
	bool size_chs;
	bool discard;
	bool fast_lane;
	struct mutex lock;
	struct lock_class_key key;
	struct mutex set_lock;
	struct vhd_gate *gate;
	u64 merge_total;
	u64 merge_left;
	unsigned int merges;
	u32 compact_total;
	u32 compact_left;

	struct gendisk *disk;
	struct blk_mq_tag_set tag_set;
	struct vhd_queue *queues;
	struct workqueue_struct *wq;
	struct workqueue_struct *write_wq;
	struct workqueue_struct *local_wq;
	unsigned int nr_queues;
	unsigned int nr_layers;
	struct vhd_layer **layers;
	struct vhd_layer *top;
	struct vhd_chain chain;
	struct vhd_limits limits;
	struct vhd_writeback wb;
	struct vhd_reclaim reclaim;
	struct vhd_shrinker shrinker;
	unsigned long epoch;
	struct work_struct remove_work;
};

/* main.c */
/** vhd_is_suspended - is a suspend under way: begin nothing nobody waits for */
bool vhd_is_suspended(void);
extern struct workqueue_struct *vhd_remove_wq;

/* control.c */
extern const struct file_operations vhd_control_fops;

/* device.c */
/**
 * vhd_device_attach - make a device of open files
 * @args: validated; index, major and minor are filled in
 * @files: args->nr_layers of them, the image first; references are taken
 *
 * Process context; sleeps; takes no lock across I/O.
 * Return: 0 or a negative errno (see struct vhd_attach_args).
 */
int vhd_device_attach(struct vhd_attach_args *args, struct file **files);
/** vhd_device_detach - 0, -ENODEV, -EBUSY, or the error of the last commit */
int vhd_device_detach(int index, u32 flags);
/** vhd_device_get - a live device as if opened once more, until it is put; or NULL */
struct vhd_device *vhd_device_get(int index);
void vhd_device_put(struct vhd_device *vhd);
/**
 * vhd_device_change - a live device with @set_lock held, to change it
 * @index: the N of vhdN
 *
 * Return: it, to be given to vhd_device_changed(); -ENODEV, or -EINPROGRESS while
 * a merge or a compaction is under way, as error pointers.
 */
struct vhd_device *vhd_device_change(int index);
void vhd_device_changed(struct vhd_device *vhd);
/**
 * vhd_device_tell - the device goes on in another image: tell user space
 * @vhd: the device
 *
 * Names that were made of the image's id are to follow it.  Process context.
 */
void vhd_device_tell(struct vhd_device *vhd);
/** vhd_device_set - carry VHD_IOC_SET out */
int vhd_device_set(const struct vhd_set_args *args);
/**
 * vhd_device_snapshot - carry VHD_IOC_SNAPSHOT out
 * @args: validated
 * @child: goes on; a reference is taken
 * @parent: or NULL
 *
 * Return: 0 or a negative errno.
 */
int vhd_device_snapshot(struct vhd_snapshot_args *args, struct file *child,
			struct file *parent);
/**
 * vhd_layer_open - a file as an image; process context
 * @file: open as @use wants it
 * @use: what for
 * @open_flags: VHD_OPEN_*; writing is implied by @use
 * @dio: as for vhd_backing_open()
 * Return: the layer, or an error pointer.
 */
struct vhd_layer *vhd_layer_open(struct file *file, enum vhd_use use,
				 unsigned int open_flags, int dio);
/*
 * vhd_may_discard - can discards be taken where @top is the top
 * Without blocks each one is zeroed where it is: not by writing all of it.
 */
bool vhd_may_discard(const struct vhd_layer *top);
/** vhd_layer_close - nothing may be using it any more; NULL is nothing to do */
void vhd_layer_close(struct vhd_layer *layer);
/** vhd_layers_link - check layers and put them into a chain; process context */
int vhd_layers_link(struct vhd_chain *chain, struct vhd_layer **layers,
		    unsigned int nr, bool ignore_ids);
/** vhd_lane_start - give a layer a fast lane, if the device is to have one */
int vhd_lane_start(struct vhd_device *vhd, struct vhd_layer *layer,
		   bool required);
/** vhd_device_is_ours - is the disk one of this driver's */
bool vhd_device_is_ours(const struct gendisk *disk);
/** vhd_device_sync_all - commit all devices, end growth: reboot or suspend is near */
void vhd_device_sync_all(void);
/** vhd_device_resume_all - what was put off during a suspend is done */
void vhd_device_resume_all(void);
/** vhd_device_wait_gone - module exit: wait until every device is freed */
void vhd_device_wait_gone(void);

/* io.c */
extern const struct blk_mq_ops vhd_mq_ops;
int vhd_queues_start(struct vhd_device *vhd);
void vhd_queues_stop(struct vhd_device *vhd);
/** vhd_cmd_slow - let a request go (on) in a workqueue; any context */
void vhd_cmd_slow(struct vhd_cmd *cmd);
/** vhd_cmd_end - finish a request; any context */
void vhd_cmd_end(struct vhd_cmd *cmd, int error);
/** vhd_load_bitmap - put a block's sector bitmap into the cache; may sleep */
int vhd_load_bitmap(struct vhd_layer *layer, u64 sector);
/**
 * vhd_queues_settle - wait until no worker is at what has ended already
 * @vhd: the device
 *
 * With no request under way: the last ones may have completed while whoever
 * submitted them has not returned from the file system yet.  Process context.
 */
void vhd_queues_settle(struct vhd_device *vhd);

/* gate.c */
/** vhd_gate_init - @state: the device's meanwhile; @ops: or NULL */
void vhd_gate_init(struct vhd_gate *g, const char *state,
		   const struct vhd_gate_ops *ops);
/*
 * vhd_gate_install - from now on requests pass it; NULL: none any more
 * With set_lock held; it must be open.  Freezes the queue.
 */
void vhd_gate_install(struct vhd_device *vhd, struct vhd_gate *g);
/**
 * vhd_gate_begin - may this request go on; any context
 * @g: of the device
 * @cmd: the request
 *
 * Return: false if the gate keeps it, and lets it go on by vhd_cmd_slow().
 */
bool vhd_gate_begin(struct vhd_gate *g, struct vhd_cmd *cmd);
/** vhd_gate_end - one that was let pass has ended; any context */
void vhd_gate_end(struct vhd_gate *g, struct vhd_cmd *cmd);
/**
 * vhd_gate_close - hold up writes to some sectors, wait for those under way
 * @g: the gate
 * @first: the first sector
 * @end: the one behind
 *
 * vhd_gate_open() is to follow in any case.
 * Return: 0 or -EINTR.
 */
int vhd_gate_close(struct vhd_gate *g, u64 first, u64 end);
/** vhd_gate_close_all - hold reads up, too, and wait for those under way */
void vhd_gate_close_all(struct vhd_gate *g);
/** vhd_gate_open - all go on */
void vhd_gate_open(struct vhd_gate *g);

/* merge.c */
/** vhd_device_commit - carry VHD_IOC_COMMIT out */
int vhd_device_commit(struct vhd_commit_args *args, struct file *parent);

/* compact.c */
/** vhd_device_compact - carry VHD_IOC_COMPACT out */
int vhd_device_compact(struct vhd_compact_args *args);

/* fastlane.c */
/** vhd_lane_possible - could there ever be a lane to the file, where it lies? */
bool vhd_lane_possible(const struct vhd_backing *b);
/**
 * struct vhd_lane_own - a change of the backing file that is our own
 * @node: in vhd_lane.owners
 * @lane: or NULL
 * @task: who makes it
 * @moves: blocks of the file are freed or moved
 */
struct vhd_lane_own {
	struct list_head node;
	struct vhd_lane *lane;
	struct task_struct *task;
	bool moves;
};

/**
 * struct vhd_lane_stat - what users may know
 * @state: "off", "closed", "open"
 * @mapped: bytes of the file whose place is known
 * @hits: requests that took the lane
 * @misses: reads and writes that did not
 * @breaks: how often the lane had to be closed
 */
struct vhd_lane_stat {
	const char *state;
	u64 mapped;
	u64 hits;
	u64 misses;
	u64 breaks;
};

/**
 * vhd_lane_create - give a backing file a fast lane
 * @b: the backing file
 * @wq: of the device
 *
 * Process context.
 * Return: 0; -EOPNOTSUPP: there is none now, which the kernel log explains, but
 * it is tried again; -ENOMEM: there is and will be none.
 */
int vhd_lane_create(struct vhd_backing *b, struct workqueue_struct *wq);
/** vhd_lane_destroy - no request may be under way; nothing to do without a lane */
void vhd_lane_destroy(struct vhd_backing *b);
/**
 * vhd_lane_submit - let a started read or write take the fast lane
 * @vhd: the device, which has no gate
 * @cmd: the request's private part, set up for the slow way
 *
 * From queue_rq.
 * Return: false if it has to go another way.
 */
bool vhd_lane_submit(struct vhd_device *vhd, struct vhd_cmd *cmd);
/**
 * vhd_lane_own_begin - we are about to write to the file, or to change it
 * @b: the backing file
 * @own: of the caller, until vhd_lane_own_end()
 * @pos: blocks are freed or moved from here, bytes
 * @end: to here; not above @pos: none are
 *
 * No request is on its way to those blocks when this returns, nor will one be
 * before vhd_lane_own_end(), which the same task calls.  Process context.
 */
void vhd_lane_own_begin(struct vhd_backing *b, struct vhd_lane_own *own,
			u64 pos, u64 end);
void vhd_lane_own_end(struct vhd_lane_own *own);
/** vhd_lane_touch - the file is about to be flushed; process context */
void vhd_lane_touch(struct vhd_backing *b);
/** vhd_lane_stat - of a backing file that does not go away meanwhile */
void vhd_lane_stat(const struct vhd_backing *b, struct vhd_lane_stat *st);

/* linger.c */
/**
 * vhd_linger - wait awake for requests; the worker, process context
 * @l: the worker's own
 * @list: of its requests
 *
 * Gives the processor to any other task that wants it.
 * Return: true if @list has some, false if the worker may as well sleep.
 */
bool vhd_linger(struct vhd_linger *l, const struct llist_head *list);
/** vhd_linger_took - learn from @nr requests being there now; the worker */
void vhd_linger_took(struct vhd_linger *l, unsigned int nr);
/** vhd_linger_slept - learn from a sleep that ended now */
void vhd_linger_slept(struct vhd_linger *l);

/* writeback.c */
int vhd_writeback_init(struct vhd_device *vhd);
/** vhd_writeback_stop - no more background work; the queue must be gone */
void vhd_writeback_stop(struct vhd_device *vhd);
void vhd_writeback_free(struct vhd_device *vhd);
/** vhd_writeback_dirtied - metadata became dirty: commit soon; any context */
void vhd_writeback_dirtied(struct vhd_device *vhd);
/** vhd_writeback_flush - queue a flush request for the next commit */
void vhd_writeback_flush(struct vhd_device *vhd, struct vhd_cmd *cmd);
/** vhd_writeback_wait_commit - queue a write until a commit has been */
void vhd_writeback_wait_commit(struct vhd_device *vhd, struct vhd_cmd *cmd);
/** vhd_writeback_wait_space - queue a write until there is a slot */
void vhd_writeback_wait_space(struct vhd_device *vhd, struct vhd_cmd *cmd);
/** vhd_writeback_grow - prepare slots ahead of need, if there are few */
void vhd_writeback_grow(struct vhd_device *vhd);
/** vhd_writeback_freed - there are freed slots whose space can be given back */
void vhd_writeback_freed(struct vhd_device *vhd);
/*
 * vhd_writeback_punch - wait until the space of freed slots is given back
 * While that is under way they are in no list of free ones.  Process context.
 */
void vhd_writeback_punch(struct vhd_device *vhd);
/*
 * vhd_writeback_sync - commit what completed before the call and wait
 * Process context.  Return: 0 or the error of the commit.
 */
int vhd_writeback_sync(struct vhd_device *vhd);
/** vhd_writeback_wait_grown - wait for the growth, or punching, under way */
void vhd_writeback_wait_grown(struct vhd_device *vhd);
/** vhd_writeback_resume - after a suspend: what nobody waits for may go on */
void vhd_writeback_resume(struct vhd_device *vhd);
/** vhd_writeback_tidy - leave the file tight; nothing else may be going on */
int vhd_writeback_tidy(struct vhd_device *vhd);
/*
 * vhd_writeback_retire - finish with a former top
 * Commit it, make it tight, and let nothing write to it any more.  Process
 * context.  Return: 0, also if there is none; an error leaves it to be tried
 * again, commits include it until then.
 */
int vhd_writeback_retire(struct vhd_device *vhd);

/* reclaim.c */
void vhd_reclaim_init(struct vhd_device *vhd);
void vhd_reclaim_stop(struct vhd_device *vhd);
/** vhd_reclaim_kick - a commit may have left draining slots; any context */
void vhd_reclaim_kick(struct vhd_device *vhd);
/**
 * vhd_reclaim_wait - until the slots that are draining now are free
 * @vhd: the device
 *
 * Process context; no request may be held up by the caller.
 *
 * Return: 0 or -EINTR.
 */
int vhd_reclaim_wait(struct vhd_device *vhd);

/* reshape.c */
/** vhd_device_resize - carry VHD_IOC_RESIZE out */
int vhd_device_resize(const struct vhd_resize_args *args);

/* backing.c */
/**
 * vhd_backing_open - claim a file for an image
 * @b: the backing file
 * @file: the caller's; a reference of our own is taken
 * @use: what it is for
 * @dio: 1 direct I/O required, 0 never, -1 where possible
 *
 * A block device is opened once more, exclusively; all of us are one holder.
 * Return: 0, -EINVAL (not a file this can work on), -EACCES (open mode),
 * -EBUSY (in use by another device, or claimed by others: mounted, swap, LVM),
 * -EOPNOTSUPP (no direct I/O).
 */
int vhd_backing_open(struct vhd_backing *b, struct file *file,
		     enum vhd_use use, int dio);
void vhd_backing_close(struct vhd_backing *b);
/*
 * vhd_backing_buf_alloc - memory for vhd_backing_read() and bounces
 * Whole pages: a file system may take references of them (NFS does), and those
 * of kmalloc() have none to give.
 */
void *vhd_backing_buf_alloc(size_t len, gfp_t gfp);
/** vhd_backing_buf_free - @len as allocated; NULL is nothing to free */
void vhd_backing_buf_free(void *buf, size_t len);
/** vhd_posts_alloc - memory for writes of a sector; may sleep.  Return: 0 or -ENOMEM */
int vhd_posts_alloc(struct vhd_posts *posts);
void vhd_posts_free(struct vhd_posts *posts);
/* What vhd_extent.lead speaks of, VHD_ALIGN bytes; constant. */
extern struct page *vhd_lead_page;
/** vhd_lead_page_create - once, for all devices; may sleep.  Return: 0 or -ENOMEM */
int vhd_lead_page_create(void);
void vhd_lead_page_free(void);
/** vhd_backing_same - is it the same file, and can it be read */
bool vhd_backing_same(const struct vhd_backing *b, struct file *file);
/** vhd_backing_demote - from now on a parent: others may have it as one, too */
void vhd_backing_demote(struct vhd_backing *b);
/*
 * vhd_backing_run - run a plan to its end; process context, noio inside
 * @bounce: of VHD_BOUNCE_SIZE, for what is written; NULL if all that the plan
 * reads and writes has memory of vhd_backing_buf_alloc().
 * @posts: for the writes of a plan that lets them be done side by side; or NULL
 */
int vhd_backing_run(struct vhd_backing *b, struct vhd_plan *plan, void *bounce,
		    struct vhd_posts *posts);
/** vhd_backing_run_buffered - the same by the page cache, for opening */
int vhd_backing_run_buffered(struct vhd_backing *b, struct vhd_plan *plan);
/**
 * vhd_backing_read - read into kernel memory, the way requests go
 * @b: the backing file
 * @pos: byte offset in the file
 * @buf: of vhd_backing_buf_alloc()
 * @len: bytes
 *
 * Beyond the end of the file: zeros.  Process context.
 * Return: 0 or a negative errno.
 */
int vhd_backing_read(struct vhd_backing *b, loff_t pos, void *buf, size_t len);
/** vhd_backing_write - the same for writing; a short one is an error */
int vhd_backing_write(struct vhd_backing *b, loff_t pos, void *buf, size_t len);
/**
 * vhd_backing_zero - make a range read as zeros; process context
 * @b: the backing file
 * @pos: byte offset in the file
 * @len: bytes
 * @keep: its space stays reserved; else it is given back where that is possible
 *
 * Return: 0 or a negative errno.
 */
int vhd_backing_zero(struct vhd_backing *b, loff_t pos, u64 len, bool keep);
/**
 * vhd_backing_submit - start a transfer
 * @b: the backing file
 * @iocb: ki_complete called in any context; ki_pos set by the caller
 * @iter: the memory
 * @write: to the file
 *
 * A write needs vhd_backing_start_write() before; whoever ends the transfer
 * gives that back with vhd_backing_end_write().
 */
void vhd_backing_submit(struct vhd_backing *b, struct kiocb *iocb,
			struct iov_iter *iter, bool write);
/**
 * vhd_backing_start_write - take the file system's freeze protection
 * @b: the backing file
 * @wait: for a frozen file system to be thawed
 *
 * Return: false if it is frozen and @wait is not set.
 */
bool vhd_backing_start_write(struct vhd_backing *b, bool wait);
/** vhd_backing_end_write - give it back; any context */
void vhd_backing_end_write(struct kiocb *iocb);
/** vhd_backing_end_write_to - the same where there is no kiocb; any context */
void vhd_backing_end_write_to(struct vhd_backing *b);
/*
 * vhd_backing_try_set_dio - switch while no request is in flight
 * Does not wait.  Return: false if a plan is running; try again.
 */
bool vhd_backing_try_set_dio(struct vhd_backing *b, bool dio);
/** vhd_backing_drop_cache - a page left would send direct writes the slow way */
void vhd_backing_drop_cache(struct vhd_backing *b);

/** vhd_backing_size - bytes of the file or the device */
loff_t vhd_backing_size(const struct vhd_backing *b);
/** vhd_backing_disk - the block device that it is, or lies on; or NULL */
struct block_device *vhd_backing_disk(const struct vhd_backing *b);
/** vhd_backing_grain - bytes of the least that can be given back */
unsigned int vhd_backing_grain(const struct vhd_backing *b);
/** vhd_backing_checksums - must data not change while it is being written */
bool vhd_backing_checksums(struct vhd_backing *b);

/* sysfs.c */
extern const struct attribute_group *vhd_groups[];

#define vhd_info(vhd, fmt, ...) \
	pr_info("vhd%d: " fmt, (vhd)->index, ##__VA_ARGS__)
#define vhd_err(vhd, fmt, ...) \
	pr_err_ratelimited("vhd%d: " fmt, (vhd)->index, ##__VA_ARGS__)

#endif /* _VHD_H */
