// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "records.h"

#define WORDS	(RECORD_SECTOR / sizeof(uint64_t))

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

void records_init(struct records *r, uint64_t seed, uint32_t threads,
		  uint32_t sectors)
{
	memset(r, 0, sizeof(*r));
	r->seed = seed;
	r->threads = threads;
	r->sectors = sectors;
	if (!sectors)
		return;
	r->need = calloc(sectors, sizeof(*r->need));
	if (!r->need)
		abort();
}

void records_free(struct records *r)
{
	free(r->need);
	r->need = NULL;
}

/*
 * The part of the disk in use grows with time, so that new blocks come all the
 * while; half of the writes go to what is newest.
 */
void records_get(const struct records *r, uint32_t thread, uint32_t n,
		 struct record *rec)
{
	uint64_t random = mix(r->seed ^ mix((uint64_t)thread << 32 | n));
	uint32_t own = r->sectors / RECORD_SLOT / r->threads;
	uint32_t window = 2 + n / 4, slot;

	if (window > own)
		window = own;
	slot = random % window;
	if (random >> 32 & 1)
		slot = window - 1 - slot % (window < 4 ? window : 4);
	rec->first = random >> 33 & (RECORD_SLOT - 1);
	rec->count = 1 + (random >> 40) % (RECORD_SLOT - rec->first);
	rec->first += (slot * r->threads + thread) * RECORD_SLOT;
	rec->sync = !(random >> 50 & 3);
}

static uint64_t stamp(uint32_t thread, uint32_t n, uint32_t sector)
{
	return (uint64_t)(thread + 1) << 56 | (uint64_t)n << 32 | sector;
}

static void fill_sector(const struct records *r, uint64_t head, uint64_t *words)
{
	uint64_t word = mix(head ^ r->seed);
	unsigned int i;

	words[0] = head;
	for (i = 1; i < WORDS; i++)
		words[i] = word + i;
}

void records_fill(const struct records *r, uint32_t thread, uint32_t n,
		  uint32_t first, uint32_t count, void *buf)
{
	uint64_t *words = buf;
	uint32_t i;

	for (i = 0; i < count; i++, words += WORDS)
		fill_sector(r, stamp(thread, n, first + i), words);
}

void records_durable(struct records *r, uint32_t thread, uint32_t from,
		     uint32_t to)
{
	uint32_t n = from, i;
	struct record rec;

	if (r->begun[thread] == from && n < r->durable[thread])
		n = r->durable[thread];
	for (; r->need && n < to; n++) {
		records_get(r, thread, n, &rec);
		for (i = 0; i < rec.count; i++)
			r->need[rec.first + i] = n + 1;
	}
	r->begun[thread] = from;
	r->durable[thread] = to;
}

int records_say(char *buf, size_t len, const char *name, uint32_t thread,
		uint32_t from, uint32_t to)
{
	return snprintf(buf, len, "%s:%u:%u:%u", name, thread, from, to);
}

bool records_hear(struct records *r, const char *name, const char *text)
{
	unsigned int thread, from, to;
	size_t len = strlen(name);

	if (strncmp(text, name, len) ||
	    sscanf(text + len, ":%u:%u:%u", &thread, &from, &to) != 3 ||
	    thread >= r->threads || from > to)
		return false;
	records_durable(r, thread, from, to);
	return true;
}

static bool is_zero(const uint64_t *words)
{
	return !words[0] && !memcmp(words, words + 1, RECORD_SECTOR - 8);
}

/* Is it what some write has put there? */
static bool is_a_record(const struct records *r, uint32_t sector,
			const uint64_t *words)
{
	uint32_t thread = (words[0] >> 56) - 1, n = words[0] >> 32 & 0xffffff;
	uint64_t want[WORDS];
	struct record rec;

	if (thread >= r->threads)
		return false;
	fill_sector(r, stamp(thread, n, sector), want);
	if (memcmp(words, want, RECORD_SECTOR))
		return false;
	records_get(r, thread, n, &rec);
	return sector >= rec.first && sector < rec.first + rec.count;
}

static bool check_sector(const struct records *r, uint32_t sector,
			 const uint64_t *words, char *why, size_t len)
{
	uint32_t need = r->need[sector], found = words[0] >> 32 & 0xffffff;

	if (is_zero(words)) {
		if (!need)
			return true;
		snprintf(why, len, "sector %u: zeros, write %u was flushed",
			 sector, need - 1);
		return false;
	}
	if (!is_a_record(r, sector, words)) {
		snprintf(why, len, "sector %u: %016llx %016llx..: nobody wrote that",
			 sector, (unsigned long long)words[0],
			 (unsigned long long)words[1]);
		return false;
	}
	if (found + 1 >= need)
		return true;
	snprintf(why, len, "sector %u: write %u, but %u was flushed", sector,
		 found, need - 1);
	return false;
}

bool records_check(const struct records *r, uint32_t first, uint32_t count,
		   const void *buf, char *why, size_t len)
{
	const uint64_t *words = buf;
	uint32_t i;

	for (i = 0; i < count; i++, words += WORDS)
		if (!check_sector(r, first + i, words, why, len))
			return false;
	return true;
}

/* ---- files ---------------------------------------------------------------- */

void records_file_name(uint32_t n, char *buf, size_t len)
{
	snprintf(buf, len, "f%06u", n);
}

uint32_t records_file_sectors(const struct records *r, uint32_t n)
{
	return 1 + mix(r->seed ^ n) % RECORD_SLOT;
}

/* The writer removes file N - RECORD_FILES when it has made file N. */
uint32_t records_file_first(const struct records *r)
{
	uint32_t n = r->durable[0], begun = r->begun[0];

	/* One more may be gone: that of the file being made. */
	return n > begun + RECORD_FILES - 2 ? n - (RECORD_FILES - 2) : begun;
}
