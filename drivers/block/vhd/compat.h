/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel API differences between 6.1 and 7.3: the only file with version
 * tests.  The driver is written towards the newest API; what is missing in an
 * older kernel is supplied here.
 */
#ifndef _VHD_COMPAT_H
#define _VHD_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/exportfs.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/iomap.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#define VHD_KERNEL(a, b) (KERNEL_VERSION(a, b, 0) <= LINUX_VERSION_CODE)

#if VHD_KERNEL(6, 3)
#include <linux/filelock.h>
#endif
#if VHD_KERNEL(7, 2)
#include <linux/exportfs_block.h>
#endif

/* 6.5: block devices are opened with blk_mode_t, operations take the disk. */
#if VHD_KERNEL(6, 5)
#define VHD_OPEN_OP(name) int name(struct gendisk *disk, blk_mode_t mode)
#define VHD_OPEN_OP_DISK disk
#define VHD_RELEASE_OP(name) void name(struct gendisk *disk)
#define VHD_OPEN_IS_USE(mode) ((mode) & (BLK_OPEN_WRITE | BLK_OPEN_EXCL))
#else
#define VHD_OPEN_OP(name) int name(struct block_device *bdev, fmode_t mode)
#define VHD_OPEN_OP_DISK bdev->bd_disk
#define VHD_RELEASE_OP(name) void name(struct gendisk *disk, fmode_t mode)
#define VHD_OPEN_IS_USE(mode) ((mode) & (FMODE_WRITE | FMODE_EXCL))
#endif

/*
 * An exclusive open of a block device, for reading.  6.9: it is a file; 6.7: a
 * handle; before, the device itself.
 */
#if VHD_KERNEL(6, 9)
#define vhd_bdev_claim(bdev, holder) \
	((void *)bdev_file_open_by_dev((bdev)->bd_dev, BLK_OPEN_READ, \
				       holder, NULL))
#define vhd_bdev_release(hold) bdev_fput(hold)
#elif VHD_KERNEL(6, 7)
#define vhd_bdev_claim(bdev, holder) \
	((void *)bdev_open_by_dev((bdev)->bd_dev, BLK_OPEN_READ, holder, NULL))
#define vhd_bdev_release(hold) bdev_release(hold)
#elif VHD_KERNEL(6, 5)
#define vhd_bdev_claim(bdev, holder) \
	((void *)blkdev_get_by_dev((bdev)->bd_dev, BLK_OPEN_READ, holder, NULL))
#define vhd_bdev_release(hold) blkdev_put(hold, &vhd_claims)
#else
#define vhd_bdev_claim(bdev, holder) \
	((void *)blkdev_get_by_dev((bdev)->bd_dev, FMODE_READ | FMODE_EXCL, \
				   holder))
#define vhd_bdev_release(hold) blkdev_put(hold, FMODE_READ | FMODE_EXCL)
#endif

/* 6.14: merging is what everybody wants; the flag is gone. */
#if VHD_KERNEL(6, 14)
#define VHD_TAG_SET_FLAGS BLK_MQ_F_NO_SCHED_BY_DEFAULT
#else
#define VHD_TAG_SET_FLAGS (BLK_MQ_F_NO_SCHED_BY_DEFAULT | BLK_MQ_F_SHOULD_MERGE)
#endif

/* 6.17: a workqueue of each processor's own workers is asked for. */
#if VHD_KERNEL(6, 17)
#define VHD_WQ_PERCPU WQ_PERCPU
#else
#define VHD_WQ_PERCPU 0
#endif

/* 6.14: a frozen queue implies noio, and freezing returns the old flags. */
static inline unsigned int vhd_freeze_queue(struct request_queue *q)
{
#if VHD_KERNEL(6, 14)
	return blk_mq_freeze_queue(q);
#else
	unsigned int flags = memalloc_noio_save();

	blk_mq_freeze_queue(q);
	return flags;
#endif
}

static inline void vhd_unfreeze_queue(struct request_queue *q,
				      unsigned int flags)
{
#if VHD_KERNEL(6, 14)
	blk_mq_unfreeze_queue(q, flags);
#else
	blk_mq_unfreeze_queue(q);
	memalloc_noio_restore(flags);
#endif
}

/* 7.3: the offset in the first bvec got another name. */
#if VHD_KERNEL(7, 3)
#define vhd_bvec_offset(iter) ((iter).bi_offset)
#else
#define vhd_bvec_offset(iter) ((iter).bi_bvec_done)
#endif

