// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include <linux/align.h>
#include <linux/kernel.h>
#include <asm/byteorder.h>

#include "format.h"
#include "layout.h"

#define DYNAMIC(k, n, x) .type = VHD_TYPE_DYNAMIC, .block_size = (k) << 10, \
			 .blocks = (n), .extra = (x)

#define DIFF(k, n, x) .type = VHD_TYPE_DIFFERENCING, .block_size = (k) << 10, \
		      .blocks = (n), .extra = (x)

const struct layout layouts[] = {
	{ "fresh-512k", DYNAMIC(512, 16, 100) },
	{ "fresh-2m", DYNAMIC(2048, 4, 9) },
	{ "aligned-512k", DYNAMIC(512, 12, 0), .mapped = 3, .stale = 2 },
	{ "foreign-512k", DYNAMIC(512, 6, 40), .mapped = 4, .foreign = true },
	{ "stale-foreign-512k", DYNAMIC(512, 6, 0), .mapped = 3,
	  .foreign = true, .stale = 3 },
	{ "stale-512k", DYNAMIC(512, 12, 1), .stale = 3 },
	{ "foreign-2m", DYNAMIC(2048, 3, 200), .mapped = 2, .foreign = true,
	  .stale = 1 },
	{ "clear-512k", DYNAMIC(512, 3, 99), .mapped = 4, .foreign = true },
	{ "fresh-1m", DYNAMIC(1024, 9, 77) },
	{ "wide-512k", DYNAMIC(512, 140, 0), .mapped = 1 },
	{ "surplus-512k", DYNAMIC(512, 5, 0), .mapped = 1, .surplus = 200 },
	{ "diff-512k", DIFF(512, 8, 100) },
	{ "diff-2m", DIFF(2048, 3, 9), .mapped = 1 },
	{ "diff-foreign-512k", DIFF(512, 6, 40), .mapped = 4, .foreign = true },
	{ "diff-stale-1m", DIFF(1024, 5, 0), .mapped = 2, .foreign = true,
	  .stale = 2 },
	{ "footer-511", DYNAMIC(512, 4, 20), .mapped = 1, .short_footer = true },
	{ "fixed", .type = VHD_TYPE_FIXED, .block_size = 512 << 10,
	  .blocks = 1, .extra = 77 },
	{ "device-512k", DYNAMIC(512, 12, 1), .mapped = 2, .stale = 16,
	  .device = true },
	{ "device-full-512k", DYNAMIC(512, 8, 0), .mapped = 1, .stale = 4,
	  .device = true },
	{ "device-foreign-512k", DYNAMIC(512, 6, 40), .mapped = 4,
	  .foreign = true, .stale = 9, .device = true },
	{ "device-diff-512k", DIFF(512, 6, 0), .mapped = 2, .stale = 9,
	  .device = true },
	{ "device-fixed", .type = VHD_TYPE_FIXED, .block_size = 512 << 10,
	  .blocks = 1, .extra = 77, .stale = 3, .device = true },
	{ "tight-512k", DYNAMIC(512, 6, 40), .mapped = 4, .foreign = true,
	  .tight = true },
	{ "diff-tight-512k", DIFF(512, 6, 40), .mapped = 3, .foreign = true,
	  .tight = true },
	{ "fixed-small", .type = VHD_TYPE_FIXED, .block_size = 512 << 10,
	  .extra = 33 },
};

#define NR_MORE 3

const u32 nr_layouts = ARRAY_SIZE(layouts) - NR_MORE;
const u32 nr_all_layouts = ARRAY_SIZE(layouts);

const struct layout *layout_find(const char *name)
{
	u32 i;

	for (i = 0; i < nr_all_layouts; i++)
		if (!strcmp(layouts[i].name, name))
			return &layouts[i];
	return NULL;
}

static u32 block_sectors(const struct layout *l)
{
	return l->block_size / VHD_SECTOR_SIZE;
}

u32 layout_sectors(const struct layout *l)
{
	return l->blocks * block_sectors(l) + l->extra;
}

static u32 layout_entries(const struct layout *l)
{
	return l->blocks + (l->extra != 0);
}

/**
 * struct building - an image being made
 * @end: first byte behind what is placed
 */
struct building {
	const struct layout *l;
	struct disk *d;
	struct model *m;
	u64 seed;
	u64 end;
	u32 nr;
	__be32 bat[512];
};

/* Bits of a foreign block: clear here and there, over garbage. */
static void clear_bits(struct building *b, u32 block, u8 *bits, u32 *ids)
{
	u32 per = block_sectors(b->l), runs = dice(&b->seed, 8), i, n;
	u32 virt = block * per;

	while (runs--) {
		i = dice(&b->seed, 3) ? dice(&b->seed, 150) : per - 20;
		n = 1 + dice(&b->seed, dice(&b->seed, 4) ? 30 : 200);
		for (; n && i < per; n--, i++) {
			bits[i / 8] &= ~(0x80 >> i % 8);
			ids[i] = model_absent(b->m, virt + i);
		}
	}
	b->m->foreign[block] = true;
}

static void place_block(struct building *b, u32 block)
{
	u32 per = block_sectors(b->l), *ids = calloc(per, sizeof(*ids)), i;
	u32 virt = block * per, first = b->end / VHD_SECTOR_SIZE, id;
	u8 bits[VHD_SECTOR_SIZE];

	if (!ids)
		abort();
	memset(bits, 0xFF, sizeof(bits));
	id = pool_data(b->d->pool, per);
	for (i = 0; i < per; i++)
		ids[i] = id + i;
	if (b->l->foreign)
		clear_bits(b, block, bits, ids);
	disk_put(b->d, b->end, bits, sizeof(bits));
	/* Its last sector, for the file's size; then all of them. */
	disk_put(b->d, (u64)(first + per) << 9, bits, sizeof(bits));
	file_set(&b->d->now, first + 1, per, id);
	for (i = 0; i < per && virt + i < b->m->nr; i++)
		b->m->floor[virt + i] = ids[i];
	b->bat[block] = cpu_to_be32(first);
	b->end += VHD_SECTOR_SIZE + b->l->block_size;
	free(ids);
}

