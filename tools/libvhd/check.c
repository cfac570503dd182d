// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <asm/byteorder.h>
#include <linux/align.h>
#include <linux/bitops.h>
#include <linux/container_of.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "bat.h"
#include "bitmap.h"
#include "check.h"
#include "format.h"
#include "io.h"
#include "progress.h"

#define BATMAP_VERSION	0x00010002U
/* A clock that goes wrong by less is no finding. */
#define DAY		86400U

struct range {
	u64 start;
	u64 end;
};

/* ---- findings -------------------------------------------------------- */

static void check_report(struct vhd_reporter *rep, const struct vhd_finding *f)
{
	struct vhd_check *c = container_of(rep, struct vhd_check, rep);

	if (c->counts[f->code] < VHD_CHECK_KEPT)
		c->kept[f->code][c->counts[f->code]] = *f;
	c->counts[f->code]++;
	if (c->each)
		c->each(c, f);
}

static void find_block(struct vhd_check *c, enum vhd_finding_code code,
		       u64 offset, u32 block, u64 found, u64 expected)
{
	struct vhd_finding f = {
		.code = code,
		.block = block,
		.offset = offset,
		.found = found,
		.expected = expected,
	};

	check_report(&c->rep, &f);
}

static void find(struct vhd_check *c, enum vhd_finding_code code, u64 offset,
		 u64 found, u64 expected)
{
	find_block(c, code, offset, VHD_NO_BLOCK, found, expected);
}

unsigned int vhd_check_kept(const struct vhd_check *c,
			    enum vhd_finding_code code)
{
	return min_t(u64, c->counts[code], VHD_CHECK_KEPT);
}

u64 vhd_check_count(const struct vhd_check *c, enum vhd_severity severity)
{
	unsigned int i;
	u64 n = 0;

	for (i = 0; i < VHD_NR_FINDINGS; i++)
		if (vhd_finding_info(i)->severity == severity)
			n += c->counts[i];
	return n;
}

enum vhd_policy vhd_check_policy(const struct vhd_check *c)
{
	enum vhd_policy worst = VHD_POLICY_INFO;
	unsigned int i;

	for (i = 0; i < VHD_NR_FINDINGS; i++)
		if (c->counts[i])
			worst = max(worst, vhd_finding_info(i)->policy);
	return worst;
}

u64 vhd_footer_place(const struct vhd_open *o)
{
	return o->tail_ok ? o->tail_pos : 0;
}

/* ---- looking for data ------------------------------------------------ */

/*
 * The first byte of [pos, end) that may be data, by the file's holes.  The hole
 * that was met last is remembered: sparse images are few large ones.
 */
static u64 skip_hole(struct vhd_check *c, u64 pos, u64 end)
{
	off_t data;

	if (pos >= c->hole_start && pos < c->hole_end)
		return min(c->hole_end, end);
	data = lseek(c->file->fd, pos, SEEK_DATA);
	if (data < 0 && errno != ENXIO)
		return pos;
	if (data < 0)
		data = INT64_MAX;
	if ((u64)data == pos)
		return pos;
	c->hole_start = pos;
	c->hole_end = data;
	return min_t(u64, data, end);
}

/*
 * Read what may be data of [*pos, end); @n: bytes, 0 when all the rest is hole.
 * *pos is moved on to where the bytes are from.
 */
static int read_data(struct vhd_check *c, u64 *pos, u64 end, u8 *buf, size_t *n)
{
	*pos = round_down(skip_hole(c, *pos, end), (u64)VHD_SECTOR_SIZE);
	*n = min_t(u64, end - *pos, VHD_IO_MAX);
	if (vhd_interrupted)
		return -EINTR;
	return vhd_pread(c->file->fd, buf, *n, *pos);
}

/* Count the sectors of [pos, end) that are not zeros; @first: where they begin. */
static int count_data(struct vhd_check *c, u64 pos, u64 end, u64 *first,
		      u32 *count)
{
	static u8 buf[VHD_IO_MAX];
	size_t n, i;
	int err;

	for (; pos < end; pos += n) {
		err = read_data(c, &pos, end, buf, &n);
		if (err)
			return err;
		for (i = 0; i < n; i += VHD_SECTOR_SIZE)
			if (memchr_inv(buf + i, 0,
				       min_t(size_t, n - i, VHD_SECTOR_SIZE)) &&
			    !(*count)++)
				*first = pos + i;
	}
	return 0;
}

