// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * hog MIB SECONDS: use so much memory, all of it again and again, once at least,
 * and see that every page is as it was left.
 */
#include "vhdtest.h"

#define WORDS	512

int main(int argc, char **argv)
{
	uint64_t pages, page, round = 0, *p, *word;
	double end;

	if (argc != 3)
		die("usage: hog MIB SECONDS");
	pages = strtoull(argv[1], NULL, 0) << 8;
	end = seconds() + strtod(argv[2], NULL);
	p = malloc(pages * WORDS * 8);
	if (!p)
		die("no memory");
	memset(p, 0, pages * WORDS * 8);
	for (; round < 1 || seconds() < end; round++) {
		for (page = 0; page < pages && (round < 1 || seconds() < end); page++) {
			/* Not one after the other, but each once a round */
			word = p + page * 7919 % pages * WORDS;
			if (round && (word[1] != word[0] * 31 || word[511] != ~word[0]))
				die("page %llu has changed", (unsigned long long)page);
			word[0] = round << 32 | page;
			word[1] = word[0] * 31;
			word[511] = ~word[0];
		}
	}
	printf("%llu rounds over %llu MiB\n", (unsigned long long)round,
	       (unsigned long long)pages >> 8);
	return 0;
}
