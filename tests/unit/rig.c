// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

/* ---- images ----------------------------------------------------------- */

static void build_table(struct build *b)
{
	u32 needed = be32_to_cpu(b->header.max_table_entries);

	b->nr_bat = needed;
	b->bat = malloc(needed * sizeof(*b->bat));
	assert_non_null(b->bat);
	memset(b->bat, 0xFF, needed * sizeof(*b->bat));
}

void build_init(struct build *b, enum vhd_disk_type type, u64 size,
		u32 block_size)
{
	struct vhd_new_image n = {
		.type = type,
		.size = size,
		.block_size = block_size,
		.timestamp = 0x12345678,
		.unique_id = "0123456789abcde",
	};
	u64 table = type == VHD_TYPE_DIFFERENCING ? 0x2000 : 0x600;

	memset(b, 0, sizeof(*b));
	b->tail_bytes = VHD_SECTOR_SIZE;
	vhd_make_footer(&b->footer, &n);
	if (type == VHD_TYPE_FIXED) {
		b->tail = size;
		return;
	}
	vhd_make_header(&b->header, &n, table);
	build_table(b);
	b->end = ALIGN(table + b->nr_bat * 4ULL, 4096ULL);
	if (type != VHD_TYPE_DIFFERENCING)
		return;
	memcpy(b->header.parent_unique_id, "parent-parent-pa", 16);
	build_locator(b, 0, VHD_LOC_W2KU, 0x1000, 4096, 20);
}

void build_free(struct build *b)
{
	free(b->bat);
	b->bat = NULL;
}

static u32 build_bitmap_bytes(const struct build *b)
{
	return vhd_bitmap_bytes(be32_to_cpu(b->header.block_size));
}

u32 build_block(struct build *b, u32 block)
{
	u64 bitmap = build_bitmap_bytes(b);
	u64 pos = ALIGN(b->end + bitmap, 4096ULL) - bitmap;

	build_block_at(b, block, pos >> VHD_SECTOR_SHIFT);
	return pos >> VHD_SECTOR_SHIFT;
}

void build_block_at(struct build *b, u32 block, u32 sector)
{
	u64 end = ((u64)sector << VHD_SECTOR_SHIFT) + build_bitmap_bytes(b) +
		  be32_to_cpu(b->header.block_size);

	b->bat[block] = sector;
	b->end = max(b->end, end);
}

void build_locator(struct build *b, u32 i, u32 code, u64 pos, u32 space,
		   u32 len)
{
	b->header.locators[i] = (struct vhd_locator) {
		.code = cpu_to_be32(code),
		.data_space = cpu_to_be32(space),
		.data_length = cpu_to_be32(len),
		.data_offset = cpu_to_be64(pos),
	};
}

static u64 build_bitmap_pos(const struct build *b, u32 block)
{
	return (u64)b->bat[block] << VHD_SECTOR_SHIFT;
}

/* A bitmap of all ones for each block that has a place. */
static void build_bitmaps(struct build *b, struct mem *m)
{
	u32 bytes = build_bitmap_bytes(b);
	u8 *ones = malloc(bytes);
	u32 i;

	assert_non_null(ones);
	memset(ones, 0xFF, bytes);
	for (i = 0; i < b->nr_bat; i++)
		if (b->bat[i] > 8 &&
		    build_bitmap_pos(b, i) + bytes <= b->tail)
			mem_write(m, build_bitmap_pos(b, i), ones, bytes);
	free(ones);
}

static void build_write_dynamic(struct build *b, struct mem *m)
{
	u64 table = be64_to_cpu(b->header.table_offset);
	u64 bytes = ALIGN(b->nr_bat * 4ULL, 512ULL);
	__be32 *entries = malloc(bytes);
	u32 i;

	assert_non_null(entries);
	memset(entries, 0xFF, bytes);
	for (i = 0; i < b->nr_bat; i++)
		entries[i] = cpu_to_be32(b->bat[i]);
	/* A hostile offset may point anywhere. */
	if (table < b->tail)
		mem_write(m, table, entries, bytes);
	free(entries);
	if (be64_to_cpu(b->footer.data_offset) < b->tail)
		mem_write(m, be64_to_cpu(b->footer.data_offset), &b->header,
			  sizeof(b->header));
	if (!b->no_head)
		mem_write(m, 0, &b->footer, sizeof(b->footer));
	build_bitmaps(b, m);
}

void build_write(struct build *b, struct mem *m)
{
	if (!b->raw) {
		vhd_seal_footer(&b->footer);
		vhd_seal_header(&b->header);
	}
	if (!b->tail)
		b->tail = vhd_tail_pos(b->end);
	mem_truncate(m, 0);
	if (b->bat)
		build_write_dynamic(b, m);
	mem_truncate(m, b->tail);
	mem_write(m, b->tail, &b->footer, b->tail_bytes);
	mem_settle(m);
}

