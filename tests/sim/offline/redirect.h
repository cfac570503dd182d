/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Included before each file of libvhd: what it asks of a file goes to the
 * simulated one.
 */
#ifndef _TESTS_SIM_OFFLINE_REDIRECT_H
#define _TESTS_SIM_OFFLINE_REDIRECT_H

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t sim_pread(int fd, void *buf, size_t len, off_t pos);
ssize_t sim_pwrite(int fd, const void *buf, size_t len, off_t pos);
off_t sim_lseek(int fd, off_t pos, int whence);
int sim_fallocate(int fd, int mode, off_t pos, off_t len);
int sim_ftruncate(int fd, off_t size);
int sim_fdatasync(int fd);
int sim_fstat(int fd, struct stat *st);
int sim_ioctl(int fd, unsigned long request, ...);

#define pread		sim_pread
#define pwrite		sim_pwrite
#define lseek		sim_lseek
#define fallocate	sim_fallocate
#define ftruncate	sim_ftruncate
#define fdatasync	sim_fdatasync
#define fstat		sim_fstat
#define ioctl		sim_ioctl

#endif /* _TESTS_SIM_OFFLINE_REDIRECT_H */
