// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "fuzz.h"
#include "resize.h"

#define MAX_OPS		48
#define MAX_WRITES	(MAX_OPS + 1)
/* What a differencing image's parent holds: this and the sector's number. */
#define PARENT_TAG	(1ULL << 40)
/* Every pair of blocks is compared in images up to so many. */
#define MAX_PAIRS	512U
/* Sectors that a disk is made. */
#define MAX_SIZE	(1U << 18)
/* Blocks that are looked into. */
#define MAX_LOOK	24U

/** struct put - one write; the newest of a sector counts */
struct put {
	u64 sector;
	u64 sectors;
	u64 tag;
};

/**
 * struct trial - an image in use
 * @old: the image as it was; what was not written must read as it says
 */
struct trial {
	struct rig r;
	struct rig old;
	struct vhd_image *img;
	struct put puts[MAX_WRITES];
	u32 nr_puts;
};

static void put_mem(void *arg, u64 pos, const void *buf, size_t len)
{
	mem_write(arg, pos, buf, len);
}

static void load(const struct image *i, struct mem *m)
{
	mem_init(m);
	image_write((struct image *)i, put_mem, m);
	mem_truncate(m, i->size);
	mem_settle(m);
}

/* ---- the format's rules, once more -------------------------------------- */

struct span {
	unsigned __int128 start;
	unsigned __int128 end;
};

static bool meet(struct span a, struct span b)
{
	return a.start < a.end && b.start < b.end &&
	       a.start < b.end && b.start < a.end;
}

static struct span span(u64 start, u64 len)
{
	return (struct span) { start, (unsigned __int128)start + len };
}

static u32 raw_entry(const struct rig *r, u32 block)
{
	__be32 entry;

	mem_read(&r->mem, r->img.table_offset + block * 4ULL, &entry, 4);
	return be32_to_cpu(entry);
}

static struct span slot_of(const struct rig *r, u32 entry)
{
	return span((u64)entry << 9, vhd_slot_bytes(&r->img));
}

/* Is a used entry's place one where no block may be? */
static bool misplaced(const struct rig *r, u32 entry)
{
	const struct vhd_open *o = &r->open;
	struct span slot = slot_of(r, entry);
	u32 i;

	if (slot.end > o->tail_pos || entry == 0xFFFFFFFE)
		return true;
	if (meet(slot, span(0, 512)) ||
	    meet(slot, span(be64_to_cpu(r->img.footer.data_offset), 1024)) ||
	    meet(slot, span(r->img.table_offset, 4ULL * r->img.nr_blocks)) ||
	    meet(slot, (struct span) { o->batmap_start, o->batmap_end }))
		return true;
	for (i = 0; i < VHD_NR_LOCATORS; i++) {
		const struct vhd_locator *l = &r->img.header.locators[i];

		if (l->code && meet(slot, span(be64_to_cpu(l->data_offset),
					       be32_to_cpu(l->data_length))))
			return true;
	}
	return false;
}

static bool overlapped(const struct rig *r, u32 block)
{
	struct span slot = slot_of(r, raw_entry(r, block));
	u32 other, entry;

	for (other = 0; other < r->img.nr_blocks; other++) {
		entry = raw_entry(r, other);
		if (other != block && entry != 0xFFFFFFFF &&
		    !misplaced(r, entry) && meet(slot, slot_of(r, entry)))
			return true;
	}
	return false;
}

static void absent(const struct rig *r, u64 sector, u8 *buf)
{
	if (r->img.type == VHD_TYPE_DIFFERENCING &&
	    sector < (r->parent_end ?: U64_MAX))
		tag_fill(buf, 1, PARENT_TAG + sector);
	else
		memset(buf, 0, 512);
}

/* What a sector holds, read from the bytes of the file; false: nobody can tell. */
static bool plain_read(const struct rig *r, u64 sector, u8 *buf)
{
	u32 per_block, block, n, entry;
	u64 pos = sector << 9;
	u8 bits;

	absent(r, sector, buf);
	if (r->img.type != VHD_TYPE_FIXED) {
		per_block = be32_to_cpu(r->img.header.block_size) / 512;
		block = sector / per_block;
		n = sector % per_block;
		entry = raw_entry(r, block);
		if (entry == 0xFFFFFFFF)
			return true;
		if (misplaced(r, entry) || overlapped(r, block))
			return false;
		mem_read(&r->mem, ((u64)entry << 9) + n / 8, &bits, 1);
		if (!(bits & (0x80 >> n % 8)))
			return true;
		pos = ((u64)entry << 9) +
		      round_up(DIV_ROUND_UP(per_block, 8), 512U) + n * 512ULL;
	}
	mem_read(&r->mem, pos, buf, 512);
	return true;
}

/* ---- what opened -------------------------------------------------------- */

static void check_findings(const struct trial *t)
{
	char line[300];
	u32 i;

	for (i = 0; i < min(t->r.nr_found, (u32)RIG_MAX_FOUND); i++) {
		assert_true((u32)t->r.found[i].code < VHD_NR_FINDINGS);
		vhd_finding_line(&t->r.found[i], line, sizeof(line));
		assert_true(strlen(line) > 10);
	}
}

