/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UTF-16, as Windows names files, and UTF-8, as we do.
 *
 * Windows allows names that are no text: with surrogates that have no partner.
 * They are kept, each as the three bytes that UTF-8 would have for it ("WTF-8"),
 * so that there and back again gives the same units.  Such a name is a path like
 * any other; who prints it replaces them.
 */
#ifndef _LIBVHD_UTF16_H
#define _LIBVHD_UTF16_H

#include <stddef.h>

#include <linux/types.h>

/**
 * vhd_utf16_decode - UTF-16 up to the first NUL as UTF-8
 * @bytes: of @in; an odd last one is not looked at
 * Return: a string to be freed, or NULL without memory.
 */
char *vhd_utf16_decode(const void *in, size_t bytes, bool big_endian);

/**
 * vhd_utf16_encode - the other way
 * @out: to be freed; without NUL at the end
 * @bytes: of @out
 *
 * Return: 0; -ENOMEM; -EILSEQ if @in is not UTF-8, or would come back as
 * something else.
 */
int vhd_utf16_encode(const char *in, bool big_endian, u8 **out, size_t *bytes);

/**
 * vhd_utf8_next - the next code point of @*s, which moves on
 * Return: it, surrogates included; 0 at the end; -EILSEQ if it is not UTF-8, and
 * @*s moves one byte.
 */
s32 vhd_utf8_next(const char **s);

#endif /* _LIBVHD_UTF16_H */
