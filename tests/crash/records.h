/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a writer writes, and what must be found of it after a crash.
 *
 * Everything follows from a seed: thread T's Nth write goes to these sectors
 * and puts these bytes there.  So nothing but two numbers need be kept outside:
 * "thread T has made its first N writes durable".  A sector then holds the last
 * of these, or one written later; each sector for itself, for a write that was
 * not flushed may be there in part.
 */
#ifndef _CRASH_RECORDS_H
#define _CRASH_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_SECTOR	512U
/* Sectors that one write never goes beyond; each belongs to one thread. */
#define RECORD_SLOT	64U
#define RECORD_THREADS	16U

/**
 * struct records - the writers of one device or directory
 * @sectors: of the device; 0: the writer makes files in a directory
 * @begun: the write of each thread that its last run began with
 * @durable: those before it are durable, from @begun on
 * @need: of each sector 1 + the number of the last durable write, or 0
 */
struct records {
	uint64_t seed;
	uint32_t threads;
	uint32_t sectors;
	uint32_t begun[RECORD_THREADS];
	uint32_t durable[RECORD_THREADS];
	uint32_t *need;
};

/** struct record - one write; followed by a flush if @sync */
struct record {
	uint32_t first;
	uint32_t count;
	bool sync;
};

void records_init(struct records *r, uint64_t seed, uint32_t threads,
		  uint32_t sectors);
void records_free(struct records *r);

/** records_get - the Nth write of a thread */
void records_get(const struct records *r, uint32_t thread, uint32_t n,
		 struct record *rec);

/** records_fill - the bytes of @count sectors of the Nth write */
void records_fill(const struct records *r, uint32_t thread, uint32_t n,
		  uint32_t first, uint32_t count, void *buf);

/** records_durable - the writes @from up to before @to of a thread are durable */
void records_durable(struct records *r, uint32_t thread, uint32_t from,
		     uint32_t to);

/** records_say - "NAME:THREAD:FROM:TO", how a writer tells of that */
int records_say(char *buf, size_t len, const char *name, uint32_t thread,
		uint32_t from, uint32_t to);

/** records_hear - understand it; false if it is not about @name */
bool records_hear(struct records *r, const char *name, const char *text);

/**
 * records_check - are these sectors as they may be?
 * @why: receives what is wrong
 * Return: true if so.
 */
bool records_check(const struct records *r, uint32_t first, uint32_t count,
		   const void *buf, char *why, size_t len);

/* Files: the Nth is named by its number, and the last of them are there. */
#define RECORD_FILES	20U

/** records_file_name - of the Nth file */
void records_file_name(uint32_t n, char *buf, size_t len);

/** records_file_sectors - the size of the Nth file */
uint32_t records_file_sectors(const struct records *r, uint32_t n);

/** records_file_first - the oldest file that must be there */
uint32_t records_file_first(const struct records *r);

#endif /* _CRASH_RECORDS_H */
