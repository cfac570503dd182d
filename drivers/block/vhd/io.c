// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests.
 *
 * queue_rq only queues: file I/O from inside it runs on the submitter's stack,
 * plug and journal handle, and loses data that way.  (What takes the fast lane,
 * fastlane.c, is no file I/O.)  Each hardware queue has a worker, a thread that
 * takes the whole list at once; it does what needs no waiting: reads and writes
 * of blocks whose place is known, or can be made at once.  The rest goes on in a
 * workqueue, where it may wait.
 *
 * A request is transferred as runs of sectors that are of one kind, a run in
 * one or several parts (kiocbs), one part at a time.  Nearly always that is one
 * run and one part.  When memory for the copy of a request's bvecs cannot be
 * had, every bio is a part: slower, but that allocation is never waited for.
 * Where memory cannot be done without, for a bitmap or by the file system below,
 * the request is tried again after a while: none fails for want of memory.
 */
#include <linux/blk-cgroup.h>
#include <linux/blk-mq.h>
#include <linux/bvec.h>
#include <linux/delay.h>
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "core/bitmap.h"
#include "trace.h"
#include "vhd.h"

static struct vhd_device *vhd_cmd_device(struct vhd_cmd *cmd)
{
	return blk_mq_rq_from_pdu(cmd)->q->queuedata;
}

static bool vhd_cmd_is_write(struct vhd_cmd *cmd)
{
	return op_is_write(req_op(blk_mq_rq_from_pdu(cmd)));
}

/* ---- the end of a request -------------------------------------------- */

void vhd_cmd_end(struct vhd_cmd *cmd, int error)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	struct vhd_device *vhd = vhd_cmd_device(cmd);

	cmd->error = error;
	if (error)
		trace_vhd_error(vhd, (__force u32)req_op(rq), blk_rq_pos(rq), error);
	if (vhd_chain_map_done(&cmd->hold, error))
		vhd_writeback_dirtied(vhd);
	if (unlikely(cmd->gated))
		vhd_gate_end(vhd->gate, cmd);
	if (likely(!blk_should_fake_timeout(rq->q)))
		blk_mq_complete_request(rq);
}

static void vhd_complete_rq(struct request *rq)
{
	struct vhd_queue *hq = rq->mq_hctx->driver_data;
	struct vhd_cmd *cmd = blk_mq_rq_to_pdu(rq);

	kfree(cmd->bvecs);
	cmd->bvecs = NULL;
	if (READ_ONCE(hq->latest) == cmd)
		WRITE_ONCE(hq->latest, NULL);
	blk_mq_end_request(rq, errno_to_blk_status(cmd->error));
}

/* ---- transfers -------------------------------------------------------- */

/*
 * A copy of the request's bvecs as one array, behind that of the lead if there is
 * to be one.  Without memory there is no array.
 */
static void vhd_copy_bvecs(struct vhd_cmd *cmd, bool lead)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	struct req_iterator iter;
	struct bio_vec bv;
	u32 n = lead;

	rq_for_each_bvec(bv, rq, iter)
		n++;
	cmd->bvecs = kmalloc_array(n, sizeof(bv), GFP_NOIO | __GFP_NOWARN);
	if (!cmd->bvecs)
		return;
	cmd->nr_bvecs = n;
	cmd->lead = lead ? VHD_ALIGN : 0;
	if (lead)
		bvec_set_page(cmd->bvecs, vhd_lead_page, VHD_ALIGN, 0);
	n = lead;
	rq_for_each_bvec(bv, rq, iter)
		cmd->bvecs[n++] = bv;
}

/*
 * The bitmap goes with the first data, if these are the first of the request, too,
 * and there is memory; or a commit writes it.
 */
static void vhd_cmd_lead(struct vhd_cmd *cmd)
{
	if (cmd->done || cmd->bvecs)
		return;
	vhd_copy_bvecs(cmd, true);
	cmd->leading = cmd->bvecs;
}

