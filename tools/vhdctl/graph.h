/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A picture of an image for the terminal: which parts of the disk hold data, and
 * in which order these lie in the file.
 */
#ifndef _VHDCTL_GRAPH_H
#define _VHDCTL_GRAPH_H

#include <linux/types.h>

struct graph;

/**
 * graph_new - an empty picture
 * @disk: size of the disk, bytes
 * @file: size of the file, bytes
 * Return: NULL without memory.
 */
struct graph *graph_new(u64 disk, u64 file);

/**
 * graph_add - a run of data; to be told in the order of the disk
 * @pos: where in the file; -1: in another one, a parent
 */
void graph_add(struct graph *g, u64 start, u64 length, s64 pos);

/** graph_print - to standard output; frees it */
void graph_print(struct graph *g, const char *name);

#endif /* _VHDCTL_GRAPH_H */
