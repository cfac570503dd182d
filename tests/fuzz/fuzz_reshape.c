// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What makes another file of an image, or moves what is in it: compact, convert
 * and merge, on files.
 *
 * Input as fuzz_image's, then 1 what to do, and writes: 1 kind, 4 sector,
 * 1 length.  What must hold: the disk shows the same before and after; a result
 * is sound; what was compacted needs no compacting; a merge says how much space
 * it takes at most.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "compact.h"
#include "convert.h"
#include "merge.h"
#include "whole.h"

#define MAX_LOOK	160U
#define MAX_WRITES	12U
/* Larger disks take long to copy. */
#define MAX_DISK	(1ULL << 30)

/** struct look - sectors that are compared, and what they held */
struct look {
	u64 sector[MAX_LOOK];
	u8 data[MAX_LOOK][VHD_SECTOR_SIZE];
	int err[MAX_LOOK];
	u32 nr;
};

static void put_fd(void *arg, u64 pos, const void *buf, size_t len)
{
	assert_int_equal(pwrite(*(int *)arg, buf, len, pos), len);
}

static int make_file(struct image *i)
{
	int fd = memfd_create("image", 0);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, i->size), 0);
	image_write(i, put_fd, &fd);
	return fd;
}

static int load(struct vhd_file *f, int fd, unsigned int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(vhd_file_open(f, path, flags & VHD_OPEN_WRITE), 0);
	return vhd_file_load(f, flags);
}

/* ---- what the disk shows -------------------------------------------------- */

static void look_at(struct look *l, u64 sector, u64 sectors)
{
	if (sector < sectors && l->nr < MAX_LOOK)
		l->sector[l->nr++] = sector;
}

/* The beginning of each of the first blocks, and some of the rest. */
static void choose(struct look *l, const struct vhd_image *img)
{
	u64 sectors = img->size >> VHD_SECTOR_SHIFT;
	u64 per = img->bat ? vhd_block_sectors(img) : 64;
	u64 block, k;

	l->nr = 0;
	for (block = 0; block < 9; block++) {
		for (k = 0; k < 9; k++)
			look_at(l, block * per + k, sectors);
		look_at(l, block * per + per / 2, sectors);
		look_at(l, block * per + per - 1, sectors);
	}
	for (k = 0; k < MAX_LOOK; k++)
		look_at(l, sectors * k / MAX_LOOK, sectors);
}

static void look(struct look *l, struct vhd_file *f)
{
	u32 i;

	for (i = 0; i < l->nr; i++)
		l->err[i] = vhd_file_read(f, l->data[i], VHD_SECTOR_SIZE,
					  l->sector[i] * VHD_SECTOR_SIZE);
}

/* @f shows what was seen before, where anything could be seen. */
static void expect_same(const struct look *l, struct vhd_file *f)
{
	u8 data[VHD_SECTOR_SIZE];
	u32 i;

	for (i = 0; i < l->nr; i++) {
		if (l->err[i])
			continue;
		assert_int_equal(vhd_file_read(f, data, sizeof(data),
					       l->sector[i] * sizeof(data)), 0);
		if (memcmp(data, l->data[i], sizeof(data)))
			fail_msg("sector %llu differs",
				 (unsigned long long)l->sector[i]);
	}
}

/* Some data, so that there is something to be lost. */
static void write_some(struct vhd_file *f, struct input *in)
{
	u64 sectors = f->image.size >> VHD_SECTOR_SHIFT, sector;
	u8 buf[64 * VHD_SECTOR_SIZE];
	u32 n, len;
	int err;

	for (n = 1; n <= MAX_WRITES && in->left; n++) {
		bool zeros = input_u8(in) % 4 == 3;

		sector = input_u32(in) % sectors;
		len = min_t(u64, 1 + input_u8(in) % 64, sectors - sector);
		tag_fill(buf, len, zeros ? 0 : n);
		err = vhd_file_write(f, buf, len * VHD_SECTOR_SIZE,
				     sector * VHD_SECTOR_SIZE);
		/* A slot may lie beyond what an entry can say. */
		assert_true(!err || err == -ENOSPC);
	}
	assert_int_equal(vhd_file_finish(f), 0);
}

