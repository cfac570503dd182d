// SPDX-License-Identifier: GPL-2.0-only
/*
 * Background work: commits, and growth ahead of need.
 *
 * One work commits, one grows; each is its own lock for the plan it runs.
 * Requests that wait are on lists under wb->lock and are taken off by the work
 * before it begins, so that what a request waits for begins after it came.
 *
 * When the machine is about to be suspended, only what a request waits for is
 * begun.  Workqueues are frozen together with the threads of the file system
 * below: a work that then waits for such a thread would make the suspend fail.
 * Who waits for a request is frozen first, and that waits for the request.
 */
#include <linux/slab.h>

#include "trace.h"
#include "vhd.h"

/* Metadata is committed at least so often, flush or not. */
#define VHD_COMMIT_INTERVAL	HZ

static struct vhd_cmd *vhd_first_waiter(struct list_head *list)
{
	struct vhd_cmd *cmd;

	cmd = list_first_entry_or_null(list, struct vhd_cmd, wait);
	if (cmd)
		list_del(&cmd->wait);
	return cmd;
}

static void vhd_end_waiters(struct list_head *list, int error)
{
	struct vhd_cmd *cmd;

	while ((cmd = vhd_first_waiter(list)))
		vhd_cmd_end(cmd, error);
}

/* Who has seen its flush end finds it counted. */
static void vhd_end_flushes(struct vhd_writeback *wb, struct list_head *list,
			    int error)
{
	struct vhd_cmd *cmd;

	while ((cmd = vhd_first_waiter(list))) {
		WRITE_ONCE(wb->nr_flushes, wb->nr_flushes + 1);
		vhd_cmd_end(cmd, error);
	}
}

/* What they waited for has come: they go on; or it has failed, and they. */
static void vhd_resume_waiters(struct list_head *list, int error)
{
	struct vhd_cmd *cmd;

	if (error) {
		vhd_end_waiters(list, error);
		return;
	}
	while ((cmd = vhd_first_waiter(list)))
		vhd_cmd_slow(cmd);
}

static void vhd_writeback_wait(struct vhd_device *vhd, struct list_head *list,
			       struct vhd_cmd *cmd, struct work_struct *work)
{
	unsigned long flags;

	spin_lock_irqsave(&vhd->wb.lock, flags);
	list_add_tail(&cmd->wait, list);
	spin_unlock_irqrestore(&vhd->wb.lock, flags);
	queue_work(vhd->wq, work);
}

void vhd_writeback_flush(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	vhd_writeback_wait(vhd, &vhd->wb.flushes, cmd, &vhd->wb.commit_work);
}

void vhd_writeback_wait_commit(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	vhd_writeback_wait(vhd, &vhd->wb.commit_waiters, cmd,
			   &vhd->wb.commit_work);
}

void vhd_writeback_wait_space(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	vhd_writeback_wait(vhd, &vhd->wb.space_waiters, cmd,
			   &vhd->wb.grow_work);
}

/* ---- commit ------------------------------------------------------------- */

static void vhd_want_commit(struct vhd_device *vhd)
{
	unsigned long flags;

	spin_lock_irqsave(&vhd->wb.lock, flags);
	vhd->wb.commit_wanted = true;
	spin_unlock_irqrestore(&vhd->wb.lock, flags);
	queue_work(vhd->wq, &vhd->wb.commit_work);
}

void vhd_writeback_dirtied(struct vhd_device *vhd)
{
	if (vhd_commit_due(&READ_ONCE(vhd->top)->img) &&
	    !work_pending(&vhd->wb.commit_work) && !vhd_is_suspended())
		vhd_want_commit(vhd);
	else if (!delayed_work_pending(&vhd->wb.timer))
		queue_delayed_work(vhd->wq, &vhd->wb.timer,
				   VHD_COMMIT_INTERVAL);
}

static void vhd_timer_work(struct work_struct *work)
{
	struct vhd_device *vhd = container_of(to_delayed_work(work),
					      struct vhd_device, wb.timer);

	if (vhd_is_suspended())
		vhd_writeback_dirtied(vhd);
	else
		vhd_want_commit(vhd);
}

/* Does somebody want a commit?  Takes the waiters of the next one. */
static bool vhd_take_waiters(struct vhd_writeback *wb,
			     struct list_head *flushes,
			     struct list_head *writes)
{
	bool wanted;

	spin_lock_irq(&wb->lock);
	list_splice_tail_init(&wb->flushes, flushes);
	list_splice_tail_init(&wb->commit_waiters, writes);
	wanted = wb->commit_wanted || !list_empty(flushes) ||
		 !list_empty(writes);
	wb->commit_wanted = false;
	spin_unlock_irq(&wb->lock);
	return wanted;
}

static void vhd_tell_failure(struct vhd_device *vhd, int err)
{
	if (!READ_ONCE(READ_ONCE(vhd->top)->img.failed))
		return;
	/* The commit work and the grow work may come at the same time. */
	if (xchg(&vhd->wb.failure_told, true))
		return;
	pr_err("vhd%d: flush of the backing file failed (%d): writes fail from now on, the image is at its last commit\n",
	       vhd->index, err);
}

