/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Other programs: mount, umount, modprobe, vhdctl itself.
 */
#ifndef _VHDCTL_SPAWN_H
#define _VHDCTL_SPAWN_H

#include <stddef.h>

/* This very program; for argv[0] of run_program() */
#define SELF	"/proc/self/exe"

/**
 * run_program - run a program and wait for its end
 * @argv: ends with NULL; argv[0] is looked for where the system's programs are
 * @out: gets the first line it prints, without the line's end; NULL: it prints
 *	where we do
 * Return: its exit status (127: there is none of that name), or a negative
 * errno.
 */
int run_program(char *const argv[], char *out, size_t len);

#endif /* _VHDCTL_SPAWN_H */
