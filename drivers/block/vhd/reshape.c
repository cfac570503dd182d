// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resizing an attached image.
 *
 * The plan of the core runs in the place of a commit: vhd_writeback.shape keeps
 * all other plans out, requests go on.  With the queue frozen, tables in memory
 * are swapped and nothing else.
 *
 *	grow	plan, swap, larger capacity
 *	shrink	smaller capacity, what is under way ends, blocks that are cut off
 *		are unmapped (--force) and that is committed, plan, swap
 *
 * A request that was let in when the disk was larger, and comes late, is refused
 * in vhd_handle().
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "core/format.h"
#include "core/resize.h"
#include "vhd.h"

static int vhd_resize_refused(struct vhd_device *vhd, u64 size)
{
	const struct vhd_image *img = &vhd->top->img;

	if (!img->writable || get_disk_ro(vhd->disk))
		return -EROFS;
	if (READ_ONCE(img->failed))
		return img->failed;
	/* Its size is the geometry's, or what a saved state knows. */
	if (vhd->size_chs || img->footer.saved_state)
		return -EOPNOTSUPP;
	/* Behind the old end the parent must have nothing to show. */
	if (img->type == VHD_TYPE_DIFFERENCING &&
	    (size < img->size || vhd->layers[1]->img.size > img->size))
		return -EOPNOTSUPP;
	if (!size || size % vhd->limits.logical)
		return -EINVAL;
	/* The file's size is a loff_t, and holds a footer. */
	if (size > (img->bat ? VHD_MAX_DYNAMIC_SIZE :
			       S64_MAX - VHD_SECTOR_SIZE))
		return -EFBIG;
	return 0;
}

/* No other plan runs, nor begins. */
static int vhd_resize_run(struct vhd_device *vhd, struct vhd_resize *r,
			  u64 size, void *bounce)
{
	struct vhd_layer *top = vhd->top;
	unsigned int noio = memalloc_noio_save();
	int err;

	down_write(&vhd->wb.shape);
	err = vhd_resize_init(r, &top->img, size);
	r->piece = VHD_BOUNCE_SIZE;
	if (!err) {
		err = vhd_backing_run(&top->backing, &r->plan, bounce, NULL);
		vhd_resize_adopt(r);
	}
	up_write(&vhd->wb.shape);
	memalloc_noio_restore(noio);
	return err;
}

/* Wait for the requests that are under way. */
static void vhd_resize_drain(struct vhd_device *vhd)
{
	unsigned int flags = vhd_freeze_queue(vhd->disk->queue);

	vhd_unfreeze_queue(vhd->disk->queue, flags);
}

static void vhd_resize_swap(struct vhd_device *vhd, struct vhd_resize *r,
			    u16 *below)
{
	u32 blocks = vhd->top->img.nr_blocks;
	unsigned int flags = vhd_freeze_queue(vhd->disk->queue);

	vhd_resize_show(r);
	vhd_chain_resized(&vhd->chain, below, blocks);
	vhd_unfreeze_queue(vhd->disk->queue, flags);
}

/* Of a chain, what is known of the blocks under the top's grows with it. */
static int vhd_resize_chain(struct vhd_device *vhd, struct vhd_resize *r,
			    u64 size, void *bounce)
{
	u32 block = vhd->top->img.bat ? vhd_block_bytes(&vhd->top->img) : 0;
	u16 *below;
	int err;

	err = vhd_chain_room(&vhd->chain, block ? vhd_nr_blocks(size, block) : 0,
			     &below);
	if (!err)
		err = vhd_resize_run(vhd, r, size, bounce);
	if (!err)
		vhd_resize_swap(vhd, r, below);
	else
		kvfree(below);
	return err;
}

static int vhd_resize_plan(struct vhd_device *vhd, u64 size)
{
	struct vhd_resize *r = kzalloc(sizeof(*r), GFP_KERNEL);
	void *bounce = vhd_backing_buf_alloc(VHD_BOUNCE_SIZE, GFP_KERNEL);
	int err = -ENOMEM;

	if (r && bounce) {
		err = vhd_resize_chain(vhd, r, size, bounce);
		vhd_resize_end(r);
	}
	vhd_backing_buf_free(bounce, VHD_BOUNCE_SIZE);
	kfree(r);
	return err;
}

