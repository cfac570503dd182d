// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/align.h>
#include <linux/minmax.h>
#include <vhd/format.h>

#include "io.h"

#define ZEROS_SIZE	(1U << 20)

volatile sig_atomic_t vhd_interrupted;
FILE *vhd_io_trace;

/* What to do about a failed call: 0 to do it again, or the error. */
static int io_error(void)
{
	if (errno == EINTR && !vhd_interrupted)
		return 0;
	return -errno;
}

int vhd_pread(int fd, void *buf, size_t len, u64 pos)
{
	char *p = buf;
	ssize_t n;
	int err;

	while (len) {
		n = pread(fd, p, len, pos);
		if (n < 0) {
			err = io_error();
			if (err)
				return err;
			continue;
		}
		if (!n) {
			memset(p, 0, len);
			return 0;
		}
		p += n;
		pos += n;
		len -= n;
	}
	return 0;
}

int vhd_pwrite(int fd, const void *buf, size_t len, u64 pos)
{
	const char *p = buf;
	ssize_t n;
	int err;

	while (len) {
		n = pwrite(fd, p, len, pos);
		if (n < 0) {
			err = io_error();
			if (err)
				return err;
			continue;
		}
		if (!n)
			return -EIO;
		p += n;
		pos += n;
		len -= n;
	}
	return 0;
}

int vhd_write_zeros(int fd, u64 pos, u64 len)
{
	static const char zeros[ZEROS_SIZE];
	size_t n;
	int err;

	for (; len; pos += n, len -= n) {
		if (vhd_interrupted)
			return -EINTR;
		n = min_t(u64, len, sizeof(zeros));
		err = vhd_pwrite(fd, zeros, n, pos);
		if (err)
			return err;
	}
	return 0;
}

static int io_fallocate(int fd, int mode, u64 pos, u64 len)
{
	int err;

	do {
		if (!fallocate(fd, mode, pos, len))
			return 0;
		err = io_error();
	} while (!err);
	/* Some file systems do not know the call, others not this mode. */
	return err == -ENOSYS ? -EOPNOTSUPP : err;
}

int vhd_fd_size(int fd, u64 *size)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	*size = st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, size))
		return -errno;
	return 0;
}

int vhd_fd_tail(int fd, u64 *tail)
{
	struct stat st;
	u64 size;
	int err;

	*tail = 0;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISBLK(st.st_mode))
		return 0;
	err = vhd_fd_size(fd, &size);
	if (err)
		return err;
	if (size < 2 * VHD_SECTOR_SIZE)
		return -ENOSPC;
	*tail = ALIGN_DOWN(size, (u64)VHD_SECTOR_SIZE) - VHD_SECTOR_SIZE;
	return 0;
}

/* Whatever is there afterwards; not every device can. */
static int io_discard(int fd, u64 pos, u64 len)
{
	u64 range[2] = { pos, len };

	return ioctl(fd, BLKDISCARD, range) ? -errno : 0;
}

int vhd_zero(int fd, u64 pos, u64 len)
{
	u64 size;
	int err;

	if (!len)
		return 0;
	err = io_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   pos, len);
	/* A device says the latter of what is not whole sectors of its own. */
	if (err != -EOPNOTSUPP && err != -EINVAL)
		return err;
	err = vhd_fd_size(fd, &size);
	if (err || pos >= size)
		return err;
	return vhd_write_zeros(fd, pos, min(len, size - pos));
}

static int io_truncate(int fd, u64 pos)
{
	int err;

	do {
		if (!ftruncate(fd, pos))
			return 0;
		err = io_error();
	} while (!err);
	return err;
}

static int io_step(int fd, const struct vhd_io *io)
{
	switch (io->kind) {
	case VHD_IO_READ:
		return vhd_pread(fd, io->buf, io->len, io->pos);
	case VHD_IO_WRITE:
		return vhd_pwrite(fd, io->buf, io->len, io->pos);
	case VHD_IO_ZERO:
		return vhd_zero(fd, io->pos, io->len);
	case VHD_IO_RESERVE:
		return io_fallocate(fd, FALLOC_FL_KEEP_SIZE, io->pos, io->len);
	case VHD_IO_TRUNCATE:
		return io_truncate(fd, io->pos);
	case VHD_IO_DISCARD:
		return io_discard(fd, io->pos, io->len);
	case VHD_IO_FLUSH:
		/* Never again after an error: it might "succeed". */
		return fdatasync(fd) ? -errno : 0;
	case VHD_IO_SEEK:
		return -EOPNOTSUPP;
	}
	return -EINVAL;
}

static void io_trace_step(const struct vhd_io *io, int err)
{
	static const char *const names[] = {
		[VHD_IO_READ]		= "read",
		[VHD_IO_WRITE]		= "write",
		[VHD_IO_ZERO]		= "zero",
		[VHD_IO_RESERVE]	= "reserve",
		[VHD_IO_TRUNCATE]	= "truncate",
		[VHD_IO_DISCARD]	= "discard",
		[VHD_IO_FLUSH]		= "flush",
		[VHD_IO_SEEK]		= "seek",
	};

	fprintf(vhd_io_trace, "libvhd: %s %llu at %llu: %s\n",
		names[io->kind], (unsigned long long)io->len,
		(unsigned long long)io->pos, err ? strerror(-err) : "ok");
}

int vhd_run_plan(int fd, struct vhd_plan *plan)
{
	struct vhd_io io;
	int err = 0;
	int ret;

	while ((ret = vhd_plan_next(plan, err, &io)) > 0) {
		err = io_step(fd, &io);
		if (vhd_io_trace)
			io_trace_step(&io, err);
	}
	return ret;
}
