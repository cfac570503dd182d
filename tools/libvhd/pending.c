// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asm/byteorder.h>

#include <linux/string.h>

#include "format.h"
#include "io.h"
#include "pending.h"

#define PENDING_COOKIE	"vhdctl commit 1"
/* All layers there can be, with the longest paths. */
#define PENDING_MAX	(VHD_LAYERS_MAX * (sizeof(struct pending_item) + PATH_MAX))

struct pending_head {
	char cookie[16];
	u8 top[16];
	u8 target[16];
	__be32 depth;
	__be32 nr;
	__be32 bytes;		/* of all items */
	__be32 checksum;	/* of this with 0 here, and of the items */
} __packed;

/* The path follows, with its end. */
struct pending_item {
	u8 id[16];
	__be32 len;
} __packed;

char *vhd_pending_path(const char *path)
{
	char *name;

	return asprintf(&name, "%s.commit", path) < 0 ? NULL : name;
}

static u32 pending_checksum(const struct pending_head *h, const void *items)
{
	struct pending_head plain = *h;

	plain.checksum = 0;
	return vhd_checksum(&plain, sizeof(plain)) ^
	       vhd_checksum(items, be32_to_cpu(h->bytes));
}

static int sync_directory(const char *path)
{
	char *copy = strdup(path);
	int err = 0, fd;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (fsync(fd) && errno != EINVAL))
		err = -errno;
	if (fd >= 0)
		close(fd);
	free(copy);
	return err;
}

/* ---- writing --------------------------------------------------------- */

/* One layer, at @buf + *len. */
static int put_layer(u8 *buf, size_t *len, const struct vhd_file *f)
{
	struct pending_item item;
	char *real = realpath(f->path, NULL);
	size_t n;

	if (!real)
		return -errno;
	n = strlen(real) + 1;
	memcpy(item.id, f->image.footer.unique_id, sizeof(item.id));
	item.len = cpu_to_be32(n);
	memcpy(buf + *len, &item, sizeof(item));
	memcpy(buf + *len + sizeof(item), real, n);
	*len += sizeof(item) + n;
	free(real);
	return 0;
}

static int write_new(const char *path, const struct pending_head *h,
		     const u8 *items)
{
	int fd, err;

	/* One that a crash has left; nobody else's is written to. */
	if (unlink(path) && errno != ENOENT)
		return -errno;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = vhd_pwrite(fd, h, sizeof(*h), 0);
	if (!err)
		err = vhd_pwrite(fd, items, be32_to_cpu(h->bytes), sizeof(*h));
	if (!err && fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

/* It appears as a whole. */
static int write_renamed(const char *path, const struct pending_head *h,
			 const u8 *items)
{
	char *new;
	int err;

	if (asprintf(&new, "%s.new", path) < 0)
		return -ENOMEM;
	err = write_new(new, h, items);
	if (!err && rename(new, path))
		err = -errno;
	if (err)
		unlink(new);
	free(new);
	return err ? err : sync_directory(path);
}

int vhd_pending_write(const struct vhd_layers *c, unsigned int depth)
{
	struct pending_head h = {
		.cookie = PENDING_COOKIE,
		.depth = cpu_to_be32(depth),
		.nr = cpu_to_be32(depth - 1),
	};
	char *path = vhd_pending_path(c->layers[0]->path);
	u8 *items = malloc(PENDING_MAX);
	size_t len = 0;
	unsigned int i;
	int err = path && items ? 0 : -ENOMEM;

	memcpy(h.top, c->layers[0]->image.footer.unique_id, sizeof(h.top));
	memcpy(h.target, c->layers[depth]->image.footer.unique_id,
	       sizeof(h.target));
	for (i = 1; i < depth && !err; i++)
		err = put_layer(items, &len, c->layers[i]);
	h.bytes = cpu_to_be32(len);
	if (!err) {
		h.checksum = cpu_to_be32(pending_checksum(&h, items));
		err = write_renamed(path, &h, items);
	}
	free(items);
	free(path);
	return err;
}

/* ---- reading --------------------------------------------------------- */

static int take_layer(struct vhd_pending_layer *l, const u8 *items, size_t *at,
		      size_t bytes)
{
	struct pending_item item;
	u32 len;

	if (bytes - *at < sizeof(item))
		return -EUCLEAN;
	memcpy(&item, items + *at, sizeof(item));
	*at += sizeof(item);
	len = be32_to_cpu(item.len);
	if (!len || len > bytes - *at || items[*at + len - 1])
		return -EUCLEAN;
	memcpy(l->id, item.id, sizeof(l->id));
	l->path = strdup((const char *)items + *at);
	*at += len;
	return l->path ? 0 : -ENOMEM;
}

static int take_layers(struct vhd_pending *p, const struct pending_head *h,
		       const u8 *items)
{
	u32 nr = be32_to_cpu(h->nr);
	size_t at = 0;
	int err = 0;

	if (nr >= VHD_LAYERS_MAX || be32_to_cpu(h->depth) != nr + 1)
		return -EUCLEAN;
	p->layers = calloc(nr + 1, sizeof(*p->layers));
	if (!p->layers)
		return -ENOMEM;
	p->depth = nr + 1;
	for (; p->nr < nr && !err; p->nr++)
		err = take_layer(&p->layers[p->nr], items, &at,
				 be32_to_cpu(h->bytes));
	memcpy(p->top, h->top, sizeof(p->top));
	memcpy(p->target, h->target, sizeof(p->target));
	return err;
}

static int read_note(struct vhd_pending *p, int fd)
{
	struct pending_head h;
	struct stat st;
	u8 *items;
	int err;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(h))
		return -EUCLEAN;
	err = vhd_pread(fd, &h, sizeof(h), 0);
	if (err)
		return err;
	if (memcmp(h.cookie, PENDING_COOKIE, sizeof(h.cookie)) ||
	    be32_to_cpu(h.bytes) > PENDING_MAX ||
	    (off_t)(sizeof(h) + be32_to_cpu(h.bytes)) != st.st_size)
		return -EUCLEAN;
	items = malloc(be32_to_cpu(h.bytes) + 1);
	if (!items)
		return -ENOMEM;
	err = vhd_pread(fd, items, be32_to_cpu(h.bytes), sizeof(h));
	if (!err && be32_to_cpu(h.checksum) != pending_checksum(&h, items))
		err = -EUCLEAN;
	if (!err)
		err = take_layers(p, &h, items);
	free(items);
	return err;
}

int vhd_pending_read(struct vhd_pending *p, const char *path)
{
	char *name = vhd_pending_path(path);
	int err, fd;

	memset(p, 0, sizeof(*p));
	if (!name)
		return -ENOMEM;
	fd = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	free(name);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	err = read_note(p, fd);
	close(fd);
	if (err)
		vhd_pending_free(p);
	return err == -EUCLEAN ? 0 : err;
}

int vhd_pending_drop(const char *path)
{
	char *name = vhd_pending_path(path);
	int err = 0;

	if (!name)
		return -ENOMEM;
	if (unlink(name))
		err = errno == ENOENT ? 0 : -errno;
	else
		err = sync_directory(name);
	free(name);
	return err;
}

void vhd_pending_free(struct vhd_pending *p)
{
	u32 i;

	for (i = 0; p->layers && i < p->depth; i++)
		free(p->layers[i].path);
	free(p->layers);
	memset(p, 0, sizeof(*p));
}
