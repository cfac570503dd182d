// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slots of unmapped blocks, from the commit that cleared their entries until
 * they are free.
 *
 * A request looks a block up without a lock and without leaving a trace, and may
 * still be using a place that no entry leads to any more.  So it is counted when
 * it begins: each request remembers the epoch it began in.  To free slots, a new
 * epoch is begun, and when no request of an older one is left, nobody can know
 * where they were.  That costs a request a load and a store.
 */
#include "core/unmap.h"
#include "vhd.h"

/* How soon to look again whether older requests have ended. */
#define VHD_DRAIN_INTERVAL	max(HZ / 200, 1)

struct vhd_drain {
	unsigned long epoch;
	bool busy;
};

static bool vhd_drain_look(struct request *rq, void *data)
{
	struct vhd_cmd *cmd = blk_mq_rq_to_pdu(rq);
	struct vhd_drain *drain = data;

	/* A flush uses no slot, and may itself be waiting for a commit. */
	if (req_op(rq) == REQ_OP_FLUSH ||
	    (long)(READ_ONCE(cmd->epoch) - drain->epoch) > 0)
		return true;
	drain->busy = true;
	return false;
}

/* Is there a request that began in @epoch or before? */
static bool vhd_drain_busy(struct vhd_device *vhd, unsigned long epoch)
{
	struct vhd_drain drain = { .epoch = epoch };

	blk_mq_tagset_busy_iter(&vhd->tag_set, vhd_drain_look, &drain);
	return drain.busy;
}

/*
 * Requests from now on belong to a new epoch.  A request that reads the old one
 * and is not seen by vhd_drain_busy() looks its block up after our barrier:
 * between the start of a request and the look-up there is one, llist_add() in
 * vhd_queue_rq().
 */
static void vhd_drain_begin(struct vhd_device *vhd)
{
	struct vhd_reclaim *rc = &vhd->reclaim;

	rc->layer = READ_ONCE(vhd->top);
	rc->nr = vhd_unmap_draining(&rc->layer->img);
	rc->epoch = vhd->epoch;
	WRITE_ONCE(vhd->epoch, rc->epoch + 1);
	/* pairs with llist_add() in vhd_queue_rq() */
	smp_mb();
}

static void vhd_reclaim_work(struct work_struct *work)
{
	struct vhd_device *vhd = container_of(to_delayed_work(work),
					      struct vhd_device, reclaim.work);
	struct vhd_reclaim *rc = &vhd->reclaim;

	/* A former top is finished with in another way. */
	if (!rc->nr || rc->layer != READ_ONCE(vhd->top))
		vhd_drain_begin(vhd);
	if (!rc->nr)
		return;
	if (!vhd_drain_busy(vhd, rc->epoch)) {
		vhd_unmap_release(&rc->layer->img, rc->nr);
		rc->nr = 0;
		vhd_writeback_freed(vhd);
		wake_up(&rc->quiet);
		if (!vhd_unmap_draining(&rc->layer->img))
			return;
	}
	queue_delayed_work(vhd->wq, &rc->work, VHD_DRAIN_INTERVAL);
}

void vhd_reclaim_kick(struct vhd_device *vhd)
{
	if (vhd_unmap_draining(&READ_ONCE(vhd->top)->img))
		queue_delayed_work(vhd->wq, &vhd->reclaim.work, 0);
}

int vhd_reclaim_wait(struct vhd_device *vhd)
{
	struct vhd_image *img = &vhd->top->img;
	unsigned long flags;
	u64 until;

	spin_lock_irqsave(&img->lock, flags);
	until = img->space.drained + img->space.draining.nr;
	spin_unlock_irqrestore(&img->lock, flags);
	vhd_reclaim_kick(vhd);
	return wait_event_interruptible(vhd->reclaim.quiet,
					READ_ONCE(img->space.drained) >= until) ?
	       -EINTR : 0;
}

void vhd_reclaim_init(struct vhd_device *vhd)
{
	INIT_DELAYED_WORK(&vhd->reclaim.work, vhd_reclaim_work);
	init_waitqueue_head(&vhd->reclaim.quiet);
}

void vhd_reclaim_stop(struct vhd_device *vhd)
{
	cancel_delayed_work_sync(&vhd->reclaim.work);
	/* Whose slots they are may be gone before it begins again. */
	vhd->reclaim.nr = 0;
}
