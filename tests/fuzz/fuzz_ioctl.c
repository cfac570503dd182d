// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ioctl arguments: the module's own control.c over a user's memory that is the
 * input, compared with what include/uapi/linux/vhd.h says.
 *
 *	1 call, 1 where the argument ends against the end of memory, 1 error of
 *	the device, 1 whether privileged, memory
 */
#include <linux/string.h>

#include "fuzz.h"

/* Of vhd.h, what control.c uses; the kernel's headers are not here. */
#define _VHD_H
#include <linux/vhd.h>

#define __user
#define THIS_MODULE		NULL
#define PAGE_SIZE		4096UL
#define CAP_SYS_ADMIN		21
#define ERR_PTR(err)		((void *)(long)(err))
#define PTR_ERR(p)		((long)(p))
#define IS_ERR(p)		((unsigned long)(p) >= -4095UL)
#define u64_to_user_ptr(v)	((void *)(uintptr_t)(v))
#define get_user(v, p)		copy_from_user(&(v), p, sizeof(v))

struct file {
	int fd;
	int references;
};

struct inode;
struct module;

struct file_operations {
	struct module *owner;
	int (*open)(struct inode *inode, struct file *file);
	long (*unlocked_ioctl)(struct file *file, unsigned int cmd,
			       unsigned long arg);
	long (*compat_ioctl)(struct file *file, unsigned int cmd,
			     unsigned long arg);
};

extern const struct file_operations vhd_control_fops;

/* ---- a user ------------------------------------------------------------- */

#define USER_BASE	0x10000UL
#define USER_BYTES	8192U
/* Descriptors below are open files. */
#define USER_FDS	8

static struct {
	u8 memory[USER_BYTES];
	u8 before[USER_BYTES];
	bool privileged;
	struct file files[USER_FDS];
} user;

/* What the device was asked for, and what it answers. */
static struct {
	int calls;
	int error;
	struct vhd_attach_args attach;
	struct vhd_set_args set;
	struct vhd_snapshot_args snapshot;
	struct vhd_commit_args commit;
	struct vhd_resize_args resize;
	struct vhd_compact_args compact;
	s32 fds[VHD_MAX_LAYERS];
	int index;
	u32 flags;
	bool detached_deferred;
} device;

static u8 *user_range(const void *p, size_t len)
{
	uintptr_t at = (uintptr_t)p;

	if (at < USER_BASE || at - USER_BASE > USER_BYTES ||
	    len > USER_BYTES - (at - USER_BASE))
		return NULL;
	return user.memory + (at - USER_BASE);
}

static size_t copy_from_user(void *to, const void *from, size_t len)
{
	u8 *p = user_range(from, len);

	if (!p)
		return len;
	memcpy(to, p, len);
	return 0;
}

static size_t copy_to_user(void *to, const void *from, size_t len)
{
	u8 *p = user_range(to, len);

	if (!p)
		return len;
	memcpy(p, from, len);
	return 0;
}

static size_t clear_user(void *to, size_t len)
{
	u8 *p = user_range(to, len);

	if (!p)
		return len;
	memset(p, 0, len);
	return 0;
}

/* As the kernel's: E2BIG where bytes it does not know are not zero. */
static int copy_struct_from_user(void *dst, size_t ksize, const void *src,
				 size_t usize)
{
	size_t n = min(ksize, usize);
	u8 *p = user_range(src, usize);

	if (!p)
		return -EFAULT;
	if (usize > ksize && memchr_inv(p + ksize, 0, usize - ksize))
		return -E2BIG;
	memset((u8 *)dst + n, 0, ksize - n);
	memcpy(dst, p, n);
	return 0;
}

static bool capable(int cap)
{
	return cap == CAP_SYS_ADMIN && user.privileged;
}

static int nonseekable_open(struct inode *inode, struct file *file)
{
	return 0;
}

static long compat_ptr_ioctl(struct file *file, unsigned int cmd,
			     unsigned long arg)
{
	return -ENOTTY;
}

static struct file *fget(unsigned int fd)
{
	if (fd >= USER_FDS)
		return NULL;
	user.files[fd].references++;
	return &user.files[fd];
}

static void fput(struct file *file)
{
	assert_true(file->references-- > 0);
}

/* ---- the device --------------------------------------------------------- */

static int vhd_device_attach(struct vhd_attach_args *args, struct file **files)
{
	u32 i;

	device.calls++;
	device.attach = *args;
	for (i = 0; i < args->nr_layers; i++) {
		assert_true(files[i]->references > 0);
		device.fds[i] = files[i] - user.files;
	}
	if (device.error)
		return device.error;
	args->index = args->index < 0 ? 3 : args->index;
	args->major = 259;
	args->minor = 77;
	return 0;
}

static int vhd_device_detach(int index, u32 flags)
{
	device.calls++;
	device.index = index;
	device.flags = flags;
	return device.error;
}

static int vhd_device_set(const struct vhd_set_args *args)
{
	device.calls++;
	device.set = *args;
	return device.error;
}

