// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/align.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <asm/byteorder.h>

#include "format.h"

u32 vhd_checksum(const void *data, size_t len)
{
	const u8 *p = data;
	u32 sum = 0;

	while (len--)
		sum += *p++;
	return ~sum;
}

/* The sum is linear: leaving a field out is taking its bytes off again. */
static u32 vhd_checksum_without(const void *data, size_t len,
				const __be32 *field)
{
	return vhd_checksum(data, len) + ~vhd_checksum(field, sizeof(*field));
}

u32 vhd_footer_checksum(const struct vhd_footer *f)
{
	__be32 field = f->checksum;

	return vhd_checksum_without(f, sizeof(*f), &field);
}

u32 vhd_header_checksum(const struct vhd_dyn_header *h)
{
	__be32 field = h->checksum;

	return vhd_checksum_without(h, sizeof(*h), &field);
}

bool vhd_footer_valid(const struct vhd_footer *f)
{
	return !memcmp(f->cookie, VHD_FOOTER_COOKIE, sizeof(f->cookie)) &&
	       be32_to_cpu(f->checksum) == vhd_footer_checksum(f);
}

struct vhd_geometry vhd_geometry_of(u64 size)
{
	const u64 max = 65535ULL * 16 * 255;
	u32 sectors = min(size >> VHD_SECTOR_SHIFT, max);
	u32 spt, heads, cth;

	if (sectors >= 65535U * 16 * 63) {
		spt = 255;
		heads = 16;
		cth = sectors / spt;
	} else {
		spt = 17;
		cth = sectors / spt;
		heads = max((cth + 1023) / 1024, 4U);
		if (cth >= heads * 1024 || heads > 16) {
			spt = 31;
			heads = 16;
			cth = sectors / spt;
		}
		if (cth >= heads * 1024) {
			spt = 63;
			heads = 16;
			cth = sectors / spt;
		}
	}
	return (struct vhd_geometry) {
		.cylinders = cth / heads,
		.heads = heads,
		.sectors = spt,
	};
}

u64 vhd_geometry_size(const struct vhd_geometry *g)
{
	return ((u64)g->cylinders * g->heads * g->sectors) << VHD_SECTOR_SHIFT;
}

struct vhd_geometry vhd_footer_geometry(const struct vhd_footer *f)
{
	return (struct vhd_geometry) {
		.cylinders = be16_to_cpu(f->cylinders),
		.heads = f->heads,
		.sectors = f->sectors_per_track,
	};
}

u64 vhd_size_chs(u64 size)
{
	u64 probe = round_up(size, (u64)VHD_SECTOR_SIZE);
	struct vhd_geometry g = vhd_geometry_of(probe);

	/*
	 * The geometry rounds down, and near the sizes where it takes more
	 * heads or sectors a product's own geometry is a smaller one: only a
	 * size that is its geometry's product will do.  A cylinder is at most
	 * 255 * 16 sectors, so this ends soon.
	 */
	while (vhd_geometry_size(&g) != probe) {
		if (g.cylinders == 65535 && g.sectors == 255)
			return size;
		probe += VHD_SECTOR_SIZE;
		g = vhd_geometry_of(probe);
	}
	return probe;
}

void vhd_seal_footer(struct vhd_footer *f)
{
	f->checksum = cpu_to_be32(vhd_footer_checksum(f));
}

void vhd_seal_header(struct vhd_dyn_header *h)
{
	h->checksum = cpu_to_be32(vhd_header_checksum(h));
}

void vhd_make_footer(struct vhd_footer *f, const struct vhd_new_image *n)
{
	struct vhd_geometry g = vhd_geometry_of(n->size);
	u64 header = n->type == VHD_TYPE_FIXED ? VHD_NO_OFFSET : sizeof(*f);

	memset(f, 0, sizeof(*f));
	memcpy(f->cookie, VHD_FOOTER_COOKIE, sizeof(f->cookie));
	f->features = cpu_to_be32(VHD_FEATURE_RESERVED);
	f->version = cpu_to_be32(VHD_FORMAT_VERSION);
	f->data_offset = cpu_to_be64(header);
	f->timestamp = cpu_to_be32(n->timestamp);
	f->creator_app = cpu_to_be32(VHD_CREATOR_WIN);
	f->creator_version = cpu_to_be32(VHD_CREATOR_WIN_VERSION);
	f->creator_os = cpu_to_be32(VHD_OS_WINDOWS);
	f->original_size = cpu_to_be64(n->size);
	f->current_size = cpu_to_be64(n->size);
	f->cylinders = cpu_to_be16(g.cylinders);
	f->heads = g.heads;
	f->sectors_per_track = g.sectors;
	f->disk_type = cpu_to_be32(n->type);
	memcpy(f->unique_id, n->unique_id, sizeof(f->unique_id));
	vhd_seal_footer(f);
}

void vhd_make_header(struct vhd_dyn_header *h, const struct vhd_new_image *n,
		     u64 table_offset)
{
	u32 needed = vhd_nr_blocks(n->size, n->block_size);

	memset(h, 0, sizeof(*h));
	memcpy(h->cookie, VHD_HEADER_COOKIE, sizeof(h->cookie));
	h->data_offset = cpu_to_be64(VHD_NO_OFFSET);
	h->table_offset = cpu_to_be64(table_offset);
	h->header_version = cpu_to_be32(VHD_HEADER_VERSION);
	h->max_table_entries = cpu_to_be32(max(needed, n->max_table_entries));
	h->block_size = cpu_to_be32(n->block_size);
	vhd_seal_header(h);
}

u64 vhd_nr_blocks(u64 size, u32 block_size)
{
	u32 rest;
	u64 blocks = div_u64_rem(size, block_size, &rest);

	return blocks + (rest != 0);
}

u32 vhd_bitmap_bytes(u32 block_size)
{
	u32 bits = block_size >> VHD_SECTOR_SHIFT;

	return round_up(DIV_ROUND_UP(bits, 8), VHD_SECTOR_SIZE);
}

u64 vhd_locator_space(const struct vhd_locator *l)
{
	u32 space = be32_to_cpu(l->data_space);

	if (space < VHD_SECTOR_SIZE)
		return (u64)space << VHD_SECTOR_SHIFT;
	return space;
}

u64 vhd_tail_pos(u64 end)
{
	return ALIGN(end + VHD_SECTOR_SIZE, (u64)VHD_ALIGN) - VHD_SECTOR_SIZE;
}
