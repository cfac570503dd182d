/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compacting a device that is in use.
 */
#ifndef _VHDCTL_COMPACT_DEVICE_H
#define _VHDCTL_COMPACT_DEVICE_H

#include <stdbool.h>

#include <linux/types.h>

/**
 * compact_device - have the driver make a device's file smaller
 * @name: of the device
 * @zero: also read what is no hole
 * @rate: bytes in a second, at most; 0: no bound
 * Return: an exit code.
 */
int compact_device(const char *name, bool zero, u64 rate);

#endif /* _VHDCTL_COMPACT_DEVICE_H */
