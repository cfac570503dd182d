// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asm/byteorder.h>

#include "children.h"
#include "format.h"
#include "io.h"

static bool is_layer(const struct vhd_layers *c, const struct stat *st)
{
	unsigned int i;

	for (i = 0; c && i < c->nr; i++)
		if (c->layers[i]->dev == st->st_dev &&
		    c->layers[i]->ino == st->st_ino)
			return true;
	return false;
}

/* The footer of a differencing image: its copy at 0 will do as well. */
static bool read_footer(int fd, u64 size, struct vhd_footer *f)
{
	u64 pos[] = { 0, size - sizeof(*f) };
	unsigned int i;

	for (i = 0; i < 2; i++)
		if (!vhd_pread(fd, f, sizeof(*f), pos[i]) &&
		    vhd_footer_valid(f) &&
		    f->disk_type == cpu_to_be32(VHD_TYPE_DIFFERENCING))
			return true;
	return false;
}

static bool names(int fd, u64 size, const u8 id[16])
{
	struct vhd_dyn_header h;
	struct vhd_footer f;

	return size >= sizeof(f) + sizeof(h) && read_footer(fd, size, &f) &&
	       be64_to_cpu(f.data_offset) < size &&
	       !vhd_pread(fd, &h, sizeof(h), be64_to_cpu(f.data_offset)) &&
	       !memcmp(h.cookie, VHD_HEADER_COOKIE, sizeof(h.cookie)) &&
	       !memcmp(h.parent_unique_id, id, 16);
}

/* What may be opened to see what it is: files, or else logical volumes. */
static bool may_open(const struct stat *st, mode_t kind)
{
	return (st->st_mode & S_IFMT) == kind;
}

static bool is_child(int dir, const char *name, const u8 id[16],
		     const struct vhd_layers *except, mode_t kind)
{
	struct stat st;
	u64 size;
	bool yes;
	int fd;

	if (fstatat(dir, name, &st, 0) || !may_open(&st, kind))
		return false;
	fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return false;
	yes = !fstat(fd, &st) && may_open(&st, kind) &&
	      !is_layer(except, &st) && !vhd_fd_size(fd, &size) &&
	      names(fd, size, id);
	close(fd);
	return yes;
}

int vhd_children_find(const struct vhd_file *parent,
		      const struct vhd_layers *except,
		      void (*found)(const char *path, void *arg), void *arg)
{
	char *copy = strdup(parent->path);
	const char *where = copy ? dirname(copy) : NULL;
	DIR *dir = where ? opendir(where) : NULL;
	mode_t kind = parent->mode & S_IFMT;
	struct dirent *e;
	int n = dir ? 0 : -errno;
	char *path;

	/* Not all devices that there are: some do something when opened. */
	if (dir && S_ISBLK(parent->mode) && !strcmp(where, "/dev"))
		n = -ENOTDIR;
	while (dir && n >= 0 && (e = readdir(dir))) {
		if (!is_child(dirfd(dir), e->d_name,
			      parent->image.footer.unique_id, except, kind))
			continue;
		n++;
		if (asprintf(&path, "%s/%s", where, e->d_name) >= 0) {
			found(path, arg);
			free(path);
		}
	}
	if (dir)
		closedir(dir);
	free(copy);
	return n;
}
