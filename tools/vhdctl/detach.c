// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/vhd.h>

#include "device.h"
#include "io.h"
#include "vhdctl.h"

#define RETRY_MS	100
/* udev looks at a device that was just closed; that passes. */
#define UDEV_MS		3000

enum {
	OPT_ALL = OPT_LONG,
	OPT_DEFERRED,
	OPT_CANCEL,
	OPT_WAIT,
};

static const struct option options[] = {
	{ "all", no_argument, NULL, OPT_ALL },
	{ "deferred", no_argument, NULL, OPT_DEFERRED },
	{ "cancel-deferred", no_argument, NULL, OPT_CANCEL },
	{ "wait", optional_argument, NULL, OPT_WAIT },
	COMMON_OPTIONS
};

static const char help[] =
	"detach [OPTION...] DEVICE|IMAGE...\n"
	"       vhdctl detach --all [OPTION...]\n"
	"\n"
	"Write everything to the images, tidy them and remove the devices.\n"
	"A device in use stays; its users are named (exit code 5).\n"
	"\n"
	"     --all                   all devices\n"
	"     --deferred              in use: detach when the last user is gone\n"
	"     --cancel-deferred       take a deferred detach back\n"
	"     --wait[=SECONDS]        in use: wait until it is not, or so long\n";

/** struct plan - how to detach; @wait_ms: -1: for ever */
struct plan {
	int control;
	u32 flags;
	long wait_ms;
	bool all;
};

static int try_detach(const struct plan *p, const struct device *d)
{
	struct vhd_detach_args args = {
		.size = sizeof(args),
		.flags = p->flags,
		.index = d->index,
	};

	return ioctl(p->control, VHD_IOC_DETACH, &args) ? -errno : 0;
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Is it worth to try again? */
static bool keep_trying(const struct plan *p, const struct device *d,
			long waited)
{
	if (vhd_interrupted)
		return false;
	if (p->wait_ms < 0 || waited < p->wait_ms)
		return true;
	return waited < UDEV_MS && udev_running() && holders_transient(d);
}

static int detach_busy(const struct device *d)
{
	char state[16];

	device_attr(d, "vhd/state", state, sizeof(state));
	if (!strcmp(state, "merging") || !strcmp(state, "compacting"))
		return device_merging(d);
	error_msg(d->name, "is in use; --wait waits, --deferred detaches when it is free");
	if (!holders_print(d))
		error_msg(d->name, "no user found here: perhaps a mount in another namespace");
	return VHDCTL_BUSY;
}

static int detach_error(const struct device *d, int err)
{
	switch (err) {
	case 0:
		verbose_msg(d->name, "detached");
		return VHDCTL_OK;
	case -EBUSY:
		return detach_busy(d);
	case -ENODEV:
		error_msg(d->name, "is not attached");
		return VHDCTL_BAD;
	case -EPERM:
		error_msg(d->name, "permission denied: this needs CAP_SYS_ADMIN");
		return VHDCTL_PERMISSION;
	case -EINVAL:
		return error_errno(d->name, "refused by the driver", err);
	default:
		return error_errno(d->name,
				   "is detached, but its last writes failed",
				   err);
	}
}

static int detach(const struct plan *p, const struct device *d)
{
	long start = now_ms();
	int err;

	for (;;) {
		err = try_detach(p, d);
		if (err != -EBUSY || !keep_trying(p, d, now_ms() - start))
			break;
		usleep(RETRY_MS * 1000);
	}
	return detach_error(d, err);
}

static int detach_all(const struct plan *p)
{
	int code = VHDCTL_OK;
	struct device *all;
	int i, n, one;

	n = device_list(&all);
	if (n < 0)
		return error_errno("/sys/block", "cannot read", n);
	/* The last ones first: they may lie on earlier ones. */
	for (i = n - 1; i >= 0; i--) {
		one = detach(p, &all[i]);
		code = one ? one : code;
	}
	free(all);
	return code;
}

static int detach_some(const struct plan *p, int argc, char **argv)
{
	int code = VHDCTL_OK;
	struct device d;
	int i, one;

	for (i = 0; i < argc; i++) {
		if (device_find(argv[i], &d)) {
			error_msg(argv[i], "is not attached");
			one = VHDCTL_BAD;
		} else {
			one = detach(p, &d);
		}
		code = one ? one : code;
	}
	return code;
}

static int wait_option(struct plan *p, const char *arg)
{
	char *end;
	double s;

	p->wait_ms = -1;
	if (!arg)
		return VHDCTL_OK;
	s = strtod(arg, &end);
	if (end == arg || *end || !(s >= 0 && s <= 1e9))
		return usage_error(&cmd_detach,
				   "--wait: \"%s\" is not a number of seconds",
				   arg);
	p->wait_ms = s * 1000;
	return VHDCTL_OK;
}

static int one_option(struct plan *p, int c)
{
	switch (c) {
	case OPT_ALL:
		p->all = true;
		break;
	case OPT_DEFERRED:
		p->flags |= VHD_DETACH_DEFERRED;
		break;
	case OPT_CANCEL:
		p->flags |= VHD_DETACH_CANCEL;
		break;
	case OPT_WAIT:
		return wait_option(p, optarg);
	}
	return VHDCTL_OK;
}

static int run_detach(int argc, char **argv)
{
	struct device *any;
	struct plan p = { };
	int c, code;

	while ((c = next_option(&cmd_detach, argc, argv, COMMON_SHORT,
				options)) != -1)
		if (one_option(&p, c))
			return VHDCTL_USAGE;
	if (p.all != (optind == argc))
		return usage_error(&cmd_detach,
				   "expected either DEVICE or --all");
	if (p.flags == (VHD_DETACH_DEFERRED | VHD_DETACH_CANCEL))
		return usage_error(&cmd_detach,
				   "--deferred and --cancel-deferred exclude each other");
	/* Nothing to detach is no reason to load the module. */
	if (!device_list(&any))
		return p.all ? VHDCTL_OK :
			       detach_some(&p, argc - optind, argv + optind);
	free(any);
	p.control = control_open(&code);
	if (p.control < 0)
		return code;
	code = p.all ? detach_all(&p) :
		       detach_some(&p, argc - optind, argv + optind);
	close(p.control);
	return code;
}

const struct command cmd_detach = {
	.name = "detach",
	.brief = "remove devices",
	.help = help,
	.run = run_detach,
};
