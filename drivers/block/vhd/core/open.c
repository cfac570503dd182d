// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/align.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <asm/byteorder.h>

#include "bat.h"
#include "bitmap.h"
#include "format.h"
#include "open.h"
#include "space.h"
#include "unmap.h"

/* A fixed image has no limit of its own; this keeps 64-bit sums far away. */
#define VHD_MAX_FIXED_SIZE	(1ULL << 60)

/* What a finding forbids, given the flags. */
static enum vhd_policy vhd_open_policy(const struct vhd_open *o,
				       enum vhd_policy policy)
{
	bool force = o->flags & VHD_OPEN_FORCE;

	if (policy == VHD_POLICY_FORCE_RW)
		return force ? VHD_POLICY_WARN : VHD_POLICY_READ_ONLY;
	if (policy == VHD_POLICY_FORCE_RO)
		return force ? VHD_POLICY_READ_ONLY : VHD_POLICY_REFUSE;
	return policy;
}

/*
 * Report a finding.  Return: 0 to go on, or the errno with which the image is
 * refused.
 */
static int vhd_open_find_at(struct vhd_open *o, enum vhd_finding_code code,
			    u64 offset, u32 block, u64 found, u64 expected)
{
	const struct vhd_finding_info *info = vhd_finding_info(code);
	struct vhd_finding f = {
		.code = code,
		.block = block,
		.offset = offset,
		.found = found,
		.expected = expected,
	};
	enum vhd_policy policy = vhd_open_policy(o, info->policy);

	if (o->rep)
		o->rep->report(o->rep, &f);
	o->forbids = max(o->forbids, policy);
	return policy == VHD_POLICY_REFUSE ? -info->error : 0;
}

static int vhd_open_find(struct vhd_open *o, enum vhd_finding_code code,
			 u64 offset, u64 found, u64 expected)
{
	return vhd_open_find_at(o, code, offset, VHD_NO_BLOCK, found, expected);
}

static int vhd_open_read(struct vhd_io *io, u64 pos, u64 len, void *buf)
{
	return vhd_io_set(io, VHD_IO_READ, pos, len, buf);
}

/* Offset of a footer's field in the file, for messages. */
#define VHD_FOOTER_AT(o, field) \
	((o)->tail_pos + offsetof(struct vhd_footer, field))

static u64 vhd_cookie(const u8 *cookie)
{
	__be64 v;

	memcpy(&v, cookie, sizeof(v));
	return be64_to_cpu(v);
}

/* ---- blocks ---------------------------------------------------------- */

