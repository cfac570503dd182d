// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live commit: what the top of a chain has is merged into its parent while the
 * device is in use, which then goes on in the parent.
 *
 *	copy	the pieces that the top has, in passes: those that are written
 *		meanwhile are copied again
 *	finish	hold writes up; copy the rest; commit the parent; make the top
 *		nobody's child; hold reads up, too; switch
 *
 * The parent is written where the top covers it, and nowhere else: so the chain
 * reads the same wherever this ends.  The switch is one sector of the top, its
 * parent's id.  Until that is durable the parent has everything, but nothing that
 * the top lacks; from then on the top is spoiled, and nobody takes it for a child.
 *
 * The parent is open twice meanwhile: as the layer that reads go to, which knows
 * it as it was, and as an image that is written.  What they disagree about, no
 * read of the chain asks for.
 *
 * Requests pass a gate (gate.c).  A piece is copied while no write to it is under
 * way, those that come are held: so never is half of a write copied, which a crash
 * might show if the top's bit was not durable.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "core/orphan.h"
#include "trace.h"
#include "vhd.h"

/* A piece: what is copied, or copied again, at a time; no block is smaller. */
#define VHD_PIECE_SHIFT		7
#define VHD_PIECE_SECTORS	(1U << VHD_PIECE_SHIFT)
#define VHD_PIECE_BYTES		(VHD_PIECE_SECTORS << SECTOR_SHIFT)

/* So few pieces are left for when writes are held up. */
#define VHD_MERGE_FEW		64U
/* After so many passes writers have to wait for the copy. */
#define VHD_MERGE_PASSES	3U

/**
 * struct vhd_merge - a live commit under way
 * @vhd: whose top is merged
 * @top: from where
 * @into: to where: the parent, opened for writing
 * @layers: what the device goes on with; after the switch, what it had
 * @nr_layers: of them
 * @chain: of them
 * @gate: writes are held up at; its lock: all down to @dirty
 * @pace: writes are held up that would leave too much to copy
 * @pending: pieces of the writes under way
 * @nr_dirty: bits in @dirty
 * @dirty: pieces to be copied; looked at without lock, too
 * @nr_pieces: of the top
 * @switched: the device goes on in the parent
 * @pause_ns: so long writes were held up at the end
 * @ret: of the work
 * @work: what no signal must reach
 * @prepare: for the parent
 * @orphan: for the top
 * @tidy: for the parent
 * @bounce: for plans
 * @buf: a piece
 */
struct vhd_merge {
	struct vhd_device *vhd;
	struct vhd_layer *top;
	struct vhd_layer *into;
	struct vhd_layer **layers;
	unsigned int nr_layers;
	struct vhd_chain chain;

	struct vhd_gate gate;
	bool pace;
	u32 pending;
	u32 nr_dirty;
	unsigned long *dirty;

	u32 nr_pieces;
	bool switched;
	u64 pause_ns;
	int ret;
	struct work_struct work;
	struct vhd_prepare prepare;
	struct vhd_orphan orphan;
	struct vhd_tidy tidy;
	void *bounce;
	void *buf;
};

/* ---- the gate ---------------------------------------------------------- */

static struct vhd_merge *vhd_merge_of(struct vhd_gate *gate)
{
	return container_of(gate, struct vhd_merge, gate);
}

/* Pieces that the request touches. */
static u32 vhd_merge_span(struct request *rq)
{
	u64 last = blk_rq_pos(rq) + blk_rq_sectors(rq) - 1;

	return (last >> VHD_PIECE_SHIFT) -
	       (blk_rq_pos(rq) >> VHD_PIECE_SHIFT) + 1;
}

static bool vhd_merge_holds(struct vhd_gate *gate)
{
	const struct vhd_merge *m = vhd_merge_of(gate);

	return m->pace && m->nr_dirty + m->pending >= VHD_MERGE_FEW;
}

static void vhd_merge_passed(struct vhd_gate *gate, struct request *rq)
{
	vhd_merge_of(gate)->pending += vhd_merge_span(rq);
}

