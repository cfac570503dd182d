// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compacting a device in use.
 *
 *	drop	each block: if it reads as zeros it is unmapped
 *	commit, and wait until the slots are free
 *	move	the last blocks, one after the other, into the lowest free slots
 *	commit, and wait until the slots that they left are free
 *	cut	the file behind the last block
 *
 * and the last three again, as long as blocks have come meanwhile that can move.
 * What makes each step sound is the core's (core/move.h).  Here: writes to the one
 * block that is looked at or moves are held up at the gate; reads go on, they find
 * either place, and the old one is not given away while a request of before is
 * under way (reclaim.c).  While the file is cut no other plan runs: writes that
 * want a slot wait for that.
 *
 * The caller's thread only waits; what does I/O are works, since a signal would
 * spoil it.  Signals are looked at between blocks.
 */
#include <linux/minmax.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "core/move.h"
#include "trace.h"
#include "vhd.h"

/* What is read or written at a time: so much of the file's I/O is ours. */
#define VHD_COMPACT_PIECE	65536U
/* So often a block is tried for that waits for a commit each time. */
#define VHD_COMPACT_TRIES	4U
/* So often the last blocks are looked for anew, after those that were found. */
#define VHD_COMPACT_ROUNDS	4U

/**
 * struct vhd_compaction - a compaction under way
 * @vhd: the device
 * @top: its image
 * @gate: writes to @block are held up at
 * @args: what is wanted, and what came of it
 * @block: that is being looked at or moved
 * @begun: when it last had time left, ms
 * @bytes: read and written since
 * @ret: of the work
 * @work: what no signal must reach
 * @last: blocks to move
 * @move: the plan
 * @probe: the plan
 * @tidy: the plan that cuts
 * @bounce: for that
 * @buf: for the others, VHD_COMPACT_PIECE
 */
struct vhd_compaction {
	struct vhd_device *vhd;
	struct vhd_layer *top;
	struct vhd_gate gate;
	struct vhd_compact_args *args;
	u32 block;
	u64 begun;
	u64 bytes;
	int ret;
	struct work_struct work;
	struct vhd_last last;
	struct vhd_move move;
	struct vhd_probe probe;
	struct vhd_tidy tidy;
	void *bounce;
	void *buf;
};

/* ---- one block --------------------------------------------------------- */

static int vhd_compact_work(struct vhd_compaction *c, work_func_t func)
{
	INIT_WORK(&c->work, func);
	queue_work(c->vhd->wq, &c->work);
	flush_work(&c->work);
	return c->ret;
}

/* A plan that may run beside others, but not while the file is cut. */
static int vhd_compact_plan(struct vhd_compaction *c, struct vhd_plan *plan)
{
	int ret;

	down_read(&c->vhd->wb.shape);
	ret = vhd_backing_run(&c->top->backing, plan, NULL, NULL);
	up_read(&c->vhd->wb.shape);
	return ret;
}

/* What the image has of the block, as one run if it is one. */
static int vhd_compact_map(struct vhd_compaction *c, u32 *sectors,
			   struct vhd_extent *ext)
{
	struct vhd_image *img = &c->top->img;
	u64 first = (u64)c->block * vhd_block_sectors(img);
	struct vhd_hold hold = { };
	int ret;

	*sectors = min_t(u64, (img->size >> SECTOR_SHIFT) - first,
			 vhd_block_sectors(img));
	for (;;) {
		vhd_map_read(img, first, *sectors, &hold, ext);
		/* Nobody writes to it: it stays as it is. */
		vhd_map_done(img, &hold, 0);
		if (ext->kind != VHD_MAP_BITMAP)
			return 0;
		ret = vhd_load_bitmap(c->top, first);
		if (ret)
			return ret;
	}
}

/* Does the device show the same without the block?  1: yes. */
static int vhd_compact_empty(struct vhd_compaction *c)
{
	struct vhd_image *img = &c->top->img;
	struct vhd_extent ext = { };
	u32 sectors;
	int ret;

	ret = vhd_compact_map(c, &sectors, &ext);
	if (ret)
		return ret;
	if (ext.kind != VHD_MAP_DATA && ext.sectors == sectors)
		return 1;
	/* The parent may have something else there. */
	if (img->type != VHD_TYPE_DYNAMIC)
		return 0;
	vhd_probe_init(&c->probe, img, c->block,
		       c->args->flags & VHD_COMPACT_ZERO, c->buf,
		       VHD_COMPACT_PIECE);
	ret = vhd_compact_plan(c, &c->probe.plan);
	c->bytes += c->probe.done;
	return ret ?: c->probe.zero;
}

static void vhd_compact_drop_work(struct work_struct *work)
{
	struct vhd_compaction *c = container_of(work, struct vhd_compaction,
						work);

	c->ret = READ_ONCE(c->top->img.failed) ?: vhd_compact_empty(c);
	if (c->ret <= 0)
		return;
	c->ret = vhd_drop_block(&c->top->img, c->block);
	if (c->ret <= 0)
		return;
	c->args->dropped++;
	vhd_writeback_dirtied(c->vhd);
	c->ret = 0;
}

