// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The tool's compaction (tools/libvhd/compact.c) over the simulated file:
 * before and after each of its calls power is lost in several ways, or a call
 * fails, and what is left is compared; then another run ends what was begun.
 */
#include <errno.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <asm/byteorder.h>
#include <linux/kernel.h>

#include "bat.h"
#include "check.h"
#include "compact.h"
#include "io.h"
#include "layout.h"
#include "redirect.h"
#include "resize.h"

/* Blocks that a disk is grown to and cut from, so that its table moves. */
#define GROWN_BLOCKS	300U

/* What a run does, at most; the states within it are counted so. */
enum run_kind {
	RUN_CUTS,
	RUN_DROPS,
	RUN_MOVES,
	RUN_MOVES_TABLE,
	NR_RUN_KINDS,
};

static const char * const kind_names[NR_RUN_KINDS] = {
	[RUN_CUTS] = "only cutting the file",
	[RUN_DROPS] = "dropping blocks",
	[RUN_MOVES] = "moving blocks",
	[RUN_MOVES_TABLE] = "moving the table",
};

/**
 * struct world - an image, and what is known of it
 * @disk: the file
 * @zero: read data, for zeros
 * @no_holes: the file system tells of none
 * @no_punch: it makes none either
 * @randoms: random states at each step; 0: no states at all
 * @stop: interrupted at this call; 0: not
 * @calls: that change something
 * @end: bytes of the file when all is done
 */
struct world {
	struct pool pool;
	struct disk disk;
	struct disk *target;
	struct model model;
	struct checker check;
	struct disk_file start;
	struct disk_file state;
	struct disk nested;
	struct disk_file nested_state;
	const struct layout *layout;
	bool zero;
	bool no_holes;
	bool no_punch;
	u32 randoms;
	u32 stop;
	u32 calls;
	u64 end;
	enum run_kind kind;
	u64 seed;
	u64 states;
	u64 in_kind[NR_RUN_KINDS];
	u64 runs, recoveries, failed, interrupted, moved, dropped;
	bool wrong;
	char why[MAX_WHY + 200];
};

static struct world w;

__attribute__((format(printf, 1, 2)))
static void fail(const char *fmt, ...)
{
	va_list ap;

	if (w.wrong)
		return;
	w.wrong = true;
	va_start(ap, fmt);
	vsnprintf(w.why, sizeof(w.why), fmt, ap);
	va_end(ap);
}

/* ---- crash states ---------------------------------------------------- */

static void recover(void);

static void one_state(enum crash_mode mode)
{
	static const char * const names[NR_CRASH_MODES] = {
		"nothing", "everything", "what had completed",
		"what was issued first", "some of it",
	};
	bool nested = w.target == &w.nested;
	struct disk_file *out = nested ? &w.nested_state : &w.state;

	if (w.wrong)
		return;
	disk_crash(w.target, mode, false, &w.seed, out);
	w.states++;
	w.in_kind[w.kind]++;
	if (!check_file(&w.check, out))
		fail("call %u%s, %s arrived: %s", w.calls,
		     nested ? " of another run" : "", names[mode], w.check.why);
	else if (!nested && !dice(&w.seed, 12))
		recover();
}

static void explore(void)
{
	u32 i;

	if (!w.randoms)
		return;
	one_state(CRASH_NONE);
	one_state(CRASH_ALL);
	one_state(CRASH_PREFIX);
	for (i = 0; i < w.randoms; i++)
		one_state(CRASH_RANDOM);
}

/* ---- the calls ------------------------------------------------------- */

static int change(enum vhd_io_kind kind, const void *buf, u64 pos, u64 len)
{
	struct vhd_io io = {
		.kind = kind, .buf = (void *)buf, .pos = pos, .len = len,
	};
	struct disk_io out;
	int err;

	if (++w.calls == w.stop)
		vhd_interrupted = 1;
	disk_issue(w.target, &io, LANE_SPACE, &out);
	explore();
	err = disk_complete(w.target, &out);
	explore();
	errno = -err;
	return err ? -1 : 0;
}

