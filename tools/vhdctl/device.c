// SPDX-License-Identifier: GPL-2.0-or-later
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/magic.h>

#include "device.h"

#define SYS_BLOCK	"/sys/block"

/*
 * "vhd12" as a device; what follows the number goes to @rest.  Numbers with a
 * leading zero are no names of ours.
 */
static bool parse_name(const char *s, struct device *d, const char **rest)
{
	unsigned long n;
	char *end;

	if (strncmp(s, "vhd", 3) || !isdigit((unsigned char)s[3]))
		return false;
	if (s[3] == '0' && isdigit((unsigned char)s[4]))
		return false;
	errno = 0;
	n = strtoul(s + 3, &end, 10);
	if (errno || n > INT_MAX)
		return false;
	d->index = n;
	snprintf(d->name, sizeof(d->name), "vhd%d", d->index);
	*rest = end;
	return true;
}

static bool device_exists(const struct device *d)
{
	char path[64];

	snprintf(path, sizeof(path), SYS_BLOCK "/%s/vhd", d->name);
	return !access(path, F_OK);
}

static int by_index(const void *a, const void *b)
{
	const struct device *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static int device_append(struct device **list, int n, const struct device *d)
{
	struct device *more;

	more = reallocarray(*list, n + 1, sizeof(**list));
	if (!more)
		return -ENOMEM;
	more[n] = *d;
	*list = more;
	return 0;
}

int device_list(struct device **devices)
{
	const char *rest;
	struct dirent *de;
	struct device d;
	int n = 0;
	DIR *dir;

	*devices = NULL;
	dir = opendir(SYS_BLOCK);
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((de = readdir(dir))) {
		if (!parse_name(de->d_name, &d, &rest) || *rest ||
		    !device_exists(&d))
			continue;
		if (device_append(devices, n, &d)) {
			n = -ENOMEM;
			break;
		}
		n++;
	}
	closedir(dir);
	if (n > 1)
		qsort(*devices, n, sizeof(**devices), by_index);
	return n;
}

int device_attr(const struct device *d, const char *attr, char *buf,
		size_t len)
{
	char path[128];
	ssize_t n;
	int fd;

	*buf = '\0';
	snprintf(path, sizeof(path), SYS_BLOCK "/%s/%s", d->name, attr);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	if (n && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return 0;
}

u64 device_number(const struct device *d, const char *attr)
{
	char buf[32];

	device_attr(d, attr, buf, sizeof(buf));
	return strtoull(buf, NULL, 10);
}

static dev_t device_devt(const struct device *d, const char *attr)
{
	unsigned int maj, min;
	char buf[32];

	device_attr(d, attr, buf, sizeof(buf));
	if (sscanf(buf, "%u:%u", &maj, &min) != 2)
		return 0;
	return makedev(maj, min);
}

int device_of_file(dev_t dev, ino_t ino, struct device *d)
{
	struct device *all;
	int i, n, ret = -ENODEV;

	n = device_list(&all);
	for (i = 0; i < n && ret; i++) {
		if (device_devt(&all[i], "vhd/backing_dev") != dev ||
		    device_number(&all[i], "vhd/backing_ino") != ino)
			continue;
		*d = all[i];
		ret = 0;
	}
	free(all);
	return ret;
}

/* A file that was deleted or hidden since it was attached is found by name. */
static int device_of_path(const char *path, struct device *d)
{
	char buf[PATH_MAX], *real = realpath(path, NULL);
	struct device *all;
	int i, n, ret = -ENODEV;

	n = device_list(&all);
	for (i = 0; i < n && ret; i++) {
		device_attr(&all[i], "vhd/backing_file", buf, sizeof(buf));
		if (strcmp(buf, path) && (!real || strcmp(buf, real)))
			continue;
		*d = all[i];
		ret = 0;
	}
	free(all);
	free(real);
	return ret;
}

/* The disk that has the number, or a partition that has. */
static int device_of_devt(dev_t devt, struct device *d)
{
	char path[64], real[PATH_MAX], *part;
	const char *rest;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(devt),
		 minor(devt));
	if (!realpath(path, real))
		return -ENODEV;
	for (part = strtok(real, "/"); part; part = strtok(NULL, "/"))
		if (parse_name(part, d, &rest) && !*rest && device_exists(d))
			return 0;
	return -ENODEV;
}

/* "0", "vhd0", "vhd0p1", "/dev/vhd0p1", whether or not there are nodes. */
static bool device_named(const char *arg, struct device *d)
{
	char name[32];
	const char *rest;

	if (isdigit((unsigned char)*arg)) {
		if (snprintf(name, sizeof(name), "vhd%s", arg) >=
		    (int)sizeof(name))
			return false;
		return parse_name(name, d, &rest) && !*rest;
	}
	if (!strncmp(arg, "/dev/", 5))
		arg += 5;
	if (!parse_name(arg, d, &rest))
		return false;
	if (*rest == 'p' && isdigit((unsigned char)rest[1]))
		rest += 1 + strspn(rest + 1, "0123456789");
	return !*rest;
}

bool device_is_ours(dev_t devt)
{
	struct device d;

	return !device_of_devt(devt, &d);
}

int device_find(const char *arg, struct device *d)
{
	struct stat st;

	if (device_named(arg, d) && device_exists(d))
		return 0;
	if (stat(arg, &st))
		return device_of_path(arg, d);
	if (S_ISBLK(st.st_mode) && !device_of_devt(st.st_rdev, d))
		return 0;
	if (!device_of_file(st.st_dev, st.st_ino, d))
		return 0;
	return device_of_path(arg, d);
}

int device_numbers(const struct device *d, dev_t **devs)
{
	char path[64], attr[64];
	struct device other;
	const char *rest;
	struct dirent *de;
	dev_t *more;
	int n = 1;
	DIR *dir;

	*devs = malloc(sizeof(**devs));
	if (!*devs)
		return -ENOMEM;
	(*devs)[0] = device_devt(d, "dev");
	snprintf(path, sizeof(path), SYS_BLOCK "/%s", d->name);
	dir = opendir(path);
	while (dir && (de = readdir(dir))) {
		if (!parse_name(de->d_name, &other, &rest) || *rest != 'p')
			continue;
		more = reallocarray(*devs, n + 1, sizeof(**devs));
		if (!more)
			break;
		*devs = more;
		snprintf(attr, sizeof(attr), "%.40s/dev", de->d_name);
		(*devs)[n++] = device_devt(d, attr);
	}
	if (dir)
		closedir(dir);
	return n;
}

void keep_in_place(int fd)
{
	struct fsxattr attr;
	struct statfs fs;
	struct stat st;

	/* Of a block device that would be its node's; elsewhere there is no lane. */
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    fstatfs(fd, &fs) || fs.f_type != XFS_SUPER_MAGIC)
		return;
	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) ||
	    attr.fsx_xflags & FS_XFLAG_NODEFRAG)
		return;
	attr.fsx_xflags |= FS_XFLAG_NODEFRAG;
	ioctl(fd, FS_IOC_FSSETXATTR, &attr);
}

void device_keep_in_place(const struct device *d, int fd)
{
	char state[16];

	if (!device_attr(d, "vhd/fast_lane", state, sizeof(state)) &&
	    strcmp(state, "off"))
		keep_in_place(fd);
}
