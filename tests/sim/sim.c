// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The crash simulator's command line.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "explore.h"

/**
 * struct options
 * @states, @seconds: stop after so many; 0: no bound
 * @resizes: programs with many; each kind must have been met by so many states
 * @compactions: they must have been met by so many
 * @expect_failure: a mutated core: it is right that it fails
 */
struct options {
	const char *name;
	u64 seed;
	u64 states;
	u32 seconds;
	u32 shrink_seconds;
	u64 resizes;
	u64 compactions;
	const struct layout *layout;
	const char *replay;
	bool expect_failure;
	bool done_early;
	bool flush_raced;
	bool posts_raced;
	bool released_early;
	bool move_ungated;
	bool lower_forgotten;
	bool lower_error_lost;
	bool child_unsynced;
	bool commit_counts;
	bool growth_moved;
	bool lower_raced;
	bool print;
	bool trace;
};

static const struct option long_options[] = {
	{ "name", required_argument, NULL, 'n' },
	{ "seed", required_argument, NULL, 's' },
	{ "states", required_argument, NULL, 'c' },
	{ "time", required_argument, NULL, 't' },
	{ "shrink", required_argument, NULL, 'k' },
	{ "image", required_argument, NULL, 'i' },
	{ "resizes", required_argument, NULL, 'z' },
	{ "compactions", required_argument, NULL, 'Z' },
	{ "replay", required_argument, NULL, 'r' },
	{ "expect-failure", no_argument, NULL, 'x' },
	{ "done-early", no_argument, NULL, 'd' },
	{ "flush-raced", no_argument, NULL, 'f' },
	{ "posts-raced", no_argument, NULL, 'o' },
	{ "released-early", no_argument, NULL, 'e' },
	{ "move-ungated", no_argument, NULL, 'g' },
	{ "parent-forgotten", no_argument, NULL, 'F' },
	{ "parent-error-lost", no_argument, NULL, 'L' },
	{ "child-unsynced", no_argument, NULL, 'U' },
	{ "commit-counts", no_argument, NULL, 'C' },
	{ "growth-moved", no_argument, NULL, 'G' },
	{ "parent-flush-raced", no_argument, NULL, 'R' },
	{ "print", no_argument, NULL, 'p' },
	{ "trace", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static void usage(FILE *out)
{
	fprintf(out, "usage: sim [OPTION]...\n"
		"\n"
		"  --seed N          of the first program (1)\n"
		"  --states N        stop after so many crash states (100000)\n"
		"  --time SEC        stop after so long\n"
		"  --image NAME      only on this image\n"
		"  --resizes N       programs with many; fails unless N states are in each kind\n"
		"  --compactions N   fails unless N states are in compactions\n"
		"  --replay FILE     run the program in FILE, as a failure prints it\n"
		"  --shrink SEC      take so long to shorten a program that fails (20)\n"
		"  --print           print the program of --seed and end\n"
		"  --trace           tell what is done\n"
		"  --expect-failure  succeed if there is one: the core is mutated\n"
		"  --done-early      a mutation: requests end when they are issued\n"
		"  --flush-raced     a mutation: several flushes at a time\n"
		"  --posts-raced     a mutation: a flush does not wait for writes done side by side\n"
		"  --released-early  a mutation: slots do not wait for requests\n"
		"  --move-ungated    a mutation: blocks move while they are written to\n"
		"  --parent-forgotten  a mutation: after a snapshot the new top alone is committed\n"
		"  --parent-error-lost a mutation: an error of the former top is not told\n"
		"  --child-unsynced  a mutation: a snapshot's child is not made durable\n"
		"  --commit-counts   a mutation: a commit under way at a snapshot is of both\n"
		"  --growth-moved    a mutation: a growth under way then goes on in the child\n"
		"  --parent-flush-raced a mutation: its flushes and those of commits overlap\n"
		"  --name NAME       of the test in its line of output\n");
}

static void set_option(struct options *o, int c)
{
	switch (c) {
	case 'n':
		o->name = optarg;
		break;
	case 's':
		o->seed = strtoull(optarg, NULL, 0);
		break;
	case 'c':
		o->states = strtoull(optarg, NULL, 0);
		break;
	case 't':
		o->seconds = strtoul(optarg, NULL, 0);
		o->states = 0;
		break;
	case 'k':
		o->shrink_seconds = strtoul(optarg, NULL, 0);
		break;
	case 'i':
		o->layout = layout_find(optarg);
		if (!o->layout)
			exit((fprintf(stderr, "no image %s\n", optarg), 2));
		break;
	case 'z':
		o->resizes = strtoull(optarg, NULL, 0);
		break;
	case 'Z':
		o->compactions = strtoull(optarg, NULL, 0);
		break;
	case 'r':
		o->replay = optarg;
		break;
	case 'x':
		o->expect_failure = true;
		break;
	case 'd':
		o->done_early = true;
		break;
	case 'f':
		o->flush_raced = true;
		break;
	case 'o':
		o->posts_raced = true;
		break;
	case 'e':
		o->released_early = true;
		break;
	case 'g':
		o->move_ungated = true;
		break;
	case 'F':
		o->lower_forgotten = true;
		break;
	case 'L':
		o->lower_error_lost = true;
		break;
	case 'U':
		o->child_unsynced = true;
		break;
	case 'C':
		o->commit_counts = true;
		break;
	case 'G':
		o->growth_moved = true;
		break;
	case 'R':
		o->lower_raced = true;
		break;
	case 'p':
		o->print = true;
		break;
	case 'v':
		o->trace = true;
		break;
	default:
		usage(c == 'h' ? stdout : stderr);
		exit(c == 'h' ? 0 : 2);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* ---- what is printed --------------------------------------------------------- */

static void tell_failure(const struct options *o, struct explorer *e,
			 struct program *p, int at)
{
	u32 before = p->nr;

	printf("    seed %llu, step %d of %u: %s\n",
	       (unsigned long long)p->seed, at + 1, p->nr, e->s.why);
	shrink(e, p, at, o->shrink_seconds);
	printf("    shortened from %u steps to %u: %s\n", before, p->nr,
	       e->s.why);
	printf("    save this and give it to --replay:\n");
	program_print(p, stdout);
}

static void tell_tally(const struct tally *t)
{
#define TELL(field) printf(" %llu %s,", (unsigned long long)t->field, #field)
	printf("   ");
	TELL(writes), TELL(failed_writes), TELL(reads), TELL(loads);
	TELL(zeroings), TELL(failed_zeroings), TELL(raced_reads);
	TELL(unmaps), TELL(released), TELL(waits_for_drain);
	TELL(commits), TELL(failed_commits), TELL(waits_for_commit);
	TELL(growths), TELL(failed_growths), TELL(waits_for_space), TELL(cuts);
	TELL(allocations), TELL(leads), TELL(rollbacks), TELL(zeroed);
	TELL(punched), TELL(reused);
	TELL(detaches), TELL(kills), TELL(crashes), TELL(failed_images);
	TELL(hollow_states), TELL(snapshots), TELL(lower_commits), TELL(retired);
	TELL(old_commits), TELL(old_growths);
	TELL(resizes), TELL(failed_resizes),
	TELL(broken_resizes), TELL(moved_tables);
	TELL(compacts), TELL(dropped), TELL(moves), TELL(failed_moves);
	TELL(live_cuts);
	printf("\n");
#undef TELL
}

static const char * const resize_names[] = {
#define X(kind, name) [RESIZE_##kind] = (name),
	RESIZE_KINDS(X)
#undef X
};

static void tell_resizes(const struct tally *t)
{
	u32 i;

	printf("    states in resizes:");
	for (i = 0; i < NR_RESIZE_KINDS; i++)
		printf("%s %llu %s", i ? ";" : "",
		       (unsigned long long)t->in_resize[i], resize_names[i]);
	printf("\n");
}

/* Has each kind been met often enough? */
static bool all_met(const struct options *o, const struct tally *t)
{
	u32 i;

	for (i = 0; i < NR_RESIZE_KINDS; i++)
		if (t->in_resize[i] < o->resizes)
			return false;
	return t->in_compaction >= o->compactions;
}

static int finish(const struct options *o, struct explorer *e,
		  struct program *p, int at, double seconds)
{
	bool met = o->expect_failure || all_met(o, &e->s.tally);
	bool ok = (at >= 0) == o->expect_failure && met;

	printf("%s %s: %llu states, %llu recoveries, %llu steps, %.0f states/s%s\n",
	       ok ? "ok" : "FAIL", o->name, (unsigned long long)e->states,
	       (unsigned long long)e->recoveries,
	       (unsigned long long)e->steps, e->states / seconds,
	       o->expect_failure && ok ? ", caught" : "");
	if (!o->expect_failure)
		tell_tally(&e->s.tally);
	if (!o->expect_failure && e->s.tally.resizes)
		tell_resizes(&e->s.tally);
	if (!o->expect_failure && e->s.tally.compacts)
		printf("    states in compactions: %llu\n",
		       (unsigned long long)e->s.tally.in_compaction);
	if (ok && at >= 0)
		printf("    seed %llu: %s\n", (unsigned long long)p->seed,
		       e->s.why);
	else if (at >= 0)
		tell_failure(o, e, p, at);
	else if (!ok)
		printf("    %s\n", met ? "not caught" :
					"too few states in resizes or compactions");
	return ok ? 0 : 1;
}

/* ---- what is run --------------------------------------------------------------- */

static int run_random(const struct options *o, struct explorer *e,
		      struct program *p)
{
	double end = now() + o->seconds;
	u64 seed = o->seed;
	int at;

	do {
		program_random(p, seed++, o->layout, o->resizes);
		at = explore(e, p);
	} while (at < 0 && (!o->states || e->states < o->states) &&
		 (!o->seconds || now() < end));
	return at;
}

static int run_file(const struct options *o, struct explorer *e,
		    struct program *p)
{
	FILE *in = fopen(o->replay, "r");
	u32 line;

	if (!in) {
		perror(o->replay);
		exit(2);
	}
	line = program_read(p, in);
	fclose(in);
	if (line) {
		fprintf(stderr, "%s:%u: not a step\n", o->replay, line);
		exit(2);
	}
	e->randoms = 24;
	e->recover_every = 8;
	return explore(e, p);
}

int main(int argc, char **argv)
{
	struct options o = {
		.name = "sim",
		.seed = 1,
		.states = 100000,
		.shrink_seconds = 20,
	};
	static struct explorer e;
	static struct program p;
	double start = now();
	int at, c, ret;

	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0)
		set_option(&o, c);
	if (o.print) {
		program_random(&p, o.seed, o.layout, o.resizes);
		program_print(&p, stdout);
		return 0;
	}
	explorer_init(&e);
	e.s.done_early = o.done_early;
	e.s.flush_raced = o.flush_raced;
	e.s.posts_raced = o.posts_raced;
	e.s.released_early = o.released_early;
	e.s.move_ungated = o.move_ungated;
	e.s.lower_forgotten = o.lower_forgotten;
	e.s.lower_error_lost = o.lower_error_lost;
	e.s.child_unsynced = o.child_unsynced;
	e.s.commit_counts = o.commit_counts;
	e.s.growth_moved = o.growth_moved;
	e.s.lower_raced = o.lower_raced;
	e.s.disk.trace = o.trace;
	at = o.replay ? run_file(&o, &e, &p) : run_random(&o, &e, &p);
	ret = finish(&o, &e, &p, at, now() - start);
	explorer_free(&e);
	return ret;
}