static int vhd_open_by_value(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

static u64 vhd_slot_end(const struct vhd_image *img, u32 entry)
{
	return ((u64)entry << VHD_SECTOR_SHIFT) + vhd_slot_bytes(img);
}

static u64 vhd_open_meta_end(const struct vhd_open *o)
{
	const struct vhd_image *img = o->img;
	u64 end = be64_to_cpu(img->footer.data_offset) +
		  sizeof(struct vhd_dyn_header);
	u32 i;

	/* The whole table as the header states it, with slack and padding. */
	end = max(end, round_up(img->table_offset + vhd_bat_table_bytes(img),
				(u64)VHD_ALIGN));
	end = max(end, o->batmap_end);
	for (i = 0; i < VHD_NR_LOCATORS; i++) {
		const struct vhd_locator *l = &img->header.locators[i];

		if (l->code != cpu_to_be32(VHD_LOC_NONE))
			end = max(end, be64_to_cpu(l->data_offset) +
				       max_t(u64, vhd_locator_space(l),
					     be32_to_cpu(l->data_length)));
	}
	return min(end, o->tail_pos);
}

struct vhd_range {
	u64 start;
	u64 end;
};

/* Metadata that a block at [start, end) lies in, if any. */
static bool vhd_open_in_metadata(const struct vhd_open *o, u64 start, u64 end,
				 u64 *limit)
{
	const struct vhd_image *img = o->img;
	u64 header = be64_to_cpu(img->footer.data_offset);
	struct vhd_range meta[4 + VHD_NR_LOCATORS] = {
		{ 0, sizeof(struct vhd_footer) },
		{ header, header + sizeof(struct vhd_dyn_header) },
		{ img->table_offset,
		  img->table_offset + img->nr_blocks * (u64)sizeof(__be32) },
		{ o->batmap_start, o->batmap_end },
	};
	u32 i;

	for (i = 0; i < VHD_NR_LOCATORS; i++) {
		const struct vhd_locator *l = &img->header.locators[i];

		if (l->code == cpu_to_be32(VHD_LOC_NONE))
			continue;
		meta[4 + i].start = be64_to_cpu(l->data_offset);
		meta[4 + i].end = meta[4 + i].start +
				  be32_to_cpu(l->data_length);
	}
	for (i = 0; i < ARRAY_SIZE(meta); i++) {
		if (meta[i].start < meta[i].end &&
		    start < meta[i].end && meta[i].start < end) {
			*limit = meta[i].end;
			return true;
		}
	}
	return false;
}

static int vhd_open_bad_block(struct vhd_open *o, enum vhd_finding_code code,
			      u32 block, u64 found, u64 expected)
{
	u64 at = o->img->table_offset + block * (u64)sizeof(__be32);

	o->img->bat[block] = VHD_BAT_BAD;
	o->nr_bad++;
	return vhd_open_find_at(o, code, at, block, found, expected);
}

/* Blocks beyond the end or in metadata become bad. */
static int vhd_open_check_places(struct vhd_open *o)
{
	struct vhd_image *img = o->img;
	u32 block, entry;
	u64 meta_end = vhd_open_meta_end(o);
	u64 start, end, limit;
	int ret = 0;

	for (block = 0; block < img->nr_blocks && !ret; block++) {
		entry = img->bat[block];
		if (entry == VHD_BAT_UNUSED)
			continue;
		start = (u64)entry << VHD_SECTOR_SHIFT;
		end = vhd_slot_end(img, entry);
		/* The value that means damaged is nobody's place. */
		if (entry == VHD_BAT_BAD || end > o->tail_pos)
			ret = vhd_open_bad_block(o, VHD_FIND_BLOCK_END, block,
						 end, o->tail_pos);
		else if (start < meta_end &&
			 vhd_open_in_metadata(o, start, end, &limit))
			ret = vhd_open_bad_block(o, VHD_FIND_BLOCK_METADATA,
						 block, start, limit);
	}
	return ret;
}

/* Does an entry share sectors with its neighbours in the sorted list? */
static bool vhd_open_overlaps(const struct vhd_image *img, const u32 *sorted,
			      u32 nr, u32 entry, u32 *other)
{
	u32 slot = vhd_slot_bytes(img) >> VHD_SECTOR_SHIFT;
	u32 low = 0, high = nr, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (sorted[mid] < entry)
			low = mid + 1;
		else
			high = mid;
	}
	if (low && entry - sorted[low - 1] < slot) {
		*other = sorted[low - 1];
		return true;
	}
	if (low + 1 < nr && sorted[low + 1] - entry < slot) {
		*other = sorted[low + 1];
		return true;
	}
	return false;
}

static int vhd_open_mark_overlaps(struct vhd_open *o, const u32 *sorted, u32 nr)
{
	struct vhd_image *img = o->img;
	u32 block, entry, other;
	int ret = 0;

	for (block = 0; block < img->nr_blocks && !ret; block++) {
		entry = img->bat[block];
		if (entry < VHD_BAT_BAD &&
		    vhd_open_overlaps(img, sorted, nr, entry, &other))
			ret = vhd_open_bad_block(o, VHD_FIND_BLOCK_OVERLAP,
						 block, entry, other);
	}
	return ret;
}

/* Overlapping blocks become bad, both: which of them is right nobody knows. */
static int vhd_open_check_overlaps(struct vhd_open *o)
{
	struct vhd_image *img = o->img;
	u32 slot = vhd_slot_bytes(img) >> VHD_SECTOR_SHIFT;
	u32 block, nr = 0, i, *sorted;
	bool ordered = true, overlap = false;
	int ret = 0;

	if (!img->nr_allocated)
		return 0;
	sorted = kvmalloc_array(img->nr_allocated, sizeof(*sorted), GFP_KERNEL);
	if (!sorted)
		return -ENOMEM;
	o->sorted = sorted;
	for (block = 0; block < img->nr_blocks; block++) {
		if (img->bat[block] >= VHD_BAT_BAD)
			continue;
		if (nr && img->bat[block] < sorted[nr - 1])
			ordered = false;
		sorted[nr++] = img->bat[block];
	}
	if (!ordered)
		sort(sorted, nr, sizeof(*sorted), vhd_open_by_value, NULL);
	for (i = 1; i < nr; i++)
		overlap |= sorted[i] - sorted[i - 1] < slot;
	if (overlap)
		ret = vhd_open_mark_overlaps(o, sorted, nr);
	o->nr_sorted = nr;
	return ret;
}

/*
 * Metadata with all that the header gives it, so that nothing is put into slack
 * of the table or of a locator.
 */