ssize_t sim_pread(int fd, void *buf, size_t len, off_t pos)
{
	u64 size = w.target->now.size;

	if ((u64)pos >= size)
		return 0;
	len = min_t(u64, len, size - pos);
	file_read(w.target->pool, &w.target->now, pos, buf, len);
	return len;
}

ssize_t sim_pwrite(int fd, const void *buf, size_t len, off_t pos)
{
	return change(VHD_IO_WRITE, buf, pos, len) ? -1 : (ssize_t)len;
}

off_t sim_lseek(int fd, off_t pos, int whence)
{
	const struct disk_file *f = &w.target->now;
	u64 at = pos / VHD_SECTOR_SIZE;

	if (w.no_holes && whence == SEEK_DATA)
		return pos;
	while (!w.no_holes && at * VHD_SECTOR_SIZE < f->size &&
	       !file_id(f, at) == (whence == SEEK_DATA))
		at++;
	if (!w.no_holes && at * VHD_SECTOR_SIZE < f->size)
		return max_t(off_t, pos, at * VHD_SECTOR_SIZE);
	errno = ENXIO;
	return whence == SEEK_DATA ? -1 : (off_t)f->size;
}

int sim_fallocate(int fd, int mode, off_t pos, off_t len)
{
	bool punch = mode & FALLOC_FL_PUNCH_HOLE;

	if (punch && w.no_punch) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return change(punch ? VHD_IO_ZERO : VHD_IO_RESERVE, NULL, pos, len);
}

int sim_ftruncate(int fd, off_t size)
{
	return change(VHD_IO_TRUNCATE, NULL, size, 0);
}

int sim_fdatasync(int fd)
{
	return change(VHD_IO_FLUSH, NULL, 0, 0);
}

int sim_fstat(int fd, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_mode = w.target->now.device ? S_IFBLK : S_IFREG;
	st->st_size = w.target->now.size;
	return 0;
}

int sim_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	u64 *arg;

	va_start(ap, request);
	arg = va_arg(ap, u64 *);
	va_end(ap);
	if (request == BLKDISCARD)
		return change(VHD_IO_DISCARD, NULL, arg[0], arg[1]);
	*arg = w.target->now.size;
	errno = ENOTTY;
	return request == BLKGETSIZE64 ? 0 : -1;
}

/* ---- runs of the tool ------------------------------------------------ */

static int image_open(struct vhd_source *s)
{
	int err;

	memset(s, 0, sizeof(*s));
	s->seek_fd = -1;
	err = vhd_file_adopt(&s->file, open("/dev/null", O_RDWR), "image");
	if (!err)
		err = vhd_file_load(&s->file, VHD_OPEN_WRITE);
	s->size = s->file.image.size;
	return err;
}

/* As vhdctl compact; the kind of what it did. */
static int compact(struct disk *d, enum run_kind *kind)
{
	struct vhd_source *s = malloc(sizeof(*s));
	struct vhd_compact c = { .source = s, .zero = w.zero };
	u64 table = 0;
	int err;

	if (!s)
		abort();
	w.target = d;
	w.calls = 0;
	vhd_interrupted = 0;
	err = image_open(s);
	if (err) {
		fail("it cannot be opened: %s", strerror(-err));
	} else {
		table = s->file.image.table_offset;
		err = vhd_compact(&c);
	}
	w.moved += c.moved;
	w.dropped += c.dropped;
	*kind = c.moved ? RUN_MOVES : c.dropped ? RUN_DROPS : RUN_CUTS;
	if (!err && s->file.image.table_offset != table)
		*kind = RUN_MOVES_TABLE;
	vhd_source_close(s);
	free(s);
	w.target = &w.disk;
	return err;
}

