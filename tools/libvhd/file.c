// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/container_of.h>
#include <linux/minmax.h>

#include "bitmap.h"
#include "file.h"
#include "io.h"
#include "open.h"
#include "space.h"

/* Longest run of a fixed image: keeps its sectors in 32 bits. */
#define MAX_RUN		(1U << 22)
/* Ten seconds: an NFS client gives a file back in a fraction of one. */
#define OPEN_ATTEMPTS	200

unsigned int vhd_findings_kept(const struct vhd_findings *f)
{
	return min_t(u64, f->nr, VHD_KEPT_FINDINGS);
}

static enum vhd_policy finding_policy(const struct vhd_finding *f)
{
	return vhd_finding_info(f->code)->policy;
}

static void findings_report(struct vhd_reporter *rep,
			    const struct vhd_finding *f)
{
	struct vhd_findings *all = container_of(rep, struct vhd_findings, rep);

	if (!all->nr || finding_policy(f) > finding_policy(&all->worst))
		all->worst = *f;
	if (all->nr < VHD_KEPT_FINDINGS)
		all->list[all->nr] = *f;
	all->nr++;
}

/* The size of a device is known when it is open. */
static int file_kind(struct vhd_file *f, const struct stat *st)
{
	f->mode = st->st_mode;
	f->dev = st->st_dev;
	f->ino = st->st_ino;
	f->size = st->st_size;
	f->mtime = st->st_mtim;
	if (S_ISDIR(st->st_mode))
		return -EISDIR;
	if (S_ISBLK(st->st_mode))
		return f->fd < 0 ? 0 : vhd_fd_size(f->fd, &f->size);
	return S_ISREG(st->st_mode) ? 0 : -ENOTSUP;
}

/*
 * Not to hang on a FIFO: without waiting, which has no meaning for a regular
 * file, but for one: where an NFS client or a Samba server is to give the file
 * back first, it is asked to, and we are to come again.
 */
static int open_file(const char *path, int flags)
{
	const struct timespec pause = { 0, 50 * 1000000L };
	int fd, attempt;

	for (attempt = 0; ; attempt++) {
		fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (fd >= 0 || errno != EWOULDBLOCK ||
		    attempt == OPEN_ATTEMPTS || vhd_interrupted)
			return fd;
		nanosleep(&pause, NULL);
	}
}

/* Of a device @alone keeps the kernel's drivers off, and they us. */
static int file_open(struct vhd_file *f, const char *path, int flags,
		     bool alone)
{
	struct stat st;
	int err;

	memset(f, 0, sizeof(*f));
	f->path = strdup(path);
	f->fd = -1;
	/* Opening other things can fail, or do something, of itself. */
	if (!stat(path, &st)) {
		err = file_kind(f, &st);
		if (err)
			return err;
	}
	f->fd = open_file(path, alone && S_ISBLK(f->mode) ? flags | O_EXCL :
							    flags);
	if (f->fd < 0)
		return -errno;
	if (!f->path)
		return -ENOMEM;
	err = fstat(f->fd, &st) ? -errno : file_kind(f, &st);
	if (!err && fcntl(f->fd, F_SETFL, 0))
		err = -errno;
	return err;
}

int vhd_file_open(struct vhd_file *f, const char *path, bool write)
{
	return file_open(f, path, write ? O_RDWR : O_RDONLY, write);
}

int vhd_file_lend(struct vhd_file *f, const char *path, bool write)
{
	return file_open(f, path, write ? O_RDWR : O_RDONLY, false);
}

int vhd_file_adopt(struct vhd_file *f, int fd, const char *path)
{
	struct stat st;

	memset(f, 0, sizeof(*f));
	f->fd = fd;
	f->path = strdup(path);
	if (!f->path)
		return -ENOMEM;
	return fstat(fd, &st) ? -errno : file_kind(f, &st);
}

int vhd_file_load(struct vhd_file *f, unsigned int flags)
{
	struct vhd_open open_plan;
	int err;

	if (S_ISBLK(f->mode))
		flags |= VHD_OPEN_DEVICE;
	memset(&f->findings, 0, sizeof(f->findings));
	f->findings.rep.report = findings_report;
	/* What a failed flush has left there looks written, and is not on the disk. */
	if (flags & VHD_OPEN_WRITE)
		posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	vhd_open_init(&open_plan, &f->image, f->size, flags, &f->findings.rep);
	err = vhd_run_plan(f->fd, &open_plan.plan);
	vhd_open_end(&open_plan);
	f->loaded = true;
	if (!err && f->image.writable)
		err = vhd_commit_alloc(&f->commit, &f->image);
	if (err) {
		vhd_image_free(&f->image);
		f->loaded = false;
	}
	return err;
}

void vhd_file_unload(struct vhd_file *f)
{
	if (f->loaded) {
		if (f->image.writable)
			vhd_commit_free(&f->commit);
		vhd_image_free(&f->image);
	}
	f->loaded = false;
}

void vhd_file_close(struct vhd_file *f)
{
	vhd_file_unload(f);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	free(f->path);
	f->path = NULL;
}

