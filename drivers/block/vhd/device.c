// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device's life: from an open file to /dev/vhdN and back.
 *
 *	attach:	backing file -> image -> writeback -> index -> workers -> disk
 *	detach:	no more opens -> disk gone -> last commit -> tidy -> the rest
 *
 * The struct lives until the block layer lets the disk go (->free_disk).
 */
#include <linux/file.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "core/bitmap.h"
#include "core/finding.h"
#include "core/open.h"
#include "vhd.h"

static DEFINE_XARRAY_ALLOC(vhd_devices);
static DEFINE_MUTEX(vhd_control_mutex);
/* Devices whose memory is in use; under vhd_gone.lock. */
static unsigned int vhd_nr_devices;
static DECLARE_WAIT_QUEUE_HEAD(vhd_gone);

/* ---- memory ------------------------------------------------------------- */

static void vhd_count_devices(int change)
{
	spin_lock_irq(&vhd_gone.lock);
	WRITE_ONCE(vhd_nr_devices, vhd_nr_devices + change);
	if (!vhd_nr_devices)
		wake_up_locked(&vhd_gone);
	spin_unlock_irq(&vhd_gone.lock);
}

static struct vhd_device *vhd_device_alloc(void)
{
	struct vhd_device *vhd = kzalloc(sizeof(*vhd), GFP_KERNEL);

	if (!vhd)
		return NULL;
	vhd->index = -1;
	lockdep_register_key(&vhd->key);
	mutex_init(&vhd->lock);
	lockdep_set_class(&vhd->lock, &vhd->key);
	mutex_init(&vhd->set_lock);
	vhd_count_devices(1);
	return vhd;
}

static void vhd_device_free(struct vhd_device *vhd)
{
	if (vhd->write_wq && vhd->write_wq != vhd->wq)
		destroy_workqueue(vhd->write_wq);
	if (vhd->wq)
		destroy_workqueue(vhd->wq);
	if (vhd->local_wq)
		destroy_workqueue(vhd->local_wq);
	mutex_destroy(&vhd->set_lock);
	mutex_destroy(&vhd->lock);
	lockdep_unregister_key(&vhd->key);
	kfree(vhd->layers);
	kfree(vhd);
	vhd_count_devices(-1);
}

void vhd_device_wait_gone(void)
{
	wait_event(vhd_gone, !READ_ONCE(vhd_nr_devices));
	/* Whoever woke us has let go of the lock, and nearly of our text. */
	spin_lock_irq(&vhd_gone.lock);
	spin_unlock_irq(&vhd_gone.lock);
	synchronize_rcu();
}

/* ---- the table ------------------------------------------------------------ */

static int vhd_index_get(struct vhd_device *vhd, int wanted)
{
	struct xa_limit limit = XA_LIMIT(0, MINORMASK);
	u32 index;
	int ret;

	if (wanted >= 0)
		limit = XA_LIMIT(wanted, wanted);
	mutex_lock(&vhd_control_mutex);
	ret = xa_alloc(&vhd_devices, &index, vhd, limit, GFP_KERNEL);
	mutex_unlock(&vhd_control_mutex);
	if (ret)
		return ret;
	vhd->index = index;
	return 0;
}

static void vhd_index_put(struct vhd_device *vhd)
{
	mutex_lock(&vhd_control_mutex);
	xa_erase(&vhd_devices, vhd->index);
	mutex_unlock(&vhd_control_mutex);
}

/* ---- layers -------------------------------------------------------------- */

void vhd_layer_close(struct vhd_layer *layer)
{
	if (!layer)
		return;
	vhd_commit_free(&layer->commit);
	vhd_image_free(&layer->img);
	vhd_backing_close(&layer->backing);
	kfree(layer);
}

static void vhd_layers_close(struct vhd_device *vhd)
{
	unsigned int i;

	vhd_chain_free(&vhd->chain);
	for (i = 0; i < vhd->nr_layers; i++)
		vhd_layer_close(vhd->layers[i]);
}

/* ---- bitmaps when memory is short ----------------------------------------- */

/* Of one layer at a time, for requests look at it with interrupts off. */
#define VHD_SHRINK_MAX		32U

/*
 * Whoever frees memory may hold any lock but ours, and be anybody: nothing is
 * waited for.  vhd_device.lock is never held for long, so it is there next time.
 */
static unsigned long vhd_shrink_count(struct shrinker *shrinker,
				      struct shrink_control *sc)
{
	struct vhd_device *vhd = vhd_shrinker_data(shrinker);
	unsigned long n = 0;
	unsigned int i;

	if (!mutex_trylock(&vhd->lock))
		return 0;
	for (i = 0; i < vhd->nr_layers; i++)
		n += READ_ONCE(vhd->layers[i]->img.bitmaps.nr);
	mutex_unlock(&vhd->lock);
	return n;
}

