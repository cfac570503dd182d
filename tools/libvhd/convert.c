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
/*
 * Written at once.  For 2 MiB the page cache of recent kernels wants as much in
 * one piece, and finding it takes longer than all the rest.
 */
#define WRITE_MOST	(512U << 10)
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
 * @unshared: the two files cannot share data, which was tried
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
	bool unshared;
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

/* What is not written of it is not zeros, but whatever the device holds. */
static bool no_holes(const struct job *j)
{
	return j->writer.tail;
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
		if (l->nr_runs || (no_holes(j) && !in_blocks(j)))
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
	u32 at, n;
	int err = 0;

	for (at = 0; at < len && !err; at += n) {
		n = min(len - at, WRITE_MOST);
		err = vhd_pwrite(j->writer.fd, buf + at, n, pos + at);
	}
	/* Let the disk begin now: the end waits for all of it. */
	if (!err)
		sync_file_range(j->writer.fd, pos, len, SYNC_FILE_RANGE_WRITE);
	return err;
}

/* The run of the source that has all of [pos, stop), if there is one. */
static const struct vhd_run *run_of(const struct vhd_load *l, u32 pos, u32 stop)
{
	const struct vhd_run *r;

	for (r = l->runs; r < l->runs + l->nr_runs; r++)
		if (r->start <= pos && stop <= r->start + r->piece.len)
			return r;
	return NULL;
}

/*
 * Rather than being written, data that were read, and are not zeros, may be the
 * source's own: btrfs, xfs and the like share blocks, if they are whole ones of
 * both files.  What goes wrong here does not matter: then they are written.
 */
static bool share(struct job *j, const struct vhd_load *l, u32 pos, u32 stop,
		  u64 place)
{
	const struct vhd_run *r = run_of(l, pos, stop);
	struct file_clone_range range = {
		.src_length = stop - pos,
		.dest_offset = place,
	};

	if (!r || READ_ONCE(j->unshared))
		return false;
	range.src_fd = r->piece.fd;
	range.src_offset = r->piece.pos + pos - r->start;
	if ((range.src_offset | range.src_length | place) % PAGE)
		return false;
	if (!ioctl(j->writer.fd, FICLONERANGE, &range))
		return true;
	/* Blocks may be larger than a page; then some runs begin between. */
	if (errno != EINVAL)
		WRITE_ONCE(j->unshared, true);
	return false;
}

/** struct target - where a load goes, and what became of it */
struct target {
	u64 place;
	u32 room;
	bool bitmap;
	u64 written;
	u64 shared;
};

/* The bitmap goes along with data right behind it. */
static int write_stretch(struct job *j, struct vhd_load *l, u32 pos, u32 stop,
			 struct target *t)
{
	u32 room = pos || t->bitmap ? 0 : t->room;
	u64 data = t->place + t->room + pos;

	if (share(j, l, pos, stop, data)) {
		t->shared += stop - pos;
		return 0;
	}
	t->bitmap |= room;
	t->written += stop - pos;
	return write_some(j, l->data + pos - room, stop - pos + room,
			  data - room);
}

/* @zeros: bytes that the data begin with */
static int write_load(struct job *j, struct vhd_load *l, u32 zeros,
		      struct target *t)
{
	u32 end = in_blocks(j) ? j->piece : l->len;
	u32 pages = ALIGN(l->len, PAGE);
	u32 pos = zeros, stop;
	int err = 0;

	t->room = in_blocks(j) ? j->writer.bitmap_bytes : 0;
	memset(l->data - t->room, 0xFF, t->room);
	if (no_holes(j)) {
		t->written += end;
		return write_some(j, l->data - t->room, t->room + end,
				  t->place);
	}
	while (pos < pages && !err) {
		stop = min(data_end(l, pos, pages), end);
		err = write_stretch(j, l, pos, stop, t);
		pos = ALIGN(stop, PAGE);
		pos += zeros_at(l, pos, pages);
	}
	if (t->room && !t->bitmap && !err)
		err = vhd_pwrite(j->writer.fd, l->data - t->room, t->room,
				 t->place);
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
	struct target t = { };
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
	if (!get_place(j, load, zeros == pages, &t.place)) {
		/* told */
	} else if (zeros == pages && no_holes(j) && !in_blocks(j)) {
		err = vhd_zero(j->writer.fd, t.place, l->len);
		if (err)
			job_failed(j, err, l->at, false);
	} else if (zeros < pages) {
		err = write_load(j, l, zeros < MIN_GAP ? 0 : zeros, &t);
		if (err)
			job_failed(j, err, l->at, false);
	}
	vhd_progress_add(l->len);
	pthread_mutex_lock(&j->lock);
	j->c->written += t.written;
	j->c->shared += t.shared;
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

	if (!s->flat || in_blocks(j) || no_holes(j) ||
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
	if (!err && in_blocks(&j) && no_holes(&j))
		err = vhd_write_zeros(fd, 0, j.writer.next);
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
