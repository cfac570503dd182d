// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "vhdtest.h"

#define LOG_MAGIC	0x6a736677736872ULL

struct disk_super {
	uint64_t magic, version, nr_entries;
	uint32_t sectorsize;
};

struct disk_entry {
	uint64_t sector, nr_sectors, flags, data_len;
};

static void read_at(int fd, void *buf, size_t len, uint64_t pos)
{
	ssize_t done;

	for (; len; buf = (char *)buf + done, len -= done, pos += done) {
		done = pread(fd, buf, len, pos);
		if (done <= 0)
			die("the log ends at byte %llu", (unsigned long long)pos);
	}
}

/* A mark that somebody has written. */
static void read_mark(struct log *log, struct log_entry *e)
{
	char sector[SECTOR];
	size_t len = strlen(LOG_MARK_SECTOR);

	if (e->flags || e->len != SECTOR)
		return;
	read_at(log->fd, sector, SECTOR, e->data);
	if (memcmp(sector, LOG_MARK_SECTOR, len))
		return;
	e->flags = LOG_MARK;
	memcpy(e->mark, sector + len, LOG_MARK_LEN - 1);
}

/* Return: where the next one is. */
static uint64_t read_entry(struct log *log, struct log_entry *e, uint64_t pos,
			   uint32_t sectorsize)
{
	char sector[4096];
	struct disk_entry *d = (struct disk_entry *)sector;
	uint64_t mark_len, next;

	read_at(log->fd, sector, sectorsize, pos);
	e->flags = le64toh(d->flags);
	e->pos = le64toh(d->sector) * sectorsize;
	e->len = le64toh(d->nr_sectors) * sectorsize;
	e->data = pos + sectorsize;
	mark_len = le64toh(d->data_len);
	if (e->flags & LOG_MARK && mark_len < LOG_MARK_LEN)
		memcpy(e->mark, sector + sizeof(*d), mark_len);
	next = e->data + (e->flags & (LOG_DISCARD | LOG_MARK) ? 0 : e->len);
	read_mark(log, e);
	return next;
}

void log_open(struct log *log, const char *path)
{
	struct disk_super super;
	uint32_t sectorsize;
	uint64_t i, pos;

	log->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (log->fd < 0)
		die("%s: %s", path, strerror(errno));
	read_at(log->fd, &super, sizeof(super), 0);
	sectorsize = le32toh(super.sectorsize);
	if (le64toh(super.magic) != LOG_MAGIC || le64toh(super.version) != 1 ||
	    sectorsize < SECTOR || sectorsize > 4096)
		die("%s: no log of dm-log-writes or QEMU", path);
	log->nr = le64toh(super.nr_entries);
	log->entries = calloc(log->nr, sizeof(*log->entries));
	if (!log->entries)
		die("no memory");
	pos = sectorsize;
	for (i = 0; i < log->nr; i++)
		pos = read_entry(log, &log->entries[i], pos, sectorsize);
}

void log_apply(const struct log *log, const struct log_entry *e, uint8_t *disk,
	       uint64_t size, uint64_t from, uint64_t to)
{
	if (!log_is_write(e))
		return;
	if (e->pos + e->len > size)
		die("a write beyond the end of the disk");
	if (e->flags & LOG_DISCARD)
		memset(disk + e->pos, 0, e->len);
	else if (from < to)
		read_at(log->fd, disk + e->pos + from, to - from, e->data + from);
}
