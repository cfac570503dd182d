/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Undo files: what a repair overwrote, so that it can be taken back.
 *
 * A head that tells the image's size, then records: a place, a length, and the
 * bytes that were there, or that they were zeros.  Each record has a checksum;
 * what comes behind the first bad one was never needed, since the image is only
 * changed after its records are durable.  The last record, if the repair came
 * to its end, tells when the image was last changed by it.
 *
 * Everything here returns 0 or a negative errno.
 */
#ifndef _LIBVHD_UNDO_H
#define _LIBVHD_UNDO_H

#include <linux/types.h>

/**
 * struct vhd_undo - an undo file being written
 * @path: its name; it is made when the first record is saved
 * @fd: of the undo file, or -1
 * @image: descriptor of the image
 * @end: bytes written
 */
struct vhd_undo {
	const char *path;
	int fd;
	int image;
	u64 end;
};

/** vhd_undo_init - makes nothing yet */
void vhd_undo_init(struct vhd_undo *u, const char *path, int image);

/**
 * vhd_undo_save - keep what lies at [pos, pos + len) of the image
 * What is beyond the end of the file needs no record.  -EEXIST if the first
 * record finds a file of that name.
 */
int vhd_undo_save(struct vhd_undo *u, u64 pos, u64 len);

/** vhd_undo_sync - what was saved is durable: the image may be changed */
int vhd_undo_sync(struct vhd_undo *u);

/** vhd_undo_finish - the repair has come to its end and is durable */
int vhd_undo_finish(struct vhd_undo *u);

void vhd_undo_close(struct vhd_undo *u);

/**
 * vhd_undo_apply - put everything back
 * @fd: the image, open for reading and writing
 * @force: although the image was changed after the repair
 *
 * -EUCLEAN if @path is no undo file; -ESTALE if the image was changed after
 * the repair.  After an interruption it is to be done again, with @force.
 */
int vhd_undo_apply(const char *path, int fd, bool force);

#endif /* _LIBVHD_UNDO_H */