/* 1: it does not move, nor do those before it. */
static void vhd_compact_move_work(struct work_struct *work)
{
	struct vhd_compaction *c = container_of(work, struct vhd_compaction,
						work);

	switch (vhd_move_init(&c->move, &c->top->img, c->block, c->buf,
			      VHD_COMPACT_PIECE)) {
	case VHD_MOVE_READY:
		break;
	case VHD_MOVE_COMMIT:
		c->ret = -EAGAIN;
		return;
	case VHD_MOVE_NOT:
		c->ret = 1;
		return;
	default:
		c->ret = -ENOMEM;
		return;
	}
	c->ret = vhd_compact_plan(c, &c->move.plan);
	/* They were read, too. */
	c->bytes += 2 * c->move.copied;
	if (c->ret)
		return;
	c->args->moved++;
	vhd_writeback_dirtied(c->vhd);
}

/*
 * With writes to the block held up.  What waits for a commit gets one, and nothing
 * new comes meanwhile.
 */
static int vhd_compact_block(struct vhd_compaction *c, u32 block,
			     work_func_t func)
{
	u64 first = (u64)block * vhd_block_sectors(&c->top->img);
	unsigned int tries;
	int ret;

	c->block = block;
	ret = vhd_gate_close(&c->gate, first,
			     first + vhd_block_sectors(&c->top->img));
	for (tries = 0; !ret && tries < VHD_COMPACT_TRIES; tries++) {
		ret = vhd_compact_work(c, func);
		if (ret != -EAGAIN)
			break;
		ret = vhd_writeback_sync(c->vhd);
	}
	vhd_gate_open(&c->gate);
	return ret;
}

/* What was read and written takes its time; who was slow need not hurry later. */
static void vhd_compact_pace(struct vhd_compaction *c)
{
	u64 now = div_u64(ktime_get_ns(), NSEC_PER_MSEC), due;

	if (!c->args->rate)
		return;
	due = c->begun + div64_u64(c->bytes, max(c->args->rate / 1000, 1ULL));
	if (due > now) {
		schedule_timeout_interruptible(msecs_to_jiffies(min_t(u64,
				due - now, MSEC_PER_SEC * 3600)));
		return;
	}
	c->begun = now;
	c->bytes = 0;
}

/* Between two blocks. */
static int vhd_compact_between(struct vhd_compaction *c)
{
	u32 left = READ_ONCE(c->vhd->compact_left);

	if (left)
		WRITE_ONCE(c->vhd->compact_left, left - 1);
	vhd_compact_pace(c);
	cond_resched();
	return signal_pending(current) ? -EINTR : 0;
}

/* ---- all of them ------------------------------------------------------- */

static int vhd_compact_drop(struct vhd_compaction *c)
{
	struct vhd_image *img = &c->top->img;
	u32 block;
	int ret = 0;

	for (block = 0; block < img->nr_blocks && !ret; block++) {
		if (READ_ONCE(img->bat[block]) >= VHD_BAT_BAD)
			continue;
		ret = vhd_compact_block(c, block, vhd_compact_drop_work);
		if (!ret)
			ret = vhd_compact_between(c);
	}
	return ret;
}

/* Everything so far is durable, and what was left is free. */
static int vhd_compact_settle(struct vhd_compaction *c)
{
	int ret = vhd_writeback_sync(c->vhd);

	if (!ret)
		ret = vhd_reclaim_wait(c->vhd);
	if (!ret)
		vhd_writeback_punch(c->vhd);
	return ret;
}

/* As many as were found to be the last.  1: there is none that moves. */
static int vhd_compact_batch(struct vhd_compaction *c)
{
	u32 moved = c->args->moved, i;
	int ret = 0;

	vhd_last_find(&c->last, &c->top->img);
	if (!c->last.nr)
		return 1;
	for (i = 0; i < c->last.nr && !ret; i++) {
		ret = vhd_compact_block(c, vhd_last_block(&c->last, i),
					vhd_compact_move_work);
		if (!ret)
			ret = vhd_compact_between(c);
	}
	return ret ?: c->args->moved == moved;
}

static int vhd_compact_move(struct vhd_compaction *c)
{
	int ret;

	do
		ret = vhd_compact_batch(c);
	while (!ret);
	return ret < 0 ? ret : 0;
}

static void vhd_compact_cut_work(struct work_struct *work)
{
	struct vhd_compaction *c = container_of(work, struct vhd_compaction,
						work);

	down_write(&c->vhd->wb.shape);
	vhd_tidy_live_init(&c->tidy, &c->top->img);
	c->ret = vhd_backing_run(&c->top->backing, &c->tidy.plan, c->bounce, NULL);
	up_write(&c->vhd->wb.shape);
	vhd_writeback_freed(c->vhd);
}