static bool vhd_open_near_metadata(const struct vhd_open *o, u64 start,
				   u64 end, u64 *limit)
{
	const struct vhd_image *img = o->img;
	u64 table_end = img->table_offset +
			round_up(vhd_bat_table_bytes(img), (u64)VHD_ALIGN);
	u32 i;

	if (start < table_end && img->table_offset < end) {
		*limit = table_end;
		return true;
	}
	for (i = 0; i < VHD_NR_LOCATORS; i++) {
		const struct vhd_locator *l = &img->header.locators[i];
		u64 at = be64_to_cpu(l->data_offset);

		if (l->code == cpu_to_be32(VHD_LOC_NONE))
			continue;
		*limit = at + max_t(u64, vhd_locator_space(l),
				    be32_to_cpu(l->data_length));
		if (start < *limit && at < end)
			return true;
	}
	return vhd_open_in_metadata(o, start, end, limit);
}

/* Slots between @start and @end, as new blocks would be laid out there. */
static void vhd_open_gap(struct vhd_open *o, u64 start, u64 end)
{
	struct vhd_image *img = o->img;
	struct vhd_slots *gaps = &img->space.gaps;
	u64 pos, limit;

	while (gaps->nr < gaps->max) {
		start = round_up(start, (u64)VHD_SECTOR_SIZE);
		pos = img->aligned ? vhd_tail_pos(start) : start;
		start = pos + vhd_slot_bytes(img);
		if (start > end)
			break;
		if (vhd_open_near_metadata(o, pos, start, &limit))
			start = limit;
		else
			gaps->at[gaps->nr++] = pos >> VHD_SECTOR_SHIFT;
	}
}

/*
 * Room between the blocks, from earlier crashes or others' hands.  Not where
 * some entry is bad: what lies there may be somebody's.
 */
static int vhd_open_gaps(struct vhd_open *o)
{
	struct vhd_image *img = o->img;
	u64 slots = o->tail_pos >> img->block_shift;
	u64 end = sizeof(struct vhd_footer);
	u32 i, max;

	max = min3((u64)(img->nr_blocks - img->nr_allocated), slots,
		   (u64)VHD_MAX_GAPS);
	if (!max || o->nr_sorted != img->nr_allocated || o->nr_bad)
		return 0;
	if (vhd_slots_reserve(img, &img->space.gaps, max))
		return -ENOMEM;
	for (i = 0; i < o->nr_sorted; i++) {
		vhd_open_gap(o, end, (u64)o->sorted[i] << VHD_SECTOR_SHIFT);
		end = vhd_slot_end(img, o->sorted[i]);
	}
	return 0;
}

static int vhd_open_space(struct vhd_open *o)
{
	struct vhd_image *img = o->img;
	struct vhd_space *sp = &img->space;
	u32 block;

	sp->meta_end = vhd_open_meta_end(o);
	sp->data_end = sp->meta_end;
	for (block = 0; block < img->nr_blocks; block++) {
		if (img->bat[block] >= VHD_BAT_BAD)
			continue;
		sp->data_end = max(sp->data_end,
				   vhd_slot_end(img, img->bat[block]));
		if (vhd_data_pos(img, img->bat[block]) & (VHD_ALIGN - 1))
			img->aligned = false;
	}
	/* Where blocks lie anyhow, only of what is behind them. */
	sp->pad_from = img->aligned && !o->nr_bad ? sp->meta_end : sp->tail;
	if (img->on_device) {
		/* Where some entry is bad, what lies there may be somebody's. */
		if (o->nr_bad)
			sp->data_end = sp->tail;
		return 0;
	}
	sp->stale = sp->tail > vhd_tail_pos(sp->data_end);
	if (!sp->stale)
		return 0;
	return vhd_open_find(o, VHD_FIND_SLACK, sp->data_end, sp->tail,
			     vhd_tail_pos(sp->data_end));
}

/* ---- the end --------------------------------------------------------- */

static int vhd_open_finish(struct vhd_open *o)
{
	struct vhd_image *img = o->img;

	if (!(o->flags & VHD_OPEN_WRITE))
		return 0;
	if (o->forbids >= VHD_POLICY_READ_ONLY)
		return -EROFS;
	img->writable = true;
	if (!img->bat)
		return 0;
	img->space.unsettled = true;
	return vhd_new_init(img) ?: vhd_space_init(img) ?: vhd_open_gaps(o);
}

static int vhd_open_table_done(struct vhd_open *o)
{
	return vhd_open_check_places(o) ?: vhd_open_check_overlaps(o) ?:
	       vhd_open_space(o) ?: vhd_open_finish(o);
}

/* ---- the table ------------------------------------------------------- */

static void vhd_open_take_table(struct vhd_open *o, u32 nr)
{
	const __be32 *entries = (const __be32 *)o->buf;
	struct vhd_image *img = o->img;
	u32 i;

	for (i = 0; i < nr; i++) {
		img->bat[o->cursor + i] = be32_to_cpu(entries[i]);
		img->nr_allocated += img->bat[o->cursor + i] != VHD_BAT_UNUSED;
	}
	o->cursor += nr;
}

