/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What single structures on disk mean: checksums, geometry, field access.
 * Pure functions, callable from any context.
 */
#ifndef _VHD_CORE_FORMAT_H
#define _VHD_CORE_FORMAT_H

#include <linux/types.h>
#include <vhd/format.h>

/** struct vhd_geometry - CHS as the specification's appendix computes it */
struct vhd_geometry {
	u16 cylinders;
	u8 heads;
	u8 sectors;	/* per track */
};

/** vhd_checksum - one's complement of the sum of @len bytes (field as 0) */
u32 vhd_checksum(const void *data, size_t len);

/** vhd_footer_checksum - what @f's checksum field should hold */
u32 vhd_footer_checksum(const struct vhd_footer *f);

/** vhd_header_checksum - what @h's checksum field should hold */
u32 vhd_header_checksum(const struct vhd_dyn_header *h);

/** vhd_footer_valid - cookie and checksum are right; nothing else is looked at */
bool vhd_footer_valid(const struct vhd_footer *f);

/** vhd_geometry_of - geometry for a size in bytes (specification, appendix) */
struct vhd_geometry vhd_geometry_of(u64 size);

/** vhd_geometry_size - bytes that a geometry addresses */
u64 vhd_geometry_size(const struct vhd_geometry *g);

/** vhd_footer_geometry - the geometry that @f states */
struct vhd_geometry vhd_footer_geometry(const struct vhd_footer *f);

/*
 * vhd_size_chs - smallest size >= @size that its own geometry addresses exactly
 * Beyond what CHS can address, @size itself.
 */
u64 vhd_size_chs(u64 size);

/**
 * struct vhd_new_image - what a fresh image shall be
 * @type: of the disk
 * @size: virtual size, bytes, a multiple of 512
 * @block_size: bytes; ignored for fixed images
 * @max_table_entries: 0: what @size needs; more is slack for later growth
 * @timestamp: seconds since VHD_EPOCH
 * @unique_id: not null
 */
struct vhd_new_image {
	enum vhd_disk_type type;
	u64 size;
	u32 block_size;
	u32 max_table_entries;
	u32 timestamp;
	u8 unique_id[16];
};

/*
 * vhd_make_footer - fill in the footer of a fresh image, checksum included
 * As "win " 10.0 "Wi2k", so that every reader takes current_size.
 */
void vhd_make_footer(struct vhd_footer *f, const struct vhd_new_image *n);

/**
 * vhd_make_header - fill in a fresh dynamic header, checksum included
 * @h: to be filled in
 * @n: what it is to be like
 * @table_offset: bytes
 *
 * Parent fields and locators are left zero.
 */
void vhd_make_header(struct vhd_dyn_header *h, const struct vhd_new_image *n,
		     u64 table_offset);

/** vhd_seal_footer, vhd_seal_header - set the checksum after a change */
void vhd_seal_footer(struct vhd_footer *f);
void vhd_seal_header(struct vhd_dyn_header *h);

/** vhd_nr_blocks - blocks of @block_size bytes that @size bytes need */
u64 vhd_nr_blocks(u64 size, u32 block_size);

/** vhd_bitmap_bytes - bytes of a block's sector bitmap, whole sectors */
u32 vhd_bitmap_bytes(u32 block_size);

/** vhd_locator_space - bytes reserved for a locator (§8: sectors or bytes) */
u64 vhd_locator_space(const struct vhd_locator *l);

/**
 * vhd_tail_pos - where the footer or the next bitmap goes behind @end
 * @end: first byte behind what is used
 *
 * Return: the last sector before a 4 KiB boundary, so that what follows it is
 * aligned.
 */
u64 vhd_tail_pos(u64 end);

#endif /* _VHD_CORE_FORMAT_H */