static void resize(struct disk *d, u64 size)
{
	struct vhd_source *s = malloc(sizeof(*s));
	struct vhd_resize *r = malloc(sizeof(*r));
	int err;

	if (!s || !r)
		abort();
	w.target = d;
	err = image_open(s);
	if (!err)
		err = vhd_resize_init(r, &s->file.image, size);
	if (!err) {
		err = vhd_run_plan(s->file.fd, &r->plan);
		vhd_resize_adopt(r);
		vhd_resize_end(r);
	}
	if (err)
		fail("it cannot be resized: %s", strerror(-err));
	vhd_source_close(s);
	free(s);
	free(r);
}

static bool has_slack(const struct disk_file *f)
{
	struct vhd_image img;
	bool slack;

	open_file(&w.check, f, &img, VHD_OPEN_WRITE);
	slack = w.check.codes.has[VHD_FIND_SLACK];
	vhd_image_free(&img);
	return slack;
}

/*
 * Where places are aligned depends on whether all blocks are: of an image that
 * others made, what is left after a crash may be, and then some gaps are too
 * small.
 */
static bool small_enough(u64 size)
{
	return w.layout->foreign ? size <= round_up(w.start.size, 512) :
				   size == w.end;
}

/* It has come to its end: sound, as small as it gets, nothing left to do. */
static void ended(struct disk *d, const char *what)
{
	u64 moved = w.moved, dropped = w.dropped, size = d->now.size;
	enum run_kind kind;

	if (!check_file(&w.check, &d->now))
		fail("%s: %s", what, w.check.why);
	if (has_slack(&d->now))
		fail("%s: slack is left", what);
	if (!small_enough(d->now.size))
		fail("%s: %llu bytes, expected %llu", what,
		     (unsigned long long)d->now.size,
		     (unsigned long long)w.end);
	if (compact(d, &kind))
		fail("%s: cannot be compacted again", what);
	if (kind != RUN_CUTS || d->now.size != size)
		fail("%s: there was something left to do", what);
	w.moved = moved;
	w.dropped = dropped;
}

/* What a crash left, to its end, with more crashes on the way. */
static void recover(void)
{
	u32 randoms = w.randoms, calls = w.calls, stop = w.stop;
	sig_atomic_t interrupted = vhd_interrupted;
	u64 moved = w.moved, dropped = w.dropped;
	enum run_kind kind;
	int err;

	w.recoveries++;
	w.stop = 0;
	disk_reset(&w.nested);
	file_copy(&w.nested.now, &w.state);
	disk_settle(&w.nested);
	w.randoms = dice(&w.seed, 2);
	err = compact(&w.nested, &kind);
	w.randoms = 0;
	if (err)
		fail("another run: %s", strerror(-err));
	else
		ended(&w.nested, "another run");
	w.randoms = randoms;
	w.calls = calls;
	w.stop = stop;
	w.moved = moved;
	w.dropped = dropped;
	vhd_interrupted = interrupted;
}

/* ---- images ---------------------------------------------------------- */

static void absent(u32 block)
{
	u32 per = w.model.block_sectors, i;

	for (i = block * per; i < min((block + 1) * per, w.model.nr); i++)
		w.model.floor[i] = model_absent(&w.model, i);
}

/* The entry away: a gap. */
static void make_gap(const struct vhd_image *img, u32 block)
{
	u64 pos = img->table_offset + 4 * block, sector = pos & ~511ULL;
	__be32 table[VHD_BAT_PER_SECTOR];

	file_read(&w.pool, &w.disk.now, sector, table, sizeof(table));
	table[pos % 512 / 4] = cpu_to_be32(VHD_BAT_UNUSED);
	disk_put(&w.disk, sector, table, sizeof(table));
	absent(block);
}

/* Nothing but holes, or in a differencing image nothing of its own. */
static void make_empty(const struct vhd_image *img, u32 block)
{
	u32 first = img->bat[block], bitmap = img->bitmap_sectors;
	u8 zeros[VHD_SECTOR_SIZE] = { };

	if (img->type == VHD_TYPE_DIFFERENCING)
		disk_put(&w.disk, (u64)first * 512, zeros, sizeof(zeros));
	else
		file_set(&w.disk.now, first + bitmap, w.model.block_sectors, 0);
	absent(block);
}