static u32 vhd_open_table_piece(const struct vhd_open *o)
{
	return min_t(u32, o->img->nr_blocks - o->cursor,
		     VHD_IO_MAX / sizeof(__be32));
}

static int vhd_open_read_table(struct vhd_open *o, struct vhd_io *io)
{
	u64 pos = o->img->table_offset + o->cursor * (u64)sizeof(__be32);
	u64 len = vhd_open_table_piece(o) * (u64)sizeof(__be32);

	/* Whole sectors: direct I/O asks for them. */
	return vhd_open_read(io, pos, round_up(len, VHD_SECTOR_SIZE), o->buf);
}

static int vhd_open_table(struct vhd_open *o, struct vhd_io *io)
{
	vhd_open_take_table(o, vhd_open_table_piece(o));
	if (o->cursor < o->img->nr_blocks)
		return vhd_open_read_table(o, io);
	return vhd_open_table_done(o);
}

static int vhd_open_alloc(struct vhd_open *o)
{
	struct vhd_image *img = o->img;

	img->bat = kvmalloc_array(img->nr_blocks, sizeof(*img->bat),
				  GFP_KERNEL);
	img->full = kvcalloc(BITS_TO_LONGS(img->nr_blocks), sizeof(long),
			     GFP_KERNEL);
	if (!img->bat || !img->full)
		return -ENOMEM;
	return vhd_bitmaps_init(img);
}

static int vhd_open_start_table(struct vhd_open *o, struct vhd_io *io)
{
	int ret = vhd_open_alloc(o);

	if (ret)
		return ret;
	o->step = vhd_open_table;
	return vhd_open_read_table(o, io);
}

/* ---- blktap's batmap ------------------------------------------------- */

static int vhd_open_batmap(struct vhd_open *o, struct vhd_io *io)
{
	const struct vhd_batmap_header *b = (const void *)o->buf;
	u64 start, sectors;
	int ret;

	if (memcmp(b->cookie, VHD_BATMAP_COOKIE, sizeof(b->cookie)))
		return vhd_open_start_table(o, io);
	if (b->key_cookie) {
		ret = vhd_open_find(o, VHD_FIND_BATMAP_ENCRYPTED,
				    o->batmap_start, b->key_cookie, 0);
		if (ret)
			return ret;
	}
	start = be64_to_cpu(b->offset);
	sectors = be32_to_cpu(b->sectors);
	o->batmap_end = o->batmap_start + sizeof(*b);
	if (start <= o->tail_pos)
		o->batmap_end = max(o->batmap_end,
				    start + (sectors << VHD_SECTOR_SHIFT));
	ret = vhd_open_find(o, VHD_FIND_BATMAP, o->batmap_start, start,
			    sectors << VHD_SECTOR_SHIFT);
	return ret ?: vhd_open_start_table(o, io);
}

static int vhd_open_look_for_batmap(struct vhd_open *o, struct vhd_io *io)
{
	struct vhd_image *img = o->img;

	if (be32_to_cpu(img->footer.creator_app) != VHD_CREATOR_TAP)
		return vhd_open_start_table(o, io);
	o->batmap_start = img->table_offset +
			  round_up(vhd_bat_table_bytes(img),
				   (u64)VHD_SECTOR_SIZE);
	o->batmap_end = o->batmap_start;
	o->step = vhd_open_batmap;
	return vhd_open_read(io, o->batmap_start, VHD_SECTOR_SIZE, o->buf);
}

/* ---- the dynamic header ---------------------------------------------- */

/* The table is written by whole sectors: what lies there would be lost. */
static bool vhd_open_in_table(const struct vhd_image *img, u64 pos, u64 len)
{
	u64 bytes = round_up(img->nr_blocks * (u64)sizeof(__be32),
			     (u64)VHD_SECTOR_SIZE);

	return pos < img->table_offset + bytes && img->table_offset < pos + len;
}

