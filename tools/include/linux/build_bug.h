/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_BUILD_BUG_H
#define _SHIM_LINUX_BUILD_BUG_H

#include <linux/bug.h>

#endif /* _SHIM_LINUX_BUILD_BUG_H */
