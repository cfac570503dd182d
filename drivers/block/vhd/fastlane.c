// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fast lane: requests to blocks whose place on the disk is known go straight
 * to the block device under the backing file's file system, from queue_rq, with
 * neither a worker nor the file system on the way.
 *
 * An image that is a block device stays where it is: its map is one extent, there
 * is no lease, and changes of our own move nothing.  All else is of files.
 *
 * That a file system lets somebody else write to its disk has a protocol, the one
 * that the pNFS block server uses: map_blocks() says where a range lies, and as
 * long as a layout lease is held on the file, whoever is about to free or move
 * its blocks breaks the lease first, and waits until it has been given up.  Only
 * XFS does that.  Its old call that swaps the extents of two files does not, but
 * whoever calls that has opened the file for writing; so a delegation is held,
 * too, which an open for writing breaks before it returns.
 *
 *	closed	no leases; a request that would have liked the lane wants them
 *	open	both leases are held; extents are mapped as requests miss them
 *	broken	somebody waits: nobody enters, those inside leave, the extents
 *		are forgotten, the leases are given up; again later
 *
 * A request enters (@inflight), looks whether the lane is shut, looks its place
 * up, and leaves when its I/O has ended.  Whoever shuts the lane and sees nobody
 * in it knows that no extent of the map is in use.  Nobody has an extent that is
 * not in the map, so a change of blocks that are not needs nobody to leave.
 *
 * Our own writes and changes of the file go through the file system, which asks
 * whether the lease is the breaker's own (vhd_lane_own_begin).  Those that free
 * blocks take them out of the map first, and nothing that was mapped meanwhile is
 * believed (@gen, @moving).
 *
 * What the lane writes is beneath the page cache.  Where the file has pages
 * cached, requests go the other way, which knows how to keep both the same; one
 * that was under way when pages came is done again there.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "vhd.h"

/* The map has no more extents; then it begins anew. */
#define VHD_LANE_EXTENTS	4096U
/* A miss maps so much around it, and asks the file system so often at most. */
#define VHD_LANE_WINDOW		(4ULL << 20)
#define VHD_LANE_CALLS		32U
/* Between two mappings; longer when the last one found nothing. */
#define VHD_LANE_MAP_MIN	max(HZ / 100, 1)
#define VHD_LANE_MAP_MAX	HZ
/* How often a lease is asked for in a row. */
#define VHD_LANE_TRIES		100
/* After a break, doubled each time, until one lease has lasted for the longest. */
#define VHD_LANE_RETRY_MIN	max(HZ / 10, 1)
#define VHD_LANE_RETRY_MAX	(10 * HZ)

/* A range of the file that is written and in one piece; bytes. */
struct vhd_lane_extent {
	u64 pos;
	u64 end;
	u64 dev;
};

/* Sorted, none overlaps another; replaced as a whole. */
struct vhd_lane_map {
	struct rcu_head rcu;
	u32 nr;
	struct vhd_lane_extent ext[];
};

/* What a lease has as its owner: each needs one of its own. */
struct vhd_lane_lease {
	struct vhd_lane *lane;
};

struct vhd_lane_counters {
	u64 hits;
	u64 misses;
};

/**
 * struct vhd_lane - the fast lane to one backing file
 * @b: the backing file
 * @wq: for the works
 * @bdev: of the file system, or the file itself
 * @mapping: the file's page cache
 * @inflight: requests that have entered and not left
 * @shut: nobody may enter: how many reasons there are; under @lock
 * @quiet: nobody is in it, or one of @owners has gone
 * @map: where things are; RCU, changed under @lock
 * @lock: the map, and all down to @breaks; taken in lm_break
 * @owners: who is about to change or write the file for us
 * @gen: changes with whatever makes a mapping under way worthless
 * @moving: changes of blocks under way
 * @broken: somebody waits for the lease
 * @breaks: how often that was so
 * @lease_lock: taking and giving up the leases
 * @layout: nobody frees or moves blocks of the file
 * @deleg: nobody but us opens it for writing
 * @leased: both are held
 * @dead: they are not to be taken any more; under @lock, too
 * @since: when they were taken, jiffies
 * @retry: so long after a break; jiffies
 * @next: nothing is mapped or tried before, jiffies
 * @pause: between mappings, jiffies
 * @want: where a request missed; any request writes it
 * @wrote: something was written since the file's times were set
 * @told: why the lane cannot be opened, as the log has it
 * @break_work: gives the lease up
 * @map_work: takes it, and maps
 * @counters: of requests
 */
struct vhd_lane {
	struct vhd_backing *b;
	struct workqueue_struct *wq;
	struct block_device *bdev;
	struct address_space *mapping;
	atomic_t inflight ____cacheline_aligned_in_smp;
	int shut ____cacheline_aligned_in_smp;
	struct vhd_lane_map __rcu *map;
	unsigned long next;
	u64 want;
	bool wrote;
	struct vhd_lane_counters __percpu *counters;