static int vhd_commit_layer(struct vhd_device *vhd, struct vhd_layer *layer)
{
	struct vhd_commit *c = &layer->commit;
	int err;

	/* Some file systems that only read cannot even flush. */
	if (!layer->img.writable)
		return 0;
	vhd_commit_begin(c);
	err = vhd_backing_run(&layer->backing, &c->plan, NULL,
			      &vhd->wb.commit_posts);
	trace_vhd_commit(vhd, c->nr_taken, c->nr_bitmaps, err);
	return err;
}

/* What the top is written over must be durable first. */
static int vhd_commit(struct vhd_device *vhd)
{
	struct vhd_writeback *wb = &vhd->wb;
	struct vhd_layer *top, *retiring;
	int err = 0;

	spin_lock_irq(&wb->lock);
	top = vhd->top;
	retiring = wb->retiring;
	spin_unlock_irq(&wb->lock);
	if (retiring) {
		err = vhd_commit_layer(vhd, retiring);
		if (READ_ONCE(retiring->img.failed))
			vhd_image_fail(&top->img, err);
	}
	if (!err)
		err = vhd_commit_layer(vhd, top);
	if (err)
		vhd_tell_failure(vhd, err);
	if (err && !READ_ONCE(top->img.failed)) {
		vhd_err(vhd, "writing metadata failed (%d), to be tried again\n",
			err);
		vhd_writeback_dirtied(vhd);
	}
	if (!err)
		vhd_reclaim_kick(vhd);
	WRITE_ONCE(wb->commit_error, err);
	return err;
}

static void vhd_commit_work(struct work_struct *work)
{
	struct vhd_device *vhd = container_of(work, struct vhd_device,
					      wb.commit_work);
	LIST_HEAD(flushes);
	LIST_HEAD(writes);
	int err;

	while (vhd_take_waiters(&vhd->wb, &flushes, &writes)) {
		down_read(&vhd->wb.shape);
		err = vhd_commit(vhd);
		up_read(&vhd->wb.shape);
		vhd_end_flushes(&vhd->wb, &flushes, err);
		vhd_resume_waiters(&writes, err);
	}
}

int vhd_writeback_sync(struct vhd_device *vhd)
{
	vhd_want_commit(vhd);
	flush_work(&vhd->wb.commit_work);
	return READ_ONCE(vhd->wb.commit_error);
}

/* ---- growth --------------------------------------------------------------- */

static int vhd_grow(struct vhd_device *vhd)
{
	struct vhd_writeback *wb = &vhd->wb;
	struct vhd_layer *top = READ_ONCE(vhd->top);
	int err;

	down_read(&wb->shape);
	vhd_prepare_init(&wb->prepare, &top->img);
	err = vhd_backing_run(&top->backing, &wb->prepare.plan,
			      wb->grow_bounce, &wb->grow_posts);
	up_read(&wb->shape);
	trace_vhd_grow(vhd, top->img.space.tail, err);
	if (err)
		vhd_tell_failure(vhd, err);
	return err;
}

static bool vhd_may_punch(struct vhd_device *vhd)
{
	struct vhd_layer *top = READ_ONCE(vhd->top);

	return top->backing.punches && vhd_unmap_freed(&top->img);
}

/* Give back the space of some freed slots. */
static int vhd_punch(struct vhd_device *vhd)
{
	struct vhd_layer *top = READ_ONCE(vhd->top);
	struct vhd_writeback *wb = &vhd->wb;
	int err;

	down_read(&wb->shape);
	vhd_punch_init(&wb->punch, &top->img);
	err = vhd_backing_run(&top->backing, &wb->punch.plan, wb->grow_bounce,
			      NULL);
	up_read(&wb->shape);
	return err;
}

/* Ahead of need only where somebody writes, not after a discard. */
static bool vhd_take_grow_wanted(struct vhd_device *vhd)
{
	bool wanted = READ_ONCE(vhd->wb.grow_wanted);

	if (vhd_is_suspended())
		return false;
	WRITE_ONCE(vhd->wb.grow_wanted, false);
	return wanted && vhd_space_low(&READ_ONCE(vhd->top)->img);
}

static void vhd_grow_work(struct work_struct *work)
{
	struct vhd_device *vhd = container_of(work, struct vhd_device,
					      wb.grow_work);
	LIST_HEAD(waiters);
	int err = 0;

	do {
		spin_lock_irq(&vhd->wb.lock);
		list_splice_tail_init(&vhd->wb.space_waiters, &waiters);
		spin_unlock_irq(&vhd->wb.lock);
		if (list_empty(&waiters) && !vhd_take_grow_wanted(vhd))
			break;
		err = vhd_grow(vhd);
		vhd_resume_waiters(&waiters, err);
	} while (!err);
	if (err || vhd_is_suspended())
		return;
	/* One piece at a time: somebody may be waiting for space. */
	if (vhd_may_punch(vhd) && !vhd_punch(vhd) && vhd_may_punch(vhd))
		queue_work(vhd->wq, &vhd->wb.grow_work);
}

