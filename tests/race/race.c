// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * race IMAGE SECONDS SEED: many threads use one image through the core at once,
 * as the module's workers do, under ThreadSanitizer.
 *
 * Reads and writes take the lockless way first; what waits for growth or a
 * commit runs that plan itself, one at a time of each kind, flushes one at a
 * time.  Every write is to sectors of its thread's own and is read back; some
 * fail, so that allocations are taken back meanwhile.  At the end the file is
 * made tight, opened anew, and holds every thread's last writes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bitmap.h"
#include "file.h"
#include "io.h"
#include "map.h"
#include "space.h"

#define THREADS		8U
/* Sectors of one thread before the next one's come. */
#define SLOT		16U

struct thread {
	pthread_t id;
	unsigned int number;
	u64 random;
	u32 window;	/* slots in use */
	u32 *written;	/* the last write to each slot of its own */
	u64 reads, writes, failures;
};

static struct vhd_file file;
static struct vhd_commit commit_plan;
static struct thread threads[THREADS];
static u32 nr_slots;	/* of one thread */
static bool stop;

/* As the module: one commit, one growth, one flush at a time. */
static pthread_mutex_t commit_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t grow_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t flush_lock = PTHREAD_MUTEX_INITIALIZER;

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static u64 next(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ---- plans ---------------------------------------------------------------------- */

static int step(struct vhd_io *io)
{
	switch (io->kind) {
	case VHD_IO_WRITE:
		return vhd_pwrite(file.fd, io->buf, io->len, io->pos);
	case VHD_IO_ZERO:
		return vhd_zero(file.fd, io->pos, io->len);
	case VHD_IO_TRUNCATE:
		return ftruncate(file.fd, io->pos) ? -errno : 0;
	case VHD_IO_RESERVE:
	case VHD_IO_FLUSH:
		return 0;
	default:
		return -EINVAL;
	}
}

static int run(struct vhd_plan *plan)
{
	bool flushing = false;
	struct vhd_io io;
	int ret, err = 0;

	for (;;) {
		ret = vhd_plan_next(plan, err, &io);
		if (flushing)
			pthread_mutex_unlock(&flush_lock);
		if (ret <= 0)
			return ret;
		flushing = io.kind == VHD_IO_FLUSH;
		if (flushing)
			pthread_mutex_lock(&flush_lock);
		err = step(&io);
	}
}

static void commit(void)
{
	int err;

	pthread_mutex_lock(&commit_lock);
	vhd_commit_begin(&commit_plan);
	err = run(&commit_plan.plan);
	pthread_mutex_unlock(&commit_lock);
	if (err)
		die("commit: %s", strerror(-err));
}

static void grow(void)
{
	struct vhd_prepare prepare;
	int err;

	pthread_mutex_lock(&grow_lock);
	vhd_prepare_init(&prepare, &file.image);
	err = run(&prepare.plan);
	pthread_mutex_unlock(&grow_lock);
	if (err)
		die("growth: %s", strerror(-err));
}

static void load_bitmap(u64 sector)
{
	u32 block = (sector << VHD_SECTOR_SHIFT) >> file.image.block_shift;
	struct vhd_bitmap *bm = vhd_bitmap_alloc(&file.image, block);
	u32 len;
	u64 pos;

	if (!bm)
		die("no memory");
	pos = vhd_bitmap_pos(&file.image, block, &len);
	if (vhd_pread(file.fd, bm->live, len, pos))
		die("bitmap of block %u", block);
	vhd_bitmap_add(&file.image, bm);
}

/* ---- requests -------------------------------------------------------------------- */

static void provide(enum vhd_map_kind kind, u64 sector)
{
	switch (kind) {
	case VHD_MAP_BITMAP: load_bitmap(sector); break;
	case VHD_MAP_SPACE: grow(); break;
	case VHD_MAP_COMMIT: commit(); break;
	default: die("sector %llu: mapping kind %d",
		     (unsigned long long)sector, kind);
	}
}

/* Return: -EIO if it was made to fail. */
static int write_sectors(u64 sector, u32 n, const void *buf, bool fail)
{
	struct vhd_extent ext;
	struct vhd_hold hold;
	int err;
	u64 pos;

	if (vhd_map_fast(&file.image, sector, &pos) == VHD_MAP_DATA)
		return vhd_pwrite(file.fd, buf, n * 512, pos);
	for (;;) {
		err = vhd_map_write(&file.image, sector, n, &hold, &ext);
		if (err)
			die("write: %s", strerror(-err));
		if (ext.kind == VHD_MAP_DATA)
			break;
		provide(ext.kind, sector);
	}
	err = fail ? -EIO : vhd_pwrite(file.fd, buf, n * 512, ext.pos);
	vhd_map_done(&file.image, &hold, err);
	if (vhd_space_low(&file.image))
		grow();
	return err;
}

static void read_sectors(u64 sector, u32 n, char *buf)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext;
	u64 pos;

	switch (vhd_map_fast(&file.image, sector, &pos)) {
	case VHD_MAP_DATA:
		if (vhd_pread(file.fd, buf, n * 512, pos))
			die("read");
		return;
	case VHD_MAP_ZERO:
		memset(buf, 0, n * 512);
		return;
	default:
		break;
	}
	while (n) {
		vhd_map_read(&file.image, sector, n, &hold, &ext);
		if (ext.kind == VHD_MAP_ZERO)
			memset(buf, 0, ext.sectors * 512);
		else if (ext.kind != VHD_MAP_DATA) {
			provide(ext.kind, sector);
			continue;
		} else if (vhd_pread(file.fd, buf, ext.sectors * 512, ext.pos))
			die("read");
		sector += ext.sectors;
		buf += ext.sectors * 512;
		n -= ext.sectors;
	}
	vhd_map_done(&file.image, &hold, 0);
}

