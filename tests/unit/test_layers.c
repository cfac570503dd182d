// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Chains of real files, through the tool's library, against arrays in memory:
 * random writes, snapshots, commits, rebases and reopenings.
 *
 * A sector's content is one number, so an array of numbers is a disk.  There is
 * one array for each layer: what the disk shows, seen from there.
 *
 * SEED=N repeats a run, ROUNDS=N makes it longer (10: 10 000 operations).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "create.h"
#include "io.h"
#include "layers.h"
#include "merge.h"
#include "mem.h"
#include "relink.h"
#include "rig.h"

#define STEPS		1000
#define MAX_SECTORS	8192U
#define MAX_DEPTH	128U
#define MAX_RUN		96U
#define WORDS		(VHD_SECTOR_SIZE / sizeof(u32))

/**
 * struct disk - a layer as it should be
 * @name: number of its file
 */
struct disk {
	u32 name;
	u32 sectors;
	u32 data[MAX_SECTORS];
};

/** struct model - @disks as the layers of @c, the top first */
struct model {
	u64 seed;
	char dir[64];
	u32 names;
	u32 stamp;
	u32 nr;
	struct disk *disks[VHD_LAYERS_MAX];
	struct vhd_layers c;
	u32 counts[8];
	u32 deepest;
};

static u32 below(struct model *m, u32 n)
{
	return mem_random_below(&m->seed, n);
}

static unsigned long env(const char *name, unsigned long otherwise)
{
	const char *s = getenv(name);

	return s ? strtoul(s, NULL, 10) : otherwise;
}

static const char *path_of(const struct model *m, u32 name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%u.vhd", m->dir, name);
	return path;
}

/* ---- files ----------------------------------------------------------- */

static void make_file(struct model *m, u32 name, enum vhd_disk_type type,
		      u32 sectors, const struct vhd_link *link)
{
	struct vhd_create c = {
		.image.type = type,
		.image.size = (u64)sectors << VHD_SECTOR_SHIFT,
		.image.block_size = VHD_MIN_RW_BLOCK_SIZE << below(m, 3),
		.link = link,
	};
	int fd = open(path_of(m, name), O_RDWR | O_CREAT | O_EXCL, 0600);

	memcpy(c.image.unique_id, &name, sizeof(name));
	c.image.unique_id[15] = 1;
	assert_true(fd >= 0);
	assert_int_equal(vhd_create_fd(fd, &c), 0);
	close(fd);
}

static void open_layer(struct vhd_layers *c, const char *path, bool write)
{
	struct vhd_file *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(vhd_file_open(f, path, write), 0);
	assert_int_equal(vhd_file_load(f, write ? VHD_OPEN_WRITE : 0), 0);
	assert_int_equal(vhd_layers_push(c, f), 0);
}

static void reopen(struct model *m)
{
	u32 i;

	if (m->c.nr)
		assert_int_equal(vhd_file_finish(m->c.layers[0]), 0);
	vhd_layers_close(&m->c);
	vhd_layers_init(&m->c);
	open_layer(&m->c, path_of(m, m->disks[0]->name), true);
	assert_int_equal(vhd_layers_parents(&m->c, NULL, 0), 0);
	assert_int_equal(m->c.nr, m->nr);
	for (i = 0; i < m->nr; i++)
		assert_int_equal(m->c.layers[i]->image.size,
				 (u64)m->disks[i]->sectors << VHD_SECTOR_SHIFT);
	/* Nothing is to be said of any of them. */
	for (i = 0; i < m->nr; i++)
		assert_int_equal(m->c.layers[i]->findings.nr, 0);
}

/* The layers [first, first + n) are no more. */
static void drop(struct model *m, u32 first, u32 n)
{
	u32 i;

	for (i = first; i < first + n; i++) {
		assert_int_equal(unlink(path_of(m, m->disks[i]->name)), 0);
		free(m->disks[i]);
	}
	memmove(&m->disks[first], &m->disks[first + n],
		(m->nr - first - n) * sizeof(*m->disks));
	m->nr -= n;
}

/* ---- looking --------------------------------------------------------- */

static void verify(struct model *m, u32 layer, u32 first, u32 count)
{
	const struct disk *d = m->disks[layer];
	u32 *buf = malloc((size_t)count << VHD_SECTOR_SHIFT);
	u32 i, w;

	assert_int_equal(vhd_layers_read(&m->c, layer, buf,
					 (size_t)count << VHD_SECTOR_SHIFT,
					 (u64)first << VHD_SECTOR_SHIFT), 0);
	for (i = 0; i < count; i++) {
		for (w = 0; w < WORDS; w += WORDS - 1) {
			if (buf[i * WORDS + w] == d->data[first + i])
				continue;
			fail_msg("layer %u of %u, sector %u: %u, expected %u",
				 layer, m->nr, first + i, buf[i * WORDS + w],
				 d->data[first + i]);
		}
	}
	free(buf);
}

