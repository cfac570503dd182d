// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asm/byteorder.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "format.h"
#include "io.h"
#include "undo.h"

#define UNDO_COOKIE	"vhdctl undo 1\n\n"
#define UNDO_PIECE	VHD_IO_MAX

enum undo_kind {
	UNDO_DATA	= 0x64617461,	/* "data": bytes follow */
	UNDO_ZERO	= 0x7A65726F,	/* "zero": they were zeros */
	UNDO_DONE	= 0x646F6E65,	/* "done": pos and len are a time */
};

struct undo_head {
	char cookie[16];
	__be64 size;
} __packed;

struct undo_record {
	__be32 kind;
	__be32 checksum;	/* of this with 0 here, and of the bytes */
	__be64 pos;
	__be64 len;
} __packed;

/* ---- writing --------------------------------------------------------- */

void vhd_undo_init(struct vhd_undo *u, const char *path, int image)
{
	u->path = path;
	u->fd = -1;
	u->image = image;
	u->end = 0;
}

static int sync_directory(const char *path)
{
	char *copy = strdup(path);
	int err = 0;
	int fd;

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

static int undo_append(struct vhd_undo *u, const void *buf, size_t len)
{
	int err = vhd_pwrite(u->fd, buf, len, u->end);

	u->end += len;
	return err;
}

static int undo_create(struct vhd_undo *u, u64 size)
{
	struct undo_head head = {
		.cookie = UNDO_COOKIE,
		.size = cpu_to_be64(size),
	};
	int err;

	u->fd = open(u->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (u->fd < 0)
		return -errno;
	err = undo_append(u, &head, sizeof(head));
	return err ? err : sync_directory(u->path);
}

static u32 undo_checksum(const struct undo_record *r, const void *data,
			 size_t len)
{
	struct undo_record plain = *r;

	plain.checksum = 0;
	return vhd_checksum(&plain, sizeof(plain)) ^ vhd_checksum(data, len);
}

static int undo_record(struct vhd_undo *u, enum undo_kind kind, u64 pos,
		       u64 len, const void *data)
{
	size_t bytes = kind == UNDO_DATA ? len : 0;
	struct undo_record r = {
		.kind = cpu_to_be32(kind),
		.pos = cpu_to_be64(pos),
		.len = cpu_to_be64(len),
	};
	int err;

	r.checksum = cpu_to_be32(undo_checksum(&r, data, bytes));
	err = undo_append(u, &r, sizeof(r));
	return err ? err : undo_append(u, data, bytes);
}

/* Bytes from @pos that are a hole of the image. */
static u64 hole_length(int fd, u64 pos, u64 end)
{
	off_t data = lseek(fd, pos, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? end - pos : 0;
	return min_t(u64, data, end) - pos;
}

static int undo_save_piece(struct vhd_undo *u, u64 pos, u64 end, u64 *len)
{
	u8 buf[UNDO_PIECE];
	int err;

	*len = hole_length(u->image, pos, end);
	if (*len)
		return undo_record(u, UNDO_ZERO, pos, *len, NULL);
	*len = min_t(u64, end - pos, sizeof(buf));
	err = vhd_pread(u->image, buf, *len, pos);
	if (err)
		return err;
	if (!memchr_inv(buf, 0, *len))
		return undo_record(u, UNDO_ZERO, pos, *len, NULL);
	return undo_record(u, UNDO_DATA, pos, *len, buf);
}

int vhd_undo_save(struct vhd_undo *u, u64 pos, u64 len)
{
	u64 size, end, n;
	int err = vhd_fd_size(u->image, &size);

	if (err)
		return err;
	if (u->fd < 0)
		err = undo_create(u, size);
	end = min(pos + len, size);
	for (; !err && pos < end; pos += n) {
		if (vhd_interrupted)
			return -EINTR;
		err = undo_save_piece(u, pos, end, &n);
	}
	return err;
}

int vhd_undo_sync(struct vhd_undo *u)
{
	return u->fd >= 0 && fsync(u->fd) ? -errno : 0;
}

int vhd_undo_finish(struct vhd_undo *u)
{
	struct stat st;
	int err;

	if (u->fd < 0)
		return 0;
	if (fstat(u->image, &st))
		return -errno;
	err = undo_record(u, UNDO_DONE, st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
			  NULL);
	return err ? err : vhd_undo_sync(u);
}

void vhd_undo_close(struct vhd_undo *u)
{
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
}

/* ---- taking back ----------------------------------------------------- */

/**
 * struct undo_list - the good records of an undo file
 * @places: where in the file they are, in their order
 * @done: the repair came to its end
 * @sec, @nsec: and then the image was last changed at
 */
struct undo_list {
	int fd;
	u64 *places;
	size_t nr;
	size_t room;
	u64 size;
	bool done;
	u64 sec;
	u64 nsec;
};

static int undo_note(struct undo_list *l, u64 place)
{
	u64 *bigger;

	if (l->nr == l->room) {
		l->room = l->room ? 2 * l->room : 64;
		bigger = realloc(l->places, l->room * sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		l->places = bigger;
	}
	l->places[l->nr++] = place;
	return 0;
}

/* Read the record at @place.  Return: 1, 0 if it is none, or an error. */
static int undo_read(int fd, u64 place, u64 end, struct undo_record *r, u8 *data)
{
	size_t bytes = 0;
	u32 kind;
	int err;

	if (end - place < sizeof(*r))
		return 0;
	err = vhd_pread(fd, r, sizeof(*r), place);
	if (err)
		return err;
	kind = be32_to_cpu(r->kind);
	if (kind != UNDO_DATA && kind != UNDO_ZERO && kind != UNDO_DONE)
		return 0;
	if (kind == UNDO_DATA) {
		if (be64_to_cpu(r->len) > UNDO_PIECE ||
		    be64_to_cpu(r->len) > end - place - sizeof(*r))
			return 0;
		bytes = be64_to_cpu(r->len);
	}
	err = vhd_pread(fd, data, bytes, place + sizeof(*r));
	if (err)
		return err;
	return be32_to_cpu(r->checksum) == undo_checksum(r, data, bytes);
}

static int undo_scan_records(struct undo_list *l, u64 end)
{
	u64 place = sizeof(struct undo_head);
	u8 data[UNDO_PIECE];
	struct undo_record r;
	int ret;

	while (!l->done && (ret = undo_read(l->fd, place, end, &r, data)) > 0) {
		if (r.kind == cpu_to_be32(UNDO_DONE)) {
			l->done = true;
			l->sec = be64_to_cpu(r.pos);
			l->nsec = be64_to_cpu(r.len);
			return 0;
		}
		ret = undo_note(l, place);
		if (ret)
			return ret;
		place += sizeof(r);
		if (r.kind == cpu_to_be32(UNDO_DATA))
			place += be64_to_cpu(r.len);
	}
	return ret;
}

static int undo_scan(struct undo_list *l)
{
	struct undo_head head;
	struct stat st;
	int err;

	if (fstat(l->fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(head))
		return -EUCLEAN;
	err = vhd_pread(l->fd, &head, sizeof(head), 0);
	if (err)
		return err;
	if (memcmp(head.cookie, UNDO_COOKIE, sizeof(head.cookie)))
		return -EUCLEAN;
	l->size = be64_to_cpu(head.size);
	return undo_scan_records(l, st.st_size);
}

static int undo_put_back(const struct undo_list *l, size_t i, int fd)
{
	u8 data[UNDO_PIECE];
	struct undo_record r;
	int ret;

	ret = undo_read(l->fd, l->places[i], l->places[i] + sizeof(r) +
			sizeof(data), &r, data);
	if (ret <= 0)
		return ret ? ret : -EIO;
	if (r.kind == cpu_to_be32(UNDO_ZERO))
		return vhd_zero(fd, be64_to_cpu(r.pos), be64_to_cpu(r.len));
	return vhd_pwrite(fd, data, be64_to_cpu(r.len), be64_to_cpu(r.pos));
}

/* The oldest record of a place is what was there at first: put back last. */
static int undo_put_all_back(const struct undo_list *l, int fd)
{
	u64 size;
	size_t i;
	int err = vhd_fd_size(fd, &size);

	if (err)
		return err;
	if (size < l->size && ftruncate(fd, l->size))
		return -errno;
	for (i = l->nr; i && !err; i--)
		err = undo_put_back(l, i - 1, fd);
	/* Of a device nothing was cut off, nor is it longer. */
	if (!err && size != l->size && ftruncate(fd, l->size))
		err = -errno;
	if (!err && fsync(fd))
		err = -errno;
	return err;
}

static int undo_check_time(const struct undo_list *l, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (l->done && ((u64)st.st_mtim.tv_sec != l->sec ||
			(u64)st.st_mtim.tv_nsec != l->nsec))
		return -ESTALE;
	return 0;
}

int vhd_undo_apply(const char *path, int fd, bool force)
{
	struct undo_list l = { };
	int err;

	l.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (l.fd < 0)
		return -errno;
	err = undo_scan(&l);
	if (!err && !force)
		err = undo_check_time(&l, fd);
	if (!err)
		err = undo_put_all_back(&l, fd);
	close(l.fd);
	free(l.places);
	return err;
}