static int vhd_device_snapshot(struct vhd_snapshot_args *args,
			       struct file *child, struct file *parent)
{
	device.calls++;
	device.snapshot = *args;
	assert_true(child->references > 0 && child - user.files == args->child_fd);
	assert_true(!parent == (args->parent_fd < 0));
	assert_true(!parent || (parent->references > 0 &&
				parent - user.files == args->parent_fd));
	if (device.error)
		return device.error;
	args->pause_ns = 1234567;
	return 0;
}

static int vhd_device_commit(struct vhd_commit_args *args, struct file *parent)
{
	device.calls++;
	device.commit = *args;
	assert_true(parent->references > 0 &&
		    parent - user.files == args->parent_fd);
	if (device.error)
		return device.error;
	args->pause_ns = 7654321;
	return 0;
}

static int vhd_device_resize(const struct vhd_resize_args *args)
{
	device.calls++;
	device.resize = *args;
	return device.error;
}

static int vhd_device_compact(struct vhd_compact_args *args)
{
	device.calls++;
	device.compact = *args;
	if (device.error)
		return device.error;
	args->dropped = 11;
	args->moved = 22;
	return 0;
}

#include "../../drivers/block/vhd/control.c"

/* ---- what the ABI says -------------------------------------------------- */

/* Copy the argument as a kernel that knows @known bytes of it. */
static int abi_copy(void *args, u32 known, const u8 *arg, u32 left)
{
	u32 size, i;

	if (left < 4)
		return -EFAULT;
	memcpy(&size, arg, 4);
	if (size < known)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (size > left)
		return -EFAULT;
	for (i = known; i < size; i++)
		if (arg[i])
			return -E2BIG;
	memcpy(args, arg, known);
	return 0;
}

static bool one_of(u32 v, u32 a, u32 b, u32 c)
{
	return v == a || v == b || v == c;
}

static int abi_attach(const u8 *arg, u32 left)
{
	struct vhd_attach_args a;
	int err = abi_copy(&a, sizeof(a), arg, left);
	u32 i;
	s32 fd;

	if (err)
		return err;
	if (a.flags & ~VHD_ATTACH_FLAGS || (a.flags & 0x18) == 0x18 || a.reserved ||
	    a.major || a.minor || a.index < -1 || a.nr_layers < 1 ||
	    a.nr_layers > VHD_MAX_LAYERS || !one_of(a.logical_block_size, 0, 512, 4096))
		return -EINVAL;
	for (i = 0; i < a.nr_layers; i++) {
		/* The device number is cleared before the list is read. */
		if (copy_from_user(&fd, (void *)(uintptr_t)(a.fds + 4ULL * i), 4))
			return -EFAULT;
		if (fd < 0 || fd >= USER_FDS)
			return -EBADF;
	}
	return device.error;
}

static int abi_detach(const u8 *arg, u32 left)
{
	struct vhd_detach_args a;
	int err = abi_copy(&a, sizeof(a), arg, left);

	if (err)
		return err;
	if (a.reserved || a.flags > 2)
		return -EINVAL;
	return device.error;
}

static int abi_set(const u8 *arg, u32 left)
{
	struct vhd_set_args a;
	int err = abi_copy(&a, sizeof(a), arg, left);

	if (err)
		return err;
	if (!a.mask || a.mask > 0xF || (a.flags & a.mask) != a.flags ||
	    a.flags & 8)
		return -EINVAL;
	return device.error;
}

static int abi_snapshot(const u8 *arg, u32 left)
{
	struct vhd_snapshot_args a;
	int err = abi_copy(&a, sizeof(a), arg, left);

	if (err)
		return err;
	if (a.flags || a.reserved || a.pause_ns || a.parent_fd < -1)
		return -EINVAL;
	if (a.child_fd < 0 || a.child_fd >= USER_FDS ||
	    a.parent_fd >= USER_FDS)
		return -EBADF;
	return device.error;
}

static int abi_commit(const u8 *arg, u32 left)
{
	struct vhd_commit_args a;
	int err = abi_copy(&a, sizeof(a), arg, left);

	if (err)
		return err;
	if (a.flags || a.reserved || a.pause_ns)
		return -EINVAL;
	if (a.parent_fd < 0 || a.parent_fd >= USER_FDS)
		return -EBADF;
	return device.error;
}

static int abi_resize(const u8 *arg, u32 left)
{
	struct vhd_resize_args a;
	int err = abi_copy(&a, sizeof(a), arg, left);

	if (err)
		return err;
	if (a.flags > 3 || a.reserved)
		return -EINVAL;
	return device.error;
}

static int abi_compact(const u8 *arg, u32 left)
{
	struct vhd_compact_args a;
	int err = abi_copy(&a, sizeof(a), arg, left);

	if (err)
		return err;
	if (a.flags > 1 || a.reserved || a.dropped || a.moved)
		return -EINVAL;
	return device.error;
}

static int abi_says(unsigned int cmd, const u8 *arg, u32 left)
{
	if (!user.privileged)
		return -EPERM;
	switch (cmd) {
	case VHD_IOC_ATTACH:
		return abi_attach(arg, left);
	case VHD_IOC_DETACH:
		return abi_detach(arg, left);
	case VHD_IOC_SET:
		return abi_set(arg, left);
	case VHD_IOC_SNAPSHOT:
		return abi_snapshot(arg, left);
	case VHD_IOC_COMMIT:
		return abi_commit(arg, left);
	case VHD_IOC_RESIZE:
		return abi_resize(arg, left);
	case VHD_IOC_COMPACT:
		return abi_compact(arg, left);
	default:
		return -ENOTTY;
	}
}