/* ---- threads ----------------------------------------------------------------------- */

static u64 slot_sector(const struct thread *t, u32 slot)
{
	return ((u64)slot * THREADS + t->number) * SLOT;
}

static void fill(const struct thread *t, u32 slot, u32 n, u64 *words)
{
	u64 value = (u64)t->number << 56 | (u64)slot << 24 | n;
	u32 i;

	for (i = 0; i < SLOT * 64; i++)
		words[i] = value;
}

static void verify(struct thread *t, u32 slot)
{
	u64 want[SLOT * 64], found[SLOT * 64];

	fill(t, slot, t->written[slot], want);
	read_sectors(slot_sector(t, slot), SLOT, (char *)found);
	/* What nobody has written yet may be the image's own. */
	if (t->written[slot] && memcmp(want, found, sizeof(want)))
		die("thread %u, slot %u: %016llx instead of %016llx", t->number,
		    slot, (unsigned long long)found[0],
		    (unsigned long long)want[0]);
	t->reads++;
}

static void update(struct thread *t, u32 slot, bool fail)
{
	u64 words[SLOT * 64];

	fill(t, slot, t->written[slot] + 1, words);
	if (write_sectors(slot_sector(t, slot), SLOT, words, fail)) {
		t->failures++;
		return;
	}
	t->written[slot]++;
	t->writes++;
}

static void *work(void *arg)
{
	struct thread *t = arg;
	u32 slot;
	u64 r;

	while (!READ_ONCE(stop)) {
		r = next(&t->random);
		/* The disk is filled slowly: new blocks come to the end. */
		if (r >> 48 & 1 && t->window < nr_slots)
			t->window++;
		slot = r % t->window;
		if (r >> 32 & 1)
			slot = t->window - 1 - slot % 8;
		if (r >> 33 & 1)
			update(t, slot, !(r >> 34 & 15));
		verify(t, slot);
		if (!(r >> 40 & 255))
			commit();
	}
	return NULL;
}

/* What sysfs and vhd_dirty() look at meanwhile */
static void *look(void *arg)
{
	(void)arg;
	while (!READ_ONCE(stop)) {
		vhd_dirty(&file.image);
		vhd_space_low(&file.image);
		commit();
	}
	return NULL;
}

static void load(const char *path)
{
	int err = vhd_file_open(&file, path, true);

	if (!err)
		err = vhd_file_load(&file, VHD_OPEN_WRITE);
	if (!err)
		err = vhd_commit_alloc(&commit_plan, &file.image);
	if (err)
		die("%s: %s", path, strerror(-err));
}

static void unload(void)
{
	int err = vhd_file_finish(&file);

	if (err)
		die("finish: %s", strerror(-err));
	vhd_commit_free(&commit_plan);
	vhd_file_close(&file);
}

int main(int argc, char **argv)
{
	struct timespec rest = { };
	u64 reads = 0, writes = 0, failures = 0;
	pthread_t looker;
	u32 i, slot;

	if (argc != 4)
		die("usage: race IMAGE SECONDS SEED");
	load(argv[1]);
	nr_slots = file.image.size / 512 / SLOT / THREADS;
	for (i = 0; i < THREADS; i++) {
		threads[i].number = i;
		threads[i].random = strtoull(argv[3], NULL, 0) * 2654435761U + i + 1;
		threads[i].window = 8;
		threads[i].written = calloc(nr_slots, sizeof(u32));
		if (pthread_create(&threads[i].id, NULL, work, &threads[i]))
			die("no thread");
	}
	if (pthread_create(&looker, NULL, look, NULL))
		die("no thread");
	rest.tv_sec = strtoul(argv[2], NULL, 0);
	nanosleep(&rest, NULL);
	WRITE_ONCE(stop, true);
	pthread_join(looker, NULL);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i].id, NULL);
	unload();
	load(argv[1]);
	for (i = 0; i < THREADS; i++) {
		for (slot = 0; slot < threads[i].window; slot++)
			verify(&threads[i], slot);
		reads += threads[i].reads;
		writes += threads[i].writes;
		failures += threads[i].failures;
		free(threads[i].written);
	}
	unload();
	printf("%llu reads, %llu writes, %llu failed writes\n",
	       (unsigned long long)reads, (unsigned long long)writes,
	       (unsigned long long)failures);
	return 0;
}
