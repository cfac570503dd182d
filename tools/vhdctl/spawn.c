// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn.h"

/* Where mount and modprobe are, whatever the caller's PATH says. */
#define SYSTEM_PATH	"/usr/sbin:/usr/bin:/sbin:/bin"

/* All of it is read, lest the program gets SIGPIPE. */
static void read_line(int fd, char *out, size_t len)
{
	char rest[256];
	size_t used = 0;
	ssize_t n;

	while ((n = read(fd, rest, sizeof(rest))) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		if (n <= 0)
			continue;
		if ((size_t)n > len - 1 - used)
			n = len - 1 - used;
		memcpy(out + used, rest, n);
		used += n;
	}
	out[used] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static int spawn(pid_t *pid, char *const argv[], int out)
{
	posix_spawn_file_actions_t actions;
	int err;

	setenv("PATH", SYSTEM_PATH, 1);
	posix_spawn_file_actions_init(&actions);
	if (out >= 0)
		posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	err = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -err;
}

int run_program(char *const argv[], char *out, size_t len)
{
	int pipe_fds[2] = { -1, -1 };
	pid_t pid;
	int err;

	fflush(stdout);
	if (out && pipe2(pipe_fds, O_CLOEXEC))
		return -errno;
	err = spawn(&pid, argv, pipe_fds[1]);
	if (out)
		close(pipe_fds[1]);
	if (!err && out)
		read_line(pipe_fds[0], out, len);
	if (out)
		close(pipe_fds[0]);
	if (err == -ENOENT)
		return 127;
	return err ? err : wait_for(pid);
}