/* ---- footer ---------------------------------------------------------- */

#define FOOTER_AT(c, field) \
	(vhd_footer_place(&(c)->open) + offsetof(struct vhd_footer, field))

static void check_footer_values(struct vhd_check *c)
{
	const struct vhd_footer *f = &c->file->image.footer;
	u32 version = be32_to_cpu(f->version);
	u32 features = be32_to_cpu(f->features);
	u32 stamp = be32_to_cpu(f->timestamp);
	u32 os = be32_to_cpu(f->creator_os);
	u64 size = be64_to_cpu(f->original_size);

	if (version != VHD_FORMAT_VERSION)
		find(c, VHD_FIND_FOOTER_MINOR, FOOTER_AT(c, version), version,
		     VHD_FORMAT_VERSION);
	if (features & VHD_FEATURE_TEMPORARY)
		find(c, VHD_FIND_FOOTER_TEMPORARY, FOOTER_AT(c, features),
		     features, VHD_FEATURE_RESERVED);
	if (stamp > c->now && stamp - c->now > DAY)
		find(c, VHD_FIND_FOOTER_TIMESTAMP, FOOTER_AT(c, timestamp),
		     stamp, c->now);
	if (os != VHD_OS_WINDOWS && os != VHD_OS_MAC)
		find(c, VHD_FIND_FOOTER_CREATOR_OS, FOOTER_AT(c, creator_os),
		     os, VHD_OS_WINDOWS);
	if (!size || size % VHD_SECTOR_SIZE || size >> 60)
		find(c, VHD_FIND_FOOTER_ORIGINAL_SIZE,
		     FOOTER_AT(c, original_size), size,
		     be64_to_cpu(f->current_size));
}

static void check_footer(struct vhd_check *c)
{
	const struct vhd_footer *f = &c->file->image.footer;
	const u8 *p;

	check_footer_values(c);
	if (f->saved_state > 1)
		find(c, VHD_FIND_FOOTER_SAVED, FOOTER_AT(c, saved_state),
		     f->saved_state, 1);
	if (f->hidden)
		find(c, VHD_FIND_FOOTER_HIDDEN, FOOTER_AT(c, hidden),
		     f->hidden, 0);
	p = memchr_inv(f->reserved, 0, sizeof(f->reserved));
	if (p)
		find(c, VHD_FIND_FOOTER_RESERVED,
		     FOOTER_AT(c, reserved) + (p - f->reserved), *p, 0);
}

static void check_file(struct vhd_check *c)
{
	u64 size = c->file->image.size;

	if (c->file->size % VHD_SECTOR_SIZE && !c->open.tail_short)
		find(c, VHD_FIND_FILE_UNALIGNED, c->file->size, c->file->size,
		     round_down(c->file->size, (u64)VHD_SECTOR_SIZE));
	if (!c->file->image.bat && c->open.tail_pos > size &&
	    !c->file->image.on_device)
		find(c, VHD_FIND_FILE_LONG, size, c->file->size,
		     size + VHD_SECTOR_SIZE);
}

/* ---- what others would refuse ---------------------------------------- */

static void check_azure(struct vhd_check *c)
{
	const struct vhd_footer *f = &c->file->image.footer;
	u64 size = c->file->image.size;
	u32 os = be32_to_cpu(f->creator_os);

	if (c->file->image.type != VHD_TYPE_FIXED)
		find(c, VHD_FIND_AZURE_TYPE, FOOTER_AT(c, disk_type),
		     c->file->image.type, VHD_TYPE_FIXED);
	if (size % (1U << 20))
		find(c, VHD_FIND_AZURE_SIZE, FOOTER_AT(c, current_size), size,
		     round_up(size, 1ULL << 20));
	if (c->file->image.type == VHD_TYPE_FIXED &&
	    c->file->size != size + VHD_SECTOR_SIZE)
		find(c, VHD_FIND_AZURE_FILE, c->file->size, c->file->size,
		     size + VHD_SECTOR_SIZE);
	if (os != VHD_OS_WINDOWS)
		find(c, VHD_FIND_AZURE_OS, FOOTER_AT(c, creator_os), os,
		     VHD_OS_WINDOWS);
}

