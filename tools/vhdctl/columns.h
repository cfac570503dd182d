/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known about attached devices, as columns of a table.
 */
#ifndef _VHDCTL_COLUMNS_H
#define _VHDCTL_COLUMNS_H

#include "device.h"

/**
 * struct columns_style - how to print
 * @nr: columns wanted, their numbers in @ids
 * @bytes: sizes in bytes rather than rounded
 */
struct columns_style {
	int ids[64];
	int nr;
	bool bytes;
	bool raw;
	bool json;
	bool no_headings;
};

/** columns_default, columns_all - choose columns */
void columns_default(struct columns_style *style);
void columns_all(struct columns_style *style);

/** columns_parse - "NAME,SIZE" or "+UUID"; 0, or -EINVAL after a message */
int columns_parse(struct columns_style *style, const char *arg);

/** columns_help - print names and meanings */
void columns_help(void);

/** columns_table - print devices as a table; an exit code */
int columns_table(const struct columns_style *style,
		  const struct device *devices, int n);

/** columns_pairs - print all about a device as "key: value", or as JSON */
int columns_pairs(const struct device *d, bool json);

#endif /* _VHDCTL_COLUMNS_H */
