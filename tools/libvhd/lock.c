// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * qemu's protocol (block/file-posix.c): a user takes a shared lock on byte
 * 100 + n for each permission n it has, and on byte 200 + n for each that it
 * does not grant to others.  Then it looks whether anyone else has locked the
 * opposite byte.  Since both sides lock before they look, at most both give up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/kernel.h>

#include "lock.h"

#define LOCK_HAVE	100
#define LOCK_FORBID	200

enum lock_permission {
	PERM_READ	= 0,
	PERM_WRITE	= 1,
	PERM_RESIZE	= 3,
};

/*
 * Lock bytes for one way of use: all it has, all it forbids.  The forbidden
 * ones are the same for readers: they want a file that holds still.
 */
static const int lock_read[] = {
	LOCK_HAVE + PERM_READ,
	LOCK_FORBID + PERM_WRITE, LOCK_FORBID + PERM_RESIZE,
};

static const int lock_write[] = {
	LOCK_HAVE + PERM_READ, LOCK_HAVE + PERM_WRITE, LOCK_HAVE + PERM_RESIZE,
	LOCK_FORBID + PERM_WRITE, LOCK_FORBID + PERM_RESIZE,
};

static int lock_opposite(int byte)
{
	return byte < LOCK_FORBID ? byte + (LOCK_FORBID - LOCK_HAVE) :
				    byte - (LOCK_FORBID - LOCK_HAVE);
}

static int lock_byte(int fd, int cmd, short type, int byte, short *held)
{
	struct flock fl = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	if (fcntl(fd, cmd, &fl))
		return -errno;
	*held = fl.l_type;
	return 0;
}

/* Does another open file hold any lock on @byte? */
static int lock_held(int fd, int byte)
{
	short held = F_UNLCK;
	int err;

	err = lock_byte(fd, F_OFD_GETLK, F_WRLCK, byte, &held);
	if (err)
		return err;
	return held == F_UNLCK ? 0 : -EBUSY;
}

static int lock_take(int fd, const int *bytes, size_t n)
{
	short held;
	size_t i;
	int err;

	for (i = 0; i < n; i++) {
		err = lock_byte(fd, F_OFD_SETLK, F_RDLCK, bytes[i], &held);
		if (err == -EAGAIN || err == -EACCES)
			return -EBUSY;	/* somebody's exclusive lock */
		if (err)
			return err;
	}
	return 0;
}

int vhd_lock_image(int fd, bool write)
{
	const int *bytes = write ? lock_write : lock_read;
	size_t n = write ? ARRAY_SIZE(lock_write) : ARRAY_SIZE(lock_read);
	size_t i;
	int err;

	err = lock_take(fd, bytes, n);
	for (i = 0; i < n && !err; i++)
		err = lock_held(fd, lock_opposite(bytes[i]));
	return err;
}

int vhd_lock_over(int fd)
{
	return lock_take(fd, lock_write, ARRAY_SIZE(lock_write));
}

/* "1: OFDLCK ADVISORY  READ -1 08:01:1234 201 203": a lock that keeps writers off */
static bool is_guard(const char *line, const struct stat *st)
{
	unsigned int major, minor;
	unsigned long long ino, start, end;

	if (sscanf(line, "%*s %*s %*s %*s %*s %x:%x:%llu %llu %llu", &major,
		   &minor, &ino, &start, &end) != 5)
		return false;
	return makedev(major, minor) == st->st_dev && ino == st->st_ino &&
	       start <= LOCK_FORBID + PERM_WRITE &&
	       end >= LOCK_FORBID + PERM_WRITE;
}

int vhd_lock_guards(int fd)
{
	char line[256];
	struct stat st;
	FILE *f;
	int n = 0;

	if (fstat(fd, &st))
		return -errno;
	f = fopen("/proc/locks", "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		n += is_guard(line, &st);
	fclose(f);
	return n;
}

bool vhd_lock_writer(int fd)
{
	return lock_held(fd, LOCK_HAVE + PERM_WRITE) == -EBUSY;
}
