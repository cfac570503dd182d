// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "utf16.h"

#define HIGH_FIRST	0xD800
#define LOW_FIRST	0xDC00
#define LOW_END		0xE000
#define MAX_CODE	0x10FFFF

static bool is_high(u32 c)
{
	return c >= HIGH_FIRST && c < LOW_FIRST;
}

static bool is_low(u32 c)
{
	return c >= LOW_FIRST && c < LOW_END;
}

/* ---- from UTF-16 ----------------------------------------------------- */

static char *put_utf8(u32 c, char *out)
{
	if (c < 0x80) {
		*out++ = c;
	} else if (c < 0x800) {
		*out++ = 0xC0 | c >> 6;
		*out++ = 0x80 | (c & 0x3F);
	} else if (c < 0x10000) {
		*out++ = 0xE0 | c >> 12;
		*out++ = 0x80 | (c >> 6 & 0x3F);
		*out++ = 0x80 | (c & 0x3F);
	} else {
		*out++ = 0xF0 | c >> 18;
		*out++ = 0x80 | (c >> 12 & 0x3F);
		*out++ = 0x80 | (c >> 6 & 0x3F);
		*out++ = 0x80 | (c & 0x3F);
	}
	return out;
}

static u32 get_unit(const u8 *in, bool big_endian)
{
	return big_endian ? in[0] << 8 | in[1] : in[1] << 8 | in[0];
}

char *vhd_utf16_decode(const void *in, size_t bytes, bool big_endian)
{
	const u8 *p = in, *end = p + bytes / 2 * 2;
	/* No unit needs more than three bytes; a pair needs four. */
	char *out = malloc(bytes / 2 * 3 + 1);
	char *o = out;
	u32 c, low;

	for (; out && p < end; p += 2) {
		c = get_unit(p, big_endian);
		if (!c)
			break;
		low = p + 2 < end ? get_unit(p + 2, big_endian) : 0;
		if (is_high(c) && is_low(low)) {
			c = 0x10000 + ((c - HIGH_FIRST) << 10) +
			    (low - LOW_FIRST);
			p += 2;
		}
		o = put_utf8(c, o);
	}
	if (out)
		*o = '\0';
	return out;
}

/* ---- from UTF-8 ------------------------------------------------------ */

/* Bytes of the sequence that begins with @c, 0 if none does. */
static unsigned int utf8_length(u8 c)
{
	if (c < 0x80)
		return 1;
	if (c >= 0xC2 && c < 0xE0)
		return 2;
	if (c >= 0xE0 && c < 0xF0)
		return 3;
	return c >= 0xF0 && c < 0xF5 ? 4 : 0;
}

s32 vhd_utf8_next(const char **s)
{
	static const u32 least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const u8 *p = (const u8 *)*s;
	unsigned int n = utf8_length(*p), i;
	u32 c;

	if (!*p)
		return 0;
	if (n <= 1) {
		(*s)++;
		return n ? *p : -EILSEQ;
	}
	c = *p & (0x7F >> n);
	for (i = 1; i < n && (p[i] & 0xC0) == 0x80; i++)
		c = c << 6 | (p[i] & 0x3F);
	if (i < n || c < least[n] || c > MAX_CODE) {
		(*s)++;
		return -EILSEQ;
	}
	*s += n;
	return c;
}

static u8 *put_unit(u32 unit, bool big_endian, u8 *out)
{
	*out++ = big_endian ? unit >> 8 : unit;
	*out++ = big_endian ? unit : unit >> 8;
	return out;
}

int vhd_utf16_encode(const char *in, bool big_endian, u8 **out, size_t *bytes)
{
	/* Every byte of UTF-8 makes one unit at the most. */
	u8 *o = malloc(2 * strlen(in) + 1);
	u32 last = 0;
	s32 c;

	*out = o;
	if (!o)
		return -ENOMEM;
	while ((c = vhd_utf8_next(&in)) > 0) {
		/* Two halves side by side would come back as one whole. */
		if (is_high(last) && is_low(c))
			c = -EILSEQ;
		if (c < 0)
			break;
		last = c;
		if (c >= 0x10000) {
			o = put_unit(HIGH_FIRST + ((c - 0x10000) >> 10),
				     big_endian, o);
			o = put_unit(LOW_FIRST + (c & 0x3FF), big_endian, o);
		} else {
			o = put_unit(c, big_endian, o);
		}
	}
	*bytes = o - *out;
	if (!c)
		return 0;
	free(*out);
	*out = NULL;
	return c;
}
