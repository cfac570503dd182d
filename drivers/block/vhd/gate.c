// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gate that requests pass while a device is changed under them.
 *
 * Requests are let pass by vhd_gate_begin() and tell vhd_gate_end().  Whoever
 * changes the device holds writes to a range of sectors up, or all requests, and
 * waits for those under way; a frozen queue would hold up all of them, and nothing
 * that does file I/O may be waited for then.  Held requests hold no slot, and
 * nothing that the one behind the gate waits for waits for them.
 */
#include <linux/blk-mq.h>
#include <linux/wait.h>

#include "vhd.h"

static bool vhd_gate_is_write(const struct request *rq)
{
	return op_is_write(req_op(rq));
}

static bool vhd_gate_overlaps(struct request *rq, u64 first, u64 end)
{
	return blk_rq_pos(rq) < end &&
	       blk_rq_pos(rq) + blk_rq_sectors(rq) > first;
}

static bool vhd_gate_holds(struct vhd_gate *g, struct request *rq)
{
	if (g->closed)
		return true;
	if (!vhd_gate_is_write(rq))
		return false;
	return vhd_gate_overlaps(rq, g->first, g->end) ||
	       (g->ops && g->ops->holds(g));
}

bool vhd_gate_begin(struct vhd_gate *g, struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	unsigned long flags;
	bool held;

	/* It concerns no sector, and neither image more than the other. */
	if (req_op(rq) == REQ_OP_FLUSH)
		return true;
	spin_lock_irqsave(&g->lock, flags);
	held = vhd_gate_holds(g, rq);
	if (held) {
		list_add_tail(&cmd->wait, &g->held);
	} else if (vhd_gate_is_write(rq)) {
		list_add(&cmd->passed, &g->writes);
		if (g->ops)
			g->ops->passed(g, rq);
	} else {
		list_add(&cmd->passed, &g->reads);
	}
	cmd->gated = !held;
	spin_unlock_irqrestore(&g->lock, flags);
	return !held;
}

/* The write's bits are set, and its data are where they belong. */
void vhd_gate_end(struct vhd_gate *g, struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	unsigned long flags;

	cmd->gated = false;
	spin_lock_irqsave(&g->lock, flags);
	list_del(&cmd->passed);
	if (g->ops && vhd_gate_is_write(rq))
		g->ops->ended(g, rq);
	/* Under the lock: the change goes on, and may end, when this is done. */
	if (waitqueue_active(&g->quiet))
		wake_up(&g->quiet);
	spin_unlock_irqrestore(&g->lock, flags);
}

static bool vhd_gate_is_quiet(struct vhd_gate *g)
{
	struct vhd_cmd *cmd;
	bool quiet = true;

	spin_lock_irq(&g->lock);
	if (g->closed)
		quiet = list_empty(&g->reads);
	list_for_each_entry(cmd, &g->writes, passed)
		quiet &= !vhd_gate_overlaps(blk_mq_rq_from_pdu(cmd), g->first,
					    g->end);
	spin_unlock_irq(&g->lock);
	return quiet;
}

int vhd_gate_close(struct vhd_gate *g, u64 first, u64 end)
{
	spin_lock_irq(&g->lock);
	g->first = first;
	g->end = end;
	spin_unlock_irq(&g->lock);
	return wait_event_interruptible(g->quiet, vhd_gate_is_quiet(g)) ?
	       -EINTR : 0;
}

void vhd_gate_close_all(struct vhd_gate *g)
{
	spin_lock_irq(&g->lock);
	g->closed = true;
	spin_unlock_irq(&g->lock);
	wait_event(g->quiet, vhd_gate_is_quiet(g));
}

void vhd_gate_open(struct vhd_gate *g)
{
	struct vhd_cmd *cmd, *next;
	LIST_HEAD(held);

	spin_lock_irq(&g->lock);
	g->first = 0;
	g->end = 0;
	g->closed = false;
	list_splice_init(&g->held, &held);
	spin_unlock_irq(&g->lock);
	list_for_each_entry_safe(cmd, next, &held, wait) {
		list_del(&cmd->wait);
		if (vhd_gate_begin(g, cmd))
			vhd_cmd_slow(cmd);
	}
}

void vhd_gate_init(struct vhd_gate *g, const char *state,
		   const struct vhd_gate_ops *ops)
{
	g->state = state;
	g->ops = ops;
	spin_lock_init(&g->lock);
	INIT_LIST_HEAD(&g->held);
	INIT_LIST_HEAD(&g->reads);
	INIT_LIST_HEAD(&g->writes);
	init_waitqueue_head(&g->quiet);
}

void vhd_gate_install(struct vhd_device *vhd, struct vhd_gate *g)
{
	unsigned int flags;

	lockdep_assert_held(&vhd->set_lock);
	flags = vhd_freeze_queue(vhd->disk->queue);
	mutex_lock(&vhd->lock);
	WRITE_ONCE(vhd->gate, g);
	mutex_unlock(&vhd->lock);
	vhd_unfreeze_queue(vhd->disk->queue, flags);
}