/* What the image itself does not have stays so. */
static void make_hole(const struct vhd_image *img, u32 block, u32 at, u32 n)
{
	u32 data = img->bat[block] + img->bitmap_sectors;
	u32 virt = block * w.model.block_sectors + at;

	for (; n && virt < w.model.nr; at++, virt++, n--) {
		if (w.model.floor[virt] == model_absent(&w.model, virt))
			continue;
		file_set(&w.disk.now, data + at, 1, 0);
		w.model.floor[virt] = 0;
	}
}

/* Zeros of its own: holes here and there, or all of it. */
static void make_holes(const struct vhd_image *img, u32 block, u64 *seed)
{
	u32 per = w.model.block_sectors, i, n;
	bool all = !dice(seed, 4);

	for (i = 0; i < per; i += n) {
		n = all ? per : min(1 + dice(seed, 200), per - i);
		if (all || dice(seed, 2))
			make_hole(img, block, i, n);
	}
}

static void age(u64 *seed)
{
	u32 gaps = dice(seed, 6), empty = dice(seed, 5), block;
	struct vhd_image img;

	if (open_file(&w.check, &w.disk.now, &img, VHD_OPEN_WRITE))
		abort();
	for (block = 0; block < img.nr_blocks; block++) {
		if (img.bat[block] >= VHD_BAT_BAD)
			continue;
		if (dice(seed, 6) < gaps)
			make_gap(&img, block);
		else if (dice(seed, 12) < empty)
			make_empty(&img, block);
		else if (!dice(seed, 3))
			make_holes(&img, block, seed);
	}
	vhd_image_free(&img);
}

/* Its table goes behind its blocks. */
static void move_table(const struct layout *l)
{
	u64 size = (u64)layout_sectors(l) * VHD_SECTOR_SIZE;

	resize(&w.disk, (u64)GROWN_BLOCKS * l->block_size);
	resize(&w.disk, size);
}

static const struct layout *choose(u64 *seed, struct layout *l)
{
	do {
		*l = layouts[dice(seed, nr_all_layouts)];
	} while (l->type == VHD_TYPE_FIXED);
	/* More blocks than requests would be served with. */
	if (l->blocks < 16)
		l->blocks += dice(seed, 8);
	l->mapped = dice(seed, min(l->blocks, 14U) + 1);
	return l;
}

static void build(u64 *seed)
{
	static struct layout l;
	struct vhd_image img;

	pool_reset(&w.pool);
	w.layout = choose(seed, &l);
	layout_build(&l, &w.disk, &w.model, *seed);
	memset(&w.check.expected, 0, sizeof(w.check.expected));
	w.zero = !dice(seed, 3);
	w.no_holes = !dice(seed, 4);
	w.no_punch = !dice(seed, 6);
	if (l.type == VHD_TYPE_DYNAMIC && !l.device && !dice(seed, 3))
		move_table(&l);
	age(seed);
	disk_settle(&w.disk);
	open_file(&w.check, &w.disk.now, &img, VHD_OPEN_WRITE);
	vhd_image_free(&img);
	w.check.expected = w.check.codes;
}

/* ---- programs -------------------------------------------------------- */

/* How large it is in the end, and what is to be done for that. */
static void rehearse(void)
{
	int err;

	file_copy(&w.start, &w.disk.now);
	err = compact(&w.disk, &w.kind);
	w.end = w.disk.now.size;
	if (err)
		fail("the first run: %s", strerror(-err));
	/* A footer of 511 bytes gets its last one. */
	if (w.end > round_up(w.start.size, VHD_SECTOR_SIZE))
		fail("the file grew");
	file_copy(&w.disk.now, &w.start);
	disk_settle(&w.disk);
}

static void add_fault(u64 *seed)
{
	static const u8 kinds[] = {
		VHD_IO_WRITE, VHD_IO_ZERO, VHD_IO_FLUSH, VHD_IO_TRUNCATE,
	};
	u8 kind = kinds[dice(seed, ARRAY_SIZE(kinds))];

	w.disk.faults[kind] = (struct disk_fault) {
		.left = 1 + dice(seed, 12),
		.err = kind == VHD_IO_FLUSH || dice(seed, 2) ? -EIO : -ENOSPC,
		.seed = dice(seed, ~0U),
	};
}

