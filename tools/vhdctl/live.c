// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/vhd.h>

#include "chain.h"
#include "device.h"
#include "live.h"
#include "lock.h"
#include "meter.h"
#include "report.h"
#include "vhdctl.h"
#include "watch.h"

/* ---- before ---------------------------------------------------------- */

/* The file of one of the device's layers, to @c; the image is being written. */
static int open_layer(const struct device *d, const char *attr, bool write,
		      struct vhd_layers *c)
{
	struct vhd_file *f = chain_push_new(c);
	char path[4096];
	int err;

	if (device_attr(d, attr, path, sizeof(path)) || !*path) {
		error_msg(d->name, write ?
			  "has no parent to be merged into" :
			  "has no image that could be found");
		return VHDCTL_BAD;
	}
	err = vhd_file_lend(f, path, write);
	if (err)
		return report_open(f, path, err);
	err = vhd_file_load(f, VHD_OPEN_FORCE);
	return err ? report_load(f, err) : VHDCTL_OK;
}

static int check_image(const struct device *d, const struct vhd_file *f)
{
	struct device other;

	if (!device_of_file(f->dev, f->ino, &other) && other.index == d->index)
		return VHDCTL_OK;
	error_msg(d->name, "its image is not at \"%s\" any more", f->path);
	return VHDCTL_BAD;
}

static int check_parent(const struct vhd_layers *c)
{
	const struct vhd_file *image = c->layers[0], *parent = c->layers[1];

	if (parent->image.size >= image->image.size)
		return VHDCTL_OK;
	error_msg(parent->path, "is smaller than what is to be merged into it: found %llu, expected at least %llu; resize it first",
		  (unsigned long long)parent->image.size,
		  (unsigned long long)image->image.size);
	return VHDCTL_BAD;
}

/*
 * The device keeps others from writing to the parent: one guard.  Who else does
 * wants it to stay as it is.
 */
static int lock_parent(const struct vhd_file *f)
{
	int guards = vhd_lock_guards(f->fd);
	int err = vhd_lock_over(f->fd);

	if (guards > 1 || err == -EBUSY) {
		error_msg(f->path, "is in use by another process, or by an attached image that depends on it");
		return VHDCTL_BUSY;
	}
	if (err)
		warning_msg(f->path, "cannot be locked against other programs: %s",
			    strerror(-err));
	return VHDCTL_OK;
}

/* The driver refuses it, too; but here it would look like another's use. */
static int check_idle(const struct device *d)
{
	char state[16];

	device_attr(d, "vhd/state", state, sizeof(state));
	if (strcmp(state, "merging"))
		return VHDCTL_OK;
	error_msg(d->name, "is being merged already");
	return VHDCTL_BUSY;
}

/* Is the device in @into already?  Then somebody did that before. */
static bool is_done(const struct device *d, const char *into)
{
	struct device other;
	struct stat st;

	return into && !stat(into, &st) &&
	       !device_of_file(st.st_dev, st.st_ino, &other) &&
	       other.index == d->index;
}

/*
 * Who does not know how an earlier call has ended makes it again.  The device
 * may have another parent then, which nobody meant: it has to be named.
 */
static int check_meant(const struct device *d, const struct vhd_file *parent,
		       const char *into)
{
	struct stat st;

	if (!into && device_number(d, "vhd/merges")) {
		error_msg(d->name, "was merged into its parent already, and goes on in that; to merge that one, too, name where to: --into \"%s\"",
			  parent->path);
		return VHDCTL_BAD;
	}
	if (!into || (!stat(into, &st) && st.st_dev == parent->dev &&
		      st.st_ino == parent->ino))
		return VHDCTL_OK;
	error_msg(into, "is not the parent of what %s is of; that is \"%s\"",
		  d->name, parent->path);
	return VHDCTL_BAD;
}

static int prepare(const struct device *d, struct vhd_layers *c,
		   const char *into, bool force)
{
	int code = check_idle(d);

	if (!code)
		code = open_layer(d, "vhd/backing_file", false, c);
	if (!code)
		code = check_image(d, c->layers[0]);
	if (!code)
		code = open_layer(d, "vhd/parent_file", true, c);
	if (!code)
		code = check_meant(d, c->layers[1], into);
	if (!code)
		code = check_parent(c);
	if (!code)
		code = refuse_children(c->layers[0], c, force);
	if (!code)
		code = refuse_children(c->layers[1], c, force);
	if (!code)
		code = lock_parent(c->layers[1]);
	return code;
}

/* ---- the merge ------------------------------------------------------- */

static int commit_ioctl(const struct device *d, int control, int parent,
			u64 *pause_ns)
{
	struct vhd_commit_args args = {
		.size = sizeof(args),
		.index = d->index,
		.parent_fd = parent,
	};
	struct watch w = {
		.device = d,
		.total = "vhd/merge_total",
		.left = "vhd/merge_left",
	};
	int err = 0;

	watch_start(&w);
	meter_start("merging", true);
	if (ioctl(control, VHD_IOC_COMMIT, &args))
		err = -errno;
	watch_stop(&w);
	meter_stop(!err);
	*pause_ns = args.pause_ns;
	return err;
}

static int report_commit(const struct device *d, const char *parent, int err)
{
	switch (err) {
	case -EINTR:
		error_msg(d->name, "interrupted: it goes on in its image, which is whole; the same command begins again");
		return VHDCTL_BAD;
	case -EALREADY:
		error_msg(d->name, "is being merged already");
		return VHDCTL_BUSY;
	case -EINPROGRESS:
		return device_merging(d);
	case -EBUSY:
		error_msg(parent, "is in use by another device");
		return VHDCTL_BUSY;
	case -ENOSPC:
		error_msg(parent, "no space: %s goes on in its image, which is whole",
			  d->name);
		return VHDCTL_RESOURCE;
	default:
		return error_errno(d->name, "cannot be merged into its parent",
				   err);
	}
}

static int merge(const struct device *d, const struct vhd_layers *c)
{
	const struct vhd_file *parent = c->layers[1];
	int control, err, code = VHDCTL_OK;
	u64 pause_ns;

	control = control_open(&code);
	if (control < 0)
		return code;
	device_keep_in_place(d, parent->fd);
	err = commit_ioctl(d, control, parent->fd, &pause_ns);
	close(control);
	if (err)
		return report_commit(d, parent->path, err);
	printf("%s: writes waited %.3f ms\n", d->name, pause_ns / 1e6);
	return VHDCTL_OK;
}

int commit_device(const char *name, const char *into, bool keep, bool force)
{
	struct vhd_layers c;
	struct device d;
	int code;

	if (device_find(name, &d)) {
		error_msg(name, "is no VHD device");
		return VHDCTL_BAD;
	}
	if (is_done(&d, into)) {
		error_msg(d.name, "goes on in \"%s\" already: nothing to do",
			  into);
		return VHDCTL_OK;
	}
	vhd_layers_init(&c);
	code = prepare(&d, &c, into, force);
	if (!code)
		code = merge(&d, &c);
	if (!code)
		nodes_follow(&d);
	/* It is nobody's child any more. */
	if (!code && !keep)
		code = file_remove(c.layers[0]->path);
	vhd_layers_close(&c);
	return code;
}
