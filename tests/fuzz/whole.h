/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The input of the targets that take a whole image.
 */
#ifndef _TESTS_FUZZ_WHOLE_H
#define _TESTS_FUZZ_WHOLE_H

#include "fuzz.h"

/* What the file may be larger than the good image. */
#define WHOLE_MORE	0x4000U

static inline void whole_image(struct image *i, struct input *in)
{
	static const enum vhd_disk_type types[] = {
		VHD_TYPE_DYNAMIC, VHD_TYPE_FIXED, VHD_TYPE_DIFFERENCING,
	};
	u8 flags = input_u8(in);
	u8 type = input_u8(in);
	u16 more = input_u16(in);

	image_good(i, types[type % ARRAY_SIZE(types)], 4096U << type / 4 % 10);
	i->flags = flags;
	i->size += more < WHOLE_MORE ? more * 512ULL : more;
	input_bytes(in, &i->tail, sizeof(i->tail));
	input_bytes(in, &i->head, sizeof(i->head));
	input_bytes(in, &i->header, sizeof(i->header));
	input_bytes(in, i->bat, sizeof(i->bat));
	input_bytes(in, i->bits, sizeof(i->bits));
	input_bytes(in, i->text, sizeof(i->text));
	input_bytes(in, &i->batmap, sizeof(i->batmap));
}

#endif /* _TESTS_FUZZ_WHOLE_H */