static void check_windows(struct vhd_check *c)
{
	const struct vhd_image *img = &c->file->image;
	u32 block = be32_to_cpu(img->header.block_size);

	if (img->size > VHD_MAX_DYNAMIC_SIZE)
		find(c, VHD_FIND_WINDOWS_SIZE, FOOTER_AT(c, current_size),
		     img->size, VHD_MAX_DYNAMIC_SIZE);
	if (img->bat && block != (512U << 10) && block != (2U << 20))
		find(c, VHD_FIND_WINDOWS_BLOCK_SIZE,
		     be64_to_cpu(img->footer.data_offset) +
		     offsetof(struct vhd_dyn_header, block_size), block,
		     VHD_DEFAULT_BLOCK_SIZE);
	if (c->file->size % VHD_SECTOR_SIZE || !c->open.tail_ok)
		find(c, VHD_FIND_WINDOWS_TAIL, c->open.tail_pos, c->file->size,
		     round_up(c->file->size, (u64)VHD_SECTOR_SIZE));
}

/* ---- dynamic header -------------------------------------------------- */

static u64 header_pos(const struct vhd_check *c)
{
	return be64_to_cpu(c->file->image.footer.data_offset);
}

#define HEADER_AT(c, field) \
	(header_pos(c) + offsetof(struct vhd_dyn_header, field))

static bool names_parent(const struct vhd_dyn_header *h)
{
	unsigned int i;

	if (h->parent_name[0])
		return true;
	for (i = 0; i < VHD_NR_LOCATORS; i++)
		if (h->locators[i].code)
			return true;
	return false;
}

static void check_parent(struct vhd_check *c)
{
	const struct vhd_dyn_header *h = &c->file->image.header;
	bool null_id = !memchr_inv(h->parent_unique_id, 0, 16);

	if (c->file->image.type == VHD_TYPE_DYNAMIC) {
		if (names_parent(h) || !null_id)
			find(c, VHD_FIND_HEADER_PARENT,
			     HEADER_AT(c, parent_unique_id), 1, 0);
		return;
	}
	if (null_id)
		find(c, VHD_FIND_PARENT_NULL_ID,
		     HEADER_AT(c, parent_unique_id), 0, 1);
	if (!names_parent(h))
		find(c, VHD_FIND_PARENT_UNNAMED, HEADER_AT(c, parent_name), 0,
		     1);
}

static void check_header(struct vhd_check *c)
{
	const struct vhd_dyn_header *h = &c->file->image.header;
	u32 version = be32_to_cpu(h->header_version);
	const u8 *p;

	if (version != VHD_HEADER_VERSION)
		find(c, VHD_FIND_HEADER_MINOR, HEADER_AT(c, header_version),
		     version, VHD_HEADER_VERSION);
	p = memchr_inv(h->reserved2, 0, sizeof(h->reserved2));
	if (p)
		find(c, VHD_FIND_HEADER_RESERVED,
		     HEADER_AT(c, reserved2) + (p - h->reserved2), *p, 0);
	else if (h->reserved1)
		find(c, VHD_FIND_HEADER_RESERVED, HEADER_AT(c, reserved1),
		     be32_to_cpu(h->reserved1), 0);
	check_parent(c);
}

/* ---- locators -------------------------------------------------------- */

static bool overlap(struct range a, struct range b)
{
	return a.start < a.end && b.start < b.end && a.start < b.end &&
	       b.start < a.end;
}

/* The @n-th piece of metadata but for the locators; false behind the last. */
static bool metadata_range(const struct vhd_check *c, unsigned int n,
			   struct range *r)
{
	const struct vhd_image *img = &c->file->image;
	u64 table = img->table_offset;

