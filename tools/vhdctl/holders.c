// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who uses a device?  Mounts, swap, other block devices, processes.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device.h"
#include "vhdctl.h"

/**
 * struct search - a search for the users of a device
 * @devs: numbers of the disk and its partitions
 * @count: users found so far
 * @udev: of them, processes of udev
 * @silent: only count
 */
struct search {
	const struct device *device;
	dev_t *devs;
	int nr;
	int count;
	int udev;
	bool silent;
};

static bool is_ours(const struct search *s, dev_t devt)
{
	int i;

	for (i = 0; i < s->nr; i++)
		if (s->devs[i] == devt)
			return true;
	return false;
}

static bool is_our_node(const struct search *s, const char *path)
{
	struct stat st;

	return path && !stat(path, &st) && S_ISBLK(st.st_mode) &&
	       is_ours(s, st.st_rdev);
}

__attribute__((format(printf, 2, 3)))
static void found(struct search *s, const char *fmt, ...)
{
	char line[PATH_MAX + 128];
	va_list args;

	s->count++;
	if (s->silent)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	error_msg(s->device->name, "%s", line);
}

static void search_mounts(struct search *s)
{
	struct libmnt_table *tb;
	struct libmnt_iter *it;
	struct libmnt_fs *fs;

	tb = mnt_new_table_from_file("/proc/self/mountinfo");
	it = mnt_new_iter(MNT_ITER_FORWARD);
	while (tb && it && !mnt_table_next_fs(tb, it, &fs))
		/* btrfs and the like have numbers of their own */
		if (is_ours(s, mnt_fs_get_devno(fs)) ||
		    is_our_node(s, mnt_fs_get_source(fs)))
			found(s, "mounted on %s (%s)", mnt_fs_get_target(fs),
			      mnt_fs_get_source(fs));
	mnt_free_iter(it);
	mnt_unref_table(tb);
}

static void search_swaps(struct search *s)
{
	struct libmnt_table *tb = mnt_new_table();
	struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;

	if (tb && it && !mnt_table_parse_swaps(tb, NULL))
		while (!mnt_table_next_fs(tb, it, &fs))
			if (is_our_node(s, mnt_fs_get_source(fs)))
				found(s, "used as swap (%s)",
				      mnt_fs_get_source(fs));
	mnt_free_iter(it);
	mnt_unref_table(tb);
}

/* Device mapper, RAID: links in holders/. */
static void search_holders_in(struct search *s, const char *dir_path)
{
	struct dirent *de;
	DIR *dir = opendir(dir_path);

	if (!dir)
		return;
	while ((de = readdir(dir)))
		if (de->d_name[0] != '.')
			found(s, "held by /dev/%s", de->d_name);
	closedir(dir);
}

static void search_holders(struct search *s)
{
	char path[PATH_MAX];
	int i;

	for (i = 0; i < s->nr; i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders",
			 major(s->devs[i]), minor(s->devs[i]));
		search_holders_in(s, path);
	}
}

/* A loop device over ours: the kernel has it open, no process. */
static void search_loops(struct search *s)
{
	char path[PATH_MAX], file[PATH_MAX];
	struct dirent *de;
	DIR *dir = opendir("/sys/block");
	FILE *f;

	while (dir && (de = readdir(dir))) {
		if (strncmp(de->d_name, "loop", 4))
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file",
			 de->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(file, sizeof(file), f)) {
			file[strcspn(file, "\n")] = '\0';
			if (is_our_node(s, file))
				found(s, "used by /dev/%s", de->d_name);
		}
		fclose(f);
	}
	if (dir)
		closedir(dir);
}

static bool has_device_open(const struct search *s, int proc, const char *pid)
{
	bool has = false;
	struct dirent *de;
	struct stat st;
	char path[64];
	DIR *dir;
	int fd;

	snprintf(path, sizeof(path), "%.20s/fd", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return false;
	}
	while (!has && (de = readdir(dir)))
		has = !fstatat(fd, de->d_name, &st, 0) &&
		      S_ISBLK(st.st_mode) && is_ours(s, st.st_rdev);
	closedir(dir);
	return has;
}

static void process_name(int proc, const char *pid, char *name, size_t len)
{
	char path[64];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%.20s/comm", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, name, len - 1);
		close(fd);
	}
	name[n > 0 ? n : 0] = '\0';
	name[strcspn(name, "\n")] = '\0';
	printable(name);
}

static void search_processes(struct search *s)
{
	DIR *proc = opendir("/proc");
	struct dirent *de;
	char name[64];

	while (proc && (de = readdir(proc))) {
		if (!isdigit((unsigned char)de->d_name[0]) ||
		    !has_device_open(s, dirfd(proc), de->d_name))
			continue;
		process_name(dirfd(proc), de->d_name, name, sizeof(name));
		if (strstr(name, "udev"))
			s->udev++;
		found(s, "open in process %s (%s)", de->d_name, name);
	}
	if (proc)
		closedir(proc);
}

static void search_all(struct search *s)
{
	s->nr = device_numbers(s->device, &s->devs);
	if (s->nr < 0)
		return;
	search_mounts(s);
	search_swaps(s);
	search_holders(s);
	search_loops(s);
	search_processes(s);
	free(s->devs);
}

int holders_print(const struct device *d)
{
	struct search s = { .device = d };

	search_all(&s);
	return s.count;
}

bool holders_transient(const struct device *d)
{
	struct search s = { .device = d, .silent = true };

	search_all(&s);
	return s.count == s.udev;
}