/* Whatever was done, nothing must be mended that need not before. */
static void severe(int fd, u64 counts[VHD_NR_FINDINGS])
{
	static struct vhd_check c;
	static struct vhd_file f;
	char path[40];
	u32 i;

	memset(&c, 0, sizeof(c));
	c.now = 0x30000000;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(vhd_file_open(&f, path, false), 0);
	assert_int_equal(vhd_check(&c, &f), 0);
	for (i = 0; i < VHD_NR_FINDINGS; i++)
		counts[i] = vhd_finding_info(i)->severity < VHD_SEV_REPAIRABLE ?
				    0 : c.counts[i];
	vhd_file_close(&f);
}

static void expect_no_worse(int fd, const u64 before[VHD_NR_FINDINGS])
{
	u64 after[VHD_NR_FINDINGS];
	u32 i;

	severe(fd, after);
	for (i = 0; i < VHD_NR_FINDINGS; i++)
		if (after[i] > before[i])
			fail_msg("afterwards: %s", vhd_finding_info(i)->name);
}

/* ---- compact ------------------------------------------------------------------ */

static void compact_once(int fd, bool zero, struct vhd_compact *c,
			 struct look *l, bool first)
{
	static struct vhd_source s;

	memset(&s, 0, sizeof(s));
	s.seek_fd = -1;
	*c = (struct vhd_compact) { .source = &s, .zero = zero };
	assert_int_equal(load(&s.file, fd, VHD_OPEN_WRITE), 0);
	s.size = s.file.image.size;
	if (first) {
		choose(l, &s.file.image);
		look(l, &s.file);
	}
	assert_int_equal(vhd_compact(c), 0);
	vhd_source_close(&s);
}

static void compact(int fd, bool zero)
{
	static struct vhd_file f;
	static struct look l;
	struct vhd_compact c;
	u64 before[VHD_NR_FINDINGS];
	struct stat was, is;

	severe(fd, before);
	assert_int_equal(fstat(fd, &was), 0);
	compact_once(fd, zero, &c, &l, true);
	assert_int_equal(fstat(fd, &is), 0);
	assert_true(is.st_size <= was.st_size);
	expect_no_worse(fd, before);
	assert_int_equal(load(&f, fd, VHD_OPEN_WRITE), 0);
	expect_same(&l, &f);
	vhd_file_close(&f);
	compact_once(fd, zero, &c, &l, false);
	assert_int_equal(c.dropped, 0);
}

/* ---- convert -------------------------------------------------------------------- */

static bool any_bad(const struct vhd_image *img)
{
	u32 i;

	for (i = 0; i < img->nr_blocks; i++)
		if (img->bat[i] == VHD_BAT_BAD)
			return true;
	return false;
}

static void expect_converted(const char *path, const struct look *l)
{
	static const u64 none[VHD_NR_FINDINGS];
	static struct vhd_file f;
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	expect_no_worse(fd, none);
	assert_int_equal(load(&f, fd, VHD_OPEN_WRITE), 0);
	expect_same(l, &f);
	vhd_file_close(&f);
	close(fd);
}

static void convert(int fd, u8 how)
{
	static struct vhd_source s;
	static struct look l;
	struct vhd_convert c = { .source = &s, .replace = true };
	char path[40], out[64];
	int err;

	memset(&s, 0, sizeof(s));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(out, sizeof(out), "/dev/shm/vhd-fuzz.%d.out", getpid());
	err = vhd_source_open(&s, path, VHD_SOURCE_VHD);
	if (err || s.file.image.type == VHD_TYPE_DIFFERENCING ||
	    s.size > MAX_DISK) {
		vhd_source_close(&s);
		return;
	}
	choose(&l, &s.file.image);
	look(&l, &s.file);
	c.image.type = how & 8 ? VHD_TYPE_FIXED : VHD_TYPE_DYNAMIC;
	c.image.size = s.size;
	c.image.block_size = (512 << 10) << (how >> 4) % 3;
	memset(c.image.unique_id, 0x77, sizeof(c.image.unique_id));
	err = vhd_convert(&c, out);
	if (!err)
		expect_converted(out, &l);
	else
		assert_true(access(out, F_OK));
	/* Nothing else is a reason; a short fixed file ends early. */
	assert_true(!err || (err == -EIO &&
			     (s.file.image.type == VHD_TYPE_FIXED ||
			      any_bad(&s.file.image))));
	unlink(out);
	vhd_source_close(&s);
}