/* An iterator over one bio, from the byte @skip of it on. */
static u32 vhd_iter_bio(struct bio *bio, int dir, u32 skip,
			struct iov_iter *iter)
{
	struct bvec_iter bi;
	struct bio_vec bv;
	u32 nr = 0;

	bio_for_each_bvec(bv, bio, bi)
		nr++;
	iov_iter_bvec(iter, dir,
		      __bvec_iter_bvec(bio->bi_io_vec, bio->bi_iter), nr,
		      bio->bi_iter.bi_size);
	iter->iov_offset = vhd_bvec_offset(bio->bi_iter);
	if (unlikely(skip))
		iov_iter_advance(iter, skip);
	return bio->bi_iter.bi_size - skip;
}

/*
 * An iterator over the request from cmd->done on, over as much as one kiocb can
 * carry; with the lead, if that is to go.  Return: bytes, without it.
 */
static u32 vhd_cmd_iter(struct vhd_cmd *cmd, int dir, struct iov_iter *iter)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	u32 skip = cmd->done;
	struct bio *bio;

	if (rq->bio == rq->biotail && !cmd->bvecs)
		return vhd_iter_bio(rq->bio, dir, skip, iter);
	if (!cmd->bvecs)
		vhd_copy_bvecs(cmd, false);
	if (cmd->bvecs) {
		iov_iter_bvec(iter, dir, cmd->bvecs, cmd->nr_bvecs,
			      cmd->lead + blk_rq_bytes(rq));
		if (!cmd->leading)
			iov_iter_advance(iter, cmd->lead + skip);
		return blk_rq_bytes(rq) - skip;
	}
	for (bio = rq->bio; skip >= bio->bi_iter.bi_size; bio = bio->bi_next)
		skip -= bio->bi_iter.bi_size;
	return vhd_iter_bio(bio, dir, skip, iter);
}

/*
 * Of a part with a lead: bytes of data, or the error.  Return: false if it has not
 * come to the data.
 */
static bool vhd_lead_complete(struct vhd_cmd *cmd, long *ret)
{
	cmd->leading = false;
	if (*ret <= 0)
		return true;
	*ret -= VHD_ALIGN;
	cmd->hold.marks = *ret > 0;
	return cmd->hold.marks;
}

/* A part has been transferred, or has failed; any context. */
static void vhd_part_complete(struct kiocb *iocb, long ret)
{
	struct vhd_cmd *cmd = container_of(iocb, struct vhd_cmd, iocb);
	struct request *rq = blk_mq_rq_from_pdu(cmd);

	if (vhd_cmd_is_write(cmd))
		vhd_backing_end_write(iocb);
	if (unlikely(cmd->leading) && !vhd_lead_complete(cmd, &ret)) {
		vhd_cmd_slow(cmd);
		return;
	}
	/* No request fails for want of memory, whoever wanted it. */
	if (unlikely(ret == -ENOMEM)) {
		cmd->starved = true;
		vhd_cmd_slow(cmd);
		return;
	}
	/* Nothing transferred: the file has been cut off under us. */
	if (unlikely(ret <= 0)) {
		vhd_cmd_end(cmd, ret < 0 ? ret : -EIO);
		return;
	}
	ret = min_t(long, ret, cmd->part);
	cmd->done += ret;
	cmd->run_pos += ret;
	cmd->run_left -= ret;
	if (likely(cmd->done == blk_rq_bytes(rq)))
		vhd_cmd_end(cmd, 0);
	else
		vhd_cmd_slow(cmd);
}

