// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <libmount.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounts.h"

static struct libmnt_table *mountinfo(void)
{
	return mnt_new_table_from_file("/proc/self/mountinfo");
}

/* The number of the node mounted; btrfs and FUSE have numbers of their own. */
static dev_t source_devt(struct libmnt_fs *fs)
{
	const char *source = mnt_fs_get_source(fs);
	struct stat st;

	if (source && *source == '/' && !stat(source, &st) &&
	    S_ISBLK(st.st_mode))
		return st.st_rdev;
	return mnt_fs_get_devno(fs);
}

static bool is_among(dev_t devt, const dev_t *devs, int n)
{
	while (n-- > 0)
		if (devs[n] == devt)
			return true;
	return false;
}

static int append(char ***list, int n, const char *target)
{
	char **more = reallocarray(*list, n + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	*list = more;
	more[n] = strdup(target);
	return more[n] ? 0 : -ENOMEM;
}

int mounts_of(const struct device *d, char ***targets)
{
	struct libmnt_table *tb = mountinfo();
	struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	dev_t *devs = NULL;
	int nr, n = 0, err = tb && it ? 0 : -ENOMEM;

	if (targets)
		*targets = NULL;
	nr = device_numbers(d, &devs);
	while (!err && !mnt_table_next_fs(tb, it, &fs)) {
		if (!is_among(source_devt(fs), devs, nr))
			continue;
		if (targets)
			err = append(targets, n, mnt_fs_get_target(fs));
		n++;
	}
	free(devs);
	mnt_free_iter(it);
	mnt_unref_table(tb);
	return err ?: n;
}

/* The file system seen at the very directory, the last one mounted there */
static struct libmnt_fs *find_target(struct libmnt_table *tb, const char *dir)
{
	char real[PATH_MAX];

	if (!tb || !realpath(dir, real))
		return NULL;
	return mnt_table_find_target(tb, real, MNT_ITER_BACKWARD);
}

bool mounted_at(const char *node, const char *dir)
{
	struct libmnt_table *tb = mountinfo();
	struct libmnt_fs *fs = find_target(tb, dir);
	struct stat st;
	bool is;

	is = fs && !stat(node, &st) && source_devt(fs) == st.st_rdev;
	mnt_unref_table(tb);
	return is;
}

int device_at(const char *dir, struct device *d)
{
	struct libmnt_table *tb = mountinfo();
	struct libmnt_fs *fs = find_target(tb, dir);
	const char *source = fs ? mnt_fs_get_source(fs) : NULL;
	int err = source ? device_find(source, d) : -ENODEV;

	mnt_unref_table(tb);
	return err;
}