	wait_queue_head_t quiet ____cacheline_aligned_in_smp;
	spinlock_t lock;
	struct list_head owners;
	unsigned long gen;
	unsigned int moving;
	bool broken;
	u64 breaks;

	struct mutex lease_lock;
	struct vhd_lane_lease layout;
	struct vhd_lane_lease deleg;
	bool leased;
	bool dead;
	unsigned long since;
	unsigned long retry;
	unsigned long pause;
	const char *told;
	struct work_struct break_work;
	struct work_struct map_work;
};

/* ---- in and out --------------------------------------------------------- */

static void vhd_lane_leave(struct vhd_lane *lane)
{
	/* Whoever shuts it looks after we are gone, or is woken. */
	if (atomic_dec_and_test(&lane->inflight) && READ_ONCE(lane->shut))
		wake_up(&lane->quiet);
}

static bool vhd_lane_enter(struct vhd_lane *lane)
{
	atomic_inc(&lane->inflight);
	/*
	 * Pairs with vhd_lane_drain(): it sees us, or we see it shut.  Also the
	 * barrier between a request's epoch and its look-up; see reclaim.c.
	 */
	smp_mb__after_atomic();
	/* pairs with vhd_lane_unshut(): of the map we see what it left */
	if (likely(!smp_load_acquire(&lane->shut)))
		return true;
	vhd_lane_leave(lane);
	return false;
}

static void vhd_lane_shut(struct vhd_lane *lane)
{
	lockdep_assert_held(&lane->lock);
	WRITE_ONCE(lane->shut, lane->shut + 1);
}

static void vhd_lane_unshut(struct vhd_lane *lane)
{
	lockdep_assert_held(&lane->lock);
	/* pairs with vhd_lane_enter() */
	smp_store_release(&lane->shut, lane->shut - 1);
}

/* The lane is shut: wait for those inside.  They wait for the disk only. */
static void vhd_lane_drain(struct vhd_lane *lane)
{
	/* pairs with vhd_lane_enter() */
	smp_mb();
	wait_event(lane->quiet, !atomic_read(&lane->inflight));
}

/* ---- the map -------------------------------------------------------------- */