static unsigned long vhd_shrink_scan(struct shrinker *shrinker,
				     struct shrink_control *sc)
{
	struct vhd_device *vhd = vhd_shrinker_data(shrinker);
	unsigned long freed = 0, left = sc->nr_to_scan;
	unsigned int i, n;

	if (!mutex_trylock(&vhd->lock))
		return SHRINK_STOP;
	/* Parents first: bitmaps of the top are what writes wait for. */
	for (i = vhd->nr_layers; i-- && freed < left;) {
		do {
			n = min_t(unsigned long, left - freed, VHD_SHRINK_MAX);
			n = vhd_bitmaps_shrink(&vhd->layers[i]->img, n);
			freed += n;
		} while (n == VHD_SHRINK_MAX && freed < left);
	}
	mutex_unlock(&vhd->lock);
	return freed ?: SHRINK_STOP;
}

/* Undoes vhd_device_setup(); no requests any more. */
static void vhd_device_teardown(struct vhd_device *vhd)
{
	vhd_shrinker_remove(&vhd->shrinker);
	vhd_writeback_stop(vhd);
	vhd_queues_stop(vhd);
	vhd_index_put(vhd);
	vhd_writeback_free(vhd);
	vhd_layers_close(vhd);
}

/* ---- detach ----------------------------------------------------------------- */

/*
 * The state is VHD_DETACHING and nobody has the device open.  Return: 0 or the
 * error of the last commit; the device is gone either way.
 */
static int vhd_device_remove(struct vhd_device *vhd)
{
	int err;

	del_gendisk(vhd->disk);
	/*
	 * A submitter may still be in queue_rq, which for a queue that may sleep is
	 * under SRCU: for him the synchronize_rcu() of vhd_queues_stop() is nothing.
	 */
	if (vhd->fast_lane)
		blk_mq_quiesce_queue(vhd->disk->queue);
	vhd_writeback_stop(vhd);
	err = vhd_writeback_sync(vhd);
	vhd_writeback_stop(vhd);
	if (!err)
		err = vhd_writeback_tidy(vhd);
	if (err)
		pr_err("vhd%d: the last commit failed (%d)\n", vhd->index, err);
	vhd_device_teardown(vhd);
	vhd_info(vhd, "detached\n");
	put_disk(vhd->disk);
	module_put(THIS_MODULE);
	return err;
}

static void vhd_remove_work(struct work_struct *work)
{
	vhd_device_remove(container_of(work, struct vhd_device, remove_work));
}

/* Return: 1 remove now, 0 nothing more to do, or a negative errno. */
static int vhd_detach_locked(struct vhd_device *vhd, u32 flags)
{
	lockdep_assert_held(&vhd->lock);
	if (vhd->state != VHD_LIVE)
		return -ENODEV;
	if (flags & VHD_DETACH_CANCEL) {
		vhd->deferred = false;
		return 0;
	}
	if (!vhd->openers) {
		vhd->state = VHD_DETACHING;
		return 1;
	}
	if (!(flags & VHD_DETACH_DEFERRED))
		return -EBUSY;
	vhd->deferred = true;
	return 0;
}

int vhd_device_detach(int index, u32 flags)
{
	struct vhd_device *vhd;
	int ret = -ENODEV;

	mutex_lock(&vhd_control_mutex);
	vhd = xa_load(&vhd_devices, index);
	if (vhd) {
		mutex_lock(&vhd->lock);
		ret = vhd_detach_locked(vhd, flags);
		mutex_unlock(&vhd->lock);
	}
	mutex_unlock(&vhd_control_mutex);
	return ret == 1 ? vhd_device_remove(vhd) : ret;
}

/* ---- block device operations --------------------------------------------------- */

static VHD_OPEN_OP(vhd_open)
{
	struct vhd_device *vhd = VHD_OPEN_OP_DISK->private_data;
	int ret = 0;

	mutex_lock(&vhd->lock);
	if (vhd->state == VHD_DETACHING) {
		ret = -ENXIO;
	} else {
		vhd->openers++;
		/* Who only probes it has not used it. */
		if (VHD_OPEN_IS_USE(mode))
			vhd->used = true;
	}
	mutex_unlock(&vhd->lock);
	return ret;
}

/* Nobody has it open any more.  Return: is it to go? */
static bool vhd_last_close(struct vhd_device *vhd)
{
	lockdep_assert_held(&vhd->lock);
	if (vhd->state != VHD_LIVE)
		return false;
	if (!vhd->deferred && !(vhd->autoclear && vhd->used))
		return false;
	vhd->state = VHD_DETACHING;
	return true;
}

/*
 * Under disk->open_mutex, for which del_gendisk waits: the device does not go
 * away before this returns, although anybody may detach it once @openers is 0.
 */