static void check_blocks(const struct trial *t)
{
	const struct vhd_image *img = t->img;
	u32 block, entry, bad = 0, used = 0;

	if (img->nr_blocks > MAX_PAIRS)
		return;
	for (block = 0; block < img->nr_blocks; block++) {
		entry = raw_entry(&t->r, block);
		used += entry != 0xFFFFFFFF;
		if (entry != 0xFFFFFFFF &&
		    (misplaced(&t->r, entry) ||
		     overlapped(&t->r, block))) {
			assert_int_equal(img->bat[block], VHD_BAT_BAD);
			bad++;
		} else {
			assert_int_equal(img->bat[block], entry);
		}
	}
	assert_int_equal(img->nr_allocated, used);
	assert_true(!img->writable || !bad);
}

static void check_opened(const struct trial *t, unsigned int flags)
{
	const struct vhd_image *img = t->img;
	const struct vhd_open *o = &t->r.open;
	u32 bs = be32_to_cpu(img->header.block_size);

	assert_true(img->size && !(img->size % 512));
	assert_true(img->disk_size && img->disk_size <= img->size);
	assert_true(flags & VHD_OPEN_SIZE_CHS || img->disk_size ==
		    be64_to_cpu(img->footer.current_size));
	assert_int_equal(img->writable, !!(flags & VHD_OPEN_WRITE));
	if (!(flags & VHD_OPEN_FORCE) && img->writable)
		assert_true(rig_harmless(&t->r));
	if (img->type == VHD_TYPE_FIXED) {
		assert_null(img->bat);
		assert_true(!img->writable || img->size <= o->tail_pos);
		return;
	}
	assert_int_equal(1ULL << img->block_shift, bs);
	assert_true(bs >= VHD_MIN_BLOCK_SIZE && bs <= VHD_MAX_BLOCK_SIZE);
	assert_int_equal(img->nr_blocks, img->size / bs + !!(img->size % bs));
	assert_true(img->table_offset + 4ULL * img->nr_blocks <= o->tail_pos);
	check_blocks(t);
}

/* ---- sectors ------------------------------------------------------------ */

static bool wanted(const struct trial *t, u64 sector, u8 *buf)
{
	u32 i = t->nr_puts;

	while (i--) {
		const struct put *p = &t->puts[i];

		if (sector >= p->sector && sector < p->sector + p->sectors) {
			tag_fill(buf, 1, p->tag);
			return true;
		}
	}
	return plain_read(&t->old, sector, buf);
}

static void expect_sector(struct trial *t, u64 sector)
{
	_Alignas(8) u8 want[512], have[512];
	int err;

	if (sector >= t->img->disk_size / 512)
		return;
	/* A fixed image that is too short: nobody may look there. */
	if (t->img->type == VHD_TYPE_FIXED && !t->img->writable &&
	    (sector + 1) * 512 > t->r.mem.now.size)
		return;
	err = rig_read(&t->r, sector, 1, have);
	if (!wanted(t, sector, want)) {
		assert_int_equal(err, -EIO);
		return;
	}
	assert_int_equal(err, 0);
	if (memcmp(want, have, 512))
		fail_msg("sector %llu differs", (unsigned long long)sector);
}

static void expect_range(struct trial *t, u64 sector, u32 sectors)
{
	u32 n;

	if (sector)
		expect_sector(t, sector - 1);
	for (n = 0; n <= sectors; n++)
		expect_sector(t, sector + n);
}

/* Is what is in memory also what everybody else finds in the file? */
static void expect_file(struct trial *t)
{
	_Alignas(8) u8 want[512], have[512];
	u32 i;

	for (i = 0; i < t->nr_puts; i++) {
		if (t->puts[i].sector >= t->img->size / 512 ||
		    !wanted(t, t->puts[i].sector, want))
			continue;
		assert_true(plain_read(&t->r, t->puts[i].sector, have));
		assert_true(!memcmp(want, have, 512));
	}
}

static void look_around(struct trial *t)
{
	u32 per_block, block, k, step;

	expect_sector(t, 0);
	expect_sector(t, t->img->disk_size / 512 - 1);
	if (t->img->type == VHD_TYPE_FIXED)
		return;
	per_block = vhd_block_sectors(t->img);
	step = t->img->nr_blocks / MAX_LOOK + 1;
	for (block = 0; block < t->img->nr_blocks; block += step) {
		u64 first = (u64)block * per_block;

		for (k = 0; k < 9; k++)
			expect_sector(t, first + k);
		expect_sector(t, first + per_block / 2);
		expect_sector(t, first + per_block - 1);
	}
}

/* ---- a session ----------------------------------------------------------- */

static u32 in_block(const struct trial *t, u64 sector, u32 sectors)
{
	u64 left = t->img->disk_size / 512 - sector;
	u32 per_block;

	if (t->img->type != VHD_TYPE_FIXED) {
		per_block = vhd_block_sectors(t->img);
		left = min_t(u64, left, per_block - sector % per_block);
	}
	return min_t(u64, sectors, left);
}