/* 7.x: rotational is asked for, not its opposite. */
static inline bool vhd_bdev_rotational(struct block_device *bdev)
{
#if VHD_KERNEL(7, 0)
	return bdev_rot(bdev);
#else
	return !bdev_nonrot(bdev);
#endif
}

/* 6.7: shrinkers are allocated, and carry a pointer. */
#if VHD_KERNEL(6, 7)
struct vhd_shrinker {
	struct shrinker *shrinker;
};

static inline void *vhd_shrinker_data(struct shrinker *shrinker)
{
	return shrinker->private_data;
}

static inline int vhd_shrinker_add(struct vhd_shrinker *s, void *data,
				   unsigned long (*count)(struct shrinker *,
							  struct shrink_control *),
				   unsigned long (*scan)(struct shrinker *,
							 struct shrink_control *),
				   int index)
{
	s->shrinker = shrinker_alloc(0, "vhd%d", index);
	if (!s->shrinker)
		return -ENOMEM;
	s->shrinker->count_objects = count;
	s->shrinker->scan_objects = scan;
	s->shrinker->private_data = data;
	shrinker_register(s->shrinker);
	return 0;
}

static inline void vhd_shrinker_remove(struct vhd_shrinker *s)
{
	shrinker_free(s->shrinker);
}
#else
struct vhd_shrinker {
	struct shrinker shrinker;
	void *data;
};

static inline void *vhd_shrinker_data(struct shrinker *shrinker)
{
	return container_of(shrinker, struct vhd_shrinker, shrinker)->data;
}

static inline int vhd_shrinker_add(struct vhd_shrinker *s, void *data,
				   unsigned long (*count)(struct shrinker *,
							  struct shrink_control *),
				   unsigned long (*scan)(struct shrinker *,
							 struct shrink_control *),
				   int index)
{
	s->shrinker.count_objects = count;
	s->shrinker.scan_objects = scan;
	s->shrinker.seeks = DEFAULT_SEEKS;
	s->data = data;
	return register_shrinker(&s->shrinker, "vhd%d", index);
}

static inline void vhd_shrinker_remove(struct vhd_shrinker *s)
{
	unregister_shrinker(&s->shrinker);
}
#endif

/**
 * struct vhd_limits - the queue limits this driver sets
 * @logical: logical block size, bytes
 * @physical: physical block size, bytes
 * @io_opt: size of a request that suits best, bytes
 * @chunk: sectors no request may cross a multiple of; 0: none
 * @max_sectors: sectors of the largest request
 * @discard: granularity of discards, bytes; 0: they are not accepted
 * @max_zeroes: sectors of the largest write-zeroes; 0: they are not accepted
 * @dma_mask: bits that must be clear in the address of a request's memory
 * @rotational: the disk below is a spinning one
 * @stable_writes: memory must not change while it is being written
 */
struct vhd_limits {
	unsigned int logical;
	unsigned int physical;
	unsigned int io_opt;
	unsigned int chunk;
	unsigned int max_sectors;
	unsigned int discard;
	unsigned int max_zeroes;
	unsigned int dma_mask;
	bool rotational;
	bool stable_writes;
};

#define VHD_MAX_SEGMENTS 256
/* Sectors of the largest discard: what a request can hold. */
#define VHD_MAX_DISCARD (UINT_MAX >> SECTOR_SHIFT)

