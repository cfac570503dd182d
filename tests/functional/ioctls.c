// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ioctls IMAGE: call /dev/vhd-control with everything it must refuse, and with
 * what it must accept from newer and older callers.  IMAGE is left as it was.
 *
 *	ioctls --expect ERRNO IMAGE: one plain attach, which must fail so
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "vhdtest.h"

static int control, image, failures;
static const char *image_path;

static void expect(const char *what, int got, int want)
{
	if (got == want)
		return;
	printf("%s: %s, expected %s\n", what,
	       got ? strerror(-got) : "success", want ? strerror(-want) : "success");
	failures++;
}

static int call(unsigned long nr, void *arg)
{
	return ioctl(control, nr, arg) ? -errno : 0;
}

static struct vhd_attach_args attach_args(int32_t *fd)
{
	return (struct vhd_attach_args){
		.size = sizeof(struct vhd_attach_args),
		.fds = (uintptr_t)fd,
		.nr_layers = 1,
		.index = -1,
	};
}

/* One attach that may differ from a good one in anything; undone at once. */
static int try_attach(struct vhd_attach_args *args)
{
	int err = call(VHD_IOC_ATTACH, args);

	if (!err)
		detach_patiently(control, args->index);
	return err;
}

static void attach_fields(void)
{
	int32_t fd = image;
	struct vhd_attach_args good = attach_args(&fd), args;
	uint32_t bit;

#define BAD(field, value, err) do {					\
	args = good;							\
	args.field = value;						\
	expect("attach " #field " = " #value, try_attach(&args), err);	\
} while (0)
	BAD(reserved, 1, -EINVAL);
	BAD(nr_layers, 0, -EINVAL);
	BAD(nr_layers, VHD_MAX_LAYERS + 1, -EINVAL);
	BAD(nr_layers, 0xFFFFFFFF, -EINVAL);
	BAD(index, -2, -EINVAL);
	BAD(index, INT32_MIN, -EINVAL);
	BAD(logical_block_size, 1, -EINVAL);
	BAD(logical_block_size, 513, -EINVAL);
	BAD(logical_block_size, 0x80000000, -EINVAL);
	BAD(flags, VHD_ATTACH_DIO_ON | VHD_ATTACH_DIO_OFF, -EINVAL);
	BAD(fds, 0, -EFAULT);
	BAD(fds, 0xFFFF800000000000ULL, -EFAULT);
	BAD(fds, UINT64_MAX - 1, -EFAULT);
	for (bit = 1; bit; bit <<= 1)
		if (!(bit & VHD_ATTACH_FLAGS))
			BAD(flags, bit, -EINVAL);
	args = good;
	expect("a good attach", try_attach(&args), 0);
}

/* A child-first list of the same file twice is no chain. */
static void attach_layers(void)
{
	int32_t fds[2] = { image, image };
	struct vhd_attach_args args = attach_args(fds);
	int err;

	args.nr_layers = 2;
	err = try_attach(&args);
	expect("one image as two layers", err, -EINVAL);
	fds[1] = -1;
	args = attach_args(fds);
	args.nr_layers = 2;
	err = try_attach(&args);
	expect("second layer -1", err, -EBADF);
}

static void attach_one_fd(const char *what, int fd, uint32_t flags, int want)
{
	int32_t fd32 = fd;
	struct vhd_attach_args args = attach_args(&fd32);

	args.flags = flags;
	expect(what, try_attach(&args), want);
	if (fd >= 0)
		close(fd);
}

static void attach_descriptors(void)
{
	int pair[2], fd, memfd;

	attach_one_fd("fd -1", -1, 0, -EBADF);
	fd = dup(image);
	close(fd);
	attach_one_fd("closed fd", fd, 0, -EBADF);
	attach_one_fd("fd 1000000", 1000000, 0, -EBADF);
	attach_one_fd("directory", open("/tmp", O_RDONLY), 0, -EINVAL);
	attach_one_fd("directory, read-only", open("/tmp", O_RDONLY),
		      VHD_ATTACH_READ_ONLY, -EINVAL);
	if (pipe(pair))
		die("pipe");
	attach_one_fd("pipe, reading end", pair[0], VHD_ATTACH_READ_ONLY, -EINVAL);
	attach_one_fd("pipe, writing end", pair[1], 0, -EINVAL);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("socketpair");
	attach_one_fd("socket", pair[0], 0, -EINVAL);
	close(pair[1]);
	attach_one_fd("character device", open("/dev/zero", O_RDWR), 0, -EINVAL);
	attach_one_fd("the control node", dup(control), 0, -EINVAL);
	attach_one_fd("eventfd", eventfd(0, 0), 0, -EINVAL);
	attach_one_fd("O_PATH", open(image_path, O_PATH), 0, -EBADF);
	attach_one_fd("O_WRONLY", open(image_path, O_WRONLY), 0, -EACCES);
	attach_one_fd("O_RDONLY for writing", open(image_path, O_RDONLY), 0,
		      -EACCES);
	attach_one_fd("O_RDONLY, read-only", open(image_path, O_RDONLY),
		      VHD_ATTACH_READ_ONLY, 0);
	memfd = memfd_create("empty", 0);
	attach_one_fd("an empty memfd", memfd, 0, -EMEDIUMTYPE);
}

