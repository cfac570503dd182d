/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Programs: lists of steps, random, printed, read back, made shorter.
 */
#ifndef _TESTS_SIM_PROGRAM_H
#define _TESTS_SIM_PROGRAM_H

#include <stdio.h>

#include "session.h"

#define MAX_STEPS	256

/*
 * X(kind, name, what it does).  A step that makes no sense where it stands does
 * nothing, so that any part of a program is a program.
 */
#define SIM_STEPS(X) \
	X(WRITE, "write", "slot sector sectors fua") \
	X(READ, "read", "slot sector sectors pause: small steps before the answer") \
	X(ZERO, "zero", "slot sector sectors flags: VHD_ZERO_*") \
	X(RUN, "run", "seed n: so many small steps of those under way") \
	X(COMMIT, "commit", "a flush or the timer") \
	X(GROW, "grow", "ahead of need") \
	X(SETTLE, "settle", "seed: until nothing is under way") \
	X(FAULT, "fault", "kind nth errno seed: of an operation to come; nth + 256 m: and m more") \
	X(LIMIT, "limit", "slots: the file system is full after so many; 99: not") \
	X(RESERVE, "reserve", "0: the file system cannot; 1: it can") \
	X(DETACH, "detach", "seed: commit, tidy, open again") \
	X(KILL, "kill", "seed: open again without commit or tidy") \
	X(SNAPSHOT, "snapshot", "seed retire busy: go on in a child; 1: retire the parent at once; 1: only requests end before") \
	X(RESIZE, "resize", "seed how n faults: n sectors are more, or a table; or less") \
	X(COMPACT, "compact", "zero: begin to compact; 1: also what is no hole") \
	X(CRASH, "crash", "mode seed: lose power, open again")

enum step_kind {
#define X(kind, ...) STEP_##kind,
	SIM_STEPS(X)
#undef X
	NR_STEP_KINDS
};

struct step {
	enum step_kind kind;
	u32 arg[4];
};

struct program {
	const struct layout *layout;
	u64 seed;
	u32 nr;
	struct step steps[MAX_STEPS];
};

/**
 * program_random - the program of @seed
 * @l: on this image, or NULL
 * @resizes: with many resizes, and no snapshots
 */
void program_random(struct program *p, u64 seed, const struct layout *l,
		    bool resizes);
/** program_step - do the step @i */
void program_step(struct session *s, const struct step *step);
void program_print(const struct program *p, FILE *out);
/** program_read - 0, or the number of the line that is wrong */
u32 program_read(struct program *p, FILE *in);

#endif /* _TESTS_SIM_PROGRAM_H */