	switch (n) {
	case 0:
		*r = (struct range) { 0, sizeof(struct vhd_footer) };
		return true;
	case 1:
		*r = (struct range) { header_pos(c), header_pos(c) +
				      sizeof(struct vhd_dyn_header) };
		return true;
	case 2:
		/* What is in use of it; the rest is TABLE_END's matter. */
		*r = (struct range) { table,
			table + img->nr_blocks * (u64)sizeof(__be32) };
		return true;
	case 3:
		*r = (struct range) { c->open.batmap_start, c->open.batmap_end };
		return true;
	case 4:
		*r = (struct range) { c->open.tail_pos, U64_MAX };
		return true;
	default:
		return false;
	}
}

static struct range locator_range(const struct vhd_locator *l, u64 bytes)
{
	u64 start = be64_to_cpu(l->data_offset);

	return (struct range) { start, start + min(bytes, U64_MAX - start) };
}

/* Does [r) meet metadata, or the data of a locator before the @i-th? */
static bool locator_meets(const struct vhd_check *c, unsigned int i,
			  struct range r, u64 *with)
{
	const struct vhd_locator *l = c->file->image.header.locators;
	struct range other;
	unsigned int n;

	for (n = 0; metadata_range(c, n, &other); n++) {
		if (overlap(r, other)) {
			*with = other.start;
			return true;
		}
	}
	/* A block that lies in it was told the locator's end. */
	for (n = 0; n < vhd_check_kept(c, VHD_FIND_BLOCK_METADATA); n++) {
		other.start = c->kept[VHD_FIND_BLOCK_METADATA][n].found;
		if (c->kept[VHD_FIND_BLOCK_METADATA][n].expected == r.end) {
			*with = other.start;
			return true;
		}
	}
	for (n = 0; n < i; n++) {
		other = locator_range(&l[n], be32_to_cpu(l[n].data_length));
		if (l[n].code && overlap(r, other)) {
			*with = other.start;
			return true;
		}
	}
	return false;
}

static bool known_code(u32 code)
{
	return code == VHD_LOC_W2RU || code == VHD_LOC_W2KU ||
	       code == VHD_LOC_MACX || code == VHD_LOC_WI2R ||
	       code == VHD_LOC_WI2K || code == VHD_LOC_MAC;
}

static void check_locator(struct vhd_check *c, unsigned int i)
{
	const struct vhd_locator *l = &c->file->image.header.locators[i];
	u64 at = HEADER_AT(c, locators) + i * sizeof(*l);
	u32 code = be32_to_cpu(l->code);
	u32 len = be32_to_cpu(l->data_length);
	u64 pos = be64_to_cpu(l->data_offset);
	u64 with;

	if (!known_code(code))
		find(c, VHD_FIND_LOCATOR_CODE, at, code, VHD_LOC_W2RU);
	if (l->reserved)
		find(c, VHD_FIND_HEADER_RESERVED,
		     at + offsetof(struct vhd_locator, reserved),
		     be32_to_cpu(l->reserved), 0);
	if (!len || ((code == VHD_LOC_W2RU || code == VHD_LOC_W2KU) && len % 2))
		find(c, VHD_FIND_LOCATOR_TEXT, at, len, (u64)len + 1);
	if (len && locator_meets(c, i, locator_range(l, len), &with))
		find(c, VHD_FIND_LOCATOR_OVERLAP, at, pos, with);
	else if (locator_meets(c, i, locator_range(l, vhd_locator_space(l)),
			       &with))
		find(c, VHD_FIND_LOCATOR_SPACE, at,
		     pos + vhd_locator_space(l), with);
}

static void check_locators(struct vhd_check *c)
{
	unsigned int i;

	for (i = 0; i < VHD_NR_LOCATORS; i++)
		if (c->file->image.header.locators[i].code)
			check_locator(c, i);
}

/* ---- the table behind the disk's end --------------------------------- */

/* Where something else begins behind the table. */
static u64 table_limit(const struct vhd_check *c)
{
	const struct vhd_image *img = &c->file->image;
	u64 limit = c->open.tail_pos;
	u64 table = img->table_offset;
	unsigned int i;
	u64 pos;

	if (header_pos(c) > table)
		limit = min(limit, header_pos(c));
	for (i = 0; i < VHD_NR_LOCATORS; i++) {
		pos = be64_to_cpu(img->header.locators[i].data_offset);
		if (img->header.locators[i].code && pos > table)
			limit = min(limit, pos);
	}
	for (i = 0; i < img->nr_blocks; i++) {
		pos = (u64)img->bat[i] << VHD_SECTOR_SHIFT;
		if (img->bat[i] < VHD_BAT_BAD && pos > table)
			limit = min(limit, pos);
	}
	return limit;
}

