// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * failnth IMAGE attach|io|workers|set|detach|all [STEP]: each allocation fails
 * once.
 *
 * The operation is done again and again, and the first, the second, the third
 * ... allocation in it fails (/proc/PID/fail-nth), until one pass needed fewer
 * than that.  Allocations of the caller may fail the call, and nothing else;
 * those of the driver's own threads fail nothing at all: a request waits for
 * memory.  STEP: only every so many-th.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <linux/fs.h>
#include <sys/syscall.h>

#include "vhdtest.h"

#define MOST	3000U
#define BLOCK	(2U << 20)

static const char *path;
static int control;
static unsigned int seed;
static uint8_t buf[64 << 10] __attribute__((aligned(4096)));
static uint8_t was[64 << 10] __attribute__((aligned(4096)));

/* ---- the kernel's side --------------------------------------------------------- */

static int open_fail_nth(int pid)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/task/%d/fail-nth", pid, pid);
	return open(name, O_RDWR | O_CLOEXEC);
}

static void arm(int fd, unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fd, text, len, 0) != len)
		die("fail-nth: %s", strerror(errno));
}

/* Return: has it failed? */
static bool disarm(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		die("fail-nth: %s", strerror(errno));
	arm(fd, 0);
	return !atoi(text);
}

/* Descriptors of all threads that work for the driver */
static unsigned int open_workers(int *fds, unsigned int max)
{
	char name[300], comm[32];
	DIR *dir = opendir("/proc");
	struct dirent *de;
	unsigned int nr = 0;
	FILE *f;

	while (nr < max && (de = readdir(dir))) {
		snprintf(name, sizeof(name), "/proc/%s/comm", de->d_name);
		f = atoi(de->d_name) ? fopen(name, "r") : NULL;
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) &&
		    (!strncmp(comm, "vhd", 3) || !strncmp(comm, "kworker/u", 9)))
			fds[nr++] = open_fail_nth(atoi(de->d_name));
		fclose(f);
	}
	closedir(dir);
	return nr;
}

/* ---- operations, done with or without a failure -------------------------------- */

/* As attach in ../lib.sh: with VHD_TEST_ATTACH on the fast lane, if there is one. */
static int attach(struct vhd_attach_args *args)
{
	int image = open(path, O_RDWR | O_CLOEXEC), err;

	if (image < 0)
		return -errno;
	err = attach_fd(control, image, getenv("VHD_TEST_ATTACH") ?
			VHD_ATTACH_FAST_LANE : 0, args);
	close(image);
	return err;
}

static void attach_or_die(struct vhd_attach_args *args)
{
	int err = attach(args);

	if (err)
		die("attach: %s", strerror(-err));
}

/* An error is an answer; the device is gone either way. */
static void detach(const struct vhd_attach_args *args)
{
	int err = detach_patiently(control, args->index);

	if (err == -EBUSY || err == -ENODEV)
		die("detach: %s", strerror(-err));
}

static void fill(void *p, size_t len)
{
	uint32_t *words = p;
	size_t i;

	seed++;
	for (i = 0; i < len / 4; i++)
		words[i] = seed << 16 ^ i;
}

/* Write and flush and read back, in another block each time and across two */
static int use(int dev, unsigned int n)
{
	off_t pos = (off_t)(n % 14 + 1) * BLOCK - (n & 1 ? 4096 : 32768) +
		    n / 14 * 4096;

	fill(buf, sizeof(buf));
	if (pwrite(dev, buf, sizeof(buf), pos) != sizeof(buf) || fsync(dev))
		return -errno;
	if (pread(dev, was, sizeof(was), pos) != sizeof(was))
		return -errno;
	if (memcmp(buf, was, sizeof(buf)))
		die("pass %u: wrong data", n);
	return 0;
}

static int open_or_die(const struct vhd_attach_args *args, int flags)
{
	int dev = open_device(args, flags);

	if (dev < 0)
		die("open: %s", strerror(-dev));
	return dev;
}

/* ---- what fails ------------------------------------------------------------------ */

static bool pass_attach(int self, unsigned int n)
{
	struct vhd_attach_args args;
	bool failed;
	int err, dev;

	arm(self, n);
	err = attach(&args);
	failed = disarm(self);
	if (err && !failed)
		die("attach: %s, though nothing failed", strerror(-err));
	if (err)
		return true;
	dev = open_or_die(&args, O_RDWR | O_DIRECT);
	err = use(dev, n);
	if (err)
		die("pass %u: an attached device fails: %s", n, strerror(-err));
	close(dev);
	detach(&args);
	return failed;
}

static bool pass_io(int self, unsigned int n)
{
	struct vhd_attach_args args;
	bool failed;
	int dev, err;

	attach_or_die(&args);
	arm(self, n);
	dev = open_device(&args, O_RDWR | (n & 2 ? O_DIRECT : 0));
	err = dev < 0 ? dev : use(dev, n);
	failed = disarm(self);
	if (err && !failed)
		die("I/O: %s, though nothing failed", strerror(-err));
	if (dev >= 0) {
		err = use(dev, n);
		if (err)
			die("pass %u: I/O fails afterwards: %s", n,
			    strerror(-err));
		close(dev);
	}
	detach(&args);
	return failed;
}

