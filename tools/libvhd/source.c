// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/align.h>
#include <linux/limits.h>
#include <linux/minmax.h>

#include "io.h"
#include "lock.h"
#include "open.h"
#include "source.h"

/* ---- opening --------------------------------------------------------- */

static void source_raw(struct vhd_source *s, u64 bytes)
{
	s->raw = true;
	s->flat = !s->stream;
	s->bytes = bytes;
	s->size = ALIGN(bytes, (u64)VHD_SECTOR_SIZE);
}

static int source_stdin(struct vhd_source *s)
{
	struct stat st;

	s->file.path = strdup("-");
	s->file.fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	if (s->file.fd < 0 || fstat(s->file.fd, &st))
		return -errno;
	if (!s->file.path)
		return -ENOMEM;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	/* A file from its beginning on is as good as its name. */
	s->stream = !S_ISREG(st.st_mode) ||
		    lseek(s->file.fd, 0, SEEK_CUR) != 0;
	source_raw(s, s->stream ? 0 : st.st_size);
	return 0;
}

static int source_image(struct vhd_source *s, enum vhd_source_format format)
{
	int err;

	if (format != VHD_SOURCE_RAW) {
		err = vhd_file_load(&s->file, VHD_OPEN_FORCE);
		if (err != -EMEDIUMTYPE || format == VHD_SOURCE_VHD) {
			s->size = s->file.image.size;
			s->flat = !s->file.image.bat;
			return err;
		}
	}
	source_raw(s, s->file.size);
	return 0;
}

int vhd_source_open(struct vhd_source *s, const char *path,
		    enum vhd_source_format format)
{
	int err;

	s->seek_fd = -1;
	if (!strcmp(path, "-")) {
		s->file.fd = -1;
		return source_stdin(s);
	}
	err = vhd_file_open(&s->file, path, false);
	if (err)
		return err;
	/* Whoever may write a disk could make it look like an image. */
	if (S_ISBLK(s->file.mode) && format != VHD_SOURCE_VHD) {
		source_raw(s, s->file.size);
		return 0;
	}
	/* Where there are no locks, nobody else has one. */
	if (vhd_lock_image(s->file.fd, false) == -EBUSY)
		return -EBUSY;
	return source_image(s, format);
}

void vhd_source_close(struct vhd_source *s)
{
	if (s->chained)
		vhd_layers_close(&s->layers);
	s->chained = false;
	vhd_file_close(&s->file);
}

/* ---- mapping --------------------------------------------------------- */

/* Without an answer, all is data. */
static void source_seek(struct vhd_source *s, int fd, u64 pos)
{
	off_t next = lseek(fd, pos, SEEK_DATA);

	s->seek_fd = fd;
	s->seek_start = pos;
	s->seek_end = U64_MAX;
	s->seek_hole = false;
	if (next < 0) {
		s->seek_hole = errno == ENXIO;
		return;
	}
	if ((u64)next > pos) {
		s->seek_hole = true;
		s->seek_end = next;
		return;
	}
	next = lseek(fd, pos, SEEK_HOLE);
	if (next > (off_t)pos)
		s->seek_end = next;
}

/* Cut a piece of data where a hole of the file begins or ends. */
static void source_holes(struct vhd_source *s, struct vhd_piece *p)
{
	u64 rest;

	if (s->seek_fd != p->fd || p->pos < s->seek_start ||
	    p->pos >= s->seek_end)
		source_seek(s, p->fd, p->pos);
	rest = s->seek_end - p->pos;
	/* Sectors are not cut, whatever the file system's blocks are. */
	if (rest < p->len && s->seek_hole)
		rest &= ~(u64)(VHD_SECTOR_SIZE - 1);
	else if (rest < p->len)
		rest = ALIGN(rest, (u64)VHD_SECTOR_SIZE);
	p->zero = s->seek_hole && rest;
	p->len = min(p->len, max_t(u64, rest, VHD_SECTOR_SIZE));
}

/* Which layer's data, or zeros; the place in its file. */
static int source_extent(struct vhd_source *s, u64 pos, u64 len,
			 struct vhd_piece *p)
{
	u64 sector = pos >> VHD_SECTOR_SHIFT;
	u64 sectors = len >> VHD_SECTOR_SHIFT;
	struct vhd_extent ext;
	unsigned int layer;
	int err;

	if (s->chained)
		err = vhd_layers_map(&s->layers, 0, sector, sectors, &ext,
				     &layer);
	else
		err = vhd_file_map(&s->file, sector, sectors, &ext);
	if (err)
		return err;
	if (s->chained && ext.kind == VHD_MAP_DATA)
		p->fd = s->layers.layers[layer]->fd;
	p->len = (u64)ext.sectors << VHD_SECTOR_SHIFT;
	p->pos = ext.pos;
	p->zero = ext.kind == VHD_MAP_ZERO;
	return ext.kind == VHD_MAP_BAD ? -EIO : 0;
}

int vhd_source_map(struct vhd_source *s, u64 pos, u64 len,
		   struct vhd_piece *p)
{
	int err = 0;

	p->fd = s->file.fd;
	p->zero = false;
	p->pos = pos;
	p->len = len;
	if (!s->flat)
		err = source_extent(s, pos, len, p);
	if (!err && !p->zero)
		source_holes(s, p);
	return err;
}

/* ---- reading --------------------------------------------------------- */

int vhd_piece_read(const struct vhd_source *s, const struct vhd_piece *p,
		   void *buf, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = pread(p->fd, (char *)buf + done, len - done, p->pos + done);
		if (n < 0 && errno == EINTR && !vhd_interrupted)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += n;
	}
	if (done < len && !(s->raw && p->pos + done == s->bytes))
		return -EIO;
	/* The last sector of a raw file may be cut short. */
	memset((char *)buf + done, 0, len - done);
	return 0;
}

int vhd_stream_read(struct vhd_source *s, void *buf, size_t *len)
{
	struct pollfd p = { .fd = s->file.fd, .events = POLLIN };
	size_t done = 0;
	ssize_t n;

	while (done < *len) {
		if (vhd_interrupted)
			return -EINTR;
		/* The signal may be another thread's: look again soon. */
		if (!poll(&p, 1, 200))
			continue;
		n = read(s->file.fd, (char *)buf + done, *len - done);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += n;
	}
	*len = done;
	return 0;
}