/* The first extent that ends behind @pos; map->nr if there is none. */
static u32 vhd_lane_search(const struct vhd_lane_map *map, u64 pos)
{
	u32 low = 0, high = map->nr, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (map->ext[mid].end <= pos)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Is all of the range in one extent?  Then where: bytes. */
static bool vhd_lane_find(struct vhd_lane *lane, u64 pos, u32 bytes, u64 *dev)
{
	const struct vhd_lane_extent *ext;
	struct vhd_lane_map *map;
	bool found = false;
	u32 i;

	rcu_read_lock();
	map = rcu_dereference(lane->map);
	if (map) {
		i = vhd_lane_search(map, pos);
		ext = &map->ext[i];
		if (i < map->nr && ext->pos <= pos && pos + bytes <= ext->end) {
			*dev = ext->dev + (pos - ext->pos);
			found = true;
		}
	}
	rcu_read_unlock();
	return found;
}

static u64 vhd_lane_mapped(struct vhd_lane *lane)
{
	struct vhd_lane_map *map;
	u64 bytes = 0;
	u32 i;

	rcu_read_lock();
	map = rcu_dereference(lane->map);
	for (i = 0; map && i < map->nr; i++)
		bytes += map->ext[i].end - map->ext[i].pos;
	rcu_read_unlock();
	return bytes;
}

static struct vhd_lane_map *vhd_lane_map(struct vhd_lane *lane)
{
	return rcu_dereference_protected(lane->map,
					 lockdep_is_held(&lane->lock));
}

static void vhd_lane_replace(struct vhd_lane *lane, struct vhd_lane_map *map)
{
	struct vhd_lane_map *old = vhd_lane_map(lane);

	rcu_assign_pointer(lane->map, map);
	if (old)
		kvfree_rcu(old, rcu);
}

/* What is left of @ext without [@pos, @end): none, one or two extents. */
static u32 vhd_lane_without(const struct vhd_lane_extent *ext, u64 pos, u64 end,
			    struct vhd_lane_extent *out)
{
	u32 n = 0;

	if (ext->end <= pos || ext->pos >= end) {
		out[n++] = *ext;
		return n;
	}
	if (ext->pos < pos) {
		out[n] = *ext;
		out[n++].end = pos;
	}
	if (ext->end > end) {
		out[n] = *ext;
		out[n].pos = end;
		out[n++].dev = ext->dev + (end - ext->pos);
	}
	return n;
}

static bool vhd_lane_overlaps(struct vhd_lane *lane, u64 pos, u64 end)
{
	struct vhd_lane_map *map = vhd_lane_map(lane);
	u32 i;

	if (!map)
		return false;
	i = vhd_lane_search(map, pos);
	return i < map->nr && map->ext[i].pos < end;
}

/* Does @b go on where @a ends, in the file and on the disk? */
static bool vhd_lane_joins(const struct vhd_lane_extent *a,
			   const struct vhd_lane_extent *b)
{
	return a->end == b->pos && a->dev + (a->end - a->pos) == b->dev;
}

static void vhd_lane_append(struct vhd_lane_map *map,
			    const struct vhd_lane_extent *ext)
{
	if (map->nr && vhd_lane_joins(&map->ext[map->nr - 1], ext))
		map->ext[map->nr - 1].end = ext->end;
	else
		map->ext[map->nr++] = *ext;
}

/*
 * Into @map, empty and with room for two extents more than @old has: what @old has
 * outside of [@pos, @end), and @new, which lies in that range, if there is one.
 */
static void vhd_lane_build(struct vhd_lane_map *map,
			   const struct vhd_lane_map *old, u64 pos, u64 end,
			   const struct vhd_lane_extent *new)
{
	struct vhd_lane_extent part[2];
	u32 i, j, n;

	for (i = 0; old && i < old->nr; i++) {
		n = vhd_lane_without(&old->ext[i], pos, end, part);
		for (j = 0; j < n; j++) {
			if (new && part[j].pos > new->pos) {
				vhd_lane_append(map, new);
				new = NULL;
			}
			vhd_lane_append(map, &part[j]);
		}
	}
	if (new)
		vhd_lane_append(map, new);
}

/* Memory for what the map will be; @room: for so many extents, if no more come. */
static struct vhd_lane_map *vhd_lane_alloc_map(struct vhd_lane *lane, u32 *room)
{
	struct vhd_lane_map *map;

	spin_lock(&lane->lock);
	map = vhd_lane_map(lane);
	*room = (map ? map->nr : 0) + 2;
	spin_unlock(&lane->lock);
	map = kvmalloc(struct_size(map, ext, *room), GFP_NOIO | __GFP_NOWARN);
	if (map)
		map->nr = 0;
	return map;
}

/* Is @room still enough? */
static bool vhd_lane_has_room(struct vhd_lane *lane, u32 room)
{
	struct vhd_lane_map *map = vhd_lane_map(lane);

	return !map || map->nr + 2 <= room;
}

/*
 * Nobody may find anything in [@pos, @end) any more.  The lane is shut and empty,
 * and @moving keeps it from growing.  Without memory it loses everything.
 */
static void vhd_lane_cut(struct vhd_lane *lane, u64 pos, u64 end)
{
	struct vhd_lane_map *map, *unused = NULL;
	u32 room;

	map = vhd_lane_alloc_map(lane, &room);
	spin_lock(&lane->lock);
	/* Another one may have cut, too, and made two extents of one. */
	if (map && !vhd_lane_has_room(lane, room))
		swap(map, unused);
	if (map)
		vhd_lane_build(map, vhd_lane_map(lane), pos, end, NULL);
	vhd_lane_replace(lane, map);
	spin_unlock(&lane->lock);
	kvfree(unused);
}

/* ---- our own changes of the file -------------------------------------------- */

void vhd_lane_own_begin(struct vhd_backing *b, struct vhd_lane_own *own,
			u64 pos, u64 end)
{
	struct vhd_lane *lane = READ_ONCE(b->lane);
	bool shut;
	u64 unit;

	/* Nobody asks whose changes of a block device they are. */
	if (lane && b->bdev)
		lane = NULL;
	own->lane = lane;
	if (likely(!lane))
		return;
	own->task = current;
	own->moves = pos < end;
	/*
	 * Of a part of a file system's block the rest passes through a page: what
	 * is written there meanwhile would be lost.
	 */
	unit = max_t(u64, i_blocksize(file_inode(b->file)), PAGE_SIZE);
	pos = round_down(pos, unit);
	end = end > S64_MAX - unit ? end : round_up(end, unit);
	spin_lock(&lane->lock);
	list_add(&own->node, &lane->owners);
	if (own->moves) {
		lane->gen++;
		lane->moving++;
	}
	shut = own->moves && vhd_lane_overlaps(lane, pos, end);
	if (shut)
		vhd_lane_shut(lane);
	spin_unlock(&lane->lock);
	if (!shut)
		return;
	vhd_lane_drain(lane);
	vhd_lane_cut(lane, pos, end);
	spin_lock(&lane->lock);
	vhd_lane_unshut(lane);
	spin_unlock(&lane->lock);
}

void vhd_lane_own_end(struct vhd_lane_own *own)
{
	struct vhd_lane *lane = own->lane;

	if (likely(!lane))
		return;
	spin_lock(&lane->lock);
	list_del(&own->node);
	if (own->moves) {
		lane->gen++;
		lane->moving--;
	}
	/* Under the lock: the lane may be gone when it is let go of. */
	if (unlikely(lane->dead))
		wake_up(&lane->quiet);
	spin_unlock(&lane->lock);
}

static bool vhd_lane_owned(struct vhd_lane *lane)
{
	bool owned;

	spin_lock(&lane->lock);
	owned = !list_empty(&lane->owners);
	spin_unlock(&lane->lock);
	return owned;
}

/* The file is to be flushed: its times tell that it was written. */
void vhd_lane_touch(struct vhd_backing *b)
{
	struct super_block *sb = file_inode(b->file)->i_sb;

	if (likely(!b->lane) || b->bdev || !READ_ONCE(b->lane->wrote))
		return;
	/* A frozen file system is no reason for a flush to wait. */
	if (!sb_start_write_trylock(sb))
		return;
	WRITE_ONCE(b->lane->wrote, false);
	file_update_time(b->file);
	sb_end_write(sb);
}

/* ---- the lease ---------------------------------------------------------- */

static struct vhd_lane *vhd_lane_of(struct vhd_file_lease *lease)
{
	return ((struct vhd_lane_lease *)vhd_lease_owner(lease))->lane;
}

/* Under the lease's spinlock.  Return: it is for us to remove it. */
static bool vhd_lane_lm_break(struct vhd_file_lease *lease)
{
	struct vhd_lane *lane = vhd_lane_of(lease);

	/* It is given up when nobody uses it, and not because time has passed. */
	lease->fl_break_time = 0;
	spin_lock(&lane->lock);
	if (!lane->broken) {
		lane->broken = true;
		lane->breaks++;
		lane->gen++;
		vhd_lane_shut(lane);
		queue_work(lane->wq, &lane->break_work);
	}
	spin_unlock(&lane->lock);
	return false;
}

/* Is it us who are about to write or change the file? */
static bool vhd_lane_lm_owns(struct vhd_file_lease *lease)
{
	struct vhd_lane *lane = vhd_lane_of(lease);
	struct vhd_lane_own *own;
	bool found = false;

	spin_lock(&lane->lock);
	list_for_each_entry(own, &lane->owners, node)
		found |= own->task == current;
	spin_unlock(&lane->lock);
	return found;
}

static int vhd_lane_lm_change(struct vhd_file_lease *lease, int arg,
			      struct list_head *dispose)
{
	return lease_modify(lease, arg, dispose);
}

#ifdef VHD_LEASE_OPEN_CONFLICT
/* Of those who have it open vhd_lane_alone() asks when the leases are set. */
static int vhd_lane_lm_open_conflict(struct file *file, int arg)
{
	return 0;
}
#endif

static const struct vhd_lease_operations vhd_lane_lm_ops = {
	.lm_break		= vhd_lane_lm_break,
	.lm_breaker_owns_lease	= vhd_lane_lm_owns,
	.lm_change		= vhd_lane_lm_change,
#ifdef VHD_LEASE_OPEN_CONFLICT
	.lm_open_conflict	= vhd_lane_lm_open_conflict,
#endif
};

/* May anybody but root write to it?  (With an ACL the group's bits are its mask.) */
static bool vhd_lane_private(const struct inode *inode)
{
	return uid_eq(inode->i_uid, GLOBAL_ROOT_UID) &&
	       !(inode->i_mode & 0022);
}

/* Has anybody but us opened it for writing? */
static bool vhd_lane_alone(const struct file *file)
{
	int ours = file->f_mode & FMODE_WRITE ? 1 : 0;

	return atomic_read(&file_inode(file)->i_writecount) == ours;
}

static bool vhd_lane_gives_layouts(struct super_block *sb)
{
	return sb->s_magic == XFS_SUPER_MAGIC && sb->s_bdev &&
	       vhd_can_map_blocks(sb);
}

/*
 * Why a file's blocks are not given out; NULL if they are.  An image that others
 * than root may write, or that xfs_fsr would open again and again, would have the
 * lane closed at anybody's will.
 */
static const char *vhd_lane_refuses_file(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (!vhd_lane_gives_layouts(inode->i_sb))
		return "is not on XFS, or the kernel gives out no block layouts";
	if (IS_DAX(inode))
		return "is on persistent memory";
	/* The file system does not do that yet; what it checks is to be checked. */
	if (IS_ENCRYPTED(inode) || IS_VERITY(inode))
		return "is encrypted or verified by its file system";
	if (!vhd_lane_private(inode))
		return "may be written by others than root";
	if (!vhd_lane_alone(file))
		return "is open for writing elsewhere";
	if (!vhd_file_nodefrag(file))
		return "lacks the no-defragmentation flag";
	if (mapping_mapped(file->f_mapping))
		return "is mapped into somebody's memory";
	return NULL;
}

/* Why there can be no lane; NULL if there can. */
static const char *vhd_lane_refusal(struct vhd_backing *b)
{
	struct block_device *bdev = vhd_backing_disk(b);
	const char *why = b->bdev ? NULL : vhd_lane_refuses_file(b->file);

	if (why)
		return why;
	if (!b->dio)
		return "is not read and written by direct I/O";
	if (!bdev_nowait(bdev))
		return "lies on a disk that may make requests wait";
	if (vhd_device_is_ours(bdev->bd_disk))
		return "lies directly on a VHD";
	return NULL;
}

static int vhd_lane_set_lease(struct vhd_lane *lane, unsigned int flags,
			      struct vhd_lane_lease *owner)
{
	struct file *file = lane->b->file;
	struct vhd_file_lease *lease;
	int ret;

	lease = vhd_lease_alloc(file, flags, &vhd_lane_lm_ops, owner);
	if (!lease)
		return -ENOMEM;
	ret = vfs_setlease(file, F_RDLCK, &lease, NULL);
	if (lease)
		vhd_lease_free(lease);
	return ret;
}

static void vhd_lane_unset_lease(struct vhd_lane *lane,
				 struct vhd_lane_lease *lease)
{
	void *owner = lease;

	vfs_setlease(lane->b->file, F_UNLCK, NULL, &owner);
}

/* Does the file system give out any layout?  Both leases are held. */
static bool vhd_lane_gets_layout(struct vhd_lane *lane)
{
	struct inode *inode = file_inode(lane->b->file);
	struct iomap iomap = { };

	return !vhd_map_blocks(inode, 0, i_blocksize(inode), &iomap);
}

/* A delegation is refused, not waited for, while anybody has the inode locked. */
static int vhd_lane_set_deleg(struct vhd_lane *lane)
{
	unsigned int tries = VHD_LANE_TRIES;
	int ret;

	while ((ret = vhd_lane_set_lease(lane, FL_DELEG, &lane->deleg)) == -EAGAIN &&
	       --tries)
		usleep_range(50, 500);
	return ret;
}

/* Return: NULL if both leases are held, and may be; or why not. */
static const char *vhd_lane_take_leases(struct vhd_lane *lane)
{
	if (vhd_lane_set_lease(lane, FL_LAYOUT, &lane->layout))
		return "gets no layout lease";
	if (vhd_lane_set_deleg(lane))
		return "is in use, and gets no delegation";
	/*
	 * Who opens it for writing counts himself first and looks for leases then:
	 * we see him, or he breaks the delegation.
	 */
	if (!vhd_lane_alone(lane->b->file))
		return "is open for writing elsewhere";
	if (!vhd_lane_gets_layout(lane))
		return "gets no layout: it shares blocks, or is on a realtime device";
	return NULL;
}

static void vhd_lane_drop_leases(struct vhd_lane *lane)
{
	if (lane->b->bdev)
		return;
	vhd_lane_unset_lease(lane, &lane->deleg);
	vhd_lane_unset_lease(lane, &lane->layout);
}

/* The lane is shut, and nothing is mapped. */
static const char *vhd_lane_set_leases(struct vhd_lane *lane)
{
	const char *why = lane->b->bdev ? NULL : vhd_lane_take_leases(lane);

	if (!why)
		return NULL;
	vhd_lane_drop_leases(lane);
	spin_lock(&lane->lock);
	if (lane->broken) {
		/* It was shut once more, and nothing is left to give up. */
		lane->broken = false;
		vhd_lane_unshut(lane);
	}
	spin_unlock(&lane->lock);
	return why;
}

static void vhd_lane_give_up(struct vhd_lane *lane)
{
	lockdep_assert_held(&lane->lease_lock);
	vhd_lane_drain(lane);
	spin_lock(&lane->lock);
	vhd_lane_replace(lane, NULL);
	spin_unlock(&lane->lock);
	vhd_lane_drop_leases(lane);
	WRITE_ONCE(lane->leased, false);
}

/* Somebody waits. */
static void vhd_lane_break_work(struct work_struct *work)
{
	struct vhd_lane *lane = container_of(work, struct vhd_lane, break_work);

	mutex_lock(&lane->lease_lock);
	/* It may have been seen, and the lease taken anew, by others before. */
	if (lane->leased && READ_ONCE(lane->broken)) {
		vhd_lane_give_up(lane);
		if (time_after(jiffies, lane->since + VHD_LANE_RETRY_MAX))
			lane->retry = VHD_LANE_RETRY_MIN;
		WRITE_ONCE(lane->next, jiffies + lane->retry);
		lane->retry = min(lane->retry * 2, (unsigned long)VHD_LANE_RETRY_MAX);
	}
	mutex_unlock(&lane->lease_lock);
}

static void vhd_lane_tell(struct vhd_lane *lane, const char *why)
{
	if (why && why != lane->told)
		pr_info_ratelimited("vhd: %pD: no fast lane: %s\n",
				    lane->b->file, why);
	lane->told = why;
}

/* Return: is it open? */
static bool vhd_lane_open(struct vhd_lane *lane)
{
	const char *why;

	lockdep_assert_held(&lane->lease_lock);
	if (lane->leased || lane->dead)
		return lane->leased;
	why = vhd_lane_refusal(lane->b);
	if (!why) {
		/* There is no lease that could be broken; @shut stays as it is. */
		lane->broken = false;
		lane->bdev = vhd_backing_disk(lane->b);
		why = vhd_lane_set_leases(lane);
	}
	vhd_lane_tell(lane, why);
	if (why)
		return false;
	lane->since = jiffies;
	WRITE_ONCE(lane->leased, true);
	spin_lock(&lane->lock);
	vhd_lane_unshut(lane);
	spin_unlock(&lane->lock);
	return true;
}

/* ---- mapping -------------------------------------------------------------- */

/* Not before the lane has been shut and is empty may extents vanish. */
static void vhd_lane_forget(struct vhd_lane *lane)
{
	spin_lock(&lane->lock);
	vhd_lane_shut(lane);
	spin_unlock(&lane->lock);
	vhd_lane_drain(lane);
	spin_lock(&lane->lock);
	vhd_lane_replace(lane, NULL);
	vhd_lane_unshut(lane);
	spin_unlock(&lane->lock);
}

/* Into the map, unless something has changed since @gen. */
static void vhd_lane_add(struct vhd_lane *lane,
			 const struct vhd_lane_extent *ext, unsigned long gen)
{
	struct vhd_lane_map *map;
	bool added;
	u32 room;

	map = vhd_lane_alloc_map(lane, &room);
	if (!map)
		return;
	if (room > VHD_LANE_EXTENTS)
		vhd_lane_forget(lane);
	spin_lock(&lane->lock);
	added = lane->gen == gen && !lane->moving && !lane->broken &&
		vhd_lane_has_room(lane, room);
	if (added) {
		vhd_lane_build(map, vhd_lane_map(lane), ext->pos, ext->end, ext);
		vhd_lane_replace(lane, map);
	}
	spin_unlock(&lane->lock);
	if (!added)
		kvfree(map);
}

/* Whole sectors of a written extent up to the end of the file, if it is one. */
static bool vhd_lane_extent_of(struct vhd_lane *lane, const struct iomap *iomap,
			       struct vhd_lane_extent *ext)
{
	u64 size = round_down(i_size_read(file_inode(lane->b->file)),
			      VHD_SECTOR_SIZE);

	if (iomap->type != IOMAP_MAPPED || iomap->flags & IOMAP_F_SHARED ||
	    iomap->bdev != lane->bdev)
		return false;
	ext->pos = iomap->offset;
	ext->end = min_t(u64, iomap->offset + iomap->length, size);
	ext->dev = iomap->addr;
	return ext->pos < ext->end;
}

/* Where nothing ever moves there is nothing to ask. */
static void vhd_lane_map_bdev(struct vhd_lane *lane)
{
	struct vhd_lane_extent all = { .end = vhd_backing_size(lane->b) };

	if (vhd_lane_mapped(lane) != all.end)
		vhd_lane_add(lane, &all, READ_ONCE(lane->gen));
	/* As the file system does before it tells where things are. */
	if (!filemap_write_and_wait(lane->mapping))
		invalidate_inode_pages2(lane->mapping);
}

static void vhd_lane_map_window(struct vhd_lane *lane, u64 pos)
{
	struct inode *inode = file_inode(lane->b->file);
	u64 at = round_down(pos, VHD_LANE_WINDOW), end = at + VHD_LANE_WINDOW;
	unsigned int calls = VHD_LANE_CALLS;
	struct vhd_lane_extent ext;
	unsigned long gen;

	end = min_t(u64, end, i_size_read(inode));
	while (at < end && calls--) {
		struct iomap iomap = { };

		gen = READ_ONCE(lane->gen);
		/* pairs with the lock around changes of @gen */
		smp_rmb();
		if (vhd_map_blocks(inode, at, end - at, &iomap) ||
		    iomap.offset > at || iomap.offset + iomap.length <= at)
			break;
		if (vhd_lane_extent_of(lane, &iomap, &ext))
			vhd_lane_add(lane, &ext, gen);
		at = iomap.offset + iomap.length;
	}
}

/* Takes the lease, or maps what was missed. */
static void vhd_lane_map_work(struct work_struct *work)
{
	struct vhd_lane *lane = container_of(work, struct vhd_lane, map_work);
	unsigned int noio = memalloc_noio_save();
	u64 before = vhd_lane_mapped(lane);
	bool open;

	mutex_lock(&lane->lease_lock);
	open = vhd_lane_open(lane);
	mutex_unlock(&lane->lease_lock);
	/* To map empties the page cache, which cannot be done while it is mapped. */
	if (open && !mapping_mapped(lane->mapping)) {
		if (lane->b->bdev)
			vhd_lane_map_bdev(lane);
		else
			vhd_lane_map_window(lane, READ_ONCE(lane->want));
	}
	/* What was missed may not be written yet: no need to ask all the time. */
	lane->pause = vhd_lane_mapped(lane) != before ? VHD_LANE_MAP_MIN :
			min(lane->pause * 2, (unsigned long)VHD_LANE_MAP_MAX);
	/* A break meanwhile knows better. */
	if (time_before(READ_ONCE(lane->next), jiffies + lane->pause))
		WRITE_ONCE(lane->next, jiffies + lane->pause);
	memalloc_noio_restore(noio);
}

/* ---- requests ----------------------------------------------------------------- */

/* Something is missing: the lease, or the map of @want. */
static void vhd_lane_kick(struct vhd_lane *lane)
{
	if (time_after_eq(jiffies, READ_ONCE(lane->next)))
		queue_work(lane->wq, &lane->map_work);
}

/* Any context. */
static bool vhd_lane_cached(struct vhd_lane *lane, u64 pos, u32 bytes)
{
	return unlikely(READ_ONCE(lane->mapping->nrpages)) &&
	       filemap_range_has_page(lane->mapping, pos, pos + bytes - 1);
}

/*
 * The request holds nothing of the core's, and the disk has answered where the
 * submitter wants it: so it needs neither vhd_cmd_end() nor to be sent on.
 */
static void vhd_lane_end(struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);

	if (likely(!blk_should_fake_timeout(rq->q)))
		blk_mq_end_request(rq, BLK_STS_OK);
}

