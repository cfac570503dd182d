// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <libudev.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/vhd.h>

#include "device.h"
#include "vhdctl.h"

#define CONTROL		"/dev/" VHD_CONTROL_NAME
#define TICK_MS		10
/* How long a node may take to appear after modprobe, and udev to settle. */
#define NODE_MS		2000
#define SETTLE_MS	30000

static void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };

	nanosleep(&ts, NULL);
}

static int load_module(void)
{
	char *argv[] = { "modprobe", "-q", "vhd", NULL };
	char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	int status;
	pid_t pid;

	if (posix_spawn(&pid, "/sbin/modprobe", NULL, NULL, argv, env))
		return -ENOENT;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -ENOENT;
}

/* Nothing behind the name: the module is not loaded, or not yet there. */
static bool is_absent(int err)
{
	return err == ENOENT || err == ENODEV || err == ENXIO;
}

static int open_when_there(void)
{
	unsigned int ms;
	int fd;

	for (ms = 0; ; ms += TICK_MS) {
		fd = open(CONTROL, O_RDWR | O_CLOEXEC);
		if (fd >= 0 || !is_absent(errno) || ms >= NODE_MS)
			return fd;
		sleep_ms(TICK_MS);
	}
}

static void explain_absence(bool loaded)
{
	struct utsname u;

	if (loaded) {
		error_msg(CONTROL, "the module vhd is loaded, but the node is missing (is /dev a devtmpfs?)");
		return;
	}
	uname(&u);
	error_msg(NULL, "cannot load the kernel module vhd; is it installed for kernel %s?",
		  u.release);
}

int control_open(int *code)
{
	bool loaded = true;
	int fd;

	fd = open(CONTROL, O_RDWR | O_CLOEXEC);
	if (fd < 0 && is_absent(errno)) {
		verbose_msg(CONTROL, "missing: loading the module vhd");
		loaded = !load_module();
		if (loaded)
			fd = open_when_there();
	}
	if (fd >= 0)
		return fd;
	if (geteuid() && (is_absent(errno) || errno == EACCES)) {
		error_msg(CONTROL, "permission denied: this needs root");
		*code = VHDCTL_PERMISSION;
	} else if (is_absent(errno) || !loaded) {
		explain_absence(loaded);
		*code = VHDCTL_BAD;
	} else {
		*code = error_errno(CONTROL, "cannot open", -errno);
	}
	return -1;
}

bool udev_running(void)
{
	return !access("/run/udev/control", F_OK);
}

/* Has udev done its work for all of the numbers? */
static bool udev_is_done(struct udev *udev, const dev_t *devs, int n)
{
	struct udev_device *dev;
	bool done = true;
	int i;

	for (i = 0; i < n && done; i++) {
		dev = udev_device_new_from_devnum(udev, 'b', devs[i]);
		/* One that has gone meanwhile is not waited for. */
		if (dev)
			done = udev_device_get_is_initialized(dev) > 0;
		udev_device_unref(dev);
	}
	return done;
}

/* Is the noted id that of the image?  Without our rules there is none. */
static bool udev_follows(struct udev *udev, const struct device *d, dev_t dev)
{
	struct udev_device *u = udev_device_new_from_devnum(udev, 'b', dev);
	const char *noted = NULL;
	bool follows;
	char id[40];

	if (u)
		noted = udev_device_get_property_value(u, "ID_SERIAL");
	if (device_attr(d, "vhd/uuid", id, sizeof(id)))
		noted = NULL;
	follows = !noted || !strcmp(noted, id);
	/* What was noted goes with it. */
	udev_device_unref(u);
	return follows;
}

static bool udev_follows_all(struct udev *udev, const struct device *d,
			     const dev_t *devs, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (!udev_follows(udev, d, devs[i]))
			return false;
	return true;
}

void nodes_follow(const struct device *d)
{
	unsigned int ms;
	struct udev *udev;
	dev_t *devs;
	int n;

	if (!udev_running())
		return;
	udev = udev_new();
	n = device_numbers(d, &devs);
	for (ms = 0; udev && n > 0 && !udev_follows_all(udev, d, devs, n);
	     ms += TICK_MS) {
		if (ms >= SETTLE_MS) {
			warning_msg(d->name, "udev takes long; not waiting any more");
			break;
		}
		sleep_ms(TICK_MS);
	}
	free(devs);
	udev_unref(udev);
}

int device_merging(const struct device *d)
{
	char state[16];

	device_attr(d, "vhd/state", state, sizeof(state));
	error_msg(d->name, "a %s is under way; when it has ended, or was interrupted, try again",
		  strcmp(state, "compacting") ? "commit" : "compaction");
	return VHDCTL_BUSY;
}

void nodes_wait(const struct device *d)
{
	unsigned int ms;
	struct udev *udev;
	dev_t *devs;
	int n;

	if (!udev_running())
		return;
	udev = udev_new();
	n = device_numbers(d, &devs);
	for (ms = 0; udev && n > 0 && !udev_is_done(udev, devs, n);
	     ms += TICK_MS) {
		if (ms >= SETTLE_MS) {
			warning_msg(d->name, "udev takes long; not waiting any more");
			break;
		}
		sleep_ms(TICK_MS);
	}
	free(devs);
	udev_unref(udev);
}
