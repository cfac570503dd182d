/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In place of cmocka's, so that the unit tests' rig serves here: an assertion
 * that does not hold is a crash, which a fuzzer keeps the input of.
 */
#ifndef _FUZZ_CMOCKA_H
#define _FUZZ_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>

#define fail_msg(...) do {						\
	fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);			\
	fprintf(stderr, __VA_ARGS__);					\
	fputc('\n', stderr);						\
	abort();							\
} while (0)

#define assert_true(c) do {						\
	if (!(c))							\
		fail_msg("not true: %s", #c);				\
} while (0)

#define assert_false(c)		assert_true(!(c))
#define assert_null(p)		assert_true(!(p))
#define assert_non_null(p)	assert_true(p)

#define assert_int_equal(a, b) do {					\
	long long _a = (long long)(a), _b = (long long)(b);		\
									\
	if (_a != _b)							\
		fail_msg("%s is %#llx, expected %#llx", #a, _a, _b);	\
} while (0)

#define assert_in_range(v, low, high) do {				\
	unsigned long long _v = (v);					\
									\
	if (_v < (low) || _v > (high))					\
		fail_msg("%s is %#llx", #v, _v);			\
} while (0)

#define print_message(...)	do { } while (0)

/* Of the tests' own main(), which nobody calls here. */
struct CMUnitTest {
	const char *name;
	void (*test)(void **state);
	int (*setup)(void **state);
	int (*teardown)(void **state);
	void *initial_state;
};

#define _cmocka_run_group_tests(name, tests, n, setup, teardown)	\
	((void)(tests), 0)

#endif /* _FUZZ_CMOCKA_H */