static VHD_RELEASE_OP(vhd_release)
{
	struct vhd_device *vhd = disk->private_data;
	bool last, gone, dirty;

	mutex_lock(&vhd->lock);
	last = !--vhd->openers;
	gone = last && vhd_last_close(vhd);
	dirty = vhd_dirty(&vhd->top->img);
	mutex_unlock(&vhd->lock);
	/* The disk cannot be deleted from here. */
	if (gone)
		queue_work(vhd_remove_wq, &vhd->remove_work);
	else if (last && dirty)
		vhd_writeback_sync(vhd);
}

static void vhd_free_disk(struct gendisk *disk)
{
	struct vhd_device *vhd = disk->private_data;

	blk_mq_free_tag_set(&vhd->tag_set);
	vhd_device_free(vhd);
}

static const struct block_device_operations vhd_fops = {
	.owner		= THIS_MODULE,
	.open		= vhd_open,
	.release	= vhd_release,
	.free_disk	= vhd_free_disk,
};

bool vhd_device_is_ours(const struct gendisk *disk)
{
	return disk->fops == &vhd_fops;
}

/* ---- attach ------------------------------------------------------------------ */

/* Tells the kernel log what matters, and not more of it than a screen. */
struct vhd_log {
	struct vhd_reporter rep;
	struct file *file;
	unsigned int lines;
};

static void vhd_tell_finding(struct file *file, const struct vhd_finding *f)
{
	char line[200];

	vhd_finding_line(f, line, sizeof(line));
	pr_warn_ratelimited("vhd: %pD: %s\n", file, line);
}

static void vhd_log_finding(struct vhd_reporter *rep,
			    const struct vhd_finding *f)
{
	struct vhd_log *log = container_of(rep, struct vhd_log, rep);

	if (vhd_finding_info(f->code)->policy == VHD_POLICY_INFO ||
	    log->lines++ >= 8)
		return;
	vhd_tell_finding(log->file, f);
}

static int vhd_image_open(struct vhd_layer *layer, unsigned int open_flags)
{
	struct vhd_log log = {
		.rep.report = vhd_log_finding,
		.file = layer->backing.file,
	};
	loff_t size = vhd_backing_size(&layer->backing);
	struct vhd_open *o;
	int ret;

	if (layer->backing.bdev)
		open_flags |= VHD_OPEN_DEVICE;

	o = kzalloc(sizeof(*o), GFP_KERNEL);
	if (!o)
		return -ENOMEM;
	vhd_open_init(o, &layer->img, size, open_flags, &log.rep);
	ret = vhd_backing_run_buffered(&layer->backing, &o->plan);
	vhd_open_end(o);
	kfree(o);
	return ret;
}

struct vhd_layer *vhd_layer_open(struct file *file, enum vhd_use use,
				 unsigned int open_flags, int dio)
{
	struct vhd_layer *layer = kzalloc(sizeof(*layer), GFP_KERNEL);
	int ret;

	if (!layer)
		return ERR_PTR(-ENOMEM);
	ret = vhd_backing_open(&layer->backing, file, use, dio);
	if (ret) {
		kfree(layer);
		return ERR_PTR(ret);
	}
	if (use >= VHD_USE_WRITE)
		open_flags |= VHD_OPEN_WRITE;
	ret = vhd_image_open(layer, open_flags);
	/* What is read only has no commits, and stays so. */
	if (!ret && layer->img.writable)
		ret = vhd_commit_alloc(&layer->commit, &layer->img);
	if (ret) {
		vhd_layer_close(layer);
		return ERR_PTR(ret);
	}
	return layer;
}

/* Layer @i of a chain; only the first is what the flags are about. */
static int vhd_layer_add(struct vhd_device *vhd, struct file *file, u32 flags)
{
	unsigned int i = vhd->nr_layers, open_flags = 0;
	enum vhd_use use = VHD_USE_PARENT;
	int dio = flags & VHD_ATTACH_DIO_OFF ? 0 : -1;
	struct vhd_layer *layer;

	if (!i) {
		use = flags & VHD_ATTACH_READ_ONLY ? VHD_USE_READ :
						     VHD_USE_WRITE;
		if (flags & VHD_ATTACH_DIO_ON)
			dio = 1;
		if (flags & VHD_ATTACH_SIZE_CHS)
			open_flags |= VHD_OPEN_SIZE_CHS;
	}
	if (flags & VHD_ATTACH_FORCE)
		open_flags |= VHD_OPEN_FORCE;
	layer = vhd_layer_open(file, use, open_flags, dio);
	if (IS_ERR(layer)) {
		if (PTR_ERR(layer) == -EBUSY)
			pr_warn_ratelimited("vhd: %pD: is in use by another device%s\n",
					    file,
					    S_ISBLK(file_inode(file)->i_mode) ?
					    ", mounted, or claimed by a driver" : "");
		return PTR_ERR(layer);
	}
	vhd->layers[vhd->nr_layers++] = layer;
	return 0;
}

