// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/block/vhdN/vhd/: state that needs no tool to be read; one value a file.
 * Documentation/ABI/testing/sysfs-block-vhd tells what each means.
 */
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/sysfs.h>

#include "vhd.h"

static struct vhd_device *vhd_of(struct device *dev)
{
	return dev_to_disk(dev)->private_data;
}

/*
 * A read-only attribute: what is printed for the device "vhd".  The lock keeps
 * its layers.
 */
#define VHD_ATTR(_name, ...) \
static ssize_t _name##_show(struct device *dev, \
			    struct device_attribute *attr, char *buf) \
{ \
	struct vhd_device *vhd = vhd_of(dev); \
	ssize_t ret; \
\
	mutex_lock(&vhd->lock); \
	ret = sysfs_emit(buf, __VA_ARGS__); \
	mutex_unlock(&vhd->lock); \
	return ret; \
} \
static DEVICE_ATTR_RO(_name)

static const char *vhd_type_name(const struct vhd_image *img)
{
	switch (img->type) {
	case VHD_TYPE_FIXED:
		return "fixed";
	case VHD_TYPE_DYNAMIC:
		return "dynamic";
	default:
		return "differencing";
	}
}

/* How many layers go by direct I/O; they need not agree. */
static unsigned int vhd_count_dio(const struct vhd_device *vhd)
{
	unsigned int i, n = 0;

	for (i = 0; i < vhd->nr_layers; i++)
		n += READ_ONCE(vhd->layers[i]->backing.dio);
	return n;
}

static const char *vhd_state_name(const struct vhd_device *vhd)
{
	if (READ_ONCE(vhd->state) == VHD_DETACHING)
		return "detaching";
	if (READ_ONCE(vhd->top->img.failed))
		return "failed";
	return vhd->gate ? vhd->gate->state : "live";
}

static struct inode *vhd_inode(const struct vhd_device *vhd)
{
	return file_inode(vhd->top->backing.file);
}

static ssize_t vhd_emit_path(struct vhd_layer *layer, char *buf)
{
	char *path = file_path(layer->backing.file, buf, PAGE_SIZE - 1);
	size_t len;

	if (IS_ERR(path))
		return PTR_ERR(path);
	len = strlen(path);
	memmove(buf, path, len);
	buf[len++] = '\n';
	return len;
}

static ssize_t backing_file_show(struct device *dev,
				 struct device_attribute *attr, char *buf)
{
	struct vhd_device *vhd = vhd_of(dev);
	ssize_t ret;

	mutex_lock(&vhd->lock);
	ret = vhd_emit_path(vhd->top, buf);
	mutex_unlock(&vhd->lock);
	return ret;
}
static DEVICE_ATTR_RO(backing_file);

/* Empty for an image that has no parent. */
static ssize_t parent_file_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	struct vhd_device *vhd = vhd_of(dev);
	ssize_t ret;

	mutex_lock(&vhd->lock);
	if (vhd->nr_layers < 2)
		ret = sysfs_emit(buf, "\n");
	else
		ret = vhd_emit_path(vhd->layers[1], buf);
	mutex_unlock(&vhd->lock);
	return ret;
}
static DEVICE_ATTR_RO(parent_file);

/* Empty for an image that has no parent. */
static ssize_t parent_uuid_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	struct vhd_device *vhd = vhd_of(dev);
	ssize_t ret;

	mutex_lock(&vhd->lock);
	if (vhd->top->img.type != VHD_TYPE_DIFFERENCING)
		ret = sysfs_emit(buf, "\n");
	else
		ret = sysfs_emit(buf, "%pUb\n",
				 vhd->top->img.header.parent_unique_id);
	mutex_unlock(&vhd->lock);
	return ret;
}
static DEVICE_ATTR_RO(parent_uuid);

/*
 * Counters of the core are those of its images.  All layers are summed up: after
 * a snapshot the former top has what was counted before.  They change under
 * vhd_image.lock.
 */
#define VHD_COUNTER(_name) \
static ssize_t _name##_show(struct device *dev, \
			    struct device_attribute *attr, char *buf) \
{ \
	struct vhd_device *vhd = vhd_of(dev); \
	unsigned int i; \
	u64 sum = 0; \
\
	mutex_lock(&vhd->lock); \
	for (i = 0; i < vhd->nr_layers; i++) \
		/* What may just be changing is as good as what it was. */ \
		sum += data_race(vhd->layers[i]->img.counters._name); \
	mutex_unlock(&vhd->lock); \
	return sysfs_emit(buf, "%llu\n", sum); \
} \
static DEVICE_ATTR_RO(_name)

/* The same of what every worker has counted by itself. */
#define VHD_WORKER_COUNTER(_name, _member) \
static ssize_t _name##_show(struct device *dev, \
			    struct device_attribute *attr, char *buf) \
{ \
	struct vhd_device *vhd = vhd_of(dev); \
	unsigned long sum = 0; \
	unsigned int i; \
\
	for (i = 0; i < vhd->nr_queues; i++) \
		sum += READ_ONCE(vhd->queues[i].linger._member); \
	return sysfs_emit(buf, "%lu\n", sum); \
} \
static DEVICE_ATTR_RO(_name)

VHD_ATTR(backing_dev, "%u:%u\n", MAJOR(vhd_inode(vhd)->i_sb->s_dev),
	 MINOR(vhd_inode(vhd)->i_sb->s_dev));
