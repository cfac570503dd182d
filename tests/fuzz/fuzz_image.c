// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A whole image, every structure as the input says.
 *
 *	1 flags, 1 type, 2 log2 of a block, file's sectors; tail 512, head 512,
 *	header 1024, table 512, bits 512, text 512, batmap 512, operations
 */
#include "whole.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct image i;

	whole_image(&i, &in);
	exercise(&i, &in);
	return 0;
}
