/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A JSON writer for output that is too long or too deep for libsmartcols.
 *
 * Members of an object are given a key; elements of an array NULL.
 */
#ifndef _VHDCTL_JSON_H
#define _VHDCTL_JSON_H

#include <stdio.h>

#include <linux/types.h>

/**
 * struct json - a document being written
 * @depth: of open objects and arrays
 * @more: something was already written at this depth
 * @flat: objects inside arrays go on one line each
 */
struct json {
	FILE *out;
	int depth;
	bool more[16];
	bool flat;
};

void json_open(struct json *j, const char *key, char bracket);
void json_close(struct json *j, char bracket);
void json_string(struct json *j, const char *key, const char *value);
void json_number(struct json *j, const char *key, u64 value);
void json_bool(struct json *j, const char *key, bool value);

#endif /* _VHDCTL_JSON_H */
