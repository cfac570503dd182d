/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image in a file: the core with a descriptor below it.  For one thread.
 *
 * Everything here returns 0 or a negative errno unless said otherwise.
 */
#ifndef _LIBVHD_FILE_H
#define _LIBVHD_FILE_H

#include <time.h>

#include "commit.h"
#include "finding.h"
#include "image.h"
#include "map.h"

/* Findings kept; a hostile image could make a million of them. */
#define VHD_KEPT_FINDINGS	256

/**
 * struct vhd_findings - what was found wrong while an image was opened
 * @nr: how many; only the first VHD_KEPT_FINDINGS are in @list
 * @worst: the first one of the severest policy; valid if @nr
 */
struct vhd_findings {
	struct vhd_reporter rep;
	u64 nr;
	struct vhd_finding worst;
	struct vhd_finding list[VHD_KEPT_FINDINGS];
};

/** vhd_findings_kept - how many are in the list */
unsigned int vhd_findings_kept(const struct vhd_findings *f);

/**
 * struct vhd_file - an image file, or a block device
 * @fd: its descriptor, or -1
 * @mode: st_mode of the file
 * @dev: st_dev
 * @ino: st_ino
 * @size: bytes of the file when it was opened
 * @mtime: when it was last changed before that
 * @loaded: @image is ready for mapping
 */
struct vhd_file {
	char *path;
	int fd;
	mode_t mode;
	dev_t dev;
	ino_t ino;
	u64 size;
	struct timespec mtime;
	bool loaded;
	struct vhd_image image;
	struct vhd_commit commit;
	struct vhd_findings findings;
};

/**
 * vhd_file_open - open the file, look at nothing in it
 * @f: initialised here
 * @write: for reading and writing
 *
 * Regular files and block devices: -EISDIR for a directory, -ENOTSUP for all
 * others (f->mode tells).  A device that is to be written is opened exclusively:
 * -EBUSY if it is mounted or some driver has claimed it.  Whatever the result, vhd_file_close() may be called.
 */
int vhd_file_open(struct vhd_file *f, const char *path, bool write);

/**
 * vhd_file_lend - the same for the driver, which claims a device itself
 */
int vhd_file_lend(struct vhd_file *f, const char *path, bool write);

/**
 * vhd_file_adopt - the same with a descriptor, which is the file's from now on
 * @path: what to call it
 */
int vhd_file_adopt(struct vhd_file *f, int fd, const char *path);

/**
 * vhd_file_load - run the open plan and collect its findings
 * @flags: VHD_OPEN_*
 *
 * Results as vhd_open_init() gives them.
 */
int vhd_file_load(struct vhd_file *f, unsigned int flags);

/** vhd_file_unload - forget the image, so that it can be loaded again */
void vhd_file_unload(struct vhd_file *f);

/** vhd_file_close - free everything; what was not committed is lost */
void vhd_file_close(struct vhd_file *f);

/**
 * vhd_file_map - what the first run of a range is
 * @sector: first virtual sector
 * @sectors: length of the range, not 0
 * @ext: kind is VHD_MAP_DATA, VHD_MAP_ZERO or VHD_MAP_BAD
 *
 * Runs end at the border of a block at the latest.  This image alone: what a
 * differencing one leaves to its parent is VHD_MAP_ZERO.
 */
int vhd_file_map(struct vhd_file *f, u64 sector, u64 sectors,
		 struct vhd_extent *ext);

/** vhd_file_load_bitmap - what VHD_MAP_BITMAP asks for, of the block at @sector */
int vhd_file_load_bitmap(struct vhd_file *f, u64 sector);

/**
 * vhd_file_read - read guest data
 * @len: bytes, a multiple of 512
 * @pos: virtual byte offset, a multiple of 512
 *
 * -EIO where a block is damaged, -EINVAL beyond the disk's end.
 */
int vhd_file_read(struct vhd_file *f, void *buf, size_t len, u64 pos);

/** vhd_file_write - write guest data; durable after vhd_file_sync() */
int vhd_file_write(struct vhd_file *f, const void *buf, size_t len, u64 pos);

/** vhd_file_sync - commit */
int vhd_file_sync(struct vhd_file *f);

/** vhd_file_finish - commit and leave the file tight, as a detach does */
int vhd_file_finish(struct vhd_file *f);

#endif /* _LIBVHD_FILE_H */