static void op_write(struct trial *t, u64 sector, u32 sectors)
{
	struct put *p = &t->puts[t->nr_puts];
	int err;

	p->sector = sector;
	p->sectors = in_block(t, sector, sectors);
	p->tag = t->nr_puts + 1;
	err = rig_write(&t->r, p->sector, p->sectors, p->tag);
	/* A slot may lie beyond what an entry can say. */
	assert_true(!err || err == -ENOSPC);
	t->nr_puts += !err;
	expect_range(t, p->sector, p->sectors);
}

static void op_reopen(struct trial *t, bool tidy)
{
	assert_int_equal(rig_commit(&t->r), 0);
	if (tidy)
		assert_int_equal(rig_tidy(&t->r), 0);
	rig_close(&t->r);
	/* A saved state stays, and stays forced. */
	assert_int_equal(rig_open(&t->r, t->r.open.flags), 0);
	assert_true(t->img->writable);
	check_opened(t, t->r.open.flags);
	rig_assert_footer(&t->r);
}

/* What becomes the disk's, or comes back to it, is zeros. */
static void op_resize(struct trial *t, u64 sectors)
{
	struct put *p = &t->puts[t->nr_puts];
	u64 old = t->img->size / 512;
	struct vhd_resize resize;
	int err;

	/* The geometry says something else. */
	if (t->r.open.flags & VHD_OPEN_SIZE_CHS || !sectors || sectors == old)
		return;
	assert_int_equal(rig_commit(&t->r), 0);
	assert_int_equal(rig_tidy(&t->r), 0);
	err = vhd_resize_init(&resize, t->img, sectors * 512);
	if (!err)
		err = mem_run(&t->r.mem, &resize.plan);
	vhd_resize_end(&resize);
	if (!err) {
		*p = (struct put) { min(old, sectors), U64_MAX / 2, 0 };
		t->nr_puts++;
	} else {
		assert_true(err == -EOPNOTSUPP || err == -EFBIG ||
			    err == -ENOSPC);
	}
	op_reopen(t, true);
	assert_int_equal(t->img->size / 512, err ? old : sectors);
	expect_range(t, min(old, sectors) - 1, 3);
}

static void one_op(struct trial *t, struct input *ops)
{
	u32 kind = input_u8(ops);
	u64 sector = input_u32(ops) % (t->img->disk_size / 512);
	u32 sectors = 1 + input_u8(ops) % 64;

	switch (kind % 8) {
	case 0 ... 3:
		op_write(t, sector, sectors);
		break;
	case 4:
		expect_range(t, sector, in_block(t, sector, sectors));
		break;
	case 5:
		if (sectors < 48)
			assert_int_equal(rig_commit(&t->r), 0);
		else
			op_resize(t, sector * (sectors - 47) % MAX_SIZE);
		break;
	default:
		op_reopen(t, kind % 8 == 6);
	}
	mem_forget(&t->r.mem);
}

static void session(struct trial *t, struct input *ops)
{
	u32 n;

	for (n = 0; n < MAX_OPS && ops->left; n++)
		one_op(t, ops);
	for (n = 0; n < 2; n++)
		op_reopen(t, true);
	assert_null(rig_found(&t->r, VHD_FIND_SLACK));
	for (n = 0; n < t->nr_puts; n++)
		expect_range(t, t->puts[n].sector,
			     min_t(u64, t->puts[n].sectors, 64));
	look_around(t);
	expect_file(t);
}

static void trial(const struct image *i, unsigned int flags, struct input *ops)
{
	static struct trial t;
	int ret;

	memset(&t, 0, sizeof(t));
	t.img = &t.r.img;
	t.r.parent = PARENT_TAG;
	load(i, &t.old.mem);
	load(i, &t.r.mem);
	rig_open(&t.old, flags & ~VHD_OPEN_WRITE);
	ret = rig_open(&t.r, flags);
	check_findings(&t);
	/* Opening writes nothing. */
	assert_int_equal(t.r.mem.nr_ops, 0);
	if (!ret) {
		/* Were its parent larger, nobody would let it grow. */
		t.r.parent_end = t.img->disk_size / 512;
		check_opened(&t, flags);
		look_around(&t);
		if (flags & VHD_OPEN_WRITE)
			session(&t, ops);
	} else {
		assert_true(ret == -EUCLEAN || ret == -EMEDIUMTYPE ||
			    (ret == -EROFS && flags & VHD_OPEN_WRITE));
		assert_true(t.r.nr_found);
	}
	rig_free(&t.r);
	rig_free(&t.old);
}

void exercise(struct image *i, struct input *ops)
{
	u8 how = input_u8(ops);

	trial(i, how & (VHD_OPEN_FORCE | VHD_OPEN_SIZE_CHS), ops);
	trial(i, (how >> 3 & (VHD_OPEN_FORCE | VHD_OPEN_SIZE_CHS)) |
		 VHD_OPEN_WRITE, ops);
}