/* Is no file a layer twice? */
static bool vhd_files_differ(struct file **files, unsigned int nr)
{
	unsigned int i, j;

	for (i = 0; i < nr; i++) {
		for (j = 0; j < i; j++) {
			if (files[i]->f_mapping->host !=
			    files[j]->f_mapping->host)
				continue;
			pr_warn_ratelimited("vhd: %pD: is in the chain twice\n",
					    files[i]);
			return false;
		}
	}
	return true;
}

/* Do these layers belong together?  If not, tell. */
static int vhd_layers_check(struct vhd_layer **layers, struct vhd_image **imgs,
			    unsigned int nr, bool ignore_ids)
{
	struct vhd_finding f;
	unsigned int i, bad;
	int ret;

	for (i = 0; i < nr; i++)
		imgs[i] = &layers[i]->img;
	ret = vhd_chain_check(imgs, nr, ignore_ids, &bad, &f);
	if (ret)
		vhd_tell_finding(layers[bad]->backing.file, &f);
	return ret;
}

int vhd_layers_link(struct vhd_chain *chain, struct vhd_layer **layers,
		    unsigned int nr, bool ignore_ids)
{
	struct vhd_image **imgs;
	int ret;

	imgs = kcalloc(nr, sizeof(*imgs), GFP_KERNEL);
	if (!imgs)
		return -ENOMEM;
	ret = vhd_layers_check(layers, imgs, nr, ignore_ids);
	if (!ret)
		ret = vhd_chain_init(chain, imgs, nr);
	kfree(imgs);
	return ret;
}

static int vhd_layers_open(struct vhd_device *vhd, struct file **files,
			   const struct vhd_attach_args *args)
{
	unsigned int i;
	int ret = 0;

	if (!vhd_files_differ(files, args->nr_layers))
		return -EINVAL;
	vhd->layers = kcalloc(args->nr_layers, sizeof(*vhd->layers),
			      GFP_KERNEL);
	if (!vhd->layers)
		return -ENOMEM;
	for (i = 0; i < args->nr_layers && !ret; i++)
		ret = vhd_layer_add(vhd, files[i], args->flags);
	if (ret)
		return ret;
	vhd->top = vhd->layers[0];
	return vhd_layers_link(&vhd->chain, vhd->layers, vhd->nr_layers,
			       args->flags & VHD_ATTACH_IGNORE_PARENT_ID);
}

static int vhd_tag_set_init(struct vhd_device *vhd)
{
	struct blk_mq_tag_set *set = &vhd->tag_set;

	set->ops = &vhd_mq_ops;
	set->nr_hw_queues = vhd->nr_queues;
	set->queue_depth = VHD_QUEUE_DEPTH;
	set->numa_node = NUMA_NO_NODE;
	set->cmd_size = sizeof(struct vhd_cmd);
	set->flags = VHD_TAG_SET_FLAGS;
	/* The block layer below is entered from queue_rq, and may sleep. */
	if (vhd->fast_lane)
		set->flags |= BLK_MQ_F_BLOCKING;
	set->driver_data = vhd;
	return blk_mq_alloc_tag_set(set);
}

bool vhd_may_discard(const struct vhd_layer *top)
{
	const struct vhd_backing *b = &top->backing;

	return top->img.writable && b->punches && (b->zeroes || top->img.bat);
}

static void vhd_find_limits(struct vhd_device *vhd, unsigned int logical,
			    struct vhd_limits *l)
{
	struct block_device *bdev = vhd_backing_disk(&vhd->top->backing);
	const struct vhd_image *img = &vhd->top->img;
	unsigned int i;

	*l = (struct vhd_limits) {
		.logical = logical,
		.physical = img->aligned ? VHD_ALIGN : logical,
		.max_sectors = VHD_MAX_RW_BLOCK_SIZE >> SECTOR_SHIFT,
		/* Without blocks, too: a child of a fixed image will have some. */
		.chunk = vhd->chain.chunk ?:
			 VHD_DEFAULT_BLOCK_SIZE >> SECTOR_SHIFT,
	};
	for (i = 0; i < vhd->nr_layers; i++)
		l->dma_mask |= vhd->layers[i]->backing.dio_mem_mask;
	if (img->bat)
		l->io_opt = vhd_block_bytes(img);
	/* Where zeros are written, a request should not take for ever. */
	if (img->writable)
		l->max_zeroes = vhd->top->backing.zeroes ?
				round_down(VHD_MAX_DISCARD, l->max_sectors) :
				l->max_sectors;
	if (vhd->discard)
		l->discard = max(l->physical,
				 vhd_backing_grain(&vhd->top->backing));
	if (bdev) {
		l->rotational = vhd_bdev_rotational(bdev);
		l->stable_writes = bdev_stable_writes(bdev);
	}
	if (vhd_backing_checksums(&vhd->top->backing))
		l->stable_writes = true;
}