/* Transfer the next part of the run in progress; a write has been started. */
static void vhd_submit_part(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	bool write = vhd_cmd_is_write(cmd);
	u32 lead = cmd->leading ? cmd->lead : 0;
	struct iov_iter iter;

	cmd->part = vhd_cmd_iter(cmd, write ? ITER_SOURCE : ITER_DEST, &iter);
	if (cmd->part > cmd->run_left) {
		cmd->part = cmd->run_left;
		iov_iter_truncate(&iter, lead + cmd->part);
	}
	cmd->iocb = (struct kiocb) {
		.ki_pos		= cmd->run_pos - lead,
		.ki_complete	= vhd_part_complete,
		.ki_ioprio	= req_get_ioprio(rq),
	};
	vhd_backing_submit(cmd->backing, &cmd->iocb, &iter, write);
}

static void vhd_submit_run(struct vhd_device *vhd, struct vhd_cmd *cmd,
			   u32 layer, u64 pos, u32 bytes)
{
	cmd->backing = &vhd->layers[layer]->backing;
	cmd->run_pos = pos;
	cmd->run_left = bytes;
	vhd_submit_part(vhd, cmd);
}

/* The next @bytes of a read are zeros. */
static void vhd_zero_run(struct vhd_cmd *cmd, u32 bytes)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	u32 start = cmd->done, end = start + bytes, at = 0, from, to;
	struct bio_vec bv, part;
	struct req_iterator iter;

	rq_for_each_segment(bv, rq, iter) {
		from = max(start, at);
		to = min(end, at + bv.bv_len);
		if (from < to) {
			part = bv;
			part.bv_offset += from - at;
			part.bv_len = to - from;
			memzero_bvec(&part);
		}
		at += bv.bv_len;
	}
	cmd->done = end;
}

/* ---- the slow way ------------------------------------------------------ */

/*
 * Put a block's sector bitmap into the cache.  The memory is small, and is
 * asked for once a block.
 */
int vhd_load_bitmap(struct vhd_layer *layer, u64 sector)
{
	struct vhd_image *img = &layer->img;
	u32 block = (sector << SECTOR_SHIFT) >> img->block_shift;
	struct vhd_bitmap *bm;
	void *buf;
	u64 pos;
	u32 len;
	int ret = -ENOMEM;

	bm = vhd_bitmap_alloc(img, block);
	if (!bm)
		return -ENOMEM;
	pos = vhd_bitmap_load_pos(img, bm, &len);
	if (!pos) {
		vhd_bitmap_add(img, bm);
		return 0;
	}
	buf = vhd_backing_buf_alloc(len, GFP_NOIO);
	if (buf)
		ret = vhd_backing_read(&layer->backing, pos, buf, len);
	if (!ret) {
		memcpy(bm->live, buf, len);
		vhd_bitmap_add(img, bm);
	} else {
		vhd_bitmap_free(bm);
	}
	vhd_backing_buf_free(buf, len);
	return ret;
}

static int vhd_map_run(struct vhd_device *vhd, struct vhd_cmd *cmd,
		       struct vhd_extent *ext)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	u64 sector = blk_rq_pos(rq) + (cmd->done >> SECTOR_SHIFT);
	u32 sectors = (blk_rq_bytes(rq) - cmd->done) >> SECTOR_SHIFT;
	int ret;

	if (!vhd_cmd_is_write(cmd)) {
		vhd_chain_map_read(&vhd->chain, sector, sectors, &cmd->hold,
				   ext);
		return 0;
	}
	ext->layer = 0;
	ret = vhd_map_write(&vhd->top->img, sector, sectors, &cmd->hold, ext);
	if (!ret)
		vhd_writeback_grow(vhd);
	return ret;
}

/* Get what a mapping lacks.  Return: 0 to go on, 1: somebody else does. */
static int vhd_slow_wait(struct vhd_device *vhd, struct vhd_cmd *cmd,
			 const struct vhd_extent *ext, u64 sector)
{
	int ret;

	switch (ext->kind) {
	case VHD_MAP_BITMAP:
		ret = vhd_load_bitmap(vhd->layers[ext->layer], sector);
		if (ret != -ENOMEM)
			return ret;
		msleep(VHD_STARVED_MS);
		return 0;
	case VHD_MAP_SPACE:
		vhd_writeback_wait_space(vhd, cmd);
		return 1;
	case VHD_MAP_COMMIT:
		vhd_writeback_wait_commit(vhd, cmd);
		return 1;
	default:
		return -EIO;
	}
}

