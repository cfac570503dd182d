// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Chains of images of which every table entry and every bitmap may be anything.
 *
 *	1 number of layers; for each: 1 block size, 2 sectors of the disk, 64
 *	table, 64 bits; then ranges: 2 sector, 1 length
 *
 * Every read, by runs and lockless, is compared with one that walks down the
 * layers a sector at a time.
 */
#include <string.h>

#include "chain.h"
#include "fuzz.h"

#define MAX_LAYERS	6U
#define MAX_READS	24U
#define MAX_SECTORS	4096U

struct layers {
	struct rig rigs[MAX_LAYERS];
	struct vhd_image *images[MAX_LAYERS];
	struct vhd_chain chain;
	u32 nr;
};

static void put_mem(void *arg, u64 pos, const void *buf, size_t len)
{
	mem_write(arg, pos, buf, len);
}

static void make_id(u8 *id, u32 n)
{
	memset(id, n + 1, 16);
}

/* Layer @n of @s, the top being 0; the last has no parent. */
static void make_layer(struct layers *s, u32 n, struct input *in)
{
	enum vhd_disk_type type = n + 1 < s->nr ? VHD_TYPE_DIFFERENCING :
						  VHD_TYPE_DYNAMIC;
	u32 block_size = 4096U << input_u8(in) % 9;
	u32 sectors = input_u16(in) % MAX_SECTORS;
	struct rig *r = &s->rigs[n];
	struct image i;

	image_good(&i, type, block_size);
	i.header.locators[0].code = 0;
	i.header.max_table_entries = cpu_to_be32(IMAGE_ENTRIES * 8);
	i.header.table_offset = cpu_to_be64(0x800);
	if (sectors)
		i.tail.current_size = cpu_to_be64(sectors * 512ULL);
	make_id(i.tail.unique_id, n);
	if (type == VHD_TYPE_DIFFERENCING)
		make_id(i.header.parent_unique_id, n + 1);
	input_bytes(in, i.bat, 64);
	input_bytes(in, i.bits, 64);
	rig_init(r);
	image_write(&i, put_mem, &r->mem);
	/* Behind what was written there are holes, which are zeros: blocks 0. */
	mem_truncate(&r->mem, i.size);
	mem_settle(&r->mem);
}

/* 0 if sector of the layer has data, which is read; 1: absent; 2: bad. */
static int plain_layer(struct rig *r, u64 sector, u8 *buf)
{
	const struct vhd_image *img = &r->img;
	u32 per_block = vhd_block_sectors(img);
	u32 n = sector % per_block;
	u32 entry = img->bat[sector / per_block];
	u8 bits;

	if (entry == VHD_BAT_UNUSED)
		return 1;
	if (entry == VHD_BAT_BAD)
		return 2;
	mem_read(&r->mem, ((u64)entry << 9) + n / 8, &bits, 1);
	if (!(bits & (0x80 >> n % 8)))
		return 1;
	mem_read(&r->mem, vhd_data_pos(img, entry) + n * 512ULL, buf, 512);
	return 0;
}

/* False: damaged. */
static bool plain_read(struct layers *s, u64 sector, u8 *buf)
{
	u32 n;

	memset(buf, 0, 512);
	for (n = 0; n < s->nr && sector < s->rigs[n].img.size / 512; n++) {
		switch (plain_layer(&s->rigs[n], sector, buf)) {
		case 0:
			return true;
		case 2:
			return false;
		}
	}
	return true;
}

static void expect(struct layers *s, u64 sector, enum vhd_map_kind kind,
		   u32 layer, u64 pos)
{
	u8 want[512], have[512] = { 0 };
	bool good = plain_read(s, sector, want);

	if (kind == VHD_MAP_BAD) {
		assert_true(!good);
		return;
	}
	assert_true(good);
	if (kind == VHD_MAP_DATA)
		mem_read(&s->rigs[layer].mem, pos, have, sizeof(have));
	else
		assert_int_equal(kind, VHD_MAP_ZERO);
	assert_true(!memcmp(want, have, sizeof(have)));
}

static void read_fast(struct layers *s, u64 sector, u32 sectors)
{
	u32 n = min(sectors, (u32)(s->chain.chunk - sector % s->chain.chunk));
	enum vhd_map_kind kind;
	u32 layer, k;
	u64 pos = 0;

	kind = vhd_chain_map_fast(&s->chain, sector, n, &layer, &pos);
	for (k = 0; k < n && kind != VHD_MAP_SLOW; k++)
		expect(s, sector + k, kind, layer, pos + k * 512ULL);
}

static void read_runs(struct layers *s, u64 sector, u32 sectors)
{
	struct vhd_hold hold = { };
	struct vhd_extent ext;
	u32 k, tries = 0;
	struct rig *r;

	while (sectors) {
		assert_true(tries++ < 10000);
		vhd_chain_map_read(&s->chain, sector, sectors, &hold, &ext);
		if (ext.kind == VHD_MAP_BITMAP) {
			r = &s->rigs[ext.layer];
			assert_int_equal(rig_load(r, sector >>
					 (r->img.block_shift - 9)), 0);
			continue;
		}
		assert_in_range(ext.sectors, 1, sectors);
		for (k = 0; k < ext.sectors; k++)
			expect(s, sector + k, ext.kind, ext.layer,
			       ext.pos + k * 512ULL);
		sector += ext.sectors;
		sectors -= ext.sectors;
	}
	vhd_chain_map_done(&hold, 0);
}

static void read_ranges(struct layers *s, struct input *in)
{
	u64 size = s->rigs[0].img.size / 512, sector;
	u32 n, sectors;

	for (n = 0; n < MAX_READS && in->left; n++) {
		sector = input_u16(in) % size;
		sectors = min_t(u64, 1 + input_u8(in), size - sector);
		read_fast(s, sector, sectors);
		read_runs(s, sector, sectors);
		read_fast(s, sector, sectors);
	}
	read_runs(s, 0, min_t(u64, size, MAX_SECTORS));
}

/* Whatever may be wrong, the chain is refused or whole. */
static bool link_layers(struct layers *s)
{
	struct vhd_finding f;
	u32 n, layer;

	for (n = 0; n < s->nr; n++) {
		if (rig_open(&s->rigs[n], 0))
			return false;
		s->images[n] = &s->rigs[n].img;
	}
	assert_int_equal(vhd_chain_check(s->images, s->nr, false, &layer, &f),
			 0);
	/* One more or less is none, nor is one upside down. */
	if (s->nr > 1) {
		assert_int_equal(vhd_chain_check(s->images, s->nr - 1, false,
						 &layer, &f), -ENXIO);
		assert_int_equal(vhd_chain_check(s->images + 1, s->nr - 1,
						 false, &layer, &f), 0);
		swap(s->images[0], s->images[s->nr - 1]);
		assert_int_equal(vhd_chain_check(s->images, s->nr, false,
						 &layer, &f), -ENXIO);
		swap(s->images[0], s->images[s->nr - 1]);
	}
	return !vhd_chain_init(&s->chain, s->images, s->nr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct layers s;
	struct input in = { data, size };
	u32 n;

	memset(&s, 0, sizeof(s));
	s.nr = 1 + input_u8(&in) % MAX_LAYERS;
	for (n = 0; n < s.nr; n++)
		make_layer(&s, n, &in);
	if (link_layers(&s))
		read_ranges(&s, &in);
	vhd_chain_free(&s.chain);
	for (n = 0; n < s.nr; n++)
		rig_free(&s.rigs[n]);
	return 0;
}