/* The bio was where the other ways have this. */
static void vhd_lane_reset(struct vhd_cmd *cmd)
{
	cmd->hold = (struct vhd_hold) { };
	cmd->bvecs = NULL;
}

/* Any context.  The block layer has nothing of the request any more. */
static void vhd_lane_end_io(struct bio *bio)
{
	struct vhd_cmd *cmd = container_of(bio, struct vhd_cmd, bio);
	bool write = op_is_write(bio_op(bio)), again = bio->bi_status != BLK_STS_OK;
	struct vhd_lane *lane = bio->bi_private;

	bio_uninit(bio);
	if (write) {
		if (!READ_ONCE(lane->wrote))
			WRITE_ONCE(lane->wrote, true);
		again |= vhd_lane_cached(lane, cmd->run_pos, cmd->part);
		vhd_backing_end_write_to(lane->b);
	}
	vhd_lane_leave(lane);
	if (likely(!again)) {
		vhd_lane_end(cmd);
		return;
	}
	/* What failed fails again, or not, the other way. */
	vhd_lane_reset(cmd);
	vhd_cmd_slow(cmd);
}

/*
 * The plug being emptied has requests of other disks, too: if one of them were
 * the disk below, and that made us wait for it, it would be for ever.
 */
static bool vhd_lane_plug_mixed(void)
{
	return current->plug && current->plug->multiple_queues;
}

