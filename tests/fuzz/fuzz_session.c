// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The unit tests' model (random requests, plans a step at a time, errors,
 * crashes, detaches, against an array) with the input as its dice.
 *
 *	1 shape of the image, 1 errors, dice
 */
int model_main(void);
#define main model_main
#include "../unit/test_model.c"
#undef main

#include "fuzz.h"

#define MAX_TICKS	3000U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct model model;
	struct model *m = &model;
	struct input in = { data, size };
	u8 shape = input_u8(&in);
	u32 n;

	memset(m, 0, sizeof(*m));
	m->seed = size;
	m->faults = input_u8(&in) & 1;
	mem_dice = in.data;
	nr_mem_dice = in.left;
	model_init(m, shape & 2 ? VHD_TYPE_DIFFERENCING : VHD_TYPE_DYNAMIC,
		   512 << 10, shape & 1);
	for (n = 0; n < MAX_TICKS && nr_mem_dice; n++) {
		tick(m);
		mem_forget(&m->r.mem);
	}
	nr_mem_dice = 0;
	detach(m);
	rig_free(&m->r);
	free(m->cells);
	return 0;
}
