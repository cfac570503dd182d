/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the test programs have in common: the driver's calls, without vhdctl
 * between, and a way out.
 */
#ifndef _VHDTEST_H
#define _VHDTEST_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <linux/vhd.h>

#define SECTOR		512U
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static inline void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static inline double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static inline int open_control(void)
{
	int fd = open("/dev/" VHD_CONTROL_NAME, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/" VHD_CONTROL_NAME ": %s", strerror(errno));
	return fd;
}

/* Attach an open image; returns 0 with the device in @args, or -errno. */
static inline int attach_fd(int control, int image, uint32_t flags,
			    struct vhd_attach_args *args)
{
	int32_t fd = image;

	*args = (struct vhd_attach_args){
		.size = sizeof(*args),
		.flags = flags,
		.fds = (uintptr_t)&fd,
		.nr_layers = 1,
		.index = -1,
	};
	return ioctl(control, VHD_IOC_ATTACH, args) ? -errno : 0;
}

static inline int detach_index(int control, int index, uint32_t flags)
{
	struct vhd_detach_args args = {
		.size = sizeof(args),
		.flags = flags,
		.index = index,
	};

	return ioctl(control, VHD_IOC_DETACH, &args) ? -errno : 0;
}

/*
 * Detach, however often somebody (udev, a partition scan) has the device open
 * for a moment.
 */
static inline int detach_patiently(int control, int index)
{
	double end = seconds() + 20;
	int err;

	while ((err = detach_index(control, index, 0)) == -EBUSY &&
	       seconds() < end)
		usleep(2000);
	return err;
}

/* Open /dev/vhdN; where nothing makes nodes, one made here by its number. */
static inline int open_device(const struct vhd_attach_args *args, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/vhd%d", args->index);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

#endif /* _VHDTEST_H */
