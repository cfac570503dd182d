// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * To be preloaded: a disk with faults.
 *
 *	FAULT_FULL=BYTES	no space left after so many have been written
 *	FAULT_READ=OFFSET	reads that cover this offset of FAULT_FILE fail
 *	FAULT_FILE=NAME		end of that file's name
 *	FAULT_SLOW=USEC		each write takes so long
 *	FAULT_SYNC=1		fsync() and fdatasync() fail
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