/* Entries [first, end) are beyond the disk: none should be in use. */
static int check_surplus(struct vhd_check *c, u64 first, u64 end)
{
	static __be32 buf[VHD_IO_MAX / sizeof(__be32)];
	const struct vhd_image *img = &c->file->image;
	u64 pos;
	u32 i, n;
	int err;

	for (; first < end; first += n) {
		if (vhd_interrupted)
			return -EINTR;
		n = min_t(u64, end - first, ARRAY_SIZE(buf));
		pos = img->table_offset + first * sizeof(__be32);
		err = vhd_pread(c->file->fd, buf, n * sizeof(__be32), pos);
		if (err)
			return err;
		for (i = 0; i < n; i++)
			if (be32_to_cpu(buf[i]) != VHD_BAT_UNUSED)
				find_block(c, VHD_FIND_TABLE_SURPLUS,
					   pos + i * sizeof(__be32), first + i,
					   be32_to_cpu(buf[i]), VHD_BAT_UNUSED);
	}
	return 0;
}

static int check_padding(struct vhd_check *c, u64 pos, u64 end)
{
	u8 buf[VHD_SECTOR_SIZE];
	const u8 *p;
	int err;

	err = vhd_pread(c->file->fd, buf, end - pos, pos);
	if (err)
		return err;
	p = memchr_inv(buf, 0xFF, end - pos);
	if (p)
		find(c, VHD_FIND_TABLE_PADDING, pos + (p - buf), *p, 0xFF);
	return 0;
}

u64 vhd_check_table_end(const struct vhd_check *c)
{
	const struct vhd_image *img = &c->file->image;

	return min(img->table_offset + vhd_bat_table_bytes(img),
		   table_limit(c));
}

static int check_table(struct vhd_check *c)
{
	const struct vhd_image *img = &c->file->image;
	u64 stated = img->table_offset + vhd_bat_table_bytes(img);
	u64 limit = table_limit(c);
	int err;

	if (stated > limit)
		find(c, VHD_FIND_TABLE_END, HEADER_AT(c, max_table_entries),
		     stated, limit);
	err = check_surplus(c, img->nr_blocks,
			    (min(stated, limit) - img->table_offset) /
			    sizeof(__be32));
	if (err || stated >= limit)
		return err;
	return check_padding(c, stated,
			     min(limit, round_up(stated,
						 (u64)VHD_SECTOR_SIZE)));
}

/* ---- space ----------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

static void check_sorted_gaps(struct vhd_check *c, const u32 *sorted, u32 nr)
{
	const struct vhd_image *img = &c->file->image;
	u64 end = img->space.meta_end;
	u64 first = 0, total = 0;
	u64 start;
	u32 i;

	for (i = 0; i < nr; i++) {
		start = (u64)sorted[i] << VHD_SECTOR_SHIFT;
		/* Less is alignment. */
		if (start >= end + VHD_ALIGN) {
			first = first ?: end;
			total += start - end;
		}
		end = max(end, start + vhd_slot_bytes(img));
	}
	if (total)
		find(c, VHD_FIND_GAP, first, total, 0);
}

static int check_gaps(struct vhd_check *c)
{
	const struct vhd_image *img = &c->file->image;
	u32 *sorted;
	u32 i, nr = 0;

	/* Between damaged blocks nobody knows what is free. */
	if (!img->nr_allocated || c->counts[VHD_FIND_BLOCK_METADATA] ||
	    c->counts[VHD_FIND_BLOCK_END] || c->counts[VHD_FIND_BLOCK_OVERLAP])
		return 0;
	sorted = malloc((size_t)img->nr_allocated * sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < img->nr_blocks; i++)
		if (img->bat[i] < VHD_BAT_BAD)
			sorted[nr++] = img->bat[i];
	qsort(sorted, nr, sizeof(*sorted), by_value);
	check_sorted_gaps(c, sorted, nr);
	free(sorted);
	return 0;
}

