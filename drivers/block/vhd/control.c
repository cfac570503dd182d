// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/vhd-control: arguments are checked here, work is done in device.c.
 */
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vhd.h"

/*
 * Copy an argument in whatever size the caller knows it.  The first field of
 * each is that size.  Return: it, or a negative errno.
 */
static int vhd_copy_args(void *args, size_t known, size_t least,
			 const void __user *uargs)
{
	u32 size;
	int ret;

	if (get_user(size, (const u32 __user *)uargs))
		return -EFAULT;
	if (size < least)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(args, known, uargs, size);
	return ret ? ret : size;
}

/* And back, as much of it as the caller, whose @size it was, knows of. */
static int vhd_return_args(void *args, size_t known, u32 size,
			   void __user *uargs)
{
	*(u32 *)args = size;
	return copy_to_user(uargs, args, min_t(size_t, size, known)) ?
		-EFAULT : 0;
}

static bool vhd_attach_args_valid(const struct vhd_attach_args *args)
{
	u32 both = VHD_ATTACH_DIO_ON | VHD_ATTACH_DIO_OFF;

	if (args->flags & ~VHD_ATTACH_FLAGS || (args->flags & both) == both)
		return false;
	if (args->reserved || args->major || args->minor)
		return false;
	if (args->index < -1 || !args->nr_layers ||
	    args->nr_layers > VHD_MAX_LAYERS)
		return false;
	return !args->logical_block_size || args->logical_block_size == 512 ||
	       args->logical_block_size == 4096;
}

static void vhd_put_files(struct file **files, unsigned int nr)
{
	while (nr--)
		fput(files[nr]);
	kfree(files);
}

/* The files of all layers, an array to be given to vhd_put_files(). */
static struct file **vhd_get_files(const struct vhd_attach_args *args)
{
	const s32 __user *fds = u64_to_user_ptr(args->fds);
	struct file **files;
	unsigned int i;
	int ret = 0;
	s32 fd;

	files = kcalloc(args->nr_layers, sizeof(*files), GFP_KERNEL);
	if (!files)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < args->nr_layers; i++) {
		ret = -EFAULT;
		if (get_user(fd, &fds[i]))
			break;
		ret = -EBADF;
		files[i] = fget(fd);
		if (!files[i])
			break;
		ret = 0;
	}
	if (!ret)
		return files;
	vhd_put_files(files, i);
	return ERR_PTR(ret);
}

static int vhd_ioctl_attach(void __user *uargs)
{
	struct vhd_attach_args args;
	struct file **files;
	int ret, size;

	size = vhd_copy_args(&args, sizeof(args), sizeof(args), uargs);
	if (size < 0)
		return size;
	if (!vhd_attach_args_valid(&args))
		return -EINVAL;
	/*
	 * Memory that cannot be written is better found out before there is a
	 * device: newer kernels close their partition scan only on the way
	 * back to user space, and the device cannot go before.
	 */
	if (clear_user(&((struct vhd_attach_args __user *)uargs)->major,
		       sizeof(args.major)))
		return -EFAULT;
	files = vhd_get_files(&args);
	if (IS_ERR(files))
		return PTR_ERR(files);
	ret = vhd_device_attach(&args, files);
	vhd_put_files(files, args.nr_layers);
	if (ret)
		return ret;
	ret = vhd_return_args(&args, sizeof(args), size, uargs);
	if (ret)
		vhd_device_detach(args.index, VHD_DETACH_DEFERRED);
	return ret;
}

static int vhd_ioctl_detach(void __user *uargs)
{
	struct vhd_detach_args args;
	int ret;

	ret = vhd_copy_args(&args, sizeof(args), sizeof(args), uargs);
	if (ret < 0)
		return ret;
	if (args.flags & ~VHD_DETACH_FLAGS ||
	    args.flags == VHD_DETACH_FLAGS || args.reserved)
		return -EINVAL;
	return vhd_device_detach(args.index, args.flags);
}

static int vhd_ioctl_set(void __user *uargs)
{
	struct vhd_set_args args;
	int ret;

	ret = vhd_copy_args(&args, sizeof(args), sizeof(args), uargs);
	if (ret < 0)
		return ret;
	if (!args.mask || args.mask & ~VHD_SET_FLAGS ||
	    args.flags & ~args.mask || args.flags & VHD_SET_REREAD)
		return -EINVAL;
	return vhd_device_set(&args);
}

