// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A crew of threads, each with a buffer for one piece of the disk: a block of a
 * dynamic image, or 1 MiB.  A thread
 *
 *	takes the next piece that is not all holes	in order, one at a time
 *	reads it and looks for zeros			beside the others
 *	gets a place for it				in order, one at a time
 *	writes it					beside the others
 *
 * so that blocks lie in the file in the order of the disk whichever thread is
 * faster.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/align.h>
#include <linux/minmax.h>

#include "convert.h"
#include "crew.h"
#include "io.h"
#include "load.h"
#include "output.h"
#include "progress.h"
#include "writer.h"

/* Of the disk, where there are no blocks. */
#define PIECE		(1U << 20)
/* What is looked at for zeros at once. */
#define PAGE		4096U
/* Zeros shorter than this between data are written: fewer, longer extents. */
#define MIN_GAP		65536U

/**
 * struct job - what the crew shares
 * @lock: for all below and the source
 * @turn: signalled when @placed or @err changes
 * @pos: what has been taken ends here
 * @taken: pieces taken so far
 * @placed: pieces whose place is settled, in the order they were taken
 * @ended: of a stream
 */
struct job {
	struct vhd_convert *c;
	struct vhd_writer writer;
	u32 piece;

	pthread_mutex_t lock;
	pthread_cond_t turn;
	u64 pos;
	u64 taken;
	u64 placed;
	bool ended;
	int err;
};

/** struct load - a piece in a thread's hands; @number: taken before it */
struct load {
	struct vhd_load stretch;
	u64 number;
};

static bool in_blocks(const struct job *j)
{
	return j->writer.table;
}

/* The first error counts.  Under j->lock. */
static void job_fail(struct job *j, int err, u64 at, bool reading)
{
	if (!j->err) {
		j->err = err;
		j->c->at = at;
		j->c->reading = reading;
	}
	pthread_cond_broadcast(&j->turn);
}

static void job_failed(struct job *j, int err, u64 at, bool reading)
{
	pthread_mutex_lock(&j->lock);
	job_fail(j, err, at, reading);
	pthread_mutex_unlock(&j->lock);
}

/* ---- taking ---------------------------------------------------------- */

/* The next piece that has any data: 1, 0 at the end, or an error. */
static int take_mapped(struct job *j, struct vhd_load *l)
{
	struct vhd_source *s = j->c->source;
	int err;

	while (j->pos < s->size) {
		if (vhd_interrupted)
			return -EINTR;
		err = vhd_load_map(l, s, j->pos,
				   min_t(u64, s->size - j->pos, j->piece));
		if (err)
			return err;
		j->pos += l->len;
		if (l->nr_runs)
			return 1;
		vhd_progress_add(l->len);
	}
	return 0;
}

static int take_stream(struct job *j, struct vhd_load *l)
{
	size_t len = j->piece;
	int err;

	if (j->ended)
		return 0;
	l->at = j->pos;
	err = vhd_stream_read(j->c->source, l->data, &len);
	if (err)
		return err;
	j->ended = len < j->piece;
	l->len = ALIGN(len, VHD_SECTOR_SIZE);
	memset(l->data + len, 0, j->piece - len);
	j->pos += l->len;
	if (in_blocks(j) && j->pos > VHD_MAX_DYNAMIC_SIZE)
		return -EFBIG;
	return len != 0;
}

static bool take(struct job *j, struct load *l)
{
	int ret;

	pthread_mutex_lock(&j->lock);
	if (j->err)
		ret = 0;
	else if (j->c->source->stream)
		ret = take_stream(j, &l->stretch);
	else
		ret = take_mapped(j, &l->stretch);
	if (ret > 0)
		l->number = j->taken++;
	if (ret < 0)
		job_fail(j, ret, j->pos, true);
	pthread_mutex_unlock(&j->lock);
	return ret > 0;
}

/* ---- writing --------------------------------------------------------- */

/* Bytes from @pos up to the first page with data; or to the end. */
static u32 zeros_at(const struct vhd_load *l, u32 pos, u32 end)
{
	u32 start = pos;

	while (pos < end && vhd_all_zero(l->data + pos, PAGE))
		pos += PAGE;
	return pos - start;
}

/* From data at @pos to where a gap that is worth leaving out begins. */
static u32 data_end(const struct vhd_load *l, u32 pos, u32 end)
{
	u32 gap;

	while (pos < end) {
		pos += PAGE;
		gap = zeros_at(l, pos, end);
		if (gap >= MIN_GAP || pos + gap >= end)
			return pos;
		pos += gap;
	}
	return end;
}

static int write_some(struct job *j, const u8 *buf, u32 len, u64 pos)
{
	int err = vhd_pwrite(j->writer.fd, buf, len, pos);

	/* Let the disk begin now: the end waits for all of it. */
	if (!err)
		sync_file_range(j->writer.fd, pos, len, SYNC_FILE_RANGE_WRITE);
	return err;
}

/*
 * @zeros: bytes that the data begin with
 * @place: of the bitmap, or of the data where there is none
 */