static int vhd_open_check_locators(struct vhd_open *o)
{
	u64 header = be64_to_cpu(o->img->footer.data_offset);
	u64 offset, len;
	u32 i;
	int ret = 0;

	for (i = 0; i < VHD_NR_LOCATORS && !ret; i++) {
		const struct vhd_locator *l = &o->img->header.locators[i];
		u64 at = header + offsetof(struct vhd_dyn_header, locators) +
			 i * sizeof(*l);

		if (l->code == cpu_to_be32(VHD_LOC_NONE))
			continue;
		offset = be64_to_cpu(l->data_offset);
		len = be32_to_cpu(l->data_length);
		if (len > VHD_MAX_LOCATOR_BYTES)
			ret = vhd_open_find(o, VHD_FIND_LOCATOR, at, len,
					    VHD_MAX_LOCATOR_BYTES);
		else if (len > vhd_locator_space(l))
			ret = vhd_open_find(o, VHD_FIND_LOCATOR, at, len,
					    vhd_locator_space(l));
		else if (offset > o->tail_pos || len > o->tail_pos - offset)
			ret = vhd_open_find(o, VHD_FIND_LOCATOR, at, offset,
					    o->tail_pos);
		else if (vhd_open_in_table(o->img, offset, len))
			ret = vhd_open_find(o, VHD_FIND_LOCATOR, at, offset,
					    o->img->table_offset);
	}
	return ret;
}

static int vhd_open_check_block_size(struct vhd_open *o, u64 at)
{
	u32 size = be32_to_cpu(o->img->header.block_size);

	at += offsetof(struct vhd_dyn_header, block_size);
	if (!is_power_of_2(size) || size < VHD_MIN_BLOCK_SIZE)
		return vhd_open_find(o, VHD_FIND_BLOCK_SIZE, at, size,
				     VHD_MIN_BLOCK_SIZE);
	if (size > VHD_MAX_BLOCK_SIZE)
		return vhd_open_find(o, VHD_FIND_BLOCK_SIZE, at, size,
				     VHD_MAX_BLOCK_SIZE);
	if (size < VHD_MIN_RW_BLOCK_SIZE)
		return vhd_open_find(o, VHD_FIND_BLOCK_SIZE_RO, at, size,
				     VHD_MIN_RW_BLOCK_SIZE);
	if (size > VHD_MAX_RW_BLOCK_SIZE)
		return vhd_open_find(o, VHD_FIND_BLOCK_SIZE_RO, at, size,
				     VHD_MAX_RW_BLOCK_SIZE);
	return 0;
}

/* The table must hold the disk, lie in the file and clear of footer, header. */
static int vhd_open_check_table(struct vhd_open *o, u64 header)
{
	const struct vhd_dyn_header *h = &o->img->header;
	u64 at = header + offsetof(struct vhd_dyn_header, table_offset);
	u64 table = be64_to_cpu(h->table_offset);
	u32 entries = be32_to_cpu(h->max_table_entries);
	u64 needed = vhd_nr_blocks(o->img->size, be32_to_cpu(h->block_size));
	/* It is written by whole sectors. */
	u64 bytes = round_up(needed * sizeof(__be32), (u64)VHD_SECTOR_SIZE);

	if (needed > VHD_MAX_BLOCKS)
		return vhd_open_find(o, VHD_FIND_TABLE_LARGE, at, needed,
				     VHD_MAX_BLOCKS);
	if (entries < needed)
		return vhd_open_find(o, VHD_FIND_TABLE_SMALL, at, entries,
				     needed);
	if (!table || table & (VHD_SECTOR_SIZE - 1) || table > o->tail_pos ||
	    bytes > o->tail_pos - table)
		return vhd_open_find(o, VHD_FIND_TABLE_OFFSET, at, table,
				     o->tail_pos);
	if (table < header + sizeof(*h) && header < table + bytes)
		return vhd_open_find(o, VHD_FIND_TABLE_METADATA, at, table,
				     header + sizeof(*h));
	o->img->table_offset = table;
	o->img->nr_blocks = needed;
	if (entries > needed)
		return vhd_open_find(o, VHD_FIND_TABLE_SLACK, at, entries,
				     needed);
	return 0;
}

static int vhd_open_check_header(struct vhd_open *o, u64 at)
{
	struct vhd_dyn_header *h = &o->img->header;
	u32 version = be32_to_cpu(h->header_version);
	u64 next = be64_to_cpu(h->data_offset);
	int ret;

	if (memcmp(h->cookie, VHD_HEADER_COOKIE, sizeof(h->cookie)))
		return vhd_open_find(o, VHD_FIND_HEADER_COOKIE, at,
				     vhd_cookie(h->cookie),
				     vhd_cookie((u8 *)VHD_HEADER_COOKIE));
	if (be32_to_cpu(h->checksum) != vhd_header_checksum(h)) {
		ret = vhd_open_find(o, VHD_FIND_HEADER_CHECKSUM,
				    at + offsetof(struct vhd_dyn_header,
						  checksum),
				    be32_to_cpu(h->checksum),
				    vhd_header_checksum(h));
		if (ret)
			return ret;
	}
	if (version >> 16 != VHD_HEADER_VERSION >> 16)
		return vhd_open_find(o, VHD_FIND_HEADER_VERSION,
				     at + offsetof(struct vhd_dyn_header,
						   header_version),
				     version, VHD_HEADER_VERSION);
	if (next != VHD_NO_OFFSET)
		return vhd_open_find(o, VHD_FIND_HEADER_DATA_OFFSET,
				     at + offsetof(struct vhd_dyn_header,
						   data_offset),
				     next, VHD_NO_OFFSET);
	return vhd_open_check_block_size(o, at) ?: vhd_open_check_table(o, at);
}

