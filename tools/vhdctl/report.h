/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Telling about images: findings, refusals, fields as text.
 */
#ifndef _VHDCTL_REPORT_H
#define _VHDCTL_REPORT_H

#include "file.h"

/** report_claimed - a block device is not to be had exclusively; an exit code */
int report_claimed(const char *path);

/** report_open - say why vhd_file_open() failed with @err; an exit code */
int report_open(const struct vhd_file *f, const char *path, int err);

/** report_load - say why vhd_file_load() failed with @err; an exit code */
int report_load(const struct vhd_file *f, int err);

/** report_findings - print those of a policy from @min on, to stderr */
void report_findings(const struct vhd_file *f, enum vhd_policy min,
		     bool as_warning);

/** open_image - open and load for reading, as info, map and so on do */
int open_image(struct vhd_file *f, const char *path);

/** severity_word, policy_word - as check prints them */
const char *severity_word(enum vhd_severity severity);
const char *policy_word(enum vhd_policy policy);

/**
 * attach_word - what attach would do without --force; parents are looked for
 * @worst: of its findings
 */
const char *attach_word(const struct vhd_file *f, enum vhd_policy worst);

/** attach_policy_word - the same of an image whose parents were looked at, too */
const char *attach_policy_word(enum vhd_policy worst);

/** type_name - "fixed", "dynamic", "differencing" or "unknown" */
const char *type_name(u32 type);

/** fourcc - four characters of a big-endian code, unprintable ones as "." */
char *fourcc(u32 code, char buf[5]);

/** format_time - a VHD timestamp as "2024-05-01 12:00:00 UTC" */
char *format_timestamp(u32 stamp, char *buf, size_t len);

/**
 * utf16_text - UTF-16 up to the first NUL as UTF-8, cut where @out is full
 * @bytes: of input
 * Unpaired surrogates become U+FFFD.
 */
char *utf16_text(const void *in, size_t bytes, bool big_endian, char *out,
		 size_t len);

/**
 * locator_text - what a parent locator says, as UTF-8
 * Empty if it cannot be read or is of no known kind.
 */
char *locator_text(int fd, const struct vhd_locator *l, char *out, size_t len);

#endif /* _VHDCTL_REPORT_H */