u64 build_data_pos(const struct build *b, u32 block)
{
	return build_bitmap_pos(b, block) + build_bitmap_bytes(b);
}

void build_bits(struct build *b, struct mem *m, u32 block, u32 first, u32 count,
		bool set)
{
	u32 bytes = build_bitmap_bytes(b);
	u8 *bits = malloc(bytes);
	u32 i;

	assert_non_null(bits);
	mem_read(m, build_bitmap_pos(b, block), bits, bytes);
	for (i = first; i < first + count; i++) {
		bits[i / 8] &= ~(0x80 >> i % 8);
		if (set)
			bits[i / 8] |= 0x80 >> i % 8;
	}
	mem_write(m, build_bitmap_pos(b, block), bits, bytes);
	free(bits);
	mem_settle(m);
}

void build_tag(struct build *b, struct mem *m, u32 block, u32 first, u32 count,
	       u64 tag)
{
	u8 *buf = malloc((size_t)count * VHD_SECTOR_SIZE);

	assert_non_null(buf);
	tag_fill(buf, count, tag);
	mem_write(m, build_data_pos(b, block) + (u64)first * VHD_SECTOR_SIZE,
		  buf, (u64)count * VHD_SECTOR_SIZE);
	free(buf);
	mem_settle(m);
}

/* ---- sectors that tell what they are ---------------------------------- */

static u64 tag_word(u64 tag, u32 i)
{
	return tag ? tag * 0x9E3779B97F4A7C15ULL + i : 0;
}

void tag_fill(void *buf, u32 sectors, u64 tag)
{
	u64 *words = buf;
	u32 i, n;

	for (n = 0; n < sectors; n++)
		for (i = 0; i < VHD_SECTOR_SIZE / 8; i++)
			*words++ = tag_word(tag, i);
}

u64 tag_of(const void *sector)
{
	/* The multiplier's inverse modulo 2^64. */
	const u64 inverse = 0xF1DE83E19937733DULL;
	const u64 *words = sector;
	u64 tag = words[0] * inverse;
	u32 i;

	for (i = 0; i < VHD_SECTOR_SIZE / 8; i++)
		if (words[i] != tag_word(tag, i))
			return TAG_MIXED;
	return tag;
}

/* ---- an open image ---------------------------------------------------- */

void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	mem_init(&r->mem);
}

void rig_make(struct rig *r, enum vhd_disk_type type, u64 size, u32 block_size)
{
	struct build b;

	build_init(&b, type, size, block_size);
	build_write(&b, &r->mem);
	build_free(&b);
}

/* For tests/unit/coverage: every code that was ever found, at the end. */
static bool ever_found[VHD_NR_FINDINGS];

__attribute__((destructor)) static void rig_tell_found(void)
{
	const char *path = getenv("RIG_FOUND");
	FILE *file = path ? fopen(path, "a") : NULL;
	u32 i;

	if (!file)
		return;
	for (i = 0; i < VHD_NR_FINDINGS; i++)
		if (ever_found[i])
			fprintf(file, "%s\n", vhd_finding_info(i)->name);
	fclose(file);
}

static void rig_report(struct vhd_reporter *rep, const struct vhd_finding *f)
{
	struct rig *r = container_of(rep, struct rig, rep);

	ever_found[f->code] = true;
	if (r->nr_found < RIG_MAX_FOUND)
		r->found[r->nr_found] = *f;
	r->nr_found++;
}

int rig_open(struct rig *r, unsigned int flags)
{
	int ret;

	r->nr_found = 0;
	r->rep.report = rig_report;
	vhd_open_init(&r->open, &r->img, r->mem.now.size, flags, &r->rep);
	ret = mem_run(&r->mem, &r->open.plan);
	vhd_open_end(&r->open);
	if (ret)
		return ret;
	return vhd_commit_alloc(&r->commit, &r->img);
}

void rig_close(struct rig *r)
{
	vhd_commit_free(&r->commit);
	vhd_image_free(&r->img);
}

void rig_free(struct rig *r)
{
	rig_close(r);
	mem_free(&r->mem);
}

void rig_reopen(struct rig *r, unsigned int flags)
{
	rig_close(r);
	assert_int_equal(rig_open(r, flags), 0);
}

void rig_dynamic(struct rig *r, u32 blocks, u32 block_size)
{
	rig_init(r);
	rig_make(r, VHD_TYPE_DYNAMIC, (u64)blocks * block_size, block_size);
	assert_int_equal(rig_open(r, VHD_OPEN_WRITE), 0);
	assert_true(r->img.writable);
}

const struct vhd_finding *rig_found(const struct rig *r,
				    enum vhd_finding_code code)
{
	u32 i = min(r->nr_found, (u32)RIG_MAX_FOUND);