static void run(u64 seed)
{
	enum run_kind kind;
	int err;

	w.seed = seed;
	w.stop = 0;
	w.randoms = 0;
	w.runs++;
	build(&seed);
	rehearse();
	w.disk.errors = 0;
	if (!dice(&seed, 4))
		w.stop = 1 + dice(&seed, 30);
	else if (!dice(&seed, 3))
		add_fault(&seed);
	w.randoms = 2;
	err = compact(&w.disk, &kind);
	w.randoms = 0;
	w.failed += w.disk.errors != 0;
	w.interrupted += err == -EINTR;
	if (err && !w.disk.errors && err != -EINTR)
		fail("error without cause: %s", strerror(-err));
	if (err && !check_file(&w.check, &w.disk.now))
		fail("after %s: %s", strerror(-err), w.check.why);
	disk_heal(&w.disk);
	w.stop = 0;
	if (err && compact(&w.disk, &kind))
		fail("another run after an error fails");
	ended(&w.disk, "the end");
}

static void tell_kinds(void)
{
	u32 i;

	printf("    runs %llu, with errors %llu, interrupted %llu; moved %llu, dropped %llu\n",
	       (unsigned long long)w.runs, (unsigned long long)w.failed,
	       (unsigned long long)w.interrupted, (unsigned long long)w.moved,
	       (unsigned long long)w.dropped);
	printf("    states in compactions:");
	for (i = 0; i < NR_RUN_KINDS; i++)
		printf("%s %llu %s", i ? ";" : "",
		       (unsigned long long)w.in_kind[i], kind_names[i]);
	printf("\n");
}

static int finish(const char *name, u64 seed, u64 each, bool expect_failure)
{
	bool met = true, ok;
	u32 i;

	for (i = 0; i < NR_RUN_KINDS; i++)
		met &= w.in_kind[i] >= each;
	ok = w.wrong == expect_failure && (met || expect_failure);
	printf("%s %s: %llu states, %llu recoveries%s\n", ok ? "ok" : "FAIL",
	       name, (unsigned long long)w.states,
	       (unsigned long long)w.recoveries,
	       expect_failure && ok ? ", caught" : "");
	if (!expect_failure)
		tell_kinds();
	if (w.wrong)
		printf("    --seed %llu (%s): %s\n", (unsigned long long)seed,
		       w.layout->name, w.why);
	else if (!ok)
		printf("    %s\n", met ? "not caught" :
					 "too few states in compactions of a kind");
	return ok ? 0 : 1;
}

static int usage(void)
{
	fprintf(stderr, "usage: offline [OPTION]...\n"
		"\n"
		"  --seed N          of the first image and run (1)\n"
		"  --states N        stop after so many crash states (100000)\n"
		"  --each N          fails unless N are in runs of each kind\n"
		"  --expect-failure  succeed if there is one: libvhd is mutated\n"
		"  --name NAME       of the test in its line of output\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "name", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "states", required_argument, NULL, 'c' },
		{ "each", required_argument, NULL, 'e' },
		{ "expect-failure", no_argument, NULL, 'x' },
		{ }
	};
	const char *name = "offline";
	u64 seed = 1, states = 100000, each = 0;
	bool expect_failure = false;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'n':
			name = optarg;
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			states = strtoull(optarg, NULL, 0);
			break;
		case 'e':
			each = strtoull(optarg, NULL, 0);
			break;
		case 'x':
			expect_failure = true;
			break;
		default:
			return usage();
		}
	}
	disk_init(&w.disk, &w.pool);
	disk_init(&w.nested, &w.pool);
	w.check.pool = &w.pool;
	w.check.m = &w.model;
	for (; w.states < states && !w.wrong; seed++)
		run(seed * 0x9E3779B97F4A7C15ULL);
	return finish(name, seed - 1, each, expect_failure);
}
