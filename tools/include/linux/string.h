/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_STRING_H
#define _SHIM_LINUX_STRING_H

/* memset & co. are the C library's. */
#include <string.h>

#include <linux/types.h>

/* The first of @n bytes that is not @c, or NULL. */
static inline void *memchr_inv(const void *p, int c, size_t n)
{
	const u8 *s = p;

	for (; n; s++, n--)
		if (*s != (u8)c)
			return (void *)s;
	return NULL;
}

#endif /* _SHIM_LINUX_STRING_H */