void vhd_writeback_freed(struct vhd_device *vhd)
{
	if (vhd_may_punch(vhd))
		queue_work(vhd->wq, &vhd->wb.grow_work);
}

/* Of more than so many slots somebody goes on giving blocks back. */
#define VHD_PUNCH_ROUNDS	64

void vhd_writeback_punch(struct vhd_device *vhd)
{
	unsigned int i;

	flush_work(&vhd->wb.grow_work);
	for (i = 0; i < VHD_PUNCH_ROUNDS && vhd_may_punch(vhd) &&
	     !READ_ONCE(vhd->top->img.failed); i++) {
		queue_work(vhd->wq, &vhd->wb.grow_work);
		flush_work(&vhd->wb.grow_work);
	}
}

void vhd_writeback_grow(struct vhd_device *vhd)
{
	if (!vhd_space_low(&vhd->top->img))
		return;
	WRITE_ONCE(vhd->wb.grow_wanted, true);
	queue_work(vhd->wq, &vhd->wb.grow_work);
}

void vhd_writeback_wait_grown(struct vhd_device *vhd)
{
	flush_work(&vhd->wb.grow_work);
}

void vhd_writeback_resume(struct vhd_device *vhd)
{
	queue_work(vhd->wq, &vhd->wb.grow_work);
}

/* ---- a device's life -------------------------------------------------------- */

int vhd_writeback_init(struct vhd_device *vhd)
{
	struct vhd_writeback *wb = &vhd->wb;

	spin_lock_init(&wb->lock);
	init_rwsem(&wb->shape);
	INIT_LIST_HEAD(&wb->flushes);
	INIT_LIST_HEAD(&wb->commit_waiters);
	INIT_LIST_HEAD(&wb->space_waiters);
	INIT_WORK(&wb->commit_work, vhd_commit_work);
	INIT_DELAYED_WORK(&wb->timer, vhd_timer_work);
	INIT_WORK(&wb->grow_work, vhd_grow_work);
	vhd_reclaim_init(vhd);
	wb->grow_bounce = vhd_backing_buf_alloc(VHD_BOUNCE_SIZE, GFP_KERNEL);
	if (!wb->grow_bounce)
		return -ENOMEM;
	return vhd_posts_alloc(&wb->commit_posts) ?:
	       vhd_posts_alloc(&wb->grow_posts);
}

void vhd_writeback_stop(struct vhd_device *vhd)
{
	cancel_delayed_work_sync(&vhd->wb.timer);
	cancel_work_sync(&vhd->wb.grow_work);
	flush_work(&vhd->wb.commit_work);
	cancel_delayed_work_sync(&vhd->wb.timer);
	vhd_reclaim_stop(vhd);
	cancel_work_sync(&vhd->wb.grow_work);
}

void vhd_writeback_free(struct vhd_device *vhd)
{
	vhd_posts_free(&vhd->wb.commit_posts);
	vhd_posts_free(&vhd->wb.grow_posts);
	vhd_backing_buf_free(vhd->wb.grow_bounce, VHD_BOUNCE_SIZE);
}

static int vhd_tidy_layer(struct vhd_layer *layer, void *bounce)
{
	struct vhd_tidy tidy;

	vhd_tidy_init(&tidy, &layer->img);
	return vhd_backing_run(&layer->backing, &tidy.plan, bounce, NULL);
}

int vhd_writeback_tidy(struct vhd_device *vhd)
{
	int err = 0;

	if (vhd->wb.retiring)
		err = vhd_tidy_layer(vhd->wb.retiring, vhd->wb.grow_bounce);
	return err ?: vhd_tidy_layer(vhd->top, vhd->wb.grow_bounce);
}

int vhd_writeback_retire(struct vhd_device *vhd)
{
	struct vhd_writeback *wb = &vhd->wb;
	struct vhd_layer *layer = wb->retiring;
	unsigned long flags;
	void *bounce;
	int err;

	if (!layer)
		return 0;
	bounce = vhd_backing_buf_alloc(VHD_BOUNCE_SIZE, GFP_NOIO);
	if (!bounce)
		return -ENOMEM;
	err = vhd_writeback_sync(vhd);
	if (err)
		goto out;
	/* No work may be at it still when it is made tight. */
	vhd_reclaim_stop(vhd);
	flush_work(&wb->grow_work);
	spin_lock_irq(&wb->lock);
	wb->retiring = NULL;
	spin_unlock_irq(&wb->lock);
	flush_work(&wb->commit_work);
	if (vhd_tidy_layer(layer, bounce))
		vhd_err(vhd, "%pD: could not be made tight\n",
			layer->backing.file);
	spin_lock_irqsave(&layer->img.lock, flags);
	layer->img.writable = false;
	spin_unlock_irqrestore(&layer->img.lock, flags);
	vhd_backing_demote(&layer->backing);
out:
	vhd_backing_buf_free(bounce, VHD_BOUNCE_SIZE);
	return err;
}