/* Blocks in no order; others' are not aligned either. */
static void place_blocks(struct building *b)
{
	u32 entries = layout_entries(b->l), i, block;

	for (i = 0; i < b->l->mapped; i++) {
		do {
			block = dice(&b->seed, entries);
		} while (b->bat[block] != cpu_to_be32(VHD_BAT_UNUSED));
		if (b->l->foreign)
			b->end += b->l->tight && !i ? 0 :
				  dice(&b->seed, 9) * VHD_SECTOR_SIZE;
		else
			b->end = vhd_tail_pos(b->end);
		place_block(b, block);
	}
}

/* Some garbage, some of it zeros, some of it old footers. */
static void place_garbage(struct building *b, const struct vhd_footer *f)
{
	u32 n = b->l->stale * (block_sectors(b->l) + 8), i;
	u64 at = b->end;

	for (i = 0; i < n; i++, at += VHD_SECTOR_SIZE) {
		disk_put(b->d, at, f, sizeof(*f));
		if (i % 1032 != 7)
			file_set(&b->d->now, at / VHD_SECTOR_SIZE, 1,
				 dice(&b->seed, 5) ? pool_data(b->d->pool, 1) : 0);
	}
	b->end = at;
}

static void build_dynamic(struct building *b, struct vhd_footer *f,
			  const struct vhd_new_image *new)
{
	u64 table = sizeof(struct vhd_footer) + sizeof(struct vhd_dyn_header);
	u32 entries = layout_entries(b->l) + b->l->surplus;
	u32 bytes = round_up(entries * 4, VHD_SECTOR_SIZE);
	struct vhd_dyn_header h;
	u32 i;

	memset(b->bat, 0xFF, sizeof(b->bat));
	if (b->l->type == VHD_TYPE_DIFFERENCING) {
		b->m->parent = pool_data(b->d->pool, b->m->nr);
		b->m->parent_nr = b->m->nr;
	}
	for (i = 0; i < b->m->nr; i++)
		b->m->floor[i] = model_absent(b->m, i);
	vhd_make_header(&h, new, table);
	b->end = table + bytes;
	if (!b->l->foreign)
		b->end = ALIGN(b->end, (u64)VHD_ALIGN);
	place_blocks(b);
	if (b->l->stale)
		place_garbage(b, f);
	disk_put(b->d, 0, f, sizeof(*f));
	disk_put(b->d, sizeof(*f), &h, sizeof(h));
	disk_put(b->d, table, b->bat, bytes);
	if (!b->l->foreign)
		b->end = vhd_tail_pos(b->end);
}

static void build_fixed(struct building *b)
{
	u32 i;

	b->end = (u64)b->m->nr * VHD_SECTOR_SIZE;
	for (i = 0; i < b->m->nr; i++)
		b->m->floor[i] = dice(&b->seed, 4) ?
					 pool_data(b->d->pool, 1) : 0;
}

void layout_child(const struct layout *l, struct disk *d)
{
	struct vhd_new_image new = {
		.type = VHD_TYPE_DIFFERENCING,
		.size = (u64)layout_sectors(l) << VHD_SECTOR_SHIFT,
		.block_size = l->block_size,
		.unique_id = "simulated-child",
	};
	u64 table = sizeof(struct vhd_footer) + sizeof(struct vhd_dyn_header);
	u32 bytes = round_up(layout_entries(l) * 4, VHD_SECTOR_SIZE);
	struct vhd_dyn_header h;
	struct vhd_footer f;
	__be32 bat[512];

	memset(bat, 0xFF, sizeof(bat));
	vhd_make_footer(&f, &new);
	vhd_make_header(&h, &new, table);
	disk_put(d, 0, &f, sizeof(f));
	disk_put(d, sizeof(f), &h, sizeof(h));
	disk_put(d, table, bat, bytes);
	disk_put(d, vhd_tail_pos(ALIGN(table + bytes, (u64)VHD_ALIGN)), &f,
		 sizeof(f));
}

void layout_build(const struct layout *l, struct disk *d, struct model *m,
		  u64 seed)
{
	struct vhd_new_image new = {
		.type = l->type,
		.size = (u64)layout_sectors(l) << VHD_SECTOR_SHIFT,
		.block_size = l->block_size,
		.max_table_entries = layout_entries(l) + l->surplus,
		.unique_id = "simulated-image",
	};
	struct building b = { .l = l, .d = d, .m = m, .seed = seed };
	struct vhd_footer f;
	u32 i;

	disk_reset(d);
	model_init(m, layout_sectors(l), block_sectors(l));
	vhd_make_footer(&f, &new);
	if (l->type != VHD_TYPE_FIXED)
		build_dynamic(&b, &f, &new);
	else
		build_fixed(&b);
	if (l->type == VHD_TYPE_FIXED && l->stale)
		place_garbage(&b, &f);
	disk_put(d, b.end, &f, sizeof(f));
	for (i = 0; l->type == VHD_TYPE_FIXED && i < m->nr; i++)
		file_set(&d->now, i, 1, m->floor[i]);
	if (l->short_footer)
		d->now.size--;
	d->now.device = l->device;
	disk_settle(d);
}