	while (i--)
		if (r->found[i].code == code)
			return &r->found[i];
	return NULL;
}

u32 rig_count_found(const struct rig *r, enum vhd_finding_code code)
{
	u32 i, n = 0;

	for (i = 0; i < min(r->nr_found, (u32)RIG_MAX_FOUND); i++)
		n += r->found[i].code == code;
	return n;
}

bool rig_harmless(const struct rig *r)
{
	u32 i;

	for (i = 0; i < min(r->nr_found, (u32)RIG_MAX_FOUND); i++)
		if (vhd_finding_info(r->found[i].code)->policy >
		    VHD_POLICY_WARN)
			return false;
	return true;
}

int rig_load(struct rig *r, u32 block)
{
	struct vhd_bitmap *bm = vhd_bitmap_alloc(&r->img, block);
	struct vhd_io io = { .kind = VHD_IO_READ };
	u32 len;
	int err;

	if (!bm)
		return -ENOMEM;
	io.pos = vhd_bitmap_load_pos(&r->img, bm, &len);
	io.len = len;
	io.buf = bm->live;
	err = io.pos ? mem_io(&r->mem, &io) : 0;
	if (err)
		vhd_bitmap_free(bm);
	else
		vhd_bitmap_add(&r->img, bm);
	return err;
}

/* Do what a mapping asked for; 0 to ask again. */
static int rig_serve(struct rig *r, enum vhd_map_kind kind, u64 sector)
{
	switch (kind) {
	case VHD_MAP_BITMAP:
		return rig_load(r, sector >> (r->img.block_shift - 9));
	case VHD_MAP_SPACE:
		return rig_prepare(r);
	case VHD_MAP_COMMIT:
		return rig_commit(r);
	default:
		return -EIO;
	}
}

int rig_map(struct rig *r, struct rig_req *q, u64 sector, u32 sectors)
{
	u32 tries = 0;
	int err;

	q->sector = sector;
	q->sectors = sectors;
	do {
		assert_true(tries++ < 8);
		err = vhd_map_write(&r->img, sector, sectors, &q->hold,
				    &q->ext);
		if (err)
			return err;
		if (q->ext.kind == VHD_MAP_DATA) {
			assert_int_equal(q->ext.sectors, sectors);
			return 0;
		}
		err = rig_serve(r, q->ext.kind, sector);
	} while (!err);
	return err;
}

int rig_data(struct rig *r, struct rig_req *q, u64 tag)
{
	u32 lead = r->leads && q->ext.lead ? VHD_ALIGN : 0;
	u32 len = lead + (q->sectors << VHD_SECTOR_SHIFT);
	struct vhd_io io = {
		.kind = VHD_IO_WRITE,
		.pos = q->ext.pos - lead,
		.len = len,
	};
	int err;

	/* Data never goes beyond the footer, nor over it. */
	if (r->img.bat)
		assert_true(io.pos + len <= r->img.space.tail);
	io.buf = calloc(1, len);
	assert_non_null(io.buf);
	if (lead)
		memset((u8 *)io.buf + VHD_ALIGN - 512, 0xFF, 512);
	tag_fill((u8 *)io.buf + lead, q->sectors, tag);
	err = mem_io(&r->mem, &io);
	free(io.buf);
	q->hold.marks = lead && !err;
	return err;
}

bool rig_done(struct rig *r, struct rig_req *q, int err)
{
	return vhd_map_done(&r->img, &q->hold, err);
}

/* Sectors from @sector to the end of its block or of the range. */
static u32 rig_piece(const struct rig *r, u64 sector, u32 sectors)
{
	u32 block;

	if (!r->img.bat)
		return sectors;
	block = vhd_block_sectors(&r->img);
	return min(sectors, (u32)(block - sector % block));
}

int rig_write(struct rig *r, u64 sector, u32 sectors, u64 tag)
{
	struct rig_req q;
	int err = 0;
	u32 n;

	for (; sectors && !err; sector += n, sectors -= n) {
		n = rig_piece(r, sector, sectors);
		err = rig_map(r, &q, sector, n);
		if (err)
			break;
		err = rig_data(r, &q, tag);
		rig_done(r, &q, err);
	}
	return err;
}

static int rig_zero_run(struct rig *r, struct vhd_hold *hold,
			const struct vhd_extent *ext)
{
	struct vhd_io io = {
		.kind = VHD_IO_ZERO,
		.pos = ext->pos,
		.len = (u64)ext->sectors << VHD_SECTOR_SHIFT,
	};
	int err;

	if (r->img.bat)
		assert_true(io.pos + io.len <= r->img.space.tail);
	err = mem_io(&r->mem, &io);
	vhd_map_done(&r->img, hold, err);
	return err;
}

