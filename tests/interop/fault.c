// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * To be preloaded: a disk with faults.
 *
 *	FAULT_FULL=BYTES	no space left after so many have been written
 *	FAULT_READ=OFFSET	reads that cover this offset of FAULT_FILE fail
 *	FAULT_FILE=NAME		end of that file's name
 *	FAULT_SLOW=USEC		each write takes so long
 *	FAULT_SYNC=1		fsync() and fdatasync() fail
 *	FAULT_CLONE=NR		so many ranges can be cloned (here: copied), then
 *				FAULT_ERROR (an errno) is what is said
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

static long long number(const char *name)
{
	const char *value = getenv(name);

	return value ? atoll(value) : -1;
}

static int is_file(int fd)
{
	const char *end = getenv("FAULT_FILE");
	char link[64], name[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, name, sizeof(name) - 1);
	if (!end || n < (ssize_t)strlen(end))
		return 0;
	name[n] = 0;
	return !strcmp(name + n - strlen(end), end);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t pos)
{
	static _Atomic long long written;
	long long full = number("FAULT_FULL");

	if (number("FAULT_SLOW") > 0)
		usleep(number("FAULT_SLOW"));
	if (full >= 0 && atomic_fetch_add(&written, len) + (long long)len > full) {
		errno = ENOSPC;
		return -1;
	}
	return REAL(pwrite64)(fd, buf, len, pos);
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t pos)
{
	long long bad = number("FAULT_READ");

	if (bad >= pos && bad < pos + (long long)len && is_file(fd)) {
		errno = EIO;
		return -1;
	}
	return REAL(pread64)(fd, buf, len, pos);
}

/* As the kernel has it: whole blocks only. */
static int clone_range(int fd, const struct file_clone_range *c)
{
	static _Atomic long long cloned;
	char buf[65536];
	unsigned long long at;
	ssize_t n = 1;

	if ((c->src_offset | c->src_length | c->dest_offset) % 4096)
		abort();
	if (atomic_fetch_add(&cloned, 1) >= number("FAULT_CLONE")) {
		errno = number("FAULT_ERROR");
		return -1;
	}
	for (at = 0; at < c->src_length && n > 0; at += n) {
		n = sizeof(buf);
		if ((size_t)n > c->src_length - at)
			n = c->src_length - at;
		n = REAL(pread64)(c->src_fd, buf, n, c->src_offset + at);
		if (n > 0)
			n = REAL(pwrite64)(fd, buf, n, c->dest_offset + at);
	}
	return n > 0 ? 0 : -1;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request == FICLONE && number("FAULT_CLONE") >= 0) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (request == FICLONERANGE && number("FAULT_CLONE") >= 0)
		return clone_range(fd, arg);
	return REAL(ioctl)(fd, request, arg);
}

int fsync(int fd)
{
	if (number("FAULT_SYNC") > 0) {
		errno = EIO;
		return -1;
	}
	return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	return fsync(fd);
}
