/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stretch of a disk in memory: mapped first, in turn, then read, beside
 * others.
 */
#ifndef _LIBVHD_LOAD_H
#define _LIBVHD_LOAD_H

#include "source.h"

/* In front of the data, for a sector bitmap. */
#define VHD_LOAD_ROOM	VHD_ALIGN

/**
 * struct vhd_load - the stretch
 * @data: its content, zeros behind what is on the disk; VHD_LOAD_ROOM bytes in
 *	front are the user's
 * @size: bytes of @data, a multiple of 4096
 * @at: where on the disk
 * @len: bytes of it, up to @size; less at the end of the disk
 * @nr_runs: runs that are not zeros: 0: nothing is to be read
 */
struct vhd_load {
	u8 *data;
	u32 size;
	u64 at;
	u32 len;
	u32 nr_runs;
	u32 max_runs;
	struct vhd_run {
		struct vhd_piece piece;
		u32 start;
	} *runs;
};

/** vhd_load_init - memory for @size bytes; to be freed, unless this fails */
int vhd_load_init(struct vhd_load *l, u32 size);
void vhd_load_free(struct vhd_load *l);

/**
 * vhd_load_map - find out what of [@at, @at + @len) must be read
 * One thread of a source at a time.
 */
int vhd_load_map(struct vhd_load *l, struct vhd_source *s, u64 at, u32 len);

/** vhd_load_read - read it; any thread */
int vhd_load_read(struct vhd_load *l, const struct vhd_source *s);

/** vhd_all_zero - are @len bytes zeros; @len a multiple of 64 */
bool vhd_all_zero(const void *buf, size_t len);

#endif /* _LIBVHD_LOAD_H */