VHD_ATTR(backing_ino, "%lu\n", (unsigned long)vhd_inode(vhd)->i_ino);
VHD_ATTR(file_size, "%lld\n", vhd_backing_size(&vhd->top->backing));
VHD_ATTR(type, "%s\n", vhd_type_name(&vhd->top->img));
VHD_ATTR(block_size, "%u\n", vhd->top->img.bat ? vhd_block_bytes(&vhd->top->img) : 0);
VHD_ATTR(nr_blocks, "%u\n", vhd->top->img.nr_blocks);
VHD_ATTR(allocated, "%u\n", READ_ONCE(vhd->top->img.nr_allocated));
VHD_ATTR(depth, "%u\n", vhd->nr_layers);
VHD_ATTR(uuid, "%pUb\n", vhd->top->img.footer.unique_id);
VHD_ATTR(creator, "%*pE\n", 4, &vhd->top->img.footer.creator_app);
VHD_ATTR(size_rule, "%s\n", vhd->size_chs ? "chs" : "exact");
VHD_ATTR(direct_io, "%d\n", READ_ONCE(vhd->top->backing.dio));
VHD_ATTR(direct_io_layers, "%u\n", vhd_count_dio(vhd));
VHD_ATTR(autoclear, "%d\n", READ_ONCE(vhd->autoclear));
VHD_ATTR(deferred, "%d\n", READ_ONCE(vhd->deferred));
VHD_ATTR(partscan, "%d\n",
	 !test_bit(GD_SUPPRESS_PART_SCAN, &vhd->disk->state));
VHD_ATTR(open_count, "%u\n", READ_ONCE(vhd->openers));
VHD_ATTR(queues, "%u\n", vhd->nr_queues);
VHD_ATTR(state, "%s\n", vhd_state_name(vhd));
VHD_COUNTER(commits);
VHD_COUNTER(allocations);
VHD_COUNTER(rollbacks);
VHD_COUNTER(growths);
VHD_COUNTER(unmaps);
VHD_COUNTER(moves);
VHD_COUNTER(bitmap_hits);
VHD_COUNTER(bitmap_misses);
VHD_ATTR(flushes, "%lu\n", READ_ONCE(vhd->wb.nr_flushes));
VHD_WORKER_COUNTER(linger_hits, hits);
VHD_WORKER_COUNTER(linger_sleeps, sleeps);
VHD_ATTR(discard, "%d\n", vhd->discard);
VHD_ATTR(merge_total, "%llu\n", READ_ONCE(vhd->merge_total));
VHD_ATTR(merge_left, "%llu\n", READ_ONCE(vhd->merge_left));
VHD_ATTR(merges, "%u\n", vhd->merges);
VHD_ATTR(compact_total, "%u\n", READ_ONCE(vhd->compact_total));
VHD_ATTR(compact_left, "%u\n", READ_ONCE(vhd->compact_left));
VHD_ATTR(free_slots, "%u\n", vhd_space_free_slots(&vhd->top->img));

/* Of the fast lane of the image. */
#define VHD_LANE_ATTR(_name, _format, _member) \
static ssize_t _name##_show(struct device *dev, \
			    struct device_attribute *attr, char *buf) \
{ \
	struct vhd_device *vhd = vhd_of(dev); \
	struct vhd_lane_stat st; \
\
	mutex_lock(&vhd->lock); \
	vhd_lane_stat(&vhd->top->backing, &st); \
	mutex_unlock(&vhd->lock); \
	return sysfs_emit(buf, _format "\n", st._member); \
} \
static DEVICE_ATTR_RO(_name)

VHD_LANE_ATTR(fast_lane, "%s", state);
VHD_LANE_ATTR(fast_lane_mapped, "%llu", mapped);
VHD_LANE_ATTR(fast_lane_hits, "%llu", hits);
VHD_LANE_ATTR(fast_lane_misses, "%llu", misses);
VHD_LANE_ATTR(fast_lane_breaks, "%llu", breaks);

static struct attribute *vhd_attrs[] = {
	&dev_attr_backing_file.attr,
	&dev_attr_backing_dev.attr,
	&dev_attr_backing_ino.attr,
	&dev_attr_file_size.attr,
	&dev_attr_type.attr,
	&dev_attr_block_size.attr,
	&dev_attr_nr_blocks.attr,
	&dev_attr_allocated.attr,
	&dev_attr_depth.attr,
	&dev_attr_uuid.attr,
	&dev_attr_parent_file.attr,
	&dev_attr_parent_uuid.attr,
	&dev_attr_creator.attr,
	&dev_attr_size_rule.attr,
	&dev_attr_direct_io.attr,
	&dev_attr_direct_io_layers.attr,
	&dev_attr_fast_lane.attr,
	&dev_attr_fast_lane_mapped.attr,
	&dev_attr_fast_lane_hits.attr,
	&dev_attr_fast_lane_misses.attr,
	&dev_attr_fast_lane_breaks.attr,
	&dev_attr_autoclear.attr,
	&dev_attr_deferred.attr,
	&dev_attr_partscan.attr,
	&dev_attr_open_count.attr,
	&dev_attr_queues.attr,
	&dev_attr_state.attr,
	&dev_attr_commits.attr,
	&dev_attr_allocations.attr,
	&dev_attr_rollbacks.attr,
	&dev_attr_growths.attr,
	&dev_attr_discard.attr,
	&dev_attr_unmaps.attr,
	&dev_attr_free_slots.attr,
	&dev_attr_flushes.attr,
	&dev_attr_bitmap_hits.attr,
	&dev_attr_bitmap_misses.attr,
	&dev_attr_linger_hits.attr,
	&dev_attr_linger_sleeps.attr,
	&dev_attr_merge_total.attr,
	&dev_attr_merge_left.attr,
	&dev_attr_merges.attr,
	&dev_attr_moves.attr,
	&dev_attr_compact_total.attr,
	&dev_attr_compact_left.attr,
	NULL
};

static const struct attribute_group vhd_group = {
	.name = "vhd",
	.attrs = vhd_attrs,
};

const struct attribute_group *vhd_groups[] = {
	&vhd_group,
	NULL
};
