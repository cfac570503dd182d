// SPDX-License-Identifier: GPL-2.0-or-later
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libsmartcols.h>

#include <linux/kernel.h>

#include "columns.h"
#include "vhdctl.h"

#define NULL_ID		"00000000-0000-0000-0000-000000000000"

/** enum column_kind - how a column's value comes from its attribute */
enum column_kind {
	COLUMN_NAME,		/* /dev/vhdN; no attribute */
	COLUMN_TEXT,
	COLUMN_ID,		/* nothing if it is the null id */
	COLUMN_FILE,
	COLUMN_NUMBER,
	COLUMN_BOOL,
	COLUMN_BYTES,
	COLUMN_SECTORS,
	COLUMN_ALLOC,		/* bytes of the allocated blocks */
};

struct column {
	const char *name;
	enum column_kind kind;
	double width;
	const char *attr;
	bool usual;
	const char *help;
};

static const struct column columns[] = {
	{ "NAME", COLUMN_NAME, 0.15, NULL, true, "device" },
	{ "TYPE", COLUMN_TEXT, 12, "vhd/type", true,
	  "fixed, dynamic or differencing" },
	{ "SIZE", COLUMN_SECTORS, 6, "size", true, "virtual size" },
	{ "ALLOC", COLUMN_ALLOC, 6, NULL, true, "size of the allocated blocks" },
	{ "RO", COLUMN_BOOL, 1, "ro", true, "read-only" },
	{ "DIO", COLUMN_BOOL, 1, "vhd/direct_io", true,
	  "reads and writes the image with direct I/O" },
	{ "BACK-FILE", COLUMN_FILE, 0.4, "vhd/backing_file", true,
	  "the image" },
	{ "MAJ:MIN", COLUMN_TEXT, 7, "dev", false, "device number" },
	{ "DISKSEQ", COLUMN_NUMBER, 7, "diskseq", false,
	  "number that no other disk has had since boot" },
	{ "LOG-SEC", COLUMN_NUMBER, 4, "queue/logical_block_size", false,
	  "logical sector size" },
	{ "BLOCK-SIZE", COLUMN_BYTES, 4, "vhd/block_size", false,
	  "unit of allocation" },
	{ "DEPTH", COLUMN_NUMBER, 3, "vhd/depth", false, "layers of the chain" },
	{ "PARENT", COLUMN_ID, 36, "vhd/parent_uuid", false,
	  "id of the parent image" },
	{ "UUID", COLUMN_ID, 36, "vhd/uuid", false, "id of the image" },
	{ "FAST-LANE", COLUMN_TEXT, 6, "vhd/fast_lane", false,
	  "off, open or closed: requests go past the file system" },
	{ "AUTOCLEAR", COLUMN_BOOL, 1, "vhd/autoclear", false,
	  "detaches when nobody uses it any more" },
	{ "DEFERRED", COLUMN_BOOL, 1, "vhd/deferred", false,
	  "a detach waits for the last user" },
	{ "PARTSCAN", COLUMN_BOOL, 1, "vhd/partscan", false,
	  "partitions are looked for" },
	{ "OPEN", COLUMN_NUMBER, 3, "vhd/open_count", false, "users" },
	{ "QUEUES", COLUMN_NUMBER, 3, "vhd/queues", false, "hardware queues" },
	{ "STATE", COLUMN_TEXT, 10, "vhd/state", false,
	  "live, merging, compacting, failed or detaching" },
	{ "MERGE-LEFT", COLUMN_BYTES, 6, "vhd/merge_left", false,
	  "what a live commit still has to copy" },
	{ "FILE-SIZE", COLUMN_BYTES, 6, "vhd/file_size", false,
	  "size of the image file" },
	{ "BACK-INO", COLUMN_NUMBER, 8, "vhd/backing_ino", false,
	  "inode of the image" },
	{ "BACK-MAJ:MIN", COLUMN_TEXT, 7, "vhd/backing_dev", false,
	  "device the image lies on" },
	{ "CREATOR", COLUMN_TEXT, 8, "vhd/creator", false,
	  "program that made the image" },
	{ "SIZE-RULE", COLUMN_TEXT, 5, "vhd/size_rule", false,
	  "exact, or chs: size of the geometry" },
};

void columns_default(struct columns_style *style)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(columns); i++)
		if (columns[i].usual)
			style->ids[style->nr++] = i;
}

void columns_all(struct columns_style *style)
{
	size_t i;

	style->nr = 0;
	for (i = 0; i < ARRAY_SIZE(columns); i++)
		style->ids[style->nr++] = i;
}

static int column_by_name(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(columns); i++)
		if (!strncasecmp(columns[i].name, name, len) &&
		    !columns[i].name[len])
			return i;
	error_msg(NULL, "unknown column \"%.*s\"", (int)len, name);
	return -1;
}

int columns_parse(struct columns_style *style, const char *arg)
{
	size_t len;
	int id;

	style->nr = 0;
	if (*arg == '+') {
		columns_default(style);
		arg++;
	}
	for (;; arg += len + 1) {
		len = strcspn(arg, ",");
		id = column_by_name(arg, len);
		if (id < 0 || style->nr == (int)ARRAY_SIZE(style->ids))
			return -EINVAL;
		style->ids[style->nr++] = id;
		if (!arg[len])
			return 0;
	}
}

