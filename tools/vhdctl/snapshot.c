// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uuid.h>

#include <linux/vhd.h>

#include "chain.h"
#include "device.h"
#include "lock.h"
#include "report.h"
#include "vhdctl.h"

enum {
	OPT_ABSOLUTE = OPT_LONG,
	OPT_UUID,
};

static const struct option options[] = {
	{ "absolute", no_argument, NULL, OPT_ABSOLUTE },
	{ "uuid", required_argument, NULL, OPT_UUID },
	PARENT_OPTIONS
	COMMON_OPTIONS
};

static const char help[] =
	"snapshot [OPTION...] IMAGE|DEVICE CHILD\n"
	"\n"
	"Keep IMAGE as it is now: make CHILD, a differencing image on top of it,\n"
	"to go on with. IMAGE must not be written any more, or CHILD is spoiled.\n"
	"A DEVICE goes on in CHILD, also while it is in use; how long its users\n"
	"had to wait is printed.\n"
	"\n"
	"     --absolute              tell CHILD only the absolute path of IMAGE\n"
	"     --uuid UUID             the id of CHILD; default: random\n"
	PARENT_HELP;

static int snapshot_image(const char *path, const char *child,
			  struct vhd_create *create, bool absolute,
			  const struct vhd_parent_options *opt)
{
	struct vhd_layers c;
	struct stat st;
	int code;

	if (!lstat(child, &st)) {
		error_msg(child, "exists");
		return VHDCTL_BUSY;
	}
	code = chain_open(&c, path, opt, 0);
	if (!code)
		code = chain_lock(&c, 0);
	if (!code)
		chain_warn(&c);
	if (!code)
		code = child_make(child, create, &c, absolute);
	vhd_layers_close(&c);
	return code;
}

/* ---- of a device ----------------------------------------------------- */

/* The image of a device, open for reading. */
static int open_backing(const struct device *d, struct vhd_file *f)
{
	char path[4096];
	struct device other;
	int err;

	if (device_attr(d, "vhd/backing_file", path, sizeof(path))) {
		error_msg(d->name, "has no image that could be found");
		return VHDCTL_BAD;
	}
	err = vhd_file_open(f, path, false);
	if (err)
		return report_open(f, path, err);
	if (device_of_file(f->dev, f->ino, &other) || other.index != d->index) {
		error_msg(d->name, "its image is not at \"%s\" any more", path);
		return VHDCTL_BAD;
	}
	/* Who writes it now is the device: in a moment it will not any more. */
	err = vhd_lock_image(f->fd, false);
	if (err && err != -EBUSY)
		warning_msg(path, "cannot be locked against other programs: %s",
			    strerror(-err));
	err = vhd_file_load(f, VHD_OPEN_FORCE);
	return err ? report_load(f, err) : VHDCTL_OK;
}

static int make_device_child(const struct device *d, const char *child,
			     struct vhd_create *create,
			     const struct vhd_file *image, bool absolute)
{
	struct vhd_link link;
	int err = vhd_link_make(&link, child, image, absolute);

	if (err)
		return report_link(child, "cannot create", image, err);
	/* The image is still committed and made tight after this. */
	link.timestamp = 0;
	create->image.size = device_number(d, "size") << VHD_SECTOR_SHIFT;
	child_defaults(create, &image->image);
	create->link = &link;
	err = vhd_create(child, create);
	create->link = NULL;
	vhd_link_free(&link);
	return err ? report_create(child, create, err) : VHDCTL_OK;
}

static int report_switch(const struct device *d, int err)
{
	if (err == -EINPROGRESS)
		return device_merging(d);
	return error_errno(d->name, "cannot go on in a child", err);
}

static int switch_device(const struct device *d, const char *child,
			 const struct vhd_file *image)
{
	struct vhd_snapshot_args args = {
		.size = sizeof(args),
		.index = d->index,
		.parent_fd = image->fd,
	};
	struct vhd_file f;
	int code, control = -1, err;

	err = vhd_file_lend(&f, child, true);
	code = err ? report_open(&f, child, err) : file_lock(&f, true);
	if (!code)
		control = control_open(&code);
	args.child_fd = f.fd;
	if (!code)
		device_keep_in_place(d, f.fd);
	if (control >= 0) {
		err = ioctl(control, VHD_IOC_SNAPSHOT, &args) ? -errno : 0;
		if (err)
			code = report_switch(d, err);
		else
			printf("%s: waited %.3f ms\n", d->name,
			       args.pause_ns / 1e6);
		close(control);
	}
	vhd_file_close(&f);
	return code;
}

static int snapshot_device(const char *name, const char *child,
			   struct vhd_create *create, bool absolute)
{
	struct vhd_file image = { .fd = -1 };
	struct device d;
	struct stat st;
	int code;

	if (device_find(name, &d)) {
		error_msg(name, "is no VHD device");
		return VHDCTL_BAD;
	}
	if (!lstat(child, &st)) {
		error_msg(child, "exists");
		return VHDCTL_BUSY;
	}
	code = open_backing(&d, &image);
	if (!code)
		code = make_device_child(&d, child, create, &image, absolute);
	if (!code) {
		code = switch_device(&d, child, &image);
		if (code)
			unlink(child);
		else
			nodes_follow(&d);
	}
	vhd_file_close(&image);
	return code;
}

static int run_snapshot(int argc, char **argv)
{
	struct vhd_parent_options opt = { };
	struct vhd_create create = { };
	bool absolute = false;
	int c, code;

	while ((c = next_option(&cmd_snapshot, argc, argv, COMMON_SHORT,
				options)) != -1) {
		if (c == OPT_ABSOLUTE)
			absolute = true;
		else if (c == OPT_UUID &&
			 (uuid_parse(optarg, create.image.unique_id) ||
			  uuid_is_null(create.image.unique_id)))
			return usage_error(&cmd_snapshot,
					   "--uuid: \"%s\" is not an id, or the null id",
					   optarg);
		else
			parent_option(&opt, c, optarg);
	}
	if (argc - optind != 2)
		return usage_error(&cmd_snapshot, "expected IMAGE or DEVICE, and CHILD");
	if (is_device(argv[optind]))
		code = snapshot_device(argv[optind], argv[optind + 1], &create,
				       absolute);
	else
		code = snapshot_image(argv[optind], argv[optind + 1], &create,
				      absolute, &opt);
	parent_options_free(&opt);
	return code;
}

const struct command cmd_snapshot = {
	.name = "snapshot",
	.brief = "keep an image as it is and go on in a child",
	.help = help,
	.run = run_snapshot,
};