/* Wrong and future sizes of every struct. */
static void sizes_of(const char *what, unsigned long nr, const void *good,
		     uint32_t known, int good_result)
{
	uint8_t *big = calloc(1, 1 << 20);
	char line[100];
	int err;

#define SIZE(value, want) do {						\
	memcpy(big, good, known);					\
	*(uint32_t *)big = (value);					\
	snprintf(line, sizeof(line), "%s: size %s", what, #value);	\
	err = call(nr, big);						\
	expect(line, err, want);					\
	if (!err && nr == VHD_IOC_ATTACH)				\
		detach_patiently(control,				\
				 ((struct vhd_attach_args *)big)->index);\
} while (0)
	SIZE(0, -EINVAL);
	SIZE(1, -EINVAL);
	SIZE(4, -EINVAL);
	SIZE(known - 1, -EINVAL);
	SIZE(known, good_result);
	SIZE(known + 8, good_result);
	SIZE(known + 1, good_result);
	SIZE(4096, good_result);
	SIZE(4097, -E2BIG);
	SIZE(0xFFFFFFFF, -E2BIG);
	big[known + 3] = 1;
	SIZE(known + 8, -E2BIG);
	SIZE(known + 3, good_result);
	free(big);
}

static void sizes(void)
{
	int32_t fd = image;
	struct vhd_attach_args attach = attach_args(&fd);
	struct vhd_detach_args detach = {
		.size = sizeof(detach), .index = 4711 };
	struct vhd_set_args set = {
		.size = sizeof(set), .index = 4711, .mask = VHD_SET_AUTOCLEAR };

	sizes_of("attach", VHD_IOC_ATTACH, &attach, sizeof(attach), 0);
	sizes_of("detach", VHD_IOC_DETACH, &detach, sizeof(detach), -ENODEV);
	sizes_of("set", VHD_IOC_SET, &set, sizeof(set), -ENODEV);
}

/* A struct at the very end of what is mapped. */
static void pointers(void)
{
	long page = sysconf(_SC_PAGESIZE);
	unsigned long nrs[] = { VHD_IOC_ATTACH, VHD_IOC_DETACH, VHD_IOC_SET,
				VHD_IOC_RESIZE };
	uint8_t *end = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t i;

	munmap(end + page, page);
	for (i = 0; i < ARRAY_SIZE(nrs); i++) {
		uint32_t *arg = (uint32_t *)(end + page - 8);

		expect("NULL", call(nrs[i], NULL), -EFAULT);
		expect("a kernel address",
		       call(nrs[i], (void *)0xFFFF800000000000ULL), -EFAULT);
		arg[0] = sizeof(struct vhd_attach_args);
		arg[1] = 0;
		expect("a struct over the edge", call(nrs[i], arg), -EFAULT);
		arg[1] = sizeof(struct vhd_attach_args);
		expect("only a size", call(nrs[i], arg + 1), -EFAULT);
	}
	munmap(end, page);
}

