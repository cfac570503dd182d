// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * writer NAME DEVICE|DIRECTORY SEED THREADS FIRST COUNT [LOG]: write the
 * records FIRST to FIRST + COUNT of each thread and tell what is durable.
 *
 * After each fsync, "NAME:THREAD:FIRST:N" says that the thread's writes from
 * FIRST up to N are durable: as a mark in the log of the dm-log-writes device
 * LOG, in the last sector of the disk LOG (with a slash), whose writes QEMU logs,
 * or on standard output.  Into a directory goes a file a record.
 */
#define _GNU_SOURCE
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <pthread.h>

#include "log.h"
#include "records.h"
#include "vhdtest.h"

struct writer {
	const char *name, *path, *log;
	struct records records;
	uint32_t first, count;
	int log_fd;
};

struct thread {
	struct writer *w;
	pthread_t id;
	uint32_t number;
	int fd;
	void *buf;
};

static void mark_mapping(struct writer *w, const char *text)
{
	struct {
		struct dm_ioctl head;
		struct dm_target_msg msg;
		char text[80];
	} m = { };

	m.head.version[0] = DM_VERSION_MAJOR;
	m.head.data_size = sizeof(m);
	m.head.data_start = sizeof(m.head);
	snprintf(m.head.name, sizeof(m.head.name), "%s", w->log);
	/* The message is a string right behind its struct. */
	snprintf(m.text, sizeof(m.text), "mark %s", text);
	if (ioctl(w->log_fd, DM_TARGET_MSG, &m))
		die("mark: %s", strerror(errno));
}

/* Durable or not: where it stands in the log is what it says. */
static void mark_disk(struct writer *w, const char *text)
{
	char sector[SECTOR] __attribute__((aligned(4096))) = "";
	off_t end = lseek(w->log_fd, 0, SEEK_END);

	snprintf(sector, sizeof(sector), LOG_MARK_SECTOR "%s", text);
	if (pwrite(w->log_fd, sector, SECTOR, end - SECTOR) != SECTOR)
		die("mark: %s", strerror(errno));
}

static bool log_is_disk(const struct writer *w)
{
	return strchr(w->log, '/');
}

static void open_log(struct writer *w)
{
	const char *path = "/dev/mapper/control";
	int flags = O_RDWR | O_CLOEXEC;

	if (!w->log)
		return;
	if (log_is_disk(w)) {
		path = w->log;
		flags |= O_DIRECT;
	}
	w->log_fd = open(path, flags);
	if (w->log_fd < 0)
		die("%s: %s", path, strerror(errno));
}

static void mark(struct writer *w, const char *text)
{
	if (log_is_disk(w))
		mark_disk(w, text);
	else
		mark_mapping(w, text);
}

static void tell(struct writer *w, uint32_t thread, uint32_t n)
{
	char line[64];
	int len = records_say(line, sizeof(line) - 1, w->name, thread, w->first,
			      n);

	if (w->log) {
		mark(w, line);
		return;
	}
	line[len++] = '\n';
	if (write(1, line, len) != len)
		die("standard output: %s", strerror(errno));
}

static void sync_or_die(int fd, const char *what)
{
	if (fsync(fd))
		die("%s: fsync: %s", what, strerror(errno));
}

static void write_device(struct thread *t, uint32_t n)
{
	struct writer *w = t->w;
	struct record rec;
	size_t len;

	records_get(&w->records, t->number, n, &rec);
	records_fill(&w->records, t->number, n, rec.first, rec.count, t->buf);
	len = (size_t)rec.count * SECTOR;
	if (pwrite(t->fd, t->buf, len, (off_t)rec.first * SECTOR) != (ssize_t)len)
		die("%s: write %u of thread %u: %s", w->path, n, t->number,
		    strerror(errno));
	if (!rec.sync)
		return;
	sync_or_die(t->fd, w->path);
	tell(w, t->number, n + 1);
}

static void write_file(struct thread *t, uint32_t n)
{
	struct writer *w = t->w;
	uint32_t sectors = records_file_sectors(&w->records, n);
	size_t len = (size_t)sectors * SECTOR;
	char name[32];
	int fd;

	records_file_name(n, name, sizeof(name));
	fd = openat(t->fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		die("%s/%s: %s", w->path, name, strerror(errno));
	records_fill(&w->records, 0, n, 0, sectors, t->buf);
	if (write(fd, t->buf, len) != (ssize_t)len)
		die("%s/%s: write: %s", w->path, name, strerror(errno));
	sync_or_die(fd, name);
	close(fd);
	tell(w, 0, n + 1);
	if (n < w->first + RECORD_FILES)
		return;
	records_file_name(n - RECORD_FILES, name, sizeof(name));
	unlinkat(t->fd, name, 0);
}

/* Every other thread goes through the page cache. */
static int open_target(const struct thread *t)
{
	const struct writer *w = t->w;
	int flags = O_RDWR;
	int fd;

	if (!w->records.sectors)
		flags = O_RDONLY | O_DIRECTORY;
	else if (!(t->number & 1))
		flags |= O_DIRECT;
	fd = open(w->path, flags | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", w->path, strerror(errno));
	return fd;
}

static void *work(void *arg)
{
	struct thread *t = arg;
	struct writer *w = t->w;
	uint32_t n;

	t->fd = open_target(t);
	if (posix_memalign(&t->buf, 4096, RECORD_SLOT * SECTOR))
		die("no memory");
	for (n = w->first; n < w->first + w->count; n++) {
		if (w->records.sectors)
			write_device(t, n);
		else
			write_file(t, n);
	}
	if (w->records.sectors) {
		sync_or_die(t->fd, w->path);
		tell(w, t->number, n);
	}
	free(t->buf);
	close(t->fd);
	return NULL;
}

static uint32_t device_sectors(const char *path)
{
	uint64_t bytes = 0;
	struct stat st;
	int fd;

	if (stat(path, &st))
		die("%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes))
		die("%s: %s", path, strerror(errno));
	close(fd);
	return bytes / SECTOR;
}

int main(int argc, char **argv)
{
	struct thread threads[RECORD_THREADS] = { };
	struct writer w = { };
	uint32_t i;

	if (argc < 7 || argc > 8)
		die("usage: writer NAME PATH SEED THREADS FIRST COUNT [LOG]");
	w.name = argv[1];
	w.path = argv[2];
	records_init(&w.records, strtoull(argv[3], NULL, 0),
		     strtoul(argv[4], NULL, 0), device_sectors(w.path));
	w.first = strtoul(argv[5], NULL, 0);
	w.count = strtoul(argv[6], NULL, 0);
	w.log = argv[7];
	if (w.records.threads > RECORD_THREADS)
		die("at most %u threads", RECORD_THREADS);
	open_log(&w);
	for (i = 0; i < w.records.threads; i++) {
		threads[i].w = &w;
		threads[i].number = i;
		if (pthread_create(&threads[i].id, NULL, work, &threads[i]))
			die("no thread");
	}
	for (i = 0; i < w.records.threads; i++)
		pthread_join(threads[i].id, NULL);
	records_free(&w.records);
	return 0;
}
