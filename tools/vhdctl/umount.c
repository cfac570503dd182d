// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "device.h"
#include "mounts.h"
#include "spawn.h"
#include "vhdctl.h"

#define TICK_MS		10
#define GONE_MS		30000

static const struct option options[] = {
	{ "lazy", no_argument, NULL, 'l' },
	COMMON_OPTIONS
};

static const char help[] =
	"umount [OPTION...] DIR|IMAGE|DEVICE...\n"
	"\n"
	"Unmount what is mounted there, or everything of an image, and wait until\n"
	"an image that goes with its last mount is detached.\n"
	"\n"
	" -l, --lazy                  unmount now, clean up when nobody uses it any\n"
	"                             more; does not wait\n";

static int unmount(const char *dir, bool lazy)
{
	char *argv[] = { "umount", lazy ? "-l" : "--", (char *)dir, NULL };
	int status = run_program(argv, NULL, 0);

	if (status < 0 || status == 127) {
		error_msg(NULL, "cannot run umount");
		return VHDCTL_BAD;
	}
	/* umount has said why; most often it is in use. */
	return status ? VHDCTL_BUSY : VHDCTL_OK;
}

/* Another device may have its name meanwhile: the number tells. */
static bool is_gone(const struct device *d, u64 diskseq)
{
	return device_number(d, "diskseq") != diskseq;
}

static void wait_gone(const struct device *d, u64 diskseq)
{
	struct timespec tick = { 0, TICK_MS * 1000000L };
	unsigned int ms;

	if (!device_number(d, "vhd/autoclear") || mounts_of(d, NULL)) {
		verbose_msg(d->name, "stays attached");
		return;
	}
	for (ms = 0; !is_gone(d, diskseq); ms += TICK_MS) {
		if (ms >= GONE_MS) {
			warning_msg(d->name, "is still attached");
			holders_print(d);
			return;
		}
		nanosleep(&tick, NULL);
	}
}

/* What was mounted last is unmounted first. */
static int unmount_all(const struct device *d, const char *arg, bool lazy)
{
	int i, n, code = VHDCTL_OK;
	char **dirs;

	n = mounts_of(d, &dirs);
	if (n < 0)
		return error_errno(arg, "cannot look for its mounts", n);
	if (!n) {
		error_msg(arg, "is not mounted");
		return VHDCTL_BAD;
	}
	for (i = n - 1; i >= 0 && !code; i--)
		code = unmount(dirs[i], lazy);
	for (i = 0; i < n; i++)
		free(dirs[i]);
	free(dirs);
	return code;
}

static bool is_directory(const char *arg)
{
	struct stat st;

	return !stat(arg, &st) && S_ISDIR(st.st_mode);
}

static int umount_one(const char *arg, bool lazy)
{
	bool dir = is_directory(arg);
	struct device d;
	u64 diskseq;
	int code;

	if (dir ? device_at(arg, &d) : device_find(arg, &d)) {
		error_msg(arg, dir ? "no file system of a VHD is mounted there" :
				     "is not attached");
		return VHDCTL_BAD;
	}
	diskseq = device_number(&d, "diskseq");
	code = dir ? unmount(arg, lazy) : unmount_all(&d, arg, lazy);
	if (!code && !lazy)
		wait_gone(&d, diskseq);
	return code;
}

static int run_umount(int argc, char **argv)
{
	int c, i, code, first = VHDCTL_OK;
	bool lazy = false;

	while ((c = next_option(&cmd_umount, argc, argv, "l" COMMON_SHORT,
				options)) != -1)
		lazy = true;
	if (optind == argc)
		return usage_error(&cmd_umount, "expected DIR or IMAGE");
	for (i = optind; i < argc; i++) {
		code = umount_one(argv[i], lazy);
		first = first ?: code;
	}
	return first;
}

const struct command cmd_umount = {
	.name = "umount",
	.brief = "unmount, and wait until the image is detached",
	.help = help,
	.run = run_umount,
};