/* The answer cannot be written: then there must be no device either. */
static void read_only_argument(void)
{
	long page = sysconf(_SC_PAGESIZE);
	int32_t fd = image;
	struct vhd_attach_args *args = mmap(NULL, page, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*args = attach_args(&fd);
	mprotect(args, page, PROT_READ);
	expect("attach, argument in read-only memory",
	       call(VHD_IOC_ATTACH, args), -EFAULT);
	munmap(args, page);
	attach_one_fd("attach after that", dup(image), 0, 0);
}

static void numbers(void)
{
	uint8_t buf[4096] = { 0 };
	uint32_t nr;

	for (nr = 3; nr < 256; nr += 50)
		expect("unknown number",
		       call(_IOWR(VHD_IOC_MAGIC, nr, struct vhd_attach_args),
			    buf), -ENOTTY);
	expect("a terminal's number", call(0x5401, buf), -ENOTTY);
	expect("our number, other size",
	       call(_IOWR(VHD_IOC_MAGIC, 0, char[8]), buf), -ENOTTY);
	expect("our number, other direction",
	       call(_IO(VHD_IOC_MAGIC, 0), buf), -ENOTTY);
	expect("another magic", call(_IO('X', 0), buf), -ENOTTY);
}

static void detach_and_set(void)
{
	int indexes[] = { -1, -2, INT32_MIN, INT32_MAX, 99 };
	struct vhd_set_args set;
	struct vhd_detach_args detach;
	struct vhd_resize_args resize;
	struct vhd_compact_args compact;
	uint32_t i;

	for (i = 0; i < ARRAY_SIZE(indexes); i++) {
		expect("detach of no device",
		       detach_index(control, indexes[i], 0), -ENODEV);
		set = (struct vhd_set_args){ .size = sizeof(set),
			.index = indexes[i], .mask = VHD_SET_AUTOCLEAR };
		expect("set of no device", call(VHD_IOC_SET, &set), -ENODEV);
		resize = (struct vhd_resize_args){ .size = sizeof(resize),
			.index = indexes[i], .bytes = 512 };
		expect("resize of no device", call(VHD_IOC_RESIZE, &resize),
		       -ENODEV);
		compact = (struct vhd_compact_args){ .size = sizeof(compact),
			.index = indexes[i] };
		expect("compact of no device", call(VHD_IOC_COMPACT, &compact),
		       -ENODEV);
	}
	compact = (struct vhd_compact_args){ .size = sizeof(compact),
		.flags = 2 };
	expect("compact, unknown flag", call(VHD_IOC_COMPACT, &compact),
	       -EINVAL);
	compact = (struct vhd_compact_args){ .size = sizeof(compact),
		.moved = 1 };
	expect("compact, results", call(VHD_IOC_COMPACT, &compact), -EINVAL);
	compact.size--;
	expect("compact, size", call(VHD_IOC_COMPACT, &compact), -EINVAL);
	expect("detach, unknown flag", detach_index(control, 0, 4), -EINVAL);
	expect("detach, unknown flag", detach_index(control, 0, 1U << 31),
	       -EINVAL);
	expect("detach, deferred and cancel", detach_index(control, 0, 3),
	       -EINVAL);
	detach = (struct vhd_detach_args){ .size = sizeof(detach),
		.reserved = 1 };
	expect("detach, reserved", call(VHD_IOC_DETACH, &detach), -EINVAL);
	set = (struct vhd_set_args){ .size = sizeof(set), .mask = 0x80000000 };
	expect("set, unknown mask", call(VHD_IOC_SET, &set), -EINVAL);
	set = (struct vhd_set_args){ .size = sizeof(set),
		.mask = VHD_SET_AUTOCLEAR, .flags = 0x10000 };
	expect("set, unknown flags", call(VHD_IOC_SET, &set), -EINVAL);
}

static void taken_index(void)
{
	int32_t fd = image;
	struct vhd_attach_args first, second;
	char copy[4096];
	int other;

	expect("attach", attach_fd(control, image, 0, &first), 0);
	snprintf(copy, sizeof(copy), "%s.other", image_path);
	other = open(copy, O_RDWR);
	fd = other;
	second = attach_args(&fd);
	second.index = first.index;
	if (other >= 0)
		expect("an index in use", try_attach(&second), -EBUSY);
	fd = image;
	second = attach_args(&fd);
	expect("an image in use", try_attach(&second), -EBUSY);
	second = attach_args(&fd);
	second.flags = VHD_ATTACH_READ_ONLY;
	expect("an image in use, read-only", try_attach(&second), -EBUSY);
	expect("detach", detach_patiently(control, first.index), 0);
	expect("detach again", detach_index(control, first.index, 0), -ENODEV);
}

/* read, write, mmap, seek on the control node do nothing, and say so. */
static void other_calls(void)
{
	char buf[16] = "";
	ssize_t n;

	n = read(control, buf, sizeof(buf));
	expect("read", n < 0 ? -errno : (int)n, -EINVAL);
	n = write(control, buf, sizeof(buf));
	expect("write", n < 0 ? -errno : (int)n, -EINVAL);
	expect("mmap", mmap(NULL, 4096, PROT_READ, MAP_SHARED, control, 0) ==
	       MAP_FAILED ? -errno : 0, -ENODEV);
}

static int one_attach(int want, const char *path)
{
	struct vhd_attach_args args;

	control = open("/dev/" VHD_CONTROL_NAME, O_RDWR);
	if (control < 0) {
		expect("open of the control node", -errno, -want);
		return !!failures;
	}
	image = open(path, O_RDWR);
	if (image < 0)
		die("%s: %s", path, strerror(errno));
	expect("attach", attach_fd(control, image, 0, &args), -want);
	return !!failures;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--expect"))
		return one_attach(atoi(argv[2]), argv[3]);
	if (argc != 2)
		die("usage: ioctls [--expect ERRNO] IMAGE");
	image_path = argv[1];
	control = open_control();
	image = open(image_path, O_RDWR);
	if (image < 0)
		die("%s: %s", image_path, strerror(errno));
	attach_fields();
	attach_layers();
	attach_descriptors();
	sizes();
	pointers();
	read_only_argument();
	numbers();
	detach_and_set();
	taken_index();
	other_calls();
	return !!failures;
}