static bool pass_workers(int self, unsigned int n)
{
	struct vhd_attach_args args;
	unsigned int nr, i;
	bool failed = false;
	int fds[256], dev, err;

	(void)self;
	attach_or_die(&args);
	dev = open_or_die(&args, O_RDWR | O_DIRECT);
	nr = open_workers(fds, ARRAY_SIZE(fds));
	for (i = 0; i < nr; i++)
		if (fds[i] >= 0)
			arm(fds[i], n);
	err = use(dev, n);
	for (i = 0; i < nr; i++) {
		if (fds[i] < 0)
			continue;
		failed |= disarm(fds[i]);
		close(fds[i]);
	}
	if (err)
		die("pass %u: a request has failed: %s", n, strerror(-err));
	close(dev);
	detach(&args);
	return failed;
}

static bool pass_set(int self, unsigned int n)
{
	static const uint32_t masks[] = {
		VHD_SET_READ_ONLY, VHD_SET_AUTOCLEAR, VHD_SET_DIO,
		VHD_SET_REREAD,
	};
	struct vhd_attach_args args;
	bool failed = false;
	unsigned int i, on;
	int dev, err;

	attach_or_die(&args);
	for (i = 0; i < ARRAY_SIZE(masks) * 2; i++) {
		on = i & 1;
		struct vhd_set_args set = {
			.size = sizeof(set),
			.index = args.index,
			.mask = masks[i / 2],
			.flags = on || masks[i / 2] == VHD_SET_REREAD ?
				 0 : masks[i / 2],
		};

		arm(self, n);
		err = ioctl(control, VHD_IOC_SET, &set) ? -errno : 0;
		failed |= disarm(self);
		/* A device that cannot do direct I/O says so. */
		if (err && err != -EOPNOTSUPP && err != -EBUSY && !failed)
			die("set %#x: %s, though nothing failed", masks[i / 2],
			    strerror(-err));
	}
	struct vhd_set_args writable = {
		.size = sizeof(writable),
		.index = args.index,
		.mask = VHD_SET_READ_ONLY | VHD_SET_AUTOCLEAR,
	};
	ioctl(control, VHD_IOC_SET, &writable);
	dev = open_or_die(&args, O_RDWR | O_DIRECT);
	err = use(dev, n);
	if (err)
		die("pass %u: I/O fails afterwards: %s", n, strerror(-err));
	close(dev);
	detach(&args);
	return failed;
}

static bool pass_detach(int self, unsigned int n)
{
	struct vhd_attach_args args;
	bool failed;
	int dev, err;

	attach_or_die(&args);
	dev = open_or_die(&args, O_RDWR | O_DIRECT);
	fill(buf, sizeof(buf));
	if (pwrite(dev, buf, sizeof(buf), n % 16 * BLOCK) != sizeof(buf))
		die("write: %s", strerror(errno));
	close(dev);
	arm(self, n);
	err = detach_patiently(control, args.index);
	failed = disarm(self);
	if (err && !failed)
		die("detach: %s, though nothing failed", strerror(-err));
	if (err == -EBUSY || err == -ENODEV)
		die("detach: %s", strerror(-err));
	/* What was written is there, whatever failed. */
	attach_or_die(&args);
	dev = open_or_die(&args, O_RDONLY | O_DIRECT);
	if (pread(dev, was, sizeof(was), n % 16 * BLOCK) != sizeof(was))
		die("read: %s", strerror(errno));
	if (memcmp(buf, was, sizeof(buf)))
		die("pass %u: lost in detaching", n);
	close(dev);
	detach(&args);
	return failed;
}

static const struct {
	const char *name;
	bool (*pass)(int self, unsigned int n);
} operations[] = {
	{ "attach", pass_attach },
	{ "io", pass_io },
	{ "workers", pass_workers },
	{ "set", pass_set },
	{ "detach", pass_detach },
};

static void all_passes(unsigned int which, int self, unsigned int step)
{
	unsigned int n = 1, passes = 0;

	/* Some allocations come or not: two passes without a failure are the end */
	while (n < MOST && (operations[which].pass(self, n) ||
			    operations[which].pass(self, n + 1))) {
		n += step;
		passes++;
	}
	if (n >= MOST)
		die("%s: no end of allocations", operations[which].name);
	if (!passes)
		die("%s: nothing could be made to fail", operations[which].name);
	printf("%s: %u allocations failed, one after the other\n",
	       operations[which].name, passes);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned int i, step;
	bool found = false;
	int self;

	if (argc < 3 || argc > 4)
		die("usage: failnth IMAGE OPERATION|all [STEP]");
	path = argv[1];
	step = argc == 4 ? strtoul(argv[3], NULL, 0) : 1;
	control = open_control();
	self = open_fail_nth(syscall(SYS_gettid));
	if (self < 0)
		die("this kernel has no fail-nth");
	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		if (strcmp(argv[2], "all") && strcmp(argv[2], operations[i].name))
			continue;
		all_passes(i, self, step ?: 1);
		found = true;
	}
	return found ? 0 : 2;
}