static void verify_some(struct model *m, u32 layer)
{
	u32 sectors = m->disks[layer]->sectors;
	u32 first = below(m, sectors);
	u32 left = sectors - first;

	verify(m, layer, first, 1 + below(m, left < MAX_RUN ? left : MAX_RUN));
}

/* ---- operations ------------------------------------------------------ */

static void op_write(struct model *m)
{
	struct disk *d = m->disks[0];
	u32 first = below(m, d->sectors), left = d->sectors - first, i, w;
	u32 count = 1 + below(m, left < MAX_RUN ? left : MAX_RUN);
	/* Zeros are data, too. */
	u32 value = below(m, 8) ? ++m->stamp : 0;
	u32 *buf = malloc((size_t)count << VHD_SECTOR_SHIFT);

	for (i = 0; i < count; i++) {
		d->data[first + i] = value;
		for (w = 0; w < WORDS; w++)
			buf[i * WORDS + w] = value;
	}
	assert_int_equal(vhd_file_write(m->c.layers[0], buf,
					(size_t)count << VHD_SECTOR_SHIFT,
					(u64)first << VHD_SECTOR_SHIFT), 0);
	free(buf);
}

static void op_read(struct model *m)
{
	verify_some(m, 0);
	if (!below(m, 8))
		verify_some(m, below(m, m->nr));
}

static void op_snapshot(struct model *m)
{
	const struct disk *parent = m->disks[0];
	struct disk *d = calloc(1, sizeof(*d));
	struct vhd_link link;

	if (m->nr >= MAX_DEPTH) {
		free(d);
		return;
	}
	assert_int_equal(vhd_file_finish(m->c.layers[0]), 0);
	d->name = ++m->names;
	d->sectors = parent->sectors;
	/* One in six has another size. */
	if (!below(m, 6))
		d->sectors = MAX_SECTORS / 2 + 1 + below(m, MAX_SECTORS / 2);
	memcpy(d->data, parent->data, sizeof(d->data));
	memset(d->data + d->sectors, 0,
	       (MAX_SECTORS - d->sectors) * sizeof(*d->data));
	assert_int_equal(vhd_link_make(&link, path_of(m, d->name),
				       m->c.layers[0], below(m, 2)), 0);
	make_file(m, d->name, VHD_TYPE_DIFFERENCING, d->sectors, &link);
	vhd_link_free(&link);
	memmove(m->disks + 1, m->disks, m->nr * sizeof(*m->disks));
	m->disks[0] = d;
	m->nr++;
	reopen(m);
}

/* Hang the top on layer @depth. */
static void relink(struct model *m, u32 depth)
{
	struct vhd_link link;

	assert_int_equal(vhd_link_make(&link, path_of(m, m->disks[0]->name),
				       m->c.layers[depth], below(m, 2)), 0);
	assert_int_equal(vhd_relink(m->c.layers[0], &link), 0);
	vhd_link_free(&link);
	/* What is in memory is the old one. */
	vhd_layers_close(&m->c);
	drop(m, 1, depth - 1);
	reopen(m);
}

static void op_commit(struct model *m)
{
	u32 depth = 1 + below(m, m->nr), i;
	struct disk *top = m->disks[0], *to;
	struct vhd_merge merge = { .c = &m->c };
	struct stat was, is;
	u64 space;

	/* Mostly shallow ones, or no chain would grow. */
	if (below(m, 8))
		depth = 1 + below(m, 2);
	if (depth >= m->nr || m->disks[depth]->sectors < top->sectors)
		return;
	to = m->disks[depth];
	assert_int_equal(vhd_file_finish(m->c.layers[0]), 0);
	vhd_file_close(m->c.layers[depth]);
	assert_int_equal(vhd_file_open(m->c.layers[depth],
				       path_of(m, to->name), true), 0);
	assert_int_equal(vhd_file_load(m->c.layers[depth], VHD_OPEN_WRITE), 0);
	vhd_layers_changed(&m->c);
	merge.depth = depth;
	merge.target = m->c.layers[depth];
	assert_int_equal(vhd_merge_space(&merge, &space), 0);
	assert_int_equal(fstat(merge.target->fd, &was), 0);
	assert_int_equal(vhd_merge_run(&merge), 0);
	assert_int_equal(fstat(merge.target->fd, &is), 0);
	assert_true(is.st_size <= was.st_size + (off_t)space);
	/* The top is whole until it goes. */
	verify(m, 0, 0, top->sectors);
	for (i = 0; i < top->sectors; i++)
		to->data[i] = top->data[i];
	verify(m, depth, 0, to->sectors);
	if (below(m, 2)) {
		relink(m, depth);
		verify(m, 0, 0, m->disks[0]->sectors);
	}
	vhd_layers_close(&m->c);
	drop(m, 0, m->disks[1] == to ? 1 : depth);
	reopen(m);
}

