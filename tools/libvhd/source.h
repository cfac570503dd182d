/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the content of a disk comes from: an image, a raw file or block device,
 * or a raw stream.  Tells which parts are data, and where, without reading any.
 */
#ifndef _LIBVHD_SOURCE_H
#define _LIBVHD_SOURCE_H

#include "layers.h"

enum vhd_source_format {
	VHD_SOURCE_AUTO,
	VHD_SOURCE_RAW,
	VHD_SOURCE_VHD,
};

/**
 * struct vhd_source - a disk to be read
 * @file: the image, or just the opened file
 * @raw: its bytes are those of the disk
 * @stream: can be read once, from the beginning to the end; @size is not known
 * @flat: the disk lies in one piece at the beginning of @file
 * @chained: it is that of the top of @layers: of a differencing image, opened
 *	once more with its parents by whoever opens the source
 * @size: of the disk, bytes; a multiple of 512
 * @bytes: of a raw file, not rounded up
 *
 * Large: not for the stack.  One thread at a time for all but vhd_piece_read().
 */
struct vhd_source {
	struct vhd_file file;
	bool raw;
	bool stream;
	bool flat;
	bool chained;
	struct vhd_layers layers;
	u64 size;
	u64 bytes;

	/* What lseek() said last: from @seek_start to @seek_end all of a kind. */
	int seek_fd;
	u64 seek_start;
	u64 seek_end;
	bool seek_hole;
};

/**
 * struct vhd_piece - a run of the disk of one kind
 * @zero: reads as zeros; then there is no place
 * @pos: where in the file @fd
 */
struct vhd_piece {
	bool zero;
	int fd;
	u64 len;
	u64 pos;
};

/**
 * vhd_source_open - open a disk for reading
 * @s: zeroed; vhd_source_close() may be called whatever the result
 * @path: "-" is the standard input, raw
 *
 * Return: as vhd_file_open() and vhd_file_load(), whose findings are in
 * s->file; -EBUSY if another process writes it.
 */
int vhd_source_open(struct vhd_source *s, const char *path,
		    enum vhd_source_format format);
void vhd_source_close(struct vhd_source *s);

/**
 * vhd_source_map - what the first piece of a range is
 * @len: not 0, and the range ends at s->size at the latest
 *
 * Holes of the file are zeros.  Return: 0; -EIO where the image is damaged;
 * an error of a read.
 */
int vhd_source_map(struct vhd_source *s, u64 pos, u64 len,
		   struct vhd_piece *piece);

/**
 * vhd_piece_read - read the first @len bytes of a piece; any thread
 * A file that has become shorter is an error, -EIO.
 */
int vhd_piece_read(const struct vhd_source *s, const struct vhd_piece *piece,
		   void *buf, size_t len);

/**
 * vhd_stream_read - the next bytes of a stream
 * @len: in: how much there is room for; out: less only at the end
 */
int vhd_stream_read(struct vhd_source *s, void *buf, size_t *len);

#endif /* _LIBVHD_SOURCE_H */
