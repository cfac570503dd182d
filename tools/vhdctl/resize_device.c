// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/minmax.h>
#include <linux/vhd.h>

#include "chain.h"
#include "device.h"
#include "io.h"
#include "meter.h"
#include "progress.h"
#include "report.h"
#include "resize_device.h"
#include "vhdctl.h"

#define PIECE		(1U << 20)
/* How often, and how long between, while only udev looks at the device. */
#define TRIES		20
#define TRY_US		100000

/* ---- what is cut off ------------------------------------------------- */

/* The first byte of [*pos, end) that is not zero; @end if there is none. */
static int find_data(int fd, u64 *pos, u64 end)
{
	u8 *buf = malloc(PIECE);
	u64 n, i;
	int err = buf ? 0 : -ENOMEM;

	while (!err && *pos < end) {
		if (vhd_interrupted)
			err = -EINTR;
		n = min_t(u64, end - *pos, PIECE);
		if (!err)
			err = vhd_pread(fd, buf, n, *pos);
		if (err)
			break;
		for (i = 0; i < n && !buf[i]; i++)
			;
		*pos += i;
		vhd_progress_add(i);
		if (i < n)
			break;
	}
	free(buf);
	return err;
}

/*
 * Up to where somebody must look: whole blocks that are cut off must not be
 * allocated, which the driver sees to.
 */
static u64 cut_end(const struct device *d, u64 size, u64 old)
{
	u64 block = device_number(d, "vhd/block_size");

	return block ? min(old, (size + block - 1) / block * block) : old;
}

static int check_cut(const struct wish *w, const struct device *d, u64 old)
{
	u64 pos = w->size, end = cut_end(d, w->size, old);
	char path[32];
	int fd, err;

	snprintf(path, sizeof(path), "/dev/%s", d->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(path, "cannot open", -errno);
	meter_start("looking at what is cut off", true);
	vhd_progress_begin(end - pos);
	err = find_data(fd, &pos, end);
	meter_stop(!err);
	close(fd);
	if (err)
		return error_errno(path, "cannot read", err);
	if (pos == end)
		return VHDCTL_OK;
	error_msg(d->name, "has data behind the new end, at %llu; make the file system smaller first, or --force loses them",
		  (unsigned long long)pos);
	return VHDCTL_BAD;
}

/* ---- who depends on it ----------------------------------------------- */

static int check_children(const struct wish *w, const struct device *d)
{
	struct vhd_file f = { .fd = -1 };
	char path[4096];
	int code = VHDCTL_OK;

	if (!device_attr(d, "vhd/backing_file", path, sizeof(path)) &&
	    !vhd_file_open(&f, path, false) &&
	    !vhd_file_load(&f, VHD_OPEN_FORCE))
		code = refuse_children(&f, NULL, w->force);
	else
		warning_msg(d->name, "images that depend on it cannot be looked for");
	vhd_file_close(&f);
	return code;
}

/* ---- doing it -------------------------------------------------------- */

static int report_resize(const struct device *d, int err)
{
	switch (err) {
	case 0:
		return VHDCTL_OK;
	case -EBUSY:
		error_msg(d->name, "is in use; --force makes it smaller all the same");
		holders_print(d);
		return VHDCTL_BUSY;
	case -EINPROGRESS:
		return device_merging(d);
	case -ENOTEMPTY:
		error_msg(d->name, "has blocks behind the new end; discard what is there (blkdiscard --offset), or --force loses them");
		return VHDCTL_BAD;
	case -EROFS:
		error_msg(d->name, "is read-only");
		return VHDCTL_BAD;
	case -EOPNOTSUPP:
		error_msg(d->name, "its size cannot be changed so while it is attached: a differencing image that would be smaller, or whose parent is larger; a size of the geometry; a saved state; or a table of blktap's");
		return VHDCTL_BAD;
	case -EFBIG:
		error_msg(d->name, "a dynamic image has at most 2040 GiB");
		return VHDCTL_USAGE;
	case -EINVAL:
		error_msg(d->name, "the size must be a multiple of its logical blocks");
		return VHDCTL_USAGE;
	default:
		return error_errno(d->name, "cannot resize", err);
	}
}

static int call(const struct wish *w, const struct device *d, int control)
{
	struct vhd_resize_args args = {
		.size = sizeof(args),
		.index = d->index,
		.bytes = w->size,
	};
	int i, err = 0;

	if (w->shrink)
		args.flags |= VHD_RESIZE_SHRINK;
	if (w->force)
		args.flags |= VHD_RESIZE_FORCE;
	for (i = 0; i < TRIES; i++) {
		err = ioctl(control, VHD_IOC_RESIZE, &args) ? -errno : 0;
		if (err != -EBUSY || !holders_transient(d))
			break;
		usleep(TRY_US);
	}
	return report_resize(d, err);
}

static int check(const struct wish *w, const struct device *d, u64 old)
{
	int code = VHDCTL_OK;

	if (w->size < old && !w->shrink) {
		error_msg(d->name, "has %llu bytes, more than %llu: --shrink makes it smaller",
			  (unsigned long long)old, (unsigned long long)w->size);
		return VHDCTL_USAGE;
	}
	if (w->size < old && !w->force)
		code = check_cut(w, d, old);
	return code ? code : check_children(w, d);
}

int resize_device(const struct wish *w, const char *name)
{
	struct device d;
	int control, code;
	u64 old;

	if (device_find(name, &d)) {
		error_msg(name, "is no VHD device");
		return VHDCTL_BAD;
	}
	old = device_number(&d, "size") << VHD_SECTOR_SHIFT;
	if (w->size == old)
		return VHDCTL_OK;
	code = check(w, &d, old);
	if (code)
		return code;
	control = control_open(&code);
	if (control < 0)
		return code;
	code = call(w, &d, control);
	close(control);
	if (code)
		return code;
	verbose_msg(d.name, "%llu bytes, had %llu", (unsigned long long)w->size,
		    (unsigned long long)old);
	if (verbosity >= 0 && w->size > old)
		error_msg(d.name, "larger; partitions and file systems are as they were: grow them (growpart, resize2fs, xfs_growfs)");
	return VHDCTL_OK;
}
