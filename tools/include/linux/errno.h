/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_ERRNO_H
#define _SHIM_LINUX_ERRNO_H

#include <errno.h>
#include_next <linux/errno.h>

#endif /* _SHIM_LINUX_ERRNO_H */