/* One step on the slow way.  Return: 0 to go on, 1: somebody else does. */
static int vhd_slow_step(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	struct vhd_extent ext;
	int ret;

	ret = vhd_map_run(vhd, cmd, &ext);
	if (ret)
		return ret;
	switch (ext.kind) {
	case VHD_MAP_DATA:
		if (vhd_cmd_is_write(cmd)) {
			vhd_backing_start_write(&vhd->top->backing, true);
			if (ext.lead)
				vhd_cmd_lead(cmd);
		}
		vhd_submit_run(vhd, cmd, ext.layer, ext.pos,
			       ext.sectors << SECTOR_SHIFT);
		return 1;
	case VHD_MAP_ZERO:
		vhd_zero_run(cmd, ext.sectors << SECTOR_SHIFT);
		return 0;
	default:
		return vhd_slow_wait(vhd, cmd, &ext, blk_rq_pos(rq) +
				     (cmd->done >> SECTOR_SHIFT));
	}
}

/* ---- zeroing ------------------------------------------------------------ */

static bool vhd_cmd_zeroes(struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);

	return req_op(rq) == REQ_OP_DISCARD ||
	       req_op(rq) == REQ_OP_WRITE_ZEROES;
}

static unsigned int vhd_zero_flags(struct vhd_device *vhd, struct request *rq)
{
	unsigned int flags = vhd->discard ? VHD_ZERO_UNMAP : 0;

	if (req_op(rq) == REQ_OP_DISCARD)
		flags |= VHD_ZERO_DISCARD;
	return flags;
}

/*
 * Who asks a thin image not to unmap (REQ_NOUNMAP) cannot have what that is for,
 * a reservation: blocks never written have none either.  A fixed image keeps its
 * space.
 */
static bool vhd_zero_keeps(struct vhd_device *vhd, struct request *rq)
{
	return !vhd->discard ||
	       (!vhd->top->img.bat && rq->cmd_flags & REQ_NOUNMAP);
}

/* Nor does a request without data fail for want of memory: twice does no harm. */
static int vhd_zero_data(struct vhd_device *vhd, struct vhd_cmd *cmd, u64 pos,
			 u32 bytes)
{
	bool keep = vhd_zero_keeps(vhd, blk_mq_rq_from_pdu(cmd));
	struct vhd_backing *b = &vhd->top->backing;
	int ret;

	while ((ret = vhd_backing_zero(b, pos, bytes, keep)) == -ENOMEM)
		msleep(VHD_STARVED_MS);
	if (ret)
		return ret;
	if (vhd_chain_map_done(&cmd->hold, 0))
		vhd_writeback_dirtied(vhd);
	cmd->done += bytes;
	return 0;
}

/* The same as vhd_slow_step() for requests without data. */
static int vhd_zero_step(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	u64 sector = blk_rq_pos(rq) + (cmd->done >> SECTOR_SHIFT);
	struct vhd_extent ext = { };
	int ret;

	ret = vhd_map_zero(&vhd->top->img, sector,
			   (blk_rq_bytes(rq) - cmd->done) >> SECTOR_SHIFT,
			   vhd_zero_flags(vhd, rq), &cmd->hold, &ext);
	if (ret)
		return ret;
	switch (ext.kind) {
	case VHD_MAP_DATA:
		return vhd_zero_data(vhd, cmd, ext.pos,
				     ext.sectors << SECTOR_SHIFT);
	case VHD_MAP_ZERO:
		if (vhd_dirty(&vhd->top->img))
			vhd_writeback_dirtied(vhd);
		cmd->done += ext.sectors << SECTOR_SHIFT;
		cond_resched();
		return 0;
	default:
		return vhd_slow_wait(vhd, cmd, &ext, sector);
	}
}