/* ---- what is cut off --------------------------------------------------- */

/* Return: 0, 1 after a commit it is to be tried again, or a negative errno. */
static int vhd_cut_block(struct vhd_image *img, u32 block)
{
	enum vhd_unmap_result result = VHD_UNMAP_DONE;
	unsigned long flags;

	vhd_unmap_reserve(img, 1);
	spin_lock_irqsave(&img->lock, flags);
	if (img->bat[block] < VHD_BAT_BAD)
		result = vhd_unmap(img, block);
	spin_unlock_irqrestore(&img->lock, flags);
	if (result == VHD_UNMAP_NOT)
		return -ENOMEM;
	return result == VHD_UNMAP_COMMIT;
}

/* Nobody gets there any more. */
static int vhd_cut_blocks(struct vhd_device *vhd, u64 size, bool force)
{
	struct vhd_image *img = &vhd->top->img;
	u32 block = vhd_nr_blocks(size, vhd_block_bytes(img));
	int ret = 0;

	while (block < img->nr_blocks && ret >= 0) {
		u32 entry = READ_ONCE(img->bat[block]);

		if (entry == VHD_BAT_UNUSED) {
			block++;
			continue;
		}
		if (entry == VHD_BAT_BAD)
			return -EUCLEAN;
		if (!force)
			return -ENOTEMPTY;
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = vhd_cut_block(img, block);
		if (ret > 0)
			ret = vhd_writeback_sync(vhd);
		cond_resched();
	}
	return ret;
}

static int vhd_resize_shrink(struct vhd_device *vhd, u64 size, bool force)
{
	sector_t old = get_capacity(vhd->disk);
	int err = 0;

	set_capacity_and_notify(vhd->disk, size >> SECTOR_SHIFT);
	vhd_resize_drain(vhd);
	if (vhd->top->img.bat)
		err = vhd_cut_blocks(vhd, size, force);
	if (!err)
		err = vhd_writeback_sync(vhd);
	if (!err)
		err = vhd_resize_plan(vhd, size);
	if (err)
		set_capacity_and_notify(vhd->disk, old);
	return err;
}

/* ---- all of it --------------------------------------------------------- */

/* Whoever has it open may not expect that; one of the openers is the caller. */
static bool vhd_resize_in_use(struct vhd_device *vhd)
{
	bool used;

	mutex_lock(&vhd->lock);
	used = vhd->openers > 1;
	mutex_unlock(&vhd->lock);
	return used;
}

static int vhd_resize(struct vhd_device *vhd, u64 size, u32 flags)
{
	u64 old = vhd->top->img.size;
	bool force = flags & VHD_RESIZE_FORCE;
	int err;

	err = vhd_resize_refused(vhd, size);
	if (err || size == old)
		return err;
	if (size > old) {
		err = vhd_resize_plan(vhd, size);
		if (!err)
			set_capacity_and_notify(vhd->disk,
						size >> SECTOR_SHIFT);
	} else if (!(flags & VHD_RESIZE_SHRINK)) {
		err = -EINVAL;
	} else if (!force && vhd_resize_in_use(vhd)) {
		err = -EBUSY;
	} else {
		err = vhd_resize_shrink(vhd, size, force);
	}
	if (!err)
		vhd_info(vhd, "%llu sectors now, had %llu\n",
			 size >> SECTOR_SHIFT, old >> SECTOR_SHIFT);
	return err;
}

int vhd_device_resize(const struct vhd_resize_args *args)
{
	struct vhd_device *vhd = vhd_device_change(args->index);
	int ret;

	if (IS_ERR(vhd))
		return PTR_ERR(vhd);
	ret = vhd_resize(vhd, args->bytes, args->flags);
	vhd_device_changed(vhd);
	return ret;
}
