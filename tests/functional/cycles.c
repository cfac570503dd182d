// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cycles IMAGE COUNT: attach, write, read back, detach, COUNT times.
 *
 * Only the driver's calls: what a cycle leaves behind is the driver's doing.
 */
#define _GNU_SOURCE
#include "vhdtest.h"

static void one_cycle(int control, const char *path, unsigned int n)
{
	struct vhd_attach_args args;
	static uint8_t buf[8192] __attribute__((aligned(4096)));
	int image = open(path, O_RDWR | O_CLOEXEC), dev, err;
	off_t pos = (off_t)(n % 13) * (2 << 20) + n * 4096;

	err = attach_fd(control, image, n & 1 ? VHD_ATTACH_NO_PARTSCAN : 0,
			&args);
	if (err)
		die("cycle %u: attach: %s", n, strerror(-err));
	close(image);
	dev = open_device(&args, O_RDWR | (n & 2 ? O_DIRECT : 0));
	if (dev < 0)
		die("cycle %u: open: %s", n, strerror(-dev));
	memset(buf, n, 4096);
	if (pwrite(dev, buf, 4096, pos) != 4096)
		die("cycle %u: write: %s", n, strerror(errno));
	if ((n & 4) && fsync(dev))
		die("cycle %u: fsync: %s", n, strerror(errno));
	if (pread(dev, buf + 4096, 4096, pos) != 4096)
		die("cycle %u: read: %s", n, strerror(errno));
	if (memcmp(buf, buf + 4096, 4096))
		die("cycle %u: wrong data", n);
	if (detach_index(control, args.index, 0) != -EBUSY)
		die("cycle %u: an open device could be detached", n);
	close(dev);
	err = detach_patiently(control, args.index);
	if (err)
		die("cycle %u: detach: %s", n, strerror(-err));
}

int main(int argc, char **argv)
{
	int control;
	unsigned int i;

	if (argc != 3)
		die("usage: cycles IMAGE COUNT");
	control = open_control();
	for (i = 0; i < strtoul(argv[2], NULL, 0); i++)
		one_cycle(control, argv[1], i);
	return 0;
}