/* ---- merge ------------------------------------------------------------------------ */

static void push(struct vhd_layers *c, int fd, unsigned int flags)
{
	struct vhd_file *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(load(f, fd, flags), 0);
	assert_int_equal(vhd_layers_push(c, f), 0);
}

static void look_down(struct look *l, struct vhd_layers *c)
{
	u32 i;

	for (i = 0; i < l->nr; i++)
		l->err[i] = vhd_layers_read(c, 0, l->data[i], VHD_SECTOR_SIZE,
					    l->sector[i] * VHD_SECTOR_SIZE);
}

static void merge_into(struct vhd_layers *c, struct look *l)
{
	struct vhd_merge m = { .c = c, .depth = 1, .target = c->layers[1] };
	static struct look after;
	struct stat was, is;
	u64 space = 0;
	u32 i;
	int err;

	if (c->layers[0]->image.size > m.target->image.size)
		return;
	choose(l, &c->layers[0]->image);
	look_down(l, c);
	assert_int_equal(fstat(m.target->fd, &was), 0);
	err = vhd_merge_space(&m, &space);
	if (!err)
		err = vhd_merge_run(&m);
	/* Damage in the top is a reason, and nothing else. */
	assert_true(!err || (err == -EIO && any_bad(&c->layers[0]->image)));
	assert_int_equal(fstat(m.target->fd, &is), 0);
	if (!err && is.st_size > was.st_size + (off_t)space)
		fail_msg("the file grew by %lld, %lld were told",
			 (long long)(is.st_size - was.st_size),
			 (long long)space);
	/* However far it came the top shows the same; in the end so does the target. */
	after = *l;
	look_down(&after, c);
	for (i = 0; i < l->nr; i++)
		assert_true(l->err[i] || (!after.err[i] &&
			    !memcmp(l->data[i], after.data[i], sizeof(*l->data))));
	if (!err)
		expect_same(l, m.target);
}

/* @fd: a differencing image; its parent is made here. */
static void merge(int fd, u8 how, struct input *in)
{
	static struct vhd_file f;
	static struct look l;
	struct vhd_layers c;
	struct image base;
	int parent;

	image_good(&base, VHD_TYPE_DYNAMIC, (512 << 10) << (how >> 4) % 3);
	parent = make_file(&base);
	assert_int_equal(load(&f, parent, VHD_OPEN_WRITE), 0);
	write_some(&f, in);
	vhd_file_close(&f);
	vhd_layers_init(&c);
	push(&c, fd, VHD_OPEN_FORCE);
	push(&c, parent, VHD_OPEN_WRITE);
	merge_into(&c, &l);
	vhd_layers_close(&c);
	close(parent);
}

/* ------------------------------------------------------------------------------------ */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vhd_file f;
	struct input in = { data, size };
	bool opens, writable = false, diff, small;
	struct image i;
	int fd;
	u8 how;

	whole_image(&i, &in);
	how = input_u8(&in);
	fd = make_file(&i);
	opens = !load(&f, fd, 0);
	diff = opens && f.image.type == VHD_TYPE_DIFFERENCING;
	small = opens && f.image.size <= MAX_DISK;
	vhd_file_close(&f);
	writable = opens && !load(&f, fd, VHD_OPEN_WRITE);
	if (writable)
		write_some(&f, &in);
	vhd_file_close(&f);
	if (writable && small)
		compact(fd, how & 4);
	if (diff && small)
		merge(fd, how, &in);
	else if (small)
		convert(fd, how);
	close(fd);
	return 0;
}
