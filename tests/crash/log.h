/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of the device-mapper target log-writes, and the disk it tells of.
 * QEMU's blklogwrites writes the same, but no marks.
 *
 * On the log device: a superblock, then the entries, each a sector of its own
 * followed by the data written.  A write stands there when a flush began after
 * it had completed (with FUA: when it completed), a flush when it ended, a mark
 * when it was made.  (QEMU: a write when it completed, flushes one after the
 * other.)  So all that stands before a flush is on the disk for good,
 * and of what stands between two flushes any part may be, but for writes with
 * FUA.
 */
#ifndef _CRASH_LOG_H
#define _CRASH_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LOG_FLUSH	= 1 << 0,
	LOG_FUA		= 1 << 1,
	LOG_DISCARD	= 1 << 2,
	LOG_MARK	= 1 << 3,
};

#define LOG_MARK_LEN	64
/*
 * Where there are no marks, a write of one sector that begins with this is one,
 * and is not applied.
 */
#define LOG_MARK_SECTOR	"vhd-crash-mark:"

/**
 * struct log_entry - one entry
 * @pos: byte on the disk
 * @len: bytes written or discarded
 * @data: where they are in the log, bytes
 * @mark: text of a mark, or empty
 */
struct log_entry {
	uint64_t flags;
	uint64_t pos;
	uint64_t len;
	uint64_t data;
	char mark[LOG_MARK_LEN];
};

struct log {
	int fd;
	uint64_t nr;
	struct log_entry *entries;
};

/** log_open - read all entries; ends the program with a message if it cannot */
void log_open(struct log *log, const char *path);

/** log_is_write - does it change the disk? */
static inline bool log_is_write(const struct log_entry *e)
{
	return e->len && !(e->flags & LOG_MARK);
}

/**
 * log_apply - do to the disk's memory what an entry says
 * @from, @to: of a write, only these bytes
 */
void log_apply(const struct log *log, const struct log_entry *e, uint8_t *disk,
	       uint64_t size, uint64_t from, uint64_t to);

#endif /* _CRASH_LOG_H */