/* How many there may be to move, for who watches. */
static void vhd_compact_count(struct vhd_compaction *c)
{
	struct vhd_image *img = &c->top->img;
	u32 nr = min(vhd_space_free_slots(img), READ_ONCE(img->nr_allocated));
	u32 done = READ_ONCE(c->vhd->compact_total) -
		   READ_ONCE(c->vhd->compact_left);

	WRITE_ONCE(c->vhd->compact_total, done + nr);
	WRITE_ONCE(c->vhd->compact_left, nr);
}

static int vhd_compact_run(struct vhd_compaction *c)
{
	unsigned int round = 0;
	u32 moved;
	int ret;

	ret = vhd_compact_drop(c);
	if (!ret)
		ret = vhd_compact_settle(c);
	vhd_compact_count(c);
	do {
		moved = c->args->moved;
		if (!ret)
			ret = vhd_compact_move(c);
		if (!ret)
			ret = vhd_compact_settle(c);
		if (!ret)
			ret = vhd_compact_work(c, vhd_compact_cut_work);
		trace_vhd_compact(c->vhd, c->args->dropped, c->args->moved,
				  ret);
	} while (!ret && c->args->moved != moved &&
		 ++round < VHD_COMPACT_ROUNDS);
	return ret;
}

/* ---- the whole --------------------------------------------------------- */

static void vhd_compact_free(struct vhd_compaction *c)
{
	vhd_backing_buf_free(c->buf, VHD_COMPACT_PIECE);
	vhd_backing_buf_free(c->bounce, VHD_BOUNCE_SIZE);
	kvfree(c);
}

static struct vhd_compaction *vhd_compact_alloc(struct vhd_device *vhd,
						struct vhd_compact_args *args)
{
	struct vhd_compaction *c = kvzalloc(sizeof(*c), GFP_KERNEL);

	if (!c)
		return NULL;
	c->vhd = vhd;
	c->top = vhd->top;
	c->args = args;
	c->begun = div_u64(ktime_get_ns(), NSEC_PER_MSEC);
	vhd_gate_init(&c->gate, "compacting", NULL);
	c->bounce = vhd_backing_buf_alloc(VHD_BOUNCE_SIZE, GFP_KERNEL);
	c->buf = vhd_backing_buf_alloc(VHD_COMPACT_PIECE, GFP_KERNEL);
	if (c->bounce && c->buf)
		return c;
	vhd_compact_free(c);
	return NULL;
}

static int vhd_compact_refused(struct vhd_device *vhd)
{
	const struct vhd_image *img = &vhd->top->img;

	if (!img->writable || get_disk_ro(vhd->disk))
		return -EROFS;
	if (READ_ONCE(img->failed))
		return img->failed;
	return img->bat ? 0 : -EOPNOTSUPP;
}

static struct vhd_compaction *vhd_compact_start(struct vhd_device *vhd,
						struct vhd_compact_args *args)
{
	struct vhd_compaction *c;
	int ret;

	lockdep_assert_held(&vhd->set_lock);
	if (vhd->gate)
		return ERR_PTR(vhd->gate->ops ? -EINPROGRESS : -EALREADY);
	ret = vhd_compact_refused(vhd);
	if (ret)
		return ERR_PTR(ret);
	c = vhd_compact_alloc(vhd, args);
	if (!c)
		return ERR_PTR(-ENOMEM);
	WRITE_ONCE(vhd->compact_total, READ_ONCE(c->top->img.nr_allocated));
	WRITE_ONCE(vhd->compact_left, vhd->compact_total);
	vhd_gate_install(vhd, &c->gate);
	return c;
}

static void vhd_compact_stop(struct vhd_compaction *c, int error)
{
	struct vhd_device *vhd = c->vhd;

	vhd_info(vhd, "compacted, %u blocks dropped, %u moved (%d)\n",
		 c->args->dropped, c->args->moved, error);
	mutex_lock(&vhd->set_lock);
	vhd_gate_install(vhd, NULL);
	WRITE_ONCE(vhd->compact_total, 0);
	WRITE_ONCE(vhd->compact_left, 0);
	mutex_unlock(&vhd->set_lock);
	vhd_compact_free(c);
}

static int vhd_compact(struct vhd_device *vhd, struct vhd_compact_args *args)
{
	unsigned int noio = memalloc_noio_save();
	struct vhd_compaction *c;
	int ret;

	mutex_lock(&vhd->set_lock);
	c = vhd_compact_start(vhd, args);
	mutex_unlock(&vhd->set_lock);
	ret = PTR_ERR_OR_ZERO(c);
	if (!ret) {
		ret = vhd_compact_run(c);
		vhd_compact_stop(c, ret);
	}
	memalloc_noio_restore(noio);
	return ret;
}

int vhd_device_compact(struct vhd_compact_args *args)
{
	struct vhd_device *vhd = vhd_device_get(args->index);
	int ret;

	if (!vhd)
		return -ENODEV;
	ret = vhd_compact(vhd, args);
	vhd_device_put(vhd);
	return ret;
}
