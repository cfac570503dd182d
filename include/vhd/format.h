/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * On-disk structures of the VHD format (Microsoft, version 1.0, 2006).
 *
 * Every integer on disk is big-endian.  A sector is 512 bytes.  An "absolute
 * sector" is a file offset divided by 512.  Documentation/format.rst gives the
 * rules; this file gives only shapes and values.
 */
#ifndef _VHD_FORMAT_H
#define _VHD_FORMAT_H

#include <linux/compiler.h>
#include <linux/types.h>

#define VHD_SECTOR_SHIFT	9
#define VHD_SECTOR_SIZE		(1U << VHD_SECTOR_SHIFT)
/* Where a 4 KiB rule is followed: data, footer and table padding. */
#define VHD_ALIGN		4096U

#define VHD_FOOTER_COOKIE	"conectix"
#define VHD_POISON_COOKIE	"v_poison"	/* tapdisk: resize under way */
#define VHD_HEADER_COOKIE	"cxsparse"
#define VHD_BATMAP_COOKIE	"tdbatmap"

#define VHD_FEATURE_TEMPORARY	0x00000001U
#define VHD_FEATURE_RESERVED	0x00000002U	/* must be set */
#define VHD_FORMAT_VERSION	0x00010000U
#define VHD_HEADER_VERSION	0x00010000U
#define VHD_NO_OFFSET		0xFFFFFFFFFFFFFFFFULL

/* Seconds between 1970-01-01 and the format's epoch, 2000-01-01 UTC. */
#define VHD_EPOCH		946684800LL

#define VHD_CREATOR_WIN		0x77696E20U	/* "win " */
#define VHD_CREATOR_WIN_VERSION	0x000A0000U
#define VHD_CREATOR_TAP		0x74617000U	/* "tap\0": may carry a batmap */
#define VHD_OS_WINDOWS		0x5769326BU	/* "Wi2k" */
#define VHD_OS_MAC		0x4D616320U	/* "Mac " */

#define VHD_BAT_UNUSED		0xFFFFFFFFU

/* Code of a parent locator ("platform code"). */
#define VHD_LOC_NONE		0x00000000U
#define VHD_LOC_W2RU		0x57327275U	/* relative path, UTF-16LE */
#define VHD_LOC_W2KU		0x57326B75U	/* absolute path, UTF-16LE */
#define VHD_LOC_MACX		0x4D616358U	/* file URL, UTF-8 */
#define VHD_LOC_WI2R		0x57693272U	/* deprecated */
#define VHD_LOC_WI2K		0x5769326BU	/* deprecated */
#define VHD_LOC_MAC		0x4D616320U	/* opaque alias */
#define VHD_NR_LOCATORS		8
#define VHD_MAX_LOCATOR_BYTES	65536U
#define VHD_PARENT_NAME_UNITS	256		/* UTF-16BE code units */

/* Limits (bytes). */
#define VHD_MAX_DYNAMIC_SIZE	(2040ULL << 30)
#define VHD_MIN_BLOCK_SIZE	4096U
#define VHD_MAX_BLOCK_SIZE	(256U << 20)
#define VHD_MIN_RW_BLOCK_SIZE	(512U << 10)
#define VHD_MAX_RW_BLOCK_SIZE	(2U << 20)
#define VHD_DEFAULT_BLOCK_SIZE	(2U << 20)
/* Bounds the table's memory whatever an image claims: 2040 GiB of 512 KiB. */
#define VHD_MAX_BLOCKS		((u32)(VHD_MAX_DYNAMIC_SIZE / VHD_MIN_RW_BLOCK_SIZE))

/* footer.disk_type */
enum vhd_disk_type {
	VHD_TYPE_FIXED		= 2,
	VHD_TYPE_DYNAMIC	= 3,
	VHD_TYPE_DIFFERENCING	= 4,
};