static int check_slack(struct vhd_check *c)
{
	const struct vhd_space *sp = &c->file->image.space;
	u32 dirty = 0;
	u64 at = 0;
	int err;

	if (!c->counts[VHD_FIND_SLACK])
		return 0;
	err = count_data(c, round_up(sp->data_end, (u64)VHD_SECTOR_SIZE),
			 sp->tail, &at, &dirty);
	if (dirty)
		find(c, VHD_FIND_SLACK_DATA, at, dirty, 0);
	return err;
}

/* ---- sector bitmaps -------------------------------------------------- */

u32 vhd_disk_sectors(const struct vhd_image *img, u32 block)
{
	u64 first = (u64)block << (img->block_shift - VHD_SECTOR_SHIFT);

	return min_t(u64, (img->size >> VHD_SECTOR_SHIFT) - first,
		     vhd_block_sectors(img));
}

/* Clear bits of a dynamic image's block: what lies below must be zeros. */
static int check_clear_bits(struct vhd_check *c, u32 block, const u8 *bits)
{
	struct vhd_image *img = &c->file->image;
	u32 sectors = vhd_disk_sectors(img, block);
	u64 data = vhd_data_pos(img, img->bat[block]);
	u32 n, run, clear = 0, dirty = 0;
	u64 first = 0, pos;
	bool set;
	int err;

	for (n = 0; n < sectors; n += run) {
		run = vhd_bits_run(bits, n, sectors - n, &set);
		if (set)
			continue;
		clear += run;
		pos = data + ((u64)n << VHD_SECTOR_SHIFT);
		err = count_data(c, pos, pos + ((u64)run << VHD_SECTOR_SHIFT),
				 &first, &dirty);
		if (err)
			return err;
	}
	find_block(c, VHD_FIND_BITMAP_CLEAR,
		   (u64)img->bat[block] << VHD_SECTOR_SHIFT, block, clear, 0);
	if (dirty)
		find_block(c, VHD_FIND_BITMAP_DATA, first, block, dirty, 0);
	return 0;
}

/* Bits behind the last one that counts. */
static void check_beyond(struct vhd_check *c, u32 block, const u8 *bits)
{
	struct vhd_image *img = &c->file->image;
	u32 first = vhd_disk_sectors(img, block);
	u32 all = img->bitmap_sectors * VHD_SECTOR_SIZE * 8;
	bool set;
	u32 run;

	if (first == all)
		return;
	run = vhd_bits_run(bits, first, all - first, &set);
	if (set || run < all - first)
		find_block(c, VHD_FIND_BITMAP_BEYOND,
			   (u64)img->bat[block] << VHD_SECTOR_SHIFT, block,
			   set ? first : first + run, first);
}

static int check_bitmap(struct vhd_check *c, u32 block, u8 *bits)
{
	struct vhd_image *img = &c->file->image;
	u64 pos;
	u32 len;
	int err;

	pos = vhd_bitmap_pos(img, block, &len);
	if (skip_hole(c, pos, pos + len) == pos + len) {
		memset(bits, 0, len);
		err = 0;
	} else {
		err = vhd_pread(c->file->fd, bits, len, pos);
	}
	if (err)
		return err;
	if (vhd_bitmap_full(img, block, bits)) {
		set_bit(block, img->full);
		/* Most programs set every bit of a dynamic image's block. */
		if (img->type == VHD_TYPE_DIFFERENCING)
			check_beyond(c, block, bits);
		return 0;
	}
	check_beyond(c, block, bits);
	if (img->type == VHD_TYPE_DYNAMIC)
		return check_clear_bits(c, block, bits);
	return 0;
}

static int check_bitmaps(struct vhd_check *c)
{
	struct vhd_image *img = &c->file->image;
	u8 *bits;
	u32 block;
	int err = 0;

	bits = malloc(img->bitmap_sectors << VHD_SECTOR_SHIFT);
	if (!bits)
		return -ENOMEM;
	vhd_progress_begin(img->nr_blocks);
	for (block = 0; block < img->nr_blocks && !err; block++) {
		vhd_progress_add(1);
		if (vhd_interrupted)
			err = -EINTR;
		else if (img->bat[block] < VHD_BAT_BAD)
			err = check_bitmap(c, block, bits);
	}
	free(bits);
	return err;
}