static void vhd_merge_dirty(struct vhd_merge *m, u64 first, u64 end)
{
	u32 piece = first >> VHD_PIECE_SHIFT;
	u32 last = min_t(u64, (end - 1) >> VHD_PIECE_SHIFT, m->nr_pieces - 1);

	lockdep_assert_held(&m->gate.lock);
	for (; piece <= last; piece++)
		m->nr_dirty += !__test_and_set_bit(piece, m->dirty);
}

static void vhd_merge_ended(struct vhd_gate *gate, struct request *rq)
{
	struct vhd_merge *m = vhd_merge_of(gate);

	m->pending -= vhd_merge_span(rq);
	/* One that failed may have been written in part. */
	vhd_merge_dirty(m, blk_rq_pos(rq),
			blk_rq_pos(rq) + blk_rq_sectors(rq));
}

static const struct vhd_gate_ops vhd_merge_gate_ops = {
	.holds	= vhd_merge_holds,
	.passed	= vhd_merge_passed,
	.ended	= vhd_merge_ended,
};

/* ---- copying ----------------------------------------------------------- */

static int vhd_merge_commit(struct vhd_merge *m)
{
	struct vhd_commit *c = &m->into->commit;

	vhd_commit_begin(c);
	return vhd_backing_run(&m->into->backing, &c->plan, m->bounce, NULL);
}

static int vhd_merge_grow(struct vhd_merge *m)
{
	vhd_prepare_init(&m->prepare, &m->into->img);
	return vhd_backing_run(&m->into->backing, &m->prepare.plan, m->bounce,
			       NULL);
}

/* Would zeros be no news to the parent, nor to what is below it? */
static bool vhd_merge_zeros(struct vhd_merge *m, u64 sector, u32 sectors)
{
	struct vhd_image *img = &m->into->img;
	struct vhd_hold hold = { };
	struct vhd_extent ext;

	if (img->type == VHD_TYPE_DIFFERENCING ||
	    memchr_inv(m->buf, 0, sectors << SECTOR_SHIFT))
		return false;
	vhd_map_read(img, sector, sectors, &hold, &ext);
	vhd_map_done(img, &hold, 0);
	return ext.kind == VHD_MAP_ZERO && ext.sectors == sectors;
}

/* Get what the place for a write lacks. */
static int vhd_merge_provide(struct vhd_merge *m, enum vhd_map_kind kind,
			     u64 sector)
{
	switch (kind) {
	case VHD_MAP_BITMAP:
		return vhd_load_bitmap(m->into, sector);
	case VHD_MAP_SPACE:
		return vhd_merge_grow(m);
	case VHD_MAP_COMMIT:
		return vhd_merge_commit(m);
	default:
		return -EIO;
	}
}

/* What is in @buf, to the parent. */
static int vhd_merge_write(struct vhd_merge *m, u64 sector, u32 sectors)
{
	struct vhd_image *img = &m->into->img;
	struct vhd_extent ext = { };
	struct vhd_hold hold;
	int ret;

	if (vhd_merge_zeros(m, sector, sectors))
		return 0;
	for (;;) {
		ret = vhd_map_write(img, sector, sectors, &hold, &ext);
		if (ret || ext.kind == VHD_MAP_DATA)
			break;
		ret = vhd_merge_provide(m, ext.kind, sector);
		if (ret)
			return ret;
	}
	if (!ret)
		ret = vhd_backing_write(&m->into->backing, ext.pos, m->buf,
					sectors << SECTOR_SHIFT);
	vhd_map_done(img, &hold, ret);
	return ret;
}

/* The first run of a range.  Return: sectors that are dealt with, or an error. */
static int vhd_merge_run(struct vhd_merge *m, u64 sector, u32 sectors)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext = { };
	int ret;

	vhd_map_read(&m->top->img, sector, sectors, &hold, &ext);
	switch (ext.kind) {
	case VHD_MAP_PARENT:
		return ext.sectors;
	case VHD_MAP_BITMAP:
		return vhd_load_bitmap(m->top, sector);
	case VHD_MAP_DATA:
		ret = vhd_backing_read(&m->top->backing, ext.pos, m->buf,
				       ext.sectors << SECTOR_SHIFT);
		vhd_map_done(&m->top->img, &hold, 0);
		if (!ret)
			ret = vhd_merge_write(m, sector, ext.sectors);
		return ret ?: ext.sectors;
	default:
		return -EIO;
	}
}