static int vhd_disk_create(struct vhd_device *vhd,
			   const struct vhd_attach_args *args)
{
	unsigned int logical = args->logical_block_size ?: VHD_SECTOR_SIZE;
	struct gendisk *disk;
	int ret;

	ret = vhd_tag_set_init(vhd);
	if (ret)
		return ret;
	vhd_find_limits(vhd, logical, &vhd->limits);
	disk = vhd_alloc_disk(&vhd->tag_set, &vhd->limits, vhd);
	if (IS_ERR(disk)) {
		blk_mq_free_tag_set(&vhd->tag_set);
		return PTR_ERR(disk);
	}
	disk->fops = &vhd_fops;
	disk->private_data = vhd;
	snprintf(disk->disk_name, sizeof(disk->disk_name), "vhd%d", vhd->index);
	set_capacity(disk, round_down(vhd->top->img.disk_size, (u64)logical) >>
				   SECTOR_SHIFT);
	if (!vhd->top->img.writable)
		set_disk_ro(disk, true);
	if (args->flags & VHD_ATTACH_NO_PARTSCAN)
		set_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
	vhd->disk = disk;
	return 0;
}

/*
 * The struct's owner destroys them.  Each has a thread of its own, for when there
 * is no memory for another: what can never be written does without the one for
 * writes, which vhd_handle() refuses.
 */
static int vhd_workqueues_create(struct vhd_device *vhd)
{
	unsigned int flags = WQ_UNBOUND | WQ_FREEZABLE | WQ_MEM_RECLAIM;

	vhd->wq = alloc_workqueue("vhd%d", flags, 0, vhd->index);
	vhd->write_wq = vhd->wq;
	if (vhd->top->img.writable)
		vhd->write_wq = alloc_workqueue("vhd%d_write", flags, 0,
						vhd->index);
	if (!vhd->wq || !vhd->write_wq)
		return -ENOMEM;
	/* With one processor every worker is on the submitter's. */
	if (vhd->nr_queues == 1)
		return 0;
	vhd->local_wq = alloc_workqueue("vhd%d_local", VHD_WQ_PERCPU |
					WQ_HIGHPRI | WQ_FREEZABLE |
					WQ_MEM_RECLAIM, 0, vhd->index);
	return vhd->local_wq ? 0 : -ENOMEM;
}

int vhd_lane_start(struct vhd_device *vhd, struct vhd_layer *layer,
		   bool required)
{
	int ret = 0;

	if (vhd->fast_lane)
		ret = vhd_lane_create(&layer->backing, vhd->wq);
	return required ? ret : 0;
}

/* Everything below the disk. */
static int vhd_device_setup(struct vhd_device *vhd, struct file **files,
			    const struct vhd_attach_args *args)
{
	int ret;

	ret = vhd_layers_open(vhd, files, args);
	if (ret)
		goto out_layers;
	vhd->discard = vhd_may_discard(vhd->top) &&
		       !(args->flags & VHD_ATTACH_NO_DISCARD);
	ret = vhd_writeback_init(vhd);
	/* An old 511-byte footer gets its last byte. */
	if (!ret && vhd->top->img.space.file_size % VHD_SECTOR_SIZE)
		ret = vhd_writeback_tidy(vhd);
	if (ret)
		goto out_writeback;
	ret = vhd_index_get(vhd, args->index);
	if (ret)
		goto out_writeback;
	/* What is looked for in vain costs each request a little. */
	if (!(args->flags & VHD_ATTACH_FAST_LANE_ON))
		vhd->fast_lane &= vhd_lane_possible(&vhd->top->backing);
	ret = vhd_workqueues_create(vhd);
	if (!ret)
		ret = vhd_lane_start(vhd, vhd->top,
				     args->flags & VHD_ATTACH_FAST_LANE_ON);
	if (!ret)
		ret = vhd_shrinker_add(&vhd->shrinker, vhd, vhd_shrink_count,
				       vhd_shrink_scan, vhd->index);
	if (ret)
		goto out_index;
	ret = vhd_queues_start(vhd);
	if (ret)
		goto out_shrinker;
	return 0;

out_shrinker:
	vhd_shrinker_remove(&vhd->shrinker);
out_index:
	vhd_index_put(vhd);
out_writeback:
	vhd_writeback_free(vhd);
out_layers:
	vhd_layers_close(vhd);
	return ret;
}