static void vhd_slow(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	bool zeroes = vhd_cmd_zeroes(cmd);
	int ret = 0;

	if (cmd->starved) {
		cmd->starved = false;
		msleep(VHD_STARVED_MS);
	}
	if (cmd->run_left) {
		if (vhd_cmd_is_write(cmd))
			vhd_backing_start_write(&vhd->top->backing, true);
		vhd_submit_part(vhd, cmd);
		return;
	}
	while (!ret && cmd->done < blk_rq_bytes(rq))
		ret = zeroes ? vhd_zero_step(vhd, cmd) :
			       vhd_slow_step(vhd, cmd);
	if (ret <= 0)
		vhd_cmd_end(cmd, ret);
}

/* ---- on whose account --------------------------------------------------- */

#ifdef CONFIG_BLK_CGROUP
static bool vhd_charge(struct request *rq)
{
	struct cgroup_subsys_state *css;

	if (!rq->bio)
		return false;
	css = bio_blkcg_css(rq->bio);
	if (!css || css == blkcg_root_css)
		return false;
	kthread_associate_blkcg(css);
	return true;
}

static void vhd_uncharge(bool charged)
{
	if (charged)
		kthread_associate_blkcg(NULL);
}
#else
static bool vhd_charge(struct request *rq)
{
	return false;
}

static void vhd_uncharge(bool charged)
{
}
#endif

/* In a workqueue, as a worker has it for ever.  Return: for vhd_work_end(). */
static unsigned int vhd_work_begin(void)
{
	unsigned int old = current->flags;

	current->flags |= PF_LOCAL_THROTTLE | PF_MEMALLOC_NOIO;
	return old;
}

static void vhd_work_end(unsigned int old)
{
	current_restore_flags(old, PF_LOCAL_THROTTLE | PF_MEMALLOC_NOIO);
}

static void vhd_slow_work(struct work_struct *work)
{
	struct vhd_cmd *cmd = container_of(work, struct vhd_cmd, work);
	bool charged = vhd_charge(blk_mq_rq_from_pdu(cmd));
	unsigned int flags = vhd_work_begin();

	vhd_slow(vhd_cmd_device(cmd), cmd);
	vhd_work_end(flags);
	vhd_uncharge(charged);
}

void vhd_cmd_slow(struct vhd_cmd *cmd)
{
	struct vhd_device *vhd = vhd_cmd_device(cmd);

	INIT_WORK(&cmd->work, vhd_slow_work);
	queue_work(vhd_cmd_is_write(cmd) ? vhd->write_wq : vhd->wq, &cmd->work);
}

/* ---- the worker of a hardware queue -------------------------------------- */

/* The block layer lets writes from inside the kernel pass to any disk. */
static bool vhd_may_write(struct vhd_device *vhd)
{
	return vhd->top->img.writable && !READ_ONCE(vhd->top->img.failed) &&
	       !get_disk_ro(vhd->disk);
}

/*
 * A read that is one run and needs no bitmap that is not there need not go to a
 * workqueue.  If it must, it keeps what it holds.
 */
static bool vhd_read_known(struct vhd_device *vhd, struct request *rq,
			   struct vhd_cmd *cmd)
{
	struct vhd_extent ext;

	vhd_chain_map_read(&vhd->chain, blk_rq_pos(rq), blk_rq_sectors(rq),
			   &cmd->hold, &ext);
	if (ext.sectors != blk_rq_sectors(rq))
		return false;
	if (ext.kind == VHD_MAP_DATA) {
		vhd_submit_run(vhd, cmd, ext.layer, ext.pos, blk_rq_bytes(rq));
		return true;
	}
	if (ext.kind != VHD_MAP_ZERO)
		return false;
	vhd_zero_run(cmd, blk_rq_bytes(rq));
	vhd_cmd_end(cmd, 0);
	return true;
}

/*
 * A write whose place can be found, or made, without waiting.  Return: false if
 * not; nothing has been done, and nothing is held.
 */