static int vhd_open_header(struct vhd_open *o, struct vhd_io *io)
{
	u64 at = be64_to_cpu(o->img->footer.data_offset);
	struct vhd_image *img = o->img;
	int ret;

	memcpy(&img->header, o->buf, sizeof(img->header));
	ret = vhd_open_check_header(o, at);
	if (ret)
		return ret;
	img->block_shift = ilog2(be32_to_cpu(img->header.block_size));
	img->bitmap_sectors = vhd_bitmap_bytes(vhd_block_bytes(img)) >>
			      VHD_SECTOR_SHIFT;
	return vhd_open_check_locators(o) ?: vhd_open_look_for_batmap(o, io);
}

static int vhd_open_read_header(struct vhd_open *o, struct vhd_io *io)
{
	u64 pos = be64_to_cpu(o->img->footer.data_offset);

	if (pos < sizeof(struct vhd_footer) || pos & (VHD_SECTOR_SIZE - 1) ||
	    pos > o->tail_pos ||
	    o->tail_pos - pos < sizeof(struct vhd_dyn_header))
		return vhd_open_find(o, VHD_FIND_FOOTER_DATA_OFFSET,
				     VHD_FOOTER_AT(o, data_offset), pos,
				     o->tail_pos);
	o->step = vhd_open_header;
	return vhd_open_read(io, pos, sizeof(struct vhd_dyn_header), o->buf);
}

/* ---- the footer's fields --------------------------------------------- */

static int vhd_open_check_size(struct vhd_open *o, u64 size)
{
	u64 max = o->img->type == VHD_TYPE_FIXED ? VHD_MAX_FIXED_SIZE :
						   VHD_MAX_DYNAMIC_SIZE;
	u64 at = VHD_FOOTER_AT(o, current_size);

	if (!size)
		return vhd_open_find(o, VHD_FIND_SIZE_ZERO, at, size, 512);
	if (size & (VHD_SECTOR_SIZE - 1))
		return vhd_open_find(o, VHD_FIND_SIZE_UNALIGNED, at, size,
				     round_down(size, (u64)VHD_SECTOR_SIZE));
	if (size > max)
		return vhd_open_find(o, VHD_FIND_SIZE_TOO_LARGE, at, size, max);
	return 0;
}

static int vhd_open_check_features(struct vhd_open *o)
{
	u32 features = be32_to_cpu(o->img->footer.features);
	u32 known = VHD_FEATURE_TEMPORARY | VHD_FEATURE_RESERVED;
	u64 at = VHD_FOOTER_AT(o, features);
	int ret = 0;

	if (!(features & VHD_FEATURE_RESERVED))
		ret = vhd_open_find(o, VHD_FIND_FOOTER_FEATURES_ZERO, at,
				    features, VHD_FEATURE_RESERVED);
	if (!ret && features & ~known)
		ret = vhd_open_find(o, VHD_FIND_FOOTER_FEATURES, at, features,
				    known);
	return ret;
}

/* Fields whose value changes nothing but should be told. */
static int vhd_open_check_advice(struct vhd_open *o)
{
	const struct vhd_footer *f = &o->img->footer;
	struct vhd_geometry stated = vhd_footer_geometry(f);
	struct vhd_geometry right = vhd_geometry_of(be64_to_cpu(f->current_size));
	int ret = 0;

	if (stated.cylinders != right.cylinders ||
	    stated.heads != right.heads || stated.sectors != right.sectors)
		ret = vhd_open_find(o, VHD_FIND_GEOMETRY,
				    VHD_FOOTER_AT(o, cylinders),
				    vhd_geometry_size(&stated) >>
					    VHD_SECTOR_SHIFT,
				    vhd_geometry_size(&right) >>
					    VHD_SECTOR_SHIFT);
	if (!ret && !memchr_inv(f->unique_id, 0, sizeof(f->unique_id)))
		ret = vhd_open_find(o, VHD_FIND_NULL_ID,
				    VHD_FOOTER_AT(o, unique_id), 0, 1);
	if (!ret && f->saved_state)
		ret = vhd_open_find(o, VHD_FIND_SAVED_STATE,
				    VHD_FOOTER_AT(o, saved_state),
				    f->saved_state, 0);
	return ret;
}

