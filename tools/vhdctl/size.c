// SPDX-License-Identifier: GPL-2.0-or-later
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/kernel.h>
#include <linux/overflow.h>

#include "vhdctl.h"

static const char letters[] = "KMGTPE";

/* The factor that a suffix stands for; 0 if it is none. */
static u64 suffix_factor(const char *s)
{
	const char *letter;
	u64 base = 1024;
	u64 factor = 1;
	int i;

	if (!*s)
		return 1;
	if (!strcmp(s, "s"))
		return 512;
	if (!strcasecmp(s, "B"))
		return 1;
	letter = strchr(letters, toupper((unsigned char)*s));
	if (!letter || !*letter)
		return 0;
	if (!strcmp(s + 1, "B"))
		base = 1000;
	else if (s[1] && strcasecmp(s + 1, "iB"))
		return 0;
	for (i = 0; i <= letter - letters; i++)
		factor *= base;
	return factor;
}

/* Decimals: ".5" of a factor, as an integer; to nine places. */
static const char *parse_decimals(const char *s, u32 *billionths)
{
	u32 place = 100000000;

	*billionths = 0;
	for (; isdigit((unsigned char)*s); s++, place /= 10)
		*billionths += (*s - '0') * place;
	return s;
}

int parse_size(const char *arg, u64 *bytes)
{
	u64 whole = 0, part, factor;
	u32 billionths = 0;
	const char *s = arg;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		if (check_mul_overflow(whole, (u64)10, &whole) ||
		    check_add_overflow(whole, (u64)(*s - '0'), &whole))
			return -ERANGE;
	if (*s == '.')
		s = parse_decimals(s + 1, &billionths);
	factor = suffix_factor(s);
	if (!factor)
		return -EINVAL;
	part = (unsigned __int128)factor * billionths / 1000000000;
	if (check_mul_overflow(whole, factor, &whole) ||
	    check_add_overflow(whole, part, bytes))
		return -ERANGE;
	return 0;
}

/* Is a size better told in a unit than in the next larger one? */
static bool fits_unit(u64 bytes, u64 unit)
{
	if (bytes / unit < 1024)
		return true;
	/* 2040G rather than 2T, but 1.5G: exact, and not yet long */
	return bytes % unit == 0 && bytes / unit < 10000 &&
	       (unsigned __int128)bytes * 10 % (unit << 10);
}

char *format_size(u64 bytes, char *buf, size_t len)
{
	static const char units[] = "BKMGTPE";
	u64 unit = 1, tenths;
	int i = 0;

	while (units[i + 1] && !fits_unit(bytes, unit)) {
		unit <<= 10;
		i++;
	}
	tenths = ((unsigned __int128)bytes * 10 + unit / 2) / unit;
	if (tenths % 10)
		snprintf(buf, len, "%llu.%llu%c",
			 (unsigned long long)(tenths / 10),
			 (unsigned long long)(tenths % 10), units[i]);
	else
		snprintf(buf, len, "%llu%c", (unsigned long long)(tenths / 10),
			 units[i]);
	return buf;
}