/* ---- blktap's batmap ------------------------------------------------- */

/* Set bits of a valid batmap claim that all of the block is here. */
static void check_batmap_bits(struct vhd_check *c, const u8 *map, u64 bits)
{
	const struct vhd_image *img = &c->file->image;
	u64 block, wrong = 0;

	for (block = 0; block < min_t(u64, bits, img->nr_blocks); block++)
		if (vhd_bits_test(map, block) && !test_bit(block, img->full))
			wrong++;
	if (wrong)
		find(c, VHD_FIND_BATMAP_BITS, c->open.batmap_start, wrong, 0);
}

static int check_batmap_map(struct vhd_check *c,
			    const struct vhd_batmap_header *b, u64 pos, u64 len)
{
	u8 *map = malloc(len);
	u32 sum;
	int err;

	if (!map)
		return -ENOMEM;
	err = vhd_pread(c->file->fd, map, len, pos);
	sum = vhd_checksum(map, len);
	if (!err && sum != be32_to_cpu(b->checksum))
		find(c, VHD_FIND_BATMAP_BAD, c->open.batmap_start +
		     offsetof(struct vhd_batmap_header, checksum),
		     be32_to_cpu(b->checksum), sum);
	else if (!err)
		check_batmap_bits(c, map, len * 8);
	free(map);
	return err;
}

static int check_batmap(struct vhd_check *c)
{
	u64 needed = DIV_ROUND_UP(c->file->image.nr_blocks, 8);
	u64 at = c->open.batmap_start;
	struct vhd_batmap_header b;
	u64 pos, len;
	int err;

	if (!c->counts[VHD_FIND_BATMAP])
		return 0;
	err = vhd_pread(c->file->fd, &b, sizeof(b), at);
	if (err)
		return err;
	pos = be64_to_cpu(b.offset);
	len = (u64)be32_to_cpu(b.sectors) << VHD_SECTOR_SHIFT;
	if (be32_to_cpu(b.version) != BATMAP_VERSION)
		find(c, VHD_FIND_BATMAP_BAD, at, be32_to_cpu(b.version),
		     BATMAP_VERSION);
	else if (len < needed || pos > c->open.tail_pos ||
		 len > c->open.tail_pos - pos)
		find(c, VHD_FIND_BATMAP_BAD, at, pos + len, c->open.tail_pos);
	else if (len > round_up(needed, (u64)VHD_ALIGN))
		find(c, VHD_FIND_BATMAP_BAD, at, len, needed);
	else
		return check_batmap_map(c, &b, pos, len);
	return 0;
}

/* ---- all of it ------------------------------------------------------- */

static int check_load(struct vhd_check *c)
{
	struct vhd_file *f = c->file;
	int err;

	vhd_open_init(&c->open, &f->image, f->size, VHD_OPEN_FORCE |
		      (S_ISBLK(f->mode) ? VHD_OPEN_DEVICE : 0), &c->rep);
	err = vhd_run_plan(f->fd, &c->open.plan);
	vhd_open_end(&c->open);
	f->loaded = !err;
	if (err)
		vhd_image_free(&f->image);
	return err;
}

static int check_blocks(struct vhd_check *c)
{
	int err;

	check_header(c);
	check_locators(c);
	err = check_table(c);
	if (!err)
		err = check_gaps(c);
	if (c->quick)
		return err;
	if (!err)
		err = check_slack(c);
	if (!err)
		err = check_bitmaps(c);
	if (!err)
		err = check_batmap(c);
	return err;
}

int vhd_check(struct vhd_check *c, struct vhd_file *f)
{
	int err;

	c->file = f;
	c->rep.report = check_report;
	if (!c->now)
		c->now = time(NULL) - VHD_EPOCH;
	err = check_load(c);
	if (err)
		return err;
	check_file(c);
	check_footer(c);
	if (c->azure)
		check_azure(c);
	if (c->windows)
		check_windows(c);
	return f->image.bat ? check_blocks(c) : 0;
}