static int vhd_open_fixed(struct vhd_open *o)
{
	struct vhd_image *img = o->img;
	u64 offset = be64_to_cpu(img->footer.data_offset);
	int ret = 0;

	if (offset != VHD_NO_OFFSET)
		ret = vhd_open_find(o, VHD_FIND_FOOTER_FIXED_OFFSET,
				    VHD_FOOTER_AT(o, data_offset), offset,
				    VHD_NO_OFFSET);
	if (!ret && o->tail_pos < img->size)
		ret = vhd_open_find(o, VHD_FIND_FIXED_TRUNCATED,
				    VHD_FOOTER_AT(o, current_size),
				    o->tail_pos, img->size);
	return ret ?: vhd_open_finish(o);
}

/* img->footer is the one to go by. */
static int vhd_open_fields(struct vhd_open *o, struct vhd_io *io)
{
	struct vhd_image *img = o->img;
	struct vhd_geometry g = vhd_footer_geometry(&img->footer);
	u32 version = be32_to_cpu(img->footer.version);
	u32 type = be32_to_cpu(img->footer.disk_type);
	int ret;

	if (version >> 16 != VHD_FORMAT_VERSION >> 16)
		return vhd_open_find(o, VHD_FIND_FOOTER_VERSION,
				     VHD_FOOTER_AT(o, version), version,
				     VHD_FORMAT_VERSION);
	if (type < VHD_TYPE_FIXED || type > VHD_TYPE_DIFFERENCING)
		return vhd_open_find(o, VHD_FIND_FOOTER_TYPE,
				     VHD_FOOTER_AT(o, disk_type), type,
				     VHD_TYPE_DYNAMIC);
	img->type = type;
	img->size = be64_to_cpu(img->footer.current_size);
	ret = vhd_open_check_size(o, img->size) ?: vhd_open_check_features(o) ?:
	      vhd_open_check_advice(o);
	img->disk_size = img->size;
	/* Blocks beyond the geometry stay known: they hold data. */
	if (!ret && o->flags & VHD_OPEN_SIZE_CHS) {
		img->disk_size = vhd_geometry_size(&g);
		img->size = max(img->size, img->disk_size);
		ret = vhd_open_check_size(o, img->disk_size);
	}
	img->aligned = true;
	img->space.tail = o->tail_pos;
	img->space.file_size = o->file_size;
	if (ret)
		return ret;
	return type == VHD_TYPE_FIXED ? vhd_open_fixed(o) :
					vhd_open_read_header(o, io);
}

/* ---- which footer ---------------------------------------------------- */

/* The tail is bad.  Only a dynamic head may stand in for it. */
static int vhd_open_by_head(struct vhd_open *o, struct vhd_io *io)
{
	enum vhd_finding_code code = VHD_FIND_TAIL_BAD;
	bool cookie = !memcmp(o->tail.cookie, VHD_FOOTER_COOKIE,
			      sizeof(o->tail.cookie));
	int ret;

	if (!vhd_footer_valid(&o->head) ||
	    o->head.disk_type == cpu_to_be32(VHD_TYPE_FIXED)) {
		code = cookie ? VHD_FIND_FOOTER_CHECKSUM : VHD_FIND_NO_FOOTER;
		return vhd_open_find(o, code, VHD_FOOTER_AT(o, checksum),
				     be32_to_cpu(o->tail.checksum),
				     vhd_footer_checksum(&o->tail));
	}
	if (cookie && !o->tail.checksum)
		code = VHD_FIND_TAIL_CHECKSUM_ZERO;
	ret = vhd_open_find(o, code, VHD_FOOTER_AT(o, checksum),
			    be32_to_cpu(o->tail.checksum),
			    vhd_footer_checksum(&o->tail));
	if (ret)
		return ret;
	/* Nothing is known to be a footer there: blocks may reach the end. */
	if (code == VHD_FIND_TAIL_BAD && !cookie)
		o->tail_pos = o->file_size;
	o->img->footer = o->head;
	return vhd_open_fields(o, io);
}

/* The tail is good and says that there is a copy. */
static int vhd_open_by_tail(struct vhd_open *o, struct vhd_io *io)
{
	int ret = 0;

	if (!vhd_footer_valid(&o->head))
		ret = vhd_open_find(o, VHD_FIND_HEAD_BAD,
				    offsetof(struct vhd_footer, checksum),
				    be32_to_cpu(o->head.checksum),
				    vhd_footer_checksum(&o->head));
	else if (memcmp(&o->head, &o->tail, sizeof(o->head)))
		ret = vhd_open_find(o, VHD_FIND_HEAD_DIFFERS, 0,
				    be32_to_cpu(o->head.checksum),
				    be32_to_cpu(o->tail.checksum));
	o->img->footer = o->tail;
	return ret ?: vhd_open_fields(o, io);
}