static bool vhd_write_known(struct vhd_device *vhd, struct request *rq,
			    struct vhd_cmd *cmd)
{
	struct vhd_layer *top = vhd->top;
	struct vhd_extent ext;

	if (!vhd_backing_start_write(&top->backing, false))
		return false;
	if (vhd_map_write(&top->img, blk_rq_pos(rq), blk_rq_sectors(rq),
			  &cmd->hold, &ext) || ext.kind != VHD_MAP_DATA) {
		vhd_backing_end_write_to(&top->backing);
		return false;
	}
	vhd_writeback_grow(vhd);
	if (ext.lead)
		vhd_cmd_lead(cmd);
	vhd_submit_run(vhd, cmd, 0, ext.pos, blk_rq_bytes(rq));
	return true;
}

static void vhd_handle_write(struct vhd_device *vhd, struct request *rq,
			     struct vhd_cmd *cmd)
{
	u32 layer;
	u64 pos;

	if (unlikely(!vhd_may_write(vhd))) {
		vhd_cmd_end(cmd, -EIO);
		return;
	}
	if (vhd_chain_map_fast(&vhd->chain, blk_rq_pos(rq), blk_rq_sectors(rq),
			       &layer, &pos) == VHD_MAP_DATA && !layer &&
	    vhd_backing_start_write(&vhd->top->backing, false))
		vhd_submit_run(vhd, cmd, 0, pos, blk_rq_bytes(rq));
	else if (!vhd_write_known(vhd, rq, cmd))
		vhd_cmd_slow(cmd);
}

static void vhd_handle_read(struct vhd_device *vhd, struct request *rq,
			    struct vhd_cmd *cmd)
{
	u32 layer;
	u64 pos;

	switch (vhd_chain_map_fast(&vhd->chain, blk_rq_pos(rq),
				   blk_rq_sectors(rq), &layer, &pos)) {
	case VHD_MAP_DATA:
		vhd_submit_run(vhd, cmd, layer, pos, blk_rq_bytes(rq));
		return;
	case VHD_MAP_ZERO:
		vhd_zero_run(cmd, blk_rq_bytes(rq));
		vhd_cmd_end(cmd, 0);
		return;
	case VHD_MAP_SLOW:
		if (vhd_read_known(vhd, rq, cmd))
			return;
		break;
	default:
		break;
	}
	vhd_cmd_slow(cmd);
}

/* Let in when the disk was larger. */
static bool vhd_cmd_late(struct vhd_device *vhd, struct request *rq)
{
	return req_op(rq) != REQ_OP_FLUSH &&
	       blk_rq_pos(rq) + blk_rq_sectors(rq) > get_capacity(vhd->disk);
}

static void vhd_handle(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	struct request *rq = blk_mq_rq_from_pdu(cmd);
	bool charged;

	if (unlikely(vhd_cmd_late(vhd, rq))) {
		vhd_cmd_end(cmd, -EIO);
		return;
	}
	if (unlikely(vhd->gate) && !vhd_gate_begin(vhd->gate, cmd))
		return;
	switch (req_op(rq)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		charged = vhd_charge(rq);
		if (op_is_write(req_op(rq)))
			vhd_handle_write(vhd, rq, cmd);
		else
			vhd_handle_read(vhd, rq, cmd);
		vhd_uncharge(charged);
		break;
	case REQ_OP_DISCARD:
	case REQ_OP_WRITE_ZEROES:
		if (vhd_may_write(vhd))
			vhd_cmd_slow(cmd);
		else
			vhd_cmd_end(cmd, -EIO);
		break;
	case REQ_OP_FLUSH:
		vhd_writeback_flush(vhd, cmd);
		break;
	default:
		vhd_cmd_end(cmd, -EOPNOTSUPP);
		break;
	}
}

/*
 * So many go to the disk as soon as they are looked up, so that it has something to
 * do meanwhile; the others follow together.
 */
