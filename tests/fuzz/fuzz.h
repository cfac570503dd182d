/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzz targets have in common.
 *
 * A target is one file, fuzz_NAME.c, with LLVMFuzzerTestOneInput().  Its input
 * begins with a few bytes of choices; what follows overlays one structure of a
 * good image (or all of them), whose checksums are then made right, so that
 * the fuzzer need not guess them.  Structures have fixed places in the input:
 * a mutation in one does not move the others.
 */
#ifndef _TESTS_FUZZ_H
#define _TESTS_FUZZ_H

#include "rig.h"

/* Every target is one of these; declared for -Wmissing-prototypes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the input -------------------------------------------------------- */

/** struct input - what is left of it; behind its end it is all zeros */
struct input {
	const u8 *data;
	size_t left;
};

u8 input_u8(struct input *in);
u16 input_u16(struct input *in);
u32 input_u32(struct input *in);
/** input_bytes - overwrite @buf with as much of @len bytes as there is */
void input_bytes(struct input *in, void *buf, size_t len);

/* ---- an image to be ---------------------------------------------------- */

#define IMAGE_ENTRIES	128U

/* image.flags */
#define IMAGE_RAW_TAIL		(1U << 0)	/* checksum as it stands */
#define IMAGE_RAW_HEAD		(1U << 1)
#define IMAGE_RAW_HEADER	(1U << 2)
#define IMAGE_OWN_HEAD		(1U << 3)	/* not a copy of the tail */
#define IMAGE_SHORT_TAIL	(1U << 4)	/* 511 bytes */
#define IMAGE_NO_TAIL		(1U << 5)
#define IMAGE_NO_HEAD		(1U << 6)
#define IMAGE_TAP		(1U << 7)	/* creator blktap: a batmap counts */

/**
 * struct image - a file that may be a VHD
 * @size: of the file, bytes
 * @bat: entries, written at header.table_offset
 * @bits: the bitmap of every block, written where @bat says; repeated
 * @text: written where each locator says
 */
struct image {
	u8 flags;
	u64 size;
	struct vhd_footer tail;
	struct vhd_footer head;
	struct vhd_dyn_header header;
	__be32 bat[IMAGE_ENTRIES];
	u8 bits[VHD_SECTOR_SIZE];
	u8 text[VHD_SECTOR_SIZE];
	struct vhd_batmap_header batmap;
};

/** image_good - 8 blocks of @block_size, three of them allocated */
void image_good(struct image *i, enum vhd_disk_type type, u32 block_size);

/**
 * image_write - seal it and write it
 * @put: writes one piece; pieces beyond image.size are not given to it
 */
void image_write(struct image *i,
		 void (*put)(void *arg, u64 pos, const void *buf, size_t len),
		 void *arg);

/* ---- what is done with it ---------------------------------------------- */

/**
 * exercise - open the image every way, and use it as @ops say
 *
 * What opens is compared with what this file reads by itself from the format's
 * rules (which blocks are bad, what a sector holds); written sectors with an
 * array, also after the image was closed and opened again.
 */
void exercise(struct image *i, struct input *ops);

#endif /* _TESTS_FUZZ_H */