int rig_zero(struct rig *r, u64 sector, u64 sectors, unsigned int flags)
{
	struct vhd_extent ext;
	struct vhd_hold hold;
	u32 n, tries = 0;
	int err = 0;

	while (sectors && !err) {
		n = min(sectors, 1ULL << 22);
		err = vhd_map_zero(&r->img, sector, n, flags, &hold, &ext);
		if (err)
			break;
		if (ext.kind != VHD_MAP_ZERO && ext.kind != VHD_MAP_DATA) {
			assert_true(tries++ < 8);
			err = rig_serve(r, ext.kind, sector);
			continue;
		}
		tries = 0;
		assert_in_range(ext.sectors, 1, n);
		if (ext.kind == VHD_MAP_DATA)
			err = rig_zero_run(r, &hold, &ext);
		sector += ext.sectors;
		sectors -= ext.sectors;
	}
	return err;
}

void rig_release(struct rig *r)
{
	vhd_unmap_release(&r->img, vhd_unmap_draining(&r->img));
}

int rig_punch(struct rig *r)
{
	struct vhd_punch p;

	vhd_punch_init(&p, &r->img);
	return mem_run(&r->mem, &p.plan);
}

void rig_parent_run(const struct rig *r, u64 sector, u32 sectors, u8 *buf)
{
	u64 end = r->parent ? r->parent_end ?: U64_MAX : 0;
	u32 i;

	for (i = 0; i < sectors; i++)
		tag_fill(buf + i * VHD_SECTOR_SIZE, 1,
			 sector + i < end ? r->parent + sector + i : 0);
}

static int rig_read_run(struct rig *r, u64 sector,
			const struct vhd_extent *ext, u8 *buf)
{
	u64 len = (u64)ext->sectors << VHD_SECTOR_SHIFT;

	if (ext->kind == VHD_MAP_BAD)
		return -EIO;
	if (ext->kind == VHD_MAP_ZERO) {
		memset(buf, 0, len);
		return 0;
	}
	if (ext->kind == VHD_MAP_PARENT) {
		rig_parent_run(r, sector, ext->sectors, buf);
		return 0;
	}
	assert_int_equal(ext->kind, VHD_MAP_DATA);
	assert_true(ext->pos + len <= r->mem.now.size);
	mem_read(&r->mem, ext->pos, buf, len);
	return 0;
}

int rig_read(struct rig *r, u64 sector, u32 sectors, u8 *buf)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext;
	int err = 0;
	u32 n;

	for (; sectors && !err; sector += n, sectors -= n) {
		n = rig_piece(r, sector, sectors);
		vhd_map_read(&r->img, sector, n, &hold, &ext);
		assert_in_range(ext.sectors, 1, n);
		n = ext.sectors;
		if (ext.kind == VHD_MAP_BITMAP) {
			n = 0;
			err = rig_serve(r, ext.kind, sector);
			continue;
		}
		err = rig_read_run(r, sector, &ext, buf);
		buf += (size_t)n << VHD_SECTOR_SHIFT;
		vhd_map_done(&r->img, &hold, err);
	}
	return err;
}

void rig_expect(struct rig *r, u64 sector, u32 sectors, u64 tag)
{
	u8 *buf = malloc((size_t)sectors * VHD_SECTOR_SIZE);
	u32 i;

	assert_non_null(buf);
	assert_int_equal(rig_read(r, sector, sectors, buf), 0);
	for (i = 0; i < sectors; i++)
		assert_int_equal(tag_of(buf + i * VHD_SECTOR_SIZE), tag);
	free(buf);
}

void rig_unmark(struct rig *r)
{
	u32 i;

	for (i = 0; i < VHD_NR_NEW; i++)
		r->img.new_blocks.records[i].mark = VHD_SLOT_PLAIN;
}

int rig_commit(struct rig *r)
{
	vhd_commit_begin(&r->commit);
	return mem_run(&r->mem, &r->commit.plan);
}

int rig_prepare(struct rig *r)
{
	struct vhd_prepare p;

	vhd_prepare_init(&p, &r->img);
	return mem_run(&r->mem, &p.plan);
}

int rig_tidy(struct rig *r)
{
	struct vhd_tidy t;

	vhd_tidy_init(&t, &r->img);
	return mem_run(&r->mem, &t.plan);
}

u32 rig_disk_entry(struct rig *r, u32 block)
{
	__be32 entry;

	mem_read(&r->mem, r->img.table_offset + block * 4ULL, &entry,
		 sizeof(entry));
	return be32_to_cpu(entry);
}

void rig_assert_footer(struct rig *r)
{
	struct vhd_footer f;

	mem_read(&r->mem, r->mem.now.size - sizeof(f), &f, sizeof(f));
	assert_true(vhd_footer_valid(&f));
}