#define VHD_DRAIN_SINGLY	2U

/* Return: how many they were. */
static unsigned int vhd_queue_drain(struct vhd_queue *hq,
				    struct llist_node *list)
{
	struct vhd_cmd *cmd, *next;
	struct blk_plug plug;
	unsigned int nr = 0;

	blk_start_plug(&plug);
	llist_for_each_entry_safe(cmd, next, llist_reverse_order(list), node) {
		vhd_handle(hq->vhd, cmd);
		if (++nr <= VHD_DRAIN_SINGLY) {
			blk_finish_plug(&plug);
			blk_start_plug(&plug);
		}
	}
	blk_finish_plug(&plug);
	return nr;
}

/* Sleep until queue_rq has added something; see vhd_queue_kick(). */
static void vhd_queue_sleep(struct vhd_queue *hq)
{
	WRITE_ONCE(hq->idle, true);
	set_current_state(TASK_IDLE);
	if (llist_empty(&hq->list) && !kthread_should_stop())
		schedule();
	__set_current_state(TASK_RUNNING);
	WRITE_ONCE(hq->idle, false);
	vhd_linger_slept(&hq->linger);
	try_to_freeze();
}

static int vhd_queue_thread(void *data)
{
	struct vhd_queue *hq = data;
	struct llist_node *list;

	current->flags |= PF_LOCAL_THROTTLE;
	memalloc_noio_save();
	set_freezable();
	while (!kthread_should_stop()) {
		WRITE_ONCE(hq->rounds, hq->rounds + 1);
		list = llist_del_all(&hq->list);
		if (list)
			vhd_linger_took(&hq->linger, vhd_queue_drain(hq, list));
		else if (!vhd_linger(&hq->linger, &hq->list))
			vhd_queue_sleep(hq);
		cond_resched();
	}
	return 0;
}

static void vhd_local_work(struct work_struct *work)
{
	struct vhd_queue *hq = container_of(work, struct vhd_queue, local);
	unsigned int flags = vhd_work_begin();

	vhd_queue_drain(hq, llist_del_all(&hq->list));
	vhd_work_end(flags);
}

/* So many in a row that were the only one, and the next will be such a one, too. */
#define VHD_SINGLES		8U

/*
 * Is @cmd the only request under way, as those before it were?  Then who has
 * queued it will wait for it.
 */
static bool vhd_queue_single(struct vhd_queue *hq, struct vhd_cmd *cmd)
{
	u8 singles = READ_ONCE(hq->latest) ? 0 : READ_ONCE(hq->singles) + 1;

	WRITE_ONCE(hq->latest, cmd);
	if (singles <= VHD_SINGLES)
		WRITE_ONCE(hq->singles, singles);
	return singles > VHD_SINGLES;
}

/*
 * llist_add is a full barrier, and so is the worker's set_current_state: either
 * we see it idle, or it sees our request.
 *
 * The scheduler likes to wake a worker on another processor, which works beside
 * the submitter.  One who waits has nothing to do beside it: to interrupt a
 * processor that sleeps, for the request and again for its end, takes longer
 * than to go to and fro on one.
 */
static void vhd_queue_kick(struct vhd_queue *hq, bool single)
{
	if (!READ_ONCE(hq->idle))
		return;
	if (single)
		queue_work(hq->vhd->local_wq, &hq->local);
	else
		wake_up_process(hq->task);
}

/*
 * Most requests of a device with a fast lane end here.  A gate wants to know of all
 * of them; none is installed meanwhile, since that freezes the queue.
 */
static bool vhd_take_lane(struct vhd_queue *hq, struct request *rq, bool last)
{
	struct vhd_device *vhd = hq->vhd;

	if (req_op(rq) != REQ_OP_READ &&
	    (req_op(rq) != REQ_OP_WRITE || !vhd_may_write(vhd)))
		return false;
	if (vhd->gate || vhd_cmd_late(vhd, rq) ||
	    !vhd_lane_submit(vhd, blk_mq_rq_to_pdu(rq)))
		return false;
	/* The others of the batch may have gone to the worker. */
	if (last && !llist_empty(&hq->list))
		vhd_queue_kick(hq, false);
	return true;
}