/*
 * Whoever submits us may be deep in a file system on a disk on a disk, and so may
 * be what is below: with half of the stack gone the worker's is better.
 */
static bool vhd_lane_stack_low(void)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0);

	return here - (unsigned long)task_stack_page(current) < THREAD_SIZE / 2;
}

/* One bio, no larger than the disk takes at once. */
static bool vhd_lane_fits(struct vhd_lane *lane, struct request *rq)
{
	struct request_queue *q = bdev_get_queue(lane->bdev);

	return lane->b->dio && rq->bio == rq->biotail && !vhd_lane_plug_mixed() &&
	       !vhd_lane_stack_low() &&
	       blk_rq_sectors(rq) <= queue_max_sectors(q) &&
	       rq->nr_phys_segments <= queue_max_segments(q);
}

/*
 * Whoever submits us may be emptying a plug, whose list is not fit for additions
 * then; and what is submitted may have to be waited for: so it gets its own.
 */
static void vhd_lane_submit_bio(struct bio *bio)
{
	struct blk_plug *outer = current->plug, plug;

	/* From inside of another submission it is put into a list, no more. */
	if (current->bio_list) {
		submit_bio_noacct(bio);
		return;
	}
	current->plug = NULL;
	blk_start_plug(&plug);
	submit_bio_noacct(bio);
	blk_finish_plug(&plug);
	current->plug = outer;
}