static int vhd_snapshot_files(struct vhd_snapshot_args *args)
{
	struct file *child = fget(args->child_fd), *parent = NULL;
	int ret = -EBADF;

	if (!child)
		return -EBADF;
	if (args->parent_fd >= 0)
		parent = fget(args->parent_fd);
	if (args->parent_fd < 0 || parent)
		ret = vhd_device_snapshot(args, child, parent);
	if (parent)
		fput(parent);
	fput(child);
	return ret;
}

static int vhd_ioctl_snapshot(void __user *uargs)
{
	struct vhd_snapshot_args args;
	int ret, size;

	size = vhd_copy_args(&args, sizeof(args), sizeof(args), uargs);
	if (size < 0)
		return size;
	if (args.flags || args.reserved || args.pause_ns || args.parent_fd < -1)
		return -EINVAL;
	/* Rather now than when it has happened. */
	if (clear_user(&((struct vhd_snapshot_args __user *)uargs)->pause_ns,
		       sizeof(args.pause_ns)))
		return -EFAULT;
	ret = vhd_snapshot_files(&args);
	if (ret)
		return ret;
	return vhd_return_args(&args, sizeof(args), size, uargs);
}

static int vhd_ioctl_commit(void __user *uargs)
{
	struct vhd_commit_args args;
	struct file *parent;
	int ret, size;

	size = vhd_copy_args(&args, sizeof(args), sizeof(args), uargs);
	if (size < 0)
		return size;
	if (args.flags || args.reserved || args.pause_ns)
		return -EINVAL;
	/* Rather now than when it has happened. */
	if (clear_user(&((struct vhd_commit_args __user *)uargs)->pause_ns,
		       sizeof(args.pause_ns)))
		return -EFAULT;
	parent = fget(args.parent_fd);
	if (!parent)
		return -EBADF;
	ret = vhd_device_commit(&args, parent);
	fput(parent);
	if (ret)
		return ret;
	return vhd_return_args(&args, sizeof(args), size, uargs);
}

static int vhd_ioctl_resize(void __user *uargs)
{
	struct vhd_resize_args args;
	int ret;

	ret = vhd_copy_args(&args, sizeof(args), sizeof(args), uargs);
	if (ret < 0)
		return ret;
	if (args.flags & ~VHD_RESIZE_FLAGS || args.reserved)
		return -EINVAL;
	return vhd_device_resize(&args);
}

static int vhd_ioctl_compact(void __user *uargs)
{
	struct vhd_compact_args args;
	int ret, size;

	size = vhd_copy_args(&args, sizeof(args), sizeof(args), uargs);
	if (size < 0)
		return size;
	if (args.flags & ~VHD_COMPACT_FLAGS || args.reserved || args.dropped ||
	    args.moved)
		return -EINVAL;
	ret = vhd_device_compact(&args);
	if (ret)
		return ret;
	return vhd_return_args(&args, sizeof(args), size, uargs);
}

static long vhd_control_ioctl(struct file *file, unsigned int cmd,
			      unsigned long arg)
{
	void __user *uargs = (void __user *)arg;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	switch (cmd) {
	case VHD_IOC_ATTACH:
		return vhd_ioctl_attach(uargs);
	case VHD_IOC_DETACH:
		return vhd_ioctl_detach(uargs);
	case VHD_IOC_SET:
		return vhd_ioctl_set(uargs);
	case VHD_IOC_SNAPSHOT:
		return vhd_ioctl_snapshot(uargs);
	case VHD_IOC_COMMIT:
		return vhd_ioctl_commit(uargs);
	case VHD_IOC_RESIZE:
		return vhd_ioctl_resize(uargs);
	case VHD_IOC_COMPACT:
		return vhd_ioctl_compact(uargs);
	default:
		return -ENOTTY;
	}
}

static int vhd_control_open(struct inode *inode, struct file *file)
{
	return capable(CAP_SYS_ADMIN) ? nonseekable_open(inode, file) : -EPERM;
}

const struct file_operations vhd_control_fops = {
	.owner		= THIS_MODULE,
	.open		= vhd_control_open,
	.unlocked_ioctl	= vhd_control_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};