/**
 * struct vhd_footer - last sector of every image, first of all but fixed ones
 * @cookie: "conectix"
 * @features: VHD_FEATURE_*
 * @version: of the format, 0x00010000
 * @data_offset: bytes to the dynamic header; all ones in a fixed image
 * @timestamp: creation, seconds since VHD_EPOCH
 * @creator_app: four characters
 * @creator_version: of that program
 * @creator_os: four characters
 * @original_size: the virtual size at creation, bytes
 * @current_size: the virtual size, bytes
 * @cylinders: of the geometry
 * @heads: of the geometry
 * @sectors_per_track: of the geometry
 * @disk_type: enum vhd_disk_type
 * @checksum: one's complement of the byte sum, this field taken as 0
 * @unique_id: what children know it by
 * @saved_state: a saved state of a machine depends on the content
 * @hidden: blktap's extension; kept as it is
 * @reserved: 0
 */
struct vhd_footer {
	__u8	cookie[8];
	__be32	features;
	__be32	version;
	__be64	data_offset;
	__be32	timestamp;
	__be32	creator_app;
	__be32	creator_version;
	__be32	creator_os;
	__be64	original_size;
	__be64	current_size;
	__be16	cylinders;
	__u8	heads;
	__u8	sectors_per_track;
	__be32	disk_type;
	__be32	checksum;
	__u8	unique_id[16];
	__u8	saved_state;
	__u8	hidden;
	__u8	reserved[426];
} __packed;

/**
 * struct vhd_locator - where one spelling of the parent's path lies
 * @code: which spelling: VHD_LOCATOR_*
 * @data_space: bytes reserved; values below 512 count sectors
 * @data_length: bytes used
 * @reserved: 0
 * @data_offset: file offset, bytes
 */
struct vhd_locator {
	__be32	code;
	__be32	data_space;
	__be32	data_length;
	__be32	reserved;
	__be64	data_offset;
} __packed;

/**
 * struct vhd_dyn_header - dynamic header, 1024 bytes at footer.data_offset
 * @cookie: VHD_HEADER_COOKIE
 * @data_offset: all ones
 * @table_offset: bytes to the block allocation table (BAT)
 * @header_version: 0x00010000
 * @max_table_entries: entries of the table; more than the size needs is legal
 * @block_size: bytes, a power of two, without the sector bitmap
 * @checksum: as the footer's
 * @parent_unique_id: the parent's footer.unique_id
 * @parent_timestamp: the parent's modification, seconds since VHD_EPOCH
 * @reserved1: 0
 * @parent_name: UTF-16BE, padded with NUL, not always terminated
 * @locators: where the parent's path is spelled
 * @reserved2: 0
 */
struct vhd_dyn_header {
	__u8	cookie[8];
	__be64	data_offset;
	__be64	table_offset;
	__be32	header_version;
	__be32	max_table_entries;
	__be32	block_size;
	__be32	checksum;
	__u8	parent_unique_id[16];
	__be32	parent_timestamp;
	__be32	reserved1;
	__be16	parent_name[VHD_PARENT_NAME_UNITS];
	struct vhd_locator locators[VHD_NR_LOCATORS];
	__u8	reserved2[256];
} __packed;

/*
 * struct vhd_batmap_header - blktap's "block is fully populated" map
 *
 * Lies at table_offset + the table rounded up to a sector, only in images whose
 * creator is VHD_CREATOR_TAP.  Never written here, never written over.
 */
struct vhd_batmap_header {
	__u8	cookie[8];
	__be64	offset;
	__be32	sectors;
	__be32	version;
	__be32	checksum;
	__u8	marker;
	__u8	key_cookie;
	__u8	key_nonce[32];
	__u8	key_hash[32];
	__u8	reserved[418];
} __packed;

_Static_assert(sizeof(struct vhd_footer) == 512, "footer is one sector");
_Static_assert(sizeof(struct vhd_locator) == 24, "locator is 24 bytes");
_Static_assert(sizeof(struct vhd_dyn_header) == 1024, "header is two sectors");
_Static_assert(sizeof(struct vhd_batmap_header) == 512, "batmap header is one sector");

#endif /* _VHD_FORMAT_H */
