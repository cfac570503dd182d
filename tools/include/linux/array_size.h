/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_ARRAY_SIZE_H
#define _SHIM_LINUX_ARRAY_SIZE_H

#include <linux/kernel.h>

#endif /* _SHIM_LINUX_ARRAY_SIZE_H */