/*
 * The same data as @src.  What lies in one page has its own vector: the block layer
 * takes that as it is, and looks for where a clone is to be split.
 */
static bool vhd_lane_copy_bio(struct vhd_cmd *cmd, struct bio *src)
{
	struct bio_vec bv = bio_iovec(src);

	if (bv.bv_len != src->bi_iter.bi_size)
		return !bio_init_clone(NULL, &cmd->bio, src, GFP_NOWAIT);
	cmd->bvec = bv;
	bio_init(&cmd->bio, NULL, &cmd->bvec, 1, 0);
	cmd->bio.bi_vcnt = 1;
	cmd->bio.bi_iter.bi_size = bv.bv_len;
	cmd->bio.bi_ioprio = src->bi_ioprio;
	return true;
}

static bool vhd_lane_init_bio(struct vhd_lane *lane, struct vhd_cmd *cmd, u64 dev)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	blk_opf_t opf = rq->cmd_flags & (REQ_META | REQ_PRIO | REQ_FUA);

	if (!vhd_lane_copy_bio(cmd, rq->bio))
		return false;
	/* With the device it would be charged twice, first to whoever runs this. */
	cmd->bio.bi_bdev = lane->bdev;
	bio_clone_blkg_association(&cmd->bio, rq->bio);
	/* As direct I/O marks its own; and whatever is not at hand: the other way. */
	opf |= req_op(rq) | REQ_NOWAIT;
	if (op_is_write(req_op(rq)))
		opf |= REQ_SYNC | REQ_IDLE;
	cmd->bio.bi_opf = opf;
	cmd->bio.bi_iter.bi_sector = dev >> SECTOR_SHIFT;
	cmd->bio.bi_end_io = vhd_lane_end_io;
	cmd->bio.bi_private = lane;
	return true;
}