static void vhd_device_go_live(struct vhd_device *vhd,
			       struct vhd_attach_args *args)
{
	args->index = vhd->index;
	args->major = MAJOR(disk_devt(vhd->disk));
	args->minor = MINOR(disk_devt(vhd->disk));
	vhd_info(vhd, "%pD attached, %llu sectors%s\n", vhd->top->backing.file,
		 (u64)get_capacity(vhd->disk),
		 vhd->top->img.writable ? "" : ", read-only");
	mutex_lock(&vhd->lock);
	vhd->used = false;
	vhd->state = VHD_LIVE;
	mutex_unlock(&vhd->lock);
}

int vhd_device_attach(struct vhd_attach_args *args, struct file **files)
{
	struct vhd_device *vhd = vhd_device_alloc();
	int ret;

	if (!vhd)
		return -ENOMEM;
	vhd->nr_queues = num_online_cpus();
	vhd->autoclear = args->flags & VHD_ATTACH_AUTOCLEAR;
	vhd->size_chs = args->flags & VHD_ATTACH_SIZE_CHS;
	vhd->fast_lane = args->flags & (VHD_ATTACH_FAST_LANE |
					VHD_ATTACH_FAST_LANE_ON);
	INIT_WORK(&vhd->remove_work, vhd_remove_work);
	ret = vhd_device_setup(vhd, files, args);
	if (ret)
		goto out_free;
	ret = vhd_disk_create(vhd, args);
	if (ret)
		goto out_teardown;
	ret = device_add_disk(NULL, vhd->disk, vhd_groups);
	if (ret)
		goto out_disk;
	__module_get(THIS_MODULE);
	vhd_device_go_live(vhd, args);
	return 0;

out_disk:
	put_disk(vhd->disk);
	blk_mq_free_tag_set(&vhd->tag_set);
out_teardown:
	vhd_device_teardown(vhd);
out_free:
	vhd_device_free(vhd);
	return ret;
}

/* ---- control of a live device -------------------------------------------------- */

struct vhd_device *vhd_device_get(int index)
{
	struct vhd_device *vhd;

	mutex_lock(&vhd_control_mutex);
	vhd = xa_load(&vhd_devices, index);
	if (vhd) {
		mutex_lock(&vhd->lock);
		if (vhd->state == VHD_LIVE)
			vhd->openers++;
		else
			index = -1;
		mutex_unlock(&vhd->lock);
	}
	mutex_unlock(&vhd_control_mutex);
	return index < 0 ? NULL : vhd;
}

void vhd_device_put(struct vhd_device *vhd)
{
	bool gone;

	mutex_lock(&vhd->lock);
	gone = !--vhd->openers && vhd_last_close(vhd);
	mutex_unlock(&vhd->lock);
	if (gone)
		queue_work(vhd_remove_wq, &vhd->remove_work);
}

struct vhd_device *vhd_device_change(int index)
{
	struct vhd_device *vhd = vhd_device_get(index);

	if (!vhd)
		return ERR_PTR(-ENODEV);
	mutex_lock(&vhd->set_lock);
	if (!vhd->gate)
		return vhd;
	vhd_device_changed(vhd);
	return ERR_PTR(-EINPROGRESS);
}

void vhd_device_changed(struct vhd_device *vhd)
{
	mutex_unlock(&vhd->set_lock);
	vhd_device_put(vhd);
}

void vhd_device_tell(struct vhd_device *vhd)
{
	disk_uevent(vhd->disk, KOBJ_CHANGE);
}

static int vhd_set_read_only(struct vhd_device *vhd, bool ro)
{
	int ret = 0;

	if (!ro && !vhd->top->img.writable)
		return -EROFS;
	mutex_lock(&vhd->lock);
	/* One of the openers is the caller. */
	if (vhd->openers > 1)
		ret = -EBUSY;
	else
		set_disk_ro(vhd->disk, ro);
	mutex_unlock(&vhd->lock);
	return ret;
}

/*
 * With the queue frozen nothing may be waited for that does file I/O: the file
 * system may need memory, and memory this very device.
 */
static bool vhd_try_set_dio(struct vhd_device *vhd, bool dio)
{
	unsigned int flags = vhd_freeze_queue(vhd->disk->queue);
	struct vhd_backing *b;
	bool done = true;
	unsigned int i;

	/* Parents follow where they can: a layer goes one way by itself. */
	for (i = 0; i < vhd->nr_layers; i++) {
		b = &vhd->layers[i]->backing;
		done &= vhd_backing_try_set_dio(b, dio && b->dio_possible);
	}
	vhd_unfreeze_queue(vhd->disk->queue, flags);
	return done;
}

static int vhd_set_dio(struct vhd_device *vhd, bool dio)
{
	unsigned int i;
	int ret;

	if (dio && !vhd->top->backing.dio_possible)
		return -EOPNOTSUPP;
	do {
		ret = vhd_writeback_sync(vhd);
		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		if (ret)
			return ret;
	} while (!vhd_try_set_dio(vhd, dio));
	for (i = 0; i < vhd->nr_layers; i++)
		vhd_backing_drop_cache(&vhd->layers[i]->backing);
	return 0;
}