/* 6.9: limits are a struct given to alloc; 6.11: features belong to them. */
#if VHD_KERNEL(6, 11)
static inline struct gendisk *vhd_alloc_disk(struct blk_mq_tag_set *set,
					     const struct vhd_limits *l,
					     void *data)
{
	struct queue_limits lim = {
		.logical_block_size	= l->logical,
		.physical_block_size	= l->physical,
		.io_min			= l->physical,
		.io_opt			= l->io_opt,
		.chunk_sectors		= l->chunk,
		.max_hw_sectors		= l->max_sectors,
		.max_segments		= VHD_MAX_SEGMENTS,
		.max_segment_size	= UINT_MAX,
		.dma_alignment		= l->dma_mask,
		.max_write_zeroes_sectors = l->max_zeroes,
		.discard_granularity	= l->discard,
		.max_hw_discard_sectors	= l->discard ? VHD_MAX_DISCARD : 0,
		.features		= BLK_FEAT_WRITE_CACHE,
	};

	if (l->rotational)
		lim.features |= BLK_FEAT_ROTATIONAL;
	if (l->stable_writes)
		lim.features |= BLK_FEAT_STABLE_WRITES;
	return blk_mq_alloc_disk(set, &lim, data);
}
#else
static inline struct gendisk *vhd_alloc_disk(struct blk_mq_tag_set *set,
					     const struct vhd_limits *l,
					     void *data)
{
	struct gendisk *disk = blk_mq_alloc_disk(set, data);
	struct request_queue *q;

	if (IS_ERR(disk))
		return disk;
	q = disk->queue;
	blk_queue_logical_block_size(q, l->logical);
	blk_queue_physical_block_size(q, l->physical);
	blk_queue_io_min(q, l->physical);
	blk_queue_io_opt(q, l->io_opt);
	blk_queue_max_hw_sectors(q, l->max_sectors);
	if (l->chunk)
		blk_queue_chunk_sectors(q, l->chunk);
	blk_queue_max_segments(q, VHD_MAX_SEGMENTS);
	blk_queue_max_segment_size(q, UINT_MAX);
	blk_queue_dma_alignment(q, l->dma_mask);
	blk_queue_max_write_zeroes_sectors(q, l->max_zeroes);
	if (l->discard) {
		q->limits.discard_granularity = l->discard;
		blk_queue_max_discard_sectors(q, VHD_MAX_DISCARD);
	}
	blk_queue_write_cache(q, true, false);
	if (!l->rotational)
		blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	if (l->stable_writes)
		blk_queue_flag_set(QUEUE_FLAG_STABLE_WRITES, q);
	return disk;
}
#endif

/* 6.9: a lease is no longer one of the locks. */
#if VHD_KERNEL(6, 9)
#define vhd_file_lease file_lease
#define vhd_lease_operations lease_manager_operations
#define vhd_lease_free(lease) locks_free_lease(lease)
#define vhd_lease_owner(lease) ((lease)->c.flc_owner)
#else
#define vhd_file_lease file_lock
#define vhd_lease_operations lock_manager_operations
#define vhd_lease_free(lease) locks_free_lock(lease)
#define vhd_lease_owner(lease) ((lease)->fl_owner)
#endif

/* 7.0: the lease's owner is asked about others who have the file open. */
#if VHD_KERNEL(7, 0)
#define VHD_LEASE_OPEN_CONFLICT
#endif

/* A lease to be set: FL_LAYOUT or FL_DELEG; or NULL. */
static inline struct vhd_file_lease *
vhd_lease_alloc(struct file *file, unsigned int flags,
		const struct vhd_lease_operations *ops, void *owner)
{
#if VHD_KERNEL(6, 9)
	struct file_lease *lease = locks_alloc_lease();

	if (!lease)
		return NULL;
	locks_init_lease(lease);
	lease->c.flc_flags = flags;
	lease->c.flc_type = F_RDLCK;
	lease->c.flc_owner = owner;
	lease->c.flc_file = file;
#else
	struct file_lock *lease = locks_alloc_lock();

	if (!lease)
		return NULL;
	locks_init_lock(lease);
	lease->fl_flags = flags;
	lease->fl_type = F_RDLCK;
	lease->fl_owner = owner;
	lease->fl_file = file;
	lease->fl_end = OFFSET_MAX;
#endif
	lease->fl_lmops = ops;
	return lease;
}

/* 7.2: block layouts have operations of their own. */
#if VHD_KERNEL(7, 2)
static inline const struct exportfs_block_ops *
vhd_layout_ops(struct super_block *sb)
{
#ifdef CONFIG_EXPORTFS_BLOCK_OPS
	return sb->s_export_op ? sb->s_export_op->block_ops : NULL;
#else
	return NULL;
#endif
}
#else
static inline const struct export_operations *
vhd_layout_ops(struct super_block *sb)
{
	return sb->s_export_op;
}
#endif

static inline bool vhd_can_map_blocks(struct super_block *sb)
{
	return vhd_layout_ops(sb) && vhd_layout_ops(sb)->map_blocks;
}

/* The extent at @pos as it is, not to be written to or allocated. */
static inline int vhd_map_blocks(struct inode *inode, loff_t pos, u64 len,
				 struct iomap *iomap)
{
	u32 generation;

	return vhd_layout_ops(inode->i_sb)->map_blocks(inode, pos, len, iomap,
						       false, &generation);
}

/* 6.17: file attributes got another name, of the same fields. */
static inline bool vhd_file_nodefrag(struct file *file)
{
#if VHD_KERNEL(6, 17)
	struct file_kattr fa = { };
#else
	struct fileattr fa = { };
#endif

	return !vfs_fileattr_get(file->f_path.dentry, &fa) &&
	       fa.fsx_xflags & FS_XFLAG_NODEFRAG;
}

#endif /* _VHD_COMPAT_H */