static int vhd_merge_piece(struct vhd_merge *m, u32 piece)
{
	u64 sector = (u64)piece << VHD_PIECE_SHIFT;
	u64 end = min_t(u64, sector + VHD_PIECE_SECTORS,
			m->top->img.size >> SECTOR_SHIFT);
	int ret;

	while (sector < end) {
		ret = vhd_merge_run(m, sector, end - sector);
		if (ret < 0)
			return ret;
		sector += ret;
	}
	return 0;
}

/* Take a piece off those to be copied; writes to it are dirt from now on. */
static void vhd_merge_take(struct vhd_merge *m, u32 piece)
{
	spin_lock_irq(&m->gate.lock);
	m->nr_dirty -= __test_and_clear_bit(piece, m->dirty);
	WRITE_ONCE(m->vhd->merge_left, (u64)m->nr_dirty * VHD_PIECE_BYTES);
	spin_unlock_irq(&m->gate.lock);
}

static u32 vhd_merge_left(struct vhd_merge *m)
{
	u32 left;

	spin_lock_irq(&m->gate.lock);
	left = m->nr_dirty;
	spin_unlock_irq(&m->gate.lock);
	return left;
}

/* Once over everything that is to be copied, @hold: with writes held up. */
static int vhd_merge_pass(struct vhd_merge *m, bool hold)
{
	u64 sector;
	u32 piece;
	int ret = 0;

	for (piece = find_first_bit(m->dirty, m->nr_pieces);
	     piece < m->nr_pieces && !ret;
	     piece = find_next_bit(m->dirty, m->nr_pieces, piece + 1)) {
		sector = (u64)piece << VHD_PIECE_SHIFT;
		if (hold)
			ret = vhd_gate_close(&m->gate, sector,
					     sector + VHD_PIECE_SECTORS);
		if (!ret)
			ret = READ_ONCE(m->top->img.failed);
		vhd_merge_take(m, piece);
		if (!ret)
			ret = vhd_merge_piece(m, piece);
		if (hold)
			vhd_gate_open(&m->gate);
		if (hold && !ret && signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	return ret;
}

static void vhd_merge_pace(struct vhd_merge *m, bool pace)
{
	spin_lock_irq(&m->gate.lock);
	m->pace = pace;
	spin_unlock_irq(&m->gate.lock);
}

/*
 * Until little is left.  A few passes keep up with most writers; then those have
 * to keep up with the copy.
 */
static int vhd_merge_copy(struct vhd_merge *m)
{
	unsigned int pass = 0;
	int ret;

	do {
		if (pass == VHD_MERGE_PASSES)
			vhd_merge_pace(m, true);
		ret = vhd_merge_pass(m, true);
		trace_vhd_merge(m->vhd, pass++, READ_ONCE(m->vhd->merge_left),
				ret);
	} while (!ret && vhd_merge_left(m) > VHD_MERGE_FEW);
	return ret;
}

/* ---- the end ----------------------------------------------------------- */

/* The device's counters are those of its layers: what goes leaves them behind. */
static void vhd_merge_count(struct vhd_counters *to,
			    const struct vhd_counters *from)
{
	to->commits += READ_ONCE(from->commits);
	to->allocations += READ_ONCE(from->allocations);
	to->rollbacks += READ_ONCE(from->rollbacks);
	to->growths += READ_ONCE(from->growths);
	to->unmaps += READ_ONCE(from->unmaps);
	to->moves += READ_ONCE(from->moves);
	to->bitmap_hits += READ_ONCE(from->bitmap_hits);
	to->bitmap_misses += READ_ONCE(from->bitmap_misses);
}

/* No request is under way, but for those held. */
static void vhd_merge_switch(struct vhd_merge *m)
{
	struct vhd_device *vhd = m->vhd;

	/* A larger parent shows the rest when it is attached the next time. */
	m->into->img.disk_size = min(m->into->img.disk_size,
				     m->top->img.disk_size);
	mutex_lock(&vhd->lock);
	spin_lock_irq(&vhd->wb.lock);
	vhd_merge_count(&m->into->img.counters, &vhd->layers[0]->img.counters);
	vhd_merge_count(&m->into->img.counters, &vhd->layers[1]->img.counters);
	swap(vhd->layers, m->layers);
	swap(vhd->nr_layers, m->nr_layers);
	swap(vhd->chain, m->chain);
	WRITE_ONCE(vhd->top, m->into);
	vhd->discard = vhd->discard && vhd_may_discard(m->into);
	vhd->merges++;
	spin_unlock_irq(&vhd->wb.lock);
	mutex_unlock(&vhd->lock);
	m->switched = true;
}

/* Writes are held up, and none is under way. */
static int vhd_merge_last(struct vhd_merge *m)
{
	int ret = vhd_merge_pass(m, false);

	if (!ret)
		ret = vhd_merge_commit(m);
	if (ret)
		return ret;
	vhd_orphan_init(&m->orphan, &m->top->img);
	ret = vhd_backing_run(&m->top->backing, &m->orphan.plan, m->bounce,
			      NULL);
	if (ret)
		return ret;
	vhd_gate_close_all(&m->gate);
	vhd_merge_switch(m);
	return 0;
}

static void vhd_merge_last_work(struct work_struct *work)
{
	struct vhd_merge *m = container_of(work, struct vhd_merge, work);

	m->ret = vhd_merge_last(m);
}

/* The parent is a parent again; what it got is left in order. */
static void vhd_merge_undo_work(struct work_struct *work)
{
	struct vhd_merge *m = container_of(work, struct vhd_merge, work);

	m->ret = READ_ONCE(m->into->img.failed) ?: vhd_merge_commit(m);
	if (m->ret)
		return;
	vhd_tidy_init(&m->tidy, &m->into->img);
	m->ret = vhd_backing_run(&m->into->backing, &m->tidy.plan, m->bounce,
				 NULL);
}

/* By a thread that no signal reaches: one would spoil the I/O. */
static int vhd_merge_work(struct vhd_merge *m, work_func_t func)
{
	INIT_WORK(&m->work, func);
	queue_work(m->vhd->wq, &m->work);
	flush_work(&m->work);
	return m->ret;
}

/* What is durable now need not be waited for with writes held up. */
static int vhd_merge_settle(struct vhd_merge *m)
{
	int ret = vhd_merge_commit(m);

	return ret ?: vhd_writeback_sync(m->vhd);
}

static int vhd_merge_finish(struct vhd_merge *m)
{
	ktime_t start = ktime_get();
	int ret;

	ret = vhd_gate_close(&m->gate, 0, U64_MAX);
	if (!ret)
		ret = vhd_merge_work(m, vhd_merge_last_work);
	vhd_merge_pace(m, false);
	vhd_gate_open(&m->gate);
	m->pause_ns = ktime_to_ns(ktime_sub(ktime_get(), start));
	return ret;
}

/* ---- the whole --------------------------------------------------------- */

static int vhd_merge_refuse(struct vhd_layer *into, const char *why)
{
	pr_warn_ratelimited("vhd: %pD: %s\n", into->backing.file, why);
	return -EINVAL;
}

/* Does the parent fit the device as it is? */
static int vhd_merge_check(struct vhd_device *vhd, struct vhd_layer *into)
{
	struct vhd_image *img = &into->img;

	if (!img->writable)
		return -EROFS;
	if (img->size < vhd->top->img.size)
		return vhd_merge_refuse(into, "is smaller than its child");
	if (vhd_backing_checksums(&into->backing) && !vhd->limits.stable_writes)
		return vhd_merge_refuse(into, "lies on a file system that wants stable pages");
	if (into->backing.dio_mem_mask & ~vhd->limits.dma_mask)
		into->backing.dio_possible = false;
	return 0;
}

/* The same way as the layer that it is read by. */
static struct vhd_layer *vhd_merge_open_parent(struct vhd_device *vhd,
					       struct file *file)
{
	struct vhd_layer *into;
	int ret;

	into = vhd_layer_open(file, VHD_USE_MERGE, 0,
			      vhd->layers[1]->backing.dio);
	if (IS_ERR(into))
		return into;
	ret = vhd_merge_check(vhd, into);
	if (ret) {
		vhd_layer_close(into);
		return ERR_PTR(ret);
	}
	return into;
}

static int vhd_merge_link(struct vhd_merge *m)
{
	struct vhd_device *vhd = m->vhd;

	m->nr_layers = vhd->nr_layers - 1;
	m->layers = kcalloc(m->nr_layers, sizeof(*m->layers), GFP_KERNEL);
	if (!m->layers)
		return -ENOMEM;
	memcpy(m->layers, vhd->layers + 1, m->nr_layers * sizeof(*m->layers));
	m->layers[0] = m->into;
	return vhd_layers_link(&m->chain, m->layers, m->nr_layers, true);
}

static void vhd_merge_free(struct vhd_merge *m)
{
	vhd_backing_buf_free(m->buf, VHD_PIECE_BYTES);
	vhd_backing_buf_free(m->bounce, VHD_BOUNCE_SIZE);
	kvfree(m->dirty);
	vhd_chain_free(&m->chain);
	kfree(m->layers);
	kfree(m);
}

static struct vhd_merge *vhd_merge_alloc(struct vhd_device *vhd)
{
	struct vhd_merge *m = kzalloc(sizeof(*m), GFP_KERNEL);

	if (!m)
		return NULL;
	m->vhd = vhd;
	m->top = vhd->top;
	vhd_gate_init(&m->gate, "merging", &vhd_merge_gate_ops);
	m->nr_pieces = DIV_ROUND_UP_ULL(m->top->img.size, VHD_PIECE_BYTES);
	m->dirty = kvcalloc(BITS_TO_LONGS(m->nr_pieces), sizeof(*m->dirty),
			    GFP_KERNEL);
	m->bounce = vhd_backing_buf_alloc(VHD_BOUNCE_SIZE, GFP_KERNEL);
	m->buf = vhd_backing_buf_alloc(VHD_PIECE_BYTES, GFP_KERNEL);
	if (m->dirty && m->bounce && m->buf)
		return m;
	vhd_merge_free(m);
	return NULL;
}

static struct vhd_merge *vhd_merge_new(struct vhd_device *vhd,
				       struct file *parent)
{
	struct vhd_merge *m = vhd_merge_alloc(vhd);
	int ret;

	if (!m)
		return ERR_PTR(-ENOMEM);
	m->into = vhd_merge_open_parent(vhd, parent);
	if (IS_ERR(m->into)) {
		ret = PTR_ERR(m->into);
		vhd_merge_free(m);
		return ERR_PTR(ret);
	}
	ret = vhd_merge_link(m);
	if (!ret)
		return m;
	vhd_layer_close(m->into);
	vhd_merge_free(m);
	return ERR_PTR(ret);
}

/* All that the top has.  Blocks that come later are dirt of those who write. */
static void vhd_merge_mark(struct vhd_merge *m)
{
	const struct vhd_image *img = &m->top->img;
	u32 sectors = vhd_block_sectors(img), block;
	u64 first;

	for (block = 0; block < img->nr_blocks; block++) {
		if (READ_ONCE(img->bat[block]) == VHD_BAT_UNUSED)
			continue;
		first = (u64)block * sectors;
		spin_lock_irq(&m->gate.lock);
		vhd_merge_dirty(m, first, first + sectors);
		spin_unlock_irq(&m->gate.lock);
		cond_resched();
	}
	WRITE_ONCE(m->vhd->merge_left,
		   (u64)vhd_merge_left(m) * VHD_PIECE_BYTES);
	WRITE_ONCE(m->vhd->merge_total, m->vhd->merge_left);
}

static struct vhd_merge *vhd_merge_start(struct vhd_device *vhd,
					 struct file *parent)
{
	struct vhd_merge *m;
	int ret;

	lockdep_assert_held(&vhd->set_lock);
	if (vhd->gate)
		return ERR_PTR(vhd->gate->ops == &vhd_merge_gate_ops ?
			       -EALREADY : -EINPROGRESS);
	if (!vhd->top->img.writable)
		return ERR_PTR(-EROFS);
	if (vhd->nr_layers < 2 ||
	    !vhd_backing_same(&vhd->layers[1]->backing, parent))
		return ERR_PTR(-EINVAL);
	/* What was lost then may look as if it were there. */
	if (vhd->layers[1]->img.failed)
		return ERR_PTR(-EIO);
	ret = vhd_writeback_retire(vhd);
	if (ret)
		return ERR_PTR(ret);
	m = vhd_merge_new(vhd, parent);
	if (!IS_ERR(m))
		vhd_gate_install(vhd, &m->gate);
	return m;
}

/* The former top and the parent as it was go; nobody must be at them. */
static void vhd_merge_retire(struct vhd_merge *m)
{
	vhd_reclaim_stop(m->vhd);
	vhd_queues_settle(m->vhd);
	vhd_chain_free(&m->chain);
	vhd_layer_close(m->layers[0]);
	vhd_layer_close(m->layers[1]);
	vhd_reclaim_kick(m->vhd);
}

static void vhd_merge_undo(struct vhd_merge *m, int error)
{
	vhd_err(m->vhd, "not merged into %pD (%d)\n", m->into->backing.file,
		error);
	vhd_merge_work(m, vhd_merge_undo_work);
	if (m->into->img.failed)
		vhd_image_fail(&m->vhd->layers[1]->img, m->into->img.failed);
	vhd_layer_close(m->into);
}

/* Gives the merge up or away, and frees it. */
static void vhd_merge_stop(struct vhd_merge *m, int error)
{
	struct vhd_device *vhd = m->vhd;

	vhd_merge_pace(m, false);
	vhd_gate_open(&m->gate);
	if (m->switched)
		vhd_info(vhd, "merged, goes on in %pD, %llu us of pause\n",
			 m->into->backing.file, m->pause_ns / 1000);
	else
		vhd_merge_undo(m, error);
	mutex_lock(&vhd->set_lock);
	vhd_gate_install(vhd, NULL);
	WRITE_ONCE(vhd->merge_total, 0);
	WRITE_ONCE(vhd->merge_left, 0);
	if (m->switched) {
		vhd_merge_retire(m);
		vhd_lane_start(vhd, vhd->top, false);
	}
	mutex_unlock(&vhd->set_lock);
	if (m->switched)
		vhd_device_tell(vhd);
	vhd_merge_free(m);
}

static int vhd_commit_live(struct vhd_device *vhd, struct file *parent,
			   u64 *pause_ns)
{
	unsigned int noio = memalloc_noio_save();
	struct vhd_merge *m;
	int ret;

	mutex_lock(&vhd->set_lock);
	m = vhd_merge_start(vhd, parent);
	mutex_unlock(&vhd->set_lock);
	ret = PTR_ERR_OR_ZERO(m);
	if (ret)
		goto out;
	vhd_merge_mark(m);
	ret = vhd_merge_copy(m);
	if (!ret)
		ret = vhd_merge_settle(m);
	vhd_merge_pace(m, true);
	if (!ret)
		ret = vhd_merge_copy(m);
	if (!ret)
		ret = vhd_merge_finish(m);
	*pause_ns = m->pause_ns;
	vhd_merge_stop(m, ret);
out:
	memalloc_noio_restore(noio);
	return ret;
}

int vhd_device_commit(struct vhd_commit_args *args, struct file *parent)
{
	struct vhd_device *vhd = vhd_device_get(args->index);
	int ret;

	if (!vhd)
		return -ENODEV;
	ret = vhd_commit_live(vhd, parent, &args->pause_ns);
	vhd_device_put(vhd);
	return ret;
}
