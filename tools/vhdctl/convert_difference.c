// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert_difference.h"
#include "difference.h"
#include "disk.h"
#include "meter.h"
#include "open.h"
#include "vhdctl.h"

/* The new image gets its name when this has come to its end. */
static int fill_difference(int fd, void *arg)
{
	struct vhd_difference *d = arg;
	struct vhd_file *f = d->target;
	int err;

	fd = dup(fd);
	if (fd < 0)
		return -errno;
	err = vhd_file_adopt(f, fd, "");
	if (err)
		return err;
	err = vhd_file_load(f, VHD_OPEN_WRITE);
	if (err)
		return err;
	meter_start("converting", true);
	err = vhd_difference_write(d);
	meter_stop(!err);
	return err;
}

/* Would @path replace one of them? */
static bool is_layer(const struct vhd_layers *c, const char *path)
{
	struct stat st;
	unsigned int i;

	if (stat(path, &st))
		return false;
	for (i = 0; i < c->nr; i++)
		if (c->layers[i]->dev == st.st_dev &&
		    c->layers[i]->ino == st.st_ino)
			return true;
	return false;
}

/* @c is for the names and ids, d->parent for the content. */
static int make(struct vhd_difference *d, struct vhd_layers *c,
		const char *parent, const char *path, struct vhd_create *create)
{
	int code;

	code = open_source(d->parent, parent, VHD_SOURCE_VHD, NULL);
	if (!code)
		code = chain_open(c, parent, NULL, 0);
	if (!code)
		code = chain_lock(c, 0);
	if (!code && is_layer(c, path)) {
		error_msg(path, "is the parent, or one of its parents");
		code = VHDCTL_BUSY;
	}
	if (code)
		return code;
	if (create->image.size != c->layers[0]->image.size)
		warning_msg(path, "has another size than its parent: Windows will refuse it");
	create->fill = fill_difference;
	create->fill_arg = d;
	code = child_make(path, create, c, false);
	if (!code)
		verbose_msg(path, "%llu bytes differ from the parent",
			    (unsigned long long)d->written);
	return code;
}

int convert_difference(struct vhd_source *s, const char *parent,
		       const char *path, struct vhd_create *create)
{
	struct vhd_difference d = {
		.disk = s,
		.parent = calloc(1, sizeof(*d.parent)),
		.target = calloc(1, sizeof(*d.target)),
	};
	struct vhd_layers *c = calloc(1, sizeof(*c));
	int code;

	if (!c || !d.parent || !d.target) {
		code = error_errno(path, "cannot create", -ENOMEM);
		goto out;
	}
	vhd_layers_init(c);
	d.parent->file.fd = -1;
	d.target->fd = -1;
	code = make(&d, c, parent, path, create);
	vhd_file_close(d.target);
	vhd_layers_close(c);
	vhd_source_close(d.parent);
out:
	free(c);
	free(d.parent);
	free(d.target);
	return code;
}