static int write_load(struct job *j, struct vhd_load *l, u32 zeros, u64 place,
		      u64 *written)
{
	u32 room = in_blocks(j) ? j->writer.bitmap_bytes : 0;
	u32 end = in_blocks(j) ? j->piece : l->len;
	u32 pages = ALIGN(l->len, PAGE);
	u32 pos = zeros, stop;
	int err = 0;

	memset(l->data - room, 0xFF, room);
	if (room && zeros)
		err = vhd_pwrite(j->writer.fd, l->data - room, room, place);
	while (pos < pages && !err) {
		stop = min(data_end(l, pos, pages), end);
		*written += stop - pos;
		/* The bitmap goes along with data right behind it. */
		if (pos)
			err = write_some(j, l->data + pos, stop - pos,
					 place + room + pos);
		else
			err = write_some(j, l->data - room, stop + room, place);
		pos = ALIGN(stop, PAGE);
		pos += zeros_at(l, pos, pages);
	}
	return err;
}

/* When all pieces of before have got theirs; false if something went wrong. */
static bool get_place(struct job *j, struct load *l, bool empty, u64 *place)
{
	bool good;
	int err = 0;

	pthread_mutex_lock(&j->lock);
	while (j->placed != l->number && !j->err)
		pthread_cond_wait(&j->turn, &j->lock);
	*place = l->stretch.at;
	if (!j->err && !empty && in_blocks(j))
		err = vhd_writer_slot(&j->writer, l->stretch.at / j->piece,
				      place);
	if (err)
		job_fail(j, err, l->stretch.at, false);
	good = !j->err;
	j->placed++;
	pthread_cond_broadcast(&j->turn);
	pthread_mutex_unlock(&j->lock);
	return good;
}

static void carry(struct job *j, struct load *load)
{
	struct vhd_load *l = &load->stretch;
	u64 place, written = 0;
	u32 zeros, pages;
	int err = 0;

	if (!j->c->source->stream)
		err = vhd_load_read(l, j->c->source);
	if (err) {
		job_failed(j, err, l->at, true);
		return;
	}
	pages = ALIGN(l->len, PAGE);
	zeros = zeros_at(l, 0, pages);
	if (get_place(j, load, zeros == pages, &place) && zeros < pages) {
		err = write_load(j, l, zeros < MIN_GAP ? 0 : zeros, place,
				 &written);
		if (err)
			job_failed(j, err, l->at, false);
	}
	vhd_progress_add(l->len);
	pthread_mutex_lock(&j->lock);
	j->c->written += written;
	pthread_mutex_unlock(&j->lock);
}

static void *work(void *arg)
{
	struct job *j = arg;
	struct load l;
	int err;

	err = vhd_load_init(&l.stretch, j->piece);
	if (err) {
		job_failed(j, err, 0, false);
		return NULL;
	}
	while (take(j, &l))
		carry(j, &l);
	vhd_load_free(&l.stretch);
	return NULL;
}

/* ---- sharing --------------------------------------------------------- */

/*
 * A raw file and a fixed image are the same bytes: on btrfs, xfs and the like
 * they can share them.
 */
static int clone_file(struct job *j)
{
	const struct vhd_source *s = j->c->source;

	if (!s->flat || in_blocks(j) ||
	    ioctl(j->writer.fd, FICLONE, s->file.fd))
		return 0;
	j->c->cloned = true;
	/* Without the source's footer and what may lie behind it. */
	return ftruncate(j->writer.fd, s->raw ? s->bytes : s->size) ?
	       -errno : 0;
}

/* ---- all of it ------------------------------------------------------- */

static int convert_data(struct job *j)
{
	struct vhd_convert *c = j->c;
	int err;

	vhd_progress_begin(c->source->stream ? 0 : c->source->size);
	err = clone_file(j);
	if (c->cloned) {
		vhd_progress_set(c->source->size);
		return err;
	}
	if (!c->source->stream)
		posix_fadvise(c->source->file.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	err = vhd_crew_run(work, j);
	return err ? err : j->err;
}

static int convert_fd(struct vhd_convert *c, int fd)
{
	struct job j = {
		.c = c,
		.writer = { .fd = fd, .raw = c->raw, .image = c->image },
		.piece = PIECE,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.turn = PTHREAD_COND_INITIALIZER,
	};
	int err;

	err = vhd_writer_init(&j.writer);
	if (!err && in_blocks(&j))
		j.piece = c->image.block_size;
	if (!err)
		err = convert_data(&j);
	if (!err && c->source->stream)
		j.writer.image.size = j.pos;
	if (!err && !j.writer.image.size)
		err = -ENODATA;
	if (!err)
		err = vhd_writer_finish(&j.writer);
	c->size = j.writer.image.size;
	vhd_writer_free(&j.writer);
	return err;
}

int vhd_convert(struct vhd_convert *c, const char *path)
{
	struct vhd_output out;
	int err;

	err = vhd_output_open(&out, path, c->replace);
	if (err)
		return err;
	err = convert_fd(c, out.fd);
	/* A signal that comes with the last piece still means it. */
	if (!err && vhd_interrupted)
		err = -EINTR;
	return vhd_output_end(&out, err);
}
