// SPDX-License-Identifier: GPL-2.0-or-later
#include "json.h"

static void json_text(struct json *j, const char *s)
{
	const unsigned char *p;

	fputc('"', j->out);
	for (p = (const unsigned char *)s; *p; p++) {
		if (*p == '"' || *p == '\\')
			fprintf(j->out, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7F)
			fprintf(j->out, "\\u%04x", *p);
		else
			fputc(*p, j->out);
	}
	fputc('"', j->out);
}

/* What comes before a value: comma, line break, key. */
static void json_lead(struct json *j, const char *key)
{
	bool inline_member = j->flat && j->depth > 1;

	if (j->more[j->depth])
		fputs(inline_member ? ", " : ",", j->out);
	else if (inline_member)
		fputc(' ', j->out);
	j->more[j->depth] = true;
	if (j->depth && !inline_member)
		fprintf(j->out, "\n%*s", 3 * j->depth, "");
	if (key) {
		json_text(j, key);
		fputs(": ", j->out);
	}
}

void json_open(struct json *j, const char *key, char bracket)
{
	json_lead(j, key);
	fputc(bracket, j->out);
	j->depth++;
	j->more[j->depth] = false;
}

void json_close(struct json *j, char bracket)
{
	bool empty = !j->more[j->depth];

	j->depth--;
	if (j->flat && j->depth)
		fputc(' ', j->out);
	else if (!empty)
		fprintf(j->out, "\n%*s", 3 * j->depth, "");
	fputc(bracket, j->out);
	if (!j->depth)
		fputc('\n', j->out);
}

void json_string(struct json *j, const char *key, const char *value)
{
	json_lead(j, key);
	json_text(j, value);
}

void json_number(struct json *j, const char *key, u64 value)
{
	json_lead(j, key);
	fprintf(j->out, "%llu", (unsigned long long)value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	json_lead(j, key);
	fputs(value ? "true" : "false", j->out);
}