static int vhd_reread(struct vhd_device *vhd)
{
	int ret;

	mutex_lock(&vhd->disk->open_mutex);
	ret = bdev_disk_changed(vhd->disk, false);
	mutex_unlock(&vhd->disk->open_mutex);
	return ret;
}

static int vhd_set(struct vhd_device *vhd, u32 mask, u32 flags)
{
	int ret = 0;

	if (mask & VHD_SET_READ_ONLY)
		ret = vhd_set_read_only(vhd, flags & VHD_SET_READ_ONLY);
	if (!ret && mask & VHD_SET_AUTOCLEAR) {
		mutex_lock(&vhd->lock);
		vhd->autoclear = flags & VHD_SET_AUTOCLEAR;
		mutex_unlock(&vhd->lock);
	}
	if (!ret && mask & VHD_SET_DIO)
		ret = vhd_set_dio(vhd, flags & VHD_SET_DIO);
	if (!ret && mask & VHD_SET_REREAD)
		ret = vhd_reread(vhd);
	return ret;
}

int vhd_device_set(const struct vhd_set_args *args)
{
	struct vhd_device *vhd = vhd_device_change(args->index);
	int ret;

	if (IS_ERR(vhd))
		return PTR_ERR(vhd);
	ret = vhd_set(vhd, args->mask, args->flags);
	vhd_device_changed(vhd);
	return ret;
}

/* ---- snapshot ------------------------------------------------------------------ */

/* What a device goes on with; after the switch, what it had. */
struct vhd_switch {
	struct vhd_layer **layers;
	unsigned int nr_layers;
	struct vhd_chain chain;
};

static int vhd_snapshot_refuse(struct vhd_layer *child, const char *why)
{
	pr_warn_ratelimited("vhd: %pD: %s\n", child->backing.file, why);
	return -EINVAL;
}

/* Does the child fit the device as it is? */
static int vhd_snapshot_check(struct vhd_device *vhd, struct vhd_layer *child)
{
	struct vhd_image *img = &child->img;

	if (img->type != VHD_TYPE_DIFFERENCING)
		return vhd_snapshot_refuse(child, "is no differencing image");
	if (img->nr_allocated)
		return vhd_snapshot_refuse(child, "has blocks already");
	if (img->size != vhd->top->img.disk_size)
		return vhd_snapshot_refuse(child, "is not as large as the device");
	if (vhd_block_sectors(img) < vhd->limits.chunk)
		return vhd_snapshot_refuse(child, "has smaller blocks than requests may have");
	if (vhd_backing_checksums(&child->backing) && !vhd->limits.stable_writes)
		return vhd_snapshot_refuse(child, "lies on a file system that wants stable pages");
	/* Requests' memory is aligned for those that were there. */
	if (child->backing.dio_mem_mask & ~vhd->limits.dma_mask)
		child->backing.dio = child->backing.dio_possible = false;
	return 0;
}

/* Was the child made for the image below it? */
static int vhd_layer_check_id(struct vhd_layer **layers)
{
	struct vhd_finding f;
	int ret = vhd_chain_check_id(&layers[0]->img, &layers[1]->img, &f);

	if (ret)
		vhd_tell_finding(layers[0]->backing.file, &f);
	return ret;
}

static struct vhd_layer *vhd_snapshot_open(struct vhd_device *vhd,
					   struct file *file)
{
	int dio = vhd->top->backing.dio ? -1 : 0;
	struct vhd_layer *child;
	int ret;

	child = vhd_layer_open(file, VHD_USE_WRITE, 0, dio);
	if (IS_ERR(child))
		return child;
	ret = vhd_snapshot_check(vhd, child);
	if (!ret)
		ret = vhd_lane_start(vhd, child, false);
	if (ret) {
		vhd_layer_close(child);
		return ERR_PTR(ret);
	}
	return child;
}

/* The child on top of what is there. */
static int vhd_snapshot_prepare(struct vhd_device *vhd, struct vhd_layer *child,
				struct vhd_switch *sw)
{
	int ret;

	sw->nr_layers = vhd->nr_layers + 1;
	sw->layers = kcalloc(sw->nr_layers, sizeof(*sw->layers), GFP_KERNEL);
	if (!sw->layers)
		return -ENOMEM;
	sw->layers[0] = child;
	memcpy(sw->layers + 1, vhd->layers,
	       vhd->nr_layers * sizeof(*sw->layers));
	/* Those below were checked, or let pass, at attach. */
	ret = vhd_layer_check_id(sw->layers);
	if (ret)
		return ret;
	return vhd_layers_link(&sw->chain, sw->layers, sw->nr_layers, true);
}