void columns_help(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(columns); i++)
		printf(" %12s  %s\n", columns[i].name, columns[i].help);
}

static u64 allocated_bytes(const struct device *d)
{
	char type[32];

	device_attr(d, "vhd/type", type, sizeof(type));
	if (!strcmp(type, "fixed"))
		return device_number(d, "size") << 9;
	return device_number(d, "vhd/allocated") *
	       device_number(d, "vhd/block_size");
}

static bool is_size(const struct column *c)
{
	return c->kind == COLUMN_BYTES || c->kind == COLUMN_SECTORS ||
	       c->kind == COLUMN_ALLOC;
}

static u64 column_bytes(const struct column *c, const struct device *d)
{
	if (c->kind == COLUMN_ALLOC)
		return allocated_bytes(d);
	return device_number(d, c->attr) << (c->kind == COLUMN_SECTORS ? 9 : 0);
}

static char *column_value(const struct column *c, const struct device *d,
			  bool bytes)
{
	char buf[PATH_MAX + 16];

	if (c->kind == COLUMN_NAME)
		snprintf(buf, sizeof(buf), "/dev/%s", d->name);
	else if (is_size(c) && bytes)
		snprintf(buf, sizeof(buf), "%llu",
			 (unsigned long long)column_bytes(c, d));
	else if (is_size(c))
		format_size(column_bytes(c, d), buf, sizeof(buf));
	else
		device_attr(d, c->attr, buf, sizeof(buf));
	if (c->kind == COLUMN_ID && !strcmp(buf, NULL_ID))
		*buf = '\0';
	return strdup(buf);
}

static int json_type(const struct column *c, bool bytes)
{
	if (c->kind == COLUMN_BOOL)
		return SCOLS_JSON_BOOLEAN;
	if (c->kind == COLUMN_NUMBER || (is_size(c) && bytes))
		return SCOLS_JSON_NUMBER;
	return SCOLS_JSON_STRING;
}

static int column_flags(const struct column *c)
{
	switch (c->kind) {
	case COLUMN_NAME:
	case COLUMN_TEXT:
	case COLUMN_ID:
		return 0;
	case COLUMN_FILE:
		return SCOLS_FL_NOEXTREMES;
	default:
		return SCOLS_FL_RIGHT;
	}
}

static int add_columns(struct libscols_table *tb,
		       const struct columns_style *style)
{
	struct libscols_column *cl;
	const struct column *c;
	int i;

	for (i = 0; i < style->nr; i++) {
		c = &columns[style->ids[i]];
		cl = scols_table_new_column(tb, c->name, c->width,
					    column_flags(c));
		if (!cl)
			return -ENOMEM;
		scols_column_set_json_type(cl, json_type(c, style->bytes));
	}
	return 0;
}

static int add_device(struct libscols_table *tb,
		      const struct columns_style *style,
		      const struct device *d)
{
	struct libscols_line *ln;
	char *value;
	int i;

	ln = scols_table_new_line(tb, NULL);
	if (!ln)
		return -ENOMEM;
	for (i = 0; i < style->nr; i++) {
		value = column_value(&columns[style->ids[i]], d, style->bytes);
		if (!value || scols_line_refer_data(ln, i, value))
			return -ENOMEM;
	}
	return 0;
}

static int fill_table(struct libscols_table *tb,
		      const struct columns_style *style,
		      const struct device *devices, int n)
{
	int i, err;

	scols_table_enable_raw(tb, style->raw);
	scols_table_enable_json(tb, style->json);
	scols_table_enable_noheadings(tb, style->no_headings);
	scols_table_set_name(tb, "vhddevices");
	err = add_columns(tb, style);
	for (i = 0; i < n && !err; i++)
		err = add_device(tb, style, &devices[i]);
	return err;
}

int columns_table(const struct columns_style *style,
		  const struct device *devices, int n)
{
	struct libscols_table *tb = scols_new_table();
	int err = -ENOMEM;

	if (tb)
		err = fill_table(tb, style, devices, n);
	if (!err)
		err = scols_print_table(tb);
	scols_unref_table(tb);
	return err ? error_errno(NULL, "cannot print", err) : VHDCTL_OK;
}

static void print_pair(const struct column *c, const char *value)
{
	const char *p;

	for (p = c->name; *p; p++)
		putchar(tolower((unsigned char)*p));
	if (c->kind == COLUMN_BOOL)
		value = *value == '1' ? "yes" : "no";
	printf(": %s\n", value);
}

int columns_pairs(const struct device *d, bool json)
{
	struct columns_style style = { .bytes = true, .json = true };
	char *value;
	size_t i;

	if (json) {
		columns_all(&style);
		return columns_table(&style, d, 1);
	}
	for (i = 0; i < ARRAY_SIZE(columns); i++) {
		value = column_value(&columns[i], d, true);
		if (!value)
			return error_errno(d->name, "cannot print", -ENOMEM);
		if (*value)
			print_pair(&columns[i], printable(value));
		free(value);
	}
	return VHDCTL_OK;
}
