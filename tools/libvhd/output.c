// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"
#include "output.h"

static int open_directory(const char *path)
{
	char *copy = strdup(path);
	int fd = -1;

	if (copy)
		fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	return fd < 0 ? -errno : fd;
}

static int open_temporary(int dir, char *name, size_t len)
{
	unsigned int tries, r;
	int fd;

	for (tries = 0; tries < 100; tries++) {
		if (getrandom(&r, sizeof(r), 0) != sizeof(r))
			r = getpid() + tries;
		snprintf(name, len, ".vhdctl-%08x", r);
		fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
			    0666);
		if (fd >= 0 || errno != EEXIST)
			break;
	}
	return fd < 0 ? -errno : fd;
}

/* The first sector and the last, where footers are. */
static int wipe(int fd)
{
	u64 tail;
	int err = vhd_fd_tail(fd, &tail);

	if (!err)
		err = vhd_write_zeros(fd, tail, 512);
	if (!err)
		err = vhd_write_zeros(fd, 0, 512);
	return !err && fsync(fd) ? -errno : err;
}

static int open_alone(const char *path)
{
	int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

static int open_device(struct vhd_output *o, const char *path)
{
	int err;

	o->fd = open_alone(path);
	if (o->fd < 0)
		return o->fd;
	err = wipe(o->fd);
	if (err)
		close(o->fd);
	return err;
}

static int end_device(struct vhd_output *o, int err)
{
	if (!err && fsync(o->fd))
		err = -errno;
	if (close(o->fd) && !err)
		err = -errno;
	return err;
}

int vhd_output_wipe(const char *path)
{
	int fd = open_alone(path);
	int err;

	if (fd < 0)
		return fd;
	err = wipe(fd);
	close(fd);
	return err;
}

int vhd_output_open(struct vhd_output *o, const char *path, bool replace)
{
	struct stat st;
	int err;

	o->device = replace && !stat(path, &st) && S_ISBLK(st.st_mode);
	if (o->device)
		return open_device(o, path);
	o->replace = replace;
	o->path = strdup(path);
	if (!o->path)
		return -ENOMEM;
	o->name = basename(o->path);
	o->dir = open_directory(path);
	if (o->dir < 0) {
		err = o->dir;
		goto out_free;
	}
	err = -EEXIST;
	if (!fstatat(o->dir, o->name, &st, AT_SYMLINK_NOFOLLOW) &&
	    (!replace || !S_ISREG(st.st_mode)))
		goto out_close;
	o->fd = open_temporary(o->dir, o->temporary, sizeof(o->temporary));
	if (o->fd >= 0)
		return 0;
	err = o->fd;
out_close:
	close(o->dir);
out_free:
	free(o->path);
	return err;
}

/* Give a finished file its name. */
static int output_publish(const struct vhd_output *o)
{
	if (o->replace)
		return renameat(o->dir, o->temporary, o->dir, o->name) ?
		       -errno : 0;
	if (!renameat2(o->dir, o->temporary, o->dir, o->name,
		       RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* An old file system: link() does not replace either. */
	if (linkat(o->dir, o->temporary, o->dir, o->name, 0))
		return -errno;
	unlinkat(o->dir, o->temporary, 0);
	return 0;
}

int vhd_output_end(struct vhd_output *o, int err)
{
	if (o->device)
		return end_device(o, err);
	if (!err && fsync(o->fd))
		err = -errno;
	if (close(o->fd) && !err)
		err = -errno;
	if (!err)
		err = output_publish(o);
	if (err)
		unlinkat(o->dir, o->temporary, 0);
	else if (fsync(o->dir) && errno != EINVAL)
		err = -errno;
	close(o->dir);
	free(o->path);
	return err;
}