static bool vhd_open_poisoned(const struct vhd_footer *f)
{
	return !memcmp(f->cookie, VHD_POISON_COOKIE, sizeof(f->cookie));
}

static int vhd_open_head(struct vhd_open *o, struct vhd_io *io)
{
	memcpy(&o->head, o->buf, sizeof(o->head));
	if (vhd_open_poisoned(&o->head))
		return vhd_open_find(o, VHD_FIND_FOOTER_POISON, 0,
				     vhd_cookie(o->head.cookie),
				     vhd_cookie((u8 *)VHD_FOOTER_COOKIE));
	return o->tail_ok ? vhd_open_by_tail(o, io) : vhd_open_by_head(o, io);
}

/* The last 512 bytes, or 511 of old Virtual PC, are in the buffer. */
static int vhd_open_tail(struct vhd_open *o, struct vhd_io *io)
{
	u32 lead = min_t(u64, o->file_size, 2 * VHD_SECTOR_SIZE);
	const u8 *end = o->buf + lead;
	int ret;

	if (o->file_size >= VHD_SECTOR_SIZE)
		memcpy(&o->tail, end - VHD_SECTOR_SIZE, VHD_SECTOR_SIZE);
	o->tail_ok = o->file_size >= VHD_SECTOR_SIZE &&
		     vhd_footer_valid(&o->tail);
	if (!o->tail_ok && o->file_size % VHD_SECTOR_SIZE == 511) {
		struct vhd_footer f = { };

		memcpy(&f, end - 511, 511);
		if (vhd_footer_valid(&f)) {
			o->tail = f;
			o->tail_ok = true;
			o->tail_short = true;
			o->tail_pos = o->file_size - 511;
		}
	}
	if (vhd_open_poisoned(&o->tail))
		return vhd_open_find(o, VHD_FIND_FOOTER_POISON, o->tail_pos,
				     vhd_cookie(o->tail.cookie),
				     vhd_cookie((u8 *)VHD_FOOTER_COOKIE));
	if (o->tail_short) {
		ret = vhd_open_find(o, VHD_FIND_FOOTER_511, o->tail_pos, 511,
				    VHD_SECTOR_SIZE);
		if (ret)
			return ret;
	}
	/* What a fixed disk begins with is the guest's: never look there. */
	if (o->tail_ok && o->tail.disk_type == cpu_to_be32(VHD_TYPE_FIXED)) {
		o->img->footer = o->tail;
		return vhd_open_fields(o, io);
	}
	o->step = vhd_open_head;
	return vhd_open_read(io, 0, sizeof(o->head), o->buf);
}

static int vhd_open_start(struct vhd_open *o, struct vhd_io *io)
{
	u32 lead = min_t(u64, o->file_size, 2 * VHD_SECTOR_SIZE);

	if (o->file_size < VHD_SECTOR_SIZE - 1)
		return vhd_open_find(o, VHD_FIND_FILE_TOO_SMALL, 0,
				     o->file_size, VHD_SECTOR_SIZE);
	o->buf = kvzalloc(VHD_IO_MAX, GFP_KERNEL);
	if (!o->buf)
		return -ENOMEM;
	o->tail_pos = o->file_size < VHD_SECTOR_SIZE ?
			      0 : o->file_size - VHD_SECTOR_SIZE;
	o->step = vhd_open_tail;
	return vhd_open_read(io, o->file_size - lead, lead, o->buf);
}

static int vhd_open_next(struct vhd_plan *plan, int err, struct vhd_io *io)
{
	struct vhd_open *o = container_of(plan, struct vhd_open, plan);

	return err ? err : o->step(o, io);
}

void vhd_open_init(struct vhd_open *o, struct vhd_image *img, u64 file_size,
		   unsigned int flags, struct vhd_reporter *rep)
{
	memset(o, 0, sizeof(*o));
	memset(img, 0, sizeof(*img));
	spin_lock_init(&img->lock);
	img->on_device = flags & VHD_OPEN_DEVICE;
	o->plan.next = vhd_open_next;
	o->step = vhd_open_start;
	o->img = img;
	o->rep = rep;
	o->flags = flags;
	o->file_size = file_size;
}

void vhd_open_end(struct vhd_open *o)
{
	kvfree(o->sorted);
	o->sorted = NULL;
	kvfree(o->buf);
	o->buf = NULL;
}

void vhd_image_free(struct vhd_image *img)
{
	vhd_bitmaps_free(img);
	vhd_new_free(img);
	vhd_space_free(img);
	vhd_unmap_free(img);
	kvfree(img->full);
	kvfree(img->bat);
	img->full = NULL;
	img->bat = NULL;
}