/* The request has entered. */
static bool vhd_lane_go(struct vhd_device *vhd, struct vhd_lane *lane,
			struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	bool write = op_is_write(req_op(rq));
	u64 pos, dev;
	u32 layer;

	/* It takes no hold: what needs one is not the lane's. */
	if (vhd_chain_map_fast(&vhd->chain, blk_rq_pos(rq), blk_rq_sectors(rq),
			       &layer, &pos) != VHD_MAP_DATA || layer)
		return false;
	if (!vhd_lane_find(lane, pos, blk_rq_bytes(rq), &dev) ||
	    vhd_lane_cached(lane, pos, blk_rq_bytes(rq))) {
		WRITE_ONCE(lane->want, pos);
		vhd_lane_kick(lane);
		return false;
	}
	if (write && !vhd_backing_start_write(lane->b, false))
		return false;
	cmd->run_pos = pos;
	cmd->part = blk_rq_bytes(rq);
	if (!vhd_lane_init_bio(lane, cmd, dev)) {
		vhd_lane_reset(cmd);
		if (write)
			vhd_backing_end_write_to(lane->b);
		return false;
	}
	this_cpu_inc(lane->counters->hits);
	vhd_lane_submit_bio(&cmd->bio);
	return true;
}

bool vhd_lane_submit(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	struct vhd_lane *lane = READ_ONCE(vhd->top->backing.lane);

	if (!lane)
		return false;
	if (vhd_lane_enter(lane)) {
		if (vhd_lane_fits(lane, blk_mq_rq_from_pdu(cmd)) &&
		    vhd_lane_go(vhd, lane, cmd))
			return true;
		vhd_lane_leave(lane);
	} else {
		vhd_lane_kick(lane);
	}
	this_cpu_inc(lane->counters->misses);
	return false;
}