static blk_status_t vhd_queue_rq(struct blk_mq_hw_ctx *hctx,
				 const struct blk_mq_queue_data *bd)
{
	struct vhd_cmd *cmd = blk_mq_rq_to_pdu(bd->rq);
	struct vhd_queue *hq = hctx->driver_data;
	bool single;

	cmd->hold = (struct vhd_hold) { };
	cmd->bvecs = NULL;
	cmd->lead = 0;
	cmd->leading = false;
	cmd->starved = false;
	cmd->gated = false;
	cmd->run_left = 0;
	cmd->done = 0;
	cmd->epoch = READ_ONCE(hq->vhd->epoch);
	blk_mq_start_request(bd->rq);
	if (unlikely(hq->vhd->fast_lane) &&
	    vhd_take_lane(hq, bd->rq, bd->last))
		return BLK_STS_OK;
	single = hq->vhd->local_wq && vhd_queue_single(hq, cmd);
	llist_add(&cmd->node, &hq->list);
	if (bd->last)
		vhd_queue_kick(hq, single);
	return BLK_STS_OK;
}

static void vhd_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	vhd_queue_kick(hctx->driver_data, false);
}

static int vhd_init_hctx(struct blk_mq_hw_ctx *hctx, void *data,
			 unsigned int index)
{
	struct vhd_device *vhd = data;

	hctx->driver_data = &vhd->queues[index];
	return 0;
}

const struct blk_mq_ops vhd_mq_ops = {
	.queue_rq	= vhd_queue_rq,
	.commit_rqs	= vhd_commit_rqs,
	.complete	= vhd_complete_rq,
	.init_hctx	= vhd_init_hctx,
};

int vhd_queues_start(struct vhd_device *vhd)
{
	struct vhd_queue *hq;
	unsigned int i;

	vhd->queues = kcalloc(vhd->nr_queues, sizeof(*hq), GFP_KERNEL);
	if (!vhd->queues)
		return -ENOMEM;
	for (i = 0; i < vhd->nr_queues; i++) {
		hq = &vhd->queues[i];
		hq->vhd = vhd;
		init_llist_head(&hq->list);
		INIT_WORK(&hq->local, vhd_local_work);
		hq->task = kthread_run(vhd_queue_thread, hq, "vhd%d/%u",
				       vhd->index, i);
		if (IS_ERR(hq->task)) {
			int ret = PTR_ERR(hq->task);

			hq->task = NULL;
			vhd_queues_stop(vhd);
			return ret;
		}
	}
	return 0;
}

void vhd_queues_settle(struct vhd_device *vhd)
{
	struct vhd_queue *hq;
	unsigned long rounds;
	unsigned int i;

	for (i = 0; i < vhd->nr_queues; i++) {
		hq = &vhd->queues[i];
		rounds = READ_ONCE(hq->rounds);
		while (!READ_ONCE(hq->idle) && READ_ONCE(hq->rounds) == rounds)
			usleep_range(500, 2000);
		flush_work(&hq->local);
	}
	flush_workqueue(vhd->write_wq);
	flush_workqueue(vhd->wq);
}

void vhd_queues_stop(struct vhd_device *vhd)
{
	unsigned int i;

	for (i = 0; i < vhd->nr_queues && vhd->queues; i++)
		if (vhd->queues[i].task)
			kthread_stop(vhd->queues[i].task);
	/* A submitter may still be in vhd_queue_kick(), and find nobody awake. */
	synchronize_rcu();
	for (i = 0; i < vhd->nr_queues && vhd->queues; i++)
		if (vhd->queues[i].vhd)
			flush_work(&vhd->queues[i].local);
	kfree(vhd->queues);
	vhd->queues = NULL;
}