/* ---- a call ------------------------------------------------------------- */

static void expect_attached(u32 at)
{
	struct vhd_attach_args in, out;
	u32 i;

	memcpy(&in, user.before + at, sizeof(in));
	memcpy(&out, user.memory + at, sizeof(out));
	assert_true(!memcmp(&device.attach, &in, sizeof(in)));
	assert_int_equal(out.size, in.size);
	assert_int_equal(out.flags, in.flags);
	assert_int_equal(out.index, in.index < 0 ? 3 : in.index);
	assert_int_equal(out.major, 259);
	assert_int_equal(out.minor, 77);
	for (i = 0; i < in.nr_layers; i++)
		assert_true(!memcmp(&device.fds[i], user.before +
				    (in.fds + 4 * i - USER_BASE), 4));
	/* Nothing else of the user's memory was written to. */
	memcpy(user.before + at, &out, sizeof(out));
}

static void expect_snapshot(u32 at)
{
	struct vhd_snapshot_args in, out;

	memcpy(&in, user.before + at, sizeof(in));
	memcpy(&out, user.memory + at, sizeof(out));
	assert_true(!memcmp(&device.snapshot, &in, sizeof(in)));
	assert_int_equal(out.pause_ns, 1234567);
	memcpy(user.before + at, &out, sizeof(out));
}

static void expect_commit(u32 at)
{
	struct vhd_commit_args in, out;

	memcpy(&in, user.before + at, sizeof(in));
	memcpy(&out, user.memory + at, sizeof(out));
	assert_true(!memcmp(&device.commit, &in, sizeof(in)));
	assert_int_equal(out.pause_ns, 7654321);
	memcpy(user.before + at, &out, sizeof(out));
}

static void expect_compact(u32 at)
{
	struct vhd_compact_args in, out;

	memcpy(&in, user.before + at, sizeof(in));
	memcpy(&out, user.memory + at, sizeof(out));
	assert_true(!memcmp(&device.compact, &in, sizeof(in)));
	assert_int_equal(out.dropped, 11);
	assert_int_equal(out.moved, 22);
	memcpy(user.before + at, &out, sizeof(out));
}

static void expect_result(unsigned int cmd, u32 at, long ret)
{
	u32 i;

	if (!ret && cmd == VHD_IOC_ATTACH)
		expect_attached(at);
	if (!ret && cmd == VHD_IOC_SNAPSHOT)
		expect_snapshot(at);
	if (!ret && cmd == VHD_IOC_COMMIT)
		expect_commit(at);
	if (!ret && cmd == VHD_IOC_COMPACT)
		expect_compact(at);
	if (!ret && cmd == VHD_IOC_DETACH)
		assert_true(!memcmp(&device.index, user.before + at + 8, 4) &&
			    !memcmp(&device.flags, user.before + at + 4, 4));
	if (!ret && cmd == VHD_IOC_SET)
		assert_true(!memcmp(&device.set, user.before + at,
				    sizeof(device.set)));
	if (!ret && cmd == VHD_IOC_RESIZE)
		assert_true(!memcmp(&device.resize, user.before + at,
				    sizeof(device.resize)));
	assert_int_equal(device.calls, !ret || ret == device.error);
	assert_true(!memcmp(user.memory, user.before, USER_BYTES));
	for (i = 0; i < USER_FDS; i++)
		assert_int_equal(user.files[i].references, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned int calls[] = {
		VHD_IOC_ATTACH, VHD_IOC_DETACH, VHD_IOC_SET,
		VHD_IOC_SNAPSHOT, _IOWR(VHD_IOC_MAGIC, 9, struct vhd_set_args),
		VHD_IOC_COMMIT, VHD_IOC_RESIZE, VHD_IOC_COMPACT,
	};
	struct input in = { data, size };
	unsigned int cmd = calls[input_u8(&in) % ARRAY_SIZE(calls)];
	u32 room = input_u8(&in);
	u32 at = room < 255 ? USER_BYTES - room : 0;
	long ret, want;

	memset(&user, 0, sizeof(user));
	memset(&device, 0, sizeof(device));
	/* No error that control.c makes of itself. */
	device.error = input_u8(&in) % 4 ? 0 : -EUCLEAN;
	user.privileged = input_u8(&in) % 8;
	input_bytes(&in, user.memory + at, USER_BYTES - at);
	memcpy(user.before, user.memory, USER_BYTES);
	want = abi_says(cmd, user.memory + at, USER_BYTES - at);
	assert_int_equal(vhd_control_fops.open(NULL, NULL),
			 user.privileged ? 0 : -EPERM);
	ret = vhd_control_fops.unlocked_ioctl(NULL, cmd, USER_BASE + at);
	assert_int_equal(ret, want);
	expect_result(cmd, at, ret);
	return 0;
}
