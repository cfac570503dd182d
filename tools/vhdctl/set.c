// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vhd.h>

#include "device.h"
#include "vhdctl.h"

enum {
	OPT_READ_WRITE = OPT_LONG,
	OPT_AUTOCLEAR,
	OPT_DIRECT_IO,
	OPT_REREAD,
};

static const struct option options[] = {
	{ "read-only", no_argument, NULL, 'r' },
	{ "read-write", no_argument, NULL, OPT_READ_WRITE },
	{ "autoclear", required_argument, NULL, OPT_AUTOCLEAR },
	{ "direct-io", required_argument, NULL, OPT_DIRECT_IO },
	{ "reread", no_argument, NULL, OPT_REREAD },
	COMMON_OPTIONS
};

static const char help[] =
	"set OPTION... DEVICE|IMAGE\n"
	"\n"
	"Change an attached device.\n"
	"\n"
	" -r, --read-only             refuse writes\n"
	"     --read-write            allow them again\n"
	"     --autoclear=on|off      detach when the last user is gone\n"
	"     --direct-io=on|off      how the image is read and written\n"
	"     --reread                look for partitions again\n";

static const char *const on_off[] = { "on", "off", NULL };

static void change(struct vhd_set_args *args, u32 what, bool on)
{
	args->mask |= what;
	args->flags = on ? args->flags | what : args->flags & ~what;
}

static void one_option(struct vhd_set_args *args, int c)
{
	switch (c) {
	case 'r':
		change(args, VHD_SET_READ_ONLY, true);
		break;
	case OPT_READ_WRITE:
		change(args, VHD_SET_READ_ONLY, false);
		break;
	case OPT_AUTOCLEAR:
		change(args, VHD_SET_AUTOCLEAR,
		       !parse_choice("--autoclear", optarg, on_off));
		break;
	case OPT_DIRECT_IO:
		change(args, VHD_SET_DIO,
		       !parse_choice("--direct-io", optarg, on_off));
		break;
	case OPT_REREAD:
		change(args, VHD_SET_REREAD, false);
		break;
	}
}

static int set_busy(const struct device *d, u32 mask)
{
	/* One of several changes it was, and these two can be busy. */
	error_msg(d->name, mask & VHD_SET_READ_ONLY ? "is in use" :
						      "its partitions are in use");
	holders_print(d);
	return VHDCTL_BUSY;
}

static int set_error(const struct device *d, u32 mask, int err)
{
	const char *subject = d->name;

	switch (err) {
	case 0:
		return VHDCTL_OK;
	case -EBUSY:
		return set_busy(d, mask);
	case -EINPROGRESS:
		return device_merging(d);
	case -EROFS:
		error_msg(subject, "was attached read-only");
		return VHDCTL_BAD;
	case -EOPNOTSUPP:
		error_msg(subject, "direct I/O is not possible on this image's file system");
		return VHDCTL_BAD;
	case -ENODEV:
		error_msg(subject, "is not attached");
		return VHDCTL_BAD;
	default:
		return error_errno(subject, "cannot change", err);
	}
}

static int set_device(struct vhd_set_args *args, const struct device *d)
{
	int control, code, err;

	control = control_open(&code);
	if (control < 0)
		return code;
	args->index = d->index;
	err = ioctl(control, VHD_IOC_SET, args) ? -errno : 0;
	close(control);
	return set_error(d, args->mask, err);
}

static int run_set(int argc, char **argv)
{
	struct vhd_set_args args = { .size = sizeof(args) };
	struct device d;
	int c;

	while ((c = next_option(&cmd_set, argc, argv, "r" COMMON_SHORT,
				options)) != -1)
		one_option(&args, c);
	if (argc - optind != 1)
		return usage_error(&cmd_set, "expected one DEVICE");
	if (!args.mask)
		return usage_error(&cmd_set, "nothing to change");
	if (device_find(argv[optind], &d)) {
		error_msg(argv[optind], "is not attached");
		return VHDCTL_BAD;
	}
	return set_device(&args, &d);
}

const struct command cmd_set = {
	.name = "set",
	.brief = "change an attached device",
	.help = help,
	.run = run_set,
};
