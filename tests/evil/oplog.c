// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * To be preloaded: writes what a program does to its files to the file that
 * OPLOG names.  Records of five 64-bit words (operation, inode, place, length,
 * bytes that follow), for crash.py.  Kills the program before the operation with
 * the number KILL_AT, if that is set; removing a file counts.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OP_WRITE = 1, OP_TRUNCATE, OP_ZERO, OP_SYNC };

static void count(void)
{
	const char *at = getenv("KILL_AT");
	static long n;

	if (at && ++n == atol(at))
		raise(SIGKILL);
}

static void note(int fd, uint64_t op, uint64_t pos, uint64_t len,
		 const void *data)
{
	static int log = -1;
	uint64_t words[5] = { op, 0, pos, len, data ? len : 0 };
	struct stat st;

	count();
	if (log < 0)
		log = open(getenv("OPLOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fstat(fd, &st))
		abort();
	words[1] = st.st_ino;
	if (write(log, words, sizeof(words)) != sizeof(words) ||
	    (data && write(log, data, len) != (ssize_t)len))
		abort();
}

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t pos)
{
	note(fd, OP_WRITE, pos, len, buf);
	return REAL(pwrite64)(fd, buf, len, pos);
}

int ftruncate64(int fd, off64_t size)
{
	note(fd, OP_TRUNCATE, size, 0, NULL);
	return REAL(ftruncate64)(fd, size);
}

int fallocate64(int fd, int mode, off64_t pos, off64_t len)
{
	note(fd, OP_ZERO, pos, len, NULL);
	return REAL(fallocate64)(fd, mode, pos, len);
}

int fsync(int fd)
{
	note(fd, OP_SYNC, 0, 0, NULL);
	return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	note(fd, OP_SYNC, 0, 0, NULL);
	return REAL(fdatasync)(fd);
}

int unlink(const char *path)
{
	count();
	return REAL(unlink)(path);
}
