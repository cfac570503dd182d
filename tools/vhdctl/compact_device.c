// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vhd.h>

#include "compact_device.h"
#include "device.h"
#include "meter.h"
#include "report.h"
#include "vhdctl.h"
#include "watch.h"

static int report_device(const struct device *d, int err)
{
	switch (err) {
	case -EINTR:
		error_msg(d->name, "interrupted; the image is sound, and another run goes on");
		return VHDCTL_BAD;
	case -EALREADY:
		error_msg(d->name, "is being compacted already");
		return VHDCTL_BUSY;
	case -EINPROGRESS:
		return device_merging(d);
	case -EROFS:
		error_msg(d->name, "is read-only");
		return VHDCTL_BAD;
	case -EOPNOTSUPP:
		error_msg(d->name, "is a fixed image: nothing to compact");
		return VHDCTL_BAD;
	case -ENOTTY:
		error_msg(d->name, "the driver is too old to compact a device in use; detach it first");
		return VHDCTL_BAD;
	case -ENOSPC:
		error_msg(d->name, "no space; the image is sound, and another run goes on");
		return VHDCTL_RESOURCE;
	default:
		return error_errno(d->name, "cannot compact", err);
	}
}

static int call(const struct device *d, int control,
		struct vhd_compact_args *args)
{
	struct watch w = {
		.device = d,
		.total = "vhd/compact_total",
		.left = "vhd/compact_left",
	};
	int err = 0;

	watch_start(&w);
	meter_start("compacting", false);
	if (ioctl(control, VHD_IOC_COMPACT, args))
		err = -errno;
	watch_stop(&w);
	meter_stop(!err);
	return err;
}

int compact_device(const char *name, bool zero, u64 rate)
{
	struct vhd_compact_args args = {
		.size = sizeof(args),
		.flags = zero ? VHD_COMPACT_ZERO : 0,
		.rate = rate,
	};
	char before[16], after[16];
	int control, err, code = VHDCTL_OK;
	struct device d;
	u64 size;

	if (device_find(name, &d)) {
		error_msg(name, "is no VHD device");
		return VHDCTL_BAD;
	}
	control = control_open(&code);
	if (control < 0)
		return code;
	args.index = d.index;
	size = device_number(&d, "vhd/file_size");
	err = call(&d, control, &args);
	close(control);
	if (err)
		return report_device(&d, err);
	verbose_msg(d.name, "%u blocks dropped, %u moved; the file has %s, had %s",
		    args.dropped, args.moved,
		    format_size(device_number(&d, "vhd/file_size"), after,
				sizeof(after)),
		    format_size(size, before, sizeof(before)));
	return VHDCTL_OK;
}