/* Onto a layer further down: what lies between is not needed any more. */
static void op_rebase(struct model *m)
{
	u32 depth;
	struct vhd_layers to;

	if (m->nr < 3)
		return;
	depth = 2 + below(m, below(m, 4) ? 1 : m->nr - 2);
	vhd_layers_init(&to);
	open_layer(&to, path_of(m, m->disks[depth]->name), false);
	assert_int_equal(vhd_layers_parents(&to, NULL, 0), 0);
	assert_int_equal(vhd_rebase(&m->c, &to), 0);
	vhd_layers_close(&to);
	verify(m, 0, 0, m->disks[0]->sectors);
	relink(m, depth);
	verify(m, 0, 0, m->disks[0]->sectors);
}

static void op_sync(struct model *m)
{
	assert_int_equal(vhd_file_sync(m->c.layers[0]), 0);
}

static const struct {
	void (*run)(struct model *m);
	u32 weight;
} ops[] = {
	{ op_write, 50 }, { op_read, 20 }, { op_snapshot, 14 },
	{ op_commit, 7 }, { op_rebase, 3 }, { op_sync, 3 }, { reopen, 3 },
};

static void one_step(struct model *m)
{
	u32 pick = below(m, 100), i;

	for (i = 0; pick >= ops[i].weight; i++)
		pick -= ops[i].weight;
	ops[i].run(m);
	m->counts[i]++;
	if (m->nr > m->deepest)
		m->deepest = m->nr;
}

/* ---- a run ----------------------------------------------------------- */

static void begin(struct model *m)
{
	struct disk *d = calloc(1, sizeof(*d));

	/* In memory, where there is a place for it: nothing is made durable. */
	snprintf(m->dir, sizeof(m->dir), "%s/vhd-layers-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	assert_non_null(mkdtemp(m->dir));
	d->name = ++m->names;
	d->sectors = MAX_SECTORS - below(m, 3) * 77;
	make_file(m, d->name, below(m, 2) ? VHD_TYPE_FIXED : VHD_TYPE_DYNAMIC,
		  d->sectors, NULL);
	m->disks[0] = d;
	m->nr = 1;
	vhd_layers_init(&m->c);
	reopen(m);
}

static void end(struct model *m)
{
	u32 i;

	for (i = 0; i < m->nr; i++)
		verify(m, i, 0, m->disks[i]->sectors);
	vhd_layers_close(&m->c);
	drop(m, 0, m->nr);
	assert_int_equal(rmdir(m->dir), 0);
}

static void run(u64 seed, u64 steps, bool deep)
{
	struct model *m = calloc(1, sizeof(*m));
	u64 i;

	assert_non_null(m);
	m->seed = (env("SEED", 1) * 1000003 + seed) * 0x9E3779B97F4A7C15ULL;
	print_message("seed: SEED=%lu\n", env("SEED", 1));
	begin(m);
	while (deep && m->nr < MAX_DEPTH) {
		op_write(m);
		op_snapshot(m);
	}
	for (i = 0; i < steps; i++)
		one_step(m);
	end(m);
	print_message("seed run: %u writes, %u reads, %u snapshots, %u commits, %u rebases, %u syncs, %u reopenings, %u layers\n",
		      m->counts[0], m->counts[1], m->counts[2], m->counts[3],
		      m->counts[4], m->counts[5], m->counts[6], m->deepest);
	free(m);
}

static void random_operations(void **state)
{
	u64 rounds = env("ROUNDS", 1), i;

	for (i = 0; i < rounds; i++)
		run(i, STEPS * 3 / 4, false);
}

static void random_operations_128_layers_deep(void **state)
{
	u64 rounds = env("ROUNDS", 1), i;

	for (i = 0; i < rounds; i++)
		run(i + 1000, STEPS / 4, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations),
		cmocka_unit_test(random_operations_128_layers_deep),
	};

	return run_group("layers", tests);
}
