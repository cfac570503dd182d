/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_GFP_H
#define _SHIM_LINUX_GFP_H

#include <linux/slab.h>

#endif /* _SHIM_LINUX_GFP_H */