int vhd_file_load_bitmap(struct vhd_file *f, u64 sector)
{
	u32 block = (sector << VHD_SECTOR_SHIFT) >> f->image.block_shift;
	struct vhd_bitmap *bm;
	u64 pos;
	u32 len;
	int err;

	bm = vhd_bitmap_alloc(&f->image, block);
	if (!bm)
		return -ENOMEM;
	pos = vhd_bitmap_load_pos(&f->image, bm, &len);
	err = pos ? vhd_pread(f->fd, bm->live, len, pos) : 0;
	if (err)
		vhd_bitmap_free(bm);
	else
		vhd_bitmap_add(&f->image, bm);
	return err;
}

/* Sectors of a range that lie in the block of its first one. */
static u32 file_clip(const struct vhd_image *img, u64 sector, u64 sectors)
{
	u32 in_block;

	if (!img->bat)
		return min_t(u64, sectors, MAX_RUN);
	in_block = vhd_block_sectors(img);
	return min_t(u64, sectors, in_block - (sector & (in_block - 1)));
}

int vhd_file_map(struct vhd_file *f, u64 sector, u64 sectors,
		 struct vhd_extent *ext)
{
	struct vhd_hold hold = { };
	u32 run = file_clip(&f->image, sector, sectors);
	int err = 0;

	for (;;) {
		vhd_map_read(&f->image, sector, run, &hold, ext);
		if (ext->kind != VHD_MAP_BITMAP)
			break;
		err = vhd_file_load_bitmap(f, sector);
		if (err)
			break;
	}
	vhd_map_done(&f->image, &hold, 0);
	if (ext->kind == VHD_MAP_PARENT)
		ext->kind = VHD_MAP_ZERO;
	return err;
}

static bool file_range_ok(const struct vhd_file *f, size_t len, u64 pos)
{
	return !(len % VHD_SECTOR_SIZE) && !(pos % VHD_SECTOR_SIZE) &&
	       pos <= f->image.size && len <= f->image.size - pos;
}

int vhd_file_read(struct vhd_file *f, void *buf, size_t len, u64 pos)
{
	struct vhd_extent ext;
	char *p = buf;
	size_t n;
	int err;

	if (!file_range_ok(f, len, pos))
		return -EINVAL;
	for (; len; p += n, pos += n, len -= n) {
		err = vhd_file_map(f, pos >> VHD_SECTOR_SHIFT,
				   len >> VHD_SECTOR_SHIFT, &ext);
		if (err)
			return err;
		n = (size_t)ext.sectors << VHD_SECTOR_SHIFT;
		if (ext.kind == VHD_MAP_BAD)
			return -EIO;
		if (ext.kind == VHD_MAP_ZERO)
			memset(p, 0, n);
		else
			err = vhd_pread(f->fd, p, n, ext.pos);
		if (err)
			return err;
	}
	return 0;
}

static int file_prepare(struct vhd_file *f)
{
	struct vhd_prepare prepare;

	vhd_prepare_init(&prepare, &f->image);
	return vhd_run_plan(f->fd, &prepare.plan);
}

/* Give the core what a write was found to lack. */
static int file_provide(struct vhd_file *f, enum vhd_map_kind kind, u64 sector)
{
	switch (kind) {
	case VHD_MAP_BITMAP:
		return vhd_file_load_bitmap(f, sector);
	case VHD_MAP_SPACE:
		return file_prepare(f);
	case VHD_MAP_COMMIT:
		return vhd_file_sync(f);
	default:
		return -EIO;
	}
}

/* Write the part of the range that lies in one block. */
static int file_write_block(struct vhd_file *f, const void *buf, u32 sectors,
			    u64 sector)
{
	struct vhd_extent ext;
	struct vhd_hold hold;
	int err;

	for (;;) {
		err = vhd_map_write(&f->image, sector, sectors, &hold, &ext);
		if (err)
			return err;
		if (ext.kind == VHD_MAP_DATA)
			break;
		err = file_provide(f, ext.kind, sector);
		if (err)
			return err;
	}
	err = vhd_pwrite(f->fd, buf, (size_t)sectors << VHD_SECTOR_SHIFT,
			 ext.pos);
	vhd_map_done(&f->image, &hold, err);
	return err;
}

int vhd_file_write(struct vhd_file *f, const void *buf, size_t len, u64 pos)
{
	const char *p = buf;
	size_t n;
	int err;

	if (!file_range_ok(f, len, pos))
		return -EINVAL;
	for (; len; p += n, pos += n, len -= n) {
		u32 run = file_clip(&f->image, pos >> VHD_SECTOR_SHIFT,
				    len >> VHD_SECTOR_SHIFT);

		n = (size_t)run << VHD_SECTOR_SHIFT;
		err = file_write_block(f, p, run, pos >> VHD_SECTOR_SHIFT);
		if (err)
			return err;
	}
	return 0;
}

int vhd_file_sync(struct vhd_file *f)
{
	vhd_commit_begin(&f->commit);
	return vhd_run_plan(f->fd, &f->commit.plan);
}

int vhd_file_finish(struct vhd_file *f)
{
	struct vhd_tidy tidy;
	int err;

	err = vhd_file_sync(f);
	if (err)
		return err;
	vhd_tidy_init(&tidy, &f->image);
	return vhd_run_plan(f->fd, &tidy.plan);
}