/* ---- a lane's life -------------------------------------------------------------- */

bool vhd_lane_possible(const struct vhd_backing *b)
{
	return b->bdev || vhd_lane_gives_layouts(file_inode(b->file)->i_sb);
}

int vhd_lane_create(struct vhd_backing *b, struct workqueue_struct *wq)
{
	struct vhd_lane *lane = kzalloc(sizeof(*lane), GFP_KERNEL);
	bool open;

	if (!lane)
		return -ENOMEM;
	lane->counters = alloc_percpu(struct vhd_lane_counters);
	if (!lane->counters) {
		kfree(lane);
		return -ENOMEM;
	}
	lane->b = b;
	lane->wq = wq;
	lane->mapping = b->file->f_mapping;
	lane->layout.lane = lane;
	lane->deleg.lane = lane;
	lane->shut = 1;
	lane->retry = VHD_LANE_RETRY_MIN;
	lane->pause = VHD_LANE_MAP_MIN;
	lane->next = jiffies;
	init_waitqueue_head(&lane->quiet);
	spin_lock_init(&lane->lock);
	INIT_LIST_HEAD(&lane->owners);
	mutex_init(&lane->lease_lock);
	INIT_WORK(&lane->break_work, vhd_lane_break_work);
	INIT_WORK(&lane->map_work, vhd_lane_map_work);
	/* pairs with the READ_ONCE of requests */
	smp_store_release(&b->lane, lane);
	mutex_lock(&lane->lease_lock);
	open = vhd_lane_open(lane);
	mutex_unlock(&lane->lease_lock);
	return open ? 0 : -EOPNOTSUPP;
}

void vhd_lane_destroy(struct vhd_backing *b)
{
	struct vhd_lane *lane = b->lane;

	if (!lane)
		return;
	mutex_lock(&lane->lease_lock);
	spin_lock(&lane->lock);
	lane->dead = true;
	lane->gen++;
	vhd_lane_shut(lane);
	spin_unlock(&lane->lock);
	if (lane->leased)
		vhd_lane_give_up(lane);
	mutex_unlock(&lane->lease_lock);
	vhd_lane_touch(b);
	WRITE_ONCE(b->lane, NULL);
	/* A transfer's submitter may not have heard yet that it has ended. */
	wait_event(lane->quiet, !vhd_lane_owned(lane));
	/* Without a lease nobody queues the one, without requests the other. */
	cancel_work_sync(&lane->break_work);
	cancel_work_sync(&lane->map_work);
	kvfree(rcu_dereference_protected(lane->map, true));
	free_percpu(lane->counters);
	kfree(lane);
}

void vhd_lane_stat(const struct vhd_backing *b, struct vhd_lane_stat *st)
{
	struct vhd_lane *lane = b->lane;
	int cpu;

	*st = (struct vhd_lane_stat) { .state = lane ? "closed" : "off" };
	if (!lane)
		return;
	if (READ_ONCE(lane->leased) && b->dio)
		st->state = "open";
	for_each_possible_cpu(cpu) {
		st->hits += per_cpu_ptr(lane->counters, cpu)->hits;
		st->misses += per_cpu_ptr(lane->counters, cpu)->misses;
	}
	st->breaks = READ_ONCE(lane->breaks);
	st->mapped = vhd_lane_mapped(lane);
}
