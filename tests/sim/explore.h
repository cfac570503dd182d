/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running programs, and losing power at every step of them.
 */
#ifndef _TESTS_SIM_EXPLORE_H
#define _TESTS_SIM_EXPLORE_H

#include "program.h"

/**
 * struct explorer
 * @states: crash states checked, those of recoveries included
 * @recoveries: states that were recovered, with further crashes meanwhile
 * @from: no crashes before this step of the program
 * @randoms: random states a small step, besides the systematic ones
 * @recover_every: one of so many states is recovered
 * @loose: sizes may come without data
 * @mode, @state_seed: of the state being checked
 */
struct explorer {
	struct session s;
	u64 states;
	u64 recoveries;
	u64 steps;
	u32 from;
	u32 randoms;
	u32 recover_every;
	bool loose;

	u64 seed;
	u64 seen_changes;
	u64 seen_epoch;
	u64 moment;
	enum crash_mode mode;
	struct disk_file state;
	struct disk_file lower_state;
	struct disk nested;
	struct disk_file nested_state;
	u32 *found;
	u32 max_found;
};

void explorer_init(struct explorer *e);
void explorer_free(struct explorer *e);

/**
 * explore - run a program, losing power at every step from @e->from on
 * Return: the step at which something was wrong, which s.why tells, or -1.
 */
int explore(struct explorer *e, const struct program *p);

/**
 * shrink - make a program that fails at its step @at shorter
 * @seconds: not longer than this
 */
void shrink(struct explorer *e, struct program *p, int at, u32 seconds);

#endif /* _TESTS_SIM_EXPLORE_H */