/*
 * No request is under way.  Commits and growth may be, of the old top: they go
 * on with it to their end.
 */
static int vhd_snapshot_switch(struct vhd_device *vhd, struct vhd_switch *sw)
{
	struct vhd_layer *old = vhd->top;
	int ret = READ_ONCE(old->img.failed);

	if (ret)
		return ret;
	mutex_lock(&vhd->lock);
	spin_lock_irq(&vhd->wb.lock);
	swap(vhd->layers, sw->layers);
	swap(vhd->nr_layers, sw->nr_layers);
	swap(vhd->chain, sw->chain);
	WRITE_ONCE(vhd->top, vhd->layers[0]);
	vhd->wb.retiring = old;
	vhd->merges = 0;
	spin_unlock_irq(&vhd->wb.lock);
	mutex_unlock(&vhd->lock);
	return 0;
}

static int vhd_snapshot_go(struct vhd_device *vhd, struct vhd_switch *sw,
			   u64 *pause_ns)
{
	ktime_t start;
	unsigned int flags;
	int ret;

	/* What is committed now need not be waited for by those held up. */
	ret = vhd_writeback_sync(vhd);
	if (ret)
		return ret;
	start = ktime_get();
	flags = vhd_freeze_queue(vhd->disk->queue);
	ret = vhd_snapshot_switch(vhd, sw);
	vhd_unfreeze_queue(vhd->disk->queue, flags);
	*pause_ns = ktime_to_ns(ktime_sub(ktime_get(), start));
	return ret;
}

/* Let the former top be read by @file from now on; no request may be under way. */
static void vhd_snapshot_reopen(struct vhd_device *vhd, struct file *file)
{
	struct vhd_backing *b = &vhd->layers[1]->backing;
	struct file *old = b->file;
	unsigned int flags;

	flags = vhd_freeze_queue(vhd->disk->queue);
	mutex_lock(&vhd->lock);
	b->file = get_file(file);
	mutex_unlock(&vhd->lock);
	vhd_unfreeze_queue(vhd->disk->queue, flags);
	fput(old);
}

static int vhd_snapshot_to(struct vhd_device *vhd, struct vhd_layer *child,
			   struct file *parent, u64 *pause_ns)
{
	struct vhd_switch sw = { };
	int ret;

	ret = vhd_snapshot_prepare(vhd, child, &sw);
	if (!ret)
		ret = vhd_snapshot_go(vhd, &sw, pause_ns);
	vhd_chain_free(&sw.chain);
	kfree(sw.layers);
	if (ret)
		return ret;
	vhd_info(vhd, "goes on in %pD, %llu us of pause\n",
		 child->backing.file, *pause_ns / 1000);
	vhd_device_tell(vhd);
	/* It has happened; what is left is for every commit to try again. */
	if (!vhd_writeback_retire(vhd) && parent)
		vhd_snapshot_reopen(vhd, parent);
	return 0;
}

static int vhd_snapshot(struct vhd_device *vhd, struct file *file,
			struct file *parent, u64 *pause_ns)
{
	struct vhd_layer *child;
	int ret;

	if (!vhd->top->img.writable)
		return -EROFS;
	if (vhd->nr_layers >= VHD_MAX_LAYERS)
		return -EINVAL;
	if (parent && !vhd_backing_same(&vhd->top->backing, parent))
		return -EINVAL;
	ret = vhd_writeback_retire(vhd);
	if (ret)
		return ret;
	child = vhd_snapshot_open(vhd, file);
	if (IS_ERR(child))
		return PTR_ERR(child);
	ret = vhd_snapshot_to(vhd, child, parent, pause_ns);
	if (ret)
		vhd_layer_close(child);
	return ret;
}

int vhd_device_snapshot(struct vhd_snapshot_args *args, struct file *child,
			struct file *parent)
{
	struct vhd_device *vhd = vhd_device_change(args->index);
	int ret;

	if (IS_ERR(vhd))
		return PTR_ERR(vhd);
	ret = vhd_snapshot(vhd, child, parent, &args->pause_ns);
	vhd_device_changed(vhd);
	return ret;
}

static void vhd_device_each(void (*fn)(struct vhd_device *vhd))
{
	struct vhd_device *vhd;
	unsigned long index;

	xa_for_each(&vhd_devices, index, vhd) {
		vhd = vhd_device_get(index);
		if (!vhd)
			continue;
		fn(vhd);
		vhd_device_put(vhd);
	}
}

static void vhd_device_sync(struct vhd_device *vhd)
{
	vhd_writeback_sync(vhd);
	vhd_writeback_wait_grown(vhd);
}

void vhd_device_sync_all(void)
{
	vhd_device_each(vhd_device_sync);
}

void vhd_device_resume_all(void)
{
	vhd_device_each(vhd_writeback_resume);
}
